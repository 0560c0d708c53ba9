/*
 * fw_cfg: named blobs that firmware and guests can fetch.
 *
 * Ports 0x510 (selector), 0x511 (data) and 0x514 (DMA address, big endian);
 * the interface is the one of docs/specs/fw_cfg in QEMU, because that is what
 * SeaBIOS, OVMF and Linux speak.  Items never change while the guest runs and
 * the guest cannot write them.
 *
 * Thread rule: add calls while the machine is built or with the world stopped.
 */
#ifndef CORE_HW_ISA_FW_CFG_H
#define CORE_HW_ISA_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

struct device_class;
struct error;
struct fw_cfg;

extern const struct device_class fw_cfg_class; /* "fw_cfg"; sets m->fw_cfg */

/* Keys of items without a name. */
enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_RAM_SIZE = 0x03,
	FW_CFG_NB_CPUS = 0x05,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_FILE_DIR = 0x19,
	FW_CFG_FILE_FIRST = 0x20
};

#define FW_CFG_NAME_LEN 56 /* with its NUL */

/* Copies data.  Adding a key or name again replaces it. 0, -EINVAL (bad key
 * or name), -ENOSPC, -ENOMEM. */
int fw_cfg_add_item(struct fw_cfg *f, uint16_t key, const void *data,
		    size_t len, struct error *e);
int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data,
		    size_t len, struct error *e);
/* Little-endian integers. */
int fw_cfg_add_u16(struct fw_cfg *f, uint16_t key, uint16_t value,
		   struct error *e);
int fw_cfg_add_u64(struct fw_cfg *f, uint16_t key, uint64_t value,
		   struct error *e);

/* What SeaBIOS wants to know of the machine: RAM, CPUs, etc/e820,
 * etc/system-states; boot_menu_ms: how long it waits for a key (0: no boot
 * menu). 0 or -errno. */
struct machine;
int fw_cfg_add_machine(struct machine *m, unsigned boot_menu_ms,
		       struct error *e);

#endif
