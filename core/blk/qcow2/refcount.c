/*
 * Host clusters: refcounts (section "Host cluster management") and allocation.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/shadow.h"
#include "core/error.h"

#define SECTOR_LEN 512

static uint64_t cluster_of(const struct qcow2 *s, uint64_t off)
{
	return off >> s->h.cluster_bits;
}

static uint64_t offset_of(const struct qcow2 *s, uint64_t cluster)
{
	return cluster << s->h.cluster_bits;
}

/* ---- numbers of any width ---- */

uint64_t qcow2_refcount_peek(const void *block, unsigned order, uint64_t i)
{
	const uint8_t *p = block;
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (order) {
	case 3:
		return p[i];
	case 4:
		memcpy(&v16, p + 2 * i, 2);
		return be16toh(v16);
	case 5:
		memcpy(&v32, p + 4 * i, 4);
		return be32toh(v32);
	case 6:
		memcpy(&v64, p + 8 * i, 8);
		return be64toh(v64);
	default: {
		unsigned width = 1u << order, per_byte = 8 / width;

		return p[i / per_byte] >> i % per_byte * width &
		       ((1u << width) - 1);
	}
	}
}

void qcow2_refcount_poke(void *block, unsigned order, uint64_t i, uint64_t v)
{
	uint8_t *p = block;
	uint16_t v16 = htobe16(v);
	uint32_t v32 = htobe32(v);
	uint64_t v64 = htobe64(v);

	switch (order) {
	case 3:
		p[i] = v;
		break;
	case 4:
		memcpy(p + 2 * i, &v16, 2);
		break;
	case 5:
		memcpy(p + 4 * i, &v32, 4);
		break;
	case 6:
		memcpy(p + 8 * i, &v64, 8);
		break;
	default: {
		unsigned width = 1u << order, per_byte = 8 / width;
		unsigned shift = i % per_byte * width;
		uint8_t mask = ((1u << width) - 1) << shift;

		p[i / per_byte] = (p[i / per_byte] & ~mask) | v << shift;
	}
	}
}

/* ---- reading and changing refcounts ---- */

/* The slice of the refcount block that counts cluster, and the index in it;
 * *out NULL: no such block, so the refcount is 0. */
static int get_slice(struct qcow2 *s, uint64_t cluster,
		     struct qcow2_slice **out, uint64_t *index)
{
	uint64_t i = cluster >> s->refblock_bits, off;
	uint64_t in_block = cluster & ((1ull << s->refblock_bits) - 1);
	uint64_t per_slice = (uint64_t)qcow2_slice_len(s->ref_cache) * 8 >>
			     s->h.refcount_order;

	*out = NULL;
	if (i >= s->nr_rt || !s->rt[i])
		return 0;
	off = s->rt[i];
	if (off & (s->cluster_len - 1) || off > INT64_MAX)
		return qcow2_mark_corrupt(
			s, "refcount block offset 0x%llx is not aligned",
			(unsigned long long)off);
	*index = in_block % per_slice;
	return qcow2_cache_get(s->ref_cache,
			       off + in_block / per_slice *
					       qcow2_slice_len(s->ref_cache),
			       out);
}

int qcow2_get_refcount(struct qcow2 *s, uint64_t cluster, uint64_t *out)
{
	struct qcow2_slice *slice;
	uint64_t i;
	int ret = get_slice(s, cluster, &slice, &i);

	if (ret)
		return ret;
	*out = slice ? qcow2_refcount_peek(qcow2_slice_data(slice),
					   s->h.refcount_order, i)
		     : 0;
	qcow2_cache_put(slice);
	return 0;
}

/* A cluster whose last reference is gone may hold something else soon. */
static void forget_cluster(struct qcow2 *s, uint64_t cluster)
{
	if (cluster < s->free_hint)
		s->free_hint = cluster;
	if (qcow2_is_meta(s, cluster)) {
		qcow2_forget_meta(s, offset_of(s, cluster), s->cluster_len);
		qcow2_cache_forget(s->l2_cache, offset_of(s, cluster),
				   s->cluster_len);
	}
	if (s->packed_off && cluster_of(s, s->packed_off - 1) == cluster)
		s->packed_off = 0;
}

