/* SeaBIOS finds, shadows and runs the expansion ROM of a PCI function. */
#include "tests/unit/vm_test.h"

#define ROM_LEN 512

/* Writes a text to COM1 and returns to the firmware. */
static void rom_make(uint8_t rom[ROM_LEN])
{
	static const uint8_t header[] = {
		0x55, 0xaa, 0x01, /* one block of 512 bytes */
		0xe9, 0x3a, 0x00, /* jmp 0x40 */
	};
	static const uint8_t pcir[] = {
		'P',  'C',  'I',  'R',	/* PCI Firmware 3.0, 5.1.2 */
		0x36, 0x1b, 0x05, 0x00, /* vendor, device */
		0x00, 0x00, 0x18, 0x00, 0x00, 0x00, 0x80, 0x08,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00,
	};
	static const uint8_t code[] = {
		0x50, 0x52, 0x56,	/* push ax, dx, si */
		0xbe, 0x60, 0x00,	/* mov si, 0x60 */
		0xba, 0xf8, 0x03,	/* mov dx, 0x3f8 */
		0x2e, 0xac,		/* again: cs lodsb */
		0x84, 0xc0, 0x74, 0x03, /* test al, al; jz end */
		0xee, 0xeb, 0xf7,	/* out dx, al; jmp again */
		0x5e, 0x5a, 0x58, 0xcb, /* end: pop si, dx, ax; retf */
	};
	uint8_t sum = 0;

	memset(rom, 0, ROM_LEN);
	memcpy(rom, header, sizeof(header));
	rom[0x18] = 0x1c;
	memcpy(rom + 0x1c, pcir, sizeof(pcir));
	memcpy(rom + 0x40, code, sizeof(code));
	strcpy((char *)rom + 0x60, "the option ROM ran\n");
	for (unsigned i = 0; i < ROM_LEN; i++)
		sum += rom[i];
	rom[ROM_LEN - 1] = -sum;
}

static void option_rom_runs(void **state)
{
	static struct vm_test_serial serial;
	char path[] = "/tmp/binnacle-option-rom-XXXXXX";
	uint8_t rom[ROM_LEN];
	struct vm_config c;
	struct vm *vm;
	int fd;

	(void)state;
	rom_make(rom);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, rom, ROM_LEN), ROM_LEN);
	close(fd);
	vm_config_init(&c);
	c.mem = 64 << 20;
	snprintf(c.option_rom, sizeof(c.option_rom), "%s", path);
	vm = vm_test_create(&c);
	unlink(path);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_serial(vm, &serial, "the option ROM ran\n");
	/* From the shadow it runs again after a reset. */
	serial.len = 0;
	vm_test_do(vm, VM_CMD_RESET);
	vm_test_wait_serial(vm, &serial, "the option ROM ran\n");
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(option_rom_runs),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
