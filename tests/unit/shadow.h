/*
 * shadow: a guest that writes to a disk all the time and remembers what every
 * sector must hold: now, and after a crash.
 *
 * A sector's content follows from its number and its generation, which counts
 * its changes.  After a crash a sector may hold any generation from the last
 * one that a completed flush covered to the last one that was begun.
 *
 * Thread rule: on the disk's loop, in coroutines, but for setting it up.
 */
#ifndef TESTS_UNIT_SHADOW_H
#define TESTS_UNIT_SHADOW_H

#include "tests/unit/bench.h"

#define SHADOW_SECTOR 512
#define SHADOW_MOST   64 /* sectors of one request */

struct shadow_sector {
	uint32_t begun, done, stable; /* generations */
	uint32_t zero;		      /* the last that was zeroes, 0: none */
	bool busy;
};

struct shadow {
	struct bench *t;
	struct blk *disk;
	uint64_t len;
	unsigned nr;
	struct shadow_sector *s;
	bool stop, may_fail;
	unsigned running;
	struct co *waiter;
	uint64_t writes, reads;
	unsigned pause_us; /* between requests, at most */
};

static inline void shadow_fill(uint8_t *buf, unsigned sector, uint32_t gen,
			       size_t len)
{
	uint64_t x = ((uint64_t)sector << 32 | gen) * 0x9e3779b97f4a7c15ull;

	for (size_t i = 0; i < len; i++) {
		if (!(i & 7))
			x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull + 1;
		buf[i] = x >> (i & 7) * 8;
	}
}

static inline size_t shadow_part(const struct shadow *w, unsigned i)
{
	uint64_t left = w->len - (uint64_t)i * SHADOW_SECTOR;

	return left < SHADOW_SECTOR ? left : SHADOW_SECTOR;
}

static inline bool shadow_is(const struct shadow *w, unsigned i, uint32_t gen,
			     const uint8_t *buf)
{
	uint8_t want[SHADOW_SECTOR] = {0};
	size_t len = shadow_part(w, i);

	if (gen && gen != w->s[i].zero)
		shadow_fill(want, i, gen, len);
	return !memcmp(buf, want, len);
}

static inline struct shadow shadow_create(struct bench *t, uint64_t len)
{
	struct shadow w = {.t = t, .len = len};

	w.nr = (len + SHADOW_SECTOR - 1) / SHADOW_SECTOR;
	w.s = calloc(w.nr + 1, sizeof(*w.s));
	assert_non_null(w.s);
	return w;
}

/* Once the power was cut everything may fail; then the guest stops. */
static inline bool shadow_fails(struct shadow *w, int ret, const char *what,
				uint64_t off)
{
	SHADOW_CHECK(!ret || w->may_fail, "%s at %llu: %s", what,
		     (unsigned long long)off, strerror(-ret));
	w->stop |= ret;
	return ret;
}

static inline void shadow_change(struct shadow *w, unsigned first, unsigned nr,
				 bool zero)
{
	uint8_t buf[SHADOW_MOST * SHADOW_SECTOR];
	uint64_t off = (uint64_t)first * SHADOW_SECTOR, len = 0;
	int ret;

	for (unsigned i = first; i < first + nr; i++) {
		size_t part = shadow_part(w, i);

		w->s[i].busy = true;
		w->s[i].begun++;
		if (zero)
			w->s[i].zero = w->s[i].begun;
		else
			shadow_fill(buf + len, i, w->s[i].begun, part);
		len += part;
	}
	if (zero)
		ret = blk_write_zeroes(w->disk, off, len,
				       bench_rand(w->t, 2) ? BLK_MAY_UNMAP : 0);
	else
		ret = blk_write(w->disk, off, buf, len, 0);
	if (shadow_fails(w, ret, "write", off))
		return;
	for (unsigned i = first; i < first + nr; i++) {
		w->s[i].done = w->s[i].begun;
		w->s[i].busy = false;
	}
	w->writes++;
}

static inline void shadow_read(struct shadow *w, unsigned first, unsigned nr)
{
	uint8_t buf[SHADOW_MOST * SHADOW_SECTOR];
	uint64_t off = (uint64_t)first * SHADOW_SECTOR, len = 0;
	int ret;

	for (unsigned i = first; i < first + nr; i++) {
		len += shadow_part(w, i);
		w->s[i].busy = true;
	}
	ret = blk_read(w->disk, off, buf, len);
	if (shadow_fails(w, ret, "read", off))
		return;
	for (unsigned i = first; i < first + nr; i++) {
		SHADOW_CHECK(shadow_is(w, i, w->s[i].done,
				       buf + (i - first) * SHADOW_SECTOR),
			     "sector %u, generation %u", i, w->s[i].done);
		w->s[i].busy = false;
	}
	w->reads++;
}

