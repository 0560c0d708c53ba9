/*
 * img snapshot: lists, takes, applies and deletes internal snapshots.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ui/img/img.h"
#include "ui/img/snapshot_list.h"

static const char *verb_of(int action)
{
	return action == 'c' ? "create" : action == 'a' ? "apply" : "delete";
}

/* Deleting goes by name only, as scripts expect. */
static bool has_name(struct blk *b, const struct blk_format *f,
		     const char *name)
{
	static const int few = 64;
	struct blk_snapshot_info list[64];
	int nr = f->snapshots(b, list, few);

	for (int i = 0; i < nr && i < few; i++)
		if (!strcmp(list[i].name, name))
			return true;
	return nr > few;
}

static int say_code(struct img_tool *t, int action, const char *name, int ret)
{
	return img_error(t, "Could not %s snapshot '%s': %d (%s)",
			 verb_of(action), name, ret, strerror(-ret));
}

static int change(struct img_tool *t, struct blk *b, int action,
		  const char *name)
{
	static const enum blk_snapshot_op ops[] = {['c'] = BLK_SNAPSHOT_CREATE,
						   ['a'] = BLK_SNAPSHOT_APPLY,
						   ['d'] = BLK_SNAPSHOT_DELETE};
	const struct blk_format *f = blk_format_find(blk_format(b));
	struct error e = {0};
	int ret;

	if (!f || !f->snapshot)
		return say_code(t, action, name, -ENOTSUP);
	if (action == 'd' && !has_name(b, f, name))
		ret = error_set(&e, -ENOENT, "snapshot not found");
	else
		ret = f->snapshot(b, ops[action], name, &e);
	if (!ret)
		return 0;
	if (action == 'c')
		return say_code(t, action, name, ret);
	if (action == 'a' && ret == -ENOENT)
		error_set(&e, ret,
			  "Failed to load snapshot: No such file or directory");
	return img_error(t, "Could not %s snapshot '%s': %s", verb_of(action),
			 name, e.msg);
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"object", required_argument, NULL, IMG_OPT_OBJECT},
		{"image-opts", no_argument, NULL, IMG_OPT_IMAGE_OPTS},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct img_source s = {.no_backing = true};
	const char *name = NULL;
	struct blk *b;
	int c, action = 0;

	while ((c = getopt_long(argc, argv, ":la:c:d:hqU", options, NULL)) !=
	       -1) {
		switch (c) {
		case 'l':
		case 'a':
		case 'c':
		case 'd':
			if (action)
				return img_usage_error(
					t, "Cannot mix '-l', '-a', '-c', '-d'");
			action = c;
			name = optarg;
			break;
		case 'q':
			break;
		default:
			if (img_source_option(t, &s, c, argv))
				return 1;
		}
	}
	if (optind != argc - 1)
		return img_usage_error(t, "Expecting one image file name");
	s.path = argv[optind];
	s.write = action && action != 'l';
	/* Without an action it lists, and finds nothing to complain about. */
	b = img_open(t, &s);
	if (!b)
		return 1;
	c = 0;
	if (s.write)
		c = change(t, b, action, name);
	else if (action)
		img_snapshots_print(b, "Snapshot list:\n");
	if (blk_unref(b) && !c)
		c = img_error(t, "Could not write '%s'", s.path);
	return c;
}

const struct img_command img_snapshot = {
	.name = "snapshot",
	.usage = "[--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | "
		 "-d snapshot] filename",
	.run = run,
};
