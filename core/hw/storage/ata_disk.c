/*
 * The command set of a disk: ACS-2.  One table says which commands there are;
 * everything else is aborted, as the standard wants it.
 */
#include <errno.h>

#include "core/hw/iov.h"
#include "core/hw/storage/ata.h"

#define DEVICE_LBA 0x40
#define DEVICE_FUA 0x80

#define POWER_STANDBY 0x00
#define POWER_IDLE    0x80
#define POWER_ACTIVE  0xff

#define LAST_LBA28 0x0fffffffu

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

static uint64_t nr_sectors(const struct ata_dev *d)
{
	return drive_len(d->drive) / d->block_len;
}

/* ---- transfers ---- */

static void note_queued_error(struct ata_dev *d, const struct ata_cmd *c)
{
	d->queued_error = true;
	d->queued_tag = (c->tf.count >> 3) & 31;
	d->queued_tf = c->tf;
}

enum ata_result ata_disk_moved(struct ata_dev *d, struct ata_cmd *c, int res)
{
	if (!res)
		return ata_ok(c);
	if (res != -EFAULT && res != -EROFS)
		d->host_failed = true;
	ata_fail(c, res != -EFAULT && !c->move.write ? ATA_ERROR_UNC
						     : ATA_ERROR_ABRT);
	if (c->is_queued)
		note_queued_error(d, c);
	return ATA_DONE;
}

static enum ata_result transfer(struct ata_dev *d, struct ata_cmd *c,
				uint64_t lba, uint32_t nr, bool write, bool fua)
{
	uint64_t last = nr_sectors(d);

	if (lba > last || nr > last - lba)
		return ata_fail(c, ATA_ERROR_IDNF | ATA_ERROR_ABRT);
	d->power = POWER_ACTIVE;
	return ata_move(d, c, write, lba * d->block_len,
			(uint64_t)nr * d->block_len, fua);
}

/* A CHS address as INITIALIZE DEVICE PARAMETERS set the geometry (ATA-3);
 * false when there is no such sector. */
static bool decode_chs(const struct ata_dev *d, const struct ata_cmd *c,
		       uint64_t *lba)
{
	unsigned sector = c->tf.lba & 0xff, head = c->tf.device & 0xf;
	unsigned cylinder = (c->tf.lba >> 8) & 0xffff;

	if (!sector || sector > d->sectors || head >= d->heads)
		return false;
	*lba = ((uint64_t)cylinder * d->heads + head) * d->sectors + sector - 1;
	return true;
}

/* Address and count of the register form; false for impossible addresses. */
static bool decode(const struct ata_dev *d, const struct ata_cmd *c, bool ext,
		   uint64_t *lba, uint32_t *nr)
{
	*nr = (c->tf.count & 0xff) ? c->tf.count & 0xff : 256;
	if (!(c->tf.device & DEVICE_LBA))
		return !ext && decode_chs(d, c, lba);
	if (ext) {
		*lba = c->tf.lba;
		*nr = c->tf.count ? c->tf.count : 65536;
	} else {
		*lba = (c->tf.lba & 0xffffff) | (uint64_t)(c->tf.device & 0xf)
							<< 24;
	}
	return true;
}

static enum ata_result start_transfer(struct ata_dev *d, struct ata_cmd *c,
				      const struct ata_row *row)
{
	uint64_t lba;
	uint32_t nr;

	if (!decode(d, c, row->ext, &lba, &nr))
		return ata_fail(c, ATA_ERROR_ABRT | ATA_ERROR_IDNF);
	if (row->multiple) {
		if (!d->multiple)
			return ata_fail(c, ATA_ERROR_ABRT);
		c->block = d->multiple * DRIVE_SECTOR;
	}
	return transfer(d, c, lba, nr, row->write, row->fua);
}

/* Native command queuing: ACS-2, 7.28 and 7.76. */
static enum ata_result start_queued(struct ata_dev *d, struct ata_cmd *c,
				    const struct ata_row *row)
{
	uint32_t nr = c->tf.features ? c->tf.features : 65536;
	enum ata_result r;

	if (d->transport->is_parallel)
		return ata_fail(c, ATA_ERROR_ABRT);
	c->is_queued = true;
	r = transfer(d, c, c->tf.lba, nr, row->write,
		     c->tf.device & DEVICE_FUA);
	if (r == ATA_DONE)
		note_queued_error(d, c);
	return r;
}

