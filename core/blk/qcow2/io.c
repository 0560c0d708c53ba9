/*
 * Guest data: reads and writes.
 *
 * A write that needs new clusters allocates them under the lock, moves the data
 * without it, and then links the entries under the lock again.  Until then it
 * stands in `allocs`: other writers to those guest clusters wait for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/iov.h"
#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/io.h"

#define IOV_FEW 16

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- pieces of scattered memory ---- */

/* [skip, skip + len) of a request's memory, with room for extra pieces. */
struct part {
	struct iovec few[IOV_FEW], *iov;
	int nr;
};

static int part_init(struct part *p, const struct iovec *iov, int nr,
		     size_t skip, size_t len)
{
	/* Two more: what a write puts before and behind. */
	p->iov = nr + 2 <= IOV_FEW ? p->few : malloc((nr + 2) * sizeof(*iov));
	if (!p->iov)
		return -ENOMEM;
	p->nr = 1 + iov_slice(iov, nr, skip, len, p->iov + 1);
	return 0;
}

static void part_fini(struct part *p)
{
	if (p->iov != p->few)
		free(p->iov);
}

/* ---- reads ---- */

static int read_backing(struct blk *b, uint64_t off, uint64_t len,
			struct part *p)
{
	uint64_t inside = 0;
	int ret = 0;

	if (b->backing && off < b->backing->len)
		inside = min_u64(len, b->backing->len - off);
	if (inside)
		ret = blk_readv(b->backing, off, inside, p->iov + 1, p->nr - 1);
	if (!ret && inside < len)
		iov_zero(p->iov + 1, p->nr - 1, inside, len - inside);
	return ret;
}

static int read_packed(struct qcow2 *s, uint64_t off,
		       const struct qcow2_run *run, struct part *p)
{
	uint8_t *packed = malloc(run->packed_len + s->cluster_len), *plain;
	int ret;

	if (!packed)
		return -ENOMEM;
	plain = packed + run->packed_len;
	ret = blk_read(s->b->file, run->host, packed, run->packed_len);
	if (!ret)
		ret = qcow2_unpack(s, packed, run->packed_len, plain,
				   s->cluster_len);
	if (!ret)
		iov_from_buf(p->iov + 1, p->nr - 1, 0,
			     plain + (off & (s->cluster_len - 1)), run->len);
	free(packed);
	return ret;
}

static int read_run(struct blk *b, uint64_t off, const struct qcow2_run *run,
		    struct part *p)
{
	struct qcow2 *s = qcow2_of(b);

	switch (run->kind) {
	case QCOW2_NORMAL:
		return blk_readv(qcow2_data(s), run->host, run->len, p->iov + 1,
				 p->nr - 1);
	case QCOW2_PACKED:
		return read_packed(s, off, run, p);
	case QCOW2_UNALLOCATED:
		return read_backing(b, off, run->len, p);
	case QCOW2_ZEROES:
		break;
	}
	iov_zero(p->iov + 1, p->nr - 1, 0, run->len);
	return 0;
}

/* Shared and packed clusters are replaced by a write to any part of them, and
 * may hold something else by the time they were read. */
static bool has_moved(struct qcow2 *s, uint64_t off,
		      const struct qcow2_run *run)
{
	struct qcow2_run now;

	if (run->copied ||
	    (run->kind != QCOW2_NORMAL && run->kind != QCOW2_PACKED))
		return false;
	return !qcow2_lookup(s, off, run->len, &now) &&
	       (now.kind != run->kind || now.host != run->host ||
		now.len < run->len);
}

static int qcow2_readv(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t done = 0;
	int ret = 0;

	while (done < len && !ret) {
		struct qcow2_run run;
		struct part p;

		ret = qcow2_lookup(s, off + done, len - done, &run);
		if (ret)
			break;
		ret = part_init(&p, iov, nr, done, run.len);
		if (ret)
			break;
		ret = read_run(b, off + done, &run, &p);
		part_fini(&p);
		if (has_moved(s, off + done, &run))
			ret = 0;
		else
			done += run.len;
	}
	return ret;
}

/* ---- allocations in flight ---- */

