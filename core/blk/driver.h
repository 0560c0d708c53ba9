/*
 * driver: what a node type brings: a format, a protocol, a filter.
 *
 * One type is one file or folder that exports one const struct blk_driver; the
 * list is core/blk/drivers.c.  The generic layer checks ranges, clamps at the
 * end, aligns (bounce, read-modify-write), tracks requests, counts, and answers
 * what a type leaves out; a type sees only well-formed calls.
 *
 * Thread rule: every slot runs in a coroutine of the node's loop.
 */
#ifndef CORE_BLK_DRIVER_H
#define CORE_BLK_DRIVER_H

#include "core/blk/blk.h"
#include "core/blk/co.h"

struct blk_request;

/* What a node is made of. */
struct blk {
	const struct blk_driver *drv;
	struct blk_ctx *ctx;
	char *name; /* path, for messages */
	void *priv; /* drv->priv_len zeroed bytes */
	struct blk *file, *backing, *data_file;
	/* What the image says of its backing file; open() of the format fills
	 * them (malloced), the graph opens it. */
	char *backing_name, *backing_format;
	uint64_t len;	   /* exact bytes */
	uint64_t dev, ino; /* of a host file; ino 0: not known */
	unsigned align;	   /* request alignment, power of two, 1: any */
	unsigned cluster;  /* bytes that a format allocates at once, 1: any */
	/* A filter passes what is below through its file child, and is a
	 * protocol when that is one.  fua: writev honours BLK_FUA itself. */
	bool write, is_protocol, is_filter, fua;
	unsigned refs, in_flight;
	struct co_queue drained;
	uint64_t write_gen, flushed_gen;
	uint64_t merged_flushes; /* there was nothing left to do for them */
	struct co_mutex flushing;
	int flush_error;	      /* data was lost once: sticky */
	struct blk_request *requests; /* writes in flight, when align > 1 */
	struct blk_options options;
};

struct blk_driver {
	const char *name;
	size_t priv_len;
	bool is_filter; /* open() finds its own words in o->filters */
	/* Mandatory. b->file is open already for formats. */
	int (*open)(struct blk *b, const struct blk_options *o,
		    struct error *e);
	void (*close)(struct blk *b);
	/* Mandatory unless the type is pure metadata: [off, off+len) aligned. */
	int (*readv)(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr);
	/* Optional: without it the node is read-only. */
	int (*writev)(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags);
	/* Optional: -ENOTSUP makes the generic layer write zeroes. */
	int (*write_zeroes)(struct blk *b, uint64_t off, uint64_t len,
			    unsigned flags);
	int (*discard)(struct blk *b, uint64_t off,
		       uint64_t len); /* optional */
	int (*flush)(struct blk *b);  /* optional */
	bool flushes_file;	      /* flush() does so to b->file too */
	/* Optional: without it DATA|ALLOCATED (B04). */
	int (*status)(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		      uint64_t *map, struct blk **file);
	/* Optional. */
	void (*cache_stats)(struct blk *b, struct blk_cache_stats *out);
	/* Optional: reopens for writing, or for reading only. */
	int (*set_write)(struct blk *b, bool write, struct error *e);
	int (*truncate)(struct blk *b, uint64_t len, enum blk_prealloc mode,
			bool allow_shrink, struct error *e); /* optional */
};

/* Opens a file that the image b names (backing, external data): resolves the
 * name beside b, refuses what lies outside the allowed folders.  format NULL
 * probes; "file" gives the protocol node itself. */
struct blk *blk_open_named(struct blk *b, const char *name, const char *format,
			   bool write, struct error *e);

/* [co] A filter of type drv over b, whose reference it takes, also when it fails
 * (NULL with the reason in e).  The driver's open() finds b->file there. */
struct blk *blk_filter_open(struct blk *b, const struct blk_driver *drv,
			    struct error *e);

/* [co] Puts another backing node (NULL: none), whose reference it takes, below
 * b at a moment when no request of b is on its way, and drops the old one.  The
 * image itself is told by the format's set_backing.  0 or -errno of closing. */
int blk_replace_backing(struct blk *b, struct blk *backing);

/* A request of b is on its way: b and its links stay until it ends. */
static inline void blk_request_begin(struct blk *b)
{
	b->in_flight++;
}

static inline void blk_request_end(struct blk *b)
{
	if (!--b->in_flight)
		co_wake_all(&b->drained);
}

extern const struct blk_driver blk_file_driver, blk_raw_driver,
	blk_qcow2_driver, blk_nbd_driver;

/* drivers.c: NULL when there is none of that name. */
const struct blk_driver *blk_driver_find(const char *name);

#endif
