/* An SD card behind SDHCI, driven by a guest's driver, and by one that writes
 * nonsense. */
#include "core/disk_driver.h"
#include "tests/unit/sd_guest.h"

#include "core/blk/drive_stats.h"

static uint8_t *data(struct sd_guest *g)
{
	return pc_ram(g->pc, SD_DATA);
}

static void fill(void *to, unsigned len, unsigned seed)
{
	uint8_t *at = to;

	for (unsigned i = 0; i < len; i++)
		at[i] = (uint8_t)(i * 7 + i / 512 + seed);
}

static void check(const void *from, unsigned len, unsigned seed)
{
	const uint8_t *at = from;

	for (unsigned i = 0; i < len; i++)
		if (at[i] != (uint8_t)(i * 7 + i / 512 + seed))
			fail_msg("byte %u is 0x%02x", i, at[i]);
}

static void open_gate(uint64_t n)
{
	assert_int_equal(write(pc_gate.gate, &n, sizeof(n)), sizeof(n));
}

static void make_gate(int *fd)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	assert_true(*fd >= 0);
}

static void in_flight(struct sd_guest *g, unsigned nr)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (drive_in_flight(g->pc->drive) != nr) {
		assert_true(loop_now_ns() < end);
		usleep(500);
	}
}

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
	fill(out, sizeof(out), 1);
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
	fill(data(&g), nr * 512, 2);
	assert_int_equal(sd_adma(&g, true, 64, nr), 0);
	memset(data(&g), 0, nr * 512);
	assert_int_equal(sd_adma(&g, false, 64, nr), 0);
	check(data(&g), nr * 512, 2);
	/* Blocks over borders of descriptors, links, interrupts, nothing. */
	memset(data(&g), 0, 4096);
	sd_put_adma(&g, 0, 0x25, SD_DATA, 100);
	sd_put_adma(&g, 1, 0x01, 0, 0);
	sd_put_adma(&g, 2, 0x31, SD_LIST + 8 * 5, 0);
	sd_put_adma(&g, 5, 0x21, SD_DATA + 100, 1000);
	sd_put_adma(&g, 6, 0x23, SD_DATA + 1100, 436);
	assert_int_equal(sd_adma_start(&g, false, 64, 3, SD_AUTO12), 0);
	sd_wait(&g, SD_IS_TRANSFER);
	assert_true(pc_in(g.pc, SD_STATUS, 2) & SD_IS_DMA);
	assert_int_equal(sd_finish(&g), 0);
	check(data(&g), 1536, 2);
	/* 64-bit descriptors, the count set by a CMD23 of the controller. */
	memset(data(&g), 0, 4096);
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
	check(data(&g), 4096, 2);
	assert_int_equal(sd_state(&g), 4);
}

static void sdma_stops_at_boundaries(void **state)
{
	struct sd_guest g;
	unsigned stops = 0;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	fill(data(&g), 16384, 3);
	assert_int_equal(sd_adma(&g, true, 0, 32), 0);
	memset(data(&g), 0, 16384);
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
	check(data(&g) + 1024, 16384, 3);
}

