/*
 * Faults by script: what each word does, and what scripts are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/fault.h"
#include "core/blk/options.h"
#include "tests/unit/blk_memory.h"

#define LEN 65536

static int put(struct blk *b, uint64_t off)
{
	uint8_t buf[512] = {9};

	return blk_write(b, off, buf, sizeof(buf), 0);
}

static int get(struct blk *b, uint64_t off)
{
	uint8_t buf[512];

	return blk_read(b, off, buf, sizeof(buf));
}

static struct blk *open_with(struct blk_bench *f, const char *script)
{
	struct blk_opt opt = {"script", script};
	struct error e = {0};
	struct blk *b = blk_filter_open_with(memory_disk_open(f->ctx, LEN),
					     &blk_fault_driver, &opt, 1, &e);

	if (!b)
		fprintf(stderr, "%s\n", e.msg);
	CHECK(b);
	return b;
}

static int rules_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk *b = open_with(f, "# nothing\n"
				     "write range 4k+1k errno ENOSPC\n"
				     "read skip 1 count 2 errno EIO; "
				     "flush once errno EIO immediately\n"
				     "zeroes errno EPERM # why not\n"
				     "discard errno EROFS once\n"
				     "truncate errno EFBIG");
	struct memory_disk *d = memory_disk_of(b->file);
	struct error e = {0};

	CHECK_EQ(put(b, 0), 0);
	CHECK_EQ(put(b, 4096 - 512), 0);
	CHECK_EQ(put(b, 4096 - 256), -ENOSPC);
	CHECK_EQ(put(b, 4096 + 512), -ENOSPC);
	CHECK_EQ(put(b, 4096 + 1024), 0);
	CHECK_EQ(d->writes, 3);
	CHECK_EQ(get(b, 0), 0);
	CHECK_EQ(get(b, 0), -EIO);
	CHECK_EQ(get(b, 0), -EIO);
	CHECK_EQ(get(b, 0), 0);
	CHECK_EQ(blk_flush(b), -EIO);
	CHECK_EQ(d->flushes, 0);
	/* A flush that failed by order may work again. */
	CHECK_EQ(blk_flush(b), 0);
	CHECK_EQ(d->flushes, 1);
	CHECK_EQ(blk_write_zeroes(b, 0, 4096, 0), -EPERM);
	CHECK_EQ(blk_discard(b, 0, 4096), -EROFS);
	CHECK_EQ(blk_discard(b, 0, 4096), 0);
	CHECK_EQ(blk_truncate(b, 1024, BLK_PREALLOC_OFF, true, &e), -EFBIG);
	CHECK_EQ(blk_len(b), LEN);
	CHECK_EQ(blk_fault_hits(b), 8);
	return blk_unref(b);
}

static void rules(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, rules_run, f), 0);
}

static int states_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk *b = open_with(f, "write range 0+512 set-state 2\n"
				     "write state 2 errno EIO after\n"
				     "read state 2 set-state 1 delay 1ms");
	struct memory_disk *d = memory_disk_of(b->file);
	uint64_t start;
	struct error e = {0};

	CHECK_EQ(put(b, 512), 0);
	CHECK_EQ(put(b, 0), 0);
	CHECK_EQ(blk_fault_state(b), 2);
	CHECK_EQ(put(b, 1024), -EIO);
	CHECK_EQ(d->data[1024], 9); /* it got there, but nobody knows */
	start = loop_now_ns();
	CHECK_EQ(get(b, 0), 0);
	CHECK(loop_now_ns() - start >= 1000000);
	CHECK_EQ(put(b, 1024), 0);
	/* Another script, and one that is refused and changes nothing. */
	CHECK_EQ(blk_fault_set(b, "any errno ENOMEDIUM", "test", &e), 0);
	CHECK_EQ(get(b, 0), -ENOMEDIUM);
	CHECK_EQ(blk_fault_set(b, "any\nevery errno EIO", "test", &e), -EINVAL);
	CHECK_EQ(get(b, 0), -ENOMEDIUM);
	CHECK_EQ(blk_fault_set(b, "", "test", &e), 0);
	CHECK_EQ(get(b, 0), 0);
	return blk_unref(b);
}

static void states(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, states_run, f), 0);
}

static unsigned count_failures(struct blk_bench *f, const char *script,
			       uint64_t *pattern)
{
	struct blk *b = open_with(f, script);
	unsigned nr = 0;

	*pattern = 0;
	for (unsigned i = 0; i < 1000; i++) {
		bool failed = get(b, 0);

		nr += failed;
		*pattern = *pattern * 31 + failed;
	}
	CHECK_EQ(blk_unref(b), 0);
	return nr;
}

static int chance_run(void *arg)
{
	uint64_t a, b, c;
	unsigned nr = count_failures(
		arg, "seed 5\nread probability 0.25 errno EIO immediately", &a);

	CHECK(nr > 150 && nr < 350);
	CHECK_EQ(count_failures(arg,
				"read probability 0.25 errno EIO immediately; "
				"seed 5",
				&b),
		 nr);
	CHECK(a == b);
	count_failures(
		arg, "read probability 0.25 errno EIO immediately; seed 6", &c);
	CHECK(a != c);
	CHECK_EQ(count_failures(arg, "read probability 0 errno EIO", &a), 0);
	return 0;
}

static void chance(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, chance_run, f), 0);
}

