/* Drives over real files in a scratch folder, with a gate in between. */
#include <errno.h>

#include "tests/unit/drive_bench.h"

/* ---- tests ---- */

static void written_data_is_read_back(void **state)
{
	static const enum drive_preset all[] = {DRIVE_WRITEBACK, DRIVE_NONE,
						DRIVE_WRITETHROUGH,
						DRIVE_DIRECTSYNC, DRIVE_UNSAFE};
	struct fixture *f = *state;
	uint8_t out[4096], in[4096];
	struct drive_stats st;

	for (unsigned i = 0; i < 5; i++) {
		open_preset(f, all[i]);
		memset(out, (int)(0x11 + i), sizeof(out));
		assert_int_equal(run(f, DRIVE_WRITE, out, 8192, 4096), 0);
		assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
		assert_int_equal(run(f, DRIVE_READ, in, 8192, 4096), 0);
		assert_memory_equal(in, out, sizeof(in));
		drive_stats_copy(f->drive, &st);
		assert_int_equal(st.reads, 1);
		assert_int_equal(st.writes, 1);
		assert_int_equal(st.flushes, 1);
		assert_int_equal(st.write_bytes, 4096);
		assert_int_equal(drive_in_flight(f->drive), 0);
		close_drive(f);
	}
}

struct sync_row {
	enum drive_preset preset;
	int after_write, after_flush;
	bool wce, direct;
};

static void presets_sync_when_they_promise(void **state)
{
	static const struct sync_row rows[] = {
		{DRIVE_WRITEBACK, 0, 1, true, false},
		{DRIVE_NONE, 0, 1, true, true},
		{DRIVE_WRITETHROUGH, 1, 1, false, false},
		{DRIVE_DIRECTSYNC, 1, 1, false, true},
		{DRIVE_UNSAFE, 0, 0, true, false},
	};
	struct fixture *f = *state;
	uint8_t buf[512] = {1};

	for (unsigned i = 0; i < 5; i++) {
		open_preset(f, rows[i].preset);
		assert_int_equal(drive_wce(f->drive), rows[i].wce);
		assert_int_equal(pc_gate.direct, rows[i].direct);
		pc_gate.syncs = 0;
		assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
		assert_int_equal(pc_gate.syncs, rows[i].after_write);
		assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
		assert_int_equal(pc_gate.syncs, rows[i].after_flush);
		close_drive(f);
	}
}

static void write_is_synced_after_not_before(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};

	open_preset(f, DRIVE_WRITETHROUGH);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 512, 512), 0);
	assert_string_equal(pc_gate.order, "wsws");
}

static void fua_syncs_one_write(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	struct call c = {.req.fua = true};

	open_preset(f, DRIVE_WRITEBACK);
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(pc_gate.syncs, 1);
}

static void do_wce_off(void *arg)
{
	drive_set_wce(arg, false);
}

static void do_wce_on(void *arg)
{
	drive_set_wce(arg, true);
}

static void guest_switches_the_write_cache(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 0);
	loop_call(f->loop, do_wce_off, f->drive);
	assert_false(drive_wce(f->drive));
	/* The earlier write is made stable, then each new one. */
	wait_until_idle(f);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 2);
	loop_call(f->loop, do_wce_on, f->drive);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 2);
}

static void writes_on_their_way_are_made_stable(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	struct call c = {.res = 1};
	uint64_t one = 1;

	open_preset(f, DRIVE_WRITEBACK);
	pc_gate.gate = eventfd(0, EFD_CLOEXEC);
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	loop_call(f->loop, do_wce_off, f->drive);
	assert_int_equal(write(pc_gate.gate, &one, sizeof(one)), 8);
	assert_int_equal(finish(&c), 0);
	/* It saw the cache on when it began, and off when it ended. */
	assert_int_equal(pc_gate.order[pc_gate.nr_order - 1], 's');
	close(pc_gate.gate);
	pc_gate.gate = -1;
}

