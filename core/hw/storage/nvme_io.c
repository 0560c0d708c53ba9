/*
 * The NVM command set: NVMe 1.4, chapter 6.  One namespace of 512-byte blocks.
 */
#include <errno.h>

#include "core/hw/iov.h"
#include "core/hw/storage/nvme_int.h"

/* A range of Dataset Management (6.7). */
struct range {
	uint32_t attributes, nr_blocks;
	uint64_t lba;
};

static uint64_t slba(const struct nvme_cmd *c)
{
	return c->dw10 | (uint64_t)c->dw11 << 32;
}

static uint32_t nr_blocks(const struct nvme_cmd *c)
{
	return (c->dw12 & 0xffff) + 1;
}

static bool is_inside(const struct nvme *n, uint64_t lba, uint64_t nr)
{
	uint64_t end = drive_len(n->drive) / NVME_BLOCK;

	return lba <= end && nr <= end - lba;
}

/* ---- the end of a request ---- */

static enum nvme_status status_of(const struct nvme_slot *s, int res)
{
	switch (res) {
	case 0:
		return NVME_OK;
	case -EROFS:
		return NVME_WRITE_PROTECTED;
	case -ENOSPC:
		return NVME_CAPACITY_EXCEEDED;
	case -ENOMEM:
		return NVME_INTERNAL_ERROR;
	}
	return s->req.op == DRIVE_READ ? NVME_READ_ERROR : NVME_WRITE_FAULT;
}

static enum nvme_status plain_done(struct nvme *n, struct nvme_slot *s, int res)
{
	(void)n;
	return status_of(s, res);
}

/* ---- requests ---- */

static enum nvme_status prepare(struct nvme_slot *s, enum drive_op op,
				uint64_t lba, uint64_t nr)
{
	struct drive_req *req = &s->req;

	req->op = op;
	req->fua = req->may_unmap = false;
	req->off = lba * NVME_BLOCK;
	req->len = nr * NVME_BLOCK;
	req->iov = s->iov;
	req->nr_iov = s->nr_iov;
	s->after = plain_done;
	return NVME_SUBMIT;
}

enum nvme_status nvme_flush(struct nvme_slot *s)
{
	return prepare(s, DRIVE_FLUSH, 0, 0);
}

static enum nvme_status start_flush(struct nvme *n, struct nvme_slot *s)
{
	(void)n;
	return nvme_flush(s);
}

static enum nvme_status transfer(struct nvme *n, struct nvme_slot *s,
				 enum drive_op op)
{
	uint64_t lba = slba(&s->cmd), nr = nr_blocks(&s->cmd);
	enum nvme_status status;

	if (nr * NVME_BLOCK > NVME_MAX_LEN)
		return NVME_INVALID_FIELD;
	if (!is_inside(n, lba, nr))
		return NVME_LBA_RANGE;
	status = nvme_map(n, &s->cmd, nr * NVME_BLOCK, op == DRIVE_READ, s->iov,
			  &s->nr_iov);
	if (status)
		return status;
	status = prepare(s, op, lba, nr);
	s->req.fua = s->cmd.dw12 & NVME_RW_FUA;
	n->seen_fua |= s->req.fua;
	return status;
}

/* Data units are thousands of blocks; the remainder is kept. */
static enum nvme_status start_read(struct nvme *n, struct nvme_slot *s)
{
	n->reads++;
	n->blocks_read += nr_blocks(&s->cmd);
	return transfer(n, s, DRIVE_READ);
}

static enum nvme_status start_write(struct nvme *n, struct nvme_slot *s)
{
	if (drive_readonly(n->drive))
		return NVME_WRITE_PROTECTED;
	n->writes++;
	n->blocks_written += nr_blocks(&s->cmd);
	return transfer(n, s, DRIVE_WRITE);
}

static enum nvme_status start_zeroes(struct nvme *n, struct nvme_slot *s)
{
	uint64_t lba = slba(&s->cmd), nr = nr_blocks(&s->cmd);
	enum nvme_status status;

