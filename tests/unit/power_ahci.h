/*
 * power_ahci: a driver of a SATA disk behind AHCI for a power_bench.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_POWER_AHCI_H
#define TESTS_UNIT_POWER_AHCI_H

#include "tests/unit/power_bench.h"

#define PA_LIST	    0x10000u
#define PA_RECEIVED 0x11000u
#define PA_TABLE(i) (0x12000u + 0x1000u * (i))
#define PA_PORT	    (PC_BAR + 0x100)
#define PA_IS	    (PA_PORT + 0x10)
#define PA_CMD	    (PA_PORT + 0x18)
#define PA_TFD	    (PA_PORT + 0x20)
#define PA_CI	    (PA_PORT + 0x38)

extern const struct device_class ahci_class, ata_disk_class;

static inline void pa_attach(struct power_bench *b)
{
	struct device_args hba = {.devfn = PCI_DEVFN(0x1f, 2), .io = b->pc->io};
	struct device_args disk = {
		.devfn = -1, .drive = b->pc->drive, .io = b->pc->io};

	b->dev = disk.parent = pc_add(b->pc, &ahci_class, "ahci", &hba);
	pc_add(b->pc, &ata_disk_class, "disk0", &disk);
}

static inline void pa_start(struct power_bench *b)
{
	struct fake_pc *pc = b->pc;

	pc_map_bar(pc, b->dev, 5, PC_BAR);
	pc_out(pc, PC_BAR + 4, 0x80000002, 4); /* AE, IE */
	pc_out(pc, PA_PORT, PA_LIST, 8);
	pc_out(pc, PA_PORT + 8, PA_RECEIVED, 8);
	pc_out(pc, PA_IS, UINT32_MAX, 4);
	pc_out(pc, PA_CMD, 0x10, 4);
	pc_out(pc, PA_CMD, 0x11, 4);
	pc_wait_reg(pc, PA_CMD, 4, 0xc000, 0xc000);
}

static inline void pa_issue(struct power_bench *b, unsigned slot,
			    uint8_t command, uint8_t feature, uint64_t lba,
			    uint32_t len, bool write)
{
	uint32_t header[8] = {5u | (write ? 0x40 : 0) | (len ? 1u << 16 : 0), 0,
			      PA_TABLE(slot), 0};
	uint32_t prd[4] = {bench_gpa(slot), 0, 0, len - 1};
	uint8_t fis[20] = {0x27, 0x80, command, feature};

	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = (uint8_t)(lba >> (8 * i));
		fis[8 + i] = (uint8_t)(lba >> (8 * i + 24));
	}
	fis[7] = 0x40;
	fis[12] = (uint8_t)(len / 512);
	memcpy(pc_ram(b->pc, PA_LIST + 32 * slot), header, sizeof(header));
	memset(pc_ram(b->pc, PA_TABLE(slot)), 0, 0x80);
	memcpy(pc_ram(b->pc, PA_TABLE(slot)), fis, sizeof(fis));
	memcpy(pc_ram(b->pc, PA_TABLE(slot)) + 0x80, prd, sizeof(prd));
	pc_out(b->pc, PA_CI, 1u << slot, 4);
}

/* WRITE DMA FUA EXT, WRITE DMA EXT, READ DMA EXT, FLUSH CACHE EXT. */
static inline void pa_submit(struct power_bench *b, unsigned slot)
{
	struct power_slot *s = &b->slots[slot];
	uint8_t command = s->op == DRIVE_READ	 ? 0x25
			  : s->op == DRIVE_FLUSH ? 0xea
			  : s->fua		 ? 0x3d
						 : 0x35;

	pa_issue(b, slot, command, 0, s->nr ? bench_offset(s->first) / 512 : 0,
		 s->nr * 512, s->op == DRIVE_WRITE);
}

static inline void pa_poll(struct power_bench *b)
{
	uint32_t issued = (uint32_t)pc_in(b->pc, PA_CI, 4);
	bool failed = pc_in(b->pc, PA_TFD, 4) & 1;

	for (unsigned i = 0; i < b->bus->depth; i++)
		if (b->slots[i].busy && (!(issued & 1u << i) || failed)) {
			b->slots[i].answered = true;
			b->slots[i].failed = failed;
		}
}

/* SET FEATURES 02h, 82h. */
static inline void pa_set_wce(struct power_bench *b, bool on)
{
	pa_issue(b, 0, 0xef, on ? 0x02 : 0x82, 0, 0, false);
	pc_wait_reg(b->pc, PA_CI, 4, 1, 0);
	assert_int_equal(pc_in(b->pc, PA_TFD, 4) & 1, 0);
}

static const struct power_bus power_ahci = {
	.name = "ahci",
	.depth = BENCH_DEPTH,
	.has_fua = true,
	.attach = pa_attach,
	.start = pa_start,
	.submit = pa_submit,
	.poll = pa_poll,
	.set_wce = pa_set_wce,
};

#endif
