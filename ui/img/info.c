/*
 * img info: what an image is, or each image of a backing chain.
 */
#include <getopt.h>
#include <inttypes.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ui/img/img.h"
#include "ui/img/snapshot_list.h"

/* Everything that is printed, under the names of JSON. */
struct facts {
	struct json_object *o;	  /* in the order of JSON output */
	struct json_object *data; /* the format's own, borrowed; or NULL */
};

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64(n));
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v)
						     : NULL;
}

static bool number_of(struct json_object *o, const char *key, uint64_t *n)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v))
		return false;
	*n = json_object_get_int64(v);
	return true;
}

/* The backing file as it would be opened from here; malloced. */
static char *full_backing(struct blk *b, const char *name)
{
	const char *path = blk_name(b), *slash = strrchr(path, '/');
	size_t dir = slash && *name != '/' && !strchr(name, ':')
			     ? slash - path + 1
			     : 0;
	char *full = malloc(dir + strlen(name) + 1);

	if (full) {
		memcpy(full, path, dir);
		strcpy(full + dir, name);
	}
	return full;
}

static void add_backing(struct json_object *o, struct blk *b)
{
	const char *name = blk_backing_name(b);
	char *full = name ? full_backing(b, name) : NULL;

	if (!full)
		return;
	add_text(o, "full-backing-filename", full);
	add_text(o, "backing-filename", name);
	free(full);
}

static struct facts gather(struct blk *b)
{
	const struct blk_format *f = blk_format_find(blk_format(b));
	struct json_object *extra = f && f->info ? f->info(b) : NULL, *v;
	struct facts out = {.o = json_object_new_object()};
	bool dirty = false, is_local;
	struct stat st;

	if (blk_backing_format(b))
		add_text(out.o, "backing-filename-format",
			 blk_backing_format(b));
	img_snapshots_add(out.o, b);
	add_number(out.o, "virtual-size", blk_len(b));
	add_text(out.o, "filename", blk_name(b));
	if (json_object_object_get_ex(extra, "cluster-size", &v))
		json_object_object_add(out.o, "cluster-size",
				       json_object_get(v));
	add_text(out.o, "format", blk_format(b));
	is_local = !stat(blk_name(b), &st);
	if (is_local)
		add_number(out.o, "actual-size", (uint64_t)st.st_blocks * 512);
	if (json_object_object_get_ex(extra, "data", &out.data)) {
		struct json_object *specific = json_object_new_object();

		add_text(specific, "type", blk_format(b));
		json_object_object_add(specific, "data",
				       json_object_get(out.data));
		json_object_object_add(out.o, "format-specific", specific);
	}
	add_backing(out.o, b);
	if (json_object_object_get_ex(extra, "dirty", &v))
		dirty = json_object_get_boolean(v);
	/* The peers know nothing of a raw disk on a server. */
	if (is_local || extra)
		json_object_object_add(out.o, "dirty-flag",
				       json_object_new_boolean(dirty));
	json_object_put(extra);
	return out;
}

/* ---- for people ---- */

static void print_human(struct blk *b, const struct facts *f)
{
	const char *backing = text_of(f->o, "backing-filename");
	const char *full = text_of(f->o, "full-backing-filename");
	const char *dirty = text_of(f->o, "dirty-flag");
	char text[32];
	uint64_t n;

	printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64
	       " bytes)\n",
	       blk_name(b), blk_format(b), img_size_text(blk_len(b), text),
	       blk_len(b));
	if (number_of(f->o, "actual-size", &n))
		printf("disk size: %s\n", img_size_text(n, text));
	else
		printf("disk size: unavailable\n");
	if (number_of(f->o, "cluster-size", &n))
		printf("cluster_size: %" PRIu64 "\n", n);
	if (dirty && !strcmp(dirty, "true"))
		printf("cleanly shut down: no\n");
	if (backing) {
		printf("backing file: %s", backing);
		if (strcmp(backing, full))
			printf(" (actual path: %s)", full);
		printf("\n");
	}
	if (text_of(f->o, "backing-filename-format"))
		printf("backing file format: %s\n",
		       text_of(f->o, "backing-filename-format"));
	img_snapshots_print(b, "Snapshot list:\n");
	if (f->data) {
		printf("Format specific information:\n");
		img_json_print_human(f->data, 1);
	}
}

/* ---- the command ---- */

static int print_chain(struct blk *top, bool chain, bool json)
{
	struct json_object *all = json_object_new_array();
	bool first = true;

	for (struct blk *b = top; b; b = chain ? blk_backing(b) : NULL) {
		struct facts f = gather(b);

		if (json && chain) {
			json_object_array_add(all, f.o);
			continue;
		}
		if (json)
			img_json_print(f.o);
		else {
			if (!first)
				printf("\n");
			print_human(b, &f);
		}
		first = false;
		json_object_put(f.o);
	}
	if (json && chain)
		img_json_print(all);
	json_object_put(all);
	return 0;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	enum { OPT_OUTPUT = IMG_OPT_OWN, OPT_CHAIN };
	static const struct option options[] = {
		{"format", required_argument, NULL, 'f'},
		{"output", required_argument, NULL, OPT_OUTPUT},
		{"backing-chain", no_argument, NULL, OPT_CHAIN},
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct img_source s = {0};
	bool json = false, chain = false;
	struct blk *b;
	int c;

	while ((c = getopt_long(argc, argv, ":hf:U", options, NULL)) != -1) {
		switch (c) {
		case OPT_OUTPUT:
			if (!img_output_parse(t, optarg, &json))
				return 1;
			break;
		case OPT_CHAIN:
			chain = true;
			break;
		default:
			if (img_source_option(t, &s, c, argv))
				return 1;
		}
	}
	if (optind != argc - 1)
		return img_usage_error(t, "Expecting one image file name");
	s.path = argv[optind];
	s.no_backing = !chain;
	b = img_open(t, &s);
	if (!b)
		return 1;
	print_chain(b, chain, json);
	blk_unref(b);
	return 0;
}

const struct img_command img_info = {
	.name = "info",
	.usage = "[--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] "
		 "[-U] filename",
	.run = run,
};
