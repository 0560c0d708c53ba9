/*
 * nbd: what else can be done with a server's exports than opening them as
 * nodes (blk_nbd_driver in driver.h).
 */
#ifndef CORE_BLK_NBD_NBD_H
#define CORE_BLK_NBD_NBD_H

#include <stdint.h>

struct blk_ctx;
struct error;

/*
 * Thread rule: [co].  Takes an export as the file of a new image of len bytes:
 * it exists already and keeps its size; its first blocks become zeroes.  0 or
 * -errno with the reason in e.
 */
int nbd_export_prepare(struct blk_ctx *ctx, const char *path, uint64_t len,
		       struct error *e);

#endif
