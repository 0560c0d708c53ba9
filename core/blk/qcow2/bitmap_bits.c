/*
 * Bits in memory: loaded when an image is opened to be written, kept up to
 * date by every change, stored when it is closed (B1-B3 of bitmap.h).
 *
 * Bits lie as on disk: chunk i of the disk is bit i % 8 of byte i / 8.
 */
#include "core/blk/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/copy.h"
#include "core/blk/ctx.h"
#include "core/blk/qcow2/l1.h"
#include "core/error.h"
#include "core/log.h"

static uint64_t nr_slots(const struct qcow2 *s, uint64_t bytes)
{
	uint64_t nr = (bytes + s->cluster_len - 1) >> s->h.cluster_bits;

	/* A table of no entries is not possible. */
	return nr ? nr : 1;
}

/* Bytes of bits in slot i of the table. */
static size_t slot_len(const struct qcow2 *s, const struct qcow2_bitmap *m,
		       uint64_t i)
{
	uint64_t at = i << s->h.cluster_bits;

	if (at >= m->bits_len)
		return 0;
	return m->bits_len - at < s->cluster_len ? m->bits_len - at
						 : s->cluster_len;
}

/* Bits past the disk's end are 0, whatever was on disk. */
static void trim(struct qcow2_bitmap *m, uint64_t disk_len)
{
	uint64_t chunk = 1ull << m->granularity_bits;
	uint64_t nr = disk_len / chunk + !!(disk_len % chunk);

	if (nr % 8)
		m->bits[nr / 8] &= (1u << nr % 8) - 1;
}

/* ---- loading ---- */

static int read_bits(struct qcow2 *s, struct qcow2_bitmap *m)
{
	int ret = 0;

	for (uint32_t i = 0; i < m->nr_table && !ret; i++) {
		uint64_t off = m->table[i] & QCOW2_OFFSET_MASK;
		uint8_t *to = m->bits + ((uint64_t)i << s->h.cluster_bits);
		size_t len = slot_len(s, m, i);
		uint32_t k = i + 1;

		if (m->table[i] & QCOW2_BITMAP_ONES)
			memset(to, 0xff, len);
		if (!off || !len)
			continue;
		/* Neighbours in the file are one read. */
		while (k < m->nr_table &&
		       m->table[k] ==
			       off + ((uint64_t)(k - i) << s->h.cluster_bits))
			len += slot_len(s, m, k++);
		ret = blk_read(s->b->file, off, to, len);
		i = k - 1;
	}
	return ret;
}

int qcow2_bitmap_load(struct qcow2 *s, struct qcow2_bitmap *m, struct error *e)
{
	uint64_t len = qcow2_bitmap_bytes(m->granularity_bits, s->h.disk_len);
	int ret;

	if (m->bits)
		return 0;
	if (len > QCOW2_BITMAP_MAX_LEN - s->bitmaps.bits_len)
		return error_set(e, -EFBIG,
				 "bitmap '%s' and those before it take more "
				 "than %u MiB of memory",
				 m->name, QCOW2_BITMAP_MAX_LEN >> 20);
	ret = qcow2_bitmap_read_table(s, m, &m->table, e);
	if (ret)
		return ret;
	m->bits = calloc(1, len + 1);
	m->bits_len = len;
	if (!m->bits)
		ret = error_set(e, -ENOMEM, "no memory for bitmap '%s'",
				m->name);
	s->bitmaps.bits_len += len;
	if (!ret) {
		ret = read_bits(s, m);
		if (ret)
			error_errno(e, -ret, "Could not read bitmap '%s'",
				    m->name);
	}
	if (ret)
		qcow2_bitmap_unload(s, m);
	else
		trim(m, s->h.disk_len);
	return ret;
}

void qcow2_bitmap_unload(struct qcow2 *s, struct qcow2_bitmap *m)
{
	s->bitmaps.bits_len -= m->bits_len;
	free(m->bits);
	free(m->table);
	m->bits = NULL;
	m->table = NULL;
	m->bits_len = 0;
}

/* ---- live bitmaps ---- */

