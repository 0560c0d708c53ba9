/*
 * A disk behind AHCI 1.3: one port, commands without queuing in several slots,
 * which the controller runs one after the other.
 */
#include "share/guest/ata.h"

#define CLASS	0x0106
#define ABAR	5
#define PORTS	32
#define SLOTS	32
#define OWN	(SLOTS - 1) /* the slot of the driver's own commands */
#define IS_DISK 0x00000101  /* signature */

enum { HBA_CAP = 0, HBA_GHC = 1, HBA_IS = 2, HBA_PI = 3 }; /* words */
enum { PORT_FIRST = 0x100 / 4, PORT_WORDS = 0x80 / 4 };
enum {
	PORT_CLB = 0,
	PORT_FB = 2,
	PORT_IS = 4,
	PORT_IE = 5,
	PORT_CMD = 6,
	PORT_TFD = 8,
	PORT_SIG = 9,
	PORT_SSTS = 10,
	PORT_SERR = 12,
	PORT_CI = 14
};
#define GHC_RESET      (1u << 0)
#define GHC_INTERRUPTS (1u << 1)
#define GHC_AHCI       (1u << 31)
enum {
	CMD_START = 1 << 0,
	CMD_RECEIVE = 1 << 4,
	CMD_RECEIVING = 1 << 14,
	CMD_RUNNING = 1 << 15
};
#define IS_FAILED 0x78000000u /* task file, host bus, interface */
enum { HEADER_FIS_WORDS = 5, HEADER_WRITE = 1 << 6, HEADER_ONE_PRD = 1 << 16 };
enum { FIS_H2D = 0x27, FIS_IS_COMMAND = 0x80, DEVICE_LBA = 0x40 };

static struct {
	uint32_t flags, moved;
	uint64_t table, reserved[2];
} headers[SLOTS] __attribute__((aligned(1024)));
static struct table {
	uint8_t fis[64], packet[64];
	uint64_t address;
	uint32_t reserved, last; /* byte */
} __attribute__((aligned(128))) tables[SLOTS];
static uint8_t received[256] __attribute__((aligned(256)));
static uint16_t identity[256];

static volatile uint32_t *hba, *port;
static uint32_t busy, failed; /* slots */
static struct ata_cache cache;

/* ---- commands ---- */

static void issue(unsigned slot, const struct ata_command *c, void *buf,
		  uint32_t len, bool write)
{
	uint8_t *fis = tables[slot].fis;

	memset(fis, 0, sizeof(tables[slot].fis));
	fis[0] = FIS_H2D;
	fis[1] = FIS_IS_COMMAND;
	fis[2] = c->code;
	fis[3] = c->features;
	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = (uint8_t)(c->sector >> (8 * i));
		fis[8 + i] = (uint8_t)(c->sector >> (8 * i + 24));
	}
	fis[7] = DEVICE_LBA;
	fis[12] = (uint8_t)c->count;
	fis[13] = (uint8_t)(c->count >> 8);
	tables[slot].address = (uint64_t)buf;
	tables[slot].last = len - 1;
	headers[slot].flags = HEADER_FIS_WORDS | (write ? HEADER_WRITE : 0) |
			      (len ? HEADER_ONE_PRD : 0);
	headers[slot].moved = 0;
	headers[slot].table = (uint64_t)&tables[slot];
	busy |= 1u << slot;
	compiler_barrier();
	port[PORT_CI] = 1u << slot;
}

static bool start(void)
{
	port[PORT_CMD] &= ~(uint32_t)CMD_START;
	if (!disk_wait(&port[PORT_CMD], CMD_RUNNING, 0))
		return false;
	port[PORT_CMD] &= ~(uint32_t)CMD_RECEIVE;
	if (!disk_wait(&port[PORT_CMD], CMD_RECEIVING, 0))
		return false;
	port[PORT_CLB] = (uint32_t)(uint64_t)headers;
	port[PORT_CLB + 1] = 0;
	port[PORT_FB] = (uint32_t)(uint64_t)received;
	port[PORT_FB + 1] = 0;
	port[PORT_SERR] = ~0u;
	port[PORT_IS] = ~0u;
	port[PORT_IE] = ~0u;
	port[PORT_CMD] |= CMD_RECEIVE;
	if (!disk_wait(&port[PORT_TFD], ATA_BUSY | ATA_DATA, 0))
		return false;
	port[PORT_CMD] |= CMD_START;
	return true;
}

