/*
 * ide_int: what the IDE function's registers (ide.c) and the engine of its
 * channels (ide_channel.c) share.
 *
 * A channel carries one command at a time.  Its phase says whose turn it is:
 *
 *   IDLE -> START ---> BUSY ---> IDLE          no data, or DMA
 *        -> WAIT_DMA -> START                  until the bus master is started
 *        -> PACKET -> START or WAIT_DMA        the guest writes a packet
 *   START, BUSY, NEXT -> FILL  -> NEXT -> BUSY the guest writes the window
 *   START, BUSY, NEXT -> EMPTY -> NEXT or IDLE the guest reads the window
 *
 * START, NEXT and BUSY belong to the loop of the active unit's drive, the
 * others to the guest.  Invariants: BUSY exactly while the drive has a request
 * of the current epoch; `held` while it has one of any; while `draining` (held
 * by an epoch that a reset ended) nothing begins and the guest sees the channel
 * busy.
 *
 * Thread rule: "locked" is the controller's dev.lock.
 */
#ifndef CORE_HW_STORAGE_IDE_INT_H
#define CORE_HW_STORAGE_IDE_INT_H

#include "core/hw/pci.h"
#include "core/hw/storage/ata.h"
#include "core/loop.h"

#define IDE_NR_CHANNELS 2
#define IDE_NR_UNITS	(2 * IDE_NR_CHANNELS)
/* All of a 28-bit command, so that one costs one request (and one flush). */
#define IDE_WINDOW (256u * DRIVE_SECTOR)
/* Pieces of one command; a longer scatter list is refused. */
#define IDE_MAX_IOV    520
#define IDE_PACKET_LEN 12

#define IDE_DEVICE_UNIT	 0x10 /* the device register selects the slave */
#define IDE_DEVICE_FIXED 0xa0 /* reads as ones */

#define IDE_CONTROL_NIEN 0x02
#define IDE_CONTROL_SRST 0x04
#define IDE_CONTROL_HOB	 0x80

/* Bus master registers (PIIX4, 2.4). */
#define IDE_BM_START	0x01
#define IDE_BM_TO_GUEST 0x08
#define IDE_BM_ACTIVE	0x01
#define IDE_BM_ERROR	0x02
#define IDE_BM_IRQ	0x04

enum ide_phase {
	IDE_IDLE,
	IDE_START,
	IDE_NEXT,
	IDE_BUSY,
	IDE_WAIT_DMA,
	IDE_PACKET,
	IDE_FILL,
	IDE_EMPTY,
	IDE_NR_PHASES
};

struct ide;
struct ide_channel;

/* As the guest sees them; [1] is what [0] was before (48-bit addresses). */
struct ide_regs {
	uint8_t features[2], count[2];
	uint8_t lba_low[2], lba_mid[2], lba_high[2];
	uint8_t error, status;
};

struct ide_unit {
	struct ide_channel *channel;
	struct ata_dev *ata; /* NULL: none */
	struct loop_fd kick; /* watched by the drive's loop */
	struct ide_regs regs;
};

struct ide_channel {
	struct ide *ide;
	struct ide_unit units[2];
	struct bus_ports command, control;
	struct irq irq;
	/* Locked. */
	uint8_t phase, active; /* active: the unit of the command */
	uint8_t device_reg, control_reg;
	bool intrq, held, draining;
	bool last;	   /* EMPTY: the command ends after it */
	bool quiet;	   /* FILL: the first block is not announced */
	uint16_t limit;	   /* PACKET: bytes of a block */
	uint32_t pos, end; /* of the block in the window */
	unsigned epoch, cmd_epoch;
	uint8_t bm_command, bm_status;
	uint32_t bm_list;
	bool list_used_up;    /* the transfer took all of it */
	const char *why;      /* what is wrong with it */
	enum ata_result wish; /* what is to be submitted */
	struct ata_cmd cmd;
	uint8_t window[IDE_WINDOW];
	struct iovec iov[IDE_MAX_IOV];
};

struct ide {
	struct pci_dev pci; /* first */
	struct ide_channel channels[IDE_NR_CHANNELS];
	struct device_counter *commands, *errors, *interrupts;
};

static inline struct ide_unit *ide_selected(struct ide_channel *ch)
{
	return &ch->units[ch->device_reg & IDE_DEVICE_UNIT ? 1 : 0];
}

/* Locked: no command is taken, no register changes. */
bool ide_channel_is_busy(const struct ide_channel *ch);
/* Locked: the line follows the registers. */
void ide_channel_update_irq(struct ide_channel *ch);
/* Locked: forgets the command under way; the channel drains. */
void ide_channel_abort(struct ide_channel *ch);
/* Locked: the selected unit gets a command. */
void ide_channel_command(struct ide_channel *ch, uint8_t code);
/* Locked: how the command reaches its data, by its window. */
void ide_channel_set_map(struct ide_channel *ch);
/* Locked: begins a DMA that waited, if all it needs is there now. */
void ide_channel_try_dma(struct ide_channel *ch);
/* Locked: one access of len bytes to the data register. */
uint32_t ide_channel_read_data(struct ide_channel *ch, unsigned len);
void ide_channel_write_data(struct ide_channel *ch, uint32_t value,
			    unsigned len);
/* Locked: wakes the active unit's loop if it is its turn. */
void ide_channel_poke(struct ide_channel *ch);
/* Locked: the signature of a reset in the unit's registers. */
void ide_unit_signature(struct ide_unit *u);
/* The eventfd's callback: begins or continues a command. */
void ide_unit_on_kick(void *arg, uint32_t events);
/* Completion of the command's drive request. */
void ide_channel_done(struct drive_req *req, int res);

#endif
