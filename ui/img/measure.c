/*
 * img measure: how much space an image would take.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json.h>
#include <stdio.h>
#include <string.h>

#include "ui/img/copying.h"

enum { OPT_OUTPUT = IMG_OPT_OWN, OPT_SIZE };

struct request {
	struct img_tool *t;
	struct img_source source;
	struct img_opts opts;
	const char *format; /* of the image that is measured */
	uint64_t len;
	bool has_len, json;
};

static void print_json(const struct blk_measure *m)
{
	struct json_object *o = json_object_new_object();

	if (m->has_bitmaps)
		json_object_object_add(o, "bitmaps",
				       json_object_new_int64(m->bitmaps));
	json_object_object_add(o, "required",
			       json_object_new_int64(m->required));
	json_object_object_add(o, "fully-allocated",
			       json_object_new_int64(m->fully_allocated));
	img_json_print(o);
	json_object_put(o);
}

static void print_human(const struct blk_measure *m)
{
	printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64
	       "\n",
	       m->required, m->fully_allocated);
	if (m->has_bitmaps)
		printf("bitmaps size: %" PRIu64 "\n", m->bitmaps);
}

static int measure(struct request *r, struct blk *source)
{
	const struct blk_format *f = blk_format_find(r->format);
	struct blk_create c = {.len = r->len};
	struct blk_measure found = {0};
	struct error e = {0};

	if (!f)
		return img_error(r->t, "Unknown file format '%s'", r->format);
	if (img_opts_check(&r->opts, f, &e)) {
		img_error(r->t, "%s", e.msg);
		return img_error(r->t, "Invalid options for file format '%s'",
				 r->format);
	}
	c.opts = r->opts.list;
	c.nr_opts = r->opts.nr;
	if (f->measure(&c, source, &found, &e))
		return img_error(r->t, "%s", e.msg);
	if (r->json)
		print_json(&found);
	else
		print_human(&found);
	return 0;
}

/* What can't go together; 0 or the exit status. */
static int check_request(struct request *r, int nr_names)
{
	struct img_tool *t = r->t;

	if (nr_names > 1)
		return img_error(t, "At most one filename argument is "
				    "allowed.");
	if (!nr_names &&
	    (r->source.image_opts || r->source.format || r->source.snapshot))
		return img_error(t, "--image-opts, -f, and -l require a "
				    "filename argument.");
	if (!nr_names && !r->has_len)
		return img_error(t, "Either --size N or one filename must be "
				    "specified.");
	if (nr_names && r->has_len)
		return img_error(t, "--size N cannot be used together with a "
				    "filename.");
	if (r->source.image_opts && r->source.format)
		return img_error(t, "--image-opts and --format are mutually "
				    "exclusive");
	return 0;
}

static int finish(struct request *r, int argc, char **argv)
{
	int status = check_request(r, argc - optind);
	struct blk *source = NULL;

	if (status)
		return status;
	if (optind < argc) {
		r->source.path = argv[optind];
		source = img_open_snapshot(r->t, &r->source);
		if (!source)
			return 1;
	}
	status = measure(r, source);
	blk_unref(source);
	return status;
}

static int take_len(struct request *r, const char *text)
{
	int ret = img_size_parse(text, &r->len);

	r->has_len = true;
	if (!ret && r->len <= INT64_MAX)
		return 0;
	if (ret != -EINVAL)
		return img_error(r->t,
				 "Invalid image size specified. Must be "
				 "between 0 and %" PRId64 ".",
				 INT64_MAX);
	img_image_size(r->t, text, &r->len);
	return 1;
}

static int take_option(struct request *r, int ch, char **argv)
{
	switch (ch) {
	case 'l':
		return img_snapshot_arg(r->t, optarg, &r->source);
	case 'o':
		return img_opts_add(&r->opts, optarg)
			       ? img_error(r->t, "out of memory")
			       : 0;
	case 'O':
		r->format = optarg;
		return 0;
	case OPT_OUTPUT:
		return !img_output_parse(r->t, optarg, &r->json);
	case OPT_SIZE:
		return take_len(r, optarg);
	default:
		return img_source_option(r->t, &r->source, ch, argv);
	}
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"output", required_argument, NULL, OPT_OUTPUT},
		{"size", required_argument, NULL, OPT_SIZE},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct request r = {.t = t, .format = "raw"};
	int ch, status = 0;

	while (!status && (ch = getopt_long(argc, argv, ":hf:l:o:O:U", options,
					    NULL)) != -1)
		status = take_option(&r, ch, argv);
	if (!status)
		status = finish(&r, argc, argv);
	img_opts_fini(&r.opts);
	return status;
}

const struct img_command img_measure = {
	.name = "measure",
	.usage = "[--output=ofmt] [-O output_fmt] [-o options] [--size N | "
		 "[--image-opts] [-f fmt] [-l snapshot] [-U] filename]",
	.run = run,
};
