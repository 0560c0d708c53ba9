/*
 * q35: the board: host bridge (MCH), ICH9 LPC bridge with power management,
 * and what firmware leaves behind when there is no firmware.
 *
 * The MCH class makes the PCI bus (machine.pci), so it is created first, at
 * 00:00.0, after the RAM blocks "pc.ram" and (when firmware is used) "pc.rom";
 * the LPC bridge comes next, at 00:1f.0.  Specifications: Intel 3 Series
 * Express Chipset datasheet (PAM 5.1.17 on, PCIEXBAR 5.1.16), Intel ICH9
 * datasheet chapters 13 (LPC) and 13.8 (power management).
 *
 * Thread rule: as core/device.h; q35_* calls on the main loop.
 */
#ifndef CORE_HW_CHIPSET_Q35_H
#define CORE_HW_CHIPSET_Q35_H

#include <stdint.h>

struct device_class;
struct machine;

extern const struct device_class q35_mch_class;	 /* "q35-mch" */
extern const struct device_class ich9_lpc_class; /* "ich9-lpc" */

/* Where software finds things once firmware, or q35_direct_setup, ran. */
#define Q35_ECAM_BASE	 0xb0000000ull
#define Q35_ECAM_LEN	 0x10000000ull
#define Q35_PM_BASE	 0x600
#define Q35_SCI_GSI	 9
#define Q35_RESET_PORT	 0xcf9
#define Q35_SMI_PORT	 0xb2
#define Q35_ACPI_ENABLE	 2 /* written to the SMI port */
#define Q35_ACPI_DISABLE 3
#define Q35_S5_TYPE	 0 /* SLP_TYP that powers off */
/* RAM ends here below 4 GiB at the latest. */
#define Q35_MAX_RAM_BELOW_4G 0x80000000ull
/* Windows for BARs; 64-bit BARs may also lie above all RAM. */
#define Q35_MMIO_LOW	 0xc0000000ull
#define Q35_MMIO_LOW_END 0xfec00000ull

/* The person pressed the power button. */
void q35_power_button(struct machine *m);

/* A boot without firmware: opens 0xc0000-0xfffff as RAM, turns ECAM and power
 * management on, routes the PIRQ lines to ISA 10 and 11, places all BARs and
 * enables decoding.  After each reset, before the guest runs; the caller
 * commits the map (bus_commit). */
void q35_direct_setup(struct machine *m);

#endif
