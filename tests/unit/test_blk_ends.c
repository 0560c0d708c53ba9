/*
 * The ends of disks: a border inside a sector is the end and says so (B13);
 * the example of the header counts to the end and no further (B17).
 */
#include "tests/unit/bench.h"

#define SECTOR 512
#define BLOCK  4096

/* Data and holes in whole blocks, then an end anywhere. */
static void make_file(struct bench *t, char path[128], uint64_t *len)
{
	unsigned nr = 1 + bench_rand(t, 12);
	char data[BLOCK];
	FILE *f;

	memset(data, 'x', sizeof(data));
	snprintf(path, 128, "%s/a.raw", t->dir);
	f = fopen(path, "w");
	SHADOW_CHECK(f, "%s", path);
	for (unsigned i = 0; i < nr; i++)
		if (bench_rand(t, 2)) {
			fseek(f, i * BLOCK, SEEK_SET);
			fwrite(data, BLOCK, 1, f);
		}
	fclose(f);
	*len = (nr - 1) * BLOCK + 1 + bench_rand(t, BLOCK);
	SHADOW_CHECK(!truncate(path, *len), "%s", path);
}

static struct blk *open_image(struct bench *t, const char *path,
			      const char *format, bool direct)
{
	struct blk_options o = {
		.path = path, .format = format, .direct = direct};
	struct error e = {0};
	struct blk *b = blk_open(t->ctx, &o, &e);

	SHADOW_CHECK(b || (direct && strstr(e.msg, "O_DIRECT")), "%s", e.msg);
	return b;
}

/* From any place, in any steps: the end and nothing else is odd. */
static void walk(struct bench *t, struct blk *b, uint64_t len)
{
	uint64_t off = 0, n, step;

	SHADOW_CHECK(blk_len(b) == len, "%llu", (unsigned long long)blk_len(b));
	while (off < len) {
		int st;

		step = SECTOR * (1ull + bench_rand(t, 40));
		st = blk_status(b, off, step, &n, NULL, NULL);
		SHADOW_CHECK(st >= 0 && n && n <= step, "%d", st);
		SHADOW_CHECK((off + n == len) == !!(st & BLK_STATUS_EOF),
			     "%llu + %llu", (unsigned long long)off,
			     (unsigned long long)n);
		SHADOW_CHECK((st & BLK_STATUS_EOF) || (off + n) % SECTOR == 0,
			     "%llu + %llu", (unsigned long long)off,
			     (unsigned long long)n);
		off += n;
	}
	SHADOW_CHECK(blk_status(b, len, SECTOR, &n, NULL, NULL) ==
				     BLK_STATUS_EOF &&
			     !n,
		     "%llu", (unsigned long long)n);
}

static int walk_files(void *arg)
{
	struct bench *t = arg;

	for (int i = 0; i < 200; i++) {
		char path[128];
		struct blk *b;
		uint64_t len;

		make_file(t, path, &len);
		b = open_image(t, path, i & 1 ? "raw" : "file", i & 2);
		if (b)
			walk(t, b, len);
		blk_unref(b);
	}
	return 0;
}

static void odd_borders_are_ends(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, walk_files, t), 0);
}

/* ---- the header's example ---- */

static int count_held(struct blk *b, uint64_t *out)
{
	uint64_t off, n, held;
	int st;

#include "blk_status_example.h"

	*out = held;
	return 0;
}

struct counting {
	struct blk *b;
	const struct blk_driver *real;
	struct blk_driver drv;
	unsigned nr;
};

static int counted_status(struct blk *b, uint64_t off, uint64_t len,
			  uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct counting *c =
		(struct counting *)((char *)b->drv -
				    offsetof(struct counting, drv));

	c->nr++;
	return c->real->status(b, off, len, pnum, map, file);
}

static int run_example(void *arg)
{
	struct bench *t = arg;
	struct blk_create create = {.len = 1u << 20};
	struct blk_options o = {.format = "qcow2", .write = true};
	struct counting c = {0};
	struct error e = {0};
	char path[128];
	uint64_t held;

	snprintf(path, sizeof(path), "%s/a.qcow2", t->dir);
	create.path = o.path = path;
	SHADOW_CHECK(!blk_qcow2_format.create(t->ctx, &create, &e), "%s",
		     e.msg);
	c.b = blk_open(t->ctx, &o, &e);
	SHADOW_CHECK(c.b, "%s", e.msg);
	SHADOW_CHECK(!blk_write(c.b, 65536, "x", 1, 0), "write");
	SHADOW_CHECK(!blk_write_zeroes(c.b, 983040, 65536, 0), "zeroes");
	c.real = c.b->drv;
	c.drv = *c.real;
	c.drv.status = counted_status;
	c.b->drv = &c.drv;
	SHADOW_CHECK(!count_held(c.b, &held), "the example fails");
	SHADOW_CHECK(held == 2 * 65536, "%llu", (unsigned long long)held);
	/* A hole, the data (whose cluster the file has a part of), a hole, the
	 * zeroes at the end. */
	SHADOW_CHECK(c.nr == 4 || c.nr == 5, "%u questions", c.nr);
	c.b->drv = c.real;
	SHADOW_CHECK(!blk_unref(c.b), "close");
	return 0;
}

static void the_example_works(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, run_example, t), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(odd_borders_are_ends,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(the_example_works, bench_setup,
						bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
