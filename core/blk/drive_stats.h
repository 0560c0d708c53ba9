/*
 * drive_stats: what is counted of a drive: requests of each kind, how long they
 * took, and which writes no flush has made stable yet.
 *
 * Written by the drive's loop alone (or who stands in for it), read by anyone:
 * relaxed counters, so that a copy may be a request off between two numbers.
 *
 * Thread rule: drive_facts_copy [any]; the rest as drive.h.
 */
#ifndef CORE_BLK_DRIVE_STATS_H
#define CORE_BLK_DRIVE_STATS_H

#include "core/blk/drive.h"

/* Bucket 0: below 1 us; i: from 2^(i-1) us to below 2^i us; the last one all
 * that took longer. */
#define DRIVE_BUCKETS 26

/* Requests of one kind; all but in_flight only grow. */
struct drive_flow {
	uint64_t in_flight;
	uint64_t ops, bytes, failed; /* completed; failed is part of ops */
	uint64_t total_ns, max_ns;   /* from submission to completion */
	uint64_t latency[DRIVE_BUCKETS];
};

struct drive_facts {
	struct drive_flow
		flow[DRIVE_NR_OPS]; /* the guest's, by enum drive_op */
	uint64_t host_flushes;	    /* fdatasync and the like */
	uint64_t merged_flushes;    /* an earlier one had done it all */
	uint64_t own_flushes;	    /* the drive's, beside the guest's */
	/* Completed, and not known to be stable: since the disk was opened where
	 * flushes are ignored. */
	uint64_t unflushed_writes, unflushed_bytes;
	uint64_t unflushed_age_ns;  /* of the oldest, 0: there is none */
	uint64_t last_flush_age_ns; /* of the guest's, 0: there was none */
	/* The guest has a write cache, wrote for longer than the drive's
	 * configuration allows, and never flushed it. */
	bool never_flushes;
	bool sync_failed; /* every flush fails since */
	/* As the drive was configured. */
	uint64_t max_unflushed_ns, never_flush_ns;
};
void drive_facts_copy(struct drive *d, struct drive_facts *out);

/* ---- for the drive ---- */

struct drive_counters {
	struct drive_flow flow[DRIVE_NR_OPS];
	uint64_t merged_flushes, own_flushes;
	uint64_t written_ops, written_bytes; /* completed writes */
	uint64_t stable_ops, stable_bytes;   /* those that are stable */
	uint64_t oldest_ns; /* when the first of the others completed, or 0 */
	uint64_t last_flush_ns, writing_since_ns; /* the guest's */
	int never_flushes;
	/* Not for readers. */
	uint64_t since_mark_ns; /* the first write after the last mark, or 0 */
	uint64_t last_mark, stable_mark;
	bool said_never;
};

/* What had been written when a flush began. */
struct drive_mark {
	uint64_t nr, ns, ops, bytes;
};

/* A request comes, and ends at time now. */
void drive_count_begin(struct drive *d, const struct drive_req *req);
void drive_count_end(struct drive *d, const struct drive_req *req,
		     uint64_t now);
/* It failed and is kept: it comes again. */
void drive_count_kept(struct drive *d, const struct drive_req *req);
/* A write of bytes is done, but for making it stable. */
void drive_count_written(struct drive *d, uint64_t bytes);
/* A flush begins, and did what it should. */
struct drive_mark drive_count_mark(struct drive *d);
void drive_count_stable(struct drive *d, const struct drive_mark *m);
/* What was written is stable now, or gone for ever. */
void drive_count_forget(struct drive *d);
/* Does a write wait for a flush?  Then since when. */
uint64_t drive_unflushed_since(const struct drive *d);

#endif
