#include "tests/unit/board.h"

#include "core/hw/chipset/q35.h"
#include "core/hw/pci.h"

#define LPC	PCI_DEVFN(31, 0)
#define PM	Q35_PM_BASE
#define WAIT_NS (60ull * 1000000000ull)

static int setup(void **state)
{
	struct board *b = board_create();

	board_add(b, &q35_mch_class, &(struct device_args){.name = "mch"});
	board_add(b, &ich9_lpc_class, &(struct device_args){.name = "lpc"});
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	board_destroy(*state);
	return 0;
}

/* ---- PAM ---- */

struct part {
	uint32_t gpa, len;
	unsigned reg, shift;
};

static struct part part_of(unsigned i)
{
	if (i == 12)
		return (struct part){0xf0000, 0x10000, 0x90, 4};
	return (struct part){0xc0000 + i * 0x4000, 0x4000, 0x91 + i / 2,
			     i % 2 * 4};
}

static void pam_set(struct board *b, struct part p, unsigned attr)
{
	uint8_t old = config_in(b, 0, p.reg, 1);

	config_out(b, 0, p.reg, (old & ~(3 << p.shift)) | attr << p.shift, 1);
}

/* What lies past RAM there: flash, or nothing. */
static uint8_t past(struct board *b, uint32_t gpa)
{
	if (gpa < 0xe0000)
		return 0xff;
	return mem_block_host(b->rom_block)[BOARD_ROM - 0x100000 + gpa];
}

static void check_byte(struct board *b, uint32_t gpa, unsigned attr)
{
	uint8_t *shadow = mem_block_host(b->ram_block) + gpa;

	*shadow = 0x5a;
	assert_int_equal(peek(b, gpa, 1), attr & 1 ? 0x5a : past(b, gpa));
	poke(b, gpa, 0xa5, 1);
	assert_int_equal(*shadow, attr & 2 ? 0xa5 : 0x5a);
	assert_int_equal(peek(b, gpa, 1), attr & 1 ? *shadow : past(b, gpa));
}

static void pam_parts_follow_their_registers(void **state)
{
	struct board *b = *state;

	for (unsigned i = 0; i < BOARD_ROM; i++)
		mem_block_host(b->rom_block)[i] = i * 7 + 1;
	for (unsigned i = 0; i < 13; i++) {
		struct part p = part_of(i);

		for (unsigned attr = 0; attr < 4; attr++) {
			pam_set(b, p, attr);
			check_byte(b, p.gpa, attr);
			check_byte(b, p.gpa + p.len - 1, attr);
			/* The neighbours stay closed. */
			if (p.gpa > 0xc0000)
				check_byte(b, p.gpa - 1, 0);
			if (i < 12)
				check_byte(b, p.gpa + p.len, 0);
		}
		pam_set(b, p, 0);
	}
}

static void pam_splits_the_map(void **state)
{
	struct board *b = *state;
	const struct mem_flat *f;

	/* 0xf0000 as the firmware shadows itself: RAM, later read-only. */
	config_out(b, 0, 0x90, 0x30, 1);
	f = mem_find(b->m.mem, 0xf0000);
	assert_non_null(f);
	assert_int_equal(f->region->kind, REGION_RAM);
	assert_ptr_equal(f->host, mem_block_host(b->ram_block) + 0xf0000);
	config_out(b, 0, 0x90, 0x10, 1);
	f = mem_find(b->m.mem, 0xf1000);
	assert_non_null(f);
	assert_int_equal(f->region->kind, REGION_ROM);
	assert_ptr_equal(f->region->block, b->ram_block);
	config_out(b, 0, 0x90, 0, 1);
	f = mem_find(b->m.mem, 0xf0000);
	assert_ptr_equal(f->region->block, b->rom_block);
	/* RAM goes on right above. */
	f = mem_find(b->m.mem, 0x100000);
	assert_ptr_equal(f->region, &b->ram);
}

static void writes_past_reads_mark_the_shadow_dirty(void **state)
{
	struct board *b = *state;
	struct mem_client *c =
		mem_client_create(b->m.mem, "test", b->ram_block);
	uint64_t bits[16];

	mem_client_take(c, b->ram_block, 0, BOARD_RAM / 4096, bits);
	config_out(b, 0, 0x93, 0x02, 1); /* 0xd0000: writes only */
	poke(b, 0xd0123, 1, 1);
	assert_int_equal(
		mem_client_take(c, b->ram_block, 0, BOARD_RAM / 4096, bits), 1);
	assert_int_equal(bits[0xd0 / 64] >> (0xd0 % 64) & 1, 1);
	mem_client_destroy(b->m.mem, c);
}

