/*
 * bitmap: persistent dirty bitmaps (section "Bitmaps" of the specification).
 *
 * bitmap_dir.c reads, checks and replaces the directory, bitmap_bits.c holds
 * bits in memory, bitmap.c is what the tool does to a bitmap.
 *
 * A bitmap's life on disk, over invariants I1-I5 of qcow2.h:
 *   B1  before the first change of the disk every enabled bitmap is IN_USE on
 *       stable storage; from then on only its bits in memory count;
 *   B2  tables and data of a bitmap change in place only while it is IN_USE;
 *   B3  IN_USE goes from disk after its table and data are stable there;
 *   B4  another directory is reached by one write of the header, after all
 *       that the directory reaches is stable.
 * A bitmap that was IN_USE when the image was opened is inconsistent: it is
 * kept as it is until somebody removes it.
 *
 * Thread rule: [co], changes with the node's lock held; see qcow2.h.
 */
#ifndef CORE_BLK_QCOW2_BITMAP_H
#define CORE_BLK_QCOW2_BITMAP_H

#include "core/blk/qcow2/qcow2.h"

#define QCOW2_BITMAP_IN_USE 1u
#define QCOW2_BITMAP_AUTO   2u /* enabled: records every change */
#define QCOW2_BITMAP_KNOWN  3u

#define QCOW2_BITMAP_ONES 1ull /* in a table entry: all bits are set */

#define QCOW2_BITMAPS_MAX	   65535
#define QCOW2_BITMAP_MIN_GRAN_BITS 9
#define QCOW2_BITMAP_MAX_GRAN_BITS 31
/* Bits of one bitmap, and of all that are in memory at once, in bytes. */
#define QCOW2_BITMAP_MAX_LEN (512u << 20)

/* ---- bitmap_dir.c ---- */

/* Reads and checks the directory; at open.  A wrong one leaves s->bitmaps.why
 * and an empty list: such an image can only be read. */
int qcow2_bitmaps_load(struct qcow2 *s, struct error *e);
void qcow2_bitmaps_fini(struct qcow2 *s);
/* NULL when there is none of that name. */
struct qcow2_bitmap *qcow2_bitmap_find(struct qcow2 *s, const char *name);
/* [lock] Writes list as the new directory and makes it the image's (B4) and the
 * node's; the old list, and what is no longer in it, is then the caller's. */
int qcow2_bitmaps_replace(struct qcow2 *s, struct qcow2_bitmap **list,
			  uint32_t nr, struct error *e);
/* [lock] Removes every bitmap, or a directory that is wrong. */
int qcow2_bitmaps_drop(struct qcow2 *s, struct error *e);
/* [lock] Frees what table reaches, and its own clusters at table_off: nothing
 * on stable storage references it any more. */
int qcow2_bitmap_free_clusters(struct qcow2 *s, const uint64_t *table,
			       uint32_t nr, uint64_t table_off);
/* The table of m, checked: offsets are aligned and in the file; malloced. */
int qcow2_bitmap_read_table(struct qcow2 *s, const struct qcow2_bitmap *m,
			    uint64_t **out, struct error *e);
/* [lock] Sets and clears flags in the directory on disk, in place. */
int qcow2_bitmap_set_flags(struct qcow2 *s, struct qcow2_bitmap *m,
			   uint32_t set, uint32_t clear);
/* Bytes of bits that a disk of len bytes needs. */
uint64_t qcow2_bitmap_bytes(unsigned granularity_bits, uint64_t len);
/* Bytes that the bitmaps would take in an image of such clusters. */
uint64_t qcow2_bitmaps_measure(const struct qcow2 *s, uint64_t cluster_len);
/* The same list as `info` shows; NULL when there is none. */
struct json_object *qcow2_bitmaps_info(const struct qcow2 *s);
void qcow2_bitmap_free(struct qcow2_bitmap *m); /* NULL is fine */

/* ---- bitmap_bits.c ---- */

/* Enabled bitmaps are kept up to date from here on; at open for writing. */
int qcow2_bitmaps_start(struct qcow2 *s, struct error *e);
/* [lock] Stores what is live and ends that (B3); a bitmap that can't be stored
 * stays IN_USE. */
int qcow2_bitmaps_stop(struct qcow2 *s);
/* [lock] The live bitmaps are IN_USE on stable storage (B1). */
int qcow2_bitmaps_mark(struct qcow2 *s);
/* Takes the lock when it must mark first; no memory.  What lies past the disk's
 * end is not recorded. */
int qcow2_bitmaps_record(struct qcow2 *s, uint64_t off, uint64_t len);
/* [co] Guest bytes are about to change. */
static inline int qcow2_bitmaps_touch(struct qcow2 *s, uint64_t off,
				      uint64_t len)
{
	return s->bitmaps.nr_live ? qcow2_bitmaps_record(s, off, len) : 0;
}
/* [lock] Table and bits of m in memory; nothing when they are there. */
int qcow2_bitmap_load(struct qcow2 *s, struct qcow2_bitmap *m, struct error *e);
void qcow2_bitmap_unload(struct qcow2 *s, struct qcow2_bitmap *m);
/* [lock] Writes the bits of m, which is IN_USE, and ends that (B2, B3). */
int qcow2_bitmap_store(struct qcow2 *s, struct qcow2_bitmap *m);
/* [lock] Bits of an enabled bitmap are in memory: record in them too. */
int qcow2_bitmap_go_live(struct qcow2 *s, struct qcow2_bitmap *m);
void qcow2_bitmap_end_live(struct qcow2 *s, struct qcow2_bitmap *m);
bool qcow2_bitmap_is_live(const struct qcow2 *s, const struct qcow2_bitmap *m);
/* [lock] Around a change of the disk's length: first all bitmaps come into
 * memory and are IN_USE, then they get tables of the new length. */
int qcow2_bitmaps_resize_begin(struct qcow2 *s, struct error *e);
int qcow2_bitmaps_resize_end(struct qcow2 *s, struct error *e);

/* ---- bitmap.c ---- */

/* [lock] Takes m out of the directory; what it holds is not freed. */
int qcow2_bitmap_forget(struct qcow2 *s, struct qcow2_bitmap *m,
			struct error *e);
/* The slot of struct blk_format. */
int qcow2_bitmap_change(struct blk *b, const struct blk_bitmap_op *op,
			struct error *e);
/* Names, for who copies bitmaps: the i-th, or NULL past the last. */
int qcow2_bitmap_describe(struct blk *b, unsigned i,
			  struct blk_bitmap_info *out);

#endif
