/*
 * Making an image: header, refcount table, refcount blocks, L1 table, in this
 * order and nothing between, so that a new image takes the fewest clusters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/blk/ctx.h"
#include "core/blk/qcow2/options.h"
#include "core/blk/qcow2/qcow2.h"
#include "core/error.h"

/* Clusters of a new image, in their order. */
struct layout {
	uint64_t cluster_len, table, blocks, l1; /* clusters of each */
	uint64_t total;
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static int plan(const struct qcow2_header *h, struct layout *out,
		struct error *e)
{
	bool extended = h->incompat & QCOW2_INCOMPAT_EXTL2;
	unsigned shift = 2 * h->cluster_bits - (extended ? 4 : 3);
	uint64_t per_block = 1ull << (h->cluster_bits + 3 - h->refcount_order);
	uint64_t nr_l1 = h->disk_len >> shift, before;
	struct layout l = {.cluster_len = 1ull << h->cluster_bits,
			   .table = 1,
			   .blocks = 1};

	if (h->disk_len & ((1ull << shift) - 1))
		nr_l1++;
	if (nr_l1 > QCOW2_MAX_L1_LEN / 8)
		return error_set(e, -EFBIG,
				 "The image size is too large for file format "
				 "'qcow2' (try using a larger cluster size)");
	l.l1 = div_up(nr_l1 * 8, l.cluster_len);
	do {
		before = l.table + l.blocks;
		l.total = 1 + l.table + l.blocks + l.l1;
		l.blocks = div_up(l.total, per_block);
		l.table = div_up(l.blocks * 8, l.cluster_len);
	} while (l.table + l.blocks != before);
	*out = l;
	return 0;
}

static int write_tables(struct blk *file, const struct qcow2_header *h,
			const struct layout *l)
{
	uint64_t per_block = 1ull << (h->cluster_bits + 3 - h->refcount_order);
	size_t len = (l->table + l->blocks) * l->cluster_len;
	uint8_t *buf = calloc(1, len);
	uint64_t *table = (uint64_t *)buf;
	int ret;

	if (!buf)
		return -ENOMEM;
	for (uint64_t i = 0; i < l->blocks; i++)
		table[i] = htobe64((1 + l->table + i) * l->cluster_len);
	for (uint64_t c = 0; c < l->total; c++)
		qcow2_refcount_poke(buf + (l->table + c / per_block) *
						    l->cluster_len,
				    h->refcount_order, c % per_block, 1);
	ret = blk_write(file, l->cluster_len, buf, len, 0);
	free(buf);
	return ret;
}

/* The file is empty: what is not written reads as zeroes. */
static int write_image(struct blk *file, struct qcow2_header *h,
		       const struct layout *l, struct error *e)
{
	bool extended = h->incompat & QCOW2_INCOMPAT_EXTL2;
	unsigned shift = 2 * h->cluster_bits - (extended ? 4 : 3);
	int ret;

	h->rt_off = l->cluster_len;
	h->rt_clusters = l->table;
	if (l->l1)
		h->l1_off = (1 + l->table + l->blocks) * l->cluster_len;
	h->nr_l1 = (h->disk_len >> shift) +
		   !!(h->disk_len & ((1ull << shift) - 1));
	ret = write_tables(file, h, l);
	if (!ret)
		ret = blk_write_zeroes(file, h->l1_off, h->nr_l1 * 8ull, 0);
	if (ret)
		return error_errno(e, -ret, "Could not write the new image");
	return qcow2_header_write(file, h, e);
}

static struct blk *open_file(struct blk_ctx *ctx, const char *path,
			     struct error *e)
{
	struct blk_options o = {.path = path, .format = "file", .write = true};

