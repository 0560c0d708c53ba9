/* An SD card behind SDHCI: errors, resets, moved state, and a driver that writes
 * nonsense. */
#include "tests/unit/sd_guest.h"

/* ---- errors ---- */

static void errors_of_the_host_are_told(void **state)
{
	struct sd_guest g;
	uint32_t block[128 * 4] = {0};

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate.io_error = EIO;
	assert_int_equal(sd_pio(&g, false, 0, block, 1), 0x20);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_true(g.answer[0] & (1 << 21));
	assert_int_equal(sd_adma(&g, false, 0, 4), 0x20);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_int_equal(sd_pio(&g, true, 0, block, 4), 0x20);
	assert_true(sd_card_status(&g) & (1 << 19));
	pc_gate.io_error = 0;
	sd_get_register(&g, true, 22, 0, block, 4);
	assert_int_equal(block[0], 0);
	assert_int_equal(sd_pio(&g, false, 0, block, 4), 0);
	/* What couldn't be made stable wasn't written. */
	pc_gate.sync_error = EIO;
	assert_int_equal(sd_pio(&g, true, 0, block, 1), 0x20);
	sd_get_register(&g, true, 22, 0, block, 4);
	assert_int_equal(block[0], 0);
}

static void protected_cards_are_not_written(void **state)
{
	struct sd_guest g;
	uint32_t block[128] = {0};

	sd_make(&g, *state, DRIVE_WRITEBACK, true);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & (1 << 19), 0);
	assert_int_equal(sd_pio(&g, true, 0, block, 1), 0x10);
	assert_int_equal(sd_pio(&g, false, 0, block, 1), 0);
	assert_int_equal(sd_send(&g, 32, SD_R1, 4), 0);
	assert_int_equal(sd_send(&g, 33, SD_R1, 7), 0);
	assert_int_equal(sd_send_busy(&g, 38, 0), 0);
	assert_true(g.answer[0] & (1 << 26));
}

/* Temporary protection is a bit of the CSD. */
static void csd_can_be_programmed(void **state)
{
	struct sd_guest g;
	uint8_t csd[16];
	uint32_t block[128] = {0};

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(sd_send(&g, 7, SD_R0, 0), 0);
	assert_int_equal(sd_send(&g, 9, SD_R2, (uint32_t)g.rca << 16), 0);
	for (unsigned i = 0; i < 15; i++)
		csd[i] = (uint8_t)(g.answer[(14 - i) / 4] >>
				   (8 * ((14 - i) % 4)));
	csd[14] |= 0x10;
	for (unsigned crc = 0, try = 0; try < 2; try++) {
		assert_int_equal(
			try ? 0 : sd_send_busy(&g, 7, (uint32_t)g.rca << 16),
			0);
		for (unsigned i = 0; try && i < 120; i++) {
			unsigned bit = csd[i / 8] >> (7 - i % 8) & 1;

			crc = crc << 1 ^ ((crc >> 6 & 1) ^ bit ? 9 : 0);
		}
		csd[15] = (uint8_t)(crc << 1 | 1);
		sd_setup(&g, 0, 16, 1);
		assert_int_equal(sd_send(&g, 27, SD_RD, 0), 0);
		assert_true(sd_put(&g, csd, 16));
		assert_int_equal(sd_finish(&g), 0);
		assert_int_equal(sd_card_status(&g) >> 16 & 1, !try);
	}
	assert_int_equal(sd_pio(&g, true, 0, block, 1), 0x10);
}

