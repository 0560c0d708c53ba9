/* What becomes of requests that the host could not do. */
#include <errno.h>
#include <sys/syscall.h>

#include "core/blk/drive_actions.h"
#include "core/blk/drive_errors.h"
#include "core/blk/drive_stats.h"
#include "core/blk/filter/fault.h"
#include "core/blk/job.h"
#include "core/blk/power/cut.h"
#include "tests/unit/drive_bench.h"

static struct blk *fault;
static int sync_error; /* atomic: of the next fdatasync */
static int told;       /* atomic: how often the owner heard of trouble */

/* In place of the C library's. */
int fdatasync(int fd)
{
	int error = __atomic_exchange_n(&sync_error, 0, __ATOMIC_SEQ_CST);

	if (!error)
		return (int)syscall(SYS_fdatasync, fd);
	errno = error;
	return -1;
}

/* ---- a drive over a script of faults ---- */

static struct blk *wrap(void *arg, struct blk *file, struct error *e)
{
	file = pc_wrap(arg, file, e);
	fault = file ? blk_filter_open(file, &blk_fault_driver, e) : NULL;
	return fault;
}

static void on_trouble(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&told, 1, __ATOMIC_RELEASE);
}

static void open_here(void *arg)
{
	struct open_call *c = arg;
	struct fixture *f = c->f;

	c->out = drive_open_with(f->loop, &c->cfg, wrap, NULL, NULL, &f->e);
	if (!c->out || drive_attach(c->out, &full_caps, &f->e))
		return;
	drive_listen(c->out, on_trouble, f);
}

static void open_drive(struct fixture *f, struct drive_config cfg)
{
	struct open_call c = {.f = f, .cfg = cfg};

	told = 0;
	c.cfg.path = f->path;
	loop_call(f->loop, open_here, &c);
	if (!c.out)
		fail_msg("%s", f->e.msg);
	f->drive = c.out;
}

static void open_stop(struct fixture *f)
{
	open_drive(f, (struct drive_config){
			      .on_read_error = DRIVE_ERROR_STOP,
			      .on_write_error = DRIVE_ERROR_STOP,
		      });
}

static void do_script(void *arg)
{
	struct error e = {0};

	if (blk_fault_set(fault, arg, "script", &e))
		fail_msg("%s", e.msg);
}

static void script(struct fixture *f, const char *text)
{
	loop_call(f->loop, do_script, (void *)(uintptr_t)text);
}

static void do_retry(void *arg)
{
	drive_retry(arg);
}

static void retry(struct fixture *f)
{
	loop_call(f->loop, do_retry, f->drive);
}

static void do_give_up(void *arg)
{
	drive_give_up(arg, true);
	drive_drain(arg);
	drive_give_up(arg, false);
}

static void do_drain(void *arg)
{
	drive_drain(arg);
}

/* Until the owner has heard of trouble so often. */
static void wait_told(int n)
{
	for (int i = 0; i < 60000; i++) {
		if (__atomic_load_n(&told, __ATOMIC_ACQUIRE) >= n)
			break;
		usleep(1000);
	}
	assert_int_equal(told, n);
}

static struct drive_trouble trouble(struct fixture *f)
{
	struct drive_trouble t;

	drive_trouble_copy(f->drive, &t);
	return t;
}

static bool is_done(const struct call *c)
{
	return c->res != 1;
}

static int read_byte(struct fixture *f, uint64_t off)
{
	uint8_t buf[512];

	assert_int_equal(run(f, DRIVE_READ, buf, off, 512), 0);
	return buf[0];
}

/* ---- policies ---- */

struct policy {
	enum drive_on_error on_read, on_write;
	const char *script;
	enum drive_op op;
	int res; /* 1: it is kept */
};

