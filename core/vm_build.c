/* Putting a machine together, and taking it apart. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/blk/drive.h"
#include "core/bus.h"
#include "core/console.h"
#include "core/hw/acpi/acpi.h"
#include "core/hw/chipset/q35.h"
#include "core/hw/classes.h"
#include "core/hw/isa/fw_cfg.h"
#include "core/hw/isa/isa.h"
#include "core/irq.h"
#include "core/kvm.h"
#include "core/vcpu.h"
#include "core/vm_internal.h"
#include "core/world.h"

#define SEABIOS	     "/usr/share/seabios/bios-256k.bin"
#define FIRMWARE_MIN 0x20000u
#define FIRMWARE_MAX 0x800000u
/* The firmware waits that long for Esc, by timer ticks: those that it was too
 * busy to take come in a burst, so a slow host leaves only a part of it. */
#define BOOT_MENU_MS 2500
#define GIB_4	     (1ull << 32)

/* ---- services ---- */

static int build_services(struct vm *vm, struct error *e)
{
	struct machine *m = &vm->m;
	char name[16];

	m->log = vm->log;
	m->nr_vcpus = vm->cfg.cpus;
	m->request = vm_machine_request;
	m->accel = &kvm_accel;
	m->world = world_create();
	m->console = console_create();
	vm->com1 = serial_line_create("COM1");
	if (!m->world || !m->console || !vm->com1)
		return error_set(e, -ENOMEM, "no memory for a machine");
	snprintf(name, sizeof(name), "%.15s", vm->cfg.name);
	m->main = loop_create(name, m->world, e);
	if (!m->main)
		return -EIO;
	m->accel_vm = m->accel->vm_create(vm->cfg.cpus, e);
	if (!m->accel_vm)
		return -EIO;
	m->mem = mem_create(m->accel, m->accel_vm, m->world, m->log, e);
	if (!m->mem)
		return -ENOMEM;
	m->bus = bus_create(m->mem);
	if (!m->bus)
		return error_set(e, -ENOMEM, "no memory for the bus");
	m->irq = irq_hub_create(m->accel, m->accel_vm, e);
	return m->irq ? 0 : -EIO;
}

/* ---- memory ---- */

static void add_region(struct vm *vm, struct region *r, const char *name,
		       gpa_t gpa, uint64_t len, struct ram_block *block,
		       uint64_t off)
{
	*r = (struct region){
		.kind = REGION_RAM,
		.gpa = gpa,
		.len = len,
		.enabled = true,
		.block = block,
		.block_off = off,
	};
	snprintf(r->name, sizeof(r->name), "%s", name);
	mem_region_add(vm->m.mem, r);
}

static int build_ram(struct vm *vm, struct error *e)
{
	struct machine *m = &vm->m;
	uint64_t len = vm->cfg.mem;

	vm->ram = mem_block_create(m->mem, "pc.ram", len, e);
	if (!vm->ram)
		return -ENOMEM;
	m->ram_below_4g =
		len < Q35_MAX_RAM_BELOW_4G ? len : Q35_MAX_RAM_BELOW_4G;
	m->ram_above_4g = len - m->ram_below_4g;
	add_region(vm, &vm->low, "ram-low", 0, m->ram_below_4g, vm->ram, 0);
	if (m->ram_above_4g)
		add_region(vm, &vm->high, "ram-high", GIB_4, m->ram_above_4g,
			   vm->ram, m->ram_below_4g);
	return 0;
}

static int read_all(int fd, uint8_t *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, buf + got, len - got);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			return -EIO;
		if (n > 0)
			got += (size_t)n;
	}
	return 0;
}

