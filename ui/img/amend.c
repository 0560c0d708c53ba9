/*
 * img amend: makes an image another kind of itself.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ui/img/copying.h"

struct request {
	struct img_tool *t;
	struct img_source source;
	struct img_opts opts;
	struct img_progress bar;
	bool quiet;
};

static int print_help(struct request *r, const struct blk_format *f)
{
	if (!f->amend)
		return img_error(r->t,
				 "Format driver '%s' does not support option "
				 "amendment",
				 f->name);
	printf("Amend options for '%s':\n", f->name);
	img_opts_list(f->amend_opts);
	return 0;
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
	struct request *r = arg;

	img_progress_set(&r->bar, done, total);
}

/* Sizes are handed on in bytes; text has room for each. */
static int write_sizes(struct request *r, const struct blk_format *f,
		       char (*text)[24], unsigned nr)
{
	for (unsigned i = 0; i < r->opts.nr; i++) {
		const struct blk_opt_desc *d = f->amend_opts;
		uint64_t n;

		while (strcmp(d->name, r->opts.list[i].key))
			d++;
		if (strcmp(d->type, "size"))
			continue;
		if (!nr--)
			return img_error(r->t, "too many sizes");
		img_size_parse(r->opts.list[i].value, &n);
		snprintf(*text, sizeof(*text), "%" PRIu64, n);
		r->opts.list[i].value = *text++;
	}
	return 0;
}

static int check_options(struct request *r, const struct blk_format *f)
{
	struct blk_format amended = *f;
	struct error e = {0};

	amended.opts = f->amend_opts;
	if (!img_opts_check(&r->opts, &amended, &e))
		return 0;
	img_error(r->t, "%s", e.msg);
	for (const struct blk_opt_desc *d = f->opts; d->name; d++) {
		char text[80];

		snprintf(text, sizeof(text), "Invalid parameter '%s'", d->name);
		if (!strcmp(text, e.msg))
			fprintf(stderr, "This option is only supported for "
					"image creation\n");
	}
	return 1;
}

static int amend(struct request *r, struct blk *b)
{
	const struct blk_format *f = blk_format_find(blk_format(b));
	struct blk_amend a = {.progress = progress, .arg = r};
	char sizes[4][24];
	struct error e = {0};

	if (f && r->opts.help)
		return print_help(r, f);
	if (!f || !f->amend)
		return img_error(r->t,
				 "Format driver '%s' does not support option "
				 "amendment",
				 blk_format(b));
	if (check_options(r, f) || write_sizes(r, f, sizes, 4))
		return 1;
	a.opts = r->opts.list;
	a.nr_opts = r->opts.nr;
	img_progress_set(&r->bar, 0, 1);
	if (f->amend(b, &a, &e))
		return img_error(r->t, "%s", e.msg);
	return 0;
}

static int finish(struct request *r, int argc, char **argv)
{
	const struct blk_format *f =
		r->source.format ? blk_format_find(r->source.format) : NULL;
	struct blk *b;
	int status, ret;

	if (!r->opts.nr_texts)
		return img_usage_error(r->t, "Must specify options (-o)");
	if (f && r->opts.help)
		return print_help(r, f);
	if (optind != argc - 1)
		return img_error(r->t, "Expecting one image file name");
	if (!img_cache_arg(r->t, "cache", r->source.cache))
		return 1;
	r->source.path = argv[optind];
	b = img_open(r->t, &r->source);
	if (!b)
		return 1;
	status = amend(r, b);
	ret = blk_unref(b);
	if (ret && !status)
		status = img_error(r->t, "%s: %s", r->source.path,
				   strerror(-ret));
	if (!status)
		img_progress_end(&r->bar);
	return status;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	enum { OPT_FORCE = IMG_OPT_OWN };
	static const struct option options[] = {
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"force", no_argument, NULL, OPT_FORCE},
		{0}};
	struct request r = {.t = t,
			    .source = {.write = true, .cache = "writeback"}};
	int ch, status = 0;

	while (!status && (ch = getopt_long(argc, argv, ":ho:f:t:pq", options,
					    NULL)) != -1) {
		switch (ch) {
		case 'o':
			if (img_opts_add(&r.opts, optarg))
				status = img_error(t, "out of memory");
			break;
		case 't':
			r.source.cache = optarg;
			break;
		case 'p':
			r.bar.enabled = true;
			break;
		case 'q':
			r.quiet = true;
			break;
		case OPT_FORCE:
			break; /* nothing here is that dangerous */
		default:
			status = img_source_option(t, &r.source, ch, argv);
		}
	}
	r.bar.enabled &= !r.quiet;
	if (!status)
		status = finish(&r, argc, argv);
	img_opts_fini(&r.opts);
	return status;
}

const struct img_command img_amend = {
	.name = "amend",
	.usage = "[--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] "
		 "-o options filename",
	.run = run,
};
