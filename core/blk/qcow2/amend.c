/*
 * Changes of what an image is: version, refcount width, flags, names, length.
 *
 * All that can be refused is refused before anything is changed.
 */
#include "core/blk/qcow2/amend.h"
#include "core/blk/qcow2/l1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/options.h"
#include "core/blk/qcow2/snapshot.h"
#include "core/error.h"

const struct blk_opt_desc qcow2_amend_opts[] = {
	{"backing_file", "str", "File name of a base image", NULL},
	{"backing_fmt", "str", "Image format of the base image", NULL},
	{"compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])", NULL},
	{"data_file", "str", "File name of an external data file", NULL},
	{"data_file_raw", "bool (on/off)",
	 "The external data file must stay valid as a raw image", NULL},
	{"lazy_refcounts", "bool (on/off)", "Postpone refcount updates", NULL},
	{"refcount_bits", "num", "Width of a reference count entry in bits",
	 NULL},
	{"size", "size", "Virtual disk size", NULL},
	{NULL, NULL, NULL, NULL},
};

/* What the image is to be. */
struct wish {
	struct qcow2 *s;
	const struct blk_amend *a;
	const char *backing, *backing_format, *data_file;
	unsigned version, order;
	bool lazy, raw, has_lazy, has_raw;
	uint64_t len; /* UINT64_MAX: as it is */
};

static int take_compat(struct wish *w, const char *value, struct error *e)
{
	if (!strcmp(value, "0.10") || !strcmp(value, "v2"))
		w->version = 2;
	else if (!strcmp(value, "1.1") || !strcmp(value, "v3"))
		w->version = 3;
	else
		return error_set(e, -EINVAL, "Unknown compatibility level %s",
				 value);
	return 0;
}

static int take_width(struct wish *w, const char *value, struct error *e)
{
	unsigned long long bits = strtoull(value, NULL, 0);

	if (!bits || bits > 64 || bits & (bits - 1))
		return error_set(e, -EINVAL,
				 "Refcount width must be a power of two and "
				 "may not exceed 64 bits");
	w->order = __builtin_ctzll(bits);
	return 0;
}

/* Sizes come in bytes. */
static int take_option(struct wish *w, const char *key, const char *value,
		       struct error *e)
{
	int ret = 0;

	if (!strcmp(key, "backing_file"))
		w->backing = value;
	else if (!strcmp(key, "backing_fmt"))
		w->backing_format = value;
	else if (!strcmp(key, "compat"))
		ret = take_compat(w, value, e);
	else if (!strcmp(key, "data_file"))
		w->data_file = value;
	else if (!strcmp(key, "data_file_raw")) {
		w->has_raw = true;
		ret = qcow2_bool_parse(key, value, &w->raw, e);
	} else if (!strcmp(key, "lazy_refcounts")) {
		w->has_lazy = true;
		ret = qcow2_bool_parse(key, value, &w->lazy, e);
	} else if (!strcmp(key, "refcount_bits"))
		ret = take_width(w, value, e);
	else if (!strcmp(key, "size"))
		w->len = strtoull(value, NULL, 0);
	else
		ret = error_set(e, -EINVAL, "Invalid parameter '%s'", key);
	return ret;
}

static bool is_other(const char *a, const char *b)
{
	return !a != !b || (a && strcmp(a, b) != 0);
}

