/*
 * bench: a loop, a context and a folder for tests of running disks.
 *
 * Thread rule: setup and teardown from the test; the rest on the loop.
 */
#ifndef TESTS_UNIT_BENCH_H
#define TESTS_UNIT_BENCH_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/ctx.h"
#include "core/blk/disk.h"
#include "core/blk/driver.h"
#include "core/blk/format.h"
#include "core/error.h"

/* A test's loop, context and folder.  The seed is printed as each test begins;
 * JOB_SEED=N repeats it. */
struct bench {
	struct loop *loop;
	struct blk_ctx *ctx;
	char dir[64];
	unsigned seed;
};

static inline unsigned bench_rand(struct bench *t, unsigned below)
{
	return rand_r(&t->seed) % below;
}

static inline struct bench *bench_create(void)
{
	struct bench *t = calloc(1, sizeof(*t));
	const char *tmp = getenv("TMPDIR");
	struct blk_ctx_config cfg;

	assert_non_null(t);
	snprintf(t->dir, sizeof(t->dir), "%.40s/jobs-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(t->dir));
	t->loop = loop_create("test", NULL, NULL);
	assert_non_null(t->loop);
	assert_int_equal(loop_start(t->loop, NULL), 0);
	cfg = (struct blk_ctx_config){.loop = t->loop};
	t->ctx = blk_ctx_create(&cfg, NULL);
	assert_non_null(t->ctx);
	t->seed = getenv("JOB_SEED") ? atoi(getenv("JOB_SEED")) : getpid();
	print_message("JOB_SEED=%u\n", t->seed);
	return t;
}

static inline void bench_destroy_ctx(void *arg)
{
	blk_ctx_destroy(arg);
}

static inline void bench_destroy(struct bench *t)
{
	char cmd[128];

	loop_call(t->loop, bench_destroy_ctx, t->ctx);
	loop_destroy(t->loop);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", t->dir);
	assert_int_equal(system(cmd), 0);
	free(t);
}

static inline int bench_setup(void **state)
{
	*state = bench_create();
	return 0;
}

static inline int bench_teardown(void **state)
{
	bench_destroy(*state);
	return 0;
}

/* A failed check on the loop's thread has nowhere to jump to. */
#define SHADOW_CHECK(cond, ...)                                                \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,     \
				#cond);                                        \
			fprintf(stderr, "  " __VA_ARGS__);                     \
			fprintf(stderr, "\n");                                 \
			abort();                                               \
		}                                                              \
	} while (0)

#endif
