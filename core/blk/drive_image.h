/*
 * drive_image: from what a machine's configuration says of a disk to an open
 * node.  Thread rule: [co].
 */
#ifndef CORE_BLK_DRIVE_IMAGE_H
#define CORE_BLK_DRIVE_IMAGE_H

#include "core/blk/drive_int.h"

struct blk_ctx;

struct drive_image {
	const struct drive_config *cfg; /* with a path */
	bool direct, no_flush;		/* of its preset */
	drive_wrap_fn *wrap;		/* NULL: no filters */
	void *wrap_arg;
	/* A scratch disk's overlay, without a name; -1: it is made.  The caller
	 * closes it. */
	int *scratch_fd;
};

/*
 * NULL with one sentence in e.  Without a format an image is raw, but one that
 * begins as another format does is refused: a guest could have written that.
 * A scratch disk is an overlay in a file without a name; its image is opened
 * for reading only.
 */
struct blk *drive_image_open(struct blk_ctx *ctx, const struct drive_image *i,
			     struct error *e);

#endif
