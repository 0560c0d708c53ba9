/*
 * A machine's states and how it gets from one to the next.
 *
 *	paused  -resume->  running  -pause->  paused
 *	running -guest's fault->  crashed  -reset->  running
 *	running, paused, crashed  -power off->  off  -resume->  running
 *
 * All moves are made here, on the main loop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/blk/drive.h"
#include "core/bus.h"
#include "core/console.h"
#include "core/hw/acpi/acpi.h"
#include "core/hw/boot/boot.h"
#include "core/hw/chipset/q35.h"
#include "core/hw/display/display.h"
#include "core/vcpu.h"
#include "core/vm_internal.h"
#include "core/world.h"

static const char *state_name(enum vm_state state)
{
	static const char *const names[] = {"paused", "running", "crashed",
					    "off"};

	return names[state];
}

/* code: of the event. */
static void enter_state(struct vm *vm, enum vm_state state, int code,
			const char *why)
{
	uint64_t now = loop_now_ns();

	pthread_mutex_lock(&vm->lock);
	if (vm->state == VM_RUNNING && state != VM_RUNNING)
		vm->ran_ns += now - vm->started_ns;
	if (vm->state != VM_RUNNING && state == VM_RUNNING)
		vm->started_ns = now;
	vm->state = state;
	pthread_mutex_unlock(&vm->lock);
	vm_event_add(vm, VM_EVENT_STATE, 0, code, "%s", why);
	log_write(vm->log, code ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
		  vm->cfg.name, "%s%s%s", state_name(state), *why ? ": " : "",
		  why);
}

static void set_state(struct vm *vm, enum vm_state state, const char *why)
{
	enter_state(vm, state, 0, why);
}

/* ---- reset ---- */

static void devices_quiesce(struct vm *vm)
{
	for (struct device *dev = vm->m.devices; dev; dev = dev->next)
		if (dev->cls->quiesce)
			dev->cls->quiesce(dev);
}

static void devices_reset(struct vm *vm)
{
	for (struct device *dev = vm->m.devices; dev; dev = dev->next) {
		pthread_mutex_lock(&dev->lock);
		dev->failed = false;
		dev->why[0] = '\0';
		pthread_mutex_unlock(&dev->lock);
		if (dev->cls->reset)
			dev->cls->reset(dev);
	}
}

static void commit(struct vm *vm)
{
	bus_commit(vm->m.bus, loop_member(vm->m.main));
}

static int set_cpu(struct vm *vm, unsigned cpu, const struct boot_entry *entry,
		   struct vcpu_state *state, struct error *e)
{
	int r = vcpu_state_copy(vm->vcpus, cpu, ACCEL_GET, state, e);

	if (r)
		return r;
	boot_set_caching(state);
	if (cpu == 0)
		boot_set_registers(entry, state);
	return vcpu_state_copy(vm->vcpus, cpu, ACCEL_SET, state, e);
}

/* What firmware would have done, then the kernel. */
static int boot_directly(struct vm *vm, struct error *e)
{
	struct boot_args args = {
		.kernel = vm->cfg.kernel,
		.initrd = vm->cfg.initrd,
		.append = vm->cfg.append,
	};
	struct vcpu_state *state = calloc(1, sizeof(*state));
	struct device *vga = device_find(&vm->m, "vga");
	struct boot_entry entry;
	int r;

	if (!state)
		return error_set(e, -ENOMEM, "no memory for a vCPU's state");
	q35_direct_setup(&vm->m);
	args.vga_text = vga && vga_direct_setup(vga);
	commit(vm);
	r = boot_load(&vm->m, &args, &entry, e);
	if (!r)
		r = acpi_place(&vm->m, boot_acpi_gpa(vm->m.ram_below_4g),
			       BOOT_RSDP, e);
	for (unsigned cpu = 0; !r && cpu < vm->cfg.cpus; cpu++)
		r = set_cpu(vm, cpu, &entry, state, e);
	free(state);
	return r;
}

/* The engine's interrupt chips as they were made; the clock goes on. */
static int reset_chips(struct vm *vm, struct error *e)
{
	const struct accel_fast *fast = vm->m.accel->fast;
	struct chipset_state now;
	int r;

	if (!fast)
		return 0;
	r = fast->chipset_state(vm->m.accel_vm, ACCEL_GET, &now, e);
	if (r)
		return r;
	vm->power_on.clock_ns = now.clock_ns;
	return fast->chipset_state(vm->m.accel_vm, ACCEL_SET, &vm->power_on, e);
}

