/* The LPC bridge at 00:1f.0: power management, PIRQ routing, reset. */
#include <stdio.h>
#include <string.h>

#include "core/device.h"
#include "core/hw/chipset/ich9_pm.h"
#include "core/hw/chipset/q35.h"
#include "core/hw/isa/isa.h"
#include "core/hw/pci.h"
#include "core/migration/state.h"

#define LPC_PMBASE     0x40
#define LPC_ACPI_CNTL  0x44
#define LPC_PIRQA      0x60 /* A-D, then E-H at 0x68 */
#define LPC_PIRQE      0x68
#define LPC_RCBA       0xf0
#define ACPI_CNTL_EN   0x80
#define PIRQ_OFF       0x80
#define PIRQ_ISA_LINES 0xdef8 /* 3-7, 9-12, 14, 15 */
#define RCBA_LEN       0x4000
#define RESET_CPU      0x04
#define RESET_KEPT     0x0a
#define FAST_RESET     0x01
#define A20	       0x02

struct lpc {
	struct pci_dev pci;
	struct ich9_pm pm;
	struct region rcba;
	struct bus_ports apm_ports, post_ports, fast_ports;
	uint8_t apm[2];	  /* command and status of 0xb2, 0xb3 */
	uint8_t post[16]; /* DMA page registers; 0x80 shows POST codes */
	uint8_t fast;	  /* port 0x92 */
	uint8_t reset_control;
};

/* ---- configuration space ---- */

static unsigned pirq_offset(unsigned pirq)
{
	return pirq < 4 ? LPC_PIRQA + pirq : LPC_PIRQE + pirq - 4;
}

static void pirq_apply(struct lpc *s)
{
	for (unsigned i = 0; i < PCI_NR_PIRQ; i++) {
		uint8_t reg = s->pci.config[pirq_offset(i)];
		unsigned isa = reg & 15;
		bool on = !(reg & PIRQ_OFF) && (PIRQ_ISA_LINES >> isa & 1);

		pci_host_set_isa_route(s->pci.host, i, on ? (int)isa : -1);
	}
}

static void pm_apply(struct lpc *s)
{
	const uint8_t *c = s->pci.config;

	ich9_pm_place(&s->pm, (c[LPC_PMBASE] & 0x80) | c[LPC_PMBASE + 1] << 8,
		      c[LPC_ACPI_CNTL] & ACPI_CNTL_EN);
}

static void rcba_apply(struct lpc *s)
{
	uint32_t reg;
	bool on;

	memcpy(&reg, s->pci.config + LPC_RCBA, 4);
	on = (reg & 1) && (reg & ~1u);
	if (on != s->rcba.enabled || (on && s->rcba.gpa != (reg & ~1u)))
		mem_region_set(s->pci.dev.m->mem, &s->rcba, reg & ~1u,
			       REGION_IO, on);
}

static bool touches(unsigned off, unsigned len, unsigned first, unsigned nr)
{
	return off < first + nr && first < off + len;
}

static void lpc_config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct lpc *s = (struct lpc *)d;

	if (touches(off, len, LPC_PMBASE, 5))
		pm_apply(s);
	if (touches(off, len, LPC_PIRQA, 12))
		pirq_apply(s);
	if (touches(off, len, LPC_RCBA, 4))
		rcba_apply(s);
}

static void masks_init(struct pci_dev *d)
{
	d->config[LPC_PMBASE] = 1; /* I/O space, fixed */
	d->wmask[LPC_PMBASE] = 0x80;
	d->wmask[LPC_PMBASE + 1] = 0xff;
	d->wmask[LPC_ACPI_CNTL] = 0x87;
	for (unsigned i = 0; i < PCI_NR_PIRQ; i++)
		d->wmask[pirq_offset(i)] = 0x8f;
	d->wmask[LPC_RCBA] = 0x01;
	d->wmask[LPC_RCBA + 1] = 0xc0;
	d->wmask[LPC_RCBA + 2] = 0xff;
	d->wmask[LPC_RCBA + 3] = 0xff;
}

/* ---- root complex registers: none that anything here needs ---- */

static uint64_t rcba_read(void *opaque, uint64_t off, unsigned len)
{
	(void)opaque;
	(void)off;
	(void)len;
	return 0;
}

static void rcba_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	(void)opaque;
	(void)off;
	(void)value;
	(void)len;
}

static const struct bus_ops rcba_ops = {
	.read = rcba_read,
	.write = rcba_write,
};

/* ---- ports ---- */

static uint64_t apm_read(void *opaque, uint64_t off, unsigned len)
{
	struct lpc *s = opaque;

	(void)len;
	return s->apm[off];
}

static void apm_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct lpc *s = opaque;

	(void)len;
	s->apm[off] = value;
	if (off == 0 &&
	    (s->apm[0] == Q35_ACPI_ENABLE || s->apm[0] == Q35_ACPI_DISABLE))
		ich9_pm_acpi_enable(&s->pm, s->apm[0] == Q35_ACPI_ENABLE);
}

static uint64_t post_read(void *opaque, uint64_t off, unsigned len)
{
	struct lpc *s = opaque;

	(void)len;
	return s->post[off];
}

static void post_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct lpc *s = opaque;

	(void)len;
	s->post[off] = value;
}

static uint64_t fast_read(void *opaque, uint64_t off, unsigned len)
{
	struct lpc *s = opaque;

	(void)off;
	(void)len;
	return s->fast;
}

static void fast_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct lpc *s = opaque;
	struct machine *m = s->pci.dev.m;

	(void)off;
	(void)len;
	if ((value & FAST_RESET) && !(s->fast & FAST_RESET))
		m->request(m, MACHINE_RESET, 0);
	s->fast = value & (A20 | FAST_RESET);
}

