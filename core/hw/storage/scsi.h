/*
 * scsi: a logical unit, a disk or a CD-ROM drive: its commands without the
 * transport that brings them (SPC-4, SBC-3, MMC-5).
 *
 * The transport fills a struct scsi_cmd with the guest's command block and its
 * buffers as host pieces, and calls scsi_start.  A command is done at once, or
 * it wants its drive request submitted; each completion goes to scsi_next,
 * which may want another one.  Everything in a command is hostile.
 *
 * A write that is taken while the write cache is off is stable when it
 * completes, whatever becomes of the cache meanwhile; MODE SELECT that turns
 * it off completes when all that was written before is stable.
 *
 * Thread rule: all calls on the drive's loop under the lock of the controller
 * (it protects the whole unit; its own lock is unused), or with the world
 * stopped.  Calls into the drive that submit or eject are the transport's, who
 * drops the lock for them.
 */
#ifndef CORE_HW_STORAGE_SCSI_H
#define CORE_HW_STORAGE_SCSI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/blk/drive.h"
#include "core/device.h"
#include "core/hw/storage/mmc.h"

#define SCSI_CDB_MAX   32
#define SCSI_SENSE_LEN 18
/* Medium that passes through a command's own memory, bytes at a time. */
#define SCSI_BOUNCE 4096u
#define SCSI_PIECES 16u

#define SCSI_GOOD	     0x00
#define SCSI_CHECK_CONDITION 0x02

enum scsi_result {
	SCSI_DONE,   /* status says how it ended */
	SCSI_SUBMIT, /* submit cmd->req, then call scsi_next */
	SCSI_EJECT   /* eject the drive's medium, then call scsi_next */
};

/* What stays to be told about a unit, the most important first. */
enum scsi_attention {
	SCSI_ATTENTION_POWER_ON = 1,
	SCSI_ATTENTION_RESET = 2,
	SCSI_ATTENTION_CAPACITY = 4,
	SCSI_ATTENTION_MODE = 8, /* somebody else changed a mode page */
	SCSI_ATTENTION_ALL = 15
};

/* What a driver has made use of since power-on. */
enum scsi_use {
	SCSI_USES_ANY = 1,
	SCSI_USES_FLUSH = 2,
	SCSI_USES_FUA = 4,
	SCSI_USES_MODE_SELECT = 8,
	SCSI_USES_UNMAP = 16,
	SCSI_USES_WRITE_SAME = 32
};

struct scsi_sense {
	uint8_t key, asc, ascq;
};

struct scsi_cmd;
struct scsi_unit;

/* Goes on after a drive request, or an eject, that ended with res. */
typedef enum scsi_result scsi_next_fn(struct scsi_unit *u, struct scsi_cmd *c,
				      int res);

struct scsi_cmd {
	/* The transport's; of the pieces the unit may cut off the end. */
	uint8_t cdb[SCSI_CDB_MAX]; /* padded with zeroes */
	struct iovec *out, *in;	   /* from the guest, to the guest */
	int nr_out, nr_in;
	uint64_t out_len, in_len; /* bytes */
	/* The answer. */
	uint8_t status;
	struct scsi_sense sense; /* with CHECK CONDITION */
	bool overrun;		 /* the command needs more than these buffers */
	uint64_t moved;		 /* bytes that went out or came in */
	uint64_t stored;	 /* bytes of in that were, or may be, changed */
	/* The unit's own. */
	struct drive_req req;
	scsi_next_fn *next;
	uint64_t off, left, checked; /* bytes, of a command of many steps */
	unsigned nr_ranges;	     /* of UNMAP */
	bool is_stable;		     /* taken while the write cache was off */
	bool is_single;		     /* one block is compared with each */
	struct iovec pieces[SCSI_PIECES];
	uint8_t bounce[SCSI_BOUNCE];
};

struct scsi_unit {
	struct device dev; /* first */
	struct drive *drive;
	struct loop *io;
	unsigned target; /* its number on the transport */
	bool is_cdrom;
	uint32_t block_len; /* bytes of a logical block */
	/* What the guest chose; the transport tells the drive before it
	 * submits the next request. */
	bool wce, wce_default;
	uint8_t attention; /* enum scsi_attention */
	bool is_stopped;   /* START STOP UNIT */
	uint8_t uses;	   /* enum scsi_use */
	struct drive_limits limits;
	uint64_t len;	/* of the drive, as last looked at */
	struct mmc mmc; /* of a CD-ROM drive */
};

/* Begins a command whose cdb and buffers are set. */
enum scsi_result scsi_start(struct scsi_unit *u, struct scsi_cmd *c);
/* After cmd->req completed, or the medium was ejected, with res. */
enum scsi_result scsi_next(struct scsi_unit *u, struct scsi_cmd *c, int res);
/* Answers a command for a logical unit that the target doesn't have. */
enum scsi_result scsi_start_absent(struct scsi_cmd *c);
/* Sense data in fixed format (SPC-4, 4.5.3): SCSI_SENSE_LEN bytes. */
void scsi_put_sense(const struct scsi_sense *s, uint8_t *out);

/* A logical unit or target reset: the driver is told, and a write cache that
 * it had turned off stays off. */
void scsi_reset(struct scsi_unit *u);
/* A new driver, or power-on: everything back to its default. */
void scsi_power_on(struct scsi_unit *u);

#endif
