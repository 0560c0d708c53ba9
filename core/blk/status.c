/*
 * status: what a range of a node is made of (blk.h, block status).
 */
#include <errno.h>

#include "core/blk/driver.h"

#define KNOWN (BLK_STATUS_DATA | BLK_STATUS_ZERO)

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int ask_driver(struct blk *b, uint64_t off, uint64_t len, uint64_t *n,
		      uint64_t *map, struct blk **file)
{
	uint64_t mask = b->align > 1 ? b->align - 1 : 0, head = off & mask;
	int ret;

	*map = off;
	*file = b;
	*n = len;
	if (!b->drv->status)
		return BLK_STATUS_DATA | BLK_STATUS_ALLOCATED |
		       (b->is_protocol ? BLK_STATUS_OFFSET_VALID : 0);
	ret = b->drv->status(b, off - head, (head + len + mask) & ~mask, n, map,
			     file);
	if (ret < 0)
		return ret;
	if (*n <= head)
		return -EIO;
	*n = min_u64(*n - head, len);
	*map += head;
	return ret;
}

/* A failing file only loses what it would have told about holes. */
static int ask_file(int ret, uint64_t *n, uint64_t map, struct blk *file)
{
	uint64_t got;
	int below = blk_status(file, map, *n, &got, NULL, NULL);

	if (below < 0)
		return ret;
	if ((below & BLK_STATUS_EOF) && (!got || (below & BLK_STATUS_ZERO)))
		return ret | BLK_STATUS_ZERO;
	*n = got;
	return ret | (below & BLK_STATUS_ZERO);
}

static int status_inside(struct blk *b, uint64_t off, uint64_t len,
			 uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct blk *at = b;
	uint64_t n, where, got;
	int ret;

	ret = ask_driver(b, off, min_u64(len, b->len - off), &n, &where, &at);
	if (ret < 0)
		return ret;
	if (ret & BLK_STATUS_RAW) {
		ret = blk_status(at, where, n, &got, &where, &at);
		if (ret < 0)
			return ret;
		if (got)
			n = got;
		else
			ret = BLK_STATUS_ZERO;
		if (b->is_filter)
			ret |= BLK_STATUS_RAW;
	} else if ((ret & KNOWN) == BLK_STATUS_DATA &&
		   (ret & BLK_STATUS_OFFSET_VALID) && at && at != b &&
		   (!(ret & BLK_STATUS_SOLID) || where + n > at->len)) {
		ret = ask_file(ret, &n, where, at);
	}
	ret &= ~(BLK_STATUS_EOF | BLK_STATUS_SOLID);
	if (ret & KNOWN)
		ret |= BLK_STATUS_ALLOCATED;
	else if (!(ret & BLK_STATUS_RAW) &&
		 (!b->backing || off >= b->backing->len))
		ret |= BLK_STATUS_ZERO;
	ret &= ~BLK_STATUS_RAW;
	*pnum = n;
	if (map)
		*map = where;
	if (file)
		*file = ret & BLK_STATUS_OFFSET_VALID ? at : NULL;
	return ret | (off + n == b->len ? BLK_STATUS_EOF : 0);
}

int blk_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
	       uint64_t *map, struct blk **file)
{
	int ret;

	*pnum = 0;
	if (off >= b->len)
		return BLK_STATUS_EOF;
	if (!len)
		return 0;
	blk_request_begin(b);
	ret = status_inside(b, off, len, pnum, map, file);
	blk_request_end(b);
	return ret;
}

static struct blk *below(const struct blk *p)
{
	return blk_skip_filters(p)->backing;
}

/* A layer stays open while it is asked. */
static struct blk *step_down(struct blk *p)
{
	struct blk *next = below(p);

	blk_request_begin(next);
	blk_request_end(p);
	return next;
}

int blk_status_above(struct blk *b, struct blk *base, uint64_t off,
		     uint64_t len, uint64_t *pnum, uint64_t *map,
		     struct blk **file, int *depth)
{
	struct blk *p = b;
	uint64_t n;
	int level = 0, ret;

	blk_request_begin(p);
	ret = blk_status(b, off, len, pnum, map, file);
	while (ret >= 0 && *pnum && !(ret & (KNOWN | BLK_STATUS_ALLOCATED)) &&
	       below(p) && below(p) != base) {
		p = step_down(p);
		level++;
		ret = blk_status(p, off, *pnum, &n, map, file);
		if (ret < 0)
			break;
		/* Past this layer's end the layers above read zeroes. */
		if (!n)
			ret = BLK_STATUS_ZERO | BLK_STATUS_ALLOCATED;
		else if (!(ret & BLK_STATUS_EOF) || !(ret & BLK_STATUS_ZERO))
			*pnum = n;
		else if (n < *pnum)
			ret &= ~BLK_STATUS_OFFSET_VALID;
	}
	blk_request_end(p);
	if (depth)
		*depth = level;
	if (ret < 0 || !*pnum)
		return ret;
	if (file && !(ret & BLK_STATUS_OFFSET_VALID))
		*file = NULL;
	ret &= ~BLK_STATUS_EOF;
	return ret | (off + *pnum == b->len ? BLK_STATUS_EOF : 0);
}
