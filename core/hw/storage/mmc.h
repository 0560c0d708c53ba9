/*
 * mmc: the commands of a CD-ROM drive (MMC-3, SPC-3), whatever carries them: a
 * packet behind an ATA controller or a SCSI transport.
 *
 * It decides and answers; it touches neither guest memory nor the drive's
 * requests.  The carrier copies the answer, submits the read, or ejects, and
 * reports a check condition as its own rules want it.
 *
 * Thread rule: under the lock of the device that carries the commands.
 */
#ifndef CORE_HW_STORAGE_MMC_H
#define CORE_HW_STORAGE_MMC_H

#include <stdbool.h>
#include <stdint.h>

struct drive;
struct state_desc;

#define MMC_BLOCK 2048u

struct mmc_sense {
	uint8_t key, asc, ascq;
};

struct mmc {
	struct drive *drive;
	struct mmc_sense sense;
	bool is_locked;		 /* PREVENT MEDIUM REMOVAL */
	bool unit_attention;	 /* medium changed, not yet said */
	bool event_new_medium;	 /* for GET EVENT STATUS NOTIFICATION */
	unsigned medium_changes; /* of the drive, as last looked at */
};

enum mmc_result {
	MMC_GOOD,  /* done, nothing to move */
	MMC_CHECK, /* refused: m->sense says why */
	MMC_DATA,  /* answer: len bytes of data */
	MMC_READ,  /* read bytes at off, then call mmc_read_done */
	MMC_EJECT  /* eject the medium, then call mmc_eject_done */
};

struct mmc_command {
	const uint8_t *cdb; /* at least 12 bytes */
	uint8_t data[64];
	unsigned len; /* already cut to the allocation length */
	uint64_t off, bytes;
};

void mmc_init(struct mmc *m, struct drive *drive);
/* Back to power-on: unlocked, no sense. */
void mmc_reset(struct mmc *m);
/* Decides about the command in c->cdb. */
enum mmc_result mmc_start(struct mmc *m, struct mmc_command *c);
/* What a read or an eject that ended with res (0 or -errno) comes to. */
enum mmc_result mmc_read_done(struct mmc *m, int res);
enum mmc_result mmc_eject_done(struct mmc *m, int res);
/* Sets the sense data of a refusal; MMC_CHECK. */
enum mmc_result mmc_check(struct mmc *m, uint8_t key, uint8_t asc,
			  uint8_t ascq);
/* Whether a command with this code moves data when it succeeds. */
bool mmc_has_data(uint8_t code);

/* For STATE_STRUCTS in the descriptor of the device that embeds it. */
extern const struct state_desc mmc_state;

#endif
