/*
 * The transfers loop until every byte has moved.  The usual case is one system
 * call over the caller's iov; what a short transfer leaves is moved piece by
 * piece, what O_DIRECT can't take goes through an aligned buffer.
 */
#include "core/blk/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"

#define FILE_BOUNCE_LEN (1u << 20)
#define FILE_ZERO_LEN	(256u << 10)
#define FILE_PAGE	4096u

/* ---- the host's calls ---- */

static int host_open(const char *path, int flags)
{
	int fd = open(path, flags);

	return fd < 0 ? -errno : fd;
}

static ssize_t host_readv(int fd, const struct iovec *iov, int nr, off_t off)
{
	ssize_t n = preadv(fd, iov, nr, off);

	return n < 0 ? -errno : n;
}

static ssize_t host_writev(int fd, const struct iovec *iov, int nr, off_t off)
{
	ssize_t n = pwritev(fd, iov, nr, off);

	return n < 0 ? -errno : n;
}

static int host_sync(int fd)
{
	return fdatasync(fd) ? -errno : 0;
}

static int host_allocate(int fd, int mode, off_t off, off_t len)
{
	return fallocate(fd, mode, off, len) ? -errno : 0;
}

const struct blk_file_ops blk_file_host_ops = {
	.open = host_open,
	.readv = host_readv,
	.writev = host_writev,
	.sync = host_sync,
	.allocate = host_allocate,
};

/* ---- opening ---- */

/* The type of the file system a device number belongs to; "image's" if unknown. */
static void name_file_system(dev_t dev, char *out, size_t len)
{
	char line[1024], want[32], place[32], type[64];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	const char *sep;

	snprintf(out, len, "image's");
	snprintf(want, sizeof(want), "%u:%u", major(dev), minor(dev));
	while (f && fgets(line, sizeof(line), f)) {
		sep = strstr(line, " - ");
		if (!sep || sscanf(line, "%*s %*s %31s", place) != 1 ||
		    strcmp(place, want) || sscanf(sep + 3, "%63s", type) != 1)
			continue;
		snprintf(out, len, "%s", type);
		break;
	}
	if (f)
		fclose(f);
}

static int refuse_direct(const char *path, struct error *e)
{
	char type[64];
	struct stat st;

	if (stat(path, &st))
		return error_errno(e, errno, "disk '%s'", path);
	name_file_system(st.st_dev, type, sizeof(type));
	return error_set(e, -EINVAL,
			 "disk '%s': the %s file system refuses O_DIRECT; "
			 "choose cache writeback or writethrough, or move the "
			 "image to another file system",
			 path, type);
}

static int refuse_open(int r, const char *path, bool readonly, struct error *e)
{
	if ((r == -EACCES || r == -EPERM || r == -EROFS) && !readonly)
		return error_errno(e, -r,
				   "disk '%s': can't be opened for writing; "
				   "mark it read-only or change its owner or "
				   "mode",
				   path);
	return error_errno(e, -r, "disk '%s': can't be opened", path);
}

