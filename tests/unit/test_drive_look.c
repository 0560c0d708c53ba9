/* What a drive shows of the files under it. */
#include "core/blk/drive_actions.h"
#include "core/blk/drive_parts.h"
#include "tests/unit/drive_bench.h"

#define BIG (256u << 10)

static void write_much(struct fixture *f)
{
	static uint8_t buf[BIG] __attribute__((aligned(4096)));

	memset(buf, 3, sizeof(buf));
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, sizeof(buf)), 0);
}

static void a_file_tells_its_flags(void **state)
{
	static const struct {
		enum drive_preset preset;
		bool direct, no_flush;
	} rows[] = {
		{DRIVE_WRITEBACK, false, false},
		{DRIVE_NONE, true, false},
		{DRIVE_WRITETHROUGH, false, false},
		{DRIVE_DIRECTSYNC, true, false},
		{DRIVE_UNSAFE, false, true},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < 5; i++) {
		struct drive_look look;
		const struct file_facts *file = &look.files.file[0];

		open_preset(f, rows[i].preset);
		look = look_at(f);
		assert_int_equal(look.files.nr, 1);
		assert_int_equal(look.files.total, 1);
		assert_string_equal(file->path, f->path);
		assert_int_equal(!!(file->flags & O_DIRECT), rows[i].direct);
		assert_int_equal(file->flags & O_ACCMODE, O_RDWR);
		assert_int_equal(file->no_flush, rows[i].no_flush);
		assert_string_equal(file->aio, "threads");
		assert_int_equal(file->len, DISK_LEN);
		assert_int_equal(file->looked, DISK_LEN);
		close_drive(f);
	}
}

static void the_page_cache_is_seen(void **state)
{
	struct fixture *f = *state;
	struct drive_look look;

	open_preset(f, DRIVE_WRITEBACK);
	write_much(f);
	look = look_at(f);
	assert_true(look.files.file[0].source != PAGE_CACHE_UNKNOWN);
	assert_true(look.files.file[0].cache.cached >= BIG);
}

static void past_the_cache_nothing_stays_there(void **state)
{
	struct fixture *f = *state;
	struct drive_look look;

	open_preset(f, DRIVE_NONE);
	write_much(f);
	look = look_at(f);
	assert_int_equal(look.files.file[0].cache.cached, 0);
	assert_int_equal(look.files.file[0].cache.dirty, 0);
}

struct glance {
	struct drive *drive;
	bool is_looking;
};

/* Runs after what was asked for before has begun. */
static void do_glance(void *arg)
{
	struct glance *g = arg;

	g->is_looking = g->drive->looking;
}

static void wait_until_nobody_looks(struct fixture *f)
{
	struct glance g = {f->drive, true};

	for (int i = 0; i < DRIVE_PATIENCE_MS; i++) {
		loop_call(f->loop, do_glance, &g);
		if (!g.is_looking)
			return;
		usleep(1000);
	}
	fail_msg("a look does not end");
}

static void nobody_looks_unasked_or_too_often(void **state)
{
	struct fixture *f = *state;
	struct drive_look first, second;

	open_preset(f, DRIVE_WRITEBACK);
	look_at(f);
	/* One more may be on its way. */
	wait_until_nobody_looks(f);
	drive_look_copy(f->drive, UINT64_MAX, &first);
	for (int i = 0; i < 50; i++) {
		drive_look_copy(f->drive, UINT64_MAX, &second);
		assert_int_equal(second.taken_ns, first.taken_ns);
		usleep(1000);
	}
}

static void a_drive_closes_while_it_is_looked_at(void **state)
{
	struct fixture *f = *state;
	struct drive_look look;

	for (int i = 0; i < 20; i++) {
		open_preset(f, DRIVE_WRITEBACK);
		drive_look_copy(f->drive, 0, &look);
		close_drive(f);
	}
}

static void an_empty_drive_has_no_files(void **state)
{
	struct fixture *f = *state;
	struct drive_config cfg = {.path = "", .readonly = true};
	struct drive_look look;

	f->drive = open_config(f, &cfg);
	drive_look_copy(f->drive, 0, &look);
	wait_until_nobody_looks(f);
	drive_look_copy(f->drive, 0, &look);
	assert_int_equal(look.files.nr, 0);
	assert_int_equal(look.taken_ns, 0);
}

/* ---- block devices ---- */

/* One test runs at a time. */
static struct loop_device {
	char name[32]; /* "loop0"; empty: none */
	char image[96];
} loop_device;

