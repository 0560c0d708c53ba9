#include "core/hw/acpi/acpi_build.h"

#include <endian.h>
#include <string.h>

#include "core/device.h"
#include "core/hw/chipset/q35.h"

#define HEADER_LEN 36
#define FADT_LEN   244 /* revision 3 */
#define FACS_LEN   64

#define LAPIC_BASE  0xfee00000u
#define IOAPIC_BASE 0xfec00000u

#define GIB	    (1ull << 30)
#define HIGH_WINDOW (32 * GIB)

/* ---- little-endian bytes into the buffer ---- */

/* NULL once something did not fit. */
static uint8_t *room(struct acpi_build *b, uint32_t off, uint32_t len)
{
	if (off > ACPI_TABLES_LEN || len > ACPI_TABLES_LEN - off) {
		b->overflow = true;
		return NULL;
	}
	return b->buf + off;
}

static void put(struct acpi_build *b, uint32_t off, uint64_t value,
		unsigned len)
{
	uint8_t *p = room(b, off, len);

	value = htole64(value);
	if (p)
		memcpy(p, &value, len);
}

static void append(struct acpi_build *b, uint64_t value, unsigned len)
{
	put(b, b->len, value, len);
	b->len += len;
}

static void append_bytes(struct acpi_build *b, const void *bytes, uint32_t len)
{
	uint8_t *p = room(b, b->len, len);

	if (p)
		memcpy(p, bytes, len);
	b->len += len;
}

static void align(struct acpi_build *b, unsigned to)
{
	b->len = (b->len + to - 1) & ~(to - 1);
}

static uint8_t sum_of(const uint8_t *p, uint32_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return sum;
}

/* ---- what depends on the place ---- */

static struct acpi_fixup *fixup_new(struct acpi_build *b)
{
	if (b->nr_fixups == ACPI_MAX_FIXUPS) {
		b->overflow = true;
		return &b->fixups[ACPI_MAX_FIXUPS - 1];
	}
	return &b->fixups[b->nr_fixups++];
}

static void pointer(struct acpi_build *b, uint32_t off, uint32_t target,
		    unsigned len)
{
	put(b, off, b->base + target, len);
	*fixup_new(b) = (struct acpi_fixup){
		.kind = ACPI_POINTER, .off = off, .len = len};
}

/* Of len bytes from start, stored at off among them. */
static void checksum(struct acpi_build *b, uint32_t start, uint32_t len,
		     uint32_t off)
{
	uint8_t *p = room(b, start, len);

	*fixup_new(b) = (struct acpi_fixup){
		.kind = ACPI_CHECKSUM, .off = off, .start = start, .len = len};
	if (!p)
		return;
	b->buf[off] = 0;
	b->buf[off] = -sum_of(p, len);
}

/* ---- tables ---- */

/* ACPI 6.3, 5.2.6; length and checksum come with table_end. */
static uint32_t table_begin(struct acpi_build *b, const char *signature,
			    uint8_t revision)
{
	uint32_t start;

	align(b, 16);
	start = b->len;
	append_bytes(b, signature, 4);
	append(b, 0, 4);
	append(b, revision, 1);
	append(b, 0, 1);
	append_bytes(b, "BINNCLBINNACLE", 14);
	append(b, 1, 4);
	append_bytes(b, "BNCL", 4);
	append(b, 1, 4);
	return start;
}

static void table_end(struct acpi_build *b, uint32_t start)
{
	put(b, start + 4, b->len - start, 4);
	checksum(b, start, b->len - start, start + 9);
}

static uint32_t facs(struct acpi_build *b)
{
	uint32_t start;

	align(b, 64);
	start = b->len;
	append_bytes(b, "FACS", 4);
	append(b, FACS_LEN, 4);
	b->len = start + FACS_LEN;
	put(b, start + 32, 1, 1); /* version */
	return start;
}

/* Puts the window above all RAM where dsdt.asl has a mark for it. */
static void window_put(uint8_t *p, uint32_t len, const struct acpi_spec *spec)
{
	static const uint8_t mark[16] = {
		0xb1, 0xaa, 0xc1, 0xeb, 0x0a, 0x5e, 0x00, 0x01,
		0xb1, 0xaa, 0xc1, 0xe1, 0xe7, 0x00, 0x00, 0x02,
	};
	uint64_t window[2] = {htole64(spec->high_base),
			      htole64(spec->high_len)};
	uint8_t *at = memmem(p, len, mark, sizeof(mark));

	if (at)
		memcpy(at, window, sizeof(window));
}

