/*
 * ahci_int: what the controller's registers (ahci.c) and its command engine
 * (ahci_port.c) share.
 *
 * Invariants of a port: `held` counts slots that the engine has taken and not
 * given back; a slot taken before the last reset of the port has an older
 * epoch and answers nobody; while `draining` nothing new is taken and the
 * guest sees the port busy.
 *
 * Thread rule: "locked" is the controller's dev.lock.
 */
#ifndef CORE_HW_STORAGE_AHCI_INT_H
#define CORE_HW_STORAGE_AHCI_INT_H

#include "core/hw/pci.h"
#include "core/hw/storage/ata.h"
#include "core/loop.h"

#define AHCI_NR_PORTS 6
#define AHCI_NR_SLOTS 32
/* Pieces of one command; a longer scatter list is refused. */
#define AHCI_MAX_IOV 520

/* Port registers (AHCI 1.3.1, 3.3), by word. */
enum ahci_port_reg {
	PX_CLB = 0x00 / 4,
	PX_CLBU = 0x04 / 4,
	PX_FB = 0x08 / 4,
	PX_FBU = 0x0c / 4,
	PX_IS = 0x10 / 4,
	PX_IE = 0x14 / 4,
	PX_CMD = 0x18 / 4,
	PX_TFD = 0x20 / 4,
	PX_SIG = 0x24 / 4,
	PX_SSTS = 0x28 / 4,
	PX_SCTL = 0x2c / 4,
	PX_SERR = 0x30 / 4,
	PX_SACT = 0x34 / 4,
	PX_CI = 0x38 / 4,
	AHCI_PORT_REGS = 32
};

#define PX_CMD_ST    (1u << 0)
#define PX_CMD_SUD   (1u << 1)
#define PX_CMD_POD   (1u << 2)
#define PX_CMD_CLO   (1u << 3)
#define PX_CMD_FRE   (1u << 4)
#define PX_CMD_CCS   (0x1fu << 8)
#define PX_CMD_FR    (1u << 14)
#define PX_CMD_CR    (1u << 15)
#define PX_CMD_ATAPI (1u << 24)

#define PX_IS_DHRS (1u << 0)
#define PX_IS_PSS  (1u << 1)
#define PX_IS_SDBS (1u << 3)
#define PX_IS_HBFS (1u << 29)
#define PX_IS_TFES (1u << 30)

struct ahci;
struct ahci_port;

struct ahci_slot {
	struct ata_cmd cmd;
	struct ahci_port *port;
	struct ahci_slot *next; /* of those to submit */
	unsigned index, epoch;
	bool busy;
	enum ata_result wish; /* what is to be submitted */
	uint64_t table;	      /* the command table's address */
	unsigned nr_prd;      /* entries of its scatter list */
	const char *why;      /* what is wrong with that */
	struct iovec iov[AHCI_MAX_IOV];
};

struct ahci_port {
	struct ahci *ahci;
	unsigned index;
	struct ata_dev *ata;	 /* NULL: empty */
	struct loop_fd kick;	 /* watched by the drive's loop */
	struct ahci_slot *slots; /* NULL on an empty port */
	/* Locked. */
	uint32_t regs[AHCI_PORT_REGS];
	uint32_t told; /* of PX_IS, to who takes messages */
	unsigned held, epoch;
	bool draining;
	bool stopped;	   /* by an error, until ST is cleared */
	bool is_exclusive; /* a command that isn't queued runs */
	bool in_soft_reset;
	bool signature_due; /* waits for FRE or for the drain */
	uint8_t next_slot;
};

struct ahci {
	struct pci_dev pci; /* first */
	uint32_t ghc, is;
	struct ahci_port ports[AHCI_NR_PORTS];
	struct device_counter *commands, *errors, *interrupts;
};

/* Locked: the interrupt line follows the registers. */
void ahci_update_irq(struct ahci *a);

/* Locked: forget what is issued; the port drains. */
void ahci_port_abort(struct ahci_port *p);
/* Locked: COMRESET, or the controller's reset: the device starts afresh and
 * sends its signature once nothing is held. */
void ahci_port_restart(struct ahci_port *p);
/* Locked: the signature, if it is due and can be sent. */
void ahci_port_signature(struct ahci_port *p);
/* Locked: wakes the loop if there is something to take. */
void ahci_port_poke(struct ahci_port *p);
/* The eventfd's callback: takes and submits commands. */
void ahci_port_on_kick(void *arg, uint32_t events);
/* Completion of a slot's drive request. */
void ahci_slot_done(struct drive_req *req, int res);

#endif
