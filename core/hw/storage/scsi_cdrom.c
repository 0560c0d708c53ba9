/* The commands of a CD-ROM drive: MMC-5, chapter 6. */
#include "core/hw/storage/scsi_int.h"
#include "core/hw/storage/scsi_mmc.h"

static struct scsi_mmc_medium medium_of(const struct scsi_unit *u)
{
	uint64_t nr = scsi_nr_blocks(u);

	return (struct scsi_mmc_medium){
		.is_present = drive_has_medium(u->drive),
		.nr_blocks = nr < UINT32_MAX ? (uint32_t)nr : UINT32_MAX,
	};
}

static enum scsi_result answer(struct scsi_cmd *c, const uint8_t *out,
			       unsigned len)
{
	return len ? scsi_reply(c, out, len, get16(c->cdb + 7))
		   : scsi_bad_field(c);
}

static enum scsi_result do_read_toc(struct scsi_unit *u, struct scsi_cmd *c)
{
	struct scsi_mmc_medium m = medium_of(u);
	uint8_t out[SCSI_MMC_MAX];

	return answer(c, out, scsi_mmc_read_toc(&m, c->cdb, out));
}

static enum scsi_result do_get_configuration(struct scsi_unit *u,
					     struct scsi_cmd *c)
{
	struct scsi_mmc_medium m = medium_of(u);
	uint8_t out[SCSI_MMC_MAX];

	return answer(c, out, scsi_mmc_get_configuration(&m, c->cdb, out));
}

static enum scsi_result do_get_event(struct scsi_unit *u, struct scsi_cmd *c)
{
	struct scsi_mmc_medium m = medium_of(u);
	uint8_t out[SCSI_MMC_MAX];

	return answer(
		c, out,
		scsi_mmc_get_event(&m, &u->event_new_medium, c->cdb, out));
}

static enum scsi_result do_disc_information(struct scsi_unit *u,
					    struct scsi_cmd *c)
{
	uint8_t out[SCSI_MMC_MAX];

	(void)u;
	return answer(c, out, scsi_mmc_disc_information(out));
}

static enum scsi_result do_nothing(struct scsi_unit *u, struct scsi_cmd *c)
{
	(void)u;
	return scsi_good(c);
}

const struct scsi_row scsi_cdrom_rows[] = {
	{0x00, SCSI_MEDIUM, scsi_test_unit_ready},
	{0x03, SCSI_ANY_TIME, scsi_request_sense},
	{0x12, SCSI_ANY_TIME, scsi_inquiry},
	{0x1b, 0, scsi_start_stop},
	{0x1e, 0, scsi_prevent},
	{0x25, SCSI_MEDIUM, scsi_read_capacity10},
	{0x28, SCSI_MEDIUM, scsi_read},
	{0x2b, SCSI_MEDIUM, do_nothing}, /* SEEK */
	{0x2f, SCSI_MEDIUM, scsi_verify},
	{0x35, 0, do_nothing}, /* SYNCHRONIZE CACHE */
	{0x43, SCSI_MEDIUM, do_read_toc},
	{0x46, SCSI_ANY_TIME, do_get_configuration},
	{0x4a, SCSI_ANY_TIME, do_get_event},
	{0x51, SCSI_MEDIUM, do_disc_information},
	{0x55, 0, scsi_mode_select},
	{0x5a, 0, scsi_mode_sense},
	{0xa0, SCSI_ANY_TIME, scsi_report_luns},
	{0xa8, SCSI_MEDIUM, scsi_read},
	{0xbb, 0, do_nothing}, /* SET CD SPEED */
};

const unsigned scsi_nr_cdrom_rows =
	sizeof(scsi_cdrom_rows) / sizeof(scsi_cdrom_rows[0]);
