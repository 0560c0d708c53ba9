/* Views of a disk that is written to all the while. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/blk/disk.h"
#include "core/blk/driver.h"
#include "core/blk/job.h"
#include "core/blk/view.h"
#include "core/error.h"
#include "core/loop.h"
#include "tests/unit/bench.h"
#include "tests/unit/job_chain.h"
#include "tests/unit/shadow.h"

/* The view, and what the disk held when it was made. */
struct look {
	struct chain *c;
	struct blk *view;
	uint8_t *then, *now;
	uint64_t len;
};

static void look_begin(struct look *l, struct chain *c)
{
	struct error e = {0};

	l->c = c;
	l->len = blk_len(c->disk);
	l->then = malloc(l->len + 1);
	l->now = malloc(l->len + 1);
	blk_disk_gate_close(c->disk);
	SHADOW_CHECK(!blk_read(c->disk->file, 0, l->then, l->len), "read");
	l->view = blk_view_create(c->disk, &e);
	SHADOW_CHECK(l->view, "%s", e.msg);
	blk_disk_gate_open(c->disk);
	SHADOW_CHECK(blk_len(l->view) == l->len, "length");
}

static void look_at(struct look *l, uint64_t off, uint64_t len)
{
	uint64_t n, part;
	int status;

	SHADOW_CHECK(!blk_read(l->view, off, l->now, len), "read");
	SHADOW_CHECK(!memcmp(l->now, l->then + off, len),
		     "the view changed at %llu", (unsigned long long)off);
	for (n = 0; n < len; n += part) {
		status = blk_status(l->view, off + n, len - n, &part, NULL,
				    NULL);
		SHADOW_CHECK(status >= 0 && part, "status");
		for (uint64_t i = 0; i < part && status & BLK_STATUS_ZERO; i++)
			SHADOW_CHECK(!l->then[off + n + i], "not zero");
	}
}

static void look_for_a_while(struct look *l, struct bench *t)
{
	for (int i = 0; i < 60; i++) {
		uint64_t off = bench_rand(t, l->len);

		look_at(l, off, bench_rand(t, l->len - off + 1));
		co_sleep_ns(t->ctx, 1000ull * bench_rand(t, 500));
	}
	look_at(l, 0, l->len);
}

static void look_end(struct look *l)
{
	blk_unref(l->view);
	free(l->then);
	free(l->now);
}

static void end_chain(struct chain *c)
{
	shadow_compare(&c->w, c->disk, false);
	SHADOW_CHECK(!blk_unref(c->disk), "close");
	chain_remove(c);
}

static int views_stay(void *arg)
{
	struct bench *t = arg;

	for (int round = 0; round < 6; round++) {
		struct blk_job_config job = {.kind = BLK_JOB_STREAM};
		struct look first, second;
		struct blk_job *j = NULL;
		struct error e = {0};
		struct chain c;

		chain_create(&c, t, 1 + bench_rand(t, CHAIN_MOST));
		if (!blk_len(c.disk)) {
			end_chain(&c);
			continue;
		}
		shadow_start(&c.w, c.disk, 4);
		look_begin(&first, &c);
		look_for_a_while(&first, t);
		/* A second one, and a job beside both. */
		look_begin(&second, &c);
		job.disk = c.disk;
		if (c.nr > 1)
			j = blk_job_start(&job, &e);
		look_for_a_while(&second, t);
		look_at(&first, 0, first.len);
		for (int i = 0; !blk_view_copied(first.view) && i < 1000; i++)
			look_for_a_while(&first, t);
		SHADOW_CHECK(blk_view_copied(first.view), "nothing was copied");
		look_end(&first);
		look_for_a_while(&second, t);
		if (j)
			SHADOW_CHECK(!blk_job_wait(j), "the job failed");
		blk_job_put(j);
		look_end(&second);
		shadow_stop(&c.w);
		end_chain(&c);
	}
	return 0;
}

static void a_view_stays_as_the_disk_was(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, views_stay, t), 0);
}

struct reader {
	struct look *l;
	struct bench *t;
	bool stop;
	unsigned running;
};

static void read_on(void *arg)
{
	struct reader *r = arg;
	uint8_t *buf = malloc(r->l->len);

	SHADOW_CHECK(buf, "memory");
	while (!r->stop) {
		SHADOW_CHECK(!blk_read(r->l->view, 0, buf, r->l->len), "read");
		SHADOW_CHECK(!memcmp(buf, r->l->then, r->l->len),
			     "the view changed");
	}
	free(buf);
	r->running--;
}

/* The image that views are read from is emptied, and is the disk no more. */
static int views_outlive_a_commit(void *arg)
{
	struct bench *t = arg;

	for (int round = 0; round < 8; round++) {
		static const uint64_t lens[] = {1 << 20, 1 << 20};
		struct blk_job_config job = {.kind = BLK_JOB_COMMIT};
		struct reader r = {.t = t};
		struct error e = {0};
		struct blk_job *j;
		struct look l;
		struct chain c;

		chain_create_lens(&c, t, 2, lens);
		c.w.disk = c.disk;
		for (unsigned i = 0; i < c.w.nr; i += 16)
			shadow_change(&c.w, i, 16, false);
		look_begin(&l, &c);
		r.l = &l;
		for (r.running = 0; r.running < 6; r.running++)
			SHADOW_CHECK(!co_start(t->ctx, read_on, &r), "start");
		job.disk = c.disk;
		j = blk_job_start(&job, &e);
		SHADOW_CHECK(j, "%s", e.msg);
		SHADOW_CHECK(!blk_job_wait(j), "the job failed");
		blk_job_put(j);
		r.stop = true;
		while (r.running)
			co_sleep_ns(t->ctx, 1000000);
		look_end(&l);
		end_chain(&c);
	}
	return 0;
}

static void a_view_outlives_a_commit(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, views_outlive_a_commit, t), 0);
}

static void write_first_sector(void *arg)
{
	struct chain *c = arg;

	shadow_change(&c->w, 0, 1, false);
}

/* Who waits for a change that could not be copied first sees no new data. */
static int a_lost_view_fails(void *arg)
{
	struct bench *t = arg;
	static const uint64_t lens[] = {1 << 20};
	uint8_t buf[SHADOW_SECTOR];
	struct look l;
	struct chain c;

	chain_create_lens(&c, t, 1, lens);
	c.w.disk = c.disk;
	look_begin(&l, &c);
	l.view->file->write = false;
	SHADOW_CHECK(!co_start(t->ctx, write_first_sector, &c), "start");
	SHADOW_CHECK(c.w.s[0].busy, "the write is on its way");
	SHADOW_CHECK(blk_read(l.view, 0, buf, sizeof(buf)) == -EIO,
		     "the view was lost");
	while (c.w.s[0].busy)
		co_sleep_ns(t->ctx, 1000000);
	l.view->file->write = true;
	look_end(&l);
	end_chain(&c);
	return 0;
}

static void a_view_without_its_copy_is_lost(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, a_lost_view_fails, t), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_view_stays_as_the_disk_was,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(a_view_outlives_a_commit,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(a_view_without_its_copy_is_lost,
						bench_setup, bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
