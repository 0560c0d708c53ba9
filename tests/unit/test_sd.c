/* An SD card behind SDHCI, driven by a guest's driver: what it says, data, when
 * a write is safe, and what cannot be a card. */
#include "tests/unit/sd_guest.h"

#include "core/blk/drive_stats.h"
#include "core/disk_driver.h"

/* ---- what it says of itself ---- */

static void registers_describe_host_and_card(void **state)
{
	struct sd_guest g;
	uint8_t reg[64];

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(pci_config_read((void *)g.host, 8, 4) >> 8, 0x080501);
	assert_int_equal(pci_config_read((void *)g.host, 0x40, 1), 0);
	assert_int_equal(pc_in(g.pc, PC_BAR + 0xfe, 2), 2);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4), 0x01ff0000);
	assert_int_equal(pc_in(g.pc, SD_CAPS, 4) & (1 << 19), 1 << 19);
	assert_int_equal(sd_state(&g), 4);
	/* Deselected, it tells its CSD and CID. */
	assert_int_equal(sd_send(&g, 7, SD_R0, 0), 0);
	assert_int_equal(sd_send(&g, 9, SD_R2, (uint32_t)g.rca << 16), 0);
	assert_int_equal(g.answer[3] >> 22, 1); /* version 2 */
	assert_int_equal(g.answer[1] >> 8 & 0x3fffff,
			 PC_DISK_LEN / (512 << 10) - 1);
	assert_int_equal(sd_send(&g, 10, SD_R2, (uint32_t)g.rca << 16), 0);
	assert_int_equal(g.answer[3] >> 16, 0x42);
	assert_int_equal(sd_send_busy(&g, 7, (uint32_t)g.rca << 16), 0);
	sd_get_register(&g, true, 51, 0, reg, 8);
	assert_int_equal(reg[0], 2);
	assert_int_equal(reg[1], 5);
	assert_int_equal(reg[3] & 2, 2);
	assert_int_equal(sd_send_app(&g, 6, SD_R1, 2), 0);
	sd_get_register(&g, true, 13, 0, reg, 64);
	assert_int_equal(reg[0] >> 6, 2);
	/* High speed can be had and is. */
	sd_get_register(&g, false, 6, 0x00fffff1, reg, 64);
	assert_int_equal(reg[13], 3);
	assert_int_equal(reg[16] & 15, 1);
	sd_get_register(&g, false, 6, 0x80fffff1, reg, 64);
	sd_get_register(&g, false, 6, 0x00ffffff, reg, 64);
	assert_int_equal(reg[16] & 15, 1);
	sd_get_register(&g, false, 6, 0x80fffff3, reg, 64);
	assert_int_equal(reg[16] & 15, 15);
	assert_int_equal(reg[1], 0);
	assert_int_equal(sd_send_app(&g, 42, SD_R1, 0), 0);
	assert_int_equal(sd_send_app(&g, 23, SD_R1, 8), 0);
}

static void a_card_tells_that_it_caches_nothing(void **state)
{
	struct disk_driver driver = {0};
	struct sd_guest g;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_card_class.disk_driver(g.card, &driver);
	assert_true(driver.started);
	assert_false(driver.flush);
	assert_non_null(strstr(driver.text, "no write cache"));
	pc_reset(g.pc);
	memset(&driver, 0, sizeof(driver));
	sd_card_class.disk_driver(g.card, &driver);
	assert_false(driver.started);
}