static void reset_closes_the_shadow(void **state)
{
	struct board *b = *state;

	q35_direct_setup(&b->m);
	bus_commit(b->m.bus, NULL);
	check_byte(b, 0xf8000, 3);
	assert_int_equal(peek(b, Q35_ECAM_BASE, 4), 0x29c08086);
	for (struct device *d = b->m.devices; d; d = d->next)
		d->cls->reset(d);
	bus_commit(b->m.bus, NULL);
	check_byte(b, 0xf8000, 0);
	assert_int_equal(peek(b, Q35_ECAM_BASE, 4), 0xffffffff);
	assert_int_equal(in(b, PM + 8, 4), 0xffffffff);
}

static void ecam_of_other_lengths(void **state)
{
	struct board *b = *state;

	config_out(b, 0, 0x60, 0xb0000000 | 2 << 1 | 1, 4); /* 64 MiB */
	assert_int_equal(peek(b, 0xb0000000, 4), 0x29c08086);
	assert_int_equal(peek(b, 0xb0000000 + (0xf8 << 12), 4), 0x29188086);
	config_out(b, 0, 0x60, 0xb0000000 | 3 << 1 | 1, 4); /* reserved */
	assert_int_equal(peek(b, 0xb0000000, 4), 0xffffffff);
	config_out(b, 0, 0x60, 0x00000001, 4); /* never over low RAM */
	assert_int_equal(peek(b, 0x1000, 4), 0);
}

/* ---- power management ---- */

static void pm_on(struct board *b)
{
	config_out(b, LPC, 0x40, PM, 4);
	config_out(b, LPC, 0x44, 0x80, 1);
}

static void pm_base_moves(void **state)
{
	struct board *b = *state;

	assert_int_equal(config_in(b, LPC, 0x40, 4), 1);
	assert_int_equal(in(b, PM + 8, 4), 0xffffffff);
	pm_on(b);
	assert_int_equal(in(b, PM + 8, 4) >> 24, 0);
	assert_int_equal(config_in(b, LPC, 0x40, 4), PM | 1);
	config_out(b, LPC, 0x40, 0x800, 4);
	assert_int_equal(in(b, PM + 8, 4), 0xffffffff);
	assert_int_equal(in(b, 0x808, 4) >> 24, 0);
	/* The firmware is told that SMIs are in hand. */
	assert_int_equal(in(b, 0x830, 4) & 0x20, 0x20);
}

static double pm_timer_hz(struct board *b)
{
	uint64_t t0, t1;
	uint32_t c0, c1;

	t0 = loop_now_ns();
	c0 = in(b, PM + 8, 4);
	usleep(50000);
	c1 = in(b, PM + 8, 4);
	t1 = loop_now_ns();
	return ((c1 - c0) & 0xffffff) * 1e9 / (double)(t1 - t0);
}

/* Reading takes time of its own on a busy machine, never less. */
static void pm_timer_runs(void **state)
{
	struct board *b = *state;
	double hz, best = 0;

	pm_on(b);
	for (int i = 0; i < 20 && best < 3579545 * 0.9; i++) {
		hz = pm_timer_hz(b);
		assert_true(hz <= 3579545 * 1.001);
		best = hz > best ? hz : best;
	}
	assert_true(best >= 3579545 * 0.3);
}

static void power_button_raises_sci(void **state)
{
	struct board *b = *state;

	pm_on(b);
	out(b, PM + 2, 0x100, 2);
	q35_power_button(&b->m);
	assert_false(b->vm.line[9]); /* ACPI is not enabled */
	out(b, Q35_SMI_PORT, Q35_ACPI_ENABLE, 1);
	assert_int_equal(in(b, PM + 4, 2) & 1, 1);
	assert_true(b->vm.line[9]);
	assert_int_equal(in(b, PM, 2) & 0x100, 0x100);
	out(b, PM, 0x100, 2);
	assert_int_equal(in(b, PM, 2) & 0x100, 0);
	assert_false(b->vm.line[9]);
	out(b, Q35_SMI_PORT, Q35_ACPI_DISABLE, 1);
	assert_int_equal(in(b, PM + 4, 2) & 1, 0);
}

static void s5_powers_off(void **state)
{
	struct board *b = *state;

	pm_on(b);
	out(b, PM + 4, 0x0000 | Q35_S5_TYPE << 10, 2);
	assert_int_equal(b->requests[MACHINE_POWEROFF], 0);
	out(b, PM + 4, 0x2000 | 1 << 10, 2); /* S3 does not exist */
	assert_int_equal(b->requests[MACHINE_POWEROFF], 0);
	out(b, PM + 4, 0x2000 | Q35_S5_TYPE << 10, 2);
	assert_int_equal(b->requests[MACHINE_POWEROFF], 1);
	assert_int_equal(in(b, PM + 4, 2) & 0x2000, 0);
}

