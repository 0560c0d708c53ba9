/*
 * From guest offsets to host offsets (sections "L1 and L2 table entries",
 * "Extended L2 entries"), and the changes of such entries.
 */
#include <errno.h>
#include <string.h>

#include "core/blk/qcow2/qcow2.h"

#define ALL_SUB	   0xffffffffull
#define ALL_ZERO   (ALL_SUB << 32)
#define SECTOR_LEN 512

static bool is_extended(const struct qcow2 *s)
{
	return s->l2_entry_len == 16;
}

static uint64_t cluster_index(const struct qcow2 *s, uint64_t off)
{
	return off >> s->h.cluster_bits & ((1ull << s->l2_bits) - 1);
}

static uint64_t l1_index(const struct qcow2 *s, uint64_t off)
{
	return off >> (s->h.cluster_bits + s->l2_bits);
}

static unsigned per_slice(const struct qcow2 *s)
{
	return qcow2_slice_len(s->l2_cache) / s->l2_entry_len;
}

uint64_t qcow2_entry(struct qcow2 *s, struct qcow2_slice *slice, unsigned i)
{
	const uint64_t *p = qcow2_slice_data(slice);

	return be64toh(p[i * (s->l2_entry_len / 8)]);
}

/* Without subclusters: the bits that say the same. */
uint64_t qcow2_bitmap(struct qcow2 *s, struct qcow2_slice *slice, unsigned i)
{
	const uint64_t *p = qcow2_slice_data(slice);

	return is_extended(s) ? be64toh(p[i * 2 + 1]) : 0;
}

void qcow2_set_entry(struct qcow2 *s, struct qcow2_slice *slice, unsigned i,
		     uint64_t entry, uint64_t bitmap)
{
	uint64_t *p = qcow2_slice_data(slice);

	if (is_extended(s)) {
		p[i * 2] = htobe64(entry);
		p[i * 2 + 1] = htobe64(bitmap);
	} else {
		p[i] = htobe64(entry);
	}
	qcow2_slice_dirty(slice);
}

void qcow2_mark_l1(struct qcow2 *s, uint64_t index)
{
	s->l1_dirty[index * 8 / SECTOR_LEN] = 1;
	s->any_l1_dirty = true;
}

/* ---- lookup ---- */

void qcow2_packed_place(const struct qcow2 *s, uint64_t entry, uint64_t *host,
			uint64_t *len)
{
	unsigned shift = 62 - (s->h.cluster_bits - 8);
	uint64_t sectors =
		entry >> shift & ((1ull << (s->h.cluster_bits - 8)) - 1);

	*host = entry & ((1ull << shift) - 1);
	*len = (sectors + 1) * SECTOR_LEN - (*host & (SECTOR_LEN - 1));
}

/* What one subcluster (or cluster) is. */
static int decode(struct qcow2 *s, uint64_t entry, uint64_t bitmap,
		  unsigned sub, struct qcow2_run *run)
{
	uint64_t host = entry & QCOW2_OFFSET_MASK;
	bool zero = entry & QCOW2_ZERO, data = host;

	run->copied = entry & QCOW2_COPIED;
	if (entry & QCOW2_COMPRESSED) {
		uint64_t len;

		if (s->b->data_file)
			return qcow2_mark_corrupt(s, "a compressed cluster in "
						     "an external data file");
		run->kind = QCOW2_PACKED;
		qcow2_packed_place(s, entry, &run->host, &len);
		run->packed_len = len;
		run->has_host = false;
		return 0;
	}
	/* An external data file may begin with data, at offset 0. */
	if (s->b->data_file && (entry & QCOW2_COPIED))
		data = true;
	run->has_host = data;
	if (is_extended(s)) {
		zero = bitmap >> (32 + sub) & 1;
		data = bitmap >> sub & 1;
		if ((zero && data) || (data && !run->has_host))
			return qcow2_mark_corrupt(
				s, "an L2 entry contradicts its subclusters");
	} else if (zero) {
		data = false;
		if (s->h.version < 3)
			return qcow2_mark_corrupt(
				s, "a zero cluster in an image of version 2");
	}
	if (run->has_host && (host & (s->cluster_len - 1)))
		return qcow2_mark_corrupt(
			s, "data cluster offset 0x%llx is not aligned",
			(unsigned long long)host);
	run->kind = zero   ? QCOW2_ZEROES
		    : data ? QCOW2_NORMAL
			   : QCOW2_UNALLOCATED;
	run->host = host + (uint64_t)sub * s->sub_len;
	return 0;
}

