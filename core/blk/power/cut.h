/*
 * cut: the power of a drive goes, and comes back.
 *
 * A drive that was opened with is_volatile holds what was not flushed in a
 * model of a volatile cache (filter/volatile.h) right over the file of its
 * image, so that a format's tables are in it too; a ledger (ledger.h) notes
 * what the guest was promised.  Nothing of this costs a drive without it more
 * than a test.
 *
 * Thread rule: as drive.h.
 */
#ifndef CORE_BLK_POWER_CUT_H
#define CORE_BLK_POWER_CUT_H

#include "core/blk/drive.h"
#include "core/blk/filter/volatile.h"
#include "core/blk/power/ledger.h"

/* What a cut did to a drive. */
struct drive_cut {
	unsigned in_flight;  /* requests that nobody will hear of */
	uint64_t held_bytes; /* that no flush had covered, tables included */
	enum cache_fate promise; /* what the cache mode keeps at a power loss */
	struct ledger_facts facts;
	uint64_t table_errors; /* that a check of the image finds */
	bool is_destroyed; /* it could not be opened: an empty one is there */
};

/* Can it be cut?  0, or -errno with a sentence that names the disk. */
int drive_cut_check(struct drive *d, struct error *e);

/* Cuts the power: requests on their way end with -ECANCELED and of what was not
 * flushed arrives what the mode and the seed say.  Then the image is closed and
 * opened anew, as after a real power cut, with the cache as the drive was
 * configured, and compared with what was promised.  Like drive_drain also by who
 * has stopped the world.  -errno: the image could not be written, opened or
 * read; the drive holds no medium then. */
int drive_cut_power(struct drive *d, enum blk_cut mode, unsigned seed,
		    struct drive_cut *out, struct error *e);

/* Is less there than the cache mode promises? */
bool drive_cut_is_broken(const struct drive_cut *cut);
/* The verdict in words; text has room for 160 bytes. */
const char *drive_cut_verdict(const struct drive_cut *cut, char *text);

/* ---- for drive.c: a drive with a ledger ---- */

/* [co] drive_perform with what the ledger must know of it. */
int drive_watch(struct drive *d, struct drive_req *req);
/* The guest is about to be told. */
void drive_watch_end(struct drive *d, struct drive_req *req);
/* [co] A drive_wrap_fn; arg: the drive. */
struct blk *drive_watch_wrap(void *arg, struct blk *file, struct error *e);

#endif
