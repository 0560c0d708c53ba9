/*
 * ata: a disk or CD-ROM drive on a SATA port or an IDE cable: its command set,
 * without the registers and rings of the controller (ACS-2, SFF-8020i, MMC-3).
 *
 * The controller fills a struct ata_cmd from the guest's command, maps the
 * guest's memory, and calls ata_start.  A command is done at once, or it wants
 * its drive request submitted; each completion goes to ata_next, which may want
 * another one.  Everything in a command is hostile.
 *
 * A controller that moves data by DMA maps all of it.  One that moves them
 * through a data register has a window of memory instead, and a command that
 * moves more goes through it in parts: ATA_FILL and ATA_EMPTY.
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

#define ATA_CMD_DEVICE_RESET 0x08
#define ATA_CMD_DIAGNOSTIC   0x90
#define ATA_CMD_PACKET	     0xa0
#define ATA_CMD_READ_FPDMA   0x60
#define ATA_CMD_WRITE_FPDMA  0x61

#define ATA_MAX_MULTIPLE 16 /* sectors of READ MULTIPLE */
#define ATA_MAX_TRIM	 8  /* blocks of TRIM ranges */

struct ata_taskfile {
	uint8_t command, status, error, device;
	uint16_t features, count;
	uint64_t lba; /* 48 bits */
};

enum ata_result {
	ATA_DONE,   /* tf says how it ended; what was read is in the window */
	ATA_SUBMIT, /* ata_submit, which leads to ata_next */
	ATA_EJECT,  /* the same */
	ATA_FILL,   /* take cmd->part bytes into the window, then ata_next */
	ATA_EMPTY   /* hand on cmd->part bytes of it, then ata_next */
};

/* How the data of a command go over the wire. */
enum ata_protocol {
	ATA_NO_DATA,
	ATA_PIO_IN,
	ATA_PIO_OUT,
	ATA_DMA,
	ATA_QUEUED,
	ATA_PACKET
};

struct ata_dev;
struct state_desc;

/* A read or write under way. */
struct ata_move {
	bool write, fua;
	uint8_t step;
	uint64_t off, left; /* bytes of the drive */
};

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
	uint64_t room;	 /* bytes in iov */
	uint32_t window; /* bytes of the controller's window, 0: it maps all */
	/* The device's own. */
	bool is_queued, is_pio_in;
	uint32_t block; /* PIO: bytes between two interrupts */
	uint32_t part;	/* bytes in the window */
	uint64_t moved; /* bytes that went to or from the guest */
	struct drive_req req;
	enum ata_result (*next)(struct ata_dev *d, struct ata_cmd *c, int res);
	struct ata_move move;
	unsigned next_range; /* TRIM */
};

/* A kind of controller, for the devices behind it. */
struct ata_transport {
	const struct device_class *controller;
	bool is_parallel;
	unsigned default_mode; /* as SET FEATURES 03h writes it */
	/* Plugs d into place d->unit of the controller; 0, or -errno with the
	 * reason (no such place, taken). */
	int (*attach)(struct device *controller, struct ata_dev *d,
		      struct error *e);
	/* Unplugs; nothing may be in flight.  A device that isn't plugged is
	 * fine. */
	void (*detach)(struct ata_dev *d);
};

extern const struct ata_transport ahci_transport, ide_transport;

struct ata_dev {
	struct device dev; /* first */
	const struct ata_transport *transport;
	struct drive *drive;
	struct loop *io;
	unsigned unit;
	bool is_cdrom;
	unsigned block_len; /* bytes of a logical sector */
	/* What the guest chose; the controller tells the drive before it
	 * submits the next request. */
	bool wce_now, wce_default;
	uint8_t multiple;	/* sectors of READ MULTIPLE; 0: off */
	uint8_t mode;		/* of transfer, as SET FEATURES 03h has it */
	uint8_t power;		/* as CHECK POWER MODE says it */
	uint8_t heads, sectors; /* of CHS addresses */
	bool look_ahead, smart;
	bool host_failed; /* to make something stable, or to read */
	/* The last queued command that failed: log page 10h. */
	bool queued_error;
	uint8_t queued_tag;
	struct ata_taskfile queued_tf;
	struct mmc mmc; /* CD-ROM */
	unsigned uses;	/* ata_facts.c: what the guest made use of */
};

