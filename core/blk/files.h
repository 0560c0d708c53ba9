/*
 * files: the host's files that are open for a disk: how, and what of them is in
 * the host's page cache; for people to look at.
 *
 * Thread rule: [co] on the disk's loop.
 */
#ifndef CORE_BLK_FILES_H
#define CORE_BLK_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/blk/page_cache.h"

struct blk;

#define FILES_MAX 8

struct file_facts {
	char path[256]; /* its end, when longer */
	unsigned layer; /* 0: of the image that the guest writes to */
	int flags;	/* fcntl(F_GETFL); -1: not a file of this host */
	bool is_device, no_flush;
	const char *aio; /* static; NULL: not a file of this host */
	uint64_t len;	 /* bytes */
	/* How it is known; of the first looked bytes. */
	enum page_cache_source source;
	uint64_t looked;
	struct page_cache cache;
};

struct files {
	unsigned nr;	/* filled in */
	unsigned total; /* open for the disk */
	struct file_facts file[FILES_MAX];
};

/* Asks the host on a worker, in steps; ends early with what is known when *stop
 * becomes true. */
void files_look(struct blk *disk, const bool *stop, struct files *out);

#endif
