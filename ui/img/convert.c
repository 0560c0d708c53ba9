/*
 * img convert: writes the disk that images hold to another image.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/blk/copy.h"
#include "ui/img/copying.h"

#define SPARSE_MAX (16 * 1024 * 1024)

struct convert {
	struct img_tool *t;
	struct img_source in;
	const char *out_format, *out_cache, *out_path;
	const char *backing, *backing_format;
	struct img_opts opts;
	struct blk *source, *dest;
	struct blk *single; /* the only source, for its bitmaps */
	struct img_copy_progress progress;
	uint64_t sparse, rate;
	unsigned long nr_requests;
	bool compress, no_create, target_zero, out_of_order, offload, salvage;
	bool target_opts, has_sparse, bitmaps, skip_broken;
};

static bool parse_sparse(struct convert *c, const char *text)
{
	if (!img_size_arg(c->t, "buffer size for sparse output", text,
			  &c->sparse))
		return false;
	if (!(c->sparse % 512) && c->sparse <= SPARSE_MAX) {
		c->has_sparse = true;
		return true;
	}
	img_error(c->t,
		  "Invalid buffer size for sparse output specified. Valid "
		  "sizes are multiples of 512 up to %d. Select 0 to disable "
		  "sparse detection (fully allocates output).",
		  SPARSE_MAX);
	return false;
}

static bool parse_requests(struct convert *c, const char *text)
{
	char *end;

	c->nr_requests = strtoul(text, &end, 10);
	if (!*end && end != text && c->nr_requests >= 1 &&
	    c->nr_requests <= BLK_COPY_REQUESTS_MAX)
		return true;
	img_error(c->t,
		  "Invalid number of coroutines. Allowed number of coroutines "
		  "is between 1 and %d",
		  BLK_COPY_REQUESTS_MAX);
	return false;
}

/* What can't go together; 0 or the exit status. */
static int check_options(struct convert *c, int nr_names)
{
	struct img_tool *t = c->t;

	if (c->in.image_opts && c->in.format)
		return img_error(t, "--image-opts and --format are mutually "
				    "exclusive");
	if (c->skip_broken && !c->bitmaps)
		return img_error(t, "Use of --skip-broken-bitmaps requires "
				    "--bitmaps");
	if (c->offload && c->compress)
		return img_error(t, "Cannot enable copy offloading when -c is "
				    "used");
	if (c->offload && c->has_sparse)
		return img_error(t, "Cannot enable copy offloading when -S is "
				    "used");
	if (c->target_opts && !c->no_create)
		return img_error(t, "--target-image-opts requires use of -n "
				    "flag");
	if (c->no_create && c->opts.nr)
		return img_error(t, "-o has no effect when skipping image "
				    "creation");
	if (c->target_zero && !c->no_create)
		return img_error(t, "--target-is-zero requires use of -n "
				    "flag");
	if (nr_names < 2)
		return img_error(t, "Must specify image file name");
	if (!c->backing)
		c->backing = img_opts_find(&c->opts, "backing_file");
	if (!c->backing_format)
		c->backing_format = img_opts_find(&c->opts, "backing_fmt");
	if (c->bitmaps && nr_names > 2)
		return img_error(t, "Copying bitmaps only possible with single "
				    "source");
	if (c->in.snapshot && nr_names > 2)
		return img_error(t, "No support for concatenating multiple "
				    "snapshot");
	if (c->backing && nr_names > 2)
		return img_error(t, "Having a backing file for the target "
				    "makes no sense when concatenating "
				    "multiple input images");
	return 0;
}

/* ---- source ---- */

static int open_sources(struct convert *c, char **names, unsigned nr)
{
	struct blk **images = calloc(nr, sizeof(*images));
	unsigned n = 0;

	while (images && n < nr) {
		c->in.path = names[n];
		images[n] = img_open_snapshot(c->t, &c->in);
		if (!images[n])
			break;
		n++;
	}
	if (n == nr)
		c->single = images[0];
	if (n == 1 && nr == 1 && !(blk_len(images[0]) % 512))
		c->source = images[0];
	else if (n == nr)
		c->source = img_concat(images, nr);
	else
		while (n--)
			blk_unref(images[n]);
	free(images);
	return c->source ? 0 : 1;
}

/* ---- destination ---- */

static const char *find_unknown(const struct convert *c,
				const struct blk_format *f)
{
	for (unsigned i = 0; i < c->opts.nr; i++) {
		const struct blk_opt_desc *d = f->opts;

		while (d && d->name && strcmp(d->name, c->opts.list[i].key))
			d++;
		if (!d || !d->name)
			return c->opts.list[i].key;
	}
	return NULL;
}

static int check_create(struct convert *c, const struct blk_format *f)
{
	const char *prealloc = img_opts_find(&c->opts, "preallocation");
	bool raw = !strcmp(f->name, "raw");

	if (find_unknown(c, f))
		return img_error(c->t, "Invalid parameter '%s'",
				 find_unknown(c, f));
	if (c->backing && raw)
		return img_error(c->t, "Backing file not supported for file "
				       "format 'raw'");
	if (c->backing && !c->backing_format)
		return img_error(c->t, "Use of backing file requires explicit "
				       "backing format");
	if (c->compress && raw)
		return img_error(c->t, "Compression not supported for this "
				       "file format");
	if (c->compress && prealloc && strcmp(prealloc, "off"))
		return img_error(c->t, "Compression and preallocation not "
				       "supported at the same time");
	return 0;
}

