#include "tests/unit/board.h"

#include "core/hw/isa/isa.h"
#include "core/hw/isa/ps2.h"

static int setup(void **state)
{
	struct board *b = board_create();

	board_add(b, &i8042_class, &(struct device_args){.name = "i8042"});
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	board_destroy(*state);
	return 0;
}

static bool is_full(struct board *b)
{
	return in(b, 0x64, 1) & 1;
}

static bool is_aux(struct board *b)
{
	return (in(b, 0x64, 1) & 0x21) == 0x21;
}

/* The next byte; the test fails when there is none. */
static uint8_t take(struct board *b)
{
	assert_true(is_full(b));
	return in(b, 0x60, 1);
}

static void control(struct board *b, uint8_t value)
{
	out(b, 0x64, 0x60, 1);
	out(b, 0x60, value, 1);
}

static void to_mouse(struct board *b, uint8_t value)
{
	out(b, 0x64, 0xd4, 1);
	out(b, 0x60, value, 1);
}

static void expect_mouse(struct board *b, uint8_t value)
{
	assert_true(is_aux(b));
	assert_int_equal(take(b), value);
}

static void controller_commands(void **state)
{
	struct board *b = *state;

	out(b, 0x64, 0xaa, 1);
	assert_int_equal(take(b), 0x55);
	out(b, 0x64, 0xab, 1);
	assert_int_equal(take(b), 0x00);
	out(b, 0x64, 0xa9, 1);
	assert_int_equal(take(b), 0x00);
	control(b, 0x71);
	out(b, 0x64, 0x20, 1);
	assert_int_equal(take(b), 0x71);
	out(b, 0x64, 0xae, 1);
	out(b, 0x64, 0x20, 1);
	assert_int_equal(take(b), 0x61);
	/* Loop back as a mouse byte: how Linux finds the second port. */
	out(b, 0x64, 0xa8, 1);
	out(b, 0x64, 0xd3, 1);
	out(b, 0x60, 0x5a, 1);
	expect_mouse(b, 0x5a);
	out(b, 0x64, 0xd2, 1);
	out(b, 0x60, 0x1e, 1);
	assert_false(is_aux(b));
	assert_int_equal(take(b), 0x1e);
	assert_false(is_full(b));
}

static void keys_are_translated(void **state)
{
	struct board *b = *state;

	console_key(b->m.console, 0x1e, true);
	assert_true(b->vm.line[1]);
	assert_int_equal(take(b), 0x1e);
	assert_false(b->vm.line[1]);
	console_key(b->m.console, 0x1e, false);
	assert_int_equal(take(b), 0x9e);
	console_key(b->m.console, 0x148, true);
	console_key(b->m.console, 0x148, false);
	assert_int_equal(take(b), 0xe0);
	assert_int_equal(take(b), 0x48);
	assert_int_equal(take(b), 0xe0);
	assert_int_equal(take(b), 0xc8);
	assert_false(is_full(b));
	assert_int_equal(b->vm.rises[1], 6);
}

/* Every key of a PC comes out of the translation as it went in. */
static void every_code_survives_the_round_trip(void **state)
{
	struct board *b = *state;

	for (unsigned code = 1; code <= 0x58; code++) {
		if (code == 0x55 || code == 0x56)
			continue;
		console_key(b->m.console, code, true);
		console_key(b->m.console, code, false);
		assert_int_equal(take(b), code);
		assert_int_equal(take(b), code | 0x80);
		assert_false(is_full(b));
	}
}

static void keys_in_set_2(void **state)
{
	struct board *b = *state;

	control(b, 0x01);
	console_key(b->m.console, 0x1e, true);
	console_key(b->m.console, 0x1e, false);
	assert_int_equal(take(b), 0x1c);
	assert_int_equal(take(b), 0xf0);
	assert_int_equal(take(b), 0x1c);
	console_key(b->m.console, 0x41, true); /* F7 */
	assert_int_equal(take(b), 0x83);
}