static enum ata_result start_verify(struct ata_dev *d, struct ata_cmd *c,
				    const struct ata_row *row)
{
	uint64_t lba, last = nr_sectors(d);
	uint32_t nr;

	if (!decode(d, c, row->ext, &lba, &nr) || lba > last || nr > last - lba)
		return ata_fail(c, ATA_ERROR_ABRT | ATA_ERROR_IDNF);
	return ata_ok(c);
}

/* ---- cache ---- */

static enum ata_result plain_done(struct ata_dev *d, struct ata_cmd *c, int res)
{
	if (!res)
		return ata_ok(c);
	d->host_failed = true;
	return ata_fail(c, ATA_ERROR_ABRT);
}

static enum ata_result start_flush(struct ata_dev *d, struct ata_cmd *c,
				   const struct ata_row *row)
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
	if (!res)
		d->wce_now = false;
	return plain_done(d, c, res);
}

/* Transfer modes are remembered and shown; all are alike here. */
static enum ata_result set_mode(struct ata_dev *d, struct ata_cmd *c)
{
	unsigned mode = c->tf.count & 0xff, n = mode & 7;

	switch (mode >> 3) {
	case 0: /* PIO default */
		if (n > 1)
			return ata_fail(c, ATA_ERROR_ABRT);
		return ata_ok(c);
	case 1: /* PIO with flow control */
		return n > 4 ? ata_fail(c, ATA_ERROR_ABRT) : ata_ok(c);
	case 4: /* multiword DMA */
		if (n > 2)
			return ata_fail(c, ATA_ERROR_ABRT);
		break;
	case 8: /* Ultra DMA */
		if (n > 5)
			return ata_fail(c, ATA_ERROR_ABRT);
		break;
	default:
		return ata_fail(c, ATA_ERROR_ABRT);
	}
	d->mode = (uint8_t)mode;
	return ata_ok(c);
}

