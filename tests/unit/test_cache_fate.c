/*
 * What the table of cache modes says of each mode is true: a drive over a disk
 * whose cache forgets (blk/filter/volatile.h) writes and flushes, the power
 * goes, or we die; then the image is read back.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/blk.h"
#include "core/blk/drive.h"
#include "core/blk/drive_int.h"
#include "core/blk/filter/volatile.h"
#include "core/blk/format.h"
#include "core/error.h"
#include "core/loop.h"

#define NR_SECTORS 256u
#define SECTOR	   4096u
#define NR_STEPS   80u
#define NR_ROUNDS  4u

struct cut {
	struct loop *loop;
	struct drive *drive;
	struct blk *filter;
	struct drive_config cfg;
	struct error e;
	struct drive_req req;
	struct iovec iov;
	uint8_t buf[SECTOR];
	int res, done; /* done: atomic */
	/* The number of the last write that completed, and of the last before
	 * a flush that completed. */
	uint32_t completed[NR_SECTORS], flushed[NR_SECTORS];
	uint32_t found[NR_SECTORS];
	enum blk_cut how;
	uint32_t seed;
};

static unsigned next_random(struct cut *c, unsigned below)
{
	c->seed = c->seed * 1664525u + 1013904223u;
	return (c->seed >> 8) % below;
}

static struct blk *wrap(void *arg, struct blk *file, struct error *e)
{
	struct cut *c = arg;

	c->filter = blk_filter_open(file, &blk_volatile_driver, e);
	return c->filter;
}

static void do_open(void *arg)
{
	struct cut *c = arg;
	struct drive_caps caps = {.device = "test-disk",
				  .wce = DRIVE_WCE_NEGOTIABLE,
				  .flush = true};

	c->drive = drive_open_with(c->loop, &c->cfg, wrap, c, NULL, &c->e);
	if (!c->drive || drive_attach(c->drive, &caps, &c->e))
		fail_msg("%s", c->e.msg);
}

static void on_done(struct drive_req *req, int res)
{
	struct cut *c = req->opaque;

	c->res = res;
	/* Release: pairs with the poll in run. */
	__atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
}

static void do_submit(void *arg)
{
	struct cut *c = arg;

	drive_submit(c->drive, &c->req);
}

static void run(struct cut *c, enum drive_op op, unsigned sector)
{
	c->iov = (struct iovec){c->buf, SECTOR};
	c->req = (struct drive_req){.op = op,
				    .off = (uint64_t)sector * SECTOR,
				    .len = op == DRIVE_FLUSH ? 0 : SECTOR,
				    .iov = &c->iov,
				    .nr_iov = op == DRIVE_FLUSH ? 0 : 1,
				    .done = on_done,
				    .opaque = c};
	c->done = 0;
	loop_call(c->loop, do_submit, c);
	while (!__atomic_load_n(&c->done, __ATOMIC_ACQUIRE))
		usleep(10);
	assert_int_equal(c->res, 0);
}

/* Cuts the power and closes what is left. */
static int cut_power(struct blk *disk, void *arg)
{
	struct cut *c = arg;

	(void)disk;
	return blk_volatile_cut(c->filter, c->how, c->seed);
}

static void do_cut(void *arg)
{
	struct cut *c = arg;

	if (drive_run(c->drive, cut_power, c, &c->e))
		fail_msg("%s", c->e.msg);
	drive_close(c->drive);
	c->drive = NULL;
}

static void work(struct cut *c)
{
	memset(c->completed, 0, sizeof(c->completed));
	memset(c->flushed, 0, sizeof(c->flushed));
	loop_call(c->loop, do_open, c);
	for (uint32_t i = 1; i <= NR_STEPS; i++) {
		unsigned sector = next_random(c, NR_SECTORS);

		if (next_random(c, 10) == 0) {
			run(c, DRIVE_FLUSH, 0);
			memcpy(c->flushed, c->completed, sizeof(c->flushed));
			continue;
		}
		memset(c->buf, 0, SECTOR);
		memcpy(c->buf, &i, 4);
		run(c, DRIVE_WRITE, sector);
		c->completed[sector] = i;
	}
	loop_call(c->loop, do_cut, c);
}

