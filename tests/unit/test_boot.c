#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/error.h"
#include "core/hw/boot/boot.h"
#include "core/vcpu_state.h"

/* ---- sample images ---- */

#define BZ_LEN 8192

static void put(uint8_t *p, uint64_t v, int len)
{
	for (int i = 0; i < len; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void make_bzimage(uint8_t *b)
{
	memset(b, 0, BZ_LEN);
	b[0x1f1] = 3;		   /* setup sectors */
	put(b + 0x1fe, 0xaa55, 2); /* boot flag */
	put(b + 0x200, 0x66eb, 2); /* jump: header ends at 0x268 */
	memcpy(b + 0x202, "HdrS", 4);
	put(b + 0x206, 0x20f, 2);
	b[0x211] = 1;		       /* loaded high */
	put(b + 0x22c, 0x7fffffff, 4); /* initrd_addr_max */
	put(b + 0x230, 0x200000, 4);   /* alignment */
	b[0x234] = 1;		       /* relocatable */
	put(b + 0x236, 3, 2);	       /* 64-bit entry */
	put(b + 0x238, 2047, 4);       /* command line */
	put(b + 0x258, 0x1000000, 8);  /* preferred address */
	put(b + 0x260, 0x2000000, 4);  /* init_size */
}

#define ELF_LEN 4096

static void make_elf(uint8_t *b)
{
	Elf64_Ehdr h = {.e_machine = EM_X86_64,
			.e_phoff = sizeof(h),
			.e_phnum = 2,
			.e_phentsize = sizeof(Elf64_Phdr)};
	Elf64_Phdr load = {.p_type = PT_LOAD,
			   .p_offset = 0x400,
			   .p_paddr = 0x100000,
			   .p_filesz = 0x800,
			   .p_memsz = 0x2000};
	Elf64_Phdr note = {
		.p_type = PT_NOTE, .p_offset = 0x200, .p_filesz = 40};

	memset(b, 0, ELF_LEN);
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(b, &h, sizeof(h));
	memcpy(b + sizeof(h), &load, sizeof(load));
	memcpy(b + sizeof(h) + sizeof(load), &note, sizeof(note));
	/* Another note first, then the entry. */
	put(b + 0x200, 4, 4);
	put(b + 0x204, 1, 4);
	put(b + 0x208, 5, 4);
	memcpy(b + 0x20c, "Xen", 4);
	put(b + 0x214, 4, 4);
	put(b + 0x218, 4, 4);
	put(b + 0x21c, 18, 4);
	memcpy(b + 0x220, "Xen", 4);
	put(b + 0x224, 0x100010, 4);
}

/* ---- bzImage ---- */

static void a_bzimage_is_understood(void **state)
{
	uint8_t b[BZ_LEN];
	struct bzimage img;
	struct error e = {0};
	enum boot_kind kind;

	(void)state;
	make_bzimage(b);
	assert_int_equal(boot_kind(b, sizeof(b), &kind, &e), 0);
	assert_int_equal(kind, BOOT_BZIMAGE);
	assert_int_equal(bzimage_parse(b, sizeof(b), &img, &e), 0);
	assert_int_equal(img.code_off, 2048);
	assert_int_equal(img.code_len, BZ_LEN - 2048);
	assert_int_equal(img.load, 0x1000000);
	assert_int_equal(img.init_len, 0x2000000);
	assert_int_equal(img.header_len, 0x268 - 0x1f1);
	/* Old images say 0 for 4 setup sectors. */
	b[0x1f1] = 0;
	assert_int_equal(bzimage_parse(b, sizeof(b), &img, &e), 0);
	assert_int_equal(img.code_off, 2560);
}

static void bad_bzimages_are_refused(void **state)
{
	static const struct {
		unsigned off, len;
		uint64_t value;
		const char *says;
	} cases[] = {
		{0x1fe, 2, 0, "not a bzImage"},
		{0x202, 4, 0, "not a bzImage"},
		{0x206, 2, 0x20b, "boot protocol 2.11 is too old"},
		{0x211, 1, 0, "no 64-bit entry"},
		{0x236, 2, 0, "no 64-bit entry"},
		{0x201, 1, 0x10, "setup header"},
		{0x201, 1, 0xff, "setup header"},
		{0x1f1, 1, 0xff, "the file ends at byte 8192"},
		{0x258, 8, 0, "preferred address"},
		{0x258, 8, UINT64_MAX, "preferred address"},
		{0x230, 4, 0, "alignment"},
		{0x230, 4, 12345, "alignment"},
	};
	uint8_t b[BZ_LEN];
	struct bzimage img;
	struct error e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_bzimage(b);
		put(b + cases[i].off, cases[i].value, (int)cases[i].len);
		assert_true(bzimage_parse(b, sizeof(b), &img, &e) < 0);
		if (!strstr(e.msg, cases[i].says))
			fail_msg("'%s' lacks '%s'", e.msg, cases[i].says);
	}
}

/* ---- PVH ---- */

static void an_elf_kernel_is_understood(void **state)
{
	uint8_t b[ELF_LEN];
	struct pvh_image img;
	struct error e = {0};
	enum boot_kind kind;

	(void)state;
	make_elf(b);
	assert_int_equal(boot_kind(b, sizeof(b), &kind, &e), 0);
	assert_int_equal(kind, BOOT_PVH);
	assert_int_equal(pvh_parse(b, sizeof(b), &img, &e), 0);
	assert_int_equal(img.entry, 0x100010);
	assert_int_equal(img.nr_segments, 1);
	assert_int_equal(img.segments[0].gpa, 0x100000);
	assert_int_equal(img.segments[0].mem_len, 0x2000);
}

static void bad_elf_kernels_are_refused(void **state)
{
	const unsigned load = sizeof(Elf64_Ehdr);
	const unsigned note = load + sizeof(Elf64_Phdr);
	const struct {
		unsigned off, len;
		uint64_t value;
		const char *says;
	} cases[] = {
		{0, 1, 0, "not a little-endian ELF"},
		{EI_DATA, 1, ELFDATA2MSB, "not a little-endian ELF"},
		{offsetof(Elf64_Ehdr, e_machine), 2, EM_ARM, "not for x86"},
		{offsetof(Elf64_Ehdr, e_phnum), 2, 0xffff, "program headers"},
		{offsetof(Elf64_Ehdr, e_phnum), 2, 65, "program headers"},
		{offsetof(Elf64_Ehdr, e_phnum), 2, 0, "without a PVH entry"},
		{offsetof(Elf64_Ehdr, e_phoff), 8, UINT64_MAX, "headers"},
		{offsetof(Elf64_Ehdr, e_phentsize), 2, 8, "headers"},
		{load + offsetof(Elf64_Phdr, p_offset), 8, 0xf00, "segment"},
		{load + offsetof(Elf64_Phdr, p_offset), 8, UINT64_MAX,
		 "segment"},
		{load + offsetof(Elf64_Phdr, p_filesz), 8, 0x3000, "segment"},
		{load + offsetof(Elf64_Phdr, p_paddr), 8, 0, "wants address"},
		{load + offsetof(Elf64_Phdr, p_paddr), 8, UINT64_MAX - 10,
		 "wants address"},
		{load + offsetof(Elf64_Phdr, p_memsz), 8, UINT64_MAX,
		 "wants address"},
		{load + offsetof(Elf64_Phdr, p_paddr), 8, 0x200000,
		 "lies in no segment"},
		{note + offsetof(Elf64_Phdr, p_offset), 8, UINT64_MAX,
		 "without a PVH entry"},
		{note + offsetof(Elf64_Phdr, p_filesz), 8, 36,
		 "without a PVH entry"},
		{0x200, 4, UINT32_MAX, "without a PVH entry"},
		{0x204, 4, UINT32_MAX, "without a PVH entry"},
	};
	uint8_t b[ELF_LEN];
	struct pvh_image img;
	struct error e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_elf(b);
		put(b + cases[i].off, cases[i].value, (int)cases[i].len);
		assert_true(pvh_parse(b, sizeof(b), &img, &e) < 0);
		if (!strstr(e.msg, cases[i].says))
			fail_msg("case %zu: '%s' lacks '%s'", i, e.msg,
				 cases[i].says);
	}
}