static int change_one(struct qcow2 *s, uint64_t cluster, int delta)
{
	struct qcow2_slice *slice;
	uint64_t i, v;
	int ret = get_slice(s, cluster, &slice, &i);

	if (ret)
		return ret;
	v = slice ? qcow2_refcount_peek(qcow2_slice_data(slice),
					s->h.refcount_order, i)
		  : 0;
	if (!slice || (delta < 0 && !v))
		ret = qcow2_mark_corrupt(
			s, "the refcount of the cluster at 0x%llx is too low",
			(unsigned long long)offset_of(s, cluster));
	else if (delta > 0 && v == s->max_refcount)
		ret = -EINVAL;
	else if (delta < 0 && v == 1 && s->shadow)
		ret = qcow2_shadow_free(s, cluster);
	else {
		qcow2_refcount_poke(qcow2_slice_data(slice),
				    s->h.refcount_order, i, v + delta);
		qcow2_slice_dirty(slice);
		if (v + delta == 0)
			forget_cluster(s, cluster);
	}
	qcow2_cache_put(slice);
	return ret;
}

int qcow2_set_refcount(struct qcow2 *s, uint64_t cluster, uint64_t v)
{
	struct qcow2_slice *slice;
	uint64_t i;
	int ret = get_slice(s, cluster, &slice, &i);

	if (ret)
		return ret;
	if (!slice || v > s->max_refcount)
		ret = -EINVAL;
	else
		qcow2_refcount_poke(qcow2_slice_data(slice),
				    s->h.refcount_order, i, v);
	if (!ret)
		qcow2_slice_dirty(slice);
	if (!ret && !v)
		forget_cluster(s, cluster);
	qcow2_cache_put(slice);
	return ret;
}

int qcow2_change_refcount(struct qcow2 *s, uint64_t off, uint64_t len,
			  int delta)
{
	uint64_t first = cluster_of(s, off), c;
	int ret = 0;

	for (c = first; offset_of(s, c) < off + len && !ret; c++)
		ret = change_one(s, c, delta);
	/* All or nothing, so that a failed call leaves no leak. */
	if (ret && !s->corrupt)
		for (c--; c > first; c--)
			change_one(s, c - 1, -delta);
	return ret;
}

/* ---- more refcount blocks, a longer table ---- */

static void mark_rt(struct qcow2 *s, uint64_t i)
{
	s->rt_dirty[i * 8 / SECTOR_LEN] = 1;
	s->any_rt_dirty = true;
}

/* Host bytes up to end are written, or may be. */
static void raise_fresh(struct qcow2 *s, uint64_t end)
{
	if (end > s->fresh_off)
		s->fresh_off = end;
}

/* Makes the i-th block in a cluster that is free, and counted by this block or
 * by one that exists. */
static int make_block(struct qcow2 *s, uint64_t i, uint64_t cluster)
{
	uint64_t off = offset_of(s, cluster), at;
	struct qcow2_slice *slice;
	int ret = qcow2_note_meta(s, off, s->cluster_len);

	for (at = off; at < off + s->cluster_len && !ret;
	     at += qcow2_slice_len(s->ref_cache)) {
		ret = qcow2_cache_new(s->ref_cache, at, &slice);
		if (!ret)
			qcow2_cache_put(slice);
	}
	if (ret)
		return ret;
	raise_fresh(s, off + s->cluster_len);
	s->rt[i] = off;
	mark_rt(s, i);
	ret = change_one(s, cluster, 1);
	/* The block that counts it could not be read: it is not there. */
	if (ret) {
		s->rt[i] = 0;
		qcow2_cache_forget(s->ref_cache, off, s->cluster_len);
		qcow2_forget_meta(s, off, s->cluster_len);
	}
	return ret;
}

/* What a longer table and the blocks that count it and themselves take. */
struct growth {
	uint64_t first; /* cluster where all of it goes */
	uint64_t blocks, table_clusters, nr_rt;
};

static void plan_growth(struct qcow2 *s, struct growth *g)
{
	uint64_t need, per_block = 1ull << s->refblock_bits;

	g->first = s->nr_rt << s->refblock_bits;
	g->blocks = 1;
	for (;;) {
		need = s->nr_rt + s->nr_rt / 2 + g->blocks + 1;
		g->table_clusters =
			(need * 8 + s->cluster_len - 1) / s->cluster_len;
		g->nr_rt = g->table_clusters * s->cluster_len / 8;
		if (g->blocks * per_block >= g->blocks + g->table_clusters)
			break;
		g->blocks++;
	}
}

