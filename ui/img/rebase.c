/*
 * img rebase: gives an image another backing file.  Safe (the default), what
 * the guest sees stays: where old and new backing differ, the old bytes are
 * written to the image first.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/copy.h"
#include "ui/img/copying.h"

#define CHUNK  (2u * 1024 * 1024)
#define SECTOR 512

struct rebase {
	struct img_tool *t;
	struct img_source in;
	const char *name, *format, *base_cache;
	struct blk *top, *base; /* base: the new backing, NULL: none */
	uint8_t *old, *new;
	struct img_copy_progress progress;
	bool unsafe, quiet;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Does [off, *n) of b (NULL: nothing) read as zeroes for sure?  *n shrinks to
 * what one answer covers. */
static int reads_zero(struct blk *b, uint64_t off, uint64_t *n)
{
	uint64_t got;
	int st;

	if (!b || off >= blk_len(b))
		return 1;
	st = blk_status_above(b, NULL, off, min_u64(*n, blk_len(b) - off), &got,
			      NULL, NULL, NULL);
	if (st < 0)
		return st;
	*n = got;
	return !!(st & BLK_STATUS_ZERO);
}

/* Past its end a backing file reads as zeroes. */
static int read_padded(struct blk *b, uint64_t off, uint8_t *buf, uint64_t len)
{
	uint64_t inside =
		b && off < blk_len(b) ? min_u64(len, blk_len(b) - off) : 0;

	memset(buf + inside, 0, len - inside);
	return inside ? blk_read(b, off, buf, inside) : 0;
}

static int write_differences(struct rebase *r, uint64_t off, uint64_t len)
{
	int ret = read_padded(blk_backing(r->top), off, r->old, len);
	uint64_t start = 0, at, n;

	if (ret)
		return img_error(r->t,
				 "error while reading from old backing file");
	ret = read_padded(r->base, off, r->new, len);
	if (ret)
		return img_error(r->t,
				 "error while reading from new backing file");
	for (at = 0; at < len; at += n) {
		n = min_u64(len - at, SECTOR);
		if (memcmp(r->old + at, r->new + at, n))
			continue;
		if (start < at)
			ret = blk_write(r->top, off + start, r->old + start,
					at - start, 0);
		if (ret)
			break;
		start = at + n;
	}
	if (!ret && start < len)
		ret = blk_write(r->top, off + start, r->old + start,
				len - start, 0);
	return ret ? img_error(r->t, "Error while writing to COW image: %s",
			       strerror(-ret))
		   : 0;
}

static int keep_content(struct rebase *r)
{
	uint64_t len = blk_len(r->top), n;

	r->progress.total = len;
	img_progress_set(&r->progress.bar, 0, 1);
	for (uint64_t off = 0; off < len; off += n) {
		int st = blk_status(r->top, off, len - off, &n, NULL, NULL);
		int zero_old = 0, zero_new = 0, status = 0;

		if (st >= 0 && !(st & BLK_STATUS_ALLOCATED)) {
			zero_old = reads_zero(blk_backing(r->top), off, &n);
			zero_new = reads_zero(r->base, off, &n);
		}
		if (st < 0 || zero_old < 0 || zero_new < 0)
			return img_error(
				r->t,
				"error while reading image metadata: "
				"%s",
				strerror(-(st < 0	  ? st
					   : zero_old < 0 ? zero_old
							  : zero_new)));
		if (!(st & BLK_STATUS_ALLOCATED) && !(zero_old && zero_new)) {
			n = min_u64(n, CHUNK);
			status = write_differences(r, off, n);
		}
		if (status)
			return status;
		img_copy_progress(&r->progress, off + n);
	}
	return 0;
}