static int create(struct convert *c, const struct blk_format *f)
{
	struct blk_create what = {.path = c->out_path,
				  .len = blk_len(c->source),
				  .backing = c->backing,
				  .backing_format = c->backing_format,
				  .opts = c->opts.list,
				  .nr_opts = c->opts.nr};
	struct error e = {0};

	if (check_create(c, f))
		return 1;
	if (f->create(c->t->ctx, &what, &e))
		return img_error(c->t, "%s: error while converting %s: %s",
				 c->out_path, f->name, e.msg);
	return 0;
}

static int open_dest(struct convert *c)
{
	struct img_source s = {.path = c->out_path,
			       .format = c->out_format,
			       .cache = c->out_cache,
			       .image_opts = c->target_opts,
			       .write = true};
	struct img_source backing = {
		.path = c->backing, .format = c->backing_format, .share = true};
	const char *slash = strrchr(c->out_path, '/');
	char *path;

	if (c->target_opts)
		s.format = NULL;
	if (c->no_create || !c->backing) {
		c->dest = img_open(c->t, &s);
		return c->dest ? 0 : 1;
	}
	if (asprintf(&path, "%.*s%s",
		     slash && *c->backing != '/'
			     ? (int)(slash - c->out_path) + 1
			     : 0,
		     c->out_path, c->backing) < 0)
		return img_error(c->t, "out of memory");
	backing.path = path;
	c->dest = img_open_over(c->t, &s, &backing);
	free(path);
	return c->dest ? 0 : 1;
}

static int make_dest(struct convert *c)
{
	const struct blk_format *f = blk_format_find(c->out_format);

	if (!f)
		return img_error(c->t, "Unknown file format '%s'",
				 c->out_format);
	if (!c->no_create && create(c, f))
		return 1;
	if (open_dest(c))
		return 1;
	if (c->compress && strcmp(blk_format(c->dest), "qcow2"))
		return img_error(c->t, "Compression not supported for this "
				       "file format");
	if (blk_len(c->dest) < blk_len(c->source))
		return img_error(c->t,
				 "output file is smaller than input file");
	return 0;
}

/* From where on the destination reads as zeroes. */
static uint64_t zero_from(const struct convert *c)
{
	struct stat st;

	if (c->backing)
		return blk_backing(c->dest) ? blk_len(blk_backing(c->dest))
					    : UINT64_MAX;
	if (c->no_create)
		return c->target_zero ? 0 : UINT64_MAX;
	if (!strcmp(c->out_format, "qcow2"))
		return 0;
	return !stat(c->out_path, &st) && S_ISREG(st.st_mode) ? 0 : UINT64_MAX;
}

/* ---- the work ---- */

static void report_lost(void *arg, uint64_t off, int error)
{
	struct img_copy_progress *p = arg;

	if (!p->quiet)
		fprintf(stderr,
			"%s: warning: error while reading offset %" PRIu64
			": %s\n",
			p->t->program, off, strerror(-error));
}

static int copy(struct convert *c)
{
	struct blk_copy copy = {
		.source = c->source,
		.dest = c->dest,
		.len = blk_len(c->source),
		.zero_from = zero_from(c),
		.above = c->backing && blk_backing(c->source),
		.base = blk_backing(c->source),
		.nr_requests = c->nr_requests,
		.sparse = c->sparse,
		.compress_cluster = c->compress ? img_cluster_size(c->dest) : 0,
		.out_of_order = c->out_of_order,
		.offload = c->offload,
		.salvage = c->salvage,
		.salvaged = report_lost,
		.speed = c->rate,
		.progress = img_copy_progress,
		.arg = &c->progress,
	};
	struct error e = {0};

	c->progress.t = c->t;
	c->progress.total = copy.len;
	img_progress_set(&c->progress.bar, 0, 1);
	if (blk_copy(&copy, &e))
		return img_error(c->t, "%s", e.msg);
	if (c->progress.bar.enabled)
		img_progress_set(&c->progress.bar, 1, 1);
	return 0;
}

static int finish(struct convert *c, int argc, char **argv)
{
	int nr = argc - optind, status, ret;

	if (c->opts.help) {
		const struct blk_format *f = blk_format_find(c->out_format);

		if (!f)
			return img_error(c->t, "Unknown file format '%s'",
					 c->out_format);
		img_opts_help(f);
		printf("\nThe protocol level may support further options.\n"
		       "Specify the target filename to include those "
		       "options.\n");
		return 0;
	}
	status = check_options(c, nr);
	if (status)
		return status;
	c->out_path = argv[argc - 1];
	status = open_sources(c, argv + optind, nr - 1);
	if (!status && c->bitmaps)
		status = img_check_bitmaps(c->t, c->single, c->skip_broken);
	if (!status)
		status = make_dest(c);
	if (!status && c->bitmaps)
		status = img_takes_bitmaps(c->t, c->dest);
	if (!status)
		status = copy(c);
	if (!status && c->bitmaps)
		status = img_copy_bitmaps(c->t, c->single, c->dest);
	blk_unref(c->source);
	ret = blk_unref(c->dest);
	if (ret && !status)
		status = img_error(c->t, "%s: error while closing: %s",
				   c->out_path, strerror(-ret));
	img_progress_end(&c->progress.bar);
	return status;
}

