/* Linux bzImages by the 64-bit boot protocol. */
#include <errno.h>
#include <inttypes.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/boot/boot_internal.h"

/* Offsets in the setup header, which starts at HDR in file and zero page. */
enum {
	HDR = 0x1f1,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP_LEN = 0x201,
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_RAMDISK = 0x218,
	HDR_RAMDISK_LEN = 0x21c,
	HDR_HEAP_END = 0x224,
	HDR_CMDLINE = 0x228,
	HDR_INITRD_MAX = 0x22c,
	HDR_ALIGN = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_LEN = 0x238,
	HDR_SETUP_DATA = 0x250,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_MIN_END = 0x264,
	HDR_MAX_END = 0x290,
};

/* Fields of the zero page outside of the header. */
enum {
	ZP_VIDEO_MODE = 0x006,
	ZP_VIDEO_COLS = 0x007,
	ZP_VIDEO_LINES = 0x00e,
	ZP_VIDEO_IS_VGA = 0x00f,
	ZP_VIDEO_POINTS = 0x010,
	ZP_RSDP = 0x070,
	ZP_E820_NR = 0x1e8,
	ZP_E820 = 0x2d0,
	ZP_LEN = 4096,
};

#define LOADED_HIGH	  0x01
#define CAN_USE_HEAP	  0x80
#define XLF_KERNEL_64	  0x0001
#define LOADER_UNDEFINED  0xff
#define ENTRY_64	  0x200
#define PAGE_PRESENT_RW	  0x3
#define PAGE_LARGE	  0x80
#define PAGE_2M		  0x200000ull
#define NR_IDENTITY_PAGES 6

