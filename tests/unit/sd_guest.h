/*
 * sd_guest: a guest's driver for an SD card behind SDHCI, for tests.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_SD_GUEST_H
#define TESTS_UNIT_SD_GUEST_H

#include "tests/unit/fake_pc.h"

#define SD_BLOCK_LEN (PC_BAR + 0x04)
#define SD_BLOCKS    (PC_BAR + 0x06)
#define SD_ARGUMENT  (PC_BAR + 0x08)
#define SD_MODE	     (PC_BAR + 0x0c)
#define SD_COMMAND   (PC_BAR + 0x0e)
#define SD_RESPONSE  (PC_BAR + 0x10)
#define SD_PORT	     (PC_BAR + 0x20)
#define SD_PRESENT   (PC_BAR + 0x24)
#define SD_CONTROL   (PC_BAR + 0x28)
#define SD_POWER     (PC_BAR + 0x29)
#define SD_CLOCK     (PC_BAR + 0x2c)
#define SD_RESET     (PC_BAR + 0x2f)
#define SD_STATUS    (PC_BAR + 0x30)
#define SD_ERRORS    (PC_BAR + 0x32)
#define SD_ENABLE    (PC_BAR + 0x34)
#define SD_SIGNAL    (PC_BAR + 0x38)
#define SD_CAPS	     (PC_BAR + 0x40)
#define SD_ADMA_ERR  (PC_BAR + 0x54)
#define SD_ADMA	     (PC_BAR + 0x58)

#define SD_IS_COMMAND  0x0001u
#define SD_IS_TRANSFER 0x0002u
#define SD_IS_DMA      0x0008u
#define SD_IS_WRITE    0x0010u
#define SD_IS_READ     0x0020u
#define SD_IS_ERROR    0x8000u

#define SD_INHIBIT_DAT (1u << 1)
#define SD_CAN_WRITE   (1u << 10)
#define SD_CAN_READ    (1u << 11)
#define SD_DAT0	       (1u << 20)

/* Command register: the answer's kind with its checks. */
#define SD_R0  0x00u
#define SD_R1  0x1au
#define SD_R1B 0x1bu
#define SD_R2  0x09u
#define SD_R3  0x02u
#define SD_RD  0x3au /* R1, and data */

/* Transfer mode. */
#define SD_DMA	  0x01u
#define SD_COUNT  0x02u
#define SD_AUTO12 0x04u
#define SD_AUTO23 0x08u
#define SD_TO_US  0x10u
#define SD_MULTI  0x20u

#define SD_LIST 0x10000u
#define SD_DATA 0x200000u

extern const struct device_class sdhci_class, sd_card_class;

struct sd_guest {
	struct fake_pc *pc;
	struct device *host, *card;
	uint16_t rca;
	uint32_t answer[4];
};

/* ---- commands ---- */

/* Status bits once one of want, or an error, is there. */
static inline uint32_t sd_wait(struct sd_guest *g, uint32_t want)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;
	uint32_t status;

	while (!((status = (uint32_t)pc_in(g->pc, SD_STATUS, 4)) &
		 (want | SD_IS_ERROR))) {
		if (loop_now_ns() > end)
			fail_msg("status is 0x%x, not 0x%x", status, want);
		usleep(100);
	}
	return status;
}

/* Sends one; the error bits, 0 when there are none. */
static inline uint32_t sd_send(struct sd_guest *g, unsigned index,
			       unsigned flags, uint32_t arg)
{
	struct fake_pc *pc = g->pc;
	uint32_t status;

	pc_out(pc, SD_ARGUMENT, arg, 4);
	pc_out(pc, SD_COMMAND, index << 8 | flags, 2);
	status = sd_wait(g, SD_IS_COMMAND);
	if (!(status & SD_IS_COMMAND)) {
		pc_out(pc, SD_ERRORS, status >> 16, 2);
		return status >> 16;
	}
	pc_out(pc, SD_STATUS, SD_IS_COMMAND, 2);
	for (unsigned i = 0; i < 4; i++)
		g->answer[i] = (uint32_t)pc_in(pc, SD_RESPONSE + 4 * i, 4);
	return 0;
}

