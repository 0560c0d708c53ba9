/*
 * img commit: writes what an image holds into one that it is based on.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/copy.h"
#include "core/blk/driver.h"
#include "ui/img/copying.h"

#define ZERO_RUN 65536

struct commit {
	struct img_tool *t;
	struct img_source in;
	const char *base_name;
	struct blk *top, *base;
	struct img_copy_progress progress;
	uint64_t rate;
	bool keep, quiet;
};

/* Is the file that p names as its backing the one meant by -b? */
static bool is_named(const struct blk *p, const char *name)
{
	const char *slash = strrchr(blk_name(p), '/');
	char *path, *a, *b;
	bool same;

	if (!strcmp(blk_backing_name(p), name))
		return true;
	if (asprintf(&path, "%.*s%s",
		     slash && *blk_backing_name(p) != '/'
			     ? (int)(slash - blk_name(p)) + 1
			     : 0,
		     blk_name(p), blk_backing_name(p)) < 0)
		return false;
	a = realpath(path, NULL);
	b = realpath(name, NULL);
	same = !strcmp(path, name) || (a && b && !strcmp(a, b));
	free(path);
	free(a);
	free(b);
	return same;
}

/* Opens the chain from the top down; only top and base are to be written. */
static int open_chain(struct commit *c)
{
	struct error e = {0};

	c->in.no_backing = true;
	c->in.write = true;
	c->top = img_open(c->t, &c->in);
	if (!c->top)
		return 1;
	for (struct blk *p = c->top; blk_backing_name(p); p = p->backing) {
		bool base =
			c->base_name ? is_named(p, c->base_name) : p == c->top;

		p->backing = blk_open_named(p, blk_backing_name(p),
					    blk_backing_format(p),
					    base && !c->base, &e);
		if (!p->backing)
			return img_error(
				c->t,
				"Could not open '%s': Could not open backing "
				"file: %s",
				c->in.path, e.msg);
		if (base && !c->base)
			c->base = p->backing;
	}
	if (c->base)
		return 0;
	if (c->base_name)
		return img_error(c->t,
				 "Did not find '%s' in the backing chain of "
				 "'%s'",
				 c->base_name, c->in.path);
	return img_error(c->t, "Image does not have a backing file");
}

static int grow_base(struct commit *c)
{
	uint64_t len = blk_len(c->top);
	struct error e = {0};

	if (blk_len(c->base) >= len)
		return 0;
	if (blk_truncate(c->base, len, BLK_PREALLOC_OFF, false, &e))
		return img_error(c->t, "%s: %s", blk_name(c->base), e.msg);
	return 0;
}

static int empty_top(struct commit *c)
{
	const struct blk_format *f = blk_format_find(blk_format(c->top));
	struct error e = {0};

	if (!f || !f->make_empty)
		return img_error(c->t, "Could not empty %s: %s", c->in.path,
				 strerror(ENOTSUP));
	if (f->make_empty(c->top, &e))
		return img_error(c->t, "Could not empty %s: %s", c->in.path,
				 e.msg);
	return 0;
}

static int commit(struct commit *c)
{
	struct blk_copy copy = {.source = c->top,
				.dest = c->base,
				.above = true,
				.base = c->base,
				.len = blk_len(c->top),
				.zero_from = UINT64_MAX,
				.sparse = ZERO_RUN,
				.speed = c->rate,
				.progress = img_copy_progress,
				.arg = &c->progress};
	struct error e = {0};
	int ret;

	c->progress.total = copy.len;
	img_progress_set(&c->progress.bar, 0, 1);
	if (grow_base(c))
		return 1;
	if (blk_copy(&copy, &e))
		return img_error(c->t, "%s", e.msg);
	/* Nothing is given up before all of it is safe below. */
	ret = blk_flush(c->base);
	if (ret)
		return img_error(c->t, "%s: %s", blk_name(c->base),
				 strerror(-ret));
	return c->keep ? 0 : empty_top(c);
}

static int finish(struct commit *c)
{
	int status = open_chain(c), ret;

	if (!status)
		status = commit(c);
	if (!status)
		img_progress_set(&c->progress.bar, 1, 1);
	ret = blk_unref(c->top);
	if (!status && ret)
		status = img_error(c->t, "%s: %s", c->in.path, strerror(-ret));
	img_progress_end(&c->progress.bar);
	if (!status && !c->quiet)
		printf("Image committed.\n");
	return status;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{0}};
	struct commit c = {.t = t, .in.cache = "writeback", .progress.t = t};
	int ch;

	while ((ch = getopt_long(argc, argv, ":f:ht:b:dpqr:", options, NULL)) !=
	       -1) {
		switch (ch) {
		case 't':
			c.in.cache = optarg;
			break;
		case 'b':
			c.base_name = optarg;
			c.keep = true;
			break;
		case 'd':
			c.keep = true;
			break;
		case 'p':
			c.progress.bar.enabled = true;
			break;
		case 'q':
			c.quiet = true;
			break;
		case 'r':
			if (!img_size_arg(t, "rate limit", optarg, &c.rate))
				return 1;
			break;
		default:
			if (img_source_option(t, &c.in, ch, argv))
				return 1;
		}
	}
	c.progress.bar.enabled &= !c.quiet;
	if (optind != argc - 1)
		return img_usage_error(t, "Expecting one image file name");
	if (!img_cache_arg(t, "cache", c.in.cache))
		return 1;
	c.in.path = argv[optind];
	return finish(&c);
}

const struct img_command img_commit = {
	.name = "commit",
	.usage = "[-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] "
		 "[-p] [--image-opts] filename",
	.run = run,
};
