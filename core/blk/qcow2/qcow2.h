/*
 * qcow2: the internal contract of the format's parts (private to this folder).
 *
 * header.c parses and writes the header, cache.c keeps tables, refcount.c
 * allocates clusters, writeback.c writes tables, map.c finds and links them, io.c moves data, compress.c
 * packs it.  "Section" names are those of the qcow2 specification.
 *
 * Ordering invariants: at every moment the image on stable storage obeys
 *   I1  a cluster that anything references has a refcount that counts every
 *       reference (refcounts are raised before references are written, and
 *       lowered after references are gone: `frees` waits for that);
 *   I2  a refcount block is written before the table entry that reaches it,
 *       and both before any reference that they count;
 *   I3  an L2 table is written before the L1 entry that reaches it;
 *   I4  data in new clusters is written before the L2 entry that reaches it,
 *       so that a disk never shows what the host's cluster held before;
 *   I5  a freed cluster is used again only after I1 let its refcount drop;
 *   I6  an entry of the active tables is COPIED if and only if the refcount of
 *       what it names is 1: who turns bits over (snapshot.c) does it, and
 *       counts, by one write of the header (shadow.h).  Elsewhere a cluster
 *       that the disk shows never goes from one reference to two or back.
 * A crash leaves leaked clusters at worst.  With lazy refcounts I1 and I2 are
 * replaced by the dirty bit, which is set before the first allocation.
 * qcow2_write_meta() is the one function that writes cached tables, in the
 * order refcount blocks, refcount table, L2, L1, with a barrier between.
 *
 * Thread rule: in coroutines of the node's loop.  `lock` guards every change of
 * tables; lookups take none, because they wait only for a slice to load.
 */
#ifndef CORE_BLK_QCOW2_QCOW2_H
#define CORE_BLK_QCOW2_QCOW2_H

#include <endian.h>

#include "core/blk/driver.h"
#include "core/blk/format.h"
#include "core/blk/qcow2/header.h"

struct qcow2_slice; /* a piece of a table, in host memory as on disk */
struct qcow2_cache;

/* Guest bytes that a write is busy with.  Whole clusters that are being
 * allocated: later writers wait.  In place: only who frees clusters waits. */
struct qcow2_alloc {
	uint64_t off, end;
	bool in_place;
	struct qcow2_alloc *next;
	struct co_queue waiters;
};

/* Host bytes whose references are gone from the tables in memory, but not yet
 * on stable storage (I1). */
struct qcow2_frees {
	struct qcow2_range {
		uint64_t off, len;
	} * ranges;
	unsigned nr, max;
};

struct qcow2 {
	struct blk *b;
	struct qcow2_header h;
	uint64_t cluster_len;
	unsigned l2_entry_len;	  /* 8, or 16 with extended L2 entries */
	unsigned l2_bits;	  /* log2 of the entries of an L2 table */
	unsigned nr_sub, sub_len; /* subclusters of a cluster: 1 or 32 */
	unsigned refblock_bits;	  /* log2 of the entries of a refcount block */
	uint64_t max_refcount;
	uint64_t *l1; /* host order; nr_l1 entries */
	uint64_t *rt; /* host order; nr_rt entries */
	uint64_t nr_rt;
	uint8_t *l1_dirty, *rt_dirty; /* a flag for each 512 bytes on disk */
	bool any_l1_dirty, any_rt_dirty;
	bool barrier; /* new clusters were filled since the last sync (I4) */
	bool refs_unsynced; /* refcounts were written since the last sync (I1) */
	/* A write of the header failed: which one is on disk is not known, and
	 * h is written again before anything else is. */
	bool header_unsure;
	struct qcow2_cache *l2_cache, *ref_cache;
	struct qcow2_shadow *shadow; /* NULL, or see shadow.h */
	struct co_mutex lock;
	struct qcow2_snapshot {
		uint64_t l1_off;
		uint32_t nr_l1;
		struct blk_snapshot_info info;
	} * snapshots;		/* h.nr_snapshots */
	uint64_t snapshots_len; /* of their table on disk */
	struct qcow2_alloc *allocs;
	struct qcow2_frees frees;
	uint64_t free_hint;  /* cluster index: none is free below */
	uint64_t fresh_off;  /* host bytes from here on were never written */
	uint64_t packed_off; /* where the next compressed cluster may go; 0 */
	/* Clusters that hold metadata: no data write may touch one. */
	struct qcow2_set {
		uint64_t *slots;
		uint64_t nr, max;
	} meta;
	/* Persistent bitmaps, in the order of their directory; bitmap.h. */
	struct qcow2_bitmaps {
		struct qcow2_bitmap **list, **live;
		uint32_t nr, nr_live; /* live: enabled, kept up to date */
		bool marked;	      /* the live ones are IN_USE on disk */
		uint64_t bits_len;    /* of all bits in memory, bytes */
		char *why;	      /* what is wrong with the directory */
	} bitmaps;
	bool closing, corrupt;
	/* Refcounts could not be read back after they had moved: nothing more
	 * is written until the image is opened again. */
	bool lost;
	bool holes_known, holes; /* see status.c */
};

