/*
 * What is done to a bitmap by name: add, remove, clear, enable, disable, merge.
 */
#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/l1.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define DEFAULT_MIN 4096u
#define DEFAULT_MAX 65536u

static int check_usable(const struct qcow2_bitmap *m, struct error *e)
{
	if (!m->inconsistent)
		return 0;
	return error_set(e, -EINVAL,
			 "Bitmap '%s' is inconsistent and cannot be used\n"
			 "Try block-dirty-bitmap-remove to delete this bitmap "
			 "from disk",
			 m->name);
}

/* ---- add ---- */

static int check_new(struct qcow2 *s, const char *name, uint64_t granularity,
		     struct error *e)
{
	unsigned bits = __builtin_ctzll(granularity);
	const char *why = NULL;

	if (s->h.version < 3)
		why = "Cannot store dirty bitmaps in qcow2 v2 files";
	else if (strlen(name) > QCOW2_MAX_NAME)
		why = "Name length exceeds maximum (1023 characters)";
	else if (s->bitmaps.nr >= QCOW2_BITMAPS_MAX)
		why = "Maximum number of persistent bitmaps is already reached";
	else if (qcow2_bitmap_bytes(bits, s->h.disk_len) > QCOW2_BITMAP_MAX_LEN)
		why = "Too much space will be occupied by the bitmap. Use "
		      "larger granularity";
	if (!why)
		return 0;
	return error_set(e, -EINVAL,
			 "Can't make bitmap '%.64s' persistent in '%s': %s",
			 name, s->b->name, why);
}

/* A bitmap without bits, its table on disk; not in the directory yet. */
static struct qcow2_bitmap *make(struct qcow2 *s, const char *name,
				 uint64_t granularity, struct error *e)
{
	struct qcow2_bitmap *m = calloc(1, sizeof(*m));
	uint64_t len, nr;
	int ret = m ? 0 : -ENOMEM;

	if (!ret) {
		m->granularity_bits = __builtin_ctzll(granularity);
		len = qcow2_bitmap_bytes(m->granularity_bits, s->h.disk_len);
		nr = (len + s->cluster_len - 1) >> s->h.cluster_bits;
		m->nr_table = nr ? nr : 1;
		m->flags = QCOW2_BITMAP_AUTO;
		m->name = strdup(name);
		m->table = calloc(m->nr_table, sizeof(*m->table));
		if (!m->name || !m->table)
			ret = -ENOMEM;
	}
	if (!ret)
		ret = qcow2_alloc_meta(s, m->nr_table * 8ull, &m->table_off);
	if (!ret)
		ret = qcow2_write_table(s, m->table_off, m->table, m->nr_table);
	if (!ret)
		return m;
	qcow2_bitmap_free(m);
	error_errno(e, -ret, "Could not make bitmap '%.64s'", name);
	return NULL;
}

static struct qcow2_bitmap **copy_list(struct qcow2 *s)
{
	struct qcow2_bitmap **list = calloc(s->bitmaps.nr + 2, sizeof(*list));

	if (list && s->bitmaps.nr)
		memcpy(list, s->bitmaps.list, s->bitmaps.nr * sizeof(*list));
	return list;
}

/* Its bits are all 0, so they need not be read back. */
static int add(struct qcow2 *s, const struct blk_bitmap_op *op, struct error *e)
{
	uint64_t granularity = op->granularity;
	struct qcow2_bitmap **list, **old = s->bitmaps.list, *m;
	uint32_t nr = s->bitmaps.nr;
	int ret;

	if (!*op->name)
		return error_set(e, -EINVAL, "Bitmap name cannot be empty");
	if (!granularity)
		granularity = s->cluster_len < DEFAULT_MIN   ? DEFAULT_MIN
			      : s->cluster_len > DEFAULT_MAX ? DEFAULT_MAX
							     : s->cluster_len;
	if (granularity < 512 || granularity > 1ull << 31 ||
	    granularity & (granularity - 1))
		return error_set(e, -EINVAL,
				 "Granularity must be power of 2 and at least "
				 "512");
	if (qcow2_bitmap_find(s, op->name))
		return error_set(e, -EEXIST, "Bitmap already exists: %s",
				 op->name);
	ret = check_new(s, op->name, granularity, e);
	if (ret)
		return ret;
	list = copy_list(s);
	m = list ? make(s, op->name, granularity, e) : NULL;
	if (!m) {
		free(list);
		return -ENOMEM;
	}
	if (s->bitmaps.marked)
		m->flags |= QCOW2_BITMAP_IN_USE;
	list[nr] = m;
	ret = qcow2_bitmaps_replace(s, list, nr + 1, e);
	if (ret) {
		qcow2_bitmap_free(m);
		free(list);
		return ret;
	}
	free(old);
	free(m->table);
	m->table = NULL;
	ret = qcow2_bitmap_load(s, m, e);
	return ret ? ret : qcow2_bitmap_go_live(s, m);
}

