/*
 * A guest that means harm: random values to random ports, registers,
 * configuration space and doorbells, as fast as it can.  Whatever comes of it
 * happens to the guest; the process and its other machine go on.
 */
#include "tests/unit/vm_test.h"

#include <elf.h>
#include <fcntl.h>

/* 32-bit code at any address; ebx holds the random state, the command line's
 * first four letters are the seed.  Most accesses go where devices are. */
__asm__(".pushsection .rodata\n"
	".globl flood_code, flood_end\n"
	"flood_code:\n"
	".code32\n"
	"	movl $0x20000, %esi\n" /* the command line: the seed */
	"	movl (%esi), %ebx\n"
	"	orl $1, %ebx\n"
	"	movl $0x8000, %esp\n"
	"	call 1f\n"
	"1:	popl %ebp\n"
	"2:	movl %ebx, %eax\n"
	"	shll $13, %eax\n"
	"	xorl %eax, %ebx\n"
	"	movl %ebx, %eax\n"
	"	shrl $17, %eax\n"
	"	xorl %eax, %ebx\n"
	"	movl %ebx, %eax\n"
	"	shll $5, %eax\n"
	"	xorl %eax, %ebx\n"
	/* A port: base from the table, plus four random bits. */
	"	movl %ebx, %edx\n"
	"	shrl $8, %edx\n"
	"	movl %edx, %ecx\n"
	"	andl $15, %edx\n"
	"	movzwl ports-1b(%ebp,%edx,2), %edx\n"
	"	shrl $4, %ecx\n"
	"	andl $15, %ecx\n"
	"	addl %ecx, %edx\n"
	"	movl %ebx, %eax\n"
	"	rorl $11, %eax\n"
	"	testl $0x10000, %ebx\n"
	"	jz 3f\n"
	"	outb %al, %dx\n"
	"	inb %dx, %al\n"
	"	jmp 4f\n"
	"3:	outl %eax, %dx\n"
	"	inw %dx, %ax\n"
	/* An address: base and mask from the table. */
	"4:	movl %ebx, %ecx\n"
	"	shrl $20, %ecx\n"
	"	andl $7, %ecx\n"
	"	movl %ebx, %edi\n"
	"	rorl $5, %edi\n"
	"	andl places-1b+4(%ebp,%ecx,8), %edi\n"
	"	addl places-1b(%ebp,%ecx,8), %edi\n"
	"	movl %ebx, %eax\n"
	"	testl $0x20000, %ebx\n"
	"	jz 5f\n"
	"	movb %al, (%edi)\n"
	"	movw (%edi), %ax\n"
	"	jmp 2b\n"
	"5:	movl %eax, (%edi)\n"
	"	movl (%edi), %eax\n"
	"	jmp 2b\n"
	"ports:	.word 0x3b0, 0x3c0, 0x3d0, 0x1c8, 0xcf8, 0x60, 0x70, 0x3f8\n"
	"	.word 0x510, 0xcf8, 0xb0, 0x620, 0xc000, 0xc010, 0x20, 0x40\n"
	/* ECAM of bus 0, VGA, BARs twice, firmware's shadow, ROM, holes. */
	"places: .long 0xb0000000, 0xfffff\n"
	"	.long 0xa0000, 0x1ffff\n"
	"	.long 0xc0000000, 0x1ffffff\n"
	"	.long 0xc1000000, 0xffff\n"
	"	.long 0xc0000, 0x3ffff\n"
	"	.long 0xfff00000, 0xfffff\n"
	"	.long 0x80000000, 0x2fffffff\n"
	"	.long 0xb0000000, 0x3ffff\n"
	".code64\n"
	"flood_end:\n"
	".popsection\n");
extern const uint8_t flood_code[], flood_end[];

