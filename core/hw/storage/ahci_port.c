/*
 * The command engine of a port: AHCI 1.3.1, chapters 4 and 5.
 *
 * On the loop: commands that the guest issued are read from its command list
 * under the controller's lock, given to the drive's command set, and submitted
 * without the lock.  A completion takes the lock, lets the command set go on or
 * finish, and posts the answer as a FIS.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "core/hw/iov.h"
#include "core/hw/storage/ahci_int.h"

#define TFD_BUSY (0x0100u | ATA_STATUS_BSY)

/* Command header: 4.2.2. */
#define HEADER_LEN   32
#define HEADER_CFL   0x1fu
#define HEADER_ATAPI (1u << 5)
#define HEADER_WRITE (1u << 6)
#define HEADER_CLEAR (1u << 10)

/* Command table: 4.2.3. */
#define TABLE_PACKET 0x40
#define TABLE_PRDT   0x80
#define PRD_LEN	     16
#define PRD_COUNT    0x3fffffu

/* Frames (Serial ATA 3.0, 10.5) and where they are received: 4.2.1. */
#define FIS_H2D		 0x27
#define FIS_D2H		 0x34
#define FIS_SDB		 0xa1
#define FIS_PIO		 0x5f
#define FIS_INTERRUPT	 0x40
#define FIS_TO_HOST	 0x20
#define FIS_IS_COMMAND	 0x80
#define FIS_CONTROL_SRST 0x04
#define RECEIVED_PIO	 0x20
#define RECEIVED_D2H	 0x40
#define RECEIVED_SDB	 0x58
#define SSTS_PRESENT	 0x123

struct header {
	uint32_t flags; /* and PRDTL in the upper half */
	uint32_t moved;
	uint64_t table;
	uint32_t reserved[4];
};

static struct mem *port_mem(const struct ahci_port *p)
{
	return p->ahci->pci.dev.m->mem;
}

static uint64_t list_addr(const struct ahci_port *p, unsigned slot)
{
	return ((uint64_t)p->regs[PX_CLBU] << 32 | p->regs[PX_CLB]) +
	       slot * HEADER_LEN;
}

/* ---- frames to the guest ---- */

/* A frame that can't be stored is lost: the guest chose its place. */
static void receive(struct ahci_port *p, unsigned off, const uint8_t *fis,
		    size_t len)
{
	uint64_t base = (uint64_t)p->regs[PX_FBU] << 32 | p->regs[PX_FB];

	if ((p->regs[PX_CMD] & PX_CMD_FRE) && pci_bus_master(&p->ahci->pci))
		dma_write(port_mem(p), base + off, fis, len);
}

static void put_taskfile(uint8_t *fis, const struct ata_taskfile *tf)
{
	fis[2] = tf->status;
	fis[3] = tf->error;
	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = (uint8_t)(tf->lba >> (8 * i));
		fis[8 + i] = (uint8_t)(tf->lba >> (8 * i + 24));
	}
	fis[7] = tf->device;
	fis[12] = (uint8_t)tf->count;
	fis[13] = (uint8_t)(tf->count >> 8);
}

static void set_tfd(struct ahci_port *p, const struct ata_taskfile *tf)
{
	p->regs[PX_TFD] = (uint32_t)tf->error << 8 | tf->status;
}

static void send_d2h(struct ahci_port *p, const struct ata_taskfile *tf,
		     bool interrupt)
{
	uint8_t fis[20] = {FIS_D2H, interrupt ? FIS_INTERRUPT : 0};

	put_taskfile(fis, tf);
	receive(p, RECEIVED_D2H, fis, sizeof(fis));
	set_tfd(p, tf);
	if (interrupt)
		p->regs[PX_IS] |= PX_IS_DHRS;
}

/* Sent after the data, so that a driver that waits for it finds them. */
static void send_pio_setup(struct ahci_port *p, const struct ata_taskfile *tf,
			   uint64_t moved)
{
	uint8_t fis[20] = {FIS_PIO, FIS_INTERRUPT | FIS_TO_HOST};

	put_taskfile(fis, tf);
	fis[2] = tf->status | ATA_STATUS_DRQ;
	fis[15] = tf->status;
	fis[16] = (uint8_t)moved;
	fis[17] = (uint8_t)(moved >> 8);
	receive(p, RECEIVED_PIO, fis, sizeof(fis));
	set_tfd(p, tf);
	p->regs[PX_IS] |= PX_IS_PSS;
}

