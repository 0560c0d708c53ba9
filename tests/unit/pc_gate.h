/*
 * pc_gate: a filter under a test's drive, which the test can hold up, let fail,
 * and count.
 *
 * Thread rule: the gate belongs to the test's thread; it changes while no
 * request is in flight, or is an eventfd.
 */
#ifndef TESTS_UNIT_PC_GATE_H
#define TESTS_UNIT_PC_GATE_H

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/blk/drive.h"
#include "core/blk/drive_int.h"
#include "core/blk/driver.h"

/* Requests under a drive that a test can hold up; one test runs at a time. */
struct pc_gate {
	int gate;	/* reads and writes wait for this eventfd when >= 0 */
	int io_error;	/* and then fail with it */
	int sync_gate;	/* flushes wait for this one, when > 0 */
	int sync_error; /* the next flush fails with it */
	unsigned syncs;
	bool direct;	/* the file was opened with O_DIRECT */
	char order[64]; /* 'w' and 's' for each write and flush */
	unsigned nr_order;
};
static struct pc_gate pc_gate = {.gate = -1};

/* What comes to the gate, pc_gate.gate or pc_gate.sync_gate, waits. */
static inline void pc_gate_shut(int *gate)
{
	*gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	assert_true(*gate >= 0);
}

/* So many of those that wait, or will, may go on. */
static inline void pc_gate_pass(int gate, uint64_t nr)
{
	assert_int_equal(write(gate, &nr, sizeof(nr)), sizeof(nr));
}

/* Nobody waits any more. */
static inline void pc_gate_open(int *gate)
{
	close(*gate);
	*gate = -1;
}

static inline int pc_wait_call(void *arg)
{
	uint64_t n;

	return read(*(int *)arg, &n, sizeof(n)) < 0 ? -errno : 0;
}

static inline int pc_wait_gate(struct blk *b)
{
	int ret = pc_gate.gate >= 0
			  ? co_worker(b->ctx, pc_wait_call, &pc_gate.gate)
			  : 0;

	return ret ? ret : -pc_gate.io_error;
}

static inline void pc_note(char what)
{
	if (pc_gate.nr_order < sizeof(pc_gate.order) - 1)
		pc_gate.order[pc_gate.nr_order++] = what;
}

static inline int pc_open(struct blk *b, const struct blk_options *o,
			  struct error *e)
{
	(void)b;
	(void)o;
	(void)e;
	return 0;
}

static inline int pc_readv(struct blk *b, uint64_t off, uint64_t len,
			   const struct iovec *iov, int nr)
{
	int ret = pc_wait_gate(b);

	return ret ? ret : blk_readv(b->file, off, len, iov, nr);
}

static inline int pc_writev(struct blk *b, uint64_t off, uint64_t len,
			    const struct iovec *iov, int nr, unsigned flags)
{
	int ret = pc_wait_gate(b);

	pc_note('w');
	return ret ? ret : blk_writev(b->file, off, len, iov, nr, flags);
}

static inline int pc_flush(struct blk *b)
{
	int ret = -pc_gate.sync_error;

	if (pc_gate.sync_gate > 0)
		co_worker(b->ctx, pc_wait_call, &pc_gate.sync_gate);
	pc_note('s');
	__atomic_fetch_add(&pc_gate.syncs, 1, __ATOMIC_SEQ_CST);
	pc_gate.sync_error = 0;
	return ret;
}

static inline int pc_discard(struct blk *b, uint64_t off, uint64_t len)
{
	return blk_discard(b->file, off, len);
}

static inline int pc_zeroes(struct blk *b, uint64_t off, uint64_t len,
			    unsigned flags)
{
	return blk_write_zeroes(b->file, off, len, flags);
}

static inline int pc_truncate(struct blk *b, uint64_t len,
			      enum blk_prealloc mode, bool allow_shrink,
			      struct error *e)
{
	return blk_truncate(b->file, len, mode, allow_shrink, e);
}

static const struct blk_driver pc_gate_driver = {
	.name = "gate",
	.open = pc_open,
	.readv = pc_readv,
	.writev = pc_writev,
	.flush = pc_flush,
	.discard = pc_discard,
	.write_zeroes = pc_zeroes,
	.truncate = pc_truncate,
};

/* A drive_wrap_fn. */
static inline struct blk *pc_wrap(void *arg, struct blk *file, struct error *e)
{
	struct blk *b = blk_filter_open(file, &pc_gate_driver, e);

	(void)arg;
	if (b)
		pc_gate.direct = b->options.direct;
	return b;
}

#endif
