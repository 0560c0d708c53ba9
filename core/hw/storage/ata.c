/*
 * The command set of a disk: ACS-2.  One table says which commands there are;
 * everything else is aborted, as the standard wants it.
 */
#include "core/hw/storage/ata.h"

#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/iov.h"
#include "core/hw/storage/ahci.h"
#include "core/memory.h"
#include "core/migration/state.h"

#define DEVICE_LBA 0x40
#define DEVICE_FUA 0x80

#define LOG_DIRECTORY	 0x00
#define LOG_QUEUED_ERROR 0x10

#define MAX_MULTIPLE 16

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
}

bool ata_prepare(struct ata_cmd *c, enum drive_op op, uint64_t off,
		 uint64_t len)
{
	if (c->to_guest != (op == DRIVE_READ) || !c->map(c, len) ||
	    c->room < len)
		return false;
	c->req.op = op;
	c->req.fua = false;
	c->req.off = off;
	c->req.len = len;
	c->req.iov = c->iov;
	c->req.nr_iov = c->nr_iov;
	return true;
}

/* A request without data. */
static void prepare_plain(struct ata_cmd *c, enum drive_op op, uint64_t off,
			  uint64_t len)
{
	c->req.op = op;
	c->req.fua = false;
	c->req.off = off;
	c->req.len = len;
	c->req.iov = NULL;
	c->req.nr_iov = 0;
}

/* ---- transfers ---- */

struct row {
	uint8_t code;
	bool ext, write, pio, fua;
	enum ata_result (*start)(struct ata_dev *d, struct ata_cmd *c,
				 const struct row *row);
};

static uint64_t nr_sectors(const struct ata_dev *d)
{
	return drive_len(d->drive) / d->block_len;
}

static enum ata_result transfer_done(struct ata_dev *d, struct ata_cmd *c,
				     int res)
{
	if (res) {
		if (c->is_queued) {
			d->queued_error = true;
			d->queued_tag = (c->tf.count >> 3) & 31;
			ata_fail(c,
				 c->to_guest ? ATA_ERROR_UNC : ATA_ERROR_ABRT);
			d->queued_tf = c->tf;
			return ATA_DONE;
		}
		return ata_fail(c,
				c->to_guest ? ATA_ERROR_UNC : ATA_ERROR_ABRT);
	}
	c->moved = c->req.len;
	return ata_ok(c);
}

static enum ata_result transfer(struct ata_dev *d, struct ata_cmd *c,
				uint64_t lba, uint32_t nr, bool write, bool fua)
{
	uint64_t last = nr_sectors(d);

	if (lba > last || nr > last - lba)
		return ata_fail(c, ATA_ERROR_IDNF | ATA_ERROR_ABRT);
	if (!ata_prepare(c, write ? DRIVE_WRITE : DRIVE_READ,
			 lba * d->block_len, (uint64_t)nr * d->block_len))
		return ata_fail(c, ATA_ERROR_ABRT);
	c->req.fua = fua;
	c->next = transfer_done;
	return ATA_SUBMIT;
}

/* Address and count of the register form; false for CHS addresses. */
static bool decode(const struct ata_cmd *c, bool ext, uint64_t *lba,
		   uint32_t *nr)
{
	if (!(c->tf.device & DEVICE_LBA))
		return false;
	if (ext) {
		*lba = c->tf.lba;
		*nr = c->tf.count ? c->tf.count : 65536;
	} else {
		*lba = (c->tf.lba & 0xffffff) | (uint64_t)(c->tf.device & 0xf)
							<< 24;
		*nr = (c->tf.count & 0xff) ? c->tf.count & 0xff : 256;
	}
	return true;
}

static enum ata_result start_transfer(struct ata_dev *d, struct ata_cmd *c,
				      const struct row *row)
{
	uint64_t lba;
	uint32_t nr;

	if (!decode(c, row->ext, &lba, &nr))
		return ata_fail(c, ATA_ERROR_ABRT | ATA_ERROR_IDNF);
	c->is_pio_in = row->pio && !row->write;
	return transfer(d, c, lba, nr, row->write, row->fua);
}

/* Native command queuing: ACS-2, 7.28 and 7.76. */
static enum ata_result start_queued(struct ata_dev *d, struct ata_cmd *c,
				    const struct row *row)
{
	uint32_t nr = c->tf.features ? c->tf.features : 65536;
	enum ata_result r;

	c->is_queued = true;
	r = transfer(d, c, c->tf.lba, nr, row->write,
		     c->tf.device & DEVICE_FUA);
	if (r == ATA_DONE) {
		d->queued_error = true;
		d->queued_tag = (c->tf.count >> 3) & 31;
		d->queued_tf = c->tf;
	}
	return r;
}

