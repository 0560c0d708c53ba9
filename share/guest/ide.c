/*
 * A disk behind an IDE controller with the ports of a PC and a bus master (Intel
 * 82371AB): two channels of two disks, one command at a time.  An answer comes
 * by ISA interrupt 14 or 15.
 */
#include "share/guest/ata.h"

#define CLASS  0x0101
#define BM_BAR 4
#define UNITS  4

enum { DATA, FEATURES, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, STATUS };
enum { BM_COMMAND = 0, BM_STATUS = 2, BM_LIST = 4 };
enum { BM_START = 0x01, BM_TO_MEMORY = 0x08 };
enum { BM_FAILED = 0x02, BM_INTERRUPT = 0x04 };
enum { DEVICE_LBA = 0x40, DEVICE_SECOND = 0x10 };
#define PRD_LAST (1u << 31)

static struct {
	uint32_t address, len;
} list __attribute__((aligned(8)));
static uint16_t identity[256];

/* The first port of the command block, the control port, the bus master's. */
static uint16_t block, control, master;
static uint8_t device;
static bool busy;
static struct ata_cache cache;

static void on_interrupt(void)
{
	/* Its work was to end the wait: reap() acknowledges. */
}

static void out_twice(unsigned reg, uint64_t older, uint64_t newer)
{
	outb((uint16_t)(block + reg), (uint8_t)older);
	outb((uint16_t)(block + reg), (uint8_t)newer);
}

static void issue(const struct ata_command *c)
{
	outb((uint16_t)(block + DEVICE), device);
	outb((uint16_t)(block + FEATURES), c->features);
	out_twice(COUNT, c->count >> 8, c->count);
	out_twice(LBA_LOW, c->sector >> 24, c->sector);
	out_twice(LBA_MID, c->sector >> 32, c->sector >> 8);
	out_twice(LBA_HIGH, c->sector >> 40, c->sector >> 16);
	outb((uint16_t)(block + STATUS), c->code);
}

/* Reading the status takes the interrupt back. */
static uint8_t finish(void)
{
	uint8_t status = inb((uint16_t)(block + STATUS));

	outb((uint16_t)(master + BM_COMMAND), 0);
	outb((uint16_t)(master + BM_STATUS), BM_INTERRUPT | BM_FAILED);
	return status;
}

/* Without data, or with those that wait in the data port afterwards; its
 * status, as an error when it never came. */
static uint8_t command(uint8_t code, uint8_t features)
{
	struct ata_command c = {.code = code, .features = features};
	uint64_t end = timer_ms() + DISK_WAIT_MS;

	issue(&c);
	while (inb(control) & ATA_BUSY) {
		if (timer_ms() > end)
			return ATA_ERROR;
		relax();
	}
	return finish();
}

static void choose(unsigned unit)
{
	bool second = unit / 2;

	block = second ? 0x170 : 0x1f0;
	control = second ? 0x376 : 0x3f6;
	device = DEVICE_LBA | (unit % 2 ? DEVICE_SECOND : 0);
}

static bool identify(struct disk_facts *facts)
{
	uint8_t status;

	outb((uint16_t)(block + DEVICE), device);
	status = inb(control);
	if (!status || status == 0xff)
		return false;
	outb(control, 0); /* interrupts on */
	/* A CD-ROM drive refuses. */
	status = command(ATA_IDENTIFY, 0);
	if ((status & (ATA_ERROR | ATA_DATA)) != ATA_DATA)
		return false;
	insw((uint16_t)(block + DATA), identity, ARRAY_SIZE(identity));
	return ata_identified(identity, facts, &cache);
}

static bool probe(unsigned nth, struct disk_facts *facts)
{
	const struct pci_device *pci = pci_find_class(CLASS, 0);
	uint16_t ports = pci ? pci_ports(pci->bdf, BM_BAR) : 0;

	if (!ports)
		return false;
	for (unsigned i = 0; i < UNITS; i++) {
		choose(i);
		master = (uint16_t)(ports + i / 2 * 8);
		if (!identify(facts) || nth--)
			continue;
		interrupt_route_isa(14 + i / 2, on_interrupt);
		facts->slots = 1;
		facts->by_message = false;
		return true;
	}
	return false;
}

static void submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		   uint32_t len)
{
	struct ata_command c = ata_request(op, sector, len);
	uint8_t way = op == DISK_READ ? BM_TO_MEMORY : 0;

	(void)slot;
	busy = true;
	if (!len) {
		issue(&c);
		return;
	}
	list.address = (uint32_t)(uint64_t)buf;
	list.len = len | PRD_LAST;
	compiler_barrier();
	outl((uint16_t)(master + BM_LIST), (uint32_t)(uint64_t)&list);
	outb((uint16_t)(master + BM_COMMAND), way);
	issue(&c);
	outb((uint16_t)(master + BM_COMMAND), way | BM_START);
}

static int reap(uint8_t *status)
{
	uint8_t how;

	if (!busy)
		return -1;
	how = inb((uint16_t)(master + BM_STATUS));
	if (!(how & BM_INTERRUPT) || inb(control) & ATA_BUSY)
		return -1;
	compiler_barrier();
	*status = (finish() & (ATA_ERROR | ATA_FAULT)) || how & BM_FAILED;
	busy = false;
	return 0;
}

static int write_cache(void)
{
	return cache.is_on;
}

static bool set_write_cache(bool on)
{
	if (!cache.can_change ||
	    command(ATA_SET_FEATURES, on ? ATA_CACHE_ON : ATA_CACHE_OFF) &
		    (ATA_ERROR | ATA_FAULT))
		return false;
	cache.is_on = on;
	return true;
}

const struct disk_driver ide_driver = {
	.name = "ide",
	.probe = probe,
	.submit = submit,
	.reap = reap,
	.write_cache = write_cache,
	.set_write_cache = set_write_cache,
};
