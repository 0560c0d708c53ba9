/* The commands of a block device: SBC-3, chapter 5. */
#include <string.h>

#include "core/hw/iov.h"
#include "core/hw/storage/scsi_int.h"

#define FUA	 0x08 /* READ, WRITE */
#define WS_UNMAP 0x08 /* WRITE SAME */
#define WS_NDOB	 0x01
#define PROTECT	 0xe0

/* Blocks that a command names: SBC-3, 4.3. */
struct extent {
	uint64_t lba, nr;
};

static struct extent decode(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0:
		return (struct extent){get24(cdb + 1) & 0x1fffff,
				       cdb[4] ? cdb[4] : 256};
	case 4:
		return (struct extent){get64(cdb + 2), get32(cdb + 10)};
	case 5:
		return (struct extent){get32(cdb + 2), get32(cdb + 6)};
	}
	return (struct extent){get32(cdb + 2), get16(cdb + 7)};
}

static bool is_inside(const struct scsi_unit *u, const struct extent *x)
{
	uint64_t end = scsi_nr_blocks(u);

	return x->lba <= end && x->nr <= end - x->lba;
}

static enum scsi_result out_of_range(struct scsi_cmd *c)
{
	return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x2100);
}

/* Six-byte commands keep a part of the address where others have flags. */
static uint8_t flags_of(const struct scsi_cmd *c)
{
	return c->cdb[0] >> 5 ? c->cdb[1] : 0;
}

/* ---- READ, WRITE ---- */

static enum scsi_result transfer_done(struct scsi_unit *u, struct scsi_cmd *c,
				      int res)
{
	(void)u;
	if (res)
		return scsi_io_error(c, res, c->req.op == DRIVE_WRITE);
	c->moved = c->req.len;
	return scsi_good(c);
}

static enum scsi_result submit_read(struct scsi_unit *u, struct scsi_cmd *c,
				    int res)
{
	(void)u;
	if (res)
		return scsi_io_error(c, res, true);
	return scsi_submit_in(c, c->off, c->left, transfer_done);
}

/* What READ and WRITE refuse alike; SCSI_SUBMIT: nothing. */
static enum scsi_result check_transfer(const struct scsi_unit *u,
				       struct scsi_cmd *c, uint64_t room)
{
	struct extent x = decode(c->cdb);

	if (flags_of(c) & PROTECT)
		return scsi_bad_field(c);
	if (!is_inside(u, &x))
		return out_of_range(c);
	if (x.nr > SCSI_MAX_TRANSFER / u->block_len)
		return scsi_bad_field(c);
	c->off = x.lba * u->block_len;
	c->left = x.nr * u->block_len;
	if (c->left > room)
		return scsi_overrun(c);
	return x.nr ? SCSI_SUBMIT : scsi_good(c);
}

static enum scsi_result do_read(struct scsi_unit *u, struct scsi_cmd *c)
{
	enum scsi_result r = check_transfer(u, c, c->in_len);

	if (r != SCSI_SUBMIT)
		return r;
	/* From the medium, that is: what is cached goes there first. */
	if ((flags_of(c) & FUA) && u->wce)
		return scsi_submit(c, DRIVE_FLUSH, 0, 0, submit_read);
	return submit_read(u, c, 0);
}

static enum scsi_result submit_write(struct scsi_cmd *c, bool fua,
				     scsi_next_fn *next)
{
	iov_drop_back(c->out, &c->nr_out, c->out_len - c->left);
	c->out_len = c->left;
	c->req.iov = c->out;
	c->req.nr_iov = c->nr_out;
	scsi_submit(c, DRIVE_WRITE, c->off, c->left, next);
	c->req.fua |= fua;
	return SCSI_SUBMIT;
}

static enum scsi_result do_write(struct scsi_unit *u, struct scsi_cmd *c)
{
	enum scsi_result r = check_transfer(u, c, c->out_len);
	bool fua = flags_of(c) & FUA;

	if (fua)
		u->uses |= SCSI_USES_FUA;
	if (r != SCSI_SUBMIT)
		return r;
	return submit_write(c, fua, transfer_done);
}

/* ---- VERIFY, WRITE AND VERIFY ---- */

/* The block where what was read differs from what the guest sent; false when
 * they are alike. */
static bool differs(const struct scsi_unit *u, struct scsi_cmd *c, uint64_t len)
{
	uint8_t block[DRIVE_SECTOR];

	for (uint64_t at = 0; at < len; at += u->block_len) {
		iov_read(c->out, c->nr_out, c->is_single ? 0 : c->checked + at,
			 block, u->block_len);
		if (memcmp(c->bounce + at, block, u->block_len))
			return true;
	}
	return false;
}