static void open_ended_transfers_are_stopped(void **state)
{
	struct sd_guest g;
	uint32_t block[128];

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	sd_setup(&g, SD_MULTI, 512, 0);
	assert_int_equal(sd_send(&g, 25, SD_RD, 8), 0);
	for (unsigned i = 0; i < 5; i++) {
		fill(block, 512, i);
		assert_true(sd_put(&g, block, 512));
	}
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	assert_int_equal(sd_state(&g), 4);
	assert_int_equal(pc_gate.syncs, 1);
	sd_setup(&g, SD_TO_US | SD_MULTI, 512, 0);
	assert_int_equal(sd_send(&g, 18, SD_RD, 8), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(sd_get(&g, block, 512));
		check(block, 512, i);
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
	fill(data(&g), 8192, 4);
	assert_int_equal(sd_adma(&g, true, 0, 16), 0);
	pc_gate.syncs = 0;
	assert_int_equal(sd_send(&g, 32, SD_R1, 4), 0);
	assert_int_equal(sd_send(&g, 33, SD_R1, 7), 0);
	assert_int_equal(sd_send_busy(&g, 38, 0), 0);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(sd_adma(&g, false, 0, 16), 0);
	check(data(&g), 2048, 4);
	for (unsigned i = 2048; i < 4096; i++)
		assert_int_equal(data(&g)[i], 0);
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
	fill(block, sizeof(block), 5);
	assert_int_equal(sd_pio(&g, true, 0, block, 1), 0);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(sd_pio(&g, true, 0, block, 16), 0);
	assert_int_equal(pc_gate.syncs, 2);
	fill(data(&g), 1000 * 512, 5);
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
	uint64_t n = 100;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	make_gate(&pc_gate.sync_gate);
	sd_setup(&g, 0, 512, 1);
	assert_int_equal(sd_send(&g, 24, SD_RD, 3), 0);
	assert_true(sd_put(&g, block, 512));
	while (!pc_gate.nr_order)
		usleep(500);
	in_flight(&g, 1);
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
	assert_int_equal(write(pc_gate.sync_gate, &n, sizeof(n)), sizeof(n));
	assert_int_equal(sd_finish(&g), 0);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_DAT0, SD_DAT0);
	assert_int_equal(sd_state(&g), 4);
	close(pc_gate.sync_gate);
	pc_gate.sync_gate = 0;
}

static void next_block_is_taken_while_one_is_digested(void **state)
{
	struct sd_guest g;
	uint32_t block[128];
	unsigned taken;

	sd_make(&g, *state, DRIVE_WRITEBACK, false);
	make_gate(&pc_gate.gate);
	sd_setup(&g, SD_MULTI, 512, 0);
	assert_int_equal(sd_send(&g, 25, SD_RD, 0), 0);
	fill(block, 512, 0);
	assert_true(sd_put(&g, block, 512));
	in_flight(&g, 1);
	/* The first is being written; the second is taken all the same. */
	fill(block, 512, 1);
	assert_true(sd_put(&g, block, 512));
	assert_int_equal(pc_gate.nr_order, 0);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_DAT0, SD_DAT0);
	/* With both halves full it is busy. */
	for (taken = 2; pc_in(g.pc, SD_PRESENT, 4) & SD_CAN_WRITE; taken++) {
		fill(block, 512, taken);
		assert_true(sd_put(&g, block, 512));
		assert_true(taken < 1000);
	}
	in_flight(&g, 2);
	assert_int_equal(taken, 1 + 65536 / 512);
	assert_int_equal(pc_in(g.pc, SD_PRESENT, 4) & SD_DAT0, 0);
	assert_int_equal(sd_card_status(&g) & (1 << 8), 0);
	assert_int_equal(pc_in(g.pc, SD_STATUS, 2) & SD_IS_WRITE, 0);
	open_gate(1000);
	pc_wait_reg(g.pc, SD_PRESENT, 4, SD_DAT0 | SD_CAN_WRITE,
		    SD_DAT0 | SD_CAN_WRITE);
	assert_int_equal(sd_send_busy(&g, 12, 0), 0);
	close(pc_gate.gate);
	pc_gate.gate = -1;
	for (unsigned i = 0; i < taken; i++) {
		assert_int_equal(sd_pio(&g, false, i, block, 1), 0);
		check(block, 512, i);
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
		make_gate(&pc_gate.gate);
		fill(data(&g), 200 * 512, 6);
		sd_put_adma(&g, 0, 0x21, SD_DATA, 65536 & 0xffff);
		sd_put_adma(&g, 1, 0x23, SD_DATA + 65536, 65536 & 0xffff);
		assert_int_equal(sd_adma_start(&g, i & 1, 0, 200, 0), 0);
		in_flight(&g, i & 1 ? 1 : 2);
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
		open_gate(1000);
		assert_true(sd_get(&g, block, 512));
		assert_int_equal(block[0], 0);
		assert_int_equal(sd_finish(&g), 0);
		in_flight(&g, 0);
		close(pc_gate.gate);
		pc_gate.gate = -1;
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
	fill(data(&g), 2048, 9);
	pc_config_out(g.pc, g.host, 4, 2, 2);
	sd_put_adma(&g, 0, 0x23, SD_DATA, 2048);
	assert_int_equal(sd_adma_start(&g, false, 0, 4, SD_AUTO12), 0);
	usleep(5000);
	check(data(&g), 2048, 9);
	pc_config_out(g.pc, g.host, 4, 6, 2);
	assert_int_equal(sd_finish(&g), 0);
	assert_int_equal(data(&g)[0], 0);
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
	fill(block, sizeof(block), 7);
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
	fill(data(&a), 1000 * 512, 8);
	pc_config_out(pc, a.host, 4, 2, 2);
	for (unsigned i = 0; i < 16; i++)
		sd_put_adma(&a, i, i == 15 ? 0x23 : 0x21, SD_DATA + 32768 * i,
			    32768);
	assert_int_equal(sd_adma_start(&a, true, 0, 1000, SD_AUTO12), 0);
	move_state(&a, &b);
	pc_config_out(other, b.host, 4, 6, 2);
	assert_int_equal(sd_finish(&b), 0);
	memset(data(&b), 0, 1000 * 512);
	assert_int_equal(sd_adma(&b, false, 0, 1000), 0);
	check(data(&b), 1000 * 512, 8);
	pc_destroy(other);
}

