/* MMC-5, chapter 6, and MMC-3, 5.5 for the mode page. */
#include "core/hw/storage/scsi_mmc.h"

#include <string.h>

#include "core/hw/storage/scsi_bytes.h"

#define PROFILE_CD  0x0008
#define PROFILE_DVD 0x0010
/* Longer media are reported as DVD. */
#define CD_MAX_BLOCKS (80 * 60 * 75)

/* ---- READ TOC/PMA/ATIP ---- */

static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
	if (!msf) {
		put32(p, lba);
		return;
	}
	lba += 150;
	p[0] = 0;
	p[1] = (uint8_t)(lba / 75 / 60);
	p[2] = (uint8_t)(lba / 75 % 60);
	p[3] = (uint8_t)(lba % 75);
}

unsigned scsi_mmc_read_toc(const struct scsi_mmc_medium *m, const uint8_t *cdb,
			   uint8_t *out)
{
	unsigned format = cdb[2] & 0xf, track = cdb[6], len = 4;
	bool msf = cdb[1] & 2;

	memset(out, 0, SCSI_MMC_MAX);
	if (!format)
		format = cdb[9] >> 6;
	out[2] = out[3] = 1;
	if (format == 1) {
		out[5] = 0x14; /* data track, copying permitted */
		out[6] = 1;
		put_address(out + 8, 0, msf);
		len = 12;
	} else if (format || (track > 1 && track != 0xaa)) {
		return 0;
	} else {
		if (track <= 1) {
			out[len + 1] = 0x14;
			out[len + 2] = 1;
			put_address(out + len + 4, 0, msf);
			len += 8;
		}
		out[len + 1] = 0x14;
		out[len + 2] = 0xaa; /* lead-out */
		put_address(out + len + 4, m->nr_blocks, msf);
		len += 8;
	}
	put16(out, len - 2);
	return len;
}

/* ---- GET CONFIGURATION ---- */

static uint16_t profile(const struct scsi_mmc_medium *m)
{
	if (!m->is_present)
		return 0;
	return m->nr_blocks > CD_MAX_BLOCKS ? PROFILE_DVD : PROFILE_CD;
}

unsigned scsi_mmc_get_configuration(const struct scsi_mmc_medium *m,
				    const uint8_t *cdb, uint8_t *out)
{
	uint16_t now = profile(m), first = get16(cdb + 2);
	bool only = (cdb[1] & 3) == 2;
	uint8_t list[12] = {0, 0, 0x03, 8};
	uint8_t core[12] = {0, 1, 0x0b, 8, 0, 0, 0, 8, 1};
	uint8_t removable[8] = {0, 3, 0x03, 4, 0x29};
	unsigned len = 8;

	memset(out, 0, SCSI_MMC_MAX);
	put16(list + 4, PROFILE_DVD);
	list[6] = now == PROFILE_DVD;
	put16(list + 8, PROFILE_CD);
	list[10] = now == PROFILE_CD;
	if (first == 0) {
		memcpy(out + len, list, sizeof(list));
		len += sizeof(list);
	}
	if (only ? first == 1 : first <= 1) {
		memcpy(out + len, core, sizeof(core));
		len += sizeof(core);
	}
	if (only ? first == 3 : first <= 3) {
		memcpy(out + len, removable, sizeof(removable));
		len += sizeof(removable);
	}
	put32(out, len - 4);
	put16(out + 6, now);
	return len;
}

/* ---- the rest ---- */

unsigned scsi_mmc_get_event(const struct scsi_mmc_medium *m, bool *is_new,
			    const uint8_t *cdb, uint8_t *out)
{
	static const uint8_t none[4] = {0, 2, 0x80, 0x10};

	if (!(cdb[1] & 1)) /* only polled */
		return 0;
	memset(out, 0, SCSI_MMC_MAX);
	memcpy(out, none, sizeof(none));
	if (cdb[4] & 0x10) {
		out[1] = 6;
		out[2] = 4; /* media class */
		if (*is_new)
			out[4] = m->is_present ? 2 : 3;
		out[5] = m->is_present ? 2 : 0;
		*is_new = false;
	}
	return out[1] + 2u;
}

unsigned scsi_mmc_disc_information(uint8_t *out)
{
	static const uint8_t finished[8] = {0, 32, 0x0e, 1, 1, 1, 1, 0x20};

	memset(out, 0, SCSI_MMC_MAX);
	memcpy(out, finished, sizeof(finished));
	return 34;
}

unsigned scsi_mmc_capabilities(bool is_locked, uint8_t *out)
{
	memset(out, 0, SCSI_MMC_CAPABILITIES_LEN);
	out[0] = 0x2a;
	out[1] = SCSI_MMC_CAPABILITIES_LEN - 2;
	out[2] = 0x0b; /* reads CD-R, CD-RW, DVD-ROM */
	out[4] = 0x70; /* multi-session, mode 2 */
	out[6] = (uint8_t)(0x29 | (is_locked ? 2 : 0)); /* a tray */
	put16(out + 8, 8467); /* 48 times 176.4 kB/s */
	put16(out + 12, 512);
	put16(out + 14, 8467);
	return SCSI_MMC_CAPABILITIES_LEN;
}
