/* What a drive tells of its requests, and of writes that nobody flushed. */
#include "tests/unit/drive_bench.h"

#define MS 1000000ull

static uint64_t sum_of(const struct drive_flow *flow)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DRIVE_BUCKETS; i++)
		sum += flow->latency[i];
	return sum;
}

static int write_at(struct fixture *f, uint64_t off)
{
	uint8_t buf[512] = {1};

	return run(f, DRIVE_WRITE, buf, off, sizeof(buf));
}

static void histograms_sum_up_to_the_counters(void **state)
{
	static const uint64_t ops[DRIVE_NR_OPS] = {
		[DRIVE_READ] = 3,	  [DRIVE_WRITE] = 5,
		[DRIVE_FLUSH] = 2,	  [DRIVE_DISCARD] = 1,
		[DRIVE_WRITE_ZEROES] = 4,
	};
	struct fixture *f = *state;
	struct drive_facts facts;
	uint8_t buf[4096] = {1};

	open_preset(f, DRIVE_WRITEBACK);
	for (unsigned op = 0; op < DRIVE_NR_OPS; op++)
		for (unsigned i = 0; i < ops[op]; i++)
			assert_int_equal(run(f, op, op < 2 ? buf : NULL, 0,
					     op == DRIVE_FLUSH ? 0 : 4096),
					 0);
	assert_int_equal(run(f, DRIVE_READ, buf, DISK_LEN, 4096), -EINVAL);
	facts = facts_of(f);
	for (unsigned op = 0; op < DRIVE_NR_OPS; op++) {
		const struct drive_flow *flow = &facts.flow[op];
		uint64_t failed = op == DRIVE_READ;

		assert_int_equal(flow->ops, ops[op] + failed);
		assert_int_equal(flow->failed, failed);
		assert_int_equal(flow->bytes,
				 op == DRIVE_FLUSH ? 0 : ops[op] * 4096);
		assert_int_equal(sum_of(flow), flow->ops);
		assert_int_equal(flow->in_flight, 0);
		assert_true(flow->total_ns >= flow->max_ns);
	}
	assert_true(facts.flow[DRIVE_FLUSH].max_ns > 0);
}

static void a_slow_request_lies_in_its_bucket(void **state)
{
	struct fixture *f = *state;
	struct drive_facts facts;
	struct call c = {.res = 1};
	uint8_t buf[512] = {1};
	uint64_t one = 1, slow = 0;

	open_preset(f, DRIVE_WRITEBACK);
	pc_gate.gate = eventfd(0, EFD_CLOEXEC);
	start(f, &c, DRIVE_WRITE, buf, 0, 512);
	facts = facts_of(f);
	assert_int_equal(facts.flow[DRIVE_WRITE].in_flight, 1);
	assert_int_equal(facts.flow[DRIVE_READ].in_flight, 0);
	assert_int_equal(facts.unflushed_writes, 0);
	usleep(20000);
	assert_int_equal(write(pc_gate.gate, &one, sizeof(one)), 8);
	assert_int_equal(finish(&c), 0);
	facts = facts_of(f);
	assert_int_equal(facts.flow[DRIVE_WRITE].in_flight, 0);
	assert_true(facts.flow[DRIVE_WRITE].max_ns >= 20 * MS);
	/* 2^14 us are 16.4 ms: nothing is in a bucket below that. */
	for (unsigned i = 15; i < DRIVE_BUCKETS; i++)
		slow += facts.flow[DRIVE_WRITE].latency[i];
	assert_int_equal(slow, 1);
	close(pc_gate.gate);
	pc_gate.gate = -1;
}

static void a_flush_takes_what_had_completed(void **state)
{
	struct fixture *f = *state;
	struct drive_facts facts;
	struct call flush = {.res = 1};
	uint64_t one = 1, age;

	open_preset(f, DRIVE_WRITEBACK);
	facts = facts_of(f);
	assert_int_equal(facts.unflushed_writes, 0);
	assert_int_equal(facts.unflushed_age_ns, 0);
	assert_int_equal(facts.last_flush_age_ns, 0);
	write_at(f, 0);
	usleep(5000);
	write_at(f, 512);
	facts = facts_of(f);
	assert_int_equal(facts.unflushed_writes, 2);
	assert_int_equal(facts.unflushed_bytes, 1024);
	age = facts.unflushed_age_ns;
	assert_true(age >= 5 * MS);

	pc_gate.sync_gate = eventfd(0, EFD_CLOEXEC);
	start(f, &flush, DRIVE_FLUSH, NULL, 0, 0);
	write_at(f, 1024);
	facts = facts_of(f);
	assert_int_equal(facts.unflushed_writes, 3);
	assert_true(facts.unflushed_age_ns > age);
	usleep(5000);
	age = facts_of(f).unflushed_age_ns;
	assert_int_equal(write(pc_gate.sync_gate, &one, sizeof(one)), 8);
	assert_int_equal(finish(&flush), 0);
	facts = facts_of(f);
	assert_int_equal(facts.unflushed_writes, 1);
	assert_int_equal(facts.unflushed_bytes, 512);
	assert_true(facts.unflushed_age_ns >= 5 * MS);
	assert_true(facts.last_flush_age_ns > 0);
	close(pc_gate.sync_gate);
	pc_gate.sync_gate = 0;
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	facts = facts_of(f);
	assert_int_equal(facts.unflushed_writes, 0);
	assert_int_equal(facts.unflushed_age_ns, 0);
}

