/* A CD-ROM drive's packet commands: MMC-3, SPC-3. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/hw/storage/ata.h"
#include "core/memory.h"

#define BLOCK 2048u

#define KEY_NOT_READY	   0x02
#define KEY_MEDIUM_ERROR   0x03
#define KEY_ILLEGAL	   0x05
#define KEY_UNIT_ATTENTION 0x06

#define PROFILE_CD  0x0008
#define PROFILE_DVD 0x0010
/* Longer media are reported as DVD. */
#define CD_MAX_BLOCKS (80 * 60 * 75)

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

/* ---- answers ---- */

/* The interrupt reason and byte count of a finished packet command. */
static void finish(struct ata_cmd *c)
{
	uint64_t moved = c->moved < 0xfffe ? c->moved : 0xfffe;

	c->tf.count = (uint16_t)((c->tf.count & 0xf8) | 3);
	c->tf.lba = (c->tf.lba & 0xff) | moved << 8;
}

static enum ata_result done(struct ata_cmd *c)
{
	finish(c);
	return ata_ok(c);
}

static enum ata_result check(struct ata_dev *d, struct ata_cmd *c, uint8_t key,
			     uint8_t asc, uint8_t ascq)
{
	d->sense = (struct ata_sense){key, asc, ascq};
	finish(c);
	return ata_fail(c, (uint8_t)(key << 4 | ATA_ERROR_ABRT));
}

static enum ata_result bad_field(struct ata_dev *d, struct ata_cmd *c)
{
	return check(d, c, KEY_ILLEGAL, 0x24, 0x00);
}

static enum ata_result reply(struct ata_dev *d, struct ata_cmd *c,
			     const void *buf, unsigned len, unsigned allocated)
{
	ata_reply(d, c, buf, len < allocated ? len : allocated);
	return done(c);
}

static uint32_t nr_blocks(const struct ata_dev *d)
{
	uint64_t nr = drive_len(d->drive) / BLOCK;

	return nr < UINT32_MAX ? (uint32_t)nr : UINT32_MAX;
}

/* ---- commands ---- */

static enum ata_result do_nothing(struct ata_dev *d, struct ata_cmd *c)
{
	(void)d;
	return done(c);
}

static enum ata_result do_request_sense(struct ata_dev *d, struct ata_cmd *c)
{
	uint8_t out[18] = {0x70, [7] = 10};

	if (!d->sense.key && d->unit_attention) {
		d->sense = (struct ata_sense){KEY_UNIT_ATTENTION, 0x28, 0x00};
		d->unit_attention = false;
	}
	out[2] = d->sense.key;
	out[12] = d->sense.asc;
	out[13] = d->sense.ascq;
	d->sense = (struct ata_sense){0};
	return reply(d, c, out, sizeof(out), c->packet[4]);
}

static enum ata_result do_inquiry(struct ata_dev *d, struct ata_cmd *c)
{
	uint8_t out[37] = {0x05, 0x80, 0x00, 0x21, 31};

	if (c->packet[1] & 1)
		return bad_field(d, c);
	memcpy(out + 8, "BINNACLECD-ROM          1.0 ", 28);
	return reply(d, c, out, 36, get16(c->packet + 3));
}

static enum ata_result eject_done(struct ata_dev *d, struct ata_cmd *c, int res)
{
	if (res)
		return check(d, c, KEY_NOT_READY, 0x53, 0x00);
	/* The guest asked for it: no news to it. */
	d->medium_changes = drive_medium_changes(d->drive);
	return done(c);
}

static enum ata_result do_start_stop(struct ata_dev *d, struct ata_cmd *c)
{
	bool load_eject = c->packet[4] & 2, start = c->packet[4] & 1;

	if (!load_eject || start)
		return done(c);
	if (d->is_locked)
		return check(d, c, KEY_ILLEGAL, 0x53, 0x02);
	c->next = eject_done;
	return ATA_EJECT;
}

static enum ata_result do_prevent(struct ata_dev *d, struct ata_cmd *c)
{
	d->is_locked = c->packet[4] & 1;
	return done(c);
}

static enum ata_result do_read_capacity(struct ata_dev *d, struct ata_cmd *c)
{
	uint8_t out[8];
	uint32_t nr = nr_blocks(d);

	put32(out, nr ? nr - 1 : 0);
	put32(out + 4, BLOCK);
	return reply(d, c, out, sizeof(out), sizeof(out));
}

