/*
 * RAM as the loader's map tells it, and the one-to-one page tables.  boot.S
 * maps the first 4 GiB; memory_map() adds 2 MiB pages above.  What can be
 * dirtied is RAM from DIRTY_FROM on; below it are the guest itself and, from
 * TABLE_AT on, dirty.c's table of one number per page.
 */
#include "share/guest/guest.h"

#define TABLE_AT    (4 * MIB)
#define DIRTY_FROM  (16 * MIB)
#define RANGE_MAX   32
#define TABLE_MAX   64
#define LARGE	    (2 * MIB)
#define GIB	    (1ul << 30)
#define PTE_PRESENT 1
#define PTE_TABLE   0x03
#define PTE_LARGE   0x83

static struct {
	uint64_t address, pages;
} ranges[RANGE_MAX];
static unsigned nr_ranges;
static uint64_t low_end;

extern uint64_t page_pml4[512], page_pdpt[512];
static uint64_t tables[TABLE_MAX][512] SCRATCH(4096);
static unsigned nr_tables;

static uint64_t *table_below(uint64_t *entry)
{
	if (!(*entry & PTE_PRESENT)) {
		if (nr_tables == TABLE_MAX)
			return NULL;
		fill64(tables[nr_tables], 0, 512);
		*entry = (uint64_t)tables[nr_tables++] | PTE_TABLE;
	}
	return (uint64_t *)(*entry & ~0xffful);
}

bool memory_map(uint64_t address, uint64_t len)
{
	uint64_t end = address + len;

	if (end < address || end > 1ul << 47)
		return false;
	for (address &= ~(LARGE - 1); address < end; address += LARGE) {
		uint64_t *pdpt = table_below(&page_pml4[address >> 39]);
		uint64_t *pd;

		if (!pdpt)
			return false;
		pd = table_below(&pdpt[address >> 30 & 511]);
		if (!pd)
			return false;
		if (!(pd[address >> 21 & 511] & PTE_PRESENT))
			pd[address >> 21 & 511] = address | PTE_LARGE;
	}
	return true;
}

static void add_range(uint64_t address, uint64_t end)
{
	address = (address + PAGE - 1) & ~(PAGE - 1);
	end &= ~(PAGE - 1);
	if (address < DIRTY_FROM)
		address = DIRTY_FROM;
	if (address >= end || nr_ranges == RANGE_MAX)
		return;
	if (!memory_map(address, end - address))
		return;
	ranges[nr_ranges].address = address;
	ranges[nr_ranges++].pages = (end - address) / PAGE;
}

void memory_init(const struct memory_entry *map, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		uint64_t end = map[i].address + map[i].size;

		if (map[i].type != 1)
			continue;
		if (end <= 4 * GIB && end > low_end)
			low_end = end;
		add_range(map[i].address, end);
	}
}

uint64_t memory_ram_pages(void)
{
	uint64_t pages = 0, most = (DIRTY_FROM - TABLE_AT) / sizeof(uint32_t);

	for (unsigned i = 0; i < nr_ranges; i++)
		pages += ranges[i].pages;
	return pages < most ? pages : most;
}

uint64_t memory_ram_page(uint64_t index)
{
	for (unsigned i = 0; i < nr_ranges; i++) {
		if (index < ranges[i].pages)
			return ranges[i].address + index * PAGE;
		index -= ranges[i].pages;
	}
	return 0;
}

uint64_t memory_low_end(void)
{
	return low_end;
}

uint32_t *memory_page_table(void)
{
	return (uint32_t *)TABLE_AT;
}
