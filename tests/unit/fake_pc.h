/*
 * fake_pc: a machine without vCPUs for tests of device models: RAM with the
 * PC's hole, a PCI bus, a main loop and an I/O loop, interrupt lines that are
 * remembered.  The test's thread plays the guest.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_FAKE_PC_H
#define TESTS_UNIT_FAKE_PC_H

#include "tests/unit/fake_accel.h"
#include "tests/unit/pc_gate.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/bus.h"
#include "core/console.h"
#include "core/device.h"
#include "core/error.h"
#include "core/hw/pci.h"
#include "core/irq.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/migration/state.h"

#define PC_RAM_LEN  (16u << 20)
#define PC_HOLE	    0xa0000u
#define PC_HOLE_END 0x100000u
#define PC_BAR	    0xfe000000u
#define PC_DISK_LEN (4u << 20)
#define PC_WAIT_NS  (60ull * 1000000000ull)

struct fake_pc {
	struct accel_vm accel_vm;
	struct machine m;
	struct world_member guest;
	struct ram_block *ram;
	struct region low, high;
	struct loop *io;
	char dir[64], disk_path[96];
	struct drive *drive;
	struct error e;
};

/* ---- life ---- */

static inline void pc_add_ram(struct fake_pc *pc, struct region *r,
			      const char *name, uint64_t gpa, uint64_t end)
{
	*r = (struct region){
		.kind = REGION_RAM,
		.gpa = gpa,
		.len = end - gpa,
		.enabled = true,
		.block = pc->ram,
		.block_off = gpa,
	};
	snprintf(r->name, sizeof(r->name), "%s", name);
	mem_region_add(pc->m.mem, r);
}

static inline void pc_disk_file(struct fake_pc *pc, const char *name)
{
	int fd;

	snprintf(pc->disk_path, sizeof(pc->disk_path), "%.60s/%.20s", pc->dir,
		 name);
	fd = open(pc->disk_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PC_DISK_LEN), 0);
	close(fd);
}

static inline struct fake_pc *pc_create(void)
{
	struct fake_pc *pc = calloc(1, sizeof(*pc));
	struct machine *m;

	assert_non_null(pc);
	m = &pc->m;
	pc_gate = (struct pc_gate){.gate = -1};
	m->accel = &fake_accel;
	m->accel_vm = &pc->accel_vm;
	m->world = world_create();
	m->log = log_create(LOG_LEVEL_ERROR + 1);
	m->console = console_create();
	m->main = loop_create("main", m->world, &pc->e);
	pc->io = loop_create("io", m->world, &pc->e);
	assert_non_null(m->main);
	assert_non_null(pc->io);
	m->mem = mem_create(&fake_accel, &pc->accel_vm, m->world, m->log,
			    &pc->e);
	m->bus = bus_create(m->mem);
	m->irq = irq_hub_create(&fake_accel, &pc->accel_vm, &pc->e);
	m->pci = pci_host_create(m, &pc->e);
	m->nr_vcpus = 1;
	m->ram_below_4g = PC_RAM_LEN;
	pc->ram = mem_block_create(m->mem, "pc.ram", PC_RAM_LEN, &pc->e);
	pc_add_ram(pc, &pc->low, "low", 0, PC_HOLE);
	pc_add_ram(pc, &pc->high, "high", PC_HOLE_END, PC_RAM_LEN);
	bus_commit(m->bus, NULL);
	world_add(m->world, &pc->guest);
	snprintf(pc->dir, sizeof(pc->dir), "/tmp/fake_pc.XXXXXX");
	assert_non_null(mkdtemp(pc->dir));
	pc_disk_file(pc, "disk.img");
	assert_int_equal(loop_start(m->main, &pc->e), 0);
	assert_int_equal(loop_start(pc->io, &pc->e), 0);
	return pc;
}

static inline void pc_destroy(struct fake_pc *pc)
{
	struct machine *m = &pc->m;
	char cmd[128];

	world_stop(m->world, NULL);
	while (m->devices) {
		struct device *last = m->devices;

		while (last->next)
			last = last->next;
		if (last->cls->quiesce)
			last->cls->quiesce(last);
		device_destroy(last);
	}
	drive_close(pc->drive);
	bus_commit(m->bus, NULL);
	world_resume(m->world);
	world_remove(m->world, &pc->guest);
	loop_destroy(pc->io);
	loop_destroy(m->main);
	pci_host_destroy(m->pci);
	irq_hub_destroy(m->irq);
	mem_region_remove(m->mem, &pc->low);
	mem_region_remove(m->mem, &pc->high);
	bus_commit(m->bus, NULL);
	bus_destroy(m->bus);
	mem_destroy(m->mem);
	console_destroy(m->console);
	log_destroy(m->log);
	world_destroy(m->world);
	fake_fini(&pc->accel_vm);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", pc->dir);
	assert_int_equal(system(cmd), 0);
	free(pc);
}

/* ---- making devices, with the world stopped ---- */

