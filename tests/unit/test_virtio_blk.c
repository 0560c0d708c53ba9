/* virtio-blk over PCI, driven by a guest's driver written here. */
#include "tests/unit/fake_pc.h"

#include <sys/stat.h>

#include "core/device_feature.h"
#include "core/disk_driver.h"

#define RING_LEN 16u
#define DESC	 0x10000u
#define AVAIL	 0x11000u
#define USED	 0x12000u
#define TABLE	 0x13000u
#define HEADERS	 0x14000u /* 16 bytes a request */
#define STATUS	 0x15000u /* a byte a request */
#define DATA	 0x20000u

#define COMMON PC_BAR
#define ISR    (PC_BAR + 0x1000)
#define CONFIG (PC_BAR + 0x2000)
#define NOTIFY (PC_BAR + 0x3000)

#define T_IN	       0
#define T_OUT	       1
#define T_FLUSH	       4
#define T_GET_ID       8
#define T_DISCARD      11
#define T_WRITE_ZEROES 13

#define F_FLUSH	    (1u << 9)
#define F_WCE	    (1u << 11)
#define F_EVENT_IDX (1u << 29)

extern const struct device_class virtio_blk_class;

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct guest {
	struct fake_pc *pc;
	struct device *dev;
	uint16_t avail, used; /* what the driver counted */
};

/* ---- the driver ---- */

static void set_status(struct guest *g, uint8_t status)
{
	pc_out(g->pc, COMMON + 20, status, 1);
}

static uint8_t get_status(struct guest *g)
{
	return (uint8_t)pc_in(g->pc, COMMON + 20, 1);
}

static void set_queue(struct guest *g)
{
	struct fake_pc *pc = g->pc;

	memset(pc_ram(pc, DESC), 0, 0x6000);
	pc_out(pc, COMMON + 22, 0, 2);
	assert_true(pc_in(pc, COMMON + 24, 2) >= RING_LEN);
	pc_out(pc, COMMON + 24, RING_LEN, 2);
	pc_out(pc, COMMON + 32, DESC, 4);
	pc_out(pc, COMMON + 36, 0, 4);
	pc_out(pc, COMMON + 40, AVAIL, 8);
	pc_out(pc, COMMON + 48, USED, 8);
	pc_out(pc, COMMON + 28, 1, 2);
	g->avail = g->used = 0;
}

static void start(struct guest *g, uint32_t features)
{
	struct fake_pc *pc = g->pc;

	set_status(g, 0);
	pc_wait_reg(pc, COMMON + 20, 1, 0xff, 0);
	set_status(g, 1);
	set_status(g, 3);
	pc_out(pc, COMMON + 8, 0, 4);
	pc_out(pc, COMMON + 12, features, 4);
	pc_out(pc, COMMON + 8, 1, 4);
	pc_out(pc, COMMON + 12, 1, 4); /* VERSION_1 */
	set_status(g, 11);
	assert_int_equal(get_status(g), 11);
	set_queue(g);
	assert_int_equal(pc_in(pc, COMMON + 28, 2), 1);
	set_status(g, 15);
	assert_int_equal(get_status(g), 15);
}

static void put_desc(struct guest *g, unsigned i, uint64_t addr, uint32_t len,
		     uint16_t flags, uint16_t next)
{
	struct desc d = {addr, len, flags, next};

	memcpy(pc_ram(g->pc, DESC + 16 * i), &d, sizeof(d));
}

static void put_header(struct guest *g, unsigned i, uint32_t type,
		       uint64_t sector)
{
	uint32_t h[2] = {type, 0};

	memcpy(pc_ram(g->pc, HEADERS + 16 * i), h, 8);
	memcpy(pc_ram(g->pc, HEADERS + 16 * i + 8), &sector, 8);
	*pc_ram(g->pc, STATUS + i) = 0xee;
}

static void kick(struct guest *g)
{
	pc_out(g->pc, NOTIFY, 0, 2);
}

