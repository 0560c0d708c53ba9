/*
 * Requests are kept in a list, the oldest first; pages of 4 KiB in a hash tell
 * for each sector the newest of them that holds it.  One coroutine at a time
 * passes requests on (`draining`), so that they reach the child in order.
 */
#include "core/blk/filter/volatile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/iov.h"
#include "core/error.h"
#include "core/loop.h"

#define SECTOR	     512u
#define PAGE_SECTORS 8u
#define NR_BUCKETS   8192u
#define BUDGET	     (64u << 20)
/* Zeroes in longer ranges would take too many pages: they go on at once. */
#define ZEROES_MAX (4u << 20)
/* A question about status looks at so many pages. */
#define STATUS_PAGES 4096u

struct record {
	uint64_t off, len; /* whole sectors */
	uint64_t number, born_ns;
	enum { DATA, ZEROES, DISCARD } kind;
	unsigned flags;
	uint8_t *data; /* of DATA */
	bool *dead;    /* a flag for each sector; NULL: none */
	struct record *next;
};

struct page {
	uint64_t number;
	struct record *newest[PAGE_SECTORS];
	struct page *next;
};

struct cache {
	struct record *first, **end;
	struct page **buckets;
	uint64_t next_number, nr, bytes, budget;
	struct co_mutex draining;
	bool is_cut;
};

static uint64_t round_up(uint64_t v)
{
	return (v + SECTOR - 1) & ~(uint64_t)(SECTOR - 1);
}

/* ---- pages ---- */

static struct page **find_page(struct cache *c, uint64_t number)
{
	uint64_t hash = number * 0x9e3779b97f4a7c15ull >> 40;
	struct page **p = &c->buckets[hash & (NR_BUCKETS - 1)];

	while (*p && (*p)->number != number)
		p = &(*p)->next;
	return p;
}

static struct record *find(struct cache *c, uint64_t sector)
{
	struct page *p = *find_page(c, sector / PAGE_SECTORS);

	return p ? p->newest[sector % PAGE_SECTORS] : NULL;
}

/* Makes the pages of a range, so that nothing can fail after it. */
static int reserve(struct cache *c, uint64_t off, uint64_t len)
{
	uint64_t first = off / SECTOR / PAGE_SECTORS;
	uint64_t last = (off + len - 1) / SECTOR / PAGE_SECTORS;

	for (uint64_t n = first; n <= last; n++) {
		struct page **p = find_page(c, n);

		if (*p)
			continue;
		*p = calloc(1, sizeof(**p));
		if (!*p)
			return -ENOMEM;
		(*p)->number = n;
	}
	return 0;
}

static void show(struct cache *c, struct record *r)
{
	for (uint64_t s = r->off / SECTOR; s < (r->off + r->len) / SECTOR; s++)
		(*find_page(c, s / PAGE_SECTORS))->newest[s % PAGE_SECTORS] = r;
}

static bool is_empty(const struct page *p)
{
	for (unsigned i = 0; i < PAGE_SECTORS; i++)
		if (p->newest[i])
			return false;
	return true;
}

/* The sector no longer comes from r. */
static void hide(struct cache *c, struct record *r, uint64_t sector)
{
	struct page **p = find_page(c, sector / PAGE_SECTORS), *gone = *p;

	if (!gone || gone->newest[sector % PAGE_SECTORS] != r)
		return;
	gone->newest[sector % PAGE_SECTORS] = NULL;
	if (is_empty(gone)) {
		*p = gone->next;
		free(gone);
	}
}

/* ---- records ---- */

static uint64_t weight(const struct record *r)
{
	return sizeof(*r) + (r->kind == DATA ? r->len : 0);
}

static int append(struct cache *c, struct record *r)
{
	int ret = r->kind == DISCARD ? 0 : reserve(c, r->off, r->len);

	if (ret)
		return ret;
	r->number = c->next_number++;
	r->born_ns = loop_now_ns();
	*c->end = r;
	c->end = &r->next;
	c->nr++;
	c->bytes += weight(r);
	if (r->kind != DISCARD)
		show(c, r);
	return 0;
}

static void record_free(struct record *r)
{
	if (!r)
		return;
	free(r->data);
	free(r->dead);
	free(r);
}

static void drop_first(struct cache *c)
{
	struct record *r = c->first;

	if (r->kind != DISCARD)
		for (uint64_t at = 0; at < r->len; at += SECTOR)
			hide(c, r, (r->off + at) / SECTOR);
	c->first = r->next;
	if (!c->first)
		c->end = &c->first;
	c->nr--;
	c->bytes -= weight(r);
	record_free(r);
}

