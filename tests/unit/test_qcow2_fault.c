/*
 * qcow2 on a disk that fails now and then: what was acknowledged reads back,
 * what failed is old or new, and the image stays sound.
 *
 * BINNACLE_FAULT_SEEDS=N runs N seeds, BINNACLE_FAULT_FIRST=N begins with N.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/fault.h"
#include "core/blk/qcow2/qcow2.h"
#include "tests/unit/blk_memory.h"
#include "tests/unit/crash_model.h"

#define DEFAULT_SEEDS 120
#define SECTORS	      800u
#define LANES	      4
#define IMAGE_MAX     (1u << 20)

static const char *const shapes[] = {
	"cluster_size=4096",
	"cluster_size=512",
	"cluster_size=512,refcount_bits=64",
	"cluster_size=16384,extended_l2=on",
	"cluster_size=4096,lazy_refcounts=on",
	"cluster_size=1024,refcount_bits=8",
};
#define NR_SHAPES  (sizeof(shapes) / sizeof(shapes[0]))
#define FEW_COUNTS 2 /* a refcount block has 64 entries */

struct run {
	struct blk_bench bench;
	char path[64];
	struct model *m;
	struct blk *disk, *fault, *b;
	unsigned seed, random, running, lane;
	uint32_t length; /* sectors */
	uint64_t errors, requests;
	bool failed;
};

static unsigned any(struct run *r, unsigned below)
{
	return rand_r(&r->random) % below;
}

static bool wrong(struct run *r, const char *what, long long a, long long b)
{
	fprintf(stderr, "seed %u (%s): %s (%lld, %lld)\n", r->seed,
		shapes[r->seed % NR_SHAPES], what, a, b);
	r->failed = true;
	return false;
}

/* ---- requests ---- */

/* What failed is never done: its sectors are old or new from then on. */
static bool count(struct run *r, int ret)
{
	r->requests++;
	r->errors += ret != 0;
	if (ret && ret != -EIO && ret != -ENOSPC)
		wrong(r, "an error that was not injected", ret, 0);
	return !ret;
}

static void write_some(struct run *r, uint32_t first, uint32_t nr,
		       unsigned flags)
{
	uint8_t *buf = malloc(nr * SECTOR);
	uint32_t tag = r->m->next_tag++;

	for (uint32_t i = 0; i < nr; i++)
		model_fill(buf + i * SECTOR, tag, first + i);
	model_begin(r->m, first, nr, tag, 0);
	if (count(r, blk_write(r->b, first * SECTOR, buf, nr * SECTOR, flags)))
		model_done(r->m, first, nr);
	free(buf);
}

static void zero_some(struct run *r, uint32_t first, uint32_t nr)
{
	unsigned flags = any(r, 2) ? BLK_MAY_UNMAP : 0;

	model_begin(r->m, first, nr, TAG_ZERO, 0);
	if (count(r,
		  blk_write_zeroes(r->b, first * SECTOR, nr * SECTOR, flags)))
		model_done(r->m, first, nr);
}

/* Never done: it may do nothing. */
static void discard_some(struct run *r, uint32_t first, uint32_t nr)
{
	model_begin(r->m, first, nr, TAG_ZERO, 0);
	count(r, blk_discard(r->b, first * SECTOR, nr * SECTOR));
}

static void read_some(struct run *r, uint32_t first, uint32_t nr)
{
	uint8_t *buf = malloc(nr * SECTOR);

	if (count(r, blk_read(r->b, first * SECTOR, buf, nr * SECTOR)))
		for (uint32_t i = 0; i < nr && !r->failed; i++)
			if (!model_allows(r->m, buf + i * SECTOR, first + i, 0,
					  NEVER - 1))
				wrong(r, "a sector is neither old nor new",
				      first + i,
				      *(uint64_t *)(buf + i * SECTOR));
	free(buf);
}

/* Pieces of three sectors belong to a lane. */
static void lane_main(void *arg)
{
	struct run *r = arg;
	unsigned lane = r->lane;

	for (unsigned i = 0; i < 40 && !r->failed; i++) {
		uint32_t first =
			(any(r, SECTORS / 3 / LANES) * LANES + lane) * 3;
		uint32_t nr = 1 + any(r, 3);
		unsigned kind = any(r, 16);

		if (kind < 9)
			write_some(r, first, nr, kind ? 0 : BLK_FUA);
		else if (kind < 11)
			zero_some(r, first, nr);
		else if (kind == 11)
			discard_some(r, first, nr);
		else if (kind < 15)
			read_some(r, first, nr);
		else
			count(r, blk_flush(r->b));
	}
	r->running--;
}

