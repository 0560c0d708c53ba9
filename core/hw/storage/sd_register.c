/* The card's registers that tell what it is: chapter 5; CMD6: 4.3.10. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/storage/sd_card.h"

#define CAPACITY_STEP	    (512u << 10)
#define CAPACITY_MAX	    (1ull << 41) /* C_SIZE has 22 bits */
#define CSD_FLAGS	    14
#define CSD_PERM_PROTECT    0x20u
#define CSD_TEMP_PROTECT    0x10u
#define SWITCH_SET	    (1u << 31)
#define SWITCH_NO_CHANGE    0xfu
#define SWITCH_NOT_POSSIBLE 0xfu
#define SWITCH_NR_GROUPS    6

static uint8_t crc7(const uint8_t *data, unsigned len)
{
	uint8_t crc = 0;

	for (unsigned i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			bool one = ((data[i] << bit) ^ crc) & 0x80;

			crc = (uint8_t)(crc << 1);
			if (one)
				crc ^= 0x09 << 1;
		}
	return crc | 1;
}

static void fill_csd(struct sd_card *c, uint64_t len, bool readonly)
{
	uint32_t size = (uint32_t)(len / CAPACITY_STEP - 1);
	const uint8_t csd[SD_CSD_LEN] = {
		0x40, /* version 2 */
		0x0e,
		0x00,
		0x32, /* 25 MHz */
		0x53, /* classes 0, 2, 4, 5, 8, 10 */
		0x59, /* and blocks of 512 bytes */
		0x00,
		(uint8_t)(size >> 16),
		(uint8_t)(size >> 8),
		(uint8_t)size,
		0x7f, /* erases by block */
		0x80,
		0x0a,
		0x40,
		readonly ? CSD_PERM_PROTECT : 0,
	};

	memcpy(c->csd, csd, sizeof(csd));
}

static void fill_cid(struct sd_card *c)
{
	static const char name[] = "\x42"
				   "BNBINNA\x10";
	uint32_t serial = 5381;

	/* Cards of one machine have different numbers. */
	for (const char *s = c->dev.name; *s; s++)
		serial = serial * 33 + (uint8_t)*s;
	memcpy(c->cid, name, 9);
	for (unsigned i = 0; i < 4; i++)
		c->cid[9 + i] = (uint8_t)(serial >> (24 - 8 * i));
	c->cid[13] = 0x01; /* made in January 2024 */
	c->cid[14] = 0x81;
	c->cid[15] = crc7(c->cid, 15);
}

int sd_identify(struct sd_card *c, uint64_t len, bool readonly, struct error *e)
{
	uint64_t fits = (len / CAPACITY_STEP + 1) * CAPACITY_STEP;

	if (fits > CAPACITY_MAX)
		fits = CAPACITY_MAX;
	if (!len || len % CAPACITY_STEP || len > CAPACITY_MAX)
		return error_set(e, -EINVAL,
				 "a disk of %" PRIu64
				 " bytes can't be an SD card: those have a "
				 "multiple of 512 KiB, 2 TiB at most; resize "
				 "the image to %" PRIu64 " bytes",
				 len, fits);
	fill_csd(c, len, readonly);
	fill_cid(c);
	return 0;
}

bool sd_is_protected(const struct sd_card *c)
{
	return c->is_protected || (c->csd[CSD_FLAGS] & CSD_PERM_PROTECT);
}

static void csd_with(const struct sd_card *c, bool is_protected, uint8_t *out)
{
	memcpy(out, c->csd, SD_CSD_LEN);
	if (is_protected)
		out[CSD_FLAGS] |= CSD_TEMP_PROTECT;
	out[15] = crc7(out, 15);
}

void sd_read_csd(const struct sd_card *c, uint8_t *out)
{
	csd_with(c, c->is_protected, out);
}

/* Only the temporary protection is the guest's to change. */
bool sd_program_csd(struct sd_card *c)
{
	bool is_protected = c->reg[CSD_FLAGS] & CSD_TEMP_PROTECT;
	uint8_t csd[SD_CSD_LEN];

	csd_with(c, is_protected, csd);
	if (memcmp(csd, c->reg, sizeof(csd)) != 0)
		return false;
	c->is_protected = is_protected;
	return true;
}

void sd_fill_scr(struct sd_card *c)
{
	/* Version 3.0x, erased data read as zeroes, 1 and 4 lines, CMD23. */
	static const uint8_t scr[8] = {0x02, 0x05, 0x80, 0x02};

	memset(c->reg, 0, sizeof(c->reg));
	memcpy(c->reg, scr, sizeof(scr));
}

void sd_fill_ssr(struct sd_card *c)
{
	memset(c->reg, 0, sizeof(c->reg));
	c->reg[0] = c->wide ? 0x80 : 0;
	c->reg[8] = 0x04;  /* class 10 */
	c->reg[10] = 0x90; /* allocation units of 4 MiB */
	c->reg[12] = 1;	   /* of them erased in a second */
	c->reg[13] = 1 << 2;
}

/* Group 1 has high speed as function 1; all others only their default. */
void sd_switch(struct sd_card *c, uint32_t arg)
{
	uint8_t chosen[SWITCH_NR_GROUPS];
	bool possible = true;

	memset(c->reg, 0, sizeof(c->reg));
	for (unsigned i = 0; i < SWITCH_NR_GROUPS; i++) {
		uint8_t want = (arg >> (4 * i)) & 0xf;
		uint8_t *support = &c->reg[12 - 2 * i];

		support[0] = 0x80;
		support[1] = i ? 0x01 : 0x03;
		chosen[i] = i == 0 && c->high_speed;
		if (want == SWITCH_NO_CHANGE)
			continue;
		if (want > (i ? 0 : 1)) {
			possible = false;
			want = SWITCH_NOT_POSSIBLE;
		}
		chosen[i] = want;
	}
	c->reg[1] = possible ? 100 : 0; /* mA; 0 says that nothing changes */
	for (unsigned i = 0; i < SWITCH_NR_GROUPS; i += 2)
		c->reg[16 - i / 2] = (uint8_t)(chosen[i + 1] << 4 | chosen[i]);
	if ((arg & SWITCH_SET) && possible)
		c->high_speed = chosen[0];
}
