/*
 * The persistent bitmaps of an image that is converted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ui/img/copying.h"

static const struct blk_format *format_of(struct blk *b)
{
	return blk_format_find(blk_format(b));
}

/* How many there are; -ENOTSUP when b can have none. */
static int count(struct blk *b)
{
	const struct blk_format *f = format_of(b);
	struct blk_bitmap_info info;
	int nr = 0, ret;

	if (!f || !f->bitmap_info)
		return -ENOTSUP;
	while (!(ret = f->bitmap_info(b, nr, &info)))
		nr++;
	return ret == -ENOENT ? nr : ret;
}

int img_check_bitmaps(struct img_tool *t, struct blk *source, bool skip_broken)
{
	int nr = count(source);
	struct blk_bitmap_info info;

	if (nr < 0)
		return img_error(t, "Source lacks bitmap support");
	while (nr-- && !skip_broken) {
		format_of(source)->bitmap_info(source, nr, &info);
		if (!info.inconsistent)
			continue;
		img_error(t, "Cannot copy inconsistent bitmap '%s'", info.name);
		fprintf(stderr,
			"Try --skip-broken-bitmaps, or use '%s bitmap "
			"--remove' to delete it\n",
			t->program);
		return 1;
	}
	return 0;
}

int img_takes_bitmaps(struct img_tool *t, struct blk *dest)
{
	if (count(dest) >= 0)
		return 0;
	return img_error(t, "Format driver '%s' does not support bitmaps",
			 blk_format(dest));
}

static int copy_one(struct img_tool *t, struct blk *source, struct blk *dest,
		    const struct blk_bitmap_info *info)
{
	const struct blk_format *f = format_of(dest);
	struct blk_bitmap_op op = {.verb = BLK_BITMAP_ADD,
				   .name = info->name,
				   .granularity = info->granularity,
				   .source = source,
				   .source_name = info->name};
	struct error e = {0};

	if (f->bitmap(dest, &op, &e))
		return img_error(t, "Failed to create bitmap %s: %s",
				 info->name, e.msg);
	op.verb = BLK_BITMAP_DISABLE;
	if (info->enabled || !f->bitmap(dest, &op, &e)) {
		op.verb = BLK_BITMAP_MERGE;
		if (!f->bitmap(dest, &op, &e))
			return 0;
	}
	img_error(t, "Failed to populate bitmap %s: %s", info->name, e.msg);
	op.verb = BLK_BITMAP_REMOVE;
	f->bitmap(dest, &op, &e);
	return 1;
}

static bool has_bitmap(struct blk *b, const char *name)
{
	struct blk_bitmap_info info;

	for (int i = 0; !format_of(b)->bitmap_info(b, i, &info); i++)
		if (!strcmp(info.name, name))
			return true;
	return false;
}

/* What will fail fails before anything is added; from the last to the first,
 * in which order people know the messages. */
static int foresee(struct img_tool *t, struct blk *source, struct blk *dest)
{
	struct blk_bitmap_info info;

	for (int i = count(source); i-- > 0;) {
		format_of(source)->bitmap_info(source, i, &info);
		if (info.inconsistent)
			img_error(t,
				  "warning: Skipping inconsistent bitmap "
				  "'%s'",
				  info.name);
		else if ((has_bitmap(dest, info.name) ||
			  blk_len(source) != blk_len(dest)) &&
			 copy_one(t, source, dest, &info))
			return 1;
	}
	return 0;
}

/* Added in the order of the source; the first that fails ends it. */
int img_copy_bitmaps(struct img_tool *t, struct blk *source, struct blk *dest)
{
	int nr = count(source), status = foresee(t, source, dest);
	struct blk_bitmap_info info;

	for (int i = 0; i < nr && !status; i++) {
		format_of(source)->bitmap_info(source, i, &info);
		if (!info.inconsistent)
			status = copy_one(t, source, dest, &info);
	}
	return status;
}