static void offer(struct guest *g, uint16_t head)
{
	uint8_t *ring = pc_ram(g->pc, AVAIL);

	memcpy(ring + 4 + 2 * (g->avail % RING_LEN), &head, 2);
	g->avail++;
	/* Release: as a driver's barrier before it moves the index. */
	__atomic_store_n((uint16_t *)(void *)(ring + 2), g->avail,
			 __ATOMIC_RELEASE);
}

/* Three descriptors from `first`: header, len bytes at DATA + off, status. */
static void build(struct guest *g, unsigned first, uint32_t type,
		  uint64_t sector, uint32_t off, uint32_t len)
{
	uint16_t in = type == T_IN || type == T_GET_ID ? 2 : 0;
	unsigned data = first + 1, last = len ? first + 2 : first + 1;

	put_header(g, first, type, sector);
	put_desc(g, first, HEADERS + 16 * first, 16, 1, (uint16_t)(first + 1));
	if (len)
		put_desc(g, data, DATA + off, len, 1 | in, (uint16_t)last);
	put_desc(g, last, STATUS + first, 1, 2, 0);
}

static uint32_t wait_used(struct guest *g)
{
	uint32_t entry[2];

	g->used++;
	pc_wait16(g->pc, USED + 2, g->used);
	memcpy(entry, pc_ram(g->pc, USED + 4 + 8 * ((g->used - 1u) % RING_LEN)),
	       8);
	return entry[1];
}

/* One request, from chain to status byte. */
static uint8_t request(struct guest *g, uint32_t type, uint64_t sector,
		       uint32_t len)
{
	build(g, 0, type, sector, 0, len);
	offer(g, 0);
	kick(g);
	wait_used(g);
	return *pc_ram(g->pc, STATUS);
}

static void make(struct guest *g, struct fake_pc *pc, enum drive_preset preset,
		 bool readonly)
{
	struct device_args args = {.devfn = -1};

	*g = (struct guest){.pc = pc};
	pc_open_drive(pc, preset, readonly);
	args.drive = pc->drive;
	args.io = pc->io;
	g->dev = pc_add(pc, &virtio_blk_class, "disk0", &args);
	pc_map_bar(pc, g->dev, 0, PC_BAR);
}

/* ---- tests ---- */

static void disk_says_what_it_is(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(pci_config_read((void *)g.dev, 0, 4), 0x10421af4);
	start(&g, F_FLUSH | F_WCE);
	assert_int_equal(pc_in(g.pc, CONFIG, 8), PC_DISK_LEN / 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 20, 4), 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	assert_int_equal(request(&g, T_GET_ID, 0, 20), 0);
	assert_string_equal((char *)pc_ram(g.pc, DATA), "disk0");
}

static void data_goes_round(void **state)
{
	struct guest g;
	uint8_t *data;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	data = pc_ram(g.pc, DATA);
	memset(data, 0xa7, 8192);
	assert_int_equal(request(&g, T_OUT, 100, 8192), 0);
	assert_int_equal(request(&g, T_FLUSH, 0, 0), 0);
	assert_int_equal(pc_gate.syncs, 1);
	memset(data, 0, 8192);
	build(&g, 0, T_IN, 100, 0, 8192);
	offer(&g, 0);
	kick(&g);
	assert_int_equal(wait_used(&g), 8193);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(data[i], 0xa7);
}

static void many_requests_in_one_kick(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_NONE, false);
	start(&g, F_FLUSH | F_EVENT_IDX);
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 5; i++) {
			memset(pc_ram(g.pc, DATA + 512 * i), (int)(round + i),
			       512);
			build(&g, 3 * i, T_OUT, 10 * i, 512 * i, 512);
			offer(&g, (uint16_t)(3 * i));
		}
		kick(&g);
		g.used += 4;
		wait_used(&g);
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(*pc_ram(g.pc, STATUS + 3 * i), 0);
	}
	assert_int_equal(request(&g, T_IN, 20, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 199 + 2);
}

