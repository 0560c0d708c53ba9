#include "core/blk/page_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same on every architecture; older headers don't have it. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* As the kernel has them. */
struct range {
	uint64_t off, len;
};

struct stat_pages {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

const char *page_cache_source_name(enum page_cache_source source)
{
	static const char *const names[] = {
		[PAGE_CACHE_UNKNOWN] = "",
		[PAGE_CACHE_CACHESTAT] = "cachestat",
		[PAGE_CACHE_MINCORE] = "mincore",
	};

	return names[source];
}

static uint64_t page_len(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int by_cachestat(int fd, uint64_t off, uint64_t len,
			struct page_cache *out)
{
	struct range range = {off, len};
	struct stat_pages pages = {0};

	if (syscall(SYS_cachestat, fd, &range, &pages, 0))
		return -errno;
	out->cached += pages.cached * page_len();
	/* What is on its way is not there yet. */
	out->dirty += (pages.dirty + pages.writeback) * page_len();
	return 0;
}

/* Others are told that every page is there: a page cache betrays its users. */
static bool may_know(int fd)
{
	char path[32];
	struct stat st;

	if (fstat(fd, &st))
		return false;
	if (!geteuid() || st.st_uid == geteuid())
		return true;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return !access(path, W_OK);
}

static int by_mincore(int fd, uint64_t off, uint64_t len,
		      struct page_cache *out)
{
	uint64_t nr = (len + page_len() - 1) / page_len();
	unsigned char *pages = NULL;
	void *map;
	int ret = 0;

	if (!may_know(fd))
		return -EPERM;
	map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)off);
	if (map == MAP_FAILED)
		return -errno;
	pages = malloc(nr);
	if (!pages || mincore(map, len, pages))
		ret = pages ? -errno : -ENOMEM;
	for (uint64_t i = 0; i < nr && !ret; i++)
		out->cached += pages[i] & 1 ? page_len() : 0;
	free(pages);
	munmap(map, len);
	return ret;
}

int page_cache_look(enum page_cache_source how, int fd, uint64_t off,
		    uint64_t len, struct page_cache *out)
{
	if (!len)
		return 0;
	if (how == PAGE_CACHE_CACHESTAT)
		return by_cachestat(fd, off, len, out);
	if (how == PAGE_CACHE_MINCORE)
		return by_mincore(fd, off, len, out);
	return -ENOSYS;
}
