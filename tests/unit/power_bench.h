/*
 * power_bench: a guest that writes numbered sectors through some bus until the
 * power of its disk is cut, and knows what it was promised.
 *
 * Each sector says which write filled it.  What must be there after a cut is
 * kept here, apart from the drive's own ledger, and the two must agree.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_POWER_BENCH_H
#define TESTS_UNIT_POWER_BENCH_H

#include "tests/unit/fake_pc.h"

#include "core/blk/power/cut.h"

#define BENCH_GROUPS  32u /* of sectors that follow each other */
#define BENCH_GROUP   16u /* sectors */
#define BENCH_SECTORS (BENCH_GROUPS * BENCH_GROUP)
#define BENCH_STRIDE  65536u /* from group to group */
#define BENCH_LEN     (BENCH_GROUPS * BENCH_STRIDE)
#define BENCH_DEPTH   8u
#define BENCH_DATA    0x200000u /* guest memory: a group for each request */

struct power_bench;

/* How a guest reaches its disk. */
struct power_bus {
	const char *name;
	unsigned depth; /* requests at a time, up to BENCH_DEPTH */
	bool never_wce; /* nor a flush: each write is stable */
	bool has_fua;
	/* With the world stopped: the device for pc->drive. */
	void (*attach)(struct power_bench *b);
	/* The driver begins, after power-on. */
	void (*start)(struct power_bench *b);
	/* Asks for slot's op, off, len with the bytes at BENCH_DATA of it. */
	void (*submit)(struct power_bench *b, unsigned slot);
	/* Marks slots whose answer came. */
	void (*poll)(struct power_bench *b);
	/* Turns the write cache on or off, nothing in flight; NULL: it can't. */
	void (*set_wce)(struct power_bench *b, bool on);
};

struct power_slot {
	bool busy, answered, failed;
	enum drive_op op;
	bool fua;
	unsigned first, nr; /* sectors of the bench */
	uint32_t number;
	struct drive_req req; /* for buses that have no device */
	struct iovec iov;
};

struct power_bench {
	struct fake_pc *pc;
	const struct power_bus *bus;
	struct device *dev;
	struct drive_config cfg;
	const char *options; /* of the image: "cluster_size=4096,..." */
	bool wce;
	uint32_t seed, last;
	struct power_slot slots[BENCH_DEPTH];
	/* Numbers of writes: sent, answered, and promised to be stable; and
	 * what had been answered when the flush on its way was sent. */
	uint32_t sent[BENCH_SECTORS], done[BENCH_SECTORS];
	uint32_t stable[BENCH_SECTORS], asked[BENCH_SECTORS];
	bool flushing;
	struct drive_cut cut;
	unsigned cuts, losses, torn, destroyed;
	uint64_t promised;
	uint64_t state[128]; /* the bus's own */
};

static inline unsigned bench_random(struct power_bench *b, unsigned below)
{
	b->seed = b->seed * 1664525u + 1013904223u;
	return (b->seed >> 8) % below;
}

static inline uint64_t bench_offset(unsigned sector)
{
	return (uint64_t)(sector / BENCH_GROUP) * BENCH_STRIDE +
	       sector % BENCH_GROUP * 512;
}

static inline uint32_t bench_gpa(unsigned slot)
{
	return BENCH_DATA + slot * BENCH_GROUP * 512;
}

/* ---- the sectors ---- */

static inline void bench_fill(uint8_t *to, unsigned sector, uint32_t number)
{
	uint32_t *w = (uint32_t *)(void *)to;

	for (unsigned i = 0; i < 128; i += 2) {
		w[i] = number;
		w[i + 1] = sector ^ i * 0x9e3779b9u;
	}
}

/* The number of the write that filled it; 0: nothing did; ~0: neither. */
static inline uint32_t bench_number(const uint8_t *from, unsigned sector)
{
	uint8_t want[512];
	uint32_t number;

	memcpy(&number, from, 4);
	bench_fill(want, sector, number);
	if (!memcmp(from, want, 512))
		return number;
	memset(want, 0, 512);
	return memcmp(from, want, 512) ? UINT32_MAX : 0;
}