static enum scsi_result compare_step(struct scsi_cmd *c)
{
	uint64_t len = c->left < SCSI_BOUNCE ? c->left : SCSI_BOUNCE;

	c->pieces[0] = (struct iovec){c->bounce, len};
	c->req.iov = c->pieces;
	c->req.nr_iov = 1;
	c->req.op = DRIVE_READ;
	c->req.off = c->off;
	c->req.len = len;
	return SCSI_SUBMIT;
}

static enum scsi_result compare_next(struct scsi_unit *u, struct scsi_cmd *c,
				     int res)
{
	if (res)
		return scsi_io_error(c, res, false);
	if (differs(u, c, c->req.len))
		return scsi_check(c, SCSI_MISCOMPARE, 0x1d00);
	c->checked += c->req.len;
	c->off += c->req.len;
	c->left -= c->req.len;
	return c->left ? compare_step(c) : scsi_good(c);
}

static enum scsi_result compare_start(struct scsi_unit *u, struct scsi_cmd *c,
				      int res)
{
	if (res)
		return scsi_io_error(c, res, true);
	c->moved = c->is_single ? u->block_len : c->left;
	c->checked = 0;
	c->next = compare_next;
	return compare_step(c);
}

/* Without comparing, the medium is read and forgotten. */
static enum scsi_result read_step(struct scsi_cmd *c)
{
	uint64_t len = 0;
	unsigned nr = 0;

	while (nr < SCSI_PIECES && len < c->left) {
		uint64_t part = c->left - len;

		part = part < SCSI_BOUNCE ? part : SCSI_BOUNCE;
		c->pieces[nr++] = (struct iovec){c->bounce, part};
		len += part;
	}
	c->req.iov = c->pieces;
	c->req.nr_iov = (int)nr;
	c->req.op = DRIVE_READ;
	c->req.off = c->off;
	c->req.len = len;
	return SCSI_SUBMIT;
}

static enum scsi_result read_next(struct scsi_unit *u, struct scsi_cmd *c,
				  int res)
{
	(void)u;
	if (res)
		return scsi_io_error(c, res, false);
	c->off += c->req.len;
	c->left -= c->req.len;
	return c->left ? read_step(c) : scsi_good(c);
}

static enum scsi_result read_start(struct scsi_unit *u, struct scsi_cmd *c,
				   int res)
{
	(void)u;
	if (res)
		return scsi_io_error(c, res, true);
	c->next = read_next;
	return read_step(c);
}

static enum scsi_result do_verify(struct scsi_unit *u, struct scsi_cmd *c)
{
	unsigned compare = (c->cdb[1] >> 1) & 3;
	struct extent x = decode(c->cdb);
	uint64_t need;

	if ((c->cdb[1] & PROTECT) || compare == 2)
		return scsi_bad_field(c);
	if (!is_inside(u, &x))
		return out_of_range(c);
	if (x.nr > SCSI_MAX_TRANSFER / u->block_len)
		return scsi_bad_field(c);
	if (!x.nr)
		return scsi_good(c);
	c->off = x.lba * u->block_len;
	c->left = x.nr * u->block_len;
	c->is_single = compare == 3;
	need = c->is_single ? u->block_len : c->left;
	if (compare && c->out_len < need)
		return scsi_overrun(c);
	/* It is the medium that is verified: 5.29. */
	return scsi_submit(c, DRIVE_FLUSH, 0, 0,
			   compare ? compare_start : read_start);
}

static enum scsi_result verified_write_done(struct scsi_unit *u,
					    struct scsi_cmd *c, int res)
{
	if (res)
		return scsi_io_error(c, res, true);
	c->moved = c->left;
	c->is_single = false;
	if (((c->cdb[1] >> 1) & 3) == 1)
		return compare_start(u, c, 0);
	return read_start(u, c, 0);
}

static enum scsi_result do_write_and_verify(struct scsi_unit *u,
					    struct scsi_cmd *c)
{
	enum scsi_result r;

	if (c->cdb[1] & 4)
		return scsi_bad_field(c);
	r = check_transfer(u, c, c->out_len);
	if (r != SCSI_SUBMIT)
		return r;
	return submit_write(c, true, verified_write_done);
}

/* ---- SYNCHRONIZE CACHE ---- */

