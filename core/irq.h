/*
 * irq: interrupt lines and messages, from a device to the guest.
 *
 * A line is a GSI of the PC: 0-15 reach the PICs and the IOAPIC, 16-23 the
 * IOAPIC only.  Several devices may share a GSI: it is high while any of them
 * holds it high.  A message is an address and data that PCI MSI or MSI-X
 * would write; bound to an eventfd it reaches the guest without this process
 * looking at it again (KVM's irqfd).
 *
 * Thread rule: everything is [any]; irq_set by one thread at a time per source
 * (its device's lock does it).
 */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct accel_ops;
struct accel_vm;
struct error;
struct irq_hub;

/* One device's hold on a line; embedded by the device. */
struct irq {
	struct irq_hub *hub;
	unsigned gsi;
	bool level;
	uint64_t raised; /* low-to-high changes so far, for the panels */
};

/* One message; embedded by the device (pci.h fills it). */
struct irq_msi {
	struct irq_hub *hub;
	int eventfd;  /* -1: not bound */
	unsigned gsi; /* route of the eventfd */
	uint64_t addr;
	uint32_t data;
	bool enabled; /* atomic: fired while it isn't, a message vanishes */
	uint64_t raised;
};

/* NULL with the reason in e. */
struct irq_hub *irq_hub_create(const struct accel_ops *accel,
			       struct accel_vm *vm, struct error *e);
void irq_hub_destroy(struct irq_hub *hub);

/* A hold on gsi, low at first; set it by its owner. */
void irq_init(struct irq *irq, struct irq_hub *hub, unsigned gsi);
void irq_set(struct irq *irq, bool level);
static inline void irq_pulse(struct irq *irq)
{
	irq_set(irq, true);
	irq_set(irq, false);
}
/* Moves the hold to another line (PCI interrupt routing changed). */
void irq_move(struct irq *irq, unsigned gsi);

/* Prepares an eventfd and a route; 0 or -errno (then irq_msi_fire still works
 * by asking the engine each time). */
int irq_msi_init(struct irq_msi *msi, struct irq_hub *hub);
void irq_msi_fini(struct irq_msi *msi);
/* Sets what the message is; -errno when the engine refuses it. */
int irq_msi_set(struct irq_msi *msi, uint64_t addr, uint32_t data, bool enable);
void irq_msi_fire(struct irq_msi *msi);

#endif
