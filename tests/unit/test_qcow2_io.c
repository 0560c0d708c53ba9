/*
 * qcow2 images that Debian's qemu-img made: random requests against a model in
 * memory, then its check and its reading of the result.
 */
#include "tests/unit/bench.h"

#define DISK_LEN (3 * 1024 * 1024 + 1536)
#define LANES	 8
#define ROUNDS	 60

static int shell(struct bench *f, const char *fmt, ...)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), "cd '%s'; ", f->dir);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	return system(text);
}

struct run {
	struct bench *f;
	struct blk *b;
	uint8_t *model;
	uint64_t len;
	unsigned running, lane, seed;
	bool compress;
	uint64_t cluster_len;
};

/* Lanes own every eighth piece of 1 KiB, so that they share clusters. */
static void lane_main(void *arg)
{
	struct run *r = arg;
	unsigned lane = r->lane, seed = r->seed * 131 + lane;
	uint8_t buf[1024], got[1024];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t piece = rand_r(&seed) % (r->len / 1024 / LANES);
		uint64_t off = (piece * LANES + lane) * 1024;
		unsigned skip = rand_r(&seed) % 1024;
		unsigned len = 1 + rand_r(&seed) % (1024 - skip);
		int kind = rand_r(&seed) % 8, ret;

		off += skip;
		memset(buf, rand_r(&seed), len);
		if (kind == 0) {
			memset(buf, 0, len);
			ret = blk_write_zeroes(r->b, off, len,
					       rand_r(&seed) % 2 ? BLK_MAY_UNMAP
								 : 0);
		} else {
			ret = blk_write(r->b, off, buf, len, 0);
		}
		assert_int_equal(ret, 0);
		memcpy(r->model + off, buf, len);
		if (kind == 7)
			assert_int_equal(blk_flush(r->b), 0);
		assert_int_equal(blk_read(r->b, off, got, len), 0);
		assert_memory_equal(got, buf, len);
	}
	r->running--;
}

static void all_lanes(struct run *r)
{
	for (r->lane = 0; r->lane < LANES; r->lane++) {
		r->running++;
		assert_int_equal(co_start(r->f->ctx, lane_main, r), 0);
	}
	while (r->running)
		co_sleep_ns(r->f->ctx, 100000);
}

/* Ranges of many clusters, alone. */
static void large_requests(struct run *r)
{
	uint8_t *buf = malloc(r->len);

	for (int i = 0; i < 12; i++) {
		uint64_t off = rand_r(&r->seed) % r->len;
		uint64_t len = 1 + rand_r(&r->seed) % (r->len - off);
		int kind = rand_r(&r->seed) % 4;

		if (len > 600000)
			len = 600000;
		memset(buf, i + 1, len);
		if (kind == 0) {
			memset(buf, 0, len);
			assert_int_equal(
				blk_write_zeroes(r->b, off, len, BLK_MAY_UNMAP),
				0);
		} else if (kind == 1 && r->compress) {
			off -= off % r->cluster_len;
			len = len > r->cluster_len ? len - len % r->cluster_len
						   : r->cluster_len;
			if (off + len > r->len)
				continue;
			memset(buf, i + 1, len);
			assert_int_equal(
				blk_write(r->b, off, buf, len, BLK_COMPRESSED),
				0);
		} else {
			assert_int_equal(blk_write(r->b, off, buf, len, 0), 0);
		}
		memcpy(r->model + off, buf, len);
	}
	assert_int_equal(blk_read(r->b, 0, buf, r->len), 0);
	assert_memory_equal(buf, r->model, r->len);
	free(buf);
}

static int io_run(void *arg)
{
	struct run *r = arg;
	char path[96];
	struct blk_options o = {.path = path, .format = "qcow2", .write = true};
	struct error e = {0};

	snprintf(path, sizeof(path), "%s/a.qcow2", r->f->dir);
	r->b = blk_open(r->f->ctx, &o, &e);
	if (!r->b)
		print_message("%s\n", e.msg);
	assert_non_null(r->b);
	r->len = blk_len(r->b);
	assert_int_equal(blk_read(r->b, 0, r->model, r->len), 0);
	large_requests(r);
	all_lanes(r);
	large_requests(r);
	all_lanes(r);
	assert_int_equal(blk_unref(r->b), 0);
	return 0;
}

static bool have_peer(void)
{
	if (system("qemu-img --version >/dev/null 2>&1") == 0)
		return true;
	print_message("SKIP: qemu-img is missing; install qemu-utils\n");
	return false;
}

static void compare(struct run *r)
{
	char path[96];
	FILE *raw;
	uint8_t *got = malloc(r->len);

	assert_int_equal(shell(r->f, "qemu-img check -q a.qcow2"), 0);
	assert_int_equal(shell(r->f, "qemu-img convert -O raw a.qcow2 a.raw"),
			 0);
	snprintf(path, sizeof(path), "%s/a.raw", r->f->dir);
	raw = fopen(path, "r");
	assert_non_null(raw);
	assert_int_equal(fread(got, 1, r->len, raw), r->len);
	fclose(raw);
	assert_memory_equal(got, r->model, r->len);
	free(got);
}

static void shapes(void **state)
{
	static const struct shape {
		const char *opts;
		uint64_t cluster_len;
		bool compress;
	} shapes[] = {
		{"", 65536, true},
		{"compat=0.10", 65536, true},
		{"cluster_size=512", 512, true},
		{"cluster_size=4096,refcount_bits=1", 4096, true},
		{"cluster_size=4096,refcount_bits=2", 4096, true},
		{"cluster_size=1024,refcount_bits=4", 1024, true},
		{"cluster_size=2048,refcount_bits=8", 2048, true},
		{"cluster_size=65536,refcount_bits=32", 65536, true},
		{"cluster_size=2097152,refcount_bits=64", 2097152, true},
		{"extended_l2=on", 65536, true},
		{"extended_l2=on,cluster_size=16384", 16384, true},
		{"compression_type=zstd", 65536, true},
		{"lazy_refcounts=on", 65536, true},
		{"preallocation=metadata", 65536, true},
		{"data_file=a.data", 65536, false},
		{"data_file=a.data,data_file_raw=on", 65536, false},
	};
	struct bench *f = *state;

	if (!have_peer())
		skip();
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct run r = {.f = f,
				.seed = i + 1,
				.compress = shapes[i].compress,
				.cluster_len = shapes[i].cluster_len};

		for (int backing = 0; backing < 2; backing++) {
			if (backing && (strstr(shapes[i].opts, "_raw") ||
					strstr(shapes[i].opts, "prealloc")))
				continue;
			print_message("%s, %s\n", shapes[i].opts,
				      backing ? "over a short backing file"
					      : "alone");
			r.model = malloc(DISK_LEN);
			if (backing)
				shell(f, "qemu-img create -q -f raw b.raw "
					 "1000000; qemu-io -c 'write -q -P 7 "
					 "1000 900000' -f raw b.raw");
			assert_int_equal(
				shell(f,
				      "rm -f a.*; qemu-img create -q -f qcow2 "
				      "%s %s%s a.qcow2 %d",
				      backing ? "-b b.raw -F raw" : "",
				      *shapes[i].opts ? "-o " : "",
				      shapes[i].opts, DISK_LEN),
				0);
			assert_int_equal(blk_run(f->ctx, io_run, &r), 0);
			compare(&r);
			free(r.model);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(shapes, bench_setup,
						bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
