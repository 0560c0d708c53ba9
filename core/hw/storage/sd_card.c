/*
 * The card's buffer and its life.
 *
 * Invariants: a half whose request is in flight (busy) is nobody's but the
 * drive's; halves are used in turn, so `head` says which is next for the host.
 * READ: a half with taken < len waits for the host.  WRITE, PROGRAM: a half with
 * len > 0 waits for its request.  While `draining`, requests of an older epoch
 * are in flight and nothing new starts, so a disk sees commands in order.
 */
#include "core/hw/storage/sd_card.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/disk_driver.h"
#include "core/error.h"
#include "core/hw/storage/sdhci.h"
#include "core/migration/state.h"

/* Read at a time when nobody knows where the host will stop. */
#define CHUNK_UNKNOWN (16 * SD_BLOCK)

/* ---- the end of a transfer ---- */

void sd_abort(struct sd_card *c)
{
	c->epoch++;
	c->draining = c->held > 0;
	c->phase = SD_QUIET;
	c->head = 0;
	c->left = c->unread = 0;
	c->reg_len = c->reg_pos = 0;
	c->erase_len = 0;
	c->io_failed = false;
	for (unsigned i = 0; i < 2; i++)
		c->half[i].len = c->half[i].taken = 0;
}

static void back_to_tran(struct sd_card *c)
{
	c->phase = SD_QUIET;
	if (c->state == SD_DIS)
		c->state = SD_STBY;
	else
		c->state = SD_TRAN;
}

void sd_card_power_off(struct sd_card *c)
{
	sd_abort(c);
	c->state = SD_IDLE;
	c->status = 0;
	c->rca = 0;
	c->app = c->ready = c->wide = c->high_speed = false;
	c->block_len = SD_BLOCK;
	c->planned = 0;
	c->written = 0;
	c->has_erase_first = c->has_erase_last = false;
}

/* ---- data phases begin ---- */

void sd_send_register(struct sd_card *c, uint32_t len)
{
	c->phase = SD_SEND_REGISTER;
	c->state = SD_DATA;
	c->reg_len = len;
	c->reg_pos = 0;
}

void sd_take_register(struct sd_card *c, uint32_t len)
{
	c->phase = SD_TAKE_REGISTER;
	c->state = SD_RCV;
	c->reg_len = len;
	c->reg_pos = 0;
}

void sd_start_read(struct sd_card *c, uint64_t off, uint64_t len, bool bounded,
		   uint32_t blocks)
{
	uint64_t want = (uint64_t)blocks * SD_BLOCK;

	c->phase = SD_READ;
	c->state = SD_DATA;
	c->off = c->fetch = off;
	c->left = c->unread = len;
	c->is_bounded = bounded;
	c->chunk = blocks || bounded ? SD_HALF_LEN : CHUNK_UNKNOWN;
	if (want && c->unread > want)
		c->unread = want;
}

void sd_start_write(struct sd_card *c, uint64_t off, uint64_t len, bool bounded)
{
	c->phase = SD_WRITE;
	c->state = SD_RCV;
	c->off = off;
	c->left = len;
	c->is_bounded = bounded;
	c->written = 0;
}

void sd_start_program(struct sd_card *c)
{
	c->phase = SD_PROGRAM;
	c->state = SD_PRG;
	/* A block that the host broke off is lost. */
	for (unsigned i = 0; i < 2; i++)
		if (!c->half[i].io.busy)
			c->half[i].len -= c->half[i].len % SD_BLOCK;
}

/* ---- the host's side ---- */

bool sd_card_sends(const struct sd_card *c)
{
	return c->phase == SD_READ || c->phase == SD_SEND_REGISTER;
}

bool sd_card_receives(const struct sd_card *c)
{
	return c->phase == SD_WRITE || c->phase == SD_TAKE_REGISTER;
}

uint32_t sd_card_unit(const struct sd_card *c)
{
	if (c->phase == SD_SEND_REGISTER || c->phase == SD_TAKE_REGISTER)
		return c->reg_len;
	return SD_BLOCK;
}

bool sd_card_take_failure(struct sd_card *c)
{
	bool failed = c->io_failed;

	c->io_failed = false;
	if (failed)
		c->unread = 0;
	return failed;
}

/* Not busy, and clean: what the host's next bytes can go to. */
static bool is_free(const struct sd_half *h)
{
	return !h->io.busy && !h->len;
}

