/*
 * copying: which chunks are left, and the lanes that copy them.
 *
 * A chunk that the guest changes while it is being copied is marked when the
 * change is complete, and copied again.  Nobody takes a busy chunk, so that an
 * older copy never lands after a newer one.
 */
#include <errno.h>
#include <string.h>

#include "core/blk/jobs/job_int.h"

#define CHUNK_MIN  65536
#define CHUNKS_MAX (1u << 22)
#define RUN_MAX	   (4u * 1024 * 1024)
#define LANES	   4
#define NS_PER_S   1000000000ull
#define BEHIND_MAX (1024 * 1024) /* what a guest's write waits for */
/* Left for when the guest stands still: bytes, and this part of the disk. */
#define CLOSE_ENOUGH (1024 * 1024)
#define CLOSE_PART   16
/* A guest that writes faster than we copy is slowed down when so many bytes
 * were copied again, or twice the disk. */
#define PATIENCE (1ull << 30)

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- bits ---- */

int job_bits_make(struct blk_job *j, uint64_t len)
{
	uint64_t nr;
	int ret;

	j->len = len;
	for (j->chunk = CHUNK_MIN; len / j->chunk >= CHUNKS_MAX;)
		j->chunk *= 2;
	nr = (len + j->chunk - 1) / j->chunk;
	ret = job_bits_init(&j->todo, nr);
	if (!ret)
		ret = job_bits_init(&j->busy, nr);
	if (!ret)
		ret = job_bits_init(&j->failed, nr);
	if (!ret)
		ret = job_bits_init(&j->fresh, nr);
	return ret;
}

/* [off, off + len) is to be copied. */
static void mark(struct blk_job *j, uint64_t off, uint64_t len)
{
	uint64_t end = min_u64(off + len, j->len);

	for (uint64_t i = off / j->chunk; i * j->chunk < end; i++)
		/* What failed once comes again anyway. */
		if (!job_bits_test(&j->failed, i))
			job_bits_set(&j->todo, i, 1);
}

int job_mark_wanted(struct blk_job *j, struct blk *top, struct blk *base,
		    bool (*wants)(struct blk_job *j, int status, int depth),
		    struct error *e)
{
	uint64_t n;
	int depth;

	for (uint64_t off = 0; off < j->len; off += n) {
		int st, ret = job_rest(j);

		if (ret)
			return error_set(e, ret, "cancelled");
		st = blk_status_above(top, base, off, j->len - off, &n, NULL,
				      NULL, &depth);
		if (st >= 0 && !n)
			st = -EIO;
		if (st < 0)
			return error_errno(e, -st,
					   "'%s': what byte %llu is made of",
					   top->name, (unsigned long long)off);
		if (wants(j, st, depth))
			mark(j, off, n);
	}
	j->first_total = j->todo.count * j->chunk;
	return 0;
}

/* ---- runs ---- */

struct run {
	uint64_t first, nr; /* chunks */
};

static uint64_t run_len(const struct blk_job *j, const struct run *r)
{
	return min_u64(r->nr * j->chunk, j->len - r->first * j->chunk);
}

static void take(struct blk_job *j, const struct run *r)
{
	job_bits_clear(&j->todo, r->first, r->nr);
	job_bits_set(&j->busy, r->first, r->nr);
	j->nr_busy++;
}

static uint64_t next_free(const struct blk_job *j, uint64_t from)
{
	uint64_t i = job_bits_next(&j->todo, from);

	while (i < j->todo.nr && job_bits_test(&j->busy, i))
		i = job_bits_next(&j->todo, i + 1);
	return i;
}

/* At a limited speed, eight runs a second. */
static uint64_t most_chunks(const struct blk_job *j)
{
	uint64_t len = RUN_MAX;

	if (j->now.speed && !j->gated)
		len = min_u64(len, j->now.speed / 8);
	return len > j->chunk ? len / j->chunk : 1;
}

static bool take_run(struct blk_job *j, struct run *r)
{
	uint64_t most = most_chunks(j);

	r->first = next_free(j, j->cursor);
	if (r->first == j->todo.nr)
		r->first = next_free(j, 0);
	if (r->first == j->todo.nr)
		return false;
	for (r->nr = 1; r->nr < most; r->nr++) {
		uint64_t i = r->first + r->nr;

		if (i == j->todo.nr || !job_bits_test(&j->todo, i) ||
		    job_bits_test(&j->busy, i))
			break;
	}
	j->cursor = r->first + r->nr;
	take(j, r);
	return true;
}

bool job_goes_on(struct blk_job *j, int ret, const struct error *e)
{
	enum blk_job_on_error policy = j->cfg.on_error;

	j->e = *e;
	j->e.code = ret;
	if (policy == BLK_JOB_STOP ||
	    (policy == BLK_JOB_ENOSPC && ret == -ENOSPC)) {
		j->halted = true;
		return true;
	}
	return policy == BLK_JOB_IGNORE && !j->retried;
}

