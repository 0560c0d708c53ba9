/*
 * drive_errors: what becomes of a request that the host could not do.
 *
 * A person chooses for reads and for all else (writes, flushes, discards): the
 * guest is told; the request is kept, and the owner of the drive told, who
 * pauses the guest until someone has made room; or nobody is told.
 *
 * While a request is kept, new ones are kept too, behind it.  Kept requests are
 * not in flight: a drain does not wait for them.  Their buffers stay valid, as
 * for any request that is not done.  They end in one of two ways: drive_retry
 * does them again in the order in which they were submitted, or drive_give_up
 * ends them with -ECANCELED, for a guest that will never hear of them.  Neither
 * the medium's change nor a job ends them.
 *
 * A flush that failed is done again only when the host has forgotten no data:
 * when making an image's tables ready for it found no room.  After a failed
 * fdatasync the host may have forgotten which pages were not written: then the
 * owner is told, once, and when the machine goes on this flush, and every later
 * one, fails for the guest too; so does a write that fails as the sync did.  A
 * write that finds no room is kept then as before.
 *
 * Thread rule: as drive.h.
 */
#ifndef CORE_BLK_DRIVE_ERRORS_H
#define CORE_BLK_DRIVE_ERRORS_H

#include "core/blk/drive.h"

/* "enospc", "report", "stop" or "ignore"; empty: enospc. 0, or -EINVAL with a
 * sentence that lists them. */
int drive_werror_parse(const char *name, enum drive_on_error *out,
		       struct error *e);
/* "report", "stop" or "ignore"; empty: report. */
int drive_rerror_parse(const char *name, enum drive_on_error *out,
		       struct error *e);

/* fn is told when the first request is kept, on the drive's loop (or by who
 * drains): it looks by drive_trouble_copy, from wherever it likes, and may not
 * touch the drive.  Without fn, and with NULL, nothing is kept. */
void drive_listen(struct drive *d, void (*fn)(void *arg), void *arg);

struct drive_trouble {
	unsigned kept;	  /* requests; 0: there is no trouble now */
	enum drive_op op; /* the first one's */
	int error;	  /* as errno has it */
	bool is_lost;	  /* written data may be gone: no retry helps */
	/* Since the drive was opened. */
	uint64_t stops;	  /* times that the owner was told */
	uint64_t ignored; /* requests that failed and nobody was told of */
};
void drive_trouble_copy(struct drive *d, struct drive_trouble *out); /* [any] */

/* "write" */
const char *drive_op_name(enum drive_op op);

/* Does what is kept again.  What fails again is kept again. */
void drive_retry(struct drive *d);
/* On: the guest is gone: what is kept ends with -ECANCELED, and so does what
 * fails until it is off again, and a device's next step of what it had begun. */
void drive_give_up(struct drive *d, bool on);

/* ---- for drive.c ---- */

/* A request failed: is it kept?  Else res may have become another. */
bool drive_keep(struct drive *d, struct drive_req *req);
/* Behind those that are kept. */
void drive_keep_new(struct drive *d, struct drive_req *req);
/* A flush failed with res: may a later one make the same data stable? */
bool drive_may_reflush(const struct drive *d, int res);

#endif
