/*
 * A guest's state as one buffer: machine, devices, interrupt chips, vCPUs.
 *
 * The order matters when it is read.  Devices raise their lines again when
 * they are put in place; the chips and local APICs come after them, so that
 * an edge which the guest already saw is not seen twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bus.h"
#include "core/migration/state.h"
#include "core/vcpu.h"
#include "core/vm_internal.h"
#include "core/world.h"

/* What both machines must have in common. */
struct shape {
	uint64_t mem;
	uint32_t cpus, nr_devices;
	bool direct;
};

static const struct state_field shape_fields[] = {
	STATE_FIELD(struct shape, mem),
	STATE_FIELD(struct shape, cpus),
	STATE_FIELD(struct shape, nr_devices),
	STATE_FIELD(struct shape, direct),
};

static const struct state_desc shape_desc = {
	.name = "machine",
	.version = 1,
	.oldest = 1,
	.fields = shape_fields,
	.nr_fields = sizeof(shape_fields) / sizeof(shape_fields[0]),
};

static struct shape shape_of(const struct vm *vm)
{
	struct shape s = {
		.mem = vm->cfg.mem,
		.cpus = vm->cfg.cpus,
		.direct = *vm->cfg.kernel != '\0',
	};

	for (const struct device *d = vm->m.devices; d; d = d->next)
		s.nr_devices++;
	return s;
}

/* What a device can be in besides its class's own state. */
static const struct state_field failure_fields[] = {
	STATE_FIELD(struct device, failed),
};

static const struct state_desc failure_desc = {
	.name = "device",
	.version = 1,
	.oldest = 1,
	.fields = failure_fields,
	.nr_fields = 1,
};

/* ---- save ---- */

static int save_device(struct state_buf *out, struct device *dev,
		       struct error *e)
{
	int r;

	pthread_mutex_lock(&dev->lock);
	r = state_save(out, &failure_desc, dev->name, dev, e);
	if (!r && dev->cls->state)
		r = state_save(out, dev->cls->state, dev->name, dev, e);
	pthread_mutex_unlock(&dev->lock);
	return r;
}

static int save_engine(struct vm *vm, struct state_buf *out, struct error *e)
{
	const struct accel_fast *fast = vm->m.accel->fast;
	struct vcpu_state *v = calloc(1, sizeof(*v));
	struct chipset_state chips;
	char name[16];
	int r = 0;

	if (!v)
		return error_set(e, -ENOMEM, "no memory for a vCPU's state");
	if (fast) {
		memset(&chips, 0, sizeof(chips));
		r = fast->chipset_state(vm->m.accel_vm, ACCEL_GET, &chips, e);
		if (!r)
			r = state_save(out, &chipset_state_desc, "chips",
				       &chips, e);
	}
	for (unsigned i = 0; i < vm->cfg.cpus && !r; i++) {
		memset(v, 0, sizeof(*v));
		snprintf(name, sizeof(name), "cpu%u", i);
		r = vcpu_state_copy(vm->vcpus, i, ACCEL_GET, v, e);
		if (!r)
			r = state_save(out, &vcpu_state_desc, name, v, e);
	}
	free(v);
	return r;
}

static int save(struct vm *vm, struct state_buf *out, struct error *e)
{
	struct shape shape = shape_of(vm);
	int r = state_save(out, &shape_desc, "machine", &shape, e);

	for (struct device *d = vm->m.devices; d && !r; d = d->next)
		r = save_device(out, d, e);
	return r ? r : save_engine(vm, out, e);
}

/* ---- load ---- */

static int check_shape(struct vm *vm, struct state_buf *in, struct error *e)
{
	struct shape mine = shape_of(vm), other = {0};
	int r = state_load(in, &shape_desc, "machine", &other, e);

	if (r)
		return r;
	if (mine.mem != other.mem || mine.cpus != other.cpus ||
	    mine.nr_devices != other.nr_devices || mine.direct != other.direct)
		return error_set(e, -EINVAL,
				 "the state is of another machine: %" PRIu64
				 " MiB, %u CPUs, %u devices; this one has "
				 "%" PRIu64 " MiB, %u CPUs, %u devices",
				 other.mem >> 20, other.cpus, other.nr_devices,
				 mine.mem >> 20, mine.cpus, mine.nr_devices);
	return 0;
}

static int load_device(struct state_buf *in, struct device *dev,
		       struct error *e)
{
	int r;

	pthread_mutex_lock(&dev->lock);
	r = state_load(in, &failure_desc, dev->name, dev, e);
	if (!r && dev->failed)
		snprintf(dev->why, sizeof(dev->why),
			 "it had failed before it was moved here");
	if (!r && dev->cls->state)
		r = state_load(in, dev->cls->state, dev->name, dev, e);
	pthread_mutex_unlock(&dev->lock);
	return r;
}

