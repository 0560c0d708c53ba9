/*
 * ata: a disk or CD-ROM drive behind a SATA port: its command set, without the
 * registers and rings of the controller (ACS-2, SFF-8020i, MMC-3).
 *
 * The controller fills a struct ata_cmd from the guest's command, maps the
 * guest's memory, and calls ata_start.  A command is done at once, or it wants
 * its drive request submitted; each completion goes to ata_next, which may want
 * another one.  Everything in a command is hostile.
 *
 * Thread rule: all calls on the drive's loop under the lock of the controller
 * (it protects the whole device; its own lock is unused), or with the world
 * stopped.  Calls into the drive that submit or eject are the controller's, who
 * drops the lock for them.
 */
#ifndef CORE_HW_STORAGE_ATA_H
#define CORE_HW_STORAGE_ATA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/blk/drive.h"
#include "core/device.h"
#include "core/hw/storage/mmc.h"

#define ATA_STATUS_ERR	0x01
#define ATA_STATUS_DRQ	0x08
#define ATA_STATUS_DSC	0x10
#define ATA_STATUS_DRDY 0x40
#define ATA_STATUS_BSY	0x80
#define ATA_STATUS_OK	(ATA_STATUS_DRDY | ATA_STATUS_DSC)

#define ATA_ERROR_ABRT 0x04
#define ATA_ERROR_IDNF 0x10
#define ATA_ERROR_UNC  0x40

#define ATA_CMD_PACKET	    0xa0
#define ATA_CMD_READ_FPDMA  0x60
#define ATA_CMD_WRITE_FPDMA 0x61

struct ata_taskfile {
	uint8_t command, status, error, device;
	uint16_t features, count;
	uint64_t lba; /* 48 bits */
};

enum ata_result {
	ATA_DONE,   /* tf says how it ended */
	ATA_SUBMIT, /* submit cmd->req, then call ata_next */
	ATA_EJECT   /* eject the drive's medium, then call ata_next */
};

struct ata_dev;

struct ata_cmd {
	struct ata_taskfile tf; /* the guest's; the answer when done */
	uint8_t packet[16];	/* PACKET only */
	bool to_guest;		/* the direction that the guest declared */
	/* Makes iov the first len bytes of the guest's scatter list, fewer if
	 * that is shorter; false when they are not in RAM (then is_broken is
	 * set, too). */
	bool (*map)(struct ata_cmd *c, uint64_t len);
	bool is_broken;
	struct iovec *iov;
	int nr_iov;
	uint64_t room; /* bytes in iov */
	/* The device's own. */
	bool is_queued, is_pio_in;
	uint64_t moved; /* bytes that went to or from the guest */
	struct drive_req req;
	enum ata_result (*next)(struct ata_dev *d, struct ata_cmd *c, int res);
	uint8_t ranges[512]; /* TRIM */
	unsigned next_range;
};

struct ata_dev {
	struct device dev; /* first */
	struct drive *drive;
	struct loop *io;
	unsigned unit;
	bool is_cdrom;
	unsigned block_len; /* bytes of a logical sector */
	/* What the guest chose; the controller tells the drive before it
	 * submits the next request. */
	bool wce_now, wce_default;
	uint8_t multiple; /* sectors of READ MULTIPLE; 0: off */
	/* The last queued command that failed: log page 10h. */
	bool queued_error;
	uint8_t queued_tag;
	struct ata_taskfile queued_tf;
	struct mmc mmc; /* CD-ROM */
};

/* Begins a command whose tf, packet, to_guest and map are set. */
enum ata_result ata_start(struct ata_dev *d, struct ata_cmd *c);
/* After cmd->req completed with res. */
enum ata_result ata_next(struct ata_dev *d, struct ata_cmd *c, int res);
/* The signature that a reset leaves in the registers (ACS-2, table 30). */
void ata_signature(const struct ata_dev *d, struct ata_taskfile *tf);
/* COMRESET.  Settings survive it (ACS-2, software settings preservation): a
 * driver that recovers from an error must not find a write cache that it had
 * turned off. */
void ata_reset(struct ata_dev *d);

/* ---- between ata.c, identify.c and atapi.c ---- */

enum ata_result ata_ok(struct ata_cmd *c);
enum ata_result ata_fail(struct ata_cmd *c, uint8_t error);
/* Copies an answer into the guest's memory, as much as its scatter list takes;
 * c->moved says how much. */
void ata_reply(struct ata_dev *d, struct ata_cmd *c, const void *buf,
	       uint64_t len);
/* Makes c->req a READ or WRITE of len bytes at off over the guest's memory;
 * false when its list is too short or of the wrong direction. */
bool ata_prepare(struct ata_cmd *c, enum drive_op op, uint64_t off,
		 uint64_t len);
/* Fills 256 words for IDENTIFY (PACKET) DEVICE. */
void ata_identify(const struct ata_dev *d, uint8_t *out);
enum ata_result atapi_start(struct ata_dev *d, struct ata_cmd *c);

#endif
