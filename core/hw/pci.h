/*
 * pci: PCI Express functions, their configuration space and their place.
 *
 * A function embeds struct pci_dev, sets ids and BARs in its create, and gets
 * config space behaviour (sizing, command bits, capabilities, MSI-X, INTx
 * routing) from here.  Specification: PCI Local Bus 3.0 chapter 6 (config
 * space), PCI Express Base 3.0 chapter 7 (extended space, ECAM).
 *
 * Thread rule: set-up calls in create; a config access takes the function's
 * lock and no other; pci_intx under the function's lock; pci_msix_fire and
 * pci_bus_master are [any] and take no lock.
 */
#ifndef CORE_HW_PCI_H
#define CORE_HW_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/memory.h"

#define PCI_CONFIG_LEN	    4096
#define PCI_NR_BARS	    7 /* six and the expansion ROM */
#define PCI_BAR_ROM	    6
#define PCI_MAX_VECTORS	    64
#define PCI_DEVFN(slot, fn) (((slot) << 3) | (fn))

enum pci_bar_kind {
	PCI_BAR_NONE,
	PCI_BAR_IO,
	PCI_BAR_MEM32,
	PCI_BAR_MEM64,
	PCI_BAR_MEM64_PREFETCH
};

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t len;		/* power of two */
	struct region region;	/* memory BARs */
	struct bus_ports ports; /* I/O BARs */
	uint64_t reads, writes; /* relaxed atomics, for the panels */
	/* The owner's handlers, and ours around them that count. */
	const struct bus_ops *inner;
	void *opaque;
	struct bus_ops ops;
	uint64_t addr; /* where it is decoded, UINT64_MAX: nowhere */
};

struct pci_msix {
	unsigned nr; /* vectors, 0: no MSI-X */
	unsigned bar;
	uint8_t cap;  /* offset of the capability */
	uint32_t off; /* of the table in its BAR */
	/* Read by pci_msix_fire without a lock: atomics. */
	uint16_t control; /* copy of the capability's control word */
	uint32_t table[PCI_MAX_VECTORS * 4];
	uint64_t pending; /* one bit a vector */
	struct irq_msi msi[PCI_MAX_VECTORS];
	uint64_t bound;	      /* vectors whose msi carries the message */
	struct region region; /* over its BAR */
};

/* One message, without a mask. */
struct pci_msi {
	uint8_t cap; /* offset of the capability, 0: no MSI */
	struct irq_msi msi;
};

struct pci_dev {
	struct device dev; /* first */
	struct pci_host *host;
	uint8_t bus, devfn;
	uint32_t id; /* vendor, device << 16 */
	uint8_t config[PCI_CONFIG_LEN];
	uint8_t wmask[PCI_CONFIG_LEN]; /* bits the guest may change */
	uint8_t w1c[PCI_CONFIG_LEN];   /* bits that a written 1 clears */
	uint16_t next_cap;	       /* where the next capability goes */
	struct pci_bar bars[PCI_NR_BARS];
	struct pci_msix msix;
	struct pci_msi msi;
	struct irq intx;
	bool intx_level;  /* what the function asks for */
	bool intx_driven; /* and what its pin shows */
	/* Optional: after the guest changed config bytes [off, off + len);
	 * under the function's lock. */
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned len);
	/* Optional: before the guest reads (refresh volatile bytes). */
	void (*config_read)(struct pci_dev *d, unsigned off, unsigned len);
};

struct pci_ids {
	uint16_t vendor, device, subvendor, subdevice;
	uint8_t revision;
	uint32_t class_code; /* base, sub, interface: 24 bits */
	bool intx;	     /* has an INTA# pin */
};

/* First call of a function's create: finds a slot (args->devfn), fills the
 * header, joins the bus. 0 or -errno with the reason. */
int pci_dev_init(struct pci_dev *d, const struct device_args *args,
		 const struct pci_ids *ids, struct error *e);
/* Last call of its destroy. */
void pci_dev_fini(struct pci_dev *d);
/* In its reset: command register, BARs, MSI-X back to power-on. */
void pci_dev_reset(struct pci_dev *d);