bool qcow2_bitmap_is_live(const struct qcow2 *s, const struct qcow2_bitmap *m)
{
	for (uint32_t i = 0; i < s->bitmaps.nr_live; i++)
		if (s->bitmaps.live[i] == m)
			return true;
	return false;
}

int qcow2_bitmap_go_live(struct qcow2 *s, struct qcow2_bitmap *m)
{
	void *live =
		realloc(s->bitmaps.live, (s->bitmaps.nr_live + 1) * sizeof(m));

	if (!live)
		return -ENOMEM;
	s->bitmaps.live = live;
	s->bitmaps.live[s->bitmaps.nr_live++] = m;
	return 0;
}

void qcow2_bitmap_end_live(struct qcow2 *s, struct qcow2_bitmap *m)
{
	for (uint32_t i = 0; i < s->bitmaps.nr_live; i++)
		if (s->bitmaps.live[i] == m)
			s->bitmaps.live[i--] =
				s->bitmaps.live[--s->bitmaps.nr_live];
}

/* No data write may touch what a bitmap is made of. */
static int note_clusters(struct qcow2 *s, const struct qcow2_bitmap *m,
			 struct error *e)
{
	uint64_t *table;
	int ret = qcow2_bitmap_read_table(s, m, &table, e);

	if (ret)
		return ret;
	ret = qcow2_note_meta(s, m->table_off, m->nr_table * 8ull);
	for (uint32_t i = 0; i < m->nr_table && !ret; i++)
		if (table[i] & QCOW2_OFFSET_MASK)
			ret = qcow2_note_meta(s, table[i] & QCOW2_OFFSET_MASK,
					      s->cluster_len);
	free(table);
	return ret ? error_errno(e, -ret, "bitmap '%s'", m->name) : 0;
}

int qcow2_bitmaps_start(struct qcow2 *s, struct error *e)
{
	int ret = 0;

	if (s->bitmaps.why)
		return error_set(e, -EINVAL,
				 "Could not load the bitmaps: %s; only `check "
				 "-r all`, which removes them, can write to "
				 "this image",
				 s->bitmaps.why);
	if (s->bitmaps.nr)
		ret = qcow2_note_meta(s, s->h.bitmaps.dir_off,
				      s->h.bitmaps.dir_len);
	for (uint32_t i = 0; i < s->bitmaps.nr && !ret; i++) {
		struct qcow2_bitmap *m = s->bitmaps.list[i];

		ret = note_clusters(s, m, e);
		if (ret || m->inconsistent || !(m->flags & QCOW2_BITMAP_AUTO))
			continue;
		ret = qcow2_bitmap_load(s, m, e);
		if (!ret)
			ret = qcow2_bitmap_go_live(s, m);
	}
	return ret;
}

int qcow2_bitmaps_mark(struct qcow2 *s)
{
	int ret = 0;

	if (s->bitmaps.marked || !s->bitmaps.nr_live)
		return 0;
	for (uint32_t i = 0; i < s->bitmaps.nr_live && !ret; i++)
		ret = qcow2_bitmap_set_flags(s, s->bitmaps.live[i],
					     QCOW2_BITMAP_IN_USE, 0);
	if (!ret)
		ret = blk_flush(s->b->file);
	s->bitmaps.marked = !ret;
	return ret;
}

/* Sets bits [first, last]. */
static void set_bits(uint8_t *bits, uint64_t first, uint64_t last)
{
	uint64_t a = first / 8, b = last / 8;
	uint8_t head = 0xff << first % 8, tail = 0xff >> (7 - last % 8);

	if (a == b) {
		bits[a] |= head & tail;
		return;
	}
	bits[a] |= head;
	memset(bits + a + 1, 0xff, b - a - 1);
	bits[b] |= tail;
}

