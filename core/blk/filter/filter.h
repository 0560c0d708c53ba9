/*
 * filter: nodes that stand between a node and its user: throttle, fault, log,
 * volatile.
 *
 * A filter has one child (its `file`), the same length and, towards its user,
 * the same nature: over a protocol node it is one.  It may stand above a format
 * or between the format and its file.  Each brings a header of its own for what
 * can be done with it while it runs.
 *
 * Thread rule: [co].
 */
#ifndef CORE_BLK_FILTER_FILTER_H
#define CORE_BLK_FILTER_FILTER_H

#include "core/blk/driver.h"
#include "core/blk/format.h"

/* A filter as an open asks for it: a list, the uppermost first. */
struct blk_filter_spec {
	const struct blk_driver *drv;
	bool above; /* the format; else between it and its file */
	struct blk_opt *opts;
	unsigned nr_opts;
	struct blk_filter_spec *next;
};

/* blk_filter_open with words for it: puts a filter over child and takes the reference to it, also when it fails:
 * then NULL with the reason in e. */
struct blk *blk_filter_open_with(struct blk *child,
				 const struct blk_driver *drv,
				 const struct blk_opt *opts, unsigned nr,
				 struct error *e);

/* For open() of a filter: the value that it was given under key, or NULL. */
const char *blk_filter_opt(const struct blk_options *o, const char *key);
/* Refuses keys that are not in the list, which NULL ends. */
int blk_filter_check(const struct blk_options *o, const char *const *keys,
		     struct error *e);
/* A size like 64M in bytes; absent leaves *out as it is. */
int blk_filter_size(const struct blk_options *o, const char *key, uint64_t *out,
		    struct error *e);

/* Slots that pass a request to the child as it is. */
int blk_filter_readv(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr);
int blk_filter_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags);
int blk_filter_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			    unsigned flags);
int blk_filter_discard(struct blk *b, uint64_t off, uint64_t len);
int blk_filter_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		      uint64_t *map, struct blk **file);
int blk_filter_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			bool allow_shrink, struct error *e);

/* Ends what such a filter added to a file of odd length; in close(). */
void blk_filter_cut_tail(struct blk *b);

#endif
