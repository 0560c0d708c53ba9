/*
 * commit: layers of the chain go down into a base.
 *
 * What the base gets is hidden by the layers above it until they leave the
 * chain, so that a guest, or who opens the chain after a crash, sees no change
 * at any moment.  In the end:
 *   1 the base is flushed;
 *   2 the layer above the ones that go names the base as its backing; when the
 *     disk's own image goes, that is this image itself, and then
 *   3 the base becomes the disk's image, and this one is emptied, so that its
 *     name goes on showing what the guest writes.
 */
#include <errno.h>
#include <stdio.h>

#include "core/blk/chain.h"
#include "core/blk/copy.h"
#include "core/blk/format.h"
#include "core/blk/jobs/job_int.h"

static bool is_active(const struct blk_job *j)
{
	return j->source == blk_disk_image(j->disk);
}

static struct blk *bottom_of(struct blk *b)
{
	while (b->backing)
		b = b->backing;
	return b;
}

static int commit_check(struct blk_job *j, struct error *e)
{
	struct blk *image = blk_disk_image(j->disk);
	struct blk *top = j->cfg.top ? j->cfg.top : image;
	struct blk *base = j->cfg.base ? j->cfg.base : bottom_of(top);
	const struct blk_format *f = blk_format_find(image->drv->name);

	if (top != image && !blk_chain_above(image, top))
		return error_set(e, -EINVAL, "'%s' is no layer of '%s'",
				 top->name, j->disk->name);
	if (!blk_chain_above(top, base))
		return error_set(e, -EINVAL,
				 "'%s' is not below '%s': nothing to commit",
				 base->name, top->name);
	if (!f || !f->set_backing || !f->make_empty)
		return error_set(e, -ENOTSUP,
				 "'%s' can't name another backing "
				 "file",
				 image->name);
	j->cfg.top = top;
	j->cfg.base = base;
	return 0;
}

/* Base gets top's length.  What it has beyond can't be seen through top, and
 * what is added reads as zeroes at once, as a base that is short does. */
static int fit_base(struct blk *top, struct blk *base, struct error *e)
{
	int ret = 0;

	if (base->len != top->len)
		ret = blk_truncate(base, top->len, BLK_PREALLOC_OFF, true, e);
	return ret ? error_prefix(e, ret, "the length of '%s'", base->name) : 0;
}

static bool commit_wants(struct blk_job *j, int status, int depth)
{
	(void)j;
	(void)depth;
	return status &
	       (BLK_STATUS_DATA | BLK_STATUS_ZERO | BLK_STATUS_ALLOCATED);
}

static int commit_prepare(struct blk_job *j, struct error *e)
{
	int ret = 0;

	j->source = blk_ref(j->cfg.top);
	j->base = blk_ref(j->cfg.base);
	if (!is_active(j))
		j->overlay = blk_ref(
			blk_chain_above(blk_disk_image(j->disk), j->source));
	blk_disk_gate_close(j->disk);
	ret = blk_set_write(j->base, true, e);
	if (!ret)
		ret = fit_base(j->source, j->base, e);
	blk_disk_gate_open(j->disk);
	if (!ret && job_bits_make(j, j->source->len))
		ret = error_set(e, -ENOMEM, "no memory for a job");
	if (ret)
		return ret;
	if (is_active(j))
		job_track(j);
	return job_mark_wanted(j, j->source, j->base, commit_wants, e);
}

static int commit_copy(struct blk_job *j, uint64_t off, uint64_t len,
		       struct error *e)
{
	struct blk_copy c = {.source = j->source,
			     .dest = j->base,
			     .above = true,
			     .base = j->base,
			     .off = off,
			     .dest_off = off,
			     .len = len,
			     .zero_from = UINT64_MAX,
			     .sparse = JOB_SPARSE,
			     .nr_requests = 2};

	return blk_copy(&c, e);
}

static int empty(struct blk *image, struct error *e)
{
	int ret;

	/* A view may still read what is freed now. */
	while (image->in_flight)
		co_wait(&image->drained, NULL);
	ret = blk_format_find(image->drv->name)->make_empty(image, e);
	if (!ret && (ret = blk_flush(image)))
		error_errno(e, -ret, "'%s'", image->name);
	return ret;
}

static int commit_finish(struct blk_job *j, struct error *e)
{
	struct blk *above = j->overlay ? j->overlay : j->source;
	int ret = blk_flush(j->base);

	if (ret)
		return error_errno(e, -ret, "'%s'", j->base->name);
	if (above->backing != j->base)
		ret = blk_chain_relink(above, j->base, e);
	if (!ret && !j->overlay) {
		blk_disk_replace(j->disk, blk_ref(j->base));
		ret = empty(j->source, e);
		if (ret)
			blk_disk_replace(j->disk, blk_ref(j->source));
	}
	j->finished = !ret;
	return ret;
}

static void commit_end(struct blk_job *j, int result, char *text, size_t len)
{
	struct blk *base = j->base;

	if (!base)
		return;
	if (blk_disk_image(j->disk) != base && base->write)
		blk_set_write(base, false, NULL);
	if (result)
		snprintf(text, len,
			 "the disk shows what it did; '%.100s' holds a part",
			 base->name);
	else if (j->overlay)
		snprintf(text, len,
			 "'%.60s' holds all; '%.60s' and what lay between are "
			 "not used any more",
			 base->name, j->source->name);
	else
		snprintf(text, len,
			 "the disk is '%.60s' now; '%.60s' is empty over it",
			 base->name, j->source->name);
}

const struct blk_job_type blk_job_commit = {
	.name = "commit",
	.check = commit_check,
	.prepare = commit_prepare,
	.copy = commit_copy,
	.finish = commit_finish,
	.end = commit_end,
};
