/*
 * disk: passes on what the guest asks, counts it, holds it back on demand.
 *
 * Only changes of a watched disk are listed, each waiting for older ones that
 * exclude it, so that nobody starves.  Watching begins and ends with the gate
 * closed: a change is listed as long as it is on its way, or never.
 */
#include "core/blk/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/chain.h"
#include "core/blk/driver.h"
#include "core/blk/filter/filter.h"
#include "core/blk/format.h"
#include "core/error.h"

#define SECTOR 512

struct disk {
	unsigned in_flight; /* requests that passed the gate */
	unsigned nr_gates, nr_drains;
	struct co_queue gate, idle;
	struct blk_watch *watches;
	struct blk_range *first, *last; /* changes, the oldest first */
	struct blk_disk_job *job;
};

static struct disk *disk_of(const struct blk *b)
{
	return b->priv;
}

static void enter(struct disk *d)
{
	while (d->nr_gates)
		co_wait(&d->gate, NULL);
	d->in_flight++;
}

static void leave(struct disk *d)
{
	if (!--d->in_flight)
		co_wake_all(&d->idle);
}

/* ---- ranges ---- */

static struct blk_range *find_older(struct disk *d, const struct blk_range *r)
{
	struct blk_range *p = d->first;

	while (p != r && (p->end <= r->off || p->off >= r->end ||
			  !(p->exclusive || r->exclusive)))
		p = p->next;
	return p == r ? NULL : p;
}

static void range_begin(struct disk *d, struct blk_range *r)
{
	struct blk_range *older;

	if (d->last)
		d->last->next = r;
	else
		d->first = r;
	d->last = r;
	while ((older = find_older(d, r)))
		co_wait(&older->waiters, NULL);
}

static void range_end(struct disk *d, struct blk_range *r)
{
	struct blk_range **p = &d->first, *before = NULL;

	while (*p != r) {
		before = *p;
		p = &before->next;
	}
	*p = r->next;
	if (d->last == r)
		d->last = before;
	co_wake_all(&r->waiters);
}

void blk_disk_lock(struct blk *disk, struct blk_range *r, uint64_t off,
		   uint64_t len)
{
	*r = (struct blk_range){
		.off = off, .end = off + len, .exclusive = true};
	range_begin(disk_of(disk), r);
}

void blk_disk_unlock(struct blk *disk, struct blk_range *r)
{
	range_end(disk_of(disk), r);
}

/* ---- requests ---- */

struct change {
	enum { CHANGE_WRITE, CHANGE_ZERO, CHANGE_DISCARD } kind;
	uint64_t off, len;
	const struct iovec *iov;
	int nr;
	unsigned flags;
};

static int pass(struct blk *to, const struct change *c)
{
	switch (c->kind) {
	case CHANGE_WRITE:
		return blk_writev(to, c->off, c->len, c->iov, c->nr, c->flags);
	case CHANGE_ZERO:
		return blk_write_zeroes(to, c->off, c->len, c->flags);
	case CHANGE_DISCARD:
		break;
	}
	return blk_discard(to, c->off, c->len);
}

static int pass_watched(struct blk *b, const struct change *c)
{
	struct disk *d = disk_of(b);
	struct blk_range r = {.off = c->off, .end = c->off + c->len};
	int ret;

	range_begin(d, &r);
	for (struct blk_watch *w = d->watches; w; w = w->next)
		if (w->before)
			w->before(w->arg, c->off, c->len);
	ret = pass(b->file, c);
	for (struct blk_watch *w = d->watches; w; w = w->next)
		if (w->after)
			w->after(w->arg, c->off, c->len);
	range_end(d, &r);
	return ret;
}

static int change(struct blk *b, const struct change *c)
{
	struct disk *d = disk_of(b);
	int ret;

	enter(d);
	ret = d->watches ? pass_watched(b, c) : pass(b->file, c);
	leave(d);
	return ret;
}

/* The generic layer of the disk flushes after a FUA write. */
static int disk_writev(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr, unsigned flags)
{
	return change(b, &(struct change){.kind = CHANGE_WRITE,
					  .off = off,
					  .len = len,
					  .iov = iov,
					  .nr = nr,
					  .flags = flags & ~BLK_FUA});
}

