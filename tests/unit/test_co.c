#include "tests/unit/bench.h"

struct fixture {
	struct bench *bench;
	struct blk_ctx *ctx; /* the bench's */
	char text[64];
	struct co_mutex mutex;
	struct co_queue queue;
	struct co *sleeper;
	int nr, running;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->bench = bench_create();
	f->ctx = f->bench->ctx;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bench_destroy(f->bench);
	free(f);
	return 0;
}

static void say(struct fixture *f, const char *text)
{
	strncat(f->text, text, sizeof(f->text) - strlen(f->text) - 1);
}

static void other(void *arg)
{
	struct fixture *f = arg;

	say(f, "b");
	f->sleeper = co_self();
	co_yield ();
	say(f, "d");
}

static int start_and_wake(void *arg)
{
	struct fixture *f = arg;

	say(f, "a");
	co_start(f->ctx, other, f);
	say(f, "c");
	co_wake(f->sleeper);
	co_sleep_ns(f->ctx, 1000000);
	say(f, "e");
	return 42;
}

static void yields_and_wakes_in_order(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, start_and_wake, f), 42);
	assert_string_equal(f->text, "abcde");
}

static void locker(void *arg)
{
	struct fixture *f = arg;

	co_lock(&f->mutex);
	assert_int_equal(f->running, 0);
	f->running++;
	co_sleep_ns(f->ctx, 100000);
	f->running--;
	f->nr++;
	co_unlock(&f->mutex);
	co_wake_all(&f->queue);
}

static int many_lockers(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 100; i++)
		assert_int_equal(co_start(f->ctx, locker, f), 0);
	while (f->nr < 100)
		co_wait(&f->queue, NULL);
	return 0;
}

static void mutex_lets_one_in(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, many_lockers, f), 0);
	assert_int_equal(f->nr, 100);
}

static int add_one(void *arg)
{
	return ++*(int *)arg;
}

static int from_workers(void *arg)
{
	struct fixture *f = arg;
	int n = 0;

	for (int i = 1; i <= 1000; i++)
		assert_int_equal(co_worker(f->ctx, add_one, &n), i);
	return n;
}

static void workers_bring_results_back(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, from_workers, f), 1000);
}

static int slow_one(void *arg)
{
	(void)arg;
	usleep(20000);
	return 7;
}

/* Waits in each way; is woken by somebody who has no business to. */
static void waiter(void *arg)
{
	struct fixture *f = arg;
	uint64_t begin = loop_now_ns();

	f->sleeper = co_self();
	assert_int_equal(co_worker(f->ctx, slow_one, NULL), 7);
	co_sleep_ns(f->ctx, 20000000);
	assert_true(loop_now_ns() - begin >= 40000000);
	say(f, "w");
	co_wait(&f->queue, NULL);
	say(f, "q");
	co_lock(&f->mutex);
	say(f, "m");
	co_unlock(&f->mutex);
	f->sleeper = NULL;
}

static void pester(struct fixture *f, unsigned ms)
{
	while (ms--) {
		co_wake(f->sleeper);
		co_sleep_ns(f->ctx, 1000000);
	}
}

static int wake_too_early(void *arg)
{
	struct fixture *f = arg;

	co_lock(&f->mutex);
	assert_int_equal(co_start(f->ctx, waiter, f), 0);
	while (!*f->text)
		pester(f, 1);
	pester(f, 10);
	assert_string_equal(f->text, "w");
	co_wake_all(&f->queue);
	pester(f, 10);
	assert_string_equal(f->text, "wq");
	co_unlock(&f->mutex);
	co_sleep_ns(f->ctx, 1000000);
	assert_string_equal(f->text, "wqm");
	return 0;
}

static void a_late_wake_ends_no_wait(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, wake_too_early, f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(yields_and_wakes_in_order,
						setup, teardown),
		cmocka_unit_test_setup_teardown(mutex_lets_one_in, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_late_wake_ends_no_wait, setup,
						teardown),
		cmocka_unit_test_setup_teardown(workers_bring_results_back,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