static void interrupt_line_follows_the_status_register(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	assert_false(pc_intx(g.pc, g.dev));
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	pc_wait_reg(g.pc, ISR, 1, 1, 1);
	assert_false(pc_intx(g.pc, g.dev));
	assert_int_equal(pc_in(g.pc, ISR, 1), 0);
}

static void msix_takes_the_line_s_place(void **state)
{
	struct guest g;
	uint64_t end = loop_now_ns() + PC_WAIT_NS;
	const struct irq_msi *msi;

	make(&g, *state, DRIVE_WRITEBACK, false);
	/* Vector 1 for the queue; enabled in the capability. */
	pc_out(g.pc, PC_BAR + 0x4000 + 16, 0xfee00000, 4);
	pc_out(g.pc, PC_BAR + 0x4000 + 24, 0x41, 4);
	pc_out(g.pc, PC_BAR + 0x4000 + 28, 0, 4);
	pc_config_out(g.pc, g.dev,
		      ((struct pci_dev *)(void *)g.dev)->msix.cap + 2, 0x8000,
		      2);
	start(&g, F_FLUSH);
	pc_out(g.pc, COMMON + 22, 0, 2);
	pc_out(g.pc, COMMON + 26, 77, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 26, 2), 0xffff);
	pc_out(g.pc, COMMON + 26, 1, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 26, 2), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	msi = &((struct pci_dev *)(void *)g.dev)->msix.msi[1];
	while (!__atomic_load_n(&msi->raised, __ATOMIC_RELAXED))
		assert_true(loop_now_ns() < end);
	assert_false(pc_intx(g.pc, g.dev));
	assert_int_equal(pc_in(g.pc, ISR, 1), 0);
}

static void requests_that_cannot_be_served(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, 99, 0, 512), 2);
	assert_int_equal(request(&g, T_IN, PC_DISK_LEN / 512, 512), 1);
	assert_int_equal(request(&g, T_IN, PC_DISK_LEN / 512 - 1, 1024), 1);
	assert_int_equal(request(&g, T_IN, UINT64_MAX, 512), 1);
	assert_int_equal(request(&g, T_IN, UINT64_MAX / 512 + 1, 512), 1);
	assert_int_equal(request(&g, T_OUT, 0, 100), 1);
	pc_gate.io_error = EIO;
	assert_int_equal(request(&g, T_IN, 0, 512), 1);
	pc_gate.io_error = 0;
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	assert_int_equal(get_status(&g), 15);
}

static void readonly_disks_refuse_writes(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, true);
	pc_out(g.pc, COMMON, 0, 4);
	assert_true(pc_in(g.pc, COMMON + 4, 4) & (1u << 5));
	start(&g, F_FLUSH | (1u << 5));
	assert_int_equal(request(&g, T_OUT, 0, 512), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static uint8_t range_request(struct guest *g, uint32_t type, uint64_t sector,
			     uint32_t nr, uint32_t flags)
{
	uint8_t *p = pc_ram(g->pc, DATA);

	memcpy(p, &sector, 8);
	memcpy(p + 8, &nr, 4);
	memcpy(p + 12, &flags, 4);
	return request(g, type, 0, 16);
}

static void discard_and_write_zeroes(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | (1u << 13) | (1u << 14));
	memset(pc_ram(g.pc, DATA), 0x33, 4096);
	assert_int_equal(request(&g, T_OUT, 8, 4096), 0);
	assert_int_equal(range_request(&g, T_WRITE_ZEROES, 8, 8, 1), 0);
	assert_int_equal(request(&g, T_IN, 8, 4096), 0);
	assert_int_equal(*pc_ram(g.pc, DATA + 4095), 0);
	assert_int_equal(range_request(&g, T_DISCARD, 0, 8, 0), 0);
	assert_int_equal(range_request(&g, T_DISCARD, 0, 8, 1), 2);
	assert_int_equal(range_request(&g, T_WRITE_ZEROES, 0, 8, 2), 2);
	assert_int_equal(range_request(&g, T_DISCARD, 0, UINT32_MAX, 0), 1);
	assert_int_equal(range_request(&g, T_DISCARD, PC_DISK_LEN / 512, 1, 0),
			 1);
	assert_int_equal(range_request(&g, T_DISCARD, UINT64_MAX, 1, 0), 1);
}

