/*
 * page_cache: how much of a file is in the host's page cache.
 *
 * Linux 6.5 has cachestat(2), which knows dirty pages; before that mincore(2)
 * tells which pages are there, and nothing more.
 *
 * Thread rule: [any]; the calls sleep: on a worker.
 */
#ifndef CORE_BLK_PAGE_CACHE_H
#define CORE_BLK_PAGE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

enum page_cache_source {
	PAGE_CACHE_UNKNOWN,
	PAGE_CACHE_CACHESTAT,
	PAGE_CACHE_MINCORE
};
/* "cachestat"; empty when unknown. */
const char *page_cache_source_name(enum page_cache_source source);

struct page_cache {
	uint64_t cached; /* bytes, whole pages */
	uint64_t dirty;	 /* not yet on the disk; 0 where mincore tells */
};

/* Adds what is cached of [off, off + len) to *out, off a multiple of the page
 * size.  0; -ENOSYS when the host's kernel can't tell this way, -EPERM when it
 * doesn't tell us. */
int page_cache_look(enum page_cache_source how, int fd, uint64_t off,
		    uint64_t len, struct page_cache *out);

#endif