/* The image ends at 4 GiB; the chipset shows its end below 1 MiB too. */
static int build_firmware(struct vm *vm, struct error *e)
{
	const char *path = *vm->cfg.firmware ? vm->cfg.firmware : SEABIOS;
	int r, fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t len;
	struct stat st;

	if (fd < 0)
		return error_errno(e, errno,
				   "opening the firmware '%s' (Debian's "
				   "package seabios has one)",
				   path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    st.st_size < FIRMWARE_MIN || st.st_size > FIRMWARE_MAX ||
	    st.st_size % 0x10000) {
		close(fd);
		return error_set(e, -EINVAL,
				 "firmware '%s' is not an image of 128 KiB to "
				 "8 MiB in steps of 64 KiB",
				 path);
	}
	len = (uint64_t)st.st_size;
	vm->rom = mem_block_create(vm->m.mem, "pc.rom", len, e);
	r = vm->rom ? read_all(fd, mem_block_host(vm->rom), len) : -ENOMEM;
	close(fd);
	if (r)
		return vm->rom ? error_errno(e, -r, "reading the firmware '%s'",
					     path)
			       : r;
	add_region(vm, &vm->flash, "flash", GIB_4 - len, len, vm->rom, 0);
	mem_region_set(vm->m.mem, &vm->flash, GIB_4 - len, REGION_ROM, true);
	return 0;
}

/* ---- devices ---- */

struct device *vm_add_device(struct vm *vm, const char *cls, const char *name,
			     struct device_args *args, struct error *e)
{
	const struct device_class *c = device_class_find(cls);
	struct device_args none = {.devfn = -1};

	if (!c) {
		error_set(e, -ENODEV, "this program has no device '%s'", cls);
		return NULL;
	}
	if (!args)
		args = &none;
	snprintf(args->name, sizeof(args->name), "%s", name);
	return device_create(&vm->m, c, args, e);
}

static int build_board(struct vm *vm, struct error *e)
{
	struct device_args com1 = {.devfn = -1, .line = vm->com1};
	struct device_args lpc = {.devfn = 0x1f << 3};
	struct device_args mch = {.devfn = 0};

	if (!vm_add_device(vm, "q35-mch", "mch", &mch, e) ||
	    !vm_add_device(vm, "ich9-lpc", "lpc", &lpc, e) ||
	    !vm_add_device(vm, "rtc", "rtc", NULL, e) ||
	    !vm_add_device(vm, "i8042", "i8042", NULL, e) ||
	    !vm_add_device(vm, "serial", "serial0", &com1, e))
		return -EIO;
	if (vm->rom &&
	    (!vm_add_device(vm, "fw_cfg", "fw_cfg", NULL, e) ||
	     !vm_add_device(vm, "isa-debugcon", "firmware", NULL, e)))
		return -EIO;
	if (vm->cfg.debug_exit &&
	    !vm_add_device(vm, "isa-debug-exit", "debug-exit", NULL, e))
		return -EIO;
	return 0;
}

static int build_extras(struct vm *vm, struct error *e)
{
	/* Without firmware nobody would run a video BIOS. */
	struct device_args vga = {.devfn = -1, .rom = vm->rom ? NULL : ""};
	struct device_args rom = {.devfn = -1, .rom = vm->cfg.option_rom};

	if (vm->cfg.vga && !vm_add_device(vm, "vga", "vga", &vga, e))
		return -EIO;
	if (vm->cfg.tablet &&
	    (!vm_add_device(vm, "virtio-keyboard-pci", "keyboard", NULL, e) ||
	     !vm_add_device(vm, "virtio-tablet-pci", "tablet", NULL, e)))
		return -EIO;
	if (vm->cfg.rng && !vm_add_device(vm, "virtio-rng-pci", "rng", NULL, e))
		return -EIO;
	if (*vm->cfg.option_rom &&
	    !vm_add_device(vm, "option-rom", "option-rom", &rom, e))
		return -EIO;
	return 0;
}

/* ---- all of it ---- */

static int start_loops(struct vm *vm, struct error *e)
{
	int r = 0;

	for (unsigned i = 0; i < vm->nr_disk_loops && !r; i++)
		r = loop_start(vm->disk_loops[i], e);
	return r ? r : loop_start(vm->m.main, e);
}