static inline void shadow_flush(struct shadow *w)
{
	uint32_t *done = malloc((w->nr + 1) * sizeof(*done));
	int ret;

	SHADOW_CHECK(done, "memory");
	for (unsigned i = 0; i < w->nr; i++)
		done[i] = w->s[i].done;
	ret = blk_flush(w->disk);
	shadow_fails(w, ret, "flush", 0);
	for (unsigned i = 0; i < w->nr && !ret; i++)
		if (done[i] > w->s[i].stable)
			w->s[i].stable = done[i];
	free(done);
}

/* One request of the guest at a place that no other is busy with. */
static inline void shadow_step(struct shadow *w)
{
	unsigned what = bench_rand(w->t, 100);
	unsigned first = bench_rand(w->t, w->nr);
	unsigned nr =
		1 + bench_rand(w->t, bench_rand(w->t, 4) ? 8 : SHADOW_MOST);

	if (nr > w->nr - first)
		nr = w->nr - first;
	for (unsigned i = first; i < first + nr; i++)
		if (w->s[i].busy)
			return;
	if (what < 60)
		shadow_change(w, first, nr, false);
	else if (what < 70)
		shadow_change(w, first, nr, true);
	else if (what < 95)
		shadow_read(w, first, nr);
	else
		shadow_flush(w);
}

static inline void shadow_run(void *arg)
{
	struct shadow *w = arg;

	while (!w->stop) {
		shadow_step(w);
		co_sleep_ns(w->t->ctx,
			    1000ull * bench_rand(w->t, w->pause_us + 1));
	}
	if (!--w->running && w->waiter)
		co_wake(w->waiter);
}

/* [co] nr coroutines write from now on. */
static inline void shadow_start(struct shadow *w, struct blk *disk, unsigned nr)
{
	w->disk = disk;
	w->stop = false;
	w->running = nr;
	for (unsigned i = 0; i < nr; i++)
		SHADOW_CHECK(!co_start(w->t->ctx, shadow_run, w), "start");
}

/* [co] */
static inline void shadow_stop(struct shadow *w)
{
	w->stop = true;
	w->waiter = co_self();
	while (w->running)
		co_yield ();
	w->waiter = NULL;
}

/* What a sector holds that is wrong; returns text. */
static inline const char *shadow_holds(const struct shadow *w, unsigned i,
				       const uint8_t *buf, char text[80])
{
	uint8_t want[SHADOW_SECTOR];
	size_t len = shadow_part(w, i);

	snprintf(text, 80, "bytes that nobody wrote");
	for (uint32_t gen = 0; gen <= w->s[i].begun; gen++) {
		size_t same = 0;

		shadow_fill(want, i, gen, len);
		while (same < len && want[same] == buf[same])
			same++;
		if (shadow_is(w, i, gen, buf))
			snprintf(text, 80, "generation %u", gen);
		else if (same > 8)
			snprintf(text, 80, "%zu bytes of generation %u", same,
				 gen);
	}
	return text;
}

/* [co] Every sector of b is as the model says; crashed: or as a crash may
 * leave it. */
static inline void shadow_compare(struct shadow *w, struct blk *b, bool crashed)
{
	SHADOW_CHECK(blk_len(b) >= w->len, "length");
	for (unsigned i = 0; i < w->nr; i++) {
		const struct shadow_sector *s = &w->s[i];
		uint32_t gen = crashed ? s->stable : s->done;
		uint32_t last = crashed ? s->begun : s->done;
		uint8_t buf[SHADOW_SECTOR];
		char text[80];
		int ret = blk_read(b, (uint64_t)i * SHADOW_SECTOR, buf,
				   shadow_part(w, i));

		SHADOW_CHECK(!ret, "%s: sector %u: %s", blk_name(b), i,
			     strerror(-ret));
		while (gen <= last && !shadow_is(w, i, gen, buf))
			gen++;
		if (gen > last && crashed && s->zero >= s->stable) {
			memset(buf + shadow_part(w, i), 0,
			       SHADOW_SECTOR - shadow_part(w, i));
			for (size_t k = 0; k < SHADOW_SECTOR; k++)
				if (buf[k])
					gen = UINT32_MAX;
			gen = gen == UINT32_MAX ? gen : last;
		}
		SHADOW_CHECK(gen <= last,
			     "%s: sector %u, generations %u-%u, holds %s",
			     blk_name(b), i, s->stable, last,
			     shadow_holds(w, i, buf, text));
	}
}

/* [co] All that was written is stable: the disk was closed. */
static inline void shadow_settle(struct shadow *w)
{
	for (unsigned i = 0; i < w->nr; i++)
		w->s[i].stable = w->s[i].done;
}

/* [co] */
static inline struct blk *shadow_open(struct bench *t, const char *path,
				      bool write)
{
	struct blk_options o = {.path = path, .write = write};
	struct error e = {0};
	struct blk *b = blk_open(t->ctx, &o, &e);

	SHADOW_CHECK(b, "%s", e.msg);
	return b;
}

#endif
