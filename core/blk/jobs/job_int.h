/*
 * job_int: what a kind of job brings, and what all of them share (private to
 * this folder).
 *
 * A job knows which chunks of the disk are still to be copied (`todo`).  Lanes
 * take runs of them, busy meanwhile, so that no two copy the same chunk at a
 * time.  A job that tracks the disk adds what the guest changes.  When nothing
 * is left the gate of the disk is closed, the rest is copied, and the kind's
 * finish() changes the chain.
 *
 * Thread rule: the disk's loop; `lock` guards what other threads see.
 */
#ifndef CORE_BLK_JOBS_JOB_INT_H
#define CORE_BLK_JOBS_JOB_INT_H

#include <pthread.h>

#include "core/blk/ctx.h"
#include "core/blk/disk.h"
#include "core/blk/driver.h"
#include "core/blk/job.h"
#include "core/blk/jobs/bits.h"
#include "core/error.h"

/* Runs of so many zero bytes in data become zeroes in the target. */
#define JOB_SPARSE 65536

/* What a kind of job brings; every slot is mandatory. */
struct blk_job_type {
	const char *name;
	bool waits; /* READY until someone completes it */
	/* On the loop, before anything is done: can this be? */
	int (*check)(struct blk_job *j, struct error *e);
	/* [co] Opens what it needs and fills todo. */
	int (*prepare)(struct blk_job *j, struct error *e);
	/* [co] Copies [off, off + len) of the disk. */
	int (*copy)(struct blk_job *j, uint64_t off, uint64_t len,
		    struct error *e);
	/* [co] All is copied and the gate closed: changes the chain. */
	int (*finish)(struct blk_job *j, struct error *e);
	/* [co] Always, at last; describes in text (len bytes) what stays. */
	void (*end)(struct blk_job *j, int result, char *text, size_t len);
};

/* What its owner asks of a job. */
struct job_orders {
	bool pause, cancel, complete, pivot;
	unsigned resumes;
	uint64_t speed;
};

struct blk_job {
	struct blk_disk_job hook;
	const struct blk_job_type *type;
	struct blk_job_config cfg; /* strings malloced */
	struct blk *disk;
	struct blk_ctx *ctx;

	/* The kind's own: the layer that ends up on top of base, who is copied
	 * from, who is copied to. */
	struct blk *overlay, *source, *target, *base;
	struct job_bits fresh; /* mirror: never written, reads as zeroes */
	bool finished;	       /* the chain has changed */

	uint64_t len, chunk; /* bytes */
	struct job_bits todo, busy, failed;
	uint64_t cursor; /* where the next run is looked for */
	struct blk_watch watch;
	bool tracks, gated, ready, halted, retried;
	struct co_queue changed; /* anything that someone may wait for */
	unsigned nr_busy, nr_lanes;
	uint64_t due_ns; /* when the next run may start */
	struct loop_timer timer;
	struct job_orders now;
	int ret;	/* what ends it */
	struct error e; /* the last error */
	uint64_t done, first_total, rate_done, rate_ns, rate;
	unsigned errors;

	pthread_mutex_t lock;
	unsigned refs; /* guarded by lock, as all below */
	bool posted, ended;
	struct job_orders asked;
	struct blk_job_status status;
	struct loop_work work;
};

extern const struct blk_job_type blk_job_commit, blk_job_stream, blk_job_mirror;

/* ---- job.c ---- */

/* Makes the state visible to other threads. */
void job_publish(struct blk_job *j);
/* Whoever waits for the job looks again. */
void job_wake(struct blk_job *j);
/* Must it stand still, by order, by an error, or while the disk is drained? */
bool job_is_held(const struct blk_job *j);
/* [co] Between two steps of prepare: 0, or -ECANCELED. */
int job_rest(struct blk_job *j);

/* ---- copying.c ---- */

/* Bits for len bytes. */
int job_bits_make(struct blk_job *j, uint64_t len);
/* [co] Marks all of top's chain above base for which wants() says so. */
int job_mark_wanted(struct blk_job *j, struct blk *top, struct blk *base,
		    bool (*wants)(struct blk_job *j, int status, int depth),
		    struct error *e);
/* [co] From now on what the guest changes is marked. */
void job_track(struct blk_job *j);
/* [co] Copies until little enough is left: 0, or what ends the job. */
int job_pump(struct blk_job *j);
/* An error as the job's policy wants it: true when it goes on. */
bool job_goes_on(struct blk_job *j, int ret, const struct error *e);

#endif
