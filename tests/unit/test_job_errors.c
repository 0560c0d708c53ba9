/*
 * Jobs that meet errors, refusals, a disk that is closed under them, and bases
 * whose length makes a difference.
 */
#include "tests/unit/job_chain.h"

#include "core/blk/job.h"

#define KIB 1024ull

/* ---- a file that fails on demand ---- */

struct flaky {
	int error; /* of writes, 0: none */
	int flush_error;
	uint64_t after; /* bytes of writes that still work */
	unsigned failed;
};

static int flaky_open(struct blk *b, const struct blk_options *o,
		      struct error *e)
{
	(void)b;
	(void)o;
	(void)e;
	return 0;
}

static int flaky_readv(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr)
{
	/* B15 */
	SHADOW_CHECK(off + len <= b->file->len, "read past the end");
	return blk_readv(b->file, off, len, iov, nr);
}

static int flaky_fails(struct blk *b, uint64_t len)
{
	struct flaky *f = b->priv;

	if (!f->error)
		return 0;
	if (f->after >= len) {
		f->after -= len;
		return 0;
	}
	f->after = 0;
	f->failed++;
	return f->error;
}

static int flaky_writev(struct blk *b, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr, unsigned flags)
{
	int ret = flaky_fails(b, len);

	return ret ? ret : blk_writev(b->file, off, len, iov, nr, flags);
}

static int flaky_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			      unsigned flags)
{
	int ret = flaky_fails(b, len);

	return ret ? ret : blk_write_zeroes(b->file, off, len, flags);
}

static int flaky_flush(struct blk *b)
{
	struct flaky *f = b->priv;

	f->failed += !!f->flush_error;
	return f->flush_error;
}

static int flaky_status(struct blk *b, uint64_t off, uint64_t len,
			uint64_t *pnum, uint64_t *map, struct blk **file)
{
	SHADOW_CHECK(off + len <= b->file->len, "asked past the end");
	*pnum = len;
	*map = off;
	*file = b->file;
	return BLK_STATUS_RAW | BLK_STATUS_OFFSET_VALID;
}

static int flaky_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			  bool allow_shrink, struct error *e)
{
	return blk_truncate(b->file, len, mode, allow_shrink, e);
}

static const struct blk_driver flaky_driver = {
	.name = "flaky",
	.priv_len = sizeof(struct flaky),
	.open = flaky_open,
	.readv = flaky_readv,
	.writev = flaky_writev,
	.write_zeroes = flaky_write_zeroes,
	.flush = flaky_flush,
	.status = flaky_status,
	.truncate = flaky_truncate,
};

/* Under the file of an image that nobody uses yet. */
static struct flaky *make_flaky(struct blk *image)
{
	struct error e = {0};

	image->file = blk_filter_open(image->file, &flaky_driver, &e);
	SHADOW_CHECK(image->file, "%s", e.msg);
	return image->file->priv;
}

/* ---- rounds ---- */

struct round {
	struct bench *t;
	struct chain c;
	struct flaky *flaky;
	struct blk_job *job;
	struct blk_job_status last;
};

static void on_end(void *arg, const struct blk_job_status *s)
{
	struct round *r = arg;

	r->last = *s;
}

/* Three layers, all of the top written; the job commits it to the bottom. */
static void begin(struct round *r, enum blk_job_on_error policy)
{
	static const uint64_t lens[] = {1000 * KIB + 100, 700 * KIB,
					1024 * KIB};
	struct blk_job_config cfg = {.kind = BLK_JOB_COMMIT,
				     .on_error = policy,
				     .speed = 6 << 20,
				     .ended = on_end,
				     .arg = r};
	struct error e = {0};
	struct chain *c = &r->c;

	chain_create_lens(c, r->t, 3, lens);
	r->flaky = make_flaky(c->layer[0]);
	c->w.disk = c->disk;
	for (unsigned i = 0; i < c->w.nr; i += 64)
		shadow_change(&c->w, i, 64, false);
	shadow_flush(&c->w);
	c->w.pause_us = 3000;
	shadow_start(&c->w, c->disk, 3);
	cfg.disk = c->disk;
	cfg.base = c->layer[0];
	r->job = blk_job_start(&cfg, &e);
	SHADOW_CHECK(r->job, "%s", e.msg);
}