static struct qcow2_alloc *find_alloc(struct qcow2 *s, uint64_t off,
				      uint64_t end, bool alone)
{
	struct qcow2_alloc *a = s->allocs;

	while (a && (a->end <= off || a->off >= end || (a->in_place && !alone)))
		a = a->next;
	return a;
}

void qcow2_lock_range(struct qcow2 *s, uint64_t off, uint64_t *end, bool alone)
{
	struct qcow2_alloc *a;

	co_lock(&s->lock);
	for (;;) {
		a = find_alloc(s, qcow2_cluster_down(s, off),
			       qcow2_cluster_up(s, *end), alone);
		if (!a)
			return;
		if (qcow2_cluster_down(s, a->off) > off) {
			*end = qcow2_cluster_down(s, a->off);
			continue;
		}
		co_unlock(&s->lock);
		co_wait(&a->waiters, NULL);
		co_lock(&s->lock);
	}
}

static void alloc_begin(struct qcow2 *s, struct qcow2_alloc *a)
{
	a->next = s->allocs;
	s->allocs = a;
}

static void alloc_end(struct qcow2 *s, struct qcow2_alloc *a)
{
	struct qcow2_alloc **p = &s->allocs;

	while (*p != a)
		p = &(*p)->next;
	*p = a->next;
	co_wake_all(&a->waiters);
}

/* ---- writes ---- */

/* What a write into new clusters moves besides the guest's data. */
struct cow {
	uint64_t host;	   /* of the first cluster */
	uint64_t off, end; /* guest bytes to fill around the data */
	bool fresh;	   /* the host bytes are zeroes already */
	bool reads_zero;   /* what is to be copied is known to be zeroes */
	uint8_t *head, *tail;
};

bool qcow2_reads_zero(struct blk *b, uint64_t off, uint64_t len)
{
	uint64_t n;

	if (off >= b->len)
		return true;
	len = min_u64(len, b->len - off);
	while (len) {
		int st = blk_status_above(b, NULL, off, len, &n, NULL, NULL,
					  NULL);

		if (st < 0 || !(st & BLK_STATUS_ZERO) || !n)
			return false;
		off += n;
		len -= n;
	}
	return true;
}

/* Reads what the guest sees, zeroes past the end of the disk. */
static int read_old(struct blk *b, uint64_t off, uint64_t len, uint8_t *buf)
{
	uint64_t inside = off < b->len ? min_u64(len, b->len - off) : 0;
	struct iovec v = {buf, inside};
	int ret = inside ? qcow2_readv(b, off, inside, &v, 1) : 0;

	memset(buf + inside, 0, len - inside);
	return ret;
}

static int read_edges(struct blk *b, struct cow *cow, uint64_t off,
		      uint64_t end)
{
	uint64_t head = off - cow->off, tail = cow->end - end;
	int ret = 0;

	if (head) {
		cow->head = malloc(head);
		if (!cow->head)
			return -ENOMEM;
		ret = read_old(b, cow->off, head, cow->head);
	}
	if (tail && !ret) {
		cow->tail = malloc(tail);
		if (!cow->tail)
			return -ENOMEM;
		ret = read_old(b, end, tail, cow->tail);
	}
	return ret;
}

/* Writes [off, end) with its edges as one request. */
static int write_new(struct blk *b, struct cow *cow, uint64_t off, uint64_t end,
		     struct part *p)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t base = qcow2_cluster_down(s, off), from = off, to = end;
	struct iovec *iov = p->iov + 1;
	int nr = p->nr - 1, ret = 0;
	bool edges = cow->off < off || cow->end > end;

	if (edges && !(cow->fresh && cow->reads_zero)) {
		ret = read_edges(b, cow, off, end);
		if (ret)
			goto out;
		if (cow->head) {
			*--iov = (struct iovec){cow->head, off - cow->off};
			nr++;
			from = cow->off;
		}
		if (cow->tail) {
			iov[nr++] = (struct iovec){cow->tail, cow->end - end};
			to = cow->end;
		}
	}
	if (!b->data_file)
		ret = qcow2_check_overlap(s, cow->host + (from - base),
					  to - from);
	if (!ret)
		ret = blk_writev(qcow2_data(s), cow->host + (from - base),
				 to - from, iov, nr, 0);
	s->barrier = true;
out:
	free(cow->head);
	free(cow->tail);
	return ret;
}

