/*
 * Counts that all change at one write of the header.
 *
 * The new blocks and table are allocated in the old counts first: a crash
 * leaks them.  The new counts are a copy of the old, so they count the old
 * blocks too, which are freed in them after the switch.
 */
#include "core/blk/qcow2/l1.h"
#include "core/blk/qcow2/shadow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t table_len(const struct qcow2 *s)
{
	return s->nr_rt * 8;
}

/* Clusters up to the last that a block counts. */
static uint64_t counted(const struct qcow2 *s, uint64_t *blocks)
{
	uint64_t last = 0;

	*blocks = 0;
	for (uint64_t i = 0; i < s->nr_rt; i++)
		if (s->rt[i]) {
			last = i + 1;
			++*blocks;
		}
	return last << s->refblock_bits;
}

/* The table is long enough for all that is allocated until the end: another
 * one would take a write of the header. */
static int reserve(struct qcow2 *s, uint64_t room)
{
	uint64_t blocks, end, more;
	int ret;

	do {
		end = counted(s, &blocks);
		more = room + blocks + (table_len(s) >> s->h.cluster_bits) + 1;
		/* And the blocks that count those, and runs that they cut. */
		more += (more >> s->refblock_bits) + 2;
		ret = qcow2_reach(s, end + 2 * more);
	} while (!ret && counted(s, &blocks) != end);
	return ret;
}

/* A block may be made for the clusters that others take. */
static int allocate_blocks(struct qcow2 *s)
{
	uint64_t *new = s->shadow->other;
	bool again = true;
	int ret = 0;

	while (again && !ret) {
		again = false;
		for (uint64_t i = 0; i < s->nr_rt && !ret; i++) {
			if (!s->rt[i] || new[i])
				continue;
			again = true;
			ret = qcow2_alloc_meta(s, s->cluster_len, &new[i]);
		}
	}
	return ret;
}

static int copy_block(struct qcow2 *s, uint64_t from, uint64_t to)
{
	unsigned len = qcow2_slice_len(s->ref_cache);
	struct qcow2_slice *old, *new;
	int ret = 0;

	for (uint64_t at = 0; at < s->cluster_len && !ret; at += len) {
		ret = qcow2_cache_get(s->ref_cache, from + at, &old);
		if (ret)
			return ret;
		ret = qcow2_cache_new(s->ref_cache, to + at, &new);
		if (!ret) {
			memcpy(qcow2_slice_data(new), qcow2_slice_data(old),
			       len);
			qcow2_cache_put(new);
		}
		qcow2_cache_put(old);
	}
	return ret;
}

static int copy_counts(struct qcow2 *s)
{
	struct qcow2_shadow *h = s->shadow;
	int ret = 0;

	for (uint64_t i = 0; i < s->nr_rt && !ret; i++)
		if (s->rt[i])
			ret = copy_block(s, s->rt[i], h->other[i]);
	return ret ? ret : qcow2_write_table(s, h->rt_off, h->other, s->nr_rt);
}

/* Blocks and table that are no one's any more. */
static void free_other(struct qcow2 *s, const uint64_t *rt, uint64_t rt_off)
{
	if (rt_off) {
		qcow2_forget_meta(s, rt_off, table_len(s));
		qcow2_free_later(s, rt_off, table_len(s));
	}
	for (uint64_t i = 0; i < s->nr_rt; i++) {
		if (!rt[i])
			continue;
		qcow2_cache_forget(s->ref_cache, rt[i], s->cluster_len);
		qcow2_forget_meta(s, rt[i], s->cluster_len);
		qcow2_free_later(s, rt[i], s->cluster_len);
	}
}

int qcow2_shadow_free(struct qcow2 *s, uint64_t cluster)
{
	struct qcow2_frees *f = &s->shadow->gone;
	struct qcow2_range *last = f->nr ? &f->ranges[f->nr - 1] : NULL;
	uint64_t off = cluster << s->h.cluster_bits;

	if (last && last->off + last->len == off) {
		last->len += s->cluster_len;
		return 0;
	}
	if (f->nr == f->max) {
		unsigned max = f->max ? 2 * f->max : 64;
		void *p = realloc(f->ranges, max * sizeof(*f->ranges));

		if (!p)
			return -ENOMEM;
		f->ranges = p;
		f->max = max;
	}
	f->ranges[f->nr++] = (struct qcow2_range){off, s->cluster_len};
	return 0;
}

