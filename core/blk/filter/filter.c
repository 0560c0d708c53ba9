#include "core/blk/filter/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/iov.h"
#include "core/error.h"

const char *blk_filter_opt(const struct blk_options *o, const char *key)
{
	const struct blk_filter_spec *f = o->filters;

	for (unsigned i = 0; f && i < f->nr_opts; i++)
		if (!strcmp(f->opts[i].key, key))
			return f->opts[i].value;
	return NULL;
}

int blk_filter_check(const struct blk_options *o, const char *const *keys,
		     struct error *e)
{
	const struct blk_filter_spec *f = o->filters;

	for (unsigned i = 0; i < f->nr_opts; i++) {
		unsigned k = 0;

		while (keys[k] && strcmp(keys[k], f->opts[i].key))
			k++;
		if (!keys[k])
			return error_set(e, -EINVAL,
					 "Invalid parameter '%s' of '%s'",
					 f->opts[i].key, f->drv->name);
	}
	return 0;
}

int blk_filter_size(const struct blk_options *o, const char *key, uint64_t *out,
		    struct error *e)
{
	static const char units[] = "kMGT";
	const char *value = blk_filter_opt(o, key), *unit;
	unsigned shift = 0;
	char *end;

	if (!value)
		return 0;
	errno = 0;
	*out = strtoull(value, &end, 10);
	unit = *end ? strchr(units, *end == 'K' ? 'k' : *end) : NULL;
	if (unit) {
		shift = 10 * (unit - units + 1);
		end++;
	}
	if (errno || end == value || *end || *value == '-' ||
	    *out > (uint64_t)INT64_MAX >> shift)
		return error_set(e, -EINVAL,
				 "Parameter '%s' does not accept value '%s'",
				 key, value);
	*out <<= shift;
	return 0;
}

/* For filters that think in sectors (align 512) over a child of any length: the
 * bytes of an aligned request that the child takes. */
static uint64_t len_inside(const struct blk *b, uint64_t off, uint64_t len)
{
	uint64_t end = b->file->len;

	if (b->is_protocol || off + len <= end)
		return len;
	return off < end ? end - off : 0;
}

int blk_filter_readv(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr)
{
	uint64_t inside = len_inside(b, off, len);
	int ret = blk_readv(b->file, off, inside, iov, nr);

	if (!ret && inside < len)
		iov_zero(iov, nr, inside, len - inside);
	return ret;
}

int blk_filter_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags)
{
	uint64_t inside = len_inside(b, off, len);
	struct iovec *part;
	int ret;

	if (inside == len)
		return blk_writev(b->file, off, len, iov, nr, flags);
	part = malloc((nr + 1) * sizeof(*part));
	if (!part)
		return -ENOMEM;
	nr = iov_slice(iov, nr, 0, inside, part);
	ret = blk_writev(b->file, off, inside, part, nr, flags);
	free(part);
	return ret;
}

int blk_filter_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			    unsigned flags)
{
	return blk_write_zeroes(b->file, off, len_inside(b, off, len), flags);
}

int blk_filter_discard(struct blk *b, uint64_t off, uint64_t len)
{
	return blk_discard(b->file, off, len_inside(b, off, len));
}

int blk_filter_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		      uint64_t *map, struct blk **file)
{
	*pnum = len;
	*map = off;
	*file = b->file;
	return BLK_STATUS_RAW | BLK_STATUS_OFFSET_VALID;
}

int blk_filter_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			bool allow_shrink, struct error *e)
{
	return blk_truncate(b->file, len, mode, allow_shrink, e);
}

void blk_filter_cut_tail(struct blk *b)
{
	uint64_t end = b->file->len;

	if (b->write && b->is_protocol && end > b->len &&
	    end - b->len < b->align)
		blk_truncate(b->file, b->len, BLK_PREALLOC_OFF, true, NULL);
}