static void a_failed_flush_takes_nothing(void **state)
{
	struct fixture *f = *state;
	struct drive_facts facts;

	open_preset(f, DRIVE_WRITEBACK);
	write_at(f, 0);
	pc_gate.sync_error = EIO;
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), -EIO);
	facts = facts_of(f);
	assert_int_equal(facts.unflushed_writes, 1);
	assert_true(facts.unflushed_age_ns > 0);
	assert_true(facts.sync_failed);
	assert_int_equal(facts.last_flush_age_ns, 0);
}

static void modes_leave_what_they_say(void **state)
{
	static const struct {
		enum drive_preset preset;
		uint64_t after_write, after_flush;
	} rows[] = {
		{DRIVE_WRITEBACK, 1, 0},    {DRIVE_NONE, 1, 0},
		{DRIVE_WRITETHROUGH, 0, 0}, {DRIVE_DIRECTSYNC, 0, 0},
		{DRIVE_UNSAFE, 1, 1},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < 5; i++) {
		open_preset(f, rows[i].preset);
		write_at(f, 0);
		assert_int_equal(facts_of(f).unflushed_writes,
				 rows[i].after_write);
		run(f, DRIVE_FLUSH, NULL, 0, 0);
		assert_int_equal(facts_of(f).unflushed_writes,
				 rows[i].after_flush);
		close_drive(f);
	}
}

static void needless_flushes_are_merged(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	open_preset(f, DRIVE_WRITEBACK);
	write_at(f, 0);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	before = facts_of(f).merged_flushes;
	assert_true(facts_of(f).host_flushes > 0);
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	assert_int_equal(facts_of(f).merged_flushes, before + 1);
}

/* ---- guests that never flush ---- */

static struct drive *open_impatient(struct fixture *f, enum drive_preset preset)
{
	struct drive_config cfg = {
		.path = f->path,
		.preset = preset,
		.never_flush_ns = 20 * MS,
	};

	f->drive = open_config(f, &cfg);
	assert_non_null(f->drive);
	return f->drive;
}

static void write_for(struct fixture *f, uint64_t ns)
{
	uint64_t end = loop_now_ns() + ns;

	while (loop_now_ns() < end) {
		write_at(f, 0);
		usleep(1000);
	}
}

static void a_guest_that_only_writes_is_named(void **state)
{
	struct fixture *f = *state;

	open_impatient(f, DRIVE_WRITEBACK);
	write_at(f, 0);
	assert_false(facts_of(f).never_flushes);
	for (int i = 0; !facts_of(f).never_flushes && i < 10000; i++)
		write_for(f, 5 * MS);
	assert_true(facts_of(f).never_flushes);
	/* It learns. */
	assert_int_equal(run(f, DRIVE_FLUSH, NULL, 0, 0), 0);
	assert_false(facts_of(f).never_flushes);
}

static void a_guest_without_cache_needs_no_flush(void **state)
{
	struct fixture *f = *state;

	open_impatient(f, DRIVE_WRITETHROUGH);
	write_for(f, 40 * MS);
	assert_false(facts_of(f).never_flushes);
}

static void an_idle_guest_is_not_named(void **state)
{
	struct fixture *f = *state;

	open_impatient(f, DRIVE_WRITEBACK);
	write_at(f, 0);
	usleep(40000);
	assert_false(facts_of(f).never_flushes);
}

/* ---- the drive's own flushes ---- */

static void old_writes_are_flushed_by_the_drive(void **state)
{
	struct fixture *f = *state;
	struct drive_config cfg = {
		.path = f->path,
		.preset = DRIVE_WRITEBACK,
		.max_unflushed_ns = 20 * MS,
	};
	struct drive_facts facts;

	f->drive = open_config(f, &cfg);
	assert_non_null(f->drive);
	for (unsigned round = 1; round <= 2; round++) {
		write_at(f, 0);
		for (int i = 0; facts_of(f).own_flushes < round && i < 10000;
		     i++)
			usleep(1000);
		wait_until_idle(f);
		facts = facts_of(f);
		assert_int_equal(facts.unflushed_writes, 0);
		assert_true(facts.own_flushes >= round);
		/* Nobody mistakes it for the guest's. */
		assert_int_equal(facts.flow[DRIVE_FLUSH].ops, 0);
		assert_int_equal(facts.last_flush_age_ns, 0);
	}
	assert_true(pc_gate.syncs >= 2);
}

static void no_background_flush_unless_asked(void **state)
{
	struct fixture *f = *state;

	open_preset(f, DRIVE_WRITEBACK);
	write_at(f, 0);
	usleep(60000);
	assert_int_equal(pc_gate.syncs, 0);
	assert_int_equal(facts_of(f).unflushed_writes, 1);
}

static void background_flush_needs_flushes(void **state)
{
	struct fixture *f = *state;
	struct open_call c = {
		.f = f,
		.cfg = {.path = f->path,
			.preset = DRIVE_UNSAFE,
			.max_unflushed_ns = MS},
		.caps = &full_caps,
	};

	loop_call(f->loop, do_open, &c);
	assert_null(c.out);
	assert_int_equal(f->e.code, -EINVAL);
	assert_non_null(strstr(f->e.msg, "ignores flushes"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(histograms_sum_up_to_the_counters),
		T(a_slow_request_lies_in_its_bucket),
		T(a_flush_takes_what_had_completed),
		T(a_failed_flush_takes_nothing),
		T(modes_leave_what_they_say),
		T(needless_flushes_are_merged),
		T(a_guest_that_only_writes_is_named),
		T(a_guest_without_cache_needs_no_flush),
		T(an_idle_guest_is_not_named),
		T(old_writes_are_flushed_by_the_drive),
		T(no_background_flush_unless_asked),
		T(background_flush_needs_flushes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
