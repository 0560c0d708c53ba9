/*
 * virtio-blk: virtio 1.2, 5.2.
 *
 * One loop serves all queues.  It takes a batch of a queue's chains under the
 * device's lock, turns each into the request of its slot (a queue's slots are
 * numbered like its chains: nothing is allocated), drops the lock and submits.
 * A completion takes the lock to store the status byte and the used element.
 * A request that outlived a reset is recognised by its epoch and answers
 * nobody.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/drive.h"
#include "core/disk_driver.h"
#include "core/error.h"
#include "core/hw/virtio/virtio.h"

#define QUEUE_LEN  128
#define MAX_QUEUES 8 /* one for each vCPU up to that */
#define SEG_MAX	   126
/* Header, status, and pieces that the guest's memory map cuts. */
#define SLOT_IOV (SEG_MAX + 2 + 8)

/* Bytes of a segment, and of a request with as many as may be.  Drivers that
 * know no such limit (firmware) get more done in steps of that. */
#define SIZE_MAX_LEN (256u << 10)
#define STEP_MAX     (SEG_MAX * SIZE_MAX_LEN)

#define SECTOR	    512u
#define DISCARD_MAX (1u << 31) /* bytes of one range */
#define ZEROES_MAX  (32u << 20)
#define MAX_RANGES  16 /* of one discard or write zeroes */
#define SERIAL_LEN  20

#define F_SIZE_MAX     (1ull << 1)
#define F_SEG_MAX      (1ull << 2)
#define F_RO	       (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH	       (1ull << 9)
#define F_TOPOLOGY     (1ull << 10)
#define F_CONFIG_WCE   (1ull << 11)
#define F_MQ	       (1ull << 12)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

enum request_type {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13
};

enum request_status { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

/* struct virtio_blk_config, by offset. */
#define CONFIG_LEN	 60
#define CONFIG_WRITEBACK 32

struct request_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t nr_sectors, flags;
};

#define RANGE_UNMAP 1u

#define NEVER_FLUSHES                                                          \
	"the guest's driver never flushes: each write is made stable before "  \
	"it completes"

struct virtio_blk;

struct slot {
	struct drive_req req;
	struct virtio_blk *blk;
	struct slot *next; /* of a batch */
	unsigned queue;
	struct vq_chain chain;
	unsigned epoch;
	bool busy;
	/* Within iov, after the header: what no step has moved yet. */
	struct iovec *data;
	int nr_data;
	uint64_t left;	   /* bytes behind this step's */
	struct iovec rest; /* of the piece that this step cuts */
	uint8_t *status;   /* host address of the status byte */
	/* Of a discard or write zeroes: one at a time is with the drive. */
	struct range ranges[MAX_RANGES];
	unsigned nr_ranges, next_range;
	struct iovec iov[SLOT_IOV];
};

struct virtio_blk {
	struct virtio_dev v; /* first */
	struct drive *drive;
	struct drive_limits limits;
	bool wce, wce_default; /* under the lock */
	struct device_counter *requests, *errors;
	struct slot *slots; /* QUEUE_LEN for each queue */
};

static struct virtio_blk *blk_of(struct virtio_dev *v)
{
	return (struct virtio_blk *)(void *)v;
}

/* Locked: may writes complete before they are stable?  Without F_FLUSH a driver
 * can't make them so and relies on the device: 5.2.6.2. */
static bool wce_now(const struct virtio_blk *b)
{
	return b->wce && (!(b->v.status & VIRTIO_STATUS_FEATURES_OK) ||
			  virtio_has(&b->v, F_FLUSH));
}

/* ---- configuration: 5.2.4 ---- */

