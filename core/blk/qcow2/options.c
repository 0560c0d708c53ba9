/*
 * The options of an image, and which of them go together.
 */
#include "core/blk/qcow2/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

const struct blk_opt_desc qcow2_opts[] = {
	{"encryption", "bool (on/off)", "Encrypt the image (only off)", NULL},
	{"cluster_size", "size", "qcow2 cluster size", "65536"},
	{"extended_l2", "bool (on/off)", "Extended L2 tables", "off"},
	{"preallocation", "str",
	 "Preallocation mode (allowed values: off, metadata, falloc, full)",
	 NULL},
	{"compression_type", "str",
	 "Compression method used for image cluster compression", "zlib"},
	{"size", "size", "Virtual disk size", NULL},
	{"compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])", NULL},
	{"backing_file", "str", "File name of a base image", NULL},
	{"backing_fmt", "str", "Image format of the base image", NULL},
	{"data_file", "str", "File name of an external data file", NULL},
	{"data_file_raw", "bool (on/off)",
	 "The external data file must stay valid as a raw image", NULL},
	{"lazy_refcounts", "bool (on/off)", "Postpone refcount updates", "off"},
	{"refcount_bits", "num", "Width of a reference count entry in bits",
	 "16"},
	{"nocow", "bool (on/off)",
	 "Turn off copy-on-write (valid only on btrfs)", NULL},
	{NULL, NULL, NULL, NULL},
};

static bool is_one_of(const char *text, const char *a, const char *b,
		      const char *c, const char *d)
{
	return !strcmp(text, a) || !strcmp(text, b) || !strcmp(text, c) ||
	       !strcmp(text, d);
}

int qcow2_bool_parse(const char *key, const char *text, bool *out,
		     struct error *e)
{
	*out = is_one_of(text, "on", "yes", "true", "y");
	if (*out || is_one_of(text, "off", "no", "false", "n"))
		return 0;
	return error_set(e, -EINVAL, "Parameter '%s' expects 'on' or 'off'",
			 key);
}

int qcow2_prealloc_parse(const char *text, enum blk_prealloc *out,
			 struct error *e)
{
	static const char *const names[] = {"off", "metadata", "falloc",
					    "full"};

	for (int i = 0; i < 4; i++)
		if (!strcmp(text, names[i])) {
			*out = i;
			return 0;
		}
	return error_set(e, -EINVAL,
			 "Parameter 'preallocation' does not accept value '%s'",
			 text);
}

/* A number with an optional k, M or G. */
static int parse_number(const char *key, const char *text, uint64_t *out,
			struct error *e)
{
	char *end;
	unsigned shift = 0;

	errno = 0;
	*out = strtoull(text, &end, 10);
	if (*end == 'k' || *end == 'K')
		shift = 10;
	else if (*end == 'M')
		shift = 20;
	else if (*end == 'G')
		shift = 30;
	if (*end)
		end++;
	if (errno || end == text || *end || *text == '-' || *out >> 32)
		return error_set(e, -EINVAL, "Parameter '%s' expects a number",
				 key);
	*out <<= shift;
	return 0;
}

/* The exponent of a power of two, or -1. */
static int log2_of(uint64_t v)
{
	return v && !(v & (v - 1)) ? __builtin_ctzll(v) : -1;
}

static int set_text(char **to, const char *text, struct error *e)
{
	free(*to);
	*to = strdup(text);
	return *to ? 0 : error_set(e, -ENOMEM, "no memory for an option");
}

static int set_cluster_size(struct qcow2_create *c, const char *value,
			    struct error *e)
{
	uint64_t len;
	int ret = parse_number("cluster_size", value, &len, e), bits;

	if (ret)
		return ret;
	bits = log2_of(len);
	if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS)
		return error_set(e, -EINVAL,
				 "Cluster size must be a power of two between "
				 "%d and %dk",
				 1 << QCOW2_MIN_CLUSTER_BITS,
				 1 << (QCOW2_MAX_CLUSTER_BITS - 10));
	c->h.cluster_bits = bits;
	return 0;
}

static int set_refcount_bits(struct qcow2_create *c, const char *value,
			     struct error *e)
{
	uint64_t width;
	int ret = parse_number("refcount_bits", value, &width, e);

	if (ret)
		return ret;
	if (log2_of(width) < 0 || width > 64)
		return error_set(
			e, -EINVAL,
			"Refcount width must be a power of two and may "
			"not exceed 64 bits");
	c->h.refcount_order = log2_of(width);
	return 0;
}

static int set_compat(struct qcow2_create *c, const char *value,
		      struct error *e)
{
	if (!strcmp(value, "0.10") || !strcmp(value, "v2"))
		c->h.version = 2;
	else if (!strcmp(value, "1.1") || !strcmp(value, "v3"))
		c->h.version = 3;
	else
		return error_set(e, -EINVAL,
				 "Parameter 'version' does not accept value "
				 "'%s'",
				 value);
	return 0;
}

static int set_compression(struct qcow2_create *c, const char *value,
			   struct error *e)
{
	if (!strcmp(value, "zlib"))
		c->h.compression = QCOW2_ZLIB;
	else if (!strcmp(value, "zstd"))
		c->h.compression = QCOW2_ZSTD;
	else
		return error_set(e, -EINVAL,
				 "Parameter 'compression-type' does not accept "
				 "value '%s'",
				 value);
	return 0;
}

static int set_flag(const char *key, const char *value, uint64_t *field,
		    uint64_t bit, struct error *e)
{
	bool on;
	int ret = qcow2_bool_parse(key, value, &on, e);

	if (!ret)
		*field = on ? *field | bit : *field & ~bit;
	return ret;
}

