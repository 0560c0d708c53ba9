/*
 * pc_gate: the system calls under a test's drive, which the test can hold up,
 * let fail, and count.
 *
 * Thread rule: the gate belongs to the test's thread; it changes while no
 * request is in flight, or is an eventfd.
 */
#ifndef TESTS_UNIT_PC_GATE_H
#define TESTS_UNIT_PC_GATE_H

#include <errno.h>
#include <unistd.h>

#include "core/blk/aio.h"
#include "core/blk/drive.h"
#include "core/blk/drive_int.h"
#include "core/blk/file.h"

/* Calls under a drive that a test can hold up; one test runs at a time. */
struct pc_gate {
	int gate;     /* reads and writes wait for this eventfd when >= 0 */
	int io_error; /* and then fail with it */
	unsigned syncs;
};
static struct pc_gate pc_gate = {.gate = -1};

static inline int pc_wait_gate(void)
{
	uint64_t n;

	if (pc_gate.gate >= 0 && read(pc_gate.gate, &n, sizeof(n)) < 0)
		return -EIO;
	return -pc_gate.io_error;
}

static inline ssize_t pc_readv(int fd, const struct iovec *iov, int nr,
			       off_t off)
{
	int r = pc_wait_gate();

	return r ? r : blk_file_host_ops.readv(fd, iov, nr, off);
}

static inline ssize_t pc_writev(int fd, const struct iovec *iov, int nr,
				off_t off)
{
	int r = pc_wait_gate();

	return r ? r : blk_file_host_ops.writev(fd, iov, nr, off);
}

static inline int pc_sync(int fd)
{
	__atomic_fetch_add(&pc_gate.syncs, 1, __ATOMIC_SEQ_CST);
	return blk_file_host_ops.sync(fd);
}

static inline int pc_open(const char *path, int flags)
{
	return blk_file_host_ops.open(path, flags);
}

static inline int pc_allocate(int fd, int mode, off_t off, off_t len)
{
	return blk_file_host_ops.allocate(fd, mode, off, len);
}

static const struct blk_file_ops pc_file_ops = {
	.open = pc_open,
	.readv = pc_readv,
	.writev = pc_writev,
	.sync = pc_sync,
	.allocate = pc_allocate,
};

#endif
