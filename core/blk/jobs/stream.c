/*
 * stream: what the layers between the disk's image and a base hold comes up
 * into the image, which then lies on the base.
 *
 * A piece is copied while the guest is kept from changing it, and only where
 * the image still holds nothing: what the guest wrote wins.
 */
#include <errno.h>
#include <stdio.h>

#include "core/blk/chain.h"
#include "core/blk/copy.h"
#include "core/blk/format.h"
#include "core/blk/jobs/job_int.h"
#include "core/blk/scratch.h"

static int stream_check(struct blk_job *j, struct error *e)
{
	struct blk *image = blk_disk_image(j->disk);
	const char *name = blk_scratch_shown(image->name);
	const struct blk_format *f = blk_format_find(image->drv->name);

	if (!image->backing)
		return error_set(e, -EINVAL, "'%s' has no backing file", name);
	if (!f || !f->set_backing)
		return error_set(e, -ENOTSUP,
				 "'%s' can't name another backing "
				 "file",
				 name);
	if (!j->cfg.base)
		return 0;
	if (!blk_chain_above(image, j->cfg.base))
		return error_set(e, -EINVAL, "'%s' is no layer below '%s'",
				 j->cfg.base->name, name);
	if (image->backing == j->cfg.base)
		return error_set(e, -EINVAL,
				 "no layer lies between '%s' and '%s'", name,
				 j->cfg.base->name);
	return 0;
}

/* What the image must hold to do without the layers.  With nothing below, what
 * it does not hold reads as zeroes. */
static bool stream_wants(struct blk_job *j, int status, int depth)
{
	if (!depth && (status & BLK_STATUS_ALLOCATED))
		return false;
	return status &
	       (j->base ? BLK_STATUS_DATA | BLK_STATUS_ZERO : BLK_STATUS_DATA);
}

static int stream_prepare(struct blk_job *j, struct error *e)
{
	j->source = blk_ref(blk_disk_image(j->disk));
	j->base = j->cfg.base ? blk_ref(j->cfg.base) : NULL;
	if (job_bits_make(j, j->source->len))
		return error_set(e, -ENOMEM, "no memory for a job");
	/* Only for ranges to be locked; nothing is marked. */
	blk_disk_watch(j->disk, &j->watch);
	return job_mark_wanted(j, j->source, j->base, stream_wants, e);
}

static int copy_locked(struct blk_job *j, uint64_t off, uint64_t end,
		       struct error *e)
{
	struct blk_copy c = {.source = j->source,
			     .dest = j->source,
			     .above = true,
			     .base = j->base,
			     .zero_from = j->base ? UINT64_MAX : 0,
			     .sparse = JOB_SPARSE,
			     .nr_requests = 2};
	uint64_t n;
	int depth, ret = 0;

	for (; off < end && !ret; off += n) {
		int st = blk_status_above(j->source, j->base, off, end - off,
					  &n, NULL, NULL, &depth);

		if (st < 0 || !n)
			return error_errno(e, st < 0 ? -st : EIO,
					   "'%s': what byte %llu is made of",
					   blk_scratch_shown(j->source->name),
					   (unsigned long long)off);
		c.off = c.dest_off = off;
		c.len = n;
		if (stream_wants(j, st, depth))
			ret = blk_copy(&c, e);
	}
	return ret;
}

static int stream_copy(struct blk_job *j, uint64_t off, uint64_t len,
		       struct error *e)
{
	struct blk_range r;
	int ret;

	blk_disk_lock(j->disk, &r, off, len);
	ret = copy_locked(j, off, off + len, e);
	blk_disk_unlock(j->disk, &r);
	return ret;
}

static int stream_finish(struct blk_job *j, struct error *e)
{
	int ret = blk_chain_relink(j->source, j->base, e);

	j->finished = !ret;
	return ret;
}

static void stream_end(struct blk_job *j, int result, char *text, size_t len)
{
	if (!j->source)
		return;
	blk_disk_unwatch(j->disk, &j->watch);
	if (result)
		snprintf(text, len,
			 "the chain is as it was; '%.100s' holds a part of it",
			 blk_scratch_shown(j->source->name));
	else if (j->base)
		snprintf(text, len, "'%.60s' lies on '%.60s' now",
			 blk_scratch_shown(j->source->name),
			 blk_scratch_shown(j->base->name));
	else
		snprintf(text, len, "'%.100s' has no backing file any more",
			 blk_scratch_shown(j->source->name));
}

const struct blk_job_type blk_job_stream = {
	.name = "stream",
	.check = stream_check,
	.prepare = stream_prepare,
	.copy = stream_copy,
	.finish = stream_finish,
	.end = stream_end,
};