static void put_range(struct guest *g, unsigned i, uint64_t sector, uint32_t nr,
		      uint32_t flags)
{
	uint8_t *p = pc_ram(g->pc, DATA + 16 * i);

	memcpy(p, &sector, 8);
	memcpy(p + 8, &nr, 4);
	memcpy(p + 12, &flags, 4);
}

static off_t disk_blocks(struct guest *g)
{
	struct stat st;

	assert_int_equal(stat(g->pc->disk_path, &st), 0);
	return st.st_blocks;
}

static void several_ranges_in_one_request(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITETHROUGH, false);
	start(&g, F_FLUSH | (1u << 13) | (1u << 14));
	assert_int_equal(pc_in(g.pc, CONFIG + 40, 4), 16); /* discard_segs */
	assert_int_equal(pc_in(g.pc, CONFIG + 52, 4), 16); /* zeroes_segs */
	for (unsigned i = 0; i < 16; i++) {
		memset(pc_ram(g.pc, DATA), 0x77, 1024);
		assert_int_equal(request(&g, T_OUT, 4 * i, 1024), 0);
	}
	/* The middle of each pair; one flush makes all of them stable. */
	for (unsigned i = 0; i < 16; i++)
		put_range(&g, i, 4 * i + 1, 1, 0);
	pc_gate.syncs = 0;
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16 * 16), 0);
	assert_int_equal(pc_gate.syncs, 1);
	/* So it does when the last is empty. */
	for (unsigned i = 1; i < 16; i++)
		put_range(&g, i, 0, 0, 0);
	pc_gate.syncs = 0;
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16 * 16), 0);
	assert_int_equal(pc_gate.syncs, 1);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(request(&g, T_IN, 4 * i, 1024), 0);
		assert_int_equal(*pc_ram(g.pc, DATA + 511), 0x77);
		assert_int_equal(*pc_ram(g.pc, DATA + 512), 0);
		assert_int_equal(*pc_ram(g.pc, DATA + 1023), 0);
	}
	/* One that is wrong in form stops all before the first is done. */
	put_range(&g, 0, 0, 1, 0);
	put_range(&g, 1, 4, 1, 2);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 32), 2);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 31), 2);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 0), 2);
	assert_int_equal(request(&g, T_DISCARD, 0, 17 * 16), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 0x77);
	/* One past the end fails the request. */
	put_range(&g, 0, 0, 1, 0);
	put_range(&g, 1, PC_DISK_LEN / 512, 1, 0);
	put_range(&g, 2, 8, 1, 0);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 48), 1);
	assert_int_equal(request(&g, T_IN, 8, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 0x77);
	assert_int_equal(get_status(&g), 15);
}

static void only_unmap_gives_space_back(void **state)
{
	struct guest g;
	off_t full;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | (1u << 13) | (1u << 14));
	memset(pc_ram(g.pc, DATA), 0x77, 512u << 10);
	assert_int_equal(request(&g, T_OUT, 0, 512u << 10), 0);
	full = disk_blocks(&g);
	assert_true(full >= 1024);
	put_range(&g, 0, 0, 1024, 0);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16), 0);
	assert_true(disk_blocks(&g) >= 1024);
	put_range(&g, 0, 0, 1024, 1);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16), 0);
	assert_true(disk_blocks(&g) < full);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 0);
}

static void limits_are_the_image_s(void **state)
{
	struct drive_limits limits;
	struct guest g;

	make(&g, *state, DRIVE_NONE, false);
	drive_limits(g.pc->drive, &limits);
	assert_true(limits.align >= 512 && limits.unit >= limits.align);
	assert_int_equal(512u << pc_in(g.pc, CONFIG + 24, 1), limits.align);
	assert_int_equal(pc_in(g.pc, CONFIG + 25, 1), 0);
	assert_int_equal(pc_in(g.pc, CONFIG + 26, 2), limits.align / 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 28, 4), limits.unit / 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 44, 4), limits.unit / 512);
}

