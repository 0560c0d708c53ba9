/*
 * The header and its extensions (sections "Header", "Header extensions").
 *
 * Everything is checked before anything uses it: what passes here can't make
 * later arithmetic overflow or tables larger than the bounds of qcow2.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/ctx.h"
#include "core/blk/qcow2/qcow2.h"
#include "core/error.h"
#include "core/log.h"

/* Byte positions in the header. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_BACKING_OFF = 8,
	AT_BACKING_LEN = 16,
	AT_CLUSTER_BITS = 20,
	AT_DISK_LEN = 24,
	AT_CRYPT = 32,
	AT_NR_L1 = 36,
	AT_L1_OFF = 40,
	AT_RT_OFF = 48,
	AT_RT_CLUSTERS = 56,
	AT_NR_SNAPSHOTS = 60,
	AT_SNAPSHOTS_OFF = 64,
	AT_INCOMPAT = 72,
	AT_COMPAT = 80,
	AT_AUTOCLEAR = 88,
	AT_REFCOUNT_ORDER = 96,
	AT_HEADER_LEN = 100,
	AT_COMPRESSION = 104,
	HEADER_LEN = 112
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

/* ---- features ---- */

#define FEATURE_LEN 48

static const struct feature {
	uint8_t type, bit;
	const char *name;
} features[] = {
	{0, 0, "dirty bit"},
	{0, 1, "corrupt bit"},
	{0, 2, "external data file"},
	{0, 3, "compression type"},
	{0, 4, "extended L2 entries"},
	{1, 0, "lazy refcounts"},
	{2, 0, "bitmaps"},
	{2, 1, "raw external data"},
};
#define NR_FEATURES (sizeof(features) / sizeof(features[0]))

/* Names unknown incompatible bits, by the image's own table where it can. */
static int refuse_features(uint64_t bits, const uint8_t *table, size_t len,
			   struct error *e)
{
	char text[200] = "";

	for (size_t i = 0; table && i + FEATURE_LEN <= len; i += FEATURE_LEN) {
		const uint8_t *f = table + i;
		size_t used = strlen(text);

		if (f[0] || f[1] > 63 || !(bits & (1ull << f[1])))
			continue;
		snprintf(text + used, sizeof(text) - used, "%s%.46s",
			 used ? ", " : "", (const char *)f + 2);
		bits &= ~(1ull << f[1]);
	}
	if (bits) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof(text) - used,
			 "%sUnknown incompatible feature: %" PRIx64,
			 used ? ", " : "", bits);
	}
	return error_set(e, -ENOTSUP, "Unsupported qcow2 feature(s): %s", text);
}

/* ---- reading ---- */

struct reader {
	struct blk *file;
	struct qcow2_header *h;
	uint64_t cluster_len;
	uint8_t *features; /* the image's table of names */
	size_t features_len;
};

static int read_fixed(struct reader *r, struct error *e)
{
	uint8_t p[HEADER_LEN] = {0};
	struct qcow2_header *h = r->h;
	size_t len =
		blk_len(r->file) < HEADER_LEN ? blk_len(r->file) : HEADER_LEN;
	int ret = blk_read(r->file, 0, p, len);

	if (ret)
		return error_errno(e, -ret, "Could not read qcow2 header");
	if (len < QCOW2_V2_HEADER_LEN || get32(p) != QCOW2_MAGIC)
		return error_set(e, -EINVAL, "Image is not in qcow2 format");
	h->version = get32(p + AT_VERSION);
	if (h->version != 2 && h->version != 3)
		return error_set(e, -ENOTSUP, "Unsupported qcow2 version %u",
				 h->version);
	h->cluster_bits = get32(p + AT_CLUSTER_BITS);
	if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
	    h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return error_set(e, -EINVAL, "Unsupported cluster size: 2^%u",
				 h->cluster_bits);
	r->cluster_len = 1ull << h->cluster_bits;
	h->disk_len = get64(p + AT_DISK_LEN);
	if (get32(p + AT_CRYPT))
		return error_set(e, -ENOTSUP,
				 "the image is encrypted, which is not "
				 "supported; decrypt it with another tool");
	h->nr_l1 = get32(p + AT_NR_L1);
	h->l1_off = get64(p + AT_L1_OFF);
	h->rt_off = get64(p + AT_RT_OFF);
	h->rt_clusters = get32(p + AT_RT_CLUSTERS);
	h->nr_snapshots = get32(p + AT_NR_SNAPSHOTS);
	h->snapshots_off = get64(p + AT_SNAPSHOTS_OFF);
	h->refcount_order = 4;
	h->header_len = QCOW2_V2_HEADER_LEN;
	if (h->version == 2)
		return 0;
	h->incompat = get64(p + AT_INCOMPAT);
	h->compat = get64(p + AT_COMPAT);
	h->autoclear = get64(p + AT_AUTOCLEAR);
	h->refcount_order = get32(p + AT_REFCOUNT_ORDER);
	h->header_len = get32(p + AT_HEADER_LEN);
	if (h->header_len < 104)
		return error_set(e, -EINVAL, "qcow2 header too short");
	if (h->header_len > r->cluster_len)
		return error_set(e, -EINVAL,
				 "qcow2 header exceeds cluster size");
	if (h->header_len > AT_COMPRESSION)
		h->compression = p[AT_COMPRESSION];
	return 0;
}

