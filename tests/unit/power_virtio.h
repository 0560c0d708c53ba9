/*
 * power_virtio: drivers of virtio-blk and virtio-scsi for a power_bench.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_POWER_VIRTIO_H
#define TESTS_UNIT_POWER_VIRTIO_H

#include "tests/unit/power_bench.h"

#define PV_RING_LEN 64u
#define PV_RING(q)  (0x10000u + 0x4000u * (q))
#define PV_DESC(q)  (PV_RING(q))
#define PV_AVAIL(q) (PV_RING(q) + 0x1000)
#define PV_USED(q)  (PV_RING(q) + 0x2000)
#define PV_HEAD(i)  (0x40000u + 0x400u * (i)) /* of a request */
#define PV_TAIL(i)  (PV_HEAD(i) + 0x200)
#define PV_COMMON   PC_BAR
#define PV_CONFIG   (PC_BAR + 0x2000)
#define PV_NOTIFY   (PC_BAR + 0x3000)
#define PV_FLUSH    (1u << 9)
#define PV_WCE	    (1u << 11)

/* In bench->state: what the driver counted, for the one queue that it polls. */
enum { PV_NR_AVAIL, PV_NR_USED };

extern const struct device_class virtio_blk_class, virtio_scsi_class;
extern const struct device_class scsi_disk_class;

/* ---- rings ---- */

static inline void pv_set_queue(struct power_bench *b, unsigned q)
{
	struct fake_pc *pc = b->pc;

	memset(pc_ram(pc, PV_RING(q)), 0, 0x4000);
	pc_out(pc, PV_COMMON + 22, q, 2);
	pc_out(pc, PV_COMMON + 24, PV_RING_LEN, 2);
	pc_out(pc, PV_COMMON + 32, PV_DESC(q), 8);
	pc_out(pc, PV_COMMON + 40, PV_AVAIL(q), 8);
	pc_out(pc, PV_COMMON + 48, PV_USED(q), 8);
	pc_out(pc, PV_COMMON + 28, 1, 2);
}

static inline void pv_begin(struct power_bench *b, uint32_t features,
			    unsigned nr_queues)
{
	struct fake_pc *pc = b->pc;

	pc_map_bar(pc, b->dev, 0, PC_BAR);
	pc_out(pc, PV_COMMON + 20, 0, 1);
	pc_wait_reg(pc, PV_COMMON + 20, 1, 0xff, 0);
	pc_out(pc, PV_COMMON + 20, 3, 1);
	pc_out(pc, PV_COMMON + 8, 0, 4);
	pc_out(pc, PV_COMMON + 12, features, 4);
	pc_out(pc, PV_COMMON + 8, 1, 4);
	pc_out(pc, PV_COMMON + 12, 1, 4); /* VERSION_1 */
	pc_out(pc, PV_COMMON + 20, 11, 1);
	for (unsigned q = 0; q < nr_queues; q++)
		pv_set_queue(b, q);
	pc_out(pc, PV_COMMON + 20, 15, 1);
	assert_int_equal(pc_in(pc, PV_COMMON + 20, 1), 15);
	memset(b->state, 0, sizeof(b->state));
}

/* Four descriptors to a slot: the i-th of them. */
static inline void pv_desc(struct power_bench *b, unsigned q, unsigned slot,
			   unsigned i, uint64_t addr, uint32_t len,
			   uint16_t flags)
{
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d = {addr, len, flags, (uint16_t)(4 * slot + i + 1)};

	memcpy(pc_ram(b->pc, PV_DESC(q) + 16 * (4 * slot + i)), &d, sizeof(d));
}

static inline void pv_offer(struct power_bench *b, unsigned q, unsigned slot)
{
	uint8_t *ring = pc_ram(b->pc, PV_AVAIL(q));
	uint16_t head = (uint16_t)(4 * slot);

	memcpy(ring + 4 + 2 * (b->state[PV_NR_AVAIL] % PV_RING_LEN), &head, 2);
	b->state[PV_NR_AVAIL]++;
	/* Release: as a driver's barrier before it moves the index. */
	__atomic_store_n((uint16_t *)(void *)(ring + 2),
			 (uint16_t)b->state[PV_NR_AVAIL], __ATOMIC_RELEASE);
	pc_out(b->pc, PV_NOTIFY + 4 * q, q, 2);
}

/* The slot of the next used element, or -1. */
static inline int pv_used(struct power_bench *b, unsigned q)
{
	uint8_t *ring = pc_ram(b->pc, PV_USED(q));
	uint32_t head;

	/* Acquire: what the device wrote before is there. */
	if (__atomic_load_n((uint16_t *)(void *)(ring + 2), __ATOMIC_ACQUIRE) ==
	    (uint16_t)b->state[PV_NR_USED])
		return -1;
	memcpy(&head, ring + 4 + 8 * (b->state[PV_NR_USED] % PV_RING_LEN), 4);
	b->state[PV_NR_USED]++;
	assert_true(head % 4 == 0 && head / 4 < BENCH_DEPTH);
	return (int)(head / 4);
}

/* ---- virtio-blk ---- */

static inline void pv_blk_attach(struct power_bench *b)
{
	struct device_args args = {
		.devfn = -1, .drive = b->pc->drive, .io = b->pc->io};

	b->dev = pc_add(b->pc, &virtio_blk_class, "disk0", &args);
}

static inline void pv_blk_start(struct power_bench *b)
{
	pv_begin(b, PV_FLUSH | PV_WCE, 1);
}