static bool continues(const struct qcow2_run *run, const struct qcow2_run *next,
		      uint64_t len)
{
	if (next->kind != run->kind || next->kind == QCOW2_PACKED ||
	    next->has_host != run->has_host)
		return false;
	if (!run->has_host)
		return true;
	return next->host == run->host + len && next->copied == run->copied;
}

/* Where the slice with the entry of off is; *at 0 when there is no L2 table. */
static int find_slice(struct qcow2 *s, uint64_t off, uint64_t *at)
{
	uint64_t i = l1_index(s, off), l2;

	*at = 0;
	if (i >= s->h.nr_l1 || !(s->l1[i] & QCOW2_OFFSET_MASK))
		return 0;
	l2 = s->l1[i] & QCOW2_OFFSET_MASK;
	if (l2 & (s->cluster_len - 1))
		return qcow2_mark_corrupt(s,
					  "L2 table offset 0x%llx is not "
					  "aligned",
					  (unsigned long long)l2);
	*at = l2 + cluster_index(s, off) / per_slice(s) *
			   qcow2_slice_len(s->l2_cache);
	return 0;
}

static int scan_slice(struct qcow2 *s, struct qcow2_slice *slice, uint64_t off,
		      uint64_t len, struct qcow2_run *run)
{
	unsigned i = cluster_index(s, off) % per_slice(s);
	uint64_t in_cluster = off & (s->cluster_len - 1);
	unsigned sub = in_cluster / s->sub_len;
	uint64_t skip = in_cluster % s->sub_len, done;
	struct qcow2_run next;
	int ret = decode(s, qcow2_entry(s, slice, i), qcow2_bitmap(s, slice, i),
			 sub, run);

	if (ret)
		return ret;
	if (run->kind == QCOW2_PACKED) {
		run->len = s->cluster_len - in_cluster;
		goto clamp;
	}
	for (done = s->sub_len; done < len + skip; done += s->sub_len) {
		if (++sub == s->nr_sub) {
			sub = 0;
			if (++i == per_slice(s))
				break;
		}
		ret = decode(s, qcow2_entry(s, slice, i),
			     qcow2_bitmap(s, slice, i), sub, &next);
		if (ret || !continues(run, &next, done))
			break;
	}
	run->len = done - skip;
	if (run->has_host)
		run->host += skip;
clamp:
	if (run->len > len)
		run->len = len;
	return 0;
}

int qcow2_lookup(struct qcow2 *s, uint64_t off, uint64_t len,
		 struct qcow2_run *run)
{
	uint64_t at, span = (uint64_t)per_slice(s) << s->h.cluster_bits;
	struct qcow2_slice *slice;
	int ret = find_slice(s, off, &at);

	*run = (struct qcow2_run){.kind = QCOW2_UNALLOCATED};
	if (ret)
		return ret;
	if (!at) {
		/* The whole table is missing. */
		span = (uint64_t)s->cluster_len << s->l2_bits;
		run->len = span - (off & (span - 1));
		if (run->len > len)
			run->len = len;
		return 0;
	}
	ret = qcow2_cache_get(s->l2_cache, at, &slice);
	if (ret)
		return ret;
	ret = scan_slice(s, slice, off, len, run);
	qcow2_cache_put(slice);
	return ret;
}

/* ---- changes ---- */

int qcow2_make_l2(struct qcow2 *s, uint64_t old, uint64_t *off)
{
	unsigned len = qcow2_slice_len(s->l2_cache);
	int ret = qcow2_alloc_meta(s, s->cluster_len, off);

	for (uint64_t at = 0; at < s->cluster_len && !ret; at += len) {
		struct qcow2_slice *from = NULL, *to;

		if (old)
			ret = qcow2_cache_get(s->l2_cache, old + at, &from);
		if (!ret)
			ret = qcow2_cache_new(s->l2_cache, *off + at, &to);
		if (!ret) {
			if (from)
				memcpy(qcow2_slice_data(to),
				       qcow2_slice_data(from), len);
			qcow2_cache_put(to);
		}
		if (from)
			qcow2_cache_put(from);
	}
	return ret;
}

int qcow2_l2_for_write(struct qcow2 *s, uint64_t off,
		       struct qcow2_slice **slice, unsigned *index)
{
	uint64_t i = l1_index(s, off), old, new, at;
	int ret;