/* What was written while the drive's own flush was on its way. */
static void a_cache_turned_off_again_is_flushed_again(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	uint64_t two = 2;

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	pc_gate.sync_gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	loop_call(f->loop, do_wce_off, f->drive);
	loop_call(f->loop, do_wce_on, f->drive);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 512, 512), 0);
	loop_call(f->loop, do_wce_off, f->drive);
	assert_int_equal(write(pc_gate.sync_gate, &two, 8), 8);
	/* Between the two flushes the drive is idle for a moment. */
	for (int i = 0; i < 60000; i++) {
		if (__atomic_load_n(&pc_gate.syncs, __ATOMIC_SEQ_CST) == 2)
			break;
		usleep(1000);
	}
	wait_until_idle(f);
	assert_string_equal(pc_gate.order, "wwss");
	close(pc_gate.sync_gate);
	pc_gate.sync_gate = 0;
}

static void failed_sync_is_never_forgotten(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	pc_gate.sync_error = EIO;
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), -EIO);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), -EIO);
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 512), 0);
}

static void ranges_are_checked(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = calloc(1, 8192);

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(drive_len(f->drive), DISK_LEN);
	assert_int_equal(run(f, DRIVE_READ, buf, DISK_LEN - 512, 512), 0);
	assert_int_equal(run(f, DRIVE_READ, buf, DISK_LEN - 512, 1024),
			 -EINVAL);
	assert_int_equal(run(f, DRIVE_READ, buf, DISK_LEN, 512), -EINVAL);
	assert_int_equal(run(f, DRIVE_READ, buf, UINT64_MAX - 511, 512),
			 -EINVAL);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 1, 512), -EINVAL);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 511), -EINVAL);
	assert_int_equal(run(f, DRIVE_DISCARD, NULL, 0, UINT64_MAX - 511),
			 -EINVAL);
	assert_int_equal(run(f, DRIVE_WRITE_ZEROES, NULL, DISK_LEN, 512),
			 -EINVAL);
	free(buf);
}

static void iov_must_match_len(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[1024];
	struct call c = {.res = 1};

	open_preset(f, DRIVE_WRITEBACK);
	start(f, &c, DRIVE_READ, buf, 0, 512);
	assert_int_equal(finish(&c), 0);
	c.iov.iov_len = 1024;
	c.done_fd = eventfd(0, EFD_CLOEXEC);
	loop_call(f->loop, do_submit, &c);
	assert_int_equal(finish(&c), -EINVAL);
}

static void readonly_refuses_writes(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512];

	f->drive = open_with(f, DRIVE_WRITEBACK, true);
	assert_non_null(f->drive);
	assert_true(drive_readonly(f->drive));
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 512), 0);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), -EROFS);
	assert_int_equal(run(f, DRIVE_DISCARD, NULL, 0, 512), -EROFS);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
}

static void an_image_has_one_writer(void **state)
{
	struct fixture *f = *state;
	struct drive *first;

	open_preset(f, DRIVE_WRITEBACK);
	assert_null(open_with(f, DRIVE_WRITEBACK, false));
	assert_int_equal(f->e.code, -EBUSY);
	assert_non_null(strstr(f->e.msg, f->path));
	assert_null(open_with(f, DRIVE_WRITEBACK, true));
	assert_non_null(strstr(f->e.msg, "in use"));
	close_drive(f);
	/* Readers share; then a writer must wait. */
	first = open_with(f, DRIVE_WRITEBACK, true);
	assert_non_null(first);
	f->drive = open_with(f, DRIVE_WRITEBACK, true);
	assert_non_null(f->drive);
	assert_null(open_with(f, DRIVE_WRITEBACK, false));
	close_drive(f);
	f->drive = first;
}

static void missing_images_are_named(void **state)
{
	struct fixture *f = *state;

	snprintf(f->path, sizeof(f->path), "%s/none.img", f->dir);
	assert_null(open_with(f, DRIVE_WRITEBACK, false));
	assert_int_equal(f->e.code, -ENOENT);
	assert_non_null(strstr(f->e.msg, "none.img"));
	snprintf(f->path, sizeof(f->path), "%s", f->dir);
	assert_null(open_with(f, DRIVE_WRITEBACK, true));
	assert_non_null(strstr(f->e.msg, "neither a regular file"));
}

