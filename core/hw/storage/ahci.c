/*
 * ICH9's SATA controller in AHCI mode: registers, PCI function, ports.
 * Serial ATA AHCI 1.3.1, chapter 3.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hw/storage/ahci_int.h"
#include "core/migration/state.h"

#define ABAR	 5
#define ABAR_LEN 0x1000

#define HBA_CAP 0x00
#define HBA_GHC 0x04
#define HBA_IS	0x08
#define HBA_PI	0x0c
#define HBA_VS	0x10
#define HBA_END 0x100

/* 64-bit addresses, NCQ, command list override, AHCI only, 3 Gb/s, 32 slots,
 * and the number of ports less one. */
#define CAP_VALUE                                                              \
	((1u << 31) | (1u << 30) | (1u << 24) | (1u << 18) | (2u << 20) |      \
	 ((AHCI_NR_SLOTS - 1) << 8) | (AHCI_NR_PORTS - 1))
#define VERSION_1_3 0x00010300

#define GHC_HR (1u << 0)
#define GHC_IE (1u << 1)
#define GHC_AE (1u << 31)

#define PORT_LEN      0x80
#define SSTS_PRESENT  0x123 /* device there, 3 Gb/s, active */
#define SCTL_DET      0xf
#define TFD_NO_DEVICE 0x7f
#define SIG_NO_DEVICE 0xffffffffu
#define CMD_WRITABLE                                                           \
	(PX_CMD_ST | PX_CMD_SUD | PX_CMD_POD | PX_CMD_FRE | PX_CMD_ATAPI |     \
	 (0xfu << 28) | (7u << 25))

/* ---- interrupts ---- */

void ahci_update_irq(struct ahci *a)
{
	bool fresh = false, level;

	a->is = 0;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		struct ahci_port *p = &a->ports[i];
		uint32_t now = p->regs[PX_IS] & p->regs[PX_IE];

		if (now)
			a->is |= 1u << i;
		if (!(a->ghc & GHC_IE))
			now = 0;
		fresh = fresh || (now & ~p->told);
		p->told = now;
	}
	level = (a->ghc & GHC_IE) && a->is;
	if (pci_msi_enabled(&a->pci)) {
		pci_intx(&a->pci, false);
		if (!fresh)
			return;
		pci_msi_fire(&a->pci);
		device_count(a->interrupts, 1);
		return;
	}
	if (level && !a->pci.intx_level)
		device_count(a->interrupts, 1);
	pci_intx(&a->pci, level);
}

/* What is left after an acknowledgement is told again: 10.6.2. */
static void tell_again(struct ahci *a)
{
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		a->ports[i].told = 0;
}

/* ---- port registers ---- */

static uint32_t port_read(struct ahci_port *p, unsigned reg)
{
	uint32_t value = p->regs[reg];

	if (reg == PX_CMD) {
		value &= ~(PX_CMD_CR | PX_CMD_FR);
		if ((value & PX_CMD_ST) || p->draining)
			value |= PX_CMD_CR;
		if (value & PX_CMD_FRE)
			value |= PX_CMD_FR;
	}
	return value;
}

static void write_cmd(struct ahci_port *p, uint32_t value)
{
	uint32_t old = p->regs[PX_CMD];

	p->regs[PX_CMD] = (old & ~CMD_WRITABLE) | (value & CMD_WRITABLE);
	/* The interface's state machine is always where it is asked to go. */
	p->regs[PX_CMD] &= ~(0xfu << 28);
	if ((value & PX_CMD_CLO) && p->ata)
		p->regs[PX_TFD] &= ~(ATA_STATUS_BSY | ATA_STATUS_DRQ);
	if ((old & PX_CMD_ST) && !(value & PX_CMD_ST))
		ahci_port_abort(p);
	if (!(old & PX_CMD_FRE) && (value & PX_CMD_FRE))
		ahci_port_signature(p);
	if (value & PX_CMD_ST)
		ahci_port_poke(p);
}

static void write_sctl(struct ahci_port *p, uint32_t value)
{
	uint32_t old = p->regs[PX_SCTL];

	p->regs[PX_SCTL] = value & 0xfff;
	if (!p->ata)
		return;
	if ((value & SCTL_DET) == 1 || (value & SCTL_DET) == 4) {
		ahci_port_abort(p);
		p->regs[PX_SSTS] = (value & SCTL_DET) == 4 ? 4 : 0;
		p->regs[PX_TFD] = TFD_NO_DEVICE;
	} else if ((old & SCTL_DET) && !(value & SCTL_DET)) {
		ahci_port_restart(p);
	}
}

static void port_write(struct ahci_port *p, unsigned reg, uint32_t value)
{
	switch (reg) {
	case PX_CLB:
		p->regs[reg] = value & ~0x3ffu;
		break;
	case PX_FB:
		p->regs[reg] = value & ~0xffu;
		break;
	case PX_CLBU:
	case PX_FBU:
	case PX_IE:
		p->regs[reg] = value;
		break;
	case PX_IS:
	case PX_SERR:
		p->regs[reg] &= ~value;
		break;
	case PX_CMD:
		write_cmd(p, value);
		break;
	case PX_SCTL:
		write_sctl(p, value);
		break;
	case PX_SACT:
	case PX_CI:
		if (!p->ata || !(p->regs[PX_CMD] & PX_CMD_ST))
			break;
		p->regs[reg] |= value;
		if (reg == PX_CI)
			ahci_port_poke(p);
		break;
	}
}

