/*
 * job: the life of a job, its orders and its state.
 *
 *     prepare --> copy <--> paused         (by order, error, or drained disk)
 *                  |  \--> ready --\       (mirror: until completed)
 *                  v <-------------/
 *             gate closed: copy the rest, finish, gate open
 *
 * Orders come from any thread into `asked`; posted work takes them over to
 * `now` on the loop and wakes whoever waits.
 */
#include "core/blk/job.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/jobs/job_int.h"

#define RATE_NS	    500000000ull
#define NS_PER_S    1000000000ull
#define STEPS_BREAK 64 /* steps of prepare between two turns of the loop */

static const struct blk_job_type *const types[] = {
	[BLK_JOB_COMMIT] = &blk_job_commit,
	[BLK_JOB_STREAM] = &blk_job_stream,
	[BLK_JOB_MIRROR] = &blk_job_mirror,
};

const char *blk_job_kind_name(enum blk_job_kind kind)
{
	return types[kind]->name;
}

const char *blk_job_state_name(enum blk_job_state state)
{
	static const char *const names[] = {
		[BLK_JOB_RUNNING] = "running",
		[BLK_JOB_PAUSED] = "paused",
		[BLK_JOB_READY] = "ready",
		[BLK_JOB_DONE] = "done",
		[BLK_JOB_FAILED] = "failed",
		[BLK_JOB_CANCELLED] = "cancelled",
	};

	return names[state];
}

void job_wake(struct blk_job *j)
{
	co_wake_all(&j->changed);
}

bool job_is_held(const struct blk_job *j)
{
	return j->now.pause || j->halted || blk_disk_is_drained(j->disk);
}

int job_rest(struct blk_job *j)
{
	if (++j->cursor % STEPS_BREAK == 0)
		co_sleep_ns(j->ctx, 0);
	if (job_is_held(j) && !j->now.cancel) {
		j->nr_busy--;
		job_publish(j);
		job_wake(j);
		while (job_is_held(j) && !j->now.cancel)
			co_wait(&j->changed, NULL);
		j->nr_busy++;
		job_publish(j);
	}
	return j->now.cancel ? -ECANCELED : 0;
}

/* ---- state ---- */

static uint64_t bytes_left(const struct blk_job *j)
{
	uint64_t nr = j->todo.count + j->busy.count + j->failed.count;
	uint64_t most = j->todo.nr * j->chunk;

	/* The last chunk is cut by the disk's end. */
	return nr && nr == j->todo.nr ? j->len + nr * j->chunk - most
				      : nr * j->chunk;
}

static void measure_rate(struct blk_job *j)
{
	uint64_t now = loop_now_ns();

	if (now - j->rate_ns < RATE_NS)
		return;
	j->rate = (double)(j->done - j->rate_done) * NS_PER_S /
		  (now - j->rate_ns);
	j->rate_done = j->done;
	j->rate_ns = now;
}

void job_publish(struct blk_job *j)
{
	struct blk_job_status *s = &j->status;
	bool paused = j->now.pause || j->halted;

	measure_rate(j);
	pthread_mutex_lock(&j->lock);
	s->state = paused     ? BLK_JOB_PAUSED
		   : j->ready ? BLK_JOB_READY
			      : BLK_JOB_RUNNING;
	s->done = j->done;
	s->total = j->done + bytes_left(j);
	s->rate = paused ? 0 : j->rate;
	s->speed = j->now.speed;
	s->errors = j->errors;
	s->result = j->halted ? j->e.code : 0;
	snprintf(s->text, sizeof(s->text), "%s", j->halted ? j->e.msg : "");
	pthread_mutex_unlock(&j->lock);
}

static void publish_end(struct blk_job *j, int ret, const char *stays)
{
	struct blk_job_status *s = &j->status;

	job_publish(j);
	pthread_mutex_lock(&j->lock);
	s->state = !ret		       ? BLK_JOB_DONE
		   : ret == -ECANCELED ? BLK_JOB_CANCELLED
				       : BLK_JOB_FAILED;
	s->result = ret;
	s->rate = 0;
	if (ret && ret != -ECANCELED)
		snprintf(s->text, sizeof(s->text), "%.200s%s%s", j->e.msg,
			 *stays ? "; " : "", stays);
	else
		snprintf(s->text, sizeof(s->text), "%s", stays);
	j->ended = true;
	pthread_mutex_unlock(&j->lock);
}

/* ---- its course ---- */

