/* What firmware would have done to the board: see q35_direct_setup. */
#include "core/device.h"
#include "core/hw/chipset/q35.h"
#include "core/hw/pci.h"

#define IO_BASE 0xc000u
#define IO_END	0xffffu

#define CMD_IO_MEM_MASTER 0x7

/* The next free place of each window. */
struct windows {
	uint64_t io, mem;
};

static uint64_t window_take(uint64_t *next, uint64_t end, uint64_t len)
{
	uint64_t at = (*next + len - 1) & ~(len - 1);

	if (at + len > end)
		return UINT64_MAX;
	*next = at + len;
	return at;
}

/* PCI 3.0 wants memory BARs on pages of their own. */
static void bar_assign(struct pci_dev *d, unsigned i, struct windows *w)
{
	const struct pci_bar *b = &d->bars[i];
	unsigned off = 0x10 + 4 * i;
	uint64_t at;

	if (b->kind == PCI_BAR_IO)
		at = window_take(&w->io, IO_END, b->len);
	else
		at = window_take(&w->mem, Q35_MMIO_LOW_END,
				 b->len < 4096 ? 4096 : b->len);
	if (at == UINT64_MAX)
		return;
	pci_config_write(d, off, at, 4);
	if (b->kind == PCI_BAR_MEM64 || b->kind == PCI_BAR_MEM64_PREFETCH)
		pci_config_write(d, off + 4, at >> 32, 4);
}

static void function_setup(struct pci_dev *d, struct windows *w)
{
	static const uint8_t isa_lines[4] = {10, 10, 11, 11};

	for (unsigned i = 0; i < PCI_BAR_ROM; i++)
		if (d->bars[i].kind != PCI_BAR_NONE)
			bar_assign(d, i, w);
	if (d->config[0x3d])
		pci_config_write(d, 0x3c,
				 isa_lines[pci_pirq_of(d->devfn, 0) & 3], 1);
	pci_config_write(d, 0x04, CMD_IO_MEM_MASTER, 2);
}

static void bridges_setup(struct machine *m)
{
	static const uint8_t isa_lines[4] = {10, 10, 11, 11};
	struct pci_dev *mch = pci_find(m->pci, 0, PCI_DEVFN(0, 0));
	struct pci_dev *lpc = pci_find(m->pci, 0, PCI_DEVFN(31, 0));

	pci_config_write(mch, 0x60, Q35_ECAM_BASE | 1, 4);
	pci_config_write(mch, 0x90, 0x30, 1);
	for (unsigned i = 1; i < 7; i++)
		pci_config_write(mch, 0x90 + i, 0x33, 1);
	pci_config_write(lpc, 0x40, Q35_PM_BASE, 4);
	pci_config_write(lpc, 0x44, 0x80, 1);
	for (unsigned i = 0; i < 4; i++) {
		pci_config_write(lpc, 0x60 + i, isa_lines[i], 1);
		pci_config_write(lpc, 0x68 + i, isa_lines[i], 1);
	}
}

void q35_direct_setup(struct machine *m)
{
	struct windows w = {.io = IO_BASE, .mem = Q35_MMIO_LOW};

	bridges_setup(m);
	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct pci_dev *d = pci_find(m->pci, 0, devfn);

		if (d && devfn != PCI_DEVFN(0, 0) && devfn != PCI_DEVFN(31, 0))
			function_setup(d, &w);
	}
}
