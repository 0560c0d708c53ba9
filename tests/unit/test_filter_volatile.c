/*
 * The model of a volatile cache: transparent until the power goes; then what
 * was promised is there, and the rest is as the cut says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/volatile.h"
#include "tests/unit/blk_memory.h"
#include "tests/unit/crash_model.h"

#define LEN	65536
#define SECTORS 256u /* of the disk in the cuts */

static struct blk *open_over(struct blk *disk, const char *budget)
{
	struct blk_opt opt = {"budget", budget};
	struct error e = {0};
	struct blk *b = blk_filter_open_with(disk, &blk_volatile_driver, &opt,
					     budget ? 1 : 0, &e);

	if (!b)
		fprintf(stderr, "%s\n", e.msg);
	CHECK(b);
	return b;
}

static int basics_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk *disk = memory_disk_open(f->ctx, LEN);
	struct memory_disk *d = memory_disk_of(disk);
	struct blk *b = open_over(blk_ref(disk), NULL);
	struct blk_volatile_stats stats;
	uint8_t buf[4096], got[4096];
	uint64_t n;
	struct error e = {0};

	memset(buf, 3, sizeof(buf));
	CHECK_EQ(blk_write(b, 1000, buf, 3000, 0), 0);
	CHECK_EQ(d->writes, 0);
	CHECK_EQ(blk_read(b, 1000, got, 3000), 0);
	CHECK(!memcmp(buf, got, 3000));
	blk_volatile_stats(b, &stats);
	CHECK_EQ(stats.requests, 1);
	CHECK_EQ(stats.bytes, 3584);
	/* Held sectors are data; around them the child answers. */
	CHECK_EQ(blk_status(b, 512, 8192, &n, NULL, NULL),
		 BLK_STATUS_DATA | BLK_STATUS_ALLOCATED);
	CHECK_EQ(n, 3584);
	CHECK(blk_status(b, 4096, 8192, &n, NULL, NULL) &
	      BLK_STATUS_OFFSET_VALID);
	CHECK_EQ(n, 8192);
	/* Stable at once, though what came before is not. */
	CHECK_EQ(blk_write(b, 2048, buf, 512, BLK_FUA), 0);
	CHECK_EQ(d->data[2048], 3);
	CHECK_EQ(d->data[1536], 0);
	CHECK_EQ(d->flushes, 1);
	memset(buf, 4, 512);
	CHECK_EQ(blk_write(b, 2048, buf, 512, BLK_FUA), 0);
	CHECK_EQ(blk_write_zeroes(b, 3072, 512, 0), 0);
	CHECK_EQ(blk_discard(b, 8192, 4096), 0);
	CHECK_EQ(blk_flush(b), 0);
	CHECK_EQ(d->data[1536], 3);
	CHECK_EQ(d->data[2048], 4); /* not the older one that was held */
	CHECK_EQ(d->data[3072], 0);
	CHECK_EQ(d->discards, 1);
	CHECK_EQ(d->flushes, 3);
	blk_volatile_stats(b, &stats);
	CHECK_EQ(stats.requests, 0);
	/* Longer and shorter. */
	CHECK_EQ(blk_write(b, LEN + 512, buf, 100, 0), 0);
	CHECK_EQ(blk_len(b), LEN + 612);
	CHECK_EQ(blk_len(disk), LEN);
	CHECK_EQ(blk_read(b, LEN + 512, got, 100), 0);
	CHECK(!memcmp(buf, got, 100));
	CHECK_EQ(blk_flush(b), 0);
	CHECK_EQ(blk_write(b, 4096, buf, 512, 0), 0);
	CHECK_EQ(blk_truncate(b, 4096, BLK_PREALLOC_OFF, true, &e), 0);
	CHECK_EQ(blk_truncate(b, LEN, BLK_PREALLOC_OFF, false, &e), 0);
	CHECK_EQ(blk_read(b, 4096, got, 512), 0);
	CHECK(blk_len(disk) == LEN && !got[0] && !d->data[4096]);
	/* Read-only and back: nothing stays behind. */
	CHECK_EQ(blk_write(b, 0, buf, 512, 0), 0);
	CHECK_EQ(blk_set_write(b, false, &e), 0);
	CHECK_EQ(d->data[0], 4);
	CHECK_EQ(blk_write(b, 0, buf, 512, 0), -EROFS);
	CHECK_EQ(blk_set_write(b, true, &e), 0);
	CHECK_EQ(blk_write(b, 0, buf + 512, 512, 0), 0);
	CHECK_EQ(blk_unref(b), 0);
	CHECK_EQ(d->data[0], 3);
	return blk_unref(disk);
}

static void basics(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, basics_run, f), 0);
}

/* ---- reads and what is left in the end, against plain memory ---- */

