/*
 * Modern virtio-pci: virtio 1.2, 4.1.  One 32-bit memory BAR holds, a page or
 * more each: common configuration, ISR, device configuration, doorbells, and
 * the MSI-X table.
 */
#include <string.h>

#include "core/accel.h"
#include "core/hw/virtio/virtio.h"

#define VIRTIO_VENDOR	    0x1af4
#define VIRTIO_DEVICE_FIRST 0x1040

#define BAR_INDEX   0
#define BAR_LEN	    0x8000
#define COMMON_OFF  0x0000
#define COMMON_LEN  60
#define ISR_OFF	    0x1000
#define DEVICE_OFF  0x2000
#define NOTIFY_OFF  0x3000
#define NOTIFY_STEP 4
#define MSIX_OFF    0x4000
#define PART_LEN    0x1000

#define CAP_VENDOR 0x09
enum cap_type {
	CAP_COMMON = 1,
	CAP_NOTIFY = 2,
	CAP_ISR = 3,
	CAP_DEVICE = 4,
	CAP_PCI_CFG = 5
};

/* struct virtio_pci_cap, by offset. */
#define CAP_TYPE   3
#define CAP_BAR	   4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_EXTRA  16

/* struct virtio_pci_common_cfg, by offset. */
enum common_reg {
	REG_FEATURE_SEL = 0,
	REG_FEATURE = 4,
	REG_DRIVER_FEATURE_SEL = 8,
	REG_DRIVER_FEATURE = 12,
	REG_CONFIG_VECTOR = 16,
	REG_NR_QUEUES = 18,
	REG_STATUS = 20,
	REG_GENERATION = 21,
	REG_QUEUE_SEL = 22,
	REG_QUEUE_LEN = 24,
	REG_QUEUE_VECTOR = 26,
	REG_QUEUE_ENABLE = 28,
	REG_QUEUE_NOTIFY_OFF = 30,
	REG_QUEUE_DESC = 32,
	REG_QUEUE_AVAIL = 40,
	REG_QUEUE_USED = 48
};

static void put(uint8_t *p, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *p, unsigned len)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

/* ---- common configuration: 4.1.4.3 ---- */

/* The selected queue, NULL when the driver selected one that isn't there. */
static struct virtio_queue *selected(struct virtio_dev *v)
{
	return v->queue_sel < v->nr_queues ? &v->queues[v->queue_sel] : NULL;
}

static void common_image(struct virtio_dev *v, uint8_t *image)
{
	const struct virtio_queue *q = selected(v);

	memset(image, 0, COMMON_LEN);
	put(image + REG_FEATURE_SEL, v->feature_sel, 4);
	if (v->feature_sel < 2)
		put(image + REG_FEATURE, v->features >> (32 * v->feature_sel),
		    4);
	put(image + REG_DRIVER_FEATURE_SEL, v->driver_feature_sel, 4);
	if (v->driver_feature_sel < 2)
		put(image + REG_DRIVER_FEATURE,
		    v->driver_features >> (32 * v->driver_feature_sel), 4);
	put(image + REG_CONFIG_VECTOR, v->config_vector, 2);
	put(image + REG_NR_QUEUES, v->nr_queues, 2);
	image[REG_STATUS] = virtio_get_status(v);
	image[REG_GENERATION] = v->generation;
	put(image + REG_QUEUE_SEL, v->queue_sel, 2);
	if (!q)
		return;
	put(image + REG_QUEUE_LEN, q->vq.len, 2);
	put(image + REG_QUEUE_VECTOR, q->vq.vector, 2);
	put(image + REG_QUEUE_ENABLE, q->vq.enabled, 2);
	put(image + REG_QUEUE_NOTIFY_OFF, q->index, 2);
	put(image + REG_QUEUE_DESC, q->vq.desc, 8);
	put(image + REG_QUEUE_AVAIL, q->vq.avail, 8);
	put(image + REG_QUEUE_USED, q->vq.used, 8);
}

static uint64_t common_read(struct virtio_dev *v, unsigned off, unsigned len)
{
	uint8_t image[COMMON_LEN];

	if (off + len > COMMON_LEN)
		return 0;
	common_image(v, image);
	return get(image + off, len);
}

/* Refused vectors read back as none: 4.1.5.1.2. */
static uint16_t valid_vector(const struct virtio_dev *v, uint64_t vector)
{
	return vector < v->pci.msix.nr ? (uint16_t)vector : 0xffff;
}

