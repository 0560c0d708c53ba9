/*
 * What survives a power cut: the requests go to a disk of memory that forgets
 * at the cut whatever was not synced.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/drive.h"
#include "core/blk/drive_int.h"
#include "core/blk/driver.h"
#include "core/error.h"
#include "core/loop.h"

#define NR_SECTORS 64u
#define SECTOR	   512u
#define NR_ROUNDS  2000u

/* Four bytes stand for a sector: the number of the write that filled it. */
struct platter {
	pthread_mutex_t lock;
	uint32_t cached[NR_SECTORS], stable[NR_SECTORS];
};

static struct platter platter = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int cut_open(struct blk *b, const struct blk_options *o, struct error *e)
{
	/* The length comes from a real file; its bytes aren't used. */
	(void)b;
	(void)o;
	(void)e;
	return 0;
}

static int cut_readv(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr)
{
	(void)b;
	(void)len;
	pthread_mutex_lock(&platter.lock);
	for (int i = 0; i < nr; i++)
		for (size_t k = 0; k < iov[i].iov_len; k += SECTOR) {
			memcpy((uint8_t *)iov[i].iov_base + k,
			       &platter.cached[off / SECTOR], 4);
			off += SECTOR;
		}
	pthread_mutex_unlock(&platter.lock);
	return 0;
}

static int cut_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags)
{
	(void)b;
	(void)len;
	(void)flags;
	pthread_mutex_lock(&platter.lock);
	for (int i = 0; i < nr; i++)
		for (size_t k = 0; k < iov[i].iov_len; k += SECTOR) {
			memcpy(&platter.cached[off / SECTOR],
			       (uint8_t *)iov[i].iov_base + k, 4);
			off += SECTOR;
		}
	pthread_mutex_unlock(&platter.lock);
	return 0;
}

static int cut_flush(struct blk *b)
{
	(void)b;
	pthread_mutex_lock(&platter.lock);
	memcpy(platter.stable, platter.cached, sizeof(platter.stable));
	pthread_mutex_unlock(&platter.lock);
	return 0;
}

static const struct blk_driver cut_driver = {
	.name = "platter",
	.open = cut_open,
	.readv = cut_readv,
	.writev = cut_writev,
	.flush = cut_flush,
};

static struct blk *wrap(void *arg, struct blk *file, struct error *e)
{
	(void)arg;
	return blk_filter_open(file, &cut_driver, e);
}

/* ---- one drive after the other, one request at a time ---- */

struct run {
	struct loop *loop;
	struct drive *drive;
	struct drive_config cfg;
	enum drive_wce_cap wce;
	bool has_flush, turn_off;
	struct error e;
	struct drive_req req;
	struct iovec iov;
	uint8_t buf[SECTOR];
	int res, done; /* done: atomic */
};

static void do_open(void *arg)
{
	struct run *r = arg;
	struct drive_caps caps = {
		.device = "test-disk",
		.wce = r->wce,
		.flush = r->has_flush,
		.fua = true,
	};

	r->drive = drive_open_with(r->loop, &r->cfg, wrap, NULL, NULL, &r->e);
	if (r->drive && drive_attach(r->drive, &caps, &r->e))
		fail_msg("%s", r->e.msg);
	if (r->drive && r->turn_off)
		drive_set_wce(r->drive, false);
}

static void do_close(void *arg)
{
	drive_close(((struct run *)arg)->drive);
}

static void on_done(struct drive_req *req, int res)
{
	struct run *r = req->opaque;

	r->res = res;
	/* Release: pairs with the poll in submit. */
	__atomic_store_n(&r->done, 1, __ATOMIC_RELEASE);
}

static void do_submit(void *arg)
{
	struct run *r = arg;

	drive_submit(r->drive, &r->req);
}