/* O_DIRECT wants aligned memory; a guest's isn't. */
static void odd_buffers_are_bounced(void **state)
{
	struct fixture *f = *state;
	uint8_t *out = malloc(70000), *in = malloc(70000);

	f->drive = open_with(f, DRIVE_DIRECTSYNC, false);
	if (!f->drive && strstr(f->e.msg, "O_DIRECT")) {
		free(in);
		free(out);
		printf("SKIP: %s\n", f->e.msg);
		skip();
	}
	assert_non_null(f->drive);
	for (int i = 0; i < 70000; i++)
		out[i] = (uint8_t)(i * 13);
	assert_int_equal(run(f, DRIVE_WRITE, out + 1, 8192, 65536), 0);
	assert_int_equal(run(f, DRIVE_READ, in + 9, 8192 + 512, 1024), 0);
	assert_memory_equal(in + 9, out + 1 + 512, 1024);
	assert_int_equal(run(f, DRIVE_READ, in + 3, 8192, 65536), 0);
	assert_memory_equal(in + 3, out + 1, 65536);
	assert_int_equal(run(f, DRIVE_WRITE_ZEROES, NULL, 8192, 4096), 0);
	assert_int_equal(run(f, DRIVE_READ, in + 3, 8192, 4096), 0);
	assert_int_equal(in[3] | in[4098], 0);
	free(in);
	free(out);
}

static void tail_reads_as_zeroes(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[1024];
	struct stat st;

	assert_int_equal(truncate(f->path, 700), 0);
	f->drive = open_with(f, DRIVE_WRITEBACK, true);
	assert_non_null(f->drive);
	assert_int_equal(drive_len(f->drive), 1024);
	memset(buf, 0xaa, sizeof(buf));
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 1024), 0);
	for (int i = 0; i < 1024; i++)
		assert_int_equal(buf[i], 0);
	close_drive(f);
	/* One that the guest may write to has whole sectors. */
	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(drive_len(f->drive), 1024);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 1024);
	/* A file cut short behind our back isn't a file full of zeroes. */
	assert_int_equal(truncate(f->path, 100), 0);
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 1024), -EIO);
}

