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

#include "core/blk/format.h"
#include "core/blk/power/cut.h"

#define BENCH_GROUPS  64u /* of sectors that follow each other */
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
	bool never_wce; /* whatever the preset: each write is stable */
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
	unsigned state[32]; /* the bus's own */
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
	} else if (what < 3 && !b->flushing) {
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

/* ---- the image ---- */

static inline int bench_filter_open(struct blk *b, const struct blk_options *o,
				    struct error *e)
{
	(void)b;
	(void)o;
	(void)e;
	return 0;
}

static inline int bench_no_flush(struct blk *b)
{
	(void)b;
	return 0;
}

/* Under the model: the host's own disk need not be asked to write. */
static inline struct blk *bench_wrap(void *arg, struct blk *file,
				     struct error *e)
{
	static const struct blk_driver no_flush = {
		.name = "no-flush",
		.is_filter = true,
		.open = bench_filter_open,
		.readv = blk_filter_readv,
		.writev = blk_filter_writev,
		.write_zeroes = blk_filter_write_zeroes,
		.discard = blk_filter_discard,
		.flush = bench_no_flush,
		.flushes_file = true,
		.status = blk_filter_status,
		.truncate = blk_filter_truncate,
	};

	(void)arg;
	return blk_filter_open(file, &no_flush, e);
}

struct bench_make {
	struct power_bench *b;
	struct blk_ctx *ctx;
};

static inline int bench_make_co(void *arg)
{
	struct bench_make *m = arg;
	struct blk_opt opts[4];
	char text[128], *next = text, *word;
	struct blk_create create = {
		.path = m->b->pc->disk_path, .len = BENCH_LEN, .opts = opts};

	snprintf(text, sizeof(text), "%s", m->b->options);
	while ((word = strsep(&next, ",")) && *word) {
		opts[create.nr_opts].key = strsep(&word, "=");
		opts[create.nr_opts++].value = word;
	}
	unlink(create.path);
	return blk_format_find(m->b->cfg.format)
		->create(m->ctx, &create, &m->b->pc->e);
}

static inline void bench_make_image(struct power_bench *b)
{
	struct blk_ctx_config cfg = {.loop = b->pc->m.main};
	struct bench_make m = {.b = b};

	m.ctx = blk_ctx_create(&cfg, &b->pc->e);
	if (!m.ctx || blk_run(m.ctx, bench_make_co, &m))
		fail_msg("%s", b->pc->e.msg);
	loop_call(b->pc->m.main, (loop_fn *)(void (*)(void *))blk_ctx_destroy,
		  m.ctx);
}

/* ---- life ---- */

static inline void bench_init(struct power_bench *b)
{
	const struct cache_mode *mode = &cache_modes[b->cfg.preset];

	b->pc = pc_create();
	bench_make_image(b);
	b->cfg.path = b->pc->disk_path;
	b->cfg.is_volatile = true;
	b->last = 0;
	b->wce = mode->wce && !b->bus->never_wce;
	b->flushing = false;
	memset(b->sent, 0, sizeof(b->sent));
	memset(b->done, 0, sizeof(b->done));
	memset(b->stable, 0, sizeof(b->stable));
	memset(b->slots, 0, sizeof(b->slots));
	world_stop(b->pc->m.world, NULL);
	b->pc->drive = drive_open(b->pc->io, &b->cfg,
				  log_create(LOG_LEVEL_DEBUG), &b->pc->e);
	if (!b->pc->drive)
		fail_msg("%s", b->pc->e.msg);
	b->bus->attach(b);
	bus_commit(b->pc->m.bus, NULL);
	world_resume(b->pc->m.world);
	b->bus->start(b);
}

static inline void bench_fini(struct power_bench *b)
{
	pc_destroy(b->pc);
}

/* As vm_power.c does it; false: the image was destroyed. */
static inline bool bench_cut(struct power_bench *b, enum blk_cut mode)
{
	struct fake_pc *pc = b->pc;
	int ret;

	world_stop(pc->m.world, NULL);
	ret = drive_cut_power(pc->drive, mode, b->seed, &b->cut, &pc->e);
	memset(pc_ram(pc, 0), 0, PC_RAM_LEN);
	world_resume(pc->m.world);
	pc_reset(pc);
	memset(b->slots, 0, sizeof(b->slots));
	b->flushing = false;
	b->wce = cache_modes[b->cfg.preset].wce && !b->bus->never_wce;
	b->cuts++;
	if (ret && !cache_modes[b->cfg.preset].ignore_flush)
		fail_msg("%s", pc->e.msg);
	return !ret;
}

/* What is there, by the guest's own eyes; how many promised sectors aren't. */
static inline unsigned bench_look(struct power_bench *b)
{
	unsigned missing = 0;

	for (unsigned g = 0; g < BENCH_SECTORS; g += BENCH_GROUP) {
		bench_send(b, DRIVE_READ, g, BENCH_GROUP);
		bench_wait(b);
		for (unsigned i = 0; i < BENCH_GROUP; i++) {
			/* Alone, so it went to the first slot. */
			uint32_t n = bench_number(
				pc_ram(b->pc, bench_gpa(0) + i * 512), g + i);

			b->promised += b->stable[g + i] != 0;
			missing += n < b->stable[g + i] || n > b->sent[g + i];
			/* What is there now stays. */
			b->stable[g + i] = b->done[g + i] = n;
			b->sent[g + i] = n;
		}
	}
	return missing;
}

/* Works, cuts, looks; false: go on with another image. */
static inline bool bench_round(struct power_bench *b, enum blk_cut mode)
{
	bool unsafe = cache_modes[b->cfg.preset].ignore_flush;
	unsigned steps = 8 + bench_random(b, 56), missing;

	while (steps--)
		bench_step(b);
	if (!bench_cut(b, mode)) {
		b->destroyed++;
		return false;
	}
	b->torn += b->cut.facts.torn;
	b->bus->start(b);
	missing = bench_look(b);
	b->losses += missing != 0;
	if (!unsafe && (missing || drive_cut_is_broken(&b->cut))) {
		char text[160];

		fail_msg("%s, %s %s, %s, cut %s, seed %u: %u sectors missing; "
			 "%s",
			 b->bus->name, b->cfg.format, b->options,
			 cache_modes[b->cfg.preset].name, blk_cut_name(mode),
			 b->seed, missing, drive_cut_verdict(&b->cut, text));
	}
	if (missing && b->cut.facts.kept == b->cut.facts.promised)
		fail_msg("%u sectors are missing and the ledger didn't notice",
			 missing);
	return !unsafe;
}

#endif
