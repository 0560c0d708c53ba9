/*
 * Jobs when the power goes: every image of the chain lies on a disk with a
 * volatile cache.  At a random moment of a commit or stream all of them lose
 * what was not flushed, or random parts of it; then the chain is opened as it
 * was at first, and must show what the guest had flushed.
 *
 * JOB_ROUNDS (how many chains) and JOB_SEED repeat or lengthen it.
 */
#include "tests/unit/job_chain.h"

#include "core/blk/filter/volatile.h"
#include "core/blk/job.h"

#define ROUNDS 24

struct round {
	struct bench *t;
	unsigned nr;	   /* rounds so far */
	unsigned kinds[2]; /* how many ended before the cut, were cut */
};

static void wrap(struct chain *c, struct blk **caches)
{
	struct error e = {0};

	for (unsigned i = 0; i < c->nr; i++) {
		struct blk *b = c->layer[i];

		b->file = blk_filter_open(b->file, &blk_volatile_driver, &e);
		SHADOW_CHECK(b->file, "%s", e.msg);
		caches[i] = blk_ref(b->file);
	}
}

static void choose(struct chain *c, struct blk_job_config *cfg)
{
	unsigned top = c->nr - 1;

	cfg->disk = c->disk;
	cfg->speed = 1 << (18 + bench_rand(c->t, 6));
	if (bench_rand(c->t, 3)) {
		cfg->kind = BLK_JOB_COMMIT;
		if (top > 1 && bench_rand(c->t, 3) == 0)
			top = 1 + bench_rand(c->t, top - 1);
		cfg->top = c->layer[top];
		cfg->base = c->layer[bench_rand(c->t, top)];
	} else {
		cfg->kind = BLK_JOB_STREAM;
		if (top > 1 && bench_rand(c->t, 2))
			cfg->base = c->layer[bench_rand(c->t, top - 1)];
	}
}

/* Often just when the job ends: then names change.  The first round is cut
 * before its job does anything, and the second when its job has ended. */
static void wait_for_a_moment(struct bench *t, struct blk_job *j,
			      unsigned round)
{
	uint64_t ns = 1000ull * bench_rand(t, 60000);
	uint64_t end = loop_now_ns() + ns;
	bool near_end = bench_rand(t, 3);
	struct blk_job_status s;

	if (!round)
		return;
	if (round == 1)
		near_end = true;
	if (near_end)
		blk_job_set_speed(j, 0);
	do {
		co_sleep_ns(t->ctx, 20000);
		blk_job_status(j, &s);
	} while (near_end ? s.state < BLK_JOB_DONE && s.done < s.total
			  : loop_now_ns() < end);
	if (near_end && round > 1 && bench_rand(t, 4))
		co_sleep_ns(t->ctx, 1000ull * bench_rand(t, 6000));
	else if (near_end)
		blk_job_wait(j);
}

static int do_round(void *arg)
{
	struct round *r = arg;
	struct bench *t = r->t;
	struct chain c;
	struct blk_job_config cfg = {0};
	struct blk *caches[CHAIN_MOST], *b;
	struct error e = {0};
	struct blk_job *j;
	unsigned mode = bench_rand(t, 4), seed = bench_rand(t, 1 << 30);

	chain_create(&c, t, 2 + bench_rand(t, CHAIN_MOST - 1));
	wrap(&c, caches);
	choose(&c, &cfg);
	c.w.pause_us = bench_rand(t, 1500);
	c.w.may_fail = true;
	shadow_start(&c.w, c.disk, 3);
	j = blk_job_start(&cfg, &e);
	SHADOW_CHECK(j, "%s", e.msg);
	wait_for_a_moment(t, j, r->nr++);
	for (unsigned i = 0; i < c.nr; i++)
		blk_volatile_cut(caches[i], mode, seed + i);
	shadow_stop(&c.w);
	blk_job_cancel(j);
	r->kinds[blk_job_wait(j) ? 1 : 0]++;
	blk_job_put(j);
	blk_unref(c.disk);
	for (unsigned i = 0; i < c.nr; i++)
		blk_unref(caches[i]);
	b = shadow_open(t, c.path[c.nr - 1], false);
	shadow_compare(&c.w, b, true);
	for (struct blk *p = b; p; p = blk_backing(p))
		if (!strcmp(blk_format(p), "qcow2"))
			chain_check_image(t, blk_name(p));
	blk_unref(b);
	chain_remove(&c);
	return 0;
}

static void power_cuts(void **state)
{
	const char *s = getenv("JOB_ROUNDS");
	unsigned rounds = s ? atoi(s) : ROUNDS;
	struct round r = {.t = *state};

	for (unsigned i = 0; i < rounds; i++) {
		if (s)
			fprintf(stderr, "JOB_SEED=%u\n", r.t->seed);
		assert_int_equal(blk_run(r.t->ctx, do_round, &r), 0);
	}
	/* Both sorts were tried. */
	if (rounds > 1) {
		assert_true(r.kinds[0]);
		assert_true(r.kinds[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(power_cuts, bench_setup,
						bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
