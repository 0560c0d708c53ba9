#include "core/blk/drive_image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/blk/driver.h"
#include "core/blk/format.h"
#include "core/blk/scratch.h"
#include "core/error.h"

#define SECTOR 512ull

static struct blk_options options_of(const struct drive_image *i,
				     const char *path, bool write)
{
	return (struct blk_options){
		.path = path,
		.format = "file",
		.write = write,
		.direct = i->direct,
		.no_flush = i->no_flush,
		.aio = i->cfg->aio,
		.cache_len = i->cfg->cache_len,
		.discard_unmap = true,
	};
}

/* The format that a disk is opened with; NULL with the reason in e. */
static const char *format_of(const struct drive_image *i, struct blk *file,
			     struct error *e)
{
	const char *path = i->cfg->path, *name = i->cfg->format;
	const char *found = blk_format_probe(file)->name;

	if (name && *name && !blk_format_find(name)) {
		error_set(e, -EINVAL,
			  "disk '%s': format '%s' isn't known; convert the "
			  "image to raw or qcow2",
			  path, name);
		return NULL;
	}
	if (name && *name)
		return name;
	if (!strcmp(found, "raw"))
		return found;
	error_set(e, -EINVAL,
		  "disk '%s': the image begins as %s does, but no format is "
		  "named; say format=%s, or format=raw if a guest wrote that",
		  path, found, found);
	return NULL;
}

/* Opens o->path with the filters between it and its format (NULL: the one
 * that the configuration means). */
static struct blk *open_layers(struct blk_ctx *ctx, const struct drive_image *i,
			       struct blk_options *o, const char *format,
			       struct error *e)
{
	struct blk *file = blk_open(ctx, o, e), *top;

	if (file && !format) {
		format = format_of(i, file, e);
		if (!format) {
			blk_unref(file);
			return NULL;
		}
	}
	if (file && i->wrap)
		file = i->wrap(i->wrap_arg, file, e);
	if (!file)
		return NULL;
	o->format = format;
	top = blk_open_over(file, o, e);
	if (!top && e)
		error_prefix(e, e->code, "'%s'", blk_scratch_shown(o->path));
	return top;
}

/* A guest sees whole sectors; an image that it may write has them. */
static int fill_sector(struct blk *b, struct error *e)
{
	uint64_t len = (blk_len(b) + SECTOR - 1) & ~(SECTOR - 1);

	if (!blk_writable(b) || len == blk_len(b))
		return 0;
	return blk_truncate(b, len, BLK_PREALLOC_OFF, false, e);
}

/* The overlay's place among our descriptors: made, or the one there is. */
static int find_overlay(struct blk_ctx *ctx, const struct drive_image *i,
			uint64_t len, char path[BLK_SCRATCH_PATH],
			struct error *e)
{
	if (*i->scratch_fd < 0)
		*i->scratch_fd = blk_scratch_create(ctx, len, path, e);
	else
		blk_scratch_path(*i->scratch_fd, path);
	return *i->scratch_fd < 0 ? *i->scratch_fd : 0;
}

/* Takes the reference to base. */
static struct blk *open_overlay(struct blk_ctx *ctx,
				const struct drive_image *i, struct blk *base,
				struct error *e)
{
	char path[BLK_SCRATCH_PATH];
	struct blk_options o = options_of(i, path, true);
	struct blk *b = NULL;

	o.no_backing = true;
	if (!find_overlay(ctx, i, blk_len(base), path, e))
		b = open_layers(ctx, i, &o, "qcow2", e);
	if (b)
		b->backing = base;
	else
		blk_unref(base);
	return b;
}

static struct blk *open_image(struct blk_ctx *ctx, const struct drive_image *i,
			      struct error *e)
{
	bool scratch = i->cfg->scratch;
	struct drive_image plain = *i;
	struct blk_options o =
		options_of(i, i->cfg->path, !i->cfg->readonly && !scratch);
	struct blk *b;

	if (scratch)
		plain.wrap = NULL;
	b = open_layers(ctx, &plain, &o, NULL, e);
	if (!b || scratch)
		return b ? open_overlay(ctx, i, b, e) : NULL;
	if (fill_sector(b, e)) {
		blk_unref(b);
		return NULL;
	}
	return b;
}

struct blk *drive_image_open(struct blk_ctx *ctx, const struct drive_image *i,
			     struct error *e)
{
	struct blk *b = open_image(ctx, i, e);

	if (!b && e->code == -EAGAIN)
		error_set(e, -EBUSY,
			  "disk '%s': the image is in use by another machine "
			  "or program that writes to it or reads it; end that "
			  "first, or use a copy",
			  i->cfg->path);
	return b;
}
