/*
 * Whole L1 tables: replaced by one write of the header, walked for everything
 * that they reference.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/l1.h"
#include "core/blk/qcow2/shadow.h"
#include "core/error.h"

int qcow2_read_table(struct qcow2 *s, uint64_t off, uint64_t nr, uint64_t **out)
{
	uint64_t *table = malloc(nr ? nr * 8 : 1);
	int ret;

	if (!table)
		return -ENOMEM;
	ret = blk_read(s->b->file, off, table, nr * 8);
	if (ret) {
		free(table);
		return ret;
	}
	for (uint64_t i = 0; i < nr; i++)
		table[i] = be64toh(table[i]);
	*out = table;
	return 0;
}

int qcow2_write_table(struct qcow2 *s, uint64_t off, const uint64_t *table,
		      uint64_t nr)
{
	uint64_t *disk = malloc(nr ? nr * 8 : 1);
	int ret;

	if (!disk)
		return -ENOMEM;
	for (uint64_t i = 0; i < nr; i++)
		disk[i] = htobe64(table[i]);
	ret = blk_write(s->b->file, off, disk, nr * 8, 0);
	free(disk);
	return ret;
}

/* ---- everything that a table references ---- */

static int change_entry(struct qcow2 *s, uint64_t entry, int delta)
{
	uint64_t host = entry & QCOW2_OFFSET_MASK, len = s->cluster_len;

	if (delta < 0)
		return qcow2_free_entry(s, entry);
	if (entry & QCOW2_COMPRESSED)
		qcow2_packed_place(s, entry, &host, &len);
	else if (!host || s->b->data_file)
		return 0;
	return qcow2_change_refcount(s, host, len, 1);
}

static int walk_l2(struct qcow2 *s, uint64_t l2,
		   int (*fn)(struct qcow2 *s, struct qcow2_slice *slice,
			     unsigned i, int arg),
		   int arg)
{
	unsigned len = qcow2_slice_len(s->l2_cache);
	int ret = 0;

	for (uint64_t at = 0; at < s->cluster_len && !ret; at += len) {
		struct qcow2_slice *slice;

		ret = qcow2_cache_get(s->l2_cache, l2 + at, &slice);
		if (ret)
			return ret;
		for (unsigned i = 0; i < len / s->l2_entry_len && !ret; i++)
			ret = fn(s, slice, i, arg);
		qcow2_cache_put(slice);
	}
	return ret;
}

static int change_one(struct qcow2 *s, struct qcow2_slice *slice, unsigned i,
		      int delta)
{
	return change_entry(s, qcow2_entry(s, slice, i), delta);
}

static int check_aligned(struct qcow2 *s, uint64_t l2)
{
	if (!(l2 & (s->cluster_len - 1)))
		return 0;
	return qcow2_mark_corrupt(s, "L2 table offset 0x%llx is not aligned",
				  (unsigned long long)l2);
}

int qcow2_change_l1(struct qcow2 *s, const uint64_t *l1, uint64_t nr, int delta)
{
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i++) {
		uint64_t l2 = l1[i] & QCOW2_OFFSET_MASK;

		if (!l2)
			continue;
		ret = check_aligned(s, l2);
		if (ret)
			return ret;
		ret = walk_l2(s, l2, change_one, delta);
		if (!ret && delta > 0)
			ret = qcow2_change_refcount(s, l2, s->cluster_len, 1);
		else if (!ret)
			ret = qcow2_free_later(s, l2, s->cluster_len);
	}
	return ret;
}

/* ---- the COPIED bits ---- */

enum copied_what { SET_RIGHT, FIND_WRONG };

/* FIND_WRONG: 1 for a bit that is wrong. */
static int refresh_entry(struct qcow2 *s, struct qcow2_slice *slice, unsigned i,
			 int what)
{
	uint64_t entry = qcow2_entry(s, slice, i), new, refs;
	int ret;

	if (entry & QCOW2_COMPRESSED || s->b->data_file ||
	    !(entry & QCOW2_OFFSET_MASK))
		return 0;
	ret = qcow2_get_refcount(
		s, (entry & QCOW2_OFFSET_MASK) >> s->h.cluster_bits, &refs);
	if (ret)
		return ret;
	new = refs == 1 ? entry | QCOW2_COPIED : entry & ~QCOW2_COPIED;
	if (new == entry)
		return 0;
	if (what == FIND_WRONG)
		return 1;
	qcow2_set_entry(s, slice, i, new, qcow2_bitmap(s, slice, i));
	return 0;
}

