/*
 * Cache modes as the host sees them: which files are open with O_DIRECT (C02),
 * what stays in the host's page cache (C11), and that `none` and `writeback`
 * are one thing to the guest (C10).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/drive.h"
#include "core/error.h"
#include "core/loop.h"
#include "core/world.h"

#define DISK_LEN (1u << 20)
#define AT	 (64u << 10)
#define LEN	 (64u << 10)

static const struct row {
	const char *name;
	bool host_cache, wce;
} rows[] = {
	{"writeback", true, true},     {"none", false, true},
	{"writethrough", true, false}, {"directsync", false, false},
	{"unsafe", true, true},
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

struct fixture {
	char dir[64], path[96];
	struct world *world;
	struct loop *loop;
	struct drive_config cfg;
	struct drive *drive;
	struct drive_req req;
	struct iovec iov;
	struct error e;
	int done_fd, res;
	uint8_t *buf;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");
	int fd;

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "%.40s/cache-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/a.img", f->dir);
	fd = open(f->path, O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_LEN), 0);
	close(fd);
	assert_int_equal(posix_memalign((void **)&f->buf, 4096, LEN), 0);
	memset(f->buf, 7, LEN);
	f->world = world_create();
	f->loop = loop_create("test", f->world, &f->e);
	assert_non_null(f->loop);
	assert_int_equal(loop_start(f->loop, &f->e), 0);
	f->done_fd = eventfd(0, EFD_CLOEXEC);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_destroy(f->loop);
	world_destroy(f->world);
	unlink(f->path);
	rmdir(f->dir);
	close(f->done_fd);
	free(f->buf);
	free(f);
	return 0;
}

static void do_open(void *arg)
{
	static const struct drive_caps caps = {
		.device = "test-disk",
		.wce = DRIVE_WCE_NEGOTIABLE,
		.flush = true,
	};
	struct fixture *f = arg;

	f->drive = drive_open(f->loop, &f->cfg, NULL, &f->e);
	if (f->drive && drive_attach(f->drive, &caps, &f->e)) {
		drive_close(f->drive);
		f->drive = NULL;
	}
}

static void do_close(void *arg)
{
	struct fixture *f = arg;

	drive_close(f->drive);
	f->drive = NULL;
}

/* False: this file system has no O_DIRECT. */
static bool open_drive(struct fixture *f, const char *preset)
{
	f->cfg = (struct drive_config){.path = f->path, .format = "raw"};
	assert_int_equal(drive_preset_parse(preset, &f->cfg.preset, &f->e), 0);
	loop_call(f->loop, do_open, f);
	if (!f->drive && strstr(f->e.msg, "O_DIRECT"))
		return false;
	if (!f->drive)
		fail_msg("%s: %s", preset, f->e.msg);
	return true;
}

static void on_done(struct drive_req *req, int res)
{
	struct fixture *f = req->opaque;
	uint64_t one = 1;

	f->res = res;
	assert_int_equal(write(f->done_fd, &one, sizeof(one)), sizeof(one));
}

static void do_submit(void *arg)
{
	struct fixture *f = arg;

	drive_submit(f->drive, &f->req);
}

static void write_data(struct fixture *f)
{
	uint64_t n;

	f->iov = (struct iovec){f->buf, LEN};
	f->req = (struct drive_req){.op = DRIVE_WRITE,
				    .off = AT,
				    .len = LEN,
				    .iov = &f->iov,
				    .nr_iov = 1,
				    .done = on_done,
				    .opaque = f};
	loop_call(f->loop, do_submit, f);
	assert_int_equal(read(f->done_fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(f->res, 0);
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
		loop_call(f->loop, do_close, f);
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
		loop_call(f->loop, do_close, f);
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
