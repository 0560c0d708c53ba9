/* SeaBIOS runs as on a PC: its messages, its boot menu, a second start. */
#include "tests/unit/vm_test.h"

/* The old picture stays until the display is refreshed. */
static void start_afresh(struct vm *vm)
{
	vm_test_do(vm, VM_CMD_POWEROFF);
	vm_test_do(vm, VM_CMD_RESUME);
	while (vm_test_screen_has(vm, "SeaBIOS"))
		usleep(5000);
}

static void firmware_reaches_the_end_of_its_list(void **state)
{
	struct vm_config c;
	struct console_viewer *viewer;
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
	start_afresh(vm);
	vm_test_wait_screen(vm, "Booting from");
	vm_test_wait_screen(vm, "No bootable device.");
	vm_test_do(vm, VM_CMD_RESET);
	while (vm_test_screen_has(vm, "No bootable"))
		usleep(5000);
	vm_test_wait_screen(vm, "No bootable device.");
	console_viewer_destroy(viewer);
	vm_destroy(vm);
}

static bool menu_opens(struct vm *vm)
{
	const uint16_t esc = 0x01;

	start_afresh(vm);
	vm_test_wait_screen(vm, "Press ESC for boot menu.");
	console_key(vm_console(vm), esc, true);
	console_key(vm_console(vm), esc, false);
	for (int i = 0; i < 600; i++) {
		if (vm_test_screen_has(vm, "Select boot device:"))
			return true;
		if (vm_test_screen_has(vm, "Booting from"))
			return false;
		usleep(50000);
	}
	return false;
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
