/*
 * A SCSI disk behind virtio-scsi (virtio 1.2, 5.6; SBC-3): by the first of the
 * request queues; logical unit 0 of each target.
 */
#include "share/guest/virtio.h"

#define TYPE_SCSI     8
#define TRANSITIONAL  0x1004
#define QUEUE_REQUEST 2
#define TARGETS	      256
#define CDB_LEN	      32
#define SENSE_LEN     96

enum {
	TEST_UNIT_READY = 0x00,
	INQUIRY = 0x12,
	MODE_SELECT_6 = 0x15,
	MODE_SENSE_6 = 0x1a,
	READ_16 = 0x88,
	WRITE_16 = 0x8a,
	SYNCHRONIZE_CACHE_16 = 0x91,
	SERVICE_ACTION_IN_16 = 0x9e
};
enum { READ_CAPACITY = 0x10, PAGE_CACHING = 8, CACHE_ON = 4 };

struct config { /* struct virtio_scsi_config */
	uint32_t nr_queues, seg_max, max_sectors, cmd_per_lun, event_len;
	uint32_t sense_len, cdb_len;
	uint16_t max_channel, max_target;
	uint32_t max_lun;
};

struct request {
	uint8_t lun[8];
	uint64_t tag;
	uint8_t attribute, priority, crn, cdb[CDB_LEN];
} __attribute__((packed));

struct answer {
	uint32_t sense_len, residual;
	uint16_t qualifier;
	uint8_t status, response, sense[SENSE_LEN];
};

static struct request requests[DISK_SLOTS] __attribute__((aligned(16)));
static volatile struct answer answers[DISK_SLOTS] __attribute__((aligned(16)));
static uint8_t data[64];
static uint8_t target;
static int cache_is_on;

static uint64_t get_number(const uint8_t *from, unsigned len)
{
	uint64_t value = 0;

	while (len--)
		value = value << 8 | *from++;
	return value;
}

static void put_number(uint8_t *to, unsigned len, uint64_t value)
{
	while (len--) {
		to[len] = (uint8_t)value;
		value >>= 8;
	}
}

/* The command block is in the slot's request. */
static void send(unsigned slot, void *buf, uint32_t len, bool to_us)
{
	struct request *r = &requests[slot];
	struct virtio_part head = {r, sizeof(*r), false};
	struct virtio_part answer = {&answers[slot], sizeof(answers[slot]),
				     true};
	struct virtio_part body = {buf, len, to_us};
	struct virtio_part parts[3] = {head, answer, body};

	if (!to_us && len) {
		parts[1] = body;
		parts[2] = answer;
	}
	memset(r->lun, 0, sizeof(r->lun));
	r->lun[0] = 1;
	r->lun[1] = target;
	r->lun[2] = 0x40;
	r->tag = slot;
	answers[slot].status = answers[slot].response = 0xff;
	virtio_submit(slot, parts, len ? 3 : 2);
}

static bool is_good(unsigned slot)
{
	return !answers[slot].response && !answers[slot].status;
}

/* With nothing else in flight; data[] comes or goes. */
static bool command(uint8_t code, uint8_t byte1, uint8_t byte2, uint8_t len)
{
	uint64_t end = timer_ms() + DISK_WAIT_MS;
	uint8_t *cdb = requests[0].cdb;

	memset(cdb, 0, CDB_LEN);
	cdb[0] = code;
	cdb[1] = byte1;
	cdb[2] = byte2;
	cdb[code == SERVICE_ACTION_IN_16 ? 13 : 4] = len;
	send(0, data, len, code != MODE_SELECT_6);
	while (virtio_reap() < 0) {
		if (timer_ms() > end)
			return false;
		relax();
	}
	compiler_barrier();
	return is_good(0);
}

static bool is_disk(void)
{
	return command(INQUIRY, 0, 0, 36) && !(data[0] & 0x3f);
}

static bool look(struct disk_facts *facts)
{
	/* The first commands are told that the power came on. */
	for (unsigned i = 0; i < 4; i++) {
		if (command(TEST_UNIT_READY, 0, 0, 0))
			break;
	}
	if (!command(SERVICE_ACTION_IN_16, READ_CAPACITY, 0, 32))
		return false;
	facts->sectors = get_number(data, 8) + 1;
	if (get_number(data + 8, 4) != 512)
		return false;
	/* Without block descriptors: four bytes, then the page. */
	cache_is_on = -1;
	if (command(MODE_SENSE_6, 8, PAGE_CACHING, 24))
		cache_is_on = !!(data[6] & CACHE_ON);
	return true;
}

static bool find_target(unsigned *nth)
{
	unsigned last = ((volatile struct config *)virtio_config())->max_target;

	for (unsigned i = 0; i <= last && i < TARGETS; i++) {
		target = (uint8_t)i;
		if (is_disk() && !(*nth)--)
			return true;
	}
	return false;
}

static bool probe(unsigned nth, struct disk_facts *facts)
{
	const struct pci_device *pci;

	for (unsigned i = 0; (pci = virtio_find(TYPE_SCSI, TRANSITIONAL, i));
	     i++) {
		if (!virtio_start(pci, QUEUE_REQUEST, 0) || !find_target(&nth))
			continue;
		facts->slots = virtio_slots();
		facts->can_flush = true;
		facts->by_message = virtio_uses_msix();
		return look(facts);
	}
	return false;
}

static void submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		   uint32_t len)
{
	static const uint8_t codes[] = {[DISK_READ] = READ_16,
					[DISK_WRITE] = WRITE_16,
					[DISK_FLUSH] = SYNCHRONIZE_CACHE_16};
	uint8_t *cdb = requests[slot].cdb;

	memset(cdb, 0, CDB_LEN);
	cdb[0] = codes[op];
	put_number(cdb + 2, 8, sector);
	put_number(cdb + 10, 4, len / 512);
	send(slot, buf, len, op == DISK_READ);
}

static int reap(uint8_t *status)
{
	int slot = virtio_reap();

	if (slot >= 0)
		*status = slot >= DISK_SLOTS || !is_good((unsigned)slot);
	return slot;
}

static int write_cache(void)
{
	return cache_is_on;
}

static bool set_write_cache(bool on)
{
	if (cache_is_on < 0 || !command(MODE_SENSE_6, 8, PAGE_CACHING, 24))
		return false;
	/* What is to be sent back has no length, and no flags. */
	memset(data, 0, 4);
	data[4] &= 0x3f;
	data[6] = (uint8_t)((data[6] & ~CACHE_ON) | (on ? CACHE_ON : 0));
	if (!command(MODE_SELECT_6, 0x10, 0, 24))
		return false;
	cache_is_on = on;
	return true;
}

const struct disk_driver virtio_scsi_driver = {
	.name = "scsi",
	.probe = probe,
	.submit = submit,
	.reap = reap,
	.write_cache = write_cache,
	.set_write_cache = set_write_cache,
};
