/*
 * The data engine: between the card's buffer and the data port, or guest memory
 * by SDMA and ADMA2.  SD Host Controller 3.00: 1.4, 1.13, 2.2.
 */
#include <string.h>
#include <unistd.h>

#include "core/hw/storage/sdhci.h"
#include "core/hw/storage/sdhci_int.h"

#define PRESENT_INHIBIT_DAT  (1u << 1)
#define PRESENT_DAT_ACTIVE   (1u << 2)
#define PRESENT_WRITE_ACTIVE (1u << 8)
#define PRESENT_READ_ACTIVE  (1u << 9)
#define PRESENT_BUFFER_WRITE (1u << 10)
#define PRESENT_BUFFER_READ  (1u << 11)

#define CONTROL_DMA_SHIFT 3

/* Descriptors: 1.13.4. */
#define ADMA_VALID	0x01u
#define ADMA_END	0x02u
#define ADMA_INTERRUPT	0x04u
#define ADMA_ACT	0x30u
#define ADMA_ACT_MOVE	0x20u
#define ADMA_ACT_LINK	0x30u
#define ADMA_STATE_READ 1u /* of a descriptor */
#define ADMA_STATE_MOVE 3u
#define ADMA_MISMATCH	4u
/* Descriptors in a row that move nothing: more is a circle. */
#define ADMA_MAX_IDLE 512
#define DMA_MAX_STEPS 256 /* of one turn: others want the loop and the lock */

/* ---- the end of a transfer ---- */

static void check_wait(struct sdhci *s)
{
	if (!s->waits || sd_card_busy(s->card))
		return;
	s->waits = false;
	if (sd_card_take_failure(s->card))
		sdhci_fail(s, SDHCI_ERR_DATA_CRC);
	else
		sdhci_raise(s, SDHCI_IS_TRANSFER);
}

static void data_done(struct sdhci *s)
{
	s->active = false;
	if (s->auto_mode == SDHCI_MODE_AUTO_12 &&
	    !sdhci_auto_command(s, 12, 0)) {
		sdhci_fail(s, SDHCI_ERR_AUTO);
		return;
	}
	s->waits = true;
	check_wait(s);
}

void sdhci_data_stop(struct sdhci *s)
{
	s->active = s->waits = s->is_ready = s->is_paused = false;
	s->block_pos = 0;
	s->piece_len = 0;
}

/* True when it was the last. */
static bool block_done(struct sdhci *s)
{
	s->block_pos = 0;
	if (!s->is_counted)
		return false;
	s->blocks--;
	if (s->regs[SDHCI_MODE] & SDHCI_MODE_COUNT)
		s->regs[SDHCI_BLOCKS] = (uint16_t)s->blocks;
	if (s->blocks)
		return false;
	data_done(s);
	return true;
}

static void starve(struct sdhci *s)
{
	sdhci_fail(s, sd_card_take_failure(s->card) ? SDHCI_ERR_DATA_CRC
						    : SDHCI_ERR_DATA_TIMEOUT);
}

/* ---- the beginning ---- */

static bool is_plausible(struct sdhci *s)
{
	const struct sd_card *c = s->card;

	if (s->pci.dev.failed ||
	    !(s->to_guest ? sd_card_sends(c) : sd_card_receives(c))) {
		sdhci_fail(s, SDHCI_ERR_DATA_TIMEOUT);
		return false;
	}
	if (s->block_len != sd_card_unit(c)) {
		sdhci_fail(s, SDHCI_ERR_DATA_END);
		return false;
	}
	return true;
}