/* Handlers over a BAR; len a power of two >= 16 (I/O: >= 4). */
void pci_bar_io(struct pci_dev *d, unsigned index, enum pci_bar_kind kind,
		uint64_t len, const struct bus_ops *ops, void *opaque);
/* RAM (or ROM) of a block as a BAR. */
void pci_bar_ram(struct pci_dev *d, unsigned index, enum pci_bar_kind kind,
		 struct ram_block *block);
/* Guest address of a mapped BAR; UINT64_MAX while it isn't decoded. */
uint64_t pci_bar_addr(const struct pci_dev *d, unsigned index);
/* Expansion ROM from a file, padded to a power of two. */
int pci_rom_load(struct pci_dev *d, const char *path, struct error *e);

/* Adds a capability of len bytes; returns its offset in config space. */
unsigned pci_cap_add(struct pci_dev *d, uint8_t id, unsigned len);
/* Express capability: an endpoint integrated in the root complex. */
void pci_cap_express(struct pci_dev *d);
/* MSI-X with nr vectors, table and PBA at offset off of a memory BAR that has
 * at least off + 0x1000 bytes. */
int pci_msix_init(struct pci_dev *d, unsigned nr, unsigned bar, uint32_t off,
		  struct error *e);
bool pci_msix_enabled(const struct pci_dev *d);
void pci_msix_fire(struct pci_dev *d, unsigned vector);
/* In create: MSI capability with one message (PCI 3.0, 6.8.1).  While the guest
 * enabled it the function sends it in place of driving its pin; both under the
 * function's lock. */
void pci_msi_init(struct pci_dev *d);
bool pci_msi_enabled(const struct pci_dev *d);
void pci_msi_fire(struct pci_dev *d);
void pci_intx(struct pci_dev *d, bool level);
/* Bus master enable: a device without it must not touch guest memory. */
bool pci_bus_master(const struct pci_dev *d);

/* State of the common part; a function's descriptor includes it as
 * STATE_STRUCTS(struct foo, pci, 1, &pci_dev_state). */
extern const struct state_desc pci_dev_state;
/* After load: put BARs, MSI-X and INTx where config space says. */
void pci_dev_loaded(struct pci_dev *d);

/* A config access as the guest's two ways in make it; takes the function's
 * lock.  off + len <= PCI_CONFIG_LEN, len 1, 2 or 4. */
uint32_t pci_config_read(struct pci_dev *d, unsigned off, unsigned len);
void pci_config_write(struct pci_dev *d, unsigned off, uint32_t value,
		      unsigned len);
/* Function at bus and devfn, NULL when none. */
struct pci_dev *pci_find(struct pci_host *host, uint8_t bus, uint8_t devfn);

/* The root complex: ports 0xcf8-0xcff always, ECAM where the chipset puts it.
 * One bus, number 0.  Made by the chipset (core/hw/chipset/q35.c). */
struct pci_host *pci_host_create(struct machine *m, struct error *e);
void pci_host_destroy(struct pci_host *host); /* NULL is fine */
/* From a handler or with the world stopped; len 64, 128 or 256 MiB, base a
 * multiple of it. */
void pci_host_ecam_set(struct pci_host *host, uint64_t base, uint64_t len,
		       bool enabled);

/* INTx: each function's pin is wired to one of eight PIRQ lines; line n drives
 * GSI 16 + n and, when the guest routed it there, an ISA line as well. */
#define PCI_NR_PIRQ 8
unsigned pci_pirq_of(uint8_t devfn, unsigned pin); /* pin 0: INTA# */
/* [any] isa: 0..15, -1 for none. */
void pci_host_set_isa_route(struct pci_host *host, unsigned pirq, int isa);

/* Port 0xcf9 lies inside the address register: byte accesses to it go to the
 * chipset's handlers, which lock by themselves. */
void pci_host_set_reset_port(struct pci_host *host,
			     uint8_t (*read)(void *opaque),
			     void (*write)(void *opaque, uint8_t value),
			     void *opaque);

/* The address register, for the chipset's state. */
uint32_t pci_host_address(struct pci_host *host);
void pci_host_set_address(struct pci_host *host, uint32_t address);

#endif