static void check_zeroed(struct fixture *f)
{
	uint8_t *buf = malloc(65536);

	memset(buf, 0x55, 65536);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 65536, 65536), 0);
	assert_int_equal(run(f, DRIVE_WRITE_ZEROES, NULL, 65536, 65536), 0);
	assert_int_equal(run(f, DRIVE_READ, buf, 65536, 65536), 0);
	for (int i = 0; i < 65536; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

static void zeroes_and_holes(void **state)
{
	struct fixture *f = *state;
	struct stat before, after;
	uint8_t *buf = malloc(65536);

	open_preset(f, DRIVE_WRITEBACK);
	check_zeroed(f);
	memset(buf, 0x55, 65536);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 65536), 0);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	assert_int_equal(stat(f->path, &before), 0);
	assert_int_equal(run(f, DRIVE_DISCARD, NULL, 0, 65536), 0);
	assert_int_equal(stat(f->path, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	assert_true(after.st_blocks <= before.st_blocks);
	free(buf);
}

static void do_drain(void *arg)
{
	drive_drain(arg);
}

static void drain_held_reads(struct fixture *f, void (*drain)(void *arg),
			     bool stopped)
{
	static uint8_t buf[20][512];
	struct call c[20];
	uint64_t n = 20, one;

	memset(c, 0, sizeof(c));
	open_preset(f, DRIVE_WRITEBACK);
	pc_gate.gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	for (int i = 0; i < 20; i++)
		start(f, &c[i], DRIVE_READ, buf[i], 0, 512);
	assert_int_equal(drive_in_flight(f->drive), 20);
	if (stopped)
		world_stop(f->world, NULL);
	assert_int_equal(write(pc_gate.gate, &n, sizeof(n)), sizeof(n));
	if (stopped)
		drain(f->drive);
	else
		loop_call(f->loop, drain, f->drive);
	assert_int_equal(drive_in_flight(f->drive), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(read(c[i].done_fd, &one, sizeof(one)),
				 sizeof(one));
		close(c[i].done_fd);
	}
	if (stopped)
		world_resume(f->world);
	close(pc_gate.gate);
}

static void drain_waits_for_all(void **state)
{
	drain_held_reads(*state, do_drain, false);
}

static void drain_works_while_the_loop_stands_still(void **state)
{
	drain_held_reads(*state, do_drain, true);
}

static void drain_again(struct call *c)
{
	drive_drain(c->drive);
}

static void drain_inside_a_completion(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[8][512];
	struct call c[8];

	memset(c, 0, sizeof(c));
	open_preset(f, DRIVE_WRITEBACK);
	for (int i = 0; i < 8; i++) {
		c[i].then = drain_again;
		start(f, &c[i], DRIVE_READ, buf[i], 0, 512);
	}
	for (int i = 0; i < 8; i++)
		assert_int_equal(finish(&c[i]), 0);
}

static void close_drains(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[8][512];
	struct call c[8];

	memset(c, 0, sizeof(c));
	open_preset(f, DRIVE_WRITEBACK);
	for (int i = 0; i < 8; i++)
		start(f, &c[i], DRIVE_WRITE, buf[i], 512u * (unsigned)i, 512);
	close_drive(f);
	for (int i = 0; i < 8; i++)
		assert_int_equal(finish(&c[i]), 0);
}

struct attach_row {
	struct drive_caps caps;
	enum drive_preset preset;
	int want;
	bool wce;
	const char *word; /* that the refusal must contain */
	bool asked;
};

static const struct attach_row attach_rows[] = {
	{{"sd", DRIVE_WCE_NEVER, false, false, false, false},
	 DRIVE_WRITEBACK,
	 0,
	 false,
	 NULL,
	 false},
	{{"sd", DRIVE_WCE_NEVER, false, false, false, false},
	 DRIVE_UNSAFE,
	 0,
	 false,
	 NULL,
	 false},
	{{"sd", DRIVE_WCE_NEVER, false, false, false, false},
	 DRIVE_WRITEBACK,
	 -EINVAL,
	 false,
	 "cache writeback would lose data; allowed: writethrough, "
	 "directsync, unsafe",
	 true},
	{{"sd", DRIVE_WCE_NEVER, false, false, false, false},
	 DRIVE_NONE,
	 -EINVAL,
	 false,
	 "cache none would lose data; allowed: writethrough, ",
	 true},
	{{"sd", DRIVE_WCE_NEVER, false, false, false, false},
	 DRIVE_DIRECTSYNC,
	 0,
	 false,
	 NULL,
	 true},
	{{"sd", DRIVE_WCE_NEVER, false, false, false, false},
	 DRIVE_UNSAFE,
	 0,
	 false,
	 NULL,
	 true},
	{{"old", DRIVE_WCE_ALWAYS, true, false, false, false},
	 DRIVE_WRITEBACK,
	 0,
	 true,
	 NULL,
	 false},
	{{"old", DRIVE_WCE_ALWAYS, true, false, false, false},
	 DRIVE_WRITETHROUGH,
	 -EINVAL,
	 false,
	 "writeback",
	 false},
	{{"old", DRIVE_WCE_ALWAYS, true, false, false, false},
	 DRIVE_DIRECTSYNC,
	 -EINVAL,
	 false,
	 "none",
	 false},
	{{"bad", DRIVE_WCE_ALWAYS, false, false, false, false},
	 DRIVE_WRITEBACK,
	 -EINVAL,
	 false,
	 "unsafe",
	 false},
	{{"odd", DRIVE_WCE_NEGOTIABLE, false, false, false, false},
	 DRIVE_NONE,
	 -EINVAL,
	 false,
	 "directsync",
	 false},
	{{"ok", DRIVE_WCE_NEGOTIABLE, true, false, false, false},
	 DRIVE_DIRECTSYNC,
	 0,
	 false,
	 NULL,
	 false},
};

static void attach_refuses_what_cant_be_kept(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(attach_rows) / sizeof(attach_rows[0]);
	     i++) {
		struct open_call c = {
			.f = f,
			.cfg = {.path = f->path,
				.preset = attach_rows[i].preset,
				.preset_asked = attach_rows[i].asked},
			.caps = &attach_rows[i].caps,
		};

		loop_call(f->loop, do_open, &c);
		f->drive = c.out;
		assert_non_null(c.out);
		assert_int_equal(c.attach, attach_rows[i].want);
		if (attach_rows[i].want) {
			assert_non_null(strstr(f->e.msg, attach_rows[i].word));
			assert_non_null(
				strstr(f->e.msg, attach_rows[i].caps.device));
		} else {
			assert_int_equal(drive_wce(c.out), attach_rows[i].wce);
		}
		close_drive(f);
	}
}

