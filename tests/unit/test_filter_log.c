/*
 * The write log: in memory, and in a file as replay tools read it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/log.h"
#include "core/blk/options.h"
#include "tests/unit/blk_memory.h"

#define LEN 65536

static void same(const struct blk_log_entry *entry, unsigned flags,
		 uint64_t off, uint64_t len)
{
	CHECK_EQ(entry->flags, flags);
	CHECK_EQ(entry->off, off);
	CHECK_EQ(entry->len, len);
}

static int memory_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk *disk = memory_disk_open(f->ctx, LEN), *log;
	struct memory_disk *d = memory_disk_of(disk);
	uint8_t buf[2048], got[2048];
	unsigned i = 0;
	struct error e = {0};

	log = blk_filter_open(disk, &blk_log_driver, &e);
	CHECK(log);
	CHECK_EQ(blk_len(log), LEN);
	CHECK(blk_skip_filters(log) == disk);
	memset(buf, 7, sizeof(buf));
	CHECK_EQ(blk_write(log, 1024, buf, 1024, 0), 0);
	/* Half a sector makes a whole one, with what was there. */
	CHECK_EQ(blk_write(log, 1030, "x", 1, BLK_FUA), 0);
	CHECK_EQ(blk_flush(log), 0);
	CHECK_EQ(blk_flush(log), 0); /* nothing new: no entry */
	CHECK_EQ(blk_write_zeroes(log, 4096, 1536, 0), 0);
	CHECK_EQ(blk_discard(log, 8192, 4096), 0);
	CHECK_EQ(blk_log_mark(log, "here"), 0);
	CHECK_EQ(blk_truncate(log, LEN / 2, BLK_PREALLOC_OFF, true, &e), 0);
	CHECK_EQ(blk_len(disk), LEN / 2);
	CHECK_EQ(blk_read(log, 1024, got, 1024), 0);
	buf[6] = 'x';
	CHECK(!memcmp(got, buf, 1024));
	/* A file grows by writes past its end. */
	CHECK_EQ(blk_write(log, LEN, buf, 100, 0), 0);
	CHECK_EQ(blk_len(log), LEN + 100);

	CHECK_EQ(blk_log_count(log), 8);
	same(blk_log_at(log, i++), 0, 1024, 1024);
	same(blk_log_at(log, i), BLK_LOG_FUA, 1024, 512);
	CHECK(!memcmp(blk_log_at(log, i++)->data, buf, 512));
	same(blk_log_at(log, i++), BLK_LOG_FLUSH, 0, 0);
	same(blk_log_at(log, i++), BLK_LOG_ZEROES, 4096, 1536);
	same(blk_log_at(log, i++), BLK_LOG_DISCARD, 8192, 4096);
	same(blk_log_at(log, i), BLK_LOG_MARK, 0, 4);
	CHECK(!memcmp(blk_log_at(log, i++)->data, "here", 4));
	same(blk_log_at(log, i++), BLK_LOG_TRUNCATE, LEN / 2, 0);
	same(blk_log_at(log, i++), 0, LEN, 512);
	CHECK_EQ(d->flushes, 1); /* by FUA; then nothing new */
	blk_log_clear(log);
	CHECK_EQ(blk_log_count(log), 0);
	blk_ref(disk);
	CHECK_EQ(blk_unref(log), 0);
	CHECK_EQ(blk_len(disk), LEN + 100);
	return blk_unref(disk);
}

static void in_memory(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, memory_run, f), 0);
}

/* ---- while a flush is under way ---- */

struct race {
	struct blk *log;
	unsigned running;
};

static void racing_flush(void *arg)
{
	struct race *r = arg;

	CHECK_EQ(blk_flush(r->log), 0);
	r->running--;
}

static int held_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk *disk = memory_disk_open(f->ctx, LEN);
	struct race r = {.running = 1};
	uint8_t buf[512] = {1};

	r.log = blk_filter_open(disk, &blk_log_driver, NULL);
	CHECK_EQ(blk_write(r.log, 0, buf, 512, 0), 0);
	memory_disk_of(disk)->slow = 1;
	CHECK_EQ(co_start(f->ctx, racing_flush, &r), 0);
	memory_disk_of(disk)->slow = 0;
	CHECK_EQ(blk_write(r.log, 512, buf, 512, 0), 0);
	while (r.running)
		co_sleep_ns(f->ctx, 100000);
	/* The second write was done before the flush, but not covered by it. */
	CHECK_EQ(blk_log_count(r.log), 3);
	same(blk_log_at(r.log, 0), 0, 0, 512);
	same(blk_log_at(r.log, 1), BLK_LOG_FLUSH, 0, 0);
	same(blk_log_at(r.log, 2), 0, 512, 512);
	return blk_unref(r.log);
}

