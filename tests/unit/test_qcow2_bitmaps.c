/*
 * Bitmaps and amendments after a crash at any write: sessions on an image whose
 * file notes every change; then the image as it is after each prefix of the
 * changes, and after a random choice of those that no flush covers, is opened,
 * checked, and its bitmaps compared with what they must say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/log.h"
#include "core/blk/qcow2/bitmap.h"
#include "tests/unit/blk_memory.h"

#define DISK_LEN (200u * 1024)
#define DISK_MAX (400u * 1024)
#define NR_MAPS	 4

static const char *const names[NR_MAPS] = {"fine", "usual", "off", "new"};

/* What a bitmap says: a byte for each 512 bytes of the disk. */
struct says {
	bool exists;
	uint8_t dirty[DISK_MAX / 512];
};

struct state {
	uint64_t len;
	uint8_t data[DISK_MAX];
	struct says maps[NR_MAPS];
};

struct fixture {
	struct blk_bench bench;
	const char *cluster;
	char path[64];
	struct blk *disk, *log;
	uint8_t *base;
	uint64_t base_len;
	struct state before, after;
	unsigned random, states, stored;
};

static void open_options(struct blk_options *o, bool write)
{
	*o = (struct blk_options){.format = "qcow2",
				  .write = write,
				  .no_backing = true,
				  .no_lock = true,
				  .discard_unmap = true};
}

/* ---- what an image says ---- */

static void read_map(struct qcow2 *s, struct qcow2_bitmap *m, struct says *out)
{
	struct error e = {0};

	CHECK_EQ(qcow2_bitmap_load(s, m, &e), 0);
	out->exists = true;
	for (uint64_t i = 0; i < s->h.disk_len / 512; i++) {
		uint64_t bit = i * 512 >> m->granularity_bits;

		out->dirty[i] = m->bits[bit / 8] >> bit % 8 & 1;
	}
	qcow2_bitmap_unload(s, m);
}

static void read_state(struct fixture *f, struct blk *file, struct state *out)
{
	struct blk_options o;
	struct blk *b;

	(void)f;
	open_options(&o, false);
	memset(out, 0, sizeof(*out));
	b = blk_open_over(file, &o, NULL);
	CHECK(b);
	out->len = blk_len(b);
	CHECK_EQ(blk_read(b, 0, out->data, out->len), 0);
	for (unsigned i = 0; i < NR_MAPS; i++) {
		struct qcow2_bitmap *m =
			qcow2_bitmap_find(qcow2_of(b), names[i]);

		if (m)
			read_map(qcow2_of(b), m, &out->maps[i]);
	}
	blk_unref(b);
}

/* ---- crashes ---- */

static void replay(struct blk *file, const struct blk_log_entry *x)
{
	struct error e = {0};

	if (x->flags & BLK_LOG_TRUNCATE)
		CHECK_EQ(blk_truncate(file, x->off, BLK_PREALLOC_OFF, true, &e),
			 0);
	else if (x->flags & (BLK_LOG_ZEROES | BLK_LOG_DISCARD))
		CHECK_EQ(blk_write_zeroes(file, x->off, x->len, 0), 0);
	else if (!(x->flags & (BLK_LOG_FLUSH | BLK_LOG_MARK)))
		CHECK_EQ(blk_write(file, x->off, x->data, x->len, 0), 0);
}

/* All entries below sure, and of those below end some (all: each). */
static struct blk *crashed(struct fixture *f, uint64_t sure, uint64_t end,
			   bool all)
{
	struct blk *file = memory_disk_open(f->bench.ctx, f->base_len);

	memcpy(memory_disk_of(file)->data, f->base, f->base_len);
	for (uint64_t i = 0; i < end; i++)
		if (i < sure || all || rand_r(&f->random) % 2)
			replay(file, blk_log_at(f->log, i));
	return file;
}

static bool same_map(const struct says *a, const struct says *b)
{
	return a->exists == b->exists &&
	       !memcmp(a->dirty, b->dirty, sizeof(a->dirty));
}

/* What says less than the truth would lose a change; so it must be IN_USE, or
 * be as before while the disk is, or as after. */
static void judge_map(struct fixture *f, struct qcow2 *s, unsigned i,
		      bool disk_changed)
{
	struct qcow2_bitmap *m = qcow2_bitmap_find(s, names[i]);
	struct says now = {0};

	if (m && m->inconsistent)
		return;
	if (m)
		read_map(s, m, &now);
	f->stored++;
	if (same_map(&now, &f->after.maps[i]))
		return;
	CHECK(!disk_changed && same_map(&now, &f->before.maps[i]));
}

