/*
 * What disks and CD-ROM drives have in common: answers, moving data, finding a
 * command, life and state.
 */
#include "core/hw/storage/ata.h"

#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/iov.h"
#include "core/memory.h"
#include "core/migration/state.h"

/* ---- answers ---- */

enum ata_result ata_ok(struct ata_cmd *c)
{
	c->tf.status = ATA_STATUS_OK;
	c->tf.error = 0;
	return ATA_DONE;
}

enum ata_result ata_fail(struct ata_cmd *c, uint8_t error)
{
	c->tf.status = ATA_STATUS_OK | ATA_STATUS_ERR;
	c->tf.error = error;
	return ATA_DONE;
}

void ata_reply(struct ata_dev *d, struct ata_cmd *c, const void *buf,
	       uint64_t len)
{
	if (!c->to_guest || !c->map(c, len))
		return;
	if (len > c->room)
		len = c->room;
	iov_write(c->iov, c->nr_iov, 0, buf, len);
	dma_mark_iov(d->dev.m->mem, c->iov, c->nr_iov, len);
	c->moved = len;
	c->part = (uint32_t)len;
}

enum ata_result ata_reply_block(struct ata_dev *d, struct ata_cmd *c,
				const uint8_t *block)
{
	ata_reply(d, c, block, 512);
	return c->moved < 512 ? ata_fail(c, ATA_ERROR_ABRT) : ata_ok(c);
}

void ata_checksum(uint8_t *block)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < 511; i++)
		sum += block[i];
	block[511] = (uint8_t)-sum;
}

/* ---- moving data ---- */

enum { MOVE_BEGUN, MOVE_FILLED, MOVE_SUBMITTED };

static enum ata_result move_end(struct ata_dev *d, struct ata_cmd *c, int res)
{
	if (res)
		c->part = 0;
	return d->is_cdrom ? atapi_moved(d, c, res) : ata_disk_moved(d, c, res);
}

/* A part of the data that is in place, or that is to be read. */
static enum ata_result move_submit(struct ata_dev *d, struct ata_cmd *c)
{
	struct ata_move *m = &c->move;

	if (c->to_guest == m->write || !c->map(c, c->part) || c->room < c->part)
		return move_end(d, c, -EFAULT);
	c->req.op = m->write ? DRIVE_WRITE : DRIVE_READ;
	c->req.fua = m->fua;
	c->req.off = m->off;
	c->req.len = c->part;
	c->req.iov = c->iov;
	c->req.nr_iov = c->nr_iov;
	m->step = MOVE_SUBMITTED;
	return ATA_SUBMIT;
}

static enum ata_result move_next(struct ata_dev *d, struct ata_cmd *c, int res)
{
	struct ata_move *m = &c->move;

	if (res)
		return move_end(d, c, res);
	if (m->step == MOVE_FILLED)
		return move_submit(d, c);
	if (m->step == MOVE_SUBMITTED) {
		m->off += c->part;
		m->left -= c->part;
		c->moved += c->part;
		if (!m->left)
			return move_end(d, c, 0);
		m->step = MOVE_BEGUN;
		if (!m->write)
			return ATA_EMPTY;
	}
	c->part = (uint32_t)m->left;
	if (c->window && c->part > c->window)
		c->part = c->window;
	if (!m->write || !c->window)
		return move_submit(d, c);
	m->step = MOVE_FILLED;
	return ATA_FILL;
}

enum ata_result ata_move(struct ata_dev *d, struct ata_cmd *c, bool write,
			 uint64_t off, uint64_t len, bool fua)
{
	/* Beyond what any guest can list; part has 32 bits. */
	if (!c->window && len > UINT32_MAX)
		return move_end(d, c, -EFAULT);
	c->move = (struct ata_move){
		.write = write,
		.fua = fua,
		.step = MOVE_BEGUN,
		.off = off,
		.left = len,
	};
	c->next = move_next;
	return move_next(d, c, 0);
}

void ata_submit(struct ata_dev *d, struct ata_cmd *c, enum ata_result what,
		bool wce)
{
	if (what == ATA_EJECT) {
		c->req.done(&c->req, drive_change_medium(d->drive, NULL, NULL));
		return;
	}
	if (wce != drive_wce(d->drive))
		drive_set_wce(d->drive, wce);
	drive_submit(d->drive, &c->req);
}

