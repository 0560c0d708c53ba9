/*
 * img dd: copies a part of an image, with the operands of dd.
 */
#include <errno.h>
#include <stdio.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/copy.h"
#include "ui/img/copying.h"

#define SECTOR 512

struct dd {
	struct img_tool *t;
	struct img_source in;
	const char *out_format, *out_path;
	uint64_t bs, count, skip;
	bool has_count;
};

/* 0 or the exit status. */
static int take_operand(struct dd *d, char *text)
{
	char *value = strchr(text, '=');

	if (value)
		*value++ = 0;
	if (value && !strcmp(text, "if")) {
		d->in.path = value;
	} else if (value && !strcmp(text, "of")) {
		d->out_path = value;
	} else if (value && !strcmp(text, "bs")) {
		if (!img_size_arg(d->t, "bs", value, &d->bs))
			return 1;
		if (d->bs < 1 || d->bs > INT32_MAX)
			return img_error(
				d->t,
				"Invalid bs specified. Must be between "
				"1 and %d.",
				INT32_MAX);
	} else if (value && !strcmp(text, "count")) {
		d->has_count = true;
		return !img_size_arg(d->t, "count", value, &d->count);
	} else if (value && !strcmp(text, "skip")) {
		return !img_size_arg(d->t, "skip", value, &d->skip);
	} else {
		return img_error(d->t, "unrecognized operand %s", text);
	}
	return 0;
}

static uint64_t mul_max(uint64_t a, uint64_t b)
{
	uint64_t out;

	return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}

static int copy(struct dd *d, struct blk *source, uint64_t from, uint64_t len)
{
	struct img_source out = {.path = d->out_path,
				 .format = d->out_format,
				 .cache = "writeback",
				 .write = true};
	struct blk_copy copy = {.source = source, .off = from, .len = len};
	struct error e = {0};
	int status = 0, ret;

	copy.dest = img_open(d->t, &out);
	if (!copy.dest)
		return 1;
	if (blk_copy(&copy, &e))
		status = img_error(d->t, "%s", e.msg);
	ret = blk_unref(copy.dest);
	if (ret && !status)
		status = img_error(d->t, "%s: %s", d->out_path, strerror(-ret));
	return status;
}

static int make_and_copy(struct dd *d, struct blk *source)
{
	const struct blk_format *f = blk_format_find(d->out_format);
	uint64_t end = blk_len(source), from = mul_max(d->skip, d->bs);
	uint64_t most = mul_max(d->count, d->bs);
	struct blk_create what = {.path = d->out_path};
	struct error e = {0};
	uint64_t len;

	/* count is from the start of the image: it says where reading ends. */
	if (d->has_count && most < end)
		end = most;
	len = from < end ? end - from : 0;
	what.len = (len + SECTOR - 1) / SECTOR * SECTOR;
	if (f->create(d->t->ctx, &what, &e))
		return img_error(d->t,
				 "%s: error while creating output image of "
				 "type %s: %s",
				 d->out_path, d->out_format, e.msg);
	if (from > end)
		img_error(d->t, "%s: cannot skip to specified offset",
			  d->in.path);
	return copy(d, source, from, len);
}

static int finish(struct dd *d, int argc, char **argv)
{
	struct blk *source;
	int status = 0;

	while (!status && optind < argc)
		status = take_operand(d, argv[optind++]);
	if (status)
		return status;
	if (!d->in.path || !d->out_path)
		return img_error(d->t, "Must specify both input and output "
				       "files");
	if (d->in.image_opts && d->in.format)
		return img_error(d->t, "--image-opts and --format are mutually "
				       "exclusive");
	source = img_open(d->t, &d->in);
	if (!source)
		return 1;
	if (!blk_format_find(d->out_format))
		status = img_error(d->t, "Unknown file format");
	else
		status = make_and_copy(d, source);
	blk_unref(source);
	return status;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct dd d = {.t = t, .out_format = "raw", .bs = SECTOR};
	int c;

	while ((c = getopt_long(argc, argv, ":hf:O:U", options, NULL)) != -1) {
		switch (c) {
		case 'O':
			d.out_format = optarg;
			break;
		default:
			if (img_source_option(t, &d.in, c, argv))
				return 1;
		}
	}
	return finish(&d, argc, argv);
}

const struct img_command img_dd = {
	.name = "dd",
	.usage = "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] "
		 "[count=blocks] [skip=blocks] if=input of=output",
	.run = run,
};
