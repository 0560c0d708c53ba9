/* What people do to a drive while a guest uses it. */
#include "core/blk/drive_actions.h"
#include "tests/unit/drive_bench.h"

/* ---- actions run on the drive's loop ---- */

struct action {
	struct fixture *f;
	int (*run)(struct action *a);
	const char *text;
	uint64_t len;
	bool on;
	int ret;
};

static void do_action(void *arg)
{
	struct action *a = arg;

	a->ret = a->run(a);
}

static int act(struct fixture *f, int (*run)(struct action *a),
	       const char *text, uint64_t len, bool on)
{
	struct action a = {f, run, text, len, on, 0};

	f->e = (struct error){0};
	loop_call(f->loop, do_action, &a);
	return a.ret;
}

static int flush_now(struct action *a)
{
	return drive_flush_now(a->f->drive, &a->f->e);
}

static int force_off(struct action *a)
{
	return drive_force_wce_off(a->f->drive, a->on, &a->f->e);
}

static int grow(struct action *a)
{
	return drive_grow(a->f->drive, a->len, &a->f->e);
}

static int overlay(struct action *a)
{
	return drive_overlay(a->f->drive, a->text, &a->f->e);
}

static int throttle(struct action *a)
{
	return drive_throttle(a->f->drive, a->text, &a->f->e);
}

static int drain(struct action *a)
{
	drive_drain(a->f->drive);
	return 0;
}

static int snapshot(struct action *a)
{
	return drive_snapshot(a->f->drive, (enum blk_snapshot_op)a->len,
			      a->text, &a->f->e);
}

/* ---- requests ---- */

static void write_byte(struct fixture *f, uint8_t value)
{
	uint8_t buf[512];

	memset(buf, value, sizeof(buf));
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, sizeof(buf)), 0);
}

static uint8_t read_byte(struct fixture *f, uint64_t off)
{
	uint8_t buf[512];

	assert_int_equal(run(f, DRIVE_READ, buf, off, sizeof(buf)), 0);
	return buf[0];
}

/* ---- flush and write cache ---- */

static void a_flush_is_made_when_asked_for(void **state)
{
	struct fixture *f = *state;

	open_preset(f, DRIVE_WRITEBACK);
	write_byte(f, 1);
	assert_int_equal(facts_of(f).unflushed_writes, 1);
	assert_int_equal(act(f, flush_now, NULL, 0, false), 0);
	wait_until_idle(f);
	assert_int_equal(facts_of(f).unflushed_writes, 0);
	assert_int_equal(facts_of(f).own_flushes, 1);
	close_drive(f);
	open_preset(f, DRIVE_UNSAFE);
	assert_int_equal(act(f, flush_now, NULL, 0, false), -EINVAL);
	assert_non_null(strstr(f->e.msg, "ignores flushes"));
	assert_int_equal(act(f, force_off, NULL, 0, true), -EINVAL);
	close_drive(f);
	f->drive = open_with(f, DRIVE_WRITEBACK, true);
	assert_int_equal(act(f, flush_now, NULL, 0, false), -EROFS);
}

static void the_write_cache_is_forced_off(void **state)
{
	struct fixture *f = *state;

	open_preset(f, DRIVE_WRITEBACK);
	write_byte(f, 1);
	assert_int_equal(pc_gate.syncs, 0);
	assert_int_equal(act(f, force_off, NULL, 0, true), 0);
	wait_until_idle(f);
	assert_int_equal(pc_gate.syncs, 1);
	/* The guest's own setting is as it was. */
	assert_true(drive_wce(f->drive));
	assert_false(drive_wce_now(f->drive));
	write_byte(f, 2);
	assert_int_equal(pc_gate.syncs, 2);
	assert_int_equal(facts_of(f).unflushed_writes, 0);
	assert_int_equal(act(f, force_off, NULL, 0, false), 0);
	write_byte(f, 3);
	assert_int_equal(pc_gate.syncs, 2);
	assert_true(drive_wce_now(f->drive));
}

/* ---- length ---- */

static void a_disk_grows(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	uint8_t buf[512] = {9};

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(act(f, grow, NULL, DISK_LEN / 2, false), -EINVAL);
	assert_non_null(strstr(f->e.msg, "only grow"));
	assert_int_equal(act(f, grow, NULL, DISK_LEN, false), -EINVAL);
	assert_int_equal(act(f, grow, NULL, UINT64_MAX - 5, false), -EFBIG);
	assert_int_equal(drive_len(f->drive), DISK_LEN);
	assert_int_equal(run(f, DRIVE_WRITE, buf, DISK_LEN, 512), -EINVAL);
	assert_int_equal(act(f, grow, NULL, 2 * DISK_LEN - 1, false), 0);
	assert_int_equal(drive_len(f->drive), 2 * DISK_LEN);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 2 * DISK_LEN);
	assert_int_equal(read_byte(f, 2 * DISK_LEN - 512), 0);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 2 * DISK_LEN - 512, 512), 0);
	assert_int_equal(read_byte(f, 2 * DISK_LEN - 512), 9);
	close_drive(f);
	f->drive = open_with(f, DRIVE_WRITEBACK, true);
	assert_int_equal(act(f, grow, NULL, 4 * DISK_LEN, false), -EROFS);
}

/* ---- snapshots ---- */

static void put_overlay(struct fixture *f)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/top.qcow2", f->dir);
	if (act(f, overlay, path, 0, false))
		fail_msg("%s", f->e.msg);
}

