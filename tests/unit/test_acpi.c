/*
 * The tables' pointers and checksums, the firmware's way of placing them, and
 * what ACPICA's own tools say about them.
 */
#include "tests/unit/board.h"

#include <endian.h>
#include <sys/wait.h>

#include "core/hw/acpi/acpi.h"
#include "core/hw/acpi/acpi_build.h"
#include "core/hw/chipset/q35.h"
#include "core/hw/isa/fw_cfg.h"

#define PLACE 0x7ff00000u

static const struct acpi_spec spec = {
	.nr_vcpus = 4,
	.high_base = 0x200000000,
	.high_len = 0x800000000,
};

struct tables {
	uint8_t buf[ACPI_TABLES_LEN];
	uint8_t rsdp[ACPI_RSDP_LEN];
	size_t len;
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

static int setup(void **state)
{
	struct tables *t = calloc(1, sizeof(*t));

	t->len = acpi_tables_build(&spec, PLACE, t->buf, t->rsdp);
	assert_true(t->len > 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* The table at a guest address, checked as a whole. */
static const uint8_t *at(const struct tables *t, uint64_t gpa,
			 const char *signature)
{
	const uint8_t *p = t->buf + (gpa - PLACE);

	assert_true(gpa >= PLACE && gpa < PLACE + t->len);
	assert_memory_equal(p, signature, 4);
	assert_true(gpa - PLACE + get32(p + 4) <= t->len);
	if (memcmp(signature, "FACS", 4))
		assert_int_equal(sum(p, get32(p + 4)), 0);
	return p;
}

static const uint8_t *fadt_of(const struct tables *t)
{
	return at(t, get64(at(t, get64(t->rsdp + 24), "XSDT") + 36), "FACP");
}

static void roots_lead_to_every_table(void **state)
{
	struct tables *t = *state;
	const uint8_t *rsdt, *xsdt, *fadt;

	assert_memory_equal(t->rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(t->rsdp, 20), 0);
	assert_int_equal(sum(t->rsdp, 36), 0);
	rsdt = at(t, get32(t->rsdp + 16), "RSDT");
	xsdt = at(t, get64(t->rsdp + 24), "XSDT");
	assert_int_equal(get32(rsdt + 4), 36 + 3 * 4);
	assert_int_equal(get32(xsdt + 4), 36 + 3 * 8);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(get32(rsdt + 36 + 4 * i),
				 get64(xsdt + 36 + 8 * i));
	fadt = at(t, get64(xsdt + 36), "FACP");
	at(t, get64(xsdt + 44), "APIC");
	at(t, get64(xsdt + 52), "MCFG");
	at(t, get32(fadt + 36), "FACS");
	assert_int_equal(get32(fadt + 36) % 64, 0);
	at(t, get32(fadt + 40), "DSDT");
	assert_int_equal(get64(fadt + 140), get32(fadt + 40));
}

static void fadt_says_where_registers_are(void **state)
{
	const uint8_t *fadt = fadt_of(*state);

	assert_int_equal(get32(fadt + 56), Q35_PM_BASE);
	assert_int_equal(get32(fadt + 64), Q35_PM_BASE + 4);
	assert_int_equal(get32(fadt + 76), Q35_PM_BASE + 8);
	assert_int_equal(get64(fadt + 120), Q35_RESET_PORT);
	assert_int_equal(fadt[128], 6);
	assert_int_equal(get32(fadt + 112) & 1 << 10, 1 << 10);
	assert_int_equal(get32(fadt + 112) & 1 << 4, 0); /* power button */
}

static void madt_lists_cpus_and_overrides(void **state)
{
	struct tables *t = *state;
	const uint8_t *madt =
		at(t, get64(at(t, get64(t->rsdp + 24), "XSDT") + 44), "APIC");
	const uint8_t *end = madt + get32(madt + 4), *p = madt + 44;
	unsigned cpus = 0, ioapics = 0, sci = 0;

	for (; p < end; p += p[1]) {
		assert_true(p[1] >= 2);
		cpus += p[0] == 0;
		ioapics += p[0] == 1;
		if (p[0] == 2 && p[3] == 9)
			sci = p[8];
	}
	assert_ptr_equal(p, end);
	assert_int_equal(cpus, 4);
	assert_int_equal(ioapics, 1);
	assert_int_equal(sci, 0x0d); /* level, high */
}

static void place_writes_into_ram(void **state)
{
	struct tables *t = *state;
	struct board *b = board_create();
	uint8_t *ram = mem_block_host(b->ram_block);
	struct error e = {0};

	b->m.nr_vcpus = 4;
	assert_int_equal(acpi_place(&b->m, 0x100000, 0xf0000, &e), 0);
	assert_memory_equal(ram + 0xf0000, "RSD PTR ", 8);
	assert_int_equal(get64(ram + 0xf0000 + 24) >= 0x100000, 1);
	assert_memory_equal(ram + 0x100000, t->buf, 4);
	assert_int_equal(acpi_place(&b->m, 0x40000000, 0xf0000, &e), -EFAULT);
	board_destroy(b);
}

/* ---- the firmware's part, played here ---- */

static uint8_t *file_load(struct board *b, const char *name, uint32_t *len)
{
	uint8_t entry[64], *data = NULL;
	uint32_t nr = 0;

	out(b, 0x510, FW_CFG_FILE_DIR, 2);
	for (unsigned i = 0; i < 4; i++)
		nr = nr << 8 | in(b, 0x511, 1);
	while (nr--) {
		for (unsigned i = 0; i < 64; i++)
			entry[i] = in(b, 0x511, 1);
		if (!strcmp((char *)entry + 8, name))
			break;
	}
	assert_string_equal((char *)entry + 8, name);
	*len = entry[0] << 24 | entry[1] << 16 | entry[2] << 8 | entry[3];
	data = malloc(*len);
	out(b, 0x510, entry[4] << 8 | entry[5], 2);
	for (uint32_t i = 0; i < *len; i++)
		data[i] = in(b, 0x511, 1);
	return data;
}

static void add_pointer(uint8_t *field, unsigned len, uint64_t base)
{
	uint64_t v = 0;

	memcpy(&v, field, len);
	v = htole64(le64toh(v) + base);
	memcpy(field, &v, len);
}

/* Carries out a table loader's script with the tables at PLACE. */
static void loader_run(const uint8_t *script, uint32_t len, uint8_t *tables,
		       uint32_t tables_len, uint8_t *rsdp)
{
	for (uint32_t i = 0; i < len; i += 128) {
		const uint8_t *c = script + i;
		const char *file = (const char *)c + 4;
		uint8_t *dst = strcmp(file, "etc/acpi/rsdp") ? tables : rsdp;
		uint32_t max = dst == rsdp ? ACPI_RSDP_LEN : tables_len;

		if (get32(c) == 2) {
			uint32_t off = get32(c + 4 + 112);

			assert_true(off + c[4 + 116] <= max);
			assert_string_equal((char *)c + 60, "etc/acpi/tables");
			add_pointer(dst + off, c[4 + 116], PLACE);
		} else if (get32(c) == 3) {
			uint32_t off = get32(c + 60), start = get32(c + 64);
			uint32_t n = get32(c + 68);

			assert_true(off < max && start + n <= max);
			dst[off] -= sum(dst + start, n);
		} else {
			assert_int_equal(get32(c), 1);
			assert_true(i < 256); /* before everything else */
		}
	}
}

static void loader_gives_the_same_tables(void **state)
{
	struct tables *t = *state;
	struct board *b = board_create();
	uint32_t tables_len, rsdp_len, script_len;
	uint8_t *tables, *rsdp, *script;

	board_add(b, &fw_cfg_class, &(struct device_args){.name = "fw_cfg"});
	b->m.nr_vcpus = 4;
	b->m.ram_above_4g = 0x100000000;
	assert_int_equal(acpi_add_files(&b->m, NULL), 0);
	tables = file_load(b, "etc/acpi/tables", &tables_len);
	rsdp = file_load(b, "etc/acpi/rsdp", &rsdp_len);
	script = file_load(b, "etc/table-loader", &script_len);
	assert_int_equal(tables_len, t->len);
	assert_int_equal(rsdp_len, ACPI_RSDP_LEN);
	assert_int_equal(script_len % 128, 0);
	loader_run(script, script_len, tables, tables_len, rsdp);
	assert_memory_equal(tables, t->buf, t->len);
	assert_memory_equal(rsdp, t->rsdp, ACPI_RSDP_LEN);
	free(tables);
	free(rsdp);
	free(script);
	board_destroy(b);
}

/* ---- ACPICA's opinion ---- */

static void file_write(const char *dir, const char *name, const uint8_t *p)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, get32(p + 4), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

/* Runs a shell command in dir and returns what it printed. */
static char *run(const char *dir, const char *command)
{
	char *text = calloc(1, 1 << 20), line[600];
	size_t n;
	FILE *p;

	snprintf(line, sizeof(line), "cd '%s' && %s 2>&1", dir, command);
	p = popen(line, "r");
	assert_non_null(p);
	n = fread(text, 1, (1 << 20) - 1, p);
	text[n] = '\0';
	if (pclose(p))
		fail_msg("%s: %s", command, text);
	return text;
}

static void disassemble(const char *dir, const char *name)
{
	char command[100], *text;

	snprintf(command, sizeof(command), "iasl -d %s", name);
	text = run(dir, command);
	assert_true(strstr(text, "ASL Output") ||
		    strstr(text, "Formatted output"));
	assert_null(strstr(text, "Checksum"));
	assert_null(strstr(text, "Invalid"));
	free(text);
}

static void has_tools_or_skip(void)
{
	if (system("iasl -v >/dev/null 2>&1") ||
	    system("acpiexec -v >/dev/null 2>&1")) {
		printf("SKIP: iasl and acpiexec (acpica-tools) are missing\n");
		skip();
	}
}

static void tools_read_the_tables(void **state)
{
	struct tables *t = *state;
	char dir[] = "/tmp/binnacle-acpi-XXXXXX";
	const uint8_t *fadt = fadt_of(t);
	const uint8_t *xsdt = at(t, get64(t->rsdp + 24), "XSDT");
	char *text;

	has_tools_or_skip();
	assert_non_null(mkdtemp(dir));
	file_write(dir, "dsdt.dat", at(t, get32(fadt + 40), "DSDT"));
	file_write(dir, "facp.dat", fadt);
	file_write(dir, "apic.dat", at(t, get64(xsdt + 44), "APIC"));
	file_write(dir, "mcfg.dat", at(t, get64(xsdt + 52), "MCFG"));
	disassemble(dir, "dsdt.dat");
	disassemble(dir, "facp.dat");
	disassemble(dir, "apic.dat");
	disassemble(dir, "mcfg.dat");
	text = run(dir, "cat mcfg.dsl");
	assert_non_null(strstr(text, "00000000B0000000"));
	free(text);
	text = run(dir, "rm -r ../$(basename $PWD)");
	free(text);
}

/* The methods do what the wiring says. */
static void methods_evaluate(void **state)
{
	struct tables *t = *state;
	char dir[] = "/tmp/binnacle-acpi-XXXXXX";
	char *text;

	has_tools_or_skip();
	assert_non_null(mkdtemp(dir));
	file_write(dir, "dsdt.dat", at(t, get32(fadt_of(t) + 40), "DSDT"));
	text = run(dir, "acpiexec -b 'evaluate \\_SB.PCI0._CRS' dsdt.dat");
	/* The window above 4 GiB, as patched in. */
	assert_non_null(strstr(text, "00 00 00 00 02 00 00 00"));
	free(text);
	text = run(dir, "acpiexec -b 'evaluate \\_SB.PCI0.PRTB 1' dsdt.dat");
	assert_non_null(strstr(text, "Contains 128 Elements"));
	/* Slot 3 pin A: PIRQH, GSI 23. */
	assert_non_null(strstr(text, "000000000003FFFF"));
	assert_non_null(strstr(text, "0000000000000017"));
	assert_null(strstr(text, "AE_"));
	free(text);
	text = run(dir, "rm -r ../$(basename $PWD)");
	free(text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(roots_lead_to_every_table),
		T(fadt_says_where_registers_are),
		T(madt_lists_cpus_and_overrides),
		T(place_writes_into_ram),
		T(loader_gives_the_same_tables),
		T(tools_read_the_tables),
		T(methods_evaluate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