/* The text of len bytes at off, malloced. */
static int read_text(struct reader *r, uint64_t off, uint32_t len, char **out,
		     struct error *e)
{
	char *text = calloc(1, (size_t)len + 1);
	int ret;

	if (!text)
		return error_set(e, -ENOMEM, "no memory for the qcow2 header");
	ret = blk_read(r->file, off, text, len);
	if (ret) {
		free(text);
		return error_errno(e, -ret, "Could not read qcow2 header");
	}
	free(*out);
	*out = text;
	return 0;
}

static int keep_unknown(struct reader *r, uint32_t type, uint64_t off,
			uint32_t len, struct error *e)
{
	struct qcow2_ext *x = calloc(1, sizeof(*x)), **p = &r->h->unknown;
	char *data = NULL;
	int ret;

	if (!x)
		return error_set(e, -ENOMEM, "no memory for the qcow2 header");
	ret = read_text(r, off, len, &data, e);
	if (ret) {
		free(x);
		return ret;
	}
	*x = (struct qcow2_ext){.type = type, .len = len};
	x->data = (uint8_t *)data;
	while (*p)
		p = &(*p)->next;
	*p = x;
	return 0;
}

static int read_bitmaps_ext(struct reader *r, uint64_t off, uint32_t len,
			    struct error *e)
{
	struct qcow2_header *h = r->h;
	uint8_t p[24];
	int ret;

	/* Without its autoclear bit the extension is stale. */
	if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (len != sizeof(p))
		return error_set(e, -EINVAL,
				 "bitmaps_ext: Invalid extension length");
	ret = blk_read(r->file, off, p, sizeof(p));
	if (ret)
		return error_errno(e, -ret, "Could not read qcow2 header");
	h->bitmaps.nr = get32(p);
	h->bitmaps.dir_len = get64(p + 8);
	h->bitmaps.dir_off = get64(p + 16);
	if (get32(p + 4))
		return error_set(e, -EINVAL,
				 "bitmaps_ext: Reserved field is not zero");
	if (!h->bitmaps.nr)
		return error_set(e, -EINVAL,
				 "bitmaps_ext: no bitmaps in the extension");
	if (h->bitmaps.nr > 65535 || h->bitmaps.dir_len > 65535 * 1024 ||
	    h->bitmaps.dir_off % r->cluster_len ||
	    h->bitmaps.dir_off > INT64_MAX - h->bitmaps.dir_len)
		return error_set(e, -EINVAL,
				 "bitmaps_ext: invalid bitmap directory");
	return 0;
}

static int read_extension(struct reader *r, uint32_t type, uint64_t off,
			  uint32_t len, struct error *e)
{
	switch (type) {
	case QCOW2_EXT_BACKING_FMT:
		if (len > QCOW2_MAX_NAME)
			return error_set(e, -EINVAL,
					 "backing format name too long");
		return read_text(r, off, len, &r->h->backing_format, e);
	case QCOW2_EXT_DATA_FILE:
		if (len > QCOW2_MAX_NAME)
			return error_set(e, -EINVAL, "data file name too long");
		return read_text(r, off, len, &r->h->data_file, e);
	case QCOW2_EXT_FEATURES:
		r->features_len = len;
		return read_text(r, off, len, (char **)&r->features, e);
	case QCOW2_EXT_BITMAPS:
		return read_bitmaps_ext(r, off, len, e);
	default:
		return keep_unknown(r, type, off, len, e);
	}
}

