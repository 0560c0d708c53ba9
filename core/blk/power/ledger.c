/*
 * Changes that are not promised yet are listed, the oldest first; pages of
 * 4 KiB in a hash keep the sum of what was promised last.  A promised change
 * goes from the list into the pages, and what older changes had for its sectors
 * is dead: it may not be there any more.
 *
 * Invariant: each sector of a listed change that is not dead has its page, and
 * no two changes of a sector that is not dead were on their way together, so
 * that their order in the list is the order on the disk.
 */
#include "core/blk/power/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/blk.h"

#define SECTOR	     512u
#define PAGE_SECTORS 8u
#define PAGE	     (SECTOR * PAGE_SECTORS)
#define NR_BUCKETS   16384u
/* What is watched at most: 256 MiB, and of it in changes not yet promised. */
#define PAGES_MAX   65536u
#define SECTORS_MAX 262144u
/* Longer zeroes are forgotten, not noted. */
#define ZEROES_MAX (4u << 20)
#define READ_PAGES 256u

struct ledger_change {
	uint64_t off, len;
	uint64_t begun, ended; /* moments; ended 0: on its way */
	uint64_t *sums;	       /* one a sector */
	bool *dead;
	struct ledger_change *next;
};

struct page {
	uint64_t number;
	uint64_t sums[PAGE_SECTORS], found[PAGE_SECTORS];
	uint8_t known;	/* bits: what was promised is in sums */
	uint8_t filled; /* while checking: a later change is there */
	uint8_t listed; /* and: of a change in the list */
	struct page *next;
};

struct ledger {
	struct ledger_change *first, **end;
	struct page *buckets[NR_BUCKETS];
	unsigned nr_pages;
	uint64_t nr_sectors; /* in the list */
	uint64_t now;
	bool is_partial;
};

static uint64_t sum_of(const uint8_t *sector)
{
	uint64_t sum = 0xcbf29ce484222325ull, word;

	for (unsigned i = 0; i < SECTOR; i += sizeof(word)) {
		memcpy(&word, sector + i, sizeof(word));
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
		sum ^= sum >> 29;
	}
	return sum;
}

/* ---- pages ---- */

static struct page **find_page(struct ledger *l, uint64_t number)
{
	uint64_t hash = number * 0x9e3779b97f4a7c15ull >> 40;
	struct page **p = &l->buckets[hash % NR_BUCKETS];

	while (*p && (*p)->number != number)
		p = &(*p)->next;
	return p;
}

static struct page *page_of(struct ledger *l, uint64_t off)
{
	return *find_page(l, off / PAGE);
}

static unsigned bit_of(uint64_t off)
{
	return 1u << off / SECTOR % PAGE_SECTORS;
}

/* The page of off, made when it is missing; NULL: not watched. */
static struct page *want_page(struct ledger *l, uint64_t off)
{
	struct page **p = find_page(l, off / PAGE);

	if (*p)
		return *p;
	if (l->nr_pages < PAGES_MAX)
		*p = calloc(1, sizeof(**p));
	if (!*p) {
		l->is_partial = true;
		return NULL;
	}
	(*p)->number = off / PAGE;
	l->nr_pages++;
	return *p;
}

/* ---- changes ---- */

static void change_free(struct ledger_change *c)
{
	free(c->sums);
	free(c->dead);
	free(c);
}

/* What overlaps [off, end) in c, as offsets; false: nothing. */
static bool overlap(const struct ledger_change *c, uint64_t *off, uint64_t *end)
{
	if (*off < c->off)
		*off = c->off;
	if (*end > c->off + c->len)
		*end = c->off + c->len;
	return *off < *end;
}

static void kill(struct ledger_change *c, uint64_t off, uint64_t end)
{
	if (overlap(c, &off, &end))
		memset(c->dead + (off - c->off) / SECTOR, true,
		       (end - off) / SECTOR);
}

static void forget_pages(struct ledger *l, uint64_t off, uint64_t end)
{
	/* A range of many pages: there are fewer pages than that. */
	if ((end - off) / PAGE > PAGES_MAX) {
		for (unsigned i = 0; i < NR_BUCKETS; i++)
			for (struct page *p = l->buckets[i]; p; p = p->next)
				if (p->number * PAGE + PAGE > off &&
				    p->number * PAGE < end)
					p->known = 0;
		return;
	}
	for (; off < end; off += SECTOR) {
		struct page *p = page_of(l, off);

		if (p)
			p->known &= (uint8_t)~bit_of(off);
	}
}