void sdhci_data_start(struct sdhci *s)
{
	uint16_t mode = s->regs[SDHCI_MODE];
	unsigned select = (s->regs[SDHCI_CONTROL] >> CONTROL_DMA_SHIFT) & 3;

	sdhci_data_stop(s);
	s->to_guest = mode & SDHCI_MODE_READ;
	s->is_counted = !(mode & SDHCI_MODE_MULTI) || (mode & SDHCI_MODE_COUNT);
	s->blocks = mode & SDHCI_MODE_MULTI ? s->regs[SDHCI_BLOCKS] : 1;
	s->block_len = s->regs[SDHCI_BLOCK_LEN] & 0xfff;
	s->auto_mode = mode & SDHCI_MODE_AUTO;
	s->is_last_piece = s->piece_interrupts = false;
	s->dma = SDHCI_PIO;
	if (mode & SDHCI_MODE_DMA)
		s->dma = select < 2 ? SDHCI_SDMA_MODE : (uint8_t)select;
	if (!is_plausible(s))
		return;
	s->active = true;
	if (s->is_counted && !s->blocks)
		data_done(s);
	sdhci_data_pump(s);
	sdhci_kick(s);
}

/* ---- PIO ---- */

static void fill_buffer(struct sdhci *s)
{
	uint32_t len;
	const uint8_t *data = sd_card_peek(s->card, &len);

	if (len >= s->block_len) {
		memcpy(s->buf, data, s->block_len);
		sd_card_consume(s->card, s->block_len);
		s->is_ready = true;
		sdhci_raise(s, SDHCI_IS_READ);
		sdhci_kick(s);
	} else if (sd_card_starved(s->card)) {
		starve(s);
	}
}

static void offer_buffer(struct sdhci *s)
{
	uint32_t len;

	sd_card_room(s->card, &len);
	if (len >= s->block_len) {
		s->is_ready = true;
		sdhci_raise(s, SDHCI_IS_WRITE);
	} else if (sd_card_starved(s->card)) {
		starve(s);
	}
}

void sdhci_data_pump(struct sdhci *s)
{
	if (!s->card)
		return;
	if (s->active && s->dma == SDHCI_PIO && !s->is_ready) {
		if (s->to_guest)
			fill_buffer(s);
		else
			offer_buffer(s);
	}
	check_wait(s);
}

uint32_t sdhci_data_read(struct sdhci *s, unsigned len)
{
	uint32_t value = 0;

	if (!s->is_ready || !s->to_guest)
		return 0;
	if (len > s->block_len - s->block_pos)
		len = s->block_len - s->block_pos;
	memcpy(&value, s->buf + s->block_pos, len);
	s->block_pos += len;
	if (s->block_pos == s->block_len) {
		s->is_ready = false;
		if (!block_done(s))
			sdhci_data_pump(s);
	}
	return value;
}

/* The card takes the block at once: it had room when the buffer was offered. */
static void buffer_filled(struct sdhci *s)
{
	uint32_t len;
	uint8_t *room = sd_card_room(s->card, &len);

	s->is_ready = false;
	if (len < s->block_len) {
		starve(s);
		return;
	}
	memcpy(room, s->buf, s->block_len);
	sd_card_produce(s->card, s->block_len);
	if (!block_done(s))
		sdhci_data_pump(s);
	sdhci_kick(s);
}

void sdhci_data_write(struct sdhci *s, uint32_t value, unsigned len)
{
	if (!s->is_ready || s->to_guest)
		return;
	if (len > s->block_len - s->block_pos)
		len = s->block_len - s->block_pos;
	memcpy(s->buf + s->block_pos, &value, len);
	s->block_pos += len;
	if (s->block_pos == s->block_len)
		buffer_filled(s);
}

/* ---- DMA, on the loop ---- */

static void dma_failed(struct sdhci *s, unsigned state, const char *why)
{
	uint64_t at = sdhci_pair(s, SDHCI_SDMA);

	if (s->dma != SDHCI_SDMA_MODE) {
		at = sdhci_pair(s, SDHCI_ADMA) |
		     (uint64_t)sdhci_pair(s, SDHCI_ADMA + 2) << 32;
		s->regs[SDHCI_ADMA_ERROR] = (uint16_t)state;
	}
	device_fail(&s->pci.dev, "%s (DMA address 0x%llx)", why,
		    (unsigned long long)at);
	sdhci_fail(s, s->dma == SDHCI_SDMA_MODE ? SDHCI_ERR_DATA_TIMEOUT
						: SDHCI_ERR_ADMA);
}