/* [lock] Entries of the clusters from a->off on reach host. */
static int link_clusters(struct qcow2 *s, struct qcow2_alloc *a,
			 const struct cow *cow, bool reused)
{
	uint64_t host = cow->host;
	int ret = 0;

	for (uint64_t at = a->off; at < a->end && !ret;) {
		struct qcow2_slice *slice;
		unsigned i, per_slice;

		ret = qcow2_l2_for_write(s, at, &slice, &i);
		if (ret)
			return ret;
		per_slice = qcow2_slice_len(s->l2_cache) / s->l2_entry_len;
		for (; i < per_slice && at < a->end && !ret; i++) {
			uint64_t old = qcow2_entry(s, slice, i);
			uint64_t bitmap = qcow2_bitmap(s, slice, i), bits = 0;

			if (s->nr_sub > 1) {
				uint64_t first =
					cow->off > at ? cow->off - at : 0;
				uint64_t last =
					min_u64(cow->end - at, s->cluster_len);
				unsigned lo = first / s->sub_len;
				unsigned hi =
					(last + s->sub_len - 1) / s->sub_len;

				bits = ((1ull << hi) - 1) & ~((1ull << lo) - 1);
				bitmap &= ~(bits << 32);
				if (old & QCOW2_COMPRESSED)
					bitmap = 0;
				bitmap |= bits;
			}
			qcow2_set_entry(s, slice, i, host | QCOW2_COPIED,
					bitmap);
			if (!reused)
				ret = qcow2_free_entry(s, old);
			host += s->cluster_len;
			at += s->cluster_len;
		}
		qcow2_cache_put(slice);
	}
	return ret;
}

/* How far the clusters from off on need space, at most to end. */
static int count_new(struct qcow2 *s, uint64_t off, uint64_t end,
		     const struct qcow2_run *first, uint64_t *stop)
{
	struct qcow2_run run = *first;
	uint64_t at = off;
	int ret = 0;

	for (;;) {
		at += run.len;
		if (at >= end)
			break;
		ret = qcow2_lookup(s, at, end - at, &run);
		if (ret)
			return ret;
		/* Ends before a cluster that has space of its own. */
		if (run.has_host && run.copied && run.kind != QCOW2_PACKED) {
			at = qcow2_cluster_down(s, at);
			break;
		}
	}
	*stop = min_u64(at, end);
	return 0;
}

/* [lock] The L2 table for off exists afterwards, and is ours alone: it lies
 * before the data that it will reach, as people are used to. */
static int want_l2(struct qcow2 *s, uint64_t off)
{
	struct qcow2_slice *slice;
	unsigned i;
	int ret = qcow2_l2_for_write(s, off, &slice, &i);

	if (!ret)
		qcow2_cache_put(slice);
	return ret;
}

/* [lock] Where new data for [off, *end) goes; shortens the range. */
static int place(struct qcow2 *s, uint64_t off, uint64_t *end, struct cow *cow)
{
	uint64_t base = qcow2_cluster_down(s, off), nr;
	int ret;

	nr = (qcow2_cluster_up(s, *end) - base) >> s->h.cluster_bits;
	if (s->b->data_file) {
		/* Guest and host offsets are the same there. */
		cow->host = base;
		return 0;
	}
	ret = qcow2_alloc_clusters(s, 0, &nr, &cow->host);
	if (ret)
		return ret;
	*end = min_u64(*end, base + (nr << s->h.cluster_bits));
	if (cow->host >= s->fresh_off) {
		cow->fresh = true;
		s->fresh_off = cow->host + (nr << s->h.cluster_bits);
	} else if (cow->host + (nr << s->h.cluster_bits) > s->fresh_off) {
		s->fresh_off = cow->host + (nr << s->h.cluster_bits);
	}
	return 0;
}

/* What must be filled around the data: up to the borders of the clusters, or
 * of the subclusters. */
static void choose_edges(struct blk *b, struct cow *cow, uint64_t off,
			 uint64_t end, bool whole)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t unit = whole ? s->cluster_len : s->sub_len;

	cow->off = off - off % unit;
	cow->end = (end + unit - 1) / unit * unit;
}

/* Must the whole cluster be rewritten, though only a subcluster is written?
 * Yes when the old one holds data that moves. */
