/*
 * view: a running disk as it was at one moment, for who wants to read it in
 * peace while the guest writes on: a server, a backup.
 *
 * What the guest is about to change is copied to a nameless file first, once
 * for each chunk.  When that file can't take it the view is lost (-EIO); the
 * guest never notices.
 *
 * Thread rule: [co] on the disk's loop.
 */
#ifndef CORE_BLK_VIEW_H
#define CORE_BLK_VIEW_H

#include "core/blk/blk.h"

/* A read-only node of the disk's length.  The disk outlives it.  NULL with the
 * reason in e. */
struct blk *blk_view_create(struct blk *disk, struct error *e);
/* Bytes that were copied aside so far. */
uint64_t blk_view_copied(const struct blk *view);

#endif
