/*
 * file: the node over a regular file or block device of the host.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/blk/ctx.h"
#include "core/blk/driver.h"
#include "core/blk/file/aio.h"
#include "core/blk/file/host.h"
#include "core/blk/iov.h"
#include "core/blk/nbd/address.h"
#include "core/blk/nbd/nbd.h"
#include "core/error.h"
#include "core/log.h"

#define FIRST_BLOCK 4096
#define BOUNCE_LEN  (1u << 20)
#define PIECES	    64

struct file_node {
	struct host_file host;
	struct file_aio *aio;
	/* The extent that was asked for last; empty after a write. */
	uint64_t extent_off, extent_end;
	uint64_t generation; /* of writes */
	bool is_hole;
};

/* A system call on its way to a worker. */
struct call {
	int fd;
	uint64_t off, len;
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

	return pwrite(f->host.fd, "", 1, len - 1) == 1 ? 0 : -errno;
}

/* Moves all bytes; what lies past the end of the host's file reads as zeroes. */
static int move_all(struct blk *b, bool write, uint64_t off, uint64_t len,
		    const struct iovec *iov, int nr)
{
	struct file_node *f = b->priv;
	uint64_t done = 0;

	while (done < len) {
		struct iovec few[PIECES];
		const struct iovec *part = iov;
		int n = nr;
		ssize_t moved;

		if (done || nr > PIECES) {
			n = iov_first(iov, nr, done, few, PIECES);
			part = few;
		}
		moved = f->aio->class->move(f->aio, f->host.fd, write, part, n,
					    off + done);
		if (moved == -EINTR || moved == -EAGAIN)
			continue;
		if (moved < 0)
			return moved;
		if (!moved && write)
			return -ENOSPC;
		if (!moved) {
			/* Cut short behind our back: not a file of zeroes. */
			if (off + done < b->len)
				return -EIO;
			iov_zero(iov, nr, done, len - done);
			break;
		}
		done += moved;
		/* A short read that ends between blocks is the file's end. */
		if (!write && done < len && done & (b->align - 1)) {
			iov_zero(iov, nr, done, len - done);
			break;
		}
	}
	return 0;
}