static void submit(struct run *r, enum drive_op op, unsigned sector,
		   uint32_t number, bool fua)
{
	memset(r->buf, 0, sizeof(r->buf));
	memcpy(r->buf, &number, 4);
	r->iov = (struct iovec){.iov_base = r->buf, .iov_len = SECTOR};
	r->req = (struct drive_req){
		.op = op,
		.fua = fua,
		.off = sector * SECTOR,
		.len = op == DRIVE_FLUSH ? 0 : SECTOR,
		.iov = &r->iov,
		.nr_iov = op == DRIVE_FLUSH ? 0 : 1,
		.done = on_done,
		.opaque = r,
	};
	r->done = 0;
	loop_call(r->loop, do_submit, r);
	while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE))
		usleep(10);
	assert_int_equal(r->res, 0);
}

/* What the guest has been promised: the least each sector must hold. */
struct promise {
	uint32_t written[NR_SECTORS], stable[NR_SECTORS];
};

/* The cut: every promised write is there, or a later one to its sector. */
static void check_cut(const struct promise *p)
{
	pthread_mutex_lock(&platter.lock);
	for (unsigned s = 0; s < NR_SECTORS; s++)
		if (platter.stable[s] < p->stable[s])
			fail_msg("sector %u holds write %u, but %u had been "
				 "promised",
				 s, platter.stable[s], p->stable[s]);
	pthread_mutex_unlock(&platter.lock);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Random writes and flushes, with the power cut after each of them. */
static void run(struct run *r, bool writes_are_stable)
{
	struct promise p = {0};
	uint32_t seed = 1;

	memset(platter.cached, 0, sizeof(platter.cached));
	memset(platter.stable, 0, sizeof(platter.stable));
	loop_call(r->loop, do_open, r);
	if (!r->drive)
		fail_msg("%s", r->e.msg);
	for (uint32_t i = 1; i <= NR_ROUNDS; i++) {
		unsigned sector = next_random(&seed) % NR_SECTORS;
		bool fua = next_random(&seed) % 16 == 0;

		if (r->has_flush && next_random(&seed) % 8 == 0) {
			submit(r, DRIVE_FLUSH, 0, 0, false);
			memcpy(p.stable, p.written, sizeof(p.stable));
		} else {
			submit(r, DRIVE_WRITE, sector, i, fua);
			p.written[sector] = i;
			if (writes_are_stable || fua)
				p.stable[sector] = i;
		}
		check_cut(&p);
	}
	loop_call(r->loop, do_close, r);
}

struct row {
	enum drive_preset preset;
	enum drive_wce_cap wce;
	bool has_flush, turn_off; /* the guest turns the cache off */
	bool writes_are_stable;
};

static void promises_survive_the_cut(void **state)
{
	static const struct row rows[] = {
		{DRIVE_WRITEBACK, DRIVE_WCE_NEGOTIABLE, true, false, false},
		{DRIVE_NONE, DRIVE_WCE_NEGOTIABLE, true, false, false},
		{DRIVE_WRITETHROUGH, DRIVE_WCE_NEGOTIABLE, true, false, true},
		{DRIVE_DIRECTSYNC, DRIVE_WCE_NEGOTIABLE, true, false, true},
		{DRIVE_WRITEBACK, DRIVE_WCE_NEGOTIABLE, true, true, true},
		{DRIVE_WRITEBACK, DRIVE_WCE_ALWAYS, true, false, false},
		{DRIVE_WRITEBACK, DRIVE_WCE_NEVER, false, false, true},
		{DRIVE_NONE, DRIVE_WCE_NEVER, false, false, true},
	};
	char path[] = "/tmp/test_power_cut.XXXXXX";
	struct run r = {0};
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, NR_SECTORS * SECTOR), 0);
	close(fd);
	r.loop = loop_create("test", NULL, &r.e);
	assert_int_equal(loop_start(r.loop, &r.e), 0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r.cfg = (struct drive_config){
			.path = path,
			.preset = rows[i].preset,
		};
		r.wce = rows[i].wce;
		r.has_flush = rows[i].has_flush;
		r.turn_off = rows[i].turn_off;
		run(&r, rows[i].writes_are_stable);
	}
	loop_destroy(r.loop);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promises_survive_the_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