static void pause_is_special(void **state)
{
	static const uint8_t want[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
	struct board *b = *state;

	console_key(b->m.console, 0x146, true);
	console_key(b->m.console, 0x146, false);
	for (unsigned i = 0; i < sizeof(want); i++)
		assert_int_equal(take(b), want[i]);
	assert_false(is_full(b));
}

static void keyboard_commands(void **state)
{
	struct board *b = *state;

	out(b, 0x60, 0xff, 1);
	assert_int_equal(take(b), 0xfa);
	assert_int_equal(take(b), 0xaa);
	out(b, 0x60, 0xf2, 1);
	assert_int_equal(take(b), 0xfa);
	assert_int_equal(take(b), 0xab);
	assert_int_equal(take(b), 0x41); /* 0x83, translated */
	out(b, 0x60, 0xed, 1);
	assert_int_equal(take(b), 0xfa);
	out(b, 0x60, 0x07, 1);
	assert_int_equal(take(b), 0xfa);
	out(b, 0x60, 0xee, 1);
	assert_int_equal(take(b), 0xee);
	out(b, 0x60, 0xf5, 1);
	assert_int_equal(take(b), 0xfa);
	console_key(b->m.console, 0x1e, true);
	assert_false(is_full(b));
	out(b, 0x60, 0xf4, 1);
	assert_int_equal(take(b), 0xfa);
	out(b, 0x60, 0x00, 1);
	assert_int_equal(take(b), 0xfe);
}

static void off_ports_hold_their_bytes(void **state)
{
	struct board *b = *state;

	out(b, 0x64, 0xad, 1);
	console_key(b->m.console, 0x1e, true);
	assert_false(is_full(b));
	out(b, 0x64, 0xae, 1);
	assert_int_equal(take(b), 0x1e);
	control(b, 0x40); /* no interrupts */
	console_key(b->m.console, 0x1e, true);
	assert_false(b->vm.line[1]);
	assert_true(is_full(b));
}

static void keys_nobody_reads_are_lost_not_kept_forever(void **state)
{
	struct board *b = *state;
	unsigned nr = 0;

	for (unsigned i = 0; i < 1000; i++)
		console_key(b->m.console, 0x1e, i % 2 == 0);
	out(b, 0x60, 0xee, 1); /* replies still fit */
	while (is_full(b) && nr < 1000) {
		nr++;
		if (take(b) == 0xee)
			break;
	}
	/* No more than firmware empties before it gives up. */
	assert_true(nr > 8 && nr <= 16);
	assert_false(is_full(b));
}

/* A paste comes at the pace at which the guest reads, and in order. */
static void keys_typed_too_fast_wait(void **state)
{
	struct board *b = *state;

	board_start(b);
	for (unsigned i = 0; i < 100; i++) {
		console_key(b->m.console, 2 + i % 10, true);
		console_key(b->m.console, 2 + i % 10, false);
	}
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned tries = 0; !is_full(b) && tries < 10000; tries++)
			usleep(1000);
		assert_int_equal(take(b),
				 (2 + i / 2 % 10) | (i % 2 ? 0x80 : 0));
	}
	assert_false(is_full(b));
}

static void mouse_reports(void **state)
{
	struct board *b = *state;

	console_pointer_rel(b->m.console, 5, 5, 0, 0);
	assert_false(is_full(b)); /* not enabled */
	to_mouse(b, 0xf4);
	expect_mouse(b, 0xfa);
	console_pointer_rel(b->m.console, 5, -3, 0, 1);
	assert_true(b->vm.line[12]);
	assert_false(b->vm.line[1]);
	expect_mouse(b, 0x09);
	expect_mouse(b, 5);
	expect_mouse(b, 3); /* up is positive */
	assert_false(b->vm.line[12]);
	console_pointer_rel(b->m.console, -5, 3, 0, 1);
	expect_mouse(b, 0x39);
	expect_mouse(b, 0xfb);
	expect_mouse(b, 0xfd);
	assert_false(is_full(b));
}

static void mouse_wheel_is_found_by_knocking(void **state)
{
	static const uint8_t rates[] = {200, 100, 80};
	struct board *b = *state;

	to_mouse(b, 0xff);
	expect_mouse(b, 0xfa);
	expect_mouse(b, 0xaa);
	expect_mouse(b, 0x00);
	for (unsigned i = 0; i < 3; i++) {
		to_mouse(b, 0xf3);
		expect_mouse(b, 0xfa);
		to_mouse(b, rates[i]);
		expect_mouse(b, 0xfa);
	}
	to_mouse(b, 0xf2);
	expect_mouse(b, 0xfa);
	expect_mouse(b, 3);
	to_mouse(b, 0xf4);
	expect_mouse(b, 0xfa);
	console_pointer_rel(b->m.console, 0, 0, 1, 0);
	expect_mouse(b, 0x08);
	expect_mouse(b, 0);
	expect_mouse(b, 0);
	expect_mouse(b, 1);
}

