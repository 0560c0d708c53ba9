/*
 * sdhci_int: what the controller's registers (sdhci.c) and its data engine
 * (sdhci_data.c) share.
 *
 * A transfer is active from its command until its last block went to or came
 * from the card; then the controller waits while the card is busy, and only then
 * says "transfer complete".  Data move on the vCPU that reads or writes the data
 * port, or by DMA on the card's loop; only the loop submits to the drive.
 *
 * Thread rule: "locked" is the controller's dev.lock.
 */
#ifndef CORE_HW_STORAGE_SDHCI_INT_H
#define CORE_HW_STORAGE_SDHCI_INT_H

#include "core/hw/pci.h"
#include "core/hw/storage/sd_card.h"
#include "core/loop.h"

/* Registers (SD Host Controller Simplified Specification 3.00, 2.2), by 16-bit
 * word. */
enum sdhci_reg {
	SDHCI_SDMA = 0x00 / 2, /* two words; also argument 2 */
	SDHCI_BLOCK_LEN = 0x04 / 2,
	SDHCI_BLOCKS = 0x06 / 2,
	SDHCI_ARGUMENT = 0x08 / 2, /* two */
	SDHCI_MODE = 0x0c / 2,
	SDHCI_COMMAND = 0x0e / 2,
	SDHCI_RESPONSE = 0x10 / 2, /* eight */
	SDHCI_DATA = 0x20 / 2,	   /* two */
	SDHCI_PRESENT = 0x24 / 2,  /* two */
	SDHCI_CONTROL = 0x28 / 2,  /* host control 1, power control */
	SDHCI_GAP = 0x2a / 2,	   /* block gap, wake-up */
	SDHCI_CLOCK = 0x2c / 2,
	SDHCI_RESET = 0x2e / 2, /* timeout control, software reset */
	SDHCI_STATUS = 0x30 / 2,
	SDHCI_ERRORS = 0x32 / 2,
	SDHCI_STATUS_ENABLE = 0x34 / 2,
	SDHCI_ERRORS_ENABLE = 0x36 / 2,
	SDHCI_STATUS_SIGNAL = 0x38 / 2,
	SDHCI_ERRORS_SIGNAL = 0x3a / 2,
	SDHCI_AUTO_ERRORS = 0x3c / 2,
	SDHCI_CAPS = 0x40 / 2,	  /* four */
	SDHCI_CURRENT = 0x48 / 2, /* four */
	SDHCI_FORCE_AUTO = 0x50 / 2,
	SDHCI_FORCE = 0x52 / 2,
	SDHCI_ADMA_ERROR = 0x54 / 2,
	SDHCI_ADMA = 0x58 / 2, /* four */
	SDHCI_SLOT_STATUS = 0xfc / 2,
	SDHCI_VERSION = 0xfe / 2,
	SDHCI_NR_REGS = 0x100 / 2
};

#define SDHCI_MODE_DMA	   0x01u
#define SDHCI_MODE_COUNT   0x02u
#define SDHCI_MODE_AUTO	   0x0cu
#define SDHCI_MODE_AUTO_12 0x04u
#define SDHCI_MODE_AUTO_23 0x08u
#define SDHCI_MODE_READ	   0x10u
#define SDHCI_MODE_MULTI   0x20u

#define SDHCI_IS_COMMAND  0x0001u
#define SDHCI_IS_TRANSFER 0x0002u
#define SDHCI_IS_DMA	  0x0008u
#define SDHCI_IS_WRITE	  0x0010u /* buffer write ready */
#define SDHCI_IS_READ	  0x0020u /* buffer read ready */
#define SDHCI_IS_ERROR	  0x8000u

#define SDHCI_ERR_COMMAND_TIMEOUT 0x0001u
#define SDHCI_ERR_DATA_TIMEOUT	  0x0010u
#define SDHCI_ERR_DATA_CRC	  0x0020u
#define SDHCI_ERR_DATA_END	  0x0040u
#define SDHCI_ERR_AUTO		  0x0100u
#define SDHCI_ERR_ADMA		  0x0200u

enum sdhci_dma { SDHCI_PIO, SDHCI_SDMA_MODE, SDHCI_ADMA32, SDHCI_ADMA64 };

struct sdhci {
	struct pci_dev pci;   /* first */
	struct sd_card *card; /* NULL: an empty slot */
	struct loop_fd kick;  /* watched by the card's loop */
	/* Locked. */
	uint16_t regs[SDHCI_NR_REGS];
	/* The transfer. */
	bool active, to_guest;
	bool is_counted;	       /* blocks is how many are left */
	bool waits;		       /* for the card's busy to end */
	bool is_paused;		       /* SDMA, at a boundary */
	uint8_t dma;		       /* enum sdhci_dma */
	uint8_t auto_mode;	       /* SDHCI_MODE_AUTO_... */
	uint32_t blocks;	       /* left */
	uint32_t block_len, block_pos; /* DMA: bytes of a block that moved */
	/* PIO: the block on its way. */
	uint8_t buf[SD_BLOCK];
	bool is_ready; /* the guest may read or write it */
	/* ADMA: what is left of a descriptor. */
	uint64_t piece;
	uint32_t piece_len;
	bool piece_interrupts, is_last_piece;
	struct device_counter *commands, *errors, *interrupts;
};

/* Locked: status bits, if enabled; the caller updates the line. */
void sdhci_raise(struct sdhci *s, uint16_t status);
/* Locked: an error ends the transfer. */
void sdhci_fail(struct sdhci *s, uint16_t errors);
/* Locked: the interrupt line follows the registers. */
void sdhci_update_irq(struct sdhci *s);
/* Locked: a command of the controller's own (auto CMD12, CMD23); false: no
 * answer. */
bool sdhci_auto_command(struct sdhci *s, uint8_t index, uint32_t arg);

/* Locked: begins the data phase of the command just sent. */
void sdhci_data_start(struct sdhci *s);
/* Locked: forgets it; the card is left as it is. */
void sdhci_data_stop(struct sdhci *s);
/* Locked: lets things move that can: not DMA. */
void sdhci_data_pump(struct sdhci *s);
/* Locked: the guest's accesses to the data port. */
uint32_t sdhci_data_read(struct sdhci *s, unsigned len);
void sdhci_data_write(struct sdhci *s, uint32_t value, unsigned len);
/* Locked: the present state's bits of the transfer. */
uint32_t sdhci_data_present(const struct sdhci *s);
/* Locked: wakes the loop. */
void sdhci_kick(struct sdhci *s);
/* The eventfd's callback: DMA, and requests to the drive. */
void sdhci_on_kick(void *arg, uint32_t events);

/* Two words as one value. */
static inline uint32_t sdhci_pair(const struct sdhci *s, unsigned reg)
{
	return s->regs[reg] | (uint32_t)s->regs[reg + 1] << 16;
}

static inline void sdhci_set_pair(struct sdhci *s, unsigned reg, uint32_t value)
{
	s->regs[reg] = (uint16_t)value;
	s->regs[reg + 1] = (uint16_t)(value >> 16);
}

#endif
