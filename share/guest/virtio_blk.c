/* virtio-blk: header, data, status (virtio 1.2, 5.2). */
#include "share/guest/virtio.h"

#define TYPE_BLOCK   2
#define TRANSITIONAL 0x1001

enum { FEATURE_FLUSH = 1 << 9, FEATURE_CONFIG_WCE = 1 << 11 };

struct config { /* struct virtio_blk_config, as far as it is used */
	uint32_t capacity[2];
	uint8_t other[24];
	uint8_t writeback;
};

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

static struct request requests[DISK_SLOTS] __attribute__((aligned(16)));
static volatile uint8_t statuses[DISK_SLOTS];

static volatile struct config *config(void)
{
	return virtio_config();
}

static bool probe(unsigned nth, struct disk_facts *facts)
{
	const struct pci_device *pci =
		virtio_find(TYPE_BLOCK, TRANSITIONAL, nth);
	uint32_t features = FEATURE_FLUSH | FEATURE_CONFIG_WCE;

	if (option_has("ack", "none"))
		features = 0;
	if (!pci || !virtio_start(pci, 0, features))
		return false;
	facts->sectors =
		(uint64_t)config()->capacity[1] << 32 | config()->capacity[0];
	facts->slots = virtio_slots();
	facts->can_flush = virtio_features() & FEATURE_FLUSH;
	facts->by_message = virtio_uses_msix();
	return true;
}

static int write_cache(void)
{
	if (!(virtio_features() & FEATURE_CONFIG_WCE))
		return -1;
	return config()->writeback;
}

static bool set_write_cache(bool on)
{
	if (!(virtio_features() & FEATURE_CONFIG_WCE))
		return false;
	config()->writeback = on;
	return config()->writeback == on;
}

static void submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		   uint32_t len)
{
	static const uint32_t types[] = {
		[DISK_READ] = 0, [DISK_WRITE] = 1, [DISK_FLUSH] = 4};
	struct virtio_part parts[] = {
		{&requests[slot], sizeof(requests[slot]), false},
		{buf, len, op == DISK_READ},
		{&statuses[slot], 1, true},
	};

	requests[slot] = (struct request){types[op], 0, sector};
	statuses[slot] = 0xff;
	if (len) {
		virtio_submit(slot, parts, 3);
		return;
	}
	parts[1] = parts[2];
	virtio_submit(slot, parts, 2);
}

static int reap(uint8_t *status)
{
	int slot = virtio_reap();

	if (slot >= 0)
		*status = slot < DISK_SLOTS ? statuses[slot] : 0xff;
	return slot;
}

const struct disk_driver virtio_blk_driver = {
	.name = "virtio",
	.probe = probe,
	.submit = submit,
	.reap = reap,
	.write_cache = write_cache,
	.set_write_cache = set_write_cache,
};
