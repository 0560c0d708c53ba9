/*
 * drive: a disk as a guest's controller sees it; hides image, format, cache
 * mode and I/O engine.
 *
 * Thread rule: a drive belongs to one loop.  Every call, and every completion,
 * runs on that loop's thread unless marked [any].  Offsets and lengths are
 * bytes.  The two switches of a cache mode: host cache (O_DIRECT or not) and
 * guest write cache (WCE): with WCE off each write completes only after it is
 * on stable storage.
 */
#ifndef CORE_BLK_DRIVE_H
#define CORE_BLK_DRIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/blk/blk.h"
#include "core/blk/cache_mode.h"

struct blk_job;
struct blk_job_config;
struct drive;
struct error;
struct layers;
struct layers_range;
struct ledger_change;
struct log;
struct loop;

/* Can the device model's guest interface speak of a write cache? */
enum drive_wce_cap { DRIVE_WCE_NEVER, DRIVE_WCE_ALWAYS, DRIVE_WCE_NEGOTIABLE };

/* What the controller can express; a drive can't be attached without it. */
struct drive_caps {
	const char *device; /* class name, for messages */
	enum drive_wce_cap wce;
	bool flush, fua, discard, write_zeroes;
};

#define DRIVE_SECTOR 512u

/* What becomes of a request that the host could not do (drive_errors.h). */
enum drive_on_error {
	DRIVE_ERROR_REPORT,  /* the guest is told */
	DRIVE_ERROR_NO_ROOM, /* kept if there is no space left, else told */
	DRIVE_ERROR_STOP,    /* kept, and done again when the guest goes on */
	DRIVE_ERROR_IGNORE   /* nobody is told */
};

struct drive_config {
	const char *path;
	const char *format; /* "raw", "qcow2"; NULL or "": raw, see below */
	enum drive_preset preset;
	bool preset_asked; /* by a person: refused where it can't be kept */
	enum blk_aio aio;
	bool readonly;
	bool scratch; /* writes go to an overlay that ends with the drive */
	/* What was not flushed is held in a model of a volatile cache, so that
	 * the power can be cut (blk/power/cut.h). */
	bool is_volatile;
	uint64_t cache_len; /* for an image's tables, bytes; 0: the default */
	const char *backing_folders; /* as struct blk_ctx_config has them */
	/* A write that no flush made stable for so long is flushed by the drive;
	 * 0: never.  Refused where flushes are ignored. */
	uint64_t max_unflushed_ns;
	/* A guest that writes for longer without a flush is named; 0: 5 min */
	uint64_t never_flush_ns;
	enum drive_on_error on_read_error, on_write_error;
};

enum drive_op {
	DRIVE_READ,
	DRIVE_WRITE,
	DRIVE_FLUSH,
	DRIVE_DISCARD,
	DRIVE_WRITE_ZEROES
};
#define DRIVE_NR_OPS (DRIVE_WRITE_ZEROES + 1)

/* Embedded by the caller's request: the hot path allocates nothing. */
struct drive_req {
	enum drive_op op;
	bool fua; /* WRITE: stable before completion */
	/* WRITE, WRITE_ZEROES: needn't be stable before completion, though WCE
	 * is off: the device tells nobody of it before its next FLUSH. */
	bool flush_follows;
	bool may_unmap;		 /* WRITE_ZEROES: may give space back */
	uint64_t off, len;	 /* bytes; len = total of iov for READ, WRITE */
	const struct iovec *iov; /* valid until done */
	int nr_iov;
	/* Runs exactly once, on the loop, never before drive_submit returned.
	 * res: 0 or -errno; -ECANCELED: the power was cut, there is nobody to
	 * be told. */
	void (*done)(struct drive_req *req, int res);
	void *opaque;
	/* The drive's own. */
	struct drive *drive;
	struct drive_req *next;
	int res;
	uint64_t start_ns;
	bool promised; /* that it is stable, to the guest */
	struct ledger_change *change;
	uint64_t asked;
	uint64_t nr;  /* grows with each submission */
	bool was_run; /* so that an error is the host's */
};

/* "writeback", "none", "writethrough", "directsync" or "unsafe"; empty is
 * writeback. 0, or -EINVAL with a sentence that lists them. */
int drive_preset_parse(const char *name, enum drive_preset *out,
		       struct error *e);

