/*
 * virtio_blk_guest: a guest's driver of a virtio disk, for tests: one split ring
 * whose descriptors a test writes as it likes.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_VIRTIO_BLK_GUEST_H
#define TESTS_UNIT_VIRTIO_BLK_GUEST_H

#include "tests/unit/fake_pc.h"

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

static inline void set_status(struct guest *g, uint8_t status)
{
	pc_out(g->pc, COMMON + 20, status, 1);
}

static inline uint8_t get_status(struct guest *g)
{
	return (uint8_t)pc_in(g->pc, COMMON + 20, 1);
}

static inline void set_queue(struct guest *g)
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

static inline void start(struct guest *g, uint32_t features)
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

static inline void put_desc(struct guest *g, unsigned i, uint64_t addr,
			    uint32_t len, uint16_t flags, uint16_t next)
{
	struct desc d = {addr, len, flags, next};

	memcpy(pc_ram(g->pc, DESC + 16 * i), &d, sizeof(d));
}

static inline void put_header(struct guest *g, unsigned i, uint32_t type,
			      uint64_t sector)
{
	uint32_t h[2] = {type, 0};

	memcpy(pc_ram(g->pc, HEADERS + 16 * i), h, 8);
	memcpy(pc_ram(g->pc, HEADERS + 16 * i + 8), &sector, 8);
	*pc_ram(g->pc, STATUS + i) = 0xee;
}

static inline void kick(struct guest *g)
{
	pc_out(g->pc, NOTIFY, 0, 2);
}

static inline void offer(struct guest *g, uint16_t head)
{
	uint8_t *ring = pc_ram(g->pc, AVAIL);

	memcpy(ring + 4 + 2 * (g->avail % RING_LEN), &head, 2);
	g->avail++;
	/* Release: as a driver's barrier before it moves the index. */
	__atomic_store_n((uint16_t *)(void *)(ring + 2), g->avail,
			 __ATOMIC_RELEASE);
}

/* Three descriptors from `first`: header, len bytes at DATA + off, status. */
static inline void build(struct guest *g, unsigned first, uint32_t type,
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

static inline uint32_t wait_used(struct guest *g)
{
	uint32_t entry[2];

	g->used++;
	pc_wait16(g->pc, USED + 2, g->used);
	memcpy(entry, pc_ram(g->pc, USED + 4 + 8 * ((g->used - 1u) % RING_LEN)),
	       8);
	return entry[1];
}

/* One request, from chain to status byte. */
static inline uint8_t request(struct guest *g, uint32_t type, uint64_t sector,
			      uint32_t len)
{
	build(g, 0, type, sector, 0, len);
	offer(g, 0);
	kick(g);
	wait_used(g);
	return *pc_ram(g->pc, STATUS);
}

static inline void make(struct guest *g, struct fake_pc *pc,
			enum drive_preset preset, bool readonly)
{
	struct device_args args = {.devfn = -1};

	*g = (struct guest){.pc = pc};
	pc_open_drive(pc, preset, readonly);
	args.drive = pc->drive;
	args.io = pc->io;
	g->dev = pc_add(pc, &virtio_blk_class, "disk0", &args);
	pc_map_bar(pc, g->dev, 0, PC_BAR);
}

#endif
