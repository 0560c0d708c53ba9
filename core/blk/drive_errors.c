#include "core/blk/drive_errors.h"

#include <errno.h>
#include <string.h>

#include "core/blk/drive_parts.h"
#include "core/blk/driver.h"
#include "core/error.h"
#include "core/log.h"

/* ---- words ---- */

static const char *const choices[] = {
	[DRIVE_ERROR_REPORT] = "report",
	[DRIVE_ERROR_NO_ROOM] = "enospc",
	[DRIVE_ERROR_STOP] = "stop",
	[DRIVE_ERROR_IGNORE] = "ignore",
};

static bool parse(const char *name, enum drive_on_error *out)
{
	for (unsigned i = 0; i < sizeof(choices) / sizeof(choices[0]); i++)
		if (!strcmp(choices[i], name)) {
			*out = (enum drive_on_error)i;
			return true;
		}
	return false;
}

int drive_werror_parse(const char *name, enum drive_on_error *out,
		       struct error *e)
{
	*out = DRIVE_ERROR_NO_ROOM;
	if (!name || !*name || parse(name, out))
		return 0;
	return error_set(e, -EINVAL,
			 "werror '%s' is unknown: choose enospc, report, stop "
			 "or ignore",
			 name);
}

int drive_rerror_parse(const char *name, enum drive_on_error *out,
		       struct error *e)
{
	*out = DRIVE_ERROR_REPORT;
	if (!name || !*name ||
	    (parse(name, out) && *out != DRIVE_ERROR_NO_ROOM))
		return 0;
	return error_set(e, -EINVAL,
			 "rerror '%s' is unknown: choose report, stop or "
			 "ignore",
			 name);
}

const char *drive_op_name(enum drive_op op)
{
	static const char *const names[DRIVE_NR_OPS] = {
		[DRIVE_READ] = "read",
		[DRIVE_WRITE] = "write",
		[DRIVE_FLUSH] = "flush",
		[DRIVE_DISCARD] = "discard",
		[DRIVE_WRITE_ZEROES] = "write of zeroes",
	};

	return names[op];
}

/* ---- what is chosen ---- */

static enum drive_on_error chosen(const struct drive *d, enum drive_op op)
{
	return op == DRIVE_READ ? d->cfg.on_read_error : d->cfg.on_write_error;
}

/* Shall the guest wait for another try? */
static bool wants_stop(const struct drive *d, enum drive_op op, int res)
{
	switch (chosen(d, op)) {
	case DRIVE_ERROR_STOP:
		return d->listener != NULL;
	case DRIVE_ERROR_NO_ROOM:
		return d->listener && (res == -ENOSPC || res == -EDQUOT);
	default:
		return false;
	}
}

static bool is_lost_by(const struct blk *b, int res)
{
	return b && b->flush_error && (!res || b->flush_error == res);
}

/* Did the host fail to make a file's data stable?  Then that error comes again
 * with whatever tries to: res is it, or 0 for any. */
static bool is_lost(const struct drive *d, int res)
{
	if (d->sync_failed && (!res || res == -EIO))
		return true;
	for (const struct blk *b = d->blk; b; b = b->file)
		if (is_lost_by(b, res) || is_lost_by(b->data_file, res))
			return true;
	return false;
}

/* Is that why req failed?  A write syncs too: its own data, or a format's. */
static bool is_loss(const struct drive *d, const struct drive_req *req)
{
	if (req->op == DRIVE_READ)
		return false;
	return is_lost(d, req->op == DRIVE_FLUSH ? 0 : req->res);
}

bool drive_may_reflush(const struct drive *d, int res)
{
	return wants_stop(d, DRIVE_FLUSH, res) && !is_lost(d, 0);
}

/* ---- keeping ---- */

static void insert(struct drive *d, struct drive_req *req)
{
	struct drive_req **p = &d->kept;

	while (*p && (*p)->nr < req->nr)
		p = &(*p)->next;
	req->next = *p;
	*p = req;
}

