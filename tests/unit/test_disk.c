/* Disks whose images change below a guest that writes: external snapshots,
 * draining. */
#include "tests/unit/shadow.h"

#include "core/blk/chain.h"

#define MIB (1024 * 1024)

static void make_raw(struct bench *t, const char *path, uint64_t len)
{
	struct error e = {0};

	SHADOW_CHECK(!blk_make_file(t->ctx, path, len, BLK_PREALLOC_OFF, &e),
		     "%s", e.msg);
}

static struct blk *open_disk(struct bench *t, const char *path,
			     const char *format)
{
	struct blk_options o = {.path = path, .format = format, .write = true};
	struct error e = {0};
	struct blk *b = blk_open(t->ctx, &o, &e), *disk;

	SHADOW_CHECK(b, "%s", e.msg);
	disk = blk_disk_create(b, &e);
	SHADOW_CHECK(disk, "%s", e.msg);
	return disk;
}

/* ---- snapshots ---- */

static int snapshot_while_writing(void *arg)
{
	struct bench *t = arg;
	uint64_t len = 2 * MIB - bench_rand(t, 3) * 1000;
	struct shadow w = shadow_create(t, len);
	struct blk *disk, *b;
	struct error e = {0};
	char path[128];

	snprintf(path, sizeof(path), "%s/0.img", t->dir);
	make_raw(t, path, len);
	disk = open_disk(t, path, "raw");
	w.pause_us = 200;
	shadow_start(&w, disk, 6);
	for (int i = 1; i <= 5; i++) {
		co_sleep_ns(t->ctx, 20000000);
		snprintf(path, sizeof(path), "%s/%d.qcow2", t->dir, i);
		SHADOW_CHECK(!blk_disk_snapshot(disk, path, &e), "%s", e.msg);
		SHADOW_CHECK(blk_disk_snapshot(disk, path, &e) == -EEXIST, "%s",
			     e.msg);
		b = blk_disk_image(disk);
		SHADOW_CHECK(!strcmp(blk_name(b), path), "%s", blk_name(b));
		SHADOW_CHECK(!blk_writable(blk_backing(b)), "%s", path);
		SHADOW_CHECK(!strchr(blk_backing_name(b), '/'), "%s",
			     blk_backing_name(b));
	}
	co_sleep_ns(t->ctx, 20000000);
	shadow_stop(&w);
	shadow_compare(&w, disk, false);
	SHADOW_CHECK(!blk_unref(disk), "close");
	b = shadow_open(t, path, false);
	shadow_compare(&w, b, false);
	blk_unref(b);
	free(w.s);
	return 0;
}

static void snapshots_under_a_writer(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, snapshot_while_writing, t), 0);
}

/* ---- draining ---- */

static int drain_while_writing(void *arg)
{
	struct bench *t = arg;
	struct shadow w = shadow_create(t, MIB);
	struct blk *disk;
	char path[128];

	snprintf(path, sizeof(path), "%s/drain.img", t->dir);
	make_raw(t, path, MIB);
	disk = open_disk(t, path, "raw");
	shadow_start(&w, disk, 8);
	for (int i = 0; i < 30 || (w.writes < 30 && i < 30000); i++) {
		uint64_t writes;

		co_sleep_ns(t->ctx, 1000000);
		blk_disk_drain_begin(disk);
		blk_disk_drain_begin(disk);
		SHADOW_CHECK(!disk->file->in_flight, "in flight");
		writes = w.writes;
		co_sleep_ns(t->ctx, 500000);
		blk_disk_drain_end(disk);
		SHADOW_CHECK(w.writes == writes, "written while drained");
		shadow_compare(&w, blk_disk_image(disk), true);
		blk_disk_drain_end(disk);
	}
	shadow_stop(&w);
	SHADOW_CHECK(w.writes >= 30, "%llu", (unsigned long long)w.writes);
	shadow_compare(&w, disk, false);
	SHADOW_CHECK(!blk_unref(disk), "close");
	free(w.s);
	return 0;
}

static void nothing_moves_while_drained(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, drain_while_writing, t), 0);
}

/* ---- names ---- */

static void expect_name(struct bench *t, const char *from, const char *to,
			const char *want)
{
	char image[160], node[160], whole[160];
	struct blk b = {.name = node};
	struct error e = {0};
	char *name;

	snprintf(image, sizeof(image), "%s/%s", t->dir, from);
	snprintf(node, sizeof(node), "%s%s", *to == '/' ? "" : t->dir, to);
	if (*to != '/')
		snprintf(node, sizeof(node), "%s/%s", t->dir, to);
	snprintf(whole, sizeof(whole), "%s", want);
	name = blk_chain_name(image, &b, &e);
	assert_non_null(name);
	assert_string_equal(name, whole);
	free(name);
}

static void names_are_relative(void **state)
{
	struct bench *t = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/a", t->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/a/c", t->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/ab", t->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	expect_name(t, "x", "y", "y");
	expect_name(t, "x", "a/y", "a/y");
	expect_name(t, "x", "a/c/y", "a/c/y");
	expect_name(t, "a/x", "y", "../y");
	expect_name(t, "a/c/x", "y", "../../y");
	expect_name(t, "a/c/x", "a/y", "../y");
	expect_name(t, "a/x", "ab/y", "../ab/y");
	expect_name(t, "ab/x", "a/y", "../a/y");
	expect_name(t, "a/x", "a/n:y", "./n:y");
	expect_name(t, "x", "/proc/y", "/proc/y");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(snapshots_under_a_writer,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(nothing_moves_while_drained,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(names_are_relative, bench_setup,
						bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
