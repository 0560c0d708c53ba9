/* What both kinds of direct boot share: files, layout, registers. */
#include "core/hw/boot/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/boot/boot_internal.h"
#include "core/vcpu_state.h"

#define FILE_MAX    (1ull << 30)
#define GIB_4	    (1ull << 32)
#define ECAM	    0xb0000000ull
#define ECAM_LEN    0x10000000ull
#define CHIPS	    0xfec00000ull /* IOAPIC to the end: fixed places */
#define CR0_PE	    0x1ull
#define CR0_ET	    0x10ull
#define CR0_PG	    0x80000000ull
#define CR4_PAE	    0x20ull
#define EFER_LME    0x100ull
#define EFER_LMA    0x400ull
#define CODE_SEL    0x10
#define DATA_SEL    0x18
#define TSS_SEL	    0x20
#define SEG_CODE_RX 0xb
#define SEG_DATA_RW 0x3
#define SEG_TSS	    0xb

#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLE	  0x800
#define MTRR_WRITE_BACK	  0x006

/* ---- files ---- */

static int read_file(const char *path, struct boot_file *out, struct error *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r = 0;

	if (fd < 0)
		return error_errno(e, errno, "opening '%s'", path);
	if (fstat(fd, &st))
		r = error_errno(e, errno, "reading '%s'", path);
	else if (!S_ISREG(st.st_mode) || st.st_size < 1 ||
		 (uint64_t)st.st_size > FILE_MAX)
		r = error_set(e, -EINVAL,
			      "'%s' is not a regular file of 1 byte to 1 GiB",
			      path);
	if (!r) {
		out->data = malloc((size_t)st.st_size);
		if (!out->data)
			r = error_set(e, -ENOMEM, "no memory to read '%s'",
				      path);
	}
	while (!r && out->len < (size_t)st.st_size) {
		ssize_t n = read(fd, out->data + out->len,
				 (size_t)st.st_size - out->len);

		if (n < 0 && errno != EINTR)
			r = error_errno(e, errno, "reading '%s'", path);
		else if (!n)
			break; /* it shrank: the parsers see what is left */
		else if (n > 0)
			out->len += (size_t)n;
	}
	close(fd);
	return r;
}

int boot_kind(const uint8_t *image, size_t len, enum boot_kind *out,
	      struct error *e)
{
	if (len >= 4 && !memcmp(image, "\177ELF", 4)) {
		*out = BOOT_PVH;
		return 0;
	}
	if (len >= 0x206 && !memcmp(image + 0x202, "HdrS", 4)) {
		*out = BOOT_BZIMAGE;
		return 0;
	}
	return error_set(e, -EINVAL,
			 "neither a Linux bzImage nor an ELF kernel with a PVH "
			 "entry");
}

/* ---- layout ---- */

gpa_t boot_acpi_gpa(uint64_t ram_below_4g)
{
	return ram_below_4g - BOOT_ACPI_LEN;
}

unsigned boot_memory_map(uint64_t ram_below_4g, uint64_t ram_above_4g,
			 struct boot_range out[BOOT_MAX_RANGES])
{
	const struct boot_range all[] = {
		{0, BOOT_LOW_END, BOOT_MEM_RAM},
		{BOOT_LOW_END, 0xa0000 - BOOT_LOW_END, BOOT_MEM_RESERVED},
		{0xf0000, 0x10000, BOOT_MEM_RESERVED},
		{0x100000, boot_acpi_gpa(ram_below_4g) - 0x100000,
		 BOOT_MEM_RAM},
		{boot_acpi_gpa(ram_below_4g), BOOT_ACPI_LEN, BOOT_MEM_RESERVED},
		{ECAM, ECAM_LEN, BOOT_MEM_RESERVED},
		{CHIPS, GIB_4 - CHIPS, BOOT_MEM_RESERVED},
		{GIB_4, ram_above_4g, BOOT_MEM_RAM},
	};
	unsigned nr = 0;

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].len)
			out[nr++] = all[i];
	return nr;
}

uint64_t boot_ram_end(const struct boot_job *job)
{
	return boot_acpi_gpa(job->m->ram_below_4g);
}

int boot_write(struct boot_job *job, gpa_t gpa, const void *buf, uint64_t len,
	       const char *what)
{
	int r = len ? dma_write(job->m->mem, gpa, buf, len) : 0;

	return r ? error_set(job->e, r,
			     "%s of %" PRIu64 " bytes does not fit into RAM "
			     "at 0x%" PRIx64,
			     what, len, gpa)
		 : 0;
}

