/*
 * Accesses that nothing answers, or that nothing should: ports and memory with
 * no device, ROM, odd sizes and crossings.  A sound machine gives all ones or
 * ignores them, and goes on.
 */
#include "share/guest/guest.h"

static unsigned nr_accesses;

static void poke_port(uint16_t port)
{
	outb(port, 0xa5);
	outw(port, 0xa5a5);
	outl(port, 0xa5a5a5a5);
	nr_accesses += 6;
	(void)inb(port);
	(void)inw(port);
	(void)inl(port);
}

static void poke_memory(uint64_t address)
{
	volatile char *at = (volatile char *)address;

	for (unsigned odd = 0; odd < 2; odd++, at += 3) {
		(void)*at;
		(void)*(volatile uint16_t *)at;
		(void)*(volatile uint32_t *)at;
		(void)*(volatile uint64_t *)at;
		*at = 0x5a;
		*(volatile uint16_t *)at = 0x5a5a;
		*(volatile uint32_t *)at = 0x5a5a5a5a;
		*(volatile uint64_t *)at = 0x5a5a5a5a5a5a5a5a;
		nr_accesses += 8;
	}
}

void wild_run(void)
{
	static const uint16_t ports[] = {0x0f0,	 0x250,	 0x3e0, 0x6fe,
					 0x1500, 0xbeef, 0xfffc};
	static const uint64_t addresses[] = {0xfffff000, 0xffffff00,
					     0xfed80000, 0xfef00000,
					     0xdffffffe, 0x000f8000};
	uint64_t high = 1ul << 36;

	nr_accesses = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		poke_port(ports[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
		poke_memory(addresses[i]);
	if (memory_map(high, 2 * MIB))
		poke_memory(high);
	/* A device that is not there, and a register past a device's own. */
	(void)pci_read(0xffff, 0, 4);
	pci_write(0xfff8, 4, 2, 0xffff);
	print("wild done accesses=%u", nr_accesses + 2);
}
