/*
 * pci_internal: what the parts of the PCI module share.
 *
 * Lock order: function's lock, then host->lock, then the interrupt hub's and
 * the memory module's.  host->lock is never held across a call to a function.
 * Thread rule: as core/hw/pci.h.
 */
#ifndef CORE_HW_PCI_PCI_INTERNAL_H
#define CORE_HW_PCI_PCI_INTERNAL_H

#include "core/hw/pci.h"

#define PCI_VENDOR	0x00
#define PCI_DEVICE	0x02
#define PCI_COMMAND	0x04
#define PCI_STATUS	0x06
#define PCI_REVISION	0x08
#define PCI_CLASS	0x09
#define PCI_CACHE_LINE	0x0c
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR0	0x10
#define PCI_SUBVENDOR	0x2c
#define PCI_SUBDEVICE	0x2e
#define PCI_ROM		0x30
#define PCI_CAP_PTR	0x34
#define PCI_IRQ_LINE	0x3c
#define PCI_IRQ_PIN	0x3d
#define PCI_HEADER_LEN	0x40

#define PCI_COMMAND_IO	     0x0001
#define PCI_COMMAND_MEM	     0x0002
#define PCI_COMMAND_MASTER   0x0004
#define PCI_COMMAND_INTX_OFF 0x0400
#define PCI_STATUS_INTX	     0x0008
#define PCI_STATUS_CAPS	     0x0010
#define PCI_MULTIFUNCTION    0x80
#define PCI_ROM_ENABLE	     0x1

#define MSIX_CAP_ID	 0x11
#define MSIX_ENABLE	 0x8000
#define MSIX_MASK_ALL	 0x4000
#define MSIX_VECTOR_MASK 0x1
#define MSIX_PBA_OFF	 0x800
#define MSIX_LEN	 0x1000

#define PCI_UNMAPPED UINT64_MAX

static inline uint16_t pci_get16(const uint8_t *p)
{
	return p[0] | p[1] << 8;
}

static inline uint32_t pci_get32(const uint8_t *p)
{
	return pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16;
}

static inline void pci_put16(uint8_t *p, uint16_t v)
{
	p[0] = v;
	p[1] = v >> 8;
}

static inline void pci_put32(uint8_t *p, uint32_t v)
{
	pci_put16(p, v);
	pci_put16(p + 2, v >> 16);
}

/* Joins the bus at devfn (-1: the next free slot); returns the devfn or
 * -errno. */
int pci_host_join(struct pci_host *host, struct pci_dev *d, int devfn,
		  struct error *e);
void pci_host_leave(struct pci_host *host, struct pci_dev *d);
/* One function's pin changed; [any], takes host->lock. */
void pci_host_pin(struct pci_host *host, uint8_t devfn, bool level);

/* Under the function's lock (or in create): decode the BARs anew. */
void pci_bars_update(struct pci_dev *d);
void pci_bars_fini(struct pci_dev *d);

/* Under the function's lock: after its control word changed; after its BAR
 * moved; to power-on; after load. */
void pci_msix_control(struct pci_dev *d);
void pci_msix_place(struct pci_dev *d);
void pci_msix_reset(struct pci_dev *d);
void pci_msix_loaded(struct pci_dev *d);
void pci_msix_fini(struct pci_dev *d);
/* Under the function's lock: the message is what config space says. */
void pci_msi_update(struct pci_dev *d);
void pci_msi_fini(struct pci_dev *d);

#endif