int vm_reset_parts(struct vm *vm, struct error *e)
{
	struct world_member *self = loop_member(vm->m.main);
	int r;

	world_stop(vm->m.world, self);
	vm_disks_give_up(vm, true);
	devices_quiesce(vm);
	devices_reset(vm);
	vm_disks_give_up(vm, false);
	commit(vm);
	r = reset_chips(vm, e);
	if (!r)
		r = vcpu_set_reset(vm->vcpus, e);
	if (!r && *vm->cfg.kernel)
		r = boot_directly(vm, e);
	world_resume(vm->m.world);
	return r;
}

/* ---- crash ---- */

static void crash(struct vm *vm, const char *text)
{
	pthread_mutex_lock(&vm->lock);
	snprintf(vm->message, sizeof(vm->message), "%s", text);
	pthread_mutex_unlock(&vm->lock);
	set_state(vm, VM_CRASHED, text);
}

/* Resets; running tells what the guest shall be afterwards. */
static int reset_machine(struct vm *vm, bool running, struct error *e)
{
	int r;

	vcpu_set_pause(vm->vcpus);
	r = vm_reset_parts(vm, e);
	__atomic_store_n(&vm->requests, 0, __ATOMIC_RELAXED);
	pthread_mutex_lock(&vm->lock);
	vm->resets++;
	/* What a vCPU still wanted to say belongs to the time before. */
	vm->crashed = false;
	vm->message[0] = '\0';
	pthread_mutex_unlock(&vm->lock);
	if (r) {
		crash(vm, e->msg);
		return r;
	}
	if (running)
		vcpu_set_resume(vm->vcpus);
	return 0;
}

void vm_vcpu_crashed(void *arg, unsigned index, bool triple_fault,
		     const char *text)
{
	struct vm *vm = arg;

	pthread_mutex_lock(&vm->lock);
	if (!vm->crashed) {
		vm->crashed = true;
		snprintf(vm->message, sizeof(vm->message), "CPU %u: %s%s",
			 index,
			 triple_fault ? "the guest met a triple fault: it has "
					"no working handler for the exception "
					"that stopped it\n"
				      : "",
			 text);
	}
	pthread_mutex_unlock(&vm->lock);
	loop_post(vm->m.main, &vm->crash_work);
}

/* The whole explanation, a line an entry. */
static void log_message(struct vm *vm)
{
	char text[sizeof(vm->message)], *line, *next = text;

	pthread_mutex_lock(&vm->lock);
	memcpy(text, vm->message, sizeof(text));
	pthread_mutex_unlock(&vm->lock);
	while ((line = strsep(&next, "\n")))
		if (*line)
			log_write(vm->log, LOG_LEVEL_ERROR, vm->cfg.name, "%s",
				  line);
}

void vm_on_crash(void *arg)
{
	struct vm *vm = arg;
	char first[200];
	bool crashed;

	pthread_mutex_lock(&vm->lock);
	crashed = vm->crashed;
	vm->crashed = false;
	snprintf(first, sizeof(first), "%.*s", (int)strcspn(vm->message, "\n"),
		 vm->message);
	pthread_mutex_unlock(&vm->lock);
	if (!crashed || vm->state == VM_OFF)
		return;
	vcpu_set_pause(vm->vcpus);
	log_message(vm);
	set_state(vm, VM_CRASHED, first);
}

/* ---- disks ---- */

void vm_on_disk_trouble(void *arg)
{
	struct vm *vm = arg;
	char why[192];

	if (vm->state != VM_RUNNING && vm->state != VM_PAUSED)
		return;
	/* A reset may have come between. */
	if (!vm_any_disk_trouble(vm, why, sizeof(why)))
		return;
	vcpu_set_pause(vm->vcpus);
	enter_state(vm, VM_PAUSED, -EIO, why);
}

/* ---- power ---- */

/* Writes in flight reach their images, then the plug is out. */
static void power_off(struct vm *vm, const char *why)
{
	if (vm->state == VM_OFF)
		return;
	vcpu_set_pause(vm->vcpus);
	world_stop(vm->m.world, loop_member(vm->m.main));
	vm_disks_give_up(vm, true);
	devices_quiesce(vm);
	vm_disks_give_up(vm, false);
	world_resume(vm->m.world);
	__atomic_store_n(&vm->requests, 0, __ATOMIC_RELAXED);
	vm->needs_cold_start = true;
	set_state(vm, VM_OFF, why);
}

/* RAM forgets; pages go back to the host. */
static void forget_ram(struct vm *vm)
{
	struct ram_block *b = NULL;

	while ((b = mem_block_next(vm->m.mem, b))) {
		uint8_t *host = mem_block_host(b);
		uint64_t len = mem_block_len(b);

		if (strcmp(mem_block_name(b), "pc.ram") &&
		    strcmp(mem_block_name(b), "vga.vram"))
			continue;
		if (madvise(host, len, MADV_REMOVE))
			memset(host, 0, len);
		mem_block_mark(b, 0, len);
	}
}

