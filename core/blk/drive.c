/*
 * A request goes: drive_submit -> run_request (a coroutine of the drive's own
 * context) -> take_back -> complete_all (from the loop, or a drain).
 *
 * Invariants: a request is counted in in_flight from drive_submit until just
 * before its done() runs; done() runs on the loop, or on the thread that
 * drains while the world (and so the loop) is stopped; it never runs inside
 * drive_submit or a coroutine, so it may submit and drain.
 *
 * The block layer lives in a loop inside the device's loop: a request needs no
 * other thread, and a drain can run it while the device's loop is stopped.
 */
#include "core/blk/drive.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/blk.h"
#include "core/blk/co.h"
#include "core/blk/disk.h"
#include "core/blk/drive_actions.h"
#include "core/blk/drive_image.h"
#include "core/blk/drive_parts.h"
#include "core/blk/drive_stats.h"
#include "core/blk/driver.h"
#include "core/blk/iov.h"
#include "core/blk/job.h"
#include "core/blk/options.h"
#include "core/blk/power/cut.h"
#include "core/blk/power/ledger.h"
#include "core/error.h"
#include "core/log.h"
#include "core/loop.h"

#define DRIVE_WORKERS  8
#define NEVER_FLUSH_NS (300 * 1000000000ull)

int drive_preset_parse(const char *name, enum drive_preset *out,
		       struct error *e)
{
	*out = DRIVE_WRITEBACK;
	if (!name || !*name)
		return 0;
	for (unsigned i = 0; i < DRIVE_NR_PRESETS; i++)
		if (!strcmp(cache_modes[i].name, name)) {
			*out = (enum drive_preset)i;
			return 0;
		}
	return error_set(e, -EINVAL,
			 "cache mode '%s' is unknown: choose writeback, none, "
			 "writethrough, directsync or unsafe",
			 name);
}

int drive_aio_parse(const char *name, enum blk_aio *out, struct error *e)
{
	*out = BLK_AIO_THREADS;
	if (!name || !*name || !blk_aio_parse(name, out))
		return 0;
	return error_set(e, -EINVAL,
			 "aio '%s' is unknown: choose threads, native or "
			 "io_uring",
			 name);
}

/* ---- completion ---- */

static void take_back(struct drive *d, struct drive_req *req, int res)
{
	req->res = res;
	req->next = NULL;
	if (d->done_first)
		d->done_last->next = req;
	else
		d->done_first = req;
	d->done_last = req;
	loop_post(d->loop, &d->bell->work);
}

/* One at a time from the shared list: a done() may itself drain. */
static void complete_all(struct drive *d)
{
	uint64_t now = d->done_first ? loop_now_ns() : 0;
	struct drive_req *req;

	while ((req = d->done_first)) {
		d->done_first = req->next;
		req->next = NULL;
		if (d->ledger)
			drive_watch_end(d, req);
		if (req->res && drive_keep(d, req))
			continue;
		/* A done() took its time, or submitted this one. */
		if (req->start_ns > now)
			now = loop_now_ns();
		drive_count_end(d, req, now);
		/* Release: a reader that sees 0 sees the request's effects. */
		__atomic_fetch_sub(&d->in_flight, 1, __ATOMIC_RELEASE);
		req->done(req, req->res);
	}
}

static void on_bell(void *arg)
{
	struct bell *bell = arg;
	struct drive *d = bell->drive;

	if (!d) {
		free(bell);
		return;
	}
	complete_all(d);
	drive_look_if_wanted(d);
}

void drive_drain(struct drive *d)
{
	drive_throttle_lift(d);
	while (drive_in_flight(d)) {
		if (!d->done_first)
			loop_poll(d->inner, true);
		complete_all(d);
	}
	drive_throttle_lower(d);
}

/* ---- in a coroutine ---- */

/* What lies past the end of an odd image reads as zeroes. */
static int read_padded(struct drive *d, struct drive_req *req)
{
	uint64_t end = blk_len(d->blk), inside = req->len;
	int ret = 0;

	if (inside > end - req->off)
		inside = end - req->off;
	if (inside)
		ret = blk_readv(d->blk, req->off, inside, req->iov,
				req->nr_iov);
	if (!ret && inside < req->len)
		iov_zero(req->iov, req->nr_iov, inside, req->len - inside);
	return ret;
}