static int mirror_run(void *arg)
{
	struct blk_bench *f = arg;

	for (unsigned seed = 0; seed < 60; seed++) {
		struct blk *disk = memory_disk_open(f->ctx, LEN);
		struct memory_disk *d = memory_disk_of(disk);
		struct blk *b =
			open_over(blk_ref(disk), seed % 2 ? "20000" : NULL);
		static uint8_t mirror[LEN], got[LEN];
		unsigned random = seed;

		memset(mirror, 0, LEN);
		for (unsigned i = 0; i < 200; i++) {
			uint64_t off = rand_r(&random) % LEN;
			uint64_t len = 1 + rand_r(&random) % 6000;
			unsigned kind = rand_r(&random) % 12;
			unsigned flags = rand_r(&random) % 6 ? 0 : BLK_FUA;

			if (len > LEN - off)
				len = LEN - off;
			memset(got, rand_r(&random), len);
			if (kind < 7) {
				CHECK_EQ(blk_write(b, off, got, len, flags), 0);
				memcpy(mirror + off, got, len);
			} else if (kind < 9) {
				CHECK_EQ(blk_write_zeroes(b, off, len, flags),
					 0);
				memset(mirror + off, 0, len);
			} else if (kind == 9) {
				CHECK_EQ(blk_flush(b), 0);
			}
			CHECK_EQ(blk_read(b, off, got, len), 0);
			CHECK(!memcmp(got, mirror + off, len));
		}
		CHECK_EQ(blk_unref(b), 0);
		CHECK(!memcmp(d->data, mirror, LEN));
		CHECK_EQ(blk_unref(disk), 0);
	}
	return 0;
}

static void transparent(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, mirror_run, f), 0);
}

/* ---- cuts ---- */

struct cut {
	struct blk_bench *f;
	struct blk *disk, *b; /* b: the cache */
	struct blk *top;      /* what the lanes write to: b, or an image */
	struct model *m;
	enum blk_cut mode;
	unsigned seed, running, lane, old, torn;
	bool stop;
};

static void write_some(struct cut *c, unsigned lane, unsigned *random)
{
	uint32_t first = lane * (SECTORS / 4) + rand_r(random) % 50;
	uint32_t nr = 1 + rand_r(random) % 8, tag = c->m->next_tag++;
	unsigned flags = rand_r(random) % 8 ? 0 : BLK_FUA;
	uint8_t buf[8 * SECTOR];

	for (uint32_t i = 0; i < nr; i++)
		model_fill(buf + i * SECTOR, tag, first + i);
	model_begin(c->m, first, nr, tag, 0);
	if (blk_write(c->top, (uint64_t)first * SECTOR, buf, nr * SECTOR,
		      flags)) {
		c->stop = true;
		return;
	}
	model_done(c->m, first, nr);
	for (uint32_t s = first; flags && s < first + nr; s++) {
		struct history *h = &c->m->sectors[s];

		h->list[0] = h->list[h->nr - 1];
		h->nr = 1;
	}
}

static void flush_some(struct cut *c)
{
	uint64_t covers = c->m->completions;

	if (blk_flush(c->top))
		c->stop = true;
	else
		model_flushed(c->m, covers, 0);
}

static void cut_lane(void *arg)
{
	struct cut *c = arg;
	unsigned lane = c->lane, random = c->seed * 4 + lane;

	for (unsigned i = 0; i < 60 && !c->stop; i++)
		if (rand_r(&random) % 10)
			write_some(c, lane, &random);
		else
			flush_some(c);
	c->running--;
}

/* Each sector holds what was promised, or something written after it; how
 * many hold an older one than the last is counted. */
static void check_disk(struct cut *c)
{
	uint64_t stable = model_stable(c->m, 0);
	const uint8_t *data = memory_disk_of(c->disk)->data;

	for (uint32_t s = 0; s < SECTORS; s++) {
		const struct history *h = &c->m->sectors[s];

		CHECK(model_allows(c->m, data + s * SECTOR, s, 0, stable));
		if (!model_is(data + s * SECTOR, history_last(h), s))
			c->old++;
		else if (s && s % 8 && history_last(h) &&
			 history_last(h) == history_last(h - 1) &&
			 !model_is(data + (s - 1) * SECTOR, history_last(h - 1),
				   s - 1))
			c->torn++;
	}
}

static struct model *new_model(void)
{
	struct model *m = calloc(1, sizeof(*m));

	m->next_tag = 2;
	for (uint32_t s = 0; s < SECTORS; s++)
		history_add(&m->sectors[s], TAG_ZERO, 0)->done = 0;
	return m;
}