static void wait_for(struct round *r, enum blk_job_state state)
{
	struct blk_job_status s;

	for (int i = 0; i < 20000; i++) {
		blk_job_status(r->job, &s);
		if (s.state == state)
			return;
		SHADOW_CHECK(s.state < BLK_JOB_DONE, "ended: %s", s.text);
		co_sleep_ns(r->t->ctx, 1000000);
	}
	SHADOW_CHECK(false, "state %d instead of %d: %s", s.state, state,
		     s.text);
}

/* The next write, or the next after `failed` of them, meets the error. */
static void wait_for_failure(struct round *r, unsigned failed)
{
	for (int i = 0; r->flaky->failed == failed && i < 600000; i++)
		co_sleep_ns(r->t->ctx, 100000);
	SHADOW_CHECK(r->flaky->failed != failed, "nothing was written");
}

/* A lane that had failed already may halt the job once more after its resume.
 */
static void keep_going(struct round *r)
{
	struct blk_job_status s;

	for (int i = 0; i < 60000; i++) {
		blk_job_status(r->job, &s);
		if (s.state >= BLK_JOB_DONE)
			return;
		if (s.state == BLK_JOB_PAUSED)
			blk_job_resume(r->job);
		co_sleep_ns(r->t->ctx, 1000000);
	}
	SHADOW_CHECK(false, "state %d: %s", s.state, s.text);
}

static void end(struct round *r, int result)
{
	struct chain *c = &r->c;
	struct blk *b;

	keep_going(r);
	SHADOW_CHECK(blk_job_wait(r->job) == result, "%d: %s", r->last.result,
		     r->last.text);
	blk_job_put(r->job);
	r->flaky->error = r->flaky->flush_error = 0;
	SHADOW_CHECK((blk_disk_image(c->disk) == c->layer[0]) == !result,
		     "image");
	co_sleep_ns(r->t->ctx, 5000000);
	chain_crash(c, "2.img");
	shadow_stop(&c->w);
	shadow_compare(&c->w, c->disk, false);
	SHADOW_CHECK(!blk_unref(c->disk), "close");
	b = shadow_open(r->t, c->path[2], false);
	shadow_compare(&c->w, b, false);
	blk_unref(b);
	chain_remove(c);
}

static int no_space_pauses(void *arg)
{
	struct round r = {.t = arg};
	struct blk_job_status s;
	unsigned failed;

	begin(&r, BLK_JOB_ENOSPC);
	r.flaky->after = 64 * KIB * bench_rand(r.t, 10);
	r.flaky->error = -ENOSPC;
	for (int i = 0; i < 3; i++) {
		wait_for(&r, BLK_JOB_PAUSED);
		blk_job_status(r.job, &s);
		SHADOW_CHECK(s.result == -ENOSPC && strstr(s.text, "space"),
			     "%s", s.text);
		SHADOW_CHECK(s.done < s.total && s.errors, "progress");
		/* Someone made room, or did not. */
		failed = r.flaky->failed;
		r.flaky->error = i == 2 ? 0 : -ENOSPC;
		blk_job_resume(r.job);
		if (i < 2)
			wait_for_failure(&r, failed);
	}
	end(&r, 0);
	return 0;
}

static int report_ends(void *arg)
{
	struct round r = {.t = arg};

	begin(&r, bench_rand(r.t, 2) ? BLK_JOB_REPORT : BLK_JOB_ENOSPC);
	r.flaky->after = 64 * KIB * bench_rand(r.t, 10);
	r.flaky->error = -EIO;
	end(&r, -EIO);
	SHADOW_CHECK(r.last.state == BLK_JOB_FAILED, "state");
	SHADOW_CHECK(strstr(r.last.text, "writing") &&
			     strstr(r.last.text, "shows what it did"),
		     "%s", r.last.text);
	return 0;
}