static enum scsi_result do_sync_cache(struct scsi_unit *u, struct scsi_cmd *c)
{
	struct extent x = decode(c->cdb);

	u->uses |= SCSI_USES_FLUSH;
	if (!is_inside(u, &x))
		return out_of_range(c);
	return scsi_submit_flush(c);
}

/* ---- UNMAP ---- */

#define UNMAP_HEADER 8u
#define UNMAP_RANGE  16u

static enum scsi_result unmap_next(struct scsi_unit *u, struct scsi_cmd *c,
				   int res)
{
	const uint8_t *p;

	if (res)
		return scsi_io_error(c, res, true);
	while (c->checked < c->nr_ranges) {
		p = c->bounce + UNMAP_RANGE * c->checked++;
		if (!get32(p + 8))
			continue;
		return scsi_submit(c, DRIVE_DISCARD, get64(p) * u->block_len,
				   (uint64_t)get32(p + 8) * u->block_len,
				   unmap_next);
	}
	/* With the cache off zeroes are what is read after a power cut, too. */
	return c->is_stable ? scsi_submit_flush(c) : scsi_good(c);
}

/* All ranges are looked at before the first is unmapped; SCSI_SUBMIT: all are
 * fine. */
static enum scsi_result check_ranges(const struct scsi_unit *u,
				     struct scsi_cmd *c)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < c->nr_ranges; i++) {
		const uint8_t *p = c->bounce + UNMAP_RANGE * i;
		struct extent x = {get64(p), get32(p + 8)};

		if (!is_inside(u, &x))
			return out_of_range(c);
		total += x.nr;
	}
	if (total > SCSI_MAX_UNMAP / u->block_len)
		return scsi_bad_parameter(c);
	return SCSI_SUBMIT;
}

static enum scsi_result do_unmap(struct scsi_unit *u, struct scsi_cmd *c)
{
	unsigned len = get16(c->cdb + 7), ranges_len;
	uint8_t header[UNMAP_HEADER];
	enum scsi_result r;

	u->uses |= SCSI_USES_UNMAP;
	if (c->cdb[1] & 1) /* ANCHOR */
		return scsi_bad_field(c);
	if (!len)
		return scsi_good(c);
	if (len < UNMAP_HEADER)
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x1a00);
	if (len > c->out_len)
		return scsi_overrun(c);
	iov_read(c->out, c->nr_out, 0, header, sizeof(header));
	ranges_len = get16(header + 2);
	if (ranges_len > len - UNMAP_HEADER)
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x1a00);
	c->nr_ranges = ranges_len / UNMAP_RANGE;
	if (c->nr_ranges > SCSI_MAX_UNMAPS)
		return scsi_bad_parameter(c);
	iov_read(c->out, c->nr_out, UNMAP_HEADER, c->bounce,
		 c->nr_ranges * UNMAP_RANGE);
	c->moved = len;
	r = check_ranges(u, c);
	if (r != SCSI_SUBMIT)
		return r;
	c->checked = 0;
	return c->nr_ranges ? unmap_next(u, c, 0) : scsi_good(c);
}

/* ---- WRITE SAME ---- */