static uint32_t sdma_room(const struct sdhci *s)
{
	uint32_t addr = sdhci_pair(s, SDHCI_SDMA);
	uint32_t size = 4096u << ((s->regs[SDHCI_BLOCK_LEN] >> 12) & 7);

	return size - (addr & (size - 1));
}

struct descriptor {
	uint16_t flags, len;
	uint32_t addr[2];
};

/* The next descriptor; false when none can be had. */
static bool read_descriptor(struct sdhci *s)
{
	struct descriptor d = {0};
	unsigned size = s->dma == SDHCI_ADMA64 ? 12 : 8;
	uint64_t at = sdhci_pair(s, SDHCI_ADMA), addr;

	if (s->dma == SDHCI_ADMA64)
		at |= (uint64_t)sdhci_pair(s, SDHCI_ADMA + 2) << 32;
	if (dma_read(s->pci.dev.m->mem, at, &d, size)) {
		dma_failed(s, ADMA_STATE_READ, "its descriptors leave RAM");
		return false;
	}
	if (!(d.flags & ADMA_VALID)) {
		dma_failed(s, ADMA_STATE_READ, "a descriptor is not valid");
		return false;
	}
	addr = d.addr[0] | (uint64_t)d.addr[1] << 32;
	at += size;
	if ((d.flags & ADMA_ACT) == ADMA_ACT_LINK)
		at = addr;
	if ((d.flags & ADMA_ACT) == ADMA_ACT_MOVE) {
		s->piece = addr;
		s->piece_len = d.len ? d.len : 65536;
	}
	s->is_last_piece = d.flags & ADMA_END;
	s->piece_interrupts = d.flags & ADMA_INTERRUPT;
	sdhci_set_pair(s, SDHCI_ADMA, (uint32_t)at);
	if (s->dma == SDHCI_ADMA64)
		sdhci_set_pair(s, SDHCI_ADMA + 2, (uint32_t)(at >> 32));
	return true;
}

static bool next_piece(struct sdhci *s)
{
	for (unsigned i = 0; i < ADMA_MAX_IDLE; i++) {
		if (s->is_last_piece) {
			dma_failed(s, ADMA_STATE_MOVE | ADMA_MISMATCH,
				   "its descriptors end before its data");
			return false;
		}
		if (!read_descriptor(s))
			return false;
		if (s->piece_len)
			return true;
		if (s->piece_interrupts)
			sdhci_raise(s, SDHCI_IS_DMA);
	}
	dma_failed(s, ADMA_STATE_READ, "its descriptors move nothing");
	return false;
}

/* Moves n bytes at addr; false when the address is wild. */
static bool move(struct sdhci *s, uint64_t addr, uint32_t n)
{
	struct mem *mem = s->pci.dev.m->mem;
	uint32_t len;
	int r;

	if (s->to_guest) {
		r = dma_write(mem, addr, sd_card_peek(s->card, &len), n);
		if (!r)
			sd_card_consume(s->card, n);
	} else {
		r = dma_read(mem, addr, sd_card_room(s->card, &len), n);
		if (!r)
			sd_card_produce(s->card, n);
	}
	if (r)
		dma_failed(s, ADMA_STATE_MOVE, "its data leave RAM");
	return !r;
}

static void sdma_moved(struct sdhci *s, uint32_t n)
{
	uint32_t room = sdma_room(s);

	sdhci_set_pair(s, SDHCI_SDMA, sdhci_pair(s, SDHCI_SDMA) + n);
	if (n == room && s->active) {
		s->is_paused = true;
		sdhci_raise(s, SDHCI_IS_DMA);
	}
}