/* True for the first one: the owner must hear of it. */
static bool note_kept(struct drive *d, const struct drive_req *req, bool lost)
{
	struct drive_trouble *t = &d->trouble;
	bool is_first;

	pthread_mutex_lock(&d->job_lock);
	is_first = !t->kept++;
	if (is_first) {
		t->op = req->op;
		t->error = -req->res;
		t->is_lost = false;
		t->stops++;
	}
	t->is_lost |= lost;
	pthread_mutex_unlock(&d->job_lock);
	return is_first;
}

static void keep(struct drive *d, struct drive_req *req, bool lost)
{
	insert(d, req);
	drive_count_kept(d, req);
	__atomic_fetch_sub(&d->in_flight, 1, __ATOMIC_RELEASE);
	if (!note_kept(d, req, lost))
		return;
	log_write(d->log, LOG_LEVEL_ERROR, "disk",
		  "'%s': a %s failed (%s): its guest waits for another try",
		  d->path, drive_op_name(req->op), strerror(-req->res));
	d->listener(d->listener_arg);
}

static void ignore(struct drive *d, struct drive_req *req)
{
	bool is_first;

	pthread_mutex_lock(&d->job_lock);
	is_first = !d->trouble.ignored++;
	pthread_mutex_unlock(&d->job_lock);
	if (is_first)
		log_write(d->log, LOG_LEVEL_ERROR, "disk",
			  "'%s': a %s failed (%s) and its guest is told that "
			  "it did not, as %s=ignore asks for: data is lost",
			  d->path, drive_op_name(req->op), strerror(-req->res),
			  req->op == DRIVE_READ ? "rerror" : "werror");
	req->res = 0;
}

bool drive_keep(struct drive *d, struct drive_req *req)
{
	bool lost;

	if (!req->was_run || req->res == -ECANCELED)
		return false;
	if (chosen(d, req->op) == DRIVE_ERROR_IGNORE) {
		ignore(d, req);
		return false;
	}
	if (!wants_stop(d, req->op, req->res))
		return false;
	if (d->gives_up) {
		req->res = -ECANCELED;
		return false;
	}
	lost = is_loss(d, req);
	if (lost && d->loss_told)
		return false;
	keep(d, req, lost);
	return true;
}

void drive_keep_new(struct drive *d, struct drive_req *req)
{
	insert(d, req);
	note_kept(d, req, false);
}

/* ---- and ending it ---- */

static struct drive_req *take_kept(struct drive *d)
{
	struct drive_req *list = d->kept;

	d->kept = NULL;
	pthread_mutex_lock(&d->job_lock);
	d->trouble.kept = 0;
	pthread_mutex_unlock(&d->job_lock);
	return list;
}

void drive_retry(struct drive *d)
{
	struct drive_req *req, *next;

	if (!d->kept)
		return;
	d->loss_told |= d->trouble.is_lost;
	for (req = take_kept(d); req; req = next) {
		next = req->next;
		drive_start(d, req);
	}
}

void drive_give_up(struct drive *d, bool on)
{
	struct drive_req *req, *next;
	unsigned nr = 0;

	d->gives_up = on;
	if (!on || !d->kept)
		return;
	for (req = take_kept(d); req; req = next, nr++) {
		next = req->next;
		req->next = NULL;
		req->done(req, -ECANCELED);
	}
	log_write(d->log, LOG_LEVEL_WARN, "disk",
		  "'%s': %u requests that waited for another try are dropped: "
		  "their guest does not wait any more",
		  d->path, nr);
}

void drive_listen(struct drive *d, void (*fn)(void *arg), void *arg)
{
	d->listener = fn;
	d->listener_arg = arg;
}

void drive_trouble_copy(struct drive *d, struct drive_trouble *out)
{
	pthread_mutex_lock(&d->job_lock);
	*out = d->trouble;
	pthread_mutex_unlock(&d->job_lock);
}
