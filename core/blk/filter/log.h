/*
 * log: a filter that remembers every change in its order: to test what a crash
 * leaves, replay it up to any point.
 *
 * Without words the log is in memory and can be walked.  log.filename=PATH
 * writes it to a file in the layout of the Linux dm-log-writes target (sectors
 * of 512 bytes), for the tools that replay those.  A change is noted when it is
 * done; what gets done while a flush is under way is noted behind that flush,
 * so that a FLUSH entry makes everything before it stable.
 *
 * Thread rule: [co] for mark, the rest on the loop.
 */
#ifndef CORE_BLK_FILTER_LOG_H
#define CORE_BLK_FILTER_LOG_H

#include "core/blk/filter/filter.h"

enum {
	BLK_LOG_FLUSH = 1,
	BLK_LOG_FUA = 2,
	BLK_LOG_DISCARD = 4,
	BLK_LOG_MARK = 8,
	/* In memory only; the file holds zeroes, and a discard for the end of
	 * a file that was made shorter. */
	BLK_LOG_ZEROES = 1 << 16,
	BLK_LOG_TRUNCATE = 1 << 17, /* off: the new length */
};

struct blk_log_entry {
	const struct blk *node; /* the filter that noted it */
	uint64_t off, len;	/* bytes */
	unsigned flags;		/* 0: a write */
	void *data;		/* of a write; the text of a mark */
};

extern const struct blk_driver blk_log_driver;

/* Entries of a log in memory; at() is valid until the next request or clear. */
uint64_t blk_log_count(const struct blk *b);
const struct blk_log_entry *blk_log_at(const struct blk *b, uint64_t i);
void blk_log_clear(struct blk *b);
/* Both note into the memory of `with` from now on, in one order. */
void blk_log_share(struct blk *b, struct blk *with);
/* Puts a text of at most 400 bytes into the log; 0 or -errno. */
int blk_log_mark(struct blk *b, const char *text);

#endif