static void make_kernel(char *path)
{
	uint8_t image[4096] = {0};
	uint32_t note[] = {4, 4, 18, 0x006e6558 /* "Xen" */, 0x100000};
	Elf32_Ehdr h = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB},
		.e_machine = EM_386,
		.e_phoff = sizeof(h),
		.e_phnum = 2,
		.e_phentsize = sizeof(Elf32_Phdr),
	};
	Elf32_Phdr ph[2] = {
		{.p_type = PT_LOAD,
		 .p_offset = 0x400,
		 .p_paddr = 0x100000,
		 .p_filesz = (uint32_t)(flood_end - flood_code),
		 .p_memsz = (uint32_t)(flood_end - flood_code)},
		{.p_type = PT_NOTE, .p_offset = 0x200, .p_filesz = 20},
	};
	int fd;

	assert_true(flood_end - flood_code < 0xc00);
	memcpy(image, &h, sizeof(h));
	memcpy(image + sizeof(h), ph, sizeof(ph));
	memcpy(image + 0x200, note, sizeof(note));
	memcpy(image + 0x400, flood_code, (size_t)(flood_end - flood_code));
	strcpy(path, "/tmp/binnacle-flood-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, image, sizeof(image)), sizeof(image));
	close(fd);
}

static void make_disk(char *path)
{
	int fd;

	strcpy(path, "/tmp/binnacle-flood-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
}

/* However it ended, it starts again. */
static void bring_back(struct vm *vm)
{
	vm_test_do(vm, VM_CMD_POWEROFF);
	vm_test_do(vm, VM_CMD_RESUME);
}

static void flood(const char *kernel, const char *disk, const char *seed)
{
	struct console_viewer *viewer;
	uint64_t enough = loop_now_ns() + 4000000000u;
	uint64_t end = loop_now_ns() + VM_WAIT_NS;
	struct vm_device_row rows[32];
	struct vm_config c;
	struct vm_status s;
	unsigned ends = 0;
	struct vm *vm;

	vm_config_init(&c);
	c.mem = 16 << 20;
	strcpy(c.kernel, kernel);
	strcpy(c.append, seed);
	c.nr_disks = 3;
	strcpy(c.disks[0].path, disk);
	c.disks[0].scratch = true;
	strcpy(c.disks[1].path, disk);
	strcpy(c.disks[1].bus, "ahci");
	c.disks[1].scratch = true;
	strcpy(c.disks[2].bus, "ahci");
	c.disks[2].cdrom = true;
	vm = vm_test_create(&c);
	viewer = console_viewer_create(vm_console(vm), 20);
	vm_test_do(vm, VM_CMD_RESUME);
	do {
		usleep(50000);
		console_key(vm_console(vm), 0x1e, true);
		console_pointer(vm_console(vm), 100, 100, 1);
		vm_devices_copy(vm, rows, 32);
		vm_status_copy(vm, &s);
		if (s.state != VM_RUNNING) {
			ends++;
			bring_back(vm);
		}
	} while (loop_now_ns() < enough ||
		 (s.exits <= 1000 && loop_now_ns() < end));
	assert_true(s.exits > 1000);
	printf("seed %s: %llu exits, %u resets, ended %u times\n", seed,
	       (unsigned long long)s.exits, s.resets, ends);
	console_viewer_destroy(viewer);
	vm_destroy(vm);
}

static void floods_end_nothing_but_the_guest(void **state)
{
	static struct vm_test_serial serial;
	char kernel[64], disk[64];
	struct vm_config c;
	struct vm *other;

	(void)state;
	make_kernel(kernel);
	make_disk(disk);
	vm_config_init(&c);
	c.mem = 64 << 20;
	strcpy(c.kernel, DEMO_ELF);
	other = vm_test_create(&c);
	vm_test_do(other, VM_CMD_RESUME);
	flood(kernel, disk, "1abc");
	flood(kernel, disk, "7Qz!");
	flood(kernel, disk, "\x7f~#9");
	/* Its neighbour noticed nothing. */
	vm_test_wait_serial(other, &serial, "beat 5 ");
	assert_int_equal(serial_line_send(vm_serial(other, 0), "v", 1), 1);
	vm_test_wait_serial(other, &serial, "verify ok");
	vm_destroy(other);
	unlink(kernel);
	unlink(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(floods_end_nothing_but_the_guest),
	};

	vm_test_need_kvm();
	if (access(DEMO_ELF, R_OK)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