/* Movement that the guest is too slow for adds up and is not lost. */
static void far_movement_comes_in_pieces(void **state)
{
	struct board *b = *state;
	int sum = 0;

	to_mouse(b, 0xf4);
	expect_mouse(b, 0xfa);
	for (unsigned i = 0; i < 50; i++)
		console_pointer_rel(b->m.console, 100, 0, 0, 0);
	while (is_full(b)) {
		uint8_t flags = take(b);
		uint8_t x = take(b);

		take(b);
		sum += flags & 0x10 ? x - 256 : x;
	}
	assert_int_equal(sum, 5000);
}

static void mouse_status(void **state)
{
	struct board *b = *state;

	to_mouse(b, 0xe9);
	expect_mouse(b, 0xfa);
	expect_mouse(b, 0x00);
	expect_mouse(b, 2);
	expect_mouse(b, 100);
	to_mouse(b, 0xeb);
	expect_mouse(b, 0xfa);
	expect_mouse(b, 0x08);
	expect_mouse(b, 0);
	expect_mouse(b, 0);
}

static void resets(void **state)
{
	struct board *b = *state;

	out(b, 0x64, 0xff, 1); /* pulses no line */
	assert_int_equal(b->requests[MACHINE_RESET], 0);
	out(b, 0x64, 0xfe, 1);
	assert_int_equal(b->requests[MACHINE_RESET], 1);
	out(b, 0x64, 0xd1, 1);
	out(b, 0x60, 0x02, 1);
	assert_int_equal(b->requests[MACHINE_RESET], 2);
	out(b, 0x64, 0xd1, 1);
	out(b, 0x60, 0x03, 1);
	assert_int_equal(b->requests[MACHINE_RESET], 2);
	out(b, 0x64, 0xd0, 1);
	assert_int_equal(take(b) & 3, 3);
}

static void wild_bytes(void **state)
{
	struct board *b = *state;
	unsigned seed = 11;

	for (unsigned i = 0; i < 50000; i++) {
		unsigned port = rand_r(&seed) & 1 ? 0x60 : 0x64;

		if (rand_r(&seed) & 1)
			out(b, port, rand_r(&seed), 1);
		else
			in(b, port, 1);
		if (i % 16 == 0)
			console_key(b->m.console, rand_r(&seed) & 0x1ff, true);
		if (i % 32 == 0)
			console_pointer_rel(b->m.console, rand_r(&seed),
					    -rand_r(&seed), i, i);
	}
	/* A reset brings it back. */
	device_find(&b->m, "i8042")->cls->reset(device_find(&b->m, "i8042"));
	out(b, 0x64, 0xaa, 1);
	assert_int_equal(take(b), 0x55);
}

static void state_moves(void **state)
{
	struct board *b = *state, *other = board_create();
	struct device *dev = board_add(other, &i8042_class,
				       &(struct device_args){.name = "i8042"});

	to_mouse(b, 0xf4);
	expect_mouse(b, 0xfa);
	console_key(b->m.console, 0x1e, true);
	console_key(b->m.console, 0x1f, true);
	console_pointer_rel(b->m.console, 1, 0, 0, 0);
	board_move_state(device_find(&b->m, "i8042"), dev);
	assert_true(other->vm.line[1]);
	assert_int_equal(take(other), 0x1e);
	assert_int_equal(take(other), 0x1f);
	expect_mouse(other, 0x08);
	expect_mouse(other, 1);
	expect_mouse(other, 0);
	board_destroy(other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(controller_commands),
		T(keys_are_translated),
		T(every_code_survives_the_round_trip),
		T(keys_in_set_2),
		T(pause_is_special),
		T(keyboard_commands),
		T(off_ports_hold_their_bytes),
		T(keys_nobody_reads_are_lost_not_kept_forever),
		T(keys_typed_too_fast_wait),
		T(mouse_reports),
		T(mouse_wheel_is_found_by_knocking),
		T(far_movement_comes_in_pieces),
		T(mouse_status),
		T(resets),
		T(wild_bytes),
		T(state_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
