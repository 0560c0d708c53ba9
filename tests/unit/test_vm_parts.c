/* Machines with other parts than usual, and parts that change. */
#include "tests/unit/vm_test.h"

#include <errno.h>
#include <fcntl.h>

static struct vm_config small(void)
{
	struct vm_config c;

	vm_config_init(&c);
	c.mem = 64 << 20;
	return c;
}

static void make_file(char *path, const void *data, size_t len)
{
	int fd;

	strcpy(path, "/tmp/binnacle-parts-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* Firmware starts without the parts that can be left out, and an NMI does not
 * harm it: that goes to CPUs that opened LINT1 for it, and not to the other one,
 * which SeaBIOS left without a handler. */
static void a_bare_machine_starts_and_bears_an_nmi(void **state)
{
	struct vm_config c = small();
	struct vm_device_row rows[32];
	struct vm_status s;
	struct vm *vm;
	uint64_t exits, seq;
	size_t n;

	(void)state;
	c.cpus = 2;
	c.vga = c.tablet = c.rng = false;
	vm = vm_test_create(&c);
	n = vm_devices_copy(vm, rows, 32);
	for (size_t i = 0; i < n; i++) {
		assert_string_not_equal(rows[i].name, "vga");
		assert_string_not_equal(rows[i].name, "tablet");
		assert_string_not_equal(rows[i].name, "rng");
	}
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_log(vm, 0, "No bootable device.");
	seq = log_seq(vm_log(vm));
	vm_test_do(vm, VM_CMD_NMI);
	vm_test_wait_log(vm, seq, "handle_02");
	vm_status_copy(vm, &s);
	exits = s.exits;
	VM_TEST_UNTIL(vm, (vm_status_copy(vm, &s),
			   s.exits > exits + 8 || s.state != VM_RUNNING));
	if (s.state != VM_RUNNING)
		VM_TEST_FAIL(vm, "%s", s.message);
	vm_destroy(vm);
}

static int change(struct vm *vm, unsigned index, const char *path,
		  struct error *e)
{
	struct vm_command cmd = {.kind = VM_CMD_CHANGE_MEDIUM, .index = index};

	strcpy(cmd.text, path);
	return vm_command_sync(vm, &cmd, e);
}

static void a_medium_comes_and_goes(void **state)
{
	static uint8_t image[64 * 2048];
	struct vm_config c = small();
	struct vm_disk_row rows[4];
	struct error e = {0};
	char path[64];
	struct vm *vm;

	(void)state;
	make_file(path, image, sizeof(image));
	c.nr_disks = 1;
	c.disks[0].cdrom = true;
	strcpy(c.disks[0].bus, "ahci");
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	assert_int_equal(vm_disks_copy(vm, rows, 4), 1);
	assert_false(rows[0].has_medium);
	assert_string_equal(rows[0].bus, "ahci");
	for (int i = 0; i < 20; i++) {
		assert_int_equal(change(vm, 0, path, &e), 0);
		vm_disks_copy(vm, rows, 4);
		assert_true(rows[0].has_medium && rows[0].readonly);
		assert_string_equal(rows[0].path, path);
		assert_int_equal(rows[0].len, sizeof(image));
		assert_int_equal(change(vm, 0, "", &e), 0);
		vm_disks_copy(vm, rows, 4);
		assert_false(rows[0].has_medium);
	}
	assert_true(change(vm, 0, "/nonexistent.iso", &e) < 0);
	assert_non_null(strstr(e.msg, "/nonexistent.iso"));
	assert_int_equal(change(vm, 1, path, &e), -EINVAL);
	assert_int_equal(change(vm, 4000000000u, path, &e), -EINVAL);
	vm_destroy(vm);
	unlink(path);
}

/* Firmware whose first instructions lead to a triple fault: in protected mode,
 * for in real mode some CPUs and KVMs don't look at the limit of the IDT. */
static void a_useless_firmware_ends_only_its_machine(void **state)
{
	static const uint8_t at_reset[] = {
		0x0f, 0x01, 0x1e, 0, 0, /* lidt 0: a limit of 0 */
		0x0f, 0x20, 0xc0,	/* mov %cr0, %eax */
		0x0c, 0x01,		/* or $1, %al */
		0x0f, 0x22, 0xc0,	/* mov %eax, %cr0 */
		0x0f, 0x0b,		/* ud2 */
	};
	static uint8_t image[0x20000];
	struct vm_config c = small();
	struct vm_status s;
	char path[64];
	struct vm *vm;

	(void)state;
	memcpy(image + 0x1fff0, at_reset, sizeof(at_reset));
	make_file(path, image, sizeof(image));
	strcpy(c.firmware, path);
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_state(vm, VM_CRASHED);
	vm_status_copy(vm, &s);
	assert_non_null(strstr(s.message, "rip"));
	vm_destroy(vm);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bare_machine_starts_and_bears_an_nmi),
		cmocka_unit_test(a_medium_comes_and_goes),
		cmocka_unit_test(a_useless_firmware_ends_only_its_machine),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
