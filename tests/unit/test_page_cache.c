/* What the host's page cache holds of a file, asked in both ways. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/page_cache.h"

#define LEN (1u << 20)

struct fixture {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->path, "/tmp/test_page_cache.XXXXXX");
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, 2 * LEN), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->fd);
	unlink(f->path);
	free(f);
	return 0;
}

static void fill(struct fixture *f)
{
	static uint8_t buf[LEN];

	memset(buf, 7, sizeof(buf));
	assert_int_equal(pwrite(f->fd, buf, LEN, 0), LEN);
}

/* True when the pages are really dropped: not in a file system of memory. */
static int drop(struct fixture *f)
{
	struct page_cache c = {0};

	assert_int_equal(fsync(f->fd), 0);
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	assert_int_equal(
		page_cache_look(PAGE_CACHE_MINCORE, f->fd, 0, 2 * LEN, &c), 0);
	return !c.cached;
}

static uint64_t cached(struct fixture *f, enum page_cache_source how,
		       uint64_t off, uint64_t len)
{
	struct page_cache c = {0};
	int ret = page_cache_look(how, f->fd, off, len, &c);

	if (ret == -ENOSYS) {
		print_message("SKIP: this kernel has no cachestat\n");
		skip();
	}
	assert_int_equal(ret, 0);
	return c.cached;
}

static void both_count_the_same_pages(void **state)
{
	static const enum page_cache_source all[] = {PAGE_CACHE_MINCORE,
						     PAGE_CACHE_CACHESTAT};
	struct fixture *f = *state;

	fill(f);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(cached(f, all[i], 0, 2 * LEN), LEN);
		assert_int_equal(cached(f, all[i], LEN, LEN), 0);
		assert_int_equal(cached(f, all[i], LEN / 2, LEN), LEN / 2);
		assert_int_equal(cached(f, all[i], 0, 0), 0);
	}
}

static void dropped_pages_are_gone(void **state)
{
	struct fixture *f = *state;

	fill(f);
	if (!drop(f)) {
		print_message("SKIP: this file system keeps its pages\n");
		skip();
	}
	assert_int_equal(cached(f, PAGE_CACHE_CACHESTAT, 0, 2 * LEN), 0);
	fill(f);
	assert_int_equal(cached(f, PAGE_CACHE_CACHESTAT, 0, 2 * LEN), LEN);
}

static void only_cachestat_knows_dirty_pages(void **state)
{
	struct fixture *f = *state;
	struct page_cache c = {0};

	fill(f);
	assert_int_equal(fsync(f->fd), 0);
	cached(f, PAGE_CACHE_CACHESTAT, 0, LEN);
	page_cache_look(PAGE_CACHE_CACHESTAT, f->fd, 0, 2 * LEN, &c);
	if (c.dirty) {
		print_message("SKIP: this file system keeps dirty pages\n");
		skip();
	}
	/* The host may write them at once: try until we are faster. */
	for (int i = 0; i < 1000 && !c.dirty; i++) {
		fill(f);
		c = (struct page_cache){0};
		page_cache_look(PAGE_CACHE_CACHESTAT, f->fd, 0, 2 * LEN, &c);
	}
	assert_true(c.dirty > 0);
	assert_true(c.dirty <= c.cached);
	c = (struct page_cache){0};
	page_cache_look(PAGE_CACHE_MINCORE, f->fd, 0, 2 * LEN, &c);
	assert_int_equal(c.dirty, 0);
	assert_true(c.cached > 0);
}

static void what_is_no_file_is_refused(void **state)
{
	struct page_cache c = {0};

	(void)state;
	assert_true(page_cache_look(PAGE_CACHE_CACHESTAT, -1, 0, LEN, &c) < 0);
	assert_true(page_cache_look(PAGE_CACHE_MINCORE, -1, 0, LEN, &c) < 0);
	assert_int_equal(page_cache_look(PAGE_CACHE_UNKNOWN, 0, 0, LEN, &c),
			 -ENOSYS);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(both_count_the_same_pages),
		T(dropped_pages_are_gone),
		T(only_cachestat_knows_dirty_pages),
		T(what_is_no_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