static enum ata_result start_verify(struct ata_dev *d, struct ata_cmd *c,
				    const struct row *row)
{
	uint64_t lba, last = nr_sectors(d);
	uint32_t nr;

	if (!decode(c, row->ext, &lba, &nr) || lba > last || nr > last - lba)
		return ata_fail(c, ATA_ERROR_ABRT | ATA_ERROR_IDNF);
	return ata_ok(c);
}

/* ---- cache ---- */

static enum ata_result plain_done(struct ata_dev *d, struct ata_cmd *c, int res)
{
	(void)d;
	return res ? ata_fail(c, ATA_ERROR_ABRT) : ata_ok(c);
}

static enum ata_result start_flush(struct ata_dev *d, struct ata_cmd *c,
				   const struct row *row)
{
	(void)d;
	(void)row;
	prepare_plain(c, DRIVE_FLUSH, 0, 0);
	c->next = plain_done;
	return ATA_SUBMIT;
}

/* The write cache is off once what it held is stable. */
static enum ata_result cache_off(struct ata_dev *d, struct ata_cmd *c, int res)
{
	if (res)
		return ata_fail(c, ATA_ERROR_ABRT);
	d->wce_now = false;
	return ata_ok(c);
}

static enum ata_result start_features(struct ata_dev *d, struct ata_cmd *c,
				      const struct row *row)
{
	switch (c->tf.features & 0xff) {
	case 0x02: /* enable the write cache */
		d->wce_now = true;
		return ata_ok(c);
	case 0x82: /* disable it */
		start_flush(d, c, row);
		c->next = cache_off;
		return ATA_SUBMIT;
	case 0x03: /* transfer mode: all are alike here */
	case 0x55: /* read look-ahead off, on */
	case 0xaa:
	case 0x66: /* keep settings over a soft reset, or not */
	case 0xcc:
		return ata_ok(c);
	}
	return ata_fail(c, ATA_ERROR_ABRT);
}

/* ---- TRIM: ACS-2, 7.10 ---- */

static enum ata_result trim_next(struct ata_dev *d, struct ata_cmd *c, int res)
{
	uint64_t last = nr_sectors(d), entry, lba;
	uint32_t nr;

	if (res)
		return ata_fail(c, ATA_ERROR_ABRT);
	while (c->next_range < sizeof(c->ranges) / 8) {
		memcpy(&entry, c->ranges + 8 * c->next_range++, 8);
		lba = entry & 0xffffffffffffull;
		nr = (uint32_t)(entry >> 48);
		if (!nr)
			continue;
		if (lba > last || nr > last - lba)
			return ata_fail(c, ATA_ERROR_ABRT | ATA_ERROR_IDNF);
		prepare_plain(c, DRIVE_DISCARD, lba * d->block_len,
			      (uint64_t)nr * d->block_len);
		return ATA_SUBMIT;
	}
	c->moved = sizeof(c->ranges);
	return ata_ok(c);
}

static enum ata_result start_trim(struct ata_dev *d, struct ata_cmd *c,
				  const struct row *row)
{
	(void)row;
	if (!(c->tf.features & 1) || c->tf.count != 1 || c->to_guest ||
	    !c->map(c, sizeof(c->ranges)) ||
	    !iov_read(c->iov, c->nr_iov, 0, c->ranges, sizeof(c->ranges)))
		return ata_fail(c, ATA_ERROR_ABRT);
	c->next_range = 0;
	c->next = trim_next;
	return trim_next(d, c, 0);
}

/* ---- the rest ---- */

/* 512 bytes of answer, or none. */
static enum ata_result reply_block(struct ata_dev *d, struct ata_cmd *c,
				   const uint8_t *block, bool pio)
{
	ata_reply(d, c, block, 512);
	if (c->moved < 512)
		return ata_fail(c, ATA_ERROR_ABRT);
	c->is_pio_in = pio;
	return ata_ok(c);
}

static enum ata_result start_identify(struct ata_dev *d, struct ata_cmd *c,
				      const struct row *row)
{
	uint8_t data[512];

	(void)row;
	ata_identify(d, data);
	return reply_block(d, c, data, true);
}

static void fill_queued_error(struct ata_dev *d, uint8_t *page)
{
	const struct ata_taskfile *tf = &d->queued_tf;
	uint8_t sum = 0;

	if (!d->queued_error) {
		page[0] = 0x80; /* none of a queued command */
	} else {
		page[0] = d->queued_tag;
		page[2] = tf->status;
		page[3] = tf->error;
		for (unsigned i = 0; i < 3; i++) {
			page[4 + i] = (uint8_t)(tf->lba >> (8 * i));
			page[8 + i] = (uint8_t)(tf->lba >> (8 * i + 24));
		}
		page[7] = tf->device;
		page[12] = (uint8_t)tf->count;
		page[13] = (uint8_t)(tf->count >> 8);
	}
	for (unsigned i = 0; i < 511; i++)
		sum += page[i];
	page[511] = (uint8_t)-sum;
	d->queued_error = false;
}