static bool is_dead(const struct record *r, uint64_t at)
{
	return r->dead && r->dead[at / SECTOR];
}

/* Takes [off, off + len) out of every record before number. */
static int supersede(struct cache *c, uint64_t off, uint64_t len,
		     uint64_t number)
{
	for (struct record *r = c->first; r && r->number < number;
	     r = r->next) {
		uint64_t at = off > r->off ? off : r->off;
		uint64_t end = off + len < r->off + r->len ? off + len
							   : r->off + r->len;

		if (at >= end)
			continue;
		if (!r->dead)
			r->dead = calloc(r->len / SECTOR, sizeof(*r->dead));
		if (!r->dead)
			return -ENOMEM;
		for (; at < end; at += SECTOR) {
			r->dead[(at - r->off) / SECTOR] = true;
			hide(c, r, at / SECTOR);
		}
	}
	return 0;
}

/* ---- passing on ---- */

static int pass_part(struct blk *b, struct record *r, uint64_t at, uint64_t len)
{
	struct iovec v = {r->data ? r->data + at : NULL, len};

	switch (r->kind) {
	case DATA:
		return blk_filter_writev(b, r->off + at, len, &v, 1, 0);
	case ZEROES:
		return blk_filter_write_zeroes(b, r->off + at, len, r->flags);
	case DISCARD:
		break;
	}
	return blk_filter_discard(b, r->off + at, len);
}

/* torn: each sector by chance. */
static int pass_on(struct blk *b, struct record *r, unsigned *torn)
{
	uint64_t at = 0, end;
	int ret = 0;

	if (!r->dead && !torn)
		return pass_part(b, r, 0, r->len);
	for (; at < r->len && !ret; at = end) {
		end = at + SECTOR;
		if (is_dead(r, at) || (torn && rand_r(torn) & 64))
			continue;
		while (!torn && end < r->len && !is_dead(r, end))
			end += SECTOR;
		ret = pass_part(b, r, at, end - at);
	}
	return ret;
}

/* Everything before number, and then more until at most bytes are held. */
static int drain(struct blk *b, uint64_t number, uint64_t bytes)
{
	struct cache *c = b->priv;
	int ret = 0;

	co_lock(&c->draining);
	while (!c->is_cut && c->first &&
	       (c->first->number < number || c->bytes > bytes)) {
		ret = pass_on(b, c->first, NULL);
		if (ret)
			break;
		drop_first(c);
	}
	if (c->is_cut)
		ret = -EIO;
	co_unlock(&c->draining);
	return ret;
}

const char *blk_cut_name(enum blk_cut mode)
{
	static const char *const names[] = {
		[BLK_CUT_NONE] = "none",
		[BLK_CUT_ALL] = "all",
		[BLK_CUT_SUBSET] = "subset",
		[BLK_CUT_TORN] = "torn",
	};

	return names[mode];
}

int blk_cut_parse(const char *name, enum blk_cut *out, struct error *e)
{
	for (int mode = BLK_CUT_NONE; mode <= BLK_CUT_TORN; mode++)
		if (!strcmp(name, blk_cut_name(mode))) {
			*out = mode;
			return 0;
		}
	return error_set(e, -EINVAL,
			 "'%s' is no way to cut the power: choose what of the "
			 "unflushed data arrives: none, all, subset or torn",
			 name);
}

static unsigned cut_choice(enum blk_cut mode, unsigned *seed)
{
	unsigned chance = rand_r(seed) >> 8;

	switch (mode) {
	case BLK_CUT_NONE:
		return 0;
	case BLK_CUT_ALL:
		return 1;
	case BLK_CUT_SUBSET:
		return chance % 2;
	case BLK_CUT_TORN:
		break;
	}
	return chance % 3;
}

int blk_volatile_cut(struct blk *b, enum blk_cut mode, unsigned seed)
{
	struct cache *c = b->priv;
	int ret = 0;

	/* First of all, so that who drains ends after what it is about. */
	c->is_cut = true;
	co_lock(&c->draining);
	while (c->first) {
		unsigned choice = cut_choice(mode, &seed);

		if (choice && !ret)
			ret = pass_on(b, c->first, choice == 2 ? &seed : NULL);
		drop_first(c);
	}
	co_unlock(&c->draining);
	return ret;
}