static void each_policy_does_what_it_says(void **state)
{
	static const struct policy rows[] = {
		{0, DRIVE_ERROR_REPORT, "any errno ENOSPC", DRIVE_WRITE,
		 -ENOSPC},
		{0, DRIVE_ERROR_NO_ROOM, "any errno ENOSPC", DRIVE_WRITE, 1},
		{0, DRIVE_ERROR_NO_ROOM, "any errno ENOSPC", DRIVE_FLUSH, 1},
		{0, DRIVE_ERROR_NO_ROOM, "any errno ENOSPC", DRIVE_DISCARD, 1},
		{0, DRIVE_ERROR_NO_ROOM, "any errno ENOSPC", DRIVE_WRITE_ZEROES,
		 1},
		{0, DRIVE_ERROR_NO_ROOM, "any errno EDQUOT", DRIVE_WRITE, 1},
		{0, DRIVE_ERROR_NO_ROOM, "any errno EIO", DRIVE_WRITE, -EIO},
		{0, DRIVE_ERROR_NO_ROOM, "any errno EIO", DRIVE_FLUSH, -EIO},
		{0, DRIVE_ERROR_NO_ROOM, "any errno EIO", DRIVE_READ, -EIO},
		{0, DRIVE_ERROR_STOP, "any errno EIO", DRIVE_WRITE, 1},
		{0, DRIVE_ERROR_STOP, "any errno EIO", DRIVE_FLUSH, 1},
		{0, DRIVE_ERROR_STOP, "any errno EIO", DRIVE_READ, -EIO},
		{DRIVE_ERROR_STOP, 0, "any errno EIO", DRIVE_READ, 1},
		{DRIVE_ERROR_STOP, 0, "any errno EIO", DRIVE_WRITE, -EIO},
		{DRIVE_ERROR_IGNORE, 0, "any errno EIO", DRIVE_READ, 0},
		{0, DRIVE_ERROR_IGNORE, "any errno EIO", DRIVE_WRITE, 0},
		{0, DRIVE_ERROR_IGNORE, "any errno EIO", DRIVE_FLUSH, 0},
	};
	struct fixture *f = *state;
	uint8_t buf[512] = {1};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct policy *p = &rows[i];
		bool is_data = p->op == DRIVE_READ || p->op == DRIVE_WRITE;
		struct call c = {.res = 1};

		open_drive(f, (struct drive_config){.on_read_error = p->on_read,
						    .on_write_error =
							    p->on_write});
		assert_int_equal(run(f, DRIVE_WRITE, buf, 4096, 512), 0);
		script(f, p->script);
		start(f, &c, p->op, is_data ? buf : NULL, 0,
		      p->op == DRIVE_FLUSH ? 0 : 512);
		if (p->res == 1) {
			wait_told(1);
			assert_false(is_done(&c));
			assert_int_equal(trouble(f).kept, 1);
			assert_int_equal(trouble(f).op, p->op);
			script(f, "");
			retry(f);
		}
		assert_int_equal(finish(&c), p->res == 1 ? 0 : p->res);
		assert_int_equal(told, p->res == 1);
		assert_int_equal(trouble(f).kept, 0);
		assert_int_equal(trouble(f).ignored, p->res == 0);
		close_drive(f);
	}
}

static void words_are_checked(void **state)
{
	enum drive_on_error out;
	struct error e = {0};

	(void)state;
	assert_int_equal(drive_werror_parse("", &out, &e), 0);
	assert_int_equal(out, DRIVE_ERROR_NO_ROOM);
	assert_int_equal(drive_rerror_parse(NULL, &out, &e), 0);
	assert_int_equal(out, DRIVE_ERROR_REPORT);
	assert_int_equal(drive_werror_parse("stop", &out, &e), 0);
	assert_int_equal(out, DRIVE_ERROR_STOP);
	assert_int_equal(drive_rerror_parse("ignore", &out, &e), 0);
	assert_int_equal(out, DRIVE_ERROR_IGNORE);
	assert_int_equal(drive_werror_parse("Stop", &out, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "enospc"));
	assert_int_equal(drive_rerror_parse("enospc", &out, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "report"));
}

/* Nobody could make it go on. */
static void without_an_owner_the_guest_is_told(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};

	open_stop(f);
	drive_listen(f->drive, NULL, NULL);
	script(f, "write errno ENOSPC");
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), -ENOSPC);
}

