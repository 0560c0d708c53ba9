/*
 * cache_mode: what a disk's cache mode does and what it means for the data.
 *
 * The one table that the drive runs on, and that help, manual and screens show.
 * Thread rule: [any].
 */
#ifndef CORE_BLK_CACHE_MODE_H
#define CORE_BLK_CACHE_MODE_H

#include <stdbool.h>

enum drive_preset {
	DRIVE_WRITEBACK,
	DRIVE_NONE,
	DRIVE_WRITETHROUGH,
	DRIVE_DIRECTSYNC,
	DRIVE_UNSAFE,
	DRIVE_NR_PRESETS
};

struct cache_mode {
	const char *name;
	bool direct;	   /* past the host's page cache */
	bool wce;	   /* the guest sees a write cache at first */
	bool ignore_flush; /* its flushes do nothing */
};

extern const struct cache_mode cache_modes[DRIVE_NR_PRESETS];

/* What may happen to a disk that is written to. */
enum cache_event {
	CACHE_GUEST_CRASH,
	CACHE_OUR_CRASH, /* this program dies */
	CACHE_HOST_CRASH,
	CACHE_POWER_LOSS,
	CACHE_NR_EVENTS
};

enum cache_fate {
	CACHE_ALL,     /* every write that completed is there */
	CACHE_FLUSHED, /* every write that a completed flush followed is */
	CACHE_NOTHING  /* any write may be missing */
};

/* wce: as the guest has it now.  is_raw: a format keeps no tables in memory. */
enum cache_fate cache_fate(const struct cache_mode *mode, bool wce, bool is_raw,
			   enum cache_event event);

const char *cache_event_name(enum cache_event event); /* "power loss" */
/* "every write that completed is there" */
const char *cache_fate_text(enum cache_fate fate);

/* The i-th line of a table of all that for people, at most 78 columns; NULL
 * past the last. text has room for 128 bytes. */
const char *cache_mode_help(unsigned i, char *text);

#endif
