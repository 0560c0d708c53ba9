/*
 * MSI-X: PCI 3.0, 6.8.2.
 *
 * pci_msix_fire runs on any thread without a lock against a guest that masks
 * and unmasks under the function's lock.  Both sides first store (pending bit,
 * or cleared mask) and then look at what the other stored, all sequentially
 * consistent, so one of them sees the other and the pending bit is delivered
 * by whoever clears it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/pci/pci_internal.h"

#define TABLE_WORDS 4 /* address low, high, data, control */

static uint32_t table_get(const struct pci_msix *x, unsigned word)
{
	return __atomic_load_n(&x->table[word], __ATOMIC_SEQ_CST);
}

static void table_put(struct pci_msix *x, unsigned word, uint32_t value)
{
	__atomic_store_n(&x->table[word], value, __ATOMIC_SEQ_CST);
}

static uint16_t control_get(const struct pci_msix *x)
{
	return __atomic_load_n(&x->control, __ATOMIC_SEQ_CST);
}

static bool is_masked(const struct pci_msix *x, unsigned vector)
{
	return (control_get(x) & MSIX_MASK_ALL) ||
	       (table_get(x, vector * TABLE_WORDS + 3) & MSIX_VECTOR_MASK);
}

/* True for the one who takes the pending bit away. */
static bool pending_take(struct pci_msix *x, unsigned vector)
{
	uint64_t bit = 1ull << vector;

	return __atomic_fetch_and(&x->pending, ~bit, __ATOMIC_SEQ_CST) & bit;
}

void pci_msix_fire(struct pci_dev *d, unsigned vector)
{
	struct pci_msix *x = &d->msix;

	if (vector >= x->nr || !(control_get(x) & MSIX_ENABLE))
		return;
	if (is_masked(x, vector)) {
		__atomic_fetch_or(&x->pending, 1ull << vector,
				  __ATOMIC_SEQ_CST);
		if (is_masked(x, vector) || !pending_take(x, vector))
			return;
	}
	irq_msi_fire(&x->msi[vector]);
}

bool pci_msix_enabled(const struct pci_dev *d)
{
	return d->msix.nr && (control_get(&d->msix) & MSIX_ENABLE);
}

/* Gives the vector's message to the hub, if it changed. */
static void vector_bind(struct pci_msix *x, unsigned vector)
{
	const uint32_t *t = x->table + vector * TABLE_WORDS;
	uint64_t addr = t[0] | (uint64_t)t[1] << 32;
	struct irq_msi *msi = &x->msi[vector];
	uint64_t bit = 1ull << vector;

	if ((x->bound & bit) && msi->addr == addr && msi->data == t[2])
		return;
	irq_msi_set(msi, addr, t[2], true);
	x->bound |= bit;
}

static void vector_unbind(struct pci_msix *x, unsigned vector)
{
	uint64_t bit = 1ull << vector;

	if (x->bound & bit)
		irq_msi_set(&x->msi[vector], 0, 0, false);
	x->bound &= ~bit;
}

static void vector_flush(struct pci_msix *x, unsigned vector)
{
	if (!is_masked(x, vector) && pending_take(x, vector))
		irq_msi_fire(&x->msi[vector]);
}

void pci_msix_control(struct pci_dev *d)
{
	struct pci_msix *x = &d->msix;
	uint16_t control = pci_get16(d->config + x->cap + 2);
	bool on = control & MSIX_ENABLE;

	/* Messages are in place before anyone may fire them. */
	for (unsigned v = 0; on && v < x->nr; v++)
		if (!(control & MSIX_MASK_ALL) &&
		    !(x->table[v * TABLE_WORDS + 3] & MSIX_VECTOR_MASK))
			vector_bind(x, v);
	__atomic_store_n(&x->control, control, __ATOMIC_SEQ_CST);
	for (unsigned v = 0; v < x->nr; v++) {
		if (on)
			vector_flush(x, v);
		else
			vector_unbind(x, v);
	}
	if (!on)
		__atomic_store_n(&x->pending, 0, __ATOMIC_SEQ_CST);
}

/* ---- the table and the pending bits, as the guest sees them ---- */

static uint64_t msix_read(void *opaque, uint64_t off, unsigned len)
{
	struct pci_dev *d = opaque;
	struct pci_msix *x = &d->msix;

	(void)len;
	if (off & 3)
		return 0;
	if (off < x->nr * TABLE_WORDS * 4)
		return x->table[off / 4];
	if (off == MSIX_PBA_OFF || off == MSIX_PBA_OFF + 4)
		return (uint32_t)(__atomic_load_n(&x->pending,
						  __ATOMIC_SEQ_CST) >>
				  (off == MSIX_PBA_OFF ? 0 : 32));
	return 0;
}