static void commands_keep_to_the_state_machine(void **state)
{
	struct sd_guest g;
	uint32_t address;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	address = (uint32_t)g.rca << 16;
	/* Not in this state: no answer, and the next one says so. */
	assert_int_equal(sd_send(&g, 2, SD_R2, 0), 1);
	assert_int_equal(sd_card_status(&g) & (1 << 22), 1 << 22);
	assert_int_equal(sd_card_status(&g) & (1 << 22), 0);
	assert_int_equal(sd_send(&g, 12, SD_R1B, 0), 1);
	assert_int_equal(sd_send(&g, 13, SD_R1, 0xffff0000), 1);
	assert_int_equal(sd_send(&g, 16, SD_R1, 513), 0);
	assert_int_equal(g.answer[0] & (1 << 29), 1 << 29);
	assert_int_equal(sd_send(&g, 16, SD_R1, 512), 0);
	/* A block behind the end is no transfer. */
	sd_setup(&g, SD_TO_US, 512, 1);
	assert_int_equal(sd_send(&g, 17, SD_RD, PC_DISK_LEN / 512), 0);
	assert_int_equal(g.answer[0] >> 31, 1);
	assert_int_equal(sd_finish(&g), 0x10);
	assert_int_equal(sd_state(&g), 4);
	/* The data lines are the transfer's. */
	sd_setup(&g, 0, 512, 1);
	assert_int_equal(sd_send(&g, 24, SD_RD, 0), 0);
	assert_int_equal(sd_state(&g), 6);
	assert_int_equal(sd_send(&g, 17, SD_RD, 0), 1);
	assert_int_equal(sd_send(&g, 7, SD_R1B, address), 1);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_int_equal(sd_state(&g), 4);
	/* Without power or clock nobody answers; then it begins anew. */
	pc_out(g.pc, SD_CLOCK, 0x4001, 2);
	assert_int_equal(sd_send(&g, 13, SD_R1, address), 1);
	pc_out(g.pc, SD_CLOCK, 0x4005, 2);
	assert_int_equal(sd_state(&g), 4);
	pc_out(g.pc, SD_POWER, 0, 1);
	pc_out(g.pc, SD_POWER, 0x0d, 1); /* 3.0 V isn't to be had */
	assert_int_equal(sd_send(&g, 0, SD_R0, 0), 1);
	sd_init_card(&g);
	assert_int_equal(sd_state(&g), 4);
	/* Who doesn't know of high capacity waits for ever. */
	assert_int_equal(sd_send(&g, 0, SD_R0, 0), 0);
	g.rca = 0;
	assert_int_equal(sd_send_app(&g, 41, SD_R3, 0x00100000), 0);
	assert_int_equal(g.answer[0] >> 31, 0);
	assert_int_equal(sd_send(&g, 2, SD_R2, 0), 1);
}

/* ---- data ---- */

static void pio_goes_round(void **state)
{
	struct sd_guest g;
	uint32_t out[1024], in[1024];

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_fill(out, sizeof(out), 1);
	assert_int_equal(sd_pio(&g, true, 5, out, 1), 0);
	assert_int_equal(sd_pio(&g, true, 100, out, 8), 0);
	assert_int_equal(sd_pio(&g, false, 5, in, 1), 0);
	assert_memory_equal(in, out, 512);
	assert_int_equal(sd_pio(&g, false, 100, in, 8), 0);
	assert_memory_equal(in, out, 4096);
	assert_int_equal(sd_state(&g), 4);
	/* Bytes and words do as well. */
	sd_setup(&g, SD_TO_US, 512, 1);
	assert_int_equal(sd_send(&g, 17, SD_RD, 100), 0);
	sd_wait(&g, SD_IS_READ);
	assert_int_equal(pc_in(g.pc, SD_PORT, 1), ((uint8_t *)out)[0]);
	assert_int_equal(pc_in(g.pc, SD_PORT, 2), out[0] >> 8 & 0xffff);
	assert_int_equal(pc_in(g.pc, SD_PORT, 1), out[0] >> 24);
	pc_out(g.pc, SD_RESET, 4, 1);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_INHIBIT_DAT, 0);
	assert_int_equal(sd_pio(&g, false, 5, in, 1), 0);
}

static void adma_goes_round(void **state)
{
	struct sd_guest g;
	uint32_t d[3];
	unsigned nr = 1000;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_fill(sd_data(&g), nr * 512, 2);
	assert_int_equal(sd_adma(&g, true, 64, nr), 0);
	memset(sd_data(&g), 0, nr * 512);
	assert_int_equal(sd_adma(&g, false, 64, nr), 0);
	sd_check(sd_data(&g), nr * 512, 2);
	/* Blocks over borders of descriptors, links, interrupts, nothing. */
	memset(sd_data(&g), 0, 4096);
	sd_put_adma(&g, 0, 0x25, SD_DATA, 100);
	sd_put_adma(&g, 1, 0x01, 0, 0);
	sd_put_adma(&g, 2, 0x31, SD_LIST + 8 * 5, 0);
	sd_put_adma(&g, 5, 0x21, SD_DATA + 100, 1000);
	sd_put_adma(&g, 6, 0x23, SD_DATA + 1100, 436);
	assert_int_equal(sd_adma_start(&g, false, 64, 3, SD_AUTO12), 0);
	sd_wait(&g, SD_IS_TRANSFER);
	assert_true(pc_in(g.pc, SD_STATUS, 2) & SD_IS_DMA);
	assert_int_equal(sd_finish(&g), 0);
	sd_check(sd_data(&g), 1536, 2);
	/* 64-bit descriptors, the count set by a CMD23 of the controller. */
	memset(sd_data(&g), 0, 4096);
	d[0] = 0x23 | 4096u << 16;
	d[1] = SD_DATA;
	d[2] = 0;
	memcpy(pc_ram(g.pc, SD_LIST), d, sizeof(d));
	pc_out(g.pc, SD_ADMA, SD_LIST, 4);
	pc_out(g.pc, SD_CONTROL, 0x18, 1);
	pc_out(g.pc, PC_BAR, 8, 4);
	sd_setup(&g, SD_DMA | SD_TO_US | SD_MULTI | SD_COUNT | SD_AUTO23, 512,
		 8);
	assert_int_equal(sd_send(&g, 18, SD_RD, 64), 0);
	assert_int_equal(sd_finish(&g), 0);
	sd_check(sd_data(&g), 4096, 2);
	assert_int_equal(sd_state(&g), 4);
}

