/*
 * Internal snapshots on a disk of which one request fails, each in turn: what
 * failed did not happen, and whatever the guest writes then, a crash leaves the
 * disk, its snapshots and sound counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/fault.h"
#include "core/blk/qcow2/qcow2.h"
#include "tests/unit/blk_memory.h"
#include "tests/unit/crash_model.h"

#define SECTORS	     150u
#define FILLED	     90u
#define SKIPS_MAX    400
#define SNAPSHOT_MAX 4

enum content { OLD = 2, NOW, NEXT }; /* tags */

static const char *const shapes[][2] = {
	{"refcount_bits", "16"},
	{"lazy_refcounts", "on"},
	{"refcount_bits", "64"},
};
#define NR_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static const char *const faults[] = {
	"write skip %u once errno ENOSPC",
	"write skip %u errno ENOSPC",
	"flush skip %u once errno EIO",
	"flush skip %u errno EIO",
	/* As the third, and then nothing can be written any more. */
	"flush state 1 skip %u once errno EIO set-state 2\n"
	"write state 2 errno EIO",
};
#define NR_FAULTS (sizeof(faults) / sizeof(faults[0]))

struct run {
	struct blk_bench bench;
	char path[64];
	struct blk *base, *disk, *fault, *b;
	unsigned shape, kind, skip;
	enum blk_snapshot_op op;
	uint64_t failed_ops, cuts;
	bool written[SECTORS], failed;
};

static bool wrong(struct run *r, const char *what, long long a, long long b)
{
	fprintf(stderr,
		"%s, operation %d, fault %u, skip %u: %s (%lld, %lld)\n",
		shapes[r->shape][0], r->op, r->kind, r->skip, what, a, b);
	r->failed = true;
	return false;
}

/* ---- the image ---- */

static struct blk *copy_disk(struct run *r, struct blk *from)
{
	struct blk *to = memory_disk_open(r->bench.ctx, from->len);

	memcpy(memory_disk_of(to)->data, memory_disk_of(from)->data, from->len);
	return to;
}

static struct blk *open_image(struct run *r, struct blk *file,
			      const char *snapshot)
{
	struct blk_options o = {
		.format = "qcow2", .write = !snapshot, .snapshot = snapshot};
	struct error e = {0};
	struct blk *b = blk_open_over(file, &o, &e);

	if (!b)
		wrong(r, e.msg, e.code, 0);
	return b;
}

static int write_sector(struct blk *b, uint32_t s, uint32_t tag)
{
	uint8_t buf[SECTOR];

	model_fill(buf, tag, s);
	return blk_write(b, s * SECTOR, buf, SECTOR, 0);
}

/* What the disk shows before the fault. */
static uint32_t now(uint32_t s)
{
	return s >= FILLED ? TAG_ZERO : s % 3 ? OLD : NOW;
}

static int snapshot(struct run *r, enum blk_snapshot_op op, const char *name)
{
	struct error e = {0};

	return blk_qcow2_format.snapshot(r->b, op, name, &e);
}

/* The guest's next writes go to half of the disk, filled or not. */
static bool is_next(uint32_t s)
{
	return s % 2;
}

static void make_base(struct run *r)
{
	struct blk_opt opts[] = {{"cluster_size", "512"},
				 {shapes[r->shape][0], shapes[r->shape][1]}};
	struct blk_create create = {.path = r->path,
				    .len = SECTORS * SECTOR,
				    .opts = opts,
				    .nr_opts = 2};
	struct error e = {0};
	FILE *in;

	CHECK_EQ(blk_qcow2_format.create(r->bench.ctx, &create, &e), 0);
	r->base = memory_disk_open(r->bench.ctx, 1 << 20);
	in = fopen(r->path, "r");
	CHECK(in);
	r->base->len = fread(memory_disk_of(r->base)->data, 1, 1 << 20, in);
	fclose(in);
	r->b = open_image(r, blk_ref(r->base), NULL);
	for (uint32_t s = 0; s < FILLED; s++)
		CHECK_EQ(write_sector(r->b, s, OLD), 0);
	CHECK_EQ(snapshot(r, BLK_SNAPSHOT_CREATE, "one"), 0);
	for (uint32_t s = 0; s < FILLED; s++)
		if (now(s) == NOW)
			CHECK_EQ(write_sector(r->b, s, NOW), 0);
	CHECK_EQ(blk_unref(r->b), 0);
}

/* ---- what must hold ---- */

static void on_line(void *arg, const char *line)
{
	if (!strncmp(line, "ERROR", 5))
		snprintf(arg, 256, "%s", line);
}

static bool check_sound(struct run *r, struct blk *b)
{
	char first[256] = "not sound";
	struct blk_check out = {.say = on_line, .say_arg = first};
	struct error e = {0};

	if (blk_qcow2_format.check(b, 0, &out, &e))
		return wrong(r, e.msg, e.code, 0);
	if (out.corruptions || out.check_errors)
		return wrong(r, first, out.corruptions, out.check_errors);
	return true;
}

static bool has_snapshot(struct blk *b, const char *name)
{
	struct blk_snapshot_info list[SNAPSHOT_MAX];
	int nr = blk_qcow2_format.snapshots(b, list, SNAPSHOT_MAX);

	for (int i = 0; i < nr; i++)
		if (!strcmp(list[i].name, name))
			return true;
	return false;
}

