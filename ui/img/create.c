/*
 * img create: makes an image, alone or over a backing file.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/img/img.h"

struct request {
	struct img_tool *t;
	const char *format, *backing, *backing_format, *path;
	struct img_opts opts;
	uint64_t len;
	bool has_len, unsafe, quiet;
};

static bool is_flag(const char *type)
{
	return !strncmp(type, "bool", 4);
}

/* "Formatting 'PATH', fmt=qcow2 cluster_size=65536 ...": what will be. */
static void print_formatting(const struct request *r,
			     const struct blk_format *f)
{
	printf("Formatting '%s', fmt=%s", r->path, f->name);
	for (const struct blk_opt_desc *d = f->opts; d && d->name; d++) {
		const char *value = img_opts_find(&r->opts, d->name);
		uint64_t n;

		if (!strcmp(d->name, "backing_file") && r->backing)
			value = r->backing;
		if (!strcmp(d->name, "backing_fmt") && r->backing_format)
			value = r->backing_format;
		if (!value)
			value = d->preset;
		if (!strcmp(d->name, "size"))
			printf(" size=%" PRIu64, r->len);
		else if (value && !strcmp(d->type, "size") &&
			 !img_size_parse(value, &n))
			printf(" %s=%" PRIu64, d->name, n);
		else if (value && is_flag(d->type))
			printf(" %s=%s", d->name,
			       strcmp(value, "on") ? "off" : "on");
		else if (value)
			printf(" %s=%s", d->name, value);
	}
	printf("\n");
}

/* The backing file as seen from the new image; malloced. */
static char *beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	size_t dir = slash && *name != '/' && strncmp(name, "nbd", 3) &&
				     strncmp(name, "json:", 5)
			     ? slash - path + 1
			     : 0;
	char *full = malloc(dir + strlen(name) + 1);

	if (full) {
		memcpy(full, path, dir);
		strcpy(full + dir, name);
	}
	return full;
}

/* The length of the disk when none was given, and that the backing file is
 * there. */
static int look_at_backing(struct request *r)
{
	struct img_source s = {.format = r->backing_format, .share = true};
	struct error e = {0};
	struct blk *b = NULL;
	char *path = beside(r->path, r->backing);

	if (r->backing_format && !blk_format_find(r->backing_format)) {
		error_set(&e, -1, "Unknown driver '%s'", r->backing_format);
	} else if (path) {
		s.path = path;
		b = img_try_open(r->t, &s, &e);
	}
	free(path);
	if (!b) {
		img_error(r->t, "%s: %s\nCould not open backing image.",
			  r->path, e.msg);
		return 1;
	}
	if (!r->backing_format) {
		img_error(r->t,
			  "%s: Backing file specified without backing format",
			  r->path);
		fprintf(stderr, "Detected format of %s.", blk_format(b));
		blk_unref(b);
		return 1;
	}
	/* A file of odd length is a disk of whole sectors. */
	if (!r->has_len)
		r->len = (blk_len(b) + 511) & ~511ull;
	r->has_len = true;
	blk_unref(b);
	return 0;
}

static const char *find_unknown(const struct request *r,
				const struct blk_format *f)
{
	for (unsigned i = 0; i < r->opts.nr; i++) {
		const struct blk_opt_desc *d = f->opts;

		while (d->name && strcmp(d->name, r->opts.list[i].key))
			d++;
		if (!d->name)
			return r->opts.list[i].key;
	}
	return NULL;
}

/* A value that is not of its option's type; size: a size was expected. */
static const char *find_wrong_type(const struct request *r,
				   const struct blk_format *f, bool *size)
{
	for (const struct blk_opt_desc *d = f->opts; d->name; d++) {
		const char *value = img_opts_find(&r->opts, d->name);
		uint64_t n;

		*size = !strcmp(d->type, "size");
		if (!value)
			continue;
		if (is_flag(d->type) && strcmp(value, "on") &&
		    strcmp(value, "off"))
			return d->name;
		if (*size && (*value == '-' || img_size_parse(value, &n)))
			return d->name;
	}
	return NULL;
}

