/*
 * Cached tables go to disk: the one place that keeps their order (see the
 * invariants in qcow2.h), and what is freed once they are there.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/blk/qcow2/shadow.h"

#define SECTOR_LEN 512
/* More freed ranges than this are put on disk at once. */
#define FREES_MAX 4096

/* ---- freeing ---- */

int qcow2_free_later(struct qcow2 *s, uint64_t off, uint64_t len)
{
	struct qcow2_frees *f = &s->frees;
	struct qcow2_range *last = f->nr ? &f->ranges[f->nr - 1] : NULL;

	len += off & (s->cluster_len - 1);
	off &= ~(s->cluster_len - 1);
	len = (len + s->cluster_len - 1) & ~(s->cluster_len - 1);
	/* Only data clusters in a row merge: packed ones are freed per piece. */
	if (last && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	if (f->nr == f->max) {
		unsigned max = f->max ? 2 * f->max : 64;
		void *p = realloc(f->ranges, max * sizeof(*f->ranges));

		if (!p)
			return -ENOMEM;
		f->ranges = p;
		f->max = max;
	}
	f->ranges[f->nr++] = (struct qcow2_range){off, len};
	return f->nr > FREES_MAX ? qcow2_write_meta(s, false) : 0;
}

/* The list is taken away first: a full cache writes tables meanwhile. */
static int apply_frees(struct qcow2 *s)
{
	struct qcow2_frees f = s->frees;
	int ret = 0;

	s->frees = (struct qcow2_frees){0};
	for (unsigned i = 0; i < f.nr && !ret; i++)
		ret = qcow2_change_refcount(s, f.ranges[i].off, f.ranges[i].len,
					    -1);
	free(f.ranges);
	return ret;
}

/* ---- writing tables in order ---- */

/* Writes the sectors of a table that are marked. */
static int write_table(struct qcow2 *s, uint64_t off, const uint64_t *table,
		       uint64_t nr, uint8_t *dirty)
{
	uint64_t disk[SECTOR_LEN / 8];
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i += SECTOR_LEN / 8) {
		if (!dirty[i * 8 / SECTOR_LEN])
			continue;
		for (unsigned j = 0; j < SECTOR_LEN / 8; j++)
			disk[j] = i + j < nr ? htobe64(table[i + j]) : 0;
		ret = blk_write(s->b->file, off + i * 8, disk, sizeof(disk), 0);
		if (!ret)
			dirty[i * 8 / SECTOR_LEN] = 0;
	}
	return ret;
}

static int write_refcounts(struct qcow2 *s)
{
	uint64_t rt_off = s->shadow ? s->shadow->rt_off : s->h.rt_off;
	int ret;

	if (!qcow2_cache_is_dirty(s->ref_cache) && !s->any_rt_dirty)
		return 0;
	s->refs_unsynced = true;
	ret = qcow2_cache_write(s->ref_cache);
	if (ret || !s->any_rt_dirty)
		return ret;
	ret = blk_flush(s->b->file);
	if (!ret)
		ret = write_table(s, rt_off, s->rt, s->nr_rt, s->rt_dirty);
	if (!ret)
		s->any_rt_dirty = false;
	return ret;
}

static int write_mappings(struct qcow2 *s)
{
	bool barrier = s->barrier;
	int ret = 0;

	if (!qcow2_cache_is_dirty(s->l2_cache) && !s->any_l1_dirty)
		return 0;
	/* What is filled from here on these syncs don't cover. */
	s->barrier = false;
	if (barrier && s->b->data_file)
		ret = blk_flush(s->b->data_file);
	if (!ret && (s->refs_unsynced || barrier))
		ret = blk_flush(s->b->file);
	if (ret) {
		s->barrier |= barrier;
		return ret;
	}
	s->refs_unsynced = false;
	ret = qcow2_cache_write(s->l2_cache);
	if (ret || !s->any_l1_dirty)
		return ret;
	ret = blk_flush(s->b->file);
	if (!ret)
		ret = write_table(s, s->h.l1_off, s->l1, s->h.nr_l1,
				  s->l1_dirty);
	if (!ret)
		s->any_l1_dirty = false;
	return ret;
}

int qcow2_write_meta(struct qcow2 *s, bool sync)
{
	/* The dirty bit stands for the refcounts until the image is closed. */
	bool lazy = (s->h.incompat & QCOW2_INCOMPAT_DIRTY) && !s->closing &&
		    !s->shadow;
	int ret = s->lost ? -EIO : qcow2_ensure_header(s);

	if (!ret && (!lazy || !qcow2_cache_is_dirty(s->l2_cache)))
		ret = write_refcounts(s);
	if (!ret)
		ret = write_mappings(s);
	if (!ret && s->frees.nr) {
		ret = blk_flush(s->b->file);
		if (!ret)
			ret = apply_frees(s);
	}
	if (!ret && sync)
		ret = blk_flush(s->b->file);
	return ret;
}

int qcow2_settle(struct qcow2 *s)
{
	bool closing = s->closing;
	int ret;

	/* As at the end of the image's use: lazy refcounts are written too. */
	s->closing = true;
	do
		ret = qcow2_write_meta(s, true);
	while (!ret && (s->frees.nr || qcow2_cache_is_dirty(s->ref_cache) ||
			s->any_rt_dirty));
	s->closing = closing;
	return ret;
}
