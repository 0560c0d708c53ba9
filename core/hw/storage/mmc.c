/* A CD-ROM drive's commands: MMC-3, SPC-3. */
#include "core/hw/storage/mmc.h"

#include <stddef.h>
#include <string.h>

#include "core/blk/drive.h"
#include "core/migration/state.h"

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

enum mmc_result mmc_check(struct mmc *m, uint8_t key, uint8_t asc, uint8_t ascq)
{
	m->sense = (struct mmc_sense){key, asc, ascq};
	return MMC_CHECK;
}

static enum mmc_result bad_field(struct mmc *m)
{
	return mmc_check(m, KEY_ILLEGAL, 0x24, 0x00);
}

static enum mmc_result reply(struct mmc_command *c, const void *buf,
			     unsigned len, unsigned allocated)
{
	c->len = len < allocated ? len : allocated;
	memcpy(c->data, buf, c->len);
	return MMC_DATA;
}

static uint32_t nr_blocks(const struct mmc *m)
{
	uint64_t nr = drive_len(m->drive) / MMC_BLOCK;

	return nr < UINT32_MAX ? (uint32_t)nr : UINT32_MAX;
}

/* ---- commands ---- */

static enum mmc_result do_nothing(struct mmc *m, struct mmc_command *c)
{
	(void)m;
	(void)c;
	return MMC_GOOD;
}

static enum mmc_result do_request_sense(struct mmc *m, struct mmc_command *c)
{
	uint8_t out[18] = {0x70, [7] = 10};

	if (!m->sense.key && m->unit_attention) {
		m->sense = (struct mmc_sense){KEY_UNIT_ATTENTION, 0x28, 0x00};
		m->unit_attention = false;
	}
	out[2] = m->sense.key;
	out[12] = m->sense.asc;
	out[13] = m->sense.ascq;
	m->sense = (struct mmc_sense){0};
	return reply(c, out, sizeof(out), c->cdb[4]);
}

static enum mmc_result do_inquiry(struct mmc *m, struct mmc_command *c)
{
	uint8_t out[37] = {0x05, 0x80, 0x00, 0x21, 31};

	if (c->cdb[1] & 1)
		return bad_field(m);
	memcpy(out + 8, "BINNACLECD-ROM          1.0 ", 28);
	return reply(c, out, 36, get16(c->cdb + 3));
}

enum mmc_result mmc_eject_done(struct mmc *m, int res)
{
	if (res)
		return mmc_check(m, KEY_NOT_READY, 0x53, 0x00);
	/* The guest asked for it: no news to it. */
	m->medium_changes = drive_medium_changes(m->drive);
	return MMC_GOOD;
}

static enum mmc_result do_start_stop(struct mmc *m, struct mmc_command *c)
{
	bool load_eject = c->cdb[4] & 2, start = c->cdb[4] & 1;

	if (!load_eject || start)
		return MMC_GOOD;
	if (m->is_locked)
		return mmc_check(m, KEY_ILLEGAL, 0x53, 0x02);
	return MMC_EJECT;
}

static enum mmc_result do_prevent(struct mmc *m, struct mmc_command *c)
{
	m->is_locked = c->cdb[4] & 1;
	return MMC_GOOD;
}

static enum mmc_result do_read_capacity(struct mmc *m, struct mmc_command *c)
{
	uint8_t out[8];
	uint32_t nr = nr_blocks(m);

	put32(out, nr ? nr - 1 : 0);
	put32(out + 4, MMC_BLOCK);
	return reply(c, out, sizeof(out), sizeof(out));
}

enum mmc_result mmc_read_done(struct mmc *m, int res)
{
	return res ? mmc_check(m, KEY_MEDIUM_ERROR, 0x11, 0x00) : MMC_GOOD;
}

static enum mmc_result do_read(struct mmc *m, struct mmc_command *c)
{
	uint32_t lba = get32(c->cdb + 2), last = nr_blocks(m);
	uint32_t nr = c->cdb[0] == 0xa8 ? get32(c->cdb + 6) : get16(c->cdb + 7);

