/*
 * acpi_build: laying out tables, and remembering what depends on their place.
 *
 * Firmware puts the tables where it likes and then follows a list: which
 * fields are pointers, which bytes are checksums.  A boot without firmware
 * knows the place beforehand.  Both come from the same run of the builder.
 *
 * Thread rule: the caller owns the object.
 */
#ifndef CORE_HW_ACPI_ACPI_BUILD_H
#define CORE_HW_ACPI_ACPI_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hw/acpi/acpi.h"

#define ACPI_MAX_FIXUPS 48
#define ACPI_RSDP_LEN	36

enum acpi_fixup_kind { ACPI_POINTER, ACPI_CHECKSUM };

struct acpi_fixup {
	enum acpi_fixup_kind kind;
	bool in_rsdp;	/* else in the tables */
	uint32_t off;	/* of the field */
	uint32_t len;	/* pointer: 4 or 8; checksum: bytes summed */
	uint32_t start; /* checksum: first byte summed */
};

struct acpi_build {
	uint8_t *buf; /* ACPI_TABLES_LEN bytes, zeroed */
	uint8_t rsdp[ACPI_RSDP_LEN];
	gpa_t base; /* where buf will lie */
	uint32_t len;
	bool overflow; /* the tables did not fit */
	struct acpi_fixup fixups[ACPI_MAX_FIXUPS];
	unsigned nr_fixups;
};

/* Lays out every table. */
void acpi_build_run(struct acpi_build *b, const struct acpi_spec *spec);
/* What the machine's tables say. */
struct acpi_spec acpi_spec_of(const struct machine *m);

/* The compiled dsdt.asl. */
extern const uint8_t acpi_dsdt[], acpi_dsdt_end[];

#endif
