/*
 * NVMe controller with one namespace: registers, PCI function, life, state.
 * NVM Express 1.4, chapter 3.
 *
 * Life of the controller: CC.EN set opens the admin queue and sets CSTS.RDY;
 * cleared, it forgets everything and takes RDY away once nothing is in flight.
 * What it can't go on with sets CSTS.CFS until the next reset.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/disk_driver.h"
#include "core/error.h"
#include "core/hw/storage/nvme_int.h"
#include "core/migration/state.h"

/* 1024 entries a queue, contiguous; half a minute to become ready; the NVM
 * command set; pages of 4 KiB. */
#define CAP_VALUE                                                              \
	((NVME_MAX_ENTRIES - 1) | 1ull << 16 | 60ull << 24 | 1ull << 37)
#define VERSION_1_4 0x00010400

#define AQA_USED 0x0fff0fffu

/* ---- the controller's life ---- */

bool nvme_is_ready(const struct nvme *n)
{
	return (n->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY &&
	       !n->resetting;
}

bool nvme_is_running(const struct nvme *n)
{
	return nvme_is_ready(n) && !(n->csts & NVME_CSTS_SHST) &&
	       pci_bus_master(&n->pci);
}

void nvme_fatal(struct nvme *n, const char *why)
{
	n->csts |= NVME_CSTS_CFS;
	device_fail(&n->pci.dev, "%s", why);
}

static void enable(struct nvme *n)
{
	unsigned nr_sq = (n->aqa & 0xfff) + 1, nr_cq = (n->aqa >> 16) + 1;

	if (NVME_CC_CSS(n->cc) || NVME_CC_MPS(n->cc) || NVME_CC_AMS(n->cc))
		nvme_fatal(n, "enabled with a command set, page size or "
			      "arbitration that was not offered");
	else if (nr_sq < 2 || nr_cq < 2)
		nvme_fatal(n, "enabled with an admin queue of one entry");
	else if (!nvme_cq_open(n, 0, n->acq, nr_cq, 0, true) ||
		 !nvme_sq_open(n, 0, n->asq, nr_sq, 0))
		nvme_fatal(n, "the admin queue is not in RAM");
	else
		n->csts |= NVME_CSTS_RDY;
}

void nvme_drained(struct nvme *n)
{
	n->resetting = false;
	n->csts &= ~NVME_CSTS_RDY;
	if (n->cc & NVME_CC_EN)
		enable(n);
}

static void forget_queues(struct nvme *n)
{
	for (unsigned id = 0; id < NVME_NR_QUEUES; id++)
		if (n->sqs[id].deleter)
			nvme_slot_free(n, n->sqs[id].deleter);
	/* What is in flight answers nobody. */
	for (unsigned i = 0; i < NVME_NR_SLOTS; i++)
		n->slots[i].sq = NULL;
	nvme_buffers_set(n, 0, 0);
	for (unsigned id = 0; id < NVME_NR_QUEUES; id++) {
		nvme_sq_close(n, id);
		nvme_cq_close(n, id);
	}
	n->due = 0;
}

/* 7.3.2: all but AQA, ASQ and ACQ. */
static void controller_reset(struct nvme *n)
{
	forget_queues(n);
	n->nr_waiting = 0;
	memset(n->event_due, 0, sizeof(n->event_due));
	memset(n->event_masked, 0, sizeof(n->event_masked));
	nvme_features_reset(n);
	n->intms = 0;
	n->csts &= NVME_CSTS_RDY;
	n->pci.dev.failed = false;
	n->pci.dev.why[0] = '\0';
	nvme_pin(n);
	n->resetting = n->held > 0;
	if (!n->resetting)
		n->csts &= ~NVME_CSTS_RDY;
}

static void write_cc(struct nvme *n, uint32_t value)
{
	uint32_t old = n->cc;

	n->cc = value & NVME_CC_USED;
	if ((old & NVME_CC_EN) && !(value & NVME_CC_EN))
		controller_reset(n);
	/* A shutdown that was asked for while it was not enabled is over. */
	else if (!(old & NVME_CC_EN))
		n->csts &= ~NVME_CSTS_SHST;
	if (!(old & NVME_CC_EN) && (value & NVME_CC_EN) && !n->resetting)
		enable(n);
	if (!NVME_CC_SHN(value) || NVME_CC_SHN(old))
		return;
	/* An abrupt shutdown has no time for a flush, but nobody minds. */
	n->csts = (n->csts & ~NVME_CSTS_SHST) | NVME_CSTS_SHST_BUSY;
	nvme_poke(n);
}

/* ---- registers ---- */

static uint64_t read_pair(const struct nvme *n, uint64_t off)
{
	switch (off) {
	case NVME_CAP:
		return CAP_VALUE;
	case NVME_VS:
		return VERSION_1_4 | (uint64_t)n->intms << 32;
	case NVME_INTMC:
		return n->intms | (uint64_t)n->cc << 32;
	case NVME_CSTS & ~7u:
		return (uint64_t)n->csts << 32;
	case NVME_AQA & ~7u:
		return (uint64_t)n->aqa << 32;
	case NVME_ASQ:
		return n->asq;
	case NVME_ACQ:
		return n->acq;
	}
	return 0;
}

static uint64_t bar_read(void *opaque, uint64_t off, unsigned len)
{
	struct nvme *n = opaque;

	(void)len;
	return read_pair(n, off & ~7ull) >> (8 * (off & 7));
}

static void set_half(uint64_t *addr, unsigned high, uint32_t value)
{
	*addr &= ~(0xffffffffull << (high ? 32 : 0));
	*addr |= (uint64_t)value << (high ? 32 : 0);
	*addr &= ~(uint64_t)(NVME_PAGE - 1);
}

static void write_reg(struct nvme *n, uint64_t off, uint32_t value)
{
	if (off >= NVME_DOORBELLS) {
		nvme_doorbell(n, (unsigned)(off - NVME_DOORBELLS) / 4, value);
		return;
	}
	switch (off) {
	case NVME_INTMS:
		n->intms |= value;
		nvme_pin(n);
		break;
	case NVME_INTMC:
		n->intms &= ~value;
		nvme_pin(n);
		break;
	case NVME_CC:
		write_cc(n, value);
		break;
	case NVME_AQA:
		n->aqa = value & AQA_USED;
		break;
	case NVME_ASQ:
	case NVME_ASQ + 4:
		set_half(&n->asq, off & 4, value);
		break;
	case NVME_ACQ:
	case NVME_ACQ + 4:
		set_half(&n->acq, off & 4, value);
		break;
	}
}

static void bar_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct nvme *n = opaque;

	if (len < 4 || off % 4)
		return;
	write_reg(n, off, (uint32_t)value);
	if (len == 8)
		write_reg(n, off + 4, (uint32_t)(value >> 32));
}