static uint32_t dsdt(struct acpi_build *b, const struct acpi_spec *spec)
{
	uint32_t len = acpi_dsdt_end - acpi_dsdt, start;
	uint8_t *p;

	align(b, 16);
	start = b->len;
	append_bytes(b, acpi_dsdt, len);
	p = room(b, start, len);
	if (p)
		window_put(p, len, spec);
	checksum(b, start, len, start + 9);
	return start;
}

/* A generic address structure: 5.2.3.2. */
static void gas_io(struct acpi_build *b, uint32_t off, unsigned bits,
		   uint64_t port)
{
	put(b, off, 1, 1); /* I/O space */
	put(b, off + 1, bits, 1);
	put(b, off + 4, port, 8);
}

/* 5.2.9 */
static uint32_t fadt(struct acpi_build *b, uint32_t facs_at, uint32_t dsdt_at)
{
	/* WBINVD, C1 everywhere, no sleep button, no RTC wake in fixed
	 * space, reset register. */
	const uint32_t flags = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10;
	uint32_t t = table_begin(b, "FACP", 3);

	b->len = t + FADT_LEN;
	pointer(b, t + 36, facs_at, 4);
	pointer(b, t + 40, dsdt_at, 4);
	put(b, t + 45, 1, 1); /* a desktop */
	put(b, t + 46, Q35_SCI_GSI, 2);
	put(b, t + 48, Q35_SMI_PORT, 4);
	put(b, t + 52, Q35_ACPI_ENABLE, 1);
	put(b, t + 53, Q35_ACPI_DISABLE, 1);
	put(b, t + 56, Q35_PM_BASE, 4);	       /* PM1a events */
	put(b, t + 64, Q35_PM_BASE + 4, 4);    /* PM1a control */
	put(b, t + 76, Q35_PM_BASE + 8, 4);    /* timer */
	put(b, t + 80, Q35_PM_BASE + 0x20, 4); /* GPE0 */
	put(b, t + 88, 4, 1);
	put(b, t + 89, 2, 1);
	put(b, t + 91, 4, 1);
	put(b, t + 92, 16, 1);
	put(b, t + 96, 0xfff, 2); /* no C2 */
	put(b, t + 98, 0xfff, 2); /* no C3 */
	put(b, t + 108, 0x32, 1); /* century in CMOS */
	put(b, t + 109, 3, 2);	  /* ISA devices, 8042 */
	put(b, t + 112, flags, 4);
	gas_io(b, t + 116, 8, Q35_RESET_PORT);
	put(b, t + 128, 0x06, 1); /* value that resets */
	pointer(b, t + 132, facs_at, 8);
	pointer(b, t + 140, dsdt_at, 8);
	gas_io(b, t + 148, 32, Q35_PM_BASE);
	gas_io(b, t + 172, 16, Q35_PM_BASE + 4);
	gas_io(b, t + 208, 32, Q35_PM_BASE + 8);
	gas_io(b, t + 220, 128, Q35_PM_BASE + 0x20);
	table_end(b, t);
	return t;
}

static void madt_override(struct acpi_build *b, uint8_t irq, uint32_t gsi,
			  uint16_t flags)
{
	append(b, 2, 1);
	append(b, 10, 1);
	append(b, 0, 1);
	append(b, irq, 1);
	append(b, gsi, 4);
	append(b, flags, 2);
}