static void wild_dma_stops_the_device_only(void **state)
{
	struct sd_guest g;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 8; i++) {
		sd_put_adma(&g, 0, 0x23, SD_DATA, 2048);
		if (i == 0)
			sd_put_adma(&g, 0, 0x23, PC_HOLE, 2048);
		if (i == 1)
			sd_put_adma(&g, 0, 0x23, PC_RAM_LEN - 512, 2048);
		if (i == 2) /* not valid */
			sd_put_adma(&g, 0, 0x22, SD_DATA, 2048);
		if (i == 3) /* a circle of links */
			sd_put_adma(&g, 0, 0x31, SD_LIST, 0);
		if (i == 4) /* too short */
			sd_put_adma(&g, 0, 0x23, SD_DATA, 1000);
		if (i == 5) /* a list that is nowhere */
			sd_put_adma(&g, 0, 0x31, PC_HOLE, 0);
		if (i == 6)
			sd_put_adma(&g, 0, 0x31, 0xfffffffc, 0);
		if (i == 7)
			sd_put_adma(&g, 0, 0x23, 0xfffffe00, 2048);
		assert_int_equal(sd_adma_start(&g, i & 1, 0, 4, SD_AUTO12), 0);
		assert_int_equal(sd_finish(&g), 0x200);
		assert_true(g.host->failed);
		assert_true(strlen(g.host->why) > 0);
		/* Nothing moves until it is reset. */
		assert_int_equal(sd_send_busy(&g, 12, 0), 0);
		assert_int_equal(sd_adma(&g, false, 0, 4), 0x10);
		pc_out(g.pc, SD_RESET, 6, 1);
		assert_false(g.host->failed);
		assert_int_equal(sd_send_busy(&g, 12, 0), 0);
		assert_int_equal(sd_adma(&g, false, 0, 4), 0);
	}
	/* SDMA out of RAM. */
	pc_out(g.pc, SD_CONTROL, 0, 1);
	pc_out(g.pc, PC_BAR, PC_HOLE, 4);
	sd_setup(&g, SD_DMA | SD_TO_US, 512, 1);
	assert_int_equal(sd_send(&g, 17, SD_RD, 0), 0);
	assert_int_equal(sd_finish(&g), 0x10);
	pc_out(g.pc, SD_RESET, 6, 1);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_int_equal(sd_adma(&g, false, 0, 4), 0);
}

static void lengths_must_be_the_card_s(void **state)
{
	struct sd_guest g;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_setup(&g, SD_TO_US, 256, 1);
	assert_int_equal(sd_send(&g, 17, SD_RD, 0), 0);
	assert_int_equal(sd_finish(&g), 0x40);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	sd_setup(&g, SD_TO_US, 0xfff, 1);
	assert_int_equal(sd_send_app(&g, 51, SD_RD, 0), 0);
	assert_int_equal(sd_finish(&g), 0x40);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	/* No blocks at all are soon moved. */
	sd_setup(&g, SD_TO_US | SD_MULTI | SD_COUNT | SD_AUTO12, 512, 0);
	assert_int_equal(sd_send(&g, 18, SD_RD, 0), 0);
	assert_int_equal(sd_finish(&g), 0);
	/* The wrong direction. */
	sd_setup(&g, 0, 512, 1);
	assert_int_equal(sd_send(&g, 17, SD_RD, 0), 0);
	assert_int_equal(sd_finish(&g), 0x10);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_int_equal(sd_adma(&g, false, 0, 4), 0);
}

static void interrupts_follow_the_registers(void **state)
{
	struct sd_guest g;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(pc_intx(g.pc, g.host));
	pc_out(g.pc, SD_SIGNAL, 0xffffffff, 4);
	pc_out(g.pc, SD_ARGUMENT, (uint32_t)g.rca << 16, 4);
	pc_out(g.pc, SD_COMMAND, 13 << 8 | SD_R1, 2);
	assert_true(pc_intx(g.pc, g.host));
	assert_int_equal(pc_in(g.pc, PC_BAR + 0xfc, 2), 1);
	pc_out(g.pc, SD_STATUS, SD_IS_COMMAND, 2);
	assert_false(pc_intx(g.pc, g.host));
	pc_out(g.pc, PC_BAR + 0x52, 0x20, 2); /* a forced error */
	assert_true(pc_intx(g.pc, g.host));
	assert_int_equal(pc_in(g.pc, SD_STATUS, 2) & SD_IS_ERROR, SD_IS_ERROR);
	pc_out(g.pc, SD_ERRORS, 0xffff, 2);
	assert_false(pc_intx(g.pc, g.host));
}

static void resets_cut_what_is_in_flight(void **state)
{
	static const uint8_t resets[] = {6, 1};
	struct sd_guest g;
	uint32_t block[128];

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 3; i++) {
		pc_gate_shut(&pc_gate.gate);
		sd_fill(sd_data(&g), 200 * 512, 6);
		sd_put_adma(&g, 0, 0x21, SD_DATA, 65536 & 0xffff);
		sd_put_adma(&g, 1, 0x23, SD_DATA + 65536, 65536 & 0xffff);
		assert_int_equal(sd_adma_start(&g, i & 1, 0, 200, 0), 0);
		pc_wait_in_flight(g.pc, i & 1 ? 1 : 2);
		if (i < 2)
			pc_out(g.pc, SD_RESET, resets[i], 1);
		assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_INHIBIT_DAT,
				 i < 2 ? 0 : SD_INHIBIT_DAT);
		/* The card is set up again while the old still goes on. */
		if (i == 1)
			sd_init_card(&g);
		else
			assert_int_equal(sd_send_busy(&g, 12, 0), 0);
		sd_setup(&g, SD_TO_US, 512, 1);
		assert_int_equal(sd_send(&g, 17, SD_RD, 1000), 0);
		usleep(2000);
		assert_int_equal(pc_in(g.pc, SD_STATUS, 2) & SD_IS_READ, 0);
		pc_gate_pass(pc_gate.gate, 1000);
		assert_true(sd_get(&g, block, 512));
		assert_int_equal(block[0], 0);
		assert_int_equal(sd_finish(&g), 0);
		pc_wait_in_flight(g.pc, 0);
		pc_gate_open(&pc_gate.gate);
	}
	pc_reset(g.pc);
	pc_map_bar(g.pc, g.host, 0, PC_BAR);
	sd_init_card(&g);
	assert_int_equal(sd_pio(&g, false, 0, block, 1), 0);
}