static int check_wish(const struct wish *w, struct error *e)
{
	const struct qcow2_header *h = &w->s->h;
	unsigned version = w->version > h->version ? w->version : h->version;

	if (w->data_file && !w->s->b->data_file)
		return error_set(e, -EINVAL,
				 "data-file can only be set for images that "
				 "use an external data file");
	if (w->raw && !(h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA))
		return error_set(e, -EINVAL,
				 "data-file-raw cannot be set on existing "
				 "images");
	if (w->order != h->refcount_order && w->version < 3)
		if (version < 3 || w->order != 4)
			return error_set(e, -EINVAL,
					 "Refcount widths other than 16 bits "
					 "require compatibility level 1.1 or "
					 "above (use compat=1.1 or greater)");
	if ((w->backing || w->backing_format) &&
	    (is_other(w->backing, h->backing_name) ||
	     is_other(w->backing_format, h->backing_format)))
		return error_set(e, -EINVAL,
				 "Cannot amend the backing file\nYou can use "
				 "'qemu-img rebase' instead.");
	if (w->has_lazy && w->lazy && !(h->compat & QCOW2_COMPAT_LAZY) &&
	    w->version < 3)
		return error_set(e, -EINVAL,
				 "Lazy refcounts only supported with "
				 "compatibility level 1.1 and above (use "
				 "compat=1.1 or greater)");
	if (w->len != UINT64_MAX && w->len & 511)
		return error_set(e, -EINVAL,
				 "The new size must be a multiple of 512");
	return 0;
}

/* [lock] */
static int upgrade(struct qcow2 *s, struct error *e)
{
	struct qcow2_header h;
	int ret = qcow2_snapshots_rewrite(s, e);

	if (ret)
		return ret;
	h = s->h;
	h.version = 3;
	return qcow2_write_header(s, &h, e);
}

/* [lock] One write of the header for all that is only said there. */
static int set_header(struct wish *w, struct error *e)
{
	struct qcow2 *s = w->s;
	struct qcow2_header h = s->h;
	char *name = NULL, *old = h.data_file;
	int ret;

	if (w->has_raw && !w->raw)
		h.autoclear &= ~QCOW2_AUTOCLEAR_RAW_DATA;
	if (w->has_lazy)
		h.compat = w->lazy ? h.compat | QCOW2_COMPAT_LAZY
				   : h.compat & ~QCOW2_COMPAT_LAZY;
	if (w->has_lazy && !w->lazy && (h.incompat & QCOW2_INCOMPAT_DIRTY)) {
		ret = qcow2_settle(s);
		if (ret)
			return error_errno(e, -ret, "Could not write '%s'",
					   s->b->name);
		h.incompat &= ~QCOW2_INCOMPAT_DIRTY;
	}
	if (w->data_file) {
		name = *w->data_file ? strdup(w->data_file) : NULL;
		if (*w->data_file && !name)
			return error_set(e, -ENOMEM, "no memory for a name");
		h.data_file = name;
	}
	if (h.data_file == s->h.data_file && h.compat == s->h.compat &&
	    h.autoclear == s->h.autoclear)
		return 0;
	ret = qcow2_write_header(s, &h, e);
	if (w->data_file)
		free(s->h.data_file == name ? old : name);
	return ret;
}

static int amend_locked(struct wish *w, struct error *e)
{
	struct qcow2 *s = w->s;
	int ret = 0;

	if (s->corrupt)
		return error_set(e, -EIO, "the image is corrupt");
	if (w->version > s->h.version)
		ret = upgrade(s, e);
	if (!ret && w->order != s->h.refcount_order)
		ret = qcow2_change_refcount_order(s, w->order, w->a, e);
	if (!ret)
		ret = set_header(w, e);
	return ret;
}

int qcow2_amend(struct blk *b, const struct blk_amend *a, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	struct wish w = {.s = s,
			 .a = a,
			 .version = s->h.version,
			 .order = s->h.refcount_order,
			 .len = UINT64_MAX};
	int ret = 0;

	for (unsigned i = 0; i < a->nr_opts && !ret; i++)
		ret = take_option(&w, a->opts[i].key, a->opts[i].value, e);
	if (!ret)
		ret = check_wish(&w, e);
	if (ret)
		return ret;
	co_lock(&s->lock);
	ret = amend_locked(&w, e);
	co_unlock(&s->lock);
	if (!ret && w.len != UINT64_MAX)
		ret = blk_truncate(b, w.len, BLK_PREALLOC_OFF, true, e);
	if (!ret && w.version < s->h.version) {
		co_lock(&s->lock);
		ret = qcow2_downgrade(s, a, e);
		co_unlock(&s->lock);
	}
	b->write_gen++;
	return ret;
}