	if (lba > last || nr > last - lba)
		return mmc_check(m, KEY_ILLEGAL, 0x21, 0x00);
	if (!nr)
		return MMC_GOOD;
	c->off = (uint64_t)lba * MMC_BLOCK;
	c->bytes = (uint64_t)nr * MMC_BLOCK;
	return MMC_READ;
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

static enum mmc_result do_read_toc(struct mmc *m, struct mmc_command *c)
{
	unsigned format = c->cdb[2] & 0xf, track = c->cdb[6], len = 4;
	bool msf = c->cdb[1] & 2;
	uint8_t out[20] = {0};

	if (!format)
		format = c->cdb[9] >> 6;
	out[2] = out[3] = 1;
	if (format == 1) {
		out[5] = 0x14; /* data track, copying permitted */
		out[6] = 1;
		put_address(out + 8, 0, msf);
		len = 12;
	} else if (format || (track > 1 && track != 0xaa)) {
		return bad_field(m);
	} else {
		if (track <= 1) {
			out[len + 1] = 0x14;
			out[len + 2] = 1;
			put_address(out + len + 4, 0, msf);
			len += 8;
		}
		out[len + 1] = 0x14;
		out[len + 2] = 0xaa; /* lead-out */
		put_address(out + len + 4, nr_blocks(m), msf);
		len += 8;
	}
	put16(out, len - 2);
	return reply(c, out, len, get16(c->cdb + 7));
}

static uint16_t profile(const struct mmc *m)
{
	if (!drive_has_medium(m->drive))
		return 0;
	return nr_blocks(m) > CD_MAX_BLOCKS ? PROFILE_DVD : PROFILE_CD;
}

static enum mmc_result do_get_configuration(struct mmc *m,
					    struct mmc_command *c)
{
	uint16_t now = profile(m), first = get16(c->cdb + 2);
	bool only = (c->cdb[1] & 3) == 2;
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
	return reply(c, out, len, get16(c->cdb + 7));
}

static enum mmc_result do_get_event(struct mmc *m, struct mmc_command *c)
{
	uint8_t out[8] = {0, 2, 0x80, 0x10};

	if (!(c->cdb[1] & 1)) /* only polled */
		return bad_field(m);
	if (c->cdb[4] & 0x10) {
		out[1] = 6;
		out[2] = 4; /* media class */
		if (m->event_new_medium)
			out[4] = drive_has_medium(m->drive) ? 2 : 3;
		out[5] = drive_has_medium(m->drive) ? 2 : 0;
		m->event_new_medium = false;
	}
	return reply(c, out, out[1] + 2u, get16(c->cdb + 7));
}

static enum mmc_result do_disc_information(struct mmc *m, struct mmc_command *c)
{
	uint8_t out[34] = {0, 32, 0x0e, 1, 1, 1, 1, 0x20};

	(void)m;
	return reply(c, out, sizeof(out), get16(c->cdb + 7));
}

static unsigned page_error_recovery(uint8_t *p)
{
	static const uint8_t page[8] = {0x01, 6, 0, 5};

	memcpy(p, page, sizeof(page));
	return sizeof(page);
}

static unsigned page_capabilities(const struct mmc *m, uint8_t *p)
{
	memset(p, 0, 22);
	p[0] = 0x2a;
	p[1] = 20;
	p[2] = 0x0b; /* reads CD-R, CD-RW, DVD-ROM */
	p[4] = 0x70; /* multi-session, mode 2 */
	p[6] = (uint8_t)(0x29 | (m->is_locked ? 2 : 0)); /* a tray */
	put16(p + 8, 8467); /* 48 times 176.4 kB/s */
	put16(p + 12, 512);
	put16(p + 14, 8467);
	return 22;
}

static enum mmc_result do_mode_sense(struct mmc *m, struct mmc_command *c)
{
	uint8_t out[8 + 8 + 22] = {0};
	unsigned page = c->cdb[2] & 0x3f, len = 8;

