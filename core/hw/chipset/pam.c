#include "core/hw/chipset/pam.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/bus.h"
#include "core/error.h"

#define PAM_BASE      0xc0000ull
#define PAM_FLASH     0xe0000ull /* from here on flash lies under it */
#define PAM_LAST      0xf0000ull
#define PAM_PART_LEN  0x4000ull
#define PAM_FLASH_LEN 0x20000ull

/* Reads that go past RAM where there is no flash. */
static uint64_t hole_read(void *opaque, uint64_t off, unsigned len)
{
	(void)opaque;
	(void)off;
	(void)len;
	return UINT64_MAX;
}

/* Writes while reads go past RAM: into the shadow, when it is open. */
static void shadow_write(void *opaque, uint64_t off, uint64_t value,
			 unsigned len)
{
	struct pam_part *p = opaque;

	if (!(__atomic_load_n(&p->attr, __ATOMIC_RELAXED) & PAM_WRITE))
		return;
	memcpy(p->shadow + off, &value, len);
	mem_block_mark(p->block, p->block_off + off, len);
}

static const struct bus_ops past_ops = {
	.read = hole_read,
	.write = shadow_write,
};

static void part_init(struct pam *pam, unsigned i, struct ram_block *ram,
		      struct ram_block *flash)
{
	struct pam_part *p = &pam->parts[i];
	uint64_t gpa = PAM_BASE + i * PAM_PART_LEN;
	uint64_t len = gpa == PAM_LAST ? 0x10000 : PAM_PART_LEN;

	p->block = ram;
	p->block_off = gpa;
	p->shadow = mem_block_host(ram) + gpa;
	p->ram = (struct region){.kind = REGION_RAM,
				 .gpa = gpa,
				 .len = len,
				 .priority = 2,
				 .block = ram,
				 .block_off = gpa};
	p->bus = (struct region){.kind = REGION_IO,
				 .gpa = gpa,
				 .len = len,
				 .priority = 2,
				 .enabled = true,
				 .ops = &past_ops,
				 .opaque = p};
	if (flash && gpa >= PAM_FLASH) {
		p->bus.kind = REGION_ROM;
		p->bus.block = flash;
		p->bus.block_off = mem_block_len(flash) - PAM_FLASH_LEN +
				   (gpa - PAM_FLASH);
	}
	snprintf(p->ram.name, sizeof(p->ram.name), "pam-ram-%05x",
		 (unsigned)gpa);
	snprintf(p->bus.name, sizeof(p->bus.name), "pam-bus-%05x",
		 (unsigned)gpa);
	mem_region_add(pam->mem, &p->ram);
	mem_region_add(pam->mem, &p->bus);
}

int pam_init(struct pam *pam, struct mem *mem, struct error *e)
{
	struct ram_block *ram = mem_block_find(mem, "pc.ram");
	struct ram_block *flash = mem_block_find(mem, "pc.rom");

	if (!ram || mem_block_len(ram) < 0x100000)
		return error_set(e, -EINVAL,
				 "the PC needs at least 1 MiB of RAM");
	if (flash && mem_block_len(flash) < PAM_FLASH_LEN)
		return error_set(e, -EINVAL,
				 "the firmware image is smaller than 128 KiB");
	pam->mem = mem;
	for (unsigned i = 0; i < PAM_NR_PARTS; i++)
		part_init(pam, i, ram, flash);
	return 0;
}

void pam_fini(struct pam *pam)
{
	if (!pam->mem)
		return;
	for (unsigned i = 0; i < PAM_NR_PARTS; i++) {
		mem_region_remove(pam->mem, &pam->parts[i].ram);
		mem_region_remove(pam->mem, &pam->parts[i].bus);
	}
}

static void part_apply(struct pam *pam, unsigned i, unsigned attr)
{
	struct pam_part *p = &pam->parts[i];
	bool reads = attr & PAM_READ;

	if (attr == p->attr)
		return;
	/* Another vCPU may be in shadow_write. */
	__atomic_store_n(&p->attr, attr, __ATOMIC_RELAXED);
	mem_region_set(pam->mem, &p->ram, p->ram.gpa,
		       attr & PAM_WRITE ? REGION_RAM : REGION_ROM, reads);
	mem_region_set(pam->mem, &p->bus, p->bus.gpa, p->bus.kind, !reads);
}

/* Register 0's high half is 0xf0000; 1-6 hold two parts each, the lower one
 * in the low half. */
void pam_apply(struct pam *pam, const uint8_t regs[PAM_NR_REGS])
{
	for (unsigned i = 0; i + 1 < PAM_NR_PARTS; i++)
		part_apply(pam, i, (regs[1 + i / 2] >> (i % 2 * 4)) & 3);
	part_apply(pam, PAM_NR_PARTS - 1, (regs[0] >> 4) & 3);
}
