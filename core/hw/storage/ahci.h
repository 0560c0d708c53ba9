/*
 * ahci: how a drive finds the port it sits on.
 *
 * Thread rule: main loop, before the machine starts or with the world stopped.
 */
#ifndef CORE_HW_STORAGE_AHCI_H
#define CORE_HW_STORAGE_AHCI_H

struct ata_dev;
struct device;
struct error;

#define AHCI_NR_PORTS 6

/* Plugs d into port d->unit of the controller; 0, or -errno with the reason
 * (no such port, taken, not an AHCI controller). */
int ahci_attach(struct device *controller, struct ata_dev *d, struct error *e);
/* Unplugs; nothing may be in flight.  A drive that isn't plugged is fine. */
void ahci_detach(struct ata_dev *d);

#endif
