/*
 * blk: a graph of block nodes: file, raw, qcow2, filters.
 *
 * Users of a node see bytes, one size, and ranges with a status.  The image
 * tool and the disk exerciser stand on this header; who writes a node type
 * looks at driver.h.
 *
 * Thread rule: a context and its nodes belong to one loop.  [co]: inside a
 * coroutine of that loop; [any]: any thread; the rest: on the loop.
 */
#ifndef CORE_BLK_BLK_H
#define CORE_BLK_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct blk;
struct blk_ctx;
struct blk_filter_spec;
struct error;
struct log;
struct loop;

/* ---- context ---- */

struct blk_ctx_config {
	struct loop *loop;
	struct log *log;     /* NULL is fine */
	unsigned nr_workers; /* threads for what sleeps; 0: 4 */
	/* A backing or data file that an image names must lie in the image's
	 * own directory tree, or below one of these folders (separated by
	 * colons; NULL: none; "/": anywhere). */
	const char *backing_folders;
};
struct blk_ctx *blk_ctx_create(const struct blk_ctx_config *cfg,
			       struct error *e);
void blk_ctx_destroy(struct blk_ctx *ctx); /* no node left; NULL is fine */

/* ---- opening ---- */

enum blk_aio { BLK_AIO_THREADS, BLK_AIO_NATIVE, BLK_AIO_IO_URING, BLK_NR_AIO };

/* What an open asks for.  Zero means: read-only, probe nothing (format must be
 * named), page cache, threads. */
struct blk_options {
	const char *path;   /* file, block device, nbd:// or nbd+unix:// */
	const char *format; /* "raw", "qcow2"; NULL probes */
	bool write, direct, no_flush;
	bool no_backing; /* leave the backing chain closed */
	bool no_lock;	 /* -U: skip image locking */
	bool check;	 /* open even when marked corrupt, to repair */
	enum blk_aio aio;
	bool discard_unmap;   /* discard=unmap */
	bool detect_zeroes;   /* writes of zeroes make no data */
	bool zeroes_unmap;    /* ... and give up space (needs discard_unmap) */
	uint64_t cache_len;   /* metadata budget in bytes, 0: default */
	const char *snapshot; /* internal snapshot to read, NULL: none */
	/* Filters to put in, the uppermost first (filter/filter.h). */
	const struct blk_filter_spec *filters;
};

/* [co] NULL with the reason in e.  A refused AIO backend, O_DIRECT or lock is
 * an error that lists what works; never a silent fallback. */
struct blk *blk_open(struct blk_ctx *ctx, const struct blk_options *o,
		     struct error *e);
/* [co] The same over a protocol node that is there already (o->path is not
 * used); takes the reference, also when it fails. */
struct blk *blk_open_over(struct blk *file, const struct blk_options *o,
			  struct error *e);
enum blk_prealloc {
	BLK_PREALLOC_OFF,
	BLK_PREALLOC_METADATA,
	BLK_PREALLOC_FALLOC,
	BLK_PREALLOC_FULL
};
/* [co] Makes a regular file of len bytes at path, emptied when it exists, for
 * a format's create; nbd:// names an export that exists already. */
int blk_make_file(struct blk_ctx *ctx, const char *path, uint64_t len,
		  enum blk_prealloc mode, struct error *e);
/* [co] Lets an image that is open for reading be written, as `commit` does
 * with a backing file, and ends that again (after a flush). */
int blk_set_write(struct blk *b, bool write, struct error *e);
struct blk *blk_ref(struct blk *b);
/* [co] Drops a reference; the last one flushes and closes. 0 or the -errno of
 * the last flush. NULL is fine. */
int blk_unref(struct blk *b);

/* ---- facts ---- */

