/* What all commands share, and the commands that every unit has: SPC-4. */
#include "core/hw/storage/scsi.h"

#include <errno.h>
#include <string.h>

#include "core/hw/iov.h"
#include "core/hw/storage/scsi_int.h"

/* ---- answers ---- */

enum scsi_result scsi_good(struct scsi_cmd *c)
{
	c->status = SCSI_GOOD;
	return SCSI_DONE;
}

enum scsi_result scsi_check(struct scsi_cmd *c, uint8_t key, unsigned code)
{
	c->status = SCSI_CHECK_CONDITION;
	c->sense = (struct scsi_sense){
		.key = key,
		.asc = (uint8_t)(code >> 8),
		.ascq = (uint8_t)code,
	};
	return SCSI_DONE;
}

enum scsi_result scsi_bad_field(struct scsi_cmd *c)
{
	return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x2400);
}

enum scsi_result scsi_bad_parameter(struct scsi_cmd *c)
{
	return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x2600);
}

enum scsi_result scsi_overrun(struct scsi_cmd *c)
{
	c->overrun = true;
	return SCSI_DONE;
}

enum scsi_result scsi_reply(struct scsi_cmd *c, const void *buf, uint64_t len,
			    uint64_t allocated)
{
	if (len > allocated)
		len = allocated;
	if (len > c->in_len)
		return scsi_overrun(c);
	iov_write(c->in, c->nr_in, 0, buf, len);
	c->moved = c->stored = len;
	return scsi_good(c);
}

enum scsi_result scsi_io_error(struct scsi_cmd *c, int res, bool write)
{
	switch (res) {
	case -ENOMEDIUM:
		return scsi_check(c, SCSI_NOT_READY, 0x3a00);
	case -EINVAL:
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x2100);
	case -EROFS:
		return scsi_check(c, SCSI_DATA_PROTECT, 0x2700);
	case -ENOSPC: /* the host's space for a thin disk is used up */
		return scsi_check(c, SCSI_DATA_PROTECT, 0x2707);
	case -ENOMEM:
		return scsi_check(c, SCSI_HARDWARE_ERROR, 0x4400);
	}
	return scsi_check(c, SCSI_MEDIUM_ERROR, write ? 0x0c00 : 0x1100);
}

void scsi_put_sense(const struct scsi_sense *s, uint8_t *out)
{
	memset(out, 0, SCSI_SENSE_LEN);
	out[0] = 0x70;
	out[2] = s->key;
	out[7] = SCSI_SENSE_LEN - 8;
	out[12] = s->asc;
	out[13] = s->ascq;
}

/* ---- the drive ---- */

uint64_t scsi_nr_blocks(const struct scsi_unit *u)
{
	return drive_len(u->drive) / u->block_len;
}

enum scsi_result scsi_submit(struct scsi_cmd *c, enum drive_op op, uint64_t off,
			     uint64_t len, scsi_next_fn *next)
{
	c->req.op = op;
	c->req.off = off;
	c->req.len = len;
	/* Also when the guest turns the cache on before the write is done. */
	c->req.fua =
		c->is_stable && (op == DRIVE_WRITE || op == DRIVE_WRITE_ZEROES);
	c->req.may_unmap = c->req.flush_follows = false;
	c->next = next;
	return SCSI_SUBMIT;
}

enum scsi_result scsi_submit_in(struct scsi_cmd *c, uint64_t off, uint64_t len,
				scsi_next_fn *next)
{
	iov_drop_back(c->in, &c->nr_in, c->in_len - len);
	c->req.iov = c->in;
	c->req.nr_iov = c->nr_in;
	c->stored = len;
	return scsi_submit(c, DRIVE_READ, off, len, next);
}

static enum scsi_result flush_done(struct scsi_unit *u, struct scsi_cmd *c,
				   int res)
{
	(void)u;
	return res ? scsi_io_error(c, res, true) : scsi_good(c);
}

enum scsi_result scsi_submit_flush(struct scsi_cmd *c)
{
	return scsi_submit(c, DRIVE_FLUSH, 0, 0, flush_done);
}

void scsi_look(struct scsi_unit *u)
{
	uint64_t len = drive_len(u->drive);

	if (!u->is_cdrom && len != u->len)
		u->attention |= SCSI_ATTENTION_CAPACITY;
	u->len = len;
}

/* Takes the most important thing left to tell; key 0: there is none. */
static struct scsi_sense take_attention(struct scsi_unit *u)
{
	static const struct {
		uint8_t bit, asc, ascq;
	} rows[] = {
		{SCSI_ATTENTION_POWER_ON, 0x29, 0x01},
		{SCSI_ATTENTION_RESET, 0x29, 0x03},
		{SCSI_ATTENTION_CAPACITY, 0x2a, 0x09},
		{SCSI_ATTENTION_MODE, 0x2a, 0x01},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!(u->attention & rows[i].bit))
			continue;
		u->attention &= (uint8_t)~rows[i].bit;
		return (struct scsi_sense){SCSI_UNIT_ATTENTION, rows[i].asc,
					   rows[i].ascq};
	}
	return (struct scsi_sense){0};
}

void scsi_reset(struct scsi_unit *u)
{
	u->wce = u->wce && u->wce_default;
	u->is_stopped = false;
	mmc_reset(&u->mmc);
	u->attention |= SCSI_ATTENTION_RESET;
}

void scsi_power_on(struct scsi_unit *u)
{
	u->wce = u->wce_default;
	u->is_stopped = false;
	u->uses = 0;
	mmc_reset(&u->mmc);
	u->attention = SCSI_ATTENTION_POWER_ON;
}