static void send_sdb(struct ahci_port *p, const struct ata_taskfile *tf,
		     uint32_t finished)
{
	uint8_t fis[8] = {FIS_SDB, FIS_INTERRUPT, tf->status & 0x77, tf->error};

	memcpy(fis + 4, &finished, 4);
	receive(p, RECEIVED_SDB, fis, sizeof(fis));
	p->regs[PX_TFD] = (p->regs[PX_TFD] & ~0xff77u) |
			  (uint32_t)tf->error << 8 | (tf->status & 0x77);
	p->regs[PX_IS] |= PX_IS_SDBS;
}

void ahci_port_signature(struct ahci_port *p)
{
	struct ata_taskfile tf = {0};

	if (!p->signature_due || p->draining || !p->ata)
		return;
	ata_signature(p->ata, &tf);
	p->regs[PX_SIG] = (uint32_t)tf.lba << 8 | tf.count;
	set_tfd(p, &tf);
	/* The frame itself waits until it can be received. */
	if (!(p->regs[PX_CMD] & PX_CMD_FRE))
		return;
	p->signature_due = false;
	send_d2h(p, &tf, false);
}

/* ---- resets ---- */

void ahci_port_abort(struct ahci_port *p)
{
	p->epoch++;
	p->draining = p->held > 0;
	p->stopped = false;
	p->is_exclusive = false;
	p->next_slot = 0;
	p->regs[PX_CI] = 0;
	p->regs[PX_SACT] = 0;
	p->regs[PX_CMD] &= ~PX_CMD_CCS;
}

void ahci_port_restart(struct ahci_port *p)
{
	ahci_port_abort(p);
	ata_reset(p->ata);
	p->regs[PX_SSTS] = SSTS_PRESENT;
	p->regs[PX_TFD] = TFD_BUSY;
	p->signature_due = true;
	ahci_port_signature(p);
}

/* ---- the end of a command ---- */

/* A controller that can't read what it must stops the port: 6.2.2. */
static void port_fatal(struct ahci_port *p, const char *why)
{
	struct device *dev = &p->ahci->pci.dev;

	log_guest(dev->m->log, &dev->limit, dev->name, "port %u: %s", p->index,
		  why);
	p->regs[PX_IS] |= PX_IS_HBFS;
	p->stopped = true;
}

static void finish_queued(struct ahci_port *p, struct ahci_slot *s)
{
	uint32_t bit = 1u << s->index;
	bool failed = s->cmd.tf.status & ATA_STATUS_ERR;

	if (!failed)
		p->regs[PX_SACT] &= ~bit;
	send_sdb(p, &s->cmd.tf, failed ? 0 : bit);
}

static void finish_plain(struct ahci_port *p, struct ahci_slot *s)
{
	uint32_t moved = (uint32_t)s->cmd.moved;
	bool failed = s->cmd.tf.status & ATA_STATUS_ERR;

	p->is_exclusive = false;
	/* A count that can't be stored is the guest's loss. */
	dma_write(port_mem(p), list_addr(p, s->index) + 4, &moved, 4);
	if (!failed)
		p->regs[PX_CI] &= ~(1u << s->index);
	if (s->cmd.is_pio_in && s->cmd.moved && !failed)
		send_pio_setup(p, &s->cmd.tf, s->cmd.moved);
	else
		send_d2h(p, &s->cmd.tf, true);
}

/* Locked: the command set is done with the command. */
static void finish(struct ahci_port *p, struct ahci_slot *s)
{
	struct ahci *a = p->ahci;

	s->busy = false;
	device_count(a->commands, 1);
	if (s->cmd.is_broken) {
		p->is_exclusive = false;
		port_fatal(p, s->why);
		ahci_update_irq(a);
		return;
	}
	if (s->cmd.is_queued)
		finish_queued(p, s);
	else
		finish_plain(p, s);
	if (s->cmd.tf.status & ATA_STATUS_ERR) {
		device_count(a->errors, 1);
		p->regs[PX_IS] |= PX_IS_TFES;
		p->stopped = true;
	}
	ahci_update_irq(a);
}

static void unhold(struct ahci_port *p)
{
	p->held--;
	if (!p->draining || p->held)
		return;
	p->draining = false;
	ahci_port_signature(p);
	ahci_port_poke(p);
}

/* ---- the beginning of a command ---- */

static bool map_failed(struct ahci_slot *s, const char *why)
{
	s->cmd.is_broken = true;
	s->why = why;
	return false;
}

/* ata_cmd.map: only what the command moves is looked at; firmware leaves
 * nonsense in the lists of commands without data. */
