/* One function: header, config accesses, INTx, reset, state. */
#include "core/hw/pci.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/pci/pci_internal.h"
#include "core/migration/state.h"

static void header_fill(struct pci_dev *d, const struct pci_ids *ids)
{
	uint8_t *c = d->config;

	pci_put16(c + PCI_VENDOR, ids->vendor);
	pci_put16(c + PCI_DEVICE, ids->device);
	c[PCI_REVISION] = ids->revision;
	c[PCI_CLASS] = ids->class_code;
	pci_put16(c + PCI_CLASS + 1, ids->class_code >> 8);
	pci_put16(c + PCI_SUBVENDOR, ids->subvendor);
	pci_put16(c + PCI_SUBDEVICE, ids->subdevice);
	c[PCI_IRQ_PIN] = ids->intx ? 1 : 0;
	pci_put16(d->wmask + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEM |
						  PCI_COMMAND_MASTER |
						  PCI_COMMAND_INTX_OFF | 0x140);
	pci_put16(d->w1c + PCI_STATUS, 0xf900);
	d->wmask[PCI_CACHE_LINE] = 0xff;
	d->wmask[PCI_IRQ_LINE] = 0xff;
	d->next_cap = PCI_HEADER_LEN;
	d->id = ids->vendor | (uint32_t)ids->device << 16;
}

int pci_dev_init(struct pci_dev *d, const struct device_args *args,
		 const struct pci_ids *ids, struct error *e)
{
	struct machine *m = d->dev.m;
	int devfn;

	for (unsigned i = 0; i < PCI_NR_BARS; i++)
		d->bars[i].addr = PCI_UNMAPPED;
	header_fill(d, ids);
	devfn = pci_host_join(m->pci, d, args->devfn, e);
	if (devfn < 0)
		return devfn;
	d->host = m->pci;
	d->devfn = devfn;
	irq_init(&d->intx, m->irq, 16 + pci_pirq_of(devfn, 0));
	return 0;
}

void pci_dev_fini(struct pci_dev *d)
{
	if (!d->host)
		return;
	pci_intx(d, false);
	pci_msix_fini(d);
	pci_msi_fini(d);
	pci_bars_fini(d);
	pci_host_leave(d->host, d);
	d->host = NULL;
}

bool pci_bus_master(const struct pci_dev *d)
{
	return __atomic_load_n(&d->config[PCI_COMMAND], __ATOMIC_RELAXED) &
	       PCI_COMMAND_MASTER;
}

/* Drives the pin with what the function asks for and the guest allows. */
static void intx_update(struct pci_dev *d)
{
	bool off = pci_get16(d->config + PCI_COMMAND) & PCI_COMMAND_INTX_OFF;
	bool level = d->intx_level && !off;

	if (d->intx_level)
		d->config[PCI_STATUS] |= PCI_STATUS_INTX;
	else
		d->config[PCI_STATUS] &= ~PCI_STATUS_INTX;
	if (level == d->intx_driven)
		return;
	d->intx_driven = level;
	irq_set(&d->intx, level);
	pci_host_pin(d->host, d->devfn, level);
}

void pci_intx(struct pci_dev *d, bool level)
{
	if (level == d->intx_level)
		return;
	d->intx_level = level;
	intx_update(d);
}

static bool touches(unsigned off, unsigned len, unsigned first, unsigned nr)
{
	return off < first + nr && first < off + len;
}

uint32_t pci_config_read(struct pci_dev *d, unsigned off, unsigned len)
{
	uint32_t value = 0;

	if (len > 4 || off + len > PCI_CONFIG_LEN)
		return UINT32_MAX;
	pthread_mutex_lock(&d->dev.lock);
	if (d->config_read)
		d->config_read(d, off, len);
	for (unsigned i = 0; i < len; i++)
		value |= (uint32_t)d->config[off + i] << (8 * i);
	pthread_mutex_unlock(&d->dev.lock);
	return value;
}

static void config_store(struct pci_dev *d, unsigned off, uint8_t value)
{
	uint8_t mask = d->wmask[off];
	uint8_t next = (d->config[off] & ~mask) | (value & mask);

	/* pci_bus_master reads the command byte without the lock. */
	__atomic_store_n(&d->config[off], next & ~(value & d->w1c[off]),
			 __ATOMIC_RELAXED);
}

void pci_config_write(struct pci_dev *d, unsigned off, uint32_t value,
		      unsigned len)
{
	if (len > 4 || off + len > PCI_CONFIG_LEN)
		return;
	pthread_mutex_lock(&d->dev.lock);
	for (unsigned i = 0; i < len; i++)
		config_store(d, off + i, value >> (8 * i));
	if (touches(off, len, PCI_COMMAND, 2)) {
		pci_bars_update(d);
		intx_update(d);
	} else if (touches(off, len, PCI_BAR0, 24) ||
		   touches(off, len, PCI_ROM, 4)) {
		pci_bars_update(d);
	}
	if (d->msix.nr && touches(off, len, d->msix.cap + 2, 2))
		pci_msix_control(d);
	if (off + len > PCI_HEADER_LEN)
		pci_msi_update(d);
	if (d->config_written)
		d->config_written(d, off, len);
	pthread_mutex_unlock(&d->dev.lock);
}

void pci_dev_reset(struct pci_dev *d)
{
	for (unsigned i = 0; i < PCI_CONFIG_LEN; i++)
		d->config[i] &= ~(d->wmask[i] | d->w1c[i]);
	d->intx_level = false;
	intx_update(d);
	if (d->msix.nr)
		pci_msix_reset(d);
	pci_msi_update(d);
	pci_bars_update(d);
}

static int pci_state_check(void *obj, int version, struct error *e)
{
	struct pci_dev *d = obj;
	uint32_t got = pci_get32(d->config + PCI_VENDOR);

	(void)version;
	if (got != d->id)
		return error_set(e, -EINVAL,
				 "PCI function %04x:%04x was given the state "
				 "of %04x:%04x",
				 d->id & 0xffff, d->id >> 16, got & 0xffff,
				 got >> 16);
	if (d->msix.nr < 64 && d->msix.pending >> d->msix.nr)
		return error_set(e, -EINVAL,
				 "PCI function %04x:%04x has pending bits of "
				 "vectors that it lacks",
				 d->id & 0xffff, d->id >> 16);
	return 0;
}

static const struct state_field pci_fields[] = {
	STATE_ARRAY(struct pci_dev, config),
	STATE_ARRAY(struct pci_dev, msix.table),
	STATE_FIELD(struct pci_dev, msix.pending),
	STATE_FIELD(struct pci_dev, intx_level),
};

const struct state_desc pci_dev_state = {
	.name = "pci-function",
	.version = 1,
	.oldest = 1,
	.fields = pci_fields,
	.nr_fields = sizeof(pci_fields) / sizeof(pci_fields[0]),
	.check = pci_state_check,
};

void pci_dev_loaded(struct pci_dev *d)
{
	pci_bars_update(d);
	if (d->msix.nr)
		pci_msix_loaded(d);
	pci_msi_update(d);
	intx_update(d);
}
