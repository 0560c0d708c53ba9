/* SeaBIOS starts a CD from the drive of every bus that has one. */
#include "tests/unit/vm_test.h"

#include "core/vm_disk_bus.h"

#define BLOCK	2048
#define BLOCKS	21
#define CATALOG 19
#define PROGRAM 20

/* Prints what follows it, wherever it was loaded. */
static const uint8_t program[] = {
	0xfc,		  /*		cld */
	0x31, 0xdb,	  /*		xor bx, bx */
	0x0e,		  /*		push cs */
	0x1f,		  /*		pop ds */
	0xe8, 0x00, 0x00, /*		call 1f */
	0x5e,		  /* 1:		pop si */
	0x83, 0xc6, 0x12, /*		add si, text - 1b */
	0xac,		  /* 2:		lodsb */
	0x84, 0xc0,	  /*		test al, al */
	0x74, 0x06,	  /*		jz 3f */
	0xb4, 0x0e,	  /*		mov ah, 0x0e */
	0xcd, 0x10,	  /*		int 0x10 */
	0xeb, 0xf5,	  /*		jmp 2b */
	0xf4,		  /* 3:		hlt */
	0xeb, 0xfd,	  /*		jmp 3b */
};

/* A bootable CD (ISO 9660, El Torito without emulation) that says text. */
static void make_cd(const char *path, const char *text)
{
	static uint8_t cd[BLOCKS * BLOCK];
	uint8_t *record = cd + 17 * BLOCK, *entry = cd + CATALOG * BLOCK;
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	memset(cd, 0, sizeof(cd));
	memcpy(cd + 16 * BLOCK, "\1CD001\1", 7);
	memcpy(record, "\0CD001\1EL TORITO SPECIFICATION", 30);
	record[0x47] = CATALOG;
	memcpy(cd + 18 * BLOCK, "\377CD001\1", 7);
	entry[0] = 1;
	/* The checksum, and a signature: all words add up to 0. */
	memcpy(entry + 28, "\xaa\x55\x55\xaa", 4);
	entry += 32;
	entry[0] = 0x88; /* bootable */
	entry[6] = 4;	 /* sectors */
	entry[8] = PROGRAM;
	memcpy(cd + PROGRAM * BLOCK, program, sizeof(program));
	strcpy((char *)cd + PROGRAM * BLOCK + sizeof(program), text);
	assert_int_equal(fwrite(cd, sizeof(cd), 1, f), 1);
	fclose(f);
}

static void boot_from(const struct vm_disk_bus *bus, const char *path)
{
	struct vm_config c;
	struct vm_disk_config *d;
	struct console_viewer *viewer;
	char text[64];
	struct vm *vm;

	snprintf(text, sizeof(text), "this is the CD on %s", bus->name);
	make_cd(path, text);
	vm_config_init(&c);
	c.mem = 64 << 20;
	d = &c.disks[c.nr_disks++];
	snprintf(d->path, sizeof(d->path), "%s", path);
	snprintf(d->bus, sizeof(d->bus), "%s", bus->name);
	d->cdrom = d->readonly = true;
	vm = vm_test_create(&c);
	viewer = console_viewer_create(vm_console(vm), 10);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_screen(vm, text);
	console_viewer_destroy(viewer);
	vm_destroy(vm);
}

static void firmware_starts_the_cd(void **state)
{
	const struct vm_disk_bus *bus;
	char path[] = "/tmp/test_vm_cdrom.XXXXXX";
	int fd = mkstemp(path), nr = 0;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; (bus = vm_disk_bus_at(i)); i++) {
		if (!bus->cdrom)
			continue;
		boot_from(bus, path);
		nr++;
	}
	assert_true(nr >= 2);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(firmware_starts_the_cd),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
