/*
 * Jobs on running disks: while a guest writes to a random chain of images, it
 * is committed, streamed or mirrored; paused, slowed, drained, cancelled at
 * any moment; and at any moment the process could have died.
 *
 * JOB_ROUNDS (how many chains for each kind) and JOB_SEED repeat or lengthen.
 */
#include "tests/unit/job_chain.h"

#include <pthread.h>

#include "core/blk/job.h"

#define ROUNDS 4

struct round {
	struct bench *t;
	struct chain c;
	enum blk_job_kind kind;
	struct blk_job *job;
	struct blk_job_status last;
	unsigned nr_ended;
	bool cancel, pivot, quiet;
	char target[32]; /* in the chain's folder */
	const char *top; /* where a crash would find the guest's data */
	volatile bool stop_meddling;
};

static unsigned rounds(void)
{
	const char *s = getenv("JOB_ROUNDS");

	return s ? atoi(s) : ROUNDS;
}

static void on_end(void *arg, const struct blk_job_status *s)
{
	struct round *r = arg;

	r->last = *s;
	r->nr_ended++;
}

/* ---- what to do ---- */

/* A random kind of commit or stream, or NULL when the chain is too short. */
static struct blk_job_config choose(struct round *r)
{
	struct chain *c = &r->c;
	struct blk_job_config cfg = {
		.kind = r->kind, .disk = c->disk, .ended = on_end, .arg = r};
	unsigned top = c->nr - 1, base;

	r->top = strrchr(c->path[top], '/') + 1;
	switch (r->kind) {
	case BLK_JOB_COMMIT:
		if (top > 1 && bench_rand(r->t, 2))
			top = 1 + bench_rand(r->t, top - 1);
		base = bench_rand(r->t, top);
		cfg.top = top == c->nr - 1 && bench_rand(r->t, 2)
				  ? NULL
				  : c->layer[top];
		cfg.base = c->layer[base];
		break;
	case BLK_JOB_STREAM:
		if (top > 1 && bench_rand(r->t, 2))
			cfg.base = c->layer[bench_rand(r->t, top - 1)];
		break;
	case BLK_JOB_MIRROR:
		cfg.sync = bench_rand(r->t, 3);
		cfg.format = cfg.sync == BLK_SYNC_FULL && bench_rand(r->t, 2)
				     ? "raw"
				     : NULL;
		cfg.write_blocking = bench_rand(r->t, 4) == 0;
		r->pivot = cfg.sync == BLK_SYNC_NONE || bench_rand(r->t, 2);
		snprintf(r->target, sizeof(r->target), "target.img");
		break;
	}
	if (bench_rand(r->t, 4))
		cfg.speed = 262144 + bench_rand(r->t, 8 << 20);
	return cfg;
}

/* A mirror's target takes over a moment before the job is at its end. */
static const char *crash_top(struct round *r)
{
	struct chain *c = &r->c;

	return r->kind == BLK_JOB_MIRROR &&
			       blk_disk_image(c->disk) != c->layer[c->nr - 1]
		       ? r->target
		       : r->top;
}

/* One thing that may happen to a job while it runs. */
static void meddle(struct round *r)
{
	struct blk *disk = r->c.disk;

	switch (bench_rand(r->t, 12)) {
	case 0:
		blk_job_pause(r->job);
		co_sleep_ns(r->t->ctx, 1000000ull * bench_rand(r->t, 5));
		blk_job_resume(r->job);
		break;
	case 1:
		blk_disk_drain_begin(disk);
		SHADOW_CHECK(!blk_disk_image(disk)->in_flight, "not drained");
		co_sleep_ns(r->t->ctx, 1000000ull * bench_rand(r->t, 3));
		SHADOW_CHECK(!blk_disk_image(disk)->in_flight, "not drained");
		blk_disk_drain_end(disk);
		break;
	case 2:
		blk_job_set_speed(r->job, 1 << 20);
		break;
	case 3:
		blk_job_set_speed(r->job, bench_rand(r->t, 4) ? 4 << 20 : 0);
		break;
	case 4:
	case 5:
		if (r->cancel)
			blk_job_cancel(r->job);
		break;
	case 6:
	case 7:
		if (blk_disk_job(disk))
			chain_crash(&r->c, crash_top(r));
		break;
	default:
		co_sleep_ns(r->t->ctx, 1000ull * bench_rand(r->t, 3000));
	}
}

/* Another thread, as the user interface is one. */
static void *watch_from_afar(void *arg)
{
	struct round *r = arg;
	struct blk_job_status s;
	uint64_t last = 0;

	while (!__atomic_load_n(&r->stop_meddling, __ATOMIC_RELAXED)) {
		blk_job_status(r->job, &s);
		SHADOW_CHECK(s.done >= last && s.done <= s.total,
			     "%llu of %llu", (unsigned long long)s.done,
			     (unsigned long long)s.total);
		last = s.done;
		blk_job_set_speed(r->job, 2 << 20);
		usleep(3000);
	}
	return NULL;
}

static void complete(struct round *r)
{
	/* To compare a copy, the guest must stand still. */
	if (!r->pivot && !r->quiet) {
		shadow_stop(&r->c.w);
		r->quiet = true;
	}
	blk_job_complete(r->job, r->pivot);
}

