/*
 * Version 3 becomes version 2, which knows no zero clusters: those over a
 * backing file get space that holds zeroes, the others become unallocated.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/blk/qcow2/amend.h"
#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/l1.h"
#include "core/error.h"

#define CAN_GO (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_COMPRESSION)

/* An L2 table on the way, and how many L1 entries reach it. */
struct expand {
	struct qcow2 *s;
	uint64_t refs;
	bool find_packed; /* changes nothing: is there compressed data? */
};

/* [lock] A cluster that reads as zeroes, referenced as often as its table. */
static int zero_cluster(struct expand *x, uint64_t *host)
{
	struct qcow2 *s = x->s;
	uint64_t nr = 1;
	int ret = qcow2_alloc_clusters(s, 0, &nr, host);

	for (uint64_t i = 1; i < x->refs && !ret; i++)
		ret = qcow2_change_refcount(s, *host, s->cluster_len, 1);
	if (!ret)
		ret = qcow2_check_overlap(s, *host, s->cluster_len);
	if (!ret)
		ret = blk_write_zeroes(s->b->file, *host, s->cluster_len, 0);
	if (*host + s->cluster_len > s->fresh_off)
		s->fresh_off = *host + s->cluster_len;
	s->barrier = true;
	return ret;
}

static int expand_entry(struct expand *x, struct qcow2_slice *slice, unsigned i)
{
	struct qcow2 *s = x->s;
	uint64_t entry = qcow2_entry(s, slice, i), host, new = 0;
	int ret = 0;

	if (x->find_packed)
		return entry & QCOW2_COMPRESSED ? -EEXIST : 0;
	if (entry & QCOW2_COMPRESSED || !(entry & QCOW2_ZERO))
		return 0;
	if (s->b->backing_name) {
		ret = zero_cluster(x, &host);
		new = host | (x->refs == 1 ? QCOW2_COPIED : 0);
	}
	if (ret)
		return ret;
	qcow2_set_entry(s, slice, i, new, 0);
	for (uint64_t k = 0; k < x->refs && !ret; k++)
		ret = qcow2_free_entry(s, entry & ~QCOW2_ZERO);
	return ret;
}

static int expand_l2(struct expand *x, uint64_t l2)
{
	struct qcow2 *s = x->s;
	unsigned len = qcow2_slice_len(s->l2_cache);
	int ret;

	if (l2 & (s->cluster_len - 1))
		return qcow2_mark_corrupt(
			s, "L2 table offset 0x%" PRIx64 " is not aligned", l2);
	ret = qcow2_get_refcount(s, l2 >> s->h.cluster_bits, &x->refs);
	for (uint64_t at = 0; at < s->cluster_len && !ret; at += len) {
		struct qcow2_slice *slice;

		ret = qcow2_cache_get(s->l2_cache, l2 + at, &slice);
		for (unsigned i = 0; i < len / s->l2_entry_len && !ret; i++)
			ret = expand_entry(x, slice, i);
		qcow2_cache_put(slice);
	}
	return ret;
}

static int expand_l1(struct expand *x, const uint64_t *l1, uint64_t nr,
		     const struct blk_amend *a, uint64_t *done, uint64_t total)
{
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i++) {
		uint64_t l2 = l1[i] & QCOW2_OFFSET_MASK;

		if (l2)
			ret = expand_l2(x, l2);
		if (!x->find_packed && a->progress)
			a->progress(a->arg, ++*done, total);
	}
	return ret;
}

/* The active tables and those of every snapshot. */
static int expand_all(struct expand *x, const struct blk_amend *a)
{
	struct qcow2 *s = x->s;
	uint64_t total = s->h.nr_l1, done = 0, *l1;
	int ret;

	for (uint32_t i = 0; i < s->h.nr_snapshots; i++)
		total += s->snapshots[i].nr_l1;
	ret = expand_l1(x, s->l1, s->h.nr_l1, a, &done, total);
	for (uint32_t i = 0; i < s->h.nr_snapshots && !ret; i++) {
		ret = qcow2_read_table(s, s->snapshots[i].l1_off,
				       s->snapshots[i].nr_l1, &l1);
		if (ret)
			break;
		ret = expand_l1(x, l1, s->snapshots[i].nr_l1, a, &done, total);
		free(l1);
	}
	return ret;
}

static int check_can(struct qcow2 *s, struct error *e)
{
	struct expand x = {.s = s, .find_packed = true};
	struct blk_amend quiet = {0};
	int ret;

	if (s->b->data_file)
		return error_set(e, -ENOTSUP,
				 "Cannot downgrade an image with a data file");
	if (s->h.incompat & ~CAN_GO)
		return error_set(e, -ENOTSUP,
				 "Cannot downgrade an image with incompatible "
				 "features 0x%" PRIx64 " set",
				 (uint64_t)(s->h.incompat & ~CAN_GO));
	for (uint32_t i = 0; i < s->h.nr_snapshots; i++)
		if (s->snapshots[i].info.vm_state_len ||
		    s->snapshots[i].info.disk_len != s->h.disk_len)
			return error_set(e, -ENOTSUP,
					 "Internal snapshots prevent downgrade "
					 "of image");
	if (s->h.compression == QCOW2_ZLIB)
		return 0;
	ret = expand_all(&x, &quiet);
	if (ret == -EEXIST)
		return error_set(e, -ENOTSUP,
				 "Cannot downgrade an image with zstd "
				 "compression type and existing compressed "
				 "clusters");
	return ret ? error_errno(e, -ret, "Could not read the tables") : 0;
}

int qcow2_downgrade(struct qcow2 *s, const struct blk_amend *a, struct error *e)
{
	struct expand x = {.s = s};
	struct qcow2_header h;
	int ret = check_can(s, e);

	if (ret)
		return ret;
	if (s->h.refcount_order != 4)
		return error_set(e, -EINVAL,
				 "compat=0.10 requires refcount_bits=16");
	ret = qcow2_bitmaps_drop(s, e);
	if (ret)
		return ret;
	ret = expand_all(&x, a);
	if (!ret)
		ret = qcow2_settle(s);
	if (!ret && (s->h.incompat & QCOW2_INCOMPAT_DIRTY))
		ret = qcow2_set_incompat(s, 0, QCOW2_INCOMPAT_DIRTY);
	if (ret)
		return error_errno(e, -ret,
				   "Failed to turn zero into data clusters");
	h = s->h;
	h.version = 2;
	h.incompat = h.compat = h.autoclear = 0;
	h.compression = QCOW2_ZLIB;
	h.header_len = QCOW2_V2_HEADER_LEN;
	return qcow2_write_header(s, &h, e);
}