/* ---- controller registers ---- */

static void port_power_on(struct ahci_port *p)
{
	uint32_t clb = p->regs[PX_CLB], clbu = p->regs[PX_CLBU];
	uint32_t fb = p->regs[PX_FB], fbu = p->regs[PX_FBU];

	ahci_port_abort(p);
	memset(p->regs, 0, sizeof(p->regs));
	/* A controller reset leaves the addresses: 10.4.3. */
	p->regs[PX_CLB] = clb;
	p->regs[PX_CLBU] = clbu;
	p->regs[PX_FB] = fb;
	p->regs[PX_FBU] = fbu;
	p->regs[PX_CMD] = PX_CMD_SUD | PX_CMD_POD;
	p->regs[PX_TFD] = TFD_NO_DEVICE;
	p->regs[PX_SIG] = SIG_NO_DEVICE;
	p->in_soft_reset = false;
	if (p->ata)
		ahci_port_restart(p);
}

static void hba_reset(struct ahci *a)
{
	a->ghc = GHC_AE;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		port_power_on(&a->ports[i]);
	ahci_update_irq(a);
}

static uint32_t hba_read(struct ahci *a, uint64_t off)
{
	switch (off) {
	case HBA_CAP:
		return CAP_VALUE;
	case HBA_GHC:
		return a->ghc;
	case HBA_IS:
		return a->is;
	case HBA_PI:
		return (1u << AHCI_NR_PORTS) - 1;
	case HBA_VS:
		return VERSION_1_3;
	}
	return 0;
}

static uint64_t abar_read(void *opaque, uint64_t off, unsigned len)
{
	struct ahci *a = opaque;
	uint32_t value = 0;

	(void)len;
	if (off < HBA_END)
		value = hba_read(a, off & ~3ull);
	else if (off < HBA_END + AHCI_NR_PORTS * PORT_LEN)
		value = port_read(&a->ports[(off - HBA_END) / PORT_LEN],
				  (off % PORT_LEN) / 4);
	return value >> (8 * (off & 3));
}

static void abar_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct ahci *a = opaque;

	if (len != 4 || (off & 3))
		return;
	if (off == HBA_GHC && (value & GHC_HR))
		hba_reset(a);
	else if (off == HBA_GHC)
		a->ghc = GHC_AE | ((uint32_t)value & GHC_IE);
	else if (off >= HBA_END && off < HBA_END + AHCI_NR_PORTS * PORT_LEN)
		port_write(&a->ports[(off - HBA_END) / PORT_LEN],
			   (off % PORT_LEN) / 4, (uint32_t)value);
	else if (off == HBA_IS)
		tell_again(a);
	/* A write to HBA_IS clears what no port asks for any more. */
	ahci_update_irq(a);
}

static const struct bus_ops abar_ops = {
	.read = abar_read,
	.write = abar_write,
	.max_len = 4,
};

/* Bus mastering may have been turned on over issued commands. */
static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct ahci *a = (struct ahci *)(void *)d;

	(void)len;
	/* Also when messages were turned on or off. */
	ahci_update_irq(a);
	if (off > 5)
		return;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		ahci_port_poke(&a->ports[i]);
}

/* ---- drives come and go ---- */

static int port_init(struct ahci_port *p, struct ata_dev *d, struct error *e)
{
	int r;

	p->slots = calloc(AHCI_NR_SLOTS, sizeof(*p->slots));
	if (!p->slots)
		return error_set(e, -ENOMEM, "no memory for commands");
	for (unsigned i = 0; i < AHCI_NR_SLOTS; i++) {
		p->slots[i].port = p;
		p->slots[i].index = i;
		p->slots[i].cmd.req.done = ahci_slot_done;
		p->slots[i].cmd.req.opaque = &p->slots[i];
	}
	p->kick = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.fn = ahci_port_on_kick,
		.arg = p,
	};
	r = p->kick.fd < 0 ? -errno : loop_fd_add(d->io, &p->kick);
	if (!r)
		return 0;
	if (p->kick.fd >= 0)
		close(p->kick.fd);
	free(p->slots);
	p->slots = NULL;
	return error_errno(e, -r, "watching a SATA port");
}

static int ahci_attach(struct device *controller, struct ata_dev *d,
		       struct error *e)
{
	struct ahci *a = (struct ahci *)(void *)controller;
	struct ahci_port *p;
	int r;

	if (d->unit >= AHCI_NR_PORTS)
		return error_set(e, -EINVAL,
				 "'%s' has no port %u: choose one of 0 to %d",
				 controller->name, d->unit, AHCI_NR_PORTS - 1);
	p = &a->ports[d->unit];
	if (p->ata)
		return error_set(e, -EBUSY, "port %u of '%s' is taken by '%s'",
				 d->unit, controller->name, p->ata->dev.name);
	r = port_init(p, d, e);
	if (r)
		return r;
	pthread_mutex_lock(&controller->lock);
	p->ata = d;
	port_power_on(p);
	pthread_mutex_unlock(&controller->lock);
	return 0;
}

