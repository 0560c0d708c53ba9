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

/* Bytes of zeroes that are written at once, or a cluster. */
#define DATA_STEP (1u << 20)

static uint64_t round_up(const struct qcow2 *s, uint64_t off)
{
	return (off + s->cluster_len - 1) & ~(s->cluster_len - 1);
}

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
static int set_len(struct qcow2 *s, uint64_t len, struct error *e)
{
	struct qcow2_header h = s->h;

	h.disk_len = len;
	return qcow2_write_header(s, &h, e);
}

/* [lock] */
static int shrink(struct qcow2 *s, uint64_t len, struct error *e)
{
	uint64_t first = round_up(s, len);
	int ret = 0;

	if (first < s->h.disk_len)
		ret = qcow2_discard_clusters(s, first, s->h.disk_len - first,
					     true);
	if (ret)
		return error_errno(e, -ret,
				   "Failed to discard cropped "
				   "clusters");
	ret = set_len(s, len, e);
	while (!ret && s->frees.nr)
		ret = qcow2_write_meta(s, true);
	if (!ret)
		ret = qcow2_cut_file(s);
	return ret;
}

/* [lock] The L1 table is long enough for a disk of len bytes. */
static int grow_l1(struct qcow2 *s, uint64_t len, struct error *e)
{
	uint64_t nr = qcow2_l1_for(s, len), *l1;
	int ret;

	if (nr > QCOW2_MAX_L1_LEN / 8)
		return error_set(e, -EFBIG, "Failed to grow the L1 table");
	if (nr <= s->h.nr_l1)
		return 0;
	l1 = calloc(nr, 8);
	if (!l1)
		return error_set(e, -ENOMEM, "Failed to grow the L1 table");
	memcpy(l1, s->l1, s->h.nr_l1 * 8ull);
	ret = qcow2_replace_l1(s, l1, nr, &s->h, e);
	if (ret)
		free(l1);
	return ret;
}

/* Version 2 hides whole clusters of the backing file by data only. */
static int zero_by_data(struct blk *b, uint64_t off, uint64_t len)
{
	uint64_t step = qcow2_of(b)->cluster_len, n;
	int ret = 0;

	if (step < DATA_STEP)
		step = DATA_STEP;
	for (uint64_t at = off; at < off + len && !ret; at += n) {
		n = off + len - at < step ? off + len - at : step;
		ret = qcow2_zero_as_data(b, at, at + n, 0);
	}
	return ret;
}

/* The disk will read as zeroes in [off, end), which lies past its end but in
 * its L1 table; end is a cluster's. */
static int clear(struct blk *b, uint64_t off, uint64_t end)
{
	uint64_t below = b->backing ? b->backing->len : 0;
	struct qcow2_run run;
	int ret = 0;

	below = (below + 511) & ~511ull;
	for (; off < end && !ret; off += run.len) {
		ret = qcow2_lookup(qcow2_of(b), off, end - off, &run);
		if (ret || run.kind == QCOW2_ZEROES)
			continue;
		if (run.kind == QCOW2_UNALLOCATED && off >= below)
			continue;
		if (run.kind == QCOW2_UNALLOCATED && off + run.len > below)
			run.len = round_up(qcow2_of(b), below) - off;
		ret = qcow2_zero_range(b, off, run.len, 0);
		if (ret == -ENOTSUP)
			ret = zero_by_data(b, off, run.len);
	}
	return ret;
}

/* All that a longer disk needs before the header gives it its length: then what
 * is added reads as zeroes at once, whatever the backing file, or what the disk
 * was before, holds there. */
static int prepare_growth(struct blk *b, uint64_t len, enum blk_prealloc mode,
			  struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	int ret;

	co_lock(&s->lock);
	ret = grow_l1(s, len, e);
	co_unlock(&s->lock);
	if (ret)
		return ret;
	ret = clear(b, b->len, round_up(s, len));
	if (ret)
		return error_errno(e, -ret, "Could not clear the disk's end");
	return b->data_file ? blk_truncate(b->data_file, len, mode, true, e)
			    : 0;
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
	ret = len > old ? prepare_growth(b, len, mode, e) : 0;
	if (ret)
		return ret;
	co_lock(&s->lock);
	ret = qcow2_bitmaps_resize_begin(s, e);
	if (!ret) {
		ret = len < old ? shrink(s, len, e) : set_len(s, len, e);
		err = qcow2_bitmaps_resize_end(s, ret ? NULL : e);
		ret = ret ? ret : err;
	}
	co_unlock(&s->lock);
	if (ret)
		return ret;
	b->len = len;
	if (len < old && b->data_file)
		ret = blk_truncate(b->data_file, len, mode, allow_shrink, e);
	if (!ret && mode != BLK_PREALLOC_OFF)
		ret = qcow2_preallocate(b, old, len, mode, e);
	return ret;
}
