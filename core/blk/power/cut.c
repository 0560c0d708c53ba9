#include "core/blk/power/cut.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/disk.h"
#include "core/blk/drive_actions.h"
#include "core/blk/drive_parts.h"
#include "core/blk/driver.h"
#include "core/blk/format.h"
#include "core/blk/iov.h"
#include "core/error.h"

/* ---- watching ---- */

struct blk *drive_watch_wrap(void *arg, struct blk *file, struct error *e)
{
	struct drive *d = arg;

	if (d->wrap)
		file = d->wrap(d->wrap_arg, file, e);
	d->model = file ? blk_filter_open(file, &blk_volatile_driver, e) : NULL;
	return d->model;
}

/* From a copy: the guest may change its memory meanwhile, and what is promised
 * must be what is written. */
static int watch_write(struct drive *d, struct drive_req *req)
{
	const struct iovec *iov = req->iov;
	struct iovec copy = {malloc(req->len), req->len};
	int nr = req->nr_iov, ret = -ENOMEM;

	if (!copy.iov_base)
		return ret;
	iov_to_buf(iov, nr, 0, copy.iov_base, req->len);
	req->change =
		ledger_begin(d->ledger, req->off, req->len, copy.iov_base);
	if (req->change) {
		req->iov = &copy;
		req->nr_iov = 1;
		ret = drive_perform(d, req);
		req->iov = iov;
		req->nr_iov = nr;
	}
	free(copy.iov_base);
	return ret;
}

int drive_watch(struct drive *d, struct drive_req *req)
{
	int ret;

	switch (req->op) {
	case DRIVE_READ:
		break;
	case DRIVE_WRITE:
		return watch_write(d, req);
	case DRIVE_FLUSH:
		req->asked = ledger_now(d->ledger);
		break;
	case DRIVE_DISCARD:
		/* Also what is written meanwhile may be gone after it. */
		ledger_forget(d->ledger, req->off, req->len);
		ret = drive_perform(d, req);
		ledger_forget(d->ledger, req->off, req->len);
		return ret;
	case DRIVE_WRITE_ZEROES:
		req->change = ledger_begin(d->ledger, req->off, req->len, NULL);
		if (!req->change)
			return -ENOMEM;
		break;
	}
	return drive_perform(d, req);
}

void drive_watch_end(struct drive *d, struct drive_req *req)
{
	struct ledger_change *change = req->change;

	req->change = NULL;
	if (d->is_cut)
		req->res = -ECANCELED;
	else if (change)
		ledger_end(d->ledger, change, !req->res, req->promised);
	else if (req->op == DRIVE_FLUSH && !req->res && req != &d->own_flush)
		ledger_flushed(d->ledger, req->asked);
}

/* ---- the cut ---- */

int drive_cut_check(struct drive *d, struct error *e)
{
	if (!d->ledger)
		return error_set(e, -ENOTSUP,
				 "disk '%s' has no model of a volatile cache: "
				 "open it with scratch and volatile",
				 d->path);
	if (!d->blk || blk_disk_image(d->blk)->file != d->model)
		return error_set(e, -EBUSY,
				 "disk '%s': its guest no longer writes to the "
				 "image with the model of a volatile cache",
				 d->path);
	return 0;
}

struct cut_call {
	struct drive *d;
	enum blk_cut mode;
	unsigned seed;
	struct drive_cut *out;
	struct error *e;
	int ret;
};

static int lose_power(void *arg)
{
	struct cut_call *c = arg;
	struct blk_volatile_stats held;
	int ret;

	blk_volatile_stats(c->d->model, &held);
	c->out->held_bytes = held.bytes;
	ret = blk_volatile_cut(c->d->model, c->mode, c->seed);
	return ret ? error_errno(c->e, -ret, "writing to '%s'", c->d->path) : 0;
}