/* Whether anything that is no one's now can be freed does not matter: at worst
 * it leaks. */
static int end(struct qcow2 *s, uint64_t rt_off, int ret)
{
	struct qcow2_shadow *h = s->shadow;

	s->shadow = NULL;
	if (h->other)
		free_other(s, h->other, rt_off);
	for (unsigned i = 0; i < h->gone.nr && !ret; i++)
		qcow2_free_later(s, h->gone.ranges[i].off,
				 h->gone.ranges[i].len);
	free(h->gone.ranges);
	free(h->other);
	free(h->meta.slots);
	free(h);
	return ret;
}

static int prepare(struct qcow2 *s)
{
	struct qcow2_shadow *h = s->shadow;
	uint64_t rt_off = 0;
	int ret = qcow2_alloc_meta(s, table_len(s), &rt_off);

	/* Last, because any allocation may make a block that needs a copy. */
	if (!ret)
		ret = allocate_blocks(s);
	if (!ret)
		ret = qcow2_settle(s);
	if (!ret) {
		h->meta = s->meta;
		h->meta.slots = calloc(s->meta.max, sizeof(*s->meta.slots));
		ret = h->meta.slots ? 0 : -ENOMEM;
	}
	if (!ret) {
		memcpy(h->meta.slots, s->meta.slots,
		       s->meta.max * sizeof(*s->meta.slots));
		h->free_hint = s->free_hint;
		h->rt_off = rt_off;
		ret = copy_counts(s);
	}
	return ret ? end(s, rt_off, ret) : 0;
}

static void swap_tables(struct qcow2 *s)
{
	uint64_t *rt = s->rt;

	s->rt = s->shadow->other;
	s->shadow->other = rt;
}

int qcow2_shadow_begin(struct qcow2 *s, uint64_t room)
{
	int ret = reserve(s, room);

	if (!ret)
		ret = qcow2_settle(s);
	if (ret)
		return ret;
	s->shadow = calloc(1, sizeof(*s->shadow));
	if (!s->shadow)
		return -ENOMEM;
	s->shadow->rt_off = s->shadow->old_off = s->h.rt_off;
	s->shadow->other = calloc(s->nr_rt, 8);
	if (!s->shadow->other)
		return end(s, 0, -ENOMEM);
	ret = prepare(s);
	if (!ret)
		swap_tables(s);
	return ret;
}

/* What the caches hold was clean before; what was made since is in neither
 * file nor counts, and what was to be freed leaks. */
static void forget_made(struct qcow2 *s)
{
	struct qcow2_shadow *h = s->shadow;

	for (uint64_t i = 0; i < s->meta.max; i++) {
		uint64_t off = (s->meta.slots[i] - 1) << s->h.cluster_bits;

		if (!s->meta.slots[i])
			continue;
		qcow2_cache_forget(s->l2_cache, off, s->cluster_len);
		qcow2_cache_forget(s->ref_cache, off, s->cluster_len);
	}
	/* A block that was made is counted only where it is forgotten. */
	for (uint64_t i = 0; i < s->nr_rt; i++)
		if (!s->rt[i])
			h->other[i] = 0;
	free(s->meta.slots);
	s->meta = h->meta;
	h->meta.slots = NULL;
	s->free_hint = h->free_hint;
	s->packed_off = 0;
	s->frees.nr = 0;
	memset(s->rt_dirty, 0, table_len(s) / 512 + 1);
	s->any_rt_dirty = false;
}

int qcow2_shadow_end(struct qcow2 *s, int ret)
{
	uint64_t off = s->shadow->rt_off;

	if (!ret)
		return end(s, s->shadow->old_off, 0);
	/* The new header may be there.  While that can't be told, nothing is
	 * allocated (see take()): what was made stays as it is. */
	qcow2_ensure_header(s);
	swap_tables(s);
	forget_made(s);
	return end(s, off, ret);
}