static void sync_done(struct drive *d, const struct drive_mark *mark)
{
	if (!cache_modes[d->cfg.preset].ignore_flush)
		drive_count_stable(d, mark);
	/* Relaxed: readers want the number alone. */
	__atomic_store_n(&d->counters.merged_flushes, d->blk->merged_flushes,
			 __ATOMIC_RELAXED);
}

static int flush(struct drive *d)
{
	struct drive_mark mark = drive_count_mark(d);
	int ret = d->sync_failed ? -EIO : blk_flush(d->blk);

	if (!ret)
		sync_done(d, &mark);
	if (ret && !d->sync_failed && !d->is_cut &&
	    !drive_may_reflush(d, ret)) {
		__atomic_store_n(&d->sync_failed, true, __ATOMIC_RELAXED);
		log_write(d->log, LOG_LEVEL_ERROR, "disk",
			  "'%s': written data could not be made stable (%s); "
			  "every flush fails from now on: shut the guest down "
			  "and check the host's disk",
			  d->path, strerror(-ret));
	}
	return ret;
}

/* Asked when the write is done: the guest may have turned its cache off. */
static bool must_sync(const struct drive *d, struct drive_req *req)
{
	req->promised = req->fua || (!drive_wce_now(d) && !req->flush_follows);
	/* Ignored or not: a format writes its tables to the file. */
	if (req->op == DRIVE_FLUSH)
		return true;
	return !cache_modes[d->cfg.preset].ignore_flush && req->promised;
}

/* Makes sure that it does not stay unflushed for longer than it may. */
static void written(struct drive *d, uint64_t len)
{
	drive_count_written(d, len);
	if (d->cfg.max_unflushed_ns && !d->is_age_armed) {
		d->is_age_armed = true;
		loop_timer_set(&d->age_timer,
			       loop_now_ns() + d->cfg.max_unflushed_ns);
	}
}

int drive_perform(struct drive *d, struct drive_req *req)
{
	int ret = -EINVAL;

	switch (req->op) {
	case DRIVE_READ:
		return read_padded(d, req);
	case DRIVE_WRITE:
		ret = blk_writev(d->blk, req->off, req->len, req->iov,
				 req->nr_iov, 0);
		break;
	case DRIVE_FLUSH:
		ret = 0;
		break;
	case DRIVE_DISCARD:
		return blk_discard(d->blk, req->off, req->len);
	case DRIVE_WRITE_ZEROES:
		ret = blk_write_zeroes(d->blk, req->off, req->len,
				       req->may_unmap ? BLK_MAY_UNMAP : 0);
		break;
	}
	if (!ret && req->op != DRIVE_FLUSH)
		written(d, req->len);
	return !ret && must_sync(d, req) ? flush(d) : ret;
}

static void run_request(void *arg)
{
	struct drive_req *req = arg;
	struct drive *d = req->drive;

	req->was_run = true;
	take_back(d, req,
		  d->ledger ? drive_watch(d, req) : drive_perform(d, req));
}

/* ---- submission ---- */

static int check_range(const struct drive *d, const struct drive_req *req)
{
	uint64_t total = 0, end = drive_len(d);

	if (req->op == DRIVE_FLUSH)
		return 0;
	if ((req->off | req->len) & (DRIVE_SECTOR - 1))
		return -EINVAL;
	if (req->off > end || req->len > end - req->off)
		return -EINVAL;
	if (req->op == DRIVE_DISCARD || req->op == DRIVE_WRITE_ZEROES)
		return 0;
	for (int i = 0; i < req->nr_iov; i++)
		if (__builtin_add_overflow(total, req->iov[i].iov_len, &total))
			return -EINVAL;
	return total == req->len ? 0 : -EINVAL;
}

static int check(const struct drive *d, const struct drive_req *req)
{
	if (!d->attached)
		return -ENODEV;
	if (d->is_cut || (d->gives_up && req != &d->own_flush))
		return -ECANCELED;
	if (!d->blk)
		return -ENOMEDIUM;
	if (d->cfg.readonly && req->op != DRIVE_READ && req->op != DRIVE_FLUSH)
		return -EROFS;
	return check_range(d, req);
}

void drive_start(struct drive *d, struct drive_req *req)
{
	bool is_empty;
	int ret;

	req->next = NULL;
	req->change = NULL;
	req->was_run = false;
	req->start_ns = loop_now_ns();
	__atomic_fetch_add(&d->in_flight, 1, __ATOMIC_RELAXED);
	drive_count_begin(d, req);
	ret = check(d, req);
	is_empty = req->op != DRIVE_FLUSH && !req->len;
	if (!ret && !is_empty) {
		ret = co_start(d->ctx, run_request, req);
		if (!ret)
			return;
	}
	take_back(d, req, ret);
}

