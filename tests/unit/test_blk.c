/* The generic layer over a stub driver with blocks, and the graph over files. */
#include "tests/unit/bench.h"

#include "core/blk/iov.h"

/* A disk in memory of 16 KiB that takes only whole blocks of 512 bytes. */
#define MEM_LEN 16384
struct mem {
	uint8_t bytes[MEM_LEN];
	unsigned nr_flushes;
};

static int mem_readv(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr)
{
	struct mem *m = b->priv;

	if ((off | len) % 512 || off + len > MEM_LEN || iov_len(iov, nr) != len)
		return -EIO;
	iov_from_buf(iov, nr, 0, m->bytes + off, len);
	return 0;
}

static int mem_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags)
{
	struct mem *m = b->priv;

	(void)flags;
	if ((off | len) % 512 || off + len > MEM_LEN || iov_len(iov, nr) != len)
		return -EIO;
	co_sleep_ns(b->ctx, rand() % 20000);
	iov_to_buf(iov, nr, 0, m->bytes + off, len);
	return 0;
}

static int mem_flush(struct blk *b)
{
	((struct mem *)b->priv)->nr_flushes++;
	return 0;
}

static const struct blk_driver mem_driver = {
	.name = "mem",
	.readv = mem_readv,
	.writev = mem_writev,
	.flush = mem_flush,
};

static struct blk mem_node(struct bench *f, struct mem *m)
{
	return (struct blk){.drv = &mem_driver,
			    .ctx = f->ctx,
			    .name = "mem",
			    .priv = m,
			    .len = MEM_LEN,
			    .align = 512,
			    .write = true,
			    .refs = 1};
}

struct storm {
	struct blk *b;
	uint8_t want[MEM_LEN];
	unsigned running;
	int failed;
	unsigned seed, lane;
};

/* Each lane owns every eighth run of 100 bytes, so that blocks are shared. */
static void storm_lane(void *arg)
{
	struct storm *s = arg;
	unsigned lane = s->lane, seed = s->seed + lane;
	uint8_t buf[100], got[100];

	for (int i = 0; i < 60; i++) {
		unsigned at = (rand_r(&seed) % 20 * 8 + lane) * 100;
		unsigned len = 1 + rand_r(&seed) % 100;

		memset(buf, rand_r(&seed), len);
		memcpy(s->want + at, buf, len);
		if (i % 5 == 4) {
			memset(s->want + at, 0, len);
			s->failed |= blk_write_zeroes(s->b, at, len, 0);
		} else {
			s->failed |= blk_write(s->b, at, buf, len, 0);
		}
		s->failed |= blk_read(s->b, at, got, len);
		if (memcmp(got, s->want + at, len))
			s->failed |= 1;
	}
	s->running--;
}

static int storm_run(void *arg)
{
	struct storm *s = arg;
	uint8_t got[MEM_LEN];

	for (s->lane = 0; s->lane < 8; s->lane++) {
		s->running++;
		if (co_start(s->b->ctx, storm_lane, s))
			return -ENOMEM;
	}
	while (s->running)
		co_sleep_ns(s->b->ctx, 1000000);
	assert_int_equal(blk_read(s->b, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, s->want, sizeof(got));
	return s->failed;
}

static void unaligned_writes_share_blocks(void **state)
{
	struct bench *f = *state;
	struct mem m = {0};
	struct blk b = mem_node(f, &m);
	struct storm s = {.b = &b, .seed = 1};

	assert_int_equal(blk_run(f->ctx, storm_run, &s), 0);
	assert_null(b.requests);
	assert_int_equal(b.in_flight, 0);
}

static int flush_run(void *arg)
{
	struct blk *b = arg;
	struct mem *m = b->priv;

	assert_int_equal(blk_flush(b), 0);
	assert_int_equal(m->nr_flushes, 0);
	assert_int_equal(blk_write(b, 0, "x", 1, 0), 0);
	assert_int_equal(blk_flush(b), 0);
	assert_int_equal(blk_flush(b), 0);
	assert_int_equal(m->nr_flushes, 1);
	assert_int_equal(blk_write(b, 0, "y", 1, BLK_FUA), 0);
	assert_int_equal(m->nr_flushes, 2);
	assert_int_equal(blk_write(b, MEM_LEN, "x", 1, 0), -EINVAL);
	assert_int_equal(blk_write(b, UINT64_MAX, "x", 1, 0), -EINVAL);
	assert_int_equal(blk_read(b, MEM_LEN - 1, &m, 2), -EINVAL);
	b->write = false;
	assert_int_equal(blk_write(b, 0, "x", 1, 0), -EROFS);
	return 0;
}

static void flushes_and_refusals(void **state)
{
	struct bench *f = *state;
	struct mem m = {0};
	struct blk b = mem_node(f, &m);

	assert_int_equal(blk_run(f->ctx, flush_run, &b), 0);
}

static int failing_run(void *arg)
{
	struct blk *b = arg;
	uint8_t buf[100], before[100];

	memset(buf, 0xa5, sizeof(buf));
	memcpy(before, buf, sizeof(buf));
	assert_int_equal(blk_read(b, MEM_LEN + 1, buf, sizeof(buf)), -EIO);
	assert_memory_equal(buf, before, sizeof(buf));
	return 0;
}

static void failed_reads_show_no_memory(void **state)
{
	struct bench *f = *state;
	struct mem m = {0};
	struct blk b = mem_node(f, &m);

	b.len = MEM_LEN + 512;
	assert_int_equal(blk_run(f->ctx, failing_run, &b), 0);
}

struct file_job {
	struct blk_ctx *ctx;
	const char *path;
};

static int file_run(void *arg)
{
	struct file_job *j = arg;
	struct blk_options o = {
		.path = j->path, .format = "raw", .write = true};
	struct error e;
	struct blk *b;
	char buf[10];

	assert_int_equal(
		blk_make_file(j->ctx, j->path, 1000, BLK_PREALLOC_OFF, &e), 0);
	b = blk_open(j->ctx, &o, &e);
	assert_non_null(b);
	assert_int_equal(blk_len(b), 1000);
	assert_string_equal(blk_format(b), "raw");
	assert_int_equal(blk_write(b, 991, "the end", 8, 0), 0);
	assert_int_equal(blk_write(b, 995, "the end", 8, 0), -EINVAL);
	assert_int_equal(blk_read(b, 991, buf, 8), 0);
	assert_string_equal(buf, "the end");
	assert_int_equal(blk_unref(b), 0);

	o.write = false;
	o.format = NULL;
	b = blk_open(j->ctx, &o, &e);
	assert_non_null(b);
	assert_string_equal(blk_format(b), "raw");
	assert_int_equal(blk_write(b, 0, "x", 1, 0), -EROFS);
	assert_int_equal(blk_unref(b), 0);

	o.path = "/nowhere/at/all";
	assert_null(blk_open(j->ctx, &o, &e));
	assert_non_null(strstr(e.msg, "/nowhere/at/all"));
	return 0;
}

static void raw_files(void **state)
{
	struct bench *f = *state;
	char path[96];
	struct file_job j = {f->ctx, path};

	snprintf(path, sizeof(path), "%s/a.raw", f->dir);
	assert_int_equal(blk_run(f->ctx, file_run, &j), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(unaligned_writes_share_blocks,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(flushes_and_refusals,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(failed_reads_show_no_memory,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(raw_files, bench_setup,
						bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