static bool needs_whole(struct qcow2 *s, uint64_t at, bool reused, int *ret)
{
	struct qcow2_run run;

	if (s->nr_sub == 1)
		return true;
	if (reused)
		return false;
	*ret = qcow2_lookup(s, at, 1, &run);
	return !*ret && (run.kind == QCOW2_PACKED || run.has_host);
}

/* [lock, dropped and taken again] Writes [off, *end) to new space, or to space
 * that is held but not in use. */
static int write_allocating(struct blk *b, uint64_t off, uint64_t *end,
			    const struct qcow2_run *run,
			    const struct iovec *iov, int nr_iov, size_t skip)
{
	struct qcow2 *s = qcow2_of(b);
	bool reused = run->has_host && run->copied && run->kind != QCOW2_PACKED;
	uint64_t base = qcow2_cluster_down(s, off);
	struct cow cow = {0};
	struct qcow2_alloc a = {0};
	struct part p;
	bool whole;
	int ret;

	if (reused) {
		/* One cluster at a time: the neighbours may be in use. */
		*end = min_u64(*end, base + s->cluster_len);
		*end = min_u64(*end, off + run->len);
		cow.host = qcow2_cluster_down(s, run->host);
	} else {
		ret = count_new(s, off, *end, run, end);
		if (!ret)
			ret = want_l2(s, off);
		if (!ret)
			ret = place(s, off, end, &cow);
		if (ret)
			return ret;
	}
	ret = 0;
	whole = needs_whole(s, base, reused, &ret);
	if (!whole && !reused && !ret)
		whole = needs_whole(s, qcow2_cluster_down(s, *end - 1), reused,
				    &ret);
	if (!ret)
		ret = part_init(&p, iov, nr_iov, skip, *end - off);
	if (ret)
		return ret;
	choose_edges(b, &cow, off, *end, whole);
	a.off = base;
	a.end = qcow2_cluster_up(s, *end);
	alloc_begin(s, &a);
	co_unlock(&s->lock);
	if (cow.fresh)
		cow.reads_zero = qcow2_reads_zero(b, cow.off, off - cow.off) &&
				 qcow2_reads_zero(b, *end, cow.end - *end);
	ret = write_new(b, &cow, off, *end, &p);
	part_fini(&p);
	co_lock(&s->lock);
	if (!ret)
		ret = link_clusters(s, &a, &cow, reused);
	else if (!reused && !b->data_file)
		qcow2_free_later(s, cow.host, a.end - a.off);
	alloc_end(s, &a);
	return ret;
}

/* One step of a write: up to where its clusters are of one kind. */
static int write_step(struct blk *b, uint64_t off, uint64_t *end,
		      const struct iovec *iov, int nr, size_t skip)
{
	struct qcow2 *s = qcow2_of(b);
	struct qcow2_alloc a = {.off = off, .in_place = true};
	struct qcow2_run run;
	struct part p;
	int ret;

	qcow2_lock_range(s, off, end, false);
	ret = s->corrupt ? -EIO : qcow2_lookup(s, off, *end - off, &run);
	if (ret)
		goto out;
	if (run.kind != QCOW2_NORMAL || !run.copied) {
		ret = write_allocating(b, off, end, &run, iov, nr, skip);
		goto out;
	}
	*end = a.end = off + run.len;
	ret = b->data_file ? 0 : qcow2_check_overlap(s, run.host, run.len);
	if (!ret)
		ret = part_init(&p, iov, nr, skip, run.len);
	if (ret)
		goto out;
	alloc_begin(s, &a);
	co_unlock(&s->lock);
	ret = blk_writev(qcow2_data(s), run.host, run.len, p.iov + 1, p.nr - 1,
			 0);
	part_fini(&p);
	alloc_end(s, &a);
	return ret;
out:
	co_unlock(&s->lock);
	return ret;
}

int qcow2_write_plain(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr)
{
	uint64_t end = off + len, at = off;
	int ret = 0;

	while (at < end && !ret) {
		uint64_t stop = end;

		ret = write_step(b, at, &stop, iov, nr, at - off);
		at = stop;
	}
	return ret;
}

/* ---- compressed writes ---- */

