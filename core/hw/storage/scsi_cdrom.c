/* A CD-ROM drive as a SCSI unit: what a transport asks of any unit is answered
 * as by a disk, all else by the drive's own commands (mmc.h). */
#include "core/hw/storage/scsi_int.h"

static enum scsi_result carry(struct scsi_unit *u, struct scsi_cmd *c,
			      enum mmc_result r, const struct mmc_command *m);

static enum scsi_result read_done(struct scsi_unit *u, struct scsi_cmd *c,
				  int res)
{
	c->moved = res ? 0 : c->req.len;
	return carry(u, c, mmc_read_done(&u->mmc, res), NULL);
}

static enum scsi_result eject_done(struct scsi_unit *u, struct scsi_cmd *c,
				   int res)
{
	return carry(u, c, mmc_eject_done(&u->mmc, res), NULL);
}

/* What the drive decided, in terms of the transport. */
static enum scsi_result carry(struct scsi_unit *u, struct scsi_cmd *c,
			      enum mmc_result r, const struct mmc_command *m)
{
	struct mmc_sense sense = u->mmc.sense;

	switch (r) {
	case MMC_GOOD:
		return scsi_good(c);
	case MMC_DATA:
		return scsi_reply(c, m->data, m->len, m->len);
	case MMC_READ:
		if (m->bytes > c->in_len)
			return scsi_overrun(c);
		return scsi_submit_in(c, m->off, m->bytes, read_done);
	case MMC_EJECT:
		c->next = eject_done;
		return SCSI_EJECT;
	case MMC_CHECK:
		break;
	}
	/* It goes with the status: there is nothing left to be asked for. */
	u->mmc.sense = (struct mmc_sense){0};
	return scsi_check(c, sense.key, sense.asc << 8 | sense.ascq);
}

enum scsi_result scsi_cdrom_start(struct scsi_unit *u, struct scsi_cmd *c)
{
	struct mmc_command m = {.cdb = c->cdb};

	return carry(u, c, mmc_start(&u->mmc, &m), &m);
}

static enum scsi_result do_request_sense(struct scsi_unit *u,
					 struct scsi_cmd *c)
{
	return u->attention ? scsi_request_sense(u, c) : scsi_cdrom_start(u, c);
}

const struct scsi_row scsi_cdrom_rows[] = {
	{0x03, SCSI_ANY_TIME, do_request_sense},
	{0x12, SCSI_ANY_TIME, scsi_inquiry},
	{0x46, SCSI_ANY_TIME, scsi_cdrom_start}, /* GET CONFIGURATION */
	{0x4a, SCSI_ANY_TIME, scsi_cdrom_start}, /* GET EVENT STATUS */
	{0xa0, SCSI_ANY_TIME, scsi_report_luns},
};

const unsigned scsi_nr_cdrom_rows =
	sizeof(scsi_cdrom_rows) / sizeof(scsi_cdrom_rows[0]);
