/*
 * io: the generic layer over a node's driver: ranges, alignment, what a driver
 * leaves out, flushes.
 *
 * A node with an alignment gets aligned requests only: others are bounced, and
 * a write reads the blocks at its edges first.  Such writes exclude every other
 * write to the same blocks while they are between their read and their write.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/copy.h"
#include "core/blk/ctx.h"
#include "core/blk/driver.h"
#include "core/blk/iov.h"
#include "core/error.h"

#define BOUNCE_ALIGN 4096
#define BOUNCE_MAX   (1024 * 1024)

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t align_down(const struct blk *b, uint64_t off)
{
	return off & ~(uint64_t)(b->align - 1);
}

static uint64_t align_up(const struct blk *b, uint64_t off)
{
	return align_down(b, off + b->align - 1);
}

static bool is_range_sane(uint64_t off, uint64_t len)
{
	return off <= INT64_MAX && len <= INT64_MAX - off;
}

/* ---- writes that exclude each other ---- */

struct blk_request {
	uint64_t off, end; /* in whole blocks */
	bool exclusive;
	struct blk_request *next;
	struct co_queue waiters;
};

static struct blk_request *find_conflict(struct blk *b,
					 const struct blk_request *r)
{
	for (struct blk_request *p = b->requests; p; p = p->next)
		if (p->off < r->end && r->off < p->end &&
		    (p->exclusive || r->exclusive))
			return p;
	return NULL;
}

static void track(struct blk *b, struct blk_request *r, uint64_t off,
		  uint64_t len)
{
	struct blk_request *other;

	if (b->align == 1)
		return;
	r->off = align_down(b, off);
	r->end = align_up(b, off + len);
	r->exclusive = r->off != off || r->end != off + len;
	while ((other = find_conflict(b, r)))
		co_wait(&other->waiters, NULL);
	r->next = b->requests;
	b->requests = r;
}

static void untrack(struct blk *b, struct blk_request *r)
{
	struct blk_request **p = &b->requests;

	if (b->align == 1)
		return;
	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	co_wake_all(&r->waiters);
}

/* ---- reads ---- */

static int read_bounced(struct blk *b, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr, size_t skip)
{
	uint64_t first = align_down(b, off), span;
	void *buf;
	int ret = 0;

	span = min_u64(align_up(b, off + len) - first, BOUNCE_MAX);
	if (posix_memalign(&buf, BOUNCE_ALIGN, span))
		return -ENOMEM;
	while (len && !ret) {
		uint64_t at = align_down(b, off), head = off - at;
		uint64_t n = min_u64(len, span - head);
		struct iovec v = {buf, align_up(b, head + n)};

		ret = b->drv->readv(b, at, v.iov_len, &v, 1);
		/* Nobody sees memory that was not read into. */
		if (!ret)
			iov_from_buf(iov, nr, skip, (char *)buf + head, n);
		skip += n;
		off += n;
		len -= n;
	}
	free(buf);
	return ret;
}

static int read_inside(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr)
{
	struct iovec few[16], *part = few;
	int ret, n;

	if ((off | len) & (b->align - 1))
		return read_bounced(b, off, len, iov, nr, 0);
	if (iov_len(iov, nr) == len)
		return b->drv->readv(b, off, len, iov, nr);
	if (nr > 16)
		part = malloc(nr * sizeof(*part));
	if (!part)
		return -ENOMEM;
	n = iov_slice(iov, nr, 0, len, part);
	ret = b->drv->readv(b, off, len, part, n);
	if (part != few)
		free(part);
	return ret;
}

int blk_readv(struct blk *b, uint64_t off, uint64_t len,
	      const struct iovec *iov, int nr_iov)
{
	uint64_t inside;
	int ret = 0;

	if (!is_range_sane(off, len))
		return -EINVAL;
	if (off + len > b->len && !b->is_protocol)
		return -EINVAL;
	inside = off >= b->len ? 0 : min_u64(len, b->len - off);
	if (inside) {
		blk_request_begin(b);
		ret = read_inside(b, off, inside, iov, nr_iov);
		blk_request_end(b);
	}
	if (!ret && inside < len)
		iov_zero(iov, nr_iov, inside, len - inside);
	return ret;
}

int blk_read(struct blk *b, uint64_t off, void *buf, size_t len)
{
	struct iovec v = {buf, len};

	return blk_readv(b, off, len, &v, 1);
}