/* ---- noise ---- */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void put_noise(struct sd_guest *g, uint32_t *seed)
{
	static const uint8_t indices[] = {6,  7,  12, 13, 17, 18, 18, 23,
					  24, 25, 25, 27, 32, 33, 38, 55};
	uint32_t r = next_random(seed);

	for (unsigned i = 0; i < 8; i++)
		sd_put_adma(g, i, r % 9 ? 0x21 : next_random(seed) & 0x3f,
			    r % 7 ? SD_DATA + next_random(seed) % 0x10000
				  : next_random(seed) << (r % 9),
			    next_random(seed) & 0xffff);
	pc_out(g->pc, SD_CONTROL, next_random(seed) & 0x18, 1);
	pc_out(g->pc, SD_ADMA, r % 11 ? SD_LIST : next_random(seed) * 257, 4);
	sd_setup(g, next_random(seed) & 0x3f, r % 5 ? 512 : r & 0x7fff,
		 next_random(seed) % 300);
	pc_out(g->pc, SD_ARGUMENT,
	       r % 4 ? next_random(seed) % 9000 : (uint32_t)g->rca << 16, 4);
	pc_out(g->pc, SD_COMMAND,
	       indices[r % sizeof(indices)] << 8 |
		       (r % 3 ? 0x3a : next_random(seed) & 0xff),
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
			unsigned reg = next_random(&seed) & 0xff;

			if (round % 4 == 0)
				pc_out(g.pc, PC_BAR + reg,
				       next_random(&seed) * 257,
				       1u << next_random(&seed) % 4);
			pc_in(g.pc, PC_BAR + reg, 1u << next_random(&seed) % 4);
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
		T(errors_of_the_host_are_told),
		T(protected_cards_are_not_written),
		T(csd_can_be_programmed),
		T(wild_dma_stops_the_device_only),
		T(lengths_must_be_the_card_s),
		T(interrupts_follow_the_registers),
		T(resets_cut_what_is_in_flight),
		T(no_dma_without_bus_mastering),
		T(cards_that_cant_be_are_refused),
		T(state_moves_in_mid_transfer),
		T(dma_goes_on_elsewhere),
		T(random_drivers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
