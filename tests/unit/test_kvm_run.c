/*
 * Tiny hand-assembled guests on the host's KVM, through the whole engine:
 * world, memory map, bus and vCPU threads.
 */
#include "tests/unit/engine.h"

/* mov dx, 0x3f8; mov al, 'H'; out dx, al; mov al, 'i'; out dx, al; hlt; jmp */
static const uint8_t hello[] = {0xba, 0xf8, 0x03, 0xb0, 'H',  0xee,
				0xb0, 'i',  0xee, 0xf4, 0xeb, 0xfd};

static void test_hello(void **state)
{
	struct engine *en = *state;

	engine_boot_real(en, hello, sizeof(hello));
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 2));
	assert_string_equal(en->output, "Hi");
	vcpu_set_pause(en->vcpus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hello, engine_setup,
						engine_teardown),
	};

	engine_skip_without_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
