/*
 * ide_guest: a driver of the IDE controller, with one drive, for tests and
 * fuzzers.
 *
 * Thread rule: the test's thread, which plays the guest.
 */
#ifndef TESTS_UNIT_IDE_GUEST_H
#define TESTS_UNIT_IDE_GUEST_H

#include "tests/unit/fake_pc.h"

#define LIST 0x10000u /* PRD table */
#define DATA 0x200000u
#define BM   0xc000u

#define CMD_DATA    0x1f0
#define CMD_ERROR   0x1f1
#define CMD_COUNT   0x1f2
#define CMD_LOW	    0x1f3
#define CMD_MID	    0x1f4
#define CMD_HIGH    0x1f5
#define CMD_DEVICE  0x1f6
#define CMD_STATUS  0x1f7
#define CMD_CONTROL 0x3f6

#define BSY 0x80
#define DRQ 0x08
#define ERR 0x01

extern const struct device_class piix_ide_class, ata_disk_class,
	atapi_cdrom_class;

struct guest {
	struct fake_pc *pc;
	struct device *ide, *disk;
	uint8_t data[128 * 1024];
};

/* ---- the driver ---- */

static inline uint32_t pio(struct guest *g, uint16_t port, uint32_t value,
			   unsigned len, bool write)
{
	struct fake_pc *pc = g->pc;

	world_enter(pc->m.world, &pc->guest);
	bus_pio(pc->m.bus, &pc->guest, port, &value, len, 1, write);
	world_leave(pc->m.world, &pc->guest);
	return len == 4 ? value : value & ((1u << (8 * len)) - 1);
}

static inline uint8_t inb(struct guest *g, uint16_t port)
{
	return (uint8_t)pio(g, port, 0, 1, false);
}

static inline void outb(struct guest *g, uint16_t port, uint8_t value)
{
	pio(g, port, value, 1, true);
}

static inline bool irq(struct guest *g)
{
	return __atomic_load_n(&g->pc->accel_vm.line[14], __ATOMIC_SEQ_CST);
}

static inline void wait_irq(struct guest *g)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (!irq(g)) {
		assert_true(loop_now_ns() < end);
		usleep(100);
	}
}

/* Reads the other status register, which acknowledges nothing. */
static inline uint8_t wait_idle(struct guest *g)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;
	uint8_t s;

	while ((s = inb(g, CMD_CONTROL)) & BSY) {
		assert_true(loop_now_ns() < end);
		usleep(50);
	}
	return s;
}

static inline void enable(struct guest *g)
{
	pc_config_out(g->pc, g->ide, 0x20, BM, 4);
	pc_config_out(g->pc, g->ide, 4, 5, 2);
}

static inline struct guest *
make_at(struct fake_pc *pc, enum drive_preset preset, bool cdrom, unsigned unit)
{
	struct device_args ide = {.devfn = PCI_DEVFN(0x1f, 1)};
	struct device_args args = {.devfn = -1, .unit = unit};
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->pc = pc;
	g->ide = pc_add(pc, &piix_ide_class, "ide", &ide);
	pc_open_drive(pc, preset, cdrom);
	args.drive = pc->drive;
	args.io = pc->io;
	args.parent = g->ide;
	args.is_cdrom = cdrom;
	g->disk = pc_add(pc, cdrom ? &atapi_cdrom_class : &ata_disk_class,
			 "drive0", &args);
	enable(g);
	return g;
}

static inline struct guest *make(struct fake_pc *pc, enum drive_preset preset,
				 bool cdrom)
{
	return make_at(pc, preset, cdrom, 0);
}

static inline void issue(struct guest *g, uint8_t code, uint64_t lba,
			 uint16_t count, uint16_t features)
{
	outb(g, CMD_DEVICE, 0x40);
	for (int i = 1; i >= 0; i--) {
		outb(g, CMD_ERROR, (uint8_t)(features >> (8 * i)));
		outb(g, CMD_COUNT, (uint8_t)(count >> (8 * i)));
		outb(g, CMD_LOW, (uint8_t)(lba >> (24 * i)));
		outb(g, CMD_MID, (uint8_t)(lba >> (24 * i + 8)));
		outb(g, CMD_HIGH, (uint8_t)(lba >> (24 * i + 16)));
	}
	outb(g, CMD_STATUS, code);
}

/* A command without data; its status. */
static inline uint8_t plain(struct guest *g, uint8_t code, uint16_t count,
			    uint16_t features)
{
	uint8_t s;

	issue(g, code, 0, count, features);
	s = wait_idle(g);
	wait_irq(g);
	assert_int_equal(inb(g, CMD_STATUS), s);
	assert_false(irq(g));
	return s;
}

/* len bytes by PIO in blocks; the last status. */
static inline uint8_t pio_in(struct guest *g, uint8_t code, uint64_t lba,
			     uint16_t count, uint32_t len, uint32_t block)
{
	issue(g, code, lba, count, 0);
	for (uint32_t at = 0; at < len; at += 2) {
		uint16_t word;

		if (at % block == 0) {
			wait_irq(g);
			wait_idle(g);
			if (!(inb(g, CMD_STATUS) & DRQ))
				break;
		}
		word = (uint16_t)pio(g, CMD_DATA, 0, 2, false);
		memcpy(g->data + at, &word, 2);
	}
	return wait_idle(g);
}

static inline uint8_t pio_out(struct guest *g, uint8_t code, uint64_t lba,
			      uint16_t count, uint32_t len, uint32_t block)
{
	uint8_t s;

	issue(g, code, lba, count, 0);
	for (uint32_t at = 0; at < len; at += 4) {
		uint32_t word;

		if (at % block == 0) {
			if (at)
				wait_irq(g);
			wait_idle(g);
			if (!(inb(g, CMD_STATUS) & DRQ))
				break;
		}
		memcpy(&word, g->data + at, 4);
		pio(g, CMD_DATA, word, 4, true);
	}
	s = wait_idle(g);
	wait_irq(g);
	inb(g, CMD_STATUS);
	return s;
}

static inline void put_prd(struct guest *g, unsigned i, uint32_t addr,
			   uint32_t len, bool last)
{
	uint32_t prd[2] = {addr, (len & 0xffff) | (last ? 1u << 31 : 0)};

	memcpy(pc_ram(g->pc, LIST + 8 * i), prd, sizeof(prd));
}

static inline void start_dma(struct guest *g, bool write)
{
	pio(g, BM + 4, LIST, 4, true);
	outb(g, BM + 2, 6);
	outb(g, BM, write ? 0 : 8);
	outb(g, BM, write ? 1 : 9);
}

static inline uint8_t end_dma(struct guest *g)
{
	uint8_t s = wait_idle(g);

	wait_irq(g);
	assert_int_equal(inb(g, BM + 2) & 4, 4);
	outb(g, BM, 0);
	inb(g, CMD_STATUS);
	return s;
}

/* The usual way: one piece at DATA. */
static inline uint8_t dma(struct guest *g, uint8_t code, uint64_t lba,
			  uint16_t count, uint16_t features, uint32_t len,
			  bool write)
{
	put_prd(g, 0, DATA, len, true);
	issue(g, code, lba, count, features);
	start_dma(g, write);
	return end_dma(g);
}

static inline uint8_t *data(struct guest *g)
{
	return pc_ram(g->pc, DATA);
}

#endif