/* The image afterwards, by what opens it next. */
static void look(struct cut *c)
{
	struct drive_config cfg = c->cfg;

	c->cfg.readonly = true;
	loop_call(c->loop, do_open, c);
	for (unsigned s = 0; s < NR_SECTORS; s++) {
		run(c, DRIVE_READ, s);
		memcpy(&c->found[s], c->buf, 4);
	}
	c->how = BLK_CUT_ALL;
	loop_call(c->loop, do_cut, c);
	c->cfg = cfg;
}

struct make_call {
	struct blk_ctx *ctx;
	struct cut *c;
};

static int make_image(void *arg)
{
	struct make_call *m = arg;
	struct blk_create create = {.path = m->c->cfg.path,
				    .len = NR_SECTORS * SECTOR};
	const struct blk_format *f = blk_format_find(m->c->cfg.format);

	unlink(create.path);
	return f->create(m->ctx, &create, &m->c->e);
}

static void destroy_ctx(void *arg)
{
	blk_ctx_destroy(arg);
}

static void make(struct cut *c)
{
	struct blk_ctx_config cfg = {.loop = c->loop};
	struct make_call m = {.ctx = blk_ctx_create(&cfg, &c->e), .c = c};

	if (!m.ctx || blk_run(m.ctx, make_image, &m))
		fail_msg("%s", c->e.msg);
	loop_call(c->loop, destroy_ctx, m.ctx);
}

/* Returns whether anything that was flushed is missing. */
static bool one_round(struct cut *c, enum cache_fate fate, enum blk_cut how)
{
	bool lost = false;

	make(c);
	c->how = how;
	work(c);
	look(c);
	for (unsigned s = 0; s < NR_SECTORS; s++) {
		if (fate == CACHE_ALL && c->found[s] != c->completed[s])
			fail_msg("%s, %s: sector %u holds write %u, not %u",
				 c->cfg.format, cache_modes[c->cfg.preset].name,
				 s, c->found[s], c->completed[s]);
		if (fate == CACHE_FLUSHED && c->found[s] < c->flushed[s])
			fail_msg("%s, %s: sector %u holds write %u, before %u",
				 c->cfg.format, cache_modes[c->cfg.preset].name,
				 s, c->found[s], c->flushed[s]);
		lost |= c->found[s] < c->flushed[s];
	}
	return lost;
}

static void each_mode(struct cut *c, enum cache_event event, enum blk_cut how)
{
	for (int p = 0; p < DRIVE_NR_PRESETS; p++) {
		const struct cache_mode *m = &cache_modes[p];
		bool is_raw = !strcmp(c->cfg.format, "raw");
		enum cache_fate fate = cache_fate(m, m->wce, is_raw, event);
		bool lost = false;

		/* The filter's file has no use for O_DIRECT. */
		c->cfg.preset = p;
		for (unsigned i = 0; i < NR_ROUNDS; i++)
			lost |= one_round(c, fate, how);
		if (fate == CACHE_NOTHING && !lost)
			fail_msg("%s, %s: nothing was ever lost", c->cfg.format,
				 m->name);
	}
}

static void the_table_is_true(void **state)
{
	static const char *const formats[] = {"raw", "qcow2"};
	char path[] = "/var/tmp/test_cache_fate.XXXXXX";
	struct cut c = {.seed = 1};
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	c.loop = loop_create("test", NULL, &c.e);
	assert_int_equal(loop_start(c.loop, &c.e), 0);
	c.cfg.path = path;
	for (int i = 0; i < 2; i++) {
		c.cfg.format = formats[i];
		each_mode(&c, CACHE_POWER_LOSS, BLK_CUT_NONE);
		each_mode(&c, CACHE_HOST_CRASH, BLK_CUT_SUBSET);
		/* What we wrote is the host's; what we hadn't yet is gone. */
		each_mode(&c, CACHE_OUR_CRASH, BLK_CUT_ALL);
	}
	loop_destroy(c.loop);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
