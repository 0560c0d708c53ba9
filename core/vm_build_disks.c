/* Disks, their drives and I/O loops, and the controllers that they sit on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/drive.h"
#include "core/hw/isa/fw_cfg.h"
#include "core/hw/pci.h"
#include "core/vm_disk_bus.h"
#include "core/vm_internal.h"

/* The controller that the next disk of a bus goes to. */
struct place {
	struct device *controller;
	struct loop *io;
	unsigned nr_controllers, unit;
};

static struct loop *add_loop(struct vm *vm, const char *name, struct error *e)
{
	struct loop *io = loop_create(name, vm->m.world, e);

	if (io)
		vm->disk_loops[vm->nr_disk_loops++] = io;
	return io;
}

static int open_drive(struct vm *vm, unsigned i, struct loop *io,
		      struct error *e)
{
	const struct vm_disk_config *cfg = &vm->cfg.disks[i];
	struct vm_disk *disk = &vm->disks[i];
	struct drive_config dc = {
		.path = cfg->path,
		.format = cfg->format,
		.preset_asked = *cfg->cache != '\0',
		.readonly = cfg->readonly || cfg->cdrom,
		.scratch = cfg->scratch,
		.is_volatile = cfg->is_volatile,
		.cache_len = cfg->cache_len,
		.max_unflushed_ns = cfg->max_unflushed_s * 1000000000ull,
		.backing_folders = getenv("BINNACLE_BACKING_FOLDERS"),
	};
	int r = drive_preset_parse(cfg->cache, &dc.preset, e);

	if (!r)
		r = drive_aio_parse(cfg->aio, &dc.aio, e);
	if (!r)
		r = vm_disk_error_choices(cfg, &dc, e);
	if (r)
		return r;
	vm->nr_disks = i + 1;
	memcpy(disk->path, cfg->path, sizeof(disk->path));
	disk->drive = drive_open(io, &dc, vm->log, e);
	if (!disk->drive)
		return -EIO;
	vm_disk_listen(vm, i);
	return 0;
}

static int add_controller(struct vm *vm, const struct vm_disk_bus *bus,
			  struct place *p, struct error *e)
{
	struct device_args args = {.devfn =
					   p->nr_controllers ? -1 : bus->devfn};
	char name[sizeof(args.name)];

	if (bus->controllers && p->nr_controllers == bus->controllers)
		return error_set(e, -ENOSPC, "the %s bus takes %u disks",
				 bus->name, bus->controllers * bus->units);
	snprintf(name, sizeof(name), p->nr_controllers ? "%s%u" : "%s",
		 bus->name, p->nr_controllers);
	p->io = args.io = add_loop(vm, name, e);
	p->controller =
		p->io ? vm_add_device(vm, bus->controller, name, &args, e)
		      : NULL;
	if (!p->controller)
		return -EIO;
	p->nr_controllers++;
	p->unit = 0;
	return 0;
}

static void name_for_firmware(struct vm_disk *disk,
			      const struct vm_disk_bus *bus,
			      const struct device *dev, unsigned unit)
{
	const struct device *function = bus->controller ? dev->parent : dev;
	unsigned devfn =
		((const struct pci_dev *)(const void *)function)->devfn;
	size_t room = sizeof(disk->boot_path);
	int n = snprintf(disk->boot_path, room, "/pci@i0cf8/disk@%x",
			 devfn >> 3);

	if (devfn & 7)
		n += snprintf(disk->boot_path + n, room - n, ",%x", devfn & 7);
	if (bus->path)
		snprintf(disk->boot_path + n, room - n, bus->path,
			 unit / bus->per_channel, unit % bus->per_channel);
}

static int add_disk(struct vm *vm, unsigned i, const struct vm_disk_bus *bus,
		    struct place *p, struct error *e)
{
	const struct vm_disk_config *cfg = &vm->cfg.disks[i];
	struct vm_disk *disk = &vm->disks[i];
	struct device_args args = {.devfn = -1, .is_cdrom = cfg->cdrom};
	struct device *dev;
	int r = 0;

	snprintf(disk->name, sizeof(disk->name), "%s%u",
		 cfg->cdrom ? "cdrom" : "disk", i);
	if (!bus->controller) {
		args.io = add_loop(vm, disk->name, e);
		r = args.io ? 0 : -EIO;
	} else {
		if (!p->controller || p->unit == bus->units)
			r = add_controller(vm, bus, p, e);
		args.io = p->io;
		args.parent = p->controller;
		args.unit = p->unit++;
	}
	if (!r)
		r = open_drive(vm, i, args.io, e);
	if (r)
		return r;
	args.drive = disk->drive;
	dev = vm_add_device(vm, cfg->cdrom ? bus->cdrom : bus->disk, disk->name,
			    &args, e);
	if (!dev)
		return -EIO;
	name_for_firmware(disk, bus, dev, args.unit);
	return 0;
}

/* Controllers come first: where they sit does not depend on the disks. */
static int add_first_controllers(struct vm *vm, struct place *places,
				 struct error *e)
{
	const struct vm_disk_bus *bus;
	int r = 0;

	for (size_t b = 0; (bus = vm_disk_bus_at(b)) && !r; b++) {
		bool wanted = false;

		for (unsigned i = 0; i < vm->cfg.nr_disks; i++)
			wanted |= vm_disk_bus_of(&vm->cfg.disks[i], e) == bus;
		if (wanted && bus->controller)
			r = add_controller(vm, bus, &places[b], e);
	}
	return r;
}

int vm_build_disks(struct vm *vm, struct error *e)
{
	struct place places[VM_MAX_DISKS] = {0};
	int r = add_first_controllers(vm, places, e);

	for (unsigned i = 0; i < vm->cfg.nr_disks && !r; i++) {
		const struct vm_disk_bus *bus =
			vm_disk_bus_of(&vm->cfg.disks[i], e);

		r = bus ? add_disk(vm, i, bus, &places[bus - vm_disk_bus_at(0)],
				   e)
			: -EINVAL;
		if (r)
			error_prefix(e, r, "disk %u", i);
	}
	return r;
}

int vm_add_boot_order(struct vm *vm, const char *order, struct error *e)
{
	char text[VM_MAX_DISKS * sizeof(vm->disks[0].boot_path)] = "";
	size_t len = 0;

	for (; *order; order++)
		for (unsigned i = 0; i < vm->nr_disks; i++)
			if (vm->cfg.disks[i].cdrom == (*order == 'd'))
				len += snprintf(text + len, sizeof(text) - len,
						"%s%s", len ? "\n" : "",
						vm->disks[i].boot_path);
	if (!len)
		return 0;
	return fw_cfg_add_file(vm->m.fw_cfg, "bootorder", text, len + 1, e);
}
