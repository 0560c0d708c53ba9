/* ELF kernels with a PVH entry. */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/boot/boot_internal.h"

#define NOTE_PHYS32_ENTRY 18
#define START_INFO_MAGIC  0x336ec578u
#define RANGE_LEN	  24
/* Behind the start info in the same page. */
#define MODULES	    (BOOT_PARAMS + 0x100)
#define MEMORY_MAP  (BOOT_PARAMS + 0x200)
#define MAX_HEADERS 64
#define NOTES_MAX   0x10000u

/* One program header, whichever class the file has. */
struct phdr {
	uint32_t type;
	uint64_t off, gpa, file_len, mem_len;
};

static void read_phdr(const uint8_t *p, bool is_64, struct phdr *out)
{
	Elf64_Phdr p64;
	Elf32_Phdr p32;

	if (is_64) {
		memcpy(&p64, p, sizeof(p64));
		*out = (struct phdr){p64.p_type, p64.p_offset, p64.p_paddr,
				     p64.p_filesz, p64.p_memsz};
	} else {
		memcpy(&p32, p, sizeof(p32));
		*out = (struct phdr){p32.p_type, p32.p_offset, p32.p_paddr,
				     p32.p_filesz, p32.p_memsz};
	}
}

struct header {
	bool is_64;
	uint64_t off; /* of the program headers */
	unsigned nr, len;
};

static int read_header(const uint8_t *image, size_t len, struct header *out,
		       struct error *e)
{
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;
	unsigned machine;

	if (len < sizeof(h64) || memcmp(image, ELFMAG, SELFMAG) ||
	    image[EI_DATA] != ELFDATA2LSB)
		return error_set(e, -EINVAL, "not a little-endian ELF file");
	out->is_64 = image[EI_CLASS] == ELFCLASS64;
	if (out->is_64) {
		memcpy(&h64, image, sizeof(h64));
		machine = h64.e_machine;
		out->off = h64.e_phoff;
		out->nr = h64.e_phnum;
		out->len = h64.e_phentsize;
	} else {
		memcpy(&h32, image, sizeof(h32));
		machine = h32.e_machine;
		out->off = h32.e_phoff;
		out->nr = h32.e_phnum;
		out->len = h32.e_phentsize;
	}
	if (machine != EM_X86_64 && machine != EM_386)
		return error_set(e, -EINVAL,
				 "an ELF file for machine %u, not for x86",
				 machine);
	if (out->len < (out->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    out->nr > MAX_HEADERS || out->off > len ||
	    (uint64_t)out->nr * out->len > len - out->off)
		return error_set(e, -EINVAL,
				 "%u program headers at byte %" PRIu64
				 " do not lie in the file",
				 out->nr, out->off);
	return 0;
}

static int add_segment(struct pvh_image *out, const struct phdr *p, size_t len,
		       struct error *e)
{
	if (!p->mem_len)
		return 0;
	if (p->off > len || p->file_len > len - p->off ||
	    p->file_len > p->mem_len)
		return error_set(e, -EINVAL,
				 "a segment of %" PRIu64 " bytes at byte "
				 "%" PRIu64 " does not lie in the file",
				 p->file_len, p->off);
	if (p->gpa < 0x100000 || p->gpa > UINT32_MAX ||
	    p->mem_len > (uint64_t)UINT32_MAX + 1 - p->gpa)
		return error_set(e, -EINVAL,
				 "a segment wants address 0x%" PRIx64
				 ", outside 1 MiB to 4 GiB",
				 p->gpa);
	if (out->nr_segments == BOOT_MAX_SEGMENTS)
		return error_set(e, -EINVAL, "more than %d segments",
				 BOOT_MAX_SEGMENTS);
	out->segments[out->nr_segments].off = p->off;
	out->segments[out->nr_segments].file_len = p->file_len;
	out->segments[out->nr_segments].gpa = p->gpa;
	out->segments[out->nr_segments].mem_len = p->mem_len;
	out->nr_segments++;
	return 0;
}

static uint64_t align4(uint64_t v)
{
	return (v + 3) & ~3ull;
}

/* Looks for Xen's note with the 32-bit entry; true when found. */
static bool scan_notes(const uint8_t *p, uint64_t len, uint32_t *entry)
{
	if (len > NOTES_MAX)
		len = NOTES_MAX;
	while (len >= 12) {
		uint64_t name = align4(boot_le32(p));
		uint64_t desc = boot_le32(p + 4);
		uint32_t type = boot_le32(p + 8);

		if (name > len - 12 || align4(desc) > len - 12 - name)
			return false;
		if (type == NOTE_PHYS32_ENTRY && name == 4 &&
		    !memcmp(p + 12, "Xen", 4) && desc >= 4) {
			*entry = boot_le32(p + 12 + name);
			return true;
		}
		p += 12 + name + align4(desc);
		len -= 12 + name + align4(desc);
	}
	return false;
}

static bool entry_is_loaded(const struct pvh_image *img)
{
	for (unsigned i = 0; i < img->nr_segments; i++)
		if (img->entry >= img->segments[i].gpa &&
		    img->entry - img->segments[i].gpa <
			    img->segments[i].file_len)
			return true;
	return false;
}

int pvh_parse(const uint8_t *image, size_t len, struct pvh_image *out,
	      struct error *e)
{
	struct header h = {0};
	bool found = false;
	int r = read_header(image, len, &h, e);