void drive_submit(struct drive *d, struct drive_req *req)
{
	req->drive = d;
	req->nr = ++d->last_nr;
	if (d->kept)
		drive_keep_new(d, req);
	else
		drive_start(d, req);
}

static void own_flush_done(struct drive_req *req, int res);

static void start_own_flush(struct drive *d)
{
	d->own_flush_busy = true;
	d->own_flush = (struct drive_req){
		.op = DRIVE_FLUSH,
		.done = own_flush_done,
		.opaque = d,
	};
	drive_submit(d, &d->own_flush);
}

static void own_flush_done(struct drive_req *req, int res)
{
	struct drive *d = req->opaque;

	/* A failure flush() has said, and says to the guest again. */
	if (d->is_flush_asked && !res)
		log_write(d->log, LOG_LEVEL_INFO, "disk",
			  "'%s': flushed in %.1f ms, as asked for", d->path,
			  (double)(loop_now_ns() - req->start_ns) / 1e6);
	d->is_flush_asked = d->is_flush_asked && d->own_flush_again;
	d->own_flush_busy = false;
	if (d->own_flush_again)
		start_own_flush(d);
	d->own_flush_again = false;
}

void drive_flush_soon(struct drive *d)
{
	if (!d->attached || !d->blk)
		return;
	/* One on its way may have begun before the last writes. */
	if (d->own_flush_busy)
		d->own_flush_again = true;
	else
		start_own_flush(d);
}

void drive_set_wce(struct drive *d, bool on)
{
	bool was = drive_wce(d);

	__atomic_store_n(&d->wce, on, __ATOMIC_RELAXED);
	if (!on && was)
		drive_flush_soon(d);
}

/* The oldest write that no flush made stable may have got too old. */
static void on_age(void *arg)
{
	struct drive *d = arg;
	uint64_t now = loop_now_ns(), since = drive_unflushed_since(d);

	d->is_age_armed = since != 0;
	if (!since)
		return;
	if (now - since >= d->cfg.max_unflushed_ns) {
		if (!d->own_flush_busy && !d->sync_failed)
			drive_flush_soon(d);
		since = now;
	}
	loop_timer_set(&d->age_timer, since + d->cfg.max_unflushed_ns);
}

/* ---- which device may have which mode ---- */

int drive_attach(struct drive *d, const struct drive_caps *caps,
		 struct error *e)
{
	const struct cache_mode *p = &cache_modes[d->cfg.preset];

	if (!d->cfg.readonly && !p->ignore_flush) {
		if (p->wce && caps->wce == DRIVE_WCE_NEVER &&
		    d->cfg.preset_asked)
			return error_set(
				e, -EINVAL,
				"disk '%s': %s has no write cache that its "
				"guest could flush, so cache %s would lose "
				"data; allowed: writethrough, directsync, "
				"unsafe",
				d->path, caps->device, p->name);
		if (p->wce && caps->wce == DRIVE_WCE_ALWAYS && !caps->flush)
			return error_set(
				e, -EINVAL,
				"disk '%s': %s has a write cache that its "
				"guest can't flush, so cache %s would lose "
				"data; choose unsafe if that is meant",
				d->path, caps->device, p->name);
		if (p->wce && caps->wce == DRIVE_WCE_NEGOTIABLE && !caps->flush)
			return error_set(
				e, -EINVAL,
				"disk '%s': %s can't flush, so cache %s would "
				"lose data; choose %s",
				d->path, caps->device, p->name,
				p->direct ? "directsync" : "writethrough");
		if (!p->wce && caps->wce == DRIVE_WCE_ALWAYS)
			return error_set(
				e, -EINVAL,
				"disk '%s': %s always reports a write cache, "
				"so cache %s can't be kept; choose %s",
				d->path, caps->device, p->name,
				p->direct ? "none" : "writeback");
	}
	/* Without a way to flush each write is followed by one; a preset that
	 * nobody asked for gives way. */
	if (caps->wce == DRIVE_WCE_NEVER)
		__atomic_store_n(&d->wce, 0, __ATOMIC_RELAXED);
	d->wce_at_first = drive_wce(d);
	d->caps = *caps;
	d->attached = true;
	return 0;
}

/* ---- facts ---- */

