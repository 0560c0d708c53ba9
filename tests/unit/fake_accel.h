/*
 * fake_accel: an engine that runs nothing but remembers its slots, checks
 * every change of them, and gives out the dirty bits that the test put there.
 *
 * Thread rule: one thread.
 */
#ifndef TESTS_UNIT_FAKE_ACCEL_H
#define TESTS_UNIT_FAKE_ACCEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/accel.h"
#include "core/world.h"

#define FAKE_SLOTS 128

struct fake_slot {
	struct accel_slot slot; /* len 0: free */
	uint64_t *dirty;
};

struct accel_vm {
	struct world *world;
	struct fake_slot slots[FAKE_SLOTS];
	unsigned sets, dirties; /* calls so far */
	int fail_dirty;		/* what slot_dirty answers */
	uint64_t refuse_gpa;	/* slots here are refused; 0: none */
	unsigned line_calls;
	int line[24];
	uint64_t msi_addr;
	uint32_t msi_data;
	unsigned msis;
	int irqfd[64]; /* by gsi - 24; fd + 1 */
};

static inline struct fake_slot *fake_find(struct accel_vm *vm, uint32_t id)
{
	unsigned i;

	for (i = 0; i < FAKE_SLOTS; i++) {
		if (vm->slots[i].slot.len && vm->slots[i].slot.id == id)
			return &vm->slots[i];
	}
	return NULL;
}

static inline struct fake_slot *fake_at(struct accel_vm *vm, uint64_t gpa)
{
	unsigned i;

	for (i = 0; i < FAKE_SLOTS; i++) {
		struct accel_slot *s = &vm->slots[i].slot;

		if (s->len && gpa >= s->gpa && gpa - s->gpa < s->len)
			return &vm->slots[i];
	}
	return NULL;
}

static inline void fake_add(struct accel_vm *vm, const struct accel_slot *slot)
{
	unsigned i;

	for (i = 0; i < FAKE_SLOTS; i++) {
		const struct accel_slot *s = &vm->slots[i].slot;

		if (s->len && slot->gpa < s->gpa + s->len &&
		    s->gpa < slot->gpa + slot->len)
			fail_msg("slot %u overlaps slot %u", slot->id, s->id);
	}
	for (i = 0; vm->slots[i].slot.len; i++)
		assert_true(i + 1 < FAKE_SLOTS);
	vm->slots[i].slot = *slot;
	vm->slots[i].dirty = calloc(slot->len / 4096 / 64 + 1, 8);
}

static inline int fake_slot_set(struct accel_vm *vm,
				const struct accel_slot *slot)
{
	struct fake_slot *f = fake_find(vm, slot->id);

	vm->sets++;
	assert_int_equal((slot->gpa | slot->len | (uintptr_t)slot->host) % 4096,
			 0);
	if (f && slot->len) {
		/* Only the log may change on a live slot. */
		assert_int_equal(f->slot.gpa, slot->gpa);
		assert_int_equal(f->slot.len, slot->len);
		assert_ptr_equal(f->slot.host, slot->host);
		assert_int_equal(f->slot.readonly, slot->readonly);
		f->slot.log_dirty = slot->log_dirty;
		return 0;
	}
	if (vm->world)
		assert_true(world_wanted(vm->world));
	if (f) {
		f->slot.len = 0;
		free(f->dirty);
		f->dirty = NULL;
		return 0;
	}
	assert_true(slot->len);
	if (vm->refuse_gpa && slot->gpa == vm->refuse_gpa)
		return -EINVAL;
	fake_add(vm, slot);
	return 0;
}

static inline int fake_slot_dirty(struct accel_vm *vm, uint32_t id,
				  uint64_t *bitmap)
{
	struct fake_slot *f = fake_find(vm, id);
	size_t len;

	assert_non_null(f);
	assert_true(f->slot.log_dirty);
	vm->dirties++;
	if (vm->fail_dirty)
		return vm->fail_dirty;
	len = (f->slot.len / 4096 + 63) / 64 * 8;
	memcpy(bitmap, f->dirty, len);
	memset(f->dirty, 0, len);
	return 0;
}

/* The guest writes one page. */
static inline void fake_write(struct accel_vm *vm, uint64_t gpa)
{
	struct fake_slot *f = fake_at(vm, gpa);
	uint64_t page;

	assert_non_null(f);
	page = (gpa - f->slot.gpa) / 4096;
	if (f->slot.log_dirty)
		f->dirty[page / 64] |= 1ull << page % 64;
}

static inline int fake_irq_line(struct accel_vm *vm, unsigned gsi, bool level)
{
	vm->line_calls++;
	assert_true(gsi < 24);
	assert_int_not_equal(vm->line[gsi], level);
	vm->line[gsi] = level;
	return 0;
}

static inline int fake_msi(struct accel_vm *vm, uint64_t addr, uint32_t data)
{
	vm->msis++;
	vm->msi_addr = addr;
	vm->msi_data = data;
	return 0;
}

static inline int fake_irqfd(struct accel_vm *vm, unsigned gsi, int fd,
			     uint64_t addr, uint32_t data)
{
	assert_true(gsi >= 24 && gsi < 24 + 64);
	vm->irqfd[gsi - 24] = fd + 1;
	if (fd >= 0) {
		vm->msi_addr = addr;
		vm->msi_data = data;
	}
	return 0;
}

static const struct accel_fast fake_fast = {
	.irq_line = fake_irq_line,
	.msi = fake_msi,
	.irqfd = fake_irqfd,
};

static const struct accel_ops fake_accel = {
	.name = "fake",
	.slot_set = fake_slot_set,
	.slot_dirty = fake_slot_dirty,
	.fast = &fake_fast,
};

static inline void fake_fini(struct accel_vm *vm)
{
	unsigned i;

	for (i = 0; i < FAKE_SLOTS; i++)
		free(vm->slots[i].dirty);
}

#endif
