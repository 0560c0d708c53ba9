/*
 * boot: starting a kernel without firmware.
 *
 * Two kinds of kernel: Linux bzImages with a 64-bit entry (boot protocol 2.12
 * or newer, the kernel's Documentation/x86/boot.rst) and ELF files with a PVH
 * entry (Xen's hvm_start_info ABI, the note of type 18).  Images are hostile
 * input: nothing in them is believed before it is checked.
 *
 * Thread rule: on the main loop with the world stopped, after each reset.
 */
#ifndef CORE_HW_BOOT_BOOT_H
#define CORE_HW_BOOT_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"

struct error;
struct machine;
struct vcpu_state;

/* Guest memory below 1 MiB that a direct boot uses for its own tables. */
#define BOOT_GDT     0x0500u
#define BOOT_PARAMS  0x7000u /* zero page, or PVH start info */
#define BOOT_PAGES   0x9000u /* page tables: 6 pages */
#define BOOT_CMDLINE 0x20000u
#define BOOT_RSDP    0xf0000u
#define BOOT_LOW_END 0x9fc00u
/* What the top of low RAM keeps for ACPI tables. */
#define BOOT_ACPI_LEN 0x10000u

/* ---- images ---- */

/* A bzImage whose header was checked; offsets into the file. */
struct bzimage {
	uint64_t header_off, header_len; /* setup header in the file */
	uint64_t code_off, code_len;	 /* protected-mode code */
	uint64_t load, init_len; /* where it goes, what it needs there */
	uint64_t initrd_max;	 /* last byte an initrd may use */
	uint64_t cmdline_max;	 /* bytes, without NUL */
	uint64_t align;
	bool relocatable;
};

#define BOOT_MAX_SEGMENTS 16

/* An ELF kernel with a PVH entry. */
struct pvh_image {
	uint32_t entry;
	unsigned nr_segments;
	struct {
		uint64_t off, file_len; /* in the file */
		uint64_t gpa, mem_len;
	} segments[BOOT_MAX_SEGMENTS];
};

enum boot_kind { BOOT_BZIMAGE, BOOT_PVH };

/* Tells by its first bytes what an image is; -EINVAL with what is allowed. */
int boot_kind(const uint8_t *image, size_t len, enum boot_kind *out,
	      struct error *e);
/* 0, or -EINVAL / -ENOTSUP with the reason; image is the whole file. */
int bzimage_parse(const uint8_t *image, size_t len, struct bzimage *out,
		  struct error *e);
int pvh_parse(const uint8_t *image, size_t len, struct pvh_image *out,
	      struct error *e);

/* ---- layout ---- */

/* Types as in E820 and PVH. */
enum { BOOT_MEM_RAM = 1, BOOT_MEM_RESERVED = 2 };

struct boot_range {
	uint64_t gpa, len;
	uint32_t type;
};

#define BOOT_MAX_RANGES 8

/* The memory map of a machine, sorted; returns how many entries. */
unsigned boot_memory_map(uint64_t ram_below_4g, uint64_t ram_above_4g,
			 struct boot_range out[BOOT_MAX_RANGES]);
/* Where the ACPI tables go. */
gpa_t boot_acpi_gpa(uint64_t ram_below_4g);

/* ---- starting ---- */

struct boot_args {
	const char *kernel, *initrd, *append; /* initrd and append: or empty */
	bool vga_text; /* the display is in the 80x25 text mode */
};

/* How the boot CPU enters the kernel. */
struct boot_entry {
	enum boot_kind kind;
	uint64_t rip;
};

/* Reads the files and fills guest memory; the ACPI tables are the chipset's.
 * 0 or -errno with a sentence that names the file. */
int boot_load(struct machine *m, const struct boot_args *args,
	      struct boot_entry *out, struct error *e);
/* Changes a boot CPU's power-on state so that it enters the kernel. */
void boot_set_registers(const struct boot_entry *entry, struct vcpu_state *s);
/* Changes any CPU's power-on state to cached memory (MTRRs, Intel SDM volume 3,
 * 12.11), as firmware would leave it: a kernel that finds them off programs no
 * PAT, and passed-through devices could make the guest's memory uncached. */
void boot_set_caching(struct vcpu_state *s);

#endif