static bool has_room(const struct sd_card *c)
{
	const struct sd_half *h = &c->half[c->head];

	if (c->draining)
		return false;
	return (!h->io.busy && h->len < SD_HALF_LEN) ||
	       is_free(&c->half[!c->head]);
}

bool sd_card_busy(const struct sd_card *c)
{
	return c->phase == SD_PROGRAM || (c->phase == SD_WRITE && !has_room(c));
}

bool sd_card_pulls_dat0(const struct sd_card *c)
{
	return sd_card_busy(c) && c->state != SD_DIS;
}

bool sd_card_starved(const struct sd_card *c)
{
	const struct sd_half *h = &c->half[c->head];

	switch (c->phase) {
	case SD_SEND_REGISTER:
	case SD_TAKE_REGISTER:
		return false;
	case SD_WRITE:
		return !c->left;
	case SD_READ:
		return !h->io.busy && h->taken == h->len &&
		       (c->io_failed || !c->unread);
	}
	return true;
}

const uint8_t *sd_card_peek(struct sd_card *c, uint32_t *len)
{
	struct sd_half *h = &c->half[c->head];

	*len = 0;
	if (c->phase == SD_SEND_REGISTER) {
		*len = c->reg_len - c->reg_pos;
		return c->reg + c->reg_pos;
	}
	if (c->phase != SD_READ || c->draining || h->io.busy)
		return NULL;
	*len = h->len - h->taken;
	return h->data + h->taken;
}

void sd_card_consume(struct sd_card *c, uint32_t n)
{
	struct sd_half *h = &c->half[c->head];

	if (c->phase == SD_SEND_REGISTER) {
		c->reg_pos += n;
		if (c->reg_pos == c->reg_len)
			back_to_tran(c);
		return;
	}
	h->taken += n;
	c->off += n;
	c->left -= n;
	if (h->taken == h->len) {
		h->taken = h->len = 0;
		c->head = !c->head;
	}
	if (!c->left && c->is_bounded)
		back_to_tran(c);
	else if (!c->left)
		c->status |= SD_OUT_OF_RANGE;
}

uint8_t *sd_card_room(struct sd_card *c, uint32_t *len)
{
	struct sd_half *h = &c->half[c->head];

	*len = 0;
	if (c->phase == SD_TAKE_REGISTER) {
		*len = c->reg_len - c->reg_pos;
		return c->reg + c->reg_pos;
	}
	if (c->phase != SD_WRITE || !has_room(c))
		return NULL;
	if (h->io.busy || h->len == SD_HALF_LEN) {
		c->head = !c->head;
		h = &c->half[c->head];
	}
	*len = SD_HALF_LEN - h->len;
	if (*len > c->left)
		*len = (uint32_t)c->left;
	return h->data + h->len;
}

static void register_arrived(struct sd_card *c)
{
	if (!sd_program_csd(c))
		c->status |= SD_CSD_OVERWRITE;
	back_to_tran(c);
}

void sd_card_produce(struct sd_card *c, uint32_t n)
{
	struct sd_half *h = &c->half[c->head];

	if (c->phase == SD_TAKE_REGISTER) {
		c->reg_pos += n;
		if (c->reg_pos == c->reg_len)
			register_arrived(c);
		return;
	}
	if (!h->len)
		h->off = c->off;
	h->len += n;
	c->off += n;
	c->left -= n;
	if (!c->left && c->is_bounded)
		sd_start_program(c);
	else if (!c->left)
		c->status |= SD_OUT_OF_RANGE;
}

/* ---- the drive's side ---- */

static struct drive_req *begin(struct sd_card *c, struct sd_io *io,
			       enum drive_op op, uint64_t off, uint64_t len)
{
	io->busy = true;
	io->epoch = c->epoch;
	io->iov.iov_len = len;
	io->req.op = op;
	io->req.off = off;
	io->req.len = len;
	io->req.iov = &io->iov;
	io->req.nr_iov = 1;
	/* Programming ends with a flush. */
	io->req.flush_follows = true;
	c->held++;
	return &io->req;
}

static struct drive_req *next_read(struct sd_card *c)
{
	for (unsigned i = 0; i < 2 && !c->io_failed && c->unread; i++) {
		struct sd_half *h = &c->half[c->head ^ i];
		uint64_t len = c->unread < c->chunk ? c->unread : c->chunk;
		uint64_t off = c->fetch;

		if (h->io.busy || h->len)
			continue;
		c->fetch += len;
		c->unread -= len;
		return begin(c, &h->io, DRIVE_READ, off, len);
	}
	return NULL;
}

