/*
 * A cache of table slices: pieces of L2 tables or refcount blocks, as they are
 * on disk.  A hash finds a slice by its host offset; a clock hand looks for one
 * to use again among those that are neither pinned nor dirty.  When all that is
 * not pinned is dirty, the tables are written first, in order.
 *
 * A slice that is being read is in the hash already: who wants it too waits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/qcow2.h"

#define NO_OFFSET UINT64_MAX

struct qcow2_slice {
	uint64_t off; /* NO_OFFSET: unused */
	void *data;
	struct qcow2_slice *next; /* in its hash chain */
	unsigned pins;
	bool dirty, loading, recent, failed;
	struct co_queue loaded;
	struct qcow2_cache *cache;
};

struct qcow2_cache {
	struct qcow2 *s;
	unsigned slice_len, nr, hand, nr_buckets, nr_dirty;
	uint64_t hits, misses;
	struct qcow2_slice **buckets;
	struct qcow2_slice *slices;
	uint8_t *data;
};

static unsigned bucket_of(const struct qcow2_cache *c, uint64_t off)
{
	return (off / c->slice_len * 0x9e3779b97f4a7c15ull >> 32) &
	       (c->nr_buckets - 1);
}

struct qcow2_cache *qcow2_cache_create(struct qcow2 *s, unsigned slice_len,
				       unsigned nr_slices)
{
	struct qcow2_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->s = s;
	c->slice_len = slice_len;
	c->nr = nr_slices;
	c->nr_buckets = 16;
	while (c->nr_buckets < nr_slices)
		c->nr_buckets *= 2;
	c->buckets = calloc(c->nr_buckets, sizeof(*c->buckets));
	c->slices = calloc(c->nr, sizeof(*c->slices));
	/* Untouched slices cost no memory. */
	if (posix_memalign((void **)&c->data, 4096, (size_t)slice_len * c->nr))
		c->data = NULL;
	if (!c->buckets || !c->slices || !c->data) {
		qcow2_cache_destroy(c);
		return NULL;
	}
	for (unsigned i = 0; i < c->nr; i++) {
		c->slices[i].off = NO_OFFSET;
		c->slices[i].data = c->data + (size_t)slice_len * i;
		c->slices[i].cache = c;
	}
	return c;
}

void qcow2_cache_destroy(struct qcow2_cache *c)
{
	if (!c)
		return;
	free(c->buckets);
	free(c->slices);
	free(c->data);
	free(c);
}

static struct qcow2_slice *find(struct qcow2_cache *c, uint64_t off)
{
	struct qcow2_slice *p = c->buckets[bucket_of(c, off)];

	while (p && p->off != off)
		p = p->next;
	return p;
}

static void clean(struct qcow2_slice *p)
{
	if (p->dirty)
		p->cache->nr_dirty--;
	p->dirty = false;
}

static void unlink_slice(struct qcow2_cache *c, struct qcow2_slice *p)
{
	struct qcow2_slice **at = &c->buckets[bucket_of(c, p->off)];

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	clean(p);
	p->off = NO_OFFSET;
}

static void link_slice(struct qcow2_cache *c, struct qcow2_slice *p,
		       uint64_t off)
{
	unsigned i = bucket_of(c, off);

	p->off = off;
	p->next = c->buckets[i];
	c->buckets[i] = p;
	p->recent = true;
	p->failed = false;
	p->pins = 1;
}

/* One round of the clock clears the marks, the second finds. */
static struct qcow2_slice *find_victim(struct qcow2_cache *c)
{
	for (unsigned i = 0; i < 2 * c->nr; i++) {
		struct qcow2_slice *p = &c->slices[c->hand];

		c->hand = (c->hand + 1) % c->nr;
		if (p->pins || p->dirty)
			continue;
		if (p->off == NO_OFFSET || !p->recent)
			return p;
		p->recent = false;
	}
	return NULL;
}

static int write_tables(struct qcow2 *s)
{
	bool mine = s->lock.holder == co_self();
	int ret;

	if (!mine)
		co_lock(&s->lock);
	ret = qcow2_write_meta(s, false);
	if (!mine)
		co_unlock(&s->lock);
	return ret;
}

/* An unused slice, linked and pinned for off; NULL with *ret 0 when somebody
 * else brought that slice while this waited. */
static struct qcow2_slice *claim(struct qcow2_cache *c, uint64_t off, int *ret)
{
	struct qcow2_slice *p;

	*ret = 0;
	while (!(p = find_victim(c))) {
		if (c->nr_dirty) {
			*ret = write_tables(c->s);
			if (*ret)
				return NULL;
		} else {
			/* All are pinned: those who hold them will go on. */
			co_sleep_ns(c->s->b->ctx, 100000);
		}
		if (find(c, off))
			return NULL;
	}
	if (p->off != NO_OFFSET)
		unlink_slice(c, p);
	link_slice(c, p, off);
	return p;
}