static void run_failed(struct blk_job *j, const struct run *r, int ret,
		       const struct error *e)
{
	j->errors++;
	job_bits_set(&j->todo, r->first, r->nr);
	if (j->now.cancel || j->ret)
		return;
	/* Who closed the gate opens it again before anyone waits. */
	if (j->gated || !job_goes_on(j, ret, e)) {
		j->e = *e;
		j->ret = ret;
	} else if (j->cfg.on_error == BLK_JOB_IGNORE) {
		job_bits_clear(&j->todo, r->first, r->nr);
		job_bits_set(&j->failed, r->first, r->nr);
	}
}

static void do_run(struct blk_job *j, const struct run *r)
{
	uint64_t len = run_len(j, r);
	struct error e = {0};
	int ret = j->type->copy(j, r->first * j->chunk, len, &e);

	job_bits_clear(&j->busy, r->first, r->nr);
	if (ret)
		run_failed(j, r, ret, &e);
	else
		j->done += len;
	j->nr_busy--;
	job_publish(j);
	job_wake(j);
}

/* ---- lanes ---- */

static bool is_enough(const struct blk_job *j)
{
	uint64_t spare = 0;

	if (j->tracks && !j->gated && !(j->ready && !j->now.complete))
		spare = min_u64(CLOSE_ENOUGH / j->chunk,
				j->todo.nr / CLOSE_PART);
	return j->todo.count <= spare;
}

/* Otherwise the timer wakes who waits. */
static bool is_due(struct blk_job *j)
{
	if (!j->now.speed || j->gated || loop_now_ns() >= j->due_ns)
		return true;
	loop_timer_set(&j->timer, j->due_ns);
	return false;
}

static void note_due(struct blk_job *j, uint64_t len)
{
	uint64_t now = loop_now_ns();

	if (!j->now.speed)
		return;
	if (j->due_ns < now)
		j->due_ns = now;
	j->due_ns += (double)len / j->now.speed * NS_PER_S;
}

static bool next_run(struct blk_job *j, struct run *r)
{
	while (!j->now.cancel && !j->ret && !is_enough(j)) {
		bool held = !j->gated && job_is_held(j);

		if (!held && is_due(j) && take_run(j, r))
			return true;
		co_wait(&j->changed, NULL);
	}
	return false;
}

static void lane_run(void *arg)
{
	struct blk_job *j = arg;
	struct run r;

	while (next_run(j, &r)) {
		note_due(j, run_len(j, &r));
		do_run(j, &r);
	}
	j->nr_lanes--;
	job_wake(j);
}

int job_pump(struct blk_job *j)
{
	while (!j->now.cancel && !j->ret && !is_enough(j)) {
		for (int i = 0; i < LANES; i++) {
			j->nr_lanes++;
			if (!co_start(j->ctx, lane_run, j))
				continue;
			if (!--j->nr_lanes)
				j->ret = error_set(&j->e, -ENOMEM,
						   "no memory to copy");
			break;
		}
		while (j->nr_lanes)
			co_wait(&j->changed, NULL);
	}
	return j->now.cancel ? -ECANCELED : j->ret;
}

/* ---- the guest's changes ---- */

static bool is_blocking(const struct blk_job *j)
{
	if (j->cfg.write_blocking)
		return true;
	if (j->type->waits && !j->now.complete)
		return false;
	return j->done > j->first_total + min_u64(PATIENCE, 2 * j->len);
}

/* What the guest changed is copied before it hears that it is done. */
static void copy_behind(struct blk_job *j, uint64_t off, uint64_t len)
{
	uint64_t last = (off + len - 1) / j->chunk;
	struct run r = {.first = off / j->chunk, .nr = 1};

	for (; r.first <= last && r.first < j->todo.nr; r.first++) {
		while (job_bits_test(&j->busy, r.first) && !j->ret &&
		       !j->now.cancel && !job_is_held(j))
			co_wait(&j->changed, NULL);
		if (j->ret || j->now.cancel || job_is_held(j))
			return;
		if (job_bits_test(&j->busy, r.first) ||
		    !job_bits_test(&j->todo, r.first))
			continue;
		take(j, &r);
		do_run(j, &r);
	}
}

static void guest_changed(void *arg, uint64_t off, uint64_t len)
{
	struct blk_job *j = arg;

	mark(j, off, len);
	job_wake(j);
	if (len && len <= BEHIND_MAX && is_blocking(j))
		copy_behind(j, off, len);
}

void job_track(struct blk_job *j)
{
	j->tracks = true;
	j->watch = (struct blk_watch){.after = guest_changed, .arg = j};
	blk_disk_watch(j->disk, &j->watch);
}