static void judge(struct fixture *f, struct blk *file)
{
	static struct state now;
	struct blk_check found = {0};
	struct blk_options o;
	struct error e = {0};
	struct blk *b;
	bool changed;

	open_options(&o, false);
	b = blk_open_over(file, &o, &e);
	if (!b)
		fprintf(stderr, "%s\n", e.msg);
	CHECK(b);
	CHECK_EQ(blk_qcow2_format.check(b, 0, &found, &e), 0);
	CHECK_EQ(found.corruptions, 0);
	CHECK_EQ(found.check_errors, 0);
	CHECK(!qcow2_of(b)->bitmaps.why);
	now.len = blk_len(b);
	CHECK_EQ(blk_read(b, 0, now.data, now.len), 0);
	changed = now.len != f->before.len ||
		  memcmp(now.data, f->before.data, now.len) != 0;
	for (unsigned i = 0; i < NR_MAPS; i++)
		judge_map(f, qcow2_of(b), i, changed);
	blk_unref(b);
	f->states++;
}

static void crash_everywhere(struct fixture *f)
{
	uint64_t nr = blk_log_count(f->log), sure = 0;

	for (uint64_t k = 0; k <= nr; k++) {
		judge(f, crashed(f, sure, k, true));
		for (unsigned i = 0; i < 12; i++)
			judge(f, crashed(f, sure, k, false));
		if (k < nr && blk_log_at(f->log, k)->flags & BLK_LOG_FLUSH)
			sure = k;
	}
}

/* ---- sessions ---- */

static void change(struct blk *b, enum blk_bitmap_verb verb, const char *name,
		   uint64_t granularity, const char *source)
{
	struct blk_bitmap_op op = {.verb = verb,
				   .name = name,
				   .granularity = granularity,
				   .source = b,
				   .source_name = source};
	struct error e = {0};
	int ret = blk_qcow2_format.bitmap(b, &op, &e);

	if (ret)
		fprintf(stderr, "%s\n", e.msg);
	CHECK_EQ(ret, 0);
}

static void amend(struct blk *b, const char *key, const char *value)
{
	struct blk_opt opt = {key, value};
	struct blk_amend a = {.opts = &opt, .nr_opts = 1};
	struct error e = {0};
	int ret = blk_qcow2_format.amend(b, &a, &e);

	if (ret)
		fprintf(stderr, "%s\n", e.msg);
	CHECK_EQ(ret, 0);
}

static void do_write(struct blk *b)
{
	char text[3000];

	/* Other bytes each time, also in place. */
	CHECK_EQ(blk_read(b, 5000, text, 1), 0);
	memset(text, text[0] + 1, sizeof(text));
	CHECK_EQ(blk_write(b, 5000, text, sizeof(text), 0), 0);
	CHECK_EQ(blk_write_zeroes(b, 60000, 9000, BLK_MAY_UNMAP), 0);
	CHECK_EQ(blk_flush(b), 0);
	CHECK_EQ(blk_write(b, 150000, text, sizeof(text), 0), 0);
}

/* No table changes: nothing but the mark itself may be in its way. */
static void do_overwrite(struct blk *b)
{
	char text[512];

	CHECK_EQ(blk_read(b, 150000, text, 1), 0);
	memset(text, text[0] + 1, sizeof(text));
	CHECK_EQ(blk_write(b, 150000, text, sizeof(text), 0), 0);
}

static void do_discard(struct blk *b)
{
	CHECK_EQ(blk_discard(b, 4096, 8192), 0);
}

static void do_clear(struct blk *b)
{
	change(b, BLK_BITMAP_CLEAR, "fine", 0, NULL);
}

static void do_merge(struct blk *b)
{
	change(b, BLK_BITMAP_MERGE, "off", 0, "usual");
	change(b, BLK_BITMAP_ENABLE, "off", 0, NULL);
}

static void do_add(struct blk *b)
{
	change(b, BLK_BITMAP_ADD, "new", 1024, NULL);
}

static void do_remove(struct blk *b)
{
	change(b, BLK_BITMAP_REMOVE, "usual", 0, NULL);
}

