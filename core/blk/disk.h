/*
 * disk: the root that a guest's disk holds, so that images can be put on top
 * of each other, taken out of their chain and exchanged while it runs.
 *
 * A disk is a node like any other: drives and servers read and write it.  It
 * passes requests on to its image; filters may stand between the two.  Jobs
 * (job.h) work on the images below it.
 *
 * Draining a disk: new requests wait at it, those on their way finish.  What a
 * job does goes to the images themselves and never waits at the disk.
 *
 * Thread rule: on the disk's loop, in a coroutine where marked [co].
 */
#ifndef CORE_BLK_DISK_H
#define CORE_BLK_DISK_H

#include "core/blk/blk.h"
#include "core/blk/co.h"

struct blk_disk_job;

/* [co] A disk over node, whose reference it takes, also when it fails (NULL
 * with the reason in e).  Closing it cancels its job and waits for that. */
struct blk *blk_disk_create(struct blk *node, struct error *e);
bool blk_is_disk(const struct blk *b);
/* The image that the guest writes to: the top of the chain. */
struct blk *blk_disk_image(const struct blk *disk);
/* The job at work on it, or NULL. */
struct blk_disk_job *blk_disk_job(const struct blk *disk);

/* [co] Returns with no request of the guest and none of a job on its way; none
 * starts before the end.  Nests. */
void blk_disk_drain_begin(struct blk *disk);
void blk_disk_drain_end(struct blk *disk);

struct blk_driver;
struct blk_opt;
/* [co] Takes *filter (NULL: none), which was put in by this, out of the disk,
 * and puts one of type drv (NULL: none) with words for it in its place, drained
 * meanwhile.  0, or -errno with nothing changed. */
int blk_disk_swap_filter(struct blk *disk, struct blk **filter,
			 const struct blk_driver *drv,
			 const struct blk_opt *opts, unsigned nr,
			 struct error *e);

/*
 * [co] External snapshot: makes a new qcow2 image at path over the one that
 * the guest writes to, which from now on is only read.  0, or -errno with
 * nothing changed: a job is at work, path exists already, ...
 */
int blk_disk_snapshot(struct blk *disk, const char *path, struct error *e);

/* ---- for jobs ---- */

/* [co] Keeps the guest's requests out as draining does, and no more. */
void blk_disk_gate_close(struct blk *disk);
void blk_disk_gate_open(struct blk *disk);
/* Has someone drained it, so that jobs must stand still? */
bool blk_disk_is_drained(const struct blk *disk);
/* What works on a disk's images beside the guest; embedded in its owner. */
struct blk_disk_job {
	/* [co] Returns with none of its requests on their way; none starts
	 * while the disk is drained. */
	void (*quiesce)(struct blk_disk_job *job);
	void (*resume)(struct blk_disk_job *job); /* no longer drained */
	void (*cancel)(struct blk_disk_job *job); /* end soon */
};
/* One at a time; NULL when it has ended. */
void blk_disk_set_job(struct blk *disk, struct blk_disk_job *job);

/* Gate closed: node, whose reference is taken, becomes the disk's image, the
 * one before is dropped.  The disk keeps its length: node is not shorter. */
void blk_disk_replace(struct blk *disk, struct blk *node);

/* Hears of every change by the guest.  Costs nothing when nobody listens. */
struct blk_watch {
	/* [co] [off, off + len) will be changed when this returns; may wait.
	 * Optional. */
	void (*before)(void *arg, uint64_t off, uint64_t len);
	/* [co] It was written, zeroed or discarded, perhaps in part; the guest
	 * does not know yet that it is done.  May wait.  Optional. */
	void (*after)(void *arg, uint64_t off, uint64_t len);
	void *arg;
	struct blk_watch *next;
};
/* [co] w belongs to the caller and stays where it is. */
void blk_disk_watch(struct blk *disk, struct blk_watch *w);
void blk_disk_unwatch(struct blk *disk,
		      struct blk_watch *w); /* if it watches */

/* A part of a watched disk that the guest can't change meanwhile. */
struct blk_range {
	uint64_t off, end;
	bool exclusive;
	struct blk_range *next;
	struct co_queue waiters;
};
/* [co] Returns when the guest's changes there have finished; later ones wait.
 * r belongs to the caller and stays where it is. */
void blk_disk_lock(struct blk *disk, struct blk_range *r, uint64_t off,
		   uint64_t len);
void blk_disk_unlock(struct blk *disk, struct blk_range *r);

#endif
