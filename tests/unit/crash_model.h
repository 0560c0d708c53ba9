/*
 * What a disk may hold after a crash: for each sector the versions that were
 * written, and which of them a completed flush made stable.
 *
 * A version is a tag; the sector is filled with a word made of tag and sector
 * number.  Positions are lengths of the write log.  Thread rule: none.
 */
#ifndef TESTS_UNIT_CRASH_MODEL_H
#define TESTS_UNIT_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR		512
#define MODEL_SECTORS	8192
#define MODEL_SNAPSHOTS 32
#define NEVER		UINT64_MAX
#define TAG_ZERO	0
#define TAG_BACKING	1

struct version {
	uint32_t tag;
	uint64_t begin; /* position when it was asked for */
	uint64_t done;	/* number of the completion; NEVER: not yet */
};

struct history {
	struct version *list;
	unsigned nr, max;
};

struct model_flush {
	uint64_t covers; /* completions before it began */
	uint64_t done;	 /* position when it was acknowledged */
};

struct model_snapshot {
	char name[16];
	uint32_t *tags;
	uint32_t nr;
	uint64_t begin, done, delete_begin, delete_done;
};

struct model {
	struct history sectors[MODEL_SECTORS];
	struct history lens; /* tags are lengths in sectors */
	struct model_flush *flushes;
	unsigned nr_flushes, max_flushes;
	struct model_snapshot snapshots[MODEL_SNAPSHOTS];
	unsigned nr_snapshots;
	uint64_t completions;
	uint32_t backing, next_tag; /* sectors of the backing file */
};

static inline uint64_t model_word(uint32_t tag, uint32_t sector)
{
	if (tag == TAG_ZERO)
		return 0;
	return ((uint64_t)tag << 32 | sector) * 0x9e3779b97f4a7c15ull | 1;
}

static inline void model_fill(void *buf, uint32_t tag, uint32_t sector)
{
	uint64_t *p = buf;

	for (unsigned i = 0; i < SECTOR / 8; i++)
		p[i] = model_word(tag, sector);
}

static inline bool model_is(const void *buf, uint32_t tag, uint32_t sector)
{
	const uint64_t *p = buf;
	uint64_t word = model_word(tag, sector);

	for (unsigned i = 0; i < SECTOR / 8; i++)
		if (p[i] != word)
			return false;
	return true;
}

static inline uint32_t model_below(const struct model *m, uint32_t sector)
{
	return sector < m->backing ? TAG_BACKING : TAG_ZERO;
}

static inline struct version *history_add(struct history *h, uint32_t tag,
					  uint64_t begin)
{
	if (h->nr == h->max) {
		h->max = h->max ? 2 * h->max : 4;
		h->list = realloc(h->list, h->max * sizeof(*h->list));
	}
	h->list[h->nr] = (struct version){tag, begin, NEVER};
	return &h->list[h->nr++];
}

static inline void history_done(struct history *h, uint64_t done)
{
	for (unsigned i = h->nr; i-- && h->list[i].done == NEVER;)
		h->list[i].done = done;
}

static inline uint32_t history_last(const struct history *h)
{
	return h->nr ? h->list[h->nr - 1].tag : TAG_ZERO;
}

static inline void model_begin(struct model *m, uint32_t first, uint32_t nr,
			       uint32_t tag, uint64_t at)
{
	for (uint32_t s = first; s < first + nr; s++)
		history_add(&m->sectors[s], tag, at);
}

static inline void model_done(struct model *m, uint32_t first, uint32_t nr)
{
	m->completions++;
	for (uint32_t s = first; s < first + nr; s++)
		history_done(&m->sectors[s], m->completions);
}

static inline void model_flushed(struct model *m, uint64_t covers, uint64_t at)
{
	if (m->nr_flushes == m->max_flushes) {
		m->max_flushes = m->max_flushes ? 2 * m->max_flushes : 64;
		m->flushes = realloc(m->flushes,
				     m->max_flushes * sizeof(*m->flushes));
	}
	m->flushes[m->nr_flushes++] = (struct model_flush){covers, at};
}

/* Completions that are stable at a position. */
static inline uint64_t model_stable(const struct model *m, uint64_t at)
{
	uint64_t best = 0;

	for (unsigned i = 0; i < m->nr_flushes; i++)
		if (m->flushes[i].done <= at && m->flushes[i].covers > best)
			best = m->flushes[i].covers;
	return best;
}

/* Versions that may be seen at a position are list[result] and later ones that
 * had begun. */
static inline unsigned history_first(const struct history *h, uint64_t stable)
{
	unsigned first = 0;

	for (unsigned i = 0; i < h->nr; i++)
		if (h->list[i].done <= stable)
			first = i;
	return first;
}

static inline bool model_allows(const struct model *m, const void *buf,
				uint32_t s, uint64_t at, uint64_t stable)
{
	const struct history *h = &m->sectors[s];

	for (unsigned i = history_first(h, stable);
	     i < h->nr && h->list[i].begin <= at; i++)
		if (model_is(buf, h->list[i].tag, s))
			return true;
	return false;
}

static inline bool model_allows_len(const struct model *m, uint32_t nr,
				    uint64_t at, uint64_t stable)
{
	const struct history *h = &m->lens;

	for (unsigned i = history_first(h, stable);
	     i < h->nr && h->list[i].begin <= at; i++)
		if (h->list[i].tag == nr)
			return true;
	return false;
}

/* Everything up to here is stable and the log begins anew. */
static inline void model_restart(struct model *m)
{
	for (unsigned s = 0; s <= MODEL_SECTORS; s++) {
		struct history *h =
			s < MODEL_SECTORS ? &m->sectors[s] : &m->lens;

		if (!h->nr)
			continue;
		h->list[0] = (struct version){history_last(h), 0, 0};
		h->nr = 1;
	}
	m->nr_flushes = 0;
	m->completions = 0;
}

static inline void model_fini(struct model *m)
{
	for (unsigned s = 0; s < MODEL_SECTORS; s++)
		free(m->sectors[s].list);
	for (unsigned i = 0; i < m->nr_snapshots; i++)
		free(m->snapshots[i].tags);
	free(m->lens.list);
	free(m->flushes);
	free(m);
}

#endif