static enum ata_result start_log(struct ata_dev *d, struct ata_cmd *c,
				 const struct row *row)
{
	uint8_t page[512] = {0};
	unsigned log = c->tf.lba & 0xff, nr = (c->tf.lba >> 8) & 0xff;

	if (c->tf.count != 1 || nr)
		return ata_fail(c, ATA_ERROR_ABRT);
	if (log == LOG_DIRECTORY) {
		page[0] = 1;
		page[2 * LOG_QUEUED_ERROR] = 1;
	} else if (log == LOG_QUEUED_ERROR) {
		fill_queued_error(d, page);
	} else {
		return ata_fail(c, ATA_ERROR_ABRT);
	}
	return reply_block(d, c, page, row->pio);
}

static enum ata_result start_multiple(struct ata_dev *d, struct ata_cmd *c,
				      const struct row *row)
{
	unsigned nr = c->tf.count & 0xff;

	(void)row;
	if (nr > MAX_MULTIPLE || (nr & (nr - 1)))
		return ata_fail(c, ATA_ERROR_ABRT);
	d->multiple = (uint8_t)nr;
	return ata_ok(c);
}

static enum ata_result start_power(struct ata_dev *d, struct ata_cmd *c,
				   const struct row *row)
{
	(void)d;
	(void)row;
	c->tf.count = 0xff; /* active */
	return ata_ok(c);
}

static enum ata_result start_nothing(struct ata_dev *d, struct ata_cmd *c,
				     const struct row *row)
{
	(void)d;
	(void)row;
	return ata_ok(c);
}

static enum ata_result start_diagnostic(struct ata_dev *d, struct ata_cmd *c,
					const struct row *row)
{
	(void)row;
	ata_signature(d, &c->tf);
	return ATA_DONE;
}

static const struct row disk_rows[] = {
	{.code = 0x06, .start = start_trim},
	{.code = 0x10, .start = start_nothing}, /* RECALIBRATE */
	{.code = 0x20, .start = start_transfer, .pio = true},
	{.code = 0x21, .start = start_transfer, .pio = true},
	{.code = 0x24, .start = start_transfer, .pio = true, .ext = true},
	{.code = 0x25, .start = start_transfer, .ext = true},
	{.code = 0x29, .start = start_transfer, .pio = true, .ext = true},
	{.code = 0x2f, .start = start_log, .pio = true},
	{.code = 0x30, .start = start_transfer, .pio = true, .write = true},
	{.code = 0x31, .start = start_transfer, .pio = true, .write = true},
	{.code = 0x34,
	 .start = start_transfer,
	 .pio = true,
	 .write = true,
	 .ext = true},
	{.code = 0x35, .start = start_transfer, .write = true, .ext = true},
	{.code = 0x39,
	 .start = start_transfer,
	 .pio = true,
	 .write = true,
	 .ext = true},
	{.code = 0x3d,
	 .start = start_transfer,
	 .write = true,
	 .ext = true,
	 .fua = true},
	{.code = 0x40, .start = start_verify},
	{.code = 0x41, .start = start_verify},
	{.code = 0x42, .start = start_verify, .ext = true},
	{.code = 0x47, .start = start_log},
	{.code = ATA_CMD_READ_FPDMA, .start = start_queued},
	{.code = ATA_CMD_WRITE_FPDMA, .start = start_queued, .write = true},
	{.code = 0x70, .start = start_nothing}, /* SEEK */
	{.code = 0x90, .start = start_diagnostic},
	{.code = 0x91, .start = start_nothing}, /* INITIALIZE PARAMETERS */
	{.code = 0xc4, .start = start_transfer, .pio = true},
	{.code = 0xc5, .start = start_transfer, .pio = true, .write = true},
	{.code = 0xc6, .start = start_multiple},
	{.code = 0xc8, .start = start_transfer},
	{.code = 0xc9, .start = start_transfer},
	{.code = 0xca, .start = start_transfer, .write = true},
	{.code = 0xcb, .start = start_transfer, .write = true},
	{.code = 0xce,
	 .start = start_transfer,
	 .pio = true,
	 .write = true,
	 .ext = true,
	 .fua = true},
	{.code = 0xe0, .start = start_nothing}, /* STANDBY, IDLE, SLEEP */
	{.code = 0xe1, .start = start_nothing},
	{.code = 0xe2, .start = start_nothing},
	{.code = 0xe3, .start = start_nothing},
	{.code = 0xe5, .start = start_power},
	{.code = 0xe6, .start = start_nothing},
	{.code = 0xe7, .start = start_flush},
	{.code = 0xea, .start = start_flush},
	{.code = 0xec, .start = start_identify},
	{.code = 0xef, .start = start_features},
};