static int check_options(const struct request *r, const struct blk_format *f)
{
	const char *key = find_unknown(r, f);
	bool size;

	if (key)
		return img_error(r->t, "%s: Invalid parameter '%s'", r->path,
				 key);
	key = find_wrong_type(r, f, &size);
	if (key && size)
		return img_error(r->t,
				 "%s: Parameter '%s' expects a non-negative "
				 "number below 2^64\nOptional suffix k, M, G, "
				 "T, P or E means kilo-, mega-, giga-, tera-, "
				 "peta-\nand exabytes, respectively.",
				 r->path, key);
	if (key)
		return img_error(r->t,
				 "%s: Parameter '%s' expects 'on' or 'off'",
				 r->path, key);
	return 0;
}

static int create(struct request *r)
{
	const struct blk_format *f = img_format(r->t, r->path, r->format);
	const char *size = img_opts_find(&r->opts, "size");
	struct blk_create c = {.path = r->path};
	struct error e = {0};

	if (!f)
		return 1;
	if (check_options(r, f))
		return 1;
	if (size && r->has_len)
		return img_error(r->t,
				 "%s: The image size must be specified only "
				 "once",
				 r->path);
	if (!r->backing)
		r->backing = img_opts_find(&r->opts, "backing_file");
	if (!r->backing_format)
		r->backing_format = img_opts_find(&r->opts, "backing_fmt");
	if (size) {
		if (img_image_size(r->t, size, &r->len))
			return 1;
		r->has_len = true;
	}
	if (r->backing && !strcmp(f->name, "raw"))
		return img_error(r->t,
				 "%s: Backing file not supported for file "
				 "format 'raw'",
				 r->path);
	if (r->backing && !r->unsafe && look_at_backing(r))
		return 1;
	if (!r->has_len)
		return img_error(r->t,
				 "%s: Image creation needs a size parameter",
				 r->path);
	if (!r->quiet)
		print_formatting(r, f);
	c.len = r->len;
	c.backing = r->backing;
	c.backing_format = r->backing_format;
	c.opts = r->opts.list;
	c.nr_opts = r->opts.nr;
	if (f->create(r->t->ctx, &c, &e))
		return img_error(r->t, "%s: %s", r->path, e.msg);
	return 0;
}

static int finish(struct request *r, int argc, char **argv)
{
	const struct blk_format *f;

	if (r->opts.help) {
		f = img_format(r->t, "help", r->format);
		if (f)
			img_opts_help(f);
		return f ? 0 : 1;
	}
	if (optind >= argc)
		return img_usage_error(r->t, "Expecting image file name");
	r->path = argv[optind++];
	if (optind < argc) {
		if (img_image_size(r->t, argv[optind++], &r->len))
			return 1;
		r->has_len = true;
	}
	if (optind < argc)
		return img_usage_error(r->t, "Unexpected argument: %s",
				       argv[optind]);
	return create(r);
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"object", required_argument, NULL, 'J'}, {0}};
	struct request r = {.t = t, .format = "raw"};
	int c, status = 0;

	while ((c = getopt_long(argc, argv, ":F:b:f:ho:qu", options, NULL)) !=
	       -1) {
		switch (c) {
		case 'F':
			r.backing_format = optarg;
			break;
		case 'b':
			r.backing = optarg;
			break;
		case 'f':
			r.format = optarg;
			break;
		case 'o':
			status = img_opts_take(t, &r.opts, optarg);
			break;
		case 'q':
			r.quiet = true;
			break;
		case 'u':
			r.unsafe = true;
			break;
		case 'J':
			status = img_error(t, "objects are not supported");
			break;
		default:
			status = img_bad_option(t, c, argv);
		}
		if (status)
			break;
	}
	if (!status)
		status = finish(&r, argc, argv);
	img_opts_fini(&r.opts);
	return status;
}

const struct img_command img_create = {
	.name = "create",
	.usage = "[-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] "
		 "[-o options] filename [size]",
	.run = run,
};