static int write_blocks(struct qcow2 *s, const struct growth *g)
{
	uint64_t used = g->blocks + g->table_clusters;
	uint64_t per_block = 1ull << s->refblock_bits;
	uint8_t *buf = malloc(s->cluster_len);
	int ret = buf ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < g->blocks && !ret; i++) {
		memset(buf, 0, s->cluster_len);
		for (uint64_t j = 0; j < per_block; j++)
			if (i * per_block + j < used)
				qcow2_refcount_poke(buf, s->h.refcount_order, j,
						    1);
		ret = blk_write(s->b->file, offset_of(s, g->first + i), buf,
				s->cluster_len, 0);
	}
	free(buf);
	return ret;
}

static int write_new_table(struct qcow2 *s, const struct growth *g,
			   const uint64_t *rt)
{
	struct qcow2_header h = s->h;
	size_t len = g->nr_rt * 8;
	uint64_t *disk = malloc(len);
	int ret;

	if (!disk)
		return -ENOMEM;
	for (uint64_t i = 0; i < g->nr_rt; i++)
		disk[i] = htobe64(rt[i]);
	h.rt_off = offset_of(s, g->first + g->blocks);
	h.rt_clusters = g->table_clusters;
	ret = blk_write(s->b->file, h.rt_off, disk, len, 0);
	free(disk);
	/* Blocks that are only in the cache must be there before the table
	 * that reaches them counts (I2). */
	if (!ret)
		ret = qcow2_cache_write(s->ref_cache);
	if (!ret)
		ret = blk_flush(s->b->file);
	if (ret)
		return ret;
	ret = qcow2_header_write(s->b->file, &h, NULL);
	if (!ret)
		ret = blk_flush(s->b->file);
	if (ret)
		s->header_unsure = true;
	else
		s->h = h;
	return ret;
}

static int grow_table(struct qcow2 *s)
{
	uint64_t old_off = s->h.rt_off, old_len = s->nr_rt * 8, *rt;
	struct growth g;
	uint8_t *dirty;
	int ret;

	if (s->lost)
		return -EIO;
	/* The header must not change yet; shadow.c made room. */
	if (s->shadow)
		return -EFBIG;
	/* Where a failed try put its table, which the header may name. */
	ret = qcow2_ensure_header(s);
	if (ret)
		return ret;
	plan_growth(s, &g);
	if (g.nr_rt * 8 > QCOW2_MAX_RT_LEN)
		return -EFBIG;
	rt = calloc(g.nr_rt, 8);
	dirty = calloc(g.nr_rt * 8 / SECTOR_LEN + 1, 1);
	if (!rt || !dirty) {
		ret = -ENOMEM;
		goto out;
	}
	memcpy(rt, s->rt, s->nr_rt * 8);
	for (uint64_t i = 0; i < g.blocks; i++)
		rt[s->nr_rt + i] = offset_of(s, g.first + i);
	ret = write_blocks(s, &g);
	if (!ret)
		ret = write_new_table(s, &g, rt);
	if (ret)
		goto out;
	free(s->rt);
	free(s->rt_dirty);
	s->rt = rt;
	s->rt_dirty = dirty;
	s->nr_rt = g.nr_rt;
	s->any_rt_dirty = false;
	raise_fresh(s, offset_of(s, g.first + g.blocks + g.table_clusters));
	qcow2_forget_meta(s, old_off, old_len);
	ret = qcow2_note_meta(s, offset_of(s, g.first),
			      offset_of(s, g.blocks + g.table_clusters));
	return ret ? ret : qcow2_free_later(s, old_off, old_len);

out:
	free(rt);
	free(dirty);
	return ret;
}

/* ---- allocation ---- */

/* How many clusters from c on are free, at most max, inside c's slice. */
static int count_free(struct qcow2 *s, uint64_t c, uint64_t max, uint64_t *nr)
{
	uint64_t per_slice = (uint64_t)qcow2_slice_len(s->ref_cache) * 8 >>
			     s->h.refcount_order;
	struct qcow2_slice *slice;
	uint64_t i;
	int ret = get_slice(s, c, &slice, &i);

	*nr = 0;
	if (ret)
		return ret;
	if (!slice) {
		uint64_t per_block = 1ull << s->refblock_bits;

		*nr = per_block - (c & (per_block - 1));
		if (*nr > max)
			*nr = max;
		return 0;
	}
	while (*nr < max && i + *nr < per_slice &&
	       !qcow2_refcount_peek(qcow2_slice_data(slice),
				    s->h.refcount_order, i + *nr))
		++*nr;
	qcow2_cache_put(slice);
	return 0;
}