void drive_limits(const struct drive *d, struct drive_limits *out)
{
	*out = (struct drive_limits){DRIVE_SECTOR, DRIVE_SECTOR};
	for (const struct blk *b = d->blk; b; b = blk_file(b)) {
		if (blk_align(b) > out->align)
			out->align = blk_align(b);
		if (blk_cluster(b) > out->unit)
			out->unit = blk_cluster(b);
	}
	if (out->unit < out->align)
		out->unit = out->align;
}

uint64_t drive_len(const struct drive *d)
{
	return __atomic_load_n(&d->len, __ATOMIC_RELAXED);
}

bool drive_readonly(const struct drive *d)
{
	return d->cfg.readonly;
}

bool drive_wce(const struct drive *d)
{
	return __atomic_load_n(&d->wce, __ATOMIC_RELAXED);
}

bool drive_may_cache(const struct drive *d)
{
	return d->caps.wce != DRIVE_WCE_NEVER;
}

const struct drive_caps *drive_device_caps(const struct drive *d)
{
	return d->attached ? &d->caps : NULL;
}

bool drive_wce_now(const struct drive *d)
{
	return drive_wce(d) &&
	       !__atomic_load_n(&d->wce_forced_off, __ATOMIC_RELAXED);
}

unsigned drive_in_flight(const struct drive *d)
{
	/* Acquire: pairs with the release in complete_all. */
	return __atomic_load_n(&d->in_flight, __ATOMIC_ACQUIRE);
}

bool drive_has_medium(const struct drive *d)
{
	return __atomic_load_n(&d->has_medium, __ATOMIC_RELAXED);
}

unsigned drive_medium_changes(const struct drive *d)
{
	return __atomic_load_n(&d->changes, __ATOMIC_RELAXED);
}

/* ---- life ---- */

void drive_publish_len(struct drive *d)
{
	uint64_t len = d->blk ? blk_len(d->blk) : 0;

	len = (len + DRIVE_SECTOR - 1) & ~(uint64_t)(DRIVE_SECTOR - 1);
	__atomic_store_n(&d->len, len, __ATOMIC_RELAXED);
}

static void publish_medium(struct drive *d)
{
	drive_publish_len(d);
	__atomic_store_n(&d->has_medium, d->blk != NULL, __ATOMIC_RELAXED);
	__atomic_fetch_add(&d->changes, 1, __ATOMIC_RELAXED);
}

/* ---- media ---- */

/* Opening and closing are coroutines too; nobody else uses the drive then. */
struct medium_call {
	struct drive *d;
	const char *path; /* NULL: no new medium */
	struct error *e;
};

int drive_replace_medium(struct drive *d, const char *path, struct error *e)
{
	struct drive_config cfg = d->cfg;
	struct drive_image image = {
		.cfg = &cfg,
		.direct = cache_modes[cfg.preset].direct,
		.no_flush = cache_modes[cfg.preset].ignore_flush,
		.wrap = d->ledger ? drive_watch_wrap : d->wrap,
		.wrap_arg = d->ledger ? d : d->wrap_arg,
		.scratch_fd = &d->scratch_fd,
	};
	struct blk *blk = NULL;
	int ret;

	cfg.path = path;
	if (path) {
		blk = drive_image_open(d->ctx, &image, e);
		if (blk)
			blk = blk_disk_create(blk, e);
		if (!blk)
			return e->code ? e->code : -EIO;
	}
	drive_work_stop(d);
	ret = blk_unref(d->blk);
	if (ret && !d->is_cut)
		log_write(d->log, LOG_LEVEL_ERROR, "disk",
			  "'%s': closing the image failed: %s", d->path,
			  strerror(-ret));
	d->blk = blk;
	drive_look_forget(d);
	return drive_throttle_renew(d, e);
}

static int run_medium(void *arg)
{
	struct medium_call *c = arg;

	return drive_replace_medium(c->d, c->path, c->e);
}

static int run_medium_call(struct drive *d, const char *path, struct error *e)
{
	struct error ignored = {0};
	struct medium_call c = {d, path, e ? e : &ignored};

	return drive_run_here(d, run_medium, &c, c.e);
}

static int set_medium(struct drive *d, const char *path, struct error *e)
{
	bool has_path = path && *path;
	int ret;

	if (has_path && strlen(path) >= sizeof(d->path))
		return error_set(e, -ENAMETOOLONG, "disk '%s': path too long",
				 path);
	ret = run_medium_call(d, has_path ? path : NULL, e);
	if (ret)
		return ret;
	snprintf(d->path, sizeof(d->path), "%s", has_path ? path : "");
	publish_medium(d);
	return 0;
}