/* ---- remove ---- */

int qcow2_bitmap_forget(struct qcow2 *s, struct qcow2_bitmap *m,
			struct error *e)
{
	struct qcow2_bitmap **list = copy_list(s), **old = s->bitmaps.list;
	uint32_t n = 0;
	int ret;

	if (!list)
		return error_set(e, -ENOMEM, "no memory for bitmaps");
	for (uint32_t i = 0; i < s->bitmaps.nr; i++)
		if (s->bitmaps.list[i] != m)
			list[n++] = s->bitmaps.list[i];
	ret = qcow2_bitmaps_replace(s, list, n, e);
	if (ret) {
		free(list);
		return ret;
	}
	free(old);
	qcow2_bitmap_end_live(s, m);
	qcow2_bitmap_unload(s, m);
	qcow2_bitmap_free(m);
	return 0;
}

static int remove_one(struct qcow2 *s, struct qcow2_bitmap *m, struct error *e)
{
	uint64_t *table, table_off = m->table_off;
	uint32_t nr = m->nr_table;
	int ret = qcow2_bitmap_read_table(s, m, &table, e);

	if (ret)
		return ret;
	ret = qcow2_bitmap_forget(s, m, e);
	if (!ret) {
		ret = qcow2_bitmap_free_clusters(s, table, nr, table_off);
		if (ret)
			error_errno(e, -ret, "Could not free its clusters");
	}
	free(table);
	return ret;
}

/* ---- bits and flags ---- */

static int set_flags(struct qcow2 *s, struct qcow2_bitmap *m, uint32_t set,
		     uint32_t clear, struct error *e)
{
	int ret = qcow2_bitmap_set_flags(s, m, set, clear);

	if (!ret)
		ret = blk_flush(s->b->file);
	return ret ? error_errno(e, -ret, "Could not write bitmap '%s'",
				 m->name)
		   : 0;
}

/* Bits may be changed afterwards; end_change() brings them to disk. */
static int begin_change(struct qcow2 *s, struct qcow2_bitmap *m,
			struct error *e)
{
	int ret;

	if (qcow2_bitmap_is_live(s, m)) {
		ret = qcow2_bitmaps_mark(s);
		return ret ? error_errno(e, -ret, "Could not write bitmap '%s'",
					 m->name)
			   : 0;
	}
	ret = qcow2_bitmap_load(s, m, e);
	return ret ? ret : set_flags(s, m, QCOW2_BITMAP_IN_USE, 0, e);
}

static int end_change(struct qcow2 *s, struct qcow2_bitmap *m, struct error *e)
{
	int ret;

	if (qcow2_bitmap_is_live(s, m))
		return 0;
	ret = qcow2_bitmap_store(s, m);
	m->inconsistent = m->flags & QCOW2_BITMAP_IN_USE;
	qcow2_bitmap_unload(s, m);
	return ret ? error_errno(e, -ret, "Could not write bitmap '%s'",
				 m->name)
		   : 0;
}

static int clear(struct qcow2 *s, struct qcow2_bitmap *m, struct error *e)
{
	int ret = begin_change(s, m, e);

	if (ret)
		return ret;
	memset(m->bits, 0, m->bits_len);
	return end_change(s, m, e);
}

static int enable(struct qcow2 *s, struct qcow2_bitmap *m, struct error *e)
{
	uint32_t flags = QCOW2_BITMAP_AUTO;
	int ret;

	if (qcow2_bitmap_is_live(s, m))
		return 0;
	if (s->bitmaps.marked)
		flags |= QCOW2_BITMAP_IN_USE;
	ret = qcow2_bitmap_load(s, m, e);
	if (!ret)
		ret = set_flags(s, m, flags, 0, e);
	if (ret)
		return ret;
	ret = qcow2_bitmap_go_live(s, m);
	return ret ? error_set(e, ret, "no memory for bitmaps") : 0;
}

static int disable(struct qcow2 *s, struct qcow2_bitmap *m, struct error *e)
{
	bool live = qcow2_bitmap_is_live(s, m);
	int ret = set_flags(s, m, 0, QCOW2_BITMAP_AUTO, e);

	if (ret || !live)
		return ret;
	qcow2_bitmap_end_live(s, m);
	if (s->bitmaps.marked)
		return end_change(s, m, e);
	qcow2_bitmap_unload(s, m);
	return 0;
}

