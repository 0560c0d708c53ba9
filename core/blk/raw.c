/*
 * raw: the bytes of the file are the disk.
 */
#include <errno.h>
#include <string.h>

#include "core/blk/driver.h"
#include "core/blk/format.h"
#include "core/error.h"

static int raw_open(struct blk *b, const struct blk_options *o, struct error *e)
{
	(void)o;
	(void)e;
	b->len = b->file->len;
	return 0;
}

static int raw_readv(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr)
{
	return blk_readv(b->file, off, len, iov, nr);
}

static int raw_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags)
{
	if (flags & BLK_COMPRESSED)
		return -ENOTSUP;
	return blk_writev(b->file, off, len, iov, nr, 0);
}

static int raw_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			    unsigned flags)
{
	return blk_write_zeroes(b->file, off, len, flags);
}

static int raw_discard(struct blk *b, uint64_t off, uint64_t len)
{
	return blk_discard(b->file, off, len);
}

static int raw_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		      uint64_t *map, struct blk **file)
{
	*pnum = len;
	*map = off;
	*file = b->file;
	return BLK_STATUS_RAW | BLK_STATUS_OFFSET_VALID;
}

static int raw_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			bool allow_shrink, struct error *e)
{
	if (mode == BLK_PREALLOC_METADATA)
		return error_set(e, -ENOTSUP,
				 "Unsupported preallocation mode: metadata");
	return blk_truncate(b->file, len, mode, allow_shrink, e);
}

const struct blk_driver blk_raw_driver = {
	.name = "raw",
	.open = raw_open,
	.readv = raw_readv,
	.writev = raw_writev,
	.write_zeroes = raw_write_zeroes,
	.discard = raw_discard,
	.status = raw_status,
	.truncate = raw_truncate,
};

static const struct blk_opt_desc raw_opts[] = {
	{"size", "size", "Virtual disk size", NULL},
	{"preallocation", "str",
	 "Preallocation mode (allowed values: off, falloc, full)", NULL},
	{NULL, NULL, NULL, NULL},
};

static int raw_create(struct blk_ctx *ctx, const struct blk_create *c,
		      struct error *e)
{
	enum blk_prealloc mode = BLK_PREALLOC_OFF;

	if (c->backing)
		return error_set(e, -ENOTSUP,
				 "Backing file not supported for file format "
				 "'raw'");
	for (unsigned i = 0; i < c->nr_opts; i++) {
		const char *key = c->opts[i].key, *value = c->opts[i].value;

		if (!strcmp(key, "size") || !strcmp(key, "nocow"))
			continue;
		if (strcmp(key, "preallocation"))
			return error_set(e, -EINVAL, "Invalid parameter '%s'",
					 key);
		if (!strcmp(value, "falloc"))
			mode = BLK_PREALLOC_FALLOC;
		else if (!strcmp(value, "full"))
			mode = BLK_PREALLOC_FULL;
		else if (!strcmp(value, "metadata"))
			return error_set(e, -ENOTSUP,
					 "Unsupported preallocation mode: "
					 "metadata");
		else if (strcmp(value, "off"))
			return error_set(e, -EINVAL,
					 "Parameter 'preallocation' does not "
					 "accept value '%s'",
					 value);
	}
	return blk_make_file(ctx, c->path, c->len, mode, e);
}

static int raw_measure(const struct blk_create *c, struct blk *source,
		       struct blk_measure *out, struct error *e)
{
	uint64_t len = source ? blk_len(source) : c->len;

	if (len > INT64_MAX - 511)
		return error_set(e, -EFBIG, "The image size is too large");
	out->required = out->fully_allocated = (len + 511) & ~511ull;
	return 0;
}

static int raw_probe(const uint8_t *head, size_t len, const char *path)
{
	(void)head;
	(void)len;
	(void)path;
	return 1;
}

const struct blk_format blk_raw_format = {
	.name = "raw",
	.opts = raw_opts,
	.create = raw_create,
	.measure = raw_measure,
	.probe = raw_probe,
};