static void set_driver_features(struct virtio_dev *v, uint32_t value)
{
	unsigned shift = 32 * v->driver_feature_sel;

	if (v->driver_feature_sel > 1 ||
	    (v->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	v->driver_features &= ~(0xffffffffull << shift);
	v->driver_features |= (uint64_t)value << shift;
}

static void set_addr(uint64_t *addr, unsigned half, uint32_t value)
{
	unsigned shift = half ? 32 : 0;

	*addr &= ~(0xffffffffull << shift);
	*addr |= (uint64_t)value << shift;
}

static void queue_write(struct virtio_dev *v, unsigned off, uint64_t value,
			unsigned len)
{
	struct virtio_queue *q = selected(v);

	if (!q)
		return;
	if (off == REG_QUEUE_VECTOR && len == 2)
		q->vq.vector = valid_vector(v, value);
	/* The rings are fixed while they are in use. */
	if (q->vq.enabled)
		return;
	if (off == REG_QUEUE_LEN && len == 2)
		q->vq.len = (uint16_t)value;
	else if (off == REG_QUEUE_ENABLE && len == 2 && value == 1)
		virtio_enable_queue(v, q);
	else if (len != 4)
		return;
	else if ((off & ~4u) == REG_QUEUE_DESC)
		set_addr(&q->vq.desc, off & 4, (uint32_t)value);
	else if (off == REG_QUEUE_AVAIL || off == REG_QUEUE_AVAIL + 4)
		set_addr(&q->vq.avail, off & 4, (uint32_t)value);
	else if (off == REG_QUEUE_USED || off == REG_QUEUE_USED + 4)
		set_addr(&q->vq.used, off & 4, (uint32_t)value);
}

static void common_write(struct virtio_dev *v, unsigned off, uint64_t value,
			 unsigned len)
{
	if (off == REG_FEATURE_SEL && len == 4)
		v->feature_sel = (uint32_t)value;
	else if (off == REG_DRIVER_FEATURE_SEL && len == 4)
		v->driver_feature_sel = (uint32_t)value;
	else if (off == REG_DRIVER_FEATURE && len == 4)
		set_driver_features(v, (uint32_t)value);
	else if (off == REG_CONFIG_VECTOR && len == 2)
		v->config_vector = valid_vector(v, value);
	else if (off == REG_STATUS && len == 1)
		virtio_set_status(v, (uint8_t)value);
	else if (off == REG_QUEUE_SEL && len == 2)
		v->queue_sel = (uint16_t)value;
	else
		queue_write(v, off, value, len);
}

/* ---- the other parts ---- */

static uint64_t isr_read(struct virtio_dev *v)
{
	uint8_t isr = v->isr;

	v->isr = 0;
	pci_intx(&v->pci, false);
	return isr;
}

static uint64_t device_read(struct virtio_dev *v, unsigned off, unsigned len)
{
	uint8_t buf[8] = {0};

	if (off >= v->type->config_len)
		return 0;
	if (len > v->type->config_len - off)
		len = v->type->config_len - off;
	v->type->config_read(v, off, buf, len);
	return get(buf, len);
}

static uint64_t bar_read(void *opaque, uint64_t off, unsigned len)
{
	struct virtio_dev *v = opaque;
	unsigned part = off & ~(PART_LEN - 1u), at = off & (PART_LEN - 1);

	switch (part) {
	case COMMON_OFF:
		return common_read(v, at, len);
	case ISR_OFF:
		return at ? 0 : isr_read(v);
	case DEVICE_OFF:
		return device_read(v, at, len);
	}
	return 0;
}

static void bar_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct virtio_dev *v = opaque;
	unsigned part = off & ~(PART_LEN - 1u), at = off & (PART_LEN - 1);

	switch (part) {
	case COMMON_OFF:
		common_write(v, at, value, len);
		break;
	case DEVICE_OFF:
		if (v->type->config_write && at + len <= v->type->config_len)
			v->type->config_write(v, at, (uint32_t)value, len);
		break;
	case NOTIFY_OFF:
		if (at / NOTIFY_STEP < v->nr_queues)
			virtio_poke(v, at / NOTIFY_STEP);
		break;
	}
}

static const struct bus_ops bar_ops = {
	.read = bar_read,
	.write = bar_write,
	.max_len = 4,
};

/* ---- the window in config space: 4.1.4.9 ---- */

/* Where the window looks; false when it looks at nothing. */
static bool window(struct virtio_dev *v, uint32_t *off, unsigned *len)
{
	const uint8_t *cap = v->pci.config + v->pci_cfg_cap;

	*off = (uint32_t)get(cap + CAP_OFFSET, 4);
	*len = (unsigned)get(cap + CAP_LENGTH, 4);
	return cap[CAP_BAR] == BAR_INDEX &&
	       (*len == 1 || *len == 2 || *len == 4) && *off < MSIX_OFF &&
	       *off % *len == 0;
}

static bool touches_window(struct virtio_dev *v, unsigned off, unsigned len)
{
	unsigned at = v->pci_cfg_cap + CAP_EXTRA;

	return off < at + 4 && at < off + len;
}

static void config_read(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_dev *v = virtio_of(&d->dev);
	uint32_t at;
	unsigned width;

	if (!touches_window(v, off, len) || !window(v, &at, &width))
		return;
	put(d->config + v->pci_cfg_cap + CAP_EXTRA, bar_read(v, at, width),
	    width);
}

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_dev *v = virtio_of(&d->dev);
	uint32_t at;
	unsigned width;

	if (touches_window(v, off, len) && window(v, &at, &width))
		bar_write(v, at,
			  get(d->config + v->pci_cfg_cap + CAP_EXTRA, width),
			  width);
	if (off > 0x27) /* past the BARs */
		return;
	virtio_pci_place_doorbells(v);
	/* Bus mastering may have been turned on over waiting chains. */
	for (unsigned i = 0; off < 6 && i < v->nr_queues; i++)
		virtio_poke(v, i);
}

