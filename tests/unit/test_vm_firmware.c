/* SeaBIOS runs as on a PC: its messages, its boot menu, a second start. */
#include "tests/unit/vm_test.h"

/* From power-on; entries of the log from then on come after the result. */
static uint64_t start_afresh(struct vm *vm)
{
	uint64_t seq;

	vm_test_do(vm, VM_CMD_POWEROFF);
	seq = log_seq(vm_log(vm));
	vm_test_do(vm, VM_CMD_RESUME);
	return seq;
}

/* What the firmware writes goes to the log, too: other than the screen, that
 * can't be what an earlier start left there. */
static void expect_start(struct vm *vm, uint64_t since)
{
	vm_test_wait_log(vm, since, "SeaBIOS (version ");
	vm_test_wait_log(vm, since, "Booting from");
	vm_test_wait_log(vm, since, "No bootable device.");
	vm_test_wait_screen(vm, "No bootable device.");
}

static void firmware_reaches_the_end_of_its_list(void **state)
{
	struct vm_config c;
	struct console_viewer *viewer;
	uint64_t seq;
	struct vm *vm;

	(void)state;
	vm_config_init(&c);
	c.mem = 128 << 20;
	vm = vm_test_create(&c);
	viewer = console_viewer_create(vm_console(vm), 10);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_screen(vm, "SeaBIOS (version ");
	vm_test_wait_screen(vm, "No bootable device.");
	/* Pulled and put back: all of it again, from power-on. */
	expect_start(vm, start_afresh(vm));
	seq = log_seq(vm_log(vm));
	vm_test_do(vm, VM_CMD_RESET);
	expect_start(vm, seq);
	console_viewer_destroy(viewer);
	vm_destroy(vm);
}

/* The firmware forgets keys that came before its prompt and then waits for some
 * seconds of its time: so the key is pressed until something comes of it. */
static bool menu_opens(struct vm *vm)
{
	const uint16_t esc = 0x01;
	uint64_t seq = start_afresh(vm), end;

	vm_test_wait_log(vm, seq, "SeaBIOS (version ");
	end = loop_now_ns() + VM_WAIT_NS;
	while (!vm_test_log_has(vm, seq, "Select boot device:")) {
		if (vm_test_log_has(vm, seq, "Booting from"))
			return false;
		if (loop_now_ns() > end)
			VM_TEST_FAIL(vm, "neither menu nor start");
		if (vm_test_log_has(vm, seq, "Press ESC for boot menu.")) {
			console_key(vm_console(vm), esc, true);
			console_key(vm_console(vm), esc, false);
		}
		usleep(50000);
	}
	return true;
}

static void escape_opens_the_boot_menu(void **state)
{
	struct vm_config c;
	struct console_viewer *viewer;
	struct vm *vm;
	bool open = false;

	(void)state;
	vm_config_init(&c);
	c.mem = 128 << 20;
	vm = vm_test_create(&c);
	viewer = console_viewer_create(vm_console(vm), 20);
	/* On a busy machine the key may come too late; not every time. */
	for (int i = 0; i < 8 && !open; i++)
		open = menu_opens(vm);
	assert_true(open);
	vm_test_wait_screen(vm, "Select boot device:");
	console_viewer_destroy(viewer);
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(firmware_reaches_the_end_of_its_list),
		cmocka_unit_test(escape_opens_the_boot_menu),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
