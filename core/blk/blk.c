/*
 * blk: opens and closes graphs of nodes.
 *
 * An image is a format node over a protocol node (its file); below it hangs
 * the chain of backing images, opened one after the other, so that a chain's
 * depth costs no stack.
 */
#include "core/blk/blk.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/ctx.h"
#include "core/blk/driver.h"
#include "core/blk/filter/filter.h"
#include "core/blk/format.h"
#include "core/blk/nbd/address.h"
#include "core/error.h"

/* What a coroutine's stack surely holds of nested reads. */
#define CHAIN_MAX 1000

static void node_free(struct blk *b)
{
	if (!b)
		return;
	free(b->backing_name);
	free(b->backing_format);
	free(b->name);
	free(b->priv);
	free(b);
}

static struct blk *node_create(struct blk_ctx *ctx,
			       const struct blk_driver *drv,
			       const struct blk_options *o, struct error *e)
{
	struct blk *b = calloc(1, sizeof(*b));

	if (!b)
		goto no_memory;
	b->name = strdup(o->path);
	b->priv = calloc(1, drv->priv_len ? drv->priv_len : 1);
	if (!b->name || !b->priv)
		goto no_memory;
	b->drv = drv;
	b->ctx = ctx;
	b->align = 1;
	b->cluster = 1;
	b->refs = 1;
	b->write = o->write;
	/* What an earlier process wrote may still be in the host's cache: the
	 * first flush is never left out. */
	b->write_gen = 1;
	b->options = *o;
	/* Only what is asked for by value is kept. */
	b->options.path = b->name;
	b->options.format = b->options.snapshot = NULL;
	b->options.filters = NULL;
	return b;

no_memory:
	node_free(b);
	error_set(e, -ENOMEM, "no memory to open '%s'", o->path);
	return NULL;
}

static struct blk *open_protocol(struct blk_ctx *ctx,
				 const struct blk_options *o, struct error *e)
{
	const struct blk_driver *drv =
		blk_driver_find(nbd_is_address(o->path) ? "nbd" : "file");
	struct blk *b;

	if (!drv) {
		error_set(e, -EPROTONOSUPPORT, "Unknown protocol '%s'",
			  o->path);
		return NULL;
	}
	b = node_create(ctx, drv, o, e);
	if (!b)
		return NULL;
	b->is_protocol = true;
	if (drv->open(b, o, e)) {
		node_free(b);
		return NULL;
	}
	return b;
}

/* One image without its backing chain; takes the reference to file. */
static struct blk *open_format(struct blk *file, const struct blk_options *o,
			       struct error *e)
{
	const char *name = o->format ? o->format : blk_format_probe(file)->name;
	const struct blk_driver *drv;
	struct blk *b;

	if (!strcmp(name, "file"))
		return file;
	drv = blk_driver_find(name);
	if (!drv || drv == file->drv) {
		error_set(e, -EINVAL, "Unknown driver '%s'", name);
		goto out_file;
	}
	b = node_create(file->ctx, drv, o, e);
	if (!b)
		goto out_file;
	b->file = file;
	if (drv->open(b, o, e)) {
		node_free(b);
		goto out_file;
	}
	return b;

out_file:
	blk_unref(file);
	return NULL;
}

/* ---- filters ---- */

struct blk *blk_filter_open_with(struct blk *child,
				 const struct blk_driver *drv,
				 const struct blk_opt *opts, unsigned nr,
				 struct error *e)
{
	struct blk_filter_spec spec = {
		.drv = drv, .opts = (struct blk_opt *)opts, .nr_opts = nr};
	struct blk_options o = child->options;
	struct blk *b;

	o.path = child->name;
	o.filters = &spec;
	b = node_create(child->ctx, drv, &o, e);
	if (!b)
		goto out_child;
	b->file = child;
	b->write = child->write;
	b->len = child->len;
	b->is_protocol = child->is_protocol;
	b->is_filter = true;
	if (drv->open(b, &o, e)) {
		node_free(b);
		goto out_child;
	}
	return b;

out_child:
	blk_unref(child);
	return NULL;
}

struct blk *blk_filter_open(struct blk *child, const struct blk_driver *drv,
			    struct error *e)
{
	return blk_filter_open_with(child, drv, NULL, 0, e);
}

/* Puts the filters of o over child, the last first. */
static struct blk *wrap(struct blk *child, const struct blk_filter_spec *f,
			bool above, struct error *e)
{
	if (f)
		child = wrap(child, f->next, above, e);
	if (!child || !f || f->above != above)
		return child;
	return blk_filter_open_with(child, f->drv, f->opts, f->nr_opts, e);
}