static int check_header(const uint8_t *image, size_t len, struct error *e)
{
	unsigned version;

	if (len < HDR_MIN_END)
		return error_set(e, -EINVAL,
				 "%zu bytes are too few for a kernel", len);
	if (boot_le16(image + HDR_BOOT_FLAG) != 0xaa55 ||
	    memcmp(image + HDR_MAGIC, "HdrS", 4))
		return error_set(e, -EINVAL,
				 "no Linux setup header: not a bzImage");
	version = boot_le16(image + HDR_VERSION);
	if (version < 0x20c)
		return error_set(e, -ENOTSUP,
				 "boot protocol %u.%02u is too old; 2.12 "
				 "(Linux 3.8) or newer is needed",
				 version >> 8, version & 0xff);
	if (!(image[HDR_LOADFLAGS] & LOADED_HIGH) ||
	    !(boot_le16(image + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return error_set(e, -ENOTSUP,
				 "the kernel has no 64-bit entry; a 64-bit "
				 "bzImage is needed");
	return 0;
}

int bzimage_parse(const uint8_t *image, size_t len, struct bzimage *out,
		  struct error *e)
{
	int r = check_header(image, len, e);
	uint64_t setup;

	if (r)
		return r;
	/* Zero means four: the header is older than the field. */
	setup = image[HDR] ? image[HDR] : 4;
	*out = (struct bzimage){
		.header_off = HDR,
		.header_len = HDR_MAGIC + image[HDR_JUMP_LEN] - HDR,
		.code_off = (setup + 1) * 512,
		.load = boot_le64(image + HDR_PREF_ADDRESS),
		.init_len = boot_le32(image + HDR_INIT_SIZE),
		.initrd_max = boot_le32(image + HDR_INITRD_MAX),
		.cmdline_max = boot_le32(image + HDR_CMDLINE_LEN),
		.align = boot_le32(image + HDR_ALIGN),
		.relocatable = image[HDR_RELOCATABLE],
	};
	if (out->header_len < HDR_MIN_END - HDR ||
	    out->header_len > HDR_MAX_END - HDR ||
	    out->header_off + out->header_len > len)
		return error_set(e, -EINVAL,
				 "the setup header of %" PRIu64
				 " bytes is damaged",
				 out->header_len);
	if (out->code_off >= len || len - out->code_off < ENTRY_64 + 16)
		return error_set(e, -EINVAL,
				 "the file ends at byte %zu, before the "
				 "kernel's code at %" PRIu64,
				 len, out->code_off);
	out->code_len = len - out->code_off;
	if (out->init_len < out->code_len)
		out->init_len = out->code_len;
	if (out->load < 0x100000 || out->load > UINT32_MAX)
		return error_set(e, -EINVAL,
				 "preferred address 0x%" PRIx64
				 " lies outside 1 MiB to 4 GiB",
				 out->load);
	if (out->align < 4096 || out->align & (out->align - 1))
		return error_set(e, -EINVAL,
				 "alignment 0x%" PRIx64
				 " is no power of two of a page or more",
				 out->align);
	return 0;
}

/* The preferred place if it fits, else the lowest aligned one. */
static int choose_load(struct boot_job *job, struct bzimage *img)
{
	uint64_t end = boot_ram_end(job);
	uint64_t low = (0x100000 + img->align - 1) & ~(img->align - 1);

	if (img->load + img->init_len <= end)
		return 0;
	if (img->relocatable && low + img->init_len <= end) {
		img->load = low;
		return 0;
	}
	return error_set(job->e, -ENOMEM,
			 "the kernel needs %" PRIu64 " MiB of RAM below "
			 "%" PRIu64 " MiB; give the machine more memory",
			 (img->load + img->init_len) >> 20, end >> 20);
}

static void fill_zero_page(struct boot_job *job, const struct bzimage *img,
			   uint8_t *zp)
{
	struct boot_range map[BOOT_MAX_RANGES];
	unsigned nr = boot_memory_map(job->m->ram_below_4g,
				      job->m->ram_above_4g, map);

	memcpy(zp + HDR, job->kernel.data + img->header_off, img->header_len);
	if (job->args->vga_text) {
		zp[ZP_VIDEO_MODE] = 3;
		zp[ZP_VIDEO_COLS] = 80;
		zp[ZP_VIDEO_LINES] = 25;
		zp[ZP_VIDEO_IS_VGA] = 1;
		zp[ZP_VIDEO_POINTS] = 16;
	}
	boot_put64(zp + ZP_RSDP, BOOT_RSDP);
	zp[HDR_LOADER] = LOADER_UNDEFINED;
	zp[HDR_LOADFLAGS] |= CAN_USE_HEAP;
	boot_put16(zp + HDR_HEAP_END, 0xfe00);
	boot_put32(zp + HDR_RAMDISK, (uint32_t)job->initrd_gpa);
	boot_put32(zp + HDR_RAMDISK_LEN, (uint32_t)job->initrd.len);
	boot_put32(zp + HDR_CMDLINE, BOOT_CMDLINE);
	boot_put64(zp + HDR_SETUP_DATA, 0);
	zp[ZP_E820_NR] = (uint8_t)nr;
	for (unsigned i = 0; i < nr; i++) {
		uint8_t *row = zp + ZP_E820 + 20 * i;

		boot_put64(row, map[i].gpa);
		boot_put64(row + 8, map[i].len);
		boot_put32(row + 16, map[i].type);
	}
}

/* The low 4 GiB at their own addresses, in 2 MiB pages. */
static int write_page_tables(struct boot_job *job)
{
	uint8_t pages[NR_IDENTITY_PAGES * 4096] = {0};
	uint8_t *pdpt = pages + 4096, *pd = pages + 8192;

	boot_put64(pages, (BOOT_PAGES + 4096) | PAGE_PRESENT_RW);
	for (unsigned i = 0; i < 4; i++)
		boot_put64(pdpt + 8 * i,
			   (BOOT_PAGES + 8192 + 4096 * i) | PAGE_PRESENT_RW);
	for (unsigned i = 0; i < 2048; i++)
		boot_put64(pd + 8 * i,
			   i * PAGE_2M | PAGE_PRESENT_RW | PAGE_LARGE);
	return boot_write(job, BOOT_PAGES, pages, sizeof(pages),
			  "the page tables");
}

int bzimage_load(struct boot_job *job)
{
	const char *append = job->args->append;
	uint8_t zp[ZP_LEN] = {0};
	struct bzimage img;
	int r = bzimage_parse(job->kernel.data, job->kernel.len, &img, job->e);

	if (!r)
		r = choose_load(job, &img);
	if (r)
		return r;
	if (strlen(append) > img.cmdline_max)
		return error_set(job->e, -EINVAL,
				 "the command line has %zu bytes; the kernel "
				 "takes %" PRIu64,
				 strlen(append), img.cmdline_max);
	r = boot_place_initrd(job, img.initrd_max + 1, img.load,
			      img.load + img.init_len);
	if (!r)
		r = boot_write(job, img.load, job->kernel.data + img.code_off,
			       img.code_len, "the kernel");
	if (r)
		return r;
	fill_zero_page(job, &img, zp);
	r = boot_write(job, BOOT_PARAMS, zp, sizeof(zp), "the zero page");
	if (!r)
		r = write_page_tables(job);
	job->entry->kind = BOOT_BZIMAGE;
	job->entry->rip = img.load + ENTRY_64;
	return r;
}
