/*
 * drive_parts: what the files that make a drive share.
 *
 *   drive.c        requests, media, life
 *   drive_actions.c  what people do to it while it runs
 *   drive_stats.c  counters, and what is not flushed yet
 *   drive_look.c   looks at the images, for people
 *   drive_errors.c requests that the host could not do
 *   drive_work.c   jobs and exports beside the guest
 *   drive_image.c  from a configuration to an open node
 *   power/cut.c    cutting the power
 *
 * Thread rule: as drive.h.
 */
#ifndef CORE_BLK_DRIVE_PARTS_H
#define CORE_BLK_DRIVE_PARTS_H

#include <pthread.h>

#include "core/blk/co.h"
#include "core/blk/drive_errors.h"
#include "core/blk/drive_int.h"
#include "core/blk/drive_look.h"
#include "core/blk/drive_stats.h"
#include "core/blk/layers.h"
#include "core/loop.h"

/* Posted to the loop; outlives its drive while it is queued there. */
struct bell {
	struct loop_work work;
	struct drive *drive; /* NULL: closed, the bell frees itself */
};

struct ledger;

struct drive {
	struct loop *loop, *inner;
	struct blk_ctx *ctx;
	struct blk *blk; /* a disk (disk.h); NULL: no medium */
	struct bell *bell;
	struct log *log;
	struct drive_config cfg; /* path points to the field below */
	bool attached;
	struct drive_caps caps; /* of the device it is attached to */
	char path[1024];
	drive_wrap_fn *wrap;
	void *wrap_arg;
	int has_medium;	     /* atomic */
	unsigned changes;    /* atomic: of the medium */
	uint64_t len;	     /* atomic: 0 without medium */
	int wce;	     /* atomic */
	bool wce_forced_off; /* by a person; relaxed atomic */
	bool sync_failed;    /* and said so: it stays failed; set atomically */
	unsigned in_flight;  /* atomic */
	struct drive_counters counters;
	struct drive_req own_flush;  /* WCE went off, or a write got old */
	struct loop_timer age_timer; /* for max_unflushed_ns */
	bool is_age_armed;
	bool own_flush_busy, own_flush_again;
	bool is_flush_asked;  /* by a person, who is told the outcome */
	struct blk *throttle; /* in the medium's tree; NULL: none */
	unsigned throttle_lifts;
	char throttle_words[160];
	struct drive_req *done_first, *done_last;
	struct drive_req *kept; /* by nr; after an error */
	uint64_t last_nr;
	void (*listener)(void *arg);
	void *listener_arg;
	bool gives_up;
	bool loss_told; /* of sync_failed; the guest went on nevertheless */
	struct blk_export *export;
	pthread_mutex_t job_lock; /* a leaf; protects what is down to trouble */
	struct blk_job *job;
	struct layers_range look_at;
	struct layers layers;
	uint64_t layers_ns; /* when that was; 0: never */
	struct drive_look look;
	bool is_look_old;
	struct drive_trouble trouble;
	unsigned look_wanted; /* atomic: kinds of looks */
	unsigned looking;     /* kinds that are being taken */
	bool stop_looking;
	unsigned look_changes; /* of what a look sees */
	struct co_queue looked;
	int scratch_fd; /* of a scratch disk's overlay; -1: none yet */
	bool wce_at_first;
	/* Of a drive whose power can be cut, else NULL. */
	struct ledger *ledger;
	struct blk *model; /* the volatile filter of the open image */
	bool is_cut;	   /* the power is gone: nobody is answered */
};

/* Runs fn in a coroutine of the drive's block layer and serves its loop until
 * fn has returned: the result. */
int drive_run_here(struct drive *d, int (*fn)(void *arg), void *arg,
		   struct error *e);
/* [co] What a request asks for: 0 or -errno. */
int drive_perform(struct drive *d, struct drive_req *req);
/* [co] The image at path (NULL: none) in place of the one there is, which is
 * closed; nobody else uses the drive then. */
int drive_replace_medium(struct drive *d, const char *path, struct error *e);

/* drive.c: drive_submit for a request that has its nr. */
void drive_start(struct drive *d, struct drive_req *req);
/* drive.c: tells others how long the medium is now. */
void drive_publish_len(struct drive *d);
/* drive.c: a flush of the drive's own, of all that completed before. */
void drive_flush_soon(struct drive *d);
/* [co] Ends what reads the medium beside the guest, but for a job. */
void drive_work_stop(struct drive *d);

#endif
