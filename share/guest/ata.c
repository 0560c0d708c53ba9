#include "share/guest/ata.h"

struct ata_command ata_request(enum disk_op op, uint64_t sector, uint32_t len)
{
	static const uint8_t codes[] = {
		[DISK_READ] = ATA_READ_DMA_EXT,
		[DISK_WRITE] = ATA_WRITE_DMA_EXT,
		[DISK_FLUSH] = ATA_FLUSH_CACHE_EXT,
	};

	return (struct ata_command){
		.code = codes[op],
		.sector = sector,
		.count = (uint16_t)(len / 512),
	};
}

bool ata_identified(const uint16_t *words, struct disk_facts *facts,
		    struct ata_cache *cache)
{
	bool long_sectors = (words[106] & 0xd000) == 0x5000;

	memcpy(&facts->sectors, words + 100, sizeof(facts->sectors));
	facts->can_flush = words[83] >> 13 & 1;
	cache->can_change = words[82] >> 5 & 1;
	cache->is_on = words[85] >> 5 & 1;
	return (words[83] >> 10 & 1) && !long_sectors;
}
