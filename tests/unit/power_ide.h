/*
 * power_ide: a driver of a disk on the IDE controller for a power_bench: DMA,
 * one command at a time.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_POWER_IDE_H
#define TESTS_UNIT_POWER_IDE_H

#include "tests/unit/power_bench.h"

#define PI_LIST	   0x10000u /* PRD table */
#define PI_BM	   0xc000u
#define PI_COUNT   0x1f2
#define PI_DEVICE  0x1f6
#define PI_STATUS  0x1f7
#define PI_CONTROL 0x3f6

extern const struct device_class piix_ide_class, ata_disk_class;

static inline uint32_t pi_port(struct power_bench *b, uint16_t port,
			       uint32_t value, unsigned len, bool write)
{
	struct fake_pc *pc = b->pc;

	world_enter(pc->m.world, &pc->guest);
	bus_pio(pc->m.bus, &pc->guest, port, &value, len, 1, write);
	world_leave(pc->m.world, &pc->guest);
	return len == 4 ? value : value & ((1u << (8 * len)) - 1);
}

static inline void pi_attach(struct power_bench *b)
{
	struct device_args ide = {.devfn = PCI_DEVFN(0x1f, 1), .io = b->pc->io};
	struct device_args disk = {
		.devfn = -1, .drive = b->pc->drive, .io = b->pc->io};

	b->dev = disk.parent = pc_add(b->pc, &piix_ide_class, "ide", &ide);
	pc_add(b->pc, &ata_disk_class, "disk0", &disk);
}

static inline void pi_start(struct power_bench *b)
{
	pc_config_out(b->pc, b->dev, 0x20, PI_BM, 4);
	pc_config_out(b->pc, b->dev, 4, 5, 2);
}

static inline void pi_issue(struct power_bench *b, uint8_t command,
			    uint8_t feature, uint64_t lba, uint32_t nr)
{
	pi_port(b, PI_DEVICE, 0x40, 1, true);
	for (int i = 1; i >= 0; i--) {
		uint32_t part = (uint32_t)(lba >> (24 * i));

		pi_port(b, PI_COUNT - 1, i ? 0 : feature, 1, true);
		pi_port(b, PI_COUNT, i ? 0 : nr, 1, true);
		for (unsigned k = 0; k < 3; k++)
			pi_port(b, (uint16_t)(PI_COUNT + 1 + k),
				part >> (8 * k) & 0xff, 1, true);
	}
	pi_port(b, PI_STATUS, command, 1, true);
}

static inline void pi_submit(struct power_bench *b, unsigned slot)
{
	struct power_slot *s = &b->slots[slot];
	uint32_t prd[2] = {bench_gpa(slot), s->nr * 512 | 1u << 31};
	uint8_t command = s->op == DRIVE_READ	 ? 0x25
			  : s->op == DRIVE_FLUSH ? 0xea
			  : s->fua		 ? 0x3d
						 : 0x35;
	unsigned to_memory = s->op == DRIVE_READ ? 8 : 0;

	memcpy(pc_ram(b->pc, PI_LIST), prd, sizeof(prd));
	pi_issue(b, command, 0, s->nr ? bench_offset(s->first) / 512 : 0,
		 s->nr);
	if (s->op == DRIVE_FLUSH)
		return;
	pi_port(b, PI_BM + 4, PI_LIST, 4, true);
	pi_port(b, PI_BM + 2, 6, 1, true);
	pi_port(b, PI_BM, to_memory, 1, true);
	pi_port(b, PI_BM, to_memory | 1, 1, true);
}

static inline void pi_poll(struct power_bench *b)
{
	struct power_slot *s = &b->slots[0];

	if (!s->busy || pi_port(b, PI_CONTROL, 0, 1, false) & 0x80 ||
	    !__atomic_load_n(&b->pc->accel_vm.line[14], __ATOMIC_SEQ_CST))
		return;
	pi_port(b, PI_BM, 0, 1, true);
	s->failed = pi_port(b, PI_STATUS, 0, 1, false) & 1;
	s->answered = true;
}

/* SET FEATURES 02h, 82h. */
static inline void pi_set_wce(struct power_bench *b, bool on)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	pi_issue(b, 0xef, on ? 0x02 : 0x82, 0, 0);
	while (pi_port(b, PI_CONTROL, 0, 1, false) & 0x80 ||
	       !__atomic_load_n(&b->pc->accel_vm.line[14], __ATOMIC_SEQ_CST))
		assert_true(loop_now_ns() < end);
	assert_int_equal(pi_port(b, PI_STATUS, 0, 1, false) & 1, 0);
}

static const struct power_bus power_ide = {
	.name = "ide",
	.depth = 1,
	.has_fua = true,
	.attach = pi_attach,
	.start = pi_start,
	.submit = pi_submit,
	.poll = pi_poll,
	.set_wce = pi_set_wce,
};

#endif
