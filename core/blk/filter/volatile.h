/*
 * volatile: a filter that models a disk's volatile write cache, so that power
 * cuts can be tried.
 *
 * What was written since the last flush is kept in memory, in its order; reads
 * see it.  A flush passes it on and then flushes the child; a write with
 * BLK_FUA goes to the child at once and says nothing of those before it.  When
 * more than the budget is held, the oldest goes to the child, as a real cache
 * destages.  After a cut every request fails with -EIO until the image is
 * closed and opened again.
 *
 * Under no_flush (cache mode unsafe) flushes don't reach a node over a file:
 * then nothing is ever stable but what was destaged.
 *
 * Words: budget=BYTES (64M).
 *
 * Thread rule: on the loop.
 */
#ifndef CORE_BLK_FILTER_VOLATILE_H
#define CORE_BLK_FILTER_VOLATILE_H

#include "core/blk/filter/filter.h"

/* What of the cache reaches the child when the power goes. */
enum blk_cut {
	BLK_CUT_NONE,
	BLK_CUT_ALL,
	BLK_CUT_SUBSET, /* of the requests, at random */
	BLK_CUT_TORN	/* and only some sectors of 512 bytes of some of them */
};

/* "none", "all", "subset", "torn"; 0, or -EINVAL with a sentence that lists
 * them. */
int blk_cut_parse(const char *name, enum blk_cut *out, struct error *e);
const char *blk_cut_name(enum blk_cut mode);

struct blk_volatile_stats {
	uint64_t requests, bytes; /* held now */
	uint64_t oldest_ns;	  /* age of the oldest; 0: none */
	bool is_cut;
};

extern const struct blk_driver blk_volatile_driver;

/* [co] Cuts the power; the same seed makes the same choice.  A request on its
 * way may count as arrived, but fails.  0, or the -errno of the child. */
int blk_volatile_cut(struct blk *b, enum blk_cut mode, unsigned seed);
void blk_volatile_stats(const struct blk *b, struct blk_volatile_stats *out);

#endif