static const struct {
	const char *script, *message;
} hostile[] = {
	{"wirte errno EIO", "s, line 1: unknown operation 'wirte'"},
	{"\n\nwrite errno", "s, line 3: no value after 'errno'"},
	{"write\terrno EWHAT", "s, line 1: no such errno: 'EWHAT'"},
	{"# x\nread errno EIO often", "s, line 2: unknown word 'often'"},
	{"read", "s, line 1: the rule does nothing: no errno, delay or "
		 "set-state ''"},
	{"read range 5 errno EIO", "s, line 1: not OFFSET+LENGTH: '5'"},
	{"read range -5+1 errno EIO", "s, line 1: not a number: '-5+1'"},
	{"read range 9223372036854775807+1 errno EIO",
	 "s, line 1: the range is too large: '9223372036854775807+1'"},
	{"read range 99999999999999999999+1 errno EIO",
	 "s, line 1: not a number: '99999999999999999999+1'"},
	{"read range 9007199254740993k+1 errno EIO",
	 "s, line 1: the number is too large: '9007199254740993k+1'"},
	{"read count x errno EIO", "s, line 1: not a number: 'x'"},
	{"read count 1x errno EIO", "s, line 1: not a number: '1x'"},
	{"read probability nan errno EIO",
	 "s, line 1: not a probability from 0 to 1: 'nan'"},
	{"read probability 1.5 errno EIO",
	 "s, line 1: not a probability from 0 to 1: '1.5'"},
	{"read delay 5", "s, line 1: not a time in ns, us, ms or s: '5'"},
	{"read delay 5h", "s, line 1: not a time in ns, us, ms or s: '5h'"},
	{"read delay 99999999s", "s, line 1: longer than an hour: '99999999s'"},
	{"read state 0 errno EIO",
	 "s, line 1: not a state from 1 to 1000000: '0'"},
	{"seed", "s, line 1: no value after seed ''"},
	{"seed 1 2", "s, line 1: unknown word '2'"},
	{"read delay 1s after", "s, line 1: without an errno there is no after "
				"or immediately ''"},
	{"read aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaa",
	 NULL},
};

static int hostile_run(void *arg)
{
	struct blk *b = open_with(arg, "");
	char *many = calloc(300, 16);

	for (unsigned i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct error e = {0};

		CHECK_EQ(blk_fault_set(b, hostile[i].script, "s", &e), -EINVAL);
		if (hostile[i].message && strcmp(e.msg, hostile[i].message))
			fprintf(stderr, "%s\n%s\n", e.msg, hostile[i].message);
		CHECK(!hostile[i].message ||
		      !strcmp(e.msg, hostile[i].message));
	}
	for (unsigned i = 0; i < 300; i++)
		strcat(many, "any errno EIO\n");
	CHECK_EQ(blk_fault_set(b, many, "s", NULL), -EINVAL);
	free(many);
	CHECK_EQ(get(b, 0), 0);
	return blk_unref(b);
}

static void hostile_scripts(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, hostile_run, f), 0);
}

struct paths {
	struct blk_bench *f;
	char disk[64], script[80];
};

static struct blk *open_text(struct paths *p, const char *fmt, ...)
{
	struct blk_options o;
	char text[512];
	struct error e = {0};
	struct blk *b;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	CHECK_EQ(blk_options_parse(text, strncmp(text, "json:", 5), &o, &e), 0);
	o.write = true;
	b = blk_open(p->f->ctx, &o, &e);
	blk_options_fini(&o);
	if (!b)
		fprintf(stderr, "%s\n", e.msg);
	return b;
}

/* By the words of --image-opts and json:, above the format and below it. */
static int words_run(void *arg)
{
	struct paths *p = arg;
	FILE *out = fopen(p->script, "w");
	struct blk *b;
	uint64_t n;

	CHECK(out);
	fputs("read once errno EIO\n", out);
	fclose(out);
	b = open_text(p,
		      "driver=fault,config=%s,file.driver=raw,file.file."
		      "driver=fault,file.file.script=write errno ENOSPC,"
		      "file.file.file.filename=%s",
		      p->script, p->disk);
	CHECK(b);
	CHECK(!strcmp(blk_format(b), "fault"));
	CHECK(!strcmp(blk_format(blk_skip_filters(b)), "raw"));
	CHECK_EQ(get(b, 0), -EIO);
	CHECK_EQ(get(b, 0), 0);
	CHECK_EQ(put(b, 0), -ENOSPC);
	/* Status looks through both. */
	CHECK_EQ(blk_status(b, 0, LEN, &n, NULL, NULL) &
			 (BLK_STATUS_DATA | BLK_STATUS_ZERO),
		 BLK_STATUS_ZERO);
	CHECK_EQ(blk_unref(b), 0);
	b = open_text(p,
		      "json:{\"driver\":\"raw\",\"file\":{\"driver\":"
		      "\"fault\",\"script\":\"read errno EIO\",\"file\":{"
		      "\"driver\":\"file\",\"filename\":\"%s\"}}}",
		      p->disk);
	CHECK(b);
	CHECK_EQ(get(b, 0), -EIO);
	return blk_unref(b);
}

static void words(void **state)
{
	struct paths p = {*state, "/tmp/test_filter_fault.XXXXXX", ""};
	int fd = mkstemp(p.disk);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, LEN), 0);
	close(fd);
	snprintf(p.script, sizeof(p.script), "%s.script", p.disk);
	assert_int_equal(blk_run(p.f->ctx, words_run, &p), 0);
	unlink(p.disk);
	unlink(p.script);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules),  cmocka_unit_test(states),
		cmocka_unit_test(chance), cmocka_unit_test(hostile_scripts),
		cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, blk_bench_setup,
				      blk_bench_teardown);
}
