/*
 * Cache modes as the host sees them: which files are open with O_DIRECT (C02),
 * what stays in the host's page cache (C11), and that `none` and `writeback`
 * are one thing to the guest (C10).
 */
#include <dirent.h>
#include <sys/mman.h>

#include "tests/unit/drive_bench.h"

#define AT  (64u << 10)
#define LEN (64u << 10)

static const struct row {
	const char *name;
	bool host_cache, wce;
} rows[] = {
	{"writeback", true, true},     {"none", false, true},
	{"writethrough", true, false}, {"directsync", false, false},
	{"unsafe", true, true},
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

/* False: this file system has no O_DIRECT. */
static bool open_drive(struct fixture *f, const char *name)
{
	enum drive_preset preset;

	assert_int_equal(drive_preset_parse(name, &preset, &f->e), 0);
	f->drive = open_with(f, preset, false);
	if (!f->drive && strstr(f->e.msg, "O_DIRECT"))
		return false;
	if (!f->drive)
		fail_msg("%s: %s", name, f->e.msg);
	return true;
}

static void write_data(struct fixture *f)
{
	static uint8_t buf[LEN] __attribute__((aligned(4096)));

	memset(buf, 7, sizeof(buf));
	assert_int_equal(run(f, DRIVE_WRITE, buf, AT, LEN), 0);
}

/* The flags with which this process has the image open for its data; locks
 * are held by another descriptor, which reads and writes nothing. */
static int open_flags(struct fixture *f)
{
	DIR *d = opendir("/proc/self/fd");
	int flags = -1, seen = -1;
	struct dirent *entry;

	assert_non_null(d);
	while ((entry = readdir(d))) {
		char name[300], to[300], line[100];
		ssize_t n;
		FILE *info;

		snprintf(name, sizeof(name), "/proc/self/fd/%s", entry->d_name);
		n = readlink(name, to, sizeof(to) - 1);
		if (n < 0 || (to[n] = 0, strcmp(to, f->path)))
			continue;
		snprintf(name, sizeof(name), "/proc/self/fdinfo/%s",
			 entry->d_name);
		info = fopen(name, "r");
		assert_non_null(info);
		while (fgets(line, sizeof(line), info))
			if (sscanf(line, "flags: %o", (unsigned *)&seen) == 1 &&
			    (seen & O_ACCMODE) == O_RDWR)
				flags = seen;
		fclose(info);
	}
	closedir(d);
	assert_true(flags >= 0);
	return flags;
}

static bool is_cached(struct fixture *f)
{
	int fd = open(f->path, O_RDWR);
	unsigned char pages[LEN / 4096] = {0};
	void *p;

	assert_true(fd >= 0);
	p = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, AT);
	assert_true(p != MAP_FAILED);
	assert_int_equal(mincore(p, LEN, pages), 0);
	munmap(p, LEN);
	close(fd);
	return pages[0] & 1;
}

static void the_host_cache_is_used_or_not(void **state)
{
	struct fixture *f = *state;
	unsigned seen = 0;

	for (unsigned i = 0; i < NR_ROWS; i++) {
		int fd = open(f->path, O_RDWR);

		assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED),
				 0);
		close(fd);
		if (!open_drive(f, rows[i].name)) {
			assert_false(rows[i].host_cache);
			continue;
		}
		write_data(f);
		assert_int_equal(!(open_flags(f) & O_DIRECT),
				 rows[i].host_cache);
		assert_int_equal(is_cached(f), rows[i].host_cache);
		close_drive(f);
		fd = open(f->path, O_RDWR);
		assert_int_equal(fsync(fd), 0);
		close(fd);
		seen++;
	}
	if (seen < NR_ROWS) {
		printf("SKIP: the file system of %s has no O_DIRECT\n", f->dir);
		skip();
	}
}

static void the_guest_sees_its_own_switch(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < NR_ROWS; i++) {
		if (!open_drive(f, rows[i].name))
			continue;
		assert_int_equal(drive_wce(f->drive), rows[i].wce);
		close_drive(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_host_cache_is_used_or_not,
						setup, teardown),
		cmocka_unit_test_setup_teardown(the_guest_sees_its_own_switch,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
