#include "tests/unit/board.h"

#include "core/hw/isa/isa.h"

#define WAIT_NS (60ull * 1000000000ull)
#define B_SET	0x80
#define B_24H	0x02
#define B_BIN	0x04

static int setup(void **state)
{
	struct board *b = board_create();

	b->m.ram_below_4g = 0x80000000;
	b->m.ram_above_4g = 0x140000000;
	board_add(b, &rtc_class, &(struct device_args){.name = "rtc"});
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	board_destroy(*state);
	return 0;
}

static uint8_t get(struct board *b, unsigned reg)
{
	out(b, 0x70, reg, 1);
	return in(b, 0x71, 1);
}

static void set(struct board *b, unsigned reg, uint8_t value)
{
	out(b, 0x70, reg | 0x80, 1);
	out(b, 0x71, value, 1);
}

static int bcd(uint8_t v)
{
	return (v >> 4) * 10 + (v & 15);
}

/* Waits for the level of IRQ 8. */
static bool line_rises(struct board *b)
{
	uint64_t end = loop_now_ns() + WAIT_NS;

	while (!__atomic_load_n(&b->vm.line[8], __ATOMIC_ACQUIRE) &&
	       loop_now_ns() < end)
		usleep(5000);
	return b->vm.line[8];
}

static void set_time(struct board *b, int year, int month, int day, int hour,
		     int minute, int second)
{
	set(b, 0x0b, B_SET | B_24H | B_BIN);
	set(b, 0, second);
	set(b, 2, minute);
	set(b, 4, hour);
	set(b, 7, day);
	set(b, 8, month);
	set(b, 9, year % 100);
	set(b, 0x32, year / 100);
	set(b, 0x0b, B_24H | B_BIN);
}

static void time_is_the_hosts(void **state)
{
	struct board *b = *state;
	time_t now = time(NULL), t;
	struct tm tm = {
		.tm_sec = bcd(get(b, 0)),
		.tm_min = bcd(get(b, 2)),
		.tm_hour = bcd(get(b, 4)),
		.tm_mday = bcd(get(b, 7)),
		.tm_mon = bcd(get(b, 8)) - 1,
		.tm_year = bcd(get(b, 0x32)) * 100 + bcd(get(b, 9)) - 1900,
	};

	t = timegm(&tm);
	/* A minute may pass between two reads on a busy machine. */
	assert_true(t >= now - 61 && t <= now + 61);
	assert_int_equal(get(b, 0x0d), 0x80);
}

static void time_can_be_set(void **state)
{
	struct board *b = *state;

	set_time(b, 2024, 2, 28, 23, 58, 30);
	assert_int_equal(get(b, 9), 24);
	assert_int_equal(get(b, 0x32), 20);
	assert_int_equal(get(b, 7), 28);
	assert_int_equal(get(b, 4), 23);
	assert_int_equal(get(b, 6), 4); /* a Wednesday */
	/* Registers stand still while SET is on. */
	set(b, 0x0b, B_SET | B_24H | B_BIN);
	set(b, 0, 7);
	assert_int_equal(get(b, 0), 7);
}

static void hours_of_twelve(void **state)
{
	struct board *b = *state;

	set_time(b, 2024, 1, 1, 0, 30, 0);
	set(b, 0x0b, 0);
	assert_int_equal(get(b, 4), 0x12);
	set_time(b, 2024, 1, 1, 12, 30, 0);
	set(b, 0x0b, 0);
	assert_int_equal(get(b, 4), 0x92);
	set_time(b, 2024, 1, 1, 23, 30, 0);
	set(b, 0x0b, 0);
	assert_int_equal(get(b, 4), 0x91);
	set(b, 4, 0x81); /* 1 pm */
	set(b, 0x0b, B_24H);
	assert_int_equal(get(b, 4), 0x13);
}

static void nonsense_times_do_no_harm(void **state)
{
	struct board *b = *state;

	for (unsigned v = 0; v < 256; v++) {
		set(b, 0x0b, B_SET | (v & 6));
		for (unsigned reg = 0; reg < 10; reg++)
			set(b, reg, v);
		set(b, 0x32, v);
		set(b, 0x0b, v & 6);
		for (unsigned reg = 0; reg < 14; reg++)
			get(b, reg);
	}
	assert_true(get(b, 0x0d) & 0x80);
}