/* ---- hostile bytes ---- */

static void parse_any(const uint8_t *image, size_t len)
{
	/* An exact copy lets a sanitizer see a read past its end. */
	uint8_t *copy = malloc(len ? len : 1);
	struct error e = {0};
	struct pvh_image pvh;
	struct bzimage bz;

	memcpy(copy, image, len);
	if (!bzimage_parse(copy, len, &bz, &e)) {
		assert_true(bz.code_off + bz.code_len <= len);
		assert_true(bz.header_off + bz.header_len <= len);
	}
	if (!pvh_parse(copy, len, &pvh, &e)) {
		for (unsigned i = 0; i < pvh.nr_segments; i++) {
			assert_true(pvh.segments[i].off <= len);
			assert_true(pvh.segments[i].file_len <=
				    len - pvh.segments[i].off);
		}
	}
	free(copy);
}

static void truncated_and_altered_images_never_harm(void **state)
{
	uint8_t samples[2][BZ_LEN], b[BZ_LEN];
	const size_t lens[2] = {BZ_LEN, ELF_LEN};
	unsigned seed = 11;

	(void)state;
	make_bzimage(samples[0]);
	make_elf(samples[1]);
	for (int s = 0; s < 2; s++) {
		for (size_t len = 0; len < lens[s]; len += len < 700 ? 1 : 97)
			parse_any(samples[s], len);
		for (int round = 0; round < 20000; round++) {
			unsigned reach = s ? 0x240 : 0x270;
			int n = 1 + rand_r(&seed) % 5;

			memcpy(b, samples[s], lens[s]);
			while (n--)
				b[(unsigned)rand_r(&seed) % reach] =
					(uint8_t)rand_r(&seed);
			parse_any(b, lens[s]);
		}
	}
}

