/*
 * Numbered records on the disk, from 1 MiB on, in a ring of slots.
 *
 * Record n is written to slot (n - 1) % nr_slots.  Every `flush=` records all
 * writes are waited for and a flush follows; when the device has answered it,
 * `disk wrote= flushed=` promises that every record up to that number is on
 * stable storage.  record_find() tells what a disk holds: the records that must
 * be there are the last nr_slots of them but for AHEAD, whose slots may
 * have been in the middle of being overwritten.
 *
 * Each sector also says up to which record the disk had promised stability when
 * it was written: so a later run, which remembers nothing, knows what is lost.
 */
#include "share/guest/guest.h"

#define MAGIC	     0x31434552314e4942
#define MIX	     0x9e3779b97f4a7c15
#define FIRST_SECTOR 2048
#define SECTORS	     8	/* of a record */
#define WORDS	     64 /* of a sector */
#define RING_MAX     4096
#define RING_MIN     (2 * AHEAD)
#define AHEAD	     64
#define PART	     7 /* of a sector's third word: which of SECTORS it is */
#define PART_BITS    3

enum slot_use { SLOT_FREE, SLOT_WRITE, SLOT_FLUSH, SLOT_READ };

static uint64_t buffers[DISK_SLOTS][SECTORS * WORDS] SCRATCH(4096);
static enum slot_use uses[DISK_SLOTS];
static uint64_t slot_numbers[DISK_SLOTS];
static uint64_t ring[RING_MAX]; /* what record_find() saw: number or 0 */
static uint64_t nr_ring, per_second, flush_every;
static uint64_t issued, written, flushed, found;
static uint64_t last_ms, credit;
static unsigned nr_busy;
static bool present, writing, never_flush, tells;
static uint64_t nr_torn, nr_acked, stable, promised;
static uint64_t failed; /* the first record whose write was refused, or 0 */
/* Up to where the next flush, or what stands for it, is not yet due. */
static uint64_t settled;

static uint64_t sector_fill(uint64_t number, unsigned k)
{
	return (number << 3 | k) * MIX;
}

static uint64_t sector_sum(uint64_t number, uint64_t part, uint64_t fill)
{
	return MAGIC + number + part + (WORDS - 4) * fill;
}

static void make_record(uint64_t *record, uint64_t number)
{
	for (unsigned k = 0; k < SECTORS; k++, record += WORDS) {
		uint64_t fill = sector_fill(number, k);

		record[0] = MAGIC;
		record[1] = number;
		record[2] = stable << PART_BITS | k;
		fill64(record + 3, fill, WORDS - 4);
		record[WORDS - 1] = sector_sum(number, record[2], fill);
	}
}

static bool check_sector(const uint64_t *sector, uint64_t number, unsigned k)
{
	uint64_t fill = sector_fill(number, k);

	return sector[0] == MAGIC && sector[1] == number &&
	       (sector[2] & PART) == k && sector[3] == fill &&
	       sector[WORDS / 2] == fill && sector[WORDS - 2] == fill &&
	       sector[WORDS - 1] == sector_sum(number, sector[2], fill);
}

/* The number of the record in a place of the ring, or 0 when it isn't one,
 * whole; what sectors of one are there counts all the same. */
static uint64_t check_record(const uint64_t *record, uint64_t place)
{
	uint64_t number = record[1];
	bool whole = true, some = false;

	for (unsigned k = 0; k < SECTORS; k++, record += WORDS) {
		whole = whole && check_sector(record, number, k);
		if (!check_sector(record, record[1], k))
			continue;
		some = true;
		if ((record[1] - 1) % nr_ring == place &&
		    record[2] >> PART_BITS > promised)
			promised = record[2] >> PART_BITS;
	}
	nr_torn += some && !whole;
	return whole ? number : 0;
}

static uint64_t record_sector(uint64_t place)
{
	return FIRST_SECTOR + place * SECTORS;
}