static const struct bus_ops bar_ops = {
	.read = bar_read,
	.write = bar_write,
};

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct nvme *n = nvme_of(&d->dev);

	(void)len;
	nvme_pin(n);	/* MSI-X takes the pin's place */
	if (off > 0x27) /* past the BARs */
		return;
	nvme_place_doorbells(n);
	/* Bus mastering may have been turned on over waiting commands. */
	if (off < 6)
		nvme_poke(n);
}

/* ---- life ---- */

static void on_kick(void *arg, uint32_t events)
{
	struct nvme *n = arg;
	uint64_t count;

	(void)events;
	if (read(n->kick.fd, &count, sizeof(count)) != sizeof(count))
		return;
	device_count(n->kicks, 1);
	nvme_run(n, true);
}

static int kick_init(struct nvme *n, struct error *e)
{
	int r;

	n->kick = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.fn = on_kick,
		.arg = n,
	};
	if (n->kick.fd < 0)
		return error_errno(e, errno, "an eventfd");
	r = loop_fd_add(n->io, &n->kick);
	if (!r)
		return 0;
	close(n->kick.fd);
	return error_errno(e, -r, "watching an eventfd");
}

static void kick_fini(struct nvme *n)
{
	loop_fd_remove(n->io, &n->kick);
	close(n->kick.fd);
}

