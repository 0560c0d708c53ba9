/*
 * ahci_guest: a driver of the AHCI controller, with one drive, for tests and
 * fuzzers.
 *
 * Thread rule: the test's thread, which plays the guest.
 */
#ifndef TESTS_UNIT_AHCI_GUEST_H
#define TESTS_UNIT_AHCI_GUEST_H

#include "tests/unit/fake_pc.h"

#define LIST	 0x10000u /* 32 headers */
#define RECEIVED 0x11000u
#define TABLES	 0x12000u /* 0x1000 for each slot in use */
#define DATA	 0x200000u

#define PORT (PC_BAR + 0x100)
#define CLB  (PORT + 0x00)
#define FB   (PORT + 0x08)
#define IS   (PORT + 0x10)
#define IE   (PORT + 0x14)
#define CMD  (PORT + 0x18)
#define TFD  (PORT + 0x20)
#define SIG  (PORT + 0x24)
#define SSTS (PORT + 0x28)
#define SCTL (PORT + 0x2c)
#define SACT (PORT + 0x34)
#define CI   (PORT + 0x38)

#define IS_DHRS 0x1u
#define IS_PSS	0x2u
#define IS_SDBS 0x8u
#define IS_HBFS (1u << 29)
#define IS_TFES (1u << 30)

extern const struct device_class ahci_class, ata_disk_class, atapi_cdrom_class;

struct guest {
	struct fake_pc *pc;
	struct device *hba, *disk;
};

/* ---- the driver ---- */

static inline void port_start(struct guest *g)
{
	struct fake_pc *pc = g->pc;

	pc_out(pc, CLB, LIST, 8);
	pc_out(pc, FB, RECEIVED, 8);
	pc_out(pc, IS, UINT32_MAX, 4);
	pc_out(pc, IE, UINT32_MAX, 4);
	pc_out(pc, CMD, 0x10, 4);
	pc_out(pc, CMD, 0x11, 4);
	pc_wait_reg(pc, CMD, 4, 0xc000, 0xc000);
}

static inline void port_stop(struct guest *g)
{
	pc_out(g->pc, CMD, 0x10, 4);
	pc_wait_reg(g->pc, CMD, 4, 0x8000, 0);
}

static inline void make(struct guest *g, struct fake_pc *pc,
			enum drive_preset preset, bool cdrom)
{
	struct device_args hba = {.devfn = PCI_DEVFN(0x1f, 2)};
	struct device_args args = {.devfn = -1};

	*g = (struct guest){.pc = pc};
	g->hba = pc_add(pc, &ahci_class, "ahci", &hba);
	pc_open_drive(pc, preset, cdrom);
	args.drive = pc->drive;
	args.io = pc->io;
	args.parent = g->hba;
	args.is_cdrom = cdrom;
	g->disk = pc_add(pc, cdrom ? &atapi_cdrom_class : &ata_disk_class,
			 "drive0", &args);
	pc_map_bar(pc, g->hba, 5, PC_BAR);
	pc_out(pc, PC_BAR + 4, 0x80000002, 4); /* AE, IE */
	port_start(g);
}

static inline uint8_t *table(struct guest *g, unsigned slot)
{
	return pc_ram(g->pc, TABLES + 0x1000 * slot);
}

static inline void put_header(struct guest *g, unsigned slot, uint16_t flags,
			      uint16_t nr_prd)
{
	uint32_t h[8] = {5u | flags | (uint32_t)nr_prd << 16, 0,
			 TABLES + 0x1000 * slot, 0};

	memcpy(pc_ram(g->pc, LIST + 32 * slot), h, sizeof(h));
}

static inline void put_prd(struct guest *g, unsigned slot, unsigned i,
			   uint64_t addr, uint32_t len)
{
	uint32_t prd[4] = {(uint32_t)addr, (uint32_t)(addr >> 32), 0, len - 1};

	memcpy(table(g, slot) + 0x80 + 16 * i, prd, sizeof(prd));
}

static inline void put_fis(struct guest *g, unsigned slot, uint8_t command,
			   uint64_t lba, uint16_t count, uint16_t features)
{
	uint8_t fis[20] = {0x27, 0x80, command, (uint8_t)features};

	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = (uint8_t)(lba >> (8 * i));
		fis[8 + i] = (uint8_t)(lba >> (8 * i + 24));
	}
	fis[7] = 0x40;
	fis[11] = (uint8_t)(features >> 8);
	fis[12] = (uint8_t)count;
	fis[13] = (uint8_t)(count >> 8);
	memset(table(g, slot), 0, 0x80);
	memcpy(table(g, slot), fis, sizeof(fis));
}

/* A command with len bytes of data at DATA in slot 0; returns its status. */
static inline uint8_t command(struct guest *g, uint8_t code, uint64_t lba,
			      uint16_t count, uint16_t features, uint32_t len,
			      bool write)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	put_fis(g, 0, code, lba, count, features);
	put_header(g, 0, write ? 0x40 : 0, len ? 1 : 0);
	if (len)
		put_prd(g, 0, 0, DATA, len);
	pc_out(g->pc, IS, UINT32_MAX, 4);
	pc_out(g->pc, CI, 1, 4);
	/* The answer of a command that failed leaves its slot issued. */
	while (!(pc_in(g->pc, IS, 4) & (IS_DHRS | IS_PSS)))
		assert_true(loop_now_ns() < end);
	return (uint8_t)pc_in(g->pc, TFD, 4);
}

static inline void recover(struct guest *g)
{
	port_stop(g);
	pc_out(g->pc, IS, UINT32_MAX, 4);
	port_start(g);
}

static inline uint8_t packet(struct guest *g, const uint8_t *cdb, uint32_t len)
{
	put_fis(g, 0, 0xa0, 0, 0, 1);
	memcpy(table(g, 0) + 0x40, cdb, 12);
	put_header(g, 0, 0x20, len ? 1 : 0);
	if (len)
		put_prd(g, 0, 0, DATA, len);
	pc_out(g->pc, IS, UINT32_MAX, 4);
	pc_out(g->pc, CI, 1, 4);
	pc_wait_reg(g->pc, IS, 4, IS_DHRS, IS_DHRS);
	return (uint8_t)pc_in(g->pc, TFD, 4);
}

static inline uint8_t *data(struct guest *g)
{
	return pc_ram(g->pc, DATA);
}

static inline uint32_t moved(struct guest *g, unsigned slot)
{
	uint32_t n;

	memcpy(&n, pc_ram(g->pc, LIST + 32 * slot + 4), 4);
	return n;
}

#endif