int qcow2_bitmaps_record(struct qcow2 *s, uint64_t off, uint64_t len)
{
	int ret = 0;

	/* A disk that is to become longer clears the rest of its last cluster. */
	if (off >= s->h.disk_len)
		return 0;
	if (len > s->h.disk_len - off)
		len = s->h.disk_len - off;
	if (!s->bitmaps.marked) {
		co_lock(&s->lock);
		ret = qcow2_bitmaps_mark(s);
		co_unlock(&s->lock);
	}
	/* What the disk's end cuts off is not recorded. */
	if (off >= s->h.disk_len)
		return ret;
	if (len > s->h.disk_len - off)
		len = s->h.disk_len - off;
	for (uint32_t i = 0; i < s->bitmaps.nr_live && !ret && len; i++) {
		const struct qcow2_bitmap *m = s->bitmaps.live[i];

		set_bits(m->bits, off >> m->granularity_bits,
			 (off + len - 1) >> m->granularity_bits);
	}
	return ret;
}

/* ---- storing ---- */

/* Writes the bits of slot i to a cluster of their own; *entry is updated. */
static int write_slot(struct qcow2 *s, const struct qcow2_bitmap *m, uint32_t i,
		      uint8_t *buf, uint64_t *entry)
{
	const uint8_t *bits = m->bits + ((uint64_t)i << s->h.cluster_bits);
	size_t len = slot_len(s, m, i);
	uint64_t off = *entry & QCOW2_OFFSET_MASK;
	int ret = 0;

	if (!len || blk_is_zero(bits, len)) {
		*entry = 0;
		return 0;
	}
	if (!off)
		ret = qcow2_alloc_meta(s, s->cluster_len, &off);
	if (ret)
		return ret;
	memcpy(buf, bits, len);
	memset(buf + len, 0, s->cluster_len - len);
	*entry = off;
	return blk_write(s->b->file, off, buf, s->cluster_len, 0);
}

static int write_slots(struct qcow2 *s, const struct qcow2_bitmap *m,
		       uint64_t *table)
{
	uint8_t *buf = malloc(s->cluster_len);
	int ret = buf ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < m->nr_table && !ret; i++)
		ret = write_slot(s, m, i, buf, &table[i]);
	free(buf);
	return ret;
}

int qcow2_bitmap_store(struct qcow2 *s, struct qcow2_bitmap *m)
{
	size_t len = m->nr_table * sizeof(*m->table);
	uint64_t *old = m->table, *table = malloc(len);
	int ret;

	if (!table)
		return -ENOMEM;
	memcpy(table, old, len);
	ret = write_slots(s, m, table);
	/* Refcounts and bits are stable before the table names them. */
	if (!ret)
		ret = qcow2_write_meta(s, true);
	if (!ret)
		ret = qcow2_write_table(s, m->table_off, table, m->nr_table);
	if (!ret)
		ret = blk_flush(s->b->file);
	if (!ret)
		ret = qcow2_bitmap_set_flags(s, m, 0, QCOW2_BITMAP_IN_USE);
	if (!ret)
		ret = blk_flush(s->b->file);
	if (ret) {
		free(table);
		return ret;
	}
	for (uint32_t i = 0; i < m->nr_table; i++)
		if (old[i] == table[i])
			old[i] = 0;
	m->table = table;
	ret = qcow2_bitmap_free_clusters(s, old, m->nr_table, 0);
	free(old);
	return ret;
}

int qcow2_bitmaps_stop(struct qcow2 *s)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->bitmaps.nr_live; i++) {
		struct qcow2_bitmap *m = s->bitmaps.live[i];
		int err = s->bitmaps.marked && !s->corrupt
				  ? qcow2_bitmap_store(s, m)
				  : 0;

		if (err && s->b->ctx->log)
			log_write(s->b->ctx->log, LOG_LEVEL_WARN, "qcow2",
				  "%s: could not store bitmap '%s' (%s); it "
				  "counts as inconsistent from now on",
				  s->b->name, m->name, strerror(-err));
		m->inconsistent = m->flags & QCOW2_BITMAP_IN_USE;
		qcow2_bitmap_unload(s, m);
		ret = ret ? ret : err;
	}
	s->bitmaps.nr_live = 0;
	s->bitmaps.marked = false;
	return ret;
}

/* ---- another length ---- */

