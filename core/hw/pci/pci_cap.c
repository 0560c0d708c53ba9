/* Capabilities of a function: the list, and PCI Express. */
#include <string.h>

#include "core/hw/pci.h"

#define CAP_PTR	       0x34
#define STATUS	       0x06
#define STATUS_CAPS    0x10
#define CAP_ID_EXPRESS 0x10
#define EXPRESS_LEN    0x3c

unsigned pci_cap_add(struct pci_dev *d, uint8_t id, unsigned len)
{
	unsigned off = d->next_cap;

	d->config[off] = id;
	d->config[off + 1] = d->config[CAP_PTR];
	d->config[CAP_PTR] = off;
	d->config[STATUS] |= STATUS_CAPS;
	d->next_cap = (off + len + 3) & ~3u;
	return off;
}

/* PCI Express Base 3.0, 7.8: version 2, type 9 (root complex integrated
 * endpoint), which has no link of its own. */
void pci_cap_express(struct pci_dev *d)
{
	unsigned off = pci_cap_add(d, CAP_ID_EXPRESS, EXPRESS_LEN);
	uint8_t *c = d->config + off;

	c[2] = 0x92;		  /* version 2, type 9 */
	c[5] = 0x80;		  /* role-based error reporting */
	d->wmask[off + 8] = 0xff; /* device control */
	d->wmask[off + 9] = 0x7f;
	d->w1c[off + 10] = 0x0f; /* device status */
}