static int disk_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			     unsigned flags)
{
	return change(b, &(struct change){.kind = CHANGE_ZERO,
					  .off = off,
					  .len = len,
					  .flags = flags & ~BLK_FUA});
}

static int disk_discard(struct blk *b, uint64_t off, uint64_t len)
{
	return change(b, &(struct change){.kind = CHANGE_DISCARD,
					  .off = off,
					  .len = len});
}

static int disk_readv(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr)
{
	struct disk *d = disk_of(b);
	int ret;

	enter(d);
	ret = blk_readv(b->file, off, len, iov, nr);
	leave(d);
	return ret;
}

static int disk_flush(struct blk *b)
{
	struct disk *d = disk_of(b);
	int ret;

	enter(d);
	ret = blk_flush(b->file);
	leave(d);
	return ret;
}

static int disk_status(struct blk *b, uint64_t off, uint64_t len,
		       uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct disk *d = disk_of(b);
	int ret;

	enter(d);
	ret = blk_status_above(blk_disk_image(b), NULL, off, len, pnum, map,
			       file, NULL);
	leave(d);
	return ret;
}

static int disk_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			 bool allow_shrink, struct error *e)
{
	struct disk *d = disk_of(b);
	int ret;

	enter(d);
	if (d->job)
		ret = error_set(e, -EBUSY,
				"a job is at work on '%s': wait for its end, "
				"or cancel it",
				b->name);
	else
		ret = blk_truncate(b->file, len, mode, allow_shrink, e);
	leave(d);
	return ret;
}

/* ---- draining ---- */

void blk_disk_gate_close(struct blk *disk)
{
	struct disk *d = disk_of(disk);

	d->nr_gates++;
	while (d->in_flight)
		co_wait(&d->idle, NULL);
}

void blk_disk_gate_open(struct blk *disk)
{
	struct disk *d = disk_of(disk);

	if (!--d->nr_gates)
		co_wake_all(&d->gate);
}

void blk_disk_drain_begin(struct blk *disk)
{
	struct disk *d = disk_of(disk);

	d->nr_drains++;
	if (d->job)
		d->job->quiesce(d->job);
	blk_disk_gate_close(disk);
}

void blk_disk_drain_end(struct blk *disk)
{
	struct disk *d = disk_of(disk);

	d->nr_drains--;
	blk_disk_gate_open(disk);
	if (d->job)
		d->job->resume(d->job);
}

bool blk_disk_is_drained(const struct blk *disk)
{
	return disk_of(disk)->nr_drains;
}

/* ---- the nodes below ---- */

static struct blk **image_link(struct blk *disk)
{
	struct blk **p = &disk->file;

	while ((*p)->is_filter)
		p = &(*p)->file;
	return p;
}

void blk_disk_replace(struct blk *disk, struct blk *node)
{
	struct blk **p = image_link(disk), *old = *p;

	*p = node;
	/* What the guest wrote before was flushed with the node. */
	disk->write_gen++;
	blk_unref(old);
}

static void exchange(struct blk *disk, struct blk **link, struct blk *node)
{
	struct blk *old = *link;

	*link = node;
	disk->write_gen++;
	blk_unref(old);
}

int blk_disk_swap_filter(struct blk *disk, struct blk **filter,
			 const struct blk_driver *drv,
			 const struct blk_opt *opts, unsigned nr,
			 struct error *e)
{
	struct blk **link = &disk->file, *below, *node;

	blk_disk_drain_begin(disk);
	while (*filter && *link != *filter)
		link = &(*link)->file;
	below = *filter ? (*filter)->file : *link;
	node = blk_ref(below);
	if (drv)
		node = blk_filter_open_with(node, drv, opts, nr, e);
	if (node) {
		exchange(disk, link, node);
		*filter = drv ? node : NULL;
	}
	blk_disk_drain_end(disk);
	return node ? 0 : -EINVAL;
}

void blk_disk_watch(struct blk *disk, struct blk_watch *w)
{
	struct disk *d = disk_of(disk);

	blk_disk_gate_close(disk);
	w->next = d->watches;
	d->watches = w;
	blk_disk_gate_open(disk);
}

