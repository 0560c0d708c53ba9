/*
 * Opening and closing an image.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/check.h"
#include "core/blk/qcow2/l1.h"
#include "core/blk/qcow2/snapshot.h"
#include "core/error.h"

#define SLICE_LEN    4096
#define L2_CACHE_MAX (32u << 20)
#define CACHE_MIN    16 /* slices */

static void set_geometry(struct qcow2 *s)
{
	bool extended = s->h.incompat & QCOW2_INCOMPAT_EXTL2;

	s->cluster_len = 1ull << s->h.cluster_bits;
	s->l2_entry_len = extended ? 16 : 8;
	s->l2_bits = s->h.cluster_bits - (extended ? 4 : 3);
	s->nr_sub = extended ? 32 : 1;
	s->sub_len = s->cluster_len / s->nr_sub;
	s->refblock_bits = s->h.cluster_bits + 3 - s->h.refcount_order;
	s->max_refcount = s->h.refcount_order == 6
				  ? UINT64_MAX
				  : (1ull << (1u << s->h.refcount_order)) - 1;
}

/* By default the L2 cache covers the whole disk, up to a bound; a quarter as
 * much goes to refcounts.  A budget is kept, but for the few slices without
 * which nothing works. */
static int make_caches(struct qcow2 *s, uint64_t budget, struct error *e)
{
	unsigned len = s->cluster_len < SLICE_LEN ? s->cluster_len : SLICE_LEN;
	uint64_t all = (s->h.disk_len >> s->h.cluster_bits) * s->l2_entry_len;
	uint64_t l2 = budget ? budget - budget / 5 : L2_CACHE_MAX, refs;

	if (all < l2)
		l2 = all;
	refs = budget ? budget / 5 : l2 / 4;
	l2 /= len;
	refs /= len;
	if (l2 < CACHE_MIN)
		l2 = CACHE_MIN;
	if (refs < CACHE_MIN)
		refs = CACHE_MIN;
	s->l2_cache = qcow2_cache_create(s, len, l2);
	s->ref_cache = qcow2_cache_create(s, len, refs);
	if (!s->l2_cache || !s->ref_cache)
		return error_set(e, -ENOMEM, "no memory for the table caches");
	return 0;
}

static int load_l1(struct qcow2 *s, struct error *e)
{
	size_t len = s->h.nr_l1 * 8ull;
	int ret;

	s->l1 = malloc(len ? len : 1);
	s->l1_dirty = calloc(len / 512 + 1, 1);
	if (!s->l1 || !s->l1_dirty)
		return error_set(e, -ENOMEM, "no memory for the L1 table");
	ret = blk_read(s->b->file, s->h.l1_off, s->l1, len);
	if (ret)
		return error_errno(e, -ret, "Could not read L1 table");
	for (uint32_t i = 0; i < s->h.nr_l1; i++)
		s->l1[i] = be64toh(s->l1[i]);
	return 0;
}

static int take_names(struct qcow2 *s, struct error *e)
{
	struct blk *b = s->b;

	if (s->h.backing_name) {
		b->backing_name = strdup(s->h.backing_name);
		if (s->h.backing_format)
			b->backing_format = strdup(s->h.backing_format);
		if (!b->backing_name ||
		    (s->h.backing_format && !b->backing_format))
			return error_set(e, -ENOMEM,
					 "no memory for the backing name");
	}
	if (!(s->h.incompat & QCOW2_INCOMPAT_DATA_FILE))
		return 0;
	if (!s->h.data_file)
		return error_set(e, -EINVAL,
				 "the image does not name its data file");
	b->data_file = blk_open_named(b, s->h.data_file, "file", b->write, e);
	return b->data_file ? 0 : -EIO;
}

static int check_writable(struct qcow2 *s, bool check, struct error *e)
{
	if ((s->h.incompat & QCOW2_INCOMPAT_CORRUPT) && !check)
		return error_set(e, -EACCES,
				 "qcow2: Image is corrupt; cannot be opened "
				 "read/write");
	return 0;
}

static int enter_snapshot(struct qcow2 *s, const struct blk_options *o,
			  struct error *e)
{
	if (s->b->write)
		return error_set(e, -EROFS, "a snapshot can only be read");
	return qcow2_snapshot_enter(s, o->snapshot, e);
}

