/* What a drive shows of the files under it. */
#include "core/blk/drive_look.h"
#include "tests/unit/drive_bench.h"

#define BIG (256u << 10)

/* A fresh look. */
static struct drive_look look_at(struct fixture *f)
{
	uint64_t asked = loop_now_ns();
	struct drive_look look;

	for (int i = 0; i < 10000; i++) {
		drive_look_copy(f->drive, 0, &look);
		if (look.taken_ns > asked)
			return look;
		usleep(1000);
	}
	fail_msg("nobody looks");
	return look;
}

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

static void nobody_looks_unasked_or_too_often(void **state)
{
	struct fixture *f = *state;
	struct drive_look first, second;

	open_preset(f, DRIVE_WRITEBACK);
	look_at(f);
	/* One more may be on its way: wait for it. */
	usleep(100000);
	first = look_at(f);
	do {
		second = first;
		usleep(100000);
		drive_look_copy(f->drive, 60000000000ull, &first);
	} while (first.taken_ns != second.taken_ns);
	for (int i = 0; i < 50; i++) {
		drive_look_copy(f->drive, 60000000000ull, &second);
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
	usleep(5000);
	drive_look_copy(f->drive, 0, &look);
	assert_int_equal(look.files.nr, 0);
	assert_int_equal(look.taken_ns, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_file_tells_its_flags),
		T(the_page_cache_is_seen),
		T(past_the_cache_nothing_stays_there),
		T(nobody_looks_unasked_or_too_often),
		T(a_drive_closes_while_it_is_looked_at),
		T(an_empty_drive_has_no_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