static const struct bus_ops apm_ops = {
	.read = apm_read,
	.write = apm_write,
	.max_len = 1,
};

static const struct bus_ops post_ops = {
	.read = post_read,
	.write = post_write,
	.max_len = 1,
};

static const struct bus_ops fast_ops = {
	.read = fast_read,
	.write = fast_write,
	.max_len = 1,
};

static uint8_t reset_read(void *opaque)
{
	struct lpc *s = opaque;
	uint8_t value;

	pthread_mutex_lock(&s->pci.dev.lock);
	value = s->reset_control;
	pthread_mutex_unlock(&s->pci.dev.lock);
	return value;
}

static void reset_write(void *opaque, uint8_t value)
{
	struct lpc *s = opaque;
	struct machine *m = s->pci.dev.m;

	pthread_mutex_lock(&s->pci.dev.lock);
	s->reset_control = value & RESET_KEPT;
	pthread_mutex_unlock(&s->pci.dev.lock);
	if (value & RESET_CPU)
		m->request(m, MACHINE_RESET, 0);
}

/* ---- life ---- */

static void lpc_defaults(struct lpc *s)
{
	for (unsigned i = 0; i < PCI_NR_PIRQ; i++)
		s->pci.config[pirq_offset(i)] = PIRQ_OFF;
	memset(s->apm, 0, sizeof(s->apm));
	memset(s->post, 0, sizeof(s->post));
	s->fast = A20;
	s->reset_control = 0;
}

static void lpc_follow(struct lpc *s)
{
	pm_apply(s);
	pirq_apply(s);
	rcba_apply(s);
}

static int lpc_create(struct device *dev, const struct device_args *args,
		      struct error *e)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x2918,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.revision = 2,
		.class_code = 0x060100,
	};
	struct lpc *s = (struct lpc *)dev;
	struct device_args place = *args;
	int r;

	place.devfn = PCI_DEVFN(31, 0);
	r = pci_dev_init(&s->pci, &place, &ids, e);
	if (r < 0)
		return r;
	masks_init(&s->pci);
	s->pci.config_written = lpc_config_written;
	s->rcba = (struct region){.name = "ich9-rcba",
				  .kind = REGION_IO,
				  .len = RCBA_LEN,
				  .priority = 1,
				  .ops = &rcba_ops};
	mem_region_add(dev->m->mem, &s->rcba);
	isa_ports_add(dev, &s->apm_ports, "apm", 0xb2, 2, &apm_ops);
	isa_ports_add(dev, &s->post_ports, "post", 0x80, 16, &post_ops);
	isa_ports_add(dev, &s->fast_ports, "port92", 0x92, 1, &fast_ops);
	ich9_pm_init(&s->pm, dev);
	pci_host_set_reset_port(s->pci.host, reset_read, reset_write, s);
	lpc_defaults(s);
	return 0;
}

static void lpc_destroy(struct device *dev)
{
	struct lpc *s = (struct lpc *)dev;
	struct bus *bus = dev->m->bus;

	if (!s->pci.host)
		return;
	pci_host_set_reset_port(s->pci.host, NULL, NULL, NULL);
	ich9_pm_fini(&s->pm);
	bus_ports_remove(bus, &s->fast_ports);
	bus_ports_remove(bus, &s->post_ports);
	bus_ports_remove(bus, &s->apm_ports);
	mem_region_remove(dev->m->mem, &s->rcba);
	pci_dev_fini(&s->pci);
}

static void lpc_reset(struct device *dev)
{
	struct lpc *s = (struct lpc *)dev;

	pthread_mutex_lock(&dev->lock);
	pci_dev_reset(&s->pci);
	lpc_defaults(s);
	ich9_pm_reset(&s->pm);
	lpc_follow(s);
	pthread_mutex_unlock(&dev->lock);
}

static const struct state_field lpc_fields[] = {
	STATE_STRUCTS(struct lpc, pci, 1, &pci_dev_state),
	STATE_STRUCTS(struct lpc, pm, 1, &ich9_pm_state),
	STATE_ARRAY(struct lpc, apm),
	STATE_ARRAY(struct lpc, post),
	STATE_FIELD(struct lpc, fast),
	STATE_FIELD(struct lpc, reset_control),
};

static const struct state_desc lpc_state = {
	.name = "ich9-lpc",
	.version = 1,
	.oldest = 1,
	.fields = lpc_fields,
	.nr_fields = sizeof(lpc_fields) / sizeof(lpc_fields[0]),
};

static int lpc_loaded(struct device *dev, struct error *e)
{
	struct lpc *s = (struct lpc *)dev;

	(void)e;
	pci_dev_loaded(&s->pci);
	lpc_follow(s);
	ich9_pm_loaded(&s->pm);
	return 0;
}

const struct device_class ich9_lpc_class = {
	.name = "ich9-lpc",
	.summary = "ICH9 LPC bridge: power management, interrupt routing",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct lpc),
	.create = lpc_create,
	.destroy = lpc_destroy,
	.reset = lpc_reset,
	.state = &lpc_state,
	.loaded = lpc_loaded,
};

void q35_power_button(struct machine *m)
{
	for (struct device *d = m->devices; d; d = d->next) {
		struct lpc *s = (struct lpc *)d;

		if (d->cls != &ich9_lpc_class)
			continue;
		pthread_mutex_lock(&d->lock);
		ich9_pm_power_button(&s->pm);
		pthread_mutex_unlock(&d->lock);
	}
}
