/*
 * img map: which layer holds each range, and where.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ui/img/copying.h"
#include "ui/img/img.h"

struct extent {
	uint64_t start, len, map;
	struct blk *file;
	int flags, depth;
	bool present;
};

static bool is_same(const struct extent *a, const struct extent *b)
{
	int mask = BLK_STATUS_DATA | BLK_STATUS_ZERO | BLK_STATUS_OFFSET_VALID;

	if ((a->flags & mask) != (b->flags & mask) || a->depth != b->depth ||
	    a->present != b->present || a->file != b->file)
		return false;
	return !(a->flags & BLK_STATUS_OFFSET_VALID) ||
	       a->map + a->len == b->map;
}

/* The file name, escaped for JSON where needed. */
static void print_human(struct img_tool *t, const struct extent *x)
{
	if ((x->flags & BLK_STATUS_DATA) && !(x->flags & BLK_STATUS_ZERO) &&
	    !(x->flags & BLK_STATUS_OFFSET_VALID))
		img_error(t, "File contains external, encrypted or compressed "
			     "clusters.");
	else if ((x->flags & BLK_STATUS_DATA) && !(x->flags & BLK_STATUS_ZERO))
		printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n",
		       x->start, x->len,
		       x->flags & BLK_STATUS_OFFSET_VALID ? x->map : 0,
		       blk_name(x->file));
}

static void print_json(const struct extent *x, bool last)
{
	printf("{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
	       ", \"depth\": %d, \"present\": %s, \"zero\": %s, \"data\": %s",
	       x->start, x->len, x->depth, x->present ? "true" : "false",
	       x->flags & BLK_STATUS_ZERO ? "true" : "false",
	       x->flags & BLK_STATUS_DATA ? "true" : "false");
	if (x->flags & BLK_STATUS_OFFSET_VALID)
		printf(", \"offset\": %" PRIu64, x->map);
	printf(last ? "}" : "},\n");
}

/* false: what was asked can't be printed for people. */
static bool print_extent(struct img_tool *t, const struct extent *x, bool json,
			 bool last)
{
	if (json) {
		print_json(x, last);
		return true;
	}
	print_human(t, x);
	return !((x->flags & BLK_STATUS_DATA) &&
		 !(x->flags & (BLK_STATUS_ZERO | BLK_STATUS_OFFSET_VALID)));
}

/* What a map is drawn of. */
struct chart {
	struct blk *b;
	int depth; /* of the layer whose cluster size is known, -1: none */
	uint64_t cluster;
};

static uint64_t cluster_of(struct chart *c, int depth)
{
	struct blk *b = c->b;

	if (c->depth != depth) {
		for (int i = 0; b && i < depth; i++)
			b = blk_backing(b);
		c->cluster = b ? img_cluster_size(b) : 0;
		c->depth = depth;
	}
	return c->cluster;
}

/* A hole of the file counts when it takes whole clusters: what is missing at
 * the edges of a cluster that holds data is nobody's news. */
static void round_hole(struct chart *c, struct extent *x)
{
	uint64_t len = cluster_of(c, x->depth), end = x->start + x->len;
	uint64_t up, down;

	if (!len)
		return;
	up = (x->start + len - 1) / len * len;
	down = end == blk_len(c->b) ? end : end / len * len;
	if (x->start == up && down > up) {
		x->len = down - up;
		return;
	}
	x->flags &= ~BLK_STATUS_ZERO;
	if (up > x->start && up < end)
		x->len = up - x->start;
}

static int ask(struct chart *c, uint64_t off, uint64_t len, struct extent *x)
{
	struct blk *b = c->b;

	*x = (struct extent){.start = off};
	x->flags = blk_status_above(b, NULL, off, len, &x->len, &x->map,
				    &x->file, &x->depth);
	if (x->flags < 0)
		return x->flags;
	x->present = x->flags & BLK_STATUS_ALLOCATED;
	if (!(x->flags & BLK_STATUS_OFFSET_VALID))
		x->file = NULL;
	if ((x->flags & BLK_STATUS_DATA) && (x->flags & BLK_STATUS_ZERO))
		round_hole(c, x);
	return x->len ? 0 : -EIO;
}

static int map(struct img_tool *t, struct blk *b, uint64_t start, uint64_t max,
	       bool json)
{
	struct chart c = {.b = b, .depth = -1};
	uint64_t end = blk_len(b);
	struct extent now, next;
	int ret = 0;

	if (max < end - (start < end ? start : end))
		end = start + max;
	if (json)
		printf("[");
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to",
		       "File");
	if (start < end)
		ret = ask(&c, start, end - start, &now);
	while (start < end && !ret) {
		uint64_t at = now.start + now.len;

		if (at < end)
			ret = ask(&c, at, end - at, &next);
		if (at < end && !ret && is_same(&now, &next)) {
			now.len += next.len;
			continue;
		}
		if (!print_extent(t, &now, json, at >= end))
			return 1;
		if (at >= end)
			break;
		now = next;
	}
	if (json)
		printf("]\n");
	return ret ? img_error(t, "Failed to read image metadata: %s",
			       strerror(-ret))
		   : 0;
}

static int bad_number(struct img_tool *t, const char *what, int ret)
{
	if (ret == -ERANGE)
		return img_error(t,
				 "Invalid %s specified! Must be less than 8 "
				 "EiB!",
				 what);
	img_error(t,
		  "Invalid %s specified. You may use k, M, G, T, P or E "
		  "suffixes for",
		  what);
	return img_error(t, "kilobytes, megabytes, gigabytes, terabytes, "
			    "petabytes and exabytes.");
}

static int run(struct img_tool *t, int argc, char **argv)
{
	enum { OPT_OUTPUT = IMG_OPT_OWN };
	static const struct option options[] = {
		{"format", required_argument, NULL, 'f'},
		{"output", required_argument, NULL, OPT_OUTPUT},
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"force-share", no_argument, NULL, 'U'},
		{"start-offset", required_argument, NULL, 's'},
		{"max-length", required_argument, NULL, 'l'},
		{0}};
	struct img_source s = {0};
	uint64_t start = 0, max = UINT64_MAX;
	bool json = false;
	struct blk *b;
	int c, ret;

	while ((c = getopt_long(argc, argv, ":f:s:l:hU", options, NULL)) !=
	       -1) {
		switch (c) {
		case 's':
			ret = img_size_parse(optarg, &start);
			if (ret)
				return bad_number(t, "start offset", ret);
			break;
		case 'l':
			ret = img_size_parse(optarg, &max);
			if (ret)
				return bad_number(t, "max length", ret);
			break;
		case OPT_OUTPUT:
			if (!img_output_parse(t, optarg, &json))
				return 1;
			break;
		default:
			if (img_source_option(t, &s, c, argv))
				return 1;
		}
	}
	if (optind != argc - 1)
		return img_usage_error(t, "Expecting one image file name");
	s.path = argv[optind];
	b = img_open(t, &s);
	if (!b)
		return 1;
	ret = map(t, b, start, max, json);
	blk_unref(b);
	return ret;
}

const struct img_command img_map = {
	.name = "map",
	.usage = "[--image-opts] [-f fmt] [--start-offset=offset] "
		 "[--max-length=len] [--output=ofmt] [-U] filename",
	.run = run,
};