static int set_option(struct qcow2_create *c, const char *key,
		      const char *value, struct error *e)
{
	struct qcow2_header *h = &c->h;
	bool ignored;

	if (!strcmp(key, "backing_file"))
		return set_text(&h->backing_name, value, e);
	if (!strcmp(key, "backing_fmt"))
		return set_text(&h->backing_format, value, e);
	if (!strcmp(key, "cluster_size"))
		return set_cluster_size(c, value, e);
	if (!strcmp(key, "compat"))
		return set_compat(c, value, e);
	if (!strcmp(key, "compression_type"))
		return set_compression(c, value, e);
	if (!strcmp(key, "data_file"))
		return set_text(&h->data_file, value, e);
	if (!strcmp(key, "data_file_raw"))
		return set_flag(key, value, &h->autoclear,
				QCOW2_AUTOCLEAR_RAW_DATA, e);
	if (!strcmp(key, "extended_l2"))
		return set_flag(key, value, &h->incompat, QCOW2_INCOMPAT_EXTL2,
				e);
	if (!strcmp(key, "lazy_refcounts"))
		return set_flag(key, value, &h->compat, QCOW2_COMPAT_LAZY, e);
	if (!strcmp(key, "nocow"))
		return qcow2_bool_parse(key, value, &ignored, e);
	if (!strcmp(key, "preallocation"))
		return qcow2_prealloc_parse(value, &c->prealloc, e);
	if (!strcmp(key, "refcount_bits"))
		return set_refcount_bits(c, value, e);
	if (!strcmp(key, "size"))
		return 0; /* the caller's */
	if (!strcmp(key, "encryption") && !strcmp(value, "off"))
		return 0;
	if (!strncmp(key, "encrypt", 7))
		return error_set(e, -ENOTSUP,
				 "encrypted images are not supported");
	return error_set(e, -EINVAL, "Invalid parameter '%s'", key);
}

#define NEEDS_V3 "compatibility level 1.1 and above (use version=v3 or greater)"

static int check_version(const struct qcow2_create *c, struct error *e)
{
	const struct qcow2_header *h = &c->h;

	if (h->version >= 3)
		return 0;
	if (h->data_file)
		return error_set(e, -EINVAL,
				 "External data files are only supported "
				 "with " NEEDS_V3);
	if (h->incompat & QCOW2_INCOMPAT_EXTL2)
		return error_set(e, -EINVAL,
				 "Extended L2 entries are only supported "
				 "with " NEEDS_V3);
	if (h->compat & QCOW2_COMPAT_LAZY)
		return error_set(
			e, -EINVAL,
			"Lazy refcounts only supported with " NEEDS_V3);
	if (h->refcount_order != 4)
		return error_set(e, -EINVAL,
				 "Different refcount widths than 16 bits "
				 "require compatibility level 1.1 or above "
				 "(use version=v3 or greater)");
	if (h->compression != QCOW2_ZLIB)
		return error_set(e, -EINVAL,
				 "Non-zlib compression type is only supported "
				 "with " NEEDS_V3);
	return 0;
}

static int check_together(struct qcow2_create *c, struct error *e)
{
	struct qcow2_header *h = &c->h;
	bool extended = h->incompat & QCOW2_INCOMPAT_EXTL2;

	if (extended && h->cluster_bits < 14)
		return error_set(e, -EINVAL,
				 "Extended L2 entries are only supported with "
				 "cluster sizes of at least 16384 bytes");
	if (h->backing_name && c->prealloc != BLK_PREALLOC_OFF && !extended)
		return error_set(e, -EINVAL,
				 "Backing file and preallocation can only be "
				 "used at the same time if extended_l2 is on");
	if (h->backing_format && !h->backing_name)
		return error_set(e, -EINVAL,
				 "Backing format cannot be used without "
				 "backing file");
	if ((h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA) && !h->data_file)
		return error_set(e, -EINVAL,
				 "data-file-raw requires data-file");
	if ((h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA) && h->backing_name)
		return error_set(
			e, -EINVAL,
			"Backing file and data-file-raw cannot be used "
			"at the same time");
	/* A raw data file has a place for every cluster from the start. */
	if ((h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA) &&
	    c->prealloc == BLK_PREALLOC_OFF)
		c->prealloc = BLK_PREALLOC_METADATA;
	return check_version(c, e);
}

int qcow2_create_parse(const struct blk_create *create,
		       struct qcow2_create *out, struct error *e)
{
	int ret = 0;

	*out = (struct qcow2_create){
		.h = {.version = 3, .cluster_bits = 16, .refcount_order = 4}};
	out->h.disk_len = (create->len + 511) & ~511ull;
	if (create->len > INT64_MAX - 511)
		return error_set(e, -EFBIG, "The image size is too large");
	for (unsigned i = 0; i < create->nr_opts && !ret; i++)
		ret = set_option(out, create->opts[i].key,
				 create->opts[i].value, e);
	if (!ret && create->backing)
		ret = set_text(&out->h.backing_name, create->backing, e);
	if (!ret && create->backing_format)
		ret = set_text(&out->h.backing_format, create->backing_format,
			       e);
	if (!ret && out->h.backing_name &&
	    strlen(out->h.backing_name) > QCOW2_MAX_NAME)
		ret = error_set(e, -EINVAL, "Backing file name too long");
	if (!ret)
		ret = check_together(out, e);
	if (ret)
		return ret;
	if (out->h.data_file)
		out->h.incompat |= QCOW2_INCOMPAT_DATA_FILE;
	if (out->h.compression != QCOW2_ZLIB)
		out->h.incompat |= QCOW2_INCOMPAT_COMPRESSION;
	return 0;
}
