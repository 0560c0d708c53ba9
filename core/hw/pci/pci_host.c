/*
 * The root complex: finding functions, the two ways to configuration space,
 * and the wiring of the INTx pins.
 *
 * The handlers here belong to no device, so the bus takes no lock for them:
 * they copy the address register under host->lock, drop it, and only then
 * enter the function, which takes its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/pci/pci_internal.h"

#define ADDRESS_PORT   0xcf8
#define DATA_PORT      0xcfc
#define ADDRESS_ENABLE 0x80000000u
#define ECAM_KINDS     3 /* 256, 128 and 64 MiB */
#define FIRST_SLOT     1
#define LAST_SLOT      30 /* 31 is the chipset's */

struct pirq {
	unsigned holders; /* functions that hold the line */
	bool routed;
	struct irq isa;
};

struct pci_host {
	struct machine *m;
	struct pci_dev *functions[256]; /* by devfn; fixed while running */
	pthread_mutex_t lock;		/* protects what follows */
	uint32_t address;
	struct pirq pirq[PCI_NR_PIRQ];
	/* Fixed after set-up. */
	struct bus_ports address_ports, data_ports;
	struct region ecam[ECAM_KINDS];
	uint8_t (*reset_read)(void *opaque);
	void (*reset_write)(void *opaque, uint8_t value);
	void *reset_opaque;
};

/* ---- the functions ---- */

struct pci_dev *pci_find(struct pci_host *host, uint8_t bus, uint8_t devfn)
{
	return bus ? NULL : host->functions[devfn];
}

static int free_slot(const struct pci_host *host)
{
	for (int slot = FIRST_SLOT; slot <= LAST_SLOT; slot++) {
		bool used = false;

		for (int fn = 0; fn < 8; fn++)
			used |= host->functions[PCI_DEVFN(slot, fn)] != NULL;
		if (!used)
			return PCI_DEVFN(slot, 0);
	}
	return -ENOSPC;
}

/* Function 0 tells whether there are others in its slot. */
static void mark_multifunction(struct pci_host *host, uint8_t devfn)
{
	struct pci_dev *first = host->functions[devfn & ~7];
	bool others = false;

	if (!first)
		return;
	for (int fn = 1; fn < 8; fn++)
		others |= host->functions[(devfn & ~7) | fn] != NULL;
	first->config[PCI_HEADER_TYPE] &= ~PCI_MULTIFUNCTION;
	if (others)
		first->config[PCI_HEADER_TYPE] |= PCI_MULTIFUNCTION;
}

int pci_host_join(struct pci_host *host, struct pci_dev *d, int devfn,
		  struct error *e)
{
	if (!host)
		return error_set(e, -ENODEV,
				 "device '%s' needs a PCI bus, and the machine "
				 "has none",
				 d->dev.name);
	if (devfn < 0)
		devfn = free_slot(host);
	if (devfn < 0)
		return error_set(e, -ENOSPC,
				 "device '%s' finds no free PCI slot",
				 d->dev.name);
	if (devfn > 255 || host->functions[devfn])
		return error_set(e, -EBUSY,
				 "PCI place %02x.%x for device '%s' is taken "
				 "or does not exist",
				 devfn >> 3, devfn & 7, d->dev.name);
	host->functions[devfn] = d;
	mark_multifunction(host, devfn);
	return devfn;
}

void pci_host_leave(struct pci_host *host, struct pci_dev *d)
{
	host->functions[d->devfn] = NULL;
	mark_multifunction(host, d->devfn);
}

/* ---- configuration accesses ---- */

static uint32_t space_read(struct pci_host *host, uint8_t bus, uint8_t devfn,
			   unsigned off, unsigned len)
{
	struct pci_dev *d = pci_find(host, bus, devfn);

	return d ? pci_config_read(d, off, len) : UINT32_MAX;
}

static void space_write(struct pci_host *host, uint8_t bus, uint8_t devfn,
			unsigned off, uint32_t value, unsigned len)
{
	struct pci_dev *d = pci_find(host, bus, devfn);

	if (d)
		pci_config_write(d, off, value, len);
}

uint32_t pci_host_address(struct pci_host *host)
{
	uint32_t address;

	pthread_mutex_lock(&host->lock);
	address = host->address;
	pthread_mutex_unlock(&host->lock);
	return address;
}

void pci_host_set_address(struct pci_host *host, uint32_t address)
{
	pthread_mutex_lock(&host->lock);
	host->address = address;
	pthread_mutex_unlock(&host->lock);
}

static uint64_t address_read(void *opaque, uint64_t off, unsigned len)
{
	struct pci_host *host = opaque;

	if (off == 0 && len == 4)
		return pci_host_address(host);
	if (off == 1 && len == 1 && host->reset_read)
		return host->reset_read(host->reset_opaque);
	return UINT64_MAX;
}

static void address_write(void *opaque, uint64_t off, uint64_t value,
			  unsigned len)
{
	struct pci_host *host = opaque;

	if (off == 0 && len == 4)
		pci_host_set_address(host, value);
	else if (off == 1 && len == 1 && host->reset_write)
		host->reset_write(host->reset_opaque, value);
}

