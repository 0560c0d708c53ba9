/*
 * A disk in memory and a loop to use it from, for tests of what stands above
 * a file.  Thread rule: the node [co]; start and stop from the test.
 */
#ifndef TESTS_UNIT_BLK_MEMORY_H
#define TESTS_UNIT_BLK_MEMORY_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/co.h"
#include "core/blk/ctx.h"
#include "core/blk/driver.h"
#include "core/blk/iov.h"
#include "core/error.h"
#include "core/loop.h"

/* Inside coroutines, which run on the loop's thread, where cmocka's own checks
 * can't unwind. */
#define CHECK(cond)    check_equal(!!(cond), 1, #cond, __FILE__, __LINE__)
#define CHECK_EQ(a, b) check_equal(a, b, #a " == " #b, __FILE__, __LINE__)

static inline void check_equal(long long a, long long b, const char *what,
			       const char *file, int line)
{
	if (a == b)
		return;
	fprintf(stderr, "%s:%d: not %s (%lld, %lld)\n", file, line, what, a, b);
	abort();
}

struct memory_disk {
	uint8_t *data;
	uint64_t max; /* bytes that data holds */
	unsigned reads, writes, zeroes, discards, flushes;
	unsigned slow, seed; /* one request in so many waits a little */
};

static inline struct memory_disk *memory_disk_of(struct blk *b)
{
	return b->priv;
}

static int memory_reach(struct blk *b, uint64_t end)
{
	struct memory_disk *d = b->priv;
	uint64_t max = d->max ? d->max : 65536;
	uint8_t *data;

	if (end <= d->max)
		return 0;
	while (max < end)
		max *= 2;
	data = realloc(d->data, max);
	if (!data)
		return -ENOMEM;
	memset(data + d->max, 0, max - d->max);
	d->data = data;
	d->max = max;
	return 0;
}

static void memory_wake(void *co)
{
	co_wake(co);
}

/* By a trip through the loop rather than by time, so that a seed repeats. */
static void memory_wait(struct blk *b)
{
	struct memory_disk *d = b->priv;
	unsigned trips = 0;

	if (d->slow && !(rand_r(&d->seed) % d->slow))
		trips = 1 + rand_r(&d->seed) % 4;
	while (trips--) {
		struct loop_work work = {.fn = memory_wake, .arg = co_self()};

		loop_post(b->ctx->loop, &work);
		co_yield ();
	}
}

static int memory_readv(struct blk *b, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr)
{
	struct memory_disk *d = b->priv;

	d->reads++;
	memory_wait(b);
	if (memory_reach(b, off + len))
		return -ENOMEM;
	iov_from_buf(iov, nr, 0, d->data + off, len);
	return 0;
}

static int memory_writev(struct blk *b, uint64_t off, uint64_t len,
			 const struct iovec *iov, int nr, unsigned flags)
{
	struct memory_disk *d = b->priv;

	(void)flags;
	d->writes++;
	memory_wait(b);
	if (memory_reach(b, off + len))
		return -ENOMEM;
	iov_to_buf(iov, nr, 0, d->data + off, len);
	return 0;
}

static int memory_zero(struct blk *b, uint64_t off, uint64_t len,
		       unsigned flags)
{
	struct memory_disk *d = b->priv;

	(void)flags;
	d->zeroes++;
	memory_wait(b);
	if (memory_reach(b, off + len))
		return -ENOMEM;
	memset(d->data + off, 0, len);
	return 0;
}

static int memory_discard(struct blk *b, uint64_t off, uint64_t len)
{
	struct memory_disk *d = b->priv;

	d->discards++;
	return memory_zero(b, off, len, 0);
}

static int memory_flush(struct blk *b)
{
	struct memory_disk *d = b->priv;

	d->flushes++;
	memory_wait(b);
	return 0;
}

static int memory_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			   bool allow_shrink, struct error *e)
{
	struct memory_disk *d = b->priv;

	(void)mode;
	(void)allow_shrink;
	if (memory_reach(b, len))
		return error_set(e, -ENOMEM, "no memory for a disk");
	if (len < b->len)
		memset(d->data + len, 0, b->len - len);
	return 0;
}

static void memory_close(struct blk *b)
{
	free(memory_disk_of(b)->data);
}

static const struct blk_driver memory_driver = {
	.name = "memory",
	.close = memory_close,
	.readv = memory_readv,
	.writev = memory_writev,
	.write_zeroes = memory_zero,
	.discard = memory_discard,
	.flush = memory_flush,
	.truncate = memory_truncate,
};

/* A protocol node of len zeroes that can be written; blk_unref ends it. */
static inline struct blk *memory_disk_open(struct blk_ctx *ctx, uint64_t len)
{
	struct blk *b = calloc(1, sizeof(*b));

	b->drv = &memory_driver;
	b->ctx = ctx;
	b->name = strdup("memory");
	b->priv = calloc(1, sizeof(struct memory_disk));
	b->align = b->refs = 1;
	b->write = b->is_protocol = true;
	b->options.write = b->options.discard_unmap = true;
	b->options.path = b->name;
	b->len = len;
	memory_reach(b, len);
	return b;
}

/* A loop of its own and a context on it. */
struct blk_bench {
	struct loop *loop;
	struct blk_ctx *ctx;
};

static inline int blk_bench_start(struct blk_bench *f)
{
	struct blk_ctx_config cfg;

	f->loop = loop_create("test", NULL, NULL);
	if (!f->loop || loop_start(f->loop, NULL))
		return -1;
	cfg = (struct blk_ctx_config){.loop = f->loop, .nr_workers = 1};
	f->ctx = blk_ctx_create(&cfg, NULL);
	return f->ctx ? 0 : -1;
}

static void blk_bench_end_ctx(void *arg)
{
	blk_ctx_destroy(arg);
}

static inline void blk_bench_stop(struct blk_bench *f)
{
	loop_call(f->loop, blk_bench_end_ctx, f->ctx);
	loop_destroy(f->loop);
}

/* One for all tests of a group. */
static inline int blk_bench_setup(void **state)
{
	static struct blk_bench bench;

	*state = &bench;
	return blk_bench_start(&bench);
}

static inline int blk_bench_teardown(void **state)
{
	blk_bench_stop(*state);
	return 0;
}

#endif
