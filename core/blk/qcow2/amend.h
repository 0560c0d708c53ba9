/*
 * amend: the steps that turn an image into another kind of itself.
 *
 * Each step leaves a sound image wherever it is cut off: what is new is written
 * first, one write of the header switches to it, then the old is freed.
 *
 * Thread rule: [co], with the node's lock held.
 */
#ifndef CORE_BLK_QCOW2_AMEND_H
#define CORE_BLK_QCOW2_AMEND_H

#include "core/blk/qcow2/qcow2.h"

/* Rebuilds the refcounts with entries of (1 << order) bits. */
int qcow2_change_refcount_order(struct qcow2 *s, unsigned order,
				const struct blk_amend *a, struct error *e);
/* Version 3 becomes version 2, if the image can. */
int qcow2_downgrade(struct qcow2 *s, const struct blk_amend *a,
		    struct error *e);

#endif