static void msix_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct pci_dev *d = opaque;
	struct pci_msix *x = &d->msix;
	unsigned word = off / 4, vector = word / TABLE_WORDS;
	bool live;

	if (len != 4 || (off & 3) || vector >= x->nr)
		return;
	live = (control_get(x) & (MSIX_ENABLE | MSIX_MASK_ALL)) == MSIX_ENABLE;
	if (word % TABLE_WORDS == 3) {
		if (live && !(value & MSIX_VECTOR_MASK))
			vector_bind(x, vector);
		table_put(x, word, value & MSIX_VECTOR_MASK);
		if (live)
			vector_flush(x, vector);
		return;
	}
	table_put(x, word, word % TABLE_WORDS == 0 ? value & ~3ull : value);
	if (live && !is_masked(x, vector))
		vector_bind(x, vector);
}

static const struct bus_ops msix_ops = {
	.read = msix_read,
	.write = msix_write,
	.min_len = 4,
	.max_len = 4,
};

/* ---- life ---- */

int pci_msix_init(struct pci_dev *d, unsigned nr, unsigned bar, uint32_t off,
		  struct error *e)
{
	struct pci_msix *x = &d->msix;
	struct pci_bar *b = &d->bars[bar];
	uint8_t *c;

	if (!nr || nr > PCI_MAX_VECTORS || b->kind < PCI_BAR_MEM32 ||
	    (off & 0xfff) || off + MSIX_LEN > b->len)
		return error_set(e, -EINVAL,
				 "%s: %u MSI-X vectors don't fit at 0x%x of "
				 "BAR %u",
				 d->dev.name, nr, off, bar);
	x->nr = nr;
	x->bar = bar;
	x->off = off;
	x->cap = pci_cap_add(d, MSIX_CAP_ID, 12);
	c = d->config + x->cap;
	pci_put16(c + 2, nr - 1);
	pci_put32(c + 4, off | bar);
	pci_put32(c + 8, (off + MSIX_PBA_OFF) | bar);
	d->wmask[x->cap + 3] = (MSIX_ENABLE | MSIX_MASK_ALL) >> 8;
	for (unsigned v = 0; v < nr; v++) {
		x->table[v * TABLE_WORDS + 3] = MSIX_VECTOR_MASK;
		/* Without a route of its own it is sent message by message. */
		irq_msi_init(&x->msi[v], d->dev.m->irq);
	}
	x->region = (struct region){.kind = REGION_IO,
				    .len = MSIX_LEN,
				    .priority = 2,
				    .ops = &msix_ops,
				    .dev = &d->dev,
				    .opaque = d};
	snprintf(x->region.name, sizeof(x->region.name), "%.24s.msix",
		 d->dev.name);
	mem_region_add(d->dev.m->mem, &x->region);
	return 0;
}

void pci_msix_place(struct pci_dev *d)
{
	struct pci_msix *x = &d->msix;
	uint64_t addr = d->bars[x->bar].addr;
	bool on = addr != PCI_UNMAPPED;
	uint64_t gpa = on ? addr + x->off : 0;

	if (x->region.enabled == on && x->region.gpa == gpa)
		return;
	mem_region_set(d->dev.m->mem, &x->region, gpa, REGION_IO, on);
}

void pci_msix_reset(struct pci_dev *d)
{
	struct pci_msix *x = &d->msix;

	pci_msix_control(d);
	for (unsigned i = 0; i < x->nr * TABLE_WORDS; i++)
		table_put(x, i, i % TABLE_WORDS == 3 ? MSIX_VECTOR_MASK : 0);
}

void pci_msix_loaded(struct pci_dev *d)
{
	struct pci_msix *x = &d->msix;

	for (unsigned v = 0; v < x->nr; v++)
		x->table[v * TABLE_WORDS + 3] &= MSIX_VECTOR_MASK;
	pci_msix_control(d);
}

void pci_msix_fini(struct pci_dev *d)
{
	struct pci_msix *x = &d->msix;

	if (!x->nr)
		return;
	for (unsigned v = 0; v < x->nr; v++)
		irq_msi_fini(&x->msi[v]);
	mem_region_remove(d->dev.m->mem, &x->region);
	x->nr = 0;
}
