/*
 * check: whether an image's refcounts are true, and making them so.
 * Thread rule: [co].
 */
#ifndef CORE_BLK_QCOW2_CHECK_H
#define CORE_BLK_QCOW2_CHECK_H

#include "core/blk/qcow2/qcow2.h"

/* The slot of struct blk_format. */
int qcow2_check(struct blk *b, unsigned repair, struct blk_check *out,
		struct error *e);

/* [lock] Forgets what is in memory of refcounts and reads their table again. */
int qcow2_refcount_reload(struct qcow2 *s, struct error *e);

#endif