static void guest_switches_the_write_cache(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | F_WCE);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 0);
	pc_out(g.pc, CONFIG + 32, 0, 1);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 0);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_true(pc_gate.syncs >= 1);
	assert_false(drive_wce(g.pc->drive));
	pc_out(g.pc, CONFIG + 32, 1, 1);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_true(drive_wce(g.pc->drive));
}

static struct disk_driver facts_of(struct guest *g)
{
	struct disk_driver d = {0};

	virtio_blk_class.disk_driver(g->dev, &d);
	return d;
}

/* Who took none of the switch, or can't flush, doesn't get to turn it. */
static void the_switch_is_for_those_who_asked(void **state)
{
	struct disk_driver d;
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(facts_of(&g).started);
	start(&g, F_FLUSH);
	d = facts_of(&g);
	assert_true(d.started && d.flush && !d.wce_control);
	assert_string_equal(d.text, "");
	pc_out(g.pc, CONFIG + 32, 0, 1);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 0);

	start(&g, F_WCE);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 0);
	pc_out(g.pc, CONFIG + 32, 1, 1);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 0);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_int_not_equal(pc_gate.syncs, 0);
	d = facts_of(&g);
	assert_true(d.started && !d.flush && !d.wce_control);
	assert_non_null(strstr(d.text, "never flushes"));

	start(&g, F_FLUSH | F_WCE);
	d = facts_of(&g);
	assert_true(d.flush && d.wce_control);
	assert_string_equal(d.accepted, "F_FLUSH F_CONFIG_WCE F_VERSION_1");
	assert_non_null(strstr(d.offered, "F_MQ"));
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	/* Only that byte is for writing. */
	pc_out(g.pc, CONFIG + 32, 0, 4);
	pc_out(g.pc, CONFIG + 33, 0, 1);
	pc_out(g.pc, CONFIG, 0, 4);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	assert_int_equal(pc_in(g.pc, CONFIG, 8), PC_DISK_LEN / 512);
}

static void features_have_names(void **state)
{
	struct device_feature rows[64];
	unsigned nr, seen = 0;
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | F_EVENT_IDX);
	nr = virtio_blk_class.features(g.dev, rows, 64);
	for (unsigned i = 0; i < nr; i++) {
		const struct device_feature *f = &rows[i];
		bool taken = f->bit == 9 || f->bit == 29 || f->bit == 32;

		assert_true(f->offered);
		assert_int_equal(f->accepted, taken);
		assert_string_not_equal(f->name, "F_?");
		if (!strcmp(f->name, "F_FLUSH"))
			assert_int_equal(f->bit, 9);
		if (!strcmp(f->name, "F_CONFIG_WCE"))
			assert_int_equal(f->bit, 11);
		if (!strcmp(f->name, "F_RING_PACKED"))
			assert_int_equal(f->bit, 34);
		seen += taken;
		assert_true(!i || f->bit > rows[i - 1].bit);
	}
	assert_int_equal(seen, 3);
	assert_int_equal(virtio_blk_class.features(g.dev, rows, 2), 2);
	/* What isn't offered is shown while it is tried. */
	set_status(&g, 0);
	pc_wait_reg(g.pc, COMMON + 20, 1, 0xff, 0);
	pc_out(g.pc, COMMON + 8, 1, 4);
	pc_out(g.pc, COMMON + 12, 1u << 31, 4);
	nr = virtio_blk_class.features(g.dev, rows, 64);
	assert_string_equal(rows[nr - 1].name, "F_?");
	assert_true(rows[nr - 1].accepted && !rows[nr - 1].offered);
}

static void drivers_hear_of_a_new_length(void **state)
{
	struct guest g;
	uint8_t generation;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(virtio_blk_class.disk_resized(g.dev));
	start(&g, F_FLUSH);
	generation = (uint8_t)pc_in(g.pc, COMMON + 21, 1);
	assert_true(virtio_blk_class.disk_resized(g.dev));
	assert_int_equal(pc_in(g.pc, COMMON + 21, 1), (generation + 1) % 256);
	assert_int_equal(pc_in(g.pc, ISR, 1), 2);
}