static void what_the_guest_did_wrong_is_told(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};

	open_stop(f);
	assert_int_equal(run(f, DRIVE_WRITE, buf, DISK_LEN, 512), -EINVAL);
	assert_int_equal(told, 0);
}

/* ---- retries ---- */

static void a_retry_writes_what_was_lost(void **state)
{
	struct fixture *f = *state;
	struct drive_facts facts;
	uint8_t buf[512] = {0x77};
	struct call c = {.res = 1};

	open_stop(f);
	script(f, "write once errno ENOSPC");
	start(f, &c, DRIVE_WRITE, buf, 512, 512);
	wait_told(1);
	assert_int_equal(trouble(f).error, ENOSPC);
	assert_false(trouble(f).is_lost);
	assert_int_equal(drive_in_flight(f->drive), 0);
	drive_facts_copy(f->drive, &facts);
	assert_int_equal(facts.flow[DRIVE_WRITE].in_flight, 0);
	assert_int_equal(facts.flow[DRIVE_WRITE].ops, 0);
	retry(f);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(read_byte(f, 512), 0x77);
	drive_facts_copy(f->drive, &facts);
	assert_int_equal(facts.flow[DRIVE_WRITE].ops, 1);
	assert_int_equal(facts.flow[DRIVE_WRITE].failed, 0);
	assert_int_equal(facts.flow[DRIVE_WRITE].bytes, 512);
}

static void a_second_failure_stops_again(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x78};
	struct call c = {.res = 1};

	open_stop(f);
	script(f, "write count 3 errno EIO");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	for (int i = 1; i <= 3; i++) {
		wait_told(i);
		assert_int_equal(trouble(f).stops, i);
		assert_false(is_done(&c));
		retry(f);
	}
	assert_int_equal(finish(&c), 0);
	assert_int_equal(told, 3);
	assert_int_equal(read_byte(f, 0), 0x78);
}

/* A retry without need does nothing. */
static void nothing_kept_is_nothing_retried(void **state)
{
	struct fixture *f = *state;

	open_stop(f);
	retry(f);
	assert_int_equal(read_byte(f, 0), 0);
}

#define NR_CALLS 6

/* What comes while one is kept is kept behind it, and not begun. */
static void the_order_is_kept(void **state)
{
	struct fixture *f = *state;
	struct call c[NR_CALLS] = {0};
	uint8_t buf[NR_CALLS][512];

	open_stop(f);
	script(f, "write once errno ENOSPC");
	for (unsigned i = 0; i < NR_CALLS; i++) {
		memset(buf[i], 'a' + (int)i, 512);
		c[i].res = 1;
		start(f, &c[i], DRIVE_WRITE, buf[i], 512 * i, 512);
		if (!i)
			wait_told(1);
	}
	loop_call(f->loop, do_drain, f->drive);
	assert_int_equal(trouble(f).kept, NR_CALLS);
	for (unsigned i = 0; i < NR_CALLS; i++)
		assert_false(is_done(&c[i]));
	assert_int_equal(pc_gate.nr_order, 0);
	retry(f);
	for (unsigned i = 0; i < NR_CALLS; i++)
		assert_int_equal(finish(&c[i]), 0);
	assert_int_equal(told, 1);
	assert_int_equal(pc_gate.nr_order, NR_CALLS);
	for (unsigned i = 0; i < NR_CALLS; i++)
		assert_int_equal(read_byte(f, 512 * i), 'a' + (int)i);
}

struct many {
	struct fixture *f;
	struct call *c;
	unsigned nr;
};

static void submit_many(void *arg)
{
	struct many *m = arg;

	for (unsigned i = 0; i < m->nr; i++)
		drive_submit(m->f->drive, &m->c[i].req);
}

static void kept_then_many(void *arg)
{
	struct many *m = arg;

	drive_retry(m->f->drive);
	submit_many(m);
}

