/* Byte queues of a serial line (core/console.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/console.h"

#define KIB 1024u

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void drain(int fd)
{
	uint64_t n;

	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
}

static void test_readers_are_independent(void **state)
{
	struct serial_line *l = serial_line_create("com1");
	int a = serial_line_reader_add(l), b = serial_line_reader_add(l);
	uint64_t pos_a = 0, pos_b = 0;
	char buf[16] = "";

	(void)state;
	assert_string_equal(serial_line_name(l), "com1");
	assert_false(readable(a));
	serial_line_output(l, "hello", 5);
	assert_true(readable(a));
	assert_true(readable(b));
	drain(a);
	assert_int_equal(serial_line_read(l, &pos_a, buf, 3), 3);
	assert_memory_equal(buf, "hel", 3);
	assert_int_equal(serial_line_read(l, &pos_a, buf, 16), 2);
	assert_int_equal(serial_line_read(l, &pos_a, buf, 16), 0);
	assert_true(readable(b));
	serial_line_output(l, "!", 1);
	assert_true(readable(a));
	drain(b);
	assert_int_equal(serial_line_read(l, &pos_b, buf, 16), 6);
	assert_memory_equal(buf, "hello!", 6);
	serial_line_reader_remove(l, a);
	/* A late reader is told at once that there is something to read. */
	a = serial_line_reader_add(l);
	assert_true(readable(a));
	serial_line_destroy(l);
}

static void test_slow_reader_loses_the_oldest(void **state)
{
	struct serial_line *l = serial_line_create("x");
	size_t len = 300 * KIB, i, got;
	uint8_t *out = malloc(len), *in = malloc(len);
	uint64_t pos = 0;

	(void)state;
	for (i = 0; i < len; i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	for (i = 0; i < len; i += 1000)
		serial_line_output(l, out + i, len - i < 1000 ? len - i : 1000);
	got = serial_line_read(l, &pos, in, len);
	assert_int_equal(got, 256 * KIB);
	assert_memory_equal(in, out + len - got, got);
	assert_int_equal(pos, len);
	serial_line_output(l, out, len); /* longer than the ring, at once */
	got = serial_line_read(l, &pos, in, len);
	assert_int_equal(got, 256 * KIB);
	assert_memory_equal(in, out + len - got, got);
	pos = UINT64_MAX; /* a position from nowhere starts over */
	assert_int_equal(serial_line_read(l, &pos, in, 10), 10);
	free(out);
	free(in);
	serial_line_destroy(l);
}

static void count(void *arg)
{
	++*(int *)arg;
}

static void test_input_is_bounded(void **state)
{
	struct serial_line *l = serial_line_create("x");
	static uint8_t big[70 * KIB], got[70 * KIB];
	int notified = 0;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i ^ (i >> 8));
	serial_line_set_notify(l, count, &notified);
	assert_int_equal(serial_line_send(l, "ab", 2), 2);
	assert_int_equal(notified, 1);
	assert_int_equal(serial_line_input(l, got, sizeof(got)), 2);
	assert_int_equal(serial_line_send(l, big, sizeof(big)), 64 * KIB);
	assert_int_equal(serial_line_send(l, big, 1), 0);
	assert_int_equal(notified, 2);
	assert_int_equal(serial_line_input(l, got, 10), 10);
	assert_int_equal(serial_line_send(l, "z", 1), 1);
	assert_int_equal(serial_line_input(l, got + 10, sizeof(got) - 10),
			 64 * KIB - 9);
	assert_memory_equal(got, big, 64 * KIB);
	assert_int_equal(got[64 * KIB], 'z');
	serial_line_set_notify(l, NULL, NULL);
	serial_line_send(l, "q", 1);
	assert_int_equal(notified, 3);
	serial_line_destroy(l);
}

static void test_readers_run_out(void **state)
{
	struct serial_line *l = serial_line_create("x");
	int i;

	(void)state;
	for (i = 0; i < 16; i++)
		assert_true(serial_line_reader_add(l) >= 0);
	assert_int_equal(serial_line_reader_add(l), -1);
	serial_line_reader_remove(l, -1);
	serial_line_destroy(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readers_are_independent),
		cmocka_unit_test(test_slow_reader_loses_the_oldest),
		cmocka_unit_test(test_input_is_bounded),
		cmocka_unit_test(test_readers_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