/* c is about to be listed: who fills its sectors at the same time? */
static void find_races(struct ledger *l, struct ledger_change *c)
{
	for (struct ledger_change *o = l->first; o; o = o->next) {
		uint64_t off = c->off, end = c->off + c->len;

		if (o->ended || !overlap(o, &off, &end))
			continue;
		for (struct ledger_change *k = l->first; k; k = k->next)
			kill(k, off, end);
		kill(c, off, end);
		forget_pages(l, off, end);
	}
}

static struct ledger_change *change_create(uint64_t off, uint64_t len)
{
	struct ledger_change *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->off = off;
	c->len = len;
	c->sums = calloc(len / SECTOR + 1, sizeof(*c->sums));
	c->dead = calloc(len / SECTOR + 1, sizeof(*c->dead));
	if (c->sums && c->dead)
		return c;
	change_free(c);
	return NULL;
}

static void fill_sums(struct ledger_change *c, const void *data)
{
	static const uint8_t zeroes[SECTOR];
	const uint8_t *from = data;

	for (uint64_t at = 0; at < c->len; at += SECTOR)
		c->sums[at / SECTOR] = sum_of(from ? from + at : zeroes);
}

static void unlink_change(struct ledger *l, struct ledger_change *c)
{
	struct ledger_change **p = &l->first;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	if (!*p)
		l->end = p;
	l->nr_sectors -= c->len / SECTOR;
}

/* The list is long: the oldest that ended is not watched any more. */
static void shorten(struct ledger *l)
{
	struct ledger_change *c = l->first;

	while (c && !c->ended)
		c = c->next;
	if (!c)
		return;
	l->is_partial = true;
	forget_pages(l, c->off, c->off + c->len);
	unlink_change(l, c);
	change_free(c);
}

struct ledger_change *ledger_begin(struct ledger *l, uint64_t off, uint64_t len,
				   const void *data)
{
	bool is_long = !data && len > ZEROES_MAX;
	struct ledger_change *c = change_create(off, is_long ? 0 : len);

	if (!c)
		return NULL;
	if (is_long)
		ledger_forget(l, off, len);
	find_races(l, c);
	fill_sums(c, data);
	for (uint64_t at = off; at < off + c->len; at += SECTOR)
		if (!want_page(l, at))
			kill(c, at, at + SECTOR);
	c->begun = ++l->now;
	*l->end = c;
	l->end = &c->next;
	l->nr_sectors += c->len / SECTOR;
	if (l->nr_sectors > SECTORS_MAX)
		shorten(l);
	return c;
}

/* c leaves the list for the pages. */
static void promise(struct ledger *l, struct ledger_change *c)
{
	for (struct ledger_change *o = l->first; o != c; o = o->next)
		kill(o, c->off, c->off + c->len);
	for (uint64_t at = 0; at < c->len; at += SECTOR) {
		struct page *p = page_of(l, c->off + at);
		unsigned bit = bit_of(c->off + at);

		if (c->dead[at / SECTOR])
			continue;
		p->known |= (uint8_t)bit;
		p->sums[(c->off + at) / SECTOR % PAGE_SECTORS] =
			c->sums[at / SECTOR];
	}
	unlink_change(l, c);
	change_free(c);
}

void ledger_forget(struct ledger *l, uint64_t off, uint64_t len)
{
	for (struct ledger_change *c = l->first; c; c = c->next)
		kill(c, off, off + len);
	forget_pages(l, off, off + len);
}

void ledger_end(struct ledger *l, struct ledger_change *c, bool ok,
		bool promised)
{
	c->ended = ++l->now;
	if (!ok) {
		ledger_forget(l, c->off, c->len);
		unlink_change(l, c);
		change_free(c);
	} else if (promised) {
		promise(l, c);
	}
}

uint64_t ledger_now(const struct ledger *l)
{
	return l->now;
}

void ledger_flushed(struct ledger *l, uint64_t asked)
{
	struct ledger_change *c, *next;

	for (c = l->first; c; c = next) {
		next = c->next;
		if (c->ended && c->ended <= asked)
			promise(l, c);
	}
}

/* ---- after a cut ---- */

static int by_number(const void *a, const void *b)
{
	const struct page *p = *(struct page *const *)a;
	const struct page *q = *(struct page *const *)b;

	return p->number < q->number ? -1 : p->number > q->number;
}

static struct page **sorted(struct ledger *l)
{
	struct page **all = malloc((l->nr_pages + 1) * sizeof(*all));
	unsigned n = 0;

	for (unsigned i = 0; all && i < NR_BUCKETS; i++)
		for (struct page *p = l->buckets[i]; p; p = p->next)
			all[n++] = p;
	if (all)
		qsort(all, n, sizeof(*all), by_number);
	return all;
}

