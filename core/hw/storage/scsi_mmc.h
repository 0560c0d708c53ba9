/*
 * scsi_mmc: the answers of a CD-ROM drive that do not depend on how it is
 * attached (MMC-5).
 *
 * Thread rule: [any]; the caller owns all that is passed.
 */
#ifndef CORE_HW_STORAGE_SCSI_MMC_H
#define CORE_HW_STORAGE_SCSI_MMC_H

#include <stdbool.h>
#include <stdint.h>

/* Room for the longest of the answers below. */
#define SCSI_MMC_MAX		  48
#define SCSI_MMC_CAPABILITIES_LEN 22

/* What is in the drive. */
struct scsi_mmc_medium {
	bool is_present;
	uint32_t nr_blocks; /* of 2048 bytes */
};

/* Each fills out (SCSI_MMC_MAX bytes, or as said) for the command block, and
 * returns how many bytes the answer has; 0: INVALID FIELD IN CDB. */
unsigned scsi_mmc_read_toc(const struct scsi_mmc_medium *m, const uint8_t *cdb,
			   uint8_t *out);
unsigned scsi_mmc_get_configuration(const struct scsi_mmc_medium *m,
				    const uint8_t *cdb, uint8_t *out);
/* *is_new: a medium event is due; cleared when it was told. */
unsigned scsi_mmc_get_event(const struct scsi_mmc_medium *m, bool *is_new,
			    const uint8_t *cdb, uint8_t *out);
unsigned scsi_mmc_disc_information(uint8_t *out);
/* Mode page 2Ah: SCSI_MMC_CAPABILITIES_LEN bytes. */
unsigned scsi_mmc_capabilities(bool is_locked, uint8_t *out);

#endif