static void all_lanes(struct run *r)
{
	for (r->lane = 0; r->lane < LANES; r->lane++) {
		r->running++;
		CHECK_EQ(co_start(r->bench.ctx, lane_main, r), 0);
	}
	while (r->running)
		co_sleep_ns(r->bench.ctx, 20000);
}

static void change_bitmap(struct run *r, const char *name)
{
	struct blk_bitmap_op op = {.verb = any(r, BLK_BITMAP_MERGE),
				   .name = name,
				   .granularity = 512};
	struct error e = {0};

	blk_qcow2_format.bitmap(r->b, &op, &e);
}

static void amend(struct run *r)
{
	static const char *const widths[] = {"8", "16", "32", "64"};
	struct blk_opt opt = {"refcount_bits", widths[any(r, 4)]};
	struct blk_amend a = {.opts = &opt, .nr_opts = 1};
	struct error e = {0};

	blk_qcow2_format.amend(r->b, &a, &e);
}

static void alone(struct run *r)
{
	uint32_t nr = 1 + any(r, 100), first = any(r, SECTORS - nr);
	char name[8];
	struct error e = {0};

	snprintf(name, sizeof(name), "s%u", any(r, 4));
	switch (any(r, 12)) {
	case 0:
	case 1:
		write_some(r, first, nr, 0);
		break;
	case 2:
		zero_some(r, first, nr);
		break;
	case 3:
		discard_some(r, first, nr);
		break;
	case 4:
		first -= first % 32;
		write_some(r, first, 32, BLK_COMPRESSED);
		break;
	case 5:
		blk_qcow2_format.snapshot(r->b, BLK_SNAPSHOT_CREATE, name, &e);
		break;
	case 6:
		blk_qcow2_format.snapshot(r->b, BLK_SNAPSHOT_DELETE, name, &e);
		break;
	case 7:
	case 8:
		change_bitmap(r, name);
		break;
	case 9:
		amend(r);
		break;
	default:
		read_some(r, first, nr);
	}
}

/* ---- the image ---- */

static void load_image(struct run *r)
{
	struct blk_opt opts[4];
	struct blk_create create = {
		.path = r->path, .len = SECTORS * SECTOR, .opts = opts};
	char text[128], *save = NULL;
	struct error e = {0};
	FILE *in;

	snprintf(text, sizeof(text), "%s", shapes[r->seed % NR_SHAPES]);
	for (char *p = strtok_r(text, ",", &save); p;
	     p = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(p, '=');

		*eq = 0;
		opts[create.nr_opts++] = (struct blk_opt){p, eq + 1};
	}
	CHECK_EQ(blk_qcow2_format.create(r->bench.ctx, &create, &e), 0);
	r->disk = memory_disk_open(r->bench.ctx, IMAGE_MAX);
	in = fopen(r->path, "r");
	CHECK(in);
	r->disk->len = fread(memory_disk_of(r->disk)->data, 1, IMAGE_MAX, in);
	fclose(in);
	memory_disk_of(r->disk)->slow = 4;
	memory_disk_of(r->disk)->seed = r->seed;
}

static struct blk *open_image(struct run *r, struct blk *file)
{
	struct blk_options o = {.format = "qcow2",
				.write = true,
				.discard_unmap = true,
				.cache_len = r->seed % 3 ? 0 : 1};
	struct error e = {0};
	struct blk *b = blk_open_over(file, &o, &e);

	if (!b)
		wrong(r, e.msg, e.code, 0);
	return b;
}

struct found {
	char first[256];
};

static void on_line(void *arg, const char *line)
{
	struct found *f = arg;

	if (!*f->first && !strncmp(line, "ERROR", 5))
		snprintf(f->first, sizeof(f->first), "%s", line);
}

static void check_sound(struct run *r)
{
	struct found f = {0};
	struct blk_check out = {.say = on_line, .say_arg = &f};
	struct error e = {0};

	if (blk_qcow2_format.check(r->b, 0, &out, &e))
		wrong(r, e.msg, e.code, 0);
	if (out.corruptions || out.check_errors)
		wrong(r, *f.first ? f.first : "not sound", out.corruptions,
		      out.check_errors);
}

/* What an operation left behind shows at once, not only at the end. */
static void check_between(struct run *r, const char *script)
{
	struct error e = {0};

	CHECK_EQ(blk_fault_set(r->fault, "", "script", &e), 0);
	if (!blk_flush(r->b) && !qcow2_of(r->b)->lost)
		check_sound(r);
	CHECK_EQ(blk_fault_set(r->fault, script, "script", &e), 0);
}