struct qcow2_bitmap {
	char *name;
	uint64_t table_off;
	uint32_t nr_table, flags; /* flags as they are on disk */
	unsigned granularity_bits;
	uint64_t flags_at; /* where its flags lie in the file */
	bool inconsistent; /* was IN_USE when the image was opened */
	uint64_t *table;   /* host order; in memory while bits is */
	uint8_t *bits;	   /* as on disk, bits_len bytes; or NULL */
	uint64_t bits_len;
};

static inline struct qcow2 *qcow2_of(struct blk *b)
{
	return b->priv;
}

/* Where guest data lies. */
static inline struct blk *qcow2_data(struct qcow2 *s)
{
	return s->b->data_file ? s->b->data_file : s->b->file;
}

/* ---- header.c ---- */

/* [lock] Changes feature bits in the header on disk, then syncs. */
int qcow2_set_incompat(struct qcow2 *s, uint64_t set, uint64_t clear);
/* [lock] Writes h again when what is on disk is not known. */
int qcow2_ensure_header(struct qcow2 *s);
/* Marks the image corrupt: no more writes; says why to the log once. */
int qcow2_mark_corrupt(struct qcow2 *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- cache.c ---- */

struct qcow2_cache *qcow2_cache_create(struct qcow2 *s, unsigned slice_len,
				       unsigned nr_slices);
void qcow2_cache_destroy(struct qcow2_cache *c); /* drops what is dirty */
/* The slice that holds the table bytes at host offset off, pinned; loads it. */
int qcow2_cache_get(struct qcow2_cache *c, uint64_t off,
		    struct qcow2_slice **out);
/* The same for a slice that is all new: zeroed, not read, dirty. [lock] */
int qcow2_cache_new(struct qcow2_cache *c, uint64_t off,
		    struct qcow2_slice **out);
void qcow2_cache_put(struct qcow2_slice *slice);
void *qcow2_slice_data(struct qcow2_slice *slice); /* big endian, as on disk */
unsigned qcow2_slice_len(const struct qcow2_cache *c);
void qcow2_slice_dirty(struct qcow2_slice *slice); /* [lock] */
bool qcow2_cache_is_dirty(const struct qcow2_cache *c);
int qcow2_cache_write(struct qcow2_cache *c); /* [lock] writes what is dirty */
/* Forgets the slices in [off, off + len), dirty or not: the table is gone. */
void qcow2_cache_forget(struct qcow2_cache *c, uint64_t off, uint64_t len);
unsigned qcow2_cache_slices(const struct qcow2_cache *c);
/* Adds what c holds and did. */
void qcow2_cache_count(const struct qcow2_cache *c,
		       struct blk_cache_stats *out);

/* ---- refcount.c ---- */

/* Gives tables and the set of metadata clusters their place; at open. */
int qcow2_refcount_load(struct qcow2 *s, struct error *e);
int qcow2_get_refcount(struct qcow2 *s, uint64_t cluster, uint64_t *out);
/* [lock] Adds delta (+1 or -1) to each cluster that [off, off + len) touches.
 * -EINVAL and the image marked corrupt when one would leave its range. */
int qcow2_change_refcount(struct qcow2 *s, uint64_t off, uint64_t len,
			  int delta);
/* [lock] Repairs a count; -EINVAL when there is no block for it. */
int qcow2_set_refcount(struct qcow2 *s, uint64_t cluster, uint64_t v);
/* [lock] The table has an entry for cluster c's block afterwards; c may have
 * been taken. */
int qcow2_reach(struct qcow2 *s, uint64_t c);
/* [lock] Allocates up to *nr contiguous clusters with refcount 1, at least
 * one; *off in host bytes.  at: 0, or where they must begin: then *nr may come
 * back 0. */
int qcow2_alloc_clusters(struct qcow2 *s, uint64_t at, uint64_t *nr,
			 uint64_t *off);
/* [lock] len bytes for metadata in contiguous clusters, noted as metadata. */
int qcow2_alloc_meta(struct qcow2 *s, uint64_t len, uint64_t *off);
/* [lock] len bytes (at most a cluster) for compressed data. */
int qcow2_alloc_bytes(struct qcow2 *s, unsigned len, uint64_t *off);
/* Numbers of width (1 << order) bits, packed as in a refcount block. */
uint64_t qcow2_refcount_peek(const void *block, unsigned order, uint64_t i);
void qcow2_refcount_poke(void *block, unsigned order, uint64_t i, uint64_t v);

/* ---- writeback.c ---- */

/* [lock] Drops a reference to each cluster of the range once the tables that
 * no longer name it are on stable storage. */
int qcow2_free_later(struct qcow2 *s, uint64_t off, uint64_t len);
/* [lock] Writes every cached table in order (see the invariants); sync: and
 * makes all of it stable. */
int qcow2_write_meta(struct qcow2 *s, bool sync);
/* [lock] Everything on stable storage, lazy refcounts too, with nothing left
 * to free. */
int qcow2_settle(struct qcow2 *s);

/* ---- meta.c ---- */

/* -EIO (and the image marked corrupt) when the host range is metadata. */
int qcow2_check_overlap(struct qcow2 *s, uint64_t off, uint64_t len);
bool qcow2_is_meta(const struct qcow2 *s, uint64_t cluster);
int qcow2_note_meta(struct qcow2 *s, uint64_t off, uint64_t len);
void qcow2_forget_meta(struct qcow2 *s, uint64_t off, uint64_t len);

/* ---- map.c ---- */

enum qcow2_kind {
	QCOW2_UNALLOCATED, /* see the backing file */
	QCOW2_ZEROES,	   /* reads as zeroes; host is set when space is held */
	QCOW2_NORMAL,
	QCOW2_PACKED /* compressed: one cluster a run */
};

/* What guest bytes are made of. */
struct qcow2_run {
	enum qcow2_kind kind;
	uint64_t len;	     /* bytes from the offset asked for */
	uint64_t host;	     /* of its first byte; PACKED: of the packed data */
	unsigned packed_len; /* bytes that may hold packed data, at most */
	bool has_host; /* space is held (NORMAL, some ZEROES, UNALLOCATED) */
	bool copied;   /* refcount 1: may be overwritten in place */
};

/* What [off, off + len) begins with; stops at the border of a slice.  -EIO for
 * tables that lie (then the image is marked corrupt). */
int qcow2_lookup(struct qcow2 *s, uint64_t off, uint64_t len,
		 struct qcow2_run *run);
/* [lock] The L2 slice that holds the entry of off, and the entry's index in it;
 * makes the table, or a copy when a snapshot shares it. */
int qcow2_l2_for_write(struct qcow2 *s, uint64_t off,
		       struct qcow2_slice **slice, unsigned *index);
/* [lock] A new L2 table at *off: zeroed, or (old not 0) a copy of that one. */
int qcow2_make_l2(struct qcow2 *s, uint64_t old, uint64_t *off);
/* Where a compressed entry's data lies. */
void qcow2_packed_place(const struct qcow2 *s, uint64_t entry, uint64_t *host,
			uint64_t *len);
/* Entries in a slice, in host order. */
uint64_t qcow2_entry(struct qcow2 *s, struct qcow2_slice *slice, unsigned i);
uint64_t qcow2_bitmap(struct qcow2 *s, struct qcow2_slice *slice, unsigned i);
void qcow2_set_entry(struct qcow2 *s, struct qcow2_slice *slice, unsigned i,
		     uint64_t entry, uint64_t bitmap);
/* [lock] Drops what an entry references. */
int qcow2_free_entry(struct qcow2 *s, uint64_t entry);
/* [lock] Entries of clusters [off, off + len) become zeroes (or unallocated);
 * keep: space of their own stays held. */
int qcow2_zero_clusters(struct qcow2 *s, uint64_t off, uint64_t len, bool keep);
/* [lock] The same for subclusters of one cluster, extended L2 entries only;
 * -ENOTSUP for a compressed one. */
int qcow2_zero_subclusters(struct qcow2 *s, uint64_t off, uint64_t len);
int qcow2_discard_clusters(struct qcow2 *s, uint64_t off, uint64_t len,
			   bool full);
void qcow2_mark_l1(struct qcow2 *s, uint64_t index);

/* ---- status.c ---- */

/* The driver's slot. */
int qcow2_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		 uint64_t *map, struct blk **file);

