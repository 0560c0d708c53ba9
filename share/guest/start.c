/* From the loader's start info to guest_main(): copies what it points to. */
#include "share/guest/guest.h"

#define START_MAGIC 0x336ec578

struct start_info { /* Xen's PVH boot ABI */
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, command_line, rsdp;
	uint64_t memory_map; /* from version 1 on */
	uint32_t nr_memory_map, reserved;
};

void start(const struct start_info *info);

void start(const struct start_info *info)
{
	const struct memory_entry *map = NULL;
	unsigned nr = 0;

	serial_init();
	if (info->magic != START_MAGIC) {
		print("panic start info at %lx has no magic", (uint64_t)info);
		power_exit(1);
	}
	if (info->version >= 1) {
		map = (const void *)info->memory_map;
		nr = info->nr_memory_map;
	}
	option_init(info->command_line ? (const char *)info->command_line : "");
	memory_init(map, nr);
	acpi_init(info->rsdp);
	guest_main();
}