static void blk_config_read(struct virtio_dev *v, unsigned off, void *buf,
			    unsigned len)
{
	struct virtio_blk *b = blk_of(v);
	struct {
		uint64_t capacity;
		uint32_t size_max, seg_max, geometry, blk_size;
		uint8_t block_exp, align_off;
		uint16_t min_io;
		uint32_t opt_io; /* these two in blocks */
		uint8_t writeback, unused0;
		uint16_t nr_queues;
		uint32_t discard_max, discard_segs, discard_align;
		uint32_t zeroes_max, zeroes_segs;
		uint8_t may_unmap, unused1[3];
	} c = {
		.capacity = drive_len(b->drive) / SECTOR,
		.size_max = SIZE_MAX_LEN,
		.seg_max = SEG_MAX,
		.blk_size = SECTOR,
		.block_exp = (uint8_t)__builtin_ctz(b->limits.align / SECTOR),
		.min_io = (uint16_t)(b->limits.align / SECTOR),
		.opt_io = b->limits.unit / SECTOR,
		.writeback = wce_now(b),
		.nr_queues = (uint16_t)v->nr_queues,
		.discard_max = DISCARD_MAX / SECTOR,
		.discard_segs = MAX_RANGES,
		.discard_align = b->limits.unit / SECTOR,
		.zeroes_max = ZEROES_MAX / SECTOR,
		.zeroes_segs = MAX_RANGES,
		.may_unmap = 1,
	};

	memcpy(buf, (const uint8_t *)&c + off, len);
}

static void blk_config_write(struct virtio_dev *v, unsigned off, uint32_t value,
			     unsigned len)
{
	struct virtio_blk *b = blk_of(v);

	if (off != CONFIG_WRITEBACK || len != 1 || !virtio_has(v, F_CONFIG_WCE))
		return;
	b->wce = value & 1;
	virtio_poke(v, 0);
}

static void blk_started(struct virtio_dev *v, bool on)
{
	struct virtio_blk *b = blk_of(v);

	if (on && b->wce && !wce_now(b))
		log_guest(v->pci.dev.m->log, &v->pci.dev.limit, v->pci.dev.name,
			  "%s", NEVER_FLUSHES);
}

static void blk_reset(struct virtio_dev *v)
{
	struct virtio_blk *b = blk_of(v);

	b->wce = b->wce_default;
}

/* ---- ranges ---- */

/* The request for the next range.  Only the last is made stable, and all with
 * it. */
static void set_range(struct slot *s)
{
	const struct range *r = &s->ranges[s->next_range++];

	s->req.off = r->sector * SECTOR;
	s->req.len = (uint64_t)r->nr_sectors * SECTOR;
	s->req.may_unmap = r->flags & RANGE_UNMAP;
	s->req.flush_follows = s->next_range < s->nr_ranges;
}

/* ---- steps of a transfer ---- */

/* The request for the first bytes of what is left.  As for ranges, only the
 * last is made stable. */
static void set_step(struct slot *s)
{
	struct iovec *last;
	uint64_t len = 0;
	int nr = 0;

	while (nr < s->nr_data && len < STEP_MAX)
		len += s->data[nr++].iov_len;
	s->rest.iov_len = 0;
	if (len > STEP_MAX) {
		last = &s->data[nr - 1];
		s->rest.iov_len = len - STEP_MAX;
		last->iov_len -= s->rest.iov_len;
		s->rest.iov_base = (uint8_t *)last->iov_base + last->iov_len;
		len = STEP_MAX;
	}
	s->left -= len;
	s->req.len = len;
	s->req.iov = s->data;
	s->req.nr_iov = nr;
	s->req.flush_follows = s->left != 0;
}

static void next_step(struct slot *s)
{
	int done = s->req.nr_iov;

	if (s->rest.iov_len)
		s->data[--done] = s->rest;
	s->data += done;
	s->nr_data -= done;
	s->req.off += s->req.len;
	set_step(s);
}

/* ---- completion ---- */

/* Goes on with a request that has more to do; false: that was all. */
static bool set_next(struct slot *s)
{
	if (s->next_range < s->nr_ranges)
		set_range(s);
	else if (s->left)
		next_step(s);
	else
		return false;
	return true;
}

/* Locked: the driver gets its answer. */
static void answer(struct virtio_blk *b, struct slot *s,
		   enum request_status status, uint64_t stored)
{
	struct iovec byte = {.iov_base = s->status, .iov_len = 1};

	*s->status = (uint8_t)status;
	dma_mark_iov(b->v.pci.dev.m->mem, &byte, 1, 1);
	s->busy = false;
	device_count(b->requests, 1);
	if (status != S_OK)
		device_count(b->errors, 1);
	virtio_push(&b->v, s->queue, s->chain.head, (uint32_t)(stored + 1));
}

