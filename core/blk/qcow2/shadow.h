/*
 * shadow: counts that all change at one write of the header.
 *
 * While an image is shadowed, the refcounts in memory live in new blocks and a
 * new table, which nothing on disk names: whatever is counted there, and every
 * table that is made meanwhile, appears at once when the header is written
 * (qcow2_write_header), or not at all.  Until then nothing that the image on
 * disk reaches may change: only what it does not reach may be freed.
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
	struct qcow2_set meta; /* as it was */
	uint64_t free_hint;
};

/* Settles the image, then shadows it.  Up to room clusters may be allocated
 * before the end.  0, or -errno with the image as it was. */
int qcow2_shadow_begin(struct qcow2 *s, uint64_t room);
/* ret 0: the header names the new counts, and the old blocks are freed.
 * Otherwise memory becomes again what the disk holds.  Returns ret, or why the
 * old blocks could not be freed. */
int qcow2_shadow_end(struct qcow2 *s, int ret);

#endif