struct blk *blk_skip_filters(const struct blk *b)
{
	while (b->is_filter)
		b = b->file;
	return (struct blk *)b;
}

static struct blk *open_one(struct blk_ctx *ctx, const struct blk_options *o,
			    struct error *e)
{
	struct blk *file = open_protocol(ctx, o, e);
	struct blk_options named = *o;

	if (file)
		file = wrap(file, o->filters, false, e);
	if (!file)
		return NULL;
	named.path = file->name;
	return open_format(file, &named, e);
}

/* ---- names inside images ---- */

/* Is path (resolved) folder itself or below it? */
static bool is_below(const char *path, const char *folder, size_t len)
{
	while (len && folder[len - 1] == '/')
		len--;
	return !strncmp(path, folder, len) && (!path[len] || path[len] == '/');
}

static bool is_allowed(struct blk_ctx *ctx, const char *image, const char *path)
{
	const char *slash = strrchr(image, '/'), *p = ctx->backing_folders;

	if (is_below(path, image, slash - image))
		return true;
	while (p && *p) {
		size_t len = strcspn(p, ":");
		char folder[PATH_MAX], *real;

		if (len && len < sizeof(folder)) {
			memcpy(folder, p, len);
			folder[len] = 0;
			real = realpath(folder, NULL);
			if (real && is_below(path, real, strlen(real))) {
				free(real);
				return true;
			}
			free(real);
		}
		p += len + (p[len] == ':');
	}
	return false;
}

/* The name as seen from the image's folder; malloced. */
static char *beside(const char *image, const char *name)
{
	const char *slash = strrchr(image, '/');
	size_t dir = slash ? slash - image + 1 : 0;
	char *path;

	if (*name == '/')
		dir = 0;
	path = malloc(dir + strlen(name) + 1);
	if (path) {
		memcpy(path, image, dir);
		strcpy(path + dir, name);
	}
	return path;
}

static int check_allowed(struct blk *b, const char *name, const char *path,
			 struct error *e)
{
	char *image = realpath(b->name, NULL), *real = realpath(path, NULL);
	int ret = 0;

	if (!real)
		ret = error_errno(e, errno, "Could not open '%s'", path);
	else if (!image || !is_allowed(b->ctx, image, real))
		ret = error_set(e, -EPERM,
				"'%s' names '%s', outside its own folder; "
				"allow it with --backing-folders FOLDER or "
				"BINNACLE_BACKING_FOLDERS",
				b->name, name);
	free(image);
	free(real);
	return ret;
}

static int check_protocol(struct blk *b, const char *name, struct error *e)
{
	size_t scheme = strcspn(name, ":/");
	const char *all = b->ctx->backing_folders;

	if (name[scheme] != ':')
		return 0;
	/* Who allows every folder allows every server too. */
	if (nbd_is_address(name) && all && !strcmp(all, "/"))
		return 0;
	return error_set(e, -EPERM,
			 "'%s' names '%s', which is no plain file name; allow "
			 "it with --backing-folders / or "
			 "BINNACLE_BACKING_FOLDERS=/",
			 b->name, name);
}

static struct blk *open_named(struct blk *b, const char *name,
			      struct blk_options *o, struct error *e)
{
	struct blk *child = NULL;
	char *path = NULL;

	if (!strncmp(name, "file:", 5))
		name += 5;
	if (check_protocol(b, name, e))
		return NULL;
	path = nbd_is_address(name) ? strdup(name) : beside(b->name, name);
	if (!path) {
		error_set(e, -ENOMEM, "no memory to open '%s'", name);
		return NULL;
	}
	o->path = path;
	if (nbd_is_address(name) || !check_allowed(b, name, path, e))
		child = open_one(b->ctx, o, e);
	free(path);
	return child;
}

/* What an image's files share with it. */
static struct blk_options child_options(struct blk *b, const char *format)
{
	struct blk_options o = b->options;

	o.format = format;
	o.check = false;
	return o;
}

struct blk *blk_open_named(struct blk *b, const char *name, const char *format,
			   bool write, struct error *e)
{
	struct blk_options o = child_options(b, format);

	o.write = write;
	o.no_backing = true;
	return open_named(b, name, &o, e);
}

static bool is_same_file(const struct blk *a, const struct blk *b)
{
	while (a->file)
		a = a->file;
	while (b->file)
		b = b->file;
	return a->ino && a->ino == b->ino && a->dev == b->dev;
}

