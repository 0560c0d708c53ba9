/*
 * Messages and eventfds through KVM: a guest whose kicks and interrupts never
 * pass through a vCPU's exit.
 */
#include "tests/unit/engine.h"
#include "tests/unit/engine_guests.h"

#include <sys/eventfd.h>

#define VECTOR	 0x41
#define IDT	 0x9000u
#define PORT	 0x600
#define DOORBELL 0xd0000000u

/* A gate for VECTOR, and the descriptor that the guest loads. */
static void make_idt(struct engine *en)
{
	uint8_t *ram = mem_block_host(en->ram);
	uint64_t handler = ENGINE_ENTRY + 0x40;
	uint16_t limit = 16 * 256 - 1;
	uint64_t base = IDT, gate;

	gate = (handler & 0xffff) | 8ull << 16 | 0x8e00ull << 32 |
	       (handler >> 16 & 0xffff) << 48;
	memcpy(ram + IDT + VECTOR * 16, &gate, sizeof(gate));
	memcpy(ram + 0x5100, &limit, sizeof(limit));
	memcpy(ram + 0x5102, &base, sizeof(base));
}

/* iretq loads selectors, so the flat segments must exist. */
static void make_gdt(struct engine *en)
{
	static const uint64_t gdt[3] = {0, 0x00af9b000000ffff,
					0x00cf93000000ffff};
	struct vcpu_state *s = calloc(1, sizeof(*s));
	struct error e;

	memcpy(mem_block_host(en->ram) + 0x8800, gdt, sizeof(gdt));
	vcpu_state_copy(en->vcpus, 0, ACCEL_GET, s, &e);
	s->sregs.gdt.base = 0x8800;
	s->sregs.gdt.limit = sizeof(gdt) - 1;
	assert_int_equal(vcpu_state_copy(en->vcpus, 0, ACCEL_SET, s, &e), 0);
	free(s);
}

static void boot(struct engine *en)
{
	make_idt(en);
	engine_boot(en, ENGINE_LONG, guest_msi, sizeof(guest_msi));
	make_gdt(en);
}

static uint64_t eventfd_take(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void test_doorbells(void **state)
{
	struct engine *en = *state;
	const struct accel_fast *fast = en->accel->fast;
	int port = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct vcpu_status status;

	assert_int_equal(fast->ioeventfd(en->vm, PORT, 1, true, port, true), 0);
	assert_int_equal(
		fast->ioeventfd(en->vm, DOORBELL, 0, false, bell, true), 0);
	boot(en);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 1));
	assert_int_equal(eventfd_take(port), 1);
	assert_int_equal(eventfd_take(bell), 1);
	vcpu_set_pause(en->vcpus);
	vcpu_status_copy(en->vcpus, 0, &status);
	assert_int_equal(status.pio, 1);
	assert_int_equal(status.mmio, 0);
	assert_int_equal(fast->ioeventfd(en->vm, PORT, 1, true, port, false),
			 0);
	assert_int_equal(
		fast->ioeventfd(en->vm, DOORBELL, 0, false, bell, false), 0);
	assert_int_not_equal(
		fast->ioeventfd(en->vm, PORT, 1, true, port, false), 0);
	close(port);
	close(bell);
}

static void test_messages(void **state)
{
	struct engine *en = *state;
	struct irq_msi m, other;
	unsigned i;

	assert_int_equal(irq_msi_init(&m, en->irq), 0);
	assert_int_equal(irq_msi_init(&other, en->irq), 0);
	assert_int_equal(irq_msi_set(&other, 0xfee00000, 0x50, true), 0);
	assert_int_equal(irq_msi_set(&m, 0xfee00000, VECTOR, true), 0);
	boot(en);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 1));
	for (i = 0; i < 5; i++) {
		irq_msi_fire(&m);
		assert_true(engine_wait_output(en, i + 2));
	}
	/* Taking another route away must not disturb this one. */
	irq_msi_fini(&other);
	irq_msi_fire(&m);
	assert_true(engine_wait_output(en, 7));
	assert_int_equal(en->accel->fast->msi(en->vm, 0xfee00000, VECTOR), 0);
	assert_true(engine_wait_output(en, 8));
	irq_msi_set(&m, 0, 0, false);
	irq_msi_fire(&m);
	assert_int_equal(irq_msi_set(&m, 0xfee00000, VECTOR, true), 0);
	irq_msi_fire(&m);
	assert_true(engine_wait_output(en, 9));
	vcpu_set_pause(en->vcpus);
	assert_string_equal(en->output, ".MMMMMMMM");
	irq_msi_fini(&m);
}

/* As many messages as sixteen busy devices have. */
static void test_many_messages(void **state)
{
	struct engine *en = *state;
	struct irq_msi m[256];
	unsigned i;

	for (i = 0; i < 256; i++) {
		assert_int_equal(irq_msi_init(&m[i], en->irq), 0);
		assert_int_equal(irq_msi_set(&m[i], 0xfee00000, i, true), 0);
	}
	for (i = 0; i < 256; i++)
		irq_msi_fini(&m[i]);
}

#define TEST(fn)                                                               \
	cmocka_unit_test_setup_teardown(fn, engine_setup, engine_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_doorbells),
		TEST(test_messages),
		TEST(test_many_messages),
	};

	engine_skip_without_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