int drive_change_medium(struct drive *d, const char *path, struct error *e)
{
	if (!d->cfg.readonly)
		return error_set(e, -EINVAL,
				 "disk '%s': only the medium of a read-only "
				 "drive can be changed",
				 d->path);
	drive_drain(d);
	return set_medium(d, path, e);
}

void drive_close(struct drive *d)
{
	if (!d)
		return;
	loop_timer_stop(&d->age_timer);
	drive_give_up(d, true);
	if (d->ctx) {
		drive_drain(d);
		run_medium_call(d, NULL, NULL);
		blk_job_put(d->job);
		blk_ctx_destroy(d->ctx);
	}
	loop_destroy(d->inner);
	ledger_destroy(d->ledger);
	if (d->scratch_fd >= 0)
		close(d->scratch_fd);
	pthread_mutex_destroy(&d->job_lock);
	/* Acquire: what posted it is over; on the loop only fn clears it. */
	d->bell->drive = NULL;
	if (!__atomic_load_n(&d->bell->work.queued, __ATOMIC_ACQUIRE))
		free(d->bell);
	free(d);
}

static struct drive *
drive_alloc(struct loop *loop, const struct drive_config *cfg, struct log *log)
{
	struct drive *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->bell = calloc(1, sizeof(*d->bell));
	if (!d->bell) {
		free(d);
		return NULL;
	}
	d->bell->work = (struct loop_work){.fn = on_bell, .arg = d->bell};
	d->bell->drive = d;
	d->loop = loop;
	d->log = log;
	d->cfg = *cfg;
	d->cfg.path = d->path;
	if (!cfg->never_flush_ns)
		d->cfg.never_flush_ns = NEVER_FLUSH_NS;
	d->wce = cache_modes[cfg->preset].wce;
	d->scratch_fd = -1;
	loop_timer_init(&d->age_timer, loop, on_age, d);
	pthread_mutex_init(&d->job_lock, NULL);
	return d;
}

static int drive_setup(struct drive *d, const struct drive_config *cfg,
		       struct error *e)
{
	struct blk_ctx_config ctx = {
		.log = d->log,
		.nr_workers = DRIVE_WORKERS,
	};
	bool has_path = cfg->path && *cfg->path;

	if (!has_path && !cfg->readonly)
		return error_set(e, -EINVAL,
				 "a disk needs the path of its image");
	if (cfg->is_volatile && !cfg->readonly) {
		d->ledger = ledger_create();
		if (!d->ledger)
			return error_set(e, -ENOMEM, "no memory for a disk");
	}
	if (cfg->max_unflushed_ns && cache_modes[cfg->preset].ignore_flush)
		return error_set(e, -EINVAL,
				 "disk '%s': cache %s ignores flushes, so "
				 "max-unflushed-age can't be kept; choose "
				 "writeback or none",
				 cfg->path, cache_modes[cfg->preset].name);
	d->inner = loop_create_inside(d->loop, e);
	if (!d->inner)
		return -ENOMEM;
	ctx.loop = d->inner;
	ctx.backing_folders = cfg->backing_folders;
	d->ctx = blk_ctx_create(&ctx, e);
	return d->ctx ? set_medium(d, cfg->path, e) : -ENOMEM;
}

struct drive *drive_open_with(struct loop *loop, const struct drive_config *cfg,
			      drive_wrap_fn *wrap, void *arg, struct log *log,
			      struct error *e)
{
	struct drive *d;

	if ((unsigned)cfg->preset >= DRIVE_NR_PRESETS) {
		error_set(e, -EINVAL, "disk '%s': no such cache mode",
			  cfg->path ? cfg->path : "");
		return NULL;
	}
	d = drive_alloc(loop, cfg, log);
	if (!d) {
		error_set(e, -ENOMEM, "no memory for a disk");
		return NULL;
	}
	d->wrap = wrap;
	d->wrap_arg = arg;
	if (drive_setup(d, cfg, e)) {
		drive_close(d);
		return NULL;
	}
	return d;
}

struct drive *drive_open(struct loop *loop, const struct drive_config *cfg,
			 struct log *log, struct error *e)
{
	return drive_open_with(loop, cfg, NULL, NULL, log, e);
}
