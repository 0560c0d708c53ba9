/*
 * ACPI tables, read without an interpreter: FADT (power and reset registers),
 * MADT (CPUs, IOAPIC, ISA overrides), MCFG (ECAM) and the _S5_ package, whose
 * bytes are looked for in the DSDT.
 */
#include "share/guest/guest.h"

struct header {
	char signature[4];
	uint32_t len;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t len;
	uint64_t xsdt;
} __attribute__((packed));

enum {
	FADT_DSDT = 40,
	FADT_PM1A_CONTROL = 64,
	FADT_FLAGS = 112,
	FADT_RESET = 116,
	FADT_RESET_VALUE = 128
};
enum { FADT_FLAG_RESET = 1 << 10 };
enum { MADT_CPU = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2 };

struct acpi_info acpi;

/* Tables are packed: nothing in them is aligned. */
static uint64_t field(const struct header *table, unsigned offset,
		      unsigned bytes)
{
	uint64_t value = 0;

	if (offset + bytes <= table->len)
		memcpy(&value, (const char *)table + offset, bytes);
	return value;
}

static void read_s5(const struct header *dsdt)
{
	const uint8_t *aml = (const uint8_t *)dsdt;

	for (unsigned i = sizeof(*dsdt); i + 9 < dsdt->len; i++) {
		if (memcmp(aml + i, "_S5_\x12", 5))
			continue;
		/* PackageOp, length, count, then a byte constant or 0 or 1 */
		i += 7 + (aml[i + 5] >> 6);
		acpi.s5_type = aml[i] == 0x0a ? aml[i + 1] : aml[i];
		return;
	}
}

static void read_fadt(const struct header *fadt)
{
	const struct header *dsdt = (void *)field(fadt, FADT_DSDT, 4);

	acpi.pm1a_control = (uint16_t)field(fadt, FADT_PM1A_CONTROL, 4);
	if (field(fadt, FADT_FLAGS, 4) & FADT_FLAG_RESET) {
		acpi.reset_space = (uint8_t)field(fadt, FADT_RESET, 1);
		acpi.reset_address = field(fadt, FADT_RESET + 4, 8);
		acpi.reset_value = (uint8_t)field(fadt, FADT_RESET_VALUE, 1);
	}
	if (dsdt)
		read_s5(dsdt);
}

static void read_madt(const struct header *madt)
{
	unsigned len;

	acpi.nr_cpus = 0;
	for (unsigned at = 44; at + 2 <= madt->len; at += len) {
		unsigned irq = (unsigned)field(madt, at + 3, 1);

		len = (unsigned)field(madt, at + 1, 1);
		if (len < 2)
			return;
		switch (field(madt, at, 1)) {
		case MADT_CPU:
			if (field(madt, at + 4, 1) & 1 &&
			    acpi.nr_cpus < CPU_MAX)
				acpi.cpu_apic[acpi.nr_cpus++] = (uint8_t)irq;
			break;
		case MADT_IOAPIC:
			if (!acpi.ioapic)
				acpi.ioapic = field(madt, at + 4, 4);
			break;
		case MADT_OVERRIDE:
			if (irq >= ARRAY_SIZE(acpi.isa_gsi))
				break;
			acpi.isa_gsi[irq] = (uint32_t)field(madt, at + 4, 4);
			acpi.isa_flags[irq] = (uint16_t)field(madt, at + 8, 2);
			break;
		}
	}
}

static void read_table(const struct header *table)
{
	if (!memcmp(table->signature, "FACP", 4))
		read_fadt(table);
	else if (!memcmp(table->signature, "APIC", 4))
		read_madt(table);
	else if (!memcmp(table->signature, "MCFG", 4))
		acpi.ecam = field(table, 44, 8);
}

static const struct rsdp *find_rsdp(void)
{
	for (uint64_t at = 0xe0000; at < 0x100000; at += 16) {
		/* One compare a paragraph: this runs at every start. */
		if (*(const uint64_t *)at == 0x2052545020445352) {
			const uint8_t *bytes = (const uint8_t *)at;
			uint8_t sum = 0;

			for (unsigned i = 0; i < 20; i++)
				sum = (uint8_t)(sum + bytes[i]);
			if (!sum)
				return (const struct rsdp *)at;
		}
	}
	return NULL;
}

static void set_defaults(void)
{
	acpi.ioapic = 0xfec00000;
	for (unsigned i = 0; i < ARRAY_SIZE(acpi.isa_gsi); i++)
		acpi.isa_gsi[i] = i;
	acpi.isa_gsi[0] = 2;
	acpi.nr_cpus = 1;
}

void acpi_init(uint64_t address)
{
	const struct rsdp *rsdp =
		address ? (const struct rsdp *)address : find_rsdp();
	const struct header *root;
	unsigned bytes = 4;

	set_defaults();
	if (!rsdp)
		return;
	root = (const struct header *)(uint64_t)rsdp->rsdt;
	if (rsdp->revision >= 2 && rsdp->xsdt) {
		root = (const struct header *)rsdp->xsdt;
		bytes = 8;
	}
	acpi.ioapic = 0;
	for (unsigned at = sizeof(*root); at + bytes <= root->len; at += bytes)
		read_table((const struct header *)field(root, at, bytes));
	if (!acpi.ioapic)
		acpi.ioapic = 0xfec00000;
}