	if (c->cdb[2] >> 6 == 3) /* saved values */
		return mmc_check(m, KEY_ILLEGAL, 0x39, 0x00);
	if (page == 0x01 || page == 0x3f)
		len += page_error_recovery(out + len);
	if (page == 0x2a || page == 0x3f)
		len += page_capabilities(m, out + len);
	if (len == 8)
		return bad_field(m);
	put16(out, len - 2);
	out[2] = drive_has_medium(m->drive) ? 0x01 : 0x70;
	return reply(c, out, len, get16(c->cdb + 7));
}

/* ---- dispatch ---- */

struct mmc_row {
	uint8_t code;
	bool needs_medium;
	bool any_time; /* also with a unit attention pending */
	bool has_data;
	enum mmc_result (*start)(struct mmc *m, struct mmc_command *c);
};

static const struct mmc_row mmc_rows[] = {
	{.code = 0x00,
	 .start = do_nothing,
	 .needs_medium = true}, /* TEST UNIT READY */
	{.code = 0x03,
	 .start = do_request_sense,
	 .any_time = true,
	 .has_data = true},
	{.code = 0x12, .start = do_inquiry, .any_time = true, .has_data = true},
	{.code = 0x1b, .start = do_start_stop},
	{.code = 0x1e, .start = do_prevent},
	{.code = 0x25,
	 .start = do_read_capacity,
	 .needs_medium = true,
	 .has_data = true},
	{.code = 0x28,
	 .start = do_read,
	 .needs_medium = true,
	 .has_data = true},
	{.code = 0x2b, .start = do_nothing, .needs_medium = true}, /* SEEK */
	{.code = 0x2f, .start = do_nothing, .needs_medium = true}, /* VERIFY */
	{.code = 0x35, .start = do_nothing}, /* SYNCHRONIZE CACHE */
	{.code = 0x43,
	 .start = do_read_toc,
	 .needs_medium = true,
	 .has_data = true},
	{.code = 0x46,
	 .start = do_get_configuration,
	 .any_time = true,
	 .has_data = true},
	{.code = 0x4a,
	 .start = do_get_event,
	 .any_time = true,
	 .has_data = true},
	{.code = 0x51,
	 .start = do_disc_information,
	 .needs_medium = true,
	 .has_data = true},
	{.code = 0x5a, .start = do_mode_sense, .has_data = true},
	{.code = 0xa8,
	 .start = do_read,
	 .needs_medium = true,
	 .has_data = true},
	{.code = 0xbb, .start = do_nothing}, /* SET CD SPEED */
};

static const struct mmc_row *find_row(uint8_t code)
{
	for (size_t i = 0; i < sizeof(mmc_rows) / sizeof(mmc_rows[0]); i++)
		if (mmc_rows[i].code == code)
			return &mmc_rows[i];
	return NULL;
}

bool mmc_has_data(uint8_t code)
{
	const struct mmc_row *row = find_row(code);

	return row && row->has_data;
}

static void look_for_medium(struct mmc *m)
{
	unsigned changes = drive_medium_changes(m->drive);

	if (changes == m->medium_changes)
		return;
	m->medium_changes = changes;
	m->unit_attention = true;
	m->event_new_medium = true;
}

enum mmc_result mmc_start(struct mmc *m, struct mmc_command *c)
{
	const struct mmc_row *row = find_row(c->cdb[0]);

	c->len = 0;
	look_for_medium(m);
	if (!row)
		return mmc_check(m, KEY_ILLEGAL, 0x20, 0x00);
	if (m->unit_attention && !row->any_time) {
		m->unit_attention = false;
		return mmc_check(m, KEY_UNIT_ATTENTION, 0x28, 0x00);
	}
	if (row->needs_medium && !drive_has_medium(m->drive))
		return mmc_check(m, KEY_NOT_READY, 0x3a, 0x00);
	if (c->cdb[0] != 0x03)
		m->sense = (struct mmc_sense){0};
	return row->start(m, c);
}

/* ---- life ---- */

void mmc_init(struct mmc *m, struct drive *drive)
{
	*m = (struct mmc){.drive = drive};
	m->medium_changes = drive_medium_changes(drive);
}

void mmc_reset(struct mmc *m)
{
	m->is_locked = false;
	m->sense = (struct mmc_sense){0};
}

static const struct state_field mmc_fields[] = {
	STATE_FIELD(struct mmc, sense.key),
	STATE_FIELD(struct mmc, sense.asc),
	STATE_FIELD(struct mmc, sense.ascq),
	STATE_FIELD(struct mmc, is_locked),
	STATE_FIELD(struct mmc, unit_attention),
	STATE_FIELD(struct mmc, event_new_medium),
};

const struct state_desc mmc_state = {
	.name = "mmc",
	.version = 1,
	.oldest = 1,
	.fields = mmc_fields,
	.nr_fields = sizeof(mmc_fields) / sizeof(mmc_fields[0]),
};
