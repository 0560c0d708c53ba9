/*
 * An SD card of high capacity behind SDHCI 3.00: one transfer at a time, by
 * ADMA2, its end by polling.  It has no flush: a write that was answered is
 * stable.
 */
#include "share/guest/guest.h"

#define CLASS	  0x0805
#define POWER_3V3 0x0f
#define VOLTAGES  0x40100000 /* high capacity, 3.2 to 3.3 V */
#define IF_COND	  0x1aa
#define READY	  (1u << 31)

enum {
	BLOCK_LEN = 0x04,
	BLOCKS = 0x06,
	ARGUMENT = 0x08,
	MODE = 0x0c,
	COMMAND = 0x0e,
	RESPONSE = 0x10,
	PRESENT = 0x24,
	CONTROL = 0x28,
	POWER = 0x29,
	CLOCK = 0x2c,
	RESET = 0x2f,
	STATUS = 0x30,
	STATUS_ENABLE = 0x34,
	SIGNAL = 0x38,
	ADMA = 0x58
};
enum { RESET_ALL = 1, RESET_LINES = 6 };
enum {
	CLOCK_INTERNAL = 1,
	CLOCK_STABLE = 2,
	CLOCK_CARD = 4,
	CLOCK_SLOW = 0x4000
};
enum { CONTROL_ADMA32 = 0x10 };
enum { IS_COMMAND = 0x0001, IS_TRANSFER = 0x0002, IS_ERROR = 0x8000 };
enum {
	MODE_DMA = 1,
	MODE_COUNT = 2,
	MODE_STOP = 4,
	MODE_READ = 16,
	MODE_MANY = 32
};
#define PRESENT_CARD (1u << 16)
#define ADMA_ONLY    0x23u /* valid, end, moves data */

/* Commands: index, the answer's kind with its checks, whether data follow. */
#define ANSWER_R2   0x09u
#define ANSWER_R3   0x02u
#define ANSWER_R1   0x1au
#define ANSWER_R1B  0x1bu
#define DATA	    0x20u
#define GO_IDLE	    (0u << 8)
#define ALL_CID	    (2u << 8 | ANSWER_R2)
#define GET_ADDRESS (3u << 8 | ANSWER_R1)
#define SELECT	    (7u << 8 | ANSWER_R1B)
#define SEND_IF	    (8u << 8 | ANSWER_R1)
#define SEND_CSD    (9u << 8 | ANSWER_R2)
#define READ_MANY   (18u << 8 | ANSWER_R1 | DATA)
#define WRITE_MANY  (25u << 8 | ANSWER_R1 | DATA)
#define APP	    (55u << 8 | ANSWER_R1)
#define APP_START   (41u << 8 | ANSWER_R3)

static struct {
	uint32_t what, address; /* flags, and the length << 16 */
} list __attribute__((aligned(8)));
static uint64_t bar;
static bool busy;

static volatile uint8_t *reg8(unsigned at)
{
	return (volatile uint8_t *)(bar + at);
}

static volatile uint16_t *reg16(unsigned at)
{
	return (volatile uint16_t *)(bar + at);
}

static volatile uint32_t *reg32(unsigned at)
{
	return (volatile uint32_t *)(bar + at);
}

/* Waits for one of the bits, takes the others of `clear` back with it. */
static bool wait(uint32_t bits, uint32_t clear)
{
	uint64_t end = timer_ms() + DISK_WAIT_MS;
	uint32_t status;

	while (!((status = *reg32(STATUS)) & (bits | IS_ERROR))) {
		if (timer_ms() > end)
			return false;
		relax();
	}
	*reg32(STATUS) = clear | (status & 0xffff0000);
	return !(status & IS_ERROR);
}

static bool send(unsigned command, uint32_t argument)
{
	*reg32(ARGUMENT) = argument;
	*reg16(COMMAND) = (uint16_t)command;
	if (!wait(IS_COMMAND, IS_COMMAND))
		return false;
	return (command & 3) != 3 || wait(IS_TRANSFER, IS_TRANSFER);
}

static bool power_on(void)
{
	uint64_t end = timer_ms() + DISK_WAIT_MS;

	*reg8(RESET) = RESET_ALL;
	while (*reg8(RESET) & RESET_ALL) {
		if (timer_ms() > end)
			return false;
	}
	*reg32(STATUS_ENABLE) = ~0u;
	*reg32(SIGNAL) = 0;
	*reg8(POWER) = POWER_3V3;
	*reg16(CLOCK) = CLOCK_SLOW | CLOCK_INTERNAL;
	while (!(*reg16(CLOCK) & CLOCK_STABLE)) {
		if (timer_ms() > end)
			return false;
	}
	*reg16(CLOCK) = CLOCK_SLOW | CLOCK_INTERNAL | CLOCK_CARD;
	return true;
}

/* Up to the transfer state (SD Physical Layer 3.01, 4.2 and 4.3). */
static bool start_card(uint64_t *sectors)
{
	uint64_t end = timer_ms() + DISK_WAIT_MS;
	uint32_t address;

	if (!send(GO_IDLE, 0) || !send(SEND_IF, IF_COND))
		return false;
	do {
		if (timer_ms() > end || !send(APP, 0) ||
		    !send(APP_START, VOLTAGES))
			return false;
	} while (!(*reg32(RESPONSE) & READY));
	if (!send(ALL_CID, 0) || !send(GET_ADDRESS, 0))
		return false;
	address = *reg32(RESPONSE) & 0xffff0000;
	if (!send(SEND_CSD, address))
		return false;
	/* C_SIZE, bits 48 to 69; the answer begins with bit 8. */
	*sectors = ((*reg32(RESPONSE + 4) >> 8 & 0x3fffff) + 1ul) * 1024;
	return send(SELECT, address);
}

static bool probe(unsigned nth, struct disk_facts *facts)
{
	const struct pci_device *pci = pci_find_class(CLASS, nth);

	if (!pci)
		return false;
	bar = pci_bar(pci->bdf, 0);
	if (!bar || !power_on() || !(*reg32(PRESENT) & PRESENT_CARD))
		return false;
	facts->slots = 1;
	facts->can_flush = facts->by_message = false;
	return start_card(&facts->sectors);
}

static void submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		   uint32_t len)
{
	bool write = op == DISK_WRITE;

	(void)slot;
	list.what = ADMA_ONLY | len << 16;
	list.address = (uint32_t)(uint64_t)buf;
	compiler_barrier();
	*reg8(CONTROL) = CONTROL_ADMA32;
	*reg32(ADMA) = (uint32_t)(uint64_t)&list;
	*reg16(BLOCK_LEN) = 512;
	*reg16(BLOCKS) = (uint16_t)(len / 512);
	*reg16(MODE) = MODE_DMA | MODE_COUNT | MODE_STOP | MODE_MANY |
		       (write ? 0 : MODE_READ);
	*reg32(ARGUMENT) = (uint32_t)sector;
	*reg16(COMMAND) = write ? WRITE_MANY : READ_MANY;
	busy = true;
}

static int reap(uint8_t *status)
{
	uint32_t is = busy ? *reg32(STATUS) : 0;

	if (!(is & (IS_TRANSFER | IS_ERROR)))
		return -1;
	compiler_barrier();
	*status = !!(is & IS_ERROR);
	if (*status)
		*reg8(RESET) = RESET_LINES;
	*reg32(STATUS) = ~0u;
	busy = false;
	return 0;
}

const struct disk_driver sdhci_driver = {
	.name = "sd",
	.probe = probe,
	.submit = submit,
	.reap = reap,
};