static void blk_done(struct drive_req *req, int res)
{
	struct slot *s = req->opaque;
	struct virtio_blk *b = s->blk;
	uint64_t stored = 0;
	bool is_awaited;

	if (!res && req->op == DRIVE_READ)
		stored = s->chain.in_len;
	/* A read that failed may have brought a part. */
	if (req->op == DRIVE_READ)
		dma_mark_iov(b->v.pci.dev.m->mem, req->iov, req->nr_iov,
			     req->len);
	pthread_mutex_lock(&b->v.pci.dev.lock);
	is_awaited = s->epoch == b->v.epoch && res != -ECANCELED;
	if (is_awaited && !res && set_next(s)) {
		pthread_mutex_unlock(&b->v.pci.dev.lock);
		drive_submit(b->drive, req);
		return;
	}
	if (is_awaited) {
		answer(b, s, res ? S_IOERR : S_OK, stored);
		virtio_interrupt(&b->v, s->queue);
	}
	s->busy = false;
	virtio_release(&b->v);
	pthread_mutex_unlock(&b->v.pci.dev.lock);
}

/* ---- requests ---- */

/* Cuts header and status byte off the chain; false: too short for them. */
static bool slot_open(struct slot *s, struct request_header *h)
{
	struct vq_chain *c = &s->chain;
	struct iovec *in = c->iov + c->nr_out;
	struct iovec *last = in + c->nr_in - 1;

	if (c->out_len < sizeof(*h) || !c->in_len)
		return false;
	iov_read(c->iov, c->nr_out, 0, h, sizeof(*h));
	s->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	c->in_len--;
	c->out_len -= sizeof(*h);
	return true;
}

static void data_out(struct slot *s)
{
	s->data = s->chain.iov;
	s->nr_data = s->chain.nr_out;
	iov_drop_front(&s->data, &s->nr_data, sizeof(struct request_header));
}

static void data_in(struct slot *s)
{
	s->data = s->chain.iov + s->chain.nr_out;
	s->nr_data = s->chain.nr_in;
	iov_drop_back(s->data, &s->nr_data, 1);
}

/* READ and WRITE; the drive checks the range, except what would wrap here and
 * what would be found out in the middle. */
static int prepare_transfer(struct slot *s, enum drive_op op, uint64_t sector)
{
	uint64_t len = op == DRIVE_READ ? s->chain.in_len : s->chain.out_len;
	uint64_t end = drive_len(s->blk->drive);

	if (sector > UINT64_MAX / SECTOR)
		return S_IOERR;
	if (op == DRIVE_READ)
		data_in(s);
	else
		data_out(s);
	s->req.off = sector * SECTOR;
	s->req.op = op;
	/* The used length has 32 bits. */
	if (len > STEP_MAX && (len > INT32_MAX || len % SECTOR || len > end ||
			       s->req.off > end - len))
		return S_IOERR;
	s->left = len;
	set_step(s);
	return S_OK;
}

/* DISCARD and WRITE ZEROES: 5.2.6.1. */
static int prepare_ranges(struct slot *s, enum drive_op op)
{
	uint32_t known = op == DRIVE_WRITE_ZEROES ? RANGE_UNMAP : 0;
	uint32_t max = op == DRIVE_WRITE_ZEROES ? ZEROES_MAX : DISCARD_MAX;
	uint64_t nr = s->chain.out_len / sizeof(struct range);

	data_out(s);
	if (!nr || s->chain.out_len % sizeof(struct range))
		return S_UNSUPP;
	if (nr > MAX_RANGES)
		return S_IOERR;
	iov_read(s->data, s->nr_data, 0, s->ranges, s->chain.out_len);
	for (unsigned i = 0; i < nr; i++) {
		const struct range *r = &s->ranges[i];

		if (r->flags & ~known)
			return S_UNSUPP;
		if (r->sector > UINT64_MAX / SECTOR ||
		    r->nr_sectors > max / SECTOR)
			return S_IOERR;
	}
	/* The last one is made stable, and all with it: not an empty one. */
	while (nr > 1 && !s->ranges[nr - 1].nr_sectors)
		nr--;
	s->req.op = op;
	s->nr_ranges = (unsigned)nr;
	set_range(s);
	return S_OK;
}

