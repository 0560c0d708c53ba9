/*
 * img resize: a longer or shorter disk.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ui/img/img.h"

struct request {
	struct img_source source;
	const char *size;
	int sign; /* of the size: +1, -1, or 0: it is the whole */
	enum blk_prealloc prealloc;
	bool shrink, quiet;
};

static int parse_size(struct img_tool *t, struct request *r, uint64_t *len)
{
	const char *text = r->size;

	if (*text == '+' || *text == '-')
		r->sign = *text++ == '+' ? 1 : -1;
	if (!img_size_parse(text, len))
		return 0;
	img_error(t, "Parameter 'size' expects a non-negative number below "
		     "2^64");
	fprintf(stderr, "Optional suffix k, M, G, T, P or E means kilo-, "
			"mega-, giga-, tera-, peta-\nand exabytes, "
			"respectively.\n");
	return 1;
}

static int resize(struct img_tool *t, struct request *r, struct blk *b,
		  uint64_t len)
{
	uint64_t now = blk_len(b), want = len;
	struct error e = {0};

	if (r->sign > 0)
		want = now + len;
	else if (r->sign < 0)
		want = now > len ? now - len : 0;
	if (!want || want > INT64_MAX)
		return img_error(t, "New image size must be positive");
	if (want <= now && r->prealloc != BLK_PREALLOC_OFF)
		return img_error(t, "Preallocation can only be used for "
				    "growing images");
	if (want < now && !r->shrink) {
		img_error(t, "Use the --shrink option to perform a shrink "
			     "operation.");
		return img_error(t, "warning: Shrinking an image will delete "
				    "all data beyond the shrunken image's end. "
				    "Before performing such an operation, make "
				    "sure there is no important data there.");
	}
	if (blk_truncate(b, want, r->prealloc, r->shrink, &e))
		return img_error(t, "%s", e.msg);
	if (!r->quiet)
		printf("Image resized.\n");
	return 0;
}

static bool parse_prealloc(struct img_tool *t, const char *text,
			   enum blk_prealloc *out)
{
	static const char *const names[] = {"off", "metadata", "falloc",
					    "full"};

	for (int i = 0; i < 4; i++)
		if (!strcmp(names[i], text)) {
			*out = i;
			return true;
		}
	img_error(t, "Invalid preallocation mode '%s'", text);
	return false;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	enum { OPT_PREALLOC = IMG_OPT_OWN, OPT_SHRINK };
	static const struct option options[] = {
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"preallocation", required_argument, NULL, OPT_PREALLOC},
		{"shrink", no_argument, NULL, OPT_SHRINK},
		{0}};
	struct request r = {.source.write = true};
	struct blk *b;
	uint64_t len;
	int c;

	/* The size comes last and may look like an option. */
	if (argc < 3)
		return img_usage_error(t, "Not enough arguments");
	r.size = argv[--argc];
	while ((c = getopt_long(argc, argv, ":f:hq", options, NULL)) != -1) {
		switch (c) {
		case 'q':
			r.quiet = true;
			break;
		case OPT_PREALLOC:
			if (!parse_prealloc(t, optarg, &r.prealloc))
				return 1;
			break;
		case OPT_SHRINK:
			r.shrink = true;
			break;
		default:
			if (img_source_option(t, &r.source, c, argv))
				return 1;
		}
	}
	if (optind != argc - 1)
		return img_usage_error(t, "Expecting image file name and size");
	r.source.path = argv[optind];
	if (parse_size(t, &r, &len))
		return 1;
	b = img_open(t, &r.source);
	if (!b)
		return 1;
	c = resize(t, &r, b, len);
	if (blk_unref(b) && !c)
		c = img_error(t, "Could not write '%s'", r.source.path);
	return c;
}

const struct img_command img_resize = {
	.name = "resize",
	.usage = "[--image-opts] [-f fmt] [--preallocation=prealloc] [-q] "
		 "[--shrink] filename [+ | -]size",
	.run = run,
};
