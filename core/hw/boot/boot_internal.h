/*
 * boot_internal: what the two loaders share.
 *
 * Thread rule: as boot.h.
 */
#ifndef CORE_HW_BOOT_BOOT_INTERNAL_H
#define CORE_HW_BOOT_BOOT_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/hw/boot/boot.h"

/* A whole file in memory. */
struct boot_file {
	uint8_t *data;
	size_t len;
};

/* What is being put together. */
struct boot_job {
	struct machine *m;
	const struct boot_args *args;
	struct boot_file kernel, initrd;
	gpa_t initrd_gpa;
	struct boot_entry *entry;
	struct error *e;
};

static inline uint16_t boot_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t boot_le32(const uint8_t *p)
{
	return (uint32_t)boot_le16(p) | (uint32_t)boot_le16(p + 2) << 16;
}

static inline uint64_t boot_le64(const uint8_t *p)
{
	return boot_le32(p) | (uint64_t)boot_le32(p + 4) << 32;
}

static inline void boot_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void boot_put32(uint8_t *p, uint32_t v)
{
	boot_put16(p, (uint16_t)v);
	boot_put16(p + 2, (uint16_t)(v >> 16));
}

static inline void boot_put64(uint8_t *p, uint64_t v)
{
	boot_put32(p, (uint32_t)v);
	boot_put32(p + 4, (uint32_t)(v >> 32));
}

/* Copies to guest memory; 0, or -EFAULT with what did not fit. */
int boot_write(struct boot_job *job, gpa_t gpa, const void *buf, uint64_t len,
	       const char *what);
/* Places the initrd as high as it may be: below end, clear of
 * [kernel, kernel_end). 0 or -errno. */
int boot_place_initrd(struct boot_job *job, uint64_t end, uint64_t kernel,
		      uint64_t kernel_end);
/* First byte of low RAM that isn't the kernel's to use. */
uint64_t boot_ram_end(const struct boot_job *job);

/* Fill guest memory for each kind; 0 or -errno. */
int bzimage_load(struct boot_job *job);
int pvh_load(struct boot_job *job);

#endif
