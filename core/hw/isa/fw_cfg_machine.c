/* What SeaBIOS wants to know of the machine. */
#include <endian.h>
#include <stdbool.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/isa/fw_cfg.h"

#define GIB_4	 0x100000000ull
#define E820_RAM 1

struct e820_entry {
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));

static int add_e820(struct machine *m, struct error *e)
{
	struct e820_entry map[2] = {
		{0, htole64(m->ram_below_4g), htole32(E820_RAM)},
		{htole64(GIB_4), htole64(m->ram_above_4g), htole32(E820_RAM)},
	};

	return fw_cfg_add_file(m->fw_cfg, "etc/e820", map,
			       (m->ram_above_4g ? 2 : 1) * sizeof(map[0]), e);
}

/* One byte a sleep state S0-S5: bit 7 says that it exists. */
static int add_states(struct machine *m, struct error *e)
{
	static const uint8_t states[6] = {0x80, 0, 0, 0, 0, 0x80};

	return fw_cfg_add_file(m->fw_cfg, "etc/system-states", states,
			       sizeof(states), e);
}

static int add_boot_menu(struct machine *m, unsigned ms, struct error *e)
{
	uint32_t wait = htole32(ms);
	int r = fw_cfg_add_u16(m->fw_cfg, FW_CFG_BOOT_MENU, ms != 0, e);

	if (r || !ms)
		return r;
	return fw_cfg_add_file(m->fw_cfg, "etc/boot-menu-wait", &wait,
			       sizeof(wait), e);
}

int fw_cfg_add_machine(struct machine *m, unsigned boot_menu_ms,
		       struct error *e)
{
	struct fw_cfg *f = m->fw_cfg;
	int r;

	r = fw_cfg_add_u64(f, FW_CFG_RAM_SIZE,
			   m->ram_below_4g + m->ram_above_4g, e);
	if (!r)
		r = fw_cfg_add_u16(f, FW_CFG_NB_CPUS, m->nr_vcpus, e);
	if (!r)
		r = fw_cfg_add_u16(f, FW_CFG_MAX_CPUS, m->nr_vcpus, e);
	if (!r)
		r = add_e820(m, e);
	if (!r)
		r = add_states(m, e);
	if (!r)
		r = add_boot_menu(m, boot_menu_ms, e);
	return r;
}
