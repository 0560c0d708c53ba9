/*
 * drive_int: opening a drive with filters of one's own, for the block layer's
 * parts and tests.  Thread rule: as drive.h.
 */
#ifndef CORE_BLK_DRIVE_INT_H
#define CORE_BLK_DRIVE_INT_H

#include "core/blk/drive.h"

struct blk;

/* [co] Puts filters over an image's node file (not a format's), whose reference
 * it takes: the new top, or NULL with the reason in e. */
typedef struct blk *drive_wrap_fn(void *arg, struct blk *file, struct error *e);

/* As drive_open; wrap may be NULL. */
struct drive *drive_open_with(struct loop *loop, const struct drive_config *cfg,
			      drive_wrap_fn *wrap, void *arg, struct log *log,
			      struct error *e);

#endif
