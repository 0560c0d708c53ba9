/*
 * job: work on a running disk that takes a while: commit, stream, mirror.
 *
 * A job runs in coroutines of its node's loop beside the guest's requests; it
 * reports progress, can be paused, resumed, cancelled, and limited in speed.
 * Thread rule: create on the loop; control and status [any].
 */
#ifndef CORE_BLK_JOB_H
#define CORE_BLK_JOB_H

#include "core/blk/blk.h"

struct blk_job;

enum blk_job_kind { BLK_JOB_COMMIT, BLK_JOB_STREAM, BLK_JOB_MIRROR };
enum blk_job_state {
	BLK_JOB_RUNNING,
	BLK_JOB_PAUSED,
	BLK_JOB_READY, /* mirror: in sync */
	BLK_JOB_DONE,
	BLK_JOB_FAILED,
	BLK_JOB_CANCELLED
};

struct blk_job_config {
	enum blk_job_kind kind;
	struct blk *top;    /* the active layer */
	struct blk *base;   /* stream, commit: stop here; NULL: the bottom */
	struct blk *target; /* mirror */
	uint64_t speed;	    /* bytes a second, 0: as fast as it goes */
};

struct blk_job_status {
	enum blk_job_kind kind;
	enum blk_job_state state;
	uint64_t done, total; /* bytes */
	char text[320];	      /* why it failed */
};

struct blk_job *blk_job_start(const struct blk_job_config *cfg,
			      struct error *e);
void blk_job_pause(struct blk_job *j);
void blk_job_resume(struct blk_job *j);
void blk_job_cancel(struct blk_job *j);
/* mirror in READY: finish, after which target holds all of top. */
void blk_job_complete(struct blk_job *j);
void blk_job_status(struct blk_job *j, struct blk_job_status *out);
/* [co] Waits for its end; 0 or the -errno that ended it; frees. */
int blk_job_wait(struct blk_job *j);

#endif
