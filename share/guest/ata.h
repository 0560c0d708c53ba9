/* ata: what AHCI and IDE disks have in common (ATA/ATAPI-8 ACS). */
#ifndef SHARE_GUEST_ATA_H
#define SHARE_GUEST_ATA_H
#include "share/guest/guest.h"

enum {
	ATA_READ_DMA_EXT = 0x25,
	ATA_WRITE_DMA_EXT = 0x35,
	ATA_FLUSH_CACHE_EXT = 0xea,
	ATA_IDENTIFY = 0xec,
	ATA_SET_FEATURES = 0xef
};
enum { ATA_CACHE_ON = 0x02, ATA_CACHE_OFF = 0x82 }; /* features to set */
enum { ATA_BUSY = 0x80, ATA_FAULT = 0x20, ATA_DATA = 0x08, ATA_ERROR = 0x01 };

struct ata_command {
	uint8_t code, features;
	uint64_t sector;
	uint16_t count;
};

struct ata_cache {
	bool can_change, is_on;
};

struct ata_command ata_request(enum disk_op op, uint64_t sector, uint32_t len);
/* By the 256 words of IDENTIFY DEVICE; false: no 48-bit addresses, or other
 * sectors than of 512 bytes. */
bool ata_identified(const uint16_t *words, struct disk_facts *facts,
		    struct ata_cache *cache);
#endif