static void port_detach(struct ahci_port *p)
{
	if (!p->ata)
		return;
	loop_fd_remove(p->ata->io, &p->kick);
	close(p->kick.fd);
	free(p->slots);
	p->slots = NULL;
	p->ata->dev.parent = NULL;
	p->ata = NULL;
}

static void ahci_detach(struct ata_dev *d)
{
	struct ahci *a = (struct ahci *)(void *)d->dev.parent;

	if (!a)
		return;
	pthread_mutex_lock(&a->pci.dev.lock);
	port_detach(&a->ports[d->unit]);
	port_power_on(&a->ports[d->unit]);
	pthread_mutex_unlock(&a->pci.dev.lock);
}

/* ---- life ---- */

static int ahci_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	struct ahci *a = (struct ahci *)(void *)dev;
	struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x2922,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.revision = 2,
		.class_code = 0x010601,
		.intx = true,
	};
	int r = pci_dev_init(&a->pci, args, &ids, e);

	if (r)
		return r;
	pci_bar_io(&a->pci, ABAR, PCI_BAR_MEM32, ABAR_LEN, &abar_ops, a);
	pci_msi_init(&a->pci);
	a->pci.config_written = config_written;
	a->commands = device_counter_add(dev, "commands");
	a->errors = device_counter_add(dev, "errors");
	a->interrupts = device_counter_add(dev, "interrupts");
	a->ghc = GHC_AE;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		a->ports[i].ahci = a;
		a->ports[i].index = i;
		port_power_on(&a->ports[i]);
	}
	return 0;
}

static void ahci_quiesce(struct device *dev)
{
	struct ahci *a = (struct ahci *)(void *)dev;

	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		if (a->ports[i].ata)
			drive_drain(a->ports[i].ata->drive);
}

static void ahci_destroy(struct device *dev)
{
	struct ahci *a = (struct ahci *)(void *)dev;

	ahci_quiesce(dev);
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		port_detach(&a->ports[i]);
	pci_dev_fini(&a->pci);
}

static void ahci_reset(struct device *dev)
{
	struct ahci *a = (struct ahci *)(void *)dev;

	ahci_quiesce(dev);
	pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		memset(a->ports[i].regs, 0, sizeof(a->ports[i].regs));
	hba_reset(a);
	pci_dev_reset(&a->pci);
	pthread_mutex_unlock(&dev->lock);
}

static int ahci_loaded(struct device *dev, struct error *e)
{
	struct ahci *a = (struct ahci *)(void *)dev;

	(void)e;
	pci_dev_loaded(&a->pci);
	tell_again(a);
	ahci_update_irq(a);
	/* Commands that were issued and not yet taken. */
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		ahci_port_poke(&a->ports[i]);
	return 0;
}

static const struct state_field port_fields[] = {
	STATE_ARRAY(struct ahci_port, regs),
	STATE_FIELD(struct ahci_port, stopped),
	STATE_FIELD(struct ahci_port, in_soft_reset),
	STATE_FIELD(struct ahci_port, signature_due),
	STATE_FIELD(struct ahci_port, next_slot),
};

static int port_check(void *obj, int version, struct error *e)
{
	struct ahci_port *p = obj;

	(void)version;
	if (p->next_slot < AHCI_NR_SLOTS)
		return 0;
	return error_set(e, -EINVAL, "SATA port %u: no command slot %u",
			 p->index, p->next_slot);
}

static const struct state_desc port_state = {
	.name = "ahci-port",
	.version = 1,
	.oldest = 1,
	.fields = port_fields,
	.nr_fields = sizeof(port_fields) / sizeof(port_fields[0]),
	.check = port_check,
};

static const struct state_field ahci_fields[] = {
	STATE_STRUCTS(struct ahci, pci, 1, &pci_dev_state),
	STATE_FIELD(struct ahci, ghc),
	STATE_FIELD(struct ahci, is),
	STATE_STRUCTS(struct ahci, ports, AHCI_NR_PORTS, &port_state),
};

static const struct state_desc ahci_state = {
	.name = "ahci",
	.version = 1,
	.oldest = 1,
	.fields = ahci_fields,
	.nr_fields = sizeof(ahci_fields) / sizeof(ahci_fields[0]),
};

const struct device_class ahci_class = {
	.name = "ahci",
	.summary = "SATA controller",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct ahci),
	.create = ahci_create,
	.destroy = ahci_destroy,
	.reset = ahci_reset,
	.quiesce = ahci_quiesce,
	.state = &ahci_state,
	.loaded = ahci_loaded,
};

const struct ata_transport ahci_transport = {
	.controller = &ahci_class,
	.default_mode = 0x45, /* Ultra DMA 5 */
	.attach = ahci_attach,
	.detach = ahci_detach,
};
