/*
 * l1: whole L1 tables, and all that they reach.
 * Thread rule: [co]; [lock]: with the node's lock held.
 */
#ifndef CORE_BLK_QCOW2_L1_H
#define CORE_BLK_QCOW2_L1_H

#include "core/blk/qcow2/qcow2.h"

/* nr entries in host order, malloced. */
int qcow2_read_table(struct qcow2 *s, uint64_t off, uint64_t nr,
		     uint64_t **out);
int qcow2_write_table(struct qcow2 *s, uint64_t off, const uint64_t *table,
		      uint64_t nr);
/* [lock] One reference more or less to everything that an L1 table reaches.
 * References that go are freed later, once the tables are on disk. */
int qcow2_change_l1(struct qcow2 *s, const uint64_t *l1, uint64_t nr,
		    int delta);
/* [lock] Makes the COPIED bits of the active tables agree with refcounts. */
int qcow2_refresh_copied(struct qcow2 *s);
/* [lock] L2 tables of l1 with a COPIED bit that does not agree are replaced in
 * l1 by copies where it does; the entry then is the copy's bare offset. */
int qcow2_copy_wrong_l2(struct qcow2 *s, uint64_t *l1, uint64_t nr);
/* [lock] Makes the COPIED bits in l1 itself agree. */
int qcow2_set_l1_copied(struct qcow2 *s, uint64_t *l1, uint64_t nr);
/* [lock] Writes all tables, then h, and makes h the image's header. */
int qcow2_write_header(struct qcow2 *s, const struct qcow2_header *h,
		       struct error *e);
/* [lock] Switches to another active L1 table (taken over unless it fails) by
 * one write of the header, which becomes `with` but for what places tables. */
int qcow2_replace_l1(struct qcow2 *s, uint64_t *l1, uint64_t nr,
		     const struct qcow2_header *with, struct error *e);
/* Entries that a disk of len bytes needs. */
uint64_t qcow2_l1_for(const struct qcow2 *s, uint64_t len);

#endif