/* The top bit changes every 2.3 s. */
static void timer_overflow_raises_sci(void **state)
{
	struct board *b = *state;
	uint64_t end = loop_now_ns() + WAIT_NS;

	pm_on(b);
	board_start(b);
	out(b, Q35_SMI_PORT, Q35_ACPI_ENABLE, 1);
	out(b, PM, 1, 2);
	out(b, PM + 2, 1, 2);
	while (!__atomic_load_n(&b->vm.line[9], __ATOMIC_ACQUIRE) &&
	       loop_now_ns() < end)
		usleep(20000);
	assert_true(b->vm.line[9]);
	assert_int_equal(in(b, PM, 2) & 1, 1);
	out(b, PM + 2, 0, 2);
	assert_false(b->vm.line[9]);
}

static void resets(void **state)
{
	struct board *b = *state;

	out(b, 0xcf9, 0x02, 1);
	assert_int_equal(b->requests[MACHINE_RESET], 0);
	assert_int_equal(in(b, 0xcf9, 1), 0x02);
	out(b, 0xcf9, 0x06, 1);
	assert_int_equal(b->requests[MACHINE_RESET], 1);
	out(b, 0x92, 0x02, 1);
	assert_int_equal(b->requests[MACHINE_RESET], 1);
	out(b, 0x92, 0x03, 1);
	assert_int_equal(b->requests[MACHINE_RESET], 2);
	assert_int_equal(in(b, 0x92, 1), 0x03);
	/* The address register beside it is whole. */
	out(b, 0xcf8, 0x80000000, 4);
	assert_int_equal(in(b, 0xcf8, 4), 0x80000000);
}

static void small_ports_keep_what_was_written(void **state)
{
	struct board *b = *state;

	out(b, 0x80, 0x55, 1);
	assert_int_equal(in(b, 0x80, 1), 0x55);
	out(b, 0xb3, 0x66, 1);
	assert_int_equal(in(b, 0xb3, 1), 0x66);
}

static void rcba_is_decoded(void **state)
{
	struct board *b = *state;

	config_out(b, LPC, 0xf0, 0xfed1c001, 4);
	assert_int_equal(peek(b, 0xfed1f404, 4), 0);
	config_out(b, LPC, 0xf0, 0, 4);
	assert_int_equal(peek(b, 0xfed1f404, 4), 0xffffffff);
}

static void pirq_registers_take_only_isa_lines(void **state)
{
	struct board *b = *state;

	assert_int_equal(config_in(b, LPC, 0x60, 1), 0x80);
	config_out(b, LPC, 0x60, 0x7a, 1);
	assert_int_equal(config_in(b, LPC, 0x60, 1), 0x0a);
	for (unsigned v = 0; v < 256; v++)
		config_out(b, LPC, 0x68, v, 1);
}

static void state_moves(void **state)
{
	struct board *b = *state, *other = board_create();
	struct device *mch, *lpc;
	uint32_t before, after;

	mch = board_add(other, &q35_mch_class,
			&(struct device_args){.name = "mch"});
	lpc = board_add(other, &ich9_lpc_class,
			&(struct device_args){.name = "lpc"});
	q35_direct_setup(&b->m);
	bus_commit(b->m.bus, NULL);
	config_out(b, 0, 0x92, 0x13, 1);
	out(b, PM + 2, 0x100, 2);
	out(b, Q35_SMI_PORT, Q35_ACPI_ENABLE, 1);
	q35_power_button(&b->m);
	before = in(b, PM + 8, 4);
	out(b, 0xcf8, 0x8000f800, 4);
	board_move_state(device_find(&b->m, "mch"), mch);
	board_move_state(device_find(&b->m, "lpc"), lpc);
	assert_int_equal(in(other, 0xcfc, 4), 0x29188086);
	check_byte(other, 0xc4000, 3);
	check_byte(other, 0xc8000, 3);
	check_byte(other, 0xcc000, 1);
	assert_true(other->vm.line[9]);
	after = in(other, PM + 8, 4);
	/* It went on, by less than half its period. */
	assert_true(((after - before) & 0xffffff) < 0x800000);
	assert_int_equal(peek(other, Q35_ECAM_BASE, 4), 0x29c08086);
	board_destroy(other);
}

static void direct_setup_places_everything(void **state)
{
	struct board *b = *state;

	q35_direct_setup(&b->m);
	bus_commit(b->m.bus, NULL);
	assert_int_equal(config_in(b, LPC, 0x60, 1), 10);
	assert_int_equal(config_in(b, LPC, 0x6b, 1), 11);
	assert_int_equal(in(b, PM + 8, 4) >> 24, 0);
	check_byte(b, 0xe0000, 3);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(pam_parts_follow_their_registers),
		T(pam_splits_the_map),
		T(writes_past_reads_mark_the_shadow_dirty),
		T(reset_closes_the_shadow),
		T(ecam_of_other_lengths),
		T(pm_base_moves),
		T(pm_timer_runs),
		T(power_button_raises_sci),
		T(s5_powers_off),
		T(timer_overflow_raises_sci),
		T(resets),
		T(small_ports_keep_what_was_written),
		T(rcba_is_decoded),
		T(pirq_registers_take_only_isa_lines),
		T(state_moves),
		T(direct_setup_places_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
