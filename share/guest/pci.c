/*
 * PCI by configuration mechanism 1.  A start without firmware leaves BARs
 * empty: pci_bar() then places those of memory in a window that holds neither
 * RAM nor the ECAM area, one after the other, pci_ports() those of ports.
 */
#include "share/guest/guest.h"

#define ADDRESS	    0xcf8
#define DATA	    0xcfc
#define DEVICE_MAX  32
#define WINDOW_FROM 0xe0000000ul
#define WINDOW_TO   0xfec00000ul
#define ECAM_SIZE   (256 * MIB)
#define PORTS_FROM  0xc000
#define PORTS_SIZE  0x100 /* no function has more */

enum {
	PCI_VENDOR = 0x00,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_CLASS = 0x0a,
	PCI_HEADER = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SECONDARY = 0x19,
	PCI_CAPABILITIES = 0x34,
};

enum {
	COMMAND_IO = 0x01,
	COMMAND_MEMORY = 0x02,
	COMMAND_MASTER = 0x04,
	COMMAND_NO_INTX = 0x400,
	STATUS_CAPABILITIES = 0x10,
	BAR_IO = 0x01,
	BAR_64 = 0x04,
	CAPABILITY_MSI = 0x05,
	CAPABILITY_MSIX = 0x11,
	MSI_ENABLE = 0x0001,
	MSI_MANY = 0x0070,
	MSI_64 = 0x0080,
	MSIX_ENABLE = 0x8000,
};

static struct pci_device devices[DEVICE_MAX];
static unsigned nr_devices;
static uint64_t window;
static uint16_t ports = PORTS_FROM;

static void select(uint16_t bdf, unsigned offset)
{
	outl(ADDRESS, 0x80000000u | (uint32_t)bdf << 8 | (offset & 0xfc));
}

uint32_t pci_read(uint16_t bdf, unsigned offset, unsigned bytes)
{
	uint16_t port = (uint16_t)(DATA + (offset & 3));

	select(bdf, offset);
	if (bytes == 1)
		return inb(port);
	return bytes == 2 ? inw(port) : inl(port);
}

void pci_write(uint16_t bdf, unsigned offset, unsigned bytes, uint32_t value)
{
	uint16_t port = (uint16_t)(DATA + (offset & 3));

	select(bdf, offset);
	if (bytes == 1)
		outb(port, (uint8_t)value);
	else if (bytes == 2)
		outw(port, (uint16_t)value);
	else
		outl(port, value);
}

static void scan_bus(unsigned bus, unsigned depth);

/* Returns whether the device may have more functions. */
static bool scan_function(uint16_t bdf, unsigned depth)
{
	uint32_t id = pci_read(bdf, PCI_VENDOR, 4);
	uint8_t header;

	if ((id & 0xffff) == 0xffff || !id)
		return false;
	if (nr_devices < DEVICE_MAX) {
		devices[nr_devices].bdf = bdf;
		devices[nr_devices].class =
			(uint16_t)pci_read(bdf, PCI_CLASS, 2);
		devices[nr_devices].vendor = (uint16_t)id;
		devices[nr_devices++].device = (uint16_t)(id >> 16);
	}
	header = (uint8_t)pci_read(bdf, PCI_HEADER, 1);
	if ((header & 0x7f) == 1) {
		unsigned bus = pci_read(bdf, PCI_SECONDARY, 1);

		if (bus > (unsigned)bdf >> 8 && depth < 8)
			scan_bus(bus, depth + 1);
	}
	return header & 0x80;
}

static void scan_bus(unsigned bus, unsigned depth)
{
	for (unsigned slot = 0; slot < 32; slot++) {
		uint16_t bdf = (uint16_t)(bus << 8 | slot << 3);

		if (!scan_function(bdf, depth))
			continue;
		for (unsigned function = 1; function < 8; function++)
			scan_function((uint16_t)(bdf | function), depth);
	}
}

void pci_init(void)
{
	window = WINDOW_FROM;
	if (memory_low_end() > window)
		window = memory_low_end();
	if (acpi.ecam + ECAM_SIZE > window && acpi.ecam < WINDOW_TO)
		window = acpi.ecam + ECAM_SIZE;
	scan_bus(0, 0);
}

const struct pci_device *pci_find(uint16_t vendor, uint16_t device,
				  unsigned nth)
{
	for (unsigned i = 0; i < nr_devices; i++) {
		if (devices[i].vendor == vendor &&
		    devices[i].device == device && !nth--)
			return &devices[i];
	}
	return NULL;
}

const struct pci_device *pci_find_class(uint16_t class, unsigned nth)
{
	for (unsigned i = 0; i < nr_devices; i++) {
		if (devices[i].class == class && !nth--)
			return &devices[i];
	}
	return NULL;
}

