/*
 * Refcounts of another width.
 *
 * The new structures are allocated in the old ones and count themselves and
 * the old ones; after the switch the old ones are freed in the new.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/amend.h"
#include "core/blk/qcow2/check.h"
#include "core/blk/qcow2/l1.h"
#include "core/error.h"

struct rebuild {
	struct qcow2 *s;
	const struct blk_amend *a;
	unsigned order;
	uint64_t used;		/* clusters up to the last one in use */
	uint64_t blocks, table; /* clusters of each */
	uint64_t off;		/* of the first block; the table is behind */
};

/* Finds the last cluster in use, and that all counts fit. */
static int scan(struct rebuild *r, struct error *e)
{
	struct qcow2 *s = r->s;
	uint64_t max =
		r->order == 6 ? UINT64_MAX : (1ull << (1u << r->order)) - 1;

	r->used = 0;
	for (uint64_t i = 0; i < s->nr_rt; i++) {
		uint64_t first = i << s->refblock_bits, refs;
		int ret;

		for (uint64_t k = 0; s->rt[i] && k >> s->refblock_bits == 0;
		     k++) {
			ret = qcow2_get_refcount(s, first + k, &refs);
			if (ret)
				return error_errno(e, -ret,
						   "Could not read refcounts");
			if (refs)
				r->used = first + k + 1;
			if (refs > max)
				return error_set(
					e, -EINVAL,
					"Cannot decrease refcount entry width "
					"to %u bits: Cluster at offset "
					"%#" PRIx64
					" has a refcount of %" PRIu64,
					1u << r->order,
					(first + k) << s->h.cluster_bits, refs);
		}
	}
	return 0;
}

static uint64_t blocks_for(const struct rebuild *r, uint64_t clusters)
{
	uint64_t per_block = r->s->cluster_len * 8 >> r->order;

	return (clusters + per_block - 1) / per_block;
}

/* Space for as many blocks as count everything, what they take themselves
 * and what the old structures grow by included. */
static int allocate(struct rebuild *r, struct error *e)
{
	struct qcow2 *s = r->s;
	int ret;

	r->blocks = blocks_for(r, r->used + 1);
	for (;;) {
		r->table =
			(r->blocks * 8 + s->cluster_len - 1) / s->cluster_len;
		if (r->table * s->cluster_len > QCOW2_MAX_RT_LEN)
			return error_set(e, -EFBIG,
					 "the refcount table is too large");
		ret = qcow2_alloc_meta(
			s, (r->blocks + r->table) << s->h.cluster_bits,
			&r->off);
		if (!ret)
			ret = qcow2_settle(s);
		if (ret)
			return error_errno(e, -ret,
					   "Could not allocate refcounts");
		ret = scan(r, e);
		if (ret || blocks_for(r, r->used) <= r->blocks)
			return ret;
		qcow2_forget_meta(s, r->off,
				  (r->blocks + r->table) << s->h.cluster_bits);
		ret = qcow2_free_later(
			s, r->off, (r->blocks + r->table) << s->h.cluster_bits);
		if (ret)
			return error_errno(e, -ret,
					   "Could not allocate refcounts");
		r->blocks = blocks_for(r, r->used) + 1;
	}
}

static int write_block(struct rebuild *r, uint64_t i, uint8_t *block)
{
	struct qcow2 *s = r->s;
	uint64_t per_block = s->cluster_len * 8 >> r->order, refs;
	int ret = 0;

	memset(block, 0, s->cluster_len);
	for (uint64_t k = 0; k < per_block && !ret; k++) {
		if (i * per_block + k >= r->used)
			break;
		ret = qcow2_get_refcount(s, i * per_block + k, &refs);
		if (!ret)
			qcow2_refcount_poke(block, r->order, k, refs);
	}
	if (!ret)
		ret = blk_write(s->b->file, r->off + (i << s->h.cluster_bits),
				block, s->cluster_len, 0);
	if (!ret && r->a->progress)
		r->a->progress(r->a->arg, i + 1, r->blocks);
	return ret;
}

static int write_new(struct rebuild *r)
{
	struct qcow2 *s = r->s;
	uint64_t nr = r->table << s->h.cluster_bits >> 3;
	uint8_t *block = malloc(s->cluster_len);
	uint64_t *rt = calloc(nr, sizeof(*rt));
	int ret = block && rt ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < r->blocks && !ret; i++) {
		rt[i] = r->off + (i << s->h.cluster_bits);
		ret = write_block(r, i, block);
	}
	if (!ret)
		ret = qcow2_write_table(
			s, r->off + (r->blocks << s->h.cluster_bits), rt, nr);
	free(block);
	free(rt);
	return ret ? ret : blk_flush(s->b->file);
}

static int free_old(struct qcow2 *s, const struct qcow2_header *old,
		    const uint64_t *rt, uint64_t nr)
{
	uint64_t len = (uint64_t)old->rt_clusters << s->h.cluster_bits;
	int ret;

	qcow2_forget_meta(s, old->rt_off, len);
	ret = qcow2_free_later(s, old->rt_off, len);
	for (uint64_t i = 0; i < nr && !ret; i++) {
		if (!rt[i])
			continue;
		qcow2_forget_meta(s, rt[i], s->cluster_len);
		ret = qcow2_free_later(s, rt[i], s->cluster_len);
	}
	return ret ? ret : qcow2_settle(s);
}

static int switch_over(struct rebuild *r, struct error *e)
{
	struct qcow2 *s = r->s;
	struct qcow2_header old = s->h, h = s->h;
	uint64_t nr = s->nr_rt, *rt = malloc(nr * 8);
	int ret;

	if (!rt)
		return error_set(e, -ENOMEM, "no memory for refcounts");
	memcpy(rt, s->rt, nr * 8);
	h.refcount_order = r->order;
	h.rt_off = r->off + (r->blocks << s->h.cluster_bits);
	h.rt_clusters = r->table;
	ret = qcow2_write_header(s, &h, e);
	if (!ret) {
		s->refblock_bits = s->h.cluster_bits + 3 - r->order;
		s->max_refcount = r->order == 6
					  ? UINT64_MAX
					  : (1ull << (1u << r->order)) - 1;
		ret = qcow2_refcount_reload(s, e);
	}
	if (!ret) {
		ret = free_old(s, &old, rt, nr);
		if (ret)
			error_errno(e, -ret, "Could not free old refcounts");
	}
	free(rt);
	return ret;
}

int qcow2_change_refcount_order(struct qcow2 *s, unsigned order,
				const struct blk_amend *a, struct error *e)
{
	struct rebuild r = {.s = s, .a = a, .order = order};
	int ret = qcow2_settle(s);

	if (ret)
		return error_errno(e, -ret, "Could not write '%s'", s->b->name);
	ret = scan(&r, e);
	if (!ret)
		ret = allocate(&r, e);
	if (ret)
		return ret;
	ret = write_new(&r);
	if (ret)
		return error_errno(e, -ret, "Could not write refcounts");
	return switch_over(&r, e);
}
