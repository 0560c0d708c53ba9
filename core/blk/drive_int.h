/*
 * drive_int: opening a drive over other system calls or another I/O engine,
 * for the block layer's own parts and tests.  Thread rule: as drive.h.
 */
#ifndef CORE_BLK_DRIVE_INT_H
#define CORE_BLK_DRIVE_INT_H

#include "core/blk/drive.h"

struct blk_aio_class;
struct blk_file_ops;

/* As drive_open. */
struct drive *drive_open_with(struct loop *loop, const struct drive_config *cfg,
			      const struct blk_file_ops *ops,
			      const struct blk_aio_class *aio, struct log *log,
			      struct error *e);

#endif