int qcow2_refresh_copied(struct qcow2 *s)
{
	int ret = 0;

	for (uint64_t i = 0; i < s->h.nr_l1 && !ret; i++) {
		uint64_t l2 = s->l1[i] & QCOW2_OFFSET_MASK, refs, new;

		if (!l2)
			continue;
		ret = walk_l2(s, l2, refresh_entry, SET_RIGHT);
		if (!ret)
			ret = qcow2_get_refcount(s, l2 >> s->h.cluster_bits,
						 &refs);
		if (ret)
			return ret;
		new = refs == 1 ? l2 | QCOW2_COPIED : l2;
		if (new != s->l1[i]) {
			s->l1[i] = new;
			qcow2_mark_l1(s, i);
		}
	}
	return ret;
}

int qcow2_copy_wrong_l2(struct qcow2 *s, uint64_t *l1, uint64_t nr)
{
	int ret = 0;

	for (uint64_t i = 0; i < nr && ret >= 0; i++) {
		uint64_t l2 = l1[i] & QCOW2_OFFSET_MASK;

		if (!l2)
			continue;
		ret = check_aligned(s, l2);
		if (!ret)
			ret = walk_l2(s, l2, refresh_entry, FIND_WRONG);
		if (ret != 1)
			continue;
		ret = qcow2_make_l2(s, l2, &l2);
		if (!ret)
			ret = walk_l2(s, l2, refresh_entry, SET_RIGHT);
		l1[i] = l2;
	}
	return ret;
}

int qcow2_set_l1_copied(struct qcow2 *s, uint64_t *l1, uint64_t nr)
{
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i++) {
		uint64_t refs = 0;

		l1[i] &= QCOW2_OFFSET_MASK;
		if (!l1[i])
			continue;
		ret = qcow2_get_refcount(s, l1[i] >> s->h.cluster_bits, &refs);
		if (refs == 1)
			l1[i] |= QCOW2_COPIED;
	}
	return ret;
}

/* ---- another active table ---- */

int qcow2_write_header(struct qcow2 *s, const struct qcow2_header *h,
		       struct error *e)
{
	struct qcow2_header new = *h;
	int ret = qcow2_write_meta(s, true);

	if (ret)
		return error_errno(e, -ret, "Could not write '%s'", s->b->name);
	if (s->shadow)
		new.rt_off = s->shadow->rt_off;
	ret = qcow2_header_write(s->b->file, &new, e);
	if (!ret) {
		ret = blk_flush(s->b->file);
		if (ret)
			error_errno(e, -ret, "Could not write '%s'",
				    s->b->name);
	}
	if (ret)
		s->header_unsure = true;
	else
		s->h = new;
	return ret;
}

int qcow2_replace_l1(struct qcow2 *s, uint64_t *l1, uint64_t nr,
		     const struct qcow2_header *with, struct error *e)
{
	uint64_t old_off = s->h.l1_off, old_nr = s->h.nr_l1, off = 0;
	struct qcow2_header h = *with;
	uint8_t *dirty = calloc(nr * 8 / 512 + 1, 1);
	int ret = dirty ? 0 : -ENOMEM;

	if (!ret && nr)
		ret = qcow2_alloc_meta(s, nr * 8, &off);
	if (!ret)
		ret = qcow2_write_table(s, off, l1, nr);
	if (ret) {
		free(dirty);
		return error_errno(e, -ret, "Could not write the L1 table");
	}
	h.l1_off = off;
	h.nr_l1 = nr;
	/* Growing the refcount table, or the dirty bit, wrote the header
	 * meanwhile. */
	h.incompat = s->h.incompat;
	h.rt_off = s->h.rt_off;
	h.rt_clusters = s->h.rt_clusters;
	ret = qcow2_write_header(s, &h, e);
	if (ret) {
		free(dirty);
		return ret;
	}
	free(s->l1);
	free(s->l1_dirty);
	s->l1 = l1;
	s->l1_dirty = dirty;
	s->any_l1_dirty = false;
	s->b->len = h.disk_len;
	qcow2_forget_meta(s, old_off, old_nr * 8);
	/* The switch is done: without memory for this it only leaks. */
	if (old_nr)
		qcow2_free_later(s, old_off, old_nr * 8);
	return 0;
}

uint64_t qcow2_l1_for(const struct qcow2 *s, uint64_t len)
{
	unsigned shift = s->h.cluster_bits + s->l2_bits;

	return (len >> shift) + !!(len & ((1ull << shift) - 1));
}