/* Of those that fail together too, whatever order they fail in. */
static void requests_that_fail_together_keep_their_order(void **state)
{
	struct fixture *f = *state;
	struct call c[NR_CALLS] = {0};
	uint8_t buf[512] = {1};
	struct many m = {f, c, NR_CALLS};
	const struct drive_req *req;
	unsigned i = 0;

	open_stop(f);
	script(f, "write range 0+512 delay 50ms errno EIO\nwrite errno EIO");
	for (; i < NR_CALLS; i++) {
		c[i].iov = (struct iovec){buf, 512};
		c[i].res = 1;
		c[i].done_fd = eventfd(0, EFD_CLOEXEC);
		c[i].req = (struct drive_req){
			.op = DRIVE_WRITE,
			.off = 512 * i,
			.len = 512,
			.iov = &c[i].iov,
			.nr_iov = 1,
			.done = call_done,
			.opaque = &c[i],
		};
	}
	loop_call(f->loop, submit_many, &m);
	loop_call(f->loop, do_drain, f->drive);
	assert_int_equal(trouble(f).kept, NR_CALLS);
	/* The drive is idle. */
	for (i = 0, req = &c[0].req; req; req = req->next, i++)
		assert_ptr_equal(req, &c[i].req);
	assert_int_equal(i, NR_CALLS);
	script(f, "");
	retry(f);
	for (i = 0; i < NR_CALLS; i++)
		assert_int_equal(finish(&c[i]), 0);
}

/* What is new when the guest goes on begins after what was kept. */
static void new_requests_come_after_the_kept(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {'a'};
	struct call c = {.res = 1}, d = {.res = 1};
	struct many m = {f, &d, 1};

	open_stop(f);
	script(f, "write once immediately errno ENOSPC");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	d.done_fd = eventfd(0, EFD_CLOEXEC);
	d.req = (struct drive_req){
		.op = DRIVE_FLUSH, .done = call_done, .opaque = &d};
	loop_call(f->loop, kept_then_many, &m);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(finish(&d), 0);
	assert_memory_equal(pc_gate.order, "ws", 2);
}

/* ---- flushes ---- */

static const struct drive_config qcow2_config = {
	.format = "qcow2",
	.on_write_error = DRIVE_ERROR_NO_ROOM,
};

/* A drive with a write whose tables are not in the image yet. */
static void open_qcow2(struct fixture *f)
{
	uint8_t buf[512] = {0x55};
	char cmd[256];

	snprintf(cmd, sizeof(cmd),
		 "rm '%s' && qemu-img create -q -f qcow2 "
		 "'%s' 1M",
		 f->path, f->path);
	if (system("command -v qemu-img >/dev/null") != 0)
		skip();
	assert_int_equal(system(cmd), 0);
	open_drive(f, qcow2_config);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 65536, 512), 0);
}

/* Tables that find no room are written later, and nothing was forgotten. */
static void tables_without_room_are_flushed_later(void **state)
{
	struct fixture *f = *state;
	struct call c = {.res = 1};

	open_qcow2(f);
	script(f, "write errno ENOSPC");
	start(f, &c, DRIVE_FLUSH, NULL, 0, 0);
	wait_told(1);
	assert_false(trouble(f).is_lost);
	retry(f);
	wait_told(2);
	assert_false(is_done(&c));
	script(f, "");
	retry(f);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	close_drive(f);
	open_drive(f, qcow2_config);
	assert_int_equal(read_byte(f, 65536), 0x55);
}

static void do_flush_now(void *arg)
{
	struct error e = {0};

	assert_int_equal(drive_flush_now(arg, &e), 0);
}

/* The second one begins when the first is dropped, and finds no room either. */
static void a_flush_without_room_during_a_reset_is_no_loss(void **state)
{
	struct fixture *f = *state;
	struct drive_facts facts;

	open_qcow2(f);
	script(f, "write errno ENOSPC");
	loop_call(f->loop, do_flush_now, f->drive);
	wait_told(1);
	loop_call(f->loop, do_flush_now, f->drive);
	loop_call(f->loop, do_give_up, f->drive);
	drive_facts_copy(f->drive, &facts);
	assert_int_equal(facts.own_flushes, 1);
	assert_false(facts.sync_failed);
	script(f, "");
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	close_drive(f);
	open_drive(f, qcow2_config);
	assert_int_equal(read_byte(f, 65536), 0x55);
}