/* Extensions end before the backing file's name, or with the cluster. */
static int read_extensions(struct reader *r, uint64_t end, struct error *e)
{
	uint64_t off = r->h->header_len;
	uint8_t p[8];
	int ret = 0;

	while (!ret && off + 8 <= end) {
		uint32_t len;

		ret = blk_read(r->file, off, p, sizeof(p));
		if (ret)
			return error_errno(e, -ret,
					   "Could not read qcow2 header");
		len = get32(p + 4);
		if (get32(p) == QCOW2_EXT_END)
			break;
		off += 8;
		if (len > end - off)
			return error_set(e, -EINVAL,
					 "Header extension too large");
		ret = read_extension(r, get32(p), off, len, e);
		off += ((uint64_t)len + 7) & ~7ull;
	}
	return ret;
}

static int read_names(struct reader *r, struct error *e)
{
	uint8_t p[12];
	uint64_t off, end = r->cluster_len;
	uint32_t len;
	int ret = blk_read(r->file, AT_BACKING_OFF, p, sizeof(p));

	if (ret)
		return error_errno(e, -ret, "Could not read qcow2 header");
	off = get64(p);
	len = get32(p + 8);
	if (off > r->cluster_len)
		return error_set(e, -EINVAL, "Invalid backing file offset");
	if (off)
		end = off;
	ret = read_extensions(r, end, e);
	if (ret || !off || !len)
		return ret;
	if (len > QCOW2_MAX_NAME || len > r->cluster_len - off)
		return error_set(e, -EINVAL, "Backing file name too long");
	return read_text(r, off, len, &r->h->backing_name, e);
}

/* ---- checks over several fields ---- */

static int check_table(uint64_t off, uint64_t nr, uint64_t entry_len,
		       uint64_t max_len, uint64_t cluster_len, const char *what,
		       struct error *e)
{
	if (nr > max_len / entry_len)
		return error_set(e, -EFBIG, "%s too large", what);
	if (off % cluster_len || off > INT64_MAX - nr * entry_len)
		return error_set(e, -EINVAL, "%s offset invalid", what);
	return 0;
}

static int check_l1(struct reader *r, struct error *e)
{
	struct qcow2_header *h = r->h;
	unsigned entry_bits = h->incompat & QCOW2_INCOMPAT_EXTL2 ? 4 : 3;
	unsigned shift = 2 * h->cluster_bits - entry_bits;
	uint64_t need = h->disk_len >> shift;

	if (h->disk_len & ((1ull << shift) - 1))
		need++;
	if (h->disk_len > INT64_MAX || need > QCOW2_MAX_L1_LEN / 8)
		return error_set(e, -EFBIG, "Image is too big");
	if (check_table(h->l1_off, h->nr_l1, 8, QCOW2_MAX_L1_LEN,
			r->cluster_len, "Active L1 table", e))
		return -EINVAL;
	if (h->nr_l1 < need || (h->nr_l1 && !h->l1_off))
		return error_set(e, -EINVAL, "L1 table is too small");
	return 0;
}

