/*
 * A request goes: drive_submit (loop) -> backend -> run_request (worker) ->
 * take_back (worker) -> complete_all (loop, or a drain).
 *
 * Invariants: a request is counted in in_flight from drive_submit until just
 * before its done() runs; done() runs on the loop, or on the thread that
 * drains while the world (and so the loop) is stopped; a refused request takes
 * the same way back as any other, so done() never runs inside drive_submit.
 */
#include "core/blk/drive.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/aio.h"
#include "core/blk/drive_int.h"
#include "core/blk/file.h"
#include "core/error.h"
#include "core/log.h"
#include "core/loop.h"

/* Posted to the loop; outlives its drive while it is queued there. */
struct bell {
	struct loop_work work;
	struct drive *drive; /* NULL: closed, the bell frees itself */
};

struct drive {
	struct loop *loop;
	struct bell *bell;
	struct log *log;
	enum drive_preset preset;
	bool readonly, scratch, attached;
	char path[1024];
	const struct blk_file_ops *ops;
	struct blk_file file;
	int has_medium;	  /* atomic */
	unsigned changes; /* atomic: of the medium */
	uint64_t len;	  /* atomic: 0 without medium */
	int wce;	  /* atomic */
	int sync_failed;  /* atomic: see sync_image */
	const struct blk_aio_class *aio_class;
	struct blk_aio *aio;
	unsigned in_flight;	    /* atomic */
	struct drive_stats stats;   /* relaxed atomics */
	struct drive_req own_flush; /* after WCE was turned off */
	bool own_flush_busy;

	pthread_mutex_t lock; /* a leaf; protects the list of the completed */
	pthread_cond_t cond;
	struct drive_req *done_first, *done_last;
};

struct preset_row {
	const char *name;
	bool direct, wce, ignore_flush;
};

static const struct preset_row presets[] = {
	[DRIVE_WRITEBACK] = {"writeback", false, true, false},
	[DRIVE_NONE] = {"none", true, true, false},
	[DRIVE_WRITETHROUGH] = {"writethrough", false, false, false},
	[DRIVE_DIRECTSYNC] = {"directsync", true, false, false},
	[DRIVE_UNSAFE] = {"unsafe", false, true, true},
};

#define NR_PRESETS (sizeof(presets) / sizeof(presets[0]))

int drive_preset_parse(const char *name, enum drive_preset *out,
		       struct error *e)
{
	*out = DRIVE_WRITEBACK;
	if (!name || !*name)
		return 0;
	for (unsigned i = 0; i < NR_PRESETS; i++)
		if (!strcmp(presets[i].name, name)) {
			*out = (enum drive_preset)i;
			return 0;
		}
	return error_set(e, -EINVAL,
			 "cache mode '%s' is unknown: choose writeback, none, "
			 "writethrough, directsync or unsafe",
			 name);
}

/* ---- on a worker ---- */

/*
 * After a failed fdatasync the kernel may drop the pages it could not write
 * and call them clean: the next fdatasync would succeed and be a lie.
 */
static int sync_image(struct drive *d)
{
	int r;

	if (d->readonly)
		return 0;
	/* Acquire: pairs with the store below on another worker. */
	if (__atomic_load_n(&d->sync_failed, __ATOMIC_ACQUIRE))
		return -EIO;
	r = blk_file_sync(&d->file);
	if (!r)
		return 0;
	/* Release: whoever sees it must not report success any more. */
	if (!__atomic_exchange_n(&d->sync_failed, 1, __ATOMIC_ACQ_REL))
		log_write(d->log, LOG_LEVEL_ERROR, "disk",
			  "'%s': written data could not be made stable (%s); "
			  "every flush fails from now on: shut the guest down "
			  "and check the host's disk",
			  d->path, strerror(-r));
	return r;
}

static int run_request(void *opaque, struct drive_req *req)
{
	struct drive *d = opaque;
	int r = -EINVAL;

	switch (req->op) {
	case DRIVE_READ:
		return blk_file_readv(&d->file, req->iov, req->nr_iov,
				      req->off);
	case DRIVE_WRITE:
		r = blk_file_writev(&d->file, req->iov, req->nr_iov, req->off);
		break;
	case DRIVE_FLUSH:
		r = 0;
		break;
	case DRIVE_DISCARD:
		r = blk_file_discard(&d->file, req->off, req->len);
		break;
	case DRIVE_WRITE_ZEROES:
		r = blk_file_write_zeroes(&d->file, req->off, req->len);
		break;
	}
	if (!r && req->sync)
		r = sync_image(d);
	return r;
}

/* ---- completion ---- */

