/*
 * drive_look: what people are shown of the images under a drive, beside what it
 * counts: the host's files and their page cache, internal snapshots.
 *
 * Thread rule: drive_look_copy [any]; the rest as drive.h.
 */
#ifndef CORE_BLK_DRIVE_LOOK_H
#define CORE_BLK_DRIVE_LOOK_H

#include "core/blk/drive.h"
#include "core/blk/files.h"

#define DRIVE_LOOK_SNAPSHOTS 16

struct drive_look {
	uint64_t taken_ns; /* loop_now_ns() then; 0: not yet */
	struct files files;
	char throttle[160]; /* the words of the limits; "" none */
	unsigned throttled; /* requests that they make wait */
	bool can_snapshot;  /* the format keeps some, and may be written */
	unsigned nr_snapshots, all_snapshots;
	struct drive_look_snapshot {
		char id[32], name[64];
		uint64_t date_sec, vm_state_len, disk_len;
	} snapshots[DRIVE_LOOK_SNAPSHOTS];
};

/* As it was a moment ago: looks again, beside the guest, when that was longer
 * ago than max_age_ns. */
void drive_look_copy(struct drive *d, uint64_t max_age_ns,
		     struct drive_look *out);

/* ---- for the drive ---- */

/* Begins what someone asked for. */
void drive_look_if_wanted(struct drive *d);
/* [co] Returns when nobody looks; the images may be closed then. */
void drive_look_stop(struct drive *d);
/* Something changed: the next to ask gets a new look. */
void drive_look_again(struct drive *d);
/* The same, and what was seen counts no more: the medium is another one. */
void drive_look_forget(struct drive *d);

#endif