static int build_engine(struct vm *vm, struct error *e)
{
	struct machine *m = &vm->m;

	vm->vcpus = vcpu_set_create(m->accel, m->accel_vm, m->world, m->bus,
				    vm->cfg.cpus, vm_vcpu_crashed, vm, e);
	if (!vm->vcpus)
		return -EIO;
	if (!m->accel->fast)
		return 0;
	return m->accel->fast->chipset_state(m->accel_vm, ACCEL_GET,
					     &vm->power_on, e);
}

/* What it finds in CMOS memory and fw_cfg. */
static int tell_firmware(struct vm *vm, struct error *e)
{
	const char *order = *vm->cfg.boot_order ? vm->cfg.boot_order : "cd";
	int r = fw_cfg_add_machine(&vm->m, BOOT_MENU_MS, e);

	rtc_set_boot_order(&vm->m, order);
	if (!r)
		r = vm_add_boot_order(vm, order, e);
	return r ? r : acpi_add_files(&vm->m, e);
}

int vm_build(struct vm *vm, struct error *e)
{
	int r = build_services(vm, e);

	if (!r)
		r = build_ram(vm, e);
	if (!r && !*vm->cfg.kernel)
		r = build_firmware(vm, e);
	if (!r)
		r = build_board(vm, e);
	if (!r)
		r = build_extras(vm, e);
	if (!r)
		r = vm_build_disks(vm, e);
	if (r)
		return r;
	if (vm->rom)
		r = tell_firmware(vm, e);
	if (r)
		return r;
	bus_commit(vm->m.bus, NULL);
	r = build_engine(vm, e);
	if (!r)
		r = vm_reset_parts(vm, e);
	if (!r)
		r = vm_refresh_start(vm, e);
	return r ? r : start_loops(vm, e);
}

/* ---- taking it apart ---- */

static void destroy_devices(struct machine *m)
{
	/* The last made goes first: a disk before its controller. */
	while (m->devices) {
		struct device *last = m->devices;

		while (last->next)
			last = last->next;
		device_destroy(last);
	}
}

/* On the main loop: nothing of the guest runs when it returns. */
static void halt(void *arg)
{
	struct vm *vm = arg;
	struct machine *m = &vm->m;

	if (vm->vcpus)
		vcpu_set_pause(vm->vcpus);
	/* What the guest still asks for comes too late. */
	pthread_mutex_lock(&vm->lock);
	vm->state = VM_OFF;
	pthread_mutex_unlock(&vm->lock);
	vm_refresh_stop(vm);
	world_stop(m->world, loop_member(m->main));
	vm_disks_give_up(vm, true);
	for (struct device *dev = m->devices; dev; dev = dev->next)
		if (dev->cls->quiesce)
			dev->cls->quiesce(dev);
	destroy_devices(m);
	for (unsigned i = 0; i < vm->nr_disks; i++) {
		drive_close(vm->disks[i].drive);
		vm->disks[i].drive = NULL;
	}
	if (m->mem) {
		mem_region_remove(m->mem, &vm->low);
		mem_region_remove(m->mem, &vm->high);
		mem_region_remove(m->mem, &vm->flash);
	}
	if (m->bus)
		bus_commit(m->bus, loop_member(m->main));
	world_resume(m->world);
}

void vm_unbuild(struct vm *vm)
{
	struct machine *m = &vm->m;

	if (m->main)
		loop_call(m->main, halt, vm);
	vcpu_set_destroy(vm->vcpus);
	for (unsigned i = 0; i < vm->nr_disk_loops; i++)
		loop_destroy(vm->disk_loops[i]);
	loop_destroy(m->main);
	irq_hub_destroy(m->irq);
	bus_destroy(m->bus);
	mem_destroy(m->mem);
	if (m->accel_vm)
		m->accel->vm_destroy(m->accel_vm);
	serial_line_destroy(vm->com1);
	console_destroy(m->console);
	world_destroy(m->world);
}