/* ---- the guest ---- */

static inline void bench_finish(struct power_bench *b, struct power_slot *s)
{
	s->busy = false;
	if (s->failed)
		fail_msg("%s, %s: a request failed before any cut",
			 b->bus->name, b->options);
	if (s->op == DRIVE_FLUSH) {
		memcpy(b->stable, b->asked, sizeof(b->stable));
		b->flushing = false;
	}
	for (unsigned i = s->first;
	     s->op == DRIVE_WRITE && i < s->first + s->nr; i++) {
		b->done[i] = s->number;
		if (b->wce && !s->fua)
			continue;
		b->stable[i] = s->number;
		/* So that a flush on its way takes nothing back. */
		b->asked[i] = s->number;
	}
}

static inline void bench_reap(struct power_bench *b)
{
	b->bus->poll(b);
	for (unsigned i = 0; i < b->bus->depth; i++) {
		struct power_slot *s = &b->slots[i];

		/* Acquire: what the answer says is there. */
		if (s->busy && __atomic_load_n(&s->answered, __ATOMIC_ACQUIRE))
			bench_finish(b, s);
	}
}

static inline unsigned bench_busy(struct power_bench *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->bus->depth; i++)
		n += b->slots[i].busy;
	return n;
}

static inline unsigned bench_free_slot(struct power_bench *b)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	for (;;) {
		for (unsigned i = 0; i < b->bus->depth; i++)
			if (!b->slots[i].busy)
				return i;
		bench_reap(b);
		if (loop_now_ns() > end)
			fail_msg("%s: no answer", b->bus->name);
		usleep(5);
	}
}

static inline void bench_wait(struct power_bench *b)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (bench_busy(b)) {
		bench_reap(b);
		if (loop_now_ns() > end)
			fail_msg("%s: no answer", b->bus->name);
		usleep(5);
	}
}

static inline void bench_send(struct power_bench *b, enum drive_op op,
			      unsigned first, unsigned nr)
{
	unsigned slot = bench_free_slot(b);
	struct power_slot *s = &b->slots[slot];

	s->busy = true;
	s->answered = s->failed = s->fua = false;
	s->op = op;
	s->first = first;
	s->nr = nr;
	if (op == DRIVE_WRITE) {
		s->number = ++b->last;
		s->fua = b->bus->has_fua && !bench_random(b, 16);
		for (unsigned i = 0; i < nr; i++) {
			bench_fill(pc_ram(b->pc, bench_gpa(slot) + i * 512),
				   first + i, s->number);
			b->sent[first + i] = s->number;
		}
	}
	b->bus->submit(b, slot);
}

static inline bool bench_is_busy(struct power_bench *b, unsigned first,
				 unsigned nr)
{
	for (unsigned i = 0; i < b->bus->depth; i++) {
		struct power_slot *s = &b->slots[i];

		if (s->busy && s->op == DRIVE_WRITE && s->first < first + nr &&
		    first < s->first + s->nr)
			return true;
	}
	return false;
}

static inline void bench_step(struct power_bench *b)
{
	unsigned what = bench_random(b, 24);
	unsigned group = bench_random(b, BENCH_GROUPS) * BENCH_GROUP;
	unsigned at = bench_random(b, BENCH_GROUP);
	unsigned nr = 1 + bench_random(b, BENCH_GROUP - at);

	if (!what && b->bus->set_wce && !b->bus->never_wce) {
		bench_wait(b);
		b->wce = !b->wce;
		b->bus->set_wce(b, b->wce);
	} else if (what < 3 && !b->flushing && !b->bus->never_wce) {
		bench_reap(b);
		memcpy(b->asked, b->done, sizeof(b->asked));
		b->flushing = true;
		bench_send(b, DRIVE_FLUSH, 0, 0);
	} else if (!bench_is_busy(b, group + at, nr)) {
		bench_send(b, DRIVE_WRITE, group + at, nr);
	} else {
		bench_reap(b);
	}
}

#endif