static void take_back(void *opaque, struct drive_req *req)
{
	struct drive *d = opaque;
	bool first;

	req->next = NULL;
	pthread_mutex_lock(&d->lock);
	first = !d->done_first;
	if (first)
		d->done_first = req;
	else
		d->done_last->next = req;
	d->done_last = req;
	/* Posted under the lock: once a drain has seen the request, the loop
	 * isn't touched any more. */
	if (first)
		loop_post(d->loop, &d->bell->work);
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
}

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void count(struct drive *d, const struct drive_req *req)
{
	if (req->res) {
		add(&d->stats.errors, 1);
	} else if (req->op == DRIVE_READ) {
		add(&d->stats.reads, 1);
		add(&d->stats.read_bytes, req->len);
	} else if (req->op == DRIVE_FLUSH) {
		add(&d->stats.flushes, 1);
	} else {
		add(&d->stats.writes, 1);
		if (req->op == DRIVE_WRITE)
			add(&d->stats.write_bytes, req->len);
	}
}

/* One at a time from the shared list: a done() may itself drain. */
static void complete_all(struct drive *d)
{
	struct drive_req *req;

	for (;;) {
		pthread_mutex_lock(&d->lock);
		req = d->done_first;
		if (req)
			d->done_first = req->next;
		pthread_mutex_unlock(&d->lock);
		if (!req)
			return;
		req->next = NULL;
		count(d, req);
		/* Release: a reader that sees 0 sees the request's effects. */
		__atomic_fetch_sub(&d->in_flight, 1, __ATOMIC_RELEASE);
		req->done(req, req->res);
	}
}

static void on_bell(void *arg)
{
	struct bell *bell = arg;

	if (bell->drive)
		complete_all(bell->drive);
	else
		free(bell);
}

void drive_drain(struct drive *d)
{
	while (drive_in_flight(d)) {
		pthread_mutex_lock(&d->lock);
		while (!d->done_first)
			pthread_cond_wait(&d->cond, &d->lock);
		pthread_mutex_unlock(&d->lock);
		complete_all(d);
	}
}

/* ---- submission ---- */

static int check_range(const struct drive *d, const struct drive_req *req)
{
	uint64_t mask = req->op == DRIVE_READ ? 511 : drive_block_len(d) - 1;
	uint64_t total = 0;

	if (req->op == DRIVE_FLUSH)
		return 0;
	if ((req->off | req->len) & mask)
		return -EINVAL;
	if (req->off > d->file.len || req->len > d->file.len - req->off)
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
	if (!d->has_medium)
		return -ENOMEDIUM;
	if (d->readonly && req->op != DRIVE_READ && req->op != DRIVE_FLUSH)
		return -EROFS;
	return check_range(d, req);
}

void drive_submit(struct drive *d, struct drive_req *req)
{
	bool ignore_flush = presets[d->preset].ignore_flush;
	bool is_empty;

	req->drive = d;
	req->next = NULL;
	req->start_ns = loop_now_ns();
	req->sync = false;
	if (!ignore_flush && req->op == DRIVE_FLUSH)
		req->sync = true;
	if (!ignore_flush &&
	    (req->op == DRIVE_WRITE || req->op == DRIVE_WRITE_ZEROES))
		req->sync = req->fua || !drive_wce(d);
	__atomic_fetch_add(&d->in_flight, 1, __ATOMIC_RELAXED);
	req->res = check(d, req);
	is_empty = req->op == DRIVE_FLUSH ? !req->sync : !req->len;
	if (req->res || is_empty)
		take_back(d, req);
	else
		d->aio_class->submit(d->aio, req);
}

static void own_flush_done(struct drive_req *req, int res)
{
	struct drive *d = req->opaque;

	(void)res; /* sync_image has said it, and says it to the guest again */
	d->own_flush_busy = false;
}

void drive_set_wce(struct drive *d, bool on)
{
	bool was = drive_wce(d);

	__atomic_store_n(&d->wce, on, __ATOMIC_RELAXED);
	if (on || !was || !d->attached || !d->has_medium || d->own_flush_busy)
		return;
	d->own_flush_busy = true;
	d->own_flush = (struct drive_req){
		.op = DRIVE_FLUSH,
		.done = own_flush_done,
		.opaque = d,
	};
	drive_submit(d, &d->own_flush);
}

/* ---- which device may have which mode ---- */

int drive_attach(struct drive *d, const struct drive_caps *caps,
		 struct error *e)
{
	const struct preset_row *p = &presets[d->preset];

