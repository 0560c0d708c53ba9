/*
 * power_rounds: the disk under a power_bench: made, worked on, cut, looked at.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_POWER_ROUNDS_H
#define TESTS_UNIT_POWER_ROUNDS_H

#include "tests/unit/power_bench.h"

#include "core/blk/filter/filter.h"
#include "core/blk/format.h"

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

/* Memory, where it can be written past the page cache: thousands of requests
 * need not wait for the host's disk. */
static inline void bench_place(struct power_bench *b)
{
	char path[] = "/dev/shm/power.XXXXXX";
	int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return;
	close(fd);
	unlink(b->pc->disk_path);
	strcpy(b->pc->disk_path, path);
}

static inline void bench_init(struct power_bench *b)
{
	const struct cache_mode *mode = &cache_modes[b->cfg.preset];

	b->pc = pc_create();
	bench_place(b);
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
	b->pc->drive = drive_open_with(b->pc->io, &b->cfg, bench_wrap, NULL,
				       NULL, &b->pc->e);
	if (!b->pc->drive)
		fail_msg("%s", b->pc->e.msg);
	b->bus->attach(b);
	bus_commit(b->pc->m.bus, NULL);
	world_resume(b->pc->m.world);
	b->bus->start(b);
}

static inline void bench_fini(struct power_bench *b)
{
	unlink(b->cfg.path);
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
	/* Before any loop could serve what the old guest asked for. */
	pc_reset(pc);
	world_resume(pc->m.world);
	memset(b->slots, 0, sizeof(b->slots));
	b->flushing = false;
	b->wce = cache_modes[b->cfg.preset].wce && !b->bus->never_wce;
	b->cuts++;
	if (ret && !cache_modes[b->cfg.preset].ignore_flush)
		fail_msg("%s", pc->e.msg);
	return !ret;
}

/* What a read brought; returns how many promised sectors aren't there. */
static inline unsigned bench_judge(struct power_bench *b, unsigned slot)
{
	unsigned first = b->slots[slot].first, missing = 0;

	for (unsigned i = first; i < first + BENCH_GROUP; i++) {
		uint32_t n = bench_number(
			pc_ram(b->pc, bench_gpa(slot) + (i - first) * 512), i);

		b->promised += b->stable[i] != 0;
		missing += n < b->stable[i] || n > b->sent[i];
		/* What is there now stays. */
		b->stable[i] = b->done[i] = b->sent[i] = n;
	}
	return missing;
}

/* What is there, by the guest's own eyes. */
static inline unsigned bench_look(struct power_bench *b)
{
	unsigned missing = 0, next = 0;

	while (next < BENCH_SECTORS) {
		unsigned nr = 0;

		for (; nr < b->bus->depth && next < BENCH_SECTORS; nr++) {
			bench_send(b, DRIVE_READ, next, BENCH_GROUP);
			next += BENCH_GROUP;
		}
		bench_wait(b);
		while (nr)
			missing += bench_judge(b, --nr);
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

/* Under unsafe, something is lost in time. */
static inline bool bench_is_enough(const struct power_bench *b, unsigned done,
				   unsigned rounds)
{
	if (done < rounds)
		return false;
	return !cache_modes[b->cfg.preset].ignore_flush || b->losses ||
	       b->destroyed || done >= rounds * 10;
}

/* Every kind of cut some times, on one image as long as that goes. */
static inline void bench_rounds(struct power_bench *b, unsigned rounds)
{
	bool goes_on = false;

	for (unsigned i = 0; !bench_is_enough(b, i, rounds); i++) {
		if (!goes_on)
			bench_init(b);
		goes_on = bench_round(b, (enum blk_cut)(i % 4));
		if (!goes_on)
			bench_fini(b);
	}
	if (goes_on)
		bench_fini(b);
}

#endif