static int lock_image(struct blk_file *f, const char *path, struct log *log,
		      struct error *e)
{
	struct flock lock = {
		.l_type = f->readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (!fcntl(f->fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return error_set(
			e, -EBUSY,
			"disk '%s': in use by another machine%s; stop that "
			"machine or give this one a copy",
			path, f->readonly ? " that writes to it" : "");
	log_write(log, LOG_LEVEL_WARN, "disk",
		  "'%s' can't be locked (%s): take care that no other program "
		  "writes to it",
		  path, strerror(errno));
	return 0;
}

static int find_len(struct blk_file *f, const char *path, struct error *e)
{
	struct stat st;
	uint64_t len;

	if (fstat(f->fd, &st))
		return error_errno(e, errno, "disk '%s'", path);
	if (S_ISREG(st.st_mode)) {
		len = (uint64_t)st.st_size;
	} else if (S_ISBLK(st.st_mode)) {
		f->is_device = true;
		if (ioctl(f->fd, BLKGETSIZE64, &len))
			return error_errno(e, errno, "length of device '%s'",
					   path);
	} else {
		return error_set(e, -EINVAL,
				 "disk '%s': neither a file nor a block device",
				 path);
	}
	if (len > INT64_MAX - 4096)
		return error_set(e, -EFBIG, "disk '%s': too long", path);
	f->host_len = len;
	f->len = (len + 511) / 512 * 512;
	return 0;
}

/* What the file system says, else the smallest that a read accepts. */
static int find_align(struct blk_file *f, const char *path, struct error *e)
{
	static const unsigned tries[] = {512, 4096};
	struct statx sx;
	struct iovec iov;
	uint8_t *buf;

	f->align = 1;
	if (!f->direct)
		return 0;
	if (!statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) &&
	    (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_offset_align) {
		f->align = sx.stx_dio_offset_align > sx.stx_dio_mem_align
				   ? sx.stx_dio_offset_align
				   : sx.stx_dio_mem_align;
		if (f->align < 512)
			f->align = 512;
		if (f->align <= FILE_PAGE)
			return 0;
	}
	if (posix_memalign((void **)&buf, 2 * FILE_PAGE, 2 * FILE_PAGE))
		return error_set(e, -ENOMEM, "disk '%s': no memory", path);
	f->align = 0;
	for (unsigned i = 0; i < 2 && !f->align; i++) {
		iov.iov_base = buf + tries[i];
		iov.iov_len = tries[i];
		if (f->ops->readv(f->fd, &iov, 1, 0) >= 0)
			f->align = tries[i];
	}
	free(buf);
	return f->align ? 0 : refuse_direct(path, e);
}

int blk_file_open(struct blk_file *f, const char *path,
		  struct blk_file_flags flags, const struct blk_file_ops *ops,
		  struct log *log, struct error *e)
{
	int open_flags = O_CLOEXEC | (flags.readonly ? O_RDONLY : O_RDWR) |
			 (flags.direct ? O_DIRECT : 0);
	int r;

	*f = (struct blk_file){
		.ops = ops,
		.readonly = flags.readonly,
		.direct = flags.direct,
	};
	f->fd = flags.scratch ? blk_scratch_open(path, open_flags)
			      : ops->open(path, open_flags);
	if (f->fd == -EINVAL && flags.direct)
		return refuse_direct(path, e);
	if (f->fd < 0)
		return refuse_open(f->fd, path, flags.readonly, e);
	r = find_len(f, path, e);
	if (!r)
		r = lock_image(f, path, log, e);
	if (!r)
		r = find_align(f, path, e);
	if (r)
		blk_file_close(f);
	return r;
}

void blk_file_close(struct blk_file *f)
{
	if (f->ops && f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->ops = NULL;
}

/* ---- transfers ---- */

static uint64_t iov_total(const struct iovec *iov, int nr)
{
	uint64_t total = 0;

	for (int i = 0; i < nr; i++)
		total += iov[i].iov_len;
	return total;
}

static bool is_aligned(const struct blk_file *f, const struct iovec *iov,
		       int nr, uint64_t off)
{
	uint64_t bits = off;

	for (int i = 0; i < nr; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return !(bits & (f->align - 1));
}

/* One piece; reads end with zeroes where the file ends. */
static int move_piece(struct blk_file *f, uint8_t *base, size_t len,
		      uint64_t off, bool write)
{
	while (len) {
		struct iovec iov = {.iov_base = base, .iov_len = len};
		ssize_t n = write ? f->ops->writev(f->fd, &iov, 1, (off_t)off)
				  : f->ops->readv(f->fd, &iov, 1, (off_t)off);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (!n && write)
			return -ENOSPC;
		base += n;
		len -= (size_t)n;
		off += (uint64_t)n;
		if (!len || write)
			continue;
		if (off >= f->host_len) {
			memset(base, 0, len);
			return 0;
		}
		if (!n)
			return -EIO;
	}
	return 0;
}

static int move_iov(struct blk_file *f, const struct iovec *iov, int nr,
		    uint64_t off, bool write)
{
	uint64_t skip = 0;
	ssize_t n;

	if (nr <= IOV_MAX) {
		n = write ? f->ops->writev(f->fd, iov, nr, (off_t)off)
			  : f->ops->readv(f->fd, iov, nr, (off_t)off);
		if (n < 0 && n != -EINTR)
			return (int)n;
		skip = n > 0 ? (uint64_t)n : 0;
	}
	for (int i = 0; i < nr; i++) {
		uint64_t len = iov[i].iov_len;
		uint64_t part = skip < len ? skip : len;
		int r;

		skip -= part;
		if (part < len) {
			r = move_piece(f, (uint8_t *)iov[i].iov_base + part,
				       len - part, off + part, write);
			if (r)
				return r;
		}
		off += len;
	}
	return 0;
}

/* Copies between a flat buffer and the iov from byte `at` of the iov on. */
static void copy_iov(const struct iovec *iov, int nr, uint64_t at, uint8_t *buf,
		     uint64_t len, bool to_iov)
{
	for (int i = 0; i < nr && len; i++) {
		uint64_t part;

		if (at >= iov[i].iov_len) {
			at -= iov[i].iov_len;
			continue;
		}
		part = iov[i].iov_len - at;
		if (part > len)
			part = len;
		if (to_iov)
			memcpy((uint8_t *)iov[i].iov_base + at, buf, part);
		else
			memcpy(buf, (uint8_t *)iov[i].iov_base + at, part);
		buf += part;
		len -= part;
		at = 0;
	}
}

static int bounce(struct blk_file *f, const struct iovec *iov, int nr,
		  uint64_t off, bool write)
{
	uint64_t total = iov_total(iov, nr), done = 0, mask = f->align - 1;
	uint8_t *buf;
	int r = 0;

	if (write && ((off | total) & mask))
		return -EINVAL;
	if (posix_memalign((void **)&buf, FILE_PAGE, FILE_BOUNCE_LEN))
		return -ENOMEM;
	while (done < total && !r) {
		uint64_t start = (off + done) & ~mask;
		uint64_t head = off + done - start;
		uint64_t part = total - done, span;

		if (part > FILE_BOUNCE_LEN - head)
			part = FILE_BOUNCE_LEN - head;
		span = (head + part + mask) & ~mask;
		if (write)
			copy_iov(iov, nr, done, buf, part, false);
		r = move_piece(f, buf, span, start, write);
		if (!r && !write)
			copy_iov(iov, nr, done, buf + head, part, true);
		done += part;
	}
	free(buf);
	return r;
}

static int move(struct blk_file *f, const struct iovec *iov, int nr,
		uint64_t off, bool write)
{
	if (f->direct && !is_aligned(f, iov, nr, off))
		return bounce(f, iov, nr, off, write);
	return move_iov(f, iov, nr, off, write);
}

int blk_file_readv(struct blk_file *f, const struct iovec *iov, int nr,
		   uint64_t off)
{
	return move(f, iov, nr, off, false);
}

int blk_file_writev(struct blk_file *f, const struct iovec *iov, int nr,
		    uint64_t off)
{
	return move(f, iov, nr, off, true);
}

int blk_file_sync(struct blk_file *f)
{
	int r;

	do {
		r = f->ops->sync(f->fd);
	} while (r == -EINTR);
	return r;
}

/* ---- holes and zeroes ---- */

static int allocate(struct blk_file *f, int mode, uint64_t off, uint64_t len)
{
	int r;

	do {
		r = f->ops->allocate(f->fd, mode, (off_t)off, (off_t)len);
	} while (r == -EINTR);
	return r;
}

static bool is_unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOSYS || r == -ENOTTY ||
	       r == -ENODEV || r == -EINVAL;
}

int blk_file_discard(struct blk_file *f, uint64_t off, uint64_t len)
{
	int r = allocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			 len);

	return is_unsupported(r) ? 0 : r;
}

static int store_zeroes(struct blk_file *f, uint64_t off, uint64_t len)
{
	uint8_t *buf;
	int r = 0;

	if (posix_memalign((void **)&buf, FILE_PAGE, FILE_ZERO_LEN))
		return -ENOMEM;
	memset(buf, 0, FILE_ZERO_LEN);
	while (len && !r) {
		uint64_t part = len < FILE_ZERO_LEN ? len : FILE_ZERO_LEN;

		r = move_piece(f, buf, part, off, true);
		off += part;
		len -= part;
	}
	free(buf);
	return r;
}

int blk_file_write_zeroes(struct blk_file *f, uint64_t off, uint64_t len)
{
	int r = -EOPNOTSUPP;

	/* Relaxed: only a hint that saves a call which always fails. */
	if (!__atomic_load_n(&f->no_zero_range, __ATOMIC_RELAXED)) {
		r = allocate(f, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off,
			     len);
		if (is_unsupported(r))
			__atomic_store_n(&f->no_zero_range, 1,
					 __ATOMIC_RELAXED);
	}
	if (is_unsupported(r) && !f->is_device)
		r = allocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			     len);
	return is_unsupported(r) ? store_zeroes(f, off, len) : r;
}