/* Nothing but old and new; sure: what was acknowledged is there. */
static bool check_data(struct run *r, struct blk *b, bool sure, int ret)
{
	uint8_t buf[SECTOR];
	bool ok = true;

	for (uint32_t s = 0; s < SECTORS && ok; s++) {
		bool applied = r->op == BLK_SNAPSHOT_APPLY;
		uint32_t old = s < FILLED ? OLD : TAG_ZERO;

		if (blk_read(b, s * SECTOR, buf, SECTOR))
			return wrong(r, "reading", s, 0);
		ok = is_next(s) && model_is(buf, NEXT, s);
		if (!sure || !r->written[s]) {
			ok |= model_is(buf, now(s), s) &&
			      !(sure && applied && !ret);
			ok |= applied && model_is(buf, old, s) &&
			      !(sure && ret);
		}
		if (!ok)
			wrong(r, "a sector is neither old nor new", s, ret);
	}
	return ok;
}

static bool check_snapshot(struct run *r, struct blk *disk)
{
	struct blk *b = open_image(r, blk_ref(disk), "one");
	uint8_t buf[SECTOR];
	bool ok = b;

	for (uint32_t s = 0; s < SECTORS && ok; s++)
		ok = !blk_read(b, s * SECTOR, buf, SECTOR) &&
		     model_is(buf, s < FILLED ? OLD : TAG_ZERO, s);
	if (!ok)
		wrong(r, "the snapshot changed", 0, 0);
	blk_unref(b);
	return ok;
}

/* The machine stops here: what the disk holds is all there is. */
static void crash(struct run *r)
{
	struct blk *disk = copy_disk(r, r->disk), *b;

	b = open_image(r, blk_ref(disk), NULL);
	if (b) {
		bool there = has_snapshot(b, "one");

		check_sound(r, b);
		check_data(r, b, false, 0);
		if (!there && r->op != BLK_SNAPSHOT_DELETE)
			wrong(r, "a snapshot is gone", 0, 0);
		blk_unref(b);
		if (there)
			check_snapshot(r, disk);
	}
	blk_unref(disk);
	r->cuts++;
}

static void guest_goes_on(struct run *r)
{
	for (uint32_t s = 0; s < SECTORS; s++)
		if (is_next(s))
			r->written[s] = !write_sector(r->b, s, NEXT);
}

/* The disk is well again: what failed can be done. */
static void recover(struct run *r, int ret)
{
	const char *name = r->op == BLK_SNAPSHOT_CREATE ? "two" : "one";
	bool wanted = r->op == BLK_SNAPSHOT_CREATE   ? !ret
		      : r->op == BLK_SNAPSHOT_DELETE ? ret
						     : true;
	int again;

	if (has_snapshot(r->b, name) != wanted)
		wrong(r, "the list does not say what was said", ret, wanted);
	if (blk_flush(r->b))
		wrong(r, "the flush after the fault", 0, 0);
	check_sound(r, r->b);
	check_data(r, r->b, true, ret);
	if (ret && (again = snapshot(r, r->op, name)))
		wrong(r, "trying again", ret, again);
	check_sound(r, r->b);
}

/* Returns whether the fault was met. */
static bool one_fault(struct run *r)
{
	char script[128];
	struct error e = {0};
	uint64_t hits;
	int ret;

	memset(r->written, 0, sizeof(r->written));
	r->disk = copy_disk(r, r->base);
	r->fault = blk_filter_open(blk_ref(r->disk), &blk_fault_driver, &e);
	CHECK(r->fault);
	r->b = open_image(r, blk_ref(r->fault), NULL);
	CHECK(r->b);
	snprintf(script, sizeof(script), faults[r->kind], r->skip);
	CHECK_EQ(blk_fault_set(r->fault, script, "script", &e), 0);
	ret = snapshot(r, r->op, r->op == BLK_SNAPSHOT_CREATE ? "two" : "one");
	hits = blk_fault_hits(r->fault);
	r->failed_ops += ret != 0;
	crash(r);
	guest_goes_on(r);
	crash(r);
	CHECK_EQ(blk_fault_set(r->fault, "", "script", &e), 0);
	recover(r, ret);
	blk_unref(r->b);
	crash(r);
	blk_unref(r->fault);
	blk_unref(r->disk);
	return hits;
}

static int shape_run(void *arg)
{
	static const enum blk_snapshot_op ops[] = {
		BLK_SNAPSHOT_CREATE, BLK_SNAPSHOT_DELETE, BLK_SNAPSHOT_APPLY};
	struct run *r = arg;

	make_base(r);
	for (unsigned i = 0; i < 3 * NR_FAULTS && !r->failed; i++) {
		r->op = ops[i % 3];
		r->kind = i / 3;
		for (r->skip = 0; r->skip < SKIPS_MAX && !r->failed; r->skip++)
			if (!one_fault(r))
				break;
	}
	blk_unref(r->base);
	return 0;
}

static void each_request_fails(void **state)
{
	struct run r = {.path = "/tmp/test_qcow2_switch.XXXXXX"};
	int fd = mkstemp(r.path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(blk_bench_start(&r.bench), 0);
	for (r.shape = 0; r.shape < NR_SHAPES && !r.failed; r.shape++)
		assert_int_equal(blk_run(r.bench.ctx, shape_run, &r), 0);
	blk_bench_stop(&r.bench);
	unlink(r.path);
	print_message("%llu operations failed, %llu crashes\n",
		      (unsigned long long)r.failed_ops,
		      (unsigned long long)r.cuts);
	assert_false(r.failed);
	assert_true(r.failed_ops > NR_SHAPES * 3 * NR_FAULTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_request_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
