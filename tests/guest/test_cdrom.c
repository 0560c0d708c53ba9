/*
 * GRUB's rescue CD, started by SeaBIOS from each kind of CD-ROM drive: its menu
 * is on the screen once the firmware, the boot sector and GRUB's own modules
 * have read what they need.
 */
#include "tests/unit/vm_test.h"

#include <sys/stat.h>

#define ISO "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"

static void boot_cd(const char *bus)
{
	struct vm_config c;
	struct console_viewer *viewer;
	struct vm *vm;

	vm_config_init(&c);
	c.mem = 128 << 20;
	strcpy(c.boot_order, "d");
	strcpy(c.disks[0].path, ISO);
	strcpy(c.disks[0].bus, bus);
	c.disks[0].cdrom = true;
	c.nr_disks = 1;
	vm = vm_test_create(&c);
	viewer = console_viewer_create(vm_console(vm), 5);
	assert_non_null(viewer);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_screen(vm, "GNU GRUB");
	console_viewer_destroy(viewer);
	vm_destroy(vm);
}

static void the_cd_starts_from_ide(void **state)
{
	(void)state;
	boot_cd("ide");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cd_starts_from_ide),
	};
	struct stat st;

	vm_test_need_kvm();
	if (stat(ISO, &st)) {
		printf("SKIP: %s is missing (package grub-rescue-pc)\n", ISO);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