static void no_dma_without_bus_mastering(void **state)
{
	struct sd_guest g;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_fill(sd_data(&g), 2048, 9);
	pc_config_out(g.pc, g.host, 4, 2, 2);
	sd_put_adma(&g, 0, 0x23, SD_DATA, 2048);
	assert_int_equal(sd_adma_start(&g, false, 0, 4, SD_AUTO12), 0);
	usleep(5000);
	sd_check(sd_data(&g), 2048, 9);
	pc_config_out(g.pc, g.host, 4, 6, 2);
	assert_int_equal(sd_finish(&g), 0);
	assert_int_equal(sd_data(&g)[0], 0);
}

/* ---- state ---- */

static void copy_disk(const char *from, const char *to)
{
	static uint8_t buf[PC_DISK_LEN];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pread(in, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(pwrite(out, buf, sizeof(buf), 0), sizeof(buf));
	close(in);
	close(out);
}

static void move_state(struct sd_guest *a, struct sd_guest *b)
{
	struct fake_pc *pc = a->pc, *other = b->pc;
	struct state_buf buf = {0};

	memcpy(pc_ram(other, 0), pc_ram(pc, 0), PC_RAM_LEN);
	world_stop(pc->m.world, NULL);
	world_stop(other->m.world, NULL);
	pc_quiesce(pc);
	copy_disk(pc->disk_path, other->disk_path);
	assert_int_equal(
		state_save(&buf, sdhci_class.state, "h", a->host, &pc->e), 0);
	assert_int_equal(
		state_save(&buf, sd_card_class.state, "c", a->card, &pc->e), 0);
	if (state_load(&buf, sdhci_class.state, "h", b->host, &pc->e) ||
	    state_load(&buf, sd_card_class.state, "c", b->card, &pc->e))
		fail_msg("%s", pc->e.msg);
	assert_int_equal(sdhci_class.loaded(b->host, &pc->e), 0);
	bus_commit(other->m.bus, NULL);
	b->rca = a->rca;
	world_resume(other->m.world);
	world_resume(pc->m.world);
	state_buf_fini(&buf);
}

/* In the middle of a block of a read, and of a write, by PIO. */
static void state_moves_in_mid_transfer(void **state)
{
	struct fake_pc *pc = *state, *other;
	struct sd_guest a, b;
	uint32_t block[128 * 8], in[128 * 8];

	sd_make(&a, pc, DRIVE_WRITEBACK, false);
	other = pc_create();
	sd_make(&b, other, DRIVE_WRITEBACK, false);
	sd_fill(block, sizeof(block), 7);
	sd_setup(&a, SD_MULTI | SD_COUNT | SD_AUTO12, 512, 8);
	assert_int_equal(sd_send(&a, 25, SD_RD, 40), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(sd_put(&a, block + 128 * i, 512));
	sd_wait(&a, SD_IS_WRITE);
	pc_out(pc, SD_STATUS, SD_IS_WRITE, 2);
	for (unsigned i = 0; i < 64; i++)
		pc_out(pc, SD_PORT, block[128 * 3 + i], 4);
	move_state(&a, &b);
	for (unsigned i = 64; i < 128; i++)
		pc_out(other, SD_PORT, block[128 * 3 + i], 4);
	for (unsigned i = 4; i < 8; i++)
		assert_true(sd_put(&b, block + 128 * i, 512));
	assert_int_equal(sd_finish(&b), 0);
	assert_int_equal(sd_state(&b), 4);

	sd_setup(&b, SD_TO_US | SD_MULTI | SD_COUNT | SD_AUTO12, 512, 8);
	assert_int_equal(sd_send(&b, 18, SD_RD, 40), 0);
	assert_true(sd_get(&b, in, 512));
	sd_wait(&b, SD_IS_READ);
	pc_out(other, SD_STATUS, SD_IS_READ, 2);
	in[128] = (uint32_t)pc_in(other, SD_PORT, 4);
	/* Back on the first machine, which was set up otherwise. */
	sd_init_card(&a);
	move_state(&b, &a);
	for (unsigned i = 129; i < 256; i++)
		in[i] = (uint32_t)pc_in(pc, SD_PORT, 4);
	for (unsigned i = 2; i < 8; i++)
		assert_true(sd_get(&a, in + 128 * i, 512));
	assert_int_equal(sd_finish(&a), 0);
	assert_memory_equal(in, block, sizeof(block));
	pc_destroy(other);
}

/* A DMA that waits for bus mastering; then the rest of it elsewhere. */
static void dma_goes_on_elsewhere(void **state)
{
	struct fake_pc *pc = *state, *other;
	struct sd_guest a, b;

	sd_make(&a, pc, DRIVE_WRITEBACK, false);
	other = pc_create();
	sd_make(&b, other, DRIVE_WRITEBACK, false);
	sd_fill(sd_data(&a), 1000 * 512, 8);
	pc_config_out(pc, a.host, 4, 2, 2);
	for (unsigned i = 0; i < 16; i++)
		sd_put_adma(&a, i, i == 15 ? 0x23 : 0x21, SD_DATA + 32768 * i,
			    32768);
	assert_int_equal(sd_adma_start(&a, true, 0, 1000, SD_AUTO12), 0);
	move_state(&a, &b);
	pc_config_out(other, b.host, 4, 6, 2);
	assert_int_equal(sd_finish(&b), 0);
	memset(sd_data(&b), 0, 1000 * 512);
	assert_int_equal(sd_adma(&b, false, 0, 1000), 0);
	sd_check(sd_data(&b), 1000 * 512, 8);
	pc_destroy(other);
}

/* ---- noise ---- */

static void put_noise(struct sd_guest *g, uint32_t *seed)
{
	static const uint8_t indices[] = {6,  7,  12, 13, 17, 18, 18, 23,
					  24, 25, 25, 27, 32, 33, 38, 55};
	uint32_t r = pc_random(seed);

	for (unsigned i = 0; i < 8; i++)
		sd_put_adma(g, i, r % 9 ? 0x21 : pc_random(seed) & 0x3f,
			    r % 7 ? SD_DATA + pc_random(seed) % 0x10000
				  : pc_random(seed) << (r % 9),
			    pc_random(seed) & 0xffff);
	pc_out(g->pc, SD_CONTROL, pc_random(seed) & 0x18, 1);
	pc_out(g->pc, SD_ADMA, r % 11 ? SD_LIST : pc_random(seed) * 257, 4);
	sd_setup(g, pc_random(seed) & 0x3f, r % 5 ? 512 : r & 0x7fff,
		 pc_random(seed) % 300);
	pc_out(g->pc, SD_ARGUMENT,
	       r % 4 ? pc_random(seed) % 9000 : (uint32_t)g->rca << 16, 4);
	pc_out(g->pc, SD_COMMAND,
	       indices[r % sizeof(indices)] << 8 |
		       (r % 3 ? 0x3a : pc_random(seed) & 0xff),
	       2);
}

static void random_drivers_do_no_harm(void **state)
{
	struct sd_guest g;
	uint32_t seed = 42, block[128];

	sd_make(&g, *state, DRIVE_UNSAFE, false);
	for (unsigned round = 0; round < 3000; round++) {
		put_noise(&g, &seed);
		for (unsigned i = 0; i < 12; i++) {
			unsigned reg = pc_random(&seed) & 0xff;

			if (round % 4 == 0)
				pc_out(g.pc, PC_BAR + reg,
				       pc_random(&seed) * 257,
				       1u << pc_random(&seed) % 4);
			pc_in(g.pc, PC_BAR + reg, 1u << pc_random(&seed) % 4);
		}
		for (unsigned i = 0; i < 128 && round % 3 == 0; i++) {
			pc_out(g.pc, SD_PORT, i, 4);
			pc_in(g.pc, SD_PORT, 4);
		}
		if (round % 16 == 0) {
			pc_map_bar(g.pc, g.host, 0, PC_BAR);
			sd_init_card(&g);
		}
	}
	sd_init_card(&g);
	assert_int_equal(sd_pio(&g, false, 0, block, 1), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(errors_of_the_host_are_told),
		T(protected_cards_are_not_written),
		T(csd_can_be_programmed),
		T(wild_dma_stops_the_device_only),
		T(lengths_must_be_the_card_s),
		T(interrupts_follow_the_registers),
		T(resets_cut_what_is_in_flight),
		T(no_dma_without_bus_mastering),
		T(state_moves_in_mid_transfer),
		T(dma_goes_on_elsewhere),
		T(random_drivers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
