/*
 * board: a PC's services over an engine that only takes notes, for tests of
 * device models: RAM "pc.ram" and flash "pc.rom", bus, lines, main loop.
 *
 * Thread rule: the test's thread plays the vCPU; it takes no part in the
 * world.  The main loop runs only after board_start.
 */
#ifndef TESTS_UNIT_BOARD_H
#define TESTS_UNIT_BOARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/bus.h"
#include "core/console.h"
#include "core/device.h"
#include "core/error.h"
#include "core/irq.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/migration/state.h"
#include "core/world.h"

#define BOARD_RAM  (4u << 20)
#define BOARD_ROM  (256u << 10)
#define BOARD_GSIS 24

/* What the engine was told. */
struct accel_vm {
	bool line[BOARD_GSIS];
	unsigned rises[BOARD_GSIS];
	unsigned messages;
	uint64_t addr;
	uint32_t data;
};

struct board {
	struct machine m;
	struct accel_vm vm;
	struct accel_fast fast;
	struct accel_ops accel;
	struct region ram, rom;
	struct ram_block *ram_block, *rom_block;
	unsigned requests[MACHINE_EXIT + 1];
	int exit_code;
};

static inline int board_irq_line(struct accel_vm *vm, unsigned gsi, bool level)
{
	assert_true(gsi < BOARD_GSIS);
	if (level && !vm->line[gsi])
		vm->rises[gsi]++;
	__atomic_store_n(&vm->line[gsi], level, __ATOMIC_RELEASE);
	return 0;
}

static inline int board_msi(struct accel_vm *vm, uint64_t addr, uint32_t data)
{
	__atomic_fetch_add(&vm->messages, 1, __ATOMIC_SEQ_CST);
	vm->addr = addr;
	vm->data = data;
	return 0;
}

static inline int board_slot_set(struct accel_vm *vm,
				 const struct accel_slot *slot)
{
	(void)vm;
	(void)slot;
	return 0;
}

static inline int board_slot_dirty(struct accel_vm *vm, uint32_t id,
				   uint64_t *bitmap)
{
	(void)vm;
	(void)id;
	(void)bitmap;
	return 0;
}

static inline void board_request(struct machine *m, enum machine_request what,
				 int value)
{
	struct board *b = (struct board *)m;

	b->requests[what]++;
	b->exit_code = value;
}

static inline struct board *board_create(void)
{
	struct board *b = calloc(1, sizeof(*b));
	struct error e = {0};

	/* No irqfd: messages come one by one through msi. */
	b->fast = (struct accel_fast){.irq_line = board_irq_line,
				      .msi = board_msi};
	b->accel = (struct accel_ops){.name = "notes",
				      .slot_set = board_slot_set,
				      .slot_dirty = board_slot_dirty,
				      .fast = &b->fast};
	b->m.world = world_create();
	b->m.accel = &b->accel;
	b->m.accel_vm = &b->vm;
	b->m.mem = mem_create(&b->accel, &b->vm, b->m.world, NULL, &e);
	b->m.bus = bus_create(b->m.mem);
	b->m.irq = irq_hub_create(&b->accel, &b->vm, &e);
	b->m.main = loop_create("main", NULL, &e);
	b->m.console = console_create();
	b->m.ram_below_4g = BOARD_RAM;
	b->m.nr_vcpus = 2;
	b->m.request = board_request;
	b->ram_block = mem_block_create(b->m.mem, "pc.ram", BOARD_RAM, &e);
	b->rom_block = mem_block_create(b->m.mem, "pc.rom", BOARD_ROM, &e);
	assert_non_null(b->ram_block);
	assert_non_null(b->rom_block);
	b->ram = (struct region){.name = "ram",
				 .kind = REGION_RAM,
				 .len = BOARD_RAM,
				 .enabled = true,
				 .block = b->ram_block};
	b->rom = (struct region){.name = "rom",
				 .kind = REGION_ROM,
				 .gpa = 0x100000000ull - BOARD_ROM,
				 .len = BOARD_ROM,
				 .priority = 1,
				 .enabled = true,
				 .block = b->rom_block};
	mem_region_add(b->m.mem, &b->ram);
	mem_region_add(b->m.mem, &b->rom);
	bus_commit(b->m.bus, NULL);
	return b;
}

static inline struct device *board_add(struct board *b,
				       const struct device_class *cls,
				       const struct device_args *args)
{
	struct error e = {0};
	struct device *dev = device_create(&b->m, cls, args, &e);

	if (!dev)
		fail_msg("%s", e.msg);
	bus_commit(b->m.bus, NULL);
	return dev;
}

static inline void board_start(struct board *b)
{
	assert_int_equal(loop_start(b->m.main, NULL), 0);
}

static inline void board_destroy_devices(void *arg)
{
	struct board *b = arg;

	while (b->m.devices) {
		struct device *last = b->m.devices;

		while (last->next)
			last = last->next;
		device_destroy(last);
	}
}

static inline void board_destroy(struct board *b)
{
	/* Their timers run there. */
	loop_call(b->m.main, board_destroy_devices, b);
	loop_destroy(b->m.main);
	console_destroy(b->m.console);
	irq_hub_destroy(b->m.irq);
	bus_destroy(b->m.bus);
	mem_destroy(b->m.mem);
	world_destroy(b->m.world);
	free(b);
}

/* ---- accesses of the vCPU ---- */

static inline void out(struct board *b, uint16_t port, uint32_t value,
		       unsigned len)
{
	bus_pio(b->m.bus, NULL, port, &value, len, 1, true);
}

static inline uint32_t in(struct board *b, uint16_t port, unsigned len)
{
	uint32_t value = 0;

	bus_pio(b->m.bus, NULL, port, &value, len, 1, false);
	return value;
}

static inline void poke(struct board *b, uint64_t gpa, uint32_t value,
			unsigned len)
{
	bus_mmio(b->m.bus, NULL, gpa, &value, len, true);
}

static inline uint32_t peek(struct board *b, uint64_t gpa, unsigned len)
{
	uint32_t value = 0;

	bus_mmio(b->m.bus, NULL, gpa, &value, len, false);
	return value;
}

/* Configuration space of bus 0 through 0xcf8. */
static inline void config_out(struct board *b, unsigned devfn, unsigned off,
			      uint32_t value, unsigned len)
{
	out(b, 0xcf8, 0x80000000u | devfn << 8 | (off & ~3u), 4);
	out(b, 0xcfc + (off & 3), value, len);
}

static inline uint32_t config_in(struct board *b, unsigned devfn, unsigned off,
				 unsigned len)
{
	out(b, 0xcf8, 0x80000000u | devfn << 8 | (off & ~3u), 4);
	return in(b, 0xcfc + (off & 3), len);
}

/* Saves dev's state and loads it into to, a device of the same class. */
static inline void board_move_state(struct device *dev, struct device *to)
{
	struct state_buf buf = {0};
	struct error e = {0};

	if (state_save(&buf, dev->cls->state, dev->name, dev, &e))
		fail_msg("%s", e.msg);
	if (state_load(&buf, to->cls->state, to->name, to, &e))
		fail_msg("%s", e.msg);
	if (to->cls->loaded)
		assert_int_equal(to->cls->loaded(to, &e), 0);
	bus_commit(to->m->bus, NULL);
	state_buf_fini(&buf);
}

#endif