	*out = (struct pvh_image){0};
	for (unsigned i = 0; i < h.nr && !r; i++) {
		struct phdr p;

		read_phdr(image + h.off + (uint64_t)i * h.len, h.is_64, &p);
		if (p.type == PT_LOAD)
			r = add_segment(out, &p, len, e);
		else if (p.type == PT_NOTE && !found && p.off <= len &&
			 p.file_len <= len - p.off)
			found = scan_notes(image + p.off, p.file_len,
					   &out->entry);
	}
	if (r)
		return r;
	if (!found)
		return error_set(e, -EINVAL,
				 "an ELF file without a PVH entry; a kernel "
				 "built with CONFIG_PVH is needed");
	if (!entry_is_loaded(out))
		return error_set(e, -EINVAL,
				 "the PVH entry 0x%x lies in no segment",
				 out->entry);
	return 0;
}

static int write_segments(struct boot_job *job, const struct pvh_image *img)
{
	uint64_t end = boot_ram_end(job);
	int r = 0;

	for (unsigned i = 0; i < img->nr_segments && !r; i++) {
		uint64_t gpa = img->segments[i].gpa;

		if (gpa > end || img->segments[i].mem_len > end - gpa)
			return error_set(
				job->e, -ENOMEM,
				"the kernel needs RAM up to %" PRIu64 " MiB; "
				"give the machine more memory",
				((gpa + img->segments[i].mem_len) >> 20) + 1);
		r = boot_write(job, gpa,
			       job->kernel.data + img->segments[i].off,
			       img->segments[i].file_len, "the kernel");
		gpa += img->segments[i].file_len;
		/* The tail is zero by the ELF rules; RAM may be used. */
		for (uint64_t left = img->segments[i].mem_len -
				     img->segments[i].file_len;
		     left && !r;) {
			static const uint8_t zeros[4096];
			uint64_t n =
				left < sizeof(zeros) ? left : sizeof(zeros);

			r = boot_write(job, gpa, zeros, n, "the kernel");
			gpa += n;
			left -= n;
		}
	}
	return r;
}

static void fill_start_info(struct boot_job *job, uint8_t *page)
{
	uint8_t *module = page + (MODULES - BOOT_PARAMS);
	uint8_t *row = page + (MEMORY_MAP - BOOT_PARAMS);
	struct boot_range map[BOOT_MAX_RANGES];
	unsigned nr = boot_memory_map(job->m->ram_below_4g,
				      job->m->ram_above_4g, map);

	boot_put32(page, START_INFO_MAGIC);
	boot_put32(page + 4, 1); /* version */
	boot_put32(page + 12, job->initrd.len ? 1 : 0);
	boot_put64(page + 16, MODULES);
	boot_put64(page + 24, BOOT_CMDLINE);
	boot_put64(page + 32, BOOT_RSDP);
	boot_put64(page + 40, MEMORY_MAP);
	boot_put32(page + 48, nr);
	boot_put64(module, job->initrd_gpa);
	boot_put64(module + 8, job->initrd.len);
	for (unsigned i = 0; i < nr; i++, row += RANGE_LEN) {
		boot_put64(row, map[i].gpa);
		boot_put64(row + 8, map[i].len);
		boot_put32(row + 16, map[i].type);
	}
}

int pvh_load(struct boot_job *job)
{
	uint8_t page[4096] = {0};
	struct pvh_image img;
	uint64_t first = UINT64_MAX, end = 0;
	int r = pvh_parse(job->kernel.data, job->kernel.len, &img, job->e);

	if (!r)
		r = write_segments(job, &img);
	if (r)
		return r;
	for (unsigned i = 0; i < img.nr_segments; i++) {
		uint64_t top = img.segments[i].gpa + img.segments[i].mem_len;

		if (img.segments[i].gpa < first)
			first = img.segments[i].gpa;
		if (top > end)
			end = top;
	}
	r = boot_place_initrd(job, boot_ram_end(job), first, end);
	if (r)
		return r;
	fill_start_info(job, page);
	job->entry->kind = BOOT_PVH;
	job->entry->rip = img.entry;
	return boot_write(job, BOOT_PARAMS, page, sizeof(page),
			  "the start info");
}
