/*
 * scsi_int: what the files of the SCSI target share: answers, and the tables of
 * commands.
 *
 * Thread rule: as scsi.h.
 */
#ifndef CORE_HW_STORAGE_SCSI_INT_H
#define CORE_HW_STORAGE_SCSI_INT_H

#include "core/hw/storage/scsi.h"
#include "core/hw/storage/scsi_bytes.h"

#define SCSI_NOT_READY	     0x02
#define SCSI_MEDIUM_ERROR    0x03
#define SCSI_HARDWARE_ERROR  0x04
#define SCSI_ILLEGAL_REQUEST 0x05
#define SCSI_UNIT_ATTENTION  0x06
#define SCSI_DATA_PROTECT    0x07
#define SCSI_MISCOMPARE	     0x0e

/* Most that a command moves, WRITE SAME writes and one UNMAP gives up, bytes:
 * who stops the machine waits for that. */
#define SCSI_MAX_TRANSFER (32u << 20)
#define SCSI_MAX_SAME	  (32u << 20)
#define SCSI_MAX_UNMAP	  (1u << 30)
#define SCSI_MAX_UNMAPS	  (SCSI_BOUNCE / 16)

typedef enum scsi_result scsi_start_fn(struct scsi_unit *u, struct scsi_cmd *c);

enum scsi_row_flags {
	SCSI_ANY_TIME = 1, /* also with something left to tell */
	SCSI_MEDIUM = 2,   /* needs a medium that turns */
	SCSI_WRITES = 4
};

struct scsi_row {
	uint8_t code;
	unsigned flags;
	scsi_start_fn *start;
};

/* The commands of a disk, and of a CD-ROM drive those that any unit has. */
extern const struct scsi_row scsi_disk_rows[], scsi_cdrom_rows[];
extern const unsigned scsi_nr_disk_rows, scsi_nr_cdrom_rows;

/* ---- ends of a command ---- */

/* GOOD. */
enum scsi_result scsi_good(struct scsi_cmd *c);
/* CHECK CONDITION; code is the additional sense code and its qualifier. */
enum scsi_result scsi_check(struct scsi_cmd *c, uint8_t key, unsigned code);
/* INVALID FIELD IN CDB, INVALID FIELD IN PARAMETER LIST. */
enum scsi_result scsi_bad_field(struct scsi_cmd *c);
enum scsi_result scsi_bad_parameter(struct scsi_cmd *c);
/* GOOD with an answer, cut to what the guest allocated. */
enum scsi_result scsi_reply(struct scsi_cmd *c, const void *buf, uint64_t len,
			    uint64_t allocated);
/* What the host's error is called to a guest that read or wrote. */
enum scsi_result scsi_io_error(struct scsi_cmd *c, int res, bool write);
/* The buffers are too short for what the command moves. */
enum scsi_result scsi_overrun(struct scsi_cmd *c);

/* ---- between commands ---- */

/* Blocks of the medium; 0: none there. */
uint64_t scsi_nr_blocks(const struct scsi_unit *u);
/* Makes c->req a request of the unit's drive, with next for its end. */
enum scsi_result scsi_submit(struct scsi_cmd *c, enum drive_op op, uint64_t off,
			     uint64_t len, scsi_next_fn *next);
/* Makes it a read into the guest's buffers, which are long enough. */
enum scsi_result scsi_submit_in(struct scsi_cmd *c, uint64_t off, uint64_t len,
				scsi_next_fn *next);
/* A flush, then GOOD. */
enum scsi_result scsi_submit_flush(struct scsi_cmd *c);
/* Lets the unit see that its disk was resized. */
void scsi_look(struct scsi_unit *u);

/* Commands, each in the file that its name says. */
scsi_start_fn scsi_inquiry, scsi_mode_sense, scsi_mode_select;
scsi_start_fn scsi_test_unit_ready, scsi_request_sense, scsi_report_luns;
scsi_start_fn scsi_start_stop, scsi_prevent;
/* Any command of a CD-ROM drive. */
scsi_start_fn scsi_cdrom_start;

#endif