/* ---- commands ---- */

enum scsi_result scsi_test_unit_ready(struct scsi_unit *u, struct scsi_cmd *c)
{
	(void)u;
	return scsi_good(c);
}

static enum scsi_result reply_sense(struct scsi_cmd *c,
				    const struct scsi_sense *s)
{
	uint8_t fixed[SCSI_SENSE_LEN];
	uint8_t descriptor[8] = {0x72, s->key, s->asc, s->ascq};

	if (c->cdb[1] & 1)
		return scsi_reply(c, descriptor, sizeof(descriptor), c->cdb[4]);
	scsi_put_sense(s, fixed);
	return scsi_reply(c, fixed, sizeof(fixed), c->cdb[4]);
}

/* The sense of a failed command came with its status; what is left to tell
 * can be asked for. */
enum scsi_result scsi_request_sense(struct scsi_unit *u, struct scsi_cmd *c)
{
	struct scsi_sense s = take_attention(u);

	return reply_sense(c, &s);
}

/* Logical unit 0 is the only one, and there is no well-known one. */
static enum scsi_result report_luns(struct scsi_cmd *c)
{
	uint8_t out[16] = {0};

	if (c->cdb[2] > 2)
		return scsi_bad_field(c);
	if (c->cdb[2] != 1)
		put32(out, 8);
	return scsi_reply(c, out, c->cdb[2] == 1 ? 8 : 16, get32(c->cdb + 6));
}

enum scsi_result scsi_report_luns(struct scsi_unit *u, struct scsi_cmd *c)
{
	(void)u;
	return report_luns(c);
}

static enum scsi_result stop_done(struct scsi_unit *u, struct scsi_cmd *c,
				  int res)
{
	if (res)
		return scsi_io_error(c, res, true);
	u->is_stopped = true;
	return scsi_good(c);
}

enum scsi_result scsi_start_stop(struct scsi_unit *u, struct scsi_cmd *c)
{
	bool start = c->cdb[4] & 1;

	if (c->cdb[4] >> 4) /* a power condition; all are alike here */
		return scsi_good(c);
	if (start) {
		u->is_stopped = false;
		return scsi_good(c);
	}
	return scsi_submit(c, DRIVE_FLUSH, 0, 0, stop_done);
}

enum scsi_result scsi_prevent(struct scsi_unit *u, struct scsi_cmd *c)
{
	(void)u; /* nothing can be taken out */
	return scsi_good(c);
}

/* ---- dispatch ---- */

/* The control byte is the last; its NACA bit asks for what we lack: SAM-5,
 * 5.2. */
static bool wants_aca(const uint8_t *cdb)
{
	static const uint8_t last[8] = {5, 9, 9, 0, 15, 11, 0, 0};
	unsigned at = last[cdb[0] >> 5];

	return at && (cdb[at] & 4);
}

static const struct scsi_row *find_row(const struct scsi_unit *u, uint8_t code)
{
	const struct scsi_row *rows =
		u->is_cdrom ? scsi_cdrom_rows : scsi_disk_rows;
	unsigned nr = u->is_cdrom ? scsi_nr_cdrom_rows : scsi_nr_disk_rows;

	for (unsigned i = 0; i < nr; i++)
		if (rows[i].code == code)
			return &rows[i];
	return NULL;
}

static void begin(struct scsi_cmd *c)
{
	c->status = SCSI_GOOD;
	c->sense = (struct scsi_sense){0};
	c->overrun = false;
	c->moved = c->stored = 0;
	c->next = NULL;
	c->req.iov = NULL;
	c->req.nr_iov = 0;
}

enum scsi_result scsi_start(struct scsi_unit *u, struct scsi_cmd *c)
{
	const struct scsi_row *row = find_row(u, c->cdb[0]);

	begin(c);
	c->is_stable = !u->wce;
	u->uses |= SCSI_USES_ANY;
	scsi_look(u);
	if (u->attention && !(row && (row->flags & SCSI_ANY_TIME))) {
		c->status = SCSI_CHECK_CONDITION;
		c->sense = take_attention(u);
		return SCSI_DONE;
	}
	if (!row && !u->is_cdrom)
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x2000);
	if (wants_aca(c->cdb))
		return scsi_bad_field(c);
	if (!row)
		return scsi_cdrom_start(u, c);
	if ((row->flags & SCSI_MEDIUM) && !drive_has_medium(u->drive))
		return scsi_check(c, SCSI_NOT_READY, 0x3a00);
	if ((row->flags & SCSI_MEDIUM) && u->is_stopped)
		return scsi_check(c, SCSI_NOT_READY, 0x0402);
	if ((row->flags & SCSI_WRITES) && drive_readonly(u->drive))
		return scsi_check(c, SCSI_DATA_PROTECT, 0x2700);
	return row->start(u, c);
}

enum scsi_result scsi_next(struct scsi_unit *u, struct scsi_cmd *c, int res)
{
	return c->next(u, c, res);
}

/* SPC-4, 5.11 and 6.6.2: such a unit can be asked who it is not. */
enum scsi_result scsi_start_absent(struct scsi_cmd *c)
{
	static const struct scsi_sense none = {SCSI_ILLEGAL_REQUEST, 0x25, 0};
	uint8_t out[36] = {0x7f, 0, 0x06, 0x02, 31};

	begin(c);
	if (c->cdb[0] == 0x12 && !c->cdb[1])
		return scsi_reply(c, out, sizeof(out), get16(c->cdb + 3));
	if (c->cdb[0] == 0x03)
		return reply_sense(c, &none);
	if (c->cdb[0] == 0xa0)
		return report_luns(c);
	return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x2500);
}