/* The kernel says once that it could not write, and may have dropped the
 * pages: that the next fdatasync succeeds means nothing. */
static void a_sync_that_failed_is_not_done_again(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	struct call c = {.res = 1};

	open_stop(f);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	__atomic_store_n(&sync_error, EIO, __ATOMIC_SEQ_CST);
	start(f, &c, DRIVE_FLUSH, NULL, 0, 0);
	wait_told(1);
	assert_true(trouble(f).is_lost);
	assert_int_equal(trouble(f).op, DRIVE_FLUSH);
	assert_false(is_done(&c));
	/* It was told: the guest gets the error now, and at every later flush;
	 * the machine is not stopped again. */
	retry(f);
	assert_int_equal(finish(&c), -EIO);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), -EIO);
	assert_int_equal(told, 1);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
}

/* The guest was told of the sync; a lack of room is another matter. */
static void a_write_without_room_waits_after_a_failed_sync(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	struct call c = {.res = 1};

	open_drive(f, (struct drive_config){.on_write_error =
						    DRIVE_ERROR_NO_ROOM});
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	__atomic_store_n(&sync_error, EIO, __ATOMIC_SEQ_CST);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), -EIO);
	for (int i = 1; i <= 2; i++) {
		script(f, "write once errno ENOSPC");
		c.res = 1;
		start(f, &c, DRIVE_WRITE, buf, 0, 512);
		wait_told(i);
		assert_false(trouble(f).is_lost);
		retry(f);
		assert_int_equal(finish(&c), 0);
	}
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), -EIO);
}

/* Its own sync fails as the one before did: no retry helps. */
static void a_write_through_tells_of_the_loss(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	struct call c = {.res = 1};

	open_drive(f,
		   (struct drive_config){.preset = DRIVE_WRITETHROUGH,
					 .on_write_error = DRIVE_ERROR_STOP});
	__atomic_store_n(&sync_error, EIO, __ATOMIC_SEQ_CST);
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	assert_true(trouble(f).is_lost);
	retry(f);
	assert_int_equal(finish(&c), -EIO);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), -EIO);
	assert_int_equal(told, 1);
}

/* A write that must be stable is written again with its flush. */
static void a_write_through_is_done_again_whole(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x66};
	struct call c = {.res = 1};

	open_drive(f,
		   (struct drive_config){.preset = DRIVE_WRITETHROUGH,
					 .on_write_error = DRIVE_ERROR_STOP});
	script(f, "flush once errno ENOSPC");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	assert_string_equal(pc_gate.order, "w");
	retry(f);
	assert_int_equal(finish(&c), 0);
	assert_string_equal(pc_gate.order, "wws");
}

static void do_force_off(void *arg)
{
	struct error e = {0};

	assert_int_equal(drive_force_wce_off(arg, true, &e), 0);
}

static void the_drives_own_flush_waits_too(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	struct drive_facts facts;

	open_stop(f);
	assert_int_equal(run(f, DRIVE_WRITE, buf, 0, 512), 0);
	script(f, "flush once errno ENOSPC");
	loop_call(f->loop, do_force_off, f->drive);
	wait_told(1);
	retry(f);
	loop_call(f->loop, do_drain, f->drive);
	drive_facts_copy(f->drive, &facts);
	assert_int_equal(facts.own_flushes, 1);
	assert_int_equal(facts.unflushed_writes, 0);
	assert_int_equal(pc_gate.syncs, 1);
	assert_false(facts.sync_failed);
}

/* ---- while requests are kept ---- */