/* ---- merge ---- */

static bool get_bit(const struct qcow2_bitmap *m, uint64_t i)
{
	return m->bits[i / 8] >> i % 8 & 1;
}

/* Marks in to whatever from marks; either may be the coarser one. */
static void add_bits(struct qcow2_bitmap *to, const struct qcow2_bitmap *from,
		     uint64_t disk_len)
{
	unsigned g = from->granularity_bits, t = to->granularity_bits;

	for (uint64_t i = 0; i << g < disk_len; i++) {
		uint64_t first = i << g >> t, last = ((i + 1) << g) - 1;

		if (!(i % 64) && i / 8 + 8 <= from->bits_len) {
			static const uint8_t none[8];

			if (!memcmp(from->bits + i / 8, none, 8)) {
				i += 63;
				continue;
			}
		}
		if (!get_bit(from, i))
			continue;
		if (last >= disk_len)
			last = disk_len - 1;
		for (uint64_t k = first; k <= last >> t; k++)
			to->bits[k / 8] |= 1u << k % 8;
	}
}

static int merge(struct qcow2 *s, struct qcow2_bitmap *m,
		 const struct blk_bitmap_op *op, struct error *e)
{
	struct qcow2 *from_s;
	struct qcow2_bitmap *from = NULL;
	bool loaded;
	int ret;

	if (op->source && op->source->drv == &blk_qcow2_driver) {
		from_s = qcow2_of(op->source);
		from = qcow2_bitmap_find(from_s, op->source_name);
	}
	if (!from)
		return error_set(e, -ENOENT, "Dirty bitmap '%s' not found",
				 op->source_name);
	ret = check_usable(from, e);
	if (ret)
		return ret;
	if (from_s->h.disk_len != s->h.disk_len)
		return error_set(e, -EINVAL,
				 "Bitmaps are of different sizes (destination "
				 "size is %" PRIu64 ", source size is %" PRIu64
				 ") and can't be merged",
				 s->h.disk_len, from_s->h.disk_len);
	if (from == m)
		return 0;
	loaded = from->bits;
	ret = qcow2_bitmap_load(from_s, from, e);
	if (!ret)
		ret = begin_change(s, m, e);
	if (!ret) {
		add_bits(m, from, s->h.disk_len);
		ret = end_change(s, m, e);
	}
	if (!loaded)
		qcow2_bitmap_unload(from_s, from);
	return ret;
}

/* ---- the slots ---- */

static int change_known(struct qcow2 *s, struct qcow2_bitmap *m,
			const struct blk_bitmap_op *op, struct error *e)
{
	int ret;

	if (op->verb == BLK_BITMAP_REMOVE)
		return remove_one(s, m, e);
	ret = check_usable(m, e);
	if (ret)
		return ret;
	switch (op->verb) {
	case BLK_BITMAP_CLEAR:
		return clear(s, m, e);
	case BLK_BITMAP_ENABLE:
		return enable(s, m, e);
	case BLK_BITMAP_DISABLE:
		return disable(s, m, e);
	case BLK_BITMAP_MERGE:
		return merge(s, m, op, e);
	default:
		return -EINVAL;
	}
}

int qcow2_bitmap_change(struct blk *b, const struct blk_bitmap_op *op,
			struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	struct qcow2_bitmap *m;
	int ret;

	if (!b->write)
		return error_set(e, -EROFS, "the image is open for reading");
	co_lock(&s->lock);
	m = qcow2_bitmap_find(s, op->name);
	if (s->corrupt)
		ret = error_set(e, -EIO, "the image is corrupt");
	else if (op->verb == BLK_BITMAP_ADD)
		ret = add(s, op, e);
	else if (!m)
		ret = error_set(e, -ENOENT, "Dirty bitmap '%s' not found",
				op->name);
	else
		ret = change_known(s, m, op, e);
	b->write_gen++;
	co_unlock(&s->lock);
	return ret;
}

int qcow2_bitmap_describe(struct blk *b, unsigned i,
			  struct blk_bitmap_info *out)
{
	struct qcow2 *s = qcow2_of(b);
	const struct qcow2_bitmap *m;

	if (s->h.version < 3)
		return -ENOTSUP;
	if (i >= s->bitmaps.nr)
		return -ENOENT;
	m = s->bitmaps.list[i];
	*out = (struct blk_bitmap_info){
		.granularity = 1ull << m->granularity_bits,
		.enabled = m->flags & QCOW2_BITMAP_AUTO,
		.inconsistent = m->inconsistent,
	};
	memcpy(out->name, m->name, strlen(m->name));
	return 0;
}