enum ata_result ata_start_features(struct ata_dev *d, struct ata_cmd *c,
				   const struct ata_row *row)
{
	switch (c->tf.features & 0xff) {
	case 0x02: /* enable the write cache */
		d->wce_now = true;
		return ata_ok(c);
	case 0x82: /* disable it */
		start_flush(d, c, row);
		c->next = cache_off;
		return ATA_SUBMIT;
	case 0x03:
		return set_mode(d, c);
	case 0x55: /* read look-ahead off, on */
	case 0xaa:
		d->look_ahead = (c->tf.features & 0xff) == 0xaa;
		return ata_ok(c);
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
	while (iov_read(c->iov, c->nr_iov, 8ull * c->next_range, &entry, 8)) {
		c->next_range++;
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
	c->moved = c->room;
	return ata_ok(c);
}

static enum ata_result start_trim(struct ata_dev *d, struct ata_cmd *c,
				  const struct ata_row *row)
{
	uint32_t len = c->tf.count * 512u;

	(void)row;
	if (!(c->tf.features & 1) || !len || c->tf.count > ATA_MAX_TRIM ||
	    c->to_guest || !c->map(c, len) || c->room < len)
		return ata_fail(c, ATA_ERROR_ABRT);
	c->next_range = 0;
	c->next = trim_next;
	return trim_next(d, c, 0);
}

/* ---- the rest ---- */

static enum ata_result start_multiple(struct ata_dev *d, struct ata_cmd *c,
				      const struct ata_row *row)
{
	unsigned nr = c->tf.count & 0xff;

	(void)row;
	if (nr > ATA_MAX_MULTIPLE || (nr & (nr - 1)))
		return ata_fail(c, ATA_ERROR_ABRT);
	d->multiple = (uint8_t)nr;
	return ata_ok(c);
}

static enum ata_result start_idle(struct ata_dev *d, struct ata_cmd *c,
				  const struct ata_row *row)
{
	(void)row;
	d->power = POWER_IDLE;
	return ata_ok(c);
}

/* What the cache holds is made stable first: a host may cut the power next. */
static enum ata_result standby_done(struct ata_dev *d, struct ata_cmd *c,
				    int res)
{
	if (!res)
		d->power = POWER_STANDBY;
	return plain_done(d, c, res);
}

static enum ata_result start_standby(struct ata_dev *d, struct ata_cmd *c,
				     const struct ata_row *row)
{
	start_flush(d, c, row);
	c->next = standby_done;
	return ATA_SUBMIT;
}

static enum ata_result start_geometry(struct ata_dev *d, struct ata_cmd *c,
				      const struct ata_row *row)
{
	(void)row;
	if (!(c->tf.count & 0xff))
		return ata_fail(c, ATA_ERROR_ABRT);
	d->sectors = (uint8_t)c->tf.count;
	d->heads = (c->tf.device & 0xf) + 1;
	return ata_ok(c);
}

static enum ata_result start_native_max(struct ata_dev *d, struct ata_cmd *c,
					const struct ata_row *row)
{
	uint64_t last = nr_sectors(d);

	last -= last > 0;
	if (row->ext) {
		c->tf.lba = last;
		return ata_ok(c);
	}
	if (last > LAST_LBA28)
		last = LAST_LBA28;
	c->tf.lba = last & 0xffffff;
	c->tf.device = (uint8_t)((c->tf.device & 0xf0) | last >> 24);
	return ata_ok(c);
}

static const struct ata_row disk_rows[] = {
	{0x06, ATA_DMA, .start = start_trim},
	{0x10, ATA_NO_DATA, .start = ata_start_nothing}, /* RECALIBRATE */
	{0x20, ATA_PIO_IN, .start = start_transfer},
	{0x21, ATA_PIO_IN, .start = start_transfer},
	{0x24, ATA_PIO_IN, .ext = true, .start = start_transfer},
	{0x25, ATA_DMA, .ext = true, .start = start_transfer},
	{0x27, ATA_NO_DATA, .ext = true, .start = start_native_max},
	{0x29, ATA_PIO_IN, .ext = true, .multiple = true,
	 .start = start_transfer},
	{0x2f, ATA_PIO_IN, .ext = true, .start = ata_start_log},
	{0x30, ATA_PIO_OUT, .write = true, .start = start_transfer},
	{0x31, ATA_PIO_OUT, .write = true, .start = start_transfer},
	{0x34, ATA_PIO_OUT, .write = true, .ext = true,
	 .start = start_transfer},
	{0x35, ATA_DMA, .write = true, .ext = true, .start = start_transfer},
	{0x39, ATA_PIO_OUT, .write = true, .ext = true, .multiple = true,
	 .start = start_transfer},
	{0x3d, ATA_DMA, .write = true, .ext = true, .fua = true,
	 .start = start_transfer},
	{0x40, ATA_NO_DATA, .start = start_verify},
	{0x41, ATA_NO_DATA, .start = start_verify},
	{0x42, ATA_NO_DATA, .ext = true, .start = start_verify},
	{0x47, ATA_DMA, .ext = true, .start = ata_start_log},
	{ATA_CMD_READ_FPDMA, ATA_QUEUED, .start = start_queued},
	{ATA_CMD_WRITE_FPDMA, ATA_QUEUED, .write = true, .start = start_queued},
	{0x70, ATA_NO_DATA, .start = ata_start_nothing}, /* SEEK */
	{ATA_CMD_DIAGNOSTIC, ATA_NO_DATA, .start = ata_start_diagnostic},
	{0x91, ATA_NO_DATA, .start = start_geometry},
	{0xb0, ATA_PIO_IN, .start = ata_start_smart},
	{0xc4, ATA_PIO_IN, .multiple = true, .start = start_transfer},
	{0xc5, ATA_PIO_OUT, .write = true, .multiple = true,
	 .start = start_transfer},
	{0xc6, ATA_NO_DATA, .start = start_multiple},
	{0xc8, ATA_DMA, .start = start_transfer},
	{0xc9, ATA_DMA, .start = start_transfer},
	{0xca, ATA_DMA, .write = true, .start = start_transfer},
	{0xcb, ATA_DMA, .write = true, .start = start_transfer},
	{0xce, ATA_PIO_OUT, .write = true, .ext = true, .multiple = true,
	 .fua = true, .start = start_transfer},
	{0xe0, ATA_NO_DATA, .start = start_standby},
	{0xe1, ATA_NO_DATA, .start = start_idle},
	{0xe2, ATA_NO_DATA, .start = start_standby},
	{0xe3, ATA_NO_DATA, .start = start_idle},
	{0xe5, ATA_NO_DATA, .start = ata_start_power},
	{0xe6, ATA_NO_DATA, .start = start_standby}, /* SLEEP */
	{0xe7, ATA_NO_DATA, .start = start_flush},
	{0xea, ATA_NO_DATA, .start = start_flush},
	{0xec, ATA_PIO_IN, .start = ata_start_identify},
	{0xef, ATA_NO_DATA, .start = ata_start_features},
	{0xf8, ATA_NO_DATA, .start = start_native_max},
};

const struct ata_row *ata_disk_rows(size_t *nr)
{
	*nr = sizeof(disk_rows) / sizeof(disk_rows[0]);
	return disk_rows;
}
