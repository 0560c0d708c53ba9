/*
 * chain: names and links of backing images.
 */
#include "core/blk/chain.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/driver.h"
#include "core/blk/format.h"
#include "core/error.h"

struct blk *blk_chain_above(struct blk *top, const struct blk *b)
{
	while (top && top->backing != b)
		top = top->backing;
	return b ? top : NULL;
}

/* ---- names ---- */

/* The folder of path, without symbolic links and final slash; malloced. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, slash - path + 1) : strdup(".");
	char *real = folder ? realpath(folder, NULL) : NULL;

	free(folder);
	if (real && !strcmp(real, "/"))
		*real = 0;
	return real;
}

/* Length of the folder that from and to (both real) lie in. */
static size_t common(const char *from, const char *to)
{
	size_t last = 0, i;

	for (i = 0; from[i] && from[i] == to[i]; i++)
		if (from[i] == '/')
			last = i;
	if ((!from[i] || from[i] == '/') && (!to[i] || to[i] == '/'))
		last = i;
	return last;
}

/* base in folder `to`, as seen from folder `from`; malloced. */
static char *relative(const char *from, const char *to, const char *base)
{
	size_t shared = common(from, to);
	char path[2 * PATH_MAX] = "", *out;

	if (!shared) {
		if (asprintf(&out, "%s/%s", to, base) < 0)
			return NULL;
		return out;
	}
	for (const char *p = from + shared; *p; p++)
		if (*p == '/' && strlen(path) + 4 < PATH_MAX)
			strcat(path, "../");
	to += shared;
	/* What looks like a protocol is none. */
	if (!*path && !*to && strchr(base, ':'))
		strcpy(path, "./");
	if (asprintf(&out, "%s%s%s%s", path, *to ? to + 1 : "", *to ? "/" : "",
		     base) < 0)
		return NULL;
	return out;
}

char *blk_chain_name(const char *path, const struct blk *node, struct error *e)
{
	const char *slash = strrchr(node->name, '/');
	char *from = NULL, *to = NULL, *name = NULL;

	if (!strncmp(node->name, "nbd:", 4) ||
	    !strncmp(node->name, "nbd+unix:", 9)) {
		name = strdup(node->name);
	} else {
		from = folder_of(path);
		to = folder_of(node->name);
		if (from && to)
			name = relative(from, to,
					slash ? slash + 1 : node->name);
	}
	if (!name)
		error_errno(e, errno, "the folder of '%s' or '%s'", path,
			    node->name);
	free(from);
	free(to);
	return name;
}

/* The format that is stored with it. */
static const char *format_of(const struct blk *node)
{
	node = blk_skip_filters(node);
	return node->is_protocol ? "raw" : node->drv->name;
}

/* ---- links ---- */

static int write_name(struct blk *image, struct blk *backing, struct error *e)
{
	const struct blk_format *f = blk_format_find(image->drv->name);
	char *name = NULL;
	int ret;

	if (!f || !f->set_backing)
		return error_set(e, -ENOTSUP,
				 "'%s' can't name another backing file",
				 image->name);
	if (backing) {
		name = blk_chain_name(image->name, backing, e);
		if (!name)
			return -ENOMEM;
	}
	ret = blk_flush(image);
	if (ret)
		error_errno(e, -ret, "'%s'", image->name);
	else
		ret = f->set_backing(image, name,
				     backing ? format_of(backing) : NULL, e);
	if (!ret && (ret = blk_flush(image)))
		error_errno(e, -ret, "'%s'", image->name);
	free(name);
	return ret;
}

int blk_chain_relink(struct blk *image, struct blk *backing, struct error *e)
{
	bool was_writable = image->write;
	int ret = 0;

	if (!was_writable)
		ret = blk_set_write(image, true, e);
	if (ret)
		return ret;
	ret = write_name(image, backing, e);
	if (!ret)
		blk_replace_backing(image, backing ? blk_ref(backing) : NULL);
	if (!was_writable)
		blk_set_write(image, false, ret ? NULL : e);
	return ret;
}

struct folder_sync {
	char *folder;
};

static int sync_call(void *arg)
{
	struct folder_sync *s = arg;
	int fd = open(*s->folder ? s->folder : "/",
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	/* File systems that have no such thing need none. */
	if (fsync(fd) && errno != EINVAL)
		ret = -errno;
	close(fd);
	return ret;
}

int blk_chain_sync_folder(struct blk_ctx *ctx, const char *path,
			  struct error *e)
{
	struct folder_sync s = {folder_of(path)};
	int ret = s.folder ? co_worker(ctx, sync_call, &s) : -errno;

	free(s.folder);
	return ret ? error_errno(e, -ret, "the folder of '%s'", path) : 0;
}
