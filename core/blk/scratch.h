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

/* [any] What such an image can be opened by while fd is open. */
void blk_scratch_path(int fd, char path[BLK_SCRATCH_PATH]);

/* [any] What to show people for a node's name: such an image has none. */
const char *blk_scratch_shown(const char *name);

/* A node that reads as base, whose reference it takes (also when it fails),
 * and keeps to itself what is written. */
struct blk *blk_scratch_over(struct blk *base, struct error *e);

#endif
