/* INQUIRY and the pages of vital product data: SPC-4, 6.6 and 7.8; SBC-3, 6.6. */
#include <stdio.h>
#include <string.h>

#include "core/hw/storage/scsi_int.h"

#define TYPE_DISK  0x00
#define TYPE_CDROM 0x05
#define PAGE_MAX   64

/* Pads with spaces. */
static void put_text(uint8_t *out, const char *text, size_t len)
{
	size_t n = strnlen(text, len);

	memset(out, ' ', len);
	memcpy(out, text, n);
}

static const char *product(const struct scsi_unit *u)
{
	return u->is_cdrom ? "Binnacle CD-ROM" : "Binnacle disk";
}

static uint8_t type_of(const struct scsi_unit *u)
{
	return u->is_cdrom ? TYPE_CDROM : TYPE_DISK;
}

static enum scsi_result standard(struct scsi_unit *u, struct scsi_cmd *c)
{
	uint8_t out[36] = {0};

	out[0] = type_of(u);
	out[1] = u->is_cdrom ? 0x80 : 0; /* removable */
	out[2] = 0x06;			 /* SPC-4 */
	out[3] = 0x12;			 /* LUNs as SAM says; format 2 */
	out[4] = sizeof(out) - 5;
	out[7] = 0x02; /* queues commands */
	put_text(out + 8, "BINNACLE", 8);
	put_text(out + 16, product(u), 16);
	put_text(out + 32, "1.0", 4);
	return scsi_reply(c, out, sizeof(out), get16(c->cdb + 3));
}

/* ---- pages: each fills what follows the header, and says how much ---- */

static unsigned page_list(const struct scsi_unit *u, uint8_t *p);

static unsigned page_serial(const struct scsi_unit *u, uint8_t *p)
{
	size_t len = strnlen(u->dev.name, 20);

	memcpy(p, u->dev.name, len);
	return (unsigned)len;
}

/* 7.8.6: the vendor, then a name that is the machine's own. */
static unsigned page_identification(const struct scsi_unit *u, uint8_t *p)
{
	size_t len = strnlen(u->dev.name, 32);

	p[0] = 0x02; /* ASCII */
	p[1] = 0x01; /* of the unit; begins with a vendor */
	p[3] = (uint8_t)(8 + len);
	put_text(p + 4, "BINNACLE", 8);
	memcpy(p + 12, u->dev.name, len);
	return (unsigned)(12 + len);
}

static unsigned page_limits(const struct scsi_unit *u, uint8_t *p)
{
	uint8_t *page = p - 4;

	page[4] = 0x01; /* WRITE SAME needs a count */
	put16(page + 6, u->limits.align / u->block_len);
	put32(page + 8, SCSI_MAX_TRANSFER / u->block_len);
	put32(page + 12, u->limits.unit / u->block_len);
	if (!drive_readonly(u->drive)) {
		put32(page + 28, u->limits.unit / u->block_len);
		page[32] = 0x80; /* from block 0 on */
		put32(page + 20, SCSI_MAX_UNMAP / u->block_len);
		put32(page + 24, SCSI_MAX_UNMAPS);
		put64(page + 36, SCSI_MAX_SAME / u->block_len);
	}
	return 60;
}

static unsigned page_medium(const struct scsi_unit *u, uint8_t *p)
{
	(void)u;
	put16(p, 1); /* does not rotate */
	return 60;
}

/* What was unmapped reads as zeroes: a discard that can't promise that leaves
 * the blocks mapped. */
static unsigned page_provisioning(const struct scsi_unit *u, uint8_t *p)
{
	if (drive_readonly(u->drive))
		return 4;
	p[1] = 0x80 | 0x40 | 0x20 | 0x04; /* UNMAP, WRITE SAME, zeroes */
	p[2] = 2;			  /* thin */
	return 4;
}

static const struct page {
	uint8_t code;
	bool disk_only;
	unsigned (*fill)(const struct scsi_unit *u, uint8_t *p);
} pages[] = {
	{0x00, false, page_list},	    {0x80, false, page_serial},
	{0x83, false, page_identification}, {0xb0, true, page_limits},
	{0xb1, true, page_medium},	    {0xb2, true, page_provisioning},
};

static bool has_page(const struct scsi_unit *u, const struct page *page)
{
	return !u->is_cdrom || !page->disk_only;
}

static unsigned page_list(const struct scsi_unit *u, uint8_t *p)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (has_page(u, &pages[i]))
			p[nr++] = pages[i].code;
	return nr;
}

enum scsi_result scsi_inquiry(struct scsi_unit *u, struct scsi_cmd *c)
{
	uint8_t out[4 + PAGE_MAX] = {0};

	if (c->cdb[1] & ~1)
		return scsi_bad_field(c);
	if (!c->cdb[1])
		return c->cdb[2] ? scsi_bad_field(c) : standard(u, c);
	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		unsigned len;

		if (pages[i].code != c->cdb[2] || !has_page(u, &pages[i]))
			continue;
		out[0] = type_of(u);
		out[1] = pages[i].code;
		len = pages[i].fill(u, out + 4);
		put16(out + 2, len);
		return scsi_reply(c, out, 4 + len, get16(c->cdb + 3));
	}
	return scsi_bad_field(c);
}
