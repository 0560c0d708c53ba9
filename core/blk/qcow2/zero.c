/*
 * Zeroes and discards: by entries where whole clusters or subclusters are
 * meant, as data where the rest of one holds something.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/io.h"

/* [off, end) in one cluster: whole subclusters, or the cluster. */
static int zero_units(struct qcow2 *s, uint64_t off, uint64_t end, bool keep)
{
	uint64_t base = qcow2_cluster_down(s, off);

	if (s->nr_sub > 1 && (off > base || end < base + s->cluster_len))
		return qcow2_zero_subclusters(s, off, end - off);
	return qcow2_zero_clusters(s, base, s->cluster_len, keep);
}

/* Zeroes in part of a (sub)cluster: by its entry when all the rest reads as
 * zeroes and nothing is stored there. */
static int zero_part(struct blk *b, uint64_t off, uint64_t end)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t base = off & ~(uint64_t)(s->sub_len - 1);
	uint64_t stop = base + s->sub_len;
	struct qcow2_run run;
	int ret;

	/* Version 2 has no entry that hides the backing file. */
	if (s->h.version < 3 && b->backing)
		return -ENOTSUP;
	if (!qcow2_reads_zero(b, base, off - base) ||
	    !qcow2_reads_zero(b, end, stop - end))
		return -ENOTSUP;
	qcow2_lock_range(s, base, &stop, true);
	ret = s->corrupt ? -EIO : 0;
	for (uint64_t at = base; at < stop && !ret; at += run.len) {
		ret = qcow2_lookup(s, at, stop - at, &run);
		if (!ret &&
		    (run.kind == QCOW2_NORMAL || run.kind == QCOW2_PACKED))
			ret = -ENOTSUP;
	}
	if (!ret)
		ret = zero_units(s, base, stop, true);
	co_unlock(&s->lock);
	return ret;
}

int qcow2_zero_as_data(struct blk *b, uint64_t off, uint64_t end,
		       unsigned flags)
{
	struct iovec v = {NULL, end - off};
	int ret;

	if (flags & BLK_NO_FALLBACK)
		return -ENOTSUP;
	v.iov_base = calloc(1, end - off);
	if (!v.iov_base)
		return -ENOMEM;
	ret = qcow2_write_plain(b, off, end - off, &v, 1);
	free(v.iov_base);
	return ret;
}

static int zero_part_or_data(struct blk *b, uint64_t off, uint64_t end,
			     unsigned flags)
{
	int ret = zero_part(b, off, end);

	return ret == -ENOTSUP ? qcow2_zero_as_data(b, off, end, flags) : ret;
}

/* The subclusters [off, end) of one cluster. */
static int zero_some(struct blk *b, uint64_t off, uint64_t end, unsigned flags)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t stop = end;
	int ret;

	qcow2_lock_range(s, off, &stop, true);
	ret = s->corrupt ? -EIO : qcow2_zero_subclusters(s, off, end - off);
	co_unlock(&s->lock);
	return ret == -ENOTSUP ? qcow2_zero_as_data(b, off, end, flags) : ret;
}

/* [first, last) are whole clusters, but for the disk's end. */
static int zero_whole(struct blk *b, uint64_t first, uint64_t last,
		      unsigned flags)
{
	struct qcow2 *s = qcow2_of(b);
	int ret = 0;

	if (s->h.version < 3 && b->backing)
		return -ENOTSUP;
	while (first < last && !ret) {
		uint64_t end = last;

		qcow2_lock_range(s, first, &end, true);
		end = qcow2_cluster_up(s, end);
		ret = s->corrupt
			      ? -EIO
			      : qcow2_zero_clusters(s, first, end - first,
						    !(flags & BLK_MAY_UNMAP));
		co_unlock(&s->lock);
		first = end;
	}
	return ret;
}

/* [first, last) are whole subclusters, but for the disk's end. */
static int zero_range(struct blk *b, uint64_t first, uint64_t last,
		      unsigned flags)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t up = qcow2_cluster_up(s, first),
		 down = qcow2_cluster_down(s, last);
	int ret = 0;

	if (last == b->len)
		down = last;
	if (up > down)
		return zero_some(b, first, last, flags);
	if (first < up)
		ret = zero_some(b, first, up, flags);
	if (!ret)
		ret = zero_whole(b, up, down, flags);
	if (!ret && down < last)
		ret = zero_some(b, down, last, flags);
	return ret;
}

int qcow2_zero_range(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t end = off + len, mask = s->sub_len - 1;
	uint64_t first = (off + mask) & ~mask;
	uint64_t last = end == b->len ? end : end & ~mask;
	int ret = 0;

	if (first > last)
		return zero_part_or_data(b, off, end, flags);
	if (off < first)
		ret = zero_part_or_data(b, off, first, flags);
	if (!ret && first < last)
		ret = zero_range(b, first, last, flags);
	if (!ret && last < end)
		ret = zero_part_or_data(b, last, end, flags);
	return ret;
}

int qcow2_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
		       unsigned flags)
{
	int ret = qcow2_bitmaps_touch(qcow2_of(b), off, len);

	return ret ? ret : qcow2_zero_range(b, off, len, flags);
}

int qcow2_discard(struct blk *b, uint64_t off, uint64_t len)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t end = off + len, first = qcow2_cluster_up(s, off);
	uint64_t last = end == b->len ? qcow2_cluster_up(s, end)
				      : qcow2_cluster_down(s, end);
	int ret = qcow2_bitmaps_touch(s, off, len);

	while (first < last && !ret) {
		uint64_t stop = last;

		qcow2_lock_range(s, first, &stop, true);
		stop = qcow2_cluster_up(s, stop);
		ret = s->corrupt ? -EIO
				 : qcow2_discard_clusters(s, first,
							  stop - first, false);
		co_unlock(&s->lock);
		first = stop;
	}
	return ret;
}