/* ---- commands of both ---- */

enum ata_result ata_start_nothing(struct ata_dev *d, struct ata_cmd *c,
				  const struct ata_row *row)
{
	(void)d;
	(void)row;
	return ata_ok(c);
}

enum ata_result ata_start_power(struct ata_dev *d, struct ata_cmd *c,
				const struct ata_row *row)
{
	(void)row;
	c->tf.count = d->power;
	return ata_ok(c);
}

enum ata_result ata_start_diagnostic(struct ata_dev *d, struct ata_cmd *c,
				     const struct ata_row *row)
{
	(void)row;
	ata_signature(d, &c->tf);
	return ATA_DONE;
}

enum ata_result ata_start_identify(struct ata_dev *d, struct ata_cmd *c,
				   const struct ata_row *row)
{
	uint8_t data[512];

	(void)row;
	ata_identify(d, data);
	return ata_reply_block(d, c, data);
}

/* ---- packet devices ---- */

static enum ata_result start_packet(struct ata_dev *d, struct ata_cmd *c,
				    const struct ata_row *row)
{
	(void)row;
	return atapi_start(d, c);
}

static enum ata_result start_device_reset(struct ata_dev *d, struct ata_cmd *c,
					  const struct ata_row *row)
{
	(void)row;
	ata_reset(d);
	ata_signature(d, &c->tf);
	return ATA_DONE;
}

/* Disk commands are refused with the signature, so that drivers learn what
 * this is: ACS-2, 7.17.6. */
static enum ata_result start_not_a_disk(struct ata_dev *d, struct ata_cmd *c,
					const struct ata_row *row)
{
	(void)row;
	ata_signature(d, &c->tf);
	return ata_fail(c, ATA_ERROR_ABRT);
}

static const struct ata_row cdrom_rows[] = {
	{ATA_CMD_DEVICE_RESET, .start = start_device_reset},
	{0x20, .start = start_not_a_disk},
	{ATA_CMD_DIAGNOSTIC, .start = ata_start_diagnostic},
	{ATA_CMD_PACKET, ATA_PACKET, .start = start_packet},
	{0xa1, ATA_PIO_IN, .start = ata_start_identify},
	{0xe0, .start = ata_start_nothing}, /* STANDBY, IDLE, SLEEP */
	{0xe1, .start = ata_start_nothing},
	{0xe2, .start = ata_start_nothing},
	{0xe3, .start = ata_start_nothing},
	{0xe5, .start = ata_start_power},
	{0xe6, .start = ata_start_nothing},
	{0xec, .start = start_not_a_disk},
	{0xef, .start = ata_start_features},
};

/* ---- dispatch ---- */

static const struct ata_row *find_row(const struct ata_dev *d, uint8_t code)
{
	size_t nr = sizeof(cdrom_rows) / sizeof(cdrom_rows[0]);
	const struct ata_row *rows = cdrom_rows;

	if (!d->is_cdrom)
		rows = ata_disk_rows(&nr);
	for (size_t i = 0; i < nr; i++)
		if (rows[i].code == code)
			return &rows[i];
	return NULL;
}

enum ata_protocol ata_protocol(const struct ata_dev *d, uint8_t command)
{
	const struct ata_row *row = find_row(d, command);

	return row ? row->protocol : ATA_NO_DATA;
}

enum ata_result ata_start(struct ata_dev *d, struct ata_cmd *c)
{
	const struct ata_row *row = find_row(d, c->tf.command);

	c->moved = 0;
	c->part = 0;
	c->block = 512;
	c->is_queued = false;
	c->is_pio_in = row && row->protocol == ATA_PIO_IN;
	c->next = NULL;
	if (row && !d->is_cdrom)
		ata_note_use(d, &c->tf);
	return row ? row->start(d, c, row) : ata_fail(c, ATA_ERROR_ABRT);
}

enum ata_result ata_next(struct ata_dev *d, struct ata_cmd *c, int res)
{
	return c->next(d, c, res);
}