/* An R1b: also waits until the card isn't busy. */
static inline uint32_t sd_send_busy(struct sd_guest *g, unsigned index,
				    uint32_t arg)
{
	uint32_t r = sd_send(g, index, SD_R1B, arg), status;

	if (r)
		return r;
	status = sd_wait(g, SD_IS_TRANSFER);
	pc_out(g->pc, SD_STATUS, SD_IS_TRANSFER, 2);
	pc_out(g->pc, SD_ERRORS, status >> 16, 2);
	return status >> 16;
}

static inline uint32_t sd_send_app(struct sd_guest *g, unsigned index,
				   unsigned flags, uint32_t arg)
{
	uint32_t r = sd_send(g, 55, SD_R1, (uint32_t)g->rca << 16);

	return r ? r : sd_send(g, index, flags, arg);
}

static inline uint32_t sd_card_status(struct sd_guest *g)
{
	assert_int_equal(sd_send(g, 13, SD_R1, (uint32_t)g->rca << 16), 0);
	return g->answer[0];
}

static inline unsigned sd_state(struct sd_guest *g)
{
	return (sd_card_status(g) >> 9) & 15;
}

/* ---- transfers ---- */

static inline void sd_setup(struct sd_guest *g, unsigned mode, unsigned len,
			    unsigned blocks)
{
	pc_out(g->pc, SD_BLOCK_LEN, len, 2);
	pc_out(g->pc, SD_BLOCKS, blocks, 2);
	pc_out(g->pc, SD_MODE, mode, 2);
}

/* Waits for the end of a transfer; its errors. */
static inline uint32_t sd_finish(struct sd_guest *g)
{
	uint32_t status = sd_wait(g, SD_IS_TRANSFER);

	pc_out(g->pc, SD_STATUS, 0x3e, 2);
	pc_out(g->pc, SD_ERRORS, status >> 16, 2);
	return status >> 16;
}

/* One block through the data port; false when an error came instead. */
static inline bool sd_put(struct sd_guest *g, const void *data, unsigned len)
{
	const uint32_t *words = data;

	if (sd_wait(g, SD_IS_WRITE) & SD_IS_ERROR)
		return false;
	pc_out(g->pc, SD_STATUS, SD_IS_WRITE, 2);
	for (unsigned i = 0; i < len / 4; i++)
		pc_out(g->pc, SD_PORT, words[i], 4);
	return true;
}

static inline bool sd_get(struct sd_guest *g, void *data, unsigned len)
{
	uint32_t *words = data;

	if (sd_wait(g, SD_IS_READ) & SD_IS_ERROR)
		return false;
	pc_out(g->pc, SD_STATUS, SD_IS_READ, 2);
	for (unsigned i = 0; i < len / 4; i++)
		words[i] = (uint32_t)pc_in(g->pc, SD_PORT, 4);
	return true;
}

/* A register of len bytes that a command sends over the data lines. */
static inline void sd_get_register(struct sd_guest *g, bool app, unsigned index,
				   uint32_t arg, void *data, unsigned len)
{
	sd_setup(g, SD_TO_US, len, 1);
	assert_int_equal(app ? sd_send_app(g, index, SD_RD, arg)
			     : sd_send(g, index, SD_RD, arg),
			 0);
	assert_true(sd_get(g, data, len));
	assert_int_equal(sd_finish(g), 0);
}

/* nr blocks by PIO, with CMD12 sent by the controller. */
static inline uint32_t sd_pio(struct sd_guest *g, bool write, uint32_t block,
			      void *data, unsigned nr)
{
	unsigned mode = (write ? 0 : SD_TO_US) |
			(nr > 1 ? SD_MULTI | SD_COUNT | SD_AUTO12 : 0);
	unsigned index = (write ? 24 : 17) + (nr > 1);
	uint8_t *at = data;
	uint32_t r;

	sd_setup(g, mode, 512, nr);
	r = sd_send(g, index, SD_RD, block);
	for (unsigned i = 0; i < nr && !r; i++, at += 512)
		if (!(write ? sd_put(g, at, 512) : sd_get(g, at, 512)))
			break;
	return r ? r : sd_finish(g);
}

