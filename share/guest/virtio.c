/*
 * The capabilities say where the registers are.  Completions are polled; with
 * MSI-X an interrupt ends the wait.
 */
#include "share/guest/virtio.h"

#define QUEUE_MAX 64
#define VENDOR	  0x1af4
#define MODERN	  0x1040
#define NO_VECTOR 0xffff

enum {
	CAPABILITY_VENDOR = 0x09,
	AREA_COMMON = 1,
	AREA_NOTIFY = 2,
	AREA_DEVICE = 4
};
enum {
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8
};
enum { DESC_NEXT = 1, DESC_WRITE = 2 };

struct common { /* struct virtio_pci_common_cfg */
	uint32_t device_select, device_features;
	uint32_t driver_select, driver_features;
	uint16_t config_vector, nr_queues;
	uint8_t status, generation;
	uint16_t queue, queue_size, queue_vector, queue_enable, notify_offset;
	uint32_t descriptors[2], driver_area[2], device_area[2];
};

struct descriptor {
	uint64_t address;
	uint32_t len;
	uint16_t flags, next;
};

static struct {
	volatile struct common *common;
	uint64_t config;
	volatile uint16_t *notify;
	uint16_t queue, size, seen;
	unsigned nr_slots;
	uint32_t features;
	bool msix;
} virtio;

static struct descriptor descriptors[QUEUE_MAX] __attribute__((aligned(16)));
static struct {
	uint16_t flags;
	volatile uint16_t index;
	uint16_t ring[QUEUE_MAX];
} available __attribute__((aligned(16)));
static struct {
	uint16_t flags;
	volatile uint16_t index;
	struct {
		uint32_t id, len;
	} ring[QUEUE_MAX];
} used __attribute__((aligned(16)));

const struct pci_device *virtio_find(unsigned type, uint16_t transitional,
				     unsigned nth)
{
	const struct pci_device *found =
		pci_find(VENDOR, (uint16_t)(MODERN + type), nth);

	return found ? found : pci_find(VENDOR, transitional, nth);
}

/* Where the capability of a type leads, and where the capability is. */
static uint64_t find_area(uint16_t bdf, uint8_t type, unsigned *capability)
{
	unsigned at = 0;

	while ((at = pci_capability(bdf, CAPABILITY_VENDOR, at))) {
		uint64_t bar;

		if (pci_read(bdf, at + 3, 1) != type)
			continue;
		bar = pci_bar(bdf, pci_read(bdf, at + 4, 1));
		*capability = at;
		return bar ? bar + pci_read(bdf, at + 8, 4) : 0;
	}
	return 0;
}

static bool reset(void)
{
	uint64_t end = timer_ms() + DISK_WAIT_MS;

	virtio.common->status = 0;
	while (virtio.common->status) {
		if (timer_ms() > end)
			return false;
	}
	return true;
}

static bool negotiate(uint32_t features)
{
	volatile struct common *c = virtio.common;

	c->status = STATUS_ACKNOWLEDGE;
	c->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
	c->device_select = 0;
	virtio.features = c->device_features & features;
	c->driver_select = 0;
	c->driver_features = virtio.features;
	c->driver_select = 1;
	c->driver_features = 1; /* VIRTIO_F_VERSION_1 */
	c->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
	return c->status & STATUS_FEATURES_OK;
}

static void set_address(volatile uint32_t *reg, const volatile void *area)
{
	reg[0] = (uint32_t)(uint64_t)area;
	reg[1] = (uint32_t)((uint64_t)area >> 32);
}

static void set_vectors(uint16_t bdf)
{
	volatile struct common *c = virtio.common;

	c->config_vector = NO_VECTOR;
	c->queue_vector = NO_VECTOR;
	virtio.msix =
		option_number("msix", 1) && pci_enable_msix(bdf, VECTOR_DISK);
	if (!virtio.msix)
		return;
	c->queue_vector = 0;
	virtio.msix = c->queue_vector == 0;
}

static bool setup_queue(uint16_t bdf, uint64_t notify, uint32_t multiplier)
{
	volatile struct common *c = virtio.common;

	c->queue = virtio.queue;
	virtio.size = c->queue_size;
	if (virtio.size > QUEUE_MAX) {
		virtio.size = QUEUE_MAX;
		c->queue_size = virtio.size;
	}
	virtio.nr_slots = virtio.size / VIRTIO_PARTS;
	if (virtio.nr_slots > DISK_SLOTS)
		virtio.nr_slots = DISK_SLOTS;
	if (!virtio.nr_slots)
		return false;
	available.index = used.index = virtio.seen = 0;
	set_vectors(bdf);
	set_address(c->descriptors, descriptors);
	set_address(c->driver_area, &available);
	set_address(c->device_area, &used);
	virtio.notify =
		(volatile uint16_t *)(notify +
				      (uint64_t)c->notify_offset * multiplier);
	c->queue_enable = 1;
	return true;
}

bool virtio_start(const struct pci_device *pci, uint16_t queue,
		  uint32_t features)
{
	uint64_t common, notify;
	unsigned at;

	common = find_area(pci->bdf, AREA_COMMON, &at);
	virtio.config = find_area(pci->bdf, AREA_DEVICE, &at);
	notify = find_area(pci->bdf, AREA_NOTIFY, &at);
	if (!common || !virtio.config || !notify)
		return false;
	virtio.common = (volatile struct common *)common;
	virtio.queue = queue;
	if (!reset() || !negotiate(features) ||
	    !setup_queue(pci->bdf, notify, pci_read(pci->bdf, at + 16, 4)))
		return false;
	virtio.common->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER |
				STATUS_FEATURES_OK | STATUS_DRIVER_OK;
	return true;
}

uint32_t virtio_features(void)
{
	return virtio.features;
}

volatile void *virtio_config(void)
{
	return (volatile void *)virtio.config;
}

unsigned virtio_slots(void)
{
	return virtio.nr_slots;
}

bool virtio_uses_msix(void)
{
	return virtio.msix;
}

void virtio_submit(unsigned slot, const struct virtio_part *parts, unsigned nr)
{
	uint16_t head = (uint16_t)(slot * VIRTIO_PARTS);
	uint16_t index = available.index;

	for (unsigned i = 0; i < nr; i++) {
		struct descriptor *d = &descriptors[head + i];

		d->address = (uint64_t)parts[i].at;
		d->len = parts[i].len;
		d->flags = (uint16_t)((parts[i].is_written ? DESC_WRITE : 0) |
				      (i + 1 < nr ? DESC_NEXT : 0));
		d->next = (uint16_t)(head + i + 1);
	}
	available.ring[index % virtio.size] = head;
	/* x86 keeps stores in order; the compiler must too. */
	compiler_barrier();
	available.index = (uint16_t)(index + 1);
	*virtio.notify = virtio.queue;
}

int virtio_reap(void)
{
	if (virtio.seen == used.index)
		return -1;
	compiler_barrier();
	return (int)(used.ring[virtio.seen++ % virtio.size].id / VIRTIO_PARTS);
}
