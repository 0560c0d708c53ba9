/*
 * Limits: never faster than they say, in order, and changed while requests
 * wait.  How much slower a loaded machine is says nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/throttle.h"
#include "tests/unit/blk_memory.h"

#define LEN   (1 << 20)
#define PIECE 8192
#define MS    1000000ull

static struct blk *open_with(struct blk_bench *f, const struct blk_opt *opts,
			     unsigned nr)
{
	struct error e = {0};
	struct blk *b =
		blk_filter_open_with(memory_disk_open(f->ctx, LEN),
				     &blk_throttle_driver, opts, nr, &e);

	if (!b)
		fprintf(stderr, "%s\n", e.msg);
	return b;
}

struct lane {
	struct blk *b;
	bool write;
	unsigned count, number;
	unsigned *running, *order, *nr_order;
	uint32_t len;
};

static void lane_main(void *arg)
{
	struct lane *l = arg;
	uint8_t *buf = calloc(1, l->len);

	for (unsigned i = 0; i < l->count; i++) {
		if (l->write)
			CHECK_EQ(blk_write(l->b, 0, buf, l->len, 0), 0);
		else
			CHECK_EQ(blk_read(l->b, 0, buf, l->len), 0);
		if (l->order)
			l->order[(*l->nr_order)++] = l->number;
	}
	free(buf);
	--*l->running;
}

/* Milliseconds that nr lanes take. */
static uint64_t run_lanes(struct blk_bench *f, struct lane *lanes, unsigned nr)
{
	uint64_t start = loop_now_ns();
	unsigned running = nr;

	for (unsigned i = 0; i < nr; i++) {
		lanes[i].running = &running;
		CHECK_EQ(co_start(f->ctx, lane_main, &lanes[i]), 0);
	}
	while (running)
		co_sleep_ns(f->ctx, MS);
	return (loop_now_ns() - start) / MS;
}

static int rate_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk_opt bps[] = {{"bps-read", "1000k"}};
	struct blk_opt iops[] = {{"iops-total", "100"}, {"iops-size", "4k"}};
	struct blk *b = open_with(f, bps, 1);
	struct lane reader = {b, .count = 40, .len = PIECE};
	struct lane both[] = {{b, .count = 10, .len = 4096},
			      {b, .write = true, .count = 3, .len = PIECE}};

	/* 320 KiB, a tenth of a second's worth at once. */
	CHECK(run_lanes(f, &reader, 1) >= 200);
	/* The other direction knows no limit: 40 MiB would take a minute. */
	reader.write = true;
	reader.count = 5000;
	CHECK(run_lanes(f, &reader, 1) < 20000);
	CHECK_EQ(blk_unref(b), 0);
	/* 10 reads and 3 writes that count twice: 16, of which 10 at once. */
	b = both[0].b = both[1].b = open_with(f, iops, 2);
	CHECK(run_lanes(f, both, 2) >= 40);
	return blk_unref(b);
}

static void rates(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, rate_run, f), 0);
}

static int burst_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk_opt opts[] = {{"bps-total", "10k"},
				 {"bps-total-max", "400k"}};
	struct blk_opt more[] = {{"iops-write", "1"},
				 {"iops-write-max", "100"},
				 {"iops-write-max-length", "10"}};
	struct blk *b = open_with(f, opts, 2);
	struct lane l = {b, .count = 48, .len = PIECE};

	/* 384 KiB of the burst: at 10 KiB a second they'd take 38 s. */
	CHECK(run_lanes(f, &l, 1) < 15000);
	CHECK_EQ(blk_unref(b), 0);
	/* 60 in a burst that may last, but at 100 a second: 10 at once. */
	b = l.b = open_with(f, more, 3);
	l.write = true;
	l.count = 60;
	CHECK(run_lanes(f, &l, 1) >= 400);
	return blk_unref(b);
}

static void bursts(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, burst_run, f), 0);
}

/* Readers and writers in turn, held up by what they share. */
static int order_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk_opt opts[] = {{"iops-total", "100"}};
	struct blk *b = open_with(f, opts, 1);
	unsigned order[40], nr = 0;
	struct lane lanes[40];

	for (unsigned i = 0; i < 40; i++)
		lanes[i] = (struct lane){
			b,	     .write = i % 3 == 1, .count = 1,
			.number = i, .order = order,	  .nr_order = &nr,
			.len = 512};
	run_lanes(f, lanes, 40);
	for (unsigned i = 0; i < 40; i++)
		CHECK_EQ(order[i], i);
	return blk_unref(b);
}

