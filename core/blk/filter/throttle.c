#include "core/blk/filter/throttle.h"

#include <errno.h>
#include <stdio.h>

#include "core/blk/ctx.h"
#include "core/error.h"

#define NS	  1000000000.0
#define LIMIT_MAX 1000000000000000ull
#define BURST_MAX 3600

enum { READ, WRITE, NR_WAYS };

struct bucket {
	double level, burst_level; /* units */
};

/* A request that waits; on its coroutine's stack. */
struct waiter {
	struct co *co;
	uint64_t ticket;
	struct waiter *next;
};

struct throttle {
	struct blk_throttle_limits limits;
	struct bucket buckets[BLK_NR_THROTTLES];
	uint64_t leaked_ns, next_ticket;
	bool is_lifted;
	struct way {
		struct waiter *first, **end;
		struct loop_timer timer;
	} ways[NR_WAYS];
};

static const char *const names[BLK_NR_THROTTLES] = {
	[BLK_THROTTLE_BPS_TOTAL] = "bps-total",
	[BLK_THROTTLE_BPS_READ] = "bps-read",
	[BLK_THROTTLE_BPS_WRITE] = "bps-write",
	[BLK_THROTTLE_IOPS_TOTAL] = "iops-total",
	[BLK_THROTTLE_IOPS_READ] = "iops-read",
	[BLK_THROTTLE_IOPS_WRITE] = "iops-write",
};

/* ---- buckets ---- */

static double above_zero(double v)
{
	return v > 0 ? v : 0;
}

static void leak(struct throttle *t)
{
	uint64_t now = loop_now_ns();
	double seconds = (now - t->leaked_ns) / NS;

	t->leaked_ns = now;
	for (unsigned i = 0; i < BLK_NR_THROTTLES; i++) {
		const struct blk_throttle_limit *l = &t->limits.limit[i];
		struct bucket *b = &t->buckets[i];

		b->level = above_zero(b->level - l->avg * seconds);
		b->burst_level = above_zero(b->burst_level - l->max * seconds);
	}
}

static bool has_burst(const struct blk_throttle_limit *l)
{
	return l->max && l->burst_len > 1;
}