static bool loop_device_make(struct loop_device *l, struct fixture *f)
{
	char cmd[320], line[64] = "";
	FILE *pipe;

	snprintf(l->image, sizeof(l->image), "%s/device.img", f->dir);
	snprintf(cmd, sizeof(cmd),
		 "truncate -s 1M '%s' && losetup -f --show '%s' 2>/dev/null",
		 l->image, l->image);
	pipe = popen(cmd, "r");
	assert_non_null(pipe);
	if (!fgets(line, sizeof(line), pipe))
		line[0] = '\0';
	pclose(pipe);
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "/dev/", 5) != 0)
		return false;
	snprintf(l->name, sizeof(l->name), "%.31s", line + 5);
	return true;
}

static int teardown_device(void **state)
{
	char cmd[64];
	int ret = 0;

	close_drive(*state);
	if (*loop_device.name) {
		snprintf(cmd, sizeof(cmd), "losetup -d /dev/%s",
			 loop_device.name);
		ret = system(cmd);
	}
	loop_device.name[0] = '\0';
	return teardown(state) || ret;
}

/* Completed flushes of a device; -1 where the kernel doesn't count them. */
static long flushes_of(const struct loop_device *l)
{
	char path[64];
	long value = -1, n = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", l->name);
	file = fopen(path, "r");
	assert_non_null(file);
	for (int i = 0; i < 16 && fscanf(file, "%ld", &value) == 1; i++)
		n = i == 15 ? value : -1;
	fclose(file);
	return n;
}

static void use_device(struct fixture *f, const struct loop_device *l,
		       enum drive_preset preset)
{
	bool direct = preset == DRIVE_NONE;
	struct drive_look look;
	long before;

	open_preset(f, preset);
	before = flushes_of(l);
	write_much(f);
	look = look_at(f);
	assert_true(look.files.file[0].is_device);
	assert_int_equal(!!(look.files.file[0].flags & O_DIRECT), direct);
	assert_true(look.files.file[0].source != PAGE_CACHE_UNKNOWN);
	if (direct)
		assert_int_equal(look.files.file[0].cache.dirty, 0);
	else
		assert_true(look.files.file[0].cache.cached >= BIG);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	if (before >= 0)
		assert_true(flushes_of(l) > before);
	assert_int_equal(look_at(f).files.file[0].cache.dirty, 0);
	close_drive(f);
}

static void a_flush_reaches_the_device(void **state)
{
	struct fixture *f = *state;
	struct loop_device *l = &loop_device;

	if (!loop_device_make(l, f)) {
		print_message("SKIP: no loop device\n");
		skip();
	}
	snprintf(f->path, sizeof(f->path), "/dev/%.31s", l->name);
	use_device(f, l, DRIVE_NONE);
	use_device(f, l, DRIVE_WRITEBACK);
}

struct growth {
	struct drive *drive;
	uint64_t len;
	struct error e;
	int ret;
};

static void do_grow(void *arg)
{
	struct growth *g = arg;

	g->ret = drive_grow(g->drive, g->len, &g->e);
}

static void a_disk_follows_its_device(void **state)
{
	struct fixture *f = *state;
	struct loop_device *l = &loop_device;
	struct growth g = {.len = 2 * DISK_LEN};
	char cmd[256];

	if (!loop_device_make(l, f)) {
		print_message("SKIP: no loop device\n");
		skip();
	}
	snprintf(f->path, sizeof(f->path), "/dev/%.31s", l->name);
	open_preset(f, DRIVE_WRITEBACK);
	g.drive = f->drive;
	loop_call(f->loop, do_grow, &g);
	assert_int_equal(g.ret, -ENOSPC);
	assert_non_null(strstr(g.e.msg, "on the host first"));
	snprintf(cmd, sizeof(cmd),
		 "truncate -s 2M '%.95s' && losetup -c /dev/%.31s", l->image,
		 l->name);
	assert_int_equal(system(cmd), 0);
	loop_call(f->loop, do_grow, &g);
	assert_int_equal(g.ret, 0);
	assert_int_equal(drive_len(f->drive), 2 * DISK_LEN);
	close_drive(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define DEVICE(name)                                                           \
	cmocka_unit_test_setup_teardown(name, setup, teardown_device)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_file_tells_its_flags),
		T(the_page_cache_is_seen),
		T(past_the_cache_nothing_stays_there),
		T(nobody_looks_unasked_or_too_often),
		T(a_drive_closes_while_it_is_looked_at),
		T(an_empty_drive_has_no_files),
		DEVICE(a_flush_reaches_the_device),
		DEVICE(a_disk_follows_its_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