/* The same for "threads", "native" and "io_uring"; empty is threads. */
int drive_aio_parse(const char *name, enum blk_aio *out, struct error *e);

/* NULL with the reason in e (image locked, not there ...).  An empty path is a
 * CD-ROM drive without medium.  An image that is not raw needs its format
 * named.  Like every call but [any] on the loop, or before it starts. */
struct drive *drive_open(struct loop *loop, const struct drive_config *cfg,
			 struct log *log, struct error *e);
/* Drains first; NULL is fine.  The loop still exists. */
void drive_close(struct drive *d);

/* The one place that refuses a combination of cache mode and device: 0, or
 * -EINVAL with a sentence that names both and what would work. */
int drive_attach(struct drive *d, const struct drive_caps *caps,
		 struct error *e);
/* What its device said of itself then; NULL: no device has it. */
const struct drive_caps *drive_device_caps(const struct drive *d);

/* What suits the images, bytes, powers of two: a write that is no multiple of
 * align costs a read, a discard that is none of unit frees less. */
struct drive_limits {
	uint32_t align, unit;
};
void drive_limits(const struct drive *d, struct drive_limits *out);

uint64_t drive_len(const struct drive *d);  /* [any] bytes */
bool drive_readonly(const struct drive *d); /* [any] */
bool drive_wce(const struct drive *d);	    /* [any] as the guest has it */
/* [any] Can the guest have a write cache at all, on the device that it is
 * attached to? */
bool drive_may_cache(const struct drive *d);
/* [any] May a write complete before it is stable?  A person may have forced the
 * write cache off (drive_actions.h). */
bool drive_wce_now(const struct drive *d);
/* Counts for every write that has not completed yet.  Turned off, what was
 * written before is made stable too, by a flush of the drive's own. */
void drive_set_wce(struct drive *d, bool on);

/* Ranges outside the disk and misaligned ones complete with -EINVAL; writes to
 * a read-only drive with -EROFS; no medium with -ENOMEDIUM.  Ranges are whole
 * sectors (an image whose blocks are larger is read, changed and written).  Once the
 * host failed to make data stable, every later flush fails too: the host may
 * have forgotten which data that was.  What else the host could not do may be
 * kept and done again later (drive_errors.h). */
void drive_submit(struct drive *d, struct drive_req *req);
/* Returns with nothing in flight (what is kept after an error is not); serves
 * the loop's completions meanwhile.  Also by a thread that has stopped the world
 * which the loop is part of. */
void drive_drain(struct drive *d);
unsigned drive_in_flight(const struct drive *d); /* [any] */

/* Changes the medium of a CD-ROM; NULL path ejects. 0 or -errno. */
int drive_change_medium(struct drive *d, const char *path, struct error *e);
bool drive_has_medium(const struct drive *d); /* [any] */
/* [any] Grows with each change of medium. */
unsigned drive_medium_changes(const struct drive *d);

/* Runs fn in a coroutine of the drive's block layer, on the disk (blk/disk.h)
 * that the guest writes to, and serves the loop until it returns: its result,
 * or -ENOMEDIUM.  Like drive_drain also by who has stopped the world. */
int drive_run(struct drive *d, int (*fn)(struct blk *disk, void *arg),
	      void *arg, struct error *e);
/* Starts a job on the disk (blk/job.h); fills in cfg's disk and ended: the end
 * is told to the log. */
int drive_job_start(struct drive *d, struct blk_job_config *cfg,
		    struct error *e);
/* Serves the disk as it is now, for reading, at an NBD address; one at a time
 * (-EBUSY).  NULL ends it: -ENOENT when there is none. */
int drive_export(struct drive *d, const char *address, struct error *e);
/* [any] What the disk's images hold (blk/layers.h), as it was a moment ago:
 * looks again, beside the guest, when that was longer ago than max_age_ns or
 * another range was looked at (out->range). */
void drive_layers_copy(struct drive *d, const struct layers_range *range,
		       uint64_t max_age_ns, struct layers *out);
/* [any] The job that was started last, with a reference; NULL: none was. */
struct blk_job *drive_job(struct drive *d);

struct drive_stats {
	uint64_t reads, writes, flushes, read_bytes, write_bytes, errors;
};
void drive_stats_copy(struct drive *d, struct drive_stats *out); /* [any] */

#endif