static void a_drain_does_not_wait_for_the_kept(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x42};
	struct call c = {.res = 1};

	open_stop(f);
	script(f, "write errno EIO");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	loop_call(f->loop, do_drain, f->drive);
	assert_false(is_done(&c));
	script(f, "");
	retry(f);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(read_byte(f, 0), 0x42);
}

static void a_reset_ends_them_unheard(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x43};
	struct call c = {.res = 1}, d = {.res = 1};

	open_stop(f);
	script(f, "write errno EIO");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	start(f, &d, DRIVE_FLUSH, NULL, 0, 0);
	loop_call(f->loop, do_give_up, f->drive);
	assert_int_equal(finish(&c), -ECANCELED);
	assert_int_equal(finish(&d), -ECANCELED);
	assert_int_equal(trouble(f).kept, 0);
	assert_int_equal(told, 1);
	script(f, "");
	assert_int_equal(read_byte(f, 0), 0);
	/* The next guest is as safe as the one before. */
	script(f, "write once errno EIO");
	c.res = 1;
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(2);
	retry(f);
	assert_int_equal(finish(&c), 0);
}

/* One that fails on its way while its guest goes is not kept for the next. */
/* Both in one turn of the loop: the write is on its way when the reset comes. */
static void many_then_give_up(void *arg)
{
	struct many *m = arg;

	submit_many(m);
	do_give_up(m->f->drive);
}

static void what_fails_during_a_reset_is_not_kept(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x43};
	struct call c = {.res = 1};
	struct many m = {f, &c, 1};

	open_stop(f);
	script(f, "write delay 50ms errno EIO");
	prepare(f, &c, DRIVE_WRITE, buf, 0, 512);
	loop_call(f->loop, many_then_give_up, &m);
	assert_int_equal(finish(&c), -ECANCELED);
	assert_int_equal(told, 0);
}

static struct call step;

static void submit_step(struct call *c)
{
	drive_submit(c->drive, &step.req);
}

/* Nor goes a device on with what it had begun for its guest. */
static void no_step_is_begun_during_a_reset(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x43};
	struct call c = {.res = 1, .then = submit_step};

	open_stop(f);
	script(f, "write delay 50ms");
	step = (struct call){.res = 1, .iov = {buf, 512}};
	step.done_fd = eventfd(0, EFD_CLOEXEC);
	step.req = (struct drive_req){
		.op = DRIVE_WRITE,
		.off = 512,
		.len = 512,
		.iov = &step.iov,
		.nr_iov = 1,
		.done = call_done,
		.opaque = &step,
	};
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	loop_call(f->loop, do_give_up, f->drive);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(finish(&step), -ECANCELED);
	assert_int_equal(read_byte(f, 0), 0x43);
	assert_int_equal(read_byte(f, 512), 0);
}

static void a_drive_closes_with_kept_requests(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {1};
	struct call c = {.res = 1};

	open_stop(f);
	script(f, "write errno EIO");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	close_drive(f);
	assert_int_equal(finish(&c), -ECANCELED);
}

struct cut_call {
	struct drive *d;
	struct drive_cut out;
	struct error e;
	int ret;
};

static void do_cut(void *arg)
{
	struct cut_call *c = arg;

	c->ret = drive_cut_power(c->d, BLK_CUT_NONE, 1, &c->out, &c->e);
}

static void a_power_cut_ends_them(void **state)
{
	struct fixture *f = *state;
	uint8_t kept[512] = {0x11}, lost[512] = {0x22};
	struct call c = {.res = 1};
	struct cut_call cut = {0};

	open_drive(f,
		   (struct drive_config){.scratch = true,
					 .is_volatile = true,
					 .on_read_error = DRIVE_ERROR_STOP,
					 .on_write_error = DRIVE_ERROR_STOP});
	assert_int_equal(run(f, DRIVE_WRITE, kept, 0, 512), 0);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	script(f, "read errno EIO");
	start(f, &c, DRIVE_READ, lost, 0, 512);
	wait_told(1);
	script(f, "");
	cut.d = f->drive;
	loop_call(f->loop, do_cut, &cut);
	if (cut.ret)
		fail_msg("%s", cut.e.msg);
	assert_int_equal(finish(&c), -ECANCELED);
	assert_false(drive_cut_is_broken(&cut.out));
	assert_int_equal(read_byte(f, 0), 0x11);
}

