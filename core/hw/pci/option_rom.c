/* A PCI function that carries nothing but an expansion ROM. */
#include <errno.h>

#include "core/error.h"
#include "core/hw/pci.h"
#include "core/migration/state.h"

extern const struct device_class option_rom_class;

static int option_rom_create(struct device *dev, const struct device_args *args,
			     struct error *e)
{
	/* Red Hat's test device id; class: other system peripheral. */
	static const struct pci_ids ids = {
		.vendor = 0x1b36,
		.device = 0x0005,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x088000,
	};
	struct pci_dev *d = (struct pci_dev *)dev;
	int r;

	if (!args->rom || !*args->rom)
		return error_set(e, -EINVAL, "no ROM file was named");
	r = pci_dev_init(d, args, &ids, e);
	if (r)
		return r;
	r = pci_rom_load(d, args->rom, e);
	if (r)
		pci_dev_fini(d);
	return r;
}

static void option_rom_destroy(struct device *dev)
{
	pci_dev_fini((struct pci_dev *)dev);
}

static void option_rom_reset(struct device *dev)
{
	pthread_mutex_lock(&dev->lock);
	pci_dev_reset((struct pci_dev *)dev);
	pthread_mutex_unlock(&dev->lock);
}

static int option_rom_loaded(struct device *dev, struct error *e)
{
	(void)e;
	pci_dev_loaded((struct pci_dev *)dev);
	return 0;
}

static const struct state_field fields[] = {
	{
		.name = "pci",
		.type = STATE_STRUCT,
		.count = 1,
		.since = 1,
		.desc = &pci_dev_state,
	},
};

static const struct state_desc option_rom_state = {
	.name = "option-rom",
	.version = 1,
	.oldest = 1,
	.fields = fields,
	.nr_fields = 1,
};

const struct device_class option_rom_class = {
	.name = "option-rom",
	.summary = "PCI function with an expansion ROM",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct pci_dev),
	.create = option_rom_create,
	.destroy = option_rom_destroy,
	.reset = option_rom_reset,
	.state = &option_rom_state,
	.loaded = option_rom_loaded,
};
