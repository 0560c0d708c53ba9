/*
 * img bitmap: adds, removes and changes an image's persistent bitmaps.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/img/copying.h"

#define ACTIONS_MAX 64

struct action {
	enum blk_bitmap_verb verb;
	const char *source; /* of MERGE */
};

struct request {
	struct img_tool *t;
	struct img_source image, source;
	struct action actions[ACTIONS_MAX];
	unsigned nr_actions;
	const char *name;
	uint64_t granularity;
	bool add, merge;
};

static const char *const verbs[] = {
	[BLK_BITMAP_ADD] = "add",	  [BLK_BITMAP_REMOVE] = "remove",
	[BLK_BITMAP_CLEAR] = "clear",	  [BLK_BITMAP_ENABLE] = "enable",
	[BLK_BITMAP_DISABLE] = "disable", [BLK_BITMAP_MERGE] = "merge",
};

static int act(struct request *r, struct blk *b, struct blk *source)
{
	const struct blk_format *f = blk_format_find(blk_format(b));

	for (unsigned i = 0; i < r->nr_actions; i++) {
		const struct action *a = &r->actions[i];
		struct blk_bitmap_op op = {.verb = a->verb,
					   .name = r->name,
					   .granularity = r->granularity,
					   .source = source,
					   .source_name = a->source};
		struct error e = {0};
		int ret;

		if (f && f->bitmap)
			ret = f->bitmap(b, &op, &e);
		else if (a->verb == BLK_BITMAP_ADD)
			ret = error_set(&e, -1,
					"Can't store persistent bitmaps to "
					"%s: Operation not supported",
					blk_name(b));
		else
			ret = error_set(&e, -1, "Dirty bitmap '%s' not found",
					r->name);
		if (ret)
			return img_error(r->t,
					 "Operation %s on bitmap %s failed: %s",
					 verbs[a->verb], r->name, e.msg);
	}
	return 0;
}

static int check_request(struct request *r, int nr_names)
{
	struct img_tool *t = r->t;

	if (!r->nr_actions)
		return img_error(t, "Need at least one of --add, --remove, "
				    "--clear, --enable, --disable, or --merge");
	if (nr_names != 2)
		return img_error(t, "Expecting filename and bitmap name");
	if (r->granularity && !r->add)
		return img_error(t, "granularity only supported with --add");
	if (r->source.format && !r->source.path)
		return img_error(t, "-F only supported with -b");
	if (r->source.path && !r->merge)
		return img_error(t, "Merge bitmap source file only supported "
				    "with --merge");
	if (r->image.image_opts && r->image.format)
		return img_error(t, "--image-opts and --format are mutually "
				    "exclusive");
	return 0;
}

static int finish(struct request *r, int argc, char **argv)
{
	struct blk *b, *source;
	int status = check_request(r, argc - optind), ret;

	if (status)
		return status;
	r->image.path = argv[optind];
	r->name = argv[optind + 1];
	b = img_open(r->t, &r->image);
	if (!b)
		return 1;
	source = r->source.path ? img_open(r->t, &r->source) : blk_ref(b);
	status = source ? act(r, b, source) : 1;
	blk_unref(source);
	ret = blk_unref(b);
	if (ret && !status)
		status = img_error(r->t, "%s: %s", r->image.path,
				   strerror(-ret));
	return status;
}

static int take_action(struct request *r, enum blk_bitmap_verb verb)
{
	if (r->nr_actions == ACTIONS_MAX)
		return img_error(r->t, "more than %d actions", ACTIONS_MAX);
	r->actions[r->nr_actions++] = (struct action){verb, optarg};
	r->add |= verb == BLK_BITMAP_ADD;
	r->merge |= verb == BLK_BITMAP_MERGE;
	return 0;
}

enum { OPT_VERB = IMG_OPT_OWN };

static int take_option(struct request *r, int ch, char **argv)
{
	switch (ch) {
	case 'b':
		r->source.path = optarg;
		return 0;
	case 'F':
		r->source.format = optarg;
		return 0;
	case 'g':
		return !img_size_arg(r->t, "granularity", optarg,
				     &r->granularity);
	default:
		if (ch >= OPT_VERB)
			return take_action(r, ch - OPT_VERB);
		return img_source_option(r->t, &r->image, ch, argv);
	}
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"add", no_argument, NULL, OPT_VERB + BLK_BITMAP_ADD},
		{"remove", no_argument, NULL, OPT_VERB + BLK_BITMAP_REMOVE},
		{"clear", no_argument, NULL, OPT_VERB + BLK_BITMAP_CLEAR},
		{"enable", no_argument, NULL, OPT_VERB + BLK_BITMAP_ENABLE},
		{"disable", no_argument, NULL, OPT_VERB + BLK_BITMAP_DISABLE},
		{"merge", required_argument, NULL, OPT_VERB + BLK_BITMAP_MERGE},
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{0}};
	struct request r = {.t = t, .image.write = true};
	int ch, status = 0;

	while (!status && (ch = getopt_long(argc, argv, ":b:f:F:g:h", options,
					    NULL)) != -1)
		status = take_option(&r, ch, argv);
	return status ? status : finish(&r, argc, argv);
}

const struct img_command img_bitmap = {
	.name = "bitmap",
	.usage = "(--merge SOURCE | --add | --remove | --clear | --enable | "
		 "--disable)... [-b source_file [-F source_fmt]] "
		 "[-g granularity] [--image-opts | -f fmt] filename bitmap",
	.run = run,
};
