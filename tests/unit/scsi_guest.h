/*
 * scsi_guest: a driver for virtio-scsi over PCI, with one disk as target 0, for
 * tests of the controller and of the units' commands.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_SCSI_GUEST_H
#define TESTS_UNIT_SCSI_GUEST_H

#include "tests/unit/fake_pc.h"

#include "core/hw/storage/scsi_bytes.h"

#define RING_LEN   64u
#define NR_QUEUES  3u
#define MAX_QUEUES 4u
#define RING(q)	   (0x10000u + 0x4000u * (q))
#define DESC(q)	   (RING(q))
#define AVAIL(q)   (RING(q) + 0x1000)
#define USED(q)	   (RING(q) + 0x2000)
#define HEAD(i)	   (0x30000u + 0x400u * (i)) /* a request's headers */
#define ANSWER(i)  (HEAD(i) + 0x200u)
#define DATA	   0x400000u
#define HEAD_LEN   51u
#define ANSWER_LEN 108u

#define COMMON PC_BAR
#define CONFIG (PC_BAR + 0x2000)
#define NOTIFY (PC_BAR + 0x3000)

#define ATTENTION_POWER_ON 0x062901u

extern const struct device_class virtio_scsi_class;
extern const struct device_class scsi_disk_class, scsi_cdrom_class;

struct answer {
	uint8_t response, status;
	uint32_t sense; /* key, code and qualifier, 8 bits each */
	uint32_t residual, used;
};

struct guest {
	struct fake_pc *pc;
	struct device *dev, *disk;
	uint16_t avail[MAX_QUEUES], used[MAX_QUEUES];
	unsigned queue; /* of requests */
	uint8_t lun[8];
	uint64_t tag;
};

/* ---- life of the driver ---- */

static inline void set_status(struct guest *g, uint8_t status)
{
	pc_out(g->pc, COMMON + 20, status, 1);
}

static inline uint8_t get_status(struct guest *g)
{
	return (uint8_t)pc_in(g->pc, COMMON + 20, 1);
}

static inline void set_queue(struct guest *g, unsigned q)
{
	struct fake_pc *pc = g->pc;

	memset(pc_ram(pc, RING(q)), 0, 0x4000);
	pc_out(pc, COMMON + 22, q, 2);
	assert_true(pc_in(pc, COMMON + 24, 2) >= RING_LEN);
	pc_out(pc, COMMON + 24, RING_LEN, 2);
	pc_out(pc, COMMON + 32, DESC(q), 8);
	pc_out(pc, COMMON + 40, AVAIL(q), 8);
	pc_out(pc, COMMON + 48, USED(q), 8);
	pc_out(pc, COMMON + 28, 1, 2);
	g->avail[q] = g->used[q] = 0;
}

static inline void start_with(struct guest *g, uint32_t features)
{
	struct fake_pc *pc = g->pc;

	set_status(g, 0);
	pc_wait_reg(pc, COMMON + 20, 1, 0xff, 0);
	set_status(g, 3);
	pc_out(pc, COMMON + 8, 0, 4);
	pc_out(pc, COMMON + 12, features, 4);
	pc_out(pc, COMMON + 8, 1, 4);
	pc_out(pc, COMMON + 12, 1, 4); /* VERSION_1 */
	set_status(g, 11);
	assert_int_equal(get_status(g), 11);
	for (unsigned q = 0; q < NR_QUEUES; q++)
		set_queue(g, q);
	set_status(g, 15);
	assert_int_equal(get_status(g), 15);
}

static inline void start(struct guest *g)
{
	start_with(g, 0);
}

/* ---- rings ---- */

static inline void put_desc(struct guest *g, unsigned q, unsigned i,
			    uint64_t addr, uint32_t len, uint16_t flags)
{
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d = {addr, len, flags, (uint16_t)(i + 1)};

	memcpy(pc_ram(g->pc, DESC(q) + 16 * i), &d, sizeof(d));
}

static inline void offer(struct guest *g, unsigned q, uint16_t head)
{
	uint8_t *ring = pc_ram(g->pc, AVAIL(q));

	memcpy(ring + 4 + 2 * (g->avail[q] % RING_LEN), &head, 2);
	g->avail[q]++;
	/* Release: as a driver's barrier before it moves the index. */
	__atomic_store_n((uint16_t *)(void *)(ring + 2), g->avail[q],
			 __ATOMIC_RELEASE);
}

static inline void kick(struct guest *g, unsigned q)
{
	pc_out(g->pc, NOTIFY + 4 * q, q, 2);
}