static void flush_covers_what_was_before(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, held_run, f), 0);
}

/* ---- the file ---- */

struct paths {
	struct blk_bench *f;
	char disk[64], log[64];
};

static int file_run(void *arg)
{
	struct paths *p = arg;
	struct blk_options o;
	char text[256];
	uint8_t buf[1024];
	struct error e = {0};
	struct blk *b;

	snprintf(text, sizeof(text),
		 "driver=raw,file.driver=log,file.log.filename=%s,"
		 "file.file.filename=%s",
		 p->log, p->disk);
	CHECK_EQ(blk_options_parse(text, true, &o, &e), 0);
	o.write = true;
	b = blk_open(p->f->ctx, &o, &e);
	blk_options_fini(&o);
	CHECK(b);
	CHECK(!strcmp(blk_format(b), "raw"));
	CHECK(!strcmp(blk_format(blk_file(b)), "log"));
	memset(buf, 5, sizeof(buf));
	CHECK_EQ(blk_write(b, 512, buf, 1024, 0), 0);
	CHECK_EQ(blk_flush(b), 0);
	CHECK_EQ(blk_log_mark(blk_file(b), "mark"), 0);
	CHECK_EQ(blk_write_zeroes(b, 2048, 1024, 0), 0);
	CHECK_EQ(blk_flush(b), 0);
	return blk_unref(b);
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static const uint8_t *check_head(const uint8_t *p, uint64_t sector, uint64_t nr,
				 uint64_t flags, uint64_t data)
{
	assert_int_equal(get(p, 8), sector);
	assert_int_equal(get(p + 8, 8), nr);
	assert_int_equal(get(p + 16, 8), flags);
	assert_int_equal(get(p + 24, 8), data);
	return p + 512;
}

static void in_a_file(void **state)
{
	struct paths p = {*state, "/tmp/test_filter_log.XXXXXX", ""};
	uint8_t log[16384] = {0}, data[1024];
	const uint8_t *at = log;
	int fd = mkstemp(p.disk);
	FILE *in;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	snprintf(p.log, sizeof(p.log), "%s.log", p.disk);
	assert_int_equal(blk_run(p.f->ctx, file_run, &p), 0);
	in = fopen(p.log, "r");
	assert_non_null(in);
	assert_true(fread(log, 1, sizeof(log), in) > 0);
	fclose(in);
	unlink(p.disk);
	unlink(p.log);

	assert_int_equal(get(at, 8), 0x6a736677736872ull);
	assert_int_equal(get(at + 8, 8), 1);
	assert_int_equal(get(at + 16, 8), 5);
	assert_int_equal(get(at + 24, 4), 512);
	at = check_head(at + 512, 1, 2, 0, 0);
	memset(data, 5, sizeof(data));
	assert_memory_equal(at, data, sizeof(data));
	at = check_head(at + 1024, 0, 0, BLK_LOG_FLUSH, 0);
	assert_memory_equal(at - 512 + 32, "\0\0\0\0", 4);
	at = check_head(at, 0, 0, BLK_LOG_MARK, 4);
	assert_memory_equal(at - 512 + 32, "mark", 4);
	at = check_head(at, 4, 2, 0, 0);
	memset(data, 0, sizeof(data));
	assert_memory_equal(at, data, sizeof(data));
	check_head(at + 1024, 0, 0, BLK_LOG_FLUSH, 0);
}

static int words_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk_opt opt = {"logfile", "x"};
	struct error e = {0};

	CHECK(!blk_filter_open_with(memory_disk_open(f->ctx, LEN),
				    &blk_log_driver, &opt, 1, &e));
	CHECK(!strcmp(e.msg, "Invalid parameter 'logfile' of 'log'"));
	opt = (struct blk_opt){"log.filename", "/nowhere/at/all"};
	CHECK(!blk_filter_open_with(memory_disk_open(f->ctx, LEN),
				    &blk_log_driver, &opt, 1, &e));
	return 0;
}

static void wrong_words(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, words_run, f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),
		cmocka_unit_test(flush_covers_what_was_before),
		cmocka_unit_test(in_a_file),
		cmocka_unit_test(wrong_words),
	};

	return cmocka_run_group_tests(tests, blk_bench_setup,
				      blk_bench_teardown);
}
