#include "tests/unit/board.h"

#include "core/hw/isa/isa.h"

#define PORT	0x3f8
#define WAIT_NS (60ull * 1000000000ull)

struct env {
	struct board *b;
	struct serial_line *line;
	uint64_t pos;
};

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	env->b = board_create();
	env->line = serial_line_create("com1");
	board_add(env->b, &serial_class,
		  &(struct device_args){.name = "com1", .line = env->line});
	board_start(env->b);
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;

	board_destroy(env->b);
	serial_line_destroy(env->line);
	free(env);
	return 0;
}

static void wait_readable(struct board *b)
{
	uint64_t end = loop_now_ns() + WAIT_NS;

	while (!(in(b, PORT + 5, 1) & 1) && loop_now_ns() < end)
		usleep(1000);
	assert_int_equal(in(b, PORT + 5, 1) & 1, 1);
}

static void wait_line(struct board *b)
{
	uint64_t end = loop_now_ns() + WAIT_NS;

	while (!__atomic_load_n(&b->vm.line[4], __ATOMIC_ACQUIRE) &&
	       loop_now_ns() < end)
		usleep(1000);
	assert_true(b->vm.line[4]);
}

static void output_arrives(void **state)
{
	struct env *env = *state;
	char text[16] = {0};

	for (const char *p = "hello"; *p; p++) {
		assert_int_equal(in(env->b, PORT + 5, 1) & 0x60, 0x60);
		out(env->b, PORT, *p, 1);
	}
	assert_int_equal(
		serial_line_read(env->line, &env->pos, text, sizeof(text)), 5);
	assert_string_equal(text, "hello");
}

static void input_arrives_in_order(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;
	char text[100], got[100];

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = i + 1;
	out(b, PORT + 2, 0x01, 1);
	assert_int_equal(serial_line_send(env->line, text, sizeof(text)),
			 sizeof(text));
	for (unsigned i = 0; i < sizeof(got); i++) {
		wait_readable(b);
		got[i] = in(b, PORT, 1);
	}
	assert_memory_equal(text, got, sizeof(text));
	assert_int_equal(in(b, PORT + 5, 1) & 3, 0); /* and no overrun */
}

static void input_interrupts(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;

	out(b, PORT + 4, 0x0b, 1);
	out(b, PORT + 2, 0xc1, 1);
	out(b, PORT + 1, 0x01, 1);
	assert_int_equal(in(b, PORT + 2, 1), 0xc1);
	serial_line_send(env->line, "x", 1);
	wait_line(b);
	assert_int_equal(in(b, PORT + 2, 1) & 0x0f, 0x0c); /* below trigger */
	assert_int_equal(in(b, PORT, 1), 'x');
	assert_false(b->vm.line[4]);
	assert_int_equal(in(b, PORT + 2, 1), 0xc1);
}

static void transmitter_interrupts(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;
	unsigned rises;

	out(b, PORT + 4, 0x0b, 1);
	out(b, PORT + 1, 0x02, 1);
	assert_true(b->vm.line[4]);
	assert_int_equal(in(b, PORT + 2, 1) & 0x0f, 0x02);
	assert_false(b->vm.line[4]); /* reading it answered it */
	assert_int_equal(in(b, PORT + 2, 1) & 0x0f, 0x01);
	rises = b->vm.rises[4];
	for (unsigned i = 0; i < 3; i++)
		out(b, PORT, 'a', 1);
	/* An edge a byte, or the guest's next one never leaves. */
	assert_int_equal(b->vm.rises[4], rises + 3);
	assert_true(b->vm.line[4]);
	out(b, PORT + 1, 0, 1);
	assert_false(b->vm.line[4]);
}

static void out2_gates_the_line(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;

	out(b, PORT + 4, 0x03, 1);
	out(b, PORT + 1, 0x02, 1);
	assert_false(b->vm.line[4]);
	out(b, PORT + 4, 0x0b, 1);
	assert_true(b->vm.line[4]);
}

static void loopback(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;
	char c;

	out(b, PORT + 4, 0x1a, 1);
	assert_int_equal(in(b, PORT + 6, 1) & 0xf0, 0x90);
	out(b, PORT + 4, 0x15, 1);
	assert_int_equal(in(b, PORT + 6, 1) & 0xf0, 0x60);
	out(b, PORT, 'z', 1);
	assert_int_equal(in(b, PORT + 5, 1) & 1, 1);
	assert_int_equal(in(b, PORT, 1), 'z');
	assert_int_equal(serial_line_read(env->line, &env->pos, &c, 1), 0);
	out(b, PORT + 2, 0x01, 1);
	for (unsigned i = 0; i < 17; i++)
		out(b, PORT, i, 1);
	assert_int_equal(in(b, PORT + 5, 1) & 3, 3); /* overrun */
	assert_int_equal(in(b, PORT + 5, 1) & 3, 1); /* told once */
	out(b, PORT + 2, 0x03, 1);
	assert_int_equal(in(b, PORT + 5, 1) & 1, 0);
}