/* Seconds until bucket i has room. */
static double room_in(const struct throttle *t, unsigned i)
{
	const struct blk_throttle_limit *l = &t->limits.limit[i];
	const struct bucket *b = &t->buckets[i];
	double size = l->avg / 10.0, wait, burst = 0;

	if (!l->avg)
		return 0;
	if (l->max)
		size = (double)l->max * (l->burst_len ? l->burst_len : 1);
	wait = (b->level - size) / l->avg;
	if (has_burst(l))
		burst = (b->burst_level - l->max / 10.0) / l->max;
	return above_zero(wait > burst ? wait : burst);
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* Seconds until a way's own buckets, or the shared ones, have room. */
static double own_wait(const struct throttle *t, unsigned way)
{
	return larger(room_in(t, BLK_THROTTLE_BPS_READ + way),
		      room_in(t, BLK_THROTTLE_IOPS_READ + way));
}

static double shared_wait(const struct throttle *t)
{
	return larger(room_in(t, BLK_THROTTLE_BPS_TOTAL),
		      room_in(t, BLK_THROTTLE_IOPS_TOTAL));
}

static void fill(struct throttle *t, unsigned i, double units)
{
	const struct blk_throttle_limit *l = &t->limits.limit[i];

	if (!l->avg)
		return;
	t->buckets[i].level += units;
	if (has_burst(l))
		t->buckets[i].burst_level += units;
}

static void account(struct throttle *t, unsigned way, uint64_t len)
{
	uint64_t size = t->limits.iops_size;
	double ops = size && len > size ? (double)len / size : 1;

	fill(t, BLK_THROTTLE_BPS_TOTAL, len);
	fill(t, BLK_THROTTLE_BPS_READ + way, len);
	fill(t, BLK_THROTTLE_IOPS_TOTAL, ops);
	fill(t, BLK_THROTTLE_IOPS_READ + way, ops);
}

static bool has_limits(const struct throttle *t)
{
	for (unsigned i = 0; i < BLK_NR_THROTTLES; i++)
		if (t->limits.limit[i].avg)
			return true;
	return false;
}

/* ---- waiting ---- */

static void wake_first(void *arg)
{
	struct way *way = arg;

	if (way->first)
		co_wake(way->first->co);
}

/* Seconds that the first of a way has to wait; < 0: until the other way's first
 * has gone, which came before and is held up only by what they share. */
static double wait_of(struct throttle *t, unsigned way)
{
	const struct waiter *other = t->ways[!way].first;
	double own = own_wait(t, way), shared = shared_wait(t);

	if (own > 0)
		return larger(own, shared);
	if (other && other->ticket < t->ways[way].first->ticket &&
	    own_wait(t, !way) <= 0 &&
	    (t->limits.limit[BLK_THROTTLE_BPS_TOTAL].avg ||
	     t->limits.limit[BLK_THROTTLE_IOPS_TOTAL].avg))
		return -1;
	return shared;
}

static void arm(struct way *way, double seconds)
{
	/* A nanosecond more than none at all, so that time goes on. */
	loop_timer_set(&way->timer, loop_now_ns() + seconds * NS + 1);
}

/* Returns when a request of len bytes may go. */
static void pass(struct blk *b, unsigned which, uint64_t len)
{
	struct throttle *t = b->priv;
	struct way *way = &t->ways[which];
	struct waiter w = {.co = co_self(), .ticket = t->next_ticket++};

	if (!has_limits(t))
		return;
	*way->end = &w;
	way->end = &w.next;
	for (;;) {
		double wait = 0;

		if (way->first == &w) {
			leak(t);
			wait = t->is_lifted ? 0 : wait_of(t, which);
			if (wait == 0)
				break;
			if (wait > 0)
				arm(way, wait);
		}
		co_yield ();
	}
	account(t, which, len);
	way->first = w.next;
	if (!way->first)
		way->end = &way->first;
	wake_first(way);
	wake_first(&t->ways[!which]);
}

static int throttle_readv(struct blk *b, uint64_t off, uint64_t len,
			  const struct iovec *iov, int nr)
{
	pass(b, READ, len);
	return blk_filter_readv(b, off, len, iov, nr);
}

static int throttle_writev(struct blk *b, uint64_t off, uint64_t len,
			   const struct iovec *iov, int nr, unsigned flags)
{
	pass(b, WRITE, len);
	return blk_filter_writev(b, off, len, iov, nr, flags);
}

static int throttle_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
				 unsigned flags)
{
	pass(b, WRITE, len);
	return blk_filter_write_zeroes(b, off, len, flags);
}

static int throttle_discard(struct blk *b, uint64_t off, uint64_t len)
{
	pass(b, WRITE, len);
	return blk_filter_discard(b, off, len);
}

/* ---- limits ---- */

static int check_limit(const struct blk_throttle_limit *l, const char *name,
		       struct error *e)
{
	if (l->avg > LIMIT_MAX || l->max > LIMIT_MAX)
		return error_set(e, -EINVAL, "%s: at most %llu a second", name,
				 LIMIT_MAX);
	if (l->max && !l->avg)
		return error_set(e, -EINVAL, "%s-max needs %s", name, name);
	if (l->max && l->max < l->avg)
		return error_set(e, -EINVAL, "%s-max is below %s", name, name);
	if (l->burst_len > 1 && !l->max)
		return error_set(e, -EINVAL, "%s-max-length needs %s-max", name,
				 name);
	if (l->burst_len > BURST_MAX)
		return error_set(e, -EINVAL,
				 "%s-max-length: at most %d seconds", name,
				 BURST_MAX);
	return 0;
}

static int check_limits(const struct blk_throttle_limits *limits,
			struct error *e)
{
	int ret = 0;

	for (unsigned i = 0; i < BLK_NR_THROTTLES && !ret; i++)
		ret = check_limit(&limits->limit[i], names[i], e);
	for (unsigned i = 0; i < BLK_NR_THROTTLES && !ret; i += 3)
		if (limits->limit[i].avg &&
		    (limits->limit[i + 1].avg || limits->limit[i + 2].avg))
			ret = error_set(e, -EINVAL,
					"%s can't be used together with %s or "
					"%s",
					names[i], names[i + 1], names[i + 2]);
	return ret;
}