static void sdma_stops_at_boundaries(void **state)
{
	struct sd_guest g;
	unsigned stops = 0;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_fill(sd_data(&g), 16384, 3);
	assert_int_equal(sd_adma(&g, true, 0, 32), 0);
	memset(sd_data(&g), 0, 16384);
	pc_out(g.pc, SD_CONTROL, 0, 1);
	pc_out(g.pc, PC_BAR, SD_DATA + 1024, 4);
	sd_setup(&g, SD_DMA | SD_TO_US | SD_MULTI | SD_COUNT | SD_AUTO12, 512,
		 32);
	assert_int_equal(sd_send(&g, 18, SD_RD, 0), 0);
	while (!(sd_wait(&g, SD_IS_DMA | SD_IS_TRANSFER) & SD_IS_TRANSFER)) {
		uint32_t at = (uint32_t)pc_in(g.pc, PC_BAR, 4);

		assert_int_equal(at % 4096, 0);
		assert_int_equal(pc_in(g.pc, SD_STATUS, 2) & SD_IS_TRANSFER, 0);
		pc_out(g.pc, SD_STATUS, SD_IS_DMA, 2);
		pc_out(g.pc, PC_BAR, at, 4);
		stops++;
	}
	assert_int_equal(stops, 4);
	assert_int_equal(sd_finish(&g), 0);
	sd_check(sd_data(&g) + 1024, 16384, 3);
}

static void open_ended_transfers_are_stopped(void **state)
{
	struct sd_guest g;
	uint32_t block[128];

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_setup(&g, SD_MULTI, 512, 0);
	assert_int_equal(sd_send(&g, 25, SD_RD, 8), 0);
	for (unsigned i = 0; i < 5; i++) {
		sd_fill(block, 512, i);
		assert_true(sd_put(&g, block, 512));
	}
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_int_equal(sd_state(&g), 4);
	assert_int_equal(pc_gate.syncs, 1);
	sd_setup(&g, SD_TO_US | SD_MULTI, 512, 0);
	assert_int_equal(sd_send(&g, 18, SD_RD, 8), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(sd_get(&g, block, 512));
		sd_check(block, 512, i);
	}
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	sd_get_register(&g, true, 22, 0, block, 4);
	assert_int_equal(block[0], 5u << 24);
	/* Past the end of the card. */
	sd_setup(&g, SD_TO_US | SD_MULTI, 512, 0);
	assert_int_equal(sd_send(&g, 18, SD_RD, PC_DISK_LEN / 512 - 2), 0);
	assert_true(sd_get(&g, block, 512));
	assert_true(sd_get(&g, block, 512));
	assert_int_equal(sd_finish(&g), 0x10);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_int_equal(g.answer[0] >> 31, 1);
}

static void erased_blocks_are_zeroes(void **state)
{
	struct sd_guest g;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_fill(sd_data(&g), 8192, 4);
	assert_int_equal(sd_adma(&g, true, 0, 16), 0);
	pc_gate.syncs = 0;
	assert_int_equal(sd_send(&g, 32, SD_R1, 4), 0);
	assert_int_equal(sd_send(&g, 33, SD_R1, 7), 0);
	assert_int_equal(sd_send_busy(&g, 38, 0), 0);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(sd_adma(&g, false, 0, 16), 0);
	sd_check(sd_data(&g), 2048, 4);
	for (unsigned i = 2048; i < 4096; i++)
		assert_int_equal(sd_data(&g)[i], 0);
	/* Out of sequence, or of the card. */
	assert_int_equal(sd_send_busy(&g, 38, 0), 0);
	assert_true(g.answer[0] & (1 << 28));
	assert_int_equal(sd_send(&g, 32, SD_R1, 4), 0);
	assert_int_equal(sd_send(&g, 33, SD_R1, PC_DISK_LEN / 512), 0);
	assert_int_equal(sd_send_busy(&g, 38, 0), 0);
	assert_true(g.answer[0] & (1 << 27));
	assert_int_equal(sd_send(&g, 32, SD_R1, 4), 0);
	assert_int_equal(sd_send(&g, 16, SD_R1, 512), 0);
	assert_true(g.answer[0] & (1 << 13));
}