/* ---- layout and registers ---- */

static void the_memory_map_is_sorted_and_complete(void **state)
{
	struct boot_range map[BOOT_MAX_RANGES];
	uint64_t ram = 0, end = 0;
	unsigned nr = boot_memory_map(0x80000000, 0x140000000, map);

	(void)state;
	for (unsigned i = 0; i < nr; i++) {
		assert_true(map[i].gpa >= end);
		end = map[i].gpa + map[i].len;
		if (map[i].type == BOOT_MEM_RAM)
			ram += map[i].len;
	}
	assert_int_equal(end, 0x100000000 + 0x140000000);
	assert_int_equal(ram, 0x80000000 + 0x140000000 -
				      (0x100000 - BOOT_LOW_END) -
				      BOOT_ACPI_LEN);
	nr = boot_memory_map(0x8000000, 0, map);
	assert_true(map[nr - 1].gpa + map[nr - 1].len == 0x100000000);
	assert_int_equal(boot_acpi_gpa(0x8000000) % 64, 0);
}

static void registers_follow_the_protocols(void **state)
{
	static struct vcpu_state s;
	struct boot_entry entry = {BOOT_BZIMAGE, 0x1000200};

	(void)state;
	s.nr_msrs = 2;
	s.msrs[0] = (struct vcpu_msr){.index = 0x10, .value = 7};
	s.msrs[1] = (struct vcpu_msr){.index = 0x2ff};
	boot_set_caching(&s);
	boot_set_registers(&entry, &s);
	assert_int_equal(s.msrs[0].value, 7);
	assert_int_equal(s.msrs[1].value, 0x806);
	assert_int_equal(s.regs.rip, 0x1000200);
	assert_int_equal(s.regs.rsi, BOOT_PARAMS);
	assert_int_equal(s.regs.rflags, 2);
	assert_int_equal(s.sregs.cs.selector, 0x10);
	assert_int_equal(s.sregs.ds.selector, 0x18);
	assert_true(s.sregs.cs.l && !s.sregs.cs.db);
	assert_int_equal(s.sregs.cr3, BOOT_PAGES);
	assert_int_equal(s.sregs.efer, 0x500);
	entry = (struct boot_entry){BOOT_PVH, 0x100010};
	boot_set_registers(&entry, &s);
	assert_int_equal(s.regs.rbx, BOOT_PARAMS);
	assert_int_equal(s.sregs.cr0 & 0x80000001, 1);
	assert_int_equal(s.sregs.cr4, 0);
	assert_true(s.sregs.cs.db && !s.sregs.cs.l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bzimage_is_understood),
		cmocka_unit_test(bad_bzimages_are_refused),
		cmocka_unit_test(an_elf_kernel_is_understood),
		cmocka_unit_test(bad_elf_kernels_are_refused),
		cmocka_unit_test(truncated_and_altered_images_never_harm),
		cmocka_unit_test(the_memory_map_is_sorted_and_complete),
		cmocka_unit_test(registers_follow_the_protocols),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