/* How the data of tf's command go; ATA_NO_DATA for unknown ones. */
enum ata_protocol ata_protocol(const struct ata_dev *d, uint8_t command);
/* Begins a command whose tf, packet, to_guest, window and map are set. */
enum ata_result ata_start(struct ata_dev *d, struct ata_cmd *c);
/* ata_facts.c: notes a disk's command that is about to begin; and tells, [any],
 * unlocked, what its driver makes use of. */
struct disk_driver;
void ata_note_use(struct ata_dev *d, const struct ata_taskfile *tf);
void ata_disk_driver(struct device *dev, struct disk_driver *out);
/* After cmd->req completed with res, or the window was filled or emptied. */
enum ata_result ata_next(struct ata_dev *d, struct ata_cmd *c, int res);
/* Unlocked: does what ATA_SUBMIT or ATA_EJECT wants, with the write cache as
 * the guest set it; leads to c->req.done, maybe before it returns. */
void ata_submit(struct ata_dev *d, struct ata_cmd *c, enum ata_result what,
		bool wce);
/* The signature that a reset leaves in the registers (ACS-2, table 30). */
void ata_signature(const struct ata_dev *d, struct ata_taskfile *tf);
/* COMRESET or SRST.  Settings survive it (ACS-2, software settings
 * preservation): a driver that recovers from an error must not find a write
 * cache that it had turned off. */
void ata_reset(struct ata_dev *d);
/* State of a command that waits for its window; ata_cmd_loaded afterwards. */
extern const struct state_desc ata_cmd_state;
void ata_cmd_loaded(struct ata_cmd *c);

/* ---- between the parts of the command set ---- */

struct ata_row {
	uint8_t code;
	enum ata_protocol protocol;
	bool ext, write, fua, multiple;
	enum ata_result (*start)(struct ata_dev *d, struct ata_cmd *c,
				 const struct ata_row *row);
};

enum ata_result ata_ok(struct ata_cmd *c);
enum ata_result ata_fail(struct ata_cmd *c, uint8_t error);
/* Copies an answer into the guest's memory, as much as its scatter list takes;
 * c->moved says how much. */
void ata_reply(struct ata_dev *d, struct ata_cmd *c, const void *buf,
	       uint64_t len);
/* Answers with a block of 512 bytes, or fails. */
enum ata_result ata_reply_block(struct ata_dev *d, struct ata_cmd *c,
				const uint8_t *block);
/* Moves len bytes (not 0) between the drive at off and the guest.  It ends in
 * atapi_moved or ata_disk_moved: with 0, the drive's -errno, or -EFAULT when the
 * guest's list is too short or of the wrong direction. */
enum ata_result ata_move(struct ata_dev *d, struct ata_cmd *c, bool write,
			 uint64_t off, uint64_t len, bool fua);
enum ata_result ata_disk_moved(struct ata_dev *d, struct ata_cmd *c, int res);
/* A disk's commands; nr of them. */
const struct ata_row *ata_disk_rows(size_t *nr);
/* Commands that disks and CD-ROM drives share. */
enum ata_result ata_start_nothing(struct ata_dev *d, struct ata_cmd *c,
				  const struct ata_row *row);
enum ata_result ata_start_diagnostic(struct ata_dev *d, struct ata_cmd *c,
				     const struct ata_row *row);
enum ata_result ata_start_identify(struct ata_dev *d, struct ata_cmd *c,
				   const struct ata_row *row);
enum ata_result ata_start_features(struct ata_dev *d, struct ata_cmd *c,
				   const struct ata_row *row);
enum ata_result ata_start_power(struct ata_dev *d, struct ata_cmd *c,
				const struct ata_row *row);
/* Fills 256 words for IDENTIFY (PACKET) DEVICE. */
void ata_identify(const struct ata_dev *d, uint8_t *out);
enum ata_result atapi_start(struct ata_dev *d, struct ata_cmd *c);
enum ata_result atapi_moved(struct ata_dev *d, struct ata_cmd *c, int res);
/* READ LOG (DMA) EXT and SMART: ACS-2, 7.24 and 7.52. */
enum ata_result ata_start_log(struct ata_dev *d, struct ata_cmd *c,
			      const struct ata_row *row);
enum ata_result ata_start_smart(struct ata_dev *d, struct ata_cmd *c,
				const struct ata_row *row);
/* The sum of all 512 bytes becomes 0 by the last one. */
void ata_checksum(uint8_t *block);

#endif