/* ---- when a write is safe ---- */

static void writes_are_flushed_once_per_command(void **state)
{
	struct sd_guest g;
	uint32_t block[128 * 16];

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(drive_wce(g.pc->drive));
	sd_fill(block, sizeof(block), 5);
	assert_int_equal(sd_pio(&g, true, 0, block, 1), 0);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(sd_pio(&g, true, 0, block, 16), 0);
	assert_int_equal(pc_gate.syncs, 2);
	sd_fill(sd_data(&g), 1000 * 512, 5);
	assert_int_equal(sd_adma(&g, true, 0, 1000), 0);
	assert_int_equal(pc_gate.syncs, 3);
	assert_int_equal(sd_adma(&g, false, 0, 1000), 0);
	assert_int_equal(pc_gate.syncs, 3);
	/* And the flush came last. */
	assert_int_equal(pc_gate.order[pc_gate.nr_order - 1], 's');
	assert_int_equal(pc_gate.order[0], 'w');
	assert_int_equal(pc_gate.order[1], 's');
}

static void busy_ends_when_data_are_stable(void **state)
{
	struct sd_guest g;
	uint32_t block[128] = {0};

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate_shut(&pc_gate.sync_gate);
	sd_setup(&g, 0, 512, 1);
	assert_int_equal(sd_send(&g, 24, SD_RD, 3), 0);
	assert_true(sd_put(&g, block, 512));
	while (!pc_gate.nr_order)
		usleep(500);
	pc_wait_in_flight(g.pc, 1);
	/* Written and not flushed: programming goes on. */
	assert_int_equal(sd_state(&g), 7);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_DAT0, 0);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_INHIBIT_DAT,
			 SD_INHIBIT_DAT);
	assert_int_equal(pc_in(g.pc, SD_STATUS, 2) & SD_IS_TRANSFER, 0);
	/* Deselected meanwhile, it goes on in the dark. */
	assert_int_equal(sd_send(&g, 7, SD_R0, 0), 0);
	assert_int_equal(sd_state(&g), 8);
	assert_int_equal(sd_send(&g, 7, SD_R1, (uint32_t)g.rca << 16), 0);
	assert_int_equal(sd_state(&g), 7);
	pc_gate_pass(pc_gate.sync_gate, 100);
	assert_int_equal(sd_finish(&g), 0);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_DAT0, SD_DAT0);
	assert_int_equal(sd_state(&g), 4);
	pc_gate_open(&pc_gate.sync_gate);
}

static void next_block_is_taken_while_one_is_digested(void **state)
{
	struct sd_guest g;
	uint32_t block[128];
	unsigned taken;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate_shut(&pc_gate.gate);
	sd_setup(&g, SD_MULTI, 512, 0);
	assert_int_equal(sd_send(&g, 25, SD_RD, 0), 0);
	sd_fill(block, 512, 0);
	assert_true(sd_put(&g, block, 512));
	pc_wait_in_flight(g.pc, 1);
	/* The first is being written; the second is taken all the same. */
	sd_fill(block, 512, 1);
	assert_true(sd_put(&g, block, 512));
	assert_int_equal(pc_gate.nr_order, 0);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_DAT0, SD_DAT0);
	/* With both halves full it is busy. */
	for (taken = 2; pc_in(g.pc, SD_PRESENT, 4) & SD_CAN_WRITE; taken++) {
		sd_fill(block, 512, taken);
		assert_true(sd_put(&g, block, 512));
		assert_true(taken < 1000);
	}
	pc_wait_in_flight(g.pc, 2);
	assert_int_equal(taken, 1 + 65536 / 512);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_DAT0, 0);
	assert_int_equal(sd_card_status(&g) & (1 << 8), 0);
	assert_int_equal(pc_in(g.pc, SD_STATUS, 2) & SD_IS_WRITE, 0);
	pc_gate_pass(pc_gate.gate, 1000);
	pc_wait_reg(g.pc, SD_PRESENT, 4, SD_DAT0 | SD_CAN_WRITE,
		    SD_DAT0 | SD_CAN_WRITE);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	pc_gate_open(&pc_gate.gate);
	for (unsigned i = 0; i < taken; i++) {
		assert_int_equal(sd_pio(&g, false, i, block, 1), 0);
		sd_check(block, 512, i);
	}
}

