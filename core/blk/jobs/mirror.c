/*
 * mirror: the disk is copied to another image and kept so, until that image
 * takes over or is let go.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/chain.h"
#include "core/blk/copy.h"
#include "core/blk/format.h"
#include "core/blk/jobs/job_int.h"

#define SECTOR 512

static bool is_full(const struct blk_job *j)
{
	return j->cfg.sync == BLK_SYNC_FULL;
}

/* What the target lies on. */
static struct blk *target_backing(const struct blk_job *j)
{
	struct blk *image = blk_disk_image(j->disk);

	return is_full(j)		     ? NULL
	       : j->cfg.sync == BLK_SYNC_TOP ? image->backing
					     : image;
}

static int mirror_check(struct blk_job *j, struct error *e)
{
	const char *format = j->cfg.format ? j->cfg.format : "qcow2";
	const struct blk_format *f = blk_format_find(format);

	if (!j->cfg.path || !*j->cfg.path)
		return error_set(e, -EINVAL, "a mirror needs a target's name");
	if (!f)
		return error_set(e, -EINVAL, "Unknown driver '%s'", format);
	if (!is_full(j) && (!f->set_backing || j->cfg.existing))
		return error_set(e, -EINVAL,
				 "a target that holds only a part needs a "
				 "backing file: make it a new qcow2 image");
	if (!j->cfg.existing && !access(j->cfg.path, F_OK))
		return error_set(e, -EEXIST, "'%s' exists already",
				 j->cfg.path);
	return 0;
}

static int make_target(struct blk_job *j, const char *format, struct error *e)
{
	uint64_t len = blk_disk_image(j->disk)->len;
	struct blk_create c = {.path = j->cfg.path, .len = len};
	int ret;

	if (strcmp(format, "raw"))
		c.len = (len + SECTOR - 1) / SECTOR * SECTOR;
	ret = blk_format_find(format)->create(j->ctx, &c, e);
	return ret ? ret : blk_chain_sync_folder(j->ctx, c.path, e);
}

static int open_target(struct blk_job *j, struct error *e)
{
	struct blk *image = blk_disk_image(j->disk), *below = target_backing(j);
	const char *format = j->cfg.format ? j->cfg.format : "qcow2";
	struct blk_options o = image->options;
	int ret = j->cfg.existing ? 0 : make_target(j, format, e);

	if (ret)
		return ret;
	o.path = j->cfg.path;
	o.format = format;
	o.write = o.no_backing = true;
	j->target = blk_open(j->ctx, &o, e);
	if (!j->target)
		return e->code ? e->code : -EIO;
	if (j->target->len < image->len)
		return error_set(e, -EINVAL,
				 "'%s' is shorter than the disk's %llu bytes",
				 j->cfg.path, (unsigned long long)image->len);
	return below ? blk_chain_relink(j->target, below, e) : 0;
}

static bool mirror_wants(struct blk_job *j, int status, int depth)
{
	(void)depth;
	/* Nothing but zeroes was ever there. */
	if (is_full(j) && !j->cfg.existing && (status & BLK_STATUS_ZERO))
		return false;
	return status &
	       (BLK_STATUS_DATA | BLK_STATUS_ZERO | BLK_STATUS_ALLOCATED);
}

static int mirror_prepare(struct blk_job *j, struct error *e)
{
	struct blk *base;
	int ret;

	j->source = blk_ref(blk_disk_image(j->disk));
	ret = open_target(j, e);
	if (!ret && job_bits_make(j, j->source->len))
		ret = error_set(e, -ENOMEM, "no memory for a job");
	if (ret)
		return ret;
	if (is_full(j) && !j->cfg.existing)
		job_bits_set(&j->fresh, 0, j->fresh.nr);
	job_track(j);
	if (j->cfg.sync == BLK_SYNC_NONE)
		return 0;
	base = is_full(j) ? NULL : j->source->backing;
	return job_mark_wanted(j, j->source, base, mirror_wants, e);
}

/* The chunks of [off, end) from off on that are all fresh, or all not. */
static uint64_t alike(const struct blk_job *j, uint64_t off, uint64_t end)
{
	uint64_t i = off / j->chunk;
	bool fresh = job_bits_test(&j->fresh, i);

	while (i * j->chunk < end && job_bits_test(&j->fresh, i) == fresh)
		i++;
	return i * j->chunk < end ? i * j->chunk : end;
}

static int mirror_copy(struct blk_job *j, uint64_t off, uint64_t len,
		       struct error *e)
{
	struct blk_copy c = {.source = j->source,
			     .dest = j->target,
			     .above = j->cfg.sync == BLK_SYNC_TOP,
			     .base = j->source->backing,
			     .sparse = JOB_SPARSE,
			     .nr_requests = 2};
	uint64_t end = off + len;
	int ret = 0;

	while (off < end && !ret) {
		uint64_t stop = alike(j, off, end), first = off / j->chunk;
		bool fresh = job_bits_test(&j->fresh, first);

		job_bits_clear(&j->fresh, first,
			       (stop + j->chunk - 1) / j->chunk - first);
		c.off = c.dest_off = off;
		c.len = stop - off;
		c.zero_from = fresh ? 0 : UINT64_MAX;
		ret = blk_copy(&c, e);
		off = stop;
	}
	return ret;
}

static bool takes_over(const struct blk_job *j)
{
	return j->now.pivot || j->cfg.sync == BLK_SYNC_NONE;
}

static int mirror_finish(struct blk_job *j, struct error *e)
{
	int ret = blk_flush(j->target);

	if (ret)
		return error_errno(e, -ret, "'%s'", j->target->name);
	/* The layer below it must not change any more. */
	if (j->cfg.sync == BLK_SYNC_NONE)
		ret = blk_set_write(j->source, false, e);
	if (ret)
		return ret;
	j->finished = true;
	if (takes_over(j))
		blk_disk_replace(j->disk, blk_ref(j->target));
	return 0;
}

static void mirror_end(struct blk_job *j, int result, char *text, size_t len)
{
	if (!j->target)
		return;
	if (result)
		snprintf(text, len,
			 "the disk is as it was; '%.100s' is no whole copy",
			 j->target->name);
	else if (takes_over(j))
		snprintf(
			text, len,
			"the disk is '%.60s' now; '%.60s' stays as it was then",
			j->target->name, j->source->name);
	else
		snprintf(text, len, "'%.100s' is a copy of that moment",
			 j->target->name);
}

const struct blk_job_type blk_job_mirror = {
	.name = "mirror",
	.waits = true,
	.check = mirror_check,
	.prepare = mirror_prepare,
	.copy = mirror_copy,
	.finish = mirror_finish,
	.end = mirror_end,
};