	if (!d->readonly && !p->ignore_flush) {
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
	/* Without a way to flush each write is followed by one. */
	if (caps->wce == DRIVE_WCE_NEVER)
		__atomic_store_n(&d->wce, 0, __ATOMIC_RELAXED);
	d->attached = true;
	return 0;
}

/* ---- facts ---- */

uint64_t drive_len(const struct drive *d)
{
	return __atomic_load_n(&d->len, __ATOMIC_RELAXED);
}

bool drive_readonly(const struct drive *d)
{
	return d->readonly;
}

unsigned drive_block_len(const struct drive *d)
{
	return d->file.align > 512 ? d->file.align : 512;
}

bool drive_wce(const struct drive *d)
{
	return __atomic_load_n(&d->wce, __ATOMIC_RELAXED);
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

void drive_stats_copy(struct drive *d, struct drive_stats *out)
{
	const struct drive_stats *s = &d->stats;

	out->reads = __atomic_load_n(&s->reads, __ATOMIC_RELAXED);
	out->writes = __atomic_load_n(&s->writes, __ATOMIC_RELAXED);
	out->flushes = __atomic_load_n(&s->flushes, __ATOMIC_RELAXED);
	out->read_bytes = __atomic_load_n(&s->read_bytes, __ATOMIC_RELAXED);
	out->write_bytes = __atomic_load_n(&s->write_bytes, __ATOMIC_RELAXED);
	out->errors = __atomic_load_n(&s->errors, __ATOMIC_RELAXED);
}

/* ---- life ---- */

static void publish_medium(struct drive *d, bool present)
{
	__atomic_store_n(&d->len, present ? d->file.len : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&d->has_medium, present, __ATOMIC_RELAXED);
	__atomic_fetch_add(&d->changes, 1, __ATOMIC_RELAXED);
}

static int open_medium(struct drive *d, const char *path, struct blk_file *file,
		       struct error *e)
{
	struct blk_file_flags flags = {
		.readonly = d->readonly,
		.scratch = d->scratch,
		.direct = presets[d->preset].direct,
	};

	if (strlen(path) >= sizeof(d->path))
		return error_set(e, -ENAMETOOLONG, "disk '%s': path too long",
				 path);
	return blk_file_open(file, path, flags, d->ops, d->log, e);
}

int drive_change_medium(struct drive *d, const char *path, struct error *e)
{
	struct blk_file file = {.fd = -1};
	int r;

	if (!d->readonly)
		return error_set(e, -EINVAL,
				 "disk '%s': only the medium of a read-only "
				 "drive can be changed",
				 d->path);
	if (path && *path) {
		r = open_medium(d, path, &file, e);
		if (r)
			return r;
	}
	drive_drain(d);
	blk_file_close(&d->file);
	d->file = file;
	snprintf(d->path, sizeof(d->path), "%s", path ? path : "");
	publish_medium(d, file.ops != NULL);
	return 0;
}

void drive_close(struct drive *d)
{
	if (!d)
		return;
	drive_drain(d);
	if (d->aio)
		d->aio_class->destroy(d->aio);
	blk_file_close(&d->file);
	/* Acquire: what posted it is over; on the loop only fn clears it. */
	d->bell->drive = NULL;
	if (!__atomic_load_n(&d->bell->work.queued, __ATOMIC_ACQUIRE))
		free(d->bell);
	pthread_cond_destroy(&d->cond);
	pthread_mutex_destroy(&d->lock);
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
	d->preset = cfg->preset;
	d->readonly = cfg->readonly;
	d->scratch = cfg->scratch;
	d->wce = presets[cfg->preset].wce;
	d->file.fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->cond, NULL);
	return d;
}

static int drive_setup(struct drive *d, const struct drive_config *cfg,
		       const struct blk_aio_class *aio, struct error *e)
{
	struct blk_aio_client client = {
		.opaque = d,
		.run = run_request,
		.completed = take_back,
	};
	bool has_path = cfg->path && *cfg->path;
	int r;

	if (cfg->format && *cfg->format && strcmp(cfg->format, "raw"))
		return error_set(e, -EINVAL,
				 "disk '%s': format '%s' isn't known; convert "
				 "the image to raw",
				 has_path ? cfg->path : "", cfg->format);
	if (!has_path && !cfg->readonly)
		return error_set(e, -EINVAL,
				 "a disk needs the path of its image");
	if (has_path) {
		r = open_medium(d, cfg->path, &d->file, e);
		if (r)
			return r;
		snprintf(d->path, sizeof(d->path), "%s", cfg->path);
	}
	publish_medium(d, has_path);
	d->aio_class = aio;
	d->aio = aio->create(&client, e);
	return d->aio ? 0 : -ENOMEM;
}

struct drive *drive_open_with(struct loop *loop, const struct drive_config *cfg,
			      const struct blk_file_ops *ops,
			      const struct blk_aio_class *aio, struct log *log,
			      struct error *e)
{
	struct drive *d;

	if ((unsigned)cfg->preset >= NR_PRESETS) {
		error_set(e, -EINVAL, "disk '%s': no such cache mode",
			  cfg->path ? cfg->path : "");
		return NULL;
	}
	d = drive_alloc(loop, cfg, log);
	if (!d) {
		error_set(e, -ENOMEM, "no memory for a disk");
		return NULL;
	}
	d->ops = ops;
	if (drive_setup(d, cfg, aio, e)) {
		drive_close(d);
		return NULL;
	}
	return d;
}

struct drive *drive_open(struct loop *loop, const struct drive_config *cfg,
			 struct log *log, struct error *e)
{
	return drive_open_with(loop, cfg, &blk_file_host_ops, &blk_aio_threads,
			       log, e);
}
