/*
 * drive_actions: what people do to a running drive: flush, force the write
 * cache off, grow, keep snapshots, throttle.
 *
 * Thread rule: as drive.h; also by who has stopped the world.
 */
#ifndef CORE_BLK_DRIVE_ACTIONS_H
#define CORE_BLK_DRIVE_ACTIONS_H

#include "core/blk/drive.h"
#include "core/blk/format.h"

/* Begins to make stable what was written; the outcome is told to the log.  0,
 * or -errno with the reason: no medium, read-only, flushes are ignored. */
int drive_flush_now(struct drive *d, struct error *e);

/* Whatever the guest's write cache is: with force each write is made stable
 * before it completes, from those on their way on.  -EINVAL where flushes are
 * ignored. */
int drive_force_wce_off(struct drive *d, bool force, struct error *e);

/* Grows the disk to len bytes, up to the next whole sector; the device tells
 * its driver.  Refused while a job is at work, and to shrink. */
int drive_grow(struct drive *d, uint64_t len, struct error *e);

/* Internal snapshots of the image that the guest writes to.  APPLY puts another
 * disk under a guest: only while none runs. */
int drive_snapshot(struct drive *d, enum blk_snapshot_op op, const char *name,
		   struct error *e);
/* External: a new qcow2 image at path takes what is written from now on. */
int drive_overlay(struct drive *d, const char *path, struct error *e);

/* Limits in the words of the throttle filter (filter/throttle.h), as in
 * "iops-total=100 bps-read=1M"; NULL or empty: none any more.  They stay when
 * the medium changes.  While somebody drains the drive they don't hold. */
int drive_throttle(struct drive *d, const char *words, struct error *e);

/* ---- for drive.c ---- */

/* [co] Puts the throttle over a medium that has come, as asked for. */
int drive_throttle_renew(struct drive *d, struct error *e);
/* Lets all pass, and holds again; nests. */
void drive_throttle_lift(struct drive *d);
void drive_throttle_lower(struct drive *d);

#endif