	return blk_open(ctx, &o, e);
}

/* The external data file lies where the image says, seen from the image. */
static int make_data_file(struct blk_ctx *ctx, const char *image,
			  const char *name, struct error *e)
{
	const char *slash = strrchr(image, '/');
	size_t dir = slash && *name != '/' ? slash - image + 1 : 0;
	char *path = malloc(dir + strlen(name) + 1);
	int ret;

	if (!path)
		return error_set(e, -ENOMEM, "no memory for a name");
	memcpy(path, image, dir);
	strcpy(path + dir, name);
	ret = blk_make_file(ctx, path, 0, BLK_PREALLOC_OFF, e);
	free(path);
	return ret;
}

/* Through the image itself: lengths of data files, clusters held in advance. */
static int finish_open(struct blk_ctx *ctx, const char *path,
		       const struct qcow2_create *c, struct error *e)
{
	struct blk_options o = {.path = path,
				.format = "qcow2",
				.write = true,
				.no_backing = true};
	struct blk *b;
	int ret = 0, closed;

	if (!c->h.data_file && c->prealloc == BLK_PREALLOC_OFF)
		return 0;
	b = blk_open(ctx, &o, e);
	if (!b)
		return e ? e->code : -EIO;
	if (b->data_file)
		ret = blk_truncate(b->data_file, b->len, c->prealloc, true, e);
	if (!ret && c->prealloc != BLK_PREALLOC_OFF)
		ret = qcow2_preallocate(b, 0, b->len, c->prealloc, e);
	closed = blk_unref(b);
	if (!ret && closed)
		ret = error_errno(e, -closed, "Could not write '%s'", path);
	return ret;
}

/* Half an image is of no use to anybody. */
static void remove_file(const char *path)
{
	struct stat st;

	if (!stat(path, &st) && S_ISREG(st.st_mode))
		unlink(path);
}

int qcow2_create(struct blk_ctx *ctx, const struct blk_create *create,
		 struct error *e)
{
	struct qcow2_create c;
	struct blk *file;
	struct layout l = {0};
	int ret = qcow2_create_parse(create, &c, e);

	if (!ret)
		ret = plan(&c.h, &l, e);
	if (!ret && c.h.data_file)
		ret = make_data_file(ctx, create->path, c.h.data_file, e);
	if (!ret)
		ret = blk_make_file(ctx, create->path, 0, BLK_PREALLOC_OFF, e);
	if (ret)
		goto out;
	file = open_file(ctx, create->path, e);
	ret = file ? write_image(file, &c.h, &l, e) : -EIO;
	if (file)
		blk_unref(file);
	if (!ret)
		ret = finish_open(ctx, create->path, &c, e);
	if (ret)
		remove_file(create->path);
out:
	qcow2_header_fini(&c.h);
	return ret;
}

/* ---- clusters held in advance ---- */

/* [lock] Space for clusters from off on, as much as lies together; an entry
 * that is there already keeps what it has. */
static int hold_some(struct qcow2 *s, uint64_t off, uint64_t end,
		     uint64_t *next, uint64_t *host_end)
{
	uint64_t nr = (end - off + s->cluster_len - 1) >> s->h.cluster_bits;
	struct qcow2_slice *slice;
	uint64_t host = off, empty = 0;
	unsigned i, per_slice;
	int ret;

	ret = qcow2_l2_for_write(s, off, &slice, &i);
	if (ret)
		return ret;
	per_slice = qcow2_slice_len(s->l2_cache) / s->l2_entry_len;
	if (nr > per_slice - i)
		nr = per_slice - i;
	while (empty < nr && !qcow2_entry(s, slice, i + empty))
		empty++;
	nr = empty ? empty : 1;
	if (empty && !s->b->data_file)
		ret = qcow2_alloc_clusters(s, 0, &nr, &host);
	/* No subcluster is in use: a backing file shows through. */
	for (uint64_t k = 0; empty && k < nr && !ret; k++)
		qcow2_set_entry(
			s, slice, i + k,
			(host + (k << s->h.cluster_bits)) | QCOW2_COPIED, 0);
	qcow2_cache_put(slice);
	*next = off + (nr << s->h.cluster_bits);
	if (empty)
		*host_end = host + (nr << s->h.cluster_bits);
	return ret;
}

int qcow2_preallocate(struct blk *b, uint64_t off, uint64_t end,
		      enum blk_prealloc mode, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	uint64_t host_end = 0;
	int ret = 0;

	off = (off + s->cluster_len - 1) & ~(s->cluster_len - 1);
	co_lock(&s->lock);
	while (off < end && !ret)
		ret = hold_some(s, off, end, &off, &host_end);
	if (!ret && host_end > s->fresh_off)
		s->fresh_off = host_end;
	co_unlock(&s->lock);
	if (!ret && !b->data_file && host_end > b->file->len)
		return blk_truncate(
			b->file, host_end,
			mode == BLK_PREALLOC_METADATA ? BLK_PREALLOC_OFF : mode,
			false, e);
	if (ret)
		error_errno(e, -ret, "Could not preallocate metadata");
	return ret;
}