/* One ADMA2 descriptor of the list. */
static inline void sd_put_adma(struct sd_guest *g, unsigned i, unsigned flags,
			       uint32_t addr, unsigned len)
{
	uint32_t d[2] = {flags | len << 16, addr};

	memcpy(pc_ram(g->pc, SD_LIST + 8 * i), d, sizeof(d));
}

/* Starts nr blocks at SD_DATA by ADMA2; the errors of its command. */
static inline uint32_t sd_adma_start(struct sd_guest *g, bool write,
				     uint32_t block, unsigned nr, unsigned mode)
{
	pc_out(g->pc, SD_CONTROL, 0x10, 1);
	pc_out(g->pc, SD_ADMA, SD_LIST, 4);
	sd_setup(g,
		 SD_DMA | (write ? 0 : SD_TO_US) | mode |
			 (nr > 1 ? SD_MULTI | SD_COUNT : 0),
		 512, nr);
	return sd_send(g, (write ? 24 : 17) + (nr > 1), SD_RD, block);
}

/* The same to its end, the data in one run of memory. */
static inline uint32_t sd_adma(struct sd_guest *g, bool write, uint32_t block,
			       unsigned nr)
{
	unsigned left = nr * 512, i = 0;
	uint32_t addr = SD_DATA, r;

	for (; left > 32768; left -= 32768, addr += 32768)
		sd_put_adma(g, i++, 0x21, addr, 32768);
	sd_put_adma(g, i, 0x23, addr, left);
	r = sd_adma_start(g, write, block, nr, nr > 1 ? SD_AUTO12 : 0);
	return r ? r : sd_finish(g);
}

/* ---- life ---- */

/* As firmware does it, up to the transfer state. */
static inline void sd_init_card(struct sd_guest *g)
{
	struct fake_pc *pc = g->pc;

	g->rca = 0;
	pc_out(pc, SD_RESET, 1, 1);
	pc_out(pc, SD_ENABLE, 0xffffffff, 4);
	pc_out(pc, SD_POWER, 0x0f, 1);
	pc_out(pc, SD_CLOCK, 0x4001, 2);
	pc_wait_reg(pc, SD_CLOCK, 2, 2, 2);
	pc_out(pc, SD_CLOCK, 0x4005, 2);
	assert_int_equal(sd_send(g, 0, SD_R0, 0), 0);
	assert_int_equal(sd_send(g, 8, SD_R1, 0x1aa), 0);
	assert_int_equal(g->answer[0], 0x1aa);
	assert_int_equal(sd_send_app(g, 41, SD_R3, 0x40100000), 0);
	assert_int_equal(g->answer[0] >> 30, 3);
	assert_int_equal(sd_send(g, 2, SD_R2, 0), 0);
	assert_int_equal(sd_send(g, 3, SD_R1, 0), 0);
	g->rca = (uint16_t)(g->answer[0] >> 16);
	assert_int_equal(sd_send_busy(g, 7, (uint32_t)g->rca << 16), 0);
}

static inline void sd_make(struct sd_guest *g, struct fake_pc *pc,
			   enum drive_preset preset, bool readonly)
{
	struct device_args host = {.devfn = -1}, args = {.devfn = -1};

	*g = (struct sd_guest){.pc = pc};
	g->host = pc_add(pc, &sdhci_class, "sd-host", &host);
	pc_open_drive(pc, preset, readonly);
	args.drive = pc->drive;
	args.io = pc->io;
	args.parent = g->host;
	g->card = pc_add(pc, &sd_card_class, "sd0", &args);
	pc_map_bar(pc, g->host, 0, PC_BAR);
	sd_init_card(g);
}

/* ---- contents ---- */

static inline uint8_t *sd_data(struct sd_guest *g)
{
	return pc_ram(g->pc, SD_DATA);
}

/* A pattern, another for each seed. */
static inline void sd_fill(void *to, unsigned len, unsigned seed)
{
	uint8_t *at = to;

	for (unsigned i = 0; i < len; i++)
		at[i] = (uint8_t)(i * 7 + i / 512 + seed);
}

static inline void sd_check(const void *from, unsigned len, unsigned seed)
{
	const uint8_t *at = from;

	for (unsigned i = 0; i < len; i++)
		if (at[i] != (uint8_t)(i * 7 + i / 512 + seed))
			fail_msg("byte %u is 0x%02x", i, at[i]);
}

#endif