uint64_t blk_len(const struct blk *b);	     /* [any] bytes, exact */
const char *blk_name(const struct blk *b);   /* as in messages */
const char *blk_format(const struct blk *b); /* "qcow2" */
bool blk_writable(const struct blk *b);
unsigned blk_align(const struct blk *b);      /* of requests, bytes; 1: any */
unsigned blk_cluster(const struct blk *b);    /* allocated at once; 1: any */
struct blk *blk_file(const struct blk *b);    /* protocol child or NULL */
struct blk *blk_backing(const struct blk *b); /* or NULL */
/* What the image itself says of its backing file; NULL when it has none. */
const char *blk_backing_name(const struct blk *b);
const char *blk_backing_format(const struct blk *b);
/* What a format keeps of its tables in memory. */
struct blk_cache_stats {
	uint64_t budget, used; /* bytes; struct blk_options.cache_len */
	uint64_t hits, misses;
};
/* [co] False when b or what is under its filters keeps none. */
bool blk_cache_stats(const struct blk *b, struct blk_cache_stats *out);
struct blk_ctx *blk_ctx_of(const struct blk *b);
/* The node below all filters; b itself when it is none. */
struct blk *blk_skip_filters(const struct blk *b);

/* ---- I/O: [co], 0 or -errno; any offset and length inside blk_len ----
 * A writable regular file (blk_file of an image) also takes writes past its
 * end, which make it longer, and reads as zeroes there. */

enum {
	BLK_FUA = 1,
	BLK_MAY_UNMAP = 2,
	BLK_NO_FALLBACK = 4,
	BLK_COMPRESSED = 8
};

int blk_readv(struct blk *b, uint64_t off, uint64_t len,
	      const struct iovec *iov, int nr_iov);
int blk_writev(struct blk *b, uint64_t off, uint64_t len,
	       const struct iovec *iov, int nr_iov, unsigned flags);
int blk_read(struct blk *b, uint64_t off, void *buf, size_t len);
int blk_write(struct blk *b, uint64_t off, const void *buf, size_t len,
	      unsigned flags);
int blk_write_zeroes(struct blk *b, uint64_t off, uint64_t len, unsigned flags);
int blk_discard(struct blk *b, uint64_t off, uint64_t len);
/* Everything completed before is on stable storage, metadata and all layers. */
int blk_flush(struct blk *b);
/* What is added reads as zeroes whenever the new length shows, after a crash
 * too, even where a backing file goes on. */
int blk_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
		 bool allow_shrink, struct error *e);

/* ---- block status (B01-B19) ---- */

enum {
	BLK_STATUS_DATA = 1,	     /* reads come from this layer's data */
	BLK_STATUS_ZERO = 2,	     /* reads as zeroes */
	BLK_STATUS_OFFSET_VALID = 4, /* *map is the host offset in *file */
	BLK_STATUS_RAW = 8,	     /* internal: ask the child */
	BLK_STATUS_ALLOCATED = 16,   /* this layer decides: DATA or ZERO here */
	BLK_STATUS_EOF = 32,	     /* the answer reaches this layer's end */
	BLK_STATUS_COMPRESSED = 64,
	BLK_STATUS_SOLID = 128, /* internal: the file has no holes there */
};

/*
 * [co] Status of the range that starts at off: flags (>= 0) or -errno; *pnum
 * bytes (<= len) share it.  EOF is set exactly when off + *pnum reaches the end
 * of this layer; at or past the end: EOF with *pnum 0; a range that crosses the
 * end is clamped.  map and file may be NULL.  For example, the bytes that b
 * itself holds, in one pass that asks nothing behind the end:
 *
 *	held = 0;
 *	st = 0;
 *	for (off = 0; !(st & BLK_STATUS_EOF); off += n) {
 *		st = blk_status(b, off, UINT64_MAX, &n, NULL, NULL);
 *		if (st < 0)
 *			return st;
 *		if (st & BLK_STATUS_ALLOCATED)
 *			held += n;
 *	}
 */
int blk_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
	       uint64_t *map, struct blk **file);
/*
 * [co] The same through the backing chain of b down to, not including, base
 * (NULL: all).  A shorter backing file reads as zeroes past its end, which
 * makes an unallocated tail ZERO.  Stops at the first layer where ZERO or DATA
 * is known.  *depth (optional): the layer that answered, 0 is b.
 */
int blk_status_above(struct blk *b, struct blk *base, uint64_t off,
		     uint64_t len, uint64_t *pnum, uint64_t *map,
		     struct blk **file, int *depth);

#endif
