/* Base address registers and the expansion ROM: PCI 3.0, 6.2.5. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hw/pci/pci_internal.h"

#define ROM_MAX_LEN (16u << 20)

/* Config bytes that hold BAR index. */
static unsigned bar_offset(unsigned index)
{
	return index == PCI_BAR_ROM ? PCI_ROM : PCI_BAR0 + 4 * index;
}

static bool is_64(const struct pci_bar *b)
{
	return b->kind == PCI_BAR_MEM64 || b->kind == PCI_BAR_MEM64_PREFETCH;
}

/* ---- counting handlers around the owner's ---- */

static uint64_t bar_read(void *opaque, uint64_t off, unsigned len)
{
	struct pci_bar *b = opaque;

	__atomic_fetch_add(&b->reads, 1, __ATOMIC_RELAXED);
	return b->inner->read(b->opaque, off, len);
}

static void bar_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct pci_bar *b = opaque;

	__atomic_fetch_add(&b->writes, 1, __ATOMIC_RELAXED);
	b->inner->write(b->opaque, off, value, len);
}

static void bar_read_many(void *opaque, uint64_t off, void *buf, unsigned len,
			  unsigned count)
{
	struct pci_bar *b = opaque;

	__atomic_fetch_add(&b->reads, count, __ATOMIC_RELAXED);
	b->inner->read_many(b->opaque, off, buf, len, count);
}

/* ---- set-up ---- */

static void bar_declare(struct pci_dev *d, unsigned index,
			enum pci_bar_kind kind, uint64_t len)
{
	static const uint8_t type_bits[] = {
		[PCI_BAR_IO] = 0x1,
		[PCI_BAR_MEM32] = 0x0,
		[PCI_BAR_MEM64] = 0x4,
		[PCI_BAR_MEM64_PREFETCH] = 0xc,
	};
	struct pci_bar *b = &d->bars[index];
	unsigned off = bar_offset(index);
	uint64_t mask = ~(len - 1);

	b->kind = kind;
	b->len = len;
	b->addr = PCI_UNMAPPED;
	if (index != PCI_BAR_ROM)
		d->config[off] = type_bits[kind];
	if (index == PCI_BAR_ROM)
		mask |= PCI_ROM_ENABLE;
	pci_put32(d->wmask + off, mask);
	if (is_64(b))
		pci_put32(d->wmask + off + 4, mask >> 32);
}

static void region_name(struct pci_dev *d, unsigned index, char *out,
			size_t len)
{
	if (index == PCI_BAR_ROM)
		snprintf(out, len, "%.24s.rom", d->dev.name);
	else
		snprintf(out, len, "%.24s.bar%u", d->dev.name, index);
}

void pci_bar_io(struct pci_dev *d, unsigned index, enum pci_bar_kind kind,
		uint64_t len, const struct bus_ops *ops, void *opaque)
{
	struct pci_bar *b = &d->bars[index];

	bar_declare(d, index, kind, len);
	b->inner = ops;
	b->opaque = opaque;
	b->ops = *ops;
	b->ops.read = bar_read;
	b->ops.write = bar_write;
	if (ops->read_many)
		b->ops.read_many = bar_read_many;
	if (kind == PCI_BAR_IO) {
		b->ports = (struct bus_ports){
			.nr = len, .ops = &b->ops, .dev = &d->dev, .opaque = b};
		region_name(d, index, b->ports.name, sizeof(b->ports.name));
		bus_ports_add(d->dev.m->bus, &b->ports);
		return;
	}
	b->region = (struct region){.kind = REGION_IO,
				    .len = len,
				    .priority = 1,
				    .ops = &b->ops,
				    .dev = &d->dev,
				    .opaque = b};
	region_name(d, index, b->region.name, sizeof(b->region.name));
	mem_region_add(d->dev.m->mem, &b->region);
}

static void bar_block(struct pci_dev *d, unsigned index, enum region_kind kind,
		      struct ram_block *block)
{
	struct pci_bar *b = &d->bars[index];

	b->region = (struct region){
		.kind = kind, .len = b->len, .priority = 1, .block = block};
	region_name(d, index, b->region.name, sizeof(b->region.name));
	mem_region_add(d->dev.m->mem, &b->region);
}