static void see_it_through(struct round *r)
{
	struct blk_job_status s;
	unsigned steps = 0;

	do {
		meddle(r);
		blk_job_status(r->job, &s);
		/* A job that waits for nobody must end.  A mirror need not
		 * become ready while the guest writes faster than it copies:
		 * only the order to finish slows the guest down. */
		if (++steps > 300)
			r->cancel = false;
		if ((s.state == BLK_JOB_READY || steps > 300) &&
		    bench_rand(r->t, 3) == 0)
			complete(r);
		SHADOW_CHECK(steps < 60000, "state %d, %llu of %llu", s.state,
			     (unsigned long long)s.done,
			     (unsigned long long)s.total);
	} while (s.state <= BLK_JOB_READY);
}

/* ---- what must be true afterwards ---- */

static unsigned chain_depth(struct blk *b)
{
	unsigned n = 0;

	for (; b; b = blk_backing(b))
		n++;
	return n;
}

static void check_shape(struct round *r, const struct blk_job_config *cfg,
			struct blk *base)
{
	struct blk *image = blk_disk_image(r->c.disk);
	struct chain *c = &r->c;

	if (r->last.state == BLK_JOB_CANCELLED) {
		SHADOW_CHECK(image == c->layer[c->nr - 1], "another image");
		SHADOW_CHECK(chain_depth(image) == c->nr, "another depth");
		return;
	}
	SHADOW_CHECK(r->last.state == BLK_JOB_DONE, "%s", r->last.text);
	switch (r->kind) {
	case BLK_JOB_COMMIT:
		if (!cfg->top || cfg->top == c->layer[c->nr - 1])
			SHADOW_CHECK(image == base, "not the base");
		else
			SHADOW_CHECK(!blk_writable(base), "base is writable");
		break;
	case BLK_JOB_STREAM:
		SHADOW_CHECK(blk_backing(image) == base, "not the base");
		break;
	case BLK_JOB_MIRROR:
		if (r->pivot)
			r->top = r->target;
		break;
	}
}

static void compare_file(struct round *r, const char *name)
{
	char path[256];
	struct blk *b;

	snprintf(path, sizeof(path), "%s/%s", r->c.dir, name);
	b = shadow_open(r->t, path, false);
	shadow_compare(&r->c.w, b, false);
	if (!strcmp(blk_format(b), "qcow2"))
		chain_check_image(r->t, path);
	blk_unref(b);
}

static int do_round(void *arg)
{
	struct round *r = arg;
	struct chain *c = &r->c;
	struct blk_job_config cfg;
	char path[256];
	struct error e = {0};
	pthread_t thread;
	bool far;

	chain_create(c, r->t,
		     r->kind == BLK_JOB_MIRROR
			     ? 1 + bench_rand(r->t, CHAIN_MOST)
			     : 2 + bench_rand(r->t, CHAIN_MOST - 1));
	cfg = choose(r);
	snprintf(path, sizeof(path), "%s/%s", c->dir, r->target);
	cfg.path = path;
	c->w.pause_us = bench_rand(r->t, 2000);
	r->cancel = bench_rand(r->t, 4) == 0;
	shadow_start(&c->w, c->disk, 1 + bench_rand(r->t, 6));
	r->job = blk_job_start(&cfg, &e);
	SHADOW_CHECK(r->job, "%s", e.msg);
	SHADOW_CHECK(!blk_job_start(&cfg, &e), "two jobs");
	far = bench_rand(r->t, 2);
	if (far)
		SHADOW_CHECK(!pthread_create(&thread, NULL, watch_from_afar, r),
			     "thread");
	see_it_through(r);
	SHADOW_CHECK(r->nr_ended == 1, "ended %u times", r->nr_ended);
	SHADOW_CHECK(blk_job_wait(r->job) == r->last.result, "result");
	__atomic_store_n(&r->stop_meddling, true, __ATOMIC_RELAXED);
	if (far)
		pthread_join(thread, NULL);
	blk_job_put(r->job);
	check_shape(r, &cfg, cfg.base);
	if (r->kind == BLK_JOB_MIRROR && !r->pivot &&
	    r->last.state == BLK_JOB_DONE)
		compare_file(r, r->target);
	if (r->quiet)
		shadow_start(&c->w, c->disk, 2);
	co_sleep_ns(r->t->ctx, 3000000);
	chain_crash(c, r->top);
	shadow_stop(&c->w);
	shadow_compare(&c->w, c->disk, false);
	SHADOW_CHECK(!blk_unref(c->disk), "close");
	compare_file(r, r->top);
	chain_remove(c);
	return 0;
}

static void run_rounds(struct bench *t, enum blk_job_kind kind)
{
	for (unsigned i = 0; i < rounds(); i++) {
		struct round r = {.t = t, .kind = kind};
		unsigned seed = t->seed;

		if (getenv("JOB_ROUNDS"))
			fprintf(stderr, "%s: JOB_SEED=%u\n",
				blk_job_kind_name(kind), seed);
		assert_int_equal(blk_run(t->ctx, do_round, &r), 0);
	}
}

static void commit(void **state)
{
	run_rounds(*state, BLK_JOB_COMMIT);
}

static void stream(void **state)
{
	run_rounds(*state, BLK_JOB_STREAM);
}

static void mirror(void **state)
{
	run_rounds(*state, BLK_JOB_MIRROR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stream, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(commit, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(mirror, bench_setup,
						bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