/* A scratch disk whose tables nobody promised to keep begins anew. */
static int open_again(struct cut_call *c)
{
	struct drive *d = c->d;
	int ret = drive_replace_medium(d, d->path, c->e);

	if (!ret || !d->cfg.scratch || c->out->promise != CACHE_NOTHING)
		return ret;
	c->out->is_destroyed = true;
	close(d->scratch_fd);
	d->scratch_fd = -1;
	return drive_replace_medium(d, d->path, c->e);
}

/* Its tables as they are found. */
static int check_image(struct cut_call *c)
{
	struct blk *image = blk_disk_image(c->d->blk);
	const struct blk_format *f = blk_format_find(blk_format(image));
	struct blk_check found = {0};
	int ret = 0;

	if (f && f->check)
		ret = f->check(image, 0, &found, c->e);
	c->out->table_errors = found.corruptions + found.check_errors;
	return ret;
}

static int get_power(void *arg)
{
	struct cut_call *c = arg;
	struct drive *d = c->d;
	int ret = c->ret;

	drive_replace_medium(d, NULL, c->e);
	if (!ret)
		ret = open_again(c);
	__atomic_store_n(&d->has_medium, !ret, __ATOMIC_RELAXED);
	if (!ret)
		ret = check_image(c);
	if (ret)
		return ret;
	ret = ledger_check(d->ledger, d->blk, &c->out->facts);
	return ret ? error_errno(c->e, -ret, "reading '%s'", d->path) : 0;
}

int drive_cut_power(struct drive *d, enum blk_cut mode, unsigned seed,
		    struct drive_cut *out, struct error *e)
{
	struct error ignored = {0};
	struct cut_call c = {d, mode, seed, out, e ? e : &ignored, 0};

	c.ret = drive_cut_check(d, c.e);
	if (c.ret)
		return c.ret;
	*out = (struct drive_cut){
		.in_flight = drive_in_flight(d),
		.promise =
			cache_fate(&cache_modes[d->cfg.preset],
				   drive_wce_now(d), false, CACHE_POWER_LOSS),
	};
	d->is_cut = true;
	c.ret = drive_run_here(d, lose_power, &c, c.e);
	drive_give_up(d, true);
	drive_drain(d);
	drive_give_up(d, false);
	d->own_flush_again = false;
	__atomic_store_n(&d->sync_failed, false, __ATOMIC_RELAXED);
	d->loss_told = false;
	__atomic_store_n(&d->wce, d->wce_at_first, __ATOMIC_RELAXED);
	/* The world waits for the comparison. */
	drive_throttle_lift(d);
	c.ret = drive_run_here(d, get_power, &c, c.e);
	drive_throttle_lower(d);
	d->is_cut = false;
	drive_count_forget(d);
	return c.ret ? error_prefix(c.e, c.ret, "after the power cut") : 0;
}

/* ---- the verdict ---- */

bool drive_cut_is_broken(const struct drive_cut *cut)
{
	return cut->promise != CACHE_NOTHING &&
	       (cut->facts.kept < cut->facts.promised || cut->table_errors);
}

const char *drive_cut_verdict(const struct drive_cut *cut, char *text)
{
	const struct ledger_facts *f = &cut->facts;
	uint64_t gone = f->promised - f->kept;

	if (drive_cut_is_broken(cut) && gone)
		snprintf(text, 160,
			 "BROKEN: %" PRIu64 " bytes that were promised are "
			 "gone, the first at %" PRIu64,
			 gone, f->first_missing);
	else if (drive_cut_is_broken(cut))
		snprintf(text, 160,
			 "BROKEN: the image's tables have %" PRIu64 " errors",
			 cut->table_errors);
	else if (gone)
		snprintf(text, 160,
			 "lost %" PRIu64 " bytes that the guest had flushed: "
			 "unsafe keeps no promise",
			 gone);
	else if (cut->promise == CACHE_NOTHING)
		snprintf(text, 160, "nothing was lost, by luck");
	else
		snprintf(text, 160, "kept: all that was promised is there");
	return text;
}