static int open_base(struct rebase *r)
{
	const char *slash = strrchr(r->in.path, '/');
	struct img_source s = {.format = r->format,
			       .cache = r->base_cache,
			       .share = r->in.share};
	struct error e = {0};
	char *path;

	if (!*r->name)
		return 0;
	if (asprintf(&path, "%.*s%s",
		     slash && *r->name != '/' ? (int)(slash - r->in.path) + 1
					      : 0,
		     r->in.path, r->name) < 0)
		return img_error(r->t, "out of memory");
	s.path = path;
	r->base = img_try_open(r->t, &s, &e);
	free(path);
	return r->base ? 0
		       : img_error(r->t,
				   "Could not open new backing file '%s': %s",
				   r->name, e.msg);
}

static int change_name(struct rebase *r)
{
	const struct blk_format *f = blk_format_find(blk_format(r->top));
	struct error e = {0};
	int ret = blk_flush(r->top);

	if (ret)
		return img_error(r->t, "%s: %s", r->in.path, strerror(-ret));
	if (*r->name && !r->format)
		return img_error(r->t,
				 "Could not change the backing file to '%s': "
				 "backing format must be specified",
				 r->name);
	if (!f || !f->set_backing)
		error_set(&e, -ENOTSUP, "%s", strerror(ENOTSUP));
	else if (!f->set_backing(r->top, r->name, *r->name ? r->format : NULL,
				 &e))
		return 0;
	return img_error(r->t, "Could not change the backing file to '%s': %s",
			 r->name, e.msg);
}

static int rebase(struct rebase *r)
{
	int status = 0;

	if (r->format && !blk_format_find(r->format))
		return img_error(r->t, "Invalid format name: '%s'", r->format);
	if (!r->unsafe) {
		status = open_base(r);
		r->old = malloc(CHUNK);
		r->new = malloc(CHUNK);
		if (!status && (!r->old || !r->new))
			status = img_error(r->t, "out of memory");
		if (!status)
			status = keep_content(r);
		free(r->old);
		free(r->new);
	}
	return status ? status : change_name(r);
}

static int finish(struct rebase *r)
{
	int status, ret;

	r->in.write = true;
	r->in.no_backing = r->unsafe;
	r->top = img_open(r->t, &r->in);
	if (!r->top)
		return 1;
	status = rebase(r);
	blk_unref(r->base);
	ret = blk_unref(r->top);
	if (!status && ret)
		status = img_error(r->t, "%s: %s", r->in.path, strerror(-ret));
	img_progress_end(&r->progress.bar);
	return status;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct rebase r = {.t = t,
			   .in.cache = "writeback",
			   .base_cache = "writeback",
			   .progress.t = t};
	int ch;

	while ((ch = getopt_long(argc, argv, ":hf:F:b:upt:T:qU", options,
				 NULL)) != -1) {
		switch (ch) {
		case 'F':
			r.format = optarg;
			break;
		case 'b':
			r.name = optarg;
			break;
		case 'u':
			r.unsafe = true;
			break;
		case 'p':
			r.progress.bar.enabled = true;
			break;
		case 't':
			r.in.cache = optarg;
			break;
		case 'T':
			r.base_cache = optarg;
			break;
		case 'q':
			r.quiet = true;
			break;
		default:
			if (img_source_option(t, &r.in, ch, argv))
				return 1;
		}
	}
	r.progress.bar.enabled &= !r.quiet;
	if (optind != argc - 1)
		return img_usage_error(t, "Expecting one image file name");
	if (!r.unsafe && !r.name)
		return img_usage_error(t, "Must specify backing file (-b) or "
					  "use unsafe mode (-u)");
	if (!img_cache_arg(t, "cache", r.in.cache) ||
	    !img_cache_arg(t, "source cache", r.base_cache))
		return 1;
	if (!r.name)
		r.name = "";
	r.in.path = argv[optind];
	return finish(&r);
}

const struct img_command img_rebase = {
	.name = "rebase",
	.usage = "[--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] "
		 "[-p] [-u] -b backing_file [-F backing_fmt] filename",
	.run = run,
};
