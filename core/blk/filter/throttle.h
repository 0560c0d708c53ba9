/*
 * throttle: a filter that limits bytes and operations a second, with bursts.
 *
 * Each limit is a leaky bucket: requests fill it, avg units leak each second,
 * and who finds it full waits until it isn't.  Without max it holds a tenth of
 * a second's worth; with max it holds burst_len seconds at max, while a second
 * bucket keeps the rate at max.  Requests of one direction go first come,
 * first served; where both directions share a limit, the older goes first.
 * A request larger than the bucket goes when there is room for any, and those
 * behind it wait for it.  Zeroes and discards count as writes; flushes pass.
 *
 * Words: bps-total, bps-read, bps-write, iops-total, iops-read, iops-write,
 * each also with -max and -max-length; iops-size.
 *
 * Thread rule: on the loop.
 */
#ifndef CORE_BLK_FILTER_THROTTLE_H
#define CORE_BLK_FILTER_THROTTLE_H

#include "core/blk/filter/filter.h"

enum {
	BLK_THROTTLE_BPS_TOTAL,
	BLK_THROTTLE_BPS_READ,
	BLK_THROTTLE_BPS_WRITE,
	BLK_THROTTLE_IOPS_TOTAL,
	BLK_THROTTLE_IOPS_READ,
	BLK_THROTTLE_IOPS_WRITE,
	BLK_NR_THROTTLES
};

struct blk_throttle_limits {
	struct blk_throttle_limit {
		uint64_t avg;	    /* units a second, 0: no limit */
		uint64_t max;	    /* in a burst, 0: none */
		uint64_t burst_len; /* seconds, 0: 1 */
	} limit[BLK_NR_THROTTLES];
	uint64_t iops_size; /* bytes that count as one operation, 0: any */
};

extern const struct blk_driver blk_throttle_driver;

/* Takes effect at once, for those who wait too.  -EINVAL with the reason and
 * nothing changed: a max without avg or below it, total beside read or write. */
int blk_throttle_set(struct blk *b, const struct blk_throttle_limits *limits,
		     struct error *e);
/* Lifted, all pass at once, those who wait first; it counts against the limits
 * that hold afterwards. */
void blk_throttle_lift(struct blk *b, bool lift);
void blk_throttle_get(const struct blk *b, struct blk_throttle_limits *out);
/* Requests that wait now. */
unsigned blk_throttle_waiting(const struct blk *b);

#endif
