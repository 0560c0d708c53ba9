/*
 * virtio-scsi: virtio 1.2, 5.6.
 *
 * The loop takes a batch of chains under the device's lock, turns each into
 * the command of its slot (slots are numbered like descriptors: nothing is
 * allocated), lets the unit begin it, drops the lock and submits.  A completion
 * takes the lock, lets the unit go on or finish, and stores the answer.  A
 * command that outlived a reset is recognised by its epoch and answers nobody.
 */
#include "core/hw/virtio/virtio_scsi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/virtio/virtio_scsi_int.h"

/* struct virtio_scsi_config, by offset. */
#define CONFIG_LEN	  36
#define CONFIG_SENSE_SIZE 20
#define CONFIG_CDB_SIZE	  24

/* Of requests: one for each vCPU, so that interrupts go where they are awaited;
 * one loop serves them all. */
#define MAX_QUEUES 8

#define MAX_SECTORS  65535 /* of 512 bytes, within a unit's own limit */
#define MAX_LUN	     16383
#define SENSE_SIZE   96
#define CDB_SIZE     32
#define MAX_SIZE     255 /* of either, when the driver chooses */
#define REQUEST_HEAD 19u /* before the command block */
#define ANSWER_HEAD  12u /* before the sense data */

static struct virtio_scsi *scsi_of(struct virtio_dev *v)
{
	return (struct virtio_scsi *)(void *)v;
}

/* ---- configuration: 5.6.4 ---- */

static void config_read(struct virtio_dev *v, unsigned off, void *buf,
			unsigned len)
{
	const struct virtio_scsi *s = scsi_of(v);
	struct {
		uint32_t num_queues, seg_max, max_sectors, cmd_per_lun;
		uint32_t event_info_size, sense_size, cdb_size;
		uint16_t max_channel, max_target;
		uint32_t max_lun;
	} c = {
		.num_queues = s->nr_slots / VIRTIO_SCSI_QUEUE_LEN,
		.seg_max = VIRTIO_SCSI_SEG_MAX,
		.max_sectors = MAX_SECTORS,
		.cmd_per_lun = VIRTIO_SCSI_QUEUE_LEN,
		.event_info_size = 16,
		.sense_size = s->sense_size,
		.cdb_size = s->cdb_size,
		.max_target = VIRTIO_SCSI_TARGETS - 1,
		.max_lun = MAX_LUN,
	};

	memcpy(buf, (const uint8_t *)&c + off, len);
}

static void config_write(struct virtio_dev *v, unsigned off, uint32_t value,
			 unsigned len)
{
	struct virtio_scsi *s = scsi_of(v);

	if (len != 4 || (off != CONFIG_SENSE_SIZE && off != CONFIG_CDB_SIZE))
		return;
	if (!value || value > MAX_SIZE)
		virtio_fail(v, "absurd size of sense data or command blocks");
	else if (off == CONFIG_SENSE_SIZE)
		s->sense_size = value;
	else
		s->cdb_size = value;
}