/* Locked: the 20 bytes by which a guest tells its disks apart. */
static void answer_id(struct virtio_blk *b, struct slot *s)
{
	char id[SERIAL_LEN] = {0};
	uint64_t len =
		s->chain.in_len < SERIAL_LEN ? s->chain.in_len : SERIAL_LEN;

	memcpy(id, b->v.pci.dev.name, strnlen(b->v.pci.dev.name, SERIAL_LEN));
	virtio_store(&b->v, &s->chain, 0, id, len);
	answer(b, s, S_OK, len);
}

/* Locked: true when the slot is to be submitted, false when answered. */
static bool prepare(struct virtio_blk *b, struct slot *s)
{
	struct request_header h;
	int status;

	if (!slot_open(s, &h)) {
		virtio_fail(&b->v, "request without header or status byte");
		return false;
	}
	s->req.fua = s->req.flush_follows = s->req.may_unmap = false;
	s->nr_ranges = s->next_range = 0;
	s->left = 0;
	s->req.iov = NULL;
	s->req.nr_iov = 0;
	s->req.off = s->req.len = 0;
	switch (h.type) {
	case T_IN:
		status = prepare_transfer(s, DRIVE_READ, h.sector);
		break;
	case T_OUT:
		status = prepare_transfer(s, DRIVE_WRITE, h.sector);
		break;
	case T_FLUSH:
		s->req.op = DRIVE_FLUSH;
		status = S_OK;
		break;
	case T_DISCARD:
		status = prepare_ranges(s, DRIVE_DISCARD);
		break;
	case T_WRITE_ZEROES:
		status = prepare_ranges(s, DRIVE_WRITE_ZEROES);
		break;
	case T_GET_ID:
		answer_id(b, s);
		return false;
	default:
		status = S_UNSUPP;
	}
	if (status != S_OK)
		answer(b, s, (enum request_status)status, 0);
	return status == S_OK;
}

/* What one kick brought, to be submitted without the lock. */
struct batch {
	struct virtio_blk *b;
	struct slot *first, **tail;
};

/* A virtio_take_fn: one more for the batch, unless it was answered at once. */
static void take(void *arg, unsigned queue, uint16_t head)
{
	struct batch *batch = arg;
	struct virtio_blk *b = batch->b;
	struct slot *s = &b->slots[queue * QUEUE_LEN + head];

	if (s->busy) {
		virtio_fail(&b->v, "descriptor made available twice");
		return;
	}
	s->chain.iov = s->iov;
	s->chain.max = SLOT_IOV;
	if (!virtio_walk(&b->v, queue, head, &s->chain))
		return;
	s->busy = true;
	s->epoch = b->v.epoch;
	if (!prepare(b, s)) {
		s->busy = false;
		return;
	}
	virtio_hold(&b->v);
	s->next = NULL;
	*batch->tail = s;
	batch->tail = &s->next;
}

static void blk_serve(struct virtio_dev *v, unsigned index)
{
	struct virtio_blk *b = blk_of(v);
	struct batch batch = {.b = b, .tail = &batch.first};
	struct slot *next;
	bool wce;

	pthread_mutex_lock(&v->pci.dev.lock);
	virtio_take_all(v, index, take, &batch);
	wce = wce_now(b);
	pthread_mutex_unlock(&v->pci.dev.lock);
	if (wce != drive_wce(b->drive))
		drive_set_wce(b->drive, wce);
	for (struct slot *s = batch.first; s; s = next) {
		next = s->next;
		drive_submit(b->drive, &s->req);
	}
}

/* ---- life ---- */

static const struct virtio_device_class blk_type = {
	.id = 2,
	.class_code = 0x010000,
	.nr_queues = MAX_QUEUES,
	.queue_len = QUEUE_LEN,
	.config_len = CONFIG_LEN,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.serve = blk_serve,
	.reset = blk_reset,
	.started = blk_started,
};

static int slots_init(struct virtio_blk *b, struct error *e)
{
	unsigned nr = b->v.nr_queues * QUEUE_LEN;

	b->slots = calloc(nr, sizeof(*b->slots));
	if (!b->slots)
		return error_set(e, -ENOMEM, "no memory for requests");
	for (unsigned i = 0; i < nr; i++) {
		b->slots[i].blk = b;
		b->slots[i].queue = i / QUEUE_LEN;
		b->slots[i].req.done = blk_done;
		b->slots[i].req.opaque = &b->slots[i];
	}
	return 0;
}