static void without_flush_each_write_is_stable(void **state)
{
	static const struct drive_caps sd = {.device = "sd",
					     .wce = DRIVE_WCE_NEVER};
	struct fixture *f = *state;
	uint8_t buf[512] = {0};
	struct open_call c = {
		.f = f,
		.cfg = {.path = f->path, .preset = DRIVE_WRITEBACK},
		.caps = &sd,
	};

	loop_call(f->loop, do_open, &c);
	f->drive = c.out;
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 1);
}

struct medium_call {
	struct fixture *f;
	const char *path;
	int res;
};

static void do_medium(void *arg)
{
	struct medium_call *c = arg;

	c->res = drive_change_medium(c->f->drive, c->path, &c->f->e);
}

static int change_medium(struct fixture *f, const char *path)
{
	struct medium_call c = {.f = f, .path = path};

	loop_call(f->loop, do_medium, &c);
	return c.res;
}

static void media_come_and_go(void **state)
{
	struct fixture *f = *state;
	struct open_call c = {
		.f = f,
		.cfg = {.path = "", .readonly = true},
		.caps = &full_caps,
	};
	uint8_t buf[512];
	unsigned changes;

	loop_call(f->loop, do_open, &c);
	f->drive = c.out;
	assert_non_null(f->drive);
	assert_false(drive_has_medium(f->drive));
	assert_int_equal(drive_len(f->drive), 0);
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 512), -ENOMEDIUM);
	changes = drive_medium_changes(f->drive);
	assert_int_equal(change_medium(f, f->path), 0);
	assert_true(drive_has_medium(f->drive));
	assert_true(drive_medium_changes(f->drive) > changes);
	assert_int_equal(drive_len(f->drive), DISK_LEN);
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 512), 0);
	/* A medium that can't be opened leaves the old one in. */
	assert_int_equal(change_medium(f, "/nonexistent"), -ENOENT);
	assert_true(drive_has_medium(f->drive));
	assert_int_equal(change_medium(f, NULL), 0);
	assert_false(drive_has_medium(f->drive));
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 512), -ENOMEDIUM);
}

static void a_disk_keeps_its_medium(void **state)
{
	struct fixture *f = *state;

	open_preset(f, DRIVE_WRITEBACK);
	assert_int_equal(change_medium(f, NULL), -EINVAL);
	assert_true(drive_has_medium(f->drive));
}

/* ---- formats ---- */

static void write_qcow2(struct fixture *f)
{
	char cmd[400];

	snprintf(cmd, sizeof(cmd),
		 "qemu-img create -q -f qcow2 '%s' 1M && "
		 "qemu-io -f qcow2 -c 'write -q -P 0x5a 4k 4k' '%s'",
		 f->path, f->path);
	if (system("command -v qemu-img >/dev/null")) {
		printf("SKIP: no qemu-img\n");
		skip();
	}
	assert_int_equal(system(cmd), 0);
}

static void a_format_must_be_named(void **state)
{
	struct fixture *f = *state;
	struct drive_config cfg = {.path = f->path};

	write_qcow2(f);
	assert_null(open_config(f, &cfg));
	assert_non_null(strstr(f->e.msg, "format=qcow2"));
	cfg.format = "raw";
	f->drive = open_config(f, &cfg);
	assert_non_null(f->drive);
	assert_true(drive_len(f->drive) < DISK_LEN);
}