static bool is_memory_aligned(const struct blk *b, const struct iovec *iov,
			      int nr)
{
	uintptr_t bits = 0;

	for (int i = 0; i < nr; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return !(bits & (b->align - 1));
}

/* O_DIRECT wants memory aligned as the disk is. */
static int move_bounced(struct blk *b, bool write, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr)
{
	uint64_t part = len < BOUNCE_LEN ? len : BOUNCE_LEN, done = 0;
	void *buf;
	int ret = 0;

	if (posix_memalign(&buf, 4096, part))
		return -ENOMEM;
	for (; done < len && !ret; done += part) {
		struct iovec v = {buf, part < len - done ? part : len - done};

		if (write)
			iov_to_buf(iov, nr, done, buf, v.iov_len);
		ret = move_all(b, write, off + done, v.iov_len, &v, 1);
		if (!ret && !write)
			iov_from_buf(iov, nr, done, buf, v.iov_len);
	}
	free(buf);
	return ret;
}

static int move(struct blk *b, bool write, uint64_t off, uint64_t len,
		const struct iovec *iov, int nr)
{
	if (b->align > 1 && !is_memory_aligned(b, iov, nr))
		return move_bounced(b, write, off, len, iov, nr);
	return move_all(b, write, off, len, iov, nr);
}

static int file_readv(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr)
{
	return move(b, false, off, len, iov, nr);
}

static int file_writev(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr, unsigned flags)
{
	int ret = move(b, true, off, len, iov, nr);

	(void)flags;
	forget_extent(b);
	return ret;
}

static int file_flush(struct blk *b)
{
	struct file_node *f = b->priv;
	int ret;

	do
		ret = f->aio->class->sync(f->aio, f->host.fd);
	while (ret == -EINTR || ret == -EAGAIN);
	return ret;
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
	struct call c = {
		.fd = f->host.fd, .off = off, .len = len, .mode = mode};
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
		struct call c = {.fd = f->host.fd, .off = off};

		/* Here rather than on a worker: it reads no data, and the way
		 * there and back takes longer. */
		if (seek_call(&c) || c.len <= off) {
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

/* Only its host makes a device longer; then its disk may follow. */
static int follow_device(struct blk *b, uint64_t len, struct error *e)
{
	struct file_node *f = b->priv;
	uint64_t now = 0;

	if (ioctl(f->host.fd, BLKGETSIZE64, &now))
		return error_errno(e, errno, "Failed to resize '%s'", b->name);
	if (len > now)
		return error_set(e, -ENOSPC,
				 "Failed to resize '%s': the device has %llu "
				 "bytes; make it longer on the host first",
				 b->name, (unsigned long long)now);
	return 0;
}

static int file_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			 bool allow_shrink, struct error *e)
{
	struct file_node *f = b->priv;
	struct call c = {.fd = f->host.fd, .off = b->len, .mode = mode};
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
	if (f->host.is_device)
		return follow_device(b, len, e);
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
	if (ftruncate(f->host.fd, len))
		return error_errno(e, errno, "Failed to resize '%s'", b->name);
	return 0;
}

struct opening {
	struct file_node *f;
	const struct blk_options *o;
	struct error *e;
};

static int open_call(void *arg)
{
	struct opening *a = arg;

	return host_file_open(&a->f->host, a->o->path, a->o->write,
			      a->o->direct, !a->o->no_lock, a->e);
}

static int file_open(struct blk *b, const struct blk_options *o,
		     struct error *e)
{
	struct file_node *f = b->priv;
	struct opening a = {f, o, e};
	int ret = 0;

	f->aio = file_aio_get(b->ctx, o->aio, e);
	if (!f->aio)
		return -EINVAL;
	if (f->aio->class->needs_direct && !o->direct)
		return error_set(e, -EINVAL,
				 "aio=native was specified for '%s', but it "
				 "needs O_DIRECT; choose cache none or "
				 "directsync, or aio threads or io_uring",
				 o->path);
	ret = co_worker(b->ctx, open_call, &a);
	if (ret)
		return ret;
	b->len = f->host.len;
	b->dev = f->host.dev;
	b->ino = f->host.ino;
	b->align = f->host.align;
	return 0;
}

static void file_close(struct blk *b)
{
	struct file_node *f = b->priv;
	struct stat st;

	/* O_DIRECT writes whole blocks: what they added to a file of odd
	 * length goes again. */
	if (b->write && b->align > 1 && !f->host.is_device &&
	    !fstat(f->host.fd, &st) && (uint64_t)st.st_size > b->len &&
	    (uint64_t)st.st_size - b->len < b->align &&
	    ftruncate(f->host.fd, b->len))
		log_write(b->ctx->log, LOG_LEVEL_WARN, "disk",
			  "'%s' stays longer than it was: %s", b->name,
			  strerror(errno));
	host_file_close(&f->host);
}

static int file_set_write(struct blk *b, bool write, struct error *e)
{
	struct file_node *f = b->priv;

	return host_file_reopen(&f->host, b->name, write, e);
}

const struct blk_driver blk_file_driver = {
	.name = "file",
	.priv_len = sizeof(struct file_node),
	.open = file_open,
	.close = file_close,
	.set_write = file_set_write,
	.readv = file_readv,
	.writev = file_writev,
	.write_zeroes = file_write_zeroes,
	.discard = file_discard,
	.flush = file_flush,
	.status = file_status,
	.truncate = file_truncate,
};

const struct host_file *blk_host_file(const struct blk *b)
{
	const struct file_node *f = b->priv;

	return b->drv == &blk_file_driver ? &f->host : NULL;
}

const char *blk_host_aio(const struct blk *b)
{
	const struct file_node *f = b->priv;

	return b->drv == &blk_file_driver ? f->aio->class->name : NULL;
}

int blk_make_file(struct blk_ctx *ctx, const char *path, uint64_t len,
		  enum blk_prealloc mode, struct error *e)
{
	struct call c = {.len = len, .mode = mode};
	int fd, ret = 0;

	if (nbd_is_address(path))
		return nbd_export_prepare(ctx, path, len, e);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
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
