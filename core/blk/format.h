/*
 * format: what can be done with an image beside reading and writing it: make,
 * describe, check, measure, change its shape, keep snapshots and bitmaps.
 *
 * One table a format (raw, qcow2); the list is core/blk/drivers.c.  A slot that
 * is NULL means that the format can't: the caller says so by name.
 * Thread rule: [co] throughout.
 */
#ifndef CORE_BLK_FORMAT_H
#define CORE_BLK_FORMAT_H

#include "core/blk/blk.h"

/* key=value pairs as in -o; keys and values are the format's own. */
struct blk_opt {
	const char *key, *value;
};

struct blk_create {
	const char *path;
	uint64_t len; /* bytes */
	const char *backing, *backing_format;
	const struct blk_opt *opts;
	unsigned nr_opts;
};

enum { BLK_REPAIR_LEAKS = 1, BLK_REPAIR_ERRORS = 2 };

struct blk_check {
	uint64_t corruptions, leaks, check_errors;
	uint64_t corruptions_fixed, leaks_fixed;
	uint64_t allocated, fragmented, compressed, total_clusters;
	uint64_t end_offset;
	/* What was found, a line each; NULL: nobody wants to know. */
	void (*say)(void *arg, const char *line);
	void *say_arg;
};

/* Changes of an image that is there already. */
struct blk_amend {
	const struct blk_opt *opts;
	unsigned nr_opts;
	/* How far it is, now and then; optional. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

struct blk_measure {
	uint64_t required, fully_allocated, bitmaps;
	bool has_bitmaps; /* source and target can keep some */
};

struct blk_snapshot_info {
	char id[128], name[256];
	uint64_t vm_state_len, date_sec, vm_clock_ns, icount, disk_len;
	uint32_t date_nsec;
	bool has_icount;
};

enum blk_snapshot_op {
	BLK_SNAPSHOT_CREATE,
	BLK_SNAPSHOT_APPLY,
	BLK_SNAPSHOT_DELETE
};

struct json_object;

/* What `bitmap` does to a persistent bitmap, in the tool's words. */
enum blk_bitmap_verb {
	BLK_BITMAP_ADD,
	BLK_BITMAP_REMOVE,
	BLK_BITMAP_CLEAR,
	BLK_BITMAP_ENABLE,
	BLK_BITMAP_DISABLE,
	BLK_BITMAP_MERGE
};
struct blk_bitmap_op {
	enum blk_bitmap_verb verb;
	const char *name;
	uint64_t granularity; /* ADD: bytes, 0: the default */
	struct blk *source;   /* MERGE: the image that holds source_name */
	const char *source_name;
};

struct blk_bitmap_info {
	char name[1024];
	uint64_t granularity; /* bytes */
	bool enabled, inconsistent;
};

/* In the order in which `create` prints them; a NULL name ends a list. */
struct blk_opt_desc {
	const char *name, *type, *help;
	const char *preset; /* printed when not given; NULL: nothing is */
};

struct blk_format {
	const char *name;
	/* What create knows, for help and messages; what amend does. */
	const struct blk_opt_desc *opts, *amend_opts;
	/* Score 0..100 that the first bytes are of this format. */
	int (*probe)(const uint8_t *head, size_t len, const char *path);
	int (*create)(struct blk_ctx *ctx, const struct blk_create *c,
		      struct error *e);
	int (*check)(struct blk *b, unsigned repair, struct blk_check *out,
		     struct error *e);
	/* What an image made as c says would take; source (or NULL, then
	 * c->len counts) is what would be written to it. */
	int (*measure)(const struct blk_create *c, struct blk *source,
		       struct blk_measure *out, struct error *e);
	int (*amend)(struct blk *b, const struct blk_amend *a, struct error *e);
	int (*snapshot)(struct blk *b, enum blk_snapshot_op op,
			const char *id_or_name, struct error *e);
	/* Returns how many there are; copies at most max (out may be NULL). */
	int (*snapshots)(struct blk *b, struct blk_snapshot_info *out,
			 unsigned max);
	/* Writes another backing name into the image (NULL or "": none); the
	 * node keeps the backing it has open. */
	int (*set_backing)(struct blk *b, const char *backing,
			   const char *backing_format, struct error *e);
	/* Gives up all that the image holds, so that its backing shows. */
	int (*make_empty)(struct blk *b, struct error *e);
	/* What `info` prints of the format, under the peers' names: an object
	 * with "cluster-size" (optional), "dirty", and "data". */
	struct json_object *(*info)(struct blk *b);
	int (*bitmap)(struct blk *b, const struct blk_bitmap_op *op,
		      struct error *e);
	/* The i-th persistent bitmap; -ENOENT past the last, -ENOTSUP when this
	 * image can have none. */
	int (*bitmap_info)(struct blk *b, unsigned i,
			   struct blk_bitmap_info *out);
};

extern const struct blk_format blk_raw_format, blk_qcow2_format;

/* NULL when there is none of that name. */
const struct blk_format *blk_format_find(const char *name);
/* The next after f; NULL begins and ends the list. */
const struct blk_format *blk_format_next(const struct blk_format *f);
/* [co] The format of the image whose first bytes file holds; raw when nothing
 * else fits. */
const struct blk_format *blk_format_probe(struct blk *file);

#endif
