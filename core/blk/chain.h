/*
 * chain: the links between an image and its backing images while they run:
 * their names as images store them, and their order.
 *
 * Thread rule: [co], on the nodes' loop.
 */
#ifndef CORE_BLK_CHAIN_H
#define CORE_BLK_CHAIN_H

#include "core/blk/blk.h"

/* The layer whose backing b is, at top or below; NULL: top is b, or does not
 * reach it. */
struct blk *blk_chain_above(struct blk *top, const struct blk *b);

/* How an image at path names node as its backing file: relative where they
 * have a folder in common.  Malloced; NULL with the reason in e. */
char *blk_chain_name(const char *path, const struct blk *node, struct error *e);

/*
 * Makes backing (NULL: none) the backing of image, in the file and in the
 * graph; an image open for reading is opened for writing meanwhile.  What the
 * image holds is made stable before the name changes.  The caller keeps others
 * from using image.  0, or -errno with nothing changed.
 */
int blk_chain_relink(struct blk *image, struct blk *backing, struct error *e);

/* Makes the entry of a new file in its folder stable. */
int blk_chain_sync_folder(struct blk_ctx *ctx, const char *path,
			  struct error *e);

#endif