static bool map_data(struct ata_cmd *c, uint64_t want)
{
	struct ahci_slot *s =
		(struct ahci_slot *)(void *)((char *)c -
					     offsetof(struct ahci_slot, cmd));
	struct mem *mem = port_mem(s->port);
	uint64_t at = s->table + TABLE_PRDT;

	c->nr_iov = 0;
	c->room = 0;
	for (unsigned i = 0; i < s->nr_prd && c->room < want;
	     i++, at += PRD_LEN) {
		struct {
			uint64_t addr;
			uint32_t reserved, count;
		} prd;
		uint64_t len;
		int r;

		if (dma_read(mem, at, &prd, sizeof(prd)))
			return map_failed(s, "scatter list is not in RAM");
		len = (uint64_t)(prd.count & PRD_COUNT) + 1;
		if (len > want - c->room)
			len = want - c->room;
		r = dma_map(mem, prd.addr & ~1ull, len, c->to_guest,
			    s->iov + c->nr_iov, AHCI_MAX_IOV - c->nr_iov);
		if (r < 0)
			return map_failed(s, r == -E2BIG
						     ? "scatter list too long"
						     : "scatter list leaves "
						       "RAM");
		c->nr_iov += r;
		c->room += len;
	}
	return true;
}

static void read_taskfile(const uint8_t *fis, struct ata_taskfile *tf)
{
	*tf = (struct ata_taskfile){
		.command = fis[2],
		.features = (uint16_t)(fis[3] | fis[11] << 8),
		.device = fis[7],
		.count = (uint16_t)(fis[12] | fis[13] << 8),
	};
	for (unsigned i = 0; i < 3; i++) {
		tf->lba |= (uint64_t)fis[4 + i] << (8 * i);
		tf->lba |= (uint64_t)fis[8 + i] << (8 * i + 24);
	}
}

/* A frame that only writes the control register: software reset. */
static void control(struct ahci_port *p, struct ahci_slot *s,
		    const struct header *h, uint8_t value)
{
	bool reset = value & FIS_CONTROL_SRST;

	p->regs[PX_CI] &= ~(1u << s->index);
	if (reset && !(h->flags & HEADER_CLEAR))
		p->regs[PX_TFD] = TFD_BUSY;
	if (!reset && p->in_soft_reset) {
		p->signature_due = true;
		ahci_port_signature(p);
	}
	p->in_soft_reset = reset;
	ahci_update_irq(p->ahci);
}

/* A queued command's slot is free again at once: 5.5.3. */
static void accept_queued(struct ahci_port *p, struct ahci_slot *s)
{
	struct ata_taskfile tf = s->cmd.tf;

	tf.status = ATA_STATUS_OK;
	tf.error = 0;
	p->regs[PX_CI] &= ~(1u << s->index);
	send_d2h(p, &tf, false);
}

static bool is_queued_code(uint8_t code)
{
	return code == ATA_CMD_READ_FPDMA || code == ATA_CMD_WRITE_FPDMA;
}

/* Locked: gives the command to the drive; true when it is to be submitted. */
static bool execute(struct ahci_port *p, struct ahci_slot *s)
{
	struct ata_cmd *c = &s->cmd;
	bool queued = is_queued_code(c->tf.command) && !p->ata->is_cdrom;
	enum ata_result r;

	s->busy = true;
	s->epoch = p->epoch;
	if (!queued) {
		p->is_exclusive = true;
		p->regs[PX_TFD] |= ATA_STATUS_BSY;
	} else if (((c->tf.count >> 3) & 31) == s->index &&
		   (p->regs[PX_SACT] & (1u << s->index))) {
		accept_queued(p, s);
	} else {
		/* Tag and slot differ: nobody could be told the outcome. */
		c->is_queued = false;
		ata_fail(c, ATA_ERROR_ABRT);
		finish(p, s);
		return false;
	}
	r = ata_start(p->ata, c);
	if (r == ATA_DONE) {
		finish(p, s);
		return false;
	}
	s->wish = r;
	p->held++;
	return true;
}

