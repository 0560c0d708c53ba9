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

static bool log_has(struct vm *vm, const char *what)
{
	static struct log_entry e[1024];
	size_t n = log_copy(vm_log(vm), 0, e, 1024);

	for (size_t i = 0; i < n; i++)
		if (strstr(e[i].text, what))
			return true;
	return false;
}

static void wait_log(struct vm *vm, const char *what)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;

	while (!log_has(vm, what)) {
		if (loop_now_ns() > end)
			fail_msg("waited in vain for '%s' in the log", what);
		usleep(50000);
	}
}

static void extras_can_be_left_out(void **state)
{
	struct vm_config c = small();
	struct vm_device_row rows[32];
	struct vm *vm;
	size_t n;

	(void)state;
	c.vga = c.tablet = c.rng = false;
	vm = vm_test_create(&c);
	n = vm_devices_copy(vm, rows, 32);
	for (size_t i = 0; i < n; i++) {
		assert_string_not_equal(rows[i].name, "vga");
		assert_string_not_equal(rows[i].name, "tablet");
		assert_string_not_equal(rows[i].name, "rng");
	}
	vm_test_do(vm, VM_CMD_RESUME);
	wait_log(vm, "No bootable device.");
	vm_destroy(vm);
}

/* 512 bytes of ROM whose code writes a line to the debug port. */
static void make_rom(uint8_t rom[512])
{
	static const uint8_t head[] = {0x55, 0xaa, 1, 0xeb, 0x3b};
	static const uint8_t pcir[] = {
		'P', 'C',  'I',	 'R',  0x36, 0x1b, 5, 0, 0, 0,	  0x18, 0,
		0,   0x00, 0x80, 0x08, 1,    0,	   0, 0, 0, 0x80, 0,	0};
	static const uint8_t code[] = {
		0xbe, 0x60, 0,	  /* mov $text, %si */
		0xba, 0x02, 0x04, /* mov $0x402, %dx */
		0x2e, 0xac,	  /* lodsb %cs:(%si) */
		0x84, 0xc0,	  /* test %al, %al */
		0x74, 3,	  /* jz to the end */
		0xee,		  /* out %al, %dx */
		0xeb, 0xf7,	  /* jmp to lodsb */
		0xcb,		  /* lret */
	};
	uint8_t sum = 0;

	memset(rom, 0, 512);
	memcpy(rom, head, sizeof(head));
	rom[0x18] = 0x1c;
	memcpy(rom + 0x1c, pcir, sizeof(pcir));
	memcpy(rom + 0x40, code, sizeof(code));
	strcpy((char *)rom + 0x60, "the option ROM ran\n");
	for (int i = 0; i < 512; i++)
		sum = (uint8_t)(sum + rom[i]);
	rom[511] = (uint8_t)-sum;
}

static void an_option_rom_runs(void **state)
{
	struct vm_config c = small();
	uint8_t rom[512];
	char path[64];
	struct vm *vm;

	(void)state;
	make_rom(rom);
	make_file(path, rom, sizeof(rom));
	strcpy(c.option_rom, path);
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	wait_log(vm, "the option ROM ran");
	vm_destroy(vm);
	unlink(path);
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

/* Firmware whose first instructions lead to a triple fault. */
static void a_useless_firmware_ends_only_its_machine(void **state)
{
	static uint8_t image[0x20000];
	struct vm_config c = small();
	struct vm_status s;
	char path[64];
	struct vm *vm;

	(void)state;
	/* At the reset vector: lidt of a zero limit, then int3. */
	memcpy(image + 0x1fff0, "\x0f\x01\x1e\x00\x00\xcc\xf4", 7);
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

static void an_nmi_harms_no_firmware(void **state)
{
	struct vm_config c = small();
	struct vm_status s;
	struct vm *vm;

	(void)state;
	c.cpus = 2;
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	wait_log(vm, "No bootable device.");
	/* It goes to CPUs that opened LINT1 for it, and not to the other one,
	 * which SeaBIOS left without a handler. */
	vm_test_do(vm, VM_CMD_NMI);
	usleep(300000);
	vm_status_copy(vm, &s);
	if (s.state != VM_RUNNING)
		fail_msg("%s", s.message);
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(extras_can_be_left_out),
		cmocka_unit_test(an_option_rom_runs),
		cmocka_unit_test(a_medium_comes_and_goes),
		cmocka_unit_test(a_useless_firmware_ends_only_its_machine),
		cmocka_unit_test(an_nmi_harms_no_firmware),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