/* Steps over used clusters inside c's slice; returns where to look next. */
static int next_free(struct qcow2 *s, uint64_t *c)
{
	uint64_t per_slice = (uint64_t)qcow2_slice_len(s->ref_cache) * 8 >>
			     s->h.refcount_order;
	struct qcow2_slice *slice;
	uint64_t i, from;
	int ret = get_slice(s, *c, &slice, &i);

	if (ret || !slice)
		return ret;
	for (from = i; i < per_slice; i++)
		if (!qcow2_refcount_peek(qcow2_slice_data(slice),
					 s->h.refcount_order, i))
			break;
	*c += i - from;
	qcow2_cache_put(slice);
	return 0;
}

int qcow2_reach(struct qcow2 *s, uint64_t c)
{
	int ret = 0;

	while (c >> s->refblock_bits >= s->nr_rt && !ret)
		ret = grow_table(s);
	return ret;
}

/* The block for cluster c exists afterwards; c itself may have been taken. */
static int want_block(struct qcow2 *s, uint64_t c)
{
	int ret = qcow2_reach(s, c);

	if (ret || s->rt[c >> s->refblock_bits])
		return ret;
	return make_block(s, c >> s->refblock_bits, c);
}

/* Takes nr free clusters from first on. */
static int take(struct qcow2 *s, uint64_t first, uint64_t nr)
{
	uint64_t end = offset_of(s, first + nr);
	int ret = qcow2_ensure_header(s);

	/* A header that may be on disk may name what is free here. */
	if (ret)
		return ret;
	if (end > QCOW2_OFFSET_MASK)
		return -EFBIG;
	if ((s->h.compat & QCOW2_COMPAT_LAZY) &&
	    !(s->h.incompat & QCOW2_INCOMPAT_DIRTY)) {
		ret = qcow2_set_incompat(s, QCOW2_INCOMPAT_DIRTY, 0);
		if (ret)
			return ret;
	}
	return qcow2_change_refcount(s, offset_of(s, first), offset_of(s, nr),
				     1);
}

/* Lengthens the run of *n free clusters at start towards want; it may go on in
 * the next slice or block.  Up to min it is not interrupted by new blocks. */
static int extend_run(struct qcow2 *s, uint64_t start, uint64_t min,
		      uint64_t want, uint64_t *n)
{
	uint64_t more = 1;
	int ret = 0;

	while (*n < want && more && !ret) {
		if (*n < min)
			ret = qcow2_reach(s, start + *n);
		else
			ret = want_block(s, start + *n);
		if (!ret)
			ret = count_free(s, start + *n, want - *n, &more);
		if (!ret)
			*n += more;
	}
	return ret;
}

static int find_run(struct qcow2 *s, uint64_t *c, uint64_t min, uint64_t want,
		    uint64_t *got);

/* The blocks that count a free run and don't exist yet are put behind it. */
static int make_blocks_behind(struct qcow2 *s, uint64_t start, uint64_t nr)
{
	uint64_t i = start >> s->refblock_bits, at, one;
	int ret = 0;

	for (; i <= (start + nr - 1) >> s->refblock_bits && !ret; i++) {
		if (s->rt[i])
			continue;
		at = start + nr;
		ret = find_run(s, &at, 1, 1, &one);
		if (!ret && !s->rt[i])
			ret = make_block(s, i, at);
	}
	return ret;
}

/* A run of at least min (and at most want) free clusters from c on; all of
 * them are counted by blocks. */
static int find_run(struct qcow2 *s, uint64_t *c, uint64_t min, uint64_t want,
		    uint64_t *got)
{
	uint64_t start = *c, n;
	int ret;

	for (;;) {
		ret = next_free(s, &start);
		if (ret)
			return ret;
		ret = want_block(s, start);
		if (ret)
			return ret;
		ret = count_free(s, start, want, &n);
		if (ret)
			return ret;
		/* The slice ended, or the block was put here. */
		if (!n)
			continue;
		ret = extend_run(s, start, min, want, &n);
		if (ret)
			return ret;
		if (n >= min)
			break;
		start += n;
	}
	*c = start;
	*got = n;
	return make_blocks_behind(s, start, n);
}