/* [lock] Puts one packed cluster in its place. */
static int link_packed(struct qcow2 *s, uint64_t off, uint64_t host,
		       unsigned len)
{
	unsigned shift = 62 - (s->h.cluster_bits - 8), i;
	uint64_t sectors = (host + len - 1) / 512 - host / 512, old;
	struct qcow2_slice *slice;
	int ret = qcow2_l2_for_write(s, off, &slice, &i);

	if (ret)
		return ret;
	old = qcow2_entry(s, slice, i);
	qcow2_set_entry(s, slice, i, QCOW2_COMPRESSED | sectors << shift | host,
			0);
	ret = qcow2_free_entry(s, old);
	qcow2_cache_put(slice);
	return ret;
}

static int write_one_packed(struct blk *b, uint64_t off, const uint8_t *packed,
			    unsigned len)
{
	struct qcow2 *s = qcow2_of(b);
	struct qcow2_alloc a = {.off = off, .end = off + s->cluster_len};
	uint64_t host, end = off + s->cluster_len;
	int ret;

	qcow2_lock_range(s, off, &end, true);
	ret = s->corrupt ? -EIO : want_l2(s, off);
	if (!ret)
		ret = qcow2_alloc_bytes(s, len, &host);
	if (ret) {
		co_unlock(&s->lock);
		return ret;
	}
	alloc_begin(s, &a);
	co_unlock(&s->lock);
	ret = qcow2_check_overlap(s, host, len);
	if (!ret)
		ret = blk_write(b->file, host, packed, len, 0);
	s->barrier = true;
	co_lock(&s->lock);
	if (!ret)
		ret = link_packed(s, off, host, len);
	else
		qcow2_free_later(s, host, len);
	alloc_end(s, &a);
	co_unlock(&s->lock);
	return ret;
}

static int write_packed(struct blk *b, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr)
{
	struct qcow2 *s = qcow2_of(b);
	uint8_t *plain, *packed;
	int ret = 0;

	if (b->data_file)
		return -ENOTSUP;
	if (off & (s->cluster_len - 1) ||
	    (len & (s->cluster_len - 1) && off + len != b->len))
		return -EINVAL;
	plain = malloc(2 * s->cluster_len);
	if (!plain)
		return -ENOMEM;
	packed = plain + s->cluster_len;
	for (uint64_t at = 0; at < len && !ret; at += s->cluster_len) {
		uint64_t n = min_u64(len - at, s->cluster_len);
		struct iovec v = {plain, n};

		iov_to_buf(iov, nr, at, plain, n);
		memset(plain + n, 0, s->cluster_len - n);
		ret = qcow2_pack(s, plain, s->cluster_len, packed);
		if (ret > 0)
			ret = write_one_packed(b, off + at, packed, ret);
		else if (ret == -E2BIG)
			ret = qcow2_write_plain(b, off + at, n, &v, 1);
	}
	free(plain);
	return ret;
}

static int qcow2_writev(struct blk *b, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr, unsigned flags)
{
	int ret = qcow2_bitmaps_touch(qcow2_of(b), off, len);

	if (ret)
		return ret;
	if (flags & BLK_COMPRESSED)
		return write_packed(b, off, len, iov, nr);
	return qcow2_write_plain(b, off, len, iov, nr);
}

/* ---- the driver ---- */

/* Metadata on stable storage; the flush of a node. */
static int qcow2_flush(struct blk *b)
{
	struct qcow2 *s = qcow2_of(b);
	int ret;

	co_lock(&s->lock);
	ret = qcow2_write_meta(s, false);
	co_unlock(&s->lock);
	return ret;
}

static void qcow2_cache_stats(struct blk *b, struct blk_cache_stats *out)
{
	qcow2_cache_count(qcow2_of(b)->l2_cache, out);
	qcow2_cache_count(qcow2_of(b)->ref_cache, out);
}

const struct blk_driver blk_qcow2_driver = {
	.name = "qcow2",
	.priv_len = sizeof(struct qcow2),
	.open = qcow2_open,
	.close = qcow2_close,
	.set_write = qcow2_set_write,
	.readv = qcow2_readv,
	.writev = qcow2_writev,
	.write_zeroes = qcow2_write_zeroes,
	.discard = qcow2_discard,
	.flush = qcow2_flush,
	.status = qcow2_status,
	.truncate = qcow2_truncate,
	.cache_stats = qcow2_cache_stats,
};
