/*
 * The engine of a channel: a command from the guest's registers through the
 * drive's command set and back, with its data through the window (PIO) or a
 * scatter list (bus master DMA; PIIX4, 2.4 and 2.7).
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "core/hw/storage/ide_int.h"

#define PRD_LEN	 8
#define PRD_LAST 0x80000000u
/* A list does not cross it. */
#define PRD_BOUNDARY 0x10000u

#define REASON_COMMAND 0x01 /* in the count register of a packet device */
#define REASON_TO_HOST 0x02

#define FEATURE_DMA 0x01 /* of PACKET */

static struct mem *channel_mem(const struct ide_channel *ch)
{
	return ch->ide->pci.dev.m->mem;
}

static struct ide_unit *active(struct ide_channel *ch)
{
	return &ch->units[ch->active];
}

static bool is_packet(const struct ide_channel *ch)
{
	return ch->cmd.tf.command == ATA_CMD_PACKET;
}

bool ide_channel_is_busy(const struct ide_channel *ch)
{
	return ch->phase != IDE_IDLE || ch->draining ||
	       (ch->control_reg & IDE_CONTROL_SRST);
}

/* ---- interrupts ---- */

void ide_channel_update_irq(struct ide_channel *ch)
{
	bool level = ch->intrq && !(ch->control_reg & IDE_CONTROL_NIEN);

	if (level && !ch->irq.level) {
		ch->bm_status |= IDE_BM_IRQ;
		device_count(ch->ide->interrupts, 1);
	}
	irq_set(&ch->irq, level);
}

static void interrupt(struct ide_channel *ch)
{
	ch->intrq = true;
	ide_channel_update_irq(ch);
}

/* ---- registers ---- */

static void put_taskfile(struct ide_unit *u, const struct ata_taskfile *tf)
{
	struct ide_regs *r = &u->regs;

	r->error = tf->error;
	r->status = tf->status;
	for (unsigned i = 0; i < 2; i++) {
		r->count[i] = (uint8_t)(tf->count >> (8 * i));
		r->lba_low[i] = (uint8_t)(tf->lba >> (24 * i));
		r->lba_mid[i] = (uint8_t)(tf->lba >> (24 * i + 8));
		r->lba_high[i] = (uint8_t)(tf->lba >> (24 * i + 16));
	}
}

static void get_taskfile(const struct ide_unit *u, uint8_t device, uint8_t code,
			 struct ata_taskfile *tf)
{
	const struct ide_regs *r = &u->regs;

	*tf = (struct ata_taskfile){.command = code, .device = device};
	for (unsigned i = 0; i < 2; i++) {
		tf->features |= (uint16_t)(r->features[i] << (8 * i));
		tf->count |= (uint16_t)(r->count[i] << (8 * i));
		tf->lba |= ((uint64_t)r->lba_low[i] |
			    (uint64_t)r->lba_mid[i] << 8 |
			    (uint64_t)r->lba_high[i] << 16)
			   << (24 * i);
	}
}

void ide_unit_signature(struct ide_unit *u)
{
	struct ata_taskfile tf = {0};

	if (!u->ata)
		return;
	ata_signature(u->ata, &tf);
	put_taskfile(u, &tf);
}

void ide_channel_abort(struct ide_channel *ch)
{
	ch->epoch++;
	ch->draining = ch->held;
	ch->phase = IDE_IDLE;
	ch->intrq = false;
	ide_channel_update_irq(ch);
}