static inline void pv_blk_submit(struct power_bench *b, unsigned slot)
{
	static const uint32_t types[] = {
		[DRIVE_READ] = 0, [DRIVE_WRITE] = 1, [DRIVE_FLUSH] = 4};
	struct power_slot *s = &b->slots[slot];
	uint64_t sector = s->nr ? bench_offset(s->first) / 512 : 0;
	uint8_t *head = pc_ram(b->pc, PV_HEAD(slot));
	unsigned last = s->nr ? 2 : 1;

	memset(head, 0, 16);
	memcpy(head, &types[s->op], 4);
	memcpy(head + 8, &sector, 8);
	*pc_ram(b->pc, PV_TAIL(slot)) = 0xee;
	pv_desc(b, 0, slot, 0, PV_HEAD(slot), 16, 1);
	if (s->nr)
		pv_desc(b, 0, slot, 1, bench_gpa(slot), s->nr * 512,
			s->op == DRIVE_READ ? 3 : 1);
	pv_desc(b, 0, slot, last, PV_TAIL(slot), 1, 2);
	pv_offer(b, 0, slot);
}

static inline void pv_blk_poll(struct power_bench *b)
{
	int slot;

	while ((slot = pv_used(b, 0)) >= 0) {
		b->slots[slot].answered = true;
		b->slots[slot].failed =
			*pc_ram(b->pc, PV_TAIL((unsigned)slot)) != 0;
	}
}

static inline void pv_blk_set_wce(struct power_bench *b, bool on)
{
	pc_out(b->pc, PV_CONFIG + 32, on, 1);
	assert_int_equal(pc_in(b->pc, PV_CONFIG + 32, 1), on);
}

static const struct power_bus power_virtio_blk = {
	.name = "virtio",
	.depth = BENCH_DEPTH,
	.attach = pv_blk_attach,
	.start = pv_blk_start,
	.submit = pv_blk_submit,
	.poll = pv_blk_poll,
	.set_wce = pv_blk_set_wce,
};

/* ---- virtio-scsi: requests on queue 2 ---- */

static inline void pv_scsi_attach(struct power_bench *b)
{
	struct device_args args = {.devfn = -1, .io = b->pc->io};

	b->dev = pc_add(b->pc, &virtio_scsi_class, "scsi", &args);
	args.parent = b->dev;
	args.drive = b->pc->drive;
	pc_add(b->pc, &scsi_disk_class, "disk0", &args);
}

static inline void pv_scsi_send(struct power_bench *b, unsigned slot,
				const uint8_t cdb[10], uint32_t len, bool in)
{
	uint8_t *head = pc_ram(b->pc, PV_HEAD(slot));
	unsigned i = 0;

	memset(head, 0, 0x400);
	head[0] = 1; /* target 0 */
	head[8] = (uint8_t)slot;
	memcpy(head + 19, cdb, 10);
	pv_desc(b, 2, slot, i++, PV_HEAD(slot), 51, 1);
	if (len && !in)
		pv_desc(b, 2, slot, i++, bench_gpa(slot), len, 1);
	pv_desc(b, 2, slot, i++, PV_TAIL(slot), 108, len && in ? 3 : 2);
	if (len && in)
		pv_desc(b, 2, slot, i++, bench_gpa(slot), len, 2);
	pv_offer(b, 2, slot);
}

static inline void pv_scsi_submit(struct power_bench *b, unsigned slot)
{
	struct power_slot *s = &b->slots[slot];
	uint32_t lba = s->nr ? (uint32_t)(bench_offset(s->first) / 512) : 0;
	uint8_t cdb[10] = {
		s->op == DRIVE_READ    ? 0x28
		: s->op == DRIVE_WRITE ? 0x2a
				       : 0x35,
		s->fua ? 8 : 0,
		(uint8_t)(lba >> 24),
		(uint8_t)(lba >> 16),
		(uint8_t)(lba >> 8),
		(uint8_t)lba,
		0,
		0,
		(uint8_t)s->nr,
	};

	pv_scsi_send(b, slot, cdb, s->nr * 512, s->op == DRIVE_READ);
}

static inline void pv_scsi_poll(struct power_bench *b)
{
	int slot;

	while ((slot = pv_used(b, 2)) >= 0) {
		const uint8_t *answer = pc_ram(b->pc, PV_TAIL((unsigned)slot));

		b->slots[slot].answered = true;
		b->slots[slot].failed = answer[10] || answer[11];
	}
}

/* A command of its own, while nothing else is on its way. */
static inline void pv_scsi_alone(struct power_bench *b, const uint8_t cdb[10],
				 uint32_t len)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	pv_scsi_send(b, 0, cdb, len, false);
	while (pv_used(b, 2) < 0)
		assert_true(loop_now_ns() < end);
}

static inline void pv_scsi_start(struct power_bench *b)
{
	static const uint8_t ready[10] = {0};

	pv_begin(b, 0, 3);
	/* It answers that the power came on. */
	pv_scsi_alone(b, ready, 0);
}

/* MODE SELECT(6) of the caching page. */
static inline void pv_scsi_set_wce(struct power_bench *b, bool on)
{
	static const uint8_t select[10] = {0x15, 0x10, 0, 0, 24};
	uint8_t *data = pc_ram(b->pc, bench_gpa(0));

	memset(data, 0, 24);
	data[4] = 8;
	data[5] = 18;
	data[6] = on ? 4 : 0;
	pv_scsi_alone(b, select, 24);
	assert_int_equal(pc_ram(b->pc, PV_TAIL(0))[10], 0);
}

static const struct power_bus power_virtio_scsi = {
	.name = "scsi",
	.depth = BENCH_DEPTH,
	.has_fua = true,
	.attach = pv_scsi_attach,
	.start = pv_scsi_start,
	.submit = pv_scsi_submit,
	.poll = pv_scsi_poll,
	.set_wce = pv_scsi_set_wce,
};

#endif