/* The length of the next used element. */
static inline uint32_t wait_used(struct guest *g, unsigned q)
{
	uint32_t entry[2];

	g->used[q]++;
	pc_wait16(g->pc, USED(q) + 2, g->used[q]);
	memcpy(entry,
	       pc_ram(g->pc, USED(q) + 4 + 8 * ((g->used[q] - 1u) % RING_LEN)),
	       8);
	return entry[1];
}

/* ---- requests: each has four descriptors ---- */

/* The data lie at DATA + 1 MiB for each request. */
static inline uint8_t *data_of(struct guest *g, unsigned i)
{
	return pc_ram(g->pc, DATA + (i << 20));
}

static inline void build(struct guest *g, unsigned i, const uint8_t *cdb,
			 size_t cdb_len, uint32_t out, uint32_t in)
{
	uint64_t data = DATA + ((uint64_t)i << 20), tag = g->tag + i;
	uint8_t *head = pc_ram(g->pc, HEAD(i));
	unsigned at = 4 * i;

	memset(head, 0, 0x400);
	memcpy(head, g->lun, 8);
	memcpy(head + 8, &tag, 8);
	memcpy(head + 19, cdb, cdb_len);
	put_desc(g, g->queue, at++, HEAD(i), HEAD_LEN, 1);
	if (out)
		put_desc(g, g->queue, at++, data, out, 1);
	put_desc(g, g->queue, at++, ANSWER(i), ANSWER_LEN, in ? 3 : 2);
	if (in)
		put_desc(g, g->queue, at++, data, in, 2);
}

static inline struct answer answer_of(struct guest *g, unsigned i)
{
	const uint8_t *p = pc_ram(g->pc, ANSWER(i));
	struct answer a = {.response = p[11], .status = p[10]};
	uint32_t len;

	memcpy(&len, p, 4);
	memcpy(&a.residual, p + 4, 4);
	if (len >= 14)
		a.sense = (uint32_t)p[12 + 2] << 16 | get16(p + 12 + 12);
	return a;
}

static inline struct answer send_cdb(struct guest *g, const uint8_t *cdb,
				     size_t cdb_len, uint32_t out, uint32_t in)
{
	struct answer a;
	uint32_t used;

	build(g, 0, cdb, cdb_len, out, in);
	offer(g, g->queue, 0);
	kick(g, g->queue);
	used = wait_used(g, g->queue);
	a = answer_of(g, 0);
	a.used = used;
	return a;
}

/* SEND(g, out, in, bytes of the command block...) */
#define SEND(g, out, in, ...)                                                  \
	send_cdb((g), (const uint8_t[]){__VA_ARGS__},                          \
		 sizeof((const uint8_t[]){__VA_ARGS__}), (out), (in))
#define B16(x) ((x) >> 8) & 0xff, (x)&0xff
#define B32(x) B16((uint32_t)(x) >> 16), B16((uint32_t)(x))
#define B64(x) B32((uint64_t)(x) >> 32), B32((uint64_t)(x))

static inline void expect_good(struct answer a)
{
	if (a.response || a.status)
		fail_msg("response %u, status %u, sense %06x", a.response,
			 a.status, a.sense);
}

static inline void expect_sense(struct answer a, uint32_t sense)
{
	assert_int_equal(a.response, 0);
	assert_int_equal(a.status, 2);
	if (a.sense != sense)
		fail_msg("sense %06x, not %06x", a.sense, sense);
}

/* ---- life of the machine ---- */

static inline void make(struct guest *g, struct fake_pc *pc,
			enum drive_preset preset, bool readonly)
{
	struct device_args args = {.devfn = -1, .io = pc->io};

	*g = (struct guest){.pc = pc, .lun = {1}, .tag = 100, .queue = 2};
	g->dev = pc_add(pc, &virtio_scsi_class, "scsi", &args);
	pc_open_drive(pc, preset, readonly);
	args.parent = g->dev;
	args.drive = pc->drive;
	g->disk = pc_add(pc, &scsi_disk_class, "disk0", &args);
	pc_map_bar(pc, g->dev, 0, PC_BAR);
}

/* The driver is up and has heard that the power came on. */
static inline void make_ready(struct guest *g, struct fake_pc *pc,
			      enum drive_preset preset, bool readonly)
{
	make(g, pc, preset, readonly);
	start(g);
	expect_sense(SEND(g, 0, 0, 0x00), ATTENTION_POWER_ON);
}

#endif