void blk_volatile_stats(const struct blk *b, struct blk_volatile_stats *out)
{
	const struct cache *c = b->priv;

	*out = (struct blk_volatile_stats){.requests = c->nr,
					   .is_cut = c->is_cut};
	for (const struct record *r = c->first; r; r = r->next)
		out->bytes += r->len;
	if (c->first)
		out->oldest_ns = loop_now_ns() - c->first->born_ns;
}

/* ---- slots ---- */

static int read_child(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, size_t skip)
{
	struct iovec *part = malloc((nr + 1) * sizeof(*part));
	int ret;

	if (!part)
		return -ENOMEM;
	nr = iov_slice(iov, nr, skip, len, part);
	ret = blk_filter_readv(b, off, len, part, nr);
	free(part);
	return ret;
}

/* Copies what is held of [off, off + len); missing tells which sectors aren't. */
static bool read_held(struct cache *c, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, bool *missing)
{
	bool any = false;

	for (uint64_t at = 0; at < len; at += SECTOR) {
		struct record *r = find(c, (off + at) / SECTOR);

		missing[at / SECTOR] = !r;
		any |= !r;
		if (r && r->kind == DATA)
			iov_from_buf(iov, nr, at, r->data + (off + at - r->off),
				     SECTOR);
		else if (r)
			iov_zero(iov, nr, at, SECTOR);
	}
	return any;
}

/* What is held is copied before the first wait: a flush may pass it on and
 * forget it meanwhile. */
static int volatile_readv(struct blk *b, uint64_t off, uint64_t len,
			  const struct iovec *iov, int nr)
{
	struct cache *c = b->priv;
	uint64_t at = 0, end;
	bool *missing;
	int ret = 0;

	if (c->is_cut)
		return -EIO;
	if (!c->first)
		return blk_filter_readv(b, off, len, iov, nr);
	missing = malloc(len / SECTOR);
	if (!missing)
		return -ENOMEM;
	if (!read_held(c, off, len, iov, nr, missing))
		at = len;
	for (; at < len && !ret; at = end) {
		end = at + SECTOR;
		if (!missing[at / SECTOR])
			continue;
		while (end < len && missing[end / SECTOR])
			end += SECTOR;
		ret = read_child(b, off + at, end - at, iov, nr, at);
	}
	free(missing);
	return ret;
}

/* Writes that are to be stable go past the cache; what it holds of those
 * sectors must not overtake them later. */
static int write_through(struct blk *b, uint64_t off, uint64_t len,
			 const struct iovec *iov, int nr, unsigned flags)
{
	struct cache *c = b->priv;
	uint64_t number = c->next_number;
	int ret;

	co_lock(&c->draining);
	ret = c->is_cut ? -EIO : blk_filter_writev(b, off, len, iov, nr, flags);
	if (!ret)
		ret = supersede(c, off, len, number);
	co_unlock(&c->draining);
	return ret;
}

static int hold(struct blk *b, struct record *r)
{
	struct cache *c = b->priv;
	int ret = append(c, r);

	if (ret) {
		record_free(r);
		return ret;
	}
	return c->bytes > c->budget ? drain(b, 0, c->budget) : 0;
}

static struct record *record_create(uint64_t off, uint64_t len)
{
	struct record *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->off = off;
	r->len = round_up(len);
	return r;
}

static int volatile_writev(struct blk *b, uint64_t off, uint64_t len,
			   const struct iovec *iov, int nr, unsigned flags)
{
	struct cache *c = b->priv;
	struct record *r;

	if (c->is_cut)
		return -EIO;
	if (flags & BLK_COMPRESSED)
		return -ENOTSUP;
	if (flags & BLK_FUA)
		return write_through(b, off, len, iov, nr, flags);
	r = record_create(off, len);
	if (r)
		r->data = malloc(len);
	if (!r || !r->data) {
		record_free(r);
		return -ENOMEM;
	}
	iov_to_buf(iov, nr, 0, r->data, len);
	return hold(b, r);
}

/* After all that is held, and at once. */
static int zero_through(struct blk *b, uint64_t off, uint64_t len,
			unsigned flags)
{
	struct cache *c = b->priv;
	uint64_t number = c->next_number;
	int ret = drain(b, number, UINT64_MAX);

	if (!ret) {
		co_lock(&c->draining);
		ret = c->is_cut ? -EIO
				: blk_filter_write_zeroes(b, off, len, flags);
		if (!ret)
			ret = supersede(c, off, round_up(len), number);
		co_unlock(&c->draining);
	}
	return ret;
}