/* Which slots have been answered; one that failed stops the port, and takes
 * the others with it. */
static uint32_t answered(void)
{
	uint32_t is, done;

	if (!busy)
		return 0;
	is = port[PORT_IS];
	if (is) {
		/* Before the commands are looked at: what comes later, is told
		 * again. */
		port[PORT_IS] = is;
		hba[HBA_IS] = ~0u;
	}
	done = busy & ~port[PORT_CI];
	compiler_barrier();
	if (is & IS_FAILED) {
		failed |= busy & ~done;
		done = busy;
		start();
	}
	return done;
}

/* With nothing else in flight. */
static bool command(uint8_t code, uint8_t features, void *buf, uint32_t len)
{
	struct ata_command c = {.code = code, .features = features};
	uint64_t end = timer_ms() + DISK_WAIT_MS;
	bool good;

	issue(OWN, &c, buf, len, false);
	while (!answered()) {
		if (timer_ms() > end)
			return false;
		relax();
	}
	good = !failed;
	busy = failed = 0;
	return good;
}

/* ---- the driver ---- */

static bool find_controller(unsigned nth)
{
	const struct pci_device *pci = pci_find_class(CLASS, nth);
	uint64_t bar = pci ? pci_bar(pci->bdf, ABAR) : 0;

	if (!bar)
		return false;
	hba = (volatile uint32_t *)bar;
	hba[HBA_GHC] = GHC_AHCI | GHC_RESET;
	if (!disk_wait(&hba[HBA_GHC], GHC_RESET, 0))
		return false;
	hba[HBA_GHC] = GHC_AHCI | GHC_INTERRUPTS;
	return true;
}

static bool find_port(unsigned *nth)
{
	uint32_t there = hba[HBA_PI];

	for (unsigned i = 0; i < PORTS; i++) {
		port = hba + PORT_FIRST + i * PORT_WORDS;
		if (!(there >> i & 1) || (port[PORT_SSTS] & 0xf) != 3)
			continue;
		if (start() && port[PORT_SIG] == IS_DISK && !(*nth)--)
			return true;
	}
	return false;
}

static bool probe(unsigned nth, struct disk_facts *facts)
{
	for (unsigned i = 0; find_controller(i); i++) {
		if (!find_port(&nth))
			continue;
		facts->by_message =
			option_number("msix", 1) &&
			pci_enable_msi(pci_find_class(CLASS, i)->bdf,
				       VECTOR_DISK);
		facts->slots = (hba[HBA_CAP] >> 8 & 31) + 1;
		if (facts->slots > DISK_SLOTS)
			facts->slots = DISK_SLOTS;
		return command(ATA_IDENTIFY, 0, identity, sizeof(identity)) &&
		       ata_identified(identity, facts, &cache);
	}
	return false;
}

static void submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		   uint32_t len)
{
	struct ata_command c = ata_request(op, sector, len);

	issue(slot, &c, buf, len, op == DISK_WRITE);
}

static int reap(uint8_t *status)
{
	uint32_t done = answered();
	unsigned slot = 0;

	if (!done)
		return -1;
	/* Not __builtin_ctz(): what it becomes is no plain instruction. */
	while (!(done >> slot & 1))
		slot++;
	*status = failed >> slot & 1;
	busy &= ~(1u << slot);
	failed &= ~(1u << slot);
	return (int)slot;
}

static int write_cache(void)
{
	return cache.is_on;
}

static bool set_write_cache(bool on)
{
	if (!cache.can_change ||
	    !command(ATA_SET_FEATURES, on ? ATA_CACHE_ON : ATA_CACHE_OFF, NULL,
		     0))
		return false;
	cache.is_on = on;
	return true;
}

const struct disk_driver ahci_driver = {
	.name = "ahci",
	.probe = probe,
	.submit = submit,
	.reap = reap,
	.write_cache = write_cache,
	.set_write_cache = set_write_cache,
};