static inline struct device *pc_add(struct fake_pc *pc,
				    const struct device_class *cls,
				    const char *name, struct device_args *args)
{
	struct device *dev;

	snprintf(args->name, sizeof(args->name), "%s", name);
	world_stop(pc->m.world, NULL);
	dev = device_create(&pc->m, cls, args, &pc->e);
	if (!dev)
		fail_msg("%s", pc->e.msg);
	if (cls->reset)
		cls->reset(dev);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	return dev;
}

static inline void pc_open_drive(struct fake_pc *pc, enum drive_preset preset,
				 bool readonly)
{
	struct drive_config cfg = {
		.path = pc->disk_path,
		.preset = preset,
		.readonly = readonly,
	};

	world_stop(pc->m.world, NULL);
	pc->drive = drive_open_with(pc->io, &cfg, pc_wrap, NULL, NULL, &pc->e);
	world_resume(pc->m.world);
	if (!pc->drive)
		fail_msg("%s", pc->e.msg);
}

/* As the machine does it between two runs of its vCPUs. */
static inline void pc_quiesce(struct fake_pc *pc)
{
	for (struct device *d = pc->m.devices; d; d = d->next)
		if (d->cls->quiesce)
			d->cls->quiesce(d);
}

static inline void pc_reset(struct fake_pc *pc)
{
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	for (struct device *d = pc->m.devices; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
}

/* ---- playing the guest ---- */

static inline uint8_t *pc_ram(struct fake_pc *pc, uint64_t gpa)
{
	return mem_block_host(pc->ram) + gpa;
}

static inline uint64_t pc_mmio(struct fake_pc *pc, uint64_t gpa, uint64_t value,
			       unsigned len, bool write)
{
	world_enter(pc->m.world, &pc->guest);
	bus_mmio(pc->m.bus, &pc->guest, gpa, &value, len, write);
	bus_commit(pc->m.bus, &pc->guest);
	world_leave(pc->m.world, &pc->guest);
	return len == 8 ? value : value & ((1ull << (8 * len)) - 1);
}

static inline uint64_t pc_in(struct fake_pc *pc, uint64_t gpa, unsigned len)
{
	return pc_mmio(pc, gpa, 0, len, false);
}

static inline void pc_out(struct fake_pc *pc, uint64_t gpa, uint64_t value,
			  unsigned len)
{
	pc_mmio(pc, gpa, value, len, true);
}

static inline void pc_config_out(struct fake_pc *pc, struct device *dev,
				 unsigned off, uint32_t value, unsigned len)
{
	world_enter(pc->m.world, &pc->guest);
	pci_config_write((struct pci_dev *)(void *)dev, off, value, len);
	bus_commit(pc->m.bus, &pc->guest);
	world_leave(pc->m.world, &pc->guest);
}

/* Places a memory BAR and turns on decoding and bus mastering. */
static inline void pc_map_bar(struct fake_pc *pc, struct device *dev,
			      unsigned bar, uint32_t addr)
{
	pc_config_out(pc, dev, 0x10 + 4 * bar, addr, 4);
	pc_config_out(pc, dev, 4, 6, 2);
}

static inline bool pc_intx(struct fake_pc *pc, struct device *dev)
{
	(void)pc;
	return ((struct pci_dev *)(void *)dev)->intx_driven;
}

/* Polls until a little-endian 16-bit word of guest memory has the value. */
static inline void pc_wait16(struct fake_pc *pc, uint64_t gpa, uint16_t value)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;
	uint16_t *p = (uint16_t *)(void *)pc_ram(pc, gpa);

	while (__atomic_load_n(p, __ATOMIC_ACQUIRE) != value) {
		if (loop_now_ns() > end)
			fail_msg("0x%llx is %u, not %u",
				 (unsigned long long)gpa, *p, value);
		usleep(200);
	}
}

/* Polls a register until (value & mask) == want. */
static inline void pc_wait_reg(struct fake_pc *pc, uint64_t gpa, unsigned len,
			       uint32_t mask, uint32_t want)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;
	uint32_t value;

	while (((value = (uint32_t)pc_in(pc, gpa, len)) & mask) != want) {
		if (loop_now_ns() > end)
			fail_msg("register 0x%llx is 0x%x",
				 (unsigned long long)gpa, value);
		usleep(200);
	}
}

/* Polls until so many requests are with the drive. */
static inline void pc_wait_in_flight(struct fake_pc *pc, unsigned nr)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (drive_in_flight(pc->drive) != nr) {
		if (loop_now_ns() > end)
			fail_msg("%u requests are with the drive, not %u",
				 drive_in_flight(pc->drive), nr);
		usleep(200);
	}
}

/* The next number, of 24 bits, for a guest that does anything. */
static inline uint32_t pc_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static inline int pc_setup(void **state)
{
	*state = pc_create();
	return 0;
}

static inline int pc_teardown(void **state)
{
	pc_destroy(*state);
	return 0;
}

#endif