static void do_grow(struct blk *b)
{
	struct error e = {0};

	CHECK_EQ(blk_truncate(b, DISK_MAX, BLK_PREALLOC_OFF, false, &e), 0);
}

static void do_shrink(struct blk *b)
{
	struct error e = {0};

	CHECK_EQ(blk_truncate(b, 100 * 512, BLK_PREALLOC_OFF, true, &e), 0);
}

static void do_widen(struct blk *b)
{
	amend(b, "refcount_bits", "64");
}

static void do_narrow(struct blk *b)
{
	amend(b, "refcount_bits", "16");
}

static void do_downgrade(struct blk *b)
{
	amend(b, "compat", "0.10");
}

static void do_upgrade(struct blk *b)
{
	amend(b, "compat", "1.1");
}

static void (*const sessions[])(struct blk *b) = {
	do_write,  do_clear, do_overwrite, do_clear,   do_overwrite,
	do_merge,  do_add,   do_discard,   do_clear,   do_write,
	do_widen,  do_grow,  do_write,	   do_remove,  do_narrow,
	do_shrink, do_clear, do_downgrade, do_upgrade,
};

static void run_session(struct fixture *f, void (*work)(struct blk *b))
{
	struct error e = {0};
	struct blk_options o;
	struct blk *b;

	free(f->base);
	f->base_len = blk_len(f->disk);
	f->base = malloc(f->base_len);
	CHECK_EQ(blk_read(f->disk, 0, f->base, f->base_len), 0);
	read_state(f, blk_ref(f->disk), &f->before);
	blk_log_clear(f->log);
	open_options(&o, true);
	b = blk_open_over(blk_ref(f->log), &o, &e);
	if (!b)
		fprintf(stderr, "%s\n", e.msg);
	CHECK(b);
	work(b);
	CHECK_EQ(blk_unref(b), 0);
	read_state(f, blk_ref(f->disk), &f->after);
	crash_everywhere(f);
}

static void make_image(struct fixture *f)
{
	struct blk_opt opts[] = {{"cluster_size", f->cluster}};
	struct blk_create c = {
		.path = f->path, .len = DISK_LEN, .opts = opts, .nr_opts = 1};
	struct blk_options o = {
		.path = f->path, .format = "qcow2", .write = true};
	struct error e = {0};
	struct blk *b;
	struct stat st;
	FILE *in;

	CHECK_EQ(blk_qcow2_format.create(f->bench.ctx, &c, &e), 0);
	b = blk_open(f->bench.ctx, &o, &e);
	CHECK(b);
	change(b, BLK_BITMAP_ADD, "fine", 512, NULL);
	change(b, BLK_BITMAP_ADD, "usual", 4096, NULL);
	change(b, BLK_BITMAP_ADD, "off", 8192, NULL);
	change(b, BLK_BITMAP_DISABLE, "off", 0, NULL);
	CHECK_EQ(blk_unref(b), 0);
	in = fopen(f->path, "r");
	CHECK(in && !fstat(fileno(in), &st));
	f->disk = memory_disk_open(f->bench.ctx, st.st_size);
	CHECK_EQ(fread(memory_disk_of(f->disk)->data, 1, st.st_size, in),
		 st.st_size);
	fclose(in);
	unlink(f->path);
	f->log = blk_filter_open(blk_ref(f->disk), &blk_log_driver, &e);
	CHECK(f->log);
}

static int run_crashes(void *arg)
{
	struct fixture *f = arg;

	make_image(f);
	for (size_t i = 0; i < sizeof(sessions) / sizeof(*sessions); i++)
		run_session(f, sessions[i]);
	blk_unref(f->log);
	blk_unref(f->disk);
	free(f->base);
	return 0;
}

static void crash_with(const char *cluster)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	f->cluster = cluster;
	f->random = 1;
	strcpy(f->path, "/tmp/test_qcow2_bitmaps.XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(blk_bench_start(&f->bench), 0);
	assert_int_equal(blk_run(f->bench.ctx, run_crashes, f), 0);
	blk_bench_stop(&f->bench);
	print_message("clusters of %s: %u states, %u bitmaps compared\n",
		      cluster, f->states, f->stored);
	assert_true(f->states > 200);
	assert_true(f->stored > 200);
	free(f);
}

static void test_small_clusters(void **state)
{
	(void)state;
	crash_with("512");
}

static void test_usual_clusters(void **state)
{
	(void)state;
	crash_with("4096");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_clusters),
		cmocka_unit_test(test_usual_clusters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