static int load_devices(struct vm *vm, struct state_buf *in, struct error *e)
{
	int r = 0;

	for (struct device *d = vm->m.devices; d && !r; d = d->next)
		r = load_device(in, d, e);
	for (struct device *d = vm->m.devices; d && !r; d = d->next)
		if (d->cls->loaded)
			r = d->cls->loaded(d, e);
	if (!r)
		bus_commit(vm->m.bus, loop_member(vm->m.main));
	return r;
}

static int load_engine(struct vm *vm, struct state_buf *in, struct error *e)
{
	const struct accel_fast *fast = vm->m.accel->fast;
	struct vcpu_state *v = calloc(1, sizeof(*v));
	struct chipset_state chips;
	char name[16];
	int r = 0;

	if (!v)
		return error_set(e, -ENOMEM, "no memory for a vCPU's state");
	if (fast) {
		memset(&chips, 0, sizeof(chips));
		r = state_load(in, &chipset_state_desc, "chips", &chips, e);
		if (!r)
			r = fast->chipset_state(vm->m.accel_vm, ACCEL_SET,
						&chips, e);
	}
	for (unsigned i = 0; i < vm->cfg.cpus && !r; i++) {
		memset(v, 0, sizeof(*v));
		snprintf(name, sizeof(name), "cpu%u", i);
		r = state_load(in, &vcpu_state_desc, name, v, e);
		if (!r)
			r = vcpu_state_copy(vm->vcpus, i, ACCEL_SET, v, e);
	}
	free(v);
	return r;
}

static int load(struct vm *vm, struct state_buf *in, struct error *e)
{
	int r = check_shape(vm, in, e);

	if (!r)
		r = load_devices(vm, in, e);
	if (!r)
		r = load_engine(vm, in, e);
	if (!r && in->pos != in->len)
		r = error_set(e, -EINVAL,
			      "%zu bytes follow the machine's state",
			      in->len - in->pos);
	/* What the guest before asked for is not this one's wish. */
	if (!r)
		__atomic_store_n(&vm->requests, 0, __ATOMIC_RELAXED);
	return r;
}

/* ---- on the main loop, with the world stopped ---- */

struct move {
	struct vm *vm, *from;
	struct state_buf *buf;
	struct error *e;
	int (*run)(struct vm *vm, struct state_buf *buf, struct error *e);
	bool drops_guest; /* that is in the machine now */
	int result;
};

static void run_move(void *arg)
{
	struct move *move = arg;
	struct vm *vm = move->vm;

	if (vm->state == VM_RUNNING) {
		move->result = error_set(move->e, -EBUSY,
					 "machine '%s' runs; pause it first",
					 vm->cfg.name);
		return;
	}
	world_stop(vm->m.world, loop_member(vm->m.main));
	vm_disks_give_up(vm, move->drops_guest);
	for (struct device *d = vm->m.devices; d; d = d->next)
		if (d->cls->quiesce)
			d->cls->quiesce(d);
	vm_disks_give_up(vm, false);
	/* Kept requests are no part of a device's state. */
	move->result = vm_disks_check_kept(vm, move->e);
	if (!move->result)
		move->result = move->run(vm, move->buf, move->e);
	world_resume(vm->m.world);
}

int vm_state_save(struct vm *vm, struct state_buf *out, struct error *e)
{
	struct move move = {.vm = vm, .buf = out, .e = e, .run = save};

	loop_call(vm->m.main, run_move, &move);
	return move.result;
}

int vm_state_load(struct vm *vm, struct state_buf *in, struct error *e)
{
	struct move move = {
		.vm = vm, .buf = in, .e = e, .run = load, .drops_guest = true};

	loop_call(vm->m.main, run_move, &move);
	if (move.result)
		error_prefix(e, move.result, "machine '%s'", vm->cfg.name);
	return move.result;
}

/* ---- RAM ---- */

static void copy_block(struct ram_block *to, const struct ram_block *from)
{
	const uint8_t *src = mem_block_host(from);
	uint8_t *dst = mem_block_host(to);
	uint64_t len = mem_block_len(from);

	for (uint64_t off = 0; off < len; off += MEM_PAGE_SIZE) {
		/* Pages that nobody touched stay untouched. */
		if (!memcmp(dst + off, src + off, MEM_PAGE_SIZE))
			continue;
		memcpy(dst + off, src + off, MEM_PAGE_SIZE);
		mem_block_mark(to, off, MEM_PAGE_SIZE);
	}
}

int vm_ram_copy(struct vm *to, struct vm *from, struct error *e)
{
	struct ram_block *b = NULL, *mine;

	while ((b = mem_block_next(from->m.mem, b))) {
		mine = mem_block_find(to->m.mem, mem_block_name(b));
		if (!mine || mem_block_len(mine) != mem_block_len(b))
			return error_set(e, -EINVAL,
					 "RAM block '%s' of %" PRIu64
					 " bytes has no equal in machine '%s'",
					 mem_block_name(b), mem_block_len(b),
					 to->cfg.name);
		copy_block(mine, b);
	}
	return 0;
}
