/*
 * snapshot: an image's internal snapshots.
 * Thread rule: [co].
 */
#ifndef CORE_BLK_QCOW2_SNAPSHOT_H
#define CORE_BLK_QCOW2_SNAPSHOT_H

#include "core/blk/qcow2/qcow2.h"

/* Reads and checks the table; at open. */
int qcow2_snapshots_load(struct qcow2 *s, struct error *e);
/* Shows a read-only image as it was; at open. */
int qcow2_snapshot_enter(struct qcow2 *s, const char *id_or_name,
			 struct error *e);

/* [lock] Writes the table again, with the extra data that version 3 wants. */
int qcow2_snapshots_rewrite(struct qcow2 *s, struct error *e);

/* Slots of struct blk_format. */
int qcow2_snapshot(struct blk *b, enum blk_snapshot_op op,
		   const char *id_or_name, struct error *e);
int qcow2_snapshots(struct blk *b, struct blk_snapshot_info *out, unsigned max);

#endif