static void without_flush_writes_are_stable(void **state)
{
	struct log_entry said;
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, 0);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_true(pc_gate.syncs >= 1);
	assert_int_equal(log_copy(g.pc->m.log, 0, &said, 1), 1);
	assert_non_null(strstr(said.text, "never flushes"));
	/* The next driver may know better. */
	start(&g, F_FLUSH | F_WCE);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
}

static void wrong_features_are_not_accepted(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	set_status(&g, 3);
	set_status(&g, 11); /* no VERSION_1 */
	assert_int_equal(get_status(&g), 3);
	pc_out(g.pc, COMMON + 8, 1, 4);
	pc_out(g.pc, COMMON + 12, 0xffffffff, 4);
	set_status(&g, 11);
	assert_int_equal(get_status(&g), 3);
	set_status(&g, 7); /* DRIVER_OK without FEATURES_OK */
	assert_int_equal(get_status(&g), 3);
}

static void wait_failed(struct guest *g)
{
	pc_wait_reg(g->pc, COMMON + 20, 1, 64, 64);
}

static void broken_rings_stop_the_device_only(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 6; i++) {
		start(&g, F_FLUSH);
		build(&g, 0, T_IN, 0, 0, 512);
		if (i == 0) /* loop */
			put_desc(&g, 1, DATA, 512, 3, 1);
		if (i == 1) /* wild address */
			put_desc(&g, 1, PC_HOLE, 512, 3, 2);
		if (i == 2) /* absurd length */
			put_desc(&g, 1, DATA, UINT32_MAX, 3, 2);
		if (i == 3) /* no status byte */
			put_desc(&g, 0, HEADERS, 16, 0, 0);
		if (i == 4) /* short header */
			put_desc(&g, 0, HEADERS, 15, 1, 2);
		if (i == 5) /* index far ahead */
			g.avail += 1000;
		offer(&g, 0);
		kick(&g);
		wait_failed(&g);
		/* It stays silent until it is reset. */
		kick(&g);
		assert_true(get_status(&g) & 64);
	}
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static void bad_queue_addresses_stop_the_device(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	set_status(&g, 0);
	set_status(&g, 3);
	/* Not before the features are settled: they tell the ring's form. */
	pc_out(g.pc, COMMON + 28, 1, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 28, 2), 0);
	pc_out(g.pc, COMMON + 8, 1, 4);
	pc_out(g.pc, COMMON + 12, 1, 4); /* VERSION_1 */
	set_status(&g, 11);
	pc_out(g.pc, COMMON + 32, 0xfffffff0, 8);
	pc_out(g.pc, COMMON + 28, 1, 2);
	assert_true(get_status(&g) & 64);
	assert_int_equal(pc_in(g.pc, COMMON + 28, 2), 0);
	/* A queue that isn't there. */
	pc_out(g.pc, COMMON + 22, 9, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 24, 2), 0);
	pc_out(g.pc, COMMON + 28, 1, 2);
}

static void same_descriptor_twice_stops_the_device(void **state)
{
	struct guest g;
	uint64_t n = 100;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	pc_gate.gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	build(&g, 0, T_IN, 0, 0, 512);
	offer(&g, 0);
	offer(&g, 0);
	kick(&g);
	wait_failed(&g);
	assert_int_equal(write(pc_gate.gate, &n, sizeof(n)), sizeof(n));
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	close(pc_gate.gate);
	pc_gate.gate = -1;
}

