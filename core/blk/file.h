/*
 * blk_file: a host file or block device that holds an image's bytes.
 *
 * Hides O_DIRECT and its alignment (requests of any alignment are bounced),
 * short transfers, the tail of a file whose length is no multiple of 512, and
 * what the host's file system can't do (a hole that can't be punched is no
 * error; zeroes that can't be made are written).  A writer holds the image
 * alone; readers share it (open file description locks, so that two opens in
 * one process also exclude each other).
 *
 * Thread rule: open and close by one thread; the transfers [any], they block
 * and belong on a worker.
 */
#ifndef CORE_BLK_FILE_H
#define CORE_BLK_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct error;
struct log;

/* The system calls under a file; tests bring their own.  Each returns what
 * the call returns, or -errno. */
struct blk_file_ops {
	int (*open)(const char *path, int flags);
	ssize_t (*readv)(int fd, const struct iovec *iov, int nr, off_t off);
	ssize_t (*writev)(int fd, const struct iovec *iov, int nr, off_t off);
	int (*sync)(int fd); /* fdatasync */
	int (*allocate)(int fd, int mode, off_t off, off_t len);
};

extern const struct blk_file_ops blk_file_host_ops;

struct blk_file {
	const struct blk_file_ops *ops;
	int fd;
	bool readonly, direct, is_device;
	uint64_t len;	   /* bytes as seen by users: a multiple of 512 */
	uint64_t host_len; /* bytes when opened */
	unsigned align;	   /* of transfers; 512 or more with O_DIRECT, else 1 */
	int no_zero_range; /* atomic: the file system has no such call */
};

struct blk_file_flags {
	bool readonly, direct, scratch;
};

/* A descriptor of a nameless copy of the image at path, in $TMPDIR or
 * /var/tmp; it is gone when closed.  Holes stay holes.  flags: O_CLOEXEC and
 * O_DIRECT count.  -errno on failure. */
int blk_scratch_open(const char *path, int flags);

/* 0, or -errno with a sentence that names the path, what stood in the way
 * (for O_DIRECT: the file system) and what to do.  Missing locks are only
 * said to the log. */
int blk_file_open(struct blk_file *f, const char *path,
		  struct blk_file_flags flags, const struct blk_file_ops *ops,
		  struct log *log, struct error *e);
void blk_file_close(struct blk_file *f); /* a closed file is fine */

/* All of the iov's bytes at off, or -errno.  Reads past the end of the host
 * file up to f->len are zeroes; a file that shrank reads as -EIO. */
int blk_file_readv(struct blk_file *f, const struct iovec *iov, int nr,
		   uint64_t off);
/* With O_DIRECT off and the total are multiples of f->align. */
int blk_file_writev(struct blk_file *f, const struct iovec *iov, int nr,
		    uint64_t off);
int blk_file_sync(struct blk_file *f);
/* Advice: 0 also when the host can't; the range may then keep its bytes. */
int blk_file_discard(struct blk_file *f, uint64_t off, uint64_t len);
int blk_file_write_zeroes(struct blk_file *f, uint64_t off, uint64_t len);

#endif
