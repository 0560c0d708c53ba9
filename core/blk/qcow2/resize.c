/*
 * Longer and shorter disks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/options.h"
#include "core/error.h"

int qcow2_cut_file(struct qcow2 *s)
{
	uint64_t c =
		(s->b->file->len + s->cluster_len - 1) >> s->h.cluster_bits;
	uint64_t refs;
	int ret = 0;

	for (; c && !ret; c--) {
		ret = qcow2_get_refcount(s, c - 1, &refs);
		if (refs)
			break;
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

	if (nr > QCOW2_MAX_L1_LEN / 8)
		return error_set(e, -EFBIG, "Failed to grow the L1 table");
	if (nr <= s->h.nr_l1) {
		h = s->h;
		h.disk_len = len;
		return qcow2_write_header(s, &h, e);
	}
	l1 = calloc(nr, 8);
	if (!l1)
		return error_set(e, -ENOMEM, "Failed to grow the L1 table");
	memcpy(l1, s->l1, s->h.nr_l1 * 8ull);
	return qcow2_replace_l1(s, l1, nr, len, e);
}

int qcow2_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
		   bool allow_shrink, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t old = b->len;
	int ret;

	if (len & 511)
		return error_set(e, -EINVAL,
				 "The new size must be a multiple of 512");
	if (s->h.nr_snapshots && s->h.version < 3)
		return error_set(e, -ENOTSUP,
				 "Can't resize a v2 image which has snapshots");
	if (s->h.bitmaps.nr)
		return error_set(e, -ENOTSUP,
				 "Cannot resize an image which has bitmaps");
	if (len < old && !allow_shrink)
		return error_set(e, -EINVAL,
				 "Use the --shrink option to make an image "
				 "shorter");
	if (len < old && mode != BLK_PREALLOC_OFF)
		return error_set(e, -EINVAL,
				 "Preallocation can't be used for shrinking an "
				 "image");
	co_lock(&s->lock);
	ret = len < old ? shrink(s, len, e) : grow(s, len, e);
	co_unlock(&s->lock);
	if (ret)
		return ret;
	b->len = len;
	if (b->data_file)
		ret = blk_truncate(b->data_file, len, mode, allow_shrink, e);
	if (!ret && mode != BLK_PREALLOC_OFF)
		ret = qcow2_preallocate(b, old, len, mode, e);
	return ret;
}