enum {
	OPT_IMAGE_OPTS = 256,
	OPT_OBJECT,
	OPT_TARGET_OPTS,
	OPT_SALVAGE,
	OPT_TARGET_ZERO,
	OPT_BITMAPS,
	OPT_SKIP_BROKEN
};

static const struct option options[] = {
	{"object", required_argument, NULL, OPT_OBJECT},
	{"source-format", required_argument, NULL, 'f'},
	{"image-opts", no_argument, NULL, OPT_IMAGE_OPTS},
	{"target-image-opts", no_argument, NULL, OPT_TARGET_OPTS},
	{"force-share", no_argument, NULL, 'U'},
	{"salvage", no_argument, NULL, OPT_SALVAGE},
	{"target-is-zero", no_argument, NULL, OPT_TARGET_ZERO},
	{"bitmaps", no_argument, NULL, OPT_BITMAPS},
	{"skip-broken-bitmaps", no_argument, NULL, OPT_SKIP_BROKEN},
	{0}};

/* Options that only set a flag; false when ch is none of them. */
static bool take_flag(struct convert *c, int ch)
{
	bool *const flags[] = {
		['c'] = &c->compress,
		['p'] = &c->progress.bar.enabled,
		['q'] = &c->progress.quiet,
		['n'] = &c->no_create,
		['W'] = &c->out_of_order,
		['U'] = &c->in.share,
		['C'] = &c->offload,
		[OPT_IMAGE_OPTS] = &c->in.image_opts,
		[OPT_TARGET_OPTS] = &c->target_opts,
		[OPT_SALVAGE] = &c->salvage,
		[OPT_TARGET_ZERO] = &c->target_zero,
		[OPT_BITMAPS] = &c->bitmaps,
		[OPT_SKIP_BROKEN] = &c->skip_broken,
	};

	if (ch < 0 || (size_t)ch >= sizeof(flags) / sizeof(*flags) ||
	    !flags[ch])
		return false;
	return *flags[ch] = true;
}

/* 0 or the exit status. */
static int take_value(struct convert *c, int ch, char **argv)
{
	switch (ch) {
	case 'f':
		c->in.format = optarg;
		return 0;
	case 'O':
		c->out_format = optarg;
		return 0;
	case 'B':
		c->backing = optarg;
		return 0;
	case 'F':
		c->backing_format = optarg;
		return 0;
	case 'o':
		return img_opts_take(c->t, &c->opts, optarg);
	case 'l':
		return img_snapshot_arg(c->t, optarg, &c->in);
	case 'S':
		return !parse_sparse(c, optarg);
	case 'm':
		return !parse_requests(c, optarg);
	case 'r':
		return !img_size_arg(c->t, "rate limit", optarg, &c->rate);
	case 't':
		c->out_cache = optarg;
		return 0;
	case 'T':
		c->in.cache = optarg;
		return 0;
	case OPT_OBJECT:
		return img_error(c->t, "objects are not supported");
	default:
		return img_bad_option(c->t, ch, argv);
	}
}

static int run(struct img_tool *t, int argc, char **argv)
{
	struct convert c = {.t = t,
			    .out_format = "raw",
			    .out_cache = "unsafe",
			    .in.cache = "writeback",
			    .sparse = BLK_COPY_SPARSE,
			    .nr_requests = BLK_COPY_REQUESTS};
	int ch, status = 0;

	while (!status &&
	       (ch = getopt_long(argc, argv, ":hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:",
				 options, NULL)) != -1)
		if (!take_flag(&c, ch))
			status = take_value(&c, ch, argv);
	if (c.progress.quiet)
		c.progress.bar.enabled = false;
	if (!status && (!img_cache_arg(t, "cache", c.out_cache) ||
			!img_cache_arg(t, "source cache", c.in.cache)))
		status = 1;
	if (!status)
		status = finish(&c, argc, argv);
	img_opts_fini(&c.opts);
	return status;
}

const struct img_command img_convert = {
	.name = "convert",
	.usage = "[-U] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] "
		 "[-B backing_file [-F backing_fmt]] [-o options] "
		 "[-l snapshot] [-S sparse_size] [-r rate_limit] "
		 "[-m num_coroutines] [-W] [-C] [-c] [-p] [-q] [-n] "
		 "[--image-opts] [--target-image-opts] [--target-is-zero] "
		 "[--bitmaps [--skip-broken-bitmaps]] [--salvage] filename "
		 "[filename2 [...]] output_filename",
	.run = run,
};