static void first_come_first_served(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, order_run, f), 0);
}

static int change_run(void *arg)
{
	struct blk_bench *f = arg;
	struct blk_opt opts[] = {{"bps-total", "1"}};
	struct blk *b = open_with(f, opts, 1);
	struct blk_throttle_limits limits = {0};
	unsigned running = 3;
	struct lane lanes[3];
	uint64_t start = loop_now_ns(), n;
	struct error e = {0};

	/* One byte a second: the second of them waits for two hours. */
	for (unsigned i = 0; i < 3; i++) {
		lanes[i] = (struct lane){b, .write = i == 2, .count = 1,
					 .running = &running, .len = PIECE};
		CHECK_EQ(co_start(f->ctx, lane_main, &lanes[i]), 0);
	}
	CHECK_EQ(blk_throttle_waiting(b), 2);
	/* A flush and a question about status don't. */
	CHECK_EQ(blk_flush(b), 0);
	CHECK(blk_status(b, 0, LEN, &n, NULL, NULL) >= 0);
	CHECK_EQ(n, LEN);
	co_sleep_ns(f->ctx, 20 * MS);
	CHECK_EQ(running, 2);
	limits.limit[BLK_THROTTLE_BPS_TOTAL].max = 5;
	CHECK_EQ(blk_throttle_set(b, &limits, &e), -EINVAL);
	CHECK(!strcmp(e.msg, "bps-total-max needs bps-total"));
	CHECK_EQ(blk_throttle_waiting(b), 2);
	limits.limit[BLK_THROTTLE_BPS_TOTAL].max = 0;
	CHECK_EQ(blk_throttle_set(b, &limits, &e), 0);
	while (running)
		co_sleep_ns(f->ctx, MS);
	CHECK(loop_now_ns() - start < 60000 * MS);
	blk_throttle_get(b, &limits);
	CHECK_EQ(limits.limit[BLK_THROTTLE_BPS_TOTAL].avg, 0);
	return blk_unref(b);
}

static void changed_while_they_wait(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, change_run, f), 0);
}

static const struct {
	struct blk_opt opts[3];
	const char *message;
} wrong[] = {
	{{{"bps", "5"}}, "Invalid parameter 'bps' of 'throttle'"},
	{{{"bps-total", "x"}},
	 "Parameter 'bps-total' does not accept value 'x'"},
	{{{"bps-total", "-5"}},
	 "Parameter 'bps-total' does not accept value '-5'"},
	{{{"bps-total", "99999999999999999999"}},
	 "Parameter 'bps-total' does not accept value '99999999999999999999'"},
	{{{"bps-total", "2000000000000000"}},
	 "bps-total: at most 1000000000000000 a second"},
	{{{"iops-read", "5"}, {"iops-read-max", "4"}},
	 "iops-read-max is below iops-read"},
	{{{"iops-read", "5"}, {"iops-read-max-length", "4"}},
	 "iops-read-max-length needs iops-read-max"},
	{{{"bps-total", "5"}, {"bps-write", "4"}},
	 "bps-total can't be used together with bps-read or bps-write"},
	{{{"bps-read", "5"},
	  {"bps-read-max", "6"},
	  {"bps-read-max-length", "1M"}},
	 "bps-read-max-length: at most 3600 seconds"},
};

static int wrong_run(void *arg)
{
	struct blk_bench *f = arg;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		unsigned nr = 0;
		struct error e = {0};

		while (nr < 3 && wrong[i].opts[nr].key)
			nr++;
		CHECK(!blk_filter_open_with(memory_disk_open(f->ctx, LEN),
					    &blk_throttle_driver, wrong[i].opts,
					    nr, &e));
		if (strcmp(e.msg, wrong[i].message))
			fprintf(stderr, "%s\n", e.msg);
		CHECK(!strcmp(e.msg, wrong[i].message));
	}
	return 0;
}

static void wrong_limits(void **state)
{
	struct blk_bench *f = *state;

	assert_int_equal(blk_run(f->ctx, wrong_run, f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates),
		cmocka_unit_test(bursts),
		cmocka_unit_test(first_come_first_served),
		cmocka_unit_test(changed_while_they_wait),
		cmocka_unit_test(wrong_limits),
	};

	return cmocka_run_group_tests(tests, blk_bench_setup,
				      blk_bench_teardown);
}