/* ---- writes ---- */

/* Reads the block at `at` into buf when the write [off, end) leaves some of
 * its bytes as they are. */
static int read_edge(struct blk *b, uint64_t at, void *buf, uint64_t off,
		     uint64_t end)
{
	uint64_t len = b->align;

	if (off <= at && end >= at + b->align)
		return 0;
	if (!b->is_protocol && at < b->len && b->len - at < len)
		len = b->len - at;
	memset((char *)buf + len, 0, b->align - len);
	return blk_read(b, at, buf, len);
}

/* iov NULL writes zeroes. */
static int write_bounced(struct blk *b, uint64_t off, uint64_t len,
			 const struct iovec *iov, int nr, unsigned flags)
{
	uint64_t end = off + len, span;
	size_t skip = 0;
	void *buf;
	int ret = 0;

	span = min_u64(align_up(b, end) - align_down(b, off), BOUNCE_MAX);
	if (posix_memalign(&buf, BOUNCE_ALIGN, span))
		return -ENOMEM;
	memset(buf, 0, span);
	while (off < end && !ret) {
		uint64_t at = align_down(b, off), head = off - at;
		uint64_t n = min_u64(end - off, span - head);
		struct iovec v = {buf, align_up(b, head + n)};
		uint64_t last = at + v.iov_len - b->align;

		ret = read_edge(b, at, buf, off, off + n);
		if (!ret && last != at)
			ret = read_edge(b, last, (char *)buf + (last - at), off,
					off + n);
		if (ret)
			break;
		if (iov)
			iov_to_buf(iov, nr, skip, (char *)buf + head, n);
		else
			memset((char *)buf + head, 0, n);
		ret = b->drv->writev(b, at, v.iov_len, &v, 1, flags);
		skip += n;
		off += n;
	}
	free(buf);
	return ret;
}

static int check_write(struct blk *b, uint64_t off, uint64_t len)
{
	if (!b->write || !b->drv->writev)
		return -EROFS;
	if (!is_range_sane(off, len))
		return -EINVAL;
	if (off + len > b->len && !b->is_protocol)
		return -EINVAL;
	return 0;
}

static int finish_write(struct blk *b, int ret, unsigned flags)
{
	b->write_gen++;
	if (!ret && (flags & BLK_FUA) && !b->fua)
		ret = blk_flush(b);
	blk_request_end(b);
	return ret;
}

/* Asked for with the image: the node that people write to looks, those below
 * it don't. */
static bool is_zero_write(struct blk *b, const struct iovec *iov, int nr,
			  unsigned flags)
{
	if (!b->options.detect_zeroes || b->is_protocol ||
	    (flags & BLK_COMPRESSED))
		return false;
	for (int i = 0; i < nr; i++)
		if (!blk_is_zero(iov[i].iov_base, iov[i].iov_len))
			return false;
	return true;
}

int blk_writev(struct blk *b, uint64_t off, uint64_t len,
	       const struct iovec *iov, int nr_iov, unsigned flags)
{
	struct blk_request r = {0};
	int ret = check_write(b, off, len);

	if (ret || !len)
		return ret;
	if (is_zero_write(b, iov, nr_iov, flags))
		return blk_write_zeroes(
			b, off, len,
			flags | (b->options.zeroes_unmap ? BLK_MAY_UNMAP : 0));
	blk_request_begin(b);
	track(b, &r, off, len);
	if ((off | len) & (b->align - 1))
		ret = write_bounced(b, off, len, iov, nr_iov, flags);
	else
		ret = b->drv->writev(b, off, len, iov, nr_iov, flags);
	if (!ret && off + len > b->len)
		b->len = off + len;
	untrack(b, &r);
	return finish_write(b, ret, flags);
}

int blk_write(struct blk *b, uint64_t off, const void *buf, size_t len,
	      unsigned flags)
{
	struct iovec v = {(void *)buf, len};

	return blk_writev(b, off, len, &v, 1, flags);
}

/* ---- zeroes and discards ---- */

static int write_zero_data(struct blk *b, uint64_t off, uint64_t len,
			   unsigned flags)
{
	size_t part = min_u64(len, BOUNCE_MAX);
	void *buf;
	int ret = 0;

	if (posix_memalign(&buf, BOUNCE_ALIGN, part))
		return -ENOMEM;
	memset(buf, 0, part);
	while (len && !ret) {
		struct iovec v = {buf, min_u64(len, part)};

		ret = b->drv->writev(b, off, v.iov_len, &v, 1, flags);
		off += v.iov_len;
		len -= v.iov_len;
	}
	free(buf);
	return ret;
}