/* Work in four lanes until the power goes. */
static void work_and_cut(struct cut *c)
{
	unsigned random = c->seed;

	c->stop = false;
	for (c->lane = 0; c->lane < 4; c->lane++) {
		c->running++;
		CHECK_EQ(co_start(c->f->ctx, cut_lane, c), 0);
	}
	for (unsigned trips = rand_r(&random) % 300; trips; trips--) {
		struct memory_disk one = {.slow = 1};
		struct blk wait = {.ctx = c->f->ctx, .priv = &one};

		memory_wait(&wait);
	}
	CHECK_EQ(blk_volatile_cut(c->b, c->mode, c->seed), 0);
	while (c->running)
		co_sleep_ns(c->f->ctx, 10000);
}

/* Nothing works any more, and nothing reaches the disk. */
static void check_dead(struct cut *c)
{
	unsigned writes = memory_disk_of(c->disk)->writes;
	uint8_t buf[SECTOR] = {0};
	struct error e = {0};
	uint64_t n;

	CHECK_EQ(blk_write(c->b, 0, buf, SECTOR, 0), -EIO);
	CHECK_EQ(blk_write(c->b, 0, buf, SECTOR, BLK_FUA), -EIO);
	CHECK_EQ(blk_write_zeroes(c->b, 0, SECTOR, 0), -EIO);
	CHECK_EQ(blk_discard(c->b, 0, SECTOR), -EIO);
	CHECK_EQ(blk_read(c->b, 0, buf, SECTOR), -EIO);
	CHECK_EQ(blk_flush(c->b), -EIO);
	CHECK_EQ(blk_truncate(c->b, 0, BLK_PREALLOC_OFF, true, &e), -EIO);
	CHECK_EQ(memory_disk_of(c->disk)->writes, writes);
	CHECK_EQ(blk_status(c->b, 0, SECTOR, &n, NULL, NULL), -EIO);
}

static void run_cut(struct cut *c)
{
	c->m = new_model();
	c->disk = memory_disk_open(c->f->ctx, SECTORS * SECTOR);
	memory_disk_of(c->disk)->slow = 3;
	memory_disk_of(c->disk)->seed = c->seed;
	c->b = c->top =
		open_over(blk_ref(c->disk), c->seed % 3 ? NULL : "30000");
	work_and_cut(c);
	check_disk(c);
	check_dead(c);
	blk_unref(c->b);
	CHECK_EQ(blk_unref(c->disk), 0);
	model_fini(c->m);
}

static int cuts_run(void *arg)
{
	struct cut c = {.f = arg};
	unsigned old[BLK_CUT_TORN + 1], torn[BLK_CUT_TORN + 1];

	for (c.mode = BLK_CUT_NONE; c.mode <= BLK_CUT_TORN; c.mode++) {
		c.old = c.torn = 0;
		for (c.seed = 1; c.seed <= 150; c.seed++)
			run_cut(&c);
		old[c.mode] = c.old;
		torn[c.mode] = c.torn;
	}
	/* The modes do what their names say. */
	CHECK(old[BLK_CUT_NONE] > old[BLK_CUT_SUBSET]);
	CHECK(old[BLK_CUT_SUBSET] > old[BLK_CUT_ALL]);
	CHECK(torn[BLK_CUT_TORN] > torn[BLK_CUT_SUBSET]);
	return 0;
}

static void cuts(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, cuts_run, f), 0);
}

/* ---- an image over the cache ---- */

struct image_cut {
	struct cut cut;
	char path[64];
	uint8_t *empty; /* the image's bytes when it was made */
	size_t len;
};

static struct blk *open_image(struct image_cut *i, struct blk *file, bool write)
{
	struct blk_options o = {.format = "qcow2", .write = write};
	struct error e = {0};
	struct blk *b = blk_open_over(file, &o, &e);

	if (!b)
		fprintf(stderr, "seed %u: %s\n", i->cut.seed, e.msg);
	CHECK(b);
	return b;
}

static void check_image(struct image_cut *i)
{
	struct cut *c = &i->cut;
	struct blk *b = open_image(i, blk_ref(c->disk), false);
	uint64_t stable = model_stable(c->m, 0);
	struct blk_check out = {0};
	uint8_t buf[SECTOR];

	CHECK_EQ(blk_qcow2_format.check(b, 0, &out, NULL), 0);
	CHECK_EQ(out.corruptions + out.check_errors, 0);
	for (uint32_t s = 0; s < SECTORS; s++) {
		CHECK_EQ(blk_read(b, s * SECTOR, buf, SECTOR), 0);
		CHECK(model_allows(c->m, buf, s, 0, stable));
	}
	CHECK_EQ(blk_unref(b), 0);
}

