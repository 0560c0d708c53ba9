/*
 * scratch: images without a name, in $TMPDIR or /var/tmp; they are gone when
 * closed, also when the process dies.  Thread rule: [co].
 */
#ifndef CORE_BLK_SCRATCH_H
#define CORE_BLK_SCRATCH_H

#include "core/blk/blk.h"

#define BLK_SCRATCH_PATH 32

/* An empty qcow2 image of len bytes, rounded up to sectors.  path gets what it
 * can be opened by while the returned descriptor is open. -errno on failure. */
int blk_scratch_create(struct blk_ctx *ctx, uint64_t len,
		       char path[BLK_SCRATCH_PATH], struct error *e);

/* A node that reads as base, whose reference it takes (also when it fails),
 * and keeps to itself what is written. */
struct blk *blk_scratch_over(struct blk *base, struct error *e);

#endif