static int zero_aligned(struct blk *b, uint64_t off, uint64_t len,
			unsigned flags)
{
	int ret = -ENOTSUP;

	if (b->drv->write_zeroes)
		ret = b->drv->write_zeroes(b, off, len, flags);
	if (ret == -ENOTSUP && !(flags & BLK_NO_FALLBACK))
		ret = write_zero_data(b, off, len, flags & BLK_FUA);
	return ret;
}

static int zero_range(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
	uint64_t first = align_up(b, off), last = align_down(b, off + len);
	unsigned fua = flags & BLK_FUA;
	int ret = 0;

	/* The end of the node counts as a border of blocks. */
	if (off + len == b->len && off + len > first)
		last = off + len;
	if (first >= last)
		return write_bounced(b, off, len, NULL, 0, fua);
	if (first > off)
		ret = write_bounced(b, off, first - off, NULL, 0, fua);
	if (!ret)
		ret = zero_aligned(b, first, last - first, flags);
	if (!ret && off + len > last)
		ret = write_bounced(b, last, off + len - last, NULL, 0, fua);
	return ret;
}

int blk_write_zeroes(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
	struct blk_request r = {0};
	int ret = check_write(b, off, len);

	if (ret || !len)
		return ret;
	blk_request_begin(b);
	track(b, &r, off, len);
	ret = zero_range(b, off, len, flags);
	if (!ret && off + len > b->len)
		b->len = off + len;
	untrack(b, &r);
	return finish_write(b, ret, flags);
}

int blk_discard(struct blk *b, uint64_t off, uint64_t len)
{
	struct blk_request r = {0};
	uint64_t first = align_up(b, off), last;
	int ret = check_write(b, off, len);

	if (ret || !len || !b->drv->discard || !b->options.discard_unmap)
		return ret;
	last = off + len == b->len ? off + len : align_down(b, off + len);
	if (first >= last)
		return 0;
	blk_request_begin(b);
	track(b, &r, first, last - first);
	ret = b->drv->discard(b, first, last - first);
	untrack(b, &r);
	return finish_write(b, ret == -ENOTSUP ? 0 : ret, 0);
}

/* ---- flush and truncate ---- */

/* The driver first writes back what it holds; then come the nodes below. */
static int flush_layers(struct blk *b)
{
	int ret = 0;

	if (b->drv->flush && !(b->is_protocol && b->options.no_flush)) {
		ret = b->drv->flush(b);
		if (b->is_protocol && !b->is_filter)
			__atomic_fetch_add(&b->ctx->host_flushes, 1,
					   __ATOMIC_RELAXED);
	}
	if (!ret && b->data_file)
		ret = blk_flush(b->data_file);
	if (!ret && b->file && !b->drv->flushes_file)
		ret = blk_flush(b->file);
	return ret;
}

int blk_flush(struct blk *b)
{
	uint64_t gen;
	int ret = 0;

	if (!b->write)
		return 0;
	blk_request_begin(b);
	co_lock(&b->flushing);
	gen = b->write_gen;
	if (b->flush_error)
		ret = b->flush_error;
	else if (gen != b->flushed_gen)
		ret = flush_layers(b);
	else
		b->merged_flushes++;
	if (!ret)
		b->flushed_gen = gen;
	else if (b->is_protocol && !b->is_filter)
		b->flush_error = ret;
	co_unlock(&b->flushing);
	blk_request_end(b);
	return ret;
}

int blk_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
		 bool allow_shrink, struct error *e)
{
	int ret;

	if (!b->write)
		return error_set(e, -EROFS, "Image is read-only");
	if (!b->drv->truncate)
		return error_set(e, -ENOTSUP,
				 "Image format driver does not support resize");
	if (len > INT64_MAX)
		return error_set(e, -EFBIG, "%s: %llu bytes are too many",
				 b->name, (unsigned long long)len);
	blk_request_begin(b);
	ret = b->drv->truncate(b, len, mode, allow_shrink, e);
	if (!ret)
		b->len = len;
	return finish_write(b, ret, 0);
}
