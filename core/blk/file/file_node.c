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

#define FIRST_BLOCK 4096

struct file_node {
	int fd;
	/* The extent that was asked for last; empty after a write. */
	uint64_t extent_off, extent_end;
	uint64_t generation; /* of writes */
	bool is_hole;
};

/* A system call on its way to a worker. */
struct call {
	int fd;
	bool is_write;
	uint64_t off, len;
	const struct iovec *iov;
	int nr;
	int mode; /* of fallocate, or an enum blk_prealloc */
	bool is_hole;
};

static void forget_extent(struct blk *b)
{
	struct file_node *f = b->priv;

	f->generation++;
	f->extent_end = 0;
}

/* The last byte of a range that is to be zeroes: unlike ftruncate it can't
 * shorten a file that another request made longer meanwhile. */
static int file_grow(struct blk *b, uint64_t len)
{
	struct file_node *f = b->priv;

	return pwrite(f->fd, "", 1, len - 1) == 1 ? 0 : -errno;
}

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
	struct call c = {
		.fd = f->fd, .off = off, .len = len, .iov = iov, .nr = nr};

	return co_worker(b->ctx, transfer, &c);
}

static int file_writev(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr, unsigned flags)
{
	struct file_node *f = b->priv;
	struct call c = {.fd = f->fd,
			 .is_write = true,
			 .off = off,
			 .len = len,
			 .iov = iov,
			 .nr = nr};

	int ret = co_worker(b->ctx, transfer, &c);

	(void)flags;
	forget_extent(b);
	return ret;
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

/* ---- holes ---- */

static int allocate_call(void *arg)
{
	struct call *c = arg;

	return fallocate(c->fd, c->mode, c->off, c->len) ? -errno : 0;
}

static int allocate(struct blk *b, int mode, uint64_t off, uint64_t len)
{
	struct file_node *f = b->priv;
	struct call c = {.fd = f->fd, .off = off, .len = len, .mode = mode};
	int ret = co_worker(b->ctx, allocate_call, &c);

	return ret == -EOPNOTSUPP || ret == -ENODEV || ret == -EINVAL ? -ENOTSUP
								      : ret;
}

static int file_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			     unsigned flags)
{
	int ret = -ENOTSUP;

	forget_extent(b);
	/* Past the end nothing is there yet: a longer file reads as zeroes. */
	if (off >= b->len)
		return file_grow(b, off + len);
	if (flags & BLK_MAY_UNMAP)
		ret = allocate(b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       off, len);
	if (!ret && off + len > b->len)
		ret = file_grow(b, off + len);
	if (ret == -ENOTSUP)
		ret = allocate(b, FALLOC_FL_ZERO_RANGE, off, len);
	return ret;
}

static int file_discard(struct blk *b, uint64_t off, uint64_t len)
{
	forget_extent(b);
	return allocate(b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			len);
}

/* Finds the data or hole that off lies in; the end of it in c->len. */
static int seek_call(void *arg)
{
	struct call *c = arg;
	off_t data = lseek(c->fd, c->off, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO) {
		c->is_hole = true;
		c->len = UINT64_MAX;
		return 0;
	}
	if (data < 0)
		return -errno;
	c->is_hole = data > (off_t)c->off;
	if (c->is_hole) {
		c->len = data;
		return 0;
	}
	hole = lseek(c->fd, c->off, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	c->len = hole;
	return 0;
}

/* The last extent is kept until the next write: ranges are asked in order. */
static int file_status(struct blk *b, uint64_t off, uint64_t len,
		       uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct file_node *f = b->priv;
	uint64_t gen = f->generation;

	*map = off;
	*file = b;
	if (off < f->extent_off || off >= f->extent_end) {
		struct call c = {.fd = f->fd, .off = off};

		if (co_worker(b->ctx, seek_call, &c) || c.len <= off) {
			*pnum = len;
			return BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID;
		}
		f->extent_off = off;
		f->extent_end = c.len;
		f->is_hole = c.is_hole;
	}
	*pnum = f->extent_end - off < len ? f->extent_end - off : len;
	off = f->is_hole ? BLK_STATUS_ZERO : BLK_STATUS_DATA;
	if (gen != f->generation)
		forget_extent(b);
	return off | BLK_STATUS_OFFSET_VALID;
}

/* ---- length ---- */

/* Writes zeroes where mode wants the host to hold space. */
static int hold_call(void *arg)
{
	struct call *c = arg;
	static const char zeroes[65536];
	uint64_t done = 0;

	if (c->mode == BLK_PREALLOC_FALLOC)
		return -posix_fallocate(c->fd, c->off, c->len);
	while (done < c->len) {
		size_t part = c->len - done < sizeof(zeroes) ? c->len - done
							     : sizeof(zeroes);
		ssize_t n = pwrite(c->fd, zeroes, part, c->off + done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? n : 0;
	}
	return 0;
}

static int file_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			 bool allow_shrink, struct error *e)
{
	struct file_node *f = b->priv;
	struct call c = {.fd = f->fd, .off = b->len, .mode = mode};
	int ret;

	if (len < b->len && !allow_shrink)
		return error_set(e, -EINVAL,
				 "'%s' would become shorter; allow shrinking",
				 b->name);
	if (len < b->len && mode != BLK_PREALLOC_OFF)
		return error_set(e, -ENOTSUP,
				 "Preallocation can't be used for shrinking "
				 "files");
	forget_extent(b);
	if (len > b->len &&
	    (mode == BLK_PREALLOC_FALLOC || mode == BLK_PREALLOC_FULL)) {
		c.len = len - b->len;
		ret = co_worker(b->ctx, hold_call, &c);
		if (ret)
			return error_errno(e, -ret,
					   "Could not preallocate "
					   "'%s'",
					   b->name);
	}
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
	.write_zeroes = file_write_zeroes,
	.discard = file_discard,
	.flush = file_flush,
	.status = file_status,
	.truncate = file_truncate,
};

int blk_make_file(struct blk_ctx *ctx, const char *path, uint64_t len,
		  enum blk_prealloc mode, struct error *e)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct call c = {.len = len, .mode = mode};
	int ret = 0;

	if (fd < 0)
		return error_errno(e, errno, "Could not create '%s'", path);
	c.fd = fd;
	if (mode == BLK_PREALLOC_FALLOC || mode == BLK_PREALLOC_FULL)
		ret = len ? co_worker(ctx, hold_call, &c) : 0;
	if (!ret && ftruncate(fd, len))
		ret = -errno;
	/* With data in its first block a file tells its alignment. */
	c.len = len < FIRST_BLOCK ? len : FIRST_BLOCK;
	c.mode = BLK_PREALLOC_FULL;
	if (!ret && len)
		ret = co_worker(ctx, hold_call, &c);
	if (ret)
		error_errno(e, -ret, "Could not resize '%s'", path);
	close(fd);
	return ret;
}