	if (i >= s->h.nr_l1)
		return -EINVAL;
	if (!(s->l1[i] & QCOW2_COPIED) || !(s->l1[i] & QCOW2_OFFSET_MASK)) {
		old = s->l1[i] & QCOW2_OFFSET_MASK;
		if (old & (s->cluster_len - 1))
			return find_slice(s, off, &at);
		ret = qcow2_make_l2(s, old, &new);
		if (ret)
			return ret;
		s->l1[i] = new | QCOW2_COPIED;
		qcow2_mark_l1(s, i);
		if (old) {
			ret = qcow2_free_later(s, old, s->cluster_len);
			if (ret)
				return ret;
		}
	}
	ret = find_slice(s, off, &at);
	if (ret)
		return ret;
	*index = cluster_index(s, off) % per_slice(s);
	return qcow2_cache_get(s->l2_cache, at, slice);
}

int qcow2_free_entry(struct qcow2 *s, uint64_t entry)
{
	uint64_t host, len;

	if (entry & QCOW2_COMPRESSED) {
		qcow2_packed_place(s, entry, &host, &len);
		return qcow2_free_later(s, host, len);
	}
	if (s->b->data_file || !(entry & QCOW2_OFFSET_MASK))
		return 0;
	return qcow2_free_later(s, entry & QCOW2_OFFSET_MASK, s->cluster_len);
}

/* Calls change for each cluster of a range, with its slice. */
static int for_clusters(struct qcow2 *s, uint64_t off, uint64_t len,
			int (*change)(struct qcow2 *s,
				      struct qcow2_slice *slice, unsigned i,
				      bool arg),
			bool arg)
{
	uint64_t end = off + len;
	int ret = 0;

	while (off < end && !ret) {
		struct qcow2_slice *slice;
		unsigned i;

		ret = qcow2_l2_for_write(s, off, &slice, &i);
		if (ret)
			return ret;
		for (; i < per_slice(s) && off < end && !ret; i++) {
			ret = change(s, slice, i, arg);
			off += s->cluster_len;
		}
		qcow2_cache_put(slice);
	}
	return ret;
}

static int zero_one(struct qcow2 *s, struct qcow2_slice *slice, unsigned i,
		    bool keep)
{
	uint64_t entry = qcow2_entry(s, slice, i), new = 0;
	uint64_t bitmap = is_extended(s) ? ALL_ZERO : 0;
	bool own = (entry & QCOW2_COPIED) && !(entry & QCOW2_COMPRESSED);

	if (keep && own)
		new = entry & ~QCOW2_ZERO;
	if (!is_extended(s) && s->h.version >= 3)
		new |= QCOW2_ZERO;
	else if (!is_extended(s))
		new = 0;
	qcow2_set_entry(s, slice, i, new, bitmap);
	return new &QCOW2_COPIED ? 0 : qcow2_free_entry(s, entry);
}

int qcow2_zero_clusters(struct qcow2 *s, uint64_t off, uint64_t len, bool keep)
{
	return for_clusters(s, off, len, zero_one, keep);
}

int qcow2_zero_subclusters(struct qcow2 *s, uint64_t off, uint64_t len)
{
	unsigned first = (off & (s->cluster_len - 1)) / s->sub_len, i;
	unsigned nr = (len + s->sub_len - 1) / s->sub_len;
	uint64_t bits = ((1ull << nr) - 1) << first, entry, bitmap;
	struct qcow2_slice *slice;
	int ret = qcow2_l2_for_write(s, off, &slice, &i);

	if (ret)
		return ret;
	entry = qcow2_entry(s, slice, i);
	bitmap = (qcow2_bitmap(s, slice, i) & ~bits) | bits << 32;
	if (entry & QCOW2_COMPRESSED)
		ret = -ENOTSUP;
	else
		qcow2_set_entry(s, slice, i, entry, bitmap);
	qcow2_cache_put(slice);
	return ret;
}

/* Reads as zeroes afterwards unless full, which uncovers the backing file. */
static int discard_one(struct qcow2 *s, struct qcow2_slice *slice, unsigned i,
		       bool full)
{
	uint64_t entry = qcow2_entry(s, slice, i);
	uint64_t bitmap = qcow2_bitmap(s, slice, i), new = 0, new_bitmap = 0;
	bool allocated = entry;

	if (!full && !s->b->backing && !allocated)
		return 0;
	if (!full) {
		if (is_extended(s))
			new_bitmap = ALL_ZERO;
		else if (s->h.version >= 3)
			new = QCOW2_ZERO;
		else if (s->b->backing)
			return 0; /* version 2 can't hide what is below */
	}
	if (new == entry && new_bitmap == bitmap)
		return 0;
	qcow2_set_entry(s, slice, i, new, new_bitmap);
	return qcow2_free_entry(s, entry);
}

int qcow2_discard_clusters(struct qcow2 *s, uint64_t off, uint64_t len,
			   bool full)
{
	return for_clusters(s, off, len, discard_one, full);
}