/* ---- packet devices ---- */

static enum ata_result start_packet(struct ata_dev *d, struct ata_cmd *c,
				    const struct row *row)
{
	(void)row;
	return atapi_start(d, c);
}

static enum ata_result start_device_reset(struct ata_dev *d, struct ata_cmd *c,
					  const struct row *row)
{
	(void)row;
	ata_reset(d);
	ata_signature(d, &c->tf);
	return ATA_DONE;
}

/* Disk commands are refused with the signature, so that drivers learn what
 * this is: ACS-2, 7.17.6. */
static enum ata_result start_not_a_disk(struct ata_dev *d, struct ata_cmd *c,
					const struct row *row)
{
	(void)row;
	ata_signature(d, &c->tf);
	return ata_fail(c, ATA_ERROR_ABRT);
}

static const struct row cdrom_rows[] = {
	{.code = 0x08, .start = start_device_reset},
	{.code = 0x20, .start = start_not_a_disk},
	{.code = 0x90, .start = start_diagnostic},
	{.code = ATA_CMD_PACKET, .start = start_packet},
	{.code = 0xa1, .start = start_identify},
	{.code = 0xe0, .start = start_nothing},
	{.code = 0xe1, .start = start_nothing},
	{.code = 0xe2, .start = start_nothing},
	{.code = 0xe3, .start = start_nothing},
	{.code = 0xe5, .start = start_power},
	{.code = 0xe6, .start = start_nothing},
	{.code = 0xec, .start = start_not_a_disk},
	{.code = 0xef, .start = start_features},
};

enum ata_result ata_start(struct ata_dev *d, struct ata_cmd *c)
{
	const struct row *rows = d->is_cdrom ? cdrom_rows : disk_rows;
	size_t nr = d->is_cdrom ? sizeof(cdrom_rows) / sizeof(*rows)
				: sizeof(disk_rows) / sizeof(*rows);

	c->moved = 0;
	c->is_queued = c->is_pio_in = false;
	c->next = NULL;
	for (size_t i = 0; i < nr; i++)
		if (rows[i].code == c->tf.command)
			return rows[i].start(d, c, &rows[i]);
	return ata_fail(c, ATA_ERROR_ABRT);
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
	mmc_reset(&d->mmc);
}

/* ---- life ---- */

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
				 "a SATA drive needs a drive and a controller");
	if (is_cdrom && !drive_readonly(args->drive))
		return error_set(e, -EINVAL, "a CD-ROM must be read-only");
	r = drive_attach(args->drive, &caps, e);
	if (r)
		return r;
	d->drive = args->drive;
	d->io = args->io;
	d->unit = args->unit;
	d->is_cdrom = is_cdrom;
	d->block_len = is_cdrom ? 2048 : DRIVE_SECTOR;
	d->wce_default = d->wce_now = drive_wce(d->drive);
	mmc_init(&d->mmc, d->drive);
	return ahci_attach(args->parent, d, e);
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
	ata_quiesce(dev);
	ahci_detach((struct ata_dev *)(void *)dev);
}

static void ata_device_reset(struct device *dev)
{
	struct ata_dev *d = (struct ata_dev *)(void *)dev;

	ata_quiesce(dev);
	ata_reset(d);
	d->multiple = 0;
	d->queued_error = false;
	d->wce_now = d->wce_default;
}

static const struct state_field ata_fields[] = {
	STATE_FIELD(struct ata_dev, multiple),
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

static const struct state_desc ata_state = {
	.name = "ata",
	.version = 2,
	.oldest = 2,
	.fields = ata_fields,
	.nr_fields = sizeof(ata_fields) / sizeof(ata_fields[0]),
};

const struct device_class ata_disk_class = {
	.name = "ata-disk",
	.summary = "SATA disk",
	.bus = DEVICE_ON_CONTROLLER,
	.size = sizeof(struct ata_dev),
	.create = disk_create,
	.destroy = ata_destroy,
	.reset = ata_device_reset,
	.quiesce = ata_quiesce,
	.state = &ata_state,
};

const struct device_class atapi_cdrom_class = {
	.name = "atapi-cdrom",
	.summary = "SATA CD-ROM drive",
	.bus = DEVICE_ON_CONTROLLER,
	.size = sizeof(struct ata_dev),
	.create = cdrom_create,
	.destroy = ata_destroy,
	.reset = ata_device_reset,
	.quiesce = ata_quiesce,
	.state = &ata_state,
};
