/*
 * What a disk's driver makes use of, for people: ATA negotiates nothing, so
 * accepted is what the guest has done since power on.
 */
#include <stdio.h>
#include <string.h>

#include "core/disk_driver.h"
#include "core/hw/storage/ata.h"

static const struct use {
	uint8_t command;
	int feature; /* of SET FEATURES; -1: any */
	bool writes; /* only where the disk may be written */
	const char *text;
} uses[] = {
	{0xec, -1, false, "IDENTIFY"},
	{0xe7, -1, false, "FLUSH-CACHE"},
	{0xea, -1, false, "FLUSH-CACHE-EXT"},
	{0xef, 0x02, true, "SET-FEATURES-02"},
	{0xef, 0x82, true, "SET-FEATURES-82"},
	{0x3d, -1, true, "WRITE-DMA-FUA-EXT"},
	{0x06, -1, true, "TRIM"},
	{ATA_CMD_READ_FPDMA, -1, false, "NCQ-READ"},
	{ATA_CMD_WRITE_FPDMA, -1, true, "NCQ-WRITE"},
};
#define NR_USES (sizeof(uses) / sizeof(uses[0]))

enum { USE_IDENTIFY, USE_FLUSH, USE_FLUSH_EXT };

void ata_note_use(struct ata_dev *d, const struct ata_taskfile *tf)
{
	unsigned used = d->uses;

	for (unsigned i = 0; i < NR_USES; i++)
		if (uses[i].command == tf->command &&
		    (uses[i].feature < 0 ||
		     uses[i].feature == (tf->features & 0xff)))
			used |= 1u << i;
	/* Relaxed: a snapshot reads it without the lock. */
	__atomic_store_n(&d->uses, used, __ATOMIC_RELAXED);
}

static void add_word(char *text, size_t len, const char *word)
{
	size_t n = strlen(text);

	snprintf(text + n, len - n, "%s%s", n ? " " : "", word);
}

static bool is_offered(const struct ata_dev *d, const struct use *u)
{
	if (u->writes && drive_readonly(d->drive))
		return false;
	return !d->transport->is_parallel ||
	       (u->command != ATA_CMD_READ_FPDMA &&
		u->command != ATA_CMD_WRITE_FPDMA);
}

void ata_disk_driver(struct device *dev, struct disk_driver *out)
{
	struct ata_dev *d = (struct ata_dev *)(void *)dev;
	unsigned used = __atomic_load_n(&d->uses, __ATOMIC_RELAXED);

	out->started = used != 0;
	out->flush = true;
	out->fua = out->discard = out->wce_control = !drive_readonly(d->drive);
	for (unsigned i = 0; i < NR_USES; i++) {
		if (!is_offered(d, &uses[i]))
			continue;
		add_word(out->offered, sizeof(out->offered), uses[i].text);
		if (used & 1u << i)
			add_word(out->accepted, sizeof(out->accepted),
				 uses[i].text);
	}
	if (used && !(used & (1u << USE_FLUSH | 1u << USE_FLUSH_EXT)))
		snprintf(out->text, sizeof(out->text),
			 "the guest has not flushed since power on");
}