static int load(struct qcow2_cache *c, struct qcow2_slice *p)
{
	int ret;

	p->loading = true;
	ret = blk_read(c->s->b->file, p->off, p->data, c->slice_len);
	p->loading = false;
	p->failed = ret;
	co_wake_all(&p->loaded);
	if (ret) {
		p->pins--;
		if (!p->pins)
			unlink_slice(c, p);
	}
	return ret;
}

int qcow2_cache_get(struct qcow2_cache *c, uint64_t off,
		    struct qcow2_slice **out)
{
	struct qcow2_slice *p;
	int ret;

	for (;;) {
		p = find(c, off);
		if (!p) {
			p = claim(c, off, &ret);
			if (ret)
				return ret;
			if (!p)
				continue;
			c->misses++;
			*out = p;
			return load(c, p);
		}
		p->pins++;
		if (p->loading)
			co_wait(&p->loaded, NULL);
		if (!p->failed)
			break;
		qcow2_cache_put(p);
		return -EIO;
	}
	c->hits++;
	p->recent = true;
	*out = p;
	return 0;
}

int qcow2_cache_new(struct qcow2_cache *c, uint64_t off,
		    struct qcow2_slice **out)
{
	struct qcow2_slice *p;
	int ret;

	while (!(p = find(c, off))) {
		p = claim(c, off, &ret);
		if (ret)
			return ret;
		if (p)
			goto found;
	}
	p->pins++;
found:
	memset(p->data, 0, c->slice_len);
	qcow2_slice_dirty(p);
	*out = p;
	return 0;
}

void qcow2_cache_put(struct qcow2_slice *p)
{
	if (!p)
		return;
	if (!--p->pins && p->failed)
		unlink_slice(p->cache, p);
}

void *qcow2_slice_data(struct qcow2_slice *p)
{
	return p->data;
}

unsigned qcow2_slice_len(const struct qcow2_cache *c)
{
	return c->slice_len;
}

void qcow2_slice_dirty(struct qcow2_slice *p)
{
	if (!p->dirty)
		p->cache->nr_dirty++;
	p->dirty = true;
}

bool qcow2_cache_is_dirty(const struct qcow2_cache *c)
{
	return c->nr_dirty;
}

static int by_offset(const void *a, const void *b)
{
	const struct qcow2_slice *const *x = a, *const *y = b;

	return (*x)->off < (*y)->off ? -1 : (*x)->off > (*y)->off;
}

/* As many neighbours as make one request. */
#define WRITE_MAX 64

static int write_run(struct qcow2_cache *c, struct qcow2_slice **list,
		     unsigned nr)
{
	struct iovec iov[WRITE_MAX];
	int ret;

	for (unsigned i = 0; i < nr; i++)
		iov[i] = (struct iovec){list[i]->data, c->slice_len};
	ret = blk_writev(c->s->b->file, list[0]->off,
			 (uint64_t)nr * c->slice_len, iov, nr, 0);
	for (unsigned i = 0; i < nr && !ret; i++)
		clean(list[i]);
	return ret;
}

/* Nothing gets dirty or goes away meanwhile: that takes the lock. */
int qcow2_cache_write(struct qcow2_cache *c)
{
	struct qcow2_slice **list;
	unsigned nr = 0, run;
	int ret = 0;

	if (!c->nr_dirty)
		return 0;
	list = malloc(c->nr_dirty * sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (unsigned i = 0; i < c->nr; i++)
		if (c->slices[i].dirty)
			list[nr++] = &c->slices[i];
	qsort(list, nr, sizeof(*list), by_offset);
	for (unsigned i = 0; i < nr && !ret; i += run) {
		for (run = 1; i + run < nr && run < WRITE_MAX; run++)
			if (list[i + run]->off !=
			    list[i]->off + (uint64_t)run * c->slice_len)
				break;
		ret = write_run(c, list + i, run);
	}
	free(list);
	return ret;
}

void qcow2_cache_forget(struct qcow2_cache *c, uint64_t off, uint64_t len)
{
	for (uint64_t at = off; at < off + len; at += c->slice_len) {
		struct qcow2_slice *p = find(c, at);

		if (!p)
			continue;
		if (p->pins)
			clean(p);
		else
			unlink_slice(c, p);
	}
}

unsigned qcow2_cache_slices(const struct qcow2_cache *c)
{
	return c->nr;
}

void qcow2_cache_count(const struct qcow2_cache *c, struct blk_cache_stats *out)
{
	for (unsigned i = 0; i < c->nr; i++)
		if (c->slices[i].off != NO_OFFSET)
			out->used += c->slice_len;
	out->budget += (uint64_t)c->nr * c->slice_len;
	out->hits += c->hits;
	out->misses += c->misses;
}
