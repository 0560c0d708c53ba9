/*
 * shadow: counts that all change at one write of the header.
 *
 * While an image is shadowed, the refcounts in memory live in new blocks and a
 * new table, which nothing on disk names: whatever is counted there, and every
 * table that is made meanwhile, appears at once when the header is written
 * (qcow2_write_header), or not at all.  Until then nothing that the image on
 * disk reaches may change: a cluster whose last reference goes stays counted
 * until the end, and is freed then.
 *
 * Thread rule: [co], with the node's lock held throughout.
 */
#ifndef CORE_BLK_QCOW2_SHADOW_H
#define CORE_BLK_QCOW2_SHADOW_H

#include "core/blk/qcow2/qcow2.h"

struct qcow2_shadow {
	uint64_t rt_off;  /* where the table in memory goes */
	uint64_t old_off; /* the table that the header names */
	uint64_t *other;  /* the table that is not in memory, nr_rt entries */
	struct qcow2_frees gone; /* freed once the header is written */
	struct qcow2_set meta;	 /* as it was */
	uint64_t free_hint;
};

/* Settles the image, then shadows it.  Up to room clusters may be allocated
 * before the end.  0, or -errno with the image as it was. */
int qcow2_shadow_begin(struct qcow2 *s, uint64_t room);
/* The last reference to a cluster goes, at the end of the shadow; 0 or
 * -ENOMEM. */
int qcow2_shadow_free(struct qcow2 *s, uint64_t cluster);
/* ret 0: the header names the new counts, and the old blocks are freed.
 * What can't be freed leaks.  Otherwise memory becomes again what the disk
 * holds.  Returns ret. */
int qcow2_shadow_end(struct qcow2 *s, int ret);

#endif