static void run_image_cut(struct image_cut *i)
{
	struct cut *c = &i->cut;

	c->m = new_model();
	c->disk = memory_disk_open(c->f->ctx, i->len);
	memcpy(memory_disk_of(c->disk)->data, i->empty, i->len);
	memory_disk_of(c->disk)->slow = 3;
	memory_disk_of(c->disk)->seed = c->seed;
	c->b = open_over(blk_ref(c->disk), c->seed % 3 ? NULL : "30000");
	c->top = open_image(i, blk_ref(c->b), true);
	work_and_cut(c);
	/* Closing tells of the loss and changes nothing. */
	blk_unref(c->top);
	blk_unref(c->b);
	check_image(i);
	CHECK_EQ(blk_unref(c->disk), 0);
	model_fini(c->m);
}

static int image_run(void *arg)
{
	struct image_cut *i = arg;
	struct blk_opt opt = {"cluster_size", "1024"};
	struct blk_create create = {.path = i->path,
				    .len = SECTORS * SECTOR,
				    .opts = &opt,
				    .nr_opts = 1};
	struct error e = {0};
	FILE *in;

	CHECK_EQ(blk_qcow2_format.create(i->cut.f->ctx, &create, &e), 0);
	in = fopen(i->path, "r");
	CHECK(in);
	i->empty = calloc(1, 65536);
	i->len = fread(i->empty, 1, 65536, in);
	fclose(in);
	for (i->cut.mode = BLK_CUT_NONE; i->cut.mode <= BLK_CUT_TORN;
	     i->cut.mode++)
		for (i->cut.seed = 1; i->cut.seed <= 60; i->cut.seed++)
			run_image_cut(i);
	free(i->empty);
	return 0;
}

static void images_survive_cuts(void **state)
{
	struct image_cut i = {.cut.f = *state,
			      .path = "/tmp/test_filter_volatile.XXXXXX"};
	int fd = mkstemp(i.path);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(blk_run(i.cut.f->ctx, image_run, &i), 0);
	unlink(i.path);
}

/* Without anything on its way the outcome is exact: how many of the eight
 * sectors that were not flushed are there. */
static unsigned cut_one(struct blk_bench *f, enum blk_cut mode, unsigned seed)
{
	struct blk *disk = memory_disk_open(f->ctx, LEN);
	struct memory_disk *d = memory_disk_of(disk);
	struct blk *b = open_over(blk_ref(disk), NULL);
	uint8_t buf[4096];
	unsigned new = 0;

	memset(buf, 1, sizeof(buf));
	CHECK_EQ(blk_write(b, 0, buf, 4096, 0), 0);
	CHECK_EQ(blk_flush(b), 0);
	memset(buf, 2, sizeof(buf));
	CHECK_EQ(blk_write(b, 0, buf, 4096, 0), 0);
	CHECK_EQ(blk_volatile_cut(b, mode, seed), 0);
	for (unsigned s = 0; s < 8; s++) {
		CHECK(d->data[s * 512] == 1 || d->data[s * 512] == 2);
		CHECK_EQ(d->data[s * 512], d->data[s * 512 + 511]);
		new += d->data[s * 512] == 2;
	}
	blk_unref(b);
	blk_unref(disk);
	return new;
}

static int exact_run(void *arg)
{
	unsigned whole = 0, none = 0, torn = 0;

	for (unsigned seed = 0; seed < 100; seed++) {
		unsigned n = cut_one(arg, BLK_CUT_SUBSET, seed);

		CHECK_EQ(cut_one(arg, BLK_CUT_NONE, seed), 0);
		CHECK_EQ(cut_one(arg, BLK_CUT_ALL, seed), 8);
		CHECK(!n || n == 8);
		n = cut_one(arg, BLK_CUT_TORN, seed);
		CHECK_EQ(cut_one(arg, BLK_CUT_TORN, seed), n);
		none += !n;
		whole += n == 8;
		torn += n && n < 8;
	}
	CHECK(none && whole && torn);
	return 0;
}

static void exact(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, exact_run, f), 0);
}

/* Mode unsafe: flushes end above the cache, and a cut loses them. */
static int unsafe_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk *disk = memory_disk_open(f->ctx, LEN);
	uint8_t buf[512] = {5};
	struct blk *b;

	disk->options.no_flush = true;
	b = open_over(blk_ref(disk), NULL);
	CHECK_EQ(blk_write(b, 0, buf, 512, 0), 0);
	CHECK_EQ(blk_flush(b), 0);
	CHECK_EQ(memory_disk_of(disk)->flushes, 0);
	CHECK_EQ(blk_volatile_cut(b, BLK_CUT_NONE, 0), 0);
	CHECK_EQ(memory_disk_of(disk)->data[0], 0);
	blk_unref(b);
	return blk_unref(disk);
}

static void unsafe_loses(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, unsafe_run, f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(basics), cmocka_unit_test(transparent),
		cmocka_unit_test(cuts),	  cmocka_unit_test(images_survive_cuts),
		cmocka_unit_test(exact),  cmocka_unit_test(unsafe_loses),
	};

	return cmocka_run_group_tests(tests, blk_bench_setup,
				      blk_bench_teardown);
}