/* ---- io.c ---- */

extern const struct blk_driver blk_qcow2_driver;

/* ---- zero.c ---- */

/* Writes zeroes that no bitmap records: the guest does not see a change.  Takes
 * the lock; the range may reach past the disk's end in its last cluster. */
int qcow2_zero_range(struct blk *b, uint64_t off, uint64_t len, unsigned flags);
/* The same for [off, end), which is held in memory, by writing zeroes. */
int qcow2_zero_as_data(struct blk *b, uint64_t off, uint64_t end,
		       unsigned flags);

/* ---- resize.c ---- */

/* [lock] The file ends where its last used cluster does. */
int qcow2_cut_file(struct qcow2 *s);
/* The driver's slot. */
int qcow2_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
		   bool allow_shrink, struct error *e);

/* ---- open.c ---- */

/* The driver's slots (driver.h). */
int qcow2_open(struct blk *b, const struct blk_options *o, struct error *e);
void qcow2_close(struct blk *b);
int qcow2_set_write(struct blk *b, bool write, struct error *e);

/* ---- compress.c ---- */

/* [co] On workers.  Packs len bytes; the packed length, or -E2BIG when it
 * would not be smaller than len. */
int qcow2_pack(struct qcow2 *s, const void *from, size_t len, void *to);
/* [co] Unpacks exactly to_len bytes; trailing bytes of from are ignored. */
int qcow2_unpack(struct qcow2 *s, const void *from, size_t from_len, void *to,
		 size_t to_len);

#endif
