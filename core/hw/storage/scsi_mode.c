/*
 * Mode pages of a disk: SPC-4, 6.11 and 7.5; SBC-3, 6.5.
 *
 * The one thing that a guest may change is the write cache (WCE).
 */
#include <string.h>

#include "core/hw/iov.h"
#include "core/hw/storage/scsi_int.h"

#define PAGE_ERRORS  0x01
#define PAGE_CACHING 0x08
#define PAGE_CONTROL 0x0a
#define PAGE_ALL     0x3f
#define PAGE_MAX     32
#define LIST_MAX     256
#define WCE	     0x04

enum page_control { CURRENT, CHANGEABLE, DEFAULT, SAVED };

static unsigned page_errors(const struct scsi_unit *u, enum page_control pc,
			    uint8_t *p)
{
	(void)u;
	p[0] = PAGE_ERRORS;
	p[1] = 10;
	if (pc != CHANGEABLE)
		p[3] = 5; /* reads are tried again */
	return 12;
}

static unsigned page_caching(const struct scsi_unit *u, enum page_control pc,
			     uint8_t *p)
{
	bool wce = pc == DEFAULT ? u->wce_default : u->wce;

	if (pc == CHANGEABLE)
		wce = !drive_readonly(u->drive);
	p[0] = PAGE_CACHING;
	p[1] = 18;
	p[2] = wce ? WCE : 0;
	return 20;
}

static unsigned page_control(const struct scsi_unit *u, enum page_control pc,
			     uint8_t *p)
{
	(void)u;
	p[0] = PAGE_CONTROL;
	p[1] = 10;
	if (pc != CHANGEABLE)
		p[3] = 0x10; /* commands are reordered freely */
	return 12;
}

static const struct page {
	uint8_t code;
	unsigned (*fill)(const struct scsi_unit *u, enum page_control pc,
			 uint8_t *p);
} pages[] = {
	{PAGE_ERRORS, page_errors},
	{PAGE_CACHING, page_caching},
	{PAGE_CONTROL, page_control},
};

#define NR_PAGES (sizeof(pages) / sizeof(pages[0]))

/* ---- MODE SENSE ---- */

static uint8_t device_specific(const struct scsi_unit *u)
{
	/* Write protected; knows DPO and FUA. */
	return 0x10 | (drive_readonly(u->drive) ? 0x80 : 0);
}

static unsigned put_block_descriptor(const struct scsi_unit *u, uint8_t *p,
				     bool is_long)
{
	uint64_t nr = scsi_nr_blocks(u);

	if (is_long) {
		put64(p, nr);
		put32(p + 12, u->block_len);
		return 16;
	}
	put32(p, nr < UINT32_MAX ? (uint32_t)nr : UINT32_MAX);
	put24(p + 5, u->block_len);
	return 8;
}

/* 0: no such page. */
static unsigned put_pages(const struct scsi_unit *u, uint8_t *p,
			  const uint8_t *cdb)
{
	enum page_control pc = cdb[2] >> 6;
	unsigned code = cdb[2] & 0x3f, len = 0;

	if (cdb[3] && !(code == PAGE_ALL && cdb[3] == 0xff))
		return 0;
	for (unsigned i = 0; i < NR_PAGES; i++)
		if (code == PAGE_ALL || code == pages[i].code)
			len += pages[i].fill(u, pc, p + len);
	return len;
}

enum scsi_result scsi_mode_sense(struct scsi_unit *u, struct scsi_cmd *c)
{
	bool is_long = c->cdb[0] == 0x5a, no_block = c->cdb[1] & 8;
	unsigned len = is_long ? 8 : 4, block = 0, added;
	uint8_t out[8 + 16 + NR_PAGES * PAGE_MAX] = {0};

	if (c->cdb[2] >> 6 == SAVED)
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x3900);
	if (!no_block)
		block = put_block_descriptor(u, out + len,
					     is_long && (c->cdb[1] & 0x10));
	len += block;
	added = put_pages(u, out + len, c->cdb);
	if (!added)
		return scsi_bad_field(c);
	len += added;
	if (is_long) {
		put16(out, len - 2);
		out[3] = device_specific(u);
		out[4] = block == 16;
		put16(out + 6, block);
		return scsi_reply(c, out, len, get16(c->cdb + 7));
	}
	out[0] = (uint8_t)(len - 1);
	out[2] = device_specific(u);
	out[3] = (uint8_t)block;
	return scsi_reply(c, out, len, c->cdb[4]);
}