/* ---- doorbells ---- */

static void doorbell_set(struct virtio_queue *q, uint64_t addr)
{
	struct machine *m = q->v->pci.dev.m;
	const struct accel_fast *fast = m->accel ? m->accel->fast : NULL;

	if (!fast || !fast->ioeventfd || q->doorbell_addr == addr)
		return;
	if (q->doorbell_addr != UINT64_MAX)
		fast->ioeventfd(m->accel_vm, q->doorbell_addr, 0, false,
				q->kick.fd, false);
	q->doorbell_addr = UINT64_MAX;
	/* One that the engine refuses is served by bar_write. */
	if (addr != UINT64_MAX &&
	    !fast->ioeventfd(m->accel_vm, addr, 0, false, q->kick.fd, true))
		q->doorbell_addr = addr;
}

void virtio_pci_place_doorbells(struct virtio_dev *v)
{
	uint64_t bar = pci_bar_addr(&v->pci, BAR_INDEX);

	for (unsigned i = 0; i < v->nr_queues; i++)
		doorbell_set(&v->queues[i],
			     bar == UINT64_MAX
				     ? UINT64_MAX
				     : bar + NOTIFY_OFF + i * NOTIFY_STEP);
}

void virtio_pci_remove_doorbells(struct virtio_dev *v)
{
	for (unsigned i = 0; i < v->nr_queues; i++)
		if (v->queues[i].kick.fd >= 0)
			doorbell_set(&v->queues[i], UINT64_MAX);
}

/* ---- life ---- */

static unsigned cap_add(struct virtio_dev *v, enum cap_type type, uint32_t off,
			uint32_t len, unsigned cap_len)
{
	unsigned at = pci_cap_add(&v->pci, CAP_VENDOR, cap_len);
	uint8_t *cap = v->pci.config + at;

	cap[2] = (uint8_t)cap_len;
	cap[CAP_TYPE] = type;
	cap[CAP_BAR] = BAR_INDEX;
	put(cap + CAP_OFFSET, off, 4);
	put(cap + CAP_LENGTH, len, 4);
	return at;
}

static void caps_init(struct virtio_dev *v)
{
	unsigned at;

	cap_add(v, CAP_COMMON, COMMON_OFF, COMMON_LEN, 16);
	cap_add(v, CAP_ISR, ISR_OFF, 4, 16);
	if (v->type->config_len)
		cap_add(v, CAP_DEVICE, DEVICE_OFF, PART_LEN, 16);
	at = cap_add(v, CAP_NOTIFY, NOTIFY_OFF, PART_LEN, 20);
	put(v->pci.config + at + CAP_EXTRA, NOTIFY_STEP, 4);
	at = cap_add(v, CAP_PCI_CFG, 0, 0, 20);
	v->pci_cfg_cap = (uint8_t)at;
	v->pci.wmask[at + CAP_BAR] = 0xff;
	memset(v->pci.wmask + at + CAP_OFFSET, 0xff, 12);
}

int virtio_pci_init(struct virtio_dev *v, const struct device_args *args,
		    struct error *e)
{
	struct pci_ids ids = {
		.vendor = VIRTIO_VENDOR,
		.device = (uint16_t)(VIRTIO_DEVICE_FIRST + v->type->id),
		.subvendor = VIRTIO_VENDOR,
		.subdevice = 0x1100,
		.revision = 1,
		.class_code = v->type->class_code,
		.intx = true,
	};
	int r = pci_dev_init(&v->pci, args, &ids, e);

	if (r)
		return r;
	pci_bar_io(&v->pci, BAR_INDEX, PCI_BAR_MEM32, BAR_LEN, &bar_ops, v);
	caps_init(v);
	/* One vector a queue, and one for configuration changes. */
	r = pci_msix_init(&v->pci, v->nr_queues + 1, BAR_INDEX, MSIX_OFF, e);
	if (r)
		return r;
	v->pci.config_read = config_read;
	v->pci.config_written = config_written;
	if (args->rom)
		r = pci_rom_load(&v->pci, args->rom, e);
	return r;
}
