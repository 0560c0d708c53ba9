/* MSI: PCI 3.0, 6.8.1; one message of 64-bit address, without a mask. */
#include "core/hw/pci/pci_internal.h"

#define MSI_CAP_ID  0x05
#define MSI_LEN	    14
#define MSI_CONTROL 2
#define MSI_ADDR    4
#define MSI_DATA    12
#define MSI_ENABLE  0x01
#define MSI_64	    0x80

void pci_msi_init(struct pci_dev *d)
{
	unsigned cap = pci_cap_add(d, MSI_CAP_ID, MSI_LEN);

	d->config[cap + MSI_CONTROL] = MSI_64;
	d->wmask[cap + MSI_CONTROL] = MSI_ENABLE;
	pci_put32(d->wmask + cap + MSI_ADDR, ~3u);
	pci_put32(d->wmask + cap + MSI_ADDR + 4, UINT32_MAX);
	pci_put16(d->wmask + cap + MSI_DATA, UINT16_MAX);
	d->msi.cap = cap;
	/* Without a route of its own it is sent message by message. */
	irq_msi_init(&d->msi.msi, d->dev.m->irq);
}

bool pci_msi_enabled(const struct pci_dev *d)
{
	return d->msi.cap && (d->config[d->msi.cap + MSI_CONTROL] & MSI_ENABLE);
}

void pci_msi_fire(struct pci_dev *d)
{
	if (pci_msi_enabled(d))
		irq_msi_fire(&d->msi.msi);
}

void pci_msi_update(struct pci_dev *d)
{
	const uint8_t *c = d->config + d->msi.cap;

	if (!d->msi.cap)
		return;
	irq_msi_set(&d->msi.msi,
		    pci_get32(c + MSI_ADDR) |
			    (uint64_t)pci_get32(c + MSI_ADDR + 4) << 32,
		    pci_get16(c + MSI_DATA), pci_msi_enabled(d));
}

void pci_msi_fini(struct pci_dev *d)
{
	if (d->msi.cap)
		irq_msi_fini(&d->msi.msi);
	d->msi.cap = 0;
}