/* READY: stands until there is something to do. */
static void stand_ready(struct blk_job *j)
{
	j->ready = true;
	j->nr_busy--;
	job_publish(j);
	job_wake(j);
	while (!j->now.cancel && !j->now.complete && !j->todo.count)
		co_wait(&j->changed, NULL);
	j->nr_busy++;
}

/* What was left out comes again, and now an error ends the job. */
static bool retry_failed(struct blk_job *j)
{
	if (!j->failed.count)
		return false;
	j->retried = true;
	for (uint64_t i = 0; (i = job_bits_next(&j->failed, i)) < j->failed.nr;
	     i++)
		job_bits_set(&j->todo, i, 1);
	job_bits_clear(&j->failed, 0, j->failed.nr);
	return true;
}

/* With the guest's requests kept out: the rest, then the chain. */
static int finish(struct blk_job *j)
{
	struct error e = {0};
	int ret;

	blk_disk_gate_close(j->disk);
	j->gated = true;
	ret = job_pump(j);
	if (!ret) {
		ret = j->type->finish(j, &e);
		if (ret)
			j->e = e;
	}
	j->gated = false;
	blk_disk_gate_open(j->disk);
	if (!ret || ret == -ECANCELED || j->finished)
		return ret;
	e = j->e;
	if (!job_goes_on(j, ret, &e))
		return ret;
	/* To be ignored once, as by the lanes. */
	j->retried = true;
	j->ret = 0;
	job_publish(j);
	return -EAGAIN;
}

static int copy_all(struct blk_job *j)
{
	for (;;) {
		int ret;

		/* Lanes count for themselves. */
		j->nr_busy--;
		job_wake(j);
		ret = job_pump(j);
		j->nr_busy++;
		if (!ret)
			ret = job_rest(j);
		if (ret)
			return ret;
		if (retry_failed(j))
			continue;
		if (j->type->waits && !j->now.complete) {
			stand_ready(j);
			continue;
		}
		ret = finish(j);
		if (ret != -EAGAIN)
			return ret;
	}
}

static void timer_over(void *arg)
{
	job_wake(arg);
}

static void end(struct blk_job *j, int ret)
{
	char stays[200] = "";

	if (j->tracks)
		blk_disk_unwatch(j->disk, &j->watch);
	j->type->end(j, ret, stays, sizeof(stays));
	loop_timer_stop(&j->timer);
	blk_unref(j->source);
	blk_unref(j->target);
	blk_unref(j->base);
	blk_unref(j->overlay);
	publish_end(j, ret, stays);
	j->nr_busy = 0;
	blk_disk_set_job(j->disk, NULL);
	job_wake(j);
	if (j->cfg.ended) {
		struct blk_job_status s;

		blk_job_status(j, &s);
		j->cfg.ended(j->cfg.arg, &s);
	}
	blk_job_put(j);
}

static void run(void *arg)
{
	struct blk_job *j = arg;
	int ret = job_rest(j);

	if (!ret)
		ret = j->type->prepare(j, &j->e);
	/* A lane would start in the middle of the disk. */
	j->cursor = 0;
	job_publish(j);
	if (!ret)
		ret = copy_all(j);
	end(j, ret);
}

/* ---- drained disks ---- */

static struct blk_job *of_hook(struct blk_disk_job *hook)
{
	return (struct blk_job *)((char *)hook -
				  offsetof(struct blk_job, hook));
}

static void quiesce(struct blk_disk_job *hook)
{
	struct blk_job *j = of_hook(hook);

	pthread_mutex_lock(&j->lock);
	j->refs++;
	pthread_mutex_unlock(&j->lock);
	while (j->nr_busy)
		co_wait(&j->changed, NULL);
	blk_job_put(j);
}

static void resume(struct blk_disk_job *hook)
{
	job_wake(of_hook(hook));
}

static void cancel(struct blk_disk_job *hook)
{
	blk_job_cancel(of_hook(hook));
}

/* ---- orders ---- */

static void take_orders(void *arg)
{
	struct blk_job *j = arg;

	pthread_mutex_lock(&j->lock);
	j->posted = false;
	if (j->asked.resumes != j->now.resumes)
		j->halted = false;
	j->now = j->asked;
	pthread_mutex_unlock(&j->lock);
	/* A new speed counts at once. */
	j->due_ns = 0;
	if (!j->ended)
		job_publish(j);
	job_wake(j);
	blk_job_put(j);
}