static void reset_waits_for_what_is_in_flight(void **state)
{
	struct guest g;
	uint64_t n = 100;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	pc_gate.gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	build(&g, 0, T_IN, 0, 0, 512);
	offer(&g, 0);
	kick(&g);
	while (!drive_in_flight(g.pc->drive))
		usleep(1000);
	set_status(&g, 0);
	assert_int_not_equal(get_status(&g), 0);
	*pc_ram(g.pc, STATUS) = 0xee;
	assert_int_equal(write(pc_gate.gate, &n, sizeof(n)), sizeof(n));
	pc_wait_reg(g.pc, COMMON + 20, 1, 0xff, 0);
	/* The old request answers nobody. */
	assert_int_equal(*pc_ram(g.pc, STATUS), 0xee);
	assert_int_equal(*(uint16_t *)(void *)pc_ram(g.pc, USED + 2), 0);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	close(pc_gate.gate);
	pc_gate.gate = -1;
}

static void machine_reset_drains(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	for (unsigned i = 0; i < 5; i++) {
		build(&g, 3 * i, T_OUT, i, 0, 512);
		offer(&g, (uint16_t)(3 * i));
	}
	kick(&g);
	pc_reset(g.pc);
	assert_int_equal(drive_in_flight(g.pc->drive), 0);
	assert_int_equal(pci_config_read((void *)g.dev, 4, 2) & 6, 0);
	pc_map_bar(g.pc, g.dev, 0, PC_BAR);
	assert_int_equal(get_status(&g), 0);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static void no_dma_without_bus_mastering(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	pc_config_out(g.pc, g.dev, 4, 2, 2);
	build(&g, 0, T_IN, 0, 0, 512);
	offer(&g, 0);
	kick(&g);
	usleep(50000);
	assert_int_equal(*pc_ram(g.pc, STATUS), 0xee);
	/* Turned on, it serves what waits. */
	pc_config_out(g.pc, g.dev, 4, 6, 2);
	wait_used(&g);
	assert_int_equal(*pc_ram(g.pc, STATUS), 0);
}

static void window_in_config_space(void **state)
{
	struct guest g;
	struct pci_dev *d;
	unsigned cap;

	make(&g, *state, DRIVE_WRITEBACK, false);
	d = (struct pci_dev *)(void *)g.dev;
	for (cap = d->config[0x34]; cap; cap = d->config[cap + 1])
		if (d->config[cap] == 9 && d->config[cap + 3] == 5)
			break;
	assert_true(cap);
	/* Even with memory decoding off: that is what it is for. */
	pc_config_out(g.pc, g.dev, 4, 4, 2);
	pc_config_out(g.pc, g.dev, cap + 4, 0, 1);
	pc_config_out(g.pc, g.dev, cap + 8, 0x2000, 4);
	pc_config_out(g.pc, g.dev, cap + 12, 4, 4);
	assert_int_equal(pci_config_read(d, cap + 16, 4), PC_DISK_LEN / 512);
	pc_config_out(g.pc, g.dev, cap + 8, 20, 4);
	pc_config_out(g.pc, g.dev, cap + 12, 1, 4);
	pc_config_out(g.pc, g.dev, cap + 16, 3, 1);
	assert_int_equal(pci_config_read(d, cap + 16, 1), 3);
	/* Nonsense does nothing. */
	pc_config_out(g.pc, g.dev, cap + 8, 0xfffffffc, 4);
	pc_config_out(g.pc, g.dev, cap + 12, 3, 4);
	pc_config_out(g.pc, g.dev, cap + 16, 0, 4);
	pci_config_read(d, cap + 16, 4);
}

static void state_moves_to_another_device(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct device_args args = {.devfn = -1};
	struct device *other;
	struct drive *drive;
	struct guest g;

	make(&g, pc, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | F_WCE | F_EVENT_IDX);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(request(&g, T_OUT, i, 512), 0);
	/* One more is offered, but its kick gets lost in the move. */
	build(&g, 0, T_IN, 3, 0, 512);
	pc_config_out(pc, g.dev, 4, 2, 2);
	offer(&g, 0);
	pc_config_out(pc, g.dev, 4, 2, 2);
	drive = pc->drive;
	pc_disk_file(pc, "other.img");
	pc_open_drive(pc, DRIVE_WRITEBACK, false);
	args.drive = pc->drive;
	args.io = pc->io;
	other = pc_add(pc, &virtio_blk_class, "disk1", &args);

	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(
		state_save(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	device_destroy(g.dev);
	drive_close(drive);
	if (state_load(&buf, virtio_blk_class.state, "d", other, &pc->e))
		fail_msg("%s", pc->e.msg);
	assert_int_equal(virtio_blk_class.loaded(other, &pc->e), 0);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);

	g.dev = other;
	assert_int_equal(get_status(&g), 15);
	pc_config_out(pc, g.dev, 4, 6, 2);
	wait_used(&g);
	assert_int_equal(*pc_ram(pc, STATUS), 0);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static void impossible_states_are_refused(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g;

	make(&g, pc, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(
		state_save(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	/* The rings lie where the machine that is loaded has no memory. */
	mem_region_set(pc->m.mem, &pc->low, 0x40000000, REGION_RAM, true);
	bus_commit(pc->m.bus, NULL);
	assert_int_equal(
		state_load(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	assert_int_equal(virtio_blk_class.loaded(g.dev, &pc->e), -EINVAL);
	assert_non_null(strstr(pc->e.msg, "queue 0"));
	state_buf_fini(&buf);
	mem_region_set(pc->m.mem, &pc->low, 0, REGION_RAM, true);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	/* A kick now finds a queue that isn't there. */
	kick(&g);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Random registers and rings: the process and the next driver survive. */
static void random_drivers_do_no_harm(void **state)
{
	struct guest g;
	uint32_t seed = 7;

	make(&g, *state, DRIVE_UNSAFE, false);
	for (unsigned round = 0; round < 300; round++) {
		start(&g, next_random(&seed) & (F_FLUSH | F_WCE | F_EVENT_IDX));
		for (unsigned i = 0; i < RING_LEN; i++) {
			put_header(&g, i, next_random(&seed) % 16,
				   next_random(&seed) % 10000);
			put_desc(&g, i,
				 next_random(&seed) % 3
					 ? HEADERS + 16 * i
					 : next_random(&seed) % 0x1000000,
				 next_random(&seed) % 2 ? 16 : 512,
				 next_random(&seed) % 8,
				 next_random(&seed) % (RING_LEN + 1));
		}
		for (unsigned i = 0; i < 8; i++)
			offer(&g, next_random(&seed) % RING_LEN);
		kick(&g);
		for (unsigned i = 0; i < 20; i++) {
			unsigned reg = next_random(&seed) % 0x3100;

			if (reg >= 20 && reg < 22)
				continue;
			pc_out(g.pc, PC_BAR + reg, next_random(&seed),
			       1u << next_random(&seed) % 4);
			pc_in(g.pc, PC_BAR + reg, 1u << next_random(&seed) % 4);
		}
		set_status(&g, 0);
		pc_wait_reg(g.pc, COMMON + 20, 1, 0xff, 0);
	}
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(disk_says_what_it_is),
		T(data_goes_round),
		T(many_requests_in_one_kick),
		T(interrupt_line_follows_the_status_register),
		T(msix_takes_the_line_s_place),
		T(requests_that_cannot_be_served),
		T(readonly_disks_refuse_writes),
		T(discard_and_write_zeroes),
		T(several_ranges_in_one_request),
		T(only_unmap_gives_space_back),
		T(limits_are_the_image_s),
		T(guest_switches_the_write_cache),
		T(the_switch_is_for_those_who_asked),
		T(features_have_names),
		T(drivers_hear_of_a_new_length),
		T(without_flush_writes_are_stable),
		T(wrong_features_are_not_accepted),
		T(broken_rings_stop_the_device_only),
		T(bad_queue_addresses_stop_the_device),
		T(same_descriptor_twice_stops_the_device),
		T(reset_waits_for_what_is_in_flight),
		T(machine_reset_drains),
		T(no_dma_without_bus_mastering),
		T(window_in_config_space),
		T(state_moves_to_another_device),
		T(impossible_states_are_refused),
		T(random_drivers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
