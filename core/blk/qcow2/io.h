/*
 * io: what the ways to guest data share (private to this folder).
 *
 * Thread rule: in coroutines of the node's loop, as in qcow2.h.
 */
#ifndef CORE_BLK_QCOW2_IO_H
#define CORE_BLK_QCOW2_IO_H

#include "core/blk/qcow2/qcow2.h"

/* The cluster border at or below off. */
static inline uint64_t qcow2_cluster_down(const struct qcow2 *s, uint64_t off)
{
	return off & ~(s->cluster_len - 1);
}

/* The cluster border at or above off. */
static inline uint64_t qcow2_cluster_up(const struct qcow2 *s, uint64_t off)
{
	return qcow2_cluster_down(s, off + s->cluster_len - 1);
}

/* ---- io.c ---- */

/* Returns with the lock held and no allocation on its way in the clusters of
 * [off, *end), alone: no write at all; shortens the range rather than wait for
 * its tail. */
void qcow2_lock_range(struct qcow2 *s, uint64_t off, uint64_t *end, bool alone);
/* Is [off, off + len) known to read as zeroes, below too? */
bool qcow2_reads_zero(struct blk *b, uint64_t off, uint64_t len);
/* Writes data that no bitmap records; takes the lock.  0 or -errno. */
int qcow2_write_plain(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr);

/* ---- zero.c ---- */

/* The driver's slots (driver.h). */
int qcow2_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
		       unsigned flags);
int qcow2_discard(struct blk *b, uint64_t off, uint64_t len);

#endif