static void on_reset(struct virtio_dev *v)
{
	struct virtio_scsi *s = scsi_of(v);

	s->sense_size = SENSE_SIZE;
	s->cdb_size = CDB_SIZE;
	s->waiting = NULL;
	s->events_missed = false;
	for (unsigned i = 0; i < VIRTIO_SCSI_QUEUE_LEN; i++)
		s->tmfs[i].busy = false;
	for (unsigned i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		if (s->units[i])
			scsi_power_on(s->units[i]);
}

/* ---- the end of a request ---- */

static struct mem *mem_of(struct virtio_scsi *s)
{
	return s->v.pci.dev.m->mem;
}

/* Locked: the driver gets its answer. */
static void answer(struct virtio_scsi_slot *slot,
		   enum virtio_scsi_response response)
{
	struct virtio_scsi *s = slot->scsi;
	struct scsi_cmd *c = &slot->cmd;
	bool is_check =
		response == RESPONSE_OK && c->status == SCSI_CHECK_CONDITION;
	uint8_t sense[SCSI_SENSE_LEN];
	struct {
		uint32_t sense_len, residual;
		uint16_t status_qualifier;
		uint8_t status, response;
	} a = {
		.residual = (uint32_t)(slot->expected - c->moved),
		.status = response == RESPONSE_OK ? c->status : 0,
		.response = (uint8_t)response,
	};

	if (is_check) {
		scsi_put_sense(&c->sense, sense);
		a.sense_len = s->sense_size < SCSI_SENSE_LEN ? s->sense_size
							     : SCSI_SENSE_LEN;
		virtio_store(&s->v, &slot->chain, ANSWER_HEAD, sense,
			     a.sense_len);
	}
	virtio_store(&s->v, &slot->chain, 0, &a, ANSWER_HEAD);
	device_count(s->requests, 1);
	if (response != RESPONSE_OK || is_check)
		device_count(s->errors, 1);
	virtio_push(&s->v, slot->queue, slot->chain.head,
		    (uint32_t)(ANSWER_HEAD + s->sense_size + c->stored));
}

/* Locked: the unit is done with the command, or was told to be. */
static void finish(struct virtio_scsi_slot *slot)
{
	struct scsi_cmd *c = &slot->cmd;

	slot->busy = false;
	if (slot->aborted)
		answer(slot, (enum virtio_scsi_response)slot->aborted);
	else
		answer(slot, c->overrun ? RESPONSE_OVERRUN : RESPONSE_OK);
}

static void submit(struct virtio_scsi_slot *slot, bool wce);

static void on_done(struct drive_req *req, int res)
{
	struct virtio_scsi_slot *slot = req->opaque;
	struct virtio_scsi *s = slot->scsi;
	enum scsi_result r = SCSI_DONE;
	bool wce;

	/* Also when it failed, or a reset came between. */
	dma_mark_iov(mem_of(s), slot->cmd.in, slot->cmd.nr_in,
		     slot->cmd.stored);
	pthread_mutex_lock(&s->v.pci.dev.lock);
	if (slot->epoch == s->v.epoch && res != -ECANCELED) {
		if (!slot->aborted)
			r = scsi_next(slot->unit, &slot->cmd, res);
		if (r == SCSI_DONE)
			finish(slot);
	}
	wce = slot->unit->wce;
	slot->eject = r == SCSI_EJECT;
	if (r == SCSI_DONE) {
		slot->busy = false;
		virtio_scsi_ended(s);
		virtio_interrupt(&s->v, slot->queue);
		virtio_release(&s->v);
	}
	pthread_mutex_unlock(&s->v.pci.dev.lock);
	if (r != SCSI_DONE)
		submit(slot, wce);
}

static void submit(struct virtio_scsi_slot *slot, bool wce)
{
	struct drive *d = slot->unit->drive;

	if (slot->eject) {
		on_done(&slot->cmd.req, drive_change_medium(d, NULL, NULL));
		return;
	}
	if (wce != drive_wce(d))
		drive_set_wce(d, wce);
	drive_submit(d, &slot->cmd.req);
}

/* ---- the beginning of a request ---- */

struct scsi_unit *virtio_scsi_unit(struct virtio_scsi *s, const uint8_t *lun,
				   struct scsi_unit **target)
{
	*target = NULL;
	if (lun[0] != 1 || lun[1] >= VIRTIO_SCSI_TARGETS)
		return NULL;
	*target = s->units[lun[1]];
	/* Peripheral or flat addressing of logical unit 0. */
	return (lun[2] & 0xbf) || lun[3] ? NULL : *target;
}

/* Cuts the headers off the chain; false: too short for them. */
static bool open_slot(struct virtio_scsi *s, struct virtio_scsi_slot *slot,
		      uint8_t *head)
{
	uint64_t out = REQUEST_HEAD + s->cdb_size;
	uint64_t in = ANSWER_HEAD + s->sense_size;
	struct vq_chain *chain = &slot->chain;
	struct scsi_cmd *c = &slot->cmd;
	uint32_t cdb_len =
		s->cdb_size < SCSI_CDB_MAX ? s->cdb_size : SCSI_CDB_MAX;

	if (chain->out_len < out || chain->in_len < in)
		return false;
	iov_read(chain->iov, chain->nr_out, 0, head, REQUEST_HEAD);
	memset(c->cdb, 0, sizeof(c->cdb));
	iov_read(chain->iov, chain->nr_out, REQUEST_HEAD, c->cdb, cdb_len);
	/* The answer goes by the chain's own pieces. */
	memcpy(slot->in, chain->iov + chain->nr_out,
	       (size_t)chain->nr_in * sizeof(*slot->in));
	c->in = slot->in;
	c->nr_in = chain->nr_in;
	c->in_len = chain->in_len - in;
	iov_drop_front(&c->in, &c->nr_in, in);
	c->out = chain->iov;
	c->nr_out = chain->nr_out;
	c->out_len = chain->out_len - out;
	iov_drop_front(&c->out, &c->nr_out, out);
	slot->expected = c->in_len + c->out_len;
	c->moved = c->stored = 0;
	c->overrun = false;
	return true;
}

/* Locked: true when the slot is to be submitted, false when answered. */
static bool begin(struct virtio_scsi *s, struct virtio_scsi_slot *slot)
{
	uint8_t head[REQUEST_HEAD];
	struct scsi_unit *target;
	enum scsi_result r;

	if (!open_slot(s, slot, head)) {
		virtio_fail(&s->v, "request without room for its headers");
		return false;
	}
	memcpy(&slot->tag, head + 8, 8);
	slot->serial = s->serial++;
	slot->aborted = 0;
	slot->unit = virtio_scsi_unit(s, head, &target);
	if (!target) {
		answer(slot, RESPONSE_BAD_TARGET);
		return false;
	}
	r = slot->unit ? scsi_start(slot->unit, &slot->cmd)
		       : scsi_start_absent(&slot->cmd);
	slot->eject = r == SCSI_EJECT;
	if (r != SCSI_DONE)
		return true;
	dma_mark_iov(mem_of(s), slot->cmd.in, slot->cmd.nr_in,
		     slot->cmd.stored);
	finish(slot);
	return false;
}

/* What one kick brought, to be submitted without the lock. */
struct batch {
	struct virtio_scsi *s;
	struct virtio_scsi_slot *first, **tail;
};

/* A virtio_take_fn: one more for the batch, unless it was answered at once. */
static void take(void *arg, unsigned queue, uint16_t head)
{
	struct batch *batch = arg;
	struct virtio_scsi *s = batch->s;
	struct virtio_scsi_slot *slot =
		&s->slots[(queue - QUEUE_REQUEST) * VIRTIO_SCSI_QUEUE_LEN +
			  head];

	if (slot->busy) {
		virtio_fail(&s->v, "descriptor made available twice");
		return;
	}
	slot->chain.iov = slot->iov;
	slot->chain.max = VIRTIO_SCSI_IOV;
	if (!virtio_walk(&s->v, queue, head, &slot->chain))
		return;
	slot->queue = queue;
	slot->busy = true;
	slot->epoch = s->v.epoch;
	if (!begin(s, slot)) {
		slot->busy = false;
		return;
	}
	virtio_hold(&s->v);
	slot->next = NULL;
	*batch->tail = slot;
	batch->tail = &slot->next;
}

static void serve(struct virtio_dev *v, unsigned index)
{
	struct virtio_scsi *s = scsi_of(v);
	struct batch batch = {.s = s, .tail = &batch.first};
	struct virtio_scsi_slot *next;
	bool wce[VIRTIO_SCSI_TARGETS] = {0};

	if (index < QUEUE_REQUEST) {
		virtio_scsi_serve_control(s, index);
		return;
	}
	pthread_mutex_lock(&v->pci.dev.lock);
	virtio_take_all(v, index, take, &batch);
	for (unsigned i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		wce[i] = s->units[i] && s->units[i]->wce;
	pthread_mutex_unlock(&v->pci.dev.lock);
	for (struct virtio_scsi_slot *slot = batch.first; slot; slot = next) {
		next = slot->next;
		submit(slot, wce[slot->unit->target]);
	}
}

/* ---- units come and go ---- */

extern const struct device_class virtio_scsi_class;

int virtio_scsi_attach(struct device *controller, struct scsi_unit *u,
		       struct error *e)
{
	struct virtio_scsi *s = (struct virtio_scsi *)(void *)controller;

	if (controller->cls != &virtio_scsi_class)
		return error_set(e, -EINVAL, "'%s' is not a SCSI controller",
				 controller->name);
	if (u->target >= VIRTIO_SCSI_TARGETS)
		return error_set(e, -EINVAL,
				 "'%s' has no target %u: choose one of 0 to %d",
				 controller->name, u->target,
				 VIRTIO_SCSI_TARGETS - 1);
	if (s->units[u->target])
		return error_set(e, -EBUSY,
				 "target %u of '%s' is taken by '%s'",
				 u->target, controller->name,
				 s->units[u->target]->dev.name);
	if (u->io != s->io)
		return error_set(e, -EINVAL,
				 "'%s' and '%s' are not on one I/O loop",
				 u->dev.name, controller->name);
	s->units[u->target] = u;
	return 0;
}

void virtio_scsi_detach(struct scsi_unit *u)
{
	struct virtio_scsi *s = (struct virtio_scsi *)(void *)u->dev.parent;

	if (s && s->units[u->target] == u)
		s->units[u->target] = NULL;
}

/* ---- life ---- */

static const struct virtio_device_class scsi_type = {
	.id = 8,
	.class_code = 0x010000,
	.nr_queues = QUEUE_REQUEST + MAX_QUEUES,
	.queue_len = VIRTIO_SCSI_QUEUE_LEN,
	.config_len = CONFIG_LEN,
	.config_read = config_read,
	.config_write = config_write,
	.serve = serve,
	.reset = on_reset,
};

static void slots_fini(struct virtio_scsi *s)
{
	free(s->slots);
	free(s->tmfs);
}

static int slots_init(struct virtio_scsi *s, struct error *e)
{
	unsigned cpus = s->v.pci.dev.m->nr_vcpus;

	cpus = cpus < MAX_QUEUES ? cpus : MAX_QUEUES;
	s->v.nr_queues = QUEUE_REQUEST + cpus;
	s->nr_slots = cpus * VIRTIO_SCSI_QUEUE_LEN;
	s->slots = calloc(s->nr_slots, sizeof(*s->slots));
	s->tmfs = calloc(VIRTIO_SCSI_QUEUE_LEN, sizeof(*s->tmfs));
	if (!s->slots || !s->tmfs) {
		slots_fini(s);
		return error_set(e, -ENOMEM, "no memory for requests");
	}
	for (unsigned i = 0; i < s->nr_slots; i++) {
		s->slots[i].scsi = s;
		s->slots[i].cmd.req.done = on_done;
		s->slots[i].cmd.req.opaque = &s->slots[i];
	}
	return 0;
}

static int scsi_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	struct virtio_scsi *s = (struct virtio_scsi *)(void *)dev;
	int r;

	if (!args->io)
		return error_set(e, -EINVAL, "a controller needs an I/O loop");
	r = slots_init(s, e);
	if (r)
		return r;
	s->io = args->io;
	s->sense_size = SENSE_SIZE;
	s->cdb_size = CDB_SIZE;
	s->requests = device_counter_add(dev, "requests");
	s->errors = device_counter_add(dev, "errors");
	r = virtio_init(&s->v, &scsi_type, VIRTIO_SCSI_F_CHANGE, args->io, args,
			e);
	if (r)
		slots_fini(s);
	return r;
}

static void scsi_quiesce(struct device *dev)
{
	struct virtio_scsi *s = (struct virtio_scsi *)(void *)dev;

	for (unsigned i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		if (s->units[i])
			drive_drain(s->units[i]->drive);
}

static void scsi_destroy(struct device *dev)
{
	struct virtio_scsi *s = (struct virtio_scsi *)(void *)dev;

	scsi_quiesce(dev);
	for (unsigned i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		if (s->units[i])
			s->units[i]->dev.parent = NULL;
	virtio_fini(&s->v);
	slots_fini(s);
}

static void scsi_device_reset(struct device *dev)
{
	scsi_quiesce(dev);
	virtio_device_reset(dev);
}

static const struct state_field scsi_fields[] = {
	STATE_STRUCTS(struct virtio_scsi, v, 1, &virtio_dev_state),
	STATE_FIELD(struct virtio_scsi, sense_size),
	STATE_FIELD(struct virtio_scsi, cdb_size),
	STATE_FIELD(struct virtio_scsi, events_missed),
};

static int scsi_check(void *obj, int version, struct error *e)
{
	struct virtio_scsi *s = obj;

	(void)version;
	if (s->sense_size - 1 < MAX_SIZE && s->cdb_size - 1 < MAX_SIZE)
		return 0;
	return error_set(e, -EINVAL,
			 "'%s': %u bytes of sense data, command blocks of %u",
			 s->v.pci.dev.name, s->sense_size, s->cdb_size);
}

static const struct state_desc scsi_state = {
	.name = "virtio-scsi",
	.version = 1,
	.oldest = 1,
	.fields = scsi_fields,
	.nr_fields = sizeof(scsi_fields) / sizeof(scsi_fields[0]),
	.check = scsi_check,
};

const struct device_class virtio_scsi_class = {
	.name = "virtio-scsi-pci",
	.summary = "virtio SCSI controller",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct virtio_scsi),
	.create = scsi_create,
	.destroy = scsi_destroy,
	.reset = scsi_device_reset,
	.quiesce = scsi_quiesce,
	.state = &scsi_state,
	.loaded = virtio_device_loaded,
	.features = virtio_device_features,
};