static void adma_moved(struct sdhci *s, uint32_t n)
{
	s->piece += n;
	s->piece_len -= n;
	if (!s->piece_len && s->piece_interrupts)
		sdhci_raise(s, SDHCI_IS_DMA);
}

/* Moves up to the end of a block or piece; false when it can't go on. */
static bool dma_step(struct sdhci *s)
{
	uint32_t n, room;
	uint64_t addr = sdhci_pair(s, SDHCI_SDMA);

	if (s->to_guest)
		sd_card_peek(s->card, &n);
	else
		sd_card_room(s->card, &n);
	if (!n && sd_card_starved(s->card))
		starve(s);
	if (!n)
		return false;
	if (s->dma != SDHCI_SDMA_MODE && !s->piece_len && !next_piece(s))
		return false;
	room = s->dma == SDHCI_SDMA_MODE ? sdma_room(s) : s->piece_len;
	if (s->dma != SDHCI_SDMA_MODE)
		addr = s->piece;
	if (n > room)
		n = room;
	if (n > s->block_len - s->block_pos)
		n = s->block_len - s->block_pos;
	if (!move(s, addr, n))
		return false;
	s->block_pos += n;
	if (s->block_pos == s->block_len)
		block_done(s);
	if (s->dma == SDHCI_SDMA_MODE)
		sdma_moved(s, n);
	else
		adma_moved(s, n);
	return true;
}

static void dma_run(struct sdhci *s)
{
	unsigned steps = 0;

	while (s->active && s->dma != SDHCI_PIO && !s->is_paused &&
	       pci_bus_master(&s->pci) && dma_step(s))
		if (++steps == DMA_MAX_STEPS) {
			sdhci_kick(s);
			return;
		}
}

/* ---- the loop ---- */

void sdhci_kick(struct sdhci *s)
{
	uint64_t one = 1;

	/* Can only fail when the counter is full: then it is readable. */
	if (s->card && write(s->kick.fd, &one, sizeof(one)) < 0)
		return;
}

void sdhci_on_kick(void *arg, uint32_t events)
{
	struct sdhci *s = arg;
	struct drive_req *reqs[3], *req;
	unsigned nr = 0;
	uint64_t n;

	(void)events;
	if (read(s->kick.fd, &n, sizeof(n)) != sizeof(n))
		return;
	pthread_mutex_lock(&s->pci.dev.lock);
	dma_run(s);
	while (nr < 3 && (req = sd_card_next_req(s->card)))
		reqs[nr++] = req;
	sdhci_data_pump(s);
	sdhci_update_irq(s);
	pthread_mutex_unlock(&s->pci.dev.lock);
	for (unsigned i = 0; i < nr; i++)
		drive_submit(s->card->drive, reqs[i]);
}

void sdhci_req_done(struct drive_req *req, int res)
{
	struct sd_card *c = ((struct sd_io *)req->opaque)->card;
	struct sdhci *s = (struct sdhci *)(void *)c->host;

	pthread_mutex_lock(&s->pci.dev.lock);
	sd_card_req_done(c, req, res);
	sdhci_data_pump(s);
	sdhci_update_irq(s);
	/* The loop goes on, not this: the world may be stopped. */
	sdhci_kick(s);
	pthread_mutex_unlock(&s->pci.dev.lock);
}

uint32_t sdhci_data_present(const struct sdhci *s)
{
	uint32_t value = 0;

	if (s->active || s->waits)
		value |= PRESENT_INHIBIT_DAT | PRESENT_DAT_ACTIVE;
	if (s->active)
		value |= s->to_guest ? PRESENT_READ_ACTIVE
				     : PRESENT_WRITE_ACTIVE;
	if (s->active && s->is_ready)
		value |= s->to_guest ? PRESENT_BUFFER_READ
				     : PRESENT_BUFFER_WRITE;
	return value;
}