int qcow2_bitmaps_resize_begin(struct qcow2 *s, struct error *e)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->bitmaps.nr; i++)
		if (s->bitmaps.list[i]->inconsistent)
			return error_set(e, -EINVAL,
					 "Bitmap '%s' is inconsistent and "
					 "cannot be used\nTry "
					 "block-dirty-bitmap-remove to delete "
					 "this bitmap from disk",
					 s->bitmaps.list[i]->name);
	for (uint32_t i = 0; i < s->bitmaps.nr && !ret; i++)
		ret = qcow2_bitmap_load(s, s->bitmaps.list[i], e);
	if (ret)
		return ret;
	ret = qcow2_bitmaps_mark(s);
	for (uint32_t i = 0; i < s->bitmaps.nr && !ret; i++)
		ret = qcow2_bitmap_set_flags(s, s->bitmaps.list[i],
					     QCOW2_BITMAP_IN_USE, 0);
	if (!ret && s->bitmaps.nr)
		ret = blk_flush(s->b->file);
	return ret ? error_errno(e, -ret, "Could not mark the bitmaps") : 0;
}

/* What a table leaves behind when another takes its place. */
struct left {
	uint64_t *table, off;
	uint32_t nr;
};

/* Bits for the disk as it is now, and a table on disk for as many; that table
 * reaches nothing yet. */
static int resize_one(struct qcow2 *s, struct qcow2_bitmap *m,
		      struct left *left)
{
	uint64_t len = qcow2_bitmap_bytes(m->granularity_bits, s->h.disk_len);
	uint64_t nr = nr_slots(s, len), off, *table;
	uint8_t *bits;
	int ret;

	if (len > QCOW2_BITMAP_MAX_LEN)
		return -EFBIG;
	bits = realloc(m->bits, len + 1);
	if (!bits)
		return -ENOMEM;
	if (len > m->bits_len)
		memset(bits + m->bits_len, 0, len - m->bits_len);
	s->bitmaps.bits_len += len - m->bits_len;
	m->bits = bits;
	m->bits_len = len;
	trim(m, s->h.disk_len);
	if (nr == m->nr_table)
		return 0;
	table = calloc(nr, sizeof(*table));
	ret = table ? qcow2_alloc_meta(s, nr * 8, &off) : -ENOMEM;
	if (!ret)
		ret = qcow2_write_table(s, off, table, nr);
	if (ret) {
		free(table);
		return ret;
	}
	*left = (struct left){m->table, m->table_off, m->nr_table};
	m->table = table;
	m->table_off = off;
	m->nr_table = nr;
	return 0;
}

static int resize_all(struct qcow2 *s, struct left *left, struct error *e)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->bitmaps.nr && !ret; i++)
		ret = resize_one(s, s->bitmaps.list[i], &left[i]);
	if (ret)
		return error_errno(e, -ret, "Could not resize the bitmaps");
	ret = qcow2_bitmaps_replace(s, s->bitmaps.list, s->bitmaps.nr, e);
	for (uint32_t i = 0; i < s->bitmaps.nr && !ret; i++)
		if (left[i].table)
			ret = qcow2_bitmap_free_clusters(
				s, left[i].table, left[i].nr, left[i].off);
	return ret;
}

int qcow2_bitmaps_resize_end(struct qcow2 *s, struct error *e)
{
	struct left *left = calloc(s->bitmaps.nr + 1, sizeof(*left));
	int ret;

	if (!s->bitmaps.nr) {
		free(left);
		return 0;
	}
	ret = left ? resize_all(s, left, e)
		   : error_set(e, -ENOMEM, "no memory for bitmaps");
	for (uint32_t i = 0; i < s->bitmaps.nr; i++) {
		struct qcow2_bitmap *m = s->bitmaps.list[i];

		if (left)
			free(left[i].table);
		if (ret)
			qcow2_bitmap_end_live(s, m);
		if (qcow2_bitmap_is_live(s, m))
			continue;
		if (!ret) {
			ret = qcow2_bitmap_store(s, m);
			if (ret)
				error_errno(e, -ret,
					    "Could not store bitmap '%s'",
					    m->name);
		}
		m->inconsistent = m->flags & QCOW2_BITMAP_IN_USE;
		qcow2_bitmap_unload(s, m);
	}
	free(left);
	return ret;
}