/* The older half first.  The one that the host still fills is programmed when
 * nothing else is, so that short writes gather while another goes on. */
static struct drive_req *next_write(struct sd_card *c)
{
	for (int i = 1; i >= 0; i--) {
		struct sd_half *h = &c->half[c->head ^ i];
		bool is_done = i || c->phase == SD_PROGRAM ||
			       h->len == SD_HALF_LEN || !c->held;

		if (h->io.busy || !h->len || h->len % SD_BLOCK || !is_done)
			continue;
		return begin(c, &h->io, DRIVE_WRITE, h->off, h->len);
	}
	return NULL;
}

static struct drive_req *next_program(struct sd_card *c)
{
	struct drive_req *req = next_write(c);

	if (req || c->held)
		return req;
	if (c->erase_len)
		return begin(c, &c->extra, DRIVE_WRITE_ZEROES, c->erase_off,
			     c->erase_len);
	device_count(c->flushes, 1);
	return begin(c, &c->extra, DRIVE_FLUSH, 0, 0);
}

struct drive_req *sd_card_next_req(struct sd_card *c)
{
	if (c->draining)
		return NULL;
	if (c->phase == SD_READ)
		return next_read(c);
	if (c->phase == SD_WRITE)
		return next_write(c);
	return c->phase == SD_PROGRAM ? next_program(c) : NULL;
}

static void half_done(struct sd_card *c, struct sd_half *h, int res)
{
	if (h->io.req.op == DRIVE_READ) {
		h->taken = 0;
		h->len = res ? 0 : (uint32_t)h->io.req.len;
		return;
	}
	if (!res)
		c->written += h->len / SD_BLOCK;
	h->len = 0;
}

void sd_card_req_done(struct sd_card *c, struct drive_req *req, int res)
{
	struct sd_io *io = req->opaque;

	io->busy = false;
	c->held--;
	if (io->epoch != c->epoch) {
		if (!c->held)
			c->draining = false;
		return;
	}
	if (res) {
		c->io_failed = true;
		c->status |= SD_ERROR;
		if (req->op == DRIVE_READ)
			c->status |= SD_ECC_FAILED;
		else
			c->written = 0;
	}
	if (io != &c->extra)
		half_done(c, (struct sd_half *)(void *)io, res);
	else if (req->op == DRIVE_FLUSH)
		back_to_tran(c);
	else
		c->erase_len = 0;
}

/* ---- life ---- */

static void init_io(struct sd_card *c, struct sd_io *io, uint8_t *data)
{
	io->card = c;
	io->iov.iov_base = data;
	io->req.done = sdhci_req_done;
	io->req.opaque = io;
}

static int card_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	struct sd_card *c = (struct sd_card *)(void *)dev;
	struct drive_caps caps = {
		.device = dev->cls->name,
		.wce = DRIVE_WCE_NEVER,
		.write_zeroes = true,
	};
	int r;

	if (!args->drive || !args->io || !args->parent)
		return error_set(e, -EINVAL,
				 "an SD card needs a drive and a controller");
	r = sd_identify(c, drive_len(args->drive), drive_readonly(args->drive),
			e);
	if (!r)
		r = drive_attach(args->drive, &caps, e);
	if (r)
		return r;
	c->drive = args->drive;
	c->io = args->io;
	c->flushes = device_counter_add(dev, "flushes");
	for (unsigned i = 0; i < 2; i++)
		init_io(c, &c->half[i].io, c->half[i].data);
	init_io(c, &c->extra, NULL);
	sd_card_power_off(c);
	return sdhci_attach(args->parent, c, e);
}

static void card_quiesce(struct device *dev)
{
	drive_drain(((struct sd_card *)(void *)dev)->drive);
}

static void card_destroy(struct device *dev)
{
	card_quiesce(dev);
	sdhci_detach((struct sd_card *)(void *)dev);
}

static void card_reset(struct device *dev)
{
	card_quiesce(dev);
	sd_card_power_off((struct sd_card *)(void *)dev);
	/* The image has no place for it. */
	((struct sd_card *)(void *)dev)->is_protected = false;
}

/* ---- state ---- */