int boot_place_initrd(struct boot_job *job, uint64_t end, uint64_t kernel,
		      uint64_t kernel_end)
{
	uint64_t len = job->initrd.len, ram_end = boot_ram_end(job);

	if (!len)
		return 0;
	if (end > ram_end)
		end = ram_end;
	if (len <= end && ((end - len) & ~4095ull) >= kernel_end)
		job->initrd_gpa = (end - len) & ~4095ull;
	else if (len <= kernel && ((kernel - len) & ~4095ull) >= 0x100000)
		job->initrd_gpa = (kernel - len) & ~4095ull;
	else
		return error_set(job->e, -ENOMEM,
				 "the initrd of %" PRIu64 " MiB does not fit "
				 "into RAM below %" PRIu64 " MiB beside the "
				 "kernel; give the machine more memory",
				 len >> 20, end >> 20);
	return boot_write(job, job->initrd_gpa, job->initrd.data, len,
			  "the initrd");
}

/* ---- starting ---- */

static int write_gdt(struct boot_job *job)
{
	uint8_t gdt[40] = {0};
	bool is_64 = job->entry->kind == BOOT_BZIMAGE;

	boot_put64(gdt + CODE_SEL,
		   is_64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull);
	boot_put64(gdt + DATA_SEL, 0x00cf93000000ffffull);
	boot_put64(gdt + TSS_SEL, 0x00008b0000000067ull);
	return boot_write(job, BOOT_GDT, gdt, sizeof(gdt), "the GDT");
}

static int load_images(struct boot_job *job)
{
	enum boot_kind kind;
	int r = boot_kind(job->kernel.data, job->kernel.len, &kind, job->e);

	if (!r)
		r = kind == BOOT_PVH ? pvh_load(job) : bzimage_load(job);
	if (!r)
		r = boot_write(job, BOOT_CMDLINE, job->args->append,
			       strlen(job->args->append) + 1,
			       "the command line");
	return r ? r : write_gdt(job);
}

int boot_load(struct machine *m, const struct boot_args *args,
	      struct boot_entry *out, struct error *e)
{
	struct boot_job job = {
		.m = m,
		.args = args,
		.entry = out,
		.e = e,
	};
	int r;

	if (m->ram_below_4g < 0x200000)
		return error_set(e, -ENOMEM,
				 "a direct boot needs 2 MiB of memory");
	r = read_file(args->kernel, &job.kernel, e);
	if (!r && *args->initrd)
		r = read_file(args->initrd, &job.initrd, e);
	if (!r) {
		r = load_images(&job);
		if (r)
			error_prefix(e, r, "kernel '%s'", args->kernel);
	}
	free(job.kernel.data);
	free(job.initrd.data);
	return r;
}

static void set_segment(struct kvm_segment *s, uint16_t sel, uint8_t type,
			bool is_64)
{
	*s = (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = sel,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !is_64,
		.l = is_64,
	};
}

void boot_set_registers(const struct boot_entry *entry, struct vcpu_state *s)
{
	bool is_64 = entry->kind == BOOT_BZIMAGE;
	struct kvm_sregs *sregs = &s->sregs;

	s->regs = (struct kvm_regs){.rip = entry->rip, .rflags = 2};
	if (is_64)
		s->regs.rsi = BOOT_PARAMS;
	else
		s->regs.rbx = BOOT_PARAMS;
	set_segment(&sregs->cs, CODE_SEL, SEG_CODE_RX, is_64);
	set_segment(&sregs->ds, DATA_SEL, SEG_DATA_RW, false);
	sregs->es = sregs->ss = sregs->fs = sregs->gs = sregs->ds;
	sregs->tr = (struct kvm_segment){
		.limit = 0x67,
		.selector = TSS_SEL,
		.type = SEG_TSS,
		.present = 1,
	};
	sregs->gdt.base = BOOT_GDT;
	sregs->gdt.limit = 39;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
	sregs->cr0 = CR0_PE | CR0_ET;
	sregs->cr3 = sregs->cr4 = sregs->efer = 0;
	if (is_64) {
		sregs->cr0 |= CR0_PG;
		sregs->cr3 = BOOT_PAGES;
		sregs->cr4 = CR4_PAE;
		sregs->efer = EFER_LME | EFER_LMA;
	}
}

void boot_set_caching(struct vcpu_state *s)
{
	for (uint32_t i = 0; i < s->nr_msrs && i < VCPU_MAX_MSRS; i++)
		if (s->msrs[i].index == MSR_MTRR_DEF_TYPE)
			s->msrs[i].value = MTRR_ENABLE | MTRR_WRITE_BACK;
}
