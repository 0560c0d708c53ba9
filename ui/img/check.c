/*
 * img check: whether an image's metadata is sound, and repairing it.
 */
#include <getopt.h>
#include <inttypes.h>
#include <json.h>
#include <stdio.h>
#include <string.h>

#include "ui/img/img.h"

/* The exit statuses. */
enum {
	CHECK_CLEAN = 0,
	CHECK_FAILED = 1,
	CHECK_CORRUPT = 2,
	CHECK_LEAKS = 3,
	CHECK_UNSUPPORTED = 63
};

static void print_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

static void add(struct json_object *o, const char *key, uint64_t n, bool always)
{
	if (n || always)
		json_object_object_add(o, key, json_object_new_int64(n));
}

static void print_json(struct blk *b, const struct blk_check *c)
{
	struct json_object *o = json_object_new_object();

	add(o, "image-end-offset", c->end_offset, false);
	add(o, "compressed-clusters", c->compressed, false);
	add(o, "total-clusters", c->total_clusters, false);
	add(o, "corruptions", c->corruptions, false);
	add(o, "corruptions-fixed", c->corruptions_fixed, false);
	add(o, "check-errors", c->check_errors, true);
	add(o, "leaks-fixed", c->leaks_fixed, false);
	add(o, "leaks", c->leaks, false);
	add(o, "allocated-clusters", c->allocated, false);
	json_object_object_add(o, "filename",
			       json_object_new_string(blk_name(b)));
	json_object_object_add(o, "format",
			       json_object_new_string(blk_format(b)));
	add(o, "fragmented-clusters", c->fragmented, false);
	img_json_print(o);
	json_object_put(o);
}

static void print_human(const struct blk_check *c)
{
	if (!c->corruptions && !c->leaks && !c->check_errors)
		printf("No errors were found on the image.\n");
	if (c->corruptions)
		printf("\n%" PRIu64
		       " errors were found on the image.\nData may "
		       "be corrupted, or further writes to the image may "
		       "corrupt it.\n",
		       c->corruptions);
	if (c->leaks)
		printf("\n%" PRIu64 " leaked clusters were found on the "
		       "image.\nThis means waste of disk space, but no harm to "
		       "data.\n",
		       c->leaks);
	if (c->check_errors)
		printf("\n%" PRIu64 " internal errors have occurred during the "
		       "check.\n",
		       c->check_errors);
	if (c->total_clusters && c->allocated)
		printf("%" PRIu64 "/%" PRIu64
		       " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% "
		       "compressed clusters\n",
		       c->allocated, c->total_clusters,
		       c->allocated * 100.0 / c->total_clusters,
		       c->fragmented * 100.0 / c->allocated,
		       c->compressed * 100.0 / c->allocated);
	if (c->end_offset)
		printf("Image end offset: %" PRIu64 "\n", c->end_offset);
}

static int status_of(const struct blk_check *c)
{
	if (c->corruptions)
		return CHECK_CORRUPT;
	if (c->leaks)
		return CHECK_LEAKS;
	return c->check_errors ? CHECK_FAILED : CHECK_CLEAN;
}

struct request {
	struct img_source source;
	unsigned repair;
	bool json, quiet;
};

static int once(struct img_tool *t, const struct request *r, struct blk *b,
		unsigned repair, struct blk_check *out)
{
	const struct blk_format *f = blk_format_find(blk_format(b));
	struct error e = {0};

	*out = (struct blk_check){.say = print_line};
	if (!f || !f->check) {
		if (r->json)
			img_json_print(json_object_new_object());
		img_error(t, "This image format does not support checks");
		return CHECK_UNSUPPORTED;
	}
	if (f->check(b, repair, out, &e)) {
		img_error(t, "Check failed: %s", e.msg);
		return CHECK_FAILED;
	}
	return CHECK_CLEAN;
}

static int check(struct img_tool *t, const struct request *r, struct blk *b)
{
	struct blk_check c;
	uint64_t fixed, leaks_fixed;
	int ret = once(t, r, b, r->repair, &c);

	if (ret)
		return ret;
	fixed = c.corruptions_fixed;
	leaks_fixed = c.leaks_fixed;
	if (fixed || leaks_fixed) {
		if (!r->json && !r->quiet)
			printf("The following inconsistencies were found and "
			       "repaired:\n\n    %" PRIu64 " leaked clusters\n"
			       "    %" PRIu64 " corruptions\n\nDouble checking "
			       "the fixed image now...\n",
			       leaks_fixed, fixed);
		ret = once(t, r, b, 0, &c);
		if (ret)
			return ret;
		c.corruptions_fixed = fixed;
		c.leaks_fixed = leaks_fixed;
	}
	if (r->json)
		print_json(b, &c);
	else if (!r->quiet)
		print_human(&c);
	return status_of(&c);
}

static int run(struct img_tool *t, int argc, char **argv)
{
	enum { OPT_OUTPUT = IMG_OPT_OWN };
	static const struct option options[] = {
		{"format", required_argument, NULL, 'f'},
		{"repair", required_argument, NULL, 'r'},
		{"output", required_argument, NULL, OPT_OUTPUT},
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct blk_options unused = {0};
	struct request r = {.source = {.no_backing = true, .check = true}};
	struct blk *b;
	int c;

	while ((c = getopt_long(argc, argv, ":hf:r:T:qU", options, NULL)) !=
	       -1) {
		switch (c) {
		case 'r':
			r.repair = BLK_REPAIR_LEAKS;
			if (!strcmp(optarg, "all"))
				r.repair |= BLK_REPAIR_ERRORS;
			else if (strcmp(optarg, "leaks"))
				return img_usage_error(
					t,
					"Unknown option value for -r "
					"(expecting 'leaks' or 'all'): %s",
					optarg);
			break;
		case 'T':
			r.source.cache = optarg;
			if (!img_cache_mode(optarg, &unused))
				return img_error(t,
						 "Invalid source cache option: "
						 "%s",
						 optarg);
			break;
		case 'q':
			r.quiet = true;
			break;
		case OPT_OUTPUT:
			if (!img_output_parse(t, optarg, &r.json))
				return 1;
			break;
		default:
			if (img_source_option(t, &r.source, c, argv))
				return 1;
		}
	}
	if (optind != argc - 1)
		return img_usage_error(t, "Expecting one image file name");
	r.source.path = argv[optind];
	r.source.write = r.repair;
	b = img_open(t, &r.source);
	if (!b)
		return 1;
	c = check(t, &r, b);
	blk_unref(b);
	return c;
}

const struct img_command img_check = {
	.name = "check",
	.usage = "[--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | "
		 "all]] [-T src_cache] [-U] filename",
	.run = run,
};
