#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/log.h"

static void entries_come_back_in_order(void **state)
{
	struct log *log = log_create(LOG_LEVEL_ERROR + 1);
	struct log_entry out[4];

	(void)state;
	assert_int_equal(log_seq(log), 0);
	log_write(log, LOG_LEVEL_INFO, "a", "one %d", 1);
	log_write(log, LOG_LEVEL_WARN, "b", "two");
	assert_int_equal(log_seq(log), 2);
	assert_int_equal(log_copy(log, 0, out, 4), 2);
	assert_string_equal(out[0].text, "one 1");
	assert_string_equal(out[1].source, "b");
	assert_int_equal(out[1].level, LOG_LEVEL_WARN);
	assert_int_equal(log_copy(log, 1, out, 4), 1);
	assert_int_equal(out[0].seq, 2);
	assert_int_equal(log_copy(log, 2, out, 4), 0);
	log_destroy(log);
}

static void oldest_are_forgotten(void **state)
{
	struct log *log = log_create(LOG_LEVEL_ERROR + 1);
	struct log_entry e;

	(void)state;
	for (int i = 1; i <= 5000; i++)
		log_write(log, LOG_LEVEL_INFO, "n", "%d", i);
	assert_int_equal(log_copy(log, 0, &e, 1), 1);
	assert_true(e.seq > 1 && e.seq < 5000);
	assert_int_equal(atoi(e.text), e.seq);
	assert_int_equal(log_copy(log, 4999, &e, 1), 1);
	assert_string_equal(e.text, "5000");
	log_destroy(log);
}

static void control_bytes_are_defused(void **state)
{
	struct log *log = log_create(LOG_LEVEL_ERROR + 1);
	struct log_entry e;

	(void)state;
	log_write(log, LOG_LEVEL_INFO, "n", "x\033[2Jy\n");
	assert_int_equal(log_copy(log, 0, &e, 1), 1);
	assert_string_equal(e.text, "x.[2Jy.");
	log_destroy(log);
}

static void a_noisy_guest_is_limited(void **state)
{
	struct log *log = log_create(LOG_LEVEL_ERROR + 1);
	struct log_limit limit = {0};

	(void)state;
	for (int i = 0; i < 100000; i++)
		log_guest(log, &limit, "dev", "bad ring %d", i);
	/* A second or a few may have passed, never thousands. */
	assert_true(log_seq(log) < 1000);
	assert_true(limit.suppressed > 0);
	log_guest(NULL, &limit, "dev", "nowhere to go");
	log_write(NULL, LOG_LEVEL_INFO, "dev", "nowhere to go");
	log_destroy(log);
	log_destroy(NULL);
}

static void *writer(void *arg)
{
	for (int i = 0; i < 1000; i++)
		log_write(arg, LOG_LEVEL_INFO, "thread", "%d", i);
	return NULL;
}

static void many_threads_write(void **state)
{
	struct log *log = log_create(LOG_LEVEL_ERROR + 1);
	struct log_entry out[64];
	pthread_t t[4];
	size_t n;

	(void)state;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, writer, log);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(log_seq(log), 4000);
	n = log_copy(log, 3950, out, 64);
	assert_int_equal(n, 50);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(out[i].seq, 3951 + i);
	log_destroy(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_come_back_in_order),
		cmocka_unit_test(oldest_are_forgotten),
		cmocka_unit_test(control_bytes_are_defused),
		cmocka_unit_test(a_noisy_guest_is_limited),
		cmocka_unit_test(many_threads_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