static void an_overlay_takes_what_is_written(void **state)
{
	struct fixture *f = *state;
	struct drive_look look;

	open_preset(f, DRIVE_WRITEBACK);
	write_byte(f, 1);
	put_overlay(f);
	write_byte(f, 2);
	assert_int_equal(read_byte(f, 0), 2);
	look = look_at(f);
	assert_int_equal(look.files.nr, 2);
	assert_int_equal(look.files.file[0].layer, 0);
	assert_non_null(strstr(look.files.file[0].path, "top.qcow2"));
	assert_int_equal(look.files.file[1].layer, 1);
	assert_string_equal(look.files.file[1].path, f->path);
	assert_int_equal(look.files.file[1].flags & O_ACCMODE, O_RDONLY);
	/* It exists now. */
	assert_true(act(f, overlay, look.files.file[0].path, 0, false) < 0);
	close_drive(f);
	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(read_byte(f, 0), 1);
}

static void snapshots_keep_and_bring_back(void **state)
{
	struct fixture *f = *state;
	struct drive_look look;

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(act(f, snapshot, "one", BLK_SNAPSHOT_CREATE, false),
			 -ENOTSUP);
	assert_non_null(strstr(f->e.msg, "raw"));
	assert_false(look_at(f).can_snapshot);
	put_overlay(f);
	write_byte(f, 1);
	assert_int_equal(act(f, snapshot, "one", BLK_SNAPSHOT_CREATE, false),
			 0);
	write_byte(f, 2);
	assert_int_equal(act(f, grow, NULL, 2 * DISK_LEN, false), 0);
	look = look_at(f);
	assert_true(look.can_snapshot);
	assert_int_equal(look.nr_snapshots, 1);
	assert_int_equal(look.all_snapshots, 1);
	assert_string_equal(look.snapshots[0].name, "one");
	assert_int_equal(look.snapshots[0].disk_len, DISK_LEN);
	assert_int_equal(act(f, snapshot, "one", BLK_SNAPSHOT_APPLY, false), 0);
	assert_int_equal(read_byte(f, 0), 1);
	assert_int_equal(drive_len(f->drive), DISK_LEN);
	assert_int_equal(act(f, snapshot, "two", BLK_SNAPSHOT_APPLY, false),
			 -ENOENT);
	assert_int_equal(act(f, snapshot, "one", BLK_SNAPSHOT_DELETE, false),
			 0);
	assert_int_equal(look_at(f).nr_snapshots, 0);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
}

/* ---- throttle ---- */

#define NR_WRITES 6

static void limits_hold_until_somebody_drains(void **state)
{
	struct fixture *f = *state;
	struct call calls[NR_WRITES] = {{.res = 1}};
	uint8_t buf[512] = {1};
	unsigned waiting = 0;

	open_preset(f, DRIVE_WRITEBACK);
	/* One goes at once, and each other after a thousand seconds. */
	assert_int_equal(act(f, throttle, "bps-write=1 iops-read=50", 0, false),
			 0);
	for (unsigned i = 0; i < NR_WRITES; i++)
		start(f, &calls[i], DRIVE_WRITE, buf, 512 * i, 512);
	for (int i = 0; i < 10000 && waiting != NR_WRITES - 1; i++)
		waiting = look_at(f).throttled;
	assert_int_equal(waiting, NR_WRITES - 1);
	assert_string_equal(look_at(f).throttle, "bps-write=1 iops-read=50");
	assert_int_equal(facts_of(f).flow[DRIVE_WRITE].in_flight,
			 NR_WRITES - 1);
	/* Reads have a limit of their own. */
	assert_int_equal(read_byte(f, DISK_LEN / 2), 0);
	act(f, drain, NULL, 0, false);
	for (unsigned i = 0; i < NR_WRITES; i++)
		assert_int_equal(finish(&calls[i]), 0);
}

static void limits_change_and_go(void **state)
{
	struct fixture *f = *state;
	struct call calls[3] = {{.res = 1}};
	uint8_t buf[512] = {1};

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(act(f, throttle, "speed", 0, false), -EINVAL);
	assert_true(act(f, throttle, "speed=9", 0, false) < 0);
	assert_non_null(strstr(f->e.msg, "speed"));
	assert_int_equal(act(f, throttle, "bps-total=1", 0, false), 0);
	for (unsigned i = 0; i < 3; i++)
		start(f, &calls[i], DRIVE_WRITE, buf, 0, 512);
	/* Those that wait go when their limit does. */
	assert_int_equal(act(f, throttle, "bps-total=1G", 0, false), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(finish(&calls[i]), 0);
	assert_true(act(f, throttle, "bps-total=1 bps-read=1", 0, false) < 0);
	assert_string_equal(look_at(f).throttle, "bps-total=1G");
	assert_int_equal(act(f, throttle, "", 0, false), 0);
	assert_string_equal(look_at(f).throttle, "");
	write_byte(f, 4);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	assert_int_equal(read_byte(f, 0), 4);
}

static void a_throttled_drive_closes(void **state)
{
	struct fixture *f = *state;
	struct call c = {.res = 1}, d = {.res = 1};
	uint8_t buf[512] = {1};

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(act(f, throttle, "iops-write=1", 0, false), 0);
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	start(f, &d, DRIVE_WRITE, buf, 0, 512);
	close_drive(f);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(finish(&d), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_flush_is_made_when_asked_for),
		T(the_write_cache_is_forced_off),
		T(a_disk_grows),
		T(an_overlay_takes_what_is_written),
		T(snapshots_keep_and_bring_back),
		T(limits_hold_until_somebody_drains),
		T(limits_change_and_go),
		T(a_throttled_drive_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