/* Locked: reads the command in a slot; true when it is to be submitted. */
static bool take_slot(struct ahci_port *p, struct ahci_slot *s)
{
	struct mem *mem = port_mem(p);
	struct header h;
	uint8_t fis[20];

	p->regs[PX_CMD] &= ~PX_CMD_CCS;
	p->regs[PX_CMD] |= s->index << 8;
	if (dma_read(mem, list_addr(p, s->index), &h, sizeof(h))) {
		port_fatal(p, "command list is not in RAM");
		return false;
	}
	h.table &= ~0x7full;
	if ((h.flags & HEADER_CFL) * 4 < sizeof(fis) ||
	    (h.flags & HEADER_CFL) > 16 ||
	    dma_read(mem, h.table, fis, sizeof(fis)) || fis[0] != FIS_H2D) {
		port_fatal(p, "command table holds no command");
		return false;
	}
	if (!(fis[1] & FIS_IS_COMMAND)) {
		control(p, s, &h, fis[15]);
		return false;
	}
	s->cmd.iov = s->iov;
	s->cmd.map = map_data;
	s->cmd.is_broken = false;
	s->cmd.to_guest = !(h.flags & HEADER_WRITE);
	s->table = h.table;
	s->nr_prd = h.flags >> 16;
	memset(s->cmd.packet, 0, sizeof(s->cmd.packet));
	if ((h.flags & HEADER_ATAPI) &&
	    dma_read(mem, h.table + TABLE_PACKET, s->cmd.packet,
		     sizeof(s->cmd.packet))) {
		port_fatal(p, "packet is not in RAM");
		return false;
	}
	read_taskfile(fis, &s->cmd.tf);
	return execute(p, s);
}

static bool is_running(const struct ahci_port *p)
{
	return p->ata && (p->regs[PX_CMD] & PX_CMD_ST) && !p->stopped &&
	       !p->draining && !p->is_exclusive &&
	       pci_bus_master(&p->ahci->pci);
}

/* Locked: the next issued slot in turn that isn't being worked on; -1: none. */
static int next_slot(struct ahci_port *p)
{
	for (unsigned i = 0; i < AHCI_NR_SLOTS; i++) {
		unsigned slot = (p->next_slot + i) % AHCI_NR_SLOTS;

		if (!(p->regs[PX_CI] & (1u << slot)) || p->slots[slot].busy)
			continue;
		p->next_slot = (uint8_t)((slot + 1) % AHCI_NR_SLOTS);
		return (int)slot;
	}
	return -1;
}

void ahci_port_poke(struct ahci_port *p)
{
	uint64_t one = 1;

	if (!is_running(p) || !p->regs[PX_CI])
		return;
	/* Can only fail when the counter is full: then it is readable. */
	if (write(p->kick.fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- on the loop ---- */

/* Takes and submits what is issued. */
static void run(struct ahci_port *p)
{
	pthread_mutex_t *lock = &p->ahci->pci.dev.lock;
	struct ahci_slot *first = NULL, **tail = &first, *s, *next;
	struct ata_dev *d;
	bool wce;
	int slot;

	pthread_mutex_lock(lock);
	while (is_running(p)) {
		slot = next_slot(p);
		if (slot < 0)
			break;
		s = &p->slots[slot];
		if (!take_slot(p, s))
			continue;
		s->next = NULL;
		*tail = s;
		tail = &s->next;
	}
	ahci_update_irq(p->ahci);
	d = p->ata;
	wce = d && d->wce_now;
	pthread_mutex_unlock(lock);
	for (s = first; s; s = next) {
		next = s->next;
		ata_submit(d, &s->cmd, s->wish, wce);
	}
}

void ahci_port_on_kick(void *arg, uint32_t events)
{
	struct ahci_port *p = arg;
	uint64_t n;

	(void)events;
	if (read(p->kick.fd, &n, sizeof(n)) == sizeof(n))
		run(p);
}

void ahci_slot_done(struct drive_req *req, int res)
{
	struct ahci_slot *s = req->opaque;
	struct ahci_port *p = s->port;
	pthread_mutex_t *lock = &p->ahci->pci.dev.lock;
	enum ata_result r = ATA_DONE;
	struct ata_dev *d = p->ata;
	bool wce;

	/* Also when it failed, or a reset came between. */
	if (req->op == DRIVE_READ && s->wish != ATA_EJECT)
		dma_mark_iov(port_mem(p), req->iov, req->nr_iov, req->len);
	pthread_mutex_lock(lock);
	wce = d->wce_now;
	if (s->epoch == p->epoch) {
		r = ata_next(d, &s->cmd, res);
		if (r == ATA_DONE)
			finish(p, s);
		s->wish = r;
	}
	if (r == ATA_DONE) {
		s->busy = false;
		unhold(p);
		ahci_port_poke(p);
	}
	pthread_mutex_unlock(lock);
	if (r != ATA_DONE)
		ata_submit(d, &s->cmd, s->wish, wce);
}