static const struct state_field half_fields[] = {
	STATE_FIELD(struct sd_half, off),
	STATE_FIELD(struct sd_half, len),
	STATE_FIELD(struct sd_half, taken),
	STATE_ARRAY(struct sd_half, data),
};

static const struct state_desc half_state = {
	.name = "sd-half",
	.version = 1,
	.oldest = 1,
	.fields = half_fields,
	.nr_fields = sizeof(half_fields) / sizeof(half_fields[0]),
};

static const struct state_field card_fields[] = {
	STATE_FIELD(struct sd_card, is_protected),
	STATE_FIELD(struct sd_card, state),
	STATE_FIELD(struct sd_card, phase),
	STATE_FIELD(struct sd_card, status),
	STATE_FIELD(struct sd_card, rca),
	STATE_FIELD(struct sd_card, app),
	STATE_FIELD(struct sd_card, ready),
	STATE_FIELD(struct sd_card, wide),
	STATE_FIELD(struct sd_card, high_speed),
	STATE_FIELD(struct sd_card, block_len),
	STATE_FIELD(struct sd_card, planned),
	STATE_FIELD(struct sd_card, written),
	STATE_FIELD(struct sd_card, erase_first),
	STATE_FIELD(struct sd_card, erase_last),
	STATE_FIELD(struct sd_card, has_erase_first),
	STATE_FIELD(struct sd_card, has_erase_last),
	STATE_ARRAY(struct sd_card, reg),
	STATE_FIELD(struct sd_card, reg_len),
	STATE_FIELD(struct sd_card, reg_pos),
	STATE_FIELD(struct sd_card, off),
	STATE_FIELD(struct sd_card, left),
	STATE_FIELD(struct sd_card, fetch),
	STATE_FIELD(struct sd_card, unread),
	STATE_FIELD(struct sd_card, chunk),
	STATE_FIELD(struct sd_card, is_bounded),
	STATE_FIELD(struct sd_card, erase_off),
	STATE_FIELD(struct sd_card, erase_len),
	STATE_FIELD(struct sd_card, io_failed),
	STATE_FIELD(struct sd_card, head),
	STATE_STRUCTS(struct sd_card, half, 2, &half_state),
};

static bool is_range(const struct sd_card *c, uint64_t off, uint64_t len)
{
	uint64_t end = drive_len(c->drive);

	return off <= end && len <= end - off;
}

static bool is_sane(const struct sd_card *c)
{
	for (unsigned i = 0; i < 2; i++)
		if (c->half[i].len > SD_HALF_LEN ||
		    c->half[i].taken > c->half[i].len)
			return false;
	return c->state < SD_NR_STATES && c->phase < SD_NR_PHASES &&
	       c->head < 2 && c->reg_len <= SD_REG_MAX &&
	       c->reg_pos <= c->reg_len && c->chunk <= SD_HALF_LEN &&
	       (c->chunk || c->phase != SD_READ) &&
	       is_range(c, c->off, c->left) &&
	       is_range(c, c->fetch, c->unread) &&
	       is_range(c, c->erase_off, c->erase_len);
}

static int card_check(void *obj, int version, struct error *e)
{
	struct sd_card *c = obj;

	(void)version;
	if (is_sane(c))
		return 0;
	return error_set(e, -EINVAL,
			 "the transfer of the SD card leaves its disk or "
			 "buffer");
}

static const struct state_desc card_state = {
	.name = "sd-card",
	.version = 1,
	.oldest = 1,
	.fields = card_fields,
	.nr_fields = sizeof(card_fields) / sizeof(card_fields[0]),
	.check = card_check,
};

static void card_disk_driver(struct device *dev, struct disk_driver *out)
{
	struct sd_card *c = (struct sd_card *)(void *)dev;

	pthread_mutex_lock(&dev->parent->lock);
	out->started = c->state > SD_IDENT;
	pthread_mutex_unlock(&dev->parent->lock);
	out->discard = !drive_readonly(c->drive);
	snprintf(out->text, sizeof(out->text),
		 "an SD card has no write cache: what was written is stable "
		 "when the card is ready again");
}

const struct device_class sd_card_class = {
	.name = "sd-card",
	.summary = "SD card",
	.bus = DEVICE_ON_CONTROLLER,
	.size = sizeof(struct sd_card),
	.create = card_create,
	.destroy = card_destroy,
	.reset = card_reset,
	.quiesce = card_quiesce,
	.state = &card_state,
	.disk_driver = card_disk_driver,
};
