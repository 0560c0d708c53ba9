/*
 * How long the file of an image would be.
 */
#include <errno.h>
#include <string.h>

#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/options.h"
#include "core/error.h"

/* What the measured image is like. */
struct shape {
	uint64_t cluster_len;
	unsigned l2_entry_len, refcount_order, version;
	bool backing, prealloc;
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return a / b + !!(a % b);
}

static uint64_t round_up(uint64_t a, uint64_t unit)
{
	return div_up(a, unit) * unit;
}

/* Bytes of refcount table and blocks for so many clusters and themselves. */
static uint64_t refcounts_len(const struct shape *sh, uint64_t clusters)
{
	uint64_t per_block = sh->cluster_len * 8 >> sh->refcount_order;
	uint64_t blocks = 0, table = 0, before;

	do {
		before = blocks + table;
		blocks = div_up(clusters + before, per_block);
		table = div_up(blocks, sh->cluster_len / 8);
	} while (blocks + table != before);
	return (blocks + table) * sh->cluster_len;
}

/* Bytes of an image that holds every cluster of a disk of len bytes. */
static uint64_t full_len(const struct shape *sh, uint64_t len)
{
	uint64_t per_table = sh->cluster_len / sh->l2_entry_len;
	uint64_t tables = div_up(len / sh->cluster_len, per_table);
	uint64_t l1 = round_up(tables * 8, sh->cluster_len);
	uint64_t meta = sh->cluster_len + tables * sh->cluster_len + l1;

	meta += refcounts_len(sh, (meta + len) / sh->cluster_len);
	return meta + len;
}

/* Bytes of the clusters that hold data of source. */
static int count_data(const struct shape *sh, struct blk *source, uint64_t *out)
{
	uint64_t len = blk_len(source), n;

	*out = 0;
	for (uint64_t off = 0; off < len; off += n) {
		int st = blk_status_above(source, NULL, off, len - off, &n,
					  NULL, NULL, NULL);

		if (st < 0)
			return st;
		if (st & BLK_STATUS_ZERO || !(st & BLK_STATUS_DATA))
			continue;
		n = round_up(off + n, sh->cluster_len) - off;
		*out += off % sh->cluster_len + n;
	}
	return 0;
}

/* Options that have no say in lengths are passed over. */
static int parse_shape(const struct blk_create *c, struct shape *sh,
		       struct error *e)
{
	static const char *const known[] = {"cluster_size", "extended_l2",
					    "refcount_bits", "compat"};
	struct blk_opt opts[4];
	struct blk_create some = {.opts = opts};
	struct qcow2_create parsed;
	enum blk_prealloc mode;
	int ret;

	sh->version = 3;
	for (unsigned i = 0; i < c->nr_opts; i++) {
		const struct blk_opt *o = &c->opts[i];

		if (!strcmp(o->key, "backing_file"))
			sh->backing = true;
		if (!strcmp(o->key, "compat"))
			sh->version = strcmp(o->value, "0.10") ? 3 : 2;
		if (!strcmp(o->key, "preallocation")) {
			if (qcow2_prealloc_parse(o->value, &mode, NULL))
				return error_set(e, -EINVAL,
						 "invalid parameter value: %s",
						 o->value);
			sh->prealloc = mode >= BLK_PREALLOC_FALLOC;
		}
		if (!strcmp(o->key, "compat") && strcmp(o->value, "0.10") &&
		    strcmp(o->value, "1.1"))
			return error_set(e, -EINVAL,
					 "Invalid compatibility level: '%s'",
					 o->value);
	}
	/* The last of each counts; what version goes with what is below. */
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = c->nr_opts; i-- > 0;)
			if (!strcmp(c->opts[i].key, known[k])) {
				opts[some.nr_opts++] = c->opts[i];
				break;
			}
	ret = qcow2_create_parse(&some, &parsed, e);
	sh->cluster_len = 1ull << parsed.h.cluster_bits;
	sh->l2_entry_len = parsed.h.incompat & QCOW2_INCOMPAT_EXTL2 ? 16 : 8;
	sh->refcount_order = parsed.h.refcount_order;
	qcow2_header_fini(&parsed.h);
	if (!ret && sh->version < 3 && sh->refcount_order != 4)
		ret = error_set(e, -EINVAL,
				"Different refcount widths than 16 bits "
				"require compatibility level 1.1 or above "
				"(use compat=1.1 or greater)");
	return ret;
}

int qcow2_measure(const struct blk_create *c, struct blk *source,
		  struct blk_measure *out, struct error *e)
{
	struct shape sh = {0};
	uint64_t len = source ? blk_len(source) : c->len, data = 0, tables;
	int ret = parse_shape(c, &sh, e);

	if (ret)
		return ret;
	if (len > INT64_MAX / 2)
		tables = UINT64_MAX;
	else {
		len = round_up(len, sh.cluster_len);
		tables = div_up(len / sh.cluster_len,
				sh.cluster_len / sh.l2_entry_len);
	}
	if (tables > QCOW2_MAX_L1_LEN / 8)
		return error_set(e, -EINVAL,
				 "The image size is too large (try using a "
				 "larger cluster size)");
	if (sh.prealloc || (source && sh.backing))
		data = len;
	else if (source)
		ret = count_data(&sh, source, &data);
	if (ret)
		return error_errno(e, -ret, "Unable to get block status");
	out->fully_allocated = full_len(&sh, len);
	out->required = out->fully_allocated - len + data;
	out->has_bitmaps = sh.version >= 3 && source &&
			   source->drv == &blk_qcow2_driver &&
			   qcow2_of(source)->h.version >= 3;
	if (out->has_bitmaps)
		out->bitmaps =
			qcow2_bitmaps_measure(qcow2_of(source), sh.cluster_len);
	return 0;
}