static int volatile_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
				 unsigned flags)
{
	struct cache *c = b->priv;
	struct record *r;

	if (c->is_cut)
		return -EIO;
	if (flags & BLK_FUA || len > ZEROES_MAX)
		return zero_through(b, off, len, flags);
	r = record_create(off, len);
	if (!r)
		return -ENOMEM;
	r->kind = ZEROES;
	r->flags = flags & BLK_MAY_UNMAP;
	return hold(b, r);
}

static int volatile_discard(struct blk *b, uint64_t off, uint64_t len)
{
	struct cache *c = b->priv;
	struct record *r;

	if (c->is_cut)
		return -EIO;
	r = record_create(off, len);
	if (!r)
		return -ENOMEM;
	r->kind = DISCARD;
	return hold(b, r);
}

static int volatile_flush(struct blk *b)
{
	struct cache *c = b->priv;

	return drain(b, c->next_number, UINT64_MAX);
}

/* How the sectors from off on are held, at most len bytes. */
static int held_status(struct cache *c, uint64_t off, uint64_t len,
		       uint64_t *pnum)
{
	struct record *first = find(c, off / SECTOR), *r = first;
	uint64_t at = 0, max = (uint64_t)STATUS_PAGES * PAGE_SECTORS * SECTOR;

	if (len > max)
		len = max;
	do {
		at += SECTOR;
		r = find(c, (off + at) / SECTOR);
	} while (at < len && !r == !first &&
		 (!r || (r->kind == DATA) == (first->kind == DATA)));
	*pnum = at < len ? at : len;
	if (!first)
		return 0;
	return first->kind == DATA ? BLK_STATUS_DATA : BLK_STATUS_ZERO;
}

static int volatile_status(struct blk *b, uint64_t off, uint64_t len,
			   uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct cache *c = b->priv;
	int ret = 0;

	if (c->is_cut)
		return -EIO;
	*pnum = len;
	if (c->first)
		ret = held_status(c, off, len, pnum);
	return ret ? ret : blk_filter_status(b, off, *pnum, pnum, map, file);
}

/* A length is the file system's to keep: it is passed on at once. */
static int volatile_truncate(struct blk *b, uint64_t len,
			     enum blk_prealloc mode, bool allow_shrink,
			     struct error *e)
{
	struct cache *c = b->priv;
	uint64_t from = round_up(len);
	int ret;

	if (c->is_cut)
		return error_errno(e, EIO, "Failed to resize '%s'", b->name);
	/* The last sector in its new length is not what was written. */
	ret = len % SECTOR ? drain(b, c->next_number, UINT64_MAX) : 0;
	if (ret)
		return error_errno(e, -ret, "Failed to resize '%s'", b->name);
	co_lock(&c->draining);
	ret = blk_filter_truncate(b, len, mode, allow_shrink, e);
	if (!ret && from < round_up(b->len))
		ret = supersede(c, from, round_up(b->len) - from,
				c->next_number);
	co_unlock(&c->draining);
	return ret;
}

static int volatile_open(struct blk *b, const struct blk_options *o,
			 struct error *e)
{
	static const char *const keys[] = {"budget", NULL};
	struct cache *c = b->priv;
	int ret = blk_filter_check(o, keys, e);

	c->budget = BUDGET;
	c->end = &c->first;
	b->align = SECTOR;
	b->fua = true;
	if (!ret)
		ret = blk_filter_size(o, "budget", &c->budget, e);
	if (ret)
		return ret;
	c->buckets = calloc(NR_BUCKETS, sizeof(*c->buckets));
	return c->buckets ? 0
			  : error_set(e, -ENOMEM, "no memory for a disk cache");
}

static void volatile_close(struct blk *b)
{
	struct cache *c = b->priv;

	while (c->first)
		drop_first(c);
	/* Pages that were reserved for what then failed. */
	for (unsigned i = 0; i < NR_BUCKETS; i++)
		while (c->buckets[i]) {
			struct page *p = c->buckets[i];

			c->buckets[i] = p->next;
			free(p);
		}
	free(c->buckets);
	if (!c->is_cut)
		blk_filter_cut_tail(b);
}

const struct blk_driver blk_volatile_driver = {
	.name = "volatile",
	.priv_len = sizeof(struct cache),
	.is_filter = true,
	.open = volatile_open,
	.close = volatile_close,
	.readv = volatile_readv,
	.writev = volatile_writev,
	.write_zeroes = volatile_write_zeroes,
	.discard = volatile_discard,
	.flush = volatile_flush,
	.status = volatile_status,
	.truncate = volatile_truncate,
};
