/* What a disk tells of itself: logs and SMART. */
#include "core/hw/storage/ata.h"

#define LOG_DIRECTORY	 0x00
#define LOG_QUEUED_ERROR 0x10

#define SMART_READ_DATA	    0xd0
#define SMART_AUTOSAVE	    0xd2
#define SMART_ENABLE	    0xd8
#define SMART_DISABLE	    0xd9
#define SMART_RETURN_STATUS 0xda
#define SMART_KEY	    0xc24f00u /* in the address registers */
#define SMART_FAILING	    0x2cf400u

static void fill_queued_error(struct ata_dev *d, uint8_t *page)
{
	const struct ata_taskfile *tf = &d->queued_tf;

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
	ata_checksum(page);
	d->queued_error = false;
}

enum ata_result ata_start_log(struct ata_dev *d, struct ata_cmd *c,
			      const struct ata_row *row)
{
	uint8_t page[512] = {0};
	unsigned log = c->tf.lba & 0xff, nr = (c->tf.lba >> 8) & 0xff;

	(void)row;
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
	return ata_reply_block(d, c, page);
}

/* No attribute is measured, so none is told; what is known is whether the host
 * lost data. */
static enum ata_result smart_data(struct ata_dev *d, struct ata_cmd *c)
{
	uint8_t data[512] = {0};

	data[0] = 0x10;	  /* revision of the layout */
	data[368] = 0x02; /* saves by itself; no tests of its own */
	ata_checksum(data);
	return ata_reply_block(d, c, data);
}

enum ata_result ata_start_smart(struct ata_dev *d, struct ata_cmd *c,
				const struct ata_row *row)
{
	uint8_t what = (uint8_t)c->tf.features;

	(void)row;
	if ((c->tf.lba & 0xffff00) != SMART_KEY ||
	    (!d->smart && what != SMART_ENABLE))
		return ata_fail(c, ATA_ERROR_ABRT);
	switch (what) {
	case SMART_READ_DATA:
		return smart_data(d, c);
	case SMART_AUTOSAVE:
		return ata_ok(c);
	case SMART_ENABLE:
	case SMART_DISABLE:
		d->smart = what == SMART_ENABLE;
		return ata_ok(c);
	case SMART_RETURN_STATUS:
		if (d->host_failed)
			c->tf.lba = (c->tf.lba & 0xff) | SMART_FAILING;
		return ata_ok(c);
	}
	return ata_fail(c, ATA_ERROR_ABRT);
}
