/*
 * What is done with a drive's images beside the guest's requests: jobs, an
 * export.
 */
#include <errno.h>
#include <string.h>

#include "core/blk/drive_actions.h"
#include "core/blk/drive_parts.h"
#include "core/blk/export.h"
#include "core/blk/job.h"
#include "core/error.h"
#include "core/log.h"

/* ---- running ---- */

struct run_call {
	int (*fn)(void *arg);
	void *arg;
	int ret;
	bool done;
};

static void run_co(void *arg)
{
	struct run_call *c = arg;

	c->ret = c->fn(c->arg);
	c->done = true;
}

int drive_run_here(struct drive *d, int (*fn)(void *arg), void *arg,
		   struct error *e)
{
	struct run_call c = {.fn = fn, .arg = arg};

	if (co_start(d->ctx, run_co, &c))
		return error_set(e, -ENOMEM, "no memory for a coroutine");
	drive_throttle_lift(d);
	while (!c.done)
		loop_poll(d->inner, true);
	drive_throttle_lower(d);
	return c.ret;
}

struct disk_call {
	struct blk *disk;
	int (*fn)(struct blk *disk, void *arg);
	void *arg;
};

static int run_on_disk(void *arg)
{
	struct disk_call *c = arg;

	return c->fn(c->disk, c->arg);
}

int drive_run(struct drive *d, int (*fn)(struct blk *disk, void *arg),
	      void *arg, struct error *e)
{
	struct disk_call c = {d->blk, fn, arg};

	if (!d->blk)
		return error_set(e, -ENOMEDIUM, "the drive holds no medium");
	return drive_run_here(d, run_on_disk, &c, e);
}

/* ---- jobs ---- */

struct job_call {
	struct drive *d;
	struct blk_job_config *cfg;
	struct error *e;
};

static void job_ended(void *arg, const struct blk_job_status *s)
{
	struct drive *d = arg;

	log_write(d->log,
		  s->state == BLK_JOB_FAILED ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
		  "disk", "'%s': %s %s%s%s", d->path,
		  blk_job_kind_name(s->kind), blk_job_state_name(s->state),
		  *s->text ? ": " : "", s->text);
}

static int start_job(struct blk *disk, void *arg)
{
	struct job_call *c = arg;
	struct blk_job *job, *old;

	c->cfg->disk = disk;
	c->cfg->ended = job_ended;
	c->cfg->arg = c->d;
	job = blk_job_start(c->cfg, c->e);
	if (!job)
		return -EIO;
	pthread_mutex_lock(&c->d->job_lock);
	old = c->d->job;
	c->d->job = job;
	pthread_mutex_unlock(&c->d->job_lock);
	blk_job_put(old);
	return 0;
}

int drive_job_start(struct drive *d, struct blk_job_config *cfg,
		    struct error *e)
{
	struct job_call c = {d, cfg, e};

	return drive_run(d, start_job, &c, e);
}

struct blk_job *drive_job(struct drive *d)
{
	struct blk_job *job;

	pthread_mutex_lock(&d->job_lock);
	job = d->job ? blk_job_get(d->job) : NULL;
	pthread_mutex_unlock(&d->job_lock);
	return job;
}

/* ---- exports ---- */

struct export_call {
	struct drive *d;
	const char *address;
	struct error *e;
};

static int start_export(struct blk *disk, void *arg)
{
	struct export_call *c = arg;

	c->d->export = blk_export_start(disk, c->address, c->e);
	return c->d->export ? 0 : c->e->code;
}

static int stop_export(struct blk *disk, void *arg)
{
	struct drive *d = arg;

	(void)disk;
	blk_export_stop(d->export);
	d->export = NULL;
	return 0;
}

int drive_export(struct drive *d, const char *address, struct error *e)
{
	struct error ignored = {0};
	struct export_call c = {d, address, e ? e : &ignored};

	if (!address && !d->export)
		return error_set(e, -ENOENT, "this disk is not exported");
	if (!address)
		return drive_run(d, stop_export, d, e);
	if (d->export)
		return error_set(
			e, -EBUSY,
			"this disk is exported already: end that first");
	return drive_run(d, start_export, &c, e);
}

void drive_work_stop(struct drive *d)
{
	if (d->export)
		stop_export(d->blk, d);
	drive_look_stop(d);
}