static int pci_init(struct nvme *n, const struct device_args *args,
		    struct error *e)
{
	struct pci_ids ids = {
		.vendor = NVME_VENDOR,
		.device = NVME_DEVICE,
		.subvendor = NVME_VENDOR,
		.subdevice = 0x1100,
		.revision = 1,
		.class_code = 0x010802,
		.intx = true,
	};
	int r = pci_dev_init(&n->pci, args, &ids, e);

	if (r)
		return r;
	pci_bar_io(&n->pci, NVME_BAR, PCI_BAR_MEM64, NVME_BAR_LEN, &bar_ops, n);
	pci_cap_express(&n->pci);
	n->pci.config_written = config_written;
	r = pci_msix_init(&n->pci, NVME_NR_QUEUES, NVME_BAR, NVME_MSIX_OFF, e);
	if (!r && args->rom)
		r = pci_rom_load(&n->pci, args->rom, e);
	return r;
}

static void counters_init(struct nvme *n)
{
	struct device *dev = &n->pci.dev;

	n->commands = device_counter_add(dev, "commands");
	n->errors = device_counter_add(dev, "errors");
	n->kicks = device_counter_add(dev, "kicks");
	n->interrupts = device_counter_add(dev, "interrupts");
}

static int nvme_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	static const struct drive_caps caps = {
		.device = "nvme",
		.wce = DRIVE_WCE_NEGOTIABLE,
		.flush = true,
		.fua = true,
		.discard = true,
		.write_zeroes = true,
	};
	struct nvme *n = nvme_of(dev);
	int r;

	if (!args->drive || !args->io)
		return error_set(e, -EINVAL, "a disk needs an image");
	r = drive_attach(args->drive, &caps, e);
	if (r)
		return r;
	n->drive = args->drive;
	n->io = args->io;
	n->ns_len = drive_len(n->drive);
	n->wce_default = drive_wce(n->drive);
	for (unsigned id = 0; id < NVME_NR_QUEUES; id++)
		n->sqs[id].doorbell_addr = UINT64_MAX;
	nvme_features_reset(n);
	counters_init(n);
	if (nvme_slots_init(n))
		return error_set(e, -ENOMEM, "no memory for commands");
	r = kick_init(n, e);
	if (r)
		goto out_slots;
	r = pci_init(n, args, e);
	if (!r)
		return 0;
	pci_dev_fini(&n->pci);
	kick_fini(n);
out_slots:
	nvme_slots_fini(n);
	return r;
}

/* Slots that come back may have one more step to go. */
static void nvme_quiesce(struct device *dev)
{
	struct nvme *n = nvme_of(dev);

	do {
		drive_drain(n->drive);
		if (n->done)
			nvme_run(n, false);
	} while (drive_in_flight(n->drive));
}

static void nvme_destroy(struct device *dev)
{
	struct nvme *n = nvme_of(dev);

	nvme_quiesce(dev);
	nvme_remove_doorbells(n);
	pci_dev_fini(&n->pci);
	kick_fini(n);
	nvme_slots_fini(n);
}

static void nvme_reset(struct device *dev)
{
	struct nvme *n = nvme_of(dev);

	nvme_quiesce(dev);
	pthread_mutex_lock(&dev->lock);
	controller_reset(n);
	n->cc = n->csts = n->aqa = 0;
	n->asq = n->acq = 0;
	pci_dev_reset(&n->pci);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- for people ---- */

/* A driver accepts nothing by name: what it has used since the last reset. */
static void nvme_disk_driver(struct device *dev, struct disk_driver *out)
{
	struct nvme *n = nvme_of(dev);
	unsigned nr = 0;

	pthread_mutex_lock(&dev->lock);
	const struct {
		const char *word;
		bool used;
	} words[] = {
		{"FLUSH", n->seen & 1u << NVME_FLUSH},
		{"FUA", n->seen_fua},
		{"WRITE-ZEROES", n->seen & 1u << NVME_WRITE_ZEROES},
		{"DSM", n->seen & 1u << NVME_DSM},
		{"VWC", n->seen_cache},
		{"DBBUF", n->shadow_host},
	};
	for (unsigned id = 1; id < NVME_NR_QUEUES; id++)
		nr += n->sqs[id].is_live;
	out->started = nvme_is_ready(n) && nr;
	pthread_mutex_unlock(&dev->lock);
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const char *blank = i ? " " : "";

		strcat(strcat(out->offered, blank), words[i].word);
		if (words[i].used)
			strcat(strcat(out->accepted, *out->accepted ? " " : ""),
			       words[i].word);
	}
	/* Commands of which every driver knows. */
	out->flush = out->fua = out->discard = out->write_zeroes = true;
	out->wce_control = true;
	if (out->started)
		snprintf(out->text, sizeof(out->text),
			 "%u queue%s of commands, doorbells in %s", nr,
			 nr == 1 ? "" : "s",
			 words[5].used ? "memory" : "registers");
}

