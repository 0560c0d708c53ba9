/*
 * The end of a raw disk of odd length on a host whose disk has blocks of 4 KiB
 * only: past the page cache the last block is read, changed and written whole,
 * and the file still ends where it did (C02).
 */
#include "tests/unit/bench.h"

#define BLOCK  4096u
#define ROUNDS 40
#define STEPS  24

struct tail {
	struct bench *t;
	char path[128];
	uint8_t *model;
	uint64_t len;
	struct blk *b;
	bool skipped;
};

static void make_file(struct tail *x)
{
	unsigned nr = 1 + bench_rand(x->t, 3);
	FILE *f = fopen(x->path, "w");

	x->len = (nr - 1) * BLOCK + 1 + bench_rand(x->t, BLOCK - 1);
	x->model = malloc(x->len);
	SHADOW_CHECK(f && x->model, "%s", x->path);
	for (uint64_t i = 0; i < x->len; i++)
		x->model[i] = (uint8_t)bench_rand(x->t, 256);
	SHADOW_CHECK(fwrite(x->model, 1, x->len, f) == x->len, "%s", x->path);
	fclose(f);
}

static bool open_image(struct tail *x)
{
	struct blk_options o = {.path = x->path,
				.format = "raw",
				.write = true,
				.direct = true,
				.discard_unmap = true,
				.aio = bench_rand(x->t, 2) ? BLK_AIO_NATIVE
							   : BLK_AIO_THREADS};
	struct error e = {0};

	x->b = blk_open(x->t->ctx, &o, &e);
	SHADOW_CHECK(x->b || strstr(e.msg, "O_DIRECT"), "%s", e.msg);
	if (!x->b)
		return false;
	/* As such a host has it; others take larger blocks, too. */
	SHADOW_CHECK(x->b->file->align <= BLOCK, "%u", x->b->file->align);
	x->b->file->align = BLOCK;
	return true;
}

static void compare(struct tail *x)
{
	uint64_t off = bench_rand(x->t, (unsigned)x->len);
	uint64_t n = 1 + bench_rand(x->t, (unsigned)(x->len - off));
	uint8_t *buf = malloc(n);

	SHADOW_CHECK(buf && !blk_read(x->b, off, buf, n), "read");
	SHADOW_CHECK(!memcmp(buf, x->model + off, n), "%llu + %llu",
		     (unsigned long long)off, (unsigned long long)n);
	free(buf);
}

/* Most of them reach the end. */
static void step(struct tail *x)
{
	uint64_t off = bench_rand(x->t, (unsigned)x->len);
	uint64_t n = x->len - off;
	int ret;

	if (bench_rand(x->t, 3) == 0)
		n = 1 + bench_rand(x->t, (unsigned)n);
	if (bench_rand(x->t, 4)) {
		for (uint64_t i = off; i < off + n; i++)
			x->model[i] = (uint8_t)bench_rand(x->t, 256);
		ret = blk_write(x->b, off, x->model + off, n,
				bench_rand(x->t, 2) ? BLK_FUA : 0);
	} else {
		memset(x->model + off, 0, n);
		ret = blk_write_zeroes(x->b, off, n,
				       bench_rand(x->t, 2) ? BLK_MAY_UNMAP : 0);
	}
	SHADOW_CHECK(!ret, "%s", strerror(-ret));
	if (bench_rand(x->t, 4) == 0)
		SHADOW_CHECK(!blk_flush(x->b), "flush");
	compare(x);
}

static void check_file(struct tail *x)
{
	uint8_t *buf = malloc(x->len + 1);
	FILE *f = fopen(x->path, "r");

	SHADOW_CHECK(f && buf, "%s", x->path);
	SHADOW_CHECK(fread(buf, 1, x->len + 1, f) == x->len, "its length");
	SHADOW_CHECK(!memcmp(buf, x->model, x->len), "its bytes");
	fclose(f);
	free(buf);
}

static int rounds(void *arg)
{
	struct tail *x = arg;

	for (unsigned i = 0; i < ROUNDS && !x->skipped; i++) {
		make_file(x);
		x->skipped = !open_image(x);
		for (unsigned k = 0; k < STEPS && !x->skipped; k++)
			step(x);
		SHADOW_CHECK(!blk_unref(x->b), "close");
		check_file(x);
		free(x->model);
	}
	return 0;
}

static void odd_tails_keep_their_place(void **state)
{
	struct tail x = {.t = *state};

	snprintf(x.path, sizeof(x.path), "%s/a.raw", x.t->dir);
	assert_int_equal(blk_run(x.t->ctx, rounds, &x), 0);
	if (x.skipped) {
		printf("SKIP: the file system of %s has no O_DIRECT\n",
		       x.t->dir);
		skip();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(odd_tails_keep_their_place,
						bench_setup, bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