static int blk_create(struct device *dev, const struct device_args *args,
		      struct error *e)
{
	static const struct drive_caps caps = {
		.device = "virtio-blk-pci",
		.wce = DRIVE_WCE_NEGOTIABLE,
		.flush = true,
		.discard = true,
		.write_zeroes = true,
	};
	struct virtio_blk *b = (struct virtio_blk *)(void *)dev;
	uint64_t features = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH |
			    F_TOPOLOGY | F_CONFIG_WCE | F_MQ;
	unsigned cpus = dev->m->nr_vcpus;
	int r;

	if (!args->drive || !args->io)
		return error_set(e, -EINVAL, "a disk needs an image");
	r = drive_attach(args->drive, &caps, e);
	if (r)
		return r;
	b->drive = args->drive;
	b->wce = b->wce_default = drive_wce(b->drive);
	drive_limits(b->drive, &b->limits);
	features |=
		drive_readonly(b->drive) ? F_RO : F_DISCARD | F_WRITE_ZEROES;
	b->v.nr_queues = cpus < MAX_QUEUES ? cpus : MAX_QUEUES;
	r = slots_init(b, e);
	if (r)
		return r;
	b->requests = device_counter_add(dev, "requests");
	b->errors = device_counter_add(dev, "errors");
	r = virtio_init(&b->v, &blk_type, features, args->io, args, e);
	if (r)
		free(b->slots);
	return r;
}

static void blk_quiesce(struct device *dev)
{
	struct virtio_blk *b = (struct virtio_blk *)(void *)dev;

	drive_drain(b->drive);
}

static void blk_destroy(struct device *dev)
{
	struct virtio_blk *b = (struct virtio_blk *)(void *)dev;

	blk_quiesce(dev);
	virtio_fini(&b->v);
	free(b->slots);
}

static void blk_device_reset(struct device *dev)
{
	blk_quiesce(dev);
	virtio_device_reset(dev);
}

/* ---- for people ---- */

static void blk_disk_driver(struct device *dev, struct disk_driver *out)
{
	struct virtio_blk *b = (struct virtio_blk *)(void *)dev;
	struct virtio_dev *v = &b->v;

	pthread_mutex_lock(&dev->lock);
	virtio_disk_words(v, out);
	out->started = v->status & VIRTIO_STATUS_DRIVER_OK;
	out->flush = virtio_has(v, F_FLUSH);
	out->wce_control = out->flush && virtio_has(v, F_CONFIG_WCE);
	out->discard = virtio_has(v, F_DISCARD);
	out->write_zeroes = virtio_has(v, F_WRITE_ZEROES);
	if (out->started && b->wce && !wce_now(b))
		snprintf(out->text, sizeof(out->text), "%s", NEVER_FLUSHES);
	pthread_mutex_unlock(&dev->lock);
}

static bool blk_disk_resized(struct device *dev)
{
	bool told;

	pthread_mutex_lock(&dev->lock);
	told = virtio_config_changed(virtio_of(dev));
	pthread_mutex_unlock(&dev->lock);
	return told;
}

/* ---- state ---- */

static const struct state_field blk_fields[] = {
	STATE_STRUCTS(struct virtio_blk, v, 1, &virtio_dev_state),
	STATE_FIELD(struct virtio_blk, wce),
};

static const struct state_desc blk_state = {
	.name = "virtio-blk",
	.version = 1,
	.oldest = 1,
	.fields = blk_fields,
	.nr_fields = sizeof(blk_fields) / sizeof(blk_fields[0]),
};

const struct device_class virtio_blk_class = {
	.name = "virtio-blk-pci",
	.summary = "virtio disk",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct virtio_blk),
	.create = blk_create,
	.destroy = blk_destroy,
	.reset = blk_device_reset,
	.quiesce = blk_quiesce,
	.state = &blk_state,
	.loaded = virtio_device_loaded,
	.features = virtio_device_features,
	.disk_driver = blk_disk_driver,
	.disk_resized = blk_disk_resized,
};
