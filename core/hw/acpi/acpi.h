/*
 * acpi: the tables that describe the machine to its operating system.
 *
 * DSDT from dsdt.asl (compiled at build time), the rest from C: FADT, FACS,
 * MADT, MCFG, XSDT, RSDP.  Specification: ACPI 6.3 chapters 5 and 6.
 *
 * Thread rule: while the machine is built or with the world stopped.
 */
#ifndef CORE_HW_ACPI_ACPI_H
#define CORE_HW_ACPI_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"

struct error;
struct machine;

/* All tables but the RSDP fit in this many bytes. */
#define ACPI_TABLES_LEN 0x10000u

/* A boot without firmware: writes the tables at gpa (64-byte aligned, below
 * 4 GiB, room for ACPI_TABLES_LEN bytes that the memory map must report as
 * reserved), and the RSDP at rsdp_gpa (16-byte aligned; the usual place is
 * 0xe0000-0xfffff). Call it again after a reset. 0 or -errno. */
int acpi_place(struct machine *m, gpa_t gpa, gpa_t rsdp_gpa, struct error *e);

/* A boot with firmware: adds etc/acpi/tables, etc/acpi/rsdp and
 * etc/table-loader to machine.fw_cfg. 0 or -errno. */
int acpi_add_files(struct machine *m, struct error *e);

/* The tables as they would lie at gpa, for tests: fills buf (room for
 * ACPI_TABLES_LEN), returns the length; rsdp gets 36 bytes. */
struct acpi_spec {
	unsigned nr_vcpus;
	uint64_t high_base, high_len; /* window for 64-bit BARs, len 0: none */
};
size_t acpi_tables_build(const struct acpi_spec *spec, gpa_t gpa, uint8_t *buf,
			 uint8_t *rsdp);

#endif