static void unsafe_flushes_nothing(void **state)
{
	struct sd_guest g;
	struct drive_facts facts;

	sd_make(&g, *state, DRIVE_UNSAFE, false);
	assert_int_equal(sd_adma(&g, true, 0, 100), 0);
	drive_facts_copy(g.pc->drive, &facts);
	assert_int_equal(facts.flow[DRIVE_WRITE].bytes, 51200);
	assert_int_equal(facts.flow[DRIVE_FLUSH].ops, 1);
	assert_int_equal(facts.host_flushes, 0);
	assert_int_equal(facts.unflushed_bytes, 51200);
}

static void other_modes_flush(void **state)
{
	struct sd_guest g;
	struct drive_facts facts;

	sd_make(&g, *state, DRIVE_WRITETHROUGH, false);
	assert_int_equal(sd_adma(&g, true, 0, 100), 0);
	drive_facts_copy(g.pc->drive, &facts);
	assert_int_equal(facts.host_flushes, 1);
	assert_int_equal(facts.unflushed_bytes, 0);
	assert_false(facts.never_flushes);
}

/* ---- which disks and modes ---- */

static int try_card(struct fake_pc *pc, struct device *host, uint64_t len,
		    enum drive_preset preset, bool asked)
{
	struct drive_config cfg = {
		.path = pc->disk_path, .preset = preset, .preset_asked = asked};
	struct device_args args = {.parent = host, .io = pc->io, .devfn = -1};
	struct device *dev;

	assert_int_equal(truncate(pc->disk_path, (off_t)len), 0);
	world_stop(pc->m.world, NULL);
	args.drive = drive_open(pc->io, &cfg, NULL, &pc->e);
	assert_non_null(args.drive);
	snprintf(args.name, sizeof(args.name), "sd0");
	dev = device_create(&pc->m, &sd_card_class, &args, &pc->e);
	device_destroy(dev);
	drive_close(args.drive);
	world_resume(pc->m.world);
	return dev ? 0 : -1;
}

static void cards_that_cant_be_are_refused(void **state)
{
	struct fake_pc *pc = *state;
	struct device_args args = {.devfn = -1};
	struct device *host = pc_add(pc, &sdhci_class, "sd-host", &args);

	assert_int_equal(try_card(pc, host, 1000 << 10, DRIVE_WRITEBACK, 0),
			 -1);
	assert_non_null(strstr(pc->e.msg, "1048576 bytes"));
	assert_int_equal(try_card(pc, host, 3ull << 40, DRIVE_WRITEBACK, 0),
			 -1);
	assert_non_null(strstr(pc->e.msg, "2 TiB"));
	assert_int_equal(try_card(pc, host, 1 << 20, DRIVE_WRITEBACK, 0), 0);
	assert_int_equal(try_card(pc, host, 1 << 20, DRIVE_WRITEBACK, 1), -1);
	assert_non_null(strstr(pc->e.msg, "sd-card"));
	assert_non_null(strstr(pc->e.msg, "cache writeback"));
	assert_non_null(
		strstr(pc->e.msg, "allowed: writethrough, directsync, unsafe"));
	assert_int_equal(try_card(pc, host, 1 << 20, DRIVE_NONE, 1), -1);
	assert_int_equal(try_card(pc, host, 1 << 20, DRIVE_WRITETHROUGH, 1), 0);
	assert_int_equal(try_card(pc, host, 1 << 20, DRIVE_DIRECTSYNC, 1), 0);
	assert_int_equal(try_card(pc, host, 1 << 20, DRIVE_UNSAFE, 1), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers_describe_host_and_card),
		T(a_card_tells_that_it_caches_nothing),
		T(commands_keep_to_the_state_machine),
		T(pio_goes_round),
		T(adma_goes_round),
		T(sdma_stops_at_boundaries),
		T(open_ended_transfers_are_stopped),
		T(erased_blocks_are_zeroes),
		T(writes_are_flushed_once_per_command),
		T(busy_ends_when_data_are_stable),
		T(next_block_is_taken_while_one_is_digested),
		T(unsafe_flushes_nothing),
		T(other_modes_flush),
		T(cards_that_cant_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