static int seed_run(void *arg)
{
	struct run *r = arg;
	char script[256];
	struct error e = {0};
	bool lost;

	r->random = r->seed * 7919 + 1;
	r->m = calloc(1, sizeof(*r->m));
	r->m->next_tag = 2;
	for (uint32_t s = 0; s < SECTORS; s++)
		history_add(&r->m->sectors[s], TAG_ZERO, 0)->done = 0;
	load_image(r);
	r->fault = blk_filter_open(blk_ref(r->disk), &blk_fault_driver, &e);
	CHECK(r->fault);
	r->b = open_image(r, blk_ref(r->fault));
	CHECK(r->b);
	snprintf(script, sizeof(script),
		 "seed %u\nwrite probability 0.0%u errno EIO\n"
		 "write probability 0.01 errno ENOSPC after\n"
		 "read probability 0.0%u errno EIO\n"
		 "flush probability 0.0%u errno EIO\n",
		 r->seed, any(r, 7), any(r, 3), any(r, 7));
	CHECK_EQ(blk_fault_set(r->fault, script, "script", &e), 0);
	for (unsigned round = 0; round < 3 && !r->failed; round++) {
		all_lanes(r);
		for (unsigned i = 0; i < 6 && !r->failed; i++) {
			alone(r);
			if (r->seed % 4 == 3)
				check_between(r, script);
		}
	}
	/* The disk is well again, but an image may have said that it can't go on
	 * before it is opened again. */
	CHECK_EQ(blk_fault_set(r->fault, "", "script", &e), 0);
	lost = qcow2_of(r->b)->lost;
	if (!lost != !blk_flush(r->b))
		wrong(r, "the flush after the last fault", lost, 0);
	read_some(r, 0, SECTORS);
	if (!r->failed && !lost)
		check_sound(r);
	if (!blk_unref(r->b) != !lost)
		wrong(r, "closing", lost, 0);
	r->b = r->failed ? NULL : open_image(r, blk_ref(r->fault));
	if (r->b) {
		check_sound(r);
		if (!lost)
			read_some(r, 0, SECTORS);
		blk_unref(r->b);
	}
	blk_unref(r->fault);
	blk_unref(r->disk);
	model_fini(r->m);
	return 0;
}

/* A snapshot of an image of any length: each of the clusters that it takes is
 * in turn the first that a new refcount block counts. */
static int length_run(void *arg)
{
	struct run *r = arg;
	struct error e = {0};

	r->m = calloc(1, sizeof(*r->m));
	r->m->next_tag = 2;
	for (uint32_t i = 0; i < SECTORS; i++)
		history_add(&r->m->sectors[i], TAG_ZERO, 0)->done = 0;
	load_image(r);
	r->b = open_image(r, blk_ref(r->disk));
	CHECK(r->b);
	write_some(r, 0, r->length, 0);
	CHECK_EQ(blk_qcow2_format.snapshot(r->b, BLK_SNAPSHOT_CREATE, "s", &e),
		 0);
	check_sound(r);
	write_some(r, 0, r->length, 0);
	CHECK_EQ(blk_qcow2_format.snapshot(r->b, BLK_SNAPSHOT_DELETE, "s", &e),
		 0);
	check_sound(r);
	read_some(r, 0, SECTORS);
	CHECK_EQ(blk_unref(r->b), 0);
	blk_unref(r->disk);
	model_fini(r->m);
	return 0;
}

static unsigned from_environment(const char *name, unsigned preset)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 10) : preset;
}

static void faults(void **state)
{
	unsigned first = from_environment("BINNACLE_FAULT_FIRST", 0);
	unsigned nr = from_environment("BINNACLE_FAULT_SEEDS", DEFAULT_SEEDS);
	struct run r = {.path = "/tmp/test_qcow2_fault.XXXXXX"};
	int fd = mkstemp(r.path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(blk_bench_start(&r.bench), 0);
	for (r.seed = first; r.seed < first + nr && !r.failed; r.seed++)
		assert_int_equal(blk_run(r.bench.ctx, seed_run, &r), 0);
	blk_bench_stop(&r.bench);
	unlink(r.path);
	print_message("%llu of %llu requests failed\n",
		      (unsigned long long)r.errors,
		      (unsigned long long)r.requests);
	assert_false(r.failed);
	assert_true(r.errors > nr);
}

static void snapshots_at_any_length(void **state)
{
	struct run r = {.path = "/tmp/test_qcow2_fault.XXXXXX",
			.seed = FEW_COUNTS};
	int fd = mkstemp(r.path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(blk_bench_start(&r.bench), 0);
	for (r.length = 1; r.length < 200 && !r.failed; r.length++)
		assert_int_equal(blk_run(r.bench.ctx, length_run, &r), 0);
	blk_bench_stop(&r.bench);
	unlink(r.path);
	assert_false(r.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snapshots_at_any_length),
		cmocka_unit_test(faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