void ata_signature(const struct ata_dev *d, struct ata_taskfile *tf)
{
	tf->count = 1;
	tf->lba = d->is_cdrom ? 0xeb1401 : 0x000001;
	tf->device = 0;
	tf->error = 1; /* passed */
	tf->status = d->is_cdrom ? 0 : ATA_STATUS_OK;
}

void ata_reset(struct ata_dev *d)
{
	d->power = 0xff;
	mmc_reset(&d->mmc);
}

/* ---- life ---- */

static void power_on(struct ata_dev *d)
{
	ata_reset(d);
	d->multiple = 0;
	d->mode = (uint8_t)d->transport->default_mode;
	d->heads = 16;
	d->sectors = 63;
	d->look_ahead = d->smart = true;
	d->queued_error = false;
	d->wce_now = d->wce_default;
	__atomic_store_n(&d->uses, 0, __ATOMIC_RELAXED);
}

static const struct ata_transport *find_transport(const struct device *parent)
{
	static const struct ata_transport *const transports[] = {
		&ahci_transport,
		&ide_transport,
	};

	for (size_t i = 0; i < 2; i++)
		if (transports[i]->controller == parent->cls)
			return transports[i];
	return NULL;
}

static int ata_create(struct ata_dev *d, const struct device_args *args,
		      bool is_cdrom, struct error *e)
{
	struct drive_caps caps = {
		.device = d->dev.cls->name,
		.wce = DRIVE_WCE_NEGOTIABLE,
		.flush = true,
		.fua = !is_cdrom,
		.discard = !is_cdrom,
	};
	int r;

	if (!args->drive || !args->io || !args->parent)
		return error_set(e, -EINVAL,
				 "an ATA drive needs an image and a "
				 "controller");
	d->transport = find_transport(args->parent);
	if (!d->transport)
		return error_set(e, -EINVAL,
				 "'%s' is neither a SATA nor an IDE controller",
				 args->parent->name);
	if (is_cdrom && !drive_readonly(args->drive))
		return error_set(e, -EINVAL, "a CD-ROM must be read-only");
	r = drive_attach(args->drive, &caps, e);
	if (r)
		return r;
	d->drive = args->drive;
	d->io = args->io;
	d->unit = args->unit;
	d->is_cdrom = is_cdrom;
	d->block_len = is_cdrom ? MMC_BLOCK : DRIVE_SECTOR;
	d->wce_default = drive_wce(d->drive);
	mmc_init(&d->mmc, d->drive);
	power_on(d);
	return d->transport->attach(args->parent, d, e);
}

static int disk_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	return ata_create((struct ata_dev *)(void *)dev, args, false, e);
}

static int cdrom_create(struct device *dev, const struct device_args *args,
			struct error *e)
{
	return ata_create((struct ata_dev *)(void *)dev, args, true, e);
}

static void ata_quiesce(struct device *dev)
{
	drive_drain(((struct ata_dev *)(void *)dev)->drive);
}

static void ata_destroy(struct device *dev)
{
	struct ata_dev *d = (struct ata_dev *)(void *)dev;

	ata_quiesce(dev);
	d->transport->detach(d);
}

static void ata_device_reset(struct device *dev)
{
	ata_quiesce(dev);
	power_on((struct ata_dev *)(void *)dev);
}

/* ---- state ---- */

static const struct state_field ata_fields[] = {
	STATE_FIELD(struct ata_dev, multiple),
	STATE_FIELD(struct ata_dev, mode),
	STATE_FIELD(struct ata_dev, power),
	STATE_FIELD(struct ata_dev, heads),
	STATE_FIELD(struct ata_dev, sectors),
	STATE_FIELD(struct ata_dev, look_ahead),
	STATE_FIELD(struct ata_dev, smart),
	STATE_FIELD(struct ata_dev, host_failed),
	STATE_FIELD(struct ata_dev, wce_now),
	STATE_FIELD(struct ata_dev, queued_error),
	STATE_FIELD(struct ata_dev, queued_tag),
	STATE_FIELD(struct ata_dev, queued_tf.command),
	STATE_FIELD(struct ata_dev, queued_tf.status),
	STATE_FIELD(struct ata_dev, queued_tf.error),
	STATE_FIELD(struct ata_dev, queued_tf.device),
	STATE_FIELD(struct ata_dev, queued_tf.count),
	STATE_FIELD(struct ata_dev, queued_tf.lba),
	STATE_STRUCTS(struct ata_dev, mmc, 1, &mmc_state),
};