static int check_fields(struct reader *r, struct error *e)
{
	struct qcow2_header *h = r->h;

	if (h->incompat & ~QCOW2_INCOMPAT_KNOWN)
		return refuse_features(h->incompat & ~QCOW2_INCOMPAT_KNOWN,
				       r->features, r->features_len, e);
	if (h->refcount_order > 6)
		return error_set(e, -EINVAL,
				 "Reference count entry width too "
				 "large; may not exceed 64 bits");
	if ((h->incompat & QCOW2_INCOMPAT_EXTL2) && h->cluster_bits < 14)
		return error_set(e, -EINVAL,
				 "extended L2 entries need clusters of 16 KiB "
				 "or more");
	if (h->compression > QCOW2_ZSTD)
		return error_set(e, -ENOTSUP, "unknown compression type: %u",
				 h->compression);
	if (!!(h->incompat & QCOW2_INCOMPAT_COMPRESSION) !=
	    (h->compression != QCOW2_ZLIB))
		return error_set(e, -EINVAL,
				 "compression type and its feature bit "
				 "disagree");
	if (check_l1(r, e))
		return e ? e->code : -EINVAL;
	if (!h->rt_clusters)
		return error_set(e, -EINVAL,
				 "Image does not contain a reference count "
				 "table");
	if (check_table(h->rt_off, h->rt_clusters, r->cluster_len,
			QCOW2_MAX_RT_LEN, r->cluster_len,
			"Reference count table", e))
		return -EINVAL;
	if (!h->rt_off)
		return error_set(e, -EINVAL,
				 "Reference count table offset invalid");
	return check_table(h->snapshots_off, h->nr_snapshots, 40,
			   QCOW2_MAX_SNAPSHOTS * 40ull, r->cluster_len,
			   "Snapshot table", e);
}

int qcow2_header_read(struct blk *file, struct qcow2_header *h, struct error *e)
{
	struct reader r = {.file = file, .h = h};
	int ret;

	*h = (struct qcow2_header){0};
	ret = read_fixed(&r, e);
	if (!ret)
		ret = read_names(&r, e);
	if (!ret)
		ret = check_fields(&r, e);
	free(r.features);
	if (ret)
		qcow2_header_fini(h);
	return ret;
}

void qcow2_header_fini(struct qcow2_header *h)
{
	while (h->unknown) {
		struct qcow2_ext *x = h->unknown;

		h->unknown = x->next;
		free(x->data);
		free(x);
	}
	free(h->backing_name);
	free(h->backing_format);
	free(h->data_file);
	*h = (struct qcow2_header){0};
}

/* ---- writing ---- */

struct writer {
	uint8_t *buf;
	size_t at, room;
	bool full;
};

static void put_extension(struct writer *w, uint32_t type, const void *data,
			  size_t len)
{
	size_t padded = (len + 7) & ~(size_t)7;

	if (w->full || w->room - w->at < 8 + padded) {
		w->full = true;
		return;
	}
	put32(w->buf + w->at, type);
	put32(w->buf + w->at + 4, len);
	if (len)
		memcpy(w->buf + w->at + 8, data, len);
	memset(w->buf + w->at + 8 + len, 0, padded - len);
	w->at += 8 + padded;
}

static void put_features(struct writer *w)
{
	uint8_t table[NR_FEATURES * FEATURE_LEN] = {0};

	for (size_t i = 0; i < NR_FEATURES; i++) {
		uint8_t *p = table + i * FEATURE_LEN;

		p[0] = features[i].type;
		p[1] = features[i].bit;
		memcpy(p + 2, features[i].name, strlen(features[i].name));
	}
	put_extension(w, QCOW2_EXT_FEATURES, table, sizeof(table));
}

static void put_extensions(struct writer *w, const struct qcow2_header *h,
			   bool names)
{
	uint8_t bitmaps[24] = {0};

	if (h->backing_format)
		put_extension(w, QCOW2_EXT_BACKING_FMT, h->backing_format,
			      strlen(h->backing_format));
	if (h->data_file && (h->incompat & QCOW2_INCOMPAT_DATA_FILE))
		put_extension(w, QCOW2_EXT_DATA_FILE, h->data_file,
			      strlen(h->data_file));
	if (names && h->version >= 3)
		put_features(w);
	if (h->bitmaps.nr) {
		put32(bitmaps, h->bitmaps.nr);
		put64(bitmaps + 8, h->bitmaps.dir_len);
		put64(bitmaps + 16, h->bitmaps.dir_off);
		put_extension(w, QCOW2_EXT_BITMAPS, bitmaps, sizeof(bitmaps));
	}
	for (struct qcow2_ext *x = h->unknown; x; x = x->next)
		put_extension(w, x->type, x->data, x->len);
	put_extension(w, QCOW2_EXT_END, NULL, 0);
}