static enum ata_result read_done(struct ata_dev *d, struct ata_cmd *c, int res)
{
	if (res)
		return check(d, c, KEY_MEDIUM_ERROR, 0x11, 0x00);
	c->moved = c->req.len;
	return done(c);
}

static enum ata_result do_read(struct ata_dev *d, struct ata_cmd *c)
{
	uint32_t lba = get32(c->packet + 2), last = nr_blocks(d);
	uint32_t nr = c->packet[0] == 0xa8 ? get32(c->packet + 6)
					   : get16(c->packet + 7);

	if (lba > last || nr > last - lba)
		return check(d, c, KEY_ILLEGAL, 0x21, 0x00);
	if (!nr)
		return done(c);
	if (!ata_prepare(c, DRIVE_READ, (uint64_t)lba * BLOCK,
			 (uint64_t)nr * BLOCK))
		return bad_field(d, c);
	c->next = read_done;
	return ATA_SUBMIT;
}

static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
	if (!msf) {
		put32(p, lba);
		return;
	}
	lba += 150;
	p[0] = 0;
	p[1] = (uint8_t)(lba / 75 / 60);
	p[2] = (uint8_t)(lba / 75 % 60);
	p[3] = (uint8_t)(lba % 75);
}

static enum ata_result do_read_toc(struct ata_dev *d, struct ata_cmd *c)
{
	unsigned format = c->packet[2] & 0xf, track = c->packet[6], len = 4;
	bool msf = c->packet[1] & 2;
	uint8_t out[20] = {0};

	if (!format)
		format = c->packet[9] >> 6;
	out[2] = out[3] = 1;
	if (format == 1) {
		out[5] = 0x14; /* data track, copying permitted */
		out[6] = 1;
		put_address(out + 8, 0, msf);
		len = 12;
	} else if (format || (track > 1 && track != 0xaa)) {
		return bad_field(d, c);
	} else {
		if (track <= 1) {
			out[len + 1] = 0x14;
			out[len + 2] = 1;
			put_address(out + len + 4, 0, msf);
			len += 8;
		}
		out[len + 1] = 0x14;
		out[len + 2] = 0xaa; /* lead-out */
		put_address(out + len + 4, nr_blocks(d), msf);
		len += 8;
	}
	put16(out, len - 2);
	return reply(d, c, out, len, get16(c->packet + 7));
}

static uint16_t profile(const struct ata_dev *d)
{
	if (!drive_has_medium(d->drive))
		return 0;
	return nr_blocks(d) > CD_MAX_BLOCKS ? PROFILE_DVD : PROFILE_CD;
}

static enum ata_result do_get_configuration(struct ata_dev *d,
					    struct ata_cmd *c)
{
	uint16_t now = profile(d), first = get16(c->packet + 2);
	bool only = (c->packet[1] & 3) == 2;
	uint8_t list[12] = {0, 0, 0x03, 8};
	uint8_t core[12] = {0, 1, 0x0b, 8, 0, 0, 0, 8, 1};
	uint8_t removable[8] = {0, 3, 0x03, 4, 0x29};
	uint8_t out[8 + 32] = {0};
	unsigned len = 8;

	put16(list + 4, PROFILE_DVD);
	list[6] = now == PROFILE_DVD;
	put16(list + 8, PROFILE_CD);
	list[10] = now == PROFILE_CD;
	if (first == 0) {
		memcpy(out + len, list, sizeof(list));
		len += sizeof(list);
	}
	if (only ? first == 1 : first <= 1) {
		memcpy(out + len, core, sizeof(core));
		len += sizeof(core);
	}
	if (only ? first == 3 : first <= 3) {
		memcpy(out + len, removable, sizeof(removable));
		len += sizeof(removable);
	}
	put32(out, len - 4);
	put16(out + 6, now);
	return reply(d, c, out, len, get16(c->packet + 7));
}

static enum ata_result do_get_event(struct ata_dev *d, struct ata_cmd *c)
{
	uint8_t out[8] = {0, 2, 0x80, 0x10};

	if (!(c->packet[1] & 1)) /* only polled */
		return bad_field(d, c);
	if (c->packet[4] & 0x10) {
		out[1] = 6;
		out[2] = 4; /* media class */
		if (d->event_new_medium)
			out[4] = drive_has_medium(d->drive) ? 2 : 3;
		out[5] = drive_has_medium(d->drive) ? 2 : 0;
		d->event_new_medium = false;
	}
	return reply(d, c, out, out[1] + 2u, get16(c->packet + 7));
}

