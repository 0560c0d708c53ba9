/* IDENTIFY DEVICE and IDENTIFY PACKET DEVICE: ACS-2, 7.16 and 7.17. */
#include <string.h>

#include "core/hw/storage/ata.h"

#define MODEL_DISK  "Binnacle disk"
#define MODEL_CDROM "Binnacle CD-ROM"
#define REVISION    "1.0"

static void put_word(uint8_t *out, unsigned word, unsigned value)
{
	out[2 * word] = (uint8_t)value;
	out[2 * word + 1] = (uint8_t)(value >> 8);
}

/* ASCII in big-endian words, padded with spaces. */
static void put_text(uint8_t *out, unsigned word, const char *text, size_t len)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < len; i++)
		out[2 * word + (i ^ 1)] = i < n ? (uint8_t)text[i] : ' ';
}

static void put_names(const struct ata_dev *d, uint8_t *out)
{
	put_text(out, 10, d->dev.name, 20);
	put_text(out, 23, REVISION, 8);
	put_text(out, 27, d->is_cdrom ? MODEL_CDROM : MODEL_DISK, 40);
}

/* The modes that there are, and the bit of the one that was set. */
static void put_modes(const struct ata_dev *d, uint8_t *out)
{
	unsigned bit = 0x100u << (d->mode & 7);
	bool ultra = d->mode & 0x40;

	put_word(out, 53, 0x0007); /* words 54-58, 64-70 and 88 are valid */
	put_word(out, 63, 0x0007 | (ultra ? 0 : bit)); /* multiword DMA 0-2 */
	put_word(out, 64, 0x0003);		       /* PIO 3, 4 */
	for (unsigned i = 65; i <= 68; i++)
		put_word(out, i, 120);
	put_word(out, 88, 0x003f | (ultra ? bit : 0)); /* Ultra DMA 0-5 */
}

static void put_transport(const struct ata_dev *d, uint8_t *out)
{
	put_word(out, 80, 0x01f0); /* ATA/ATAPI-4 to ACS */
	if (d->transport->is_parallel) {
		/* A cable of 80 wires; which device this is. */
		put_word(out, 93, d->unit & 1 ? 0x6b00 : 0x600b);
		return;
	}
	put_word(out, 76, d->is_cdrom ? 0x0006 : 0x0106); /* 3 Gb/s, NCQ */
	put_word(out, 222, 0x101f);
	if (d->is_cdrom)
		return;
	put_word(out, 75, 31);	   /* queue depth 32 */
	put_word(out, 78, 0x0040); /* settings survive COMRESET */
	put_word(out, 79, 0x0040);
}

static void put_capacity(const struct ata_dev *d, uint8_t *out)
{
	uint64_t nr = drive_len(d->drive) / d->block_len;
	uint32_t nr28 = nr < 0x0fffffff ? (uint32_t)nr : 0x0fffffff;
	unsigned cylinders = nr28 / (16 * 63);

	put_word(out, 1, cylinders < 16383 ? cylinders : 16383);
	put_word(out, 3, 16);
	put_word(out, 6, 63);
	put_word(out, 60, nr28 & 0xffff);
	put_word(out, 61, nr28 >> 16);
	cylinders = nr28 / (d->heads * d->sectors);
	cylinders = cylinders < 65535 ? cylinders : 65535;
	put_word(out, 54, cylinders);
	put_word(out, 55, d->heads);
	put_word(out, 56, d->sectors);
	put_word(out, 57, (cylinders * d->heads * d->sectors) & 0xffff);
	put_word(out, 58, (cylinders * d->heads * d->sectors) >> 16);
	for (unsigned i = 0; i < 4; i++)
		put_word(out, 100 + i, (nr >> (16 * i)) & 0xffff);
	put_word(out, 106, 0x4000);
}

static void identify_disk(const struct ata_dev *d, uint8_t *out)
{
	unsigned on = (d->wce_now ? 0x20 : 0) | (d->look_ahead ? 0x40 : 0) |
		      (d->smart ? 0x01 : 0);

	put_word(out, 0, 0x0040);
	put_capacity(d, out);
	put_word(out, 47,
		 0x8000 | ATA_MAX_MULTIPLE); /* sectors of READ MULTIPLE */
	put_word(out, 49, 0x0f00);	     /* DMA, LBA, IORDY */
	put_word(out, 50, 0x4000);
	put_word(out, 59, d->multiple ? 0x0100u | d->multiple : 0);
	/* NOP, look-ahead, write cache, power management, SMART */
	put_word(out, 82, 0x4069);
	put_word(out, 83, 0x7400); /* FLUSH (EXT), 48 bits */
	put_word(out, 84, 0x4060); /* WRITE FUA, general purpose logs */
	put_word(out, 85, 0x4008 | on);
	put_word(out, 86, 0x3400);
	put_word(out, 87, 0x4060);
	put_word(out, 105, ATA_MAX_TRIM); /* blocks of TRIM ranges */
	put_word(out, 169, drive_readonly(d->drive) ? 0 : 1);
	put_word(out, 217, 1); /* does not rotate */
}

static void identify_cdrom(uint8_t *out)
{
	put_word(out, 0, 0x85c0);  /* CD-ROM, removable, 12-byte packets */
	put_word(out, 49, 0x0f00); /* DMA, LBA, IORDY */
	put_word(out, 50, 0x4000);
	put_word(out, 82, 0x4218); /* NOP, DEVICE RESET, PACKET, power */
	put_word(out, 83, 0x4000);
	put_word(out, 84, 0x4000);
	put_word(out, 85, 0x4218);
	put_word(out, 87, 0x4000);
}

void ata_identify(const struct ata_dev *d, uint8_t *out)
{
	memset(out, 0, 512);
	put_names(d, out);
	put_modes(d, out);
	put_transport(d, out);
	if (d->is_cdrom)
		identify_cdrom(out);
	else
		identify_disk(d, out);
	out[510] = 0xa5;
	ata_checksum(out);
}
