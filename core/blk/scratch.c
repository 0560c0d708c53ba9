#include "core/blk/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/driver.h"
#include "core/blk/format.h"
#include "core/error.h"

static const char open_files[] = "/proc/self/fd/";

void blk_scratch_path(int fd, char path[BLK_SCRATCH_PATH])
{
	snprintf(path, BLK_SCRATCH_PATH, "%s%d", open_files, fd);
}

const char *blk_scratch_shown(const char *name)
{
	return strncmp(name, open_files, strlen(open_files))
		       ? name
		       : "scratch overlay";
}

static int open_nameless(struct error *e)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	if (!dir || !*dir)
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	return error_errno(e, errno,
			   "no room for a scratch image in '%s' (set TMPDIR to "
			   "another folder)",
			   dir);
}

int blk_scratch_create(struct blk_ctx *ctx, uint64_t len,
		       char path[BLK_SCRATCH_PATH], struct error *e)
{
	struct blk_create c = {.path = path, .len = (len + 511) & ~511ull};
	int fd = open_nameless(e), ret;

	if (fd < 0)
		return fd;
	blk_scratch_path(fd, path);
	ret = blk_qcow2_format.create(ctx, &c, e);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

struct blk *blk_scratch_over(struct blk *base, struct error *e)
{
	char path[BLK_SCRATCH_PATH];
	int fd = blk_scratch_create(base->ctx, base->len, path, e);
	struct blk_options o = {.path = path,
				.format = "qcow2",
				.write = true,
				.no_flush = true,
				.no_backing = true,
				.discard_unmap = true};
	struct blk *b = NULL;

	if (fd >= 0) {
		b = blk_open(base->ctx, &o, e);
		close(fd);
	}
	if (b)
		b->backing = base;
	else
		blk_unref(base);
	return b;
}