	if (drive_readonly(n->drive))
		return NVME_WRITE_PROTECTED;
	if (!is_inside(n, lba, nr))
		return NVME_LBA_RANGE;
	status = prepare(s, DRIVE_WRITE_ZEROES, lba, nr);
	s->req.fua = s->cmd.dw12 & NVME_RW_FUA;
	s->req.may_unmap = s->cmd.dw12 & NVME_ZEROES_DEAC;
	return status;
}

/* ---- Dataset Management ---- */

/* The next range that isn't empty, read afresh from the guest's memory: the
 * drive checks what may have changed there. */
static enum nvme_status next_range(struct nvme *n, struct nvme_slot *s, int res)
{
	struct range r;

	if (res)
		return status_of(s, res);
	while (s->range < s->nr_ranges) {
		if (!iov_read(s->iov, s->nr_iov, s->range++ * sizeof(r), &r,
			      sizeof(r)))
			return NVME_INTERNAL_ERROR;
		if (!is_inside(n, r.lba, r.nr_blocks))
			return NVME_LBA_RANGE;
		if (!r.nr_blocks)
			continue;
		prepare(s, DRIVE_DISCARD, r.lba, r.nr_blocks);
		s->after = next_range;
		return NVME_SUBMIT;
	}
	return NVME_OK;
}

static enum nvme_status start_dsm(struct nvme *n, struct nvme_slot *s)
{
	enum nvme_status status;
	struct range r;

	if (drive_readonly(n->drive))
		return NVME_WRITE_PROTECTED;
	s->range = 0;
	s->nr_ranges = (s->cmd.dw10 & 0xff) + 1;
	status = nvme_map(n, &s->cmd, s->nr_ranges * sizeof(r), false, s->iov,
			  &s->nr_iov);
	if (status)
		return status;
	/* None is deallocated when one of them can't be. */
	for (unsigned i = 0; i < s->nr_ranges; i++)
		if (!iov_read(s->iov, s->nr_iov, i * sizeof(r), &r,
			      sizeof(r)) ||
		    !is_inside(n, r.lba, r.nr_blocks))
			return NVME_LBA_RANGE;
	/* The other attributes are hints that help nobody here. */
	return s->cmd.dw11 & NVME_DSM_DEALLOC ? next_range(n, s, 0) : NVME_OK;
}

/* ---- the table ---- */

#define SUPPORTED 1 /* 5.14.1.5 */
#define CHANGES	  2 /* blocks */

static const struct row {
	uint8_t opcode, effects;
	bool every_ns; /* may name all namespaces */
	enum nvme_status (*start)(struct nvme *n, struct nvme_slot *s);
} rows[] = {
	{NVME_FLUSH, SUPPORTED, true, start_flush},
	{NVME_WRITE, SUPPORTED | CHANGES, false, start_write},
	{NVME_READ, SUPPORTED, false, start_read},
	{NVME_WRITE_ZEROES, SUPPORTED | CHANGES, false, start_zeroes},
	{NVME_DSM, SUPPORTED | CHANGES, false, start_dsm},
};

static const struct row *row_of(uint8_t opcode)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].opcode == opcode)
			return &rows[i];
	return NULL;
}

uint8_t nvme_io_effects(uint8_t opcode)
{
	const struct row *row = row_of(opcode);

	return row ? row->effects : 0;
}

enum nvme_status nvme_io(struct nvme *n, struct nvme_slot *s)
{
	const struct row *row = row_of(s->cmd.opcode);
	uint32_t nsid = s->cmd.nsid;

	if (!row)
		return NVME_INVALID_OPCODE;
	if (nsid != 1 && !(row->every_ns && nsid == NVME_ALL_NS))
		return NVME_INVALID_NAMESPACE;
	n->seen |= 1u << row->opcode;
	return row->start(n, s);
}