void pci_bar_ram(struct pci_dev *d, unsigned index, enum pci_bar_kind kind,
		 struct ram_block *block)
{
	bar_declare(d, index, kind, mem_block_len(block));
	bar_block(d, index, REGION_RAM, block);
}

static int rom_read(int fd, const char *path, uint8_t *buf, size_t len,
		    struct error *e)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(e, errno, "reading option ROM '%s'",
					   path);
		if (n == 0)
			return error_set(e, -EIO,
					 "option ROM '%s' became shorter while "
					 "it was read",
					 path);
		done += n;
	}
	return 0;
}

static int rom_fill(struct pci_dev *d, int fd, const char *path,
		    struct error *e)
{
	char name[32];
	struct ram_block *block;
	uint64_t len = 4096;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return error_errno(e, errno, "option ROM '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_size < 3 || st.st_size > ROM_MAX_LEN)
		return error_set(e, -EINVAL,
				 "option ROM '%s' is not a file of 3 bytes to "
				 "16 MiB",
				 path);
	while (len < (uint64_t)st.st_size)
		len *= 2;
	region_name(d, PCI_BAR_ROM, name, sizeof(name));
	block = mem_block_create(d->dev.m->mem, name, len, e);
	if (!block)
		return e && e->code ? e->code : -ENOMEM;
	r = rom_read(fd, path, mem_block_host(block), st.st_size, e);
	if (r < 0)
		return r;
	mem_block_mark(block, 0, len);
	bar_declare(d, PCI_BAR_ROM, PCI_BAR_MEM32, len);
	bar_block(d, PCI_BAR_ROM, REGION_ROM, block);
	return 0;
}

int pci_rom_load(struct pci_dev *d, const char *path, struct error *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return error_errno(e, errno, "opening option ROM '%s'", path);
	r = rom_fill(d, fd, path, e);
	close(fd);
	return r;
}

/* ---- decoding ---- */

static uint64_t bar_decode(const struct pci_dev *d, unsigned index)
{
	const struct pci_bar *b = &d->bars[index];
	const uint8_t *c = d->config + bar_offset(index);
	uint16_t command = pci_get16(d->config + PCI_COMMAND);
	uint64_t addr = pci_get32(c), limit = UINT32_MAX;

	if (!(command &
	      (b->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEM)))
		return PCI_UNMAPPED;
	if (index == PCI_BAR_ROM && !(addr & PCI_ROM_ENABLE))
		return PCI_UNMAPPED;
	if (is_64(b)) {
		addr |= (uint64_t)pci_get32(c + 4) << 32;
		limit = (1ull << 52) - 1;
	} else if (b->kind == PCI_BAR_IO) {
		limit = 0xffff;
	}
	addr &= ~(b->len - 1);
	/* A register that is being sized holds ones up to its limit. */
	if (!addr || addr >= limit || limit - addr <= b->len - 1)
		return PCI_UNMAPPED;
	return addr;
}

static void bar_place(struct pci_dev *d, unsigned index)
{
	struct pci_bar *b = &d->bars[index];
	uint64_t addr = bar_decode(d, index);
	bool on = addr != PCI_UNMAPPED;

	if (addr == b->addr)
		return;
	b->addr = addr;
	if (b->kind == PCI_BAR_IO)
		bus_ports_set(d->dev.m->bus, &b->ports, on ? addr : 0, on);
	else
		mem_region_set(d->dev.m->mem, &b->region, on ? addr : 0,
			       b->region.kind, on);
}

void pci_bars_update(struct pci_dev *d)
{
	for (unsigned i = 0; i < PCI_NR_BARS; i++)
		if (d->bars[i].kind != PCI_BAR_NONE)
			bar_place(d, i);
	if (d->msix.nr)
		pci_msix_place(d);
}

uint64_t pci_bar_addr(const struct pci_dev *d, unsigned index)
{
	return d->bars[index].addr;
}

void pci_bars_fini(struct pci_dev *d)
{
	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		struct pci_bar *b = &d->bars[i];

		if (b->kind == PCI_BAR_IO)
			bus_ports_remove(d->dev.m->bus, &b->ports);
		else if (b->kind != PCI_BAR_NONE)
			mem_region_remove(d->dev.m->mem, &b->region);
		b->kind = PCI_BAR_NONE;
	}
}