static uint64_t data_read(void *opaque, uint64_t off, unsigned len)
{
	struct pci_host *host = opaque;
	uint32_t a = pci_host_address(host);

	if (!(a & ADDRESS_ENABLE))
		return UINT64_MAX;
	return space_read(host, a >> 16, a >> 8, (a & 0xfc) + off, len);
}

static void data_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct pci_host *host = opaque;
	uint32_t a = pci_host_address(host);

	if (a & ADDRESS_ENABLE)
		space_write(host, a >> 16, a >> 8, (a & 0xfc) + off, value,
			    len);
}

static uint64_t ecam_read(void *opaque, uint64_t off, unsigned len)
{
	return space_read(opaque, off >> 20, off >> 12, off & 0xfff, len);
}

static void ecam_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	space_write(opaque, off >> 20, off >> 12, off & 0xfff, value, len);
}

static const struct bus_ops address_ops = {
	.read = address_read,
	.write = address_write,
	.max_len = 4,
};

static const struct bus_ops data_ops = {
	.read = data_read,
	.write = data_write,
	.max_len = 4,
};

static const struct bus_ops ecam_ops = {
	.read = ecam_read,
	.write = ecam_write,
	.max_len = 4,
};

void pci_host_ecam_set(struct pci_host *host, uint64_t base, uint64_t len,
		       bool enabled)
{
	for (unsigned i = 0; i < ECAM_KINDS; i++) {
		struct region *r = &host->ecam[i];
		bool on = enabled && r->len == len;

		if (r->enabled != on || (on && r->gpa != base))
			mem_region_set(host->m->mem, r, base, REGION_IO, on);
	}
}

void pci_host_set_reset_port(struct pci_host *host,
			     uint8_t (*read)(void *opaque),
			     void (*write)(void *opaque, uint8_t value),
			     void *opaque)
{
	host->reset_read = read;
	host->reset_write = write;
	host->reset_opaque = opaque;
}

/* ---- INTx ---- */

unsigned pci_pirq_of(uint8_t devfn, unsigned pin)
{
	unsigned slot = devfn >> 3;

	/* ICH9: slots 25-31 keep lines A-D, the others rotate over E-H. */
	if (slot >= 25)
		return pin & 3;
	return 4 + ((slot + pin) & 3);
}

void pci_host_pin(struct pci_host *host, uint8_t devfn, bool level)
{
	struct pirq *p = &host->pirq[pci_pirq_of(devfn, 0)];

	pthread_mutex_lock(&host->lock);
	p->holders += level ? 1 : -1;
	if (p->routed)
		irq_set(&p->isa, p->holders > 0);
	pthread_mutex_unlock(&host->lock);
}

void pci_host_set_isa_route(struct pci_host *host, unsigned pirq, int isa)
{
	struct pirq *p = &host->pirq[pirq];

	pthread_mutex_lock(&host->lock);
	if (p->routed && (int)p->isa.gsi != isa)
		irq_set(&p->isa, false);
	p->routed = isa >= 0;
	if (p->routed) {
		if ((int)p->isa.gsi != isa)
			irq_move(&p->isa, isa);
		irq_set(&p->isa, p->holders > 0);
	}
	pthread_mutex_unlock(&host->lock);
}

/* ---- life ---- */

static void ecam_init(struct pci_host *host)
{
	for (unsigned i = 0; i < ECAM_KINDS; i++) {
		struct region *r = &host->ecam[i];

		*r = (struct region){.kind = REGION_IO,
				     .len = 0x10000000ull >> i,
				     .priority = 1,
				     .ops = &ecam_ops,
				     .opaque = host};
		snprintf(r->name, sizeof(r->name), "pcie-ecam-%u", 256u >> i);
		mem_region_add(host->m->mem, r);
	}
}

static void ports_init(struct pci_host *host, struct bus_ports *p,
		       const char *name, uint16_t port,
		       const struct bus_ops *ops)
{
	*p = (struct bus_ports){.port = port,
				.nr = 4,
				.enabled = true,
				.ops = ops,
				.opaque = host};
	snprintf(p->name, sizeof(p->name), "%s", name);
	bus_ports_add(host->m->bus, p);
}

struct pci_host *pci_host_create(struct machine *m, struct error *e)
{
	struct pci_host *host = calloc(1, sizeof(*host));

	if (!host) {
		error_set(e, -ENOMEM, "no memory for the PCI bus");
		return NULL;
	}
	host->m = m;
	pthread_mutex_init(&host->lock, NULL);
	for (unsigned i = 0; i < PCI_NR_PIRQ; i++)
		irq_init(&host->pirq[i].isa, m->irq, 0);
	ports_init(host, &host->address_ports, "pci-config-address",
		   ADDRESS_PORT, &address_ops);
	ports_init(host, &host->data_ports, "pci-config-data", DATA_PORT,
		   &data_ops);
	ecam_init(host);
	return host;
}

void pci_host_destroy(struct pci_host *host)
{
	if (!host)
		return;
	for (unsigned i = 0; i < ECAM_KINDS; i++)
		mem_region_remove(host->m->mem, &host->ecam[i]);
	bus_ports_remove(host->m->bus, &host->data_ports);
	bus_ports_remove(host->m->bus, &host->address_ports);
	pthread_mutex_destroy(&host->lock);
	free(host);
}
