/* Packet commands (SFF-8020i) in front of what a CD-ROM drive answers. */
#include <errno.h>

#include "core/hw/storage/ata.h"

/* The interrupt reason and byte count of a finished packet command. */
static void finish(struct ata_cmd *c)
{
	uint64_t moved = c->moved < 0xfffe ? c->moved : 0xfffe;

	c->tf.count = (uint16_t)((c->tf.count & 0xf8) | 3);
	c->tf.lba = (c->tf.lba & 0xff) | moved << 8;
}

static enum ata_result end(struct ata_dev *d, struct ata_cmd *c,
			   enum mmc_result r)
{
	finish(c);
	if (r == MMC_CHECK)
		return ata_fail(
			c, (uint8_t)(d->mmc.sense.key << 4 | ATA_ERROR_ABRT));
	return ata_ok(c);
}

enum ata_result atapi_moved(struct ata_dev *d, struct ata_cmd *c, int res)
{
	/* Invalid field: the guest's list can't take what it asks for. */
	if (res == -EFAULT)
		return end(d, c, mmc_check(&d->mmc, 0x05, 0x24, 0x00));
	return end(d, c, mmc_read_done(&d->mmc, res));
}

static enum ata_result eject_done(struct ata_dev *d, struct ata_cmd *c, int res)
{
	return end(d, c, mmc_eject_done(&d->mmc, res));
}

enum ata_result atapi_start(struct ata_dev *d, struct ata_cmd *c)
{
	struct mmc_command m = {.cdb = c->packet};
	enum mmc_result r = mmc_start(&d->mmc, &m);

	switch (r) {
	case MMC_DATA:
		ata_reply(d, c, m.data, m.len);
		break;
	case MMC_READ:
		return ata_move(d, c, false, m.off, m.bytes, false);
	case MMC_EJECT:
		c->next = eject_done;
		return ATA_EJECT;
	case MMC_GOOD:
	case MMC_CHECK:
		break;
	}
	return end(d, c, r);
}