void record_init(void)
{
	const struct disk_facts *disk = disk_facts();
	uint64_t room;

	present = disk_init();
	if (!present) {
		print("disk none");
		return;
	}
	room = disk->sectors > FIRST_SECTOR
		       ? (disk->sectors - FIRST_SECTOR) / SECTORS
		       : 0;
	nr_ring = option_number("slots", 1024);
	if (nr_ring > RING_MAX)
		nr_ring = RING_MAX;
	if (nr_ring > room)
		nr_ring = room;
	per_second = option_number("iops", 32);
	flush_every = option_number("flush", 16);
	never_flush = !flush_every;
	tells = option_has("mode", "power");
	if (never_flush || flush_every > AHEAD - DISK_SLOTS)
		flush_every = 16;
	print("disk sectors=%lu slots=%lu cache=%s flush=%s msix=%u bus=%s",
	      disk->sectors, nr_ring,
	      disk_write_cache() < 0   ? "unknown"
	      : disk_write_cache() > 0 ? "on"
				       : "off",
	      disk->can_flush ? "yes" : "no", disk->by_message, disk_bus());
	if (nr_ring < RING_MIN) {
		print("disk too small for records");
		present = false;
	}
}

static void submit(unsigned slot, enum slot_use use, uint64_t number,
		   uint64_t place)
{
	static const enum disk_op ops[] = {[SLOT_WRITE] = DISK_WRITE,
					   [SLOT_FLUSH] = DISK_FLUSH,
					   [SLOT_READ] = DISK_READ};

	uses[slot] = use;
	slot_numbers[slot] = number;
	nr_busy++;
	disk_submit(slot, ops[use],
		    use == SLOT_FLUSH ? 0 : record_sector(place), buffers[slot],
		    use == SLOT_FLUSH ? 0 : sizeof(buffers[slot]));
}

static void report(void)
{
	print("disk wrote=%lu flushed=%lu", written, flushed);
}

/* Up to which record every write was answered. */
static uint64_t acked(void)
{
	uint64_t n = failed ? failed - 1 : issued;

	for (unsigned i = 0; i < disk_facts()->slots; i++) {
		if (uses[i] == SLOT_WRITE && slot_numbers[i] <= n)
			n = slot_numbers[i] - 1;
	}
	return n;
}

/* And up to which the disk has promised to keep it: a flush after it was
 * answered, or the first write since there is no cache, which keeps those
 * before it too. */
static void update_stable(void)
{
	uint64_t now = acked();

	if (now == nr_acked && flushed <= stable)
		return;
	nr_acked = now;
	if (now > stable && now > found &&
	    (!disk_facts()->can_flush || !disk_write_cache()))
		stable = now;
	if (flushed > stable)
		stable = flushed;
	if (tells)
		print("disk acked=%lu stable=%lu", nr_acked, stable);
}

static void finish(unsigned slot, uint8_t status)
{
	enum slot_use use = uses[slot];
	uint64_t number = slot_numbers[slot];

	uses[slot] = SLOT_FREE;
	nr_busy--;
	if (status) {
		print("disk error status=%u use=%u number=%lu", status, use,
		      number);
		writing = false;
		if (use == SLOT_WRITE && (!failed || number < failed))
			failed = number;
		return;
	}
	switch (use) {
	case SLOT_WRITE:
		written++;
		break;
	case SLOT_FLUSH:
		flushed = number;
		report();
		break;
	case SLOT_READ:
		ring[number] = check_record(buffers[slot], number);
		break;
	case SLOT_FREE:
		break;
	}
}

static void reap(void)
{
	uint8_t status;
	int slot;

	while ((slot = disk_reap(&status)) >= 0) {
		if ((unsigned)slot < disk_facts()->slots &&
		    uses[slot] != SLOT_FREE)
			finish((unsigned)slot, status);
		else
			print("disk error answer for request %u that was not "
			      "asked",
			      (unsigned)slot);
	}
}

static int free_slot(void)
{
	for (unsigned i = 0; i < disk_facts()->slots; i++) {
		if (uses[i] == SLOT_FREE)
			return (int)i;
	}
	return -1;
}