static enum ata_result do_disc_information(struct ata_dev *d, struct ata_cmd *c)
{
	uint8_t out[34] = {0, 32, 0x0e, 1, 1, 1, 1, 0x20};

	return reply(d, c, out, sizeof(out), get16(c->packet + 7));
}

static unsigned page_error_recovery(uint8_t *p)
{
	static const uint8_t page[8] = {0x01, 6, 0, 5};

	memcpy(p, page, sizeof(page));
	return sizeof(page);
}

static unsigned page_capabilities(const struct ata_dev *d, uint8_t *p)
{
	memset(p, 0, 22);
	p[0] = 0x2a;
	p[1] = 20;
	p[2] = 0x0b; /* reads CD-R, CD-RW, DVD-ROM */
	p[4] = 0x70; /* multi-session, mode 2 */
	p[6] = (uint8_t)(0x29 | (d->is_locked ? 2 : 0)); /* a tray */
	put16(p + 8, 8467); /* 48 times 176.4 kB/s */
	put16(p + 12, 512);
	put16(p + 14, 8467);
	return 22;
}

static enum ata_result do_mode_sense(struct ata_dev *d, struct ata_cmd *c)
{
	uint8_t out[8 + 8 + 22] = {0};
	unsigned page = c->packet[2] & 0x3f, len = 8;

	if (c->packet[2] >> 6 == 3) /* saved values */
		return check(d, c, KEY_ILLEGAL, 0x39, 0x00);
	if (page == 0x01 || page == 0x3f)
		len += page_error_recovery(out + len);
	if (page == 0x2a || page == 0x3f)
		len += page_capabilities(d, out + len);
	if (len == 8)
		return bad_field(d, c);
	put16(out, len - 2);
	out[2] = drive_has_medium(d->drive) ? 0x01 : 0x70;
	return reply(d, c, out, len, get16(c->packet + 7));
}

/* ---- dispatch ---- */

struct packet_row {
	uint8_t code;
	bool needs_medium;
	bool any_time; /* also with a unit attention pending */
	enum ata_result (*start)(struct ata_dev *d, struct ata_cmd *c);
};

static const struct packet_row packet_rows[] = {
	{0x00, true, false, do_nothing}, /* TEST UNIT READY */
	{0x03, false, true, do_request_sense},
	{0x12, false, true, do_inquiry},
	{0x1b, false, false, do_start_stop},
	{0x1e, false, false, do_prevent},
	{0x25, true, false, do_read_capacity},
	{0x28, true, false, do_read},
	{0x2b, true, false, do_nothing},  /* SEEK */
	{0x2f, true, false, do_nothing},  /* VERIFY */
	{0x35, false, false, do_nothing}, /* SYNCHRONIZE CACHE */
	{0x43, true, false, do_read_toc},
	{0x46, false, true, do_get_configuration},
	{0x4a, false, true, do_get_event},
	{0x51, true, false, do_disc_information},
	{0x5a, false, false, do_mode_sense},
	{0xa8, true, false, do_read},
	{0xbb, false, false, do_nothing}, /* SET CD SPEED */
};

static void look_for_medium(struct ata_dev *d)
{
	unsigned changes = drive_medium_changes(d->drive);

	if (changes == d->medium_changes)
		return;
	d->medium_changes = changes;
	d->unit_attention = true;
	d->event_new_medium = true;
}

enum ata_result atapi_start(struct ata_dev *d, struct ata_cmd *c)
{
	const struct packet_row *row = NULL;

	for (size_t i = 0; i < sizeof(packet_rows) / sizeof(*row); i++)
		if (packet_rows[i].code == c->packet[0])
			row = &packet_rows[i];
	look_for_medium(d);
	if (!row)
		return check(d, c, KEY_ILLEGAL, 0x20, 0x00);
	if (d->unit_attention && !row->any_time) {
		d->unit_attention = false;
		return check(d, c, KEY_UNIT_ATTENTION, 0x28, 0x00);
	}
	if (row->needs_medium && !drive_has_medium(d->drive))
		return check(d, c, KEY_NOT_READY, 0x3a, 0x00);
	if (c->packet[0] != 0x03)
		d->sense = (struct ata_sense){0};
	return row->start(d, c);
}
