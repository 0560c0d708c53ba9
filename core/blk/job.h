/*
 * job: work on a running disk that takes a while: commit, stream, mirror.
 *
 * A job copies in coroutines of its disk's loop beside the guest's requests.
 * At every moment, also when the process dies, each image is valid, and the
 * chain that the disk began with shows the guest's data; a mirror's target
 * takes over only when the job is done.
 *
 * One job at a time works on a disk (disk.h); the disk can't be resized
 * meanwhile.  While the disk is drained its job stands still.
 *
 * Thread rule: start on the disk's loop; the rest [any], unless marked [co].
 */
#ifndef CORE_BLK_JOB_H
#define CORE_BLK_JOB_H

#include "core/blk/blk.h"

struct blk_job;

enum blk_job_kind {
	/* Moves what the layers from top down to, not including, base hold into
	 * base, and takes them out of the chain.  The disk's own image may be
	 * top: then base is the disk's image afterwards, and top is left empty
	 * over it. */
	BLK_JOB_COMMIT,
	/* Copies what the layers above base hold into the disk's image, whose
	 * backing is base afterwards. */
	BLK_JOB_STREAM,
	/* Copies the disk to another file and keeps that up to date; when it
	 * is completed, the disk goes on there, or the copy is let go. */
	BLK_JOB_MIRROR
};

enum blk_job_sync {
	BLK_SYNC_FULL, /* all that the guest sees */
	BLK_SYNC_TOP,  /* the top layer, over the same backing */
	BLK_SYNC_NONE  /* only what is written from now on, over the disk's
			  image: it always goes on there */
};

enum blk_job_on_error {
	BLK_JOB_ENOSPC, /* no space pauses; all else ends the job */
	BLK_JOB_REPORT, /* ends the job */
	BLK_JOB_STOP,	/* pauses: resume tries again */
	BLK_JOB_IGNORE	/* goes on with the rest, tries once more at the end */
};

enum blk_job_state {
	BLK_JOB_RUNNING,
	BLK_JOB_PAUSED,
	BLK_JOB_READY, /* mirror: up to date, and kept so */
	BLK_JOB_DONE,
	BLK_JOB_FAILED,
	BLK_JOB_CANCELLED
};

/* A copy of a job's state, for the user interface. */
struct blk_job_status {
	enum blk_job_kind kind;
	enum blk_job_state state;
	uint64_t done, total; /* bytes; what the guest writes adds to total */
	uint64_t rate;	      /* bytes a second, of late */
	uint64_t speed;	      /* the limit, 0: none */
	unsigned errors;      /* how many pieces failed so far */
	int result;	      /* 0 or the -errno that paused or ended it */
	/* What paused or ended it; at the end also what stays. */
	char text[320];
};

struct blk_job_config {
	enum blk_job_kind kind;
	struct blk *disk; /* made by blk_disk_create */
	struct blk *top;  /* COMMIT: NULL: the disk's image */
	/* COMMIT: NULL: the bottom of the chain; STREAM: NULL: none stays. */
	struct blk *base;
	/* MIRROR: a new file; or one (nbd:// too) that exists, with content of
	 * no worth.  format NULL: qcow2. */
	const char *path, *format;
	bool existing;
	enum blk_job_sync sync;
	/* MIRROR: a guest's write ends when the target has it too. */
	bool write_blocking;
	uint64_t speed; /* bytes a second, 0: as fast as it goes */
	enum blk_job_on_error on_error;
	/* [co] on the loop, once, at the end; NULL: nobody wants to know. */
	void (*ended)(void *arg, const struct blk_job_status *s);
	void *arg;
};

/* The caller owns a reference.  NULL with the reason in e. */
struct blk_job *blk_job_start(const struct blk_job_config *cfg,
			      struct error *e);
/* Another reference; the caller has one. */
struct blk_job *blk_job_get(struct blk_job *j);
/* Gives the reference back; a job goes on without. NULL is fine. */
void blk_job_put(struct blk_job *j);

void blk_job_pause(struct blk_job *j);
/* Also after an error that paused it. */
void blk_job_resume(struct blk_job *j);
/* The chain stays as it was; what is copied stays where it is. */
void blk_job_cancel(struct blk_job *j);
void blk_job_set_speed(struct blk_job *j, uint64_t speed);
/* MIRROR: as soon as it is READY the target takes over (pivot) or is let go
 * as a copy of that moment. */
void blk_job_complete(struct blk_job *j, bool pivot);
void blk_job_status(struct blk_job *j, struct blk_job_status *out);
/* [co] Waits for its end: 0 or the -errno that ended it (-ECANCELED). */
int blk_job_wait(struct blk_job *j);

/* "commit", "stream" or "mirror". */
const char *blk_job_kind_name(enum blk_job_kind kind);
/* "running", "paused", "ready", "done", "failed" or "cancelled". */
const char *blk_job_state_name(enum blk_job_state state);

#endif