/* 5.2.12 */
static uint32_t madt(struct acpi_build *b, const struct acpi_spec *spec)
{
	const uint16_t level_high = 0x0d;
	uint32_t t = table_begin(b, "APIC", 3);

	append(b, LAPIC_BASE, 4);
	append(b, 1, 4); /* there are 8259s too */
	for (unsigned i = 0; i < spec->nr_vcpus; i++) {
		append(b, 0, 1);
		append(b, 8, 1);
		append(b, i, 1);
		append(b, i, 1);
		append(b, 1, 4);
	}
	append(b, 1, 1);
	append(b, 12, 1);
	append(b, 0, 2);
	append(b, IOAPIC_BASE, 4);
	append(b, 0, 4);
	madt_override(b, 0, 2, 0);
	madt_override(b, 9, 9, level_high);
	madt_override(b, 10, 10, level_high);
	madt_override(b, 11, 11, level_high);
	append(b, 4, 1); /* NMI on LINT1 of every CPU */
	append(b, 6, 1);
	append(b, 0xff, 1);
	append(b, 0, 2);
	append(b, 1, 1);
	table_end(b, t);
	return t;
}

/* PCI Firmware 3.0, 4.1.2 */
static uint32_t mcfg(struct acpi_build *b)
{
	uint32_t t = table_begin(b, "MCFG", 1);

	append(b, 0, 8);
	append(b, Q35_ECAM_BASE, 8);
	append(b, 0, 2); /* segment */
	append(b, 0, 1); /* buses */
	append(b, 255, 1);
	append(b, 0, 4);
	table_end(b, t);
	return t;
}

/* RSDT (len 4) or XSDT (len 8). */
static uint32_t root_table(struct acpi_build *b, const uint32_t *tables,
			   unsigned nr, unsigned len)
{
	uint32_t t = table_begin(b, len == 4 ? "RSDT" : "XSDT", 1);

	for (unsigned i = 0; i < nr; i++) {
		pointer(b, b->len, tables[i], len);
		b->len += len;
	}
	table_end(b, t);
	return t;
}

/* 5.2.5.3 */
static void rsdp(struct acpi_build *b, uint32_t rsdt, uint32_t xsdt)
{
	uint32_t rsdt_at = htole32(b->base + rsdt);
	uint64_t xsdt_at = htole64(b->base + xsdt);
	uint8_t *r = b->rsdp;

	memset(r, 0, ACPI_RSDP_LEN);
	memcpy(r, "RSD PTR ", 8);
	memcpy(r + 9, "BINNCL", 6);
	r[15] = 2;
	memcpy(r + 16, &rsdt_at, 4);
	r[20] = ACPI_RSDP_LEN;
	memcpy(r + 24, &xsdt_at, 8);
	r[8] = -sum_of(r, 20);
	r[32] = -sum_of(r, ACPI_RSDP_LEN);
	*fixup_new(b) = (struct acpi_fixup){ACPI_POINTER, true, 16, 4, 0};
	*fixup_new(b) = (struct acpi_fixup){ACPI_POINTER, true, 24, 8, 0};
	*fixup_new(b) = (struct acpi_fixup){ACPI_CHECKSUM, true, 8, 20, 0};
	*fixup_new(b) =
		(struct acpi_fixup){ACPI_CHECKSUM, true, 32, ACPI_RSDP_LEN, 0};
}

void acpi_build_run(struct acpi_build *b, const struct acpi_spec *spec)
{
	uint32_t tables[3], facs_at, dsdt_at, rsdt, xsdt;

	facs_at = facs(b);
	dsdt_at = dsdt(b, spec);
	tables[0] = fadt(b, facs_at, dsdt_at);
	tables[1] = madt(b, spec);
	tables[2] = mcfg(b);
	rsdt = root_table(b, tables, 3, 4);
	xsdt = root_table(b, tables, 3, 8);
	rsdp(b, rsdt, xsdt);
}

struct acpi_spec acpi_spec_of(const struct machine *m)
{
	uint64_t end = 4 * GIB + m->ram_above_4g;

	return (struct acpi_spec){
		.nr_vcpus = m->nr_vcpus,
		.high_base = (end + GIB - 1) & ~(GIB - 1),
		.high_len = HIGH_WINDOW,
	};
}

size_t acpi_tables_build(const struct acpi_spec *spec, gpa_t gpa, uint8_t *buf,
			 uint8_t *rsdp_out)
{
	struct acpi_build b = {.buf = buf, .base = gpa};

	memset(buf, 0, ACPI_TABLES_LEN);
	acpi_build_run(&b, spec);
	memcpy(rsdp_out, b.rsdp, ACPI_RSDP_LEN);
	return b.overflow ? 0 : b.len;
}