void blk_disk_unwatch(struct blk *disk, struct blk_watch *w)
{
	struct blk_watch **p = &disk_of(disk)->watches;

	blk_disk_gate_close(disk);
	while (*p && *p != w)
		p = &(*p)->next;
	if (*p)
		*p = w->next;
	blk_disk_gate_open(disk);
}

void blk_disk_set_job(struct blk *disk, struct blk_disk_job *job)
{
	struct disk *d = disk_of(disk);

	d->job = job;
	co_wake_all(&d->idle);
}

struct blk_disk_job *blk_disk_job(const struct blk *disk)
{
	return disk_of(disk)->job;
}

struct blk *blk_disk_image(const struct blk *disk)
{
	return blk_skip_filters(disk);
}

/* ---- external snapshots ---- */

/* A new image as long as image, open, over nothing yet. */
static struct blk *make_overlay(struct blk *image, const char *path,
				struct error *e)
{
	struct blk_create c = {.path = path,
			       .len = (image->len + SECTOR - 1) / SECTOR *
				      SECTOR};
	struct blk_options o = image->options;
	struct blk *overlay = NULL;

	o.path = path;
	o.format = "qcow2";
	o.write = o.no_backing = true;
	if (!blk_qcow2_format.create(image->ctx, &c, e) &&
	    !blk_chain_sync_folder(image->ctx, path, e))
		overlay = blk_open(image->ctx, &o, e);
	if (!overlay)
		unlink(path);
	return overlay;
}

static int check_snapshot(struct blk *disk, struct error *e)
{
	if (blk_disk_job(disk))
		return error_set(e, -EBUSY,
				 "a job is at work on '%s': wait for its end, "
				 "or cancel it",
				 disk->name);
	if (!disk->write)
		return error_set(e, -EROFS, "'%s' is read-only", disk->name);
	return 0;
}

/* Drained: overlay, which is empty, goes on top of the image. */
static int put_on_top(struct blk *disk, struct blk *overlay, struct error *e)
{
	struct blk *image = blk_disk_image(disk);
	int ret = check_snapshot(disk, e);

	if (!ret)
		ret = blk_chain_relink(overlay, image, e);
	if (!ret)
		ret = blk_set_write(image, false, e);
	if (!ret)
		blk_disk_replace(disk, blk_ref(overlay));
	return ret;
}

int blk_disk_snapshot(struct blk *disk, const char *path, struct error *e)
{
	struct blk *overlay;
	int ret = check_snapshot(disk, e);

	if (ret)
		return ret;
	if (!access(path, F_OK))
		return error_set(e, -EEXIST, "'%s' exists already", path);
	overlay = make_overlay(blk_disk_image(disk), path, e);
	if (!overlay)
		return e && e->code ? e->code : -EIO;
	blk_disk_drain_begin(disk);
	ret = put_on_top(disk, overlay, e);
	blk_disk_drain_end(disk);
	if (ret)
		unlink(path);
	blk_unref(overlay);
	return ret;
}

/* ---- the node ---- */

static int disk_open(struct blk *b, const struct blk_options *o,
		     struct error *e)
{
	(void)o;
	(void)e;
	/* Its image aligns; a disk stays when its image goes. */
	b->align = 1;
	return 0;
}

static void disk_close(struct blk *b)
{
	struct disk *d = disk_of(b);

	if (d->job)
		d->job->cancel(d->job);
	while (d->job)
		co_wait(&d->idle, NULL);
}

static const struct blk_driver blk_disk_driver = {
	.name = "disk",
	.priv_len = sizeof(struct disk),
	.open = disk_open,
	.close = disk_close,
	.readv = disk_readv,
	.writev = disk_writev,
	.write_zeroes = disk_write_zeroes,
	.discard = disk_discard,
	.flush = disk_flush,
	.flushes_file = true,
	.status = disk_status,
	.truncate = disk_truncate,
};

struct blk *blk_disk_create(struct blk *node, struct error *e)
{
	return blk_filter_open(node, &blk_disk_driver, e);
}

bool blk_is_disk(const struct blk *b)
{
	return b->drv == &blk_disk_driver;
}
