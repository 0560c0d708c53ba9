/* The host bridge at 00:00.0: ECAM's place and the shadow of the firmware. */
#include <errno.h>
#include <string.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/chipset/pam.h"
#include "core/hw/chipset/q35.h"
#include "core/hw/pci.h"
#include "core/migration/state.h"

#define MCH_PCIEXBAR 0x60
#define MCH_PAM0     0x90
#define MCH_SMRAM    0x9d
#define MCH_ESMRAMC  0x9e

#define SMRAM_DEFAULT	0x02
#define ESMRAMC_DEFAULT 0x38

struct mch {
	struct pci_dev pci;
	struct pam pam;
	uint32_t config_address; /* only while state is saved or loaded */
};

static uint64_t config_get64(const struct mch *s, unsigned off)
{
	uint64_t v;

	memcpy(&v, s->pci.config + off, 8);
	return v;
}

static void ecam_apply(struct mch *s)
{
	static const uint64_t lens[] = {256ull << 20, 128ull << 20,
					64ull << 20};
	uint64_t bar = config_get64(s, MCH_PCIEXBAR);
	unsigned kind = bar >> 1 & 3;
	uint64_t len = kind < 3 ? lens[kind] : 0;
	uint64_t base = bar & 0xfffffffffull & ~(len - 1);

	if (!len || !(bar & 1) || !base)
		pci_host_ecam_set(s->pci.host, 0, 0, false);
	else
		pci_host_ecam_set(s->pci.host, base, len, true);
}

static void mch_config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct mch *s = (struct mch *)d;

	if (off < MCH_PCIEXBAR + 8 && off + len > MCH_PCIEXBAR)
		ecam_apply(s);
	if (off < MCH_PAM0 + PAM_NR_REGS && off + len > MCH_PAM0)
		pam_apply(&s->pam, d->config + MCH_PAM0);
}

static void masks_init(struct pci_dev *d)
{
	static const uint8_t bar_mask[8] = {0x07, 0, 0, 0xfc, 0x0f, 0, 0, 0};

	memcpy(d->wmask + MCH_PCIEXBAR, bar_mask, 8);
	d->wmask[MCH_PAM0] = 0x30;
	memset(d->wmask + MCH_PAM0 + 1, 0x33, PAM_NR_REGS - 1);
}

static void mch_destroy(struct device *dev)
{
	struct mch *s = (struct mch *)dev;

	pam_fini(&s->pam);
	pci_dev_fini(&s->pci);
	pci_host_destroy(dev->m->pci);
	dev->m->pci = NULL;
}

static int mch_create(struct device *dev, const struct device_args *args,
		      struct error *e)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x29c0,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x060000,
	};
	struct mch *s = (struct mch *)dev;
	struct device_args place = *args;
	int r;

	dev->m->pci = pci_host_create(dev->m, e);
	if (!dev->m->pci)
		return -ENOMEM;
	place.devfn = 0;
	r = pci_dev_init(&s->pci, &place, &ids, e);
	if (!r)
		r = pam_init(&s->pam, dev->m->mem, e);
	if (r) {
		mch_destroy(dev);
		return r;
	}
	masks_init(&s->pci);
	s->pci.config[MCH_SMRAM] = SMRAM_DEFAULT;
	s->pci.config[MCH_ESMRAMC] = ESMRAMC_DEFAULT;
	s->pci.config_written = mch_config_written;
	return 0;
}

static void mch_follow(struct mch *s)
{
	ecam_apply(s);
	pam_apply(&s->pam, s->pci.config + MCH_PAM0);
}

static void mch_reset(struct device *dev)
{
	struct mch *s = (struct mch *)dev;

	pthread_mutex_lock(&dev->lock);
	pci_dev_reset(&s->pci);
	pci_host_set_address(s->pci.host, 0);
	mch_follow(s);
	pthread_mutex_unlock(&dev->lock);
}

static void mch_pre_save(void *obj)
{
	struct mch *s = obj;

	s->config_address = pci_host_address(s->pci.host);
}

static const struct state_field mch_fields[] = {
	STATE_STRUCTS(struct mch, pci, 1, &pci_dev_state),
	STATE_FIELD(struct mch, config_address),
};

static const struct state_desc mch_state = {
	.name = "q35-mch",
	.version = 1,
	.oldest = 1,
	.fields = mch_fields,
	.nr_fields = sizeof(mch_fields) / sizeof(mch_fields[0]),
	.pre_save = mch_pre_save,
};

static int mch_loaded(struct device *dev, struct error *e)
{
	struct mch *s = (struct mch *)dev;

	(void)e;
	pci_host_set_address(s->pci.host, s->config_address);
	pci_dev_loaded(&s->pci);
	mch_follow(s);
	return 0;
}

const struct device_class q35_mch_class = {
	.name = "q35-mch",
	.summary = "Q35 host bridge: PCI Express, memory map of the firmware",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct mch),
	.create = mch_create,
	.destroy = mch_destroy,
	.reset = mch_reset,
	.state = &mch_state,
	.loaded = mch_loaded,
};