/* As many copies of the block as pieces hold. */
static enum scsi_result same_step(struct scsi_unit *u, struct scsi_cmd *c,
				  int res)
{
	uint64_t len = 0;
	unsigned nr = 0;

	(void)u;
	if (res)
		return scsi_io_error(c, res, true);
	if (!c->left)
		return scsi_good(c);
	while (nr < SCSI_PIECES && len < c->left) {
		uint64_t part = c->left - len;

		part = part < SCSI_BOUNCE ? part : SCSI_BOUNCE;
		c->pieces[nr++] = (struct iovec){c->bounce, part};
		len += part;
	}
	c->req.iov = c->pieces;
	c->req.nr_iov = (int)nr;
	scsi_submit(c, DRIVE_WRITE, c->off, len, same_step);
	c->off += len;
	c->left -= len;
	/* The last is made stable, and all with it. */
	c->req.flush_follows = c->left;
	c->req.fua &= !c->left;
	return SCSI_SUBMIT;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static enum scsi_result zeroes_done(struct scsi_unit *u, struct scsi_cmd *c,
				    int res)
{
	(void)u;
	return res ? scsi_io_error(c, res, true) : scsi_good(c);
}

static enum scsi_result do_write_same(struct scsi_unit *u, struct scsi_cmd *c)
{
	struct extent x = decode(c->cdb);
	bool no_data = c->cdb[0] == 0x93 && (c->cdb[1] & WS_NDOB);
	uint8_t known = WS_UNMAP | (c->cdb[0] == 0x93 ? WS_NDOB : 0);

	u->uses |= SCSI_USES_WRITE_SAME;
	if ((c->cdb[1] & ~known) || !x.nr)
		return scsi_bad_field(c);
	if (x.nr > SCSI_MAX_SAME / u->block_len)
		return scsi_bad_field(c);
	if (!is_inside(u, &x))
		return out_of_range(c);
	if (!no_data && c->out_len < u->block_len)
		return scsi_overrun(c);
	memset(c->bounce, 0, u->block_len);
	if (!no_data) {
		iov_read(c->out, c->nr_out, 0, c->bounce, u->block_len);
		c->moved = u->block_len;
	}
	c->off = x.lba * u->block_len;
	c->left = x.nr * u->block_len;
	if (is_zero(c->bounce, u->block_len)) {
		scsi_submit(c, DRIVE_WRITE_ZEROES, c->off, c->left,
			    zeroes_done);
		c->req.may_unmap = c->cdb[1] & WS_UNMAP;
		return SCSI_SUBMIT;
	}
	for (uint32_t at = u->block_len; at < SCSI_BOUNCE; at += u->block_len)
		memcpy(c->bounce + at, c->bounce, u->block_len);
	return same_step(u, c, 0);
}

/* ---- READ CAPACITY ---- */

static enum scsi_result do_read_capacity10(struct scsi_unit *u,
					   struct scsi_cmd *c)
{
	uint64_t nr = scsi_nr_blocks(u), last = nr ? nr - 1 : 0;
	uint8_t out[8];

	if (get32(c->cdb + 2))
		return scsi_bad_field(c);
	put32(out, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
	put32(out + 4, u->block_len);
	return scsi_reply(c, out, sizeof(out), sizeof(out));
}

static enum scsi_result do_service_action_in(struct scsi_unit *u,
					     struct scsi_cmd *c)
{
	uint64_t nr = scsi_nr_blocks(u);
	uint8_t out[32] = {0};

	if ((c->cdb[1] & 0x1f) != 0x10 || get64(c->cdb + 2))
		return scsi_bad_field(c);
	put64(out, nr ? nr - 1 : 0);
	put32(out + 8, u->block_len);
	out[13] = (uint8_t)__builtin_ctz(u->limits.align / u->block_len);
	if (!drive_readonly(u->drive))
		out[14] = 0x80 | 0x40; /* thin; unmapped reads as zeroes */
	return scsi_reply(c, out, sizeof(out), get32(c->cdb + 10));
}

#define READS  SCSI_MEDIUM
#define WRITES (SCSI_MEDIUM | SCSI_WRITES)

const struct scsi_row scsi_disk_rows[] = {
	{0x00, SCSI_MEDIUM, scsi_test_unit_ready},
	{0x03, SCSI_ANY_TIME, scsi_request_sense},
	{0x08, READS, do_read},
	{0x0a, WRITES, do_write},
	{0x12, SCSI_ANY_TIME, scsi_inquiry},
	{0x15, 0, scsi_mode_select},
	{0x1a, 0, scsi_mode_sense},
	{0x1b, 0, scsi_start_stop},
	{0x1e, 0, scsi_prevent},
	{0x25, 0, do_read_capacity10},
	{0x28, READS, do_read},
	{0x2a, WRITES, do_write},
	{0x2e, WRITES, do_write_and_verify},
	{0x2f, READS, do_verify},
	{0x35, READS, do_sync_cache},
	{0x41, WRITES, do_write_same},
	{0x42, WRITES, do_unmap},
	{0x55, 0, scsi_mode_select},
	{0x5a, 0, scsi_mode_sense},
	{0x88, READS, do_read},
	{0x8a, WRITES, do_write},
	{0x8e, WRITES, do_write_and_verify},
	{0x8f, READS, do_verify},
	{0x91, READS, do_sync_cache},
	{0x93, WRITES, do_write_same},
	{0x9e, 0, do_service_action_in},
	{0xa0, SCSI_ANY_TIME, scsi_report_luns},
	{0xa8, READS, do_read},
	{0xaa, WRITES, do_write},
	{0xae, WRITES, do_write_and_verify},
	{0xaf, READS, do_verify},
};

const unsigned scsi_nr_disk_rows =
	sizeof(scsi_disk_rows) / sizeof(scsi_disk_rows[0]);