static uint64_t bar_size(uint16_t bdf, unsigned offset, bool is_64)
{
	uint64_t mask;

	pci_write(bdf, offset, 4, 0xffffffff);
	mask = pci_read(bdf, offset, 4) & ~0xful;
	if (is_64) {
		pci_write(bdf, offset + 4, 4, 0xffffffff);
		mask |= (uint64_t)pci_read(bdf, offset + 4, 4) << 32;
		pci_write(bdf, offset + 4, 4, 0);
	} else {
		mask |= 0xffffffff00000000;
	}
	pci_write(bdf, offset, 4, 0);
	return ~mask + 1;
}

static uint64_t place_bar(uint16_t bdf, unsigned offset, uint64_t size)
{
	uint64_t address = (window + size - 1) & ~(size - 1);

	if (!size || address + size > WINDOW_TO)
		return 0;
	window = address + size;
	pci_write(bdf, offset, 4, (uint32_t)address);
	return address;
}

uint64_t pci_bar(uint16_t bdf, unsigned bar)
{
	unsigned offset = PCI_BAR0 + bar * 4;
	uint32_t low = pci_read(bdf, offset, 4);
	uint32_t command = pci_read(bdf, PCI_COMMAND, 2);
	uint64_t address = low & ~0xfu, size;
	bool is_64 = low & BAR_64;

	if (low & BAR_IO || bar > 5)
		return 0;
	if (is_64)
		address |= (uint64_t)pci_read(bdf, offset + 4, 4) << 32;
	pci_write(bdf, PCI_COMMAND, 2, command & ~(uint32_t)COMMAND_MEMORY);
	size = bar_size(bdf, offset, is_64);
	if (address) {
		pci_write(bdf, offset, 4, (uint32_t)address);
		if (is_64)
			pci_write(bdf, offset + 4, 4,
				  (uint32_t)(address >> 32));
	} else {
		address = place_bar(bdf, offset, size);
	}
	pci_write(bdf, PCI_COMMAND, 2,
		  command | COMMAND_MEMORY | COMMAND_MASTER);
	return address && memory_map(address, size) ? address : 0;
}

uint16_t pci_ports(uint16_t bdf, unsigned bar)
{
	unsigned offset = PCI_BAR0 + bar * 4;
	uint32_t value = pci_read(bdf, offset, 4);
	uint32_t command = pci_read(bdf, PCI_COMMAND, 2);

	if (!(value & BAR_IO))
		return 0;
	if (!(value & 0xfffc)) {
		value = ports;
		ports += PORTS_SIZE;
		pci_write(bdf, offset, 4, value);
	}
	pci_write(bdf, PCI_COMMAND, 2, command | COMMAND_IO | COMMAND_MASTER);
	return (uint16_t)(value & 0xfffc);
}

unsigned pci_capability(uint16_t bdf, uint8_t id, unsigned after)
{
	unsigned at = after ? after + 1 : PCI_CAPABILITIES;

	if (!(pci_read(bdf, PCI_STATUS, 2) & STATUS_CAPABILITIES))
		return 0;
	/* A list that loops ends when it could have named every offset. */
	for (unsigned i = 0; i < 48; i++) {
		at = pci_read(bdf, at, 1) & 0xfc;
		if (!at || pci_read(bdf, at, 1) == id)
			return at;
		at++;
	}
	return 0;
}

bool pci_enable_msi(uint16_t bdf, unsigned vector)
{
	unsigned at = pci_capability(bdf, CAPABILITY_MSI, 0), data;
	uint32_t control;

	if (!at)
		return false;
	control = pci_read(bdf, at + 2, 2);
	data = at + (control & MSI_64 ? 12 : 8);
	pci_write(bdf, at + 4, 4, 0xfee00000 | lapic_id() << 12);
	if (control & MSI_64)
		pci_write(bdf, at + 8, 4, 0);
	pci_write(bdf, data, 2, vector);
	control &= ~(uint32_t)MSI_MANY;
	pci_write(bdf, at + 2, 2, control | MSI_ENABLE);
	return true;
}

bool pci_enable_msix(uint16_t bdf, unsigned vector)
{
	unsigned at = pci_capability(bdf, CAPABILITY_MSIX, 0);
	volatile uint32_t *entry;
	uint32_t table;
	uint64_t bar;

	if (!at)
		return false;
	table = pci_read(bdf, at + 4, 4);
	bar = pci_bar(bdf, table & 7);
	if (!bar)
		return false;
	entry = (volatile uint32_t *)(bar + (table & ~7u));
	entry[0] = 0xfee00000 | lapic_id() << 12;
	entry[1] = 0;
	entry[2] = vector;
	entry[3] = 0;
	pci_write(bdf, at + 2, 2, pci_read(bdf, at + 2, 2) | MSIX_ENABLE);
	pci_write(bdf, PCI_COMMAND, 2,
		  pci_read(bdf, PCI_COMMAND, 2) | COMMAND_NO_INTX);
	return true;
}