static bool nvme_disk_resized(struct device *dev)
{
	struct nvme *n = nvme_of(dev);
	bool told;

	pthread_mutex_lock(&dev->lock);
	nvme_look_at_length(n);
	told = n->event_due[NVME_EVENT_NOTICE] && n->nr_waiting;
	pthread_mutex_unlock(&dev->lock);
	return told;
}

/* ---- state ---- */

static const struct state_field sq_fields[] = {
	STATE_FIELD(struct nvme_sq, is_live), STATE_FIELD(struct nvme_sq, cqid),
	STATE_FIELD(struct nvme_sq, len),     STATE_FIELD(struct nvme_sq, head),
	STATE_FIELD(struct nvme_sq, tail),    STATE_FIELD(struct nvme_sq, base),
};

static const struct state_desc sq_state = {
	.name = "nvme-sq",
	.version = 1,
	.oldest = 1,
	.fields = sq_fields,
	.nr_fields = sizeof(sq_fields) / sizeof(sq_fields[0]),
};

static const struct state_field cq_fields[] = {
	STATE_FIELD(struct nvme_cq, is_live),
	STATE_FIELD(struct nvme_cq, wants_interrupts),
	STATE_FIELD(struct nvme_cq, phase),
	STATE_FIELD(struct nvme_cq, vector),
	STATE_FIELD(struct nvme_cq, len),
	STATE_FIELD(struct nvme_cq, head),
	STATE_FIELD(struct nvme_cq, tail),
	STATE_FIELD(struct nvme_cq, base),
};

static const struct state_desc cq_state = {
	.name = "nvme-cq",
	.version = 1,
	.oldest = 1,
	.fields = cq_fields,
	.nr_fields = sizeof(cq_fields) / sizeof(cq_fields[0]),
};

static const struct state_field error_fields[] = {
	STATE_FIELD(struct nvme_error, nr),
	STATE_FIELD(struct nvme_error, lba),
	STATE_FIELD(struct nvme_error, sqid),
	STATE_FIELD(struct nvme_error, cid),
	STATE_FIELD(struct nvme_error, status),
	STATE_FIELD(struct nvme_error, nsid),
};

static const struct state_desc error_state = {
	.name = "nvme-error",
	.version = 1,
	.oldest = 1,
	.fields = error_fields,
	.nr_fields = sizeof(error_fields) / sizeof(error_fields[0]),
};