/* The watcher of promises sees a write that was done at the second try. */
static void a_promise_made_at_the_second_try_is_kept(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x33};
	struct call c = {.res = 1}, d = {.res = 1};
	struct cut_call cut = {0};

	open_drive(f, (struct drive_config){.scratch = true,
					    .is_volatile = true,
					    .on_write_error =
						    DRIVE_ERROR_NO_ROOM});
	script(f, "write errno ENOSPC");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	start(f, &d, DRIVE_FLUSH, NULL, 0, 0);
	for (int i = 1; !is_done(&d) || !is_done(&c); i++) {
		wait_told(i);
		script(f, "");
		retry(f);
		loop_call(f->loop, do_drain, f->drive);
	}
	assert_int_equal(finish(&c), 0);
	assert_int_equal(finish(&d), 0);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	cut.d = f->drive;
	loop_call(f->loop, do_cut, &cut);
	if (cut.ret)
		fail_msg("%s", cut.e.msg);
	assert_int_equal(cut.out.facts.promised, 512);
	assert_int_equal(cut.out.facts.kept, 512);
	assert_int_equal(read_byte(f, 0), 0x33);
}

static void do_grow(void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(drive_grow(f->drive, 2 * DISK_LEN, &f->e), 0);
}

/* Who works on the image beside the guest does not wait either. */
static void others_work_while_requests_are_kept(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x12};
	struct call c = {.res = 1};

	open_stop(f);
	script(f, "write once errno ENOSPC");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	loop_call(f->loop, do_grow, f);
	assert_int_equal(drive_len(f->drive), 2 * DISK_LEN);
	assert_false(is_done(&c));
	retry(f);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(read_byte(f, 0), 0x12);
}

static void do_mirror(void *arg)
{
	struct fixture *f = arg;
	char path[128];
	struct blk_job_config cfg = {.kind = BLK_JOB_MIRROR, .path = path};

	snprintf(path, sizeof(path), "%s/copy.img", f->dir);
	if (drive_job_start(f->drive, &cfg, &f->e))
		fail_msg("%s", f->e.msg);
}

/* A job begins while a request is kept, and does not keep the retry back. */
static void a_job_begins_meanwhile(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0x13};
	struct call c = {.res = 1};

	open_stop(f);
	script(f, "write once errno ENOSPC");
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	wait_told(1);
	loop_call(f->loop, do_mirror, f);
	assert_false(is_done(&c));
	retry(f);
	assert_int_equal(finish(&c), 0);
	assert_int_equal(read_byte(f, 0), 0x13);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_policy_does_what_it_says),
		T(words_are_checked),
		T(without_an_owner_the_guest_is_told),
		T(what_the_guest_did_wrong_is_told),
		T(a_retry_writes_what_was_lost),
		T(a_second_failure_stops_again),
		T(nothing_kept_is_nothing_retried),
		T(the_order_is_kept),
		T(requests_that_fail_together_keep_their_order),
		T(new_requests_come_after_the_kept),
		T(tables_without_room_are_flushed_later),
		T(a_sync_that_failed_is_not_done_again),
		T(a_flush_without_room_during_a_reset_is_no_loss),
		T(a_write_without_room_waits_after_a_failed_sync),
		T(a_write_through_tells_of_the_loss),
		T(a_write_through_is_done_again_whole),
		T(the_drives_own_flush_waits_too),
		T(a_drain_does_not_wait_for_the_kept),
		T(a_reset_ends_them_unheard),
		T(what_fails_during_a_reset_is_not_kept),
		T(no_step_is_begun_during_a_reset),
		T(a_drive_closes_with_kept_requests),
		T(a_power_cut_ends_them),
		T(a_promise_made_at_the_second_try_is_kept),
		T(others_work_while_requests_are_kept),
		T(a_job_begins_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