int blk_throttle_set(struct blk *b, const struct blk_throttle_limits *limits,
		     struct error *e)
{
	struct throttle *t = b->priv;
	int ret = check_limits(limits, e);

	if (ret)
		return ret;
	leak(t);
	t->limits = *limits;
	/* What was used up under other limits is forgiven. */
	for (unsigned i = 0; i < BLK_NR_THROTTLES; i++)
		t->buckets[i] = (struct bucket){0};
	for (unsigned i = 0; i < NR_WAYS; i++)
		wake_first(&t->ways[i]);
	return 0;
}

void blk_throttle_lift(struct blk *b, bool lift)
{
	struct throttle *t = b->priv;

	t->is_lifted = lift;
	for (unsigned i = 0; i < NR_WAYS; i++)
		wake_first(&t->ways[i]);
}

void blk_throttle_get(const struct blk *b, struct blk_throttle_limits *out)
{
	const struct throttle *t = b->priv;

	*out = t->limits;
}

unsigned blk_throttle_waiting(const struct blk *b)
{
	const struct throttle *t = b->priv;
	unsigned nr = 0;

	for (unsigned i = 0; i < NR_WAYS; i++)
		for (const struct waiter *w = t->ways[i].first; w; w = w->next)
			nr++;
	return nr;
}

/* ---- opening ---- */

#define NAME_LEN 24

static int read_limits(const struct blk_options *o, char keys[][NAME_LEN],
		       struct blk_throttle_limits *limits, struct error *e)
{
	int ret = blk_filter_size(o, "iops-size", &limits->iops_size, e);

	for (unsigned i = 0; i < BLK_NR_THROTTLES && !ret; i++) {
		struct blk_throttle_limit *l = &limits->limit[i];

		ret = blk_filter_size(o, keys[3 * i], &l->avg, e);
		if (!ret)
			ret = blk_filter_size(o, keys[3 * i + 1], &l->max, e);
		if (!ret)
			ret = blk_filter_size(o, keys[3 * i + 2], &l->burst_len,
					      e);
	}
	return ret;
}

static int throttle_open(struct blk *b, const struct blk_options *o,
			 struct error *e)
{
	char keys[3 * BLK_NR_THROTTLES][NAME_LEN];
	const char *list[3 * BLK_NR_THROTTLES + 2] = {NULL};
	struct blk_throttle_limits limits = {0};
	struct throttle *t = b->priv;
	int ret;

	for (unsigned i = 0; i < 3 * BLK_NR_THROTTLES; i++) {
		static const char *const tails[] = {"", "-max", "-max-length"};

		snprintf(keys[i], NAME_LEN, "%s%s", names[i / 3], tails[i % 3]);
		list[i] = keys[i];
	}
	list[3 * BLK_NR_THROTTLES] = "iops-size";
	b->fua = true;
	t->leaked_ns = loop_now_ns();
	for (unsigned i = 0; i < NR_WAYS; i++) {
		struct way *way = &t->ways[i];

		way->end = &way->first;
		loop_timer_init(&way->timer, b->ctx->loop, wake_first, way);
	}
	ret = blk_filter_check(o, list, e);
	if (!ret)
		ret = read_limits(o, keys, &limits, e);
	return ret ? ret : blk_throttle_set(b, &limits, e);
}

static void throttle_close(struct blk *b)
{
	struct throttle *t = b->priv;

	for (unsigned i = 0; i < NR_WAYS; i++)
		loop_timer_stop(&t->ways[i].timer);
}

const struct blk_driver blk_throttle_driver = {
	.name = "throttle",
	.priv_len = sizeof(struct throttle),
	.is_filter = true,
	.open = throttle_open,
	.close = throttle_close,
	.readv = throttle_readv,
	.writev = throttle_writev,
	.write_zeroes = throttle_write_zeroes,
	.discard = throttle_discard,
	.status = blk_filter_status,
	.truncate = blk_filter_truncate,
};