static void put_fixed(uint8_t *p, const struct qcow2_header *h)
{
	put32(p + AT_MAGIC, QCOW2_MAGIC);
	put32(p + AT_VERSION, h->version);
	put32(p + AT_CLUSTER_BITS, h->cluster_bits);
	put64(p + AT_DISK_LEN, h->disk_len);
	put32(p + AT_NR_L1, h->nr_l1);
	put64(p + AT_L1_OFF, h->l1_off);
	put64(p + AT_RT_OFF, h->rt_off);
	put32(p + AT_RT_CLUSTERS, h->rt_clusters);
	put32(p + AT_NR_SNAPSHOTS, h->nr_snapshots);
	put64(p + AT_SNAPSHOTS_OFF, h->snapshots_off);
	if (h->version < 3)
		return;
	put64(p + AT_INCOMPAT, h->incompat);
	put64(p + AT_COMPAT, h->compat);
	put64(p + AT_AUTOCLEAR, h->autoclear);
	put32(p + AT_REFCOUNT_ORDER, h->refcount_order);
	put32(p + AT_HEADER_LEN, HEADER_LEN);
	p[AT_COMPRESSION] = h->compression;
}

/* The header as bytes of a cluster that starts at buf; its length or -ENOSPC. */
static int header_encode(const struct qcow2_header *h, uint8_t *buf,
			 size_t room, struct error *e)
{
	size_t name = h->backing_name ? strlen(h->backing_name) : 0;
	size_t fixed = h->version >= 3 ? HEADER_LEN : QCOW2_V2_HEADER_LEN;
	struct writer w = {.buf = buf, .at = fixed, .room = room};

	memset(buf, 0, room);
	put_fixed(buf, h);
	put_extensions(&w, h, true);
	/* The names of features are a courtesy that small clusters lack. */
	if (w.full || room - w.at < name) {
		w = (struct writer){.buf = buf, .at = fixed, .room = room};
		memset(buf + fixed, 0, room - fixed);
		put_extensions(&w, h, false);
	}
	if (w.full || room - w.at < name)
		return error_set(e, -ENOSPC,
				 "the qcow2 header doesn't fit in a cluster");
	if (name) {
		put64(buf + AT_BACKING_OFF, w.at);
		put32(buf + AT_BACKING_LEN, name);
		memcpy(buf + w.at, h->backing_name, name);
		w.at += name;
	}
	return w.at;
}

int qcow2_header_write(struct blk *file, const struct qcow2_header *h,
		       struct error *e)
{
	size_t len = 1ull << h->cluster_bits;
	uint8_t *buf = malloc(len);
	int ret;

	if (!buf)
		return error_set(e, -ENOMEM, "no memory for the qcow2 header");
	ret = header_encode(h, buf, len, e);
	if (ret > 0) {
		/* The header is one write; sectors after it stay zeroes. */
		ret = blk_write(file, 0, buf, ((size_t)ret + 511) & ~511ul, 0);
		if (ret)
			error_errno(e, -ret, "Could not write qcow2 header");
	}
	free(buf);
	return ret;
}

int qcow2_set_incompat(struct qcow2 *s, uint64_t set, uint64_t clear)
{
	uint8_t p[8];
	int ret;

	if (s->h.version < 3)
		return 0;
	put64(p, (s->h.incompat & ~clear) | set);
	ret = blk_write(s->b->file, AT_INCOMPAT, p, sizeof(p), 0);
	if (!ret)
		ret = blk_flush(s->b->file);
	if (!ret)
		s->h.incompat = (s->h.incompat & ~clear) | set;
	else
		s->header_unsure = true;
	return ret;
}

int qcow2_ensure_header(struct qcow2 *s)
{
	int ret;

	if (!s->header_unsure)
		return 0;
	ret = qcow2_header_write(s->b->file, &s->h, NULL);
	if (!ret)
		ret = blk_flush(s->b->file);
	if (!ret)
		s->header_unsure = false;
	return ret;
}

int qcow2_mark_corrupt(struct qcow2 *s, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (s->corrupt)
		return -EIO;
	s->corrupt = true;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (s->b->ctx->log)
		log_write(s->b->ctx->log, LOG_LEVEL_WARN, "qcow2",
			  "%s: the image is corrupt: %s; further writes are "
			  "refused",
			  s->b->name, text);
	if (s->b->write)
		qcow2_set_incompat(s, QCOW2_INCOMPAT_CORRUPT, 0);
	return -EIO;
}