static const struct state_field nvme_fields[] = {
	STATE_STRUCTS(struct nvme, pci, 1, &pci_dev_state),
	STATE_FIELD(struct nvme, pci.dev.failed),
	STATE_FIELD(struct nvme, intms),
	STATE_FIELD(struct nvme, cc),
	STATE_FIELD(struct nvme, csts),
	STATE_FIELD(struct nvme, aqa),
	STATE_FIELD(struct nvme, asq),
	STATE_FIELD(struct nvme, acq),
	STATE_FIELD(struct nvme, wce),
	STATE_STRUCTS(struct nvme, sqs, NVME_NR_QUEUES, &sq_state),
	STATE_STRUCTS(struct nvme, cqs, NVME_NR_QUEUES, &cq_state),
	STATE_FIELD(struct nvme, shadow),
	STATE_FIELD(struct nvme, wishes),
	STATE_ARRAY(struct nvme, feature),
	STATE_FIELD(struct nvme, cold),
	STATE_FIELD(struct nvme, vector_alone),
	STATE_FIELD(struct nvme, nr_granted),
	STATE_ARRAY(struct nvme, waiting),
	STATE_FIELD(struct nvme, nr_waiting),
	STATE_ARRAY(struct nvme, event_due),
	STATE_ARRAY(struct nvme, event_masked),
	STATE_FIELD(struct nvme, seen),
	STATE_FIELD(struct nvme, seen_fua),
	STATE_FIELD(struct nvme, seen_cache),
	STATE_FIELD(struct nvme, ns_changed),
	STATE_FIELD(struct nvme, ns_len),
	STATE_FIELD(struct nvme, nr_errors),
	STATE_STRUCTS(struct nvme, error_log, NVME_NR_ERRORS, &error_state),
	STATE_FIELD(struct nvme, reads),
	STATE_FIELD(struct nvme, writes),
	STATE_FIELD(struct nvme, blocks_read),
	STATE_FIELD(struct nvme, blocks_written),
};

static bool is_ring(unsigned id, uint64_t base, unsigned len, unsigned head,
		    unsigned tail)
{
	unsigned most = id ? NVME_MAX_ENTRIES : 4096;

	return base % NVME_PAGE == 0 && len >= 2 && len <= most && head < len &&
	       tail < len;
}

static bool is_queue_pair(const struct nvme *n, unsigned id)
{
	const struct nvme_sq *sq = &n->sqs[id];
	const struct nvme_cq *cq = &n->cqs[id];

	if (sq->is_live &&
	    (!is_ring(id, sq->base, sq->len, sq->head, sq->tail) ||
	     sq->cqid >= NVME_NR_QUEUES || !sq->cqid != !id ||
	     !n->cqs[sq->cqid].is_live))
		return false;
	return !cq->is_live ||
	       (is_ring(id, cq->base, cq->len, cq->head, cq->tail) &&
		cq->vector < NVME_NR_QUEUES);
}

static int nvme_check(void *obj, int version, struct error *e)
{
	struct nvme *n = obj;

	(void)version;
	for (unsigned id = 0; id < NVME_NR_QUEUES; id++)
		if (!is_queue_pair(n, id))
			return error_set(e, -EINVAL,
					 "'%s': queue pair %u of the state is "
					 "impossible",
					 n->pci.dev.name, id);
	if (n->nr_waiting > NVME_MAX_EVENTS || !n->nr_granted ||
	    n->nr_granted >= NVME_NR_QUEUES ||
	    (n->shadow | n->wishes) % NVME_PAGE || !n->shadow != !n->wishes ||
	    ((n->csts & NVME_CSTS_RDY) &&
	     (!n->sqs[0].is_live || !n->cqs[0].is_live ||
	      !(n->cc & NVME_CC_EN))))
		return error_set(e, -EINVAL,
				 "'%s': the state of its registers is "
				 "impossible",
				 n->pci.dev.name);
	return 0;
}

static const struct state_desc nvme_state = {
	.name = "nvme",
	.version = 1,
	.oldest = 1,
	.fields = nvme_fields,
	.nr_fields = sizeof(nvme_fields) / sizeof(nvme_fields[0]),
	.check = nvme_check,
};

static int nvme_loaded(struct device *dev, struct error *e)
{
	struct nvme *n = nvme_of(dev);

	if (!nvme_queues_map(n)) {
		forget_queues(n);
		n->csts = 0;
		return error_set(e, -EINVAL, "'%s': a queue is not in RAM",
				 dev->name);
	}
	pci_dev_loaded(&n->pci);
	nvme_place_doorbells(n);
	/* What rang on its way, and a shutdown that had begun. */
	nvme_poke(n);
	return 0;
}

const struct device_class nvme_class = {
	.name = "nvme",
	.summary = "NVMe disk",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct nvme),
	.create = nvme_create,
	.destroy = nvme_destroy,
	.reset = nvme_reset,
	.quiesce = nvme_quiesce,
	.state = &nvme_state,
	.loaded = nvme_loaded,
	.disk_driver = nvme_disk_driver,
	.disk_resized = nvme_disk_resized,
};