static int read_run(struct blk *disk, struct page **run, unsigned nr,
		    uint8_t *buf)
{
	uint64_t off = run[0]->number * PAGE, len = (uint64_t)nr * PAGE;
	uint64_t end = blk_len(disk);
	int ret;

	memset(buf, 0, len);
	if (off >= end)
		return 0;
	ret = blk_read(disk, off, buf, len < end - off ? len : end - off);
	for (unsigned i = 0; i < nr && !ret; i++)
		for (unsigned s = 0; s < PAGE_SECTORS; s++)
			run[i]->found[s] = sum_of(buf + i * PAGE + s * SECTOR);
	return ret;
}

static int read_pages(struct ledger *l, struct blk *disk, struct page **all)
{
	uint8_t *buf = malloc(READ_PAGES * PAGE);
	int ret = buf ? 0 : -ENOMEM;
	unsigned n;

	for (unsigned i = 0; i < l->nr_pages && !ret; i += n) {
		n = 1;
		while (i + n < l->nr_pages && n < READ_PAGES &&
		       all[i + n]->number == all[i]->number + n)
			n++;
		ret = read_run(disk, all + i, n, buf);
	}
	free(buf);
	return ret;
}

/* How much of c is there, but for sectors that a later change has filled. */
static void judge_change(struct ledger *l, struct ledger_change *c,
			 struct ledger_facts *f)
{
	uint64_t here = 0, missing = 0;

	for (uint64_t at = 0; at < c->len; at += SECTOR) {
		struct page *p = page_of(l, c->off + at);
		unsigned bit = bit_of(c->off + at);

		if (c->dead[at / SECTOR])
			continue;
		p->listed |= (uint8_t)bit;
		if (p->filled & bit)
			continue;
		if (p->found[(c->off + at) / SECTOR % PAGE_SECTORS] ==
		    c->sums[at / SECTOR]) {
			p->filled |= (uint8_t)bit;
			here++;
		} else {
			missing++;
		}
	}
	if (!c->ended) {
		f->unanswered++;
		return;
	}
	f->answered++;
	f->torn += here && missing;
	f->lost += !here && missing;
}

/* The newest first: it hides what is below. */
static int judge_changes(struct ledger *l, struct ledger_facts *f)
{
	struct ledger_change **all, *c;
	size_t n = 0;

	for (c = l->first; c; c = c->next)
		n++;
	all = malloc((n + 1) * sizeof(*all));
	if (!all)
		return -ENOMEM;
	n = 0;
	for (c = l->first; c; c = c->next)
		all[n++] = c;
	while (n)
		judge_change(l, all[--n], f);
	free(all);
	return 0;
}

/* What was promised, and from now on is: what is there. */
static void judge_page(struct page *p, struct ledger_facts *f)
{
	for (unsigned s = 0; s < PAGE_SECTORS; s++) {
		unsigned bit = 1u << s;

		if (p->known & bit) {
			f->promised += SECTOR;
			if (p->filled & bit || p->found[s] == p->sums[s])
				f->kept += SECTOR;
			else if (f->first_missing == UINT64_MAX)
				f->first_missing =
					p->number * PAGE + (uint64_t)s * SECTOR;
		}
		p->sums[s] = p->found[s];
	}
	p->known |= p->listed;
	p->listed = p->filled = 0;
}

static void drop_changes(struct ledger *l)
{
	struct ledger_change *c;

	while ((c = l->first)) {
		unlink_change(l, c);
		change_free(c);
	}
}

int ledger_check(struct ledger *l, struct blk *disk, struct ledger_facts *out)
{
	struct page **all = sorted(l);
	int ret = all ? read_pages(l, disk, all) : -ENOMEM;

	*out = (struct ledger_facts){.first_missing = UINT64_MAX,
				     .is_partial = l->is_partial};
	if (!ret)
		ret = judge_changes(l, out);
	for (unsigned i = 0; i < l->nr_pages && !ret; i++)
		judge_page(all[i], out);
	free(all);
	drop_changes(l);
	return ret;
}

/* ---- life ---- */

struct ledger *ledger_create(void)
{
	struct ledger *l = calloc(1, sizeof(*l));

	if (l)
		l->end = &l->first;
	return l;
}

void ledger_destroy(struct ledger *l)
{
	if (!l)
		return;
	drop_changes(l);
	for (unsigned i = 0; i < NR_BUCKETS; i++)
		while (l->buckets[i]) {
			struct page *p = l->buckets[i];

			l->buckets[i] = p->next;
			free(p);
		}
	free(l);
}
