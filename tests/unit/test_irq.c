#include "tests/unit/fake_accel.h"

#include <unistd.h>

#include "core/error.h"
#include "core/irq.h"

static int setup(void **state)
{
	struct accel_vm *vm = calloc(1, sizeof(*vm));

	*state = vm;
	return !vm;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* A line is high while anyone holds it. */
static void test_shared_line(void **state)
{
	struct accel_vm *vm = *state;
	struct error e;
	struct irq_hub *hub = irq_hub_create(&fake_accel, vm, &e);
	struct irq a, b;

	irq_init(&a, hub, 10);
	irq_init(&b, hub, 10);
	irq_set(&a, true);
	irq_set(&b, true);
	irq_set(&b, true);
	assert_int_equal(vm->line[10], 1);
	assert_int_equal(vm->line_calls, 1);
	irq_set(&a, false);
	assert_int_equal(vm->line[10], 1);
	irq_set(&b, false);
	assert_int_equal(vm->line[10], 0);
	irq_set(&b, false);
	assert_int_equal(vm->line_calls, 2);
	assert_int_equal(a.raised, 1);
	irq_pulse(&a);
	assert_int_equal(vm->line_calls, 4);
	irq_hub_destroy(hub);
}

static void test_move(void **state)
{
	struct accel_vm *vm = *state;
	struct error e;
	struct irq_hub *hub = irq_hub_create(&fake_accel, vm, &e);
	struct irq a, b;

	irq_init(&a, hub, 10);
	irq_init(&b, hub, 10);
	irq_set(&a, true);
	irq_set(&b, true);
	irq_move(&a, 11);
	assert_int_equal(vm->line[10], 1);
	assert_int_equal(vm->line[11], 1);
	irq_move(&b, 11);
	assert_int_equal(vm->line[10], 0);
	irq_set(&a, false);
	irq_move(&a, 10);
	assert_int_equal(vm->line[10], 0);
	/* A line that no PC has is a guest's mistake, not a crash. */
	irq_move(&a, 255);
	irq_set(&a, true);
	irq_set(&a, false);
	irq_hub_destroy(hub);
}

static void test_message_by_eventfd(void **state)
{
	struct accel_vm *vm = *state;
	struct error e;
	struct irq_hub *hub = irq_hub_create(&fake_accel, vm, &e);
	struct irq_msi m, n;
	uint64_t value;

	assert_int_equal(irq_msi_init(&m, hub), 0);
	assert_int_equal(irq_msi_init(&n, hub), 0);
	assert_int_not_equal(m.gsi, n.gsi);
	assert_true(m.gsi >= 24);
	irq_msi_fire(&m); /* not enabled: vanishes */
	assert_int_equal(read(m.eventfd, &value, 8), -1);
	assert_int_equal(irq_msi_set(&m, 0xfee00000, 0x41, true), 0);
	assert_int_equal(vm->irqfd[m.gsi - 24], m.eventfd + 1);
	assert_int_equal(vm->msi_data, 0x41);
	irq_msi_fire(&m);
	irq_msi_fire(&m);
	assert_int_equal(read(m.eventfd, &value, 8), 8);
	assert_int_equal(value, 2);
	assert_int_equal(m.raised, 2);
	assert_int_equal(irq_msi_set(&m, 0xfee00000, 0x42, true), 0);
	assert_int_equal(vm->msi_data, 0x42);
	/* What was fired last must not arrive after the next enable. */
	irq_msi_fire(&m);
	assert_int_equal(irq_msi_set(&m, 0, 0, false), 0);
	assert_int_equal(vm->irqfd[m.gsi - 24], 0);
	assert_int_equal(read(m.eventfd, &value, 8), -1);
	assert_int_equal(vm->msis, 0);
	irq_msi_fini(&m);
	irq_msi_fini(&n);
	irq_msi_fini(&n);
	irq_hub_destroy(hub);
}

static void test_message_without_eventfd(void **state)
{
	static const struct accel_fast slow = {.irq_line = fake_irq_line,
					       .msi = fake_msi};
	struct accel_ops ops = fake_accel;
	struct accel_vm *vm = *state;
	struct irq_hub *hub;
	struct irq_msi m;
	struct error e;

	ops.fast = &slow;
	hub = irq_hub_create(&ops, vm, &e);
	assert_int_equal(irq_msi_init(&m, hub), -ENOTSUP);
	assert_int_equal(irq_msi_set(&m, 0xfee01000, 0x33, true), 0);
	irq_msi_fire(&m);
	assert_int_equal(vm->msis, 1);
	assert_int_equal(vm->msi_addr, 0xfee01000);
	assert_int_equal(vm->msi_data, 0x33);
	irq_msi_fini(&m);
	irq_hub_destroy(hub);
	ops.fast = NULL;
	assert_null(irq_hub_create(&ops, vm, &e));
	assert_int_equal(e.code, -ENOTSUP);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_shared_line),
		TEST(test_move),
		TEST(test_message_by_eventfd),
		TEST(test_message_without_eventfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
