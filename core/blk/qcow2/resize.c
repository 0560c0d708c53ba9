/*
 * Longer and shorter disks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/l1.h"
#include "core/blk/qcow2/options.h"
#include "core/error.h"

/* Clusters that are looked at to find the last used one.  What an odd image
 * keeps beyond that stays as long as it is. */
#define CUT_LOOKS (1u << 24)

int qcow2_cut_file(struct qcow2 *s)
{
	uint64_t c =
		(s->b->file->len + s->cluster_len - 1) >> s->h.cluster_bits;
	uint64_t refs, looks = 0;
	int ret = 0;

	if (c > s->nr_rt << s->refblock_bits)
		c = s->nr_rt << s->refblock_bits;
	while (c && !ret && looks++ < CUT_LOOKS) {
		uint64_t block = (c - 1) >> s->refblock_bits;

		if (!s->rt[block]) {
			c = block << s->refblock_bits;
			continue;
		}
		ret = qcow2_get_refcount(s, c - 1, &refs);
		if (ret || refs)
			break;
		c--;
	}
	if (!ret && c << s->h.cluster_bits < s->b->file->len)
		ret = blk_truncate(s->b->file, c << s->h.cluster_bits,
				   BLK_PREALLOC_OFF, true, NULL);
	return ret;
}

/* [lock] */
static int shrink(struct qcow2 *s, uint64_t len, struct error *e)
{
	uint64_t first = (len + s->cluster_len - 1) & ~(s->cluster_len - 1);
	struct qcow2_header h;
	int ret = 0;

	if (first < s->h.disk_len)
		ret = qcow2_discard_clusters(s, first, s->h.disk_len - first,
					     true);
	if (ret)
		return error_errno(e, -ret,
				   "Failed to discard cropped "
				   "clusters");
	h = s->h;
	h.disk_len = len;
	ret = qcow2_write_header(s, &h, e);
	while (!ret && s->frees.nr)
		ret = qcow2_write_meta(s, true);
	if (!ret)
		ret = qcow2_cut_file(s);
	return ret;
}

/* [lock] */
static int grow(struct qcow2 *s, uint64_t len, struct error *e)
{
	uint64_t nr = qcow2_l1_for(s, len), *l1;
	struct qcow2_header h;
	int ret;

	if (nr > QCOW2_MAX_L1_LEN / 8)
		return error_set(e, -EFBIG, "Failed to grow the L1 table");
	h = s->h;
	h.disk_len = len;
	if (nr <= s->h.nr_l1)
		return qcow2_write_header(s, &h, e);
	l1 = calloc(nr, 8);
	if (!l1)
		return error_set(e, -ENOMEM, "Failed to grow the L1 table");
	memcpy(l1, s->l1, s->h.nr_l1 * 8ull);
	ret = qcow2_replace_l1(s, l1, nr, &h, e);
	if (ret)
		free(l1);
	return ret;
}

/* Does the disk show something else than zeroes in [off, end)?  These bytes may
 * lie past its end. */
static int shows_data(struct blk *b, uint64_t off, uint64_t end, bool *shows)
{
	struct qcow2_run run;
	int ret = 0;

	*shows = false;
	for (; off < end && !ret && !*shows; off += run.len) {
		ret = qcow2_lookup(qcow2_of(b), off, end - off, &run);
		*shows = run.kind == QCOW2_NORMAL || run.kind == QCOW2_PACKED ||
			 (run.kind == QCOW2_UNALLOCATED && b->backing &&
			  off < b->backing->len);
	}
	return ret;
}

static int clear(struct blk *b, uint64_t off, uint64_t end)
{
	bool shows;
	int ret;

	if (off >= end)
		return 0;
	ret = shows_data(b, off, end, &shows);
	if (ret || !shows)
		return ret;
	ret = qcow2_zero_range(b, off, end - off, 0);
	/* Version 2 hides whole clusters of the backing file by data only. */
	return ret == -ENOTSUP ? blk_write_zeroes(b, off, end - off, 0) : ret;
}

/* The rest of the last cluster, where a longer disk may have left something;
 * before the new length shows it. */
static int clear_tail(struct blk *b)
{
	uint64_t mask = qcow2_of(b)->cluster_len - 1;

	return clear(b, b->len, (b->len + mask) & ~mask);
}

/* What was added reads as zeroes even where the backing file goes on. */
static int clear_backing(struct blk *b, uint64_t old)
{
	uint64_t end = b->backing ? b->backing->len : 0;

	return clear(b, old, end < b->len ? end : b->len);
}

int qcow2_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
		   bool allow_shrink, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t old = b->len;
	int ret, err;

	if (len & 511)
		return error_set(e, -EINVAL,
				 "The new size must be a multiple of 512");
	if (s->h.nr_snapshots && s->h.version < 3)
		return error_set(e, -ENOTSUP,
				 "Can't resize a v2 image which has snapshots");
	if (len < old && !allow_shrink)
		return error_set(e, -EINVAL,
				 "Use the --shrink option to make an image "
				 "shorter");
	if (len < old && mode != BLK_PREALLOC_OFF)
		return error_set(e, -EINVAL,
				 "Preallocation can't be used for shrinking an "
				 "image");
	if (len > old && clear_tail(b))
		return error_set(e, -EIO, "Could not clear the disk's end");
	co_lock(&s->lock);
	ret = qcow2_bitmaps_resize_begin(s, e);
	if (!ret) {
		ret = len < old ? shrink(s, len, e) : grow(s, len, e);
		err = qcow2_bitmaps_resize_end(s, ret ? NULL : e);
		ret = ret ? ret : err;
	}
	co_unlock(&s->lock);
	if (ret)
		return ret;
	b->len = len;
	if (len > old && clear_backing(b, old))
		return error_set(e, -EIO, "Could not clear the disk's end");
	if (b->data_file)
		ret = blk_truncate(b->data_file, len, mode, allow_shrink, e);
	if (!ret && mode != BLK_PREALLOC_OFF)
		ret = qcow2_preallocate(b, old, len, mode, e);
	return ret;
}