static void update_interrupt(void **state)
{
	struct board *b = *state;

	board_start(b);
	get(b, 0x0c);
	set(b, 0x0b, B_24H | 0x10);
	assert_true(line_rises(b));
	assert_int_equal(get(b, 0x0c) & 0x90, 0x90);
	assert_false(b->vm.line[8]);
	assert_int_equal(get(b, 0x0c) & 0x80, 0);
	assert_true(line_rises(b)); /* and again */
	set(b, 0x0b, B_24H);
	assert_false(b->vm.line[8]);
}

static void periodic_interrupt(void **state)
{
	struct board *b = *state;

	board_start(b);
	set(b, 0x0a, 0x2a); /* 64 Hz */
	get(b, 0x0c);
	set(b, 0x0b, B_24H | 0x40);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(line_rises(b));
		assert_int_equal(get(b, 0x0c) & 0xc0, 0xc0);
	}
	assert_true(b->vm.rises[8] >= 5);
}

static void alarm_interrupt(void **state)
{
	struct board *b = *state;

	board_start(b);
	set_time(b, 2024, 5, 5, 10, 20, 30);
	set(b, 1, 32);
	set(b, 3, 20);
	set(b, 5, 10);
	get(b, 0x0c);
	set(b, 0x0b, B_24H | B_BIN | 0x20);
	assert_true(line_rises(b));
	assert_int_equal(get(b, 0x0c) & 0xa0, 0xa0);
	assert_true(get(b, 0) >= 32 || get(b, 2) > 20);
}

static void alarm_of_any_hour(void **state)
{
	struct board *b = *state;

	/* Not started: flags are worked out when C is read. */
	set_time(b, 2024, 5, 5, 10, 20, 30);
	set(b, 1, 0xff);
	set(b, 3, 0xff);
	set(b, 5, 0xff);
	get(b, 0x0c);
	usleep(1100000);
	assert_int_equal(get(b, 0x0c) & 0x30, 0x30);
}

static void memory_sizes(void **state)
{
	struct board *b = *state;

	assert_int_equal(get(b, 0x15) | get(b, 0x16) << 8, 640);
	assert_int_equal(get(b, 0x30) | get(b, 0x31) << 8, 0xffff);
	assert_int_equal(get(b, 0x34) | get(b, 0x35) << 8, 0x7f00);
	assert_int_equal(get(b, 0x5b) | get(b, 0x5c) << 8 | get(b, 0x5d) << 16,
			 0x14000);
	assert_int_equal(get(b, 0x5f), 1);
	rtc_set_boot_order(&b->m, "dcn");
	assert_int_equal(get(b, 0x3d), 0x23);
	assert_int_equal(get(b, 0x38) >> 4, 4);
}

static void memory_survives_reset(void **state)
{
	struct board *b = *state;
	struct device *dev = device_find(&b->m, "rtc");

	set(b, 0x0f, 0x0a);
	set(b, 0x0b, B_24H | 0x70);
	dev->cls->reset(dev);
	assert_int_equal(get(b, 0x0f), 0x0a);
	assert_int_equal(get(b, 0x0b), B_24H);
	assert_false(b->vm.line[8]);
}

static void state_moves(void **state)
{
	struct board *b = *state, *other = board_create();
	struct device *dev = board_add(other, &rtc_class,
				       &(struct device_args){.name = "rtc"});

	set_time(b, 1999, 12, 24, 18, 0, 0);
	set(b, 0x40, 0x99);
	board_move_state(device_find(&b->m, "rtc"), dev);
	assert_int_equal(get(other, 9), 99);
	assert_int_equal(get(other, 0x32), 19);
	assert_int_equal(get(other, 7), 24);
	assert_int_equal(get(other, 0x40), 0x99);
	board_destroy(other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(time_is_the_hosts), T(time_can_be_set),
		T(hours_of_twelve),   T(nonsense_times_do_no_harm),
		T(update_interrupt),  T(periodic_interrupt),
		T(alarm_interrupt),   T(alarm_of_any_hour),
		T(memory_sizes),      T(memory_survives_reset),
		T(state_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