/* With the lock held; drops it. */
static void post(struct blk_job *j)
{
	bool due = !j->posted && !j->ended;

	if (due) {
		j->posted = true;
		j->refs++;
		/* Locked: the loop stays at least until the job ends. */
		loop_post(j->ctx->loop, &j->work);
	}
	pthread_mutex_unlock(&j->lock);
}

void blk_job_pause(struct blk_job *j)
{
	pthread_mutex_lock(&j->lock);
	j->asked.pause = true;
	post(j);
}

void blk_job_resume(struct blk_job *j)
{
	pthread_mutex_lock(&j->lock);
	j->asked.pause = false;
	j->asked.resumes++;
	post(j);
}

void blk_job_cancel(struct blk_job *j)
{
	pthread_mutex_lock(&j->lock);
	j->asked.cancel = true;
	post(j);
}

void blk_job_set_speed(struct blk_job *j, uint64_t speed)
{
	pthread_mutex_lock(&j->lock);
	j->asked.speed = speed;
	post(j);
}

void blk_job_complete(struct blk_job *j, bool pivot)
{
	pthread_mutex_lock(&j->lock);
	j->asked.complete = true;
	j->asked.pivot = pivot;
	post(j);
}

void blk_job_status(struct blk_job *j, struct blk_job_status *out)
{
	pthread_mutex_lock(&j->lock);
	*out = j->status;
	pthread_mutex_unlock(&j->lock);
}

int blk_job_wait(struct blk_job *j)
{
	while (!j->ended)
		co_wait(&j->changed, NULL);
	return j->status.result;
}

/* ---- beginning and end ---- */

static void destroy(struct blk_job *j)
{
	job_bits_fini(&j->todo);
	job_bits_fini(&j->busy);
	job_bits_fini(&j->failed);
	job_bits_fini(&j->fresh);
	pthread_mutex_destroy(&j->lock);
	free((char *)j->cfg.path);
	free((char *)j->cfg.format);
	free(j);
}

struct blk_job *blk_job_get(struct blk_job *j)
{
	pthread_mutex_lock(&j->lock);
	j->refs++;
	pthread_mutex_unlock(&j->lock);
	return j;
}

void blk_job_put(struct blk_job *j)
{
	bool last;

	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	last = !--j->refs;
	pthread_mutex_unlock(&j->lock);
	if (last)
		destroy(j);
}

static struct blk_job *create(const struct blk_job_config *cfg)
{
	struct blk_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->cfg = *cfg;
	j->cfg.path = cfg->path ? strdup(cfg->path) : NULL;
	j->cfg.format = cfg->format ? strdup(cfg->format) : NULL;
	j->type = types[cfg->kind];
	j->disk = cfg->disk;
	j->ctx = blk_ctx_of(cfg->disk);
	j->hook = (struct blk_disk_job){
		.quiesce = quiesce, .resume = resume, .cancel = cancel};
	j->asked.speed = j->now.speed = cfg->speed;
	j->status.kind = cfg->kind;
	j->work = (struct loop_work){.fn = take_orders, .arg = j};
	j->rate_ns = loop_now_ns();
	loop_timer_init(&j->timer, j->ctx->loop, timer_over, j);
	pthread_mutex_init(&j->lock, NULL);
	j->refs = 2; /* the caller's and its own */
	j->nr_busy = 1;
	if ((cfg->path && !j->cfg.path) || (cfg->format && !j->cfg.format)) {
		destroy(j);
		return NULL;
	}
	return j;
}

struct blk_job *blk_job_start(const struct blk_job_config *cfg, struct error *e)
{
	struct blk_job *j = NULL;

	if (!blk_writable(cfg->disk))
		error_set(e, -EROFS, "'%s' is read-only", blk_name(cfg->disk));
	else if (blk_disk_job(cfg->disk))
		error_set(e, -EBUSY,
			  "a job is at work on '%s' already: wait for its "
			  "end, or cancel it",
			  blk_name(cfg->disk));
	else if (!(j = create(cfg)))
		error_set(e, -ENOMEM, "no memory for a job");
	if (j && j->type->check(j, e)) {
		destroy(j);
		return NULL;
	}
	if (!j)
		return NULL;
	job_publish(j);
	blk_disk_set_job(cfg->disk, &j->hook);
	if (!co_start(j->ctx, run, j))
		return j;
	blk_disk_set_job(cfg->disk, NULL);
	destroy(j);
	error_set(e, -ENOMEM, "no memory for a job");
	return NULL;
}