/* ---- MODE SELECT ---- */

struct list {
	uint8_t data[LIST_MAX];
	unsigned len, at;
};

static bool block_descriptor_is_ours(const struct scsi_unit *u,
				     const uint8_t *p, unsigned len)
{
	uint8_t ours[16] = {0};
	uint64_t nr = len == 16 ? get64(p) : get32(p);
	bool same_len;

	put_block_descriptor(u, ours, len == 16);
	same_len = len == 16 ? get32(p + 12) == u->block_len
			     : get24(p + 5) == u->block_len;
	/* 0 and all ones leave the number of blocks as it is. */
	return same_len && (!nr || !memcmp(p, ours, len == 16 ? 8 : 4) ||
			    nr == (len == 16 ? UINT64_MAX : UINT32_MAX));
}

/* Header and block descriptor; SCSI_SUBMIT: pages follow. */
static enum scsi_result check_header(const struct scsi_unit *u,
				     struct scsi_cmd *c, struct list *l)
{
	bool is_long = c->cdb[0] == 0x55;
	unsigned header = is_long ? 8 : 4, block;

	if (l->len < header)
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x1a00);
	block = is_long ? get16(l->data + 6) : l->data[3];
	if (block > l->len - header)
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x1a00);
	if (block && (block != (is_long && (l->data[4] & 1) ? 16 : 8) ||
		      !block_descriptor_is_ours(u, l->data + header, block)))
		return scsi_bad_parameter(c);
	l->at = header + block;
	return SCSI_SUBMIT;
}

/* One page: all but what can be changed must be as it is. */
static enum scsi_result check_page(const struct scsi_unit *u,
				   struct scsi_cmd *c, struct list *l,
				   bool *wce)
{
	uint8_t now[PAGE_MAX] = {0}, mask[PAGE_MAX] = {0};
	const uint8_t *p = l->data + l->at;
	unsigned room = l->len - l->at, len = 0;

	for (unsigned i = 0; i < NR_PAGES; i++)
		if (pages[i].code == (p[0] & 0x7f)) {
			len = pages[i].fill(u, CURRENT, now);
			pages[i].fill(u, CHANGEABLE, mask);
		}
	if (!len || (room >= 2 && p[1] != len - 2))
		return scsi_bad_parameter(c);
	if (len > room)
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x1a00);
	for (unsigned i = 2; i < len; i++)
		if ((p[i] ^ now[i]) & ~mask[i])
			return scsi_bad_parameter(c);
	if ((p[0] & 0x7f) == PAGE_CACHING)
		*wce = p[2] & WCE;
	l->at += len;
	return SCSI_SUBMIT;
}

enum scsi_result scsi_mode_select(struct scsi_unit *u, struct scsi_cmd *c)
{
	struct list l = {
		.len = c->cdb[0] == 0x55 ? get16(c->cdb + 7) : c->cdb[4],
	};
	enum scsi_result r;
	bool wce = u->wce, was = u->wce;

	if (c->cdb[1] & 1) /* save them: there is no place */
		return scsi_bad_field(c);
	if (!l.len)
		return scsi_good(c);
	if (l.len > c->out_len)
		return scsi_overrun(c);
	if (l.len > sizeof(l.data))
		return scsi_check(c, SCSI_ILLEGAL_REQUEST, 0x1a00);
	iov_read(c->out, c->nr_out, 0, l.data, l.len);
	c->moved = l.len;
	r = check_header(u, c, &l);
	while (r == SCSI_SUBMIT && l.at < l.len)
		r = check_page(u, c, &l, &wce);
	if (r != SCSI_SUBMIT)
		return r;
	u->uses |= SCSI_USES_MODE_SELECT;
	u->wce = wce;
	return was && !wce ? scsi_submit_flush(c) : scsi_good(c);
}
