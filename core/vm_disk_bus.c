#include "core/vm_disk_bus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/vm.h"

/* The first that has the kind is the usual one. */
static const struct vm_disk_bus buses[] = {
	{
		.name = "virtio",
		.about = "virtio-blk, a function for each disk",
		.disk = "virtio-blk-pci",
	},
	{
		.name = "ahci",
		.about = "SATA behind AHCI, 6 units to a controller",
		.disk = "ata-disk",
		.cdrom = "atapi-cdrom",
		.controller = "ahci",
		.units = 6,
		.devfn = (0x1f << 3) | 2,
		.path = "/drive@%x/disk@%x",
		.per_channel = 1,
	},
	{
		.name = "ide",
		.about = "IDE as in a PIIX4, four places, for old guests",
		.disk = "ata-disk",
		.cdrom = "atapi-cdrom",
		.controller = "piix-ide",
		.units = 4,
		.controllers = 1, /* the ports of a PC are there once */
		.devfn = (0x1f << 3) | 1,
		.path = "/drive@%x/disk@%x",
		.per_channel = 2,
	},
	{
		.name = "scsi",
		.about = "virtio-scsi, 16 units to a controller",
		.disk = "scsi-disk",
		.cdrom = "scsi-cdrom",
		.controller = "virtio-scsi-pci",
		.units = 16,
		.devfn = -1,
		.path = "/channel@0/disk@%x,%x",
		.per_channel = 1,
	},
	{
		.name = "nvme",
		.about = "NVMe, a controller for each disk",
		.disk = "nvme",
	},
	{
		.name = "sd",
		.about = "an SD card, a controller for each",
		.disk = "sd-card",
		.controller = "sdhci-pci",
		.units = 1,
		.devfn = -1,
	},
};

const struct vm_disk_bus *vm_disk_bus_at(size_t i)
{
	return i < sizeof(buses) / sizeof(buses[0]) ? &buses[i] : NULL;
}

static const char *class_of(const struct vm_disk_bus *b,
			    const struct vm_disk_config *d)
{
	return d->cdrom ? b->cdrom : b->disk;
}

static void refuse(const struct vm_disk_config *d, struct error *e)
{
	const struct vm_disk_bus *b;
	char names[120];
	size_t len = 0;

	for (size_t i = 0; (b = vm_disk_bus_at(i)); i++)
		if (class_of(b, d))
			len += snprintf(names + len, sizeof(names) - len,
					"%s%s", len ? ", " : "", b->name);
	error_set(e, -EINVAL, "there is no bus '%s' for a %s; allowed: %s",
		  d->bus, d->cdrom ? "CD-ROM drive" : "disk", names);
}

const struct vm_disk_bus *vm_disk_bus_of(const struct vm_disk_config *d,
					 struct error *e)
{
	const struct vm_disk_bus *b;

	for (size_t i = 0; (b = vm_disk_bus_at(i)); i++)
		if (class_of(b, d) && (!*d->bus || !strcmp(b->name, d->bus)))
			return b;
	refuse(d, e);
	return NULL;
}

const char *vm_disk_usual_bus(bool cdrom)
{
	struct vm_disk_config any = {.cdrom = cdrom};

	return vm_disk_bus_of(&any, NULL)->name;
}

const char *vm_disk_bus_help(unsigned i, char *text)
{
	const struct vm_disk_bus *b = vm_disk_bus_at(i);

	if (!b)
		return NULL;
	snprintf(text, 128, "%-7s %-18s %s", b->name,
		 b->cdrom ? "disks and CD-ROMs" : "disks", b->about);
	return text;
}