/* Is b one of those above it? */
static int check_circle(struct blk *top, struct blk *b, struct error *e)
{
	for (struct blk *p = top; p != b; p = p->backing)
		if (is_same_file(p, b))
			return error_set(e, -ELOOP,
					 "the backing files of '%s' form a "
					 "circle at '%s'",
					 top->name, b->name);
	return 0;
}

static int open_chain(struct blk *top, struct error *e)
{
	struct blk *b = top;

	for (int depth = 0; b->backing_name && !b->backing; depth++) {
		if (depth == CHAIN_MAX)
			return error_set(e, -ELOOP,
					 "'%s' has more than %d backing files",
					 top->name, CHAIN_MAX);
		b->backing = blk_open_named(b, b->backing_name,
					    b->backing_format, false, e);
		if (!b->backing)
			return error_prefix(e, -EIO,
					    "Could not open backing file");
		b = b->backing;
		if (check_circle(top, b, e))
			return -ELOOP;
	}
	return 0;
}

/* The chain below b, the filters above it. */
static struct blk *open_rest(struct blk *b, const struct blk_options *o,
			     struct error *e)
{
	if (b && !o->no_backing && open_chain(b, e)) {
		blk_unref(b);
		return NULL;
	}
	return b ? wrap(b, o->filters, true, e) : NULL;
}

struct blk *blk_open(struct blk_ctx *ctx, const struct blk_options *o,
		     struct error *e)
{
	return open_rest(open_one(ctx, o, e), o, e);
}

struct blk *blk_open_over(struct blk *file, const struct blk_options *o,
			  struct error *e)
{
	struct blk_options named = *o;

	named.path = file->name;
	return open_rest(open_format(file, &named, e), &named, e);
}

static int set_write_below(struct blk *b, bool write, struct error *e)
{
	int ret = b->data_file ? blk_set_write(b->data_file, write, e) : 0;

	return !ret && b->file ? blk_set_write(b->file, write, e) : ret;
}

int blk_set_write(struct blk *b, bool write, struct error *e)
{
	int ret = 0;

	if (b->write == write)
		return 0;
	if (write)
		ret = set_write_below(b, true, e);
	else if ((ret = blk_flush(b)))
		return error_errno(e, -ret, "'%s'", b->name);
	if (!ret && b->drv->set_write)
		ret = b->drv->set_write(b, write, e);
	if (ret) {
		if (write)
			set_write_below(b, false, NULL);
		return ret;
	}
	b->write = write;
	return write ? 0 : set_write_below(b, false, e);
}

int blk_replace_backing(struct blk *b, struct blk *backing)
{
	struct blk *old;

	while (b->in_flight)
		co_wait(&b->drained, NULL);
	old = b->backing;
	b->backing = backing;
	return blk_unref(old);
}

struct blk *blk_ref(struct blk *b)
{
	b->refs++;
	return b;
}

static int node_close(struct blk *b)
{
	int ret = 0;

	while (b->in_flight)
		co_wait(&b->drained, NULL);
	if (b->write)
		ret = blk_flush(b);
	if (b->drv->close)
		b->drv->close(b);
	if (b->data_file)
		blk_unref(b->data_file);
	if (b->file)
		blk_unref(b->file);
	node_free(b);
	return ret;
}

int blk_unref(struct blk *b)
{
	int ret = 0;

	while (b && !--b->refs) {
		struct blk *backing = b->backing;
		int closed = node_close(b);

		ret = ret ? ret : closed;
		b = backing;
	}
	return ret;
}

uint64_t blk_len(const struct blk *b)
{
	return b->len;
}

const char *blk_name(const struct blk *b)
{
	return b->name;
}

const char *blk_format(const struct blk *b)
{
	return b->drv->name;
}

bool blk_writable(const struct blk *b)
{
	return b->write;
}

unsigned blk_align(const struct blk *b)
{
	return b->align;
}

unsigned blk_cluster(const struct blk *b)
{
	return b->cluster;
}

struct blk *blk_file(const struct blk *b)
{
	return b->file;
}

struct blk *blk_backing(const struct blk *b)
{
	return b->backing;
}

const char *blk_backing_name(const struct blk *b)
{
	return b->backing_name;
}

const char *blk_backing_format(const struct blk *b)
{
	return b->backing_format;
}

bool blk_cache_stats(const struct blk *b, struct blk_cache_stats *out)
{
	struct blk *image = blk_skip_filters(b);

	*out = (struct blk_cache_stats){0};
	if (!image->drv->cache_stats)
		return false;
	image->drv->cache_stats(image, out);
	return true;
}

struct blk_ctx *blk_ctx_of(const struct blk *b)
{
	return b->ctx;
}