static void a_qcow2_disk_works(void **state)
{
	struct fixture *f = *state;
	struct drive_config cfg = {.path = f->path, .format = "qcow2"};
	uint8_t buf[4096];
	char cmd[400];

	write_qcow2(f);
	f->drive = open_config(f, &cfg);
	assert_non_null(f->drive);
	assert_int_equal(drive_len(f->drive), DISK_LEN);
	assert_int_equal(run(f, DRIVE_READ, buf, 4096, 4096), 0);
	assert_int_equal(buf[0], 0x5a);
	memset(buf, 0xa5, sizeof(buf));
	assert_int_equal(run(f, DRIVE_WRITE, buf, 512 * 1024, 4096), 0);
	pc_gate.syncs = 0;
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	assert_true(pc_gate.syncs >= 1);
	close_drive(f);
	snprintf(cmd, sizeof(cmd),
		 "qemu-img check -q '%s' && qemu-io -f qcow2 -c "
		 "'read -q -P 0xa5 512k 4k' '%s' | grep -q failed && exit 1; "
		 "exit 0",
		 f->path, f->path);
	assert_int_equal(system(cmd), 0);
}

static void scratch_leaves_the_image_alone(void **state)
{
	struct fixture *f = *state;
	struct drive_config cfg = {.path = f->path, .scratch = true};
	struct drive *other;
	uint8_t buf[1024];

	setenv("TMPDIR", f->dir, 1);
	f->drive = open_config(f, &cfg);
	if (!f->drive)
		fail_msg("%s", f->e.msg);
	/* Readers share the image below. */
	other = open_with(f, DRIVE_WRITEBACK, true);
	assert_non_null(other);
	memset(buf, 0x77, sizeof(buf));
	assert_int_equal(run(f, DRIVE_WRITE, buf, 512, 512), 0);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 1024), 0);
	assert_int_equal(buf[511], 0);
	assert_int_equal(buf[512], 0x77);
	close_drive(f);
	f->drive = other;
	assert_int_equal(run(f, DRIVE_READ, buf, 0, 1024), 0);
	assert_int_equal(buf[512], 0);
	unsetenv("TMPDIR");
}

static void unknown_names_are_refused(void **state)
{
	struct fixture *f = *state;
	enum drive_preset preset;
	struct open_call c = {
		.f = f,
		.cfg = {.path = f->path, .format = "vdi"},
	};

	assert_int_equal(drive_preset_parse("none", &preset, &f->e), 0);
	assert_int_equal(preset, DRIVE_NONE);
	assert_int_equal(drive_preset_parse("", &preset, &f->e), 0);
	assert_int_equal(preset, DRIVE_WRITEBACK);
	assert_int_equal(drive_preset_parse("fast", &preset, &f->e), -EINVAL);
	assert_non_null(strstr(f->e.msg, "directsync"));
	loop_call(f->loop, do_open, &c);
	assert_null(c.out);
	assert_non_null(strstr(f->e.msg, "vdi"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(written_data_is_read_back),
		T(presets_sync_when_they_promise),
		T(write_is_synced_after_not_before),
		T(fua_syncs_one_write),
		T(guest_switches_the_write_cache),
		T(writes_on_their_way_are_made_stable),
		T(a_cache_turned_off_again_is_flushed_again),
		T(failed_sync_is_never_forgotten),
		T(ranges_are_checked),
		T(iov_must_match_len),
		T(readonly_refuses_writes),
		T(an_image_has_one_writer),
		T(missing_images_are_named),
		T(odd_buffers_are_bounced),
		T(tail_reads_as_zeroes),
		T(zeroes_and_holes),
		T(drain_waits_for_all),
		T(drain_works_while_the_loop_stands_still),
		T(drain_inside_a_completion),
		T(close_drains),
		T(attach_refuses_what_cant_be_kept),
		T(without_flush_each_write_is_stable),
		T(media_come_and_go),
		T(a_disk_keeps_its_medium),
		T(a_format_must_be_named),
		T(a_qcow2_disk_works),
		T(scratch_leaves_the_image_alone),
		T(unknown_names_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
