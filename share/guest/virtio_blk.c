/*
 * virtio-blk over PCI, the modern interface of virtio 1.x: the capabilities
 * say where the registers are, one split virtqueue, three descriptors to a
 * request.  Completions are polled; with MSI-X an interrupt ends the wait.
 */
#include "share/guest/guest.h"

#define QUEUE_MAX 64
#define SLOT_MAX  16
#define VENDOR	  0x1af4
#define NO_VECTOR 0xffff
#define RESET_MS  1000

enum {
	CAPABILITY_VENDOR = 0x09,
	VIRTIO_COMMON = 1,
	VIRTIO_NOTIFY = 2,
	VIRTIO_DEVICE = 4
};
enum {
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8
};
enum { FEATURE_FLUSH = 1 << 9, FEATURE_CONFIG_WCE = 1 << 11 };
enum { DESC_NEXT = 1, DESC_WRITE = 2 };

struct common { /* struct virtio_pci_common_cfg */
	uint32_t device_select, device_features;
	uint32_t driver_select, driver_features;
	uint16_t config_vector, nr_queues;
	uint8_t status, generation;
	uint16_t queue, queue_size, queue_vector, queue_enable, notify_offset;
	uint32_t descriptors[2], driver_area[2], device_area[2];
};

struct config { /* struct virtio_blk_config, as far as it is used */
	uint32_t capacity[2];
	uint8_t other[24];
	uint8_t writeback;
};

struct descriptor {
	uint64_t address;
	uint32_t len;
	uint16_t flags, next;
};

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

static struct {
	volatile struct common *common;
	volatile struct config *config;
	volatile uint16_t *notify;
	uint16_t size, seen;
	unsigned nr_slots;
	uint32_t features;
	bool msix;
} disk;

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
static struct request requests[SLOT_MAX] __attribute__((aligned(16)));
static volatile uint8_t statuses[SLOT_MAX];

static void on_interrupt(void)
{
	/* The interrupt's work was to end the wait. */
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
	uint64_t end = timer_ms() + RESET_MS;

	disk.common->status = 0;
	while (disk.common->status) {
		if (timer_ms() > end)
			return false;
	}
	return true;
}

static bool negotiate(void)
{
	volatile struct common *c = disk.common;

	c->status = STATUS_ACKNOWLEDGE;
	c->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
	c->device_select = 0;
	disk.features =
		c->device_features & (FEATURE_FLUSH | FEATURE_CONFIG_WCE);
	if (option_has("ack", "none"))
		disk.features = 0;
	c->driver_select = 0;
	c->driver_features = disk.features;
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

static bool setup_queue(uint16_t bdf, uint64_t notify, uint32_t multiplier)
{
	volatile struct common *c = disk.common;

	c->queue = 0;
	disk.size = c->queue_size;
	if (disk.size > QUEUE_MAX) {
		disk.size = QUEUE_MAX;
		c->queue_size = disk.size;
	}
	disk.nr_slots = disk.size / 3 < SLOT_MAX ? disk.size / 3 : SLOT_MAX;
	if (!disk.nr_slots)
		return false;
	c->config_vector = NO_VECTOR;
	disk.msix =
		option_number("msix", 1) && pci_enable_msix(bdf, VECTOR_DISK);
	if (disk.msix) {
		interrupt_set_handler(VECTOR_DISK, on_interrupt);
		c->queue_vector = 0;
		disk.msix = c->queue_vector == 0;
	} else {
		c->queue_vector = NO_VECTOR;
	}
	set_address(c->descriptors, descriptors);
	set_address(c->driver_area, &available);
	set_address(c->device_area, &used);
	disk.notify =
		(volatile uint16_t *)(notify +
				      (uint64_t)c->notify_offset * multiplier);
	c->queue_enable = 1;
	return true;
}

static const struct pci_device *find_disk(unsigned nth)
{
	const struct pci_device *found = pci_find(VENDOR, 0x1042, nth);

	/* The transitional device has the modern interface too. */
	return found ? found : pci_find(VENDOR, 0x1001, nth);
}

bool disk_init(unsigned nth)
{
	const struct pci_device *found = find_disk(nth);
	uint64_t common, config, notify;
	unsigned at;

	if (!found)
		return false;
	common = find_area(found->bdf, VIRTIO_COMMON, &at);
	config = find_area(found->bdf, VIRTIO_DEVICE, &at);
	notify = find_area(found->bdf, VIRTIO_NOTIFY, &at);
	if (!common || !config || !notify)
		return false;
	disk.common = (volatile struct common *)common;
	disk.config = (volatile struct config *)config;
	if (!reset() || !negotiate() ||
	    !setup_queue(found->bdf, notify, pci_read(found->bdf, at + 16, 4)))
		return false;
	disk.common->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER |
			      STATUS_FEATURES_OK | STATUS_DRIVER_OK;
	return true;
}

unsigned disk_slots(void)
{
	return disk.nr_slots;
}

uint64_t disk_sectors(void)
{
	return (uint64_t)disk.config->capacity[1] << 32 |
	       disk.config->capacity[0];
}

bool disk_uses_msix(void)
{
	return disk.msix;
}

bool disk_can_flush(void)
{
	return disk.features & FEATURE_FLUSH;
}

int disk_write_cache(void)
{
	if (!(disk.features & FEATURE_CONFIG_WCE))
		return -1;
	return disk.config->writeback;
}

bool disk_set_write_cache(bool on)
{
	if (!(disk.features & FEATURE_CONFIG_WCE))
		return false;
	disk.config->writeback = on;
	return disk.config->writeback == on;
}

void disk_submit(unsigned slot, int type, uint64_t sector, void *buf,
		 uint32_t len)
{
	struct descriptor *d = &descriptors[slot * 3];
	uint16_t head = (uint16_t)(slot * 3), last = (uint16_t)(head + 1);
	uint16_t index = available.index;

	requests[slot] = (struct request){(uint32_t)type, 0, sector};
	statuses[slot] = 0xff;
	if (len) {
		d[1].address = (uint64_t)buf;
		d[1].len = len;
		d[1].flags =
			type == DISK_READ ? DESC_NEXT | DESC_WRITE : DESC_NEXT;
		d[1].next = ++last;
	}
	d[0].address = (uint64_t)&requests[slot];
	d[0].len = sizeof(requests[slot]);
	d[0].flags = DESC_NEXT;
	d[0].next = (uint16_t)(head + 1);
	descriptors[last] = (struct descriptor){(uint64_t)&statuses[slot], 1,
						DESC_WRITE, 0};
	available.ring[index % disk.size] = head;
	/* x86 keeps stores in order; the compiler must too. */
	__asm__ volatile("" : : : "memory");
	available.index = (uint16_t)(index + 1);
	*disk.notify = 0;
}

int disk_reap(uint8_t *status)
{
	unsigned slot;

	if (disk.seen == used.index)
		return -1;
	__asm__ volatile("" : : : "memory");
	slot = used.ring[disk.seen++ % disk.size].id / 3;
	*status = slot < disk.nr_slots ? statuses[slot] : 0xff;
	return (int)slot;
}