static int stop_tries_again(void *arg)
{
	struct round r = {.t = arg};

	begin(&r, BLK_JOB_STOP);
	r.flaky->after = 64 * KIB * bench_rand(r.t, 10);
	r.flaky->error = -EIO;
	wait_for(&r, BLK_JOB_PAUSED);
	chain_crash(&r.c, "2.img");
	r.flaky->error = 0;
	blk_job_resume(r.job);
	end(&r, 0);
	return 0;
}

static int ignored_once(void *arg)
{
	struct round r = {.t = arg};

	begin(&r, BLK_JOB_IGNORE);
	r.flaky->error = -EIO;
	wait_for_failure(&r, 0);
	r.flaky->error = 0;
	end(&r, 0);
	SHADOW_CHECK(r.last.errors, "no errors");
	r = (struct round){.t = arg};
	begin(&r, BLK_JOB_IGNORE);
	r.flaky->error = -EIO;
	end(&r, -EIO);
	return 0;
}

static int flush_fails(void *arg)
{
	struct round r = {.t = arg};

	begin(&r, BLK_JOB_STOP);
	r.flaky->flush_error = -EIO;
	wait_for(&r, BLK_JOB_PAUSED);
	r.flaky->flush_error = 0;
	blk_job_resume(r.job);
	end(&r, 0);
	r = (struct round){.t = arg};
	begin(&r, BLK_JOB_REPORT);
	r.flaky->flush_error = -EIO;
	end(&r, -EIO);
	return 0;
}

static int closed_under_it(void *arg)
{
	struct round r = {.t = arg};
	struct blk *b;

	begin(&r, BLK_JOB_STOP);
	blk_job_set_speed(r.job, 1);
	shadow_stop(&r.c.w);
	SHADOW_CHECK(!blk_unref(r.c.disk), "close");
	SHADOW_CHECK(r.last.state == BLK_JOB_CANCELLED, "%s", r.last.text);
	blk_job_put(r.job);
	b = shadow_open(r.t, r.c.path[2], false);
	shadow_compare(&r.c.w, b, false);
	blk_unref(b);
	chain_remove(&r.c);
	return 0;
}

/* ---- lengths ---- */

/* A base shorter than what lies below it, and shorter or longer than what goes
 * into it. */
static int one_length(struct bench *t, const uint64_t *lens, unsigned nr,
		      unsigned top, unsigned base)
{
	struct chain c;
	struct blk_job_config cfg = {.kind = BLK_JOB_COMMIT};
	struct blk_job_status s;
	struct error e = {0};
	struct blk_job *j;
	char name[16];

	chain_create_lens(&c, t, nr, lens);
	snprintf(name, sizeof(name), "%u.img", nr - 1);
	cfg.disk = c.disk;
	cfg.top = c.layer[top];
	cfg.base = c.layer[base];
	cfg.speed = 8 << 20;
	c.w.pause_us = 500;
	shadow_start(&c.w, c.disk, 2);
	j = blk_job_start(&cfg, &e);
	SHADOW_CHECK(j, "%s", e.msg);
	do {
		chain_crash(&c, name);
		co_sleep_ns(t->ctx, 1000000);
		blk_job_status(j, &s);
	} while (s.state < BLK_JOB_DONE);
	SHADOW_CHECK(s.state == BLK_JOB_DONE, "%s", s.text);
	SHADOW_CHECK(blk_len(c.disk) == lens[nr - 1], "length");
	chain_crash(&c, name);
	shadow_stop(&c.w);
	shadow_compare(&c.w, c.disk, false);
	blk_job_put(j);
	SHADOW_CHECK(!blk_unref(c.disk), "close");
	chain_remove(&c);
	return 0;
}

static int bases_of_any_length(void *arg)
{
	static const uint64_t hill[] = {900 * KIB, 300 * KIB, 1000 * KIB,
					600 * KIB};
	static const uint64_t valley[] = {1000 * KIB + 1, 800 * KIB, 300 * KIB,
					  900 * KIB};

	one_length(arg, hill, 3, 2, 1);
	one_length(arg, hill, 4, 2, 1);
	one_length(arg, hill, 4, 3, 1);
	one_length(arg, hill, 4, 3, 0);
	one_length(arg, valley, 4, 2, 1);
	one_length(arg, valley, 4, 3, 0);
	one_length(arg, valley, 4, 2, 0);
	return 0;
}