void ide_channel_poke(struct ide_channel *ch)
{
	uint64_t one = 1;

	if ((ch->phase != IDE_START && ch->phase != IDE_NEXT) || ch->held ||
	    !active(ch)->ata)
		return;
	/* Can only fail when the counter is full: then it is readable. */
	if (write(active(ch)->kick.fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- scatter lists ---- */

static struct ide_channel *channel_of(struct ata_cmd *c)
{
	return (struct ide_channel *)(void *)((char *)c -
					      offsetof(struct ide_channel,
						       cmd));
}

static bool map_failed(struct ide_channel *ch, const char *why)
{
	ch->cmd.is_broken = true;
	ch->why = why;
	return false;
}

/* ata_cmd.map of a DMA.  Ends with the list, at the boundary that it must not
 * cross, or when enough is mapped: a list without an end costs no more. */
static bool map_list(struct ata_cmd *c, uint64_t want)
{
	struct ide_channel *ch = channel_of(c);
	struct mem *mem = channel_mem(ch);
	uint32_t at = ch->bm_list, room = PRD_BOUNDARY - at % PRD_BOUNDARY;
	bool last = false;

	c->nr_iov = 0;
	c->room = 0;
	for (; c->room < want && !last && room >= PRD_LEN;
	     at += PRD_LEN, room -= PRD_LEN) {
		uint32_t prd[2];
		uint64_t len, part;
		int r;

		if (dma_read(mem, at, prd, sizeof(prd)))
			return map_failed(ch, "scatter list is not in RAM");
		len = prd[1] & 0xfffe ? prd[1] & 0xfffe : 0x10000;
		last = prd[1] & PRD_LAST;
		part = len < want - c->room ? len : want - c->room;
		r = dma_map(mem, prd[0] & ~1u, part, c->to_guest,
			    ch->iov + c->nr_iov, IDE_MAX_IOV - c->nr_iov);
		if (r < 0)
			return map_failed(ch, r == -E2BIG
						      ? "scatter list too long"
						      : "scatter list leaves "
							"RAM");
		c->nr_iov += r;
		c->room += part;
		ch->list_used_up = last && part == len;
	}
	return true;
}

/* ata_cmd.map of PIO. */
static bool map_window(struct ata_cmd *c, uint64_t want)
{
	struct ide_channel *ch = channel_of(c);

	c->room = want < IDE_WINDOW ? want : IDE_WINDOW;
	ch->iov[0] = (struct iovec){ch->window, c->room};
	c->nr_iov = 1;
	return true;
}

void ide_channel_set_map(struct ide_channel *ch)
{
	ch->cmd.map = ch->cmd.window ? map_window : map_list;
}

/* ---- blocks of PIO ---- */

static void begin_block(struct ide_channel *ch, bool announce)
{
	struct ide_regs *r = &active(ch)->regs;
	uint32_t left = ch->cmd.part - ch->pos, len = ch->cmd.block;

	if (is_packet(ch)) {
		/* All but the last are of even length. */
		len = ch->limit;
		if (left > len)
			len &= ~1u;
		len = left < len ? left : len;
		r->count[0] = REASON_TO_HOST;
		r->lba_mid[0] = (uint8_t)len;
		r->lba_high[0] = (uint8_t)(len >> 8);
	}
	ch->end = ch->pos + (left < len ? left : len);
	if (announce)
		interrupt(ch);
}

static void begin_window(struct ide_channel *ch, enum ide_phase phase,
			 bool announce)
{
	ch->phase = phase;
	ch->pos = 0;
	begin_block(ch, announce);
}

/* The command is over; its registers are the answer. */
static void finish(struct ide_channel *ch, bool announce)
{
	struct ata_cmd *c = &ch->cmd;

	put_taskfile(active(ch), &c->tf);
	ch->device_reg = (ch->device_reg & 0xf0) | (c->tf.device & 0xf);
	ch->phase = IDE_IDLE;
	device_count(ch->ide->commands, 1);
	if (c->tf.status & ATA_STATUS_ERR)
		device_count(ch->ide->errors, 1);
	if (!c->window && (c->is_broken || ch->list_used_up))
		ch->bm_status &= ~IDE_BM_ACTIVE;
	if (announce)
		interrupt(ch);
}

/* The guest has read or written a block to its end. */
static void block_done(struct ide_channel *ch)
{
	if (ch->pos < ch->cmd.part) {
		begin_block(ch, true);
	} else if (ch->phase == IDE_EMPTY && ch->last) {
		/* A packet's end is announced, that of a PIO read is not. */
		finish(ch, is_packet(ch));
	} else {
		ch->phase = IDE_NEXT;
		ide_channel_poke(ch);
	}
}

uint32_t ide_channel_read_data(struct ide_channel *ch, unsigned len)
{
	uint32_t value = 0, n = ch->end - ch->pos;

	if (ch->phase != IDE_EMPTY)
		return 0;
	n = n < len ? n : len;
	memcpy(&value, ch->window + ch->pos, n);
	ch->pos += n;
	if (ch->pos == ch->end)
		block_done(ch);
	return value;
}

static void packet_done(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;

	if ((c->tf.features & FEATURE_DMA) && mmc_has_data(c->packet[0])) {
		ch->phase = IDE_WAIT_DMA;
		ide_channel_try_dma(ch);
		return;
	}
	ch->phase = IDE_START;
	ide_channel_poke(ch);
}

void ide_channel_write_data(struct ide_channel *ch, uint32_t value,
			    unsigned len)
{
	uint8_t *to = ch->phase == IDE_PACKET ? ch->cmd.packet : ch->window;
	uint32_t n = ch->end - ch->pos;

	if (ch->phase != IDE_PACKET && ch->phase != IDE_FILL)
		return;
	n = n < len ? n : len;
	memcpy(to + ch->pos, &value, n);
	ch->pos += n;
	if (ch->pos < ch->end)
		return;
	if (ch->phase == IDE_PACKET)
		packet_done(ch);
	else
		block_done(ch);
}

/* ---- the beginning of a command ---- */

void ide_channel_try_dma(struct ide_channel *ch)
{
	if (ch->phase != IDE_WAIT_DMA || !(ch->bm_command & IDE_BM_START) ||
	    !pci_bus_master(&ch->ide->pci))
		return;
	ch->cmd.to_guest = ch->bm_command & IDE_BM_TO_GUEST;
	ch->phase = IDE_START;
	ide_channel_poke(ch);
}

static void begin_packet(struct ide_channel *ch)
{
	struct ide_regs *r = &active(ch)->regs;
	unsigned limit = r->lba_mid[0] | r->lba_high[0] << 8;

	if (limit < 2 || limit == 0xffff)
		limit = 0xfffe;
	ch->limit = (uint16_t)limit;
	memset(ch->cmd.packet, 0, sizeof(ch->cmd.packet));
	ch->phase = IDE_PACKET;
	ch->pos = 0;
	ch->end = IDE_PACKET_LEN;
	r->count[0] = REASON_COMMAND;
}

/* Unlike others it is for both devices, and leaves the master selected. */
static void diagnose(struct ide_channel *ch)
{
	for (unsigned i = 0; i < 2; i++)
		ide_unit_signature(&ch->units[i]);
	ch->device_reg = IDE_DEVICE_FIXED;
	interrupt(ch);
}

/* DEVICE RESET is taken even while a packet device is busy. */
static void reset_unit(struct ide_channel *ch, struct ide_unit *u)
{
	ide_channel_abort(ch);
	ata_reset(u->ata);
	ide_unit_signature(u);
	ch->device_reg &= IDE_DEVICE_FIXED | IDE_DEVICE_UNIT;
}

void ide_channel_command(struct ide_channel *ch, uint8_t code)
{
	struct ide_unit *u = ide_selected(ch);
	struct ata_cmd *c = &ch->cmd;
	enum ata_protocol protocol;

	if (!u->ata || (ch->control_reg & IDE_CONTROL_SRST))
		return;
	if (code == ATA_CMD_DEVICE_RESET && u->ata->is_cdrom) {
		reset_unit(ch, u);
		return;
	}
	if (ide_channel_is_busy(ch))
		return;
	ch->intrq = false;
	ide_channel_update_irq(ch);
	if (code == ATA_CMD_DIAGNOSTIC) {
		diagnose(ch);
		return;
	}
	ch->active = (uint8_t)(u - ch->units);
	get_taskfile(u, ch->device_reg, code, &c->tf);
	protocol = ata_protocol(u->ata, code);
	c->is_broken = false;
	c->to_guest = protocol != ATA_PIO_OUT;
	c->part = 0;
	c->window = IDE_WINDOW;
	if (protocol == ATA_DMA ||
	    (protocol == ATA_PACKET && (c->tf.features & FEATURE_DMA)))
		c->window = 0;
	ide_channel_set_map(ch);
	ch->quiet = true;
	ch->list_used_up = false;
	if (protocol == ATA_PACKET) {
		begin_packet(ch);
	} else if (protocol == ATA_DMA) {
		ch->phase = IDE_WAIT_DMA;
		ide_channel_try_dma(ch);
	} else {
		ch->phase = IDE_START;
		ide_channel_poke(ch);
	}
}

/* ---- on the loop ---- */

static void complain(struct ide_channel *ch)
{
	struct device *dev = &ch->ide->pci.dev;

	log_guest(dev->m->log, &dev->limit, dev->name, "channel %u: %s",
		  (unsigned)(ch - ch->ide->channels), ch->why);
	ch->bm_status |= IDE_BM_ERROR;
}

/* Locked: what the command set wants next; true when it is to be submitted. */
static bool settle(struct ide_channel *ch, enum ata_result r)
{
	struct ata_cmd *c = &ch->cmd;

	switch (r) {
	case ATA_SUBMIT:
	case ATA_EJECT:
		ch->wish = r;
		ch->phase = IDE_BUSY;
		ch->held = true;
		ch->cmd_epoch = ch->epoch;
		return true;
	case ATA_FILL:
		begin_window(ch, IDE_FILL, !ch->quiet);
		ch->quiet = false;
		return false;
	case ATA_EMPTY:
	case ATA_DONE:
		break;
	}
	if (c->is_broken)
		complain(ch);
	ch->last = r == ATA_DONE;
	if (c->window && c->to_guest && c->part)
		begin_window(ch, IDE_EMPTY, true);
	else
		finish(ch, true);
	return false;
}

/* Begins or continues the unit's command, if it is the loop's turn. */
static void run(struct ide_unit *u)
{
	struct ide_channel *ch = u->channel;
	pthread_mutex_t *lock = &ch->ide->pci.dev.lock;
	bool submit = false, wce = false;
	struct ata_dev *d;

	pthread_mutex_lock(lock);
	d = u->ata;
	if (d && active(ch) == u && !ch->held) {
		if (ch->phase == IDE_START)
			submit = settle(ch, ata_start(d, &ch->cmd));
		else if (ch->phase == IDE_NEXT)
			submit = settle(ch, ata_next(d, &ch->cmd, 0));
		wce = d->wce_now;
	}
	pthread_mutex_unlock(lock);
	if (submit)
		ata_submit(d, &ch->cmd, ch->wish, wce);
}

void ide_unit_on_kick(void *arg, uint32_t events)
{
	struct ide_unit *u = arg;
	uint64_t n;

	(void)events;
	if (read(u->kick.fd, &n, sizeof(n)) == sizeof(n))
		run(u);
}

void ide_channel_done(struct drive_req *req, int res)
{
	struct ide_channel *ch = req->opaque;
	struct ata_dev *d = active(ch)->ata;
	pthread_mutex_t *lock = &ch->ide->pci.dev.lock;
	bool submit = false, wce;

	/* Also when it failed, or a reset came between. */
	if (req->op == DRIVE_READ && ch->wish != ATA_EJECT)
		dma_mark_iov(channel_mem(ch), req->iov, req->nr_iov, req->len);
	pthread_mutex_lock(lock);
	wce = d->wce_now;
	ch->held = false;
	if (ch->cmd_epoch == ch->epoch)
		submit = settle(ch, ata_next(d, &ch->cmd, res));
	else
		ch->draining = false;
	pthread_mutex_unlock(lock);
	if (submit)
		ata_submit(d, &ch->cmd, ch->wish, wce);
}
