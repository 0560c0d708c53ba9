/* Handing the tables over: in guest memory, or through the firmware. */
#include "core/hw/acpi/acpi.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/acpi/acpi_build.h"
#include "core/hw/isa/fw_cfg.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE   "etc/acpi/rsdp"
#define LOADER_FILE "etc/table-loader"

/* Commands of the table loader: 128 bytes each, little endian. */
enum { LOADER_ALLOCATE = 1, LOADER_POINTER = 2, LOADER_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };

struct loader_entry {
	uint32_t command;
	union {
		struct {
			char file[FW_CFG_NAME_LEN];
			uint32_t align;
			uint8_t zone;
		} __attribute__((packed)) allocate;
		struct {
			char file[FW_CFG_NAME_LEN], source[FW_CFG_NAME_LEN];
			uint32_t off;
			uint8_t len;
		} __attribute__((packed)) pointer;
		struct {
			char file[FW_CFG_NAME_LEN];
			uint32_t off, start, len;
		} __attribute__((packed)) checksum;
		uint8_t pad[124];
	};
} __attribute__((packed));

_Static_assert(sizeof(struct loader_entry) == 128, "table loader's format");

int acpi_place(struct machine *m, gpa_t gpa, gpa_t rsdp_gpa, struct error *e)
{
	struct acpi_spec spec = acpi_spec_of(m);
	uint8_t *buf = malloc(ACPI_TABLES_LEN), rsdp[ACPI_RSDP_LEN];
	size_t len = buf ? acpi_tables_build(&spec, gpa, buf, rsdp) : 0;
	int r = 0;

	if (!len)
		r = error_set(e, -ENOMEM, "the ACPI tables don't fit");
	else if (dma_write(m->mem, gpa, buf, len) ||
		 dma_write(m->mem, rsdp_gpa, rsdp, sizeof(rsdp)))
		r = error_set(e, -EFAULT,
			      "the ACPI tables at 0x%llx and 0x%llx lie "
			      "outside RAM",
			      (unsigned long long)gpa,
			      (unsigned long long)rsdp_gpa);
	free(buf);
	return r;
}

static void name_put(char *dst, const char *name)
{
	snprintf(dst, FW_CFG_NAME_LEN, "%s", name);
}

static void loader_allocate(struct loader_entry *entry, const char *file,
			    uint32_t align, uint8_t zone)
{
	memset(entry, 0, sizeof(*entry));
	entry->command = htole32(LOADER_ALLOCATE);
	name_put(entry->allocate.file, file);
	entry->allocate.align = htole32(align);
	entry->allocate.zone = zone;
}

static void loader_fixup(struct loader_entry *entry, const struct acpi_fixup *f)
{
	const char *file = f->in_rsdp ? RSDP_FILE : TABLES_FILE;

	memset(entry, 0, sizeof(*entry));
	if (f->kind == ACPI_POINTER) {
		entry->command = htole32(LOADER_POINTER);
		name_put(entry->pointer.file, file);
		name_put(entry->pointer.source, TABLES_FILE);
		entry->pointer.off = htole32(f->off);
		entry->pointer.len = f->len;
		return;
	}
	entry->command = htole32(LOADER_CHECKSUM);
	name_put(entry->checksum.file, file);
	entry->checksum.off = htole32(f->off);
	entry->checksum.start = htole32(f->start);
	entry->checksum.len = htole32(f->len);
}

/* Pointers before the checksums over them: the tables' in the order in which
 * they were laid out have that order for each table. */
static int add_loader(struct machine *m, const struct acpi_build *b,
		      struct error *e)
{
	struct loader_entry script[ACPI_MAX_FIXUPS + 2];
	unsigned nr = 0;

	loader_allocate(&script[nr++], TABLES_FILE, 64, ZONE_HIGH);
	loader_allocate(&script[nr++], RSDP_FILE, 16, ZONE_FSEG);
	for (unsigned i = 0; i < b->nr_fixups; i++)
		loader_fixup(&script[nr++], &b->fixups[i]);
	return fw_cfg_add_file(m->fw_cfg, LOADER_FILE, script,
			       nr * sizeof(script[0]), e);
}

int acpi_add_files(struct machine *m, struct error *e)
{
	struct acpi_spec spec = acpi_spec_of(m);
	struct acpi_build b = {.buf = calloc(1, ACPI_TABLES_LEN)};
	int r = 0;

	if (b.buf)
		acpi_build_run(&b, &spec);
	if (!b.buf || b.overflow)
		r = error_set(e, -ENOMEM, "the ACPI tables don't fit");
	if (!r)
		r = fw_cfg_add_file(m->fw_cfg, TABLES_FILE, b.buf, b.len, e);
	if (!r)
		r = fw_cfg_add_file(m->fw_cfg, RSDP_FILE, b.rsdp,
				    sizeof(b.rsdp), e);
	if (!r)
		r = add_loader(m, &b, e);
	free(b.buf);
	return r;
}