static int ata_check(void *obj, int version, struct error *e)
{
	struct ata_dev *d = obj;

	(void)version;
	if (d->multiple <= ATA_MAX_MULTIPLE && d->heads && d->heads <= 16 &&
	    d->sectors)
		return 0;
	return error_set(e, -EINVAL,
			 "'%s': no ATA drive has %u sectors a block, %u heads "
			 "and %u sectors a track",
			 d->dev.name, d->multiple, d->heads, d->sectors);
}

static const struct state_desc ata_state = {
	.name = "ata",
	.version = 2,
	.oldest = 2,
	.fields = ata_fields,
	.nr_fields = sizeof(ata_fields) / sizeof(ata_fields[0]),
	.check = ata_check,
};

static const struct state_field cmd_fields[] = {
	STATE_FIELD(struct ata_cmd, tf.command),
	STATE_FIELD(struct ata_cmd, tf.status),
	STATE_FIELD(struct ata_cmd, tf.error),
	STATE_FIELD(struct ata_cmd, tf.device),
	STATE_FIELD(struct ata_cmd, tf.features),
	STATE_FIELD(struct ata_cmd, tf.count),
	STATE_FIELD(struct ata_cmd, tf.lba),
	STATE_ARRAY(struct ata_cmd, packet),
	STATE_FIELD(struct ata_cmd, to_guest),
	STATE_FIELD(struct ata_cmd, window),
	STATE_FIELD(struct ata_cmd, is_pio_in),
	STATE_FIELD(struct ata_cmd, block),
	STATE_FIELD(struct ata_cmd, part),
	STATE_FIELD(struct ata_cmd, moved),
	STATE_FIELD(struct ata_cmd, move.write),
	STATE_FIELD(struct ata_cmd, move.fua),
	STATE_FIELD(struct ata_cmd, move.step),
	STATE_FIELD(struct ata_cmd, move.off),
	STATE_FIELD(struct ata_cmd, move.left),
};

/* No request is in flight; what the last one left is no command's. */
static void cmd_pre_save(void *obj)
{
	struct ata_cmd *c = obj;

	if (c->move.step == MOVE_SUBMITTED)
		c->move.step = MOVE_BEGUN;
	if (!c->window)
		c->part = 0;
}

static int cmd_check(void *obj, int version, struct error *e)
{
	struct ata_cmd *c = obj;

	(void)version;
	if (c->move.step <= MOVE_FILLED && c->block && c->part <= c->window &&
	    (c->move.step == MOVE_BEGUN || c->part <= c->move.left))
		return 0;
	return error_set(e, -EINVAL,
			 "no ATA command waits with %u bytes in a window of "
			 "%u, in blocks of %u",
			 c->part, c->window, c->block);
}

const struct state_desc ata_cmd_state = {
	.name = "ata-command",
	.version = 1,
	.oldest = 1,
	.fields = cmd_fields,
	.nr_fields = sizeof(cmd_fields) / sizeof(cmd_fields[0]),
	.pre_save = cmd_pre_save,
	.check = cmd_check,
};

void ata_cmd_loaded(struct ata_cmd *c)
{
	c->next = move_next;
}

const struct device_class ata_disk_class = {
	.name = "ata-disk",
	.summary = "ATA disk",
	.bus = DEVICE_ON_CONTROLLER,
	.size = sizeof(struct ata_dev),
	.create = disk_create,
	.destroy = ata_destroy,
	.reset = ata_device_reset,
	.quiesce = ata_quiesce,
	.state = &ata_state,
	.disk_driver = ata_disk_driver,
};

const struct device_class atapi_cdrom_class = {
	.name = "atapi-cdrom",
	.summary = "ATAPI CD-ROM drive",
	.bus = DEVICE_ON_CONTROLLER,
	.size = sizeof(struct ata_dev),
	.create = cdrom_create,
	.destroy = ata_destroy,
	.reset = ata_device_reset,
	.quiesce = ata_quiesce,
	.state = &ata_state,
};