static void modem_lines_tell_changes(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;

	assert_int_equal(in(b, PORT + 6, 1), 0xb0);
	out(b, PORT + 4, 0x10, 1);
	assert_int_equal(in(b, PORT + 6, 1), 0x0b);
	assert_int_equal(in(b, PORT + 6, 1), 0x00);
}

static void registers_keep_their_bits(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;

	out(b, PORT + 7, 0xa5, 1);
	assert_int_equal(in(b, PORT + 7, 1), 0xa5);
	out(b, PORT + 1, 0xff, 1);
	assert_int_equal(in(b, PORT + 1, 1), 0x0f);
	out(b, PORT + 3, 0x83, 1);
	out(b, PORT, 0x01, 1);
	out(b, PORT + 1, 0x02, 1);
	assert_int_equal(in(b, PORT, 1), 0x01);
	assert_int_equal(in(b, PORT + 1, 1), 0x02);
	out(b, PORT + 3, 0x03, 1);
	assert_int_equal(in(b, PORT + 1, 1), 0x0f);
}

static void wild_bytes(void **state)
{
	struct env *env = *state;
	unsigned seed = 3;

	for (unsigned i = 0; i < 50000; i++) {
		uint16_t port = PORT + rand_r(&seed) % 8;

		if (rand_r(&seed) & 1)
			out(env->b, port, rand_r(&seed), 1);
		else
			in(env->b, port, 1);
		if (i % 64 == 0)
			serial_line_send(env->line, "input", 5);
	}
	out(env->b, PORT + 7, 0x5a, 1);
	assert_int_equal(in(env->b, PORT + 7, 1), 0x5a);
}

static void state_moves(void **state)
{
	struct env *env = *state;
	struct board *b = env->b, *other = board_create();
	struct device *dev = board_add(other, &serial_class,
				       &(struct device_args){.name = "com1"});

	out(b, PORT + 4, 0x0b, 1);
	out(b, PORT + 2, 0x01, 1);
	out(b, PORT + 1, 0x01, 1);
	serial_line_send(env->line, "ab", 2);
	wait_line(b);
	board_move_state(device_find(&b->m, "com1"), dev);
	assert_true(other->vm.line[4]);
	assert_int_equal(in(other, PORT, 1), 'a');
	assert_int_equal(in(other, PORT, 1), 'b');
	assert_false(other->vm.line[4]);
	board_destroy(other);
}

static void hostile_state_is_refused(void **state)
{
	struct env *env = *state;
	struct device *dev = device_find(&env->b->m, "com1");
	struct state_buf buf = {0};
	struct error e = {0};

	assert_int_equal(state_save(&buf, dev->cls->state, "com1", dev, &e), 0);
	/* The fill level is the last field. */
	for (size_t i = buf.len - 4; i < buf.len; i++)
		buf.data[i] = 0xff;
	assert_true(state_load(&buf, dev->cls->state, "com1", dev, &e) < 0);
	state_buf_fini(&buf);
	dev->cls->reset(dev);
}

static void second_port_has_its_own_line(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;

	board_add(b, &serial_class,
		  &(struct device_args){.name = "com2", .unit = 1});
	out(b, 0x2f8 + 4, 0x0b, 1);
	out(b, 0x2f8 + 1, 0x02, 1);
	assert_true(b->vm.line[3]);
	assert_false(b->vm.line[4]);
	assert_null(device_create(
		&b->m, &serial_class,
		&(struct device_args){.name = "com9", .unit = 9}, NULL));
}

static void debug_ports(void **state)
{
	struct env *env = *state;
	struct board *b = env->b;
	char text[8] = {0};

	board_add(b, &debugcon_class,
		  &(struct device_args){.name = "debugcon", .line = env->line});
	board_add(b, &debug_exit_class, &(struct device_args){.name = "exit"});
	assert_int_equal(in(b, 0x402, 1), 0xe9);
	out(b, 0x402, 'h', 1);
	out(b, 0x402, 'i', 1);
	for (unsigned i = 0; i < 1000; i++)
		out(b, 0x402, i, 1);
	serial_line_read(env->line, &env->pos, text, 2);
	assert_string_equal(text, "hi");
	out(b, 0x501, 5, 1);
	assert_int_equal(b->requests[MACHINE_EXIT], 1);
	assert_int_equal(b->exit_code, 11);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(output_arrives),
		T(input_arrives_in_order),
		T(input_interrupts),
		T(transmitter_interrupts),
		T(out2_gates_the_line),
		T(loopback),
		T(modem_lines_tell_changes),
		T(registers_keep_their_bits),
		T(wild_bytes),
		T(state_moves),
		T(hostile_state_is_refused),
		T(second_port_has_its_own_line),
		T(debug_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