static int mend(struct qcow2 *s, struct error *e)
{
	struct blk_check found = {0};
	int ret = qcow2_check(s->b, BLK_REPAIR_LEAKS | BLK_REPAIR_ERRORS,
			      &found, e);

	if (!ret && found.corruptions)
		ret = error_set(e, -EIO,
				"qcow2: the dirty image could not be repaired");
	return ret;
}

/* Section "Autoclear features": who doesn't know one ends it by writing. */
static int drop_unknown(struct qcow2 *s, struct error *e)
{
	struct qcow2_header h = s->h;

	h.autoclear &= QCOW2_AUTOCLEAR_KNOWN;
	if (h.autoclear == s->h.autoclear || s->corrupt)
		return 0;
	return qcow2_write_header(s, &h, e);
}

static void release(struct qcow2 *s)
{
	struct qcow2_header h = s->h;

	qcow2_cache_destroy(s->l2_cache);
	qcow2_cache_destroy(s->ref_cache);
	qcow2_bitmaps_fini(s);
	free(s->l1);
	free(s->l1_dirty);
	free(s->rt);
	free(s->rt_dirty);
	free(s->snapshots);
	free(s->frees.ranges);
	free(s->meta.slots);
	qcow2_header_fini(&h);
	*s = (struct qcow2){.b = s->b};
}

int qcow2_open(struct blk *b, const struct blk_options *o, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	int ret;

	s->b = b;
	ret = qcow2_header_read(b->file, &s->h, e);
	if (ret)
		return ret;
	b->len = s->h.disk_len;
	set_geometry(s);
	b->cluster = (unsigned)s->cluster_len;
	s->fresh_off =
		(b->file->len + s->cluster_len - 1) & ~(s->cluster_len - 1);
	ret = b->write ? check_writable(s, o->check, e) : 0;
	if (!ret)
		ret = make_caches(s, o->cache_len, e);
	if (!ret)
		ret = load_l1(s, e);
	if (!ret)
		ret = qcow2_refcount_load(s, e);
	if (!ret)
		ret = qcow2_snapshots_load(s, e);
	if (!ret)
		ret = qcow2_bitmaps_load(s, e);
	if (!ret && o->snapshot)
		ret = enter_snapshot(s, o, e);
	if (!ret)
		ret = take_names(s, e);
	/* Lazy refcounts and no clean end: count them again. */
	if (!ret && b->write && !o->check &&
	    (s->h.incompat & QCOW2_INCOMPAT_DIRTY))
		ret = mend(s, e);
	if (!ret && b->write)
		ret = drop_unknown(s, e);
	if (!ret && b->write && !o->check)
		ret = qcow2_bitmaps_start(s, e);
	if (!ret)
		return 0;
	blk_unref(b->data_file);
	b->data_file = NULL;
	release(s);
	return ret;
}

/* Everything is written as it would be on a flush, then what lazy refcounts
 * and the last frees left. */
static void write_last(struct qcow2 *s)
{
	int ret = 0;

	co_lock(&s->lock);
	s->closing = true;
	qcow2_bitmaps_stop(s);
	while (!ret && (qcow2_cache_is_dirty(s->l2_cache) || s->frees.nr ||
			qcow2_cache_is_dirty(s->ref_cache) || s->any_l1_dirty ||
			s->any_rt_dirty))
		ret = qcow2_write_meta(s, false);
	if (!ret && (s->h.incompat & QCOW2_INCOMPAT_DIRTY) && !s->corrupt) {
		ret = blk_flush(s->b->file);
		if (!ret)
			qcow2_set_incompat(s, 0, QCOW2_INCOMPAT_DIRTY);
	}
	co_unlock(&s->lock);
}

void qcow2_close(struct blk *b)
{
	struct qcow2 *s = qcow2_of(b);

	if (b->write)
		write_last(s);
	release(s);
}

int qcow2_set_write(struct blk *b, bool write, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	int ret = 0;

	if (!write) {
		write_last(s);
		s->closing = false;
		return 0;
	}
	ret = check_writable(s, b->options.check, e);
	if (!ret && (s->h.incompat & QCOW2_INCOMPAT_DIRTY)) {
		b->write = true;
		ret = mend(s, e);
		b->write = false;
	}
	if (!ret)
		ret = drop_unknown(s, e);
	return ret ? ret : qcow2_bitmaps_start(s, e);
}