static bool read_ring(void)
{
	uint64_t next = 0, end = timer_ms() + DISK_WAIT_MS;

	while (next < nr_ring || nr_busy) {
		int slot = next < nr_ring ? free_slot() : -1;
		unsigned before = nr_busy;

		if (slot >= 0) {
			submit((unsigned)slot, SLOT_READ, next, next);
			next++;
			continue;
		}
		reap();
		if (nr_busy != before)
			end = timer_ms() + DISK_WAIT_MS;
		else if (timer_ms() > end)
			return false;
		relax();
	}
	return true;
}

void record_find(void)
{
	uint64_t highest = 0, first, bad = 0, missing = 0, lost = 0;

	if (!present)
		return;
	if (!read_ring()) {
		print("disk error no answer");
		present = false;
		return;
	}
	for (uint64_t i = 0; i < nr_ring; i++) {
		if (ring[i] && (ring[i] - 1) % nr_ring != i) {
			ring[i] = 0;
			bad++;
		}
		if (ring[i] > highest)
			highest = ring[i];
	}
	first = highest > nr_ring - AHEAD ? highest - (nr_ring - AHEAD) + 1 : 1;
	for (found = first - 1; found < highest; found++) {
		if (ring[found % nr_ring] != found + 1)
			break;
	}
	for (uint64_t n = first; n <= highest || n <= promised; n++) {
		bool there = ring[(n - 1) % nr_ring] == n;

		missing += !there && n <= highest;
		lost += !there && n <= promised;
	}
	print("disk found=%lu highest=%lu first=%lu misplaced=%lu missing=%lu "
	      "torn=%lu pass=%lu promised=%lu lost=%lu",
	      found, highest, first, bad, missing, nr_torn,
	      highest ? (highest - 1) / nr_ring + 1 : 0, promised, lost);
	/* A gap behind `found` is filled, or it would count as a loss for ever;
	 * that what was read is stable, nobody has promised. */
	issued = written = settled = found;
	nr_acked = found;
}

/* From the first record on that the disk refused. */
static void write_again(void)
{
	issued = written = failed - 1;
	if (settled > issued)
		settled = issued;
	failed = 0;
}

static void issue_flush(void)
{
	if (nr_busy)
		return;
	settled = issued;
	if (disk_facts()->can_flush && !never_flush) {
		submit(0, SLOT_FLUSH, issued, 0);
		return;
	}
	/* Without a flush the device must be write-through by itself. */
	if (!never_flush)
		flushed = issued;
	report();
}

void record_work(void)
{
	uint64_t now = timer_ms();
	int slot;

	if (!present)
		return;
	reap();
	update_stable();
	if (!writing) {
		if (issued != settled && !nr_busy && issued == written)
			issue_flush();
		return;
	}
	if (failed && nr_busy)
		return;
	if (failed)
		write_again();
	credit += (now - last_ms) * per_second;
	last_ms = now;
	if (credit > DISK_SLOTS * 1000)
		credit = DISK_SLOTS * 1000;
	while (credit >= 1000) {
		if (issued - settled >= flush_every) {
			issue_flush();
			return;
		}
		slot = free_slot();
		if (slot < 0)
			return;
		credit -= 1000;
		make_record(buffers[slot], ++issued);
		submit((unsigned)slot, SLOT_WRITE, issued,
		       (issued - 1) % nr_ring);
	}
}

void record_set_writing(bool wanted)
{
	writing = wanted && present;
	last_ms = timer_ms();
	credit = 0;
}

bool record_set_cache(bool on)
{
	uint64_t end = timer_ms() + DISK_WAIT_MS;

	while (nr_busy) {
		reap();
		if (timer_ms() > end)
			return false;
		relax();
	}
	return present && disk_set_write_cache(on);
}

bool record_is_writing(void)
{
	return writing;
}

uint64_t record_written(void)
{
	return written;
}

uint64_t record_flushed(void)
{
	return flushed;
}

uint64_t record_found(void)
{
	return found;
}
