/*
 * file: the node over a regular file or block device of the host.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/blk/driver.h"
#include "core/blk/iov.h"
#include "core/error.h"

struct file_node {
	int fd;
};

/* A system call on its way to a worker. */
struct call {
	int fd;
	bool is_write;
	uint64_t off, len;
	const struct iovec *iov;
	int nr;
};

static int transfer(void *arg)
{
	struct call *c = arg;
	uint64_t done = 0;

	while (done < c->len) {
		struct iovec part[64];
		int nr = 0;
		size_t skip = done;
		ssize_t n;

		for (int i = 0; i < c->nr && nr < 64; i++) {
			if (skip >= c->iov[i].iov_len) {
				skip -= c->iov[i].iov_len;
				continue;
			}
			part[nr].iov_base = (char *)c->iov[i].iov_base + skip;
			part[nr++].iov_len = c->iov[i].iov_len - skip;
			skip = 0;
		}
		n = c->is_write ? pwritev(c->fd, part, nr, c->off + done)
				: preadv(c->fd, part, nr, c->off + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n && c->is_write)
			return -ENOSPC;
		if (!n) {
			iov_zero(c->iov, c->nr, done, c->len - done);
			break;
		}
		done += n;
	}
	return 0;
}

static int file_readv(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr)
{
	struct file_node *f = b->priv;
	struct call c = {f->fd, false, off, len, iov, nr};

	return co_worker(b->ctx, transfer, &c);
}

static int file_writev(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr, unsigned flags)
{
	struct file_node *f = b->priv;
	struct call c = {f->fd, true, off, len, iov, nr};

	(void)flags;
	return co_worker(b->ctx, transfer, &c);
}

static int sync_call(void *arg)
{
	struct call *c = arg;

	return fdatasync(c->fd) ? -errno : 0;
}

static int file_flush(struct blk *b)
{
	struct file_node *f = b->priv;
	struct call c = {.fd = f->fd};

	return co_worker(b->ctx, sync_call, &c);
}

static int file_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			 bool allow_shrink, struct error *e)
{
	struct file_node *f = b->priv;

	(void)mode;
	(void)allow_shrink;
	if (ftruncate(f->fd, len))
		return error_errno(e, errno, "Failed to resize '%s'", b->name);
	return 0;
}

static int file_open(struct blk *b, const struct blk_options *o,
		     struct error *e)
{
	struct file_node *f = b->priv;
	struct stat st;
	int flags = (o->write ? O_RDWR : O_RDONLY) | O_CLOEXEC;

	f->fd = open(o->path, flags);
	if (f->fd < 0)
		return error_errno(e, errno, "Could not open '%s'", o->path);
	if (fstat(f->fd, &st) ||
	    (S_ISBLK(st.st_mode) && ioctl(f->fd, BLKGETSIZE64, &b->len))) {
		close(f->fd);
		return error_errno(e, errno, "Could not size '%s'", o->path);
	}
	if (!S_ISBLK(st.st_mode))
		b->len = st.st_size;
	return 0;
}

static void file_close(struct blk *b)
{
	struct file_node *f = b->priv;

	close(f->fd);
}

const struct blk_driver blk_file_driver = {
	.name = "file",
	.priv_len = sizeof(struct file_node),
	.open = file_open,
	.close = file_close,
	.readv = file_readv,
	.writev = file_writev,
	.flush = file_flush,
	.truncate = file_truncate,
};

int blk_make_file(struct blk_ctx *ctx, const char *path, uint64_t len,
		  enum blk_prealloc mode, struct error *e)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	(void)ctx;
	(void)mode;
	if (fd < 0)
		return error_errno(e, errno, "Could not create '%s'", path);
	if (ftruncate(fd, len)) {
		int err = errno;

		close(fd);
		return error_errno(e, err, "Could not resize '%s'", path);
	}
	close(fd);
	return 0;
}