/* ---- refusals ---- */

static void refuse(const struct blk_job_config *cfg, int code, const char *why)
{
	struct error e = {0};

	SHADOW_CHECK(!blk_job_start(cfg, &e), "started");
	SHADOW_CHECK(e.code == code && strstr(e.msg, why), "%d: %s", e.code,
		     e.msg);
}

static int refusals(void *arg)
{
	static const uint64_t lens[] = {600 * KIB, 600 * KIB, 600 * KIB};
	struct blk_job_config cfg = {.kind = BLK_JOB_COMMIT};
	struct error e = {0};
	struct chain c;
	struct blk_job *j;
	char path[256];

	chain_create_lens(&c, arg, 3, lens);
	cfg.disk = c.disk;
	cfg.top = c.layer[1];
	cfg.base = c.layer[2];
	refuse(&cfg, -EINVAL, "nothing to commit");
	cfg.top = cfg.base = c.layer[0];
	refuse(&cfg, -EINVAL, "nothing to commit");
	cfg.kind = BLK_JOB_STREAM;
	cfg.base = c.layer[1];
	refuse(&cfg, -EINVAL, "no layer lies between");
	cfg.base = c.layer[2];
	refuse(&cfg, -EINVAL, "no layer below");
	cfg.kind = BLK_JOB_MIRROR;
	refuse(&cfg, -EINVAL, "name");
	cfg.path = c.path[1];
	refuse(&cfg, -EEXIST, "exists");
	cfg.format = "vmdk";
	refuse(&cfg, -EINVAL, "vmdk");
	snprintf(path, sizeof(path), "%s/new.img", c.dir);
	cfg.path = path;
	cfg.format = "raw";
	cfg.sync = BLK_SYNC_TOP;
	refuse(&cfg, -EINVAL, "backing file");
	cfg.sync = BLK_SYNC_FULL;
	cfg.speed = 1;
	j = blk_job_start(&cfg, &e);
	SHADOW_CHECK(j, "%s", e.msg);
	refuse(&cfg, -EBUSY, "a job is at work");
	SHADOW_CHECK(blk_truncate(c.disk, 700 * KIB, BLK_PREALLOC_OFF, false,
				  &e) == -EBUSY,
		     "%s", e.msg);
	snprintf(path, sizeof(path), "%s/overlay.img", c.dir);
	SHADOW_CHECK(blk_disk_snapshot(c.disk, path, &e) == -EBUSY, "%s",
		     e.msg);
	SHADOW_CHECK(access(path, F_OK), "made");
	blk_job_cancel(j);
	SHADOW_CHECK(blk_job_wait(j) == -ECANCELED, "cancelled");
	blk_job_put(j);
	SHADOW_CHECK(
		!blk_truncate(c.disk, 700 * KIB, BLK_PREALLOC_OFF, false, &e),
		"%s", e.msg);
	SHADOW_CHECK(!blk_disk_snapshot(c.disk, path, &e), "%s", e.msg);
	SHADOW_CHECK(blk_len(c.disk) == 700 * KIB, "length");
	SHADOW_CHECK(!blk_unref(c.disk), "close");
	chain_remove(&c);
	return 0;
}

/* ---- the list ---- */

#define TEST(name)                                                             \
	static void test_##name(void **state)                                  \
	{                                                                      \
		struct bench *t = *state;                                      \
                                                                               \
		assert_int_equal(blk_run(t->ctx, name, t), 0);                 \
	}
TEST(no_space_pauses)
TEST(report_ends)
TEST(stop_tries_again)
TEST(ignored_once)
TEST(flush_fails)
TEST(closed_under_it)
TEST(bases_of_any_length)
TEST(refusals)

#define ENTRY(name)                                                            \
	cmocka_unit_test_setup_teardown(test_##name, bench_setup,              \
					bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENTRY(no_space_pauses),	    ENTRY(report_ends),
		ENTRY(stop_tries_again),    ENTRY(ignored_once),
		ENTRY(flush_fails),	    ENTRY(closed_under_it),
		ENTRY(bases_of_any_length), ENTRY(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
