#include "core/hw/classes.h"

#include <string.h>

#include "core/device.h"

extern const struct device_class q35_mch_class, ich9_lpc_class;
extern const struct device_class rtc_class, i8042_class, serial_class;
extern const struct device_class debugcon_class, debug_exit_class;
extern const struct device_class fw_cfg_class;
extern const struct device_class vga_class, option_rom_class;
extern const struct device_class nvme_class;
extern const struct device_class virtio_blk_class, virtio_rng_class;
extern const struct device_class virtio_scsi_class;
extern const struct device_class scsi_disk_class, scsi_cdrom_class;
extern const struct device_class sdhci_class, sd_card_class;
extern const struct device_class virtio_keyboard_class, virtio_tablet_class;
extern const struct device_class ahci_class, piix_ide_class;
extern const struct device_class ata_disk_class, atapi_cdrom_class;

static const struct device_class *const classes[] = {
	&q35_mch_class,		/* host bridge */
	&ich9_lpc_class,	/* ISA bridge, power management */
	&rtc_class,		/* clock and CMOS */
	&i8042_class,		/* PS/2 keyboard and mouse */
	&serial_class,		/* COM ports */
	&fw_cfg_class,		/* configuration for firmware */
	&debugcon_class,	/* firmware's debug output */
	&debug_exit_class,	/* a test guest's exit code */
	&vga_class,		/* display */
	&option_rom_class,	/* a ROM on a function of its own */
	&ahci_class,		/* SATA controller */
	&piix_ide_class,	/* IDE controller */
	&ata_disk_class,	/* disk behind either */
	&atapi_cdrom_class,	/* CD-ROM drive behind either */
	&nvme_class,		/* disk */
	&virtio_blk_class,	/* disk */
	&virtio_scsi_class,	/* SCSI controller */
	&scsi_disk_class,	/* disk behind it */
	&scsi_cdrom_class,	/* CD-ROM drive behind it */
	&sdhci_class,		/* SD host controller */
	&sd_card_class,		/* card in its slot */
	&virtio_rng_class,	/* entropy */
	&virtio_keyboard_class, /* keyboard */
	&virtio_tablet_class,	/* absolute pointer */
};

/* The i-th class, NULL past the last. */
static const struct device_class *class_at(size_t i)
{
	return i < sizeof(classes) / sizeof(classes[0]) ? classes[i] : NULL;
}

const struct device_class *device_class_find(const char *name)
{
	const struct device_class *cls;

	for (size_t i = 0; (cls = class_at(i)); i++)
		if (!strcmp(cls->name, name))
			return cls;
	return NULL;
}
