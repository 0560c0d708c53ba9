/*
 * drive_bench: a drive over a file in a scratch folder with pc_gate in between,
 * on a loop of its own; requests run from the test's thread.
 *
 * Thread rule: all by the test's thread.
 */
#ifndef TESTS_UNIT_DRIVE_BENCH_H
#define TESTS_UNIT_DRIVE_BENCH_H

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/drive_look.h"
#include "core/blk/drive_stats.h"
#include "core/error.h"
#include "core/loop.h"
#include "core/world.h"
#include "tests/unit/pc_gate.h"

#define DISK_LEN	  (1u << 20)
#define DRIVE_PATIENCE_MS 60000 /* for what must happen */

struct fixture {
	char dir[64], path[96];
	struct world *world;
	struct loop *loop;
	struct drive *drive;
	struct error e;
};

static const struct drive_caps full_caps = {
	.device = "test-disk",
	.wce = DRIVE_WCE_NEGOTIABLE,
	.flush = true,
	.discard = true,
	.write_zeroes = true,
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	pc_gate = (struct pc_gate){.gate = -1};
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_drive.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/a.img", f->dir);
	fd = open(f->path, O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_LEN), 0);
	close(fd);
	f->world = world_create();
	f->loop = loop_create("test", f->world, &f->e);
	assert_non_null(f->loop);
	assert_int_equal(loop_start(f->loop, &f->e), 0);
	*state = f;
	return 0;
}

static inline void do_close(void *arg)
{
	struct fixture *f = arg;

	drive_close(f->drive);
	f->drive = NULL;
}

static inline void close_drive(struct fixture *f)
{
	loop_call(f->loop, do_close, f);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	close_drive(f);
	loop_destroy(f->loop);
	world_destroy(f->world);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", f->dir);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

struct open_call {
	struct fixture *f;
	struct drive_config cfg;
	const struct drive_caps *caps;
	struct drive *out;
	int attach;
};

static inline void do_open(void *arg)
{
	struct open_call *c = arg;

	c->out = drive_open_with(c->f->loop, &c->cfg, pc_wrap, NULL, NULL,
				 &c->f->e);
	if (c->out && c->caps)
		c->attach = drive_attach(c->out, c->caps, &c->f->e);
}

static inline struct drive *open_config(struct fixture *f,
					const struct drive_config *cfg)
{
	struct open_call c = {.f = f, .cfg = *cfg, .caps = &full_caps};

	loop_call(f->loop, do_open, &c);
	assert_int_equal(c.attach, 0);
	return c.out;
}

static inline struct drive *open_with(struct fixture *f,
				      enum drive_preset preset, bool readonly)
{
	struct drive_config cfg = {
		.path = f->path, .preset = preset, .readonly = readonly};

	return open_config(f, &cfg);
}

static inline void open_preset(struct fixture *f, enum drive_preset preset)
{
	f->drive = open_with(f, preset, false);
	if (!f->drive)
		fail_msg("%s", f->e.msg);
}

/* ---- one request, from submission to completion ---- */

struct call {
	struct drive_req req;
	struct iovec iov;
	struct drive *drive;
	int done_fd, res;
	bool in_submit, too_early;
	void (*then)(struct call *c);
};

static inline void call_done(struct drive_req *req, int res)
{
	struct call *c = req->opaque;
	uint64_t one = 1;

	c->res = res;
	c->too_early = c->in_submit;
	if (c->then)
		c->then(c);
	assert_int_equal(write(c->done_fd, &one, sizeof(one)), sizeof(one));
}

static inline void do_submit(void *arg)
{
	struct call *c = arg;

	c->in_submit = true;
	drive_submit(c->drive, &c->req);
	c->in_submit = false;
}

static inline void prepare(struct fixture *f, struct call *c, enum drive_op op,
			   void *buf, uint64_t off, uint64_t len)
{
	c->iov = (struct iovec){.iov_base = buf, .iov_len = len};
	c->req.op = op;
	c->req.off = off;
	c->req.len = len;
	c->req.iov = &c->iov;
	c->req.nr_iov = buf ? 1 : 0;
	c->req.done = call_done;
	c->req.opaque = c;
	c->drive = f->drive;
	c->done_fd = eventfd(0, EFD_CLOEXEC);
}

static inline void start(struct fixture *f, struct call *c, enum drive_op op,
			 void *buf, uint64_t off, uint64_t len)
{
	prepare(f, c, op, buf, off, len);
	loop_call(f->loop, do_submit, c);
}

static inline int finish(struct call *c)
{
	struct pollfd p = {.fd = c->done_fd, .events = POLLIN};
	uint64_t n;

	if (poll(&p, 1, DRIVE_PATIENCE_MS) != 1)
		fail_msg("no answer");
	assert_int_equal(read(c->done_fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1);
	close(c->done_fd);
	assert_false(c->too_early);
	return c->res;
}

static inline int run(struct fixture *f, enum drive_op op, void *buf,
		      uint64_t off, uint64_t len)
{
	struct call c = {.res = 1};

	start(f, &c, op, buf, off, len);
	return finish(&c);
}

/* ---- looking ---- */

static inline void wait_until_idle(struct fixture *f)
{
	for (int i = 0; drive_in_flight(f->drive); i++) {
		if (i == DRIVE_PATIENCE_MS)
			fail_msg("the drive does not come to rest");
		usleep(1000);
	}
}

static inline struct drive_facts facts_of(struct fixture *f)
{
	struct drive_facts facts;

	drive_facts_copy(f->drive, &facts);
	return facts;
}

/* A fresh look. */
static inline struct drive_look look_at(struct fixture *f)
{
	uint64_t asked = loop_now_ns();
	struct drive_look look;

	for (int i = 0; i < DRIVE_PATIENCE_MS; i++) {
		drive_look_copy(f->drive, 0, &look);
		if (look.taken_ns > asked)
			return look;
		usleep(1000);
	}
	fail_msg("nobody looks");
	return look;
}

#endif