int qcow2_alloc_clusters(struct qcow2 *s, uint64_t at, uint64_t *nr,
			 uint64_t *off)
{
	uint64_t c = at ? cluster_of(s, at) : s->free_hint, got;
	int ret;

	if (at) {
		ret = want_block(s, c);
		if (!ret)
			ret = count_free(s, c, *nr, &got);
	} else {
		ret = find_run(s, &c, 1, *nr, &got);
	}
	if (!ret && got)
		ret = take(s, c, got);
	if (ret)
		return ret;
	*nr = got;
	*off = offset_of(s, c);
	if (got && c <= s->free_hint)
		s->free_hint = c + got;
	return 0;
}

int qcow2_alloc_meta(struct qcow2 *s, uint64_t len, uint64_t *off)
{
	uint64_t nr = (len + s->cluster_len - 1) >> s->h.cluster_bits;
	uint64_t c = s->free_hint, got;
	int ret = find_run(s, &c, nr, nr, &got);

	if (!ret)
		ret = take(s, c, nr);
	if (ret)
		return ret;
	*off = offset_of(s, c);
	if (c <= s->free_hint)
		s->free_hint = c + nr;
	raise_fresh(s, *off + offset_of(s, nr));
	return qcow2_note_meta(s, *off, offset_of(s, nr));
}

int qcow2_alloc_bytes(struct qcow2 *s, unsigned len, uint64_t *off)
{
	uint64_t used = s->packed_off & (s->cluster_len - 1), nr = 1, next;
	uint64_t room = s->packed_off && used ? s->cluster_len - used : 0;
	int ret;

	if (room) {
		/* A cluster that can't count one more is full. */
		ret = qcow2_change_refcount(s, s->packed_off, 1, 1);
		if (ret == -EINVAL)
			room = 0;
		else if (ret)
			return ret;
	}
	if (room >= len) {
		*off = s->packed_off;
	} else if (room) {
		ret = qcow2_alloc_clusters(s, s->packed_off + room, &nr, &next);
		if (!ret && !nr) {
			ret = qcow2_change_refcount(s, s->packed_off, 1, -1);
			room = 0;
		}
		if (ret)
			return ret;
		*off = s->packed_off;
	}
	if (!room) {
		nr = 1;
		ret = qcow2_alloc_clusters(s, 0, &nr, off);
		if (ret)
			return ret;
	}
	s->packed_off = *off + len;
	raise_fresh(s, offset_of(s, cluster_of(s, *off + len - 1) + 1));
	return 0;
}

/* ---- open ---- */

static int note_tables(struct qcow2 *s)
{
	int ret = qcow2_note_meta(s, 0, 1);

	if (!ret)
		ret = qcow2_note_meta(s, s->h.l1_off, s->h.nr_l1 * 8ull);
	if (!ret)
		ret = qcow2_note_meta(s, s->h.rt_off, s->nr_rt * 8);
	for (uint64_t i = 0; i < s->nr_rt && !ret; i++)
		if (s->rt[i] && s->rt[i] <= QCOW2_OFFSET_MASK)
			ret = qcow2_note_meta(s, s->rt[i], s->cluster_len);
	for (uint32_t i = 0; i < s->h.nr_l1 && !ret; i++)
		if (s->l1[i] & QCOW2_OFFSET_MASK)
			ret = qcow2_note_meta(s, s->l1[i] & QCOW2_OFFSET_MASK,
					      s->cluster_len);
	return ret;
}

int qcow2_refcount_load(struct qcow2 *s, struct error *e)
{
	size_t len = (size_t)s->h.rt_clusters << s->h.cluster_bits;
	int ret;

	s->nr_rt = len / 8;
	s->rt = malloc(len);
	s->rt_dirty = calloc(len / SECTOR_LEN + 1, 1);
	if (!s->rt || !s->rt_dirty)
		return error_set(e, -ENOMEM, "no memory for refcounts");
	ret = blk_read(s->b->file, s->h.rt_off, s->rt, len);
	if (ret)
		return error_errno(e, -ret,
				   "Could not read the refcount table");
	for (uint64_t i = 0; i < s->nr_rt; i++)
		s->rt[i] = be64toh(s->rt[i]) & QCOW2_RT_MASK;
	if (note_tables(s))
		return error_set(e, -ENOMEM, "no memory for refcounts");
	return 0;
}