static int cold_start(struct vm *vm, struct error *e)
{
	int r;

	forget_ram(vm);
	r = vm_reset_parts(vm, e);
	if (r)
		return r;
	vm->needs_cold_start = false;
	pthread_mutex_lock(&vm->lock);
	vm->message[0] = '\0';
	vm->started_ns = loop_now_ns();
	vm->ran_ns = 0;
	vm->exit_code = -1;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

int vm_power_cycle(struct vm *vm, int (*fn)(void *arg, struct error *e),
		   void *arg, struct error *e)
{
	bool goes_on = vm->state != VM_PAUSED;
	int r;

	vcpu_set_pause(vm->vcpus);
	/* No loop may see the old guest's queues and the new disks. */
	world_stop(vm->m.world, loop_member(vm->m.main));
	r = fn(arg, e);
	if (!r)
		r = cold_start(vm, e);
	world_resume(vm->m.world);
	__atomic_store_n(&vm->requests, 0, __ATOMIC_RELAXED);
	pthread_mutex_lock(&vm->lock);
	vm->resets++;
	vm->crashed = false;
	pthread_mutex_unlock(&vm->lock);
	if (r) {
		crash(vm, e->msg);
		return r;
	}
	if (goes_on && vm->state != VM_RUNNING)
		set_state(vm, VM_RUNNING, "");
	if (goes_on)
		vcpu_set_resume(vm->vcpus);
	return 0;
}

/* ---- what the guest asks for ---- */

void vm_machine_request(struct machine *m, enum machine_request what, int value)
{
	struct vm *vm = vm_of(m);

	if (what == MACHINE_EXIT)
		__atomic_store_n(&vm->exit_value, value, __ATOMIC_RELAXED);
	/* Release: the loop that sees the bit sees the value. */
	__atomic_fetch_or(&vm->requests, 1u << what, __ATOMIC_RELEASE);
	loop_post(m->main, &vm->request_work);
}

static void guest_reset(struct vm *vm)
{
	struct error e = {0};

	vm_event_add(vm, VM_EVENT_GUEST_RESET, 0, 0, "the guest reset itself");
	log_write(vm->log, LOG_LEVEL_INFO, vm->cfg.name,
		  "the guest reset itself");
	reset_machine(vm, true, &e);
}

static void guest_exit(struct vm *vm)
{
	int value = __atomic_load_n(&vm->exit_value, __ATOMIC_RELAXED);

	pthread_mutex_lock(&vm->lock);
	vm->exit_code = value;
	pthread_mutex_unlock(&vm->lock);
	vm_event_add(vm, VM_EVENT_EXIT_CODE, 0, value,
		     "the guest ended with code %d", value);
	power_off(vm, "the guest ended the machine");
}

void vm_on_requests(void *arg)
{
	struct vm *vm = arg;
	unsigned requests;

	/* It was paused between the guest's wish and now. */
	if (vm->state == VM_PAUSED)
		return;
	requests = __atomic_exchange_n(&vm->requests, 0, __ATOMIC_ACQUIRE);
	if (vm->state != VM_RUNNING)
		return;
	if (requests & VM_REQUEST_EXIT)
		guest_exit(vm);
	else if (requests & VM_REQUEST_POWEROFF)
		power_off(vm, "the guest powered itself off");
	else if (requests & VM_REQUEST_RESET)
		guest_reset(vm);
	else if (requests & VM_REQUEST_SLEEP)
		log_write(vm->log, LOG_LEVEL_WARN, vm->cfg.name,
			  "the guest wants to sleep, which this machine does "
			  "not offer: it stays awake");
}

/* ---- what people ask for ---- */

static int resume(struct vm *vm, struct error *e)
{
	int r;

	if (vm->state == VM_RUNNING)
		return 0;
	if (vm->state == VM_CRASHED)
		return error_set(e, -EINVAL,
				 "the guest crashed and can't go on; reset it");
	if (vm->needs_cold_start) {
		r = cold_start(vm, e);
		if (r)
			return r;
	}
	vm_disks_retry(vm);
	set_state(vm, VM_RUNNING, "");
	vcpu_set_resume(vm->vcpus);
	loop_post(vm->m.main, &vm->request_work);
	return 0;
}

static int pause_guest(struct vm *vm, struct error *e)
{
	if (vm->state == VM_PAUSED)
		return 0;
	if (vm->state != VM_RUNNING)
		return error_set(e, -EINVAL, "the machine is %s: nothing runs",
				 state_name(vm->state));
	vcpu_set_pause(vm->vcpus);
	set_state(vm, VM_PAUSED, "");
	return 0;
}

static int reset(struct vm *vm, struct error *e)
{
	int r;

	if (vm->state == VM_OFF)
		return error_set(e, -EINVAL,
				 "the machine is off; start it instead");
	r = reset_machine(vm, vm->state == VM_RUNNING, e);
	if (r || vm->state != VM_CRASHED)
		return r;
	set_state(vm, VM_RUNNING, "reset after a crash");
	vcpu_set_resume(vm->vcpus);
	return 0;
}

static int power_button(struct vm *vm, struct error *e)
{
	if (vm->state != VM_RUNNING)
		return error_set(e, -EINVAL,
				 "the machine is %s: no guest hears the power "
				 "button",
				 state_name(vm->state));
	q35_power_button(&vm->m);
	return 0;
}

/* The button's wire ends at each local APIC's LINT1 (Intel SDM 3A 11.5.1). */
static bool takes_nmi(const struct vcpu_state *state)
{
	uint32_t lint1;

	memcpy(&lint1, state->lapic.regs + 0x360, sizeof(lint1));
	return !(lint1 & 0x10000) && (lint1 & 0x700) == 0x400;
}

static int nmi(struct vm *vm, struct error *e)
{
	struct vcpu_state *state;
	int r = 0;

	if (vm->state != VM_RUNNING)
		return error_set(e, -EINVAL,
				 "the machine is %s: no guest takes an NMI",
				 state_name(vm->state));
	state = malloc(sizeof(*state));
	if (!state)
		return error_set(e, -ENOMEM, "no memory for a vCPU's state");
	vcpu_set_pause(vm->vcpus);
	for (unsigned i = 0; i < vm->cfg.cpus && !r; i++) {
		r = vcpu_state_copy(vm->vcpus, i, ACCEL_GET, state, e);
		if (r || !takes_nmi(state))
			continue;
		state->events.nmi.pending = 1;
		state->events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
		r = vcpu_state_copy(vm->vcpus, i, ACCEL_SET, state, e);
	}
	vcpu_set_resume(vm->vcpus);
	free(state);
	return r;
}

int vm_do(struct vm *vm, const struct vm_command *cmd, struct error *e)
{
	switch (cmd->kind) {
	case VM_CMD_RESUME:
		return resume(vm, e);
	case VM_CMD_PAUSE:
		return pause_guest(vm, e);
	case VM_CMD_RESET:
		return reset(vm, e);
	case VM_CMD_POWERDOWN:
		return power_button(vm, e);
	case VM_CMD_POWEROFF:
		power_off(vm, "switched off");
		return 0;
	case VM_CMD_NMI:
		return nmi(vm, e);
	case VM_CMD_CHANGE_MEDIUM:
		return vm_disk_change_medium(vm, cmd->index, cmd->text, e);
	case VM_CMD_DISK:
		return vm_disk_do(vm, cmd->index, cmd->text, e);
	case VM_CMD_CUT_POWER:
		return vm_cut_power(vm, cmd->text, e);
	}
	return error_set(e, -EINVAL, "command %d is not known", (int)cmd->kind);
}

/* ---- the display's pace ---- */

static void on_refresh(void *arg)
{
	struct vm *vm = arg;

	if (!vm->refresh_hz)
		return;
	console_refresh(vm->m.console);
	loop_timer_set(&vm->refresh_timer,
		       loop_now_ns() + 1000000000u / (unsigned)vm->refresh_hz);
}

static void on_wanted(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	uint64_t n;

	(void)events;
	if (read(vm->wanted_watch.fd, &n, sizeof(n)) != sizeof(n))
		return;
	vm->refresh_hz = console_wanted_hz(vm->m.console);
	if (vm->refresh_hz)
		loop_timer_set(&vm->refresh_timer, loop_now_ns());
	else
		loop_timer_stop(&vm->refresh_timer);
}

int vm_refresh_start(struct vm *vm, struct error *e)
{
	int r;

	loop_timer_init(&vm->refresh_timer, vm->m.main, on_refresh, vm);
	vm->wanted_watch = (struct loop_fd){
		.fd = console_wanted_fd(vm->m.console),
		.events = EPOLLIN,
		.fn = on_wanted,
		.arg = vm,
	};
	r = loop_fd_add(vm->m.main, &vm->wanted_watch);
	return r ? error_errno(e, -r, "watching the console") : 0;
}

void vm_refresh_stop(struct vm *vm)
{
	if (!vm->wanted_watch.fn)
		return;
	loop_fd_remove(vm->m.main, &vm->wanted_watch);
	loop_timer_stop(&vm->refresh_timer);
}
