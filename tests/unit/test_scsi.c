/* The commands of SCSI units, over virtio-scsi. */
#include "tests/unit/scsi_guest.h"

#define NR_BLOCKS     (PC_DISK_LEN / 512)
#define INVALID_CODE  0x052000
#define OUT_OF_RANGE  0x052100
#define BAD_FIELD     0x052400
#define BAD_PARAMETER 0x052600
#define BAD_LENGTH    0x051a00
#define PROTECTED     0x072700
#define MISCOMPARE    0x0e1d00

static void fill(struct guest *g, int value, size_t len)
{
	memset(data_of(g, 0), value, len);
}

static void expect_block(struct guest *g, uint32_t lba, int value)
{
	uint8_t *data = data_of(g, 0);

	fill(g, 0xee, 512);
	expect_good(SEND(g, 0, 512, 0x28, 0, B32(lba), 0, B16(1), 0));
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(data[i], value);
}

static void write_block(struct guest *g, uint32_t lba, int value)
{
	fill(g, value, 512);
	expect_good(SEND(g, 512, 0, 0x2a, 0, B32(lba), 0, B16(1), 0));
}

/* ---- who it is ---- */

static void inquiry(void **state)
{
	struct answer a;
	struct guest g;
	uint8_t *data;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g);
	data = data_of(&g, 0);
	/* Also while something is left to tell. */
	a = SEND(&g, 0, 96, 0x12, 0, 0, 0, 96, 0);
	expect_good(a);
	assert_int_equal(a.residual, 96 - 36);
	assert_int_equal(data[0], 0);
	assert_int_equal(data[4], 31);
	assert_memory_equal(data + 8, "BINNACLEBinnacle disk   1.0 ", 28);
	a = SEND(&g, 0, 96, 0x12, 0, 0, 0, 5, 0);
	expect_good(a);
	assert_int_equal(a.residual, 91);
	expect_sense(SEND(&g, 0, 96, 0x12, 0, 0x80, 0, 96, 0), BAD_FIELD);
	expect_sense(SEND(&g, 0, 96, 0x12, 2, 0, 0, 96, 0), BAD_FIELD);
	expect_sense(SEND(&g, 0, 96, 0x12, 1, 0x55, 0, 96, 0), BAD_FIELD);
	/* The guest has no room for what it allocated. */
	assert_int_equal(SEND(&g, 0, 8, 0x12, 0, 0, 0, 96, 0).response, 1);
}

static uint8_t *page(struct guest *g, uint8_t code, unsigned len)
{
	uint8_t *data = data_of(g, 0);

	fill(g, 0xee, 128);
	expect_good(SEND(g, 0, 128, 0x12, 1, code, 0, 128, 0));
	assert_int_equal(data[0], 0);
	assert_int_equal(data[1], code);
	assert_int_equal(get16(data + 2), len);
	return data;
}

static void vital_product_data(void **state)
{
	struct guest g;
	uint8_t *p;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	p = page(&g, 0x00, 6);
	assert_memory_equal(p + 4, "\x00\x80\x83\xb0\xb1\xb2", 6);
	assert_memory_equal(page(&g, 0x80, 5) + 4, "disk0", 5);
	assert_memory_equal(page(&g, 0x83, 17) + 8, "BINNACLEdisk0", 13);
	p = page(&g, 0xb0, 60);
	assert_int_equal(get32(p + 8), (32 << 20) / 512);
	assert_int_equal(get32(p + 20), (1u << 30) / 512);
	assert_int_equal(get32(p + 24), 256);
	assert_int_equal(get64(p + 36), (32 << 20) / 512);
	assert_int_equal(get16(page(&g, 0xb1, 60) + 4), 1);
	assert_int_equal(page(&g, 0xb2, 4)[5], 0xe4);
}

static void capacity(void **state)
{
	struct guest g;
	uint8_t *data;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	data = data_of(&g, 0);
	expect_good(SEND(&g, 0, 8, 0x25));
	assert_int_equal(get32(data), NR_BLOCKS - 1);
	assert_int_equal(get32(data + 4), 512);
	expect_sense(SEND(&g, 0, 8, 0x25, 0, 0, 0, 0, 1), BAD_FIELD);
	expect_good(SEND(&g, 0, 32, 0x9e, 0x10, B64(0), B32(32)));
	assert_int_equal(get64(data), NR_BLOCKS - 1);
	assert_int_equal(get32(data + 8), 512);
	assert_int_equal(data[14], 0xc0); /* LBPME, LBPRZ */
	expect_sense(SEND(&g, 0, 32, 0x9e, 0x11, B64(0), B32(32)), BAD_FIELD);
}

static void codes_nobody_knows(void **state)
{
	static const uint8_t known[] = {
		0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b,
		0x1e, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41,
		0x42, 0x55, 0x5a, 0x88, 0x8a, 0x8e, 0x8f, 0x91,
		0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xae, 0xaf,
	};
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned code = 0; code < 256; code++)
		if (!memchr(known, (int)code, sizeof(known)))
			expect_sense(SEND(&g, 0, 0, (uint8_t)code),
				     INVALID_CODE);
	/* Nor a control byte that asks for ACA. */
	expect_sense(SEND(&g, 0, 0, 0x00, 0, 0, 0, 0, 4), BAD_FIELD);
}

static void request_sense(void **state)
{
	struct guest g;
	uint8_t *data;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g);
	data = data_of(&g, 0);
	expect_good(SEND(&g, 0, 18, 0x03, 0, 0, 0, 18, 0));
	assert_int_equal(data[0], 0x70);
	assert_int_equal(data[2], 6);
	assert_int_equal(get16(data + 12), 0x2901);
	/* It has been told now. */
	expect_good(SEND(&g, 0, 0, 0x00));
	expect_good(SEND(&g, 0, 18, 0x03, 1, 0, 0, 18, 0));
	assert_memory_equal(data, "\x72\0\0\0\0\0\0\0", 8);
}

/* ---- reads and writes ---- */

static void transfers_of_all_lengths(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	fill(&g, 0x11, 512);
	expect_good(SEND(&g, 512, 0, 0x0a, 0, 0, 5, 1, 0));
	fill(&g, 0x22, 512);
	expect_good(SEND(&g, 512, 0, 0x2a, 0, B32(6), 0, B16(1), 0));
	fill(&g, 0x33, 512);
	expect_good(SEND(&g, 512, 0, 0xaa, 0, B32(7), B32(1), 0, 0));
	fill(&g, 0x44, 512);
	expect_good(SEND(&g, 512, 0, 0x8a, 0, B64(8), B32(1), 0, 0));
	expect_good(SEND(&g, 0, 512, 0x08, 0, 0, 8, 1, 0));
	assert_int_equal(data_of(&g, 0)[511], 0x44);
	expect_good(SEND(&g, 0, 512, 0xa8, 0, B32(6), B32(1), 0, 0));
	assert_int_equal(data_of(&g, 0)[511], 0x22);
	expect_good(SEND(&g, 0, 512, 0x88, 0, B64(7), B32(1), 0, 0));
	assert_int_equal(data_of(&g, 0)[511], 0x33);
	expect_block(&g, 5, 0x11);
	/* Six bytes: 0 is 256. */
	assert_int_equal(SEND(&g, 0, 256 * 512, 0x08).residual, 0);
	/* Elsewhere it is nothing. */
	assert_int_equal(SEND(&g, 0, 512, 0x28).residual, 512);
}

static void transfers_that_are_refused(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	expect_sense(SEND(&g, 0, 512, 0x28, 0, B32(NR_BLOCKS), 0, B16(1)),
		     OUT_OF_RANGE);
	expect_sense(SEND(&g, 0, 1024, 0x28, 0, B32(NR_BLOCKS - 1), 0, B16(2)),
		     OUT_OF_RANGE);
	expect_sense(SEND(&g, 512, 0, 0x8a, 0, B64(UINT64_MAX), B32(1)),
		     OUT_OF_RANGE);
	expect_sense(SEND(&g, 512, 0, 0x8a, 0, B64(0), B32(UINT32_MAX)),
		     OUT_OF_RANGE);
	expect_sense(SEND(&g, 0, 512, 0x28, 0x20, B32(0), 0, B16(1)),
		     BAD_FIELD);
	/* The end itself can be named without a length. */
	expect_good(SEND(&g, 0, 0, 0x28, 0, B32(NR_BLOCKS), 0, B16(0)));
	pc_gate.io_error = EIO;
	expect_sense(SEND(&g, 0, 512, 0x28, 0, B32(0), 0, B16(1)), 0x031100);
	expect_sense(SEND(&g, 512, 0, 0x2a, 0, B32(0), 0, B16(1)), 0x030c00);
	pc_gate.io_error = ENOSPC;
	expect_sense(SEND(&g, 512, 0, 0x2a, 0, B32(0), 0, B16(1)), 0x072707);
	pc_gate.io_error = 0;
	expect_good(SEND(&g, 0, 512, 0x28, 0, B32(0), 0, B16(1)));
}

static void forced_unit_access(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	write_block(&g, 1, 0x55);
	expect_good(SEND(&g, 512, 0, 0x2a, 0x10, B32(0), 0, B16(1))); /* DPO */
	assert_int_equal(pc_gate.syncs, 0);
	expect_good(SEND(&g, 512, 0, 0x2a, 0x08, B32(0), 0, B16(1)));
	assert_int_equal(pc_gate.syncs, 1);
	expect_good(SEND(&g, 512, 0, 0x8a, 0x18, B64(0), B32(1)));
	assert_int_equal(pc_gate.syncs, 2);
	/* A read from the medium finds there what was cached. */
	write_block(&g, 2, 0x66);
	expect_good(SEND(&g, 0, 512, 0x28, 0x08, B32(2), 0, B16(1)));
	assert_int_equal(pc_gate.syncs, 3);
	assert_int_equal(data_of(&g, 0)[0], 0x66);
}

static void synchronize_cache(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	write_block(&g, 1, 1);
	expect_good(SEND(&g, 0, 0, 0x35, 0, B32(0), 0, B16(0)));
	assert_int_equal(pc_gate.syncs, 1);
	write_block(&g, 1, 2);
	expect_good(SEND(&g, 0, 0, 0x91, 2, B64(5), B32(5)));
	assert_int_equal(pc_gate.syncs, 2);
	expect_sense(SEND(&g, 0, 0, 0x35, 0, B32(NR_BLOCKS), 0, B16(1)),
		     OUT_OF_RANGE);
	assert_int_equal(pc_gate.syncs, 2);
	write_block(&g, 1, 3);
	pc_gate.sync_error = EIO;
	expect_sense(SEND(&g, 0, 0, 0x35), 0x030c00);
}

static void readonly_disks_refuse_writes(void **state)
{
	struct guest g;
	uint8_t *data;

	make_ready(&g, *state, DRIVE_WRITEBACK, true);
	data = data_of(&g, 0);
	expect_sense(SEND(&g, 512, 0, 0x2a, 0, B32(0), 0, B16(1)), PROTECTED);
	expect_sense(SEND(&g, 512, 0, 0x41, 0, B32(0), 0, B16(1)), PROTECTED);
	expect_sense(SEND(&g, 24, 0, 0x42, 0, B32(0), 0, B16(24)), PROTECTED);
	expect_good(SEND(&g, 0, 512, 0x28, 0, B32(0), 0, B16(1)));
	expect_good(SEND(&g, 0, 64, 0x1a, 8, 0x08, 0, 64));
	assert_int_equal(data[2], 0x90); /* write protected */
	expect_good(SEND(&g, 0, 64, 0x1a, 8, 0x48, 0, 64));
	assert_int_equal(data[4 + 2], 0); /* nor can WCE be changed */
	expect_good(SEND(&g, 0, 32, 0x9e, 0x10, B64(0), B32(32)));
	assert_int_equal(data[14], 0);
	assert_int_equal(page(&g, 0xb2, 4)[5], 0);
}

/* ---- VERIFY ---- */

static void verify(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 20; i++)
		write_block(&g, 40 + i, 0x5c);
	fill(&g, 0x5c, 20 * 512);
	expect_good(SEND(&g, 20 * 512, 0, 0x2f, 2, B32(40), 0, B16(20)));
	data_of(&g, 0)[15 * 512 + 7] ^= 1;
	expect_sense(SEND(&g, 20 * 512, 0, 0x2f, 2, B32(40), 0, B16(20)),
		     MISCOMPARE);
	/* One block with each. */
	expect_good(SEND(&g, 512, 0, 0x8f, 6, B64(40), B32(20)));
	expect_sense(SEND(&g, 512, 0, 0x8f, 6, B64(40), B32(21)), MISCOMPARE);
	/* All of the disk, only read. */
	expect_good(SEND(&g, 0, 0, 0xaf, 0, B32(0), B32(NR_BLOCKS)));
	expect_good(SEND(&g, 0, 0, 0x2f, 0, B32(0), 0, B16(0)));
	expect_sense(SEND(&g, 512, 0, 0x2f, 4, B32(0), 0, B16(1)), BAD_FIELD);
	expect_sense(SEND(&g, 0, 0, 0x2f, 0, B32(NR_BLOCKS), 0, B16(1)),
		     OUT_OF_RANGE);
	assert_int_equal(SEND(&g, 511, 0, 0x2f, 2, B32(0), 0, B16(1)).response,
			 1);
	pc_gate.io_error = EIO;
	expect_sense(SEND(&g, 0, 0, 0x2f, 0, B32(0), 0, B16(1)), 0x031100);
	pc_gate.io_error = 0;
}

static void write_and_verify(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	fill(&g, 0x77, 9 * 512);
	expect_good(SEND(&g, 9 * 512, 0, 0x2e, 2, B32(3), 0, B16(9)));
	assert_true(pc_gate.syncs >= 1);
	expect_good(SEND(&g, 9 * 512, 0, 0x8e, 0, B64(12), B32(9)));
	expect_block(&g, 11, 0x77);
	expect_block(&g, 20, 0x77);
	expect_sense(SEND(&g, 512, 0, 0xae, 4, B32(0), B32(1)), BAD_FIELD);
	expect_sense(SEND(&g, 512, 0, 0xae, 0, B32(NR_BLOCKS), B32(1)),
		     OUT_OF_RANGE);
}

/* ---- UNMAP, WRITE SAME ---- */

static void put_range(struct guest *g, unsigned i, uint64_t lba, uint32_t nr)
{
	uint8_t *p = data_of(g, 0) + 8 + 16 * i;

	put64(p, lba);
	put32(p + 8, nr);
	put32(p + 12, 0);
}

static struct answer send_unmap(struct guest *g, unsigned nr, unsigned len)
{
	uint8_t *p = data_of(g, 0);

	memset(p, 0, 8);
	put16(p, 6 + 16 * nr);
	put16(p + 2, 16 * nr);
	return SEND(g, len, 0, 0x42, 0, B32(0), 0, B16(len));
}

static void unmap(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 64; i++)
		write_block(&g, i, 0x99);
	put_range(&g, 0, 0, 8);
	put_range(&g, 1, 20, 0);
	put_range(&g, 2, 16, 8);
	expect_good(send_unmap(&g, 3, 56));
	expect_block(&g, 0, 0);
	expect_block(&g, 7, 0);
	expect_block(&g, 8, 0x99);
	expect_block(&g, 16, 0);
	expect_block(&g, 23, 0);
	expect_block(&g, 24, 0x99);
	/* One bad range, and none of them is touched. */
	put_range(&g, 0, 32, 8);
	put_range(&g, 1, NR_BLOCKS - 1, 2);
	expect_sense(send_unmap(&g, 2, 40), OUT_OF_RANGE);
	put_range(&g, 1, UINT64_MAX, 1);
	expect_sense(send_unmap(&g, 2, 40), OUT_OF_RANGE);
	expect_block(&g, 32, 0x99);
	expect_good(send_unmap(&g, 0, 8));
	expect_good(SEND(&g, 0, 0, 0x42));
	expect_sense(SEND(&g, 4, 0, 0x42, 0, B32(0), 0, B16(4)), BAD_LENGTH);
	put_range(&g, 0, 32, 8);
	expect_sense(send_unmap(&g, 2, 24), BAD_LENGTH);
	put_range(&g, 0, 32, 8);
	expect_sense(SEND(&g, 24, 0, 0x42, 1, B32(0), 0, B16(24)), BAD_FIELD);
	for (unsigned i = 0; i < 257; i++)
		put_range(&g, i, i, 0);
	expect_sense(send_unmap(&g, 257, 8 + 16 * 257), BAD_PARAMETER);
	expect_good(send_unmap(&g, 256, 8 + 16 * 256));
	assert_int_equal(SEND(&g, 8, 0, 0x42, 0, B32(0), 0, B16(24)).response,
			 1);
}

static void write_same(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	fill(&g, 0xab, 512);
	expect_good(SEND(&g, 512, 0, 0x41, 0, B32(10), 0, B16(300)));
	expect_block(&g, 9, 0);
	expect_block(&g, 10, 0xab);
	expect_block(&g, 309, 0xab);
	expect_block(&g, 310, 0);
	/* Zeroes, with and without giving up the space. */
	fill(&g, 0, 512);
	expect_good(SEND(&g, 512, 0, 0x41, 0, B32(20), 0, B16(8)));
	expect_good(SEND(&g, 512, 0, 0x93, 8, B64(32), B32(8)));
	expect_good(SEND(&g, 0, 0, 0x93, 1, B64(48), B32(8)));
	expect_good(SEND(&g, 0, 0, 0x93, 9, B64(64), B32(8)));
	for (unsigned i = 0; i < 4; i++) {
		expect_block(&g, 20 + 16 * i - (i ? 4 : 0), 0);
		expect_block(&g, 40 + 8 * i, i & 1 ? 0 : 0xab);
	}
	/* Data that are no zeroes are written, UNMAP or not. */
	fill(&g, 0xcd, 512);
	expect_good(SEND(&g, 512, 0, 0x93, 8, B64(100), B32(2)));
	expect_block(&g, 101, 0xcd);
	expect_sense(SEND(&g, 512, 0, 0x41, 0, B32(0), 0, B16(0)), BAD_FIELD);
	expect_sense(SEND(&g, 512, 0, 0x41, 1, B32(0), 0, B16(1)), BAD_FIELD);
	expect_sense(SEND(&g, 512, 0, 0x93, 0x10, B64(0), B32(1)), BAD_FIELD);
	expect_sense(SEND(&g, 512, 0, 0x93, 0, B64(NR_BLOCKS), B32(1)),
		     OUT_OF_RANGE);
	/* More than the limits page says. */
	expect_sense(SEND(&g, 512, 0, 0x93, 0, B64(NR_BLOCKS), B32(65536)),
		     OUT_OF_RANGE);
	expect_sense(SEND(&g, 512, 0, 0x93, 0, B64(NR_BLOCKS), B32(65537)),
		     BAD_FIELD);
	assert_int_equal(SEND(&g, 511, 0, 0x41, 0, B32(0), 0, B16(1)).response,
			 1);
}

/* With the cache off the whole range is stable when it completes, and that
 * costs one flush. */
static void write_same_is_stable_once(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITETHROUGH, false);
	fill(&g, 0xab, 512);
	expect_good(SEND(&g, 512, 0, 0x41, 0, B32(0), 0, B16(1000)));
	assert_int_equal(pc_gate.order[pc_gate.nr_order - 1], 's');
	assert_int_equal(pc_gate.syncs, 1);
}

static void unmap_is_stable_once(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITETHROUGH, false);
	write_block(&g, 0, 1);
	pc_gate.syncs = 0;
	for (unsigned i = 0; i < 4; i++)
		put_range(&g, i, 16 * i, 8);
	expect_good(send_unmap(&g, 4, 8 + 4 * 16));
	assert_int_equal(pc_gate.syncs, 1);
}

/* ---- mode pages ---- */

static void mode_sense(void **state)
{
	struct guest g;
	uint8_t *data;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	data = data_of(&g, 0);
	/* Current, changeable and default values; there are no saved ones. */
	expect_good(SEND(&g, 0, 64, 0x1a, 8, 0x08, 0, 64));
	assert_memory_equal(data, "\x17\0\x10\0\x08\x12\x04\0", 8);
	expect_good(SEND(&g, 0, 64, 0x1a, 8, 0x48, 0, 64));
	assert_memory_equal(data, "\x17\0\x10\0\x08\x12\x04\0", 8);
	expect_good(SEND(&g, 0, 64, 0x1a, 8, 0x88, 0, 64));
	assert_int_equal(data[4 + 2], 4);
	expect_sense(SEND(&g, 0, 64, 0x1a, 8, 0xc8, 0, 64), 0x053900);
	/* All pages, with a block descriptor of either length. */
	expect_good(SEND(&g, 0, 255, 0x1a, 0, 0x3f, 0xff, 255));
	assert_int_equal(data[3], 8);
	assert_int_equal(get32(data + 4), NR_BLOCKS);
	assert_int_equal(get24(data + 9), 512);
	assert_int_equal(data[0] + 1, 4 + 8 + 12 + 20 + 12);
	expect_good(SEND(&g, 0, 255, 0x5a, 0x10, 0x3f, 0, 0, 0, 0, B16(255)));
	assert_int_equal(get16(data) + 2, 8 + 16 + 12 + 20 + 12);
	assert_int_equal(get64(data + 8), NR_BLOCKS);
	assert_int_equal(get32(data + 20), 512);
	expect_sense(SEND(&g, 0, 64, 0x1a, 8, 0x2a, 0, 64), BAD_FIELD);
	expect_sense(SEND(&g, 0, 64, 0x1a, 8, 0x08, 1, 64), BAD_FIELD);
}

/* MODE SELECT(6) with the caching page alone. */
static struct answer select_wce(struct guest *g, bool on)
{
	uint8_t *data = data_of(g, 0);

	memset(data, 0, 24);
	data[4] = 0x08;
	data[5] = 18;
	data[6] = on ? 4 : 0;
	return SEND(g, 24, 0, 0x15, 0x10, 0, 0, 24);
}

static uint8_t sense_wce(struct guest *g)
{
	expect_good(SEND(g, 0, 64, 0x1a, 8, 0x08, 0, 64));
	return data_of(g, 0)[4 + 2];
}

static void guest_switches_the_write_cache(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	write_block(&g, 0, 1);
	assert_int_equal(pc_gate.syncs, 0);
	/* What was written before is stable when it is off. */
	expect_good(select_wce(&g, false));
	assert_true(pc_gate.syncs >= 1);
	assert_int_equal(sense_wce(&g), 0);
	pc_gate.syncs = 0;
	write_block(&g, 0, 2);
	assert_true(pc_gate.syncs >= 1);
	assert_false(drive_wce(g.pc->drive));
	expect_good(select_wce(&g, true));
	assert_int_equal(sense_wce(&g), 4);
	pc_gate.syncs = 0;
	write_block(&g, 0, 3);
	assert_int_equal(pc_gate.syncs, 0);
	assert_true(drive_wce(g.pc->drive));
}

/* The next command in the same batch is under the new rule; and one that was
 * taken before the cache came on keeps the old. */
static void the_very_next_command_knows(void **state)
{
	static const uint8_t write[10] = {0x2a, [8] = 1};
	struct guest g;
	uint8_t *data;

	make_ready(&g, *state, DRIVE_WRITETHROUGH, false);
	data = data_of(&g, 1);
	memset(data, 0, 24);
	memcpy(data + 4, "\x08\x12\x04", 3);
	build(&g, 0, write, sizeof(write), 512, 0);
	build(&g, 1, (const uint8_t[]){0x15, 0x10, 0, 0, 24, 0}, 6, 24, 0);
	build(&g, 2, write, sizeof(write), 512, 0);
	for (unsigned i = 0; i < 3; i++)
		offer(&g, 2, (uint16_t)(4 * i));
	kick(&g, 2);
	g.used[2] += 2;
	wait_used(&g, 2);
	for (unsigned i = 0; i < 3; i++)
		expect_good(answer_of(&g, i));
	assert_int_equal(pc_gate.syncs, 1);
}

static void mode_select_is_checked(void **state)
{
	struct guest g;
	uint8_t *data;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	data = data_of(&g, 0);
	expect_good(SEND(&g, 0, 0, 0x15, 0x10));
	/* All that was sensed can be given back, block descriptor and all. */
	expect_good(SEND(&g, 0, 255, 0x5a, 0, 0x3f, 0, 0, 0, 0, B16(255)));
	put16(data, 0);
	data[8 + 8 + 12 + 2] = 0; /* WCE */
	expect_good(SEND(&g, 60, 0, 0x55, 0x10, 0, 0, 0, 0, 0, B16(60)));
	assert_int_equal(sense_wce(&g), 0);
	expect_good(SEND(&g, 0, 255, 0x5a, 0, 0x3f, 0, 0, 0, 0, B16(255)));
	put16(data, 0);
	put24(data + 8 + 5, 4096); /* another block length */
	expect_sense(SEND(&g, 60, 0, 0x55, 0x10, 0, 0, 0, 0, 0, B16(60)),
		     BAD_PARAMETER);
	select_wce(&g, true);
	data[7] = 1; /* what can't be changed */
	expect_sense(SEND(&g, 24, 0, 0x15, 0x10, 0, 0, 24), BAD_PARAMETER);
	data[7] = 0;
	data[5] = 17; /* a page of another length */
	expect_sense(SEND(&g, 24, 0, 0x15, 0x10, 0, 0, 24), BAD_PARAMETER);
	data[5] = 18;
	data[4] = 0x2a; /* no such page */
	expect_sense(SEND(&g, 24, 0, 0x15, 0x10, 0, 0, 24), BAD_PARAMETER);
	data[4] = 0x08; /* cut off */
	expect_sense(SEND(&g, 23, 0, 0x15, 0x10, 0, 0, 23), BAD_LENGTH);
	expect_sense(SEND(&g, 5, 0, 0x15, 0x10, 0, 0, 5), BAD_LENGTH);
	expect_sense(SEND(&g, 3, 0, 0x15, 0x10, 0, 0, 3), BAD_LENGTH);
	data[3] = 200; /* a block descriptor past the end */
	expect_sense(SEND(&g, 24, 0, 0x15, 0x10, 0, 0, 24), BAD_LENGTH);
	expect_sense(SEND(&g, 24, 0, 0x15, 0x11, 0, 0, 24), BAD_FIELD);
	assert_int_equal(SEND(&g, 8, 0, 0x15, 0x10, 0, 0, 24).response, 1);
	assert_int_equal(sense_wce(&g), 4);
}

/* A driver that recovers must not find a cache on that it had turned off. */
static void reset_leaves_the_cache_off(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	expect_good(select_wce(&g, false));
	memset(pc_ram(g.pc, HEAD(15)), 0, 32);
	*pc_ram(g.pc, HEAD(15) + 4) = 5; /* LOGICAL UNIT RESET */
	*pc_ram(g.pc, HEAD(15) + 8) = 1;
	put_desc(&g, 0, 0, HEAD(15), 24, 1);
	put_desc(&g, 0, 1, HEAD(15) + 0x200, 1, 2);
	offer(&g, 0, 0);
	kick(&g, 0);
	wait_used(&g, 0);
	expect_sense(SEND(&g, 0, 0, 0x00), 0x062903);
	assert_int_equal(sense_wce(&g), 0);
	/* The next driver finds it as it was made. */
	start(&g);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	assert_int_equal(sense_wce(&g), 4);
}

static void stopped_disks_serve_nothing(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	write_block(&g, 0, 1);
	expect_good(SEND(&g, 0, 0, 0x1b, 0, 0, 0, 0));
	assert_int_equal(pc_gate.syncs, 1);
	expect_sense(SEND(&g, 0, 0, 0x00), 0x020402);
	expect_sense(SEND(&g, 0, 512, 0x28, 0, B32(0), 0, B16(1)), 0x020402);
	expect_good(SEND(&g, 0, 36, 0x12, 0, 0, 0, 36));
	expect_good(SEND(&g, 0, 0, 0x1b, 0, 0, 0, 0x10)); /* a power state */
	expect_good(SEND(&g, 0, 0, 0x1b, 0, 0, 0, 1));
	expect_good(SEND(&g, 0, 0, 0x00));
	expect_good(SEND(&g, 0, 0, 0x1e, 0, 0, 0, 1));
}

/* ---- CD-ROM ---- */

struct cd {
	struct guest g;
	struct device *dev;
	struct drive *drive;
};

static void make_cd(struct cd *cd, struct fake_pc *pc)
{
	struct device_args args = {.devfn = -1, .io = pc->io, .unit = 1};
	struct drive_config cfg = {.path = pc->disk_path, .readonly = true};

	make(&cd->g, pc, DRIVE_WRITEBACK, false);
	start(&cd->g);
	pc_disk_file(pc, "cd.iso");
	world_stop(pc->m.world, NULL);
	cd->drive = drive_open(pc->io, &cfg, NULL, &pc->e);
	world_resume(pc->m.world);
	assert_non_null(cd->drive);
	args.drive = cd->drive;
	args.parent = cd->g.dev;
	cd->dev = pc_add(pc, &scsi_cdrom_class, "cdrom0", &args);
	cd->g.lun[1] = 1;
}

static void drop_cd(struct cd *cd)
{
	struct fake_pc *pc = cd->g.pc;

	world_stop(pc->m.world, NULL);
	device_destroy(cd->dev);
	drive_close(cd->drive);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
}

struct change {
	struct drive *drive;
	const char *path;
};

static void change_call(void *arg)
{
	struct change *c = arg;

	drive_change_medium(c->drive, c->path, NULL);
}

static void cdrom(void **state)
{
	struct fake_pc *pc = *state;
	struct guest *g;
	struct change change;
	struct cd cd;
	uint8_t *data;

	make_cd(&cd, pc);
	g = &cd.g;
	data = data_of(g, 0);
	expect_good(SEND(g, 0, 36, 0x12, 0, 0, 0, 36));
	assert_int_equal(data[0], 5);
	assert_int_equal(data[1], 0x80);
	expect_sense(SEND(g, 0, 0, 0x00), ATTENTION_POWER_ON);
	expect_good(SEND(g, 0, 8, 0x25));
	assert_int_equal(get32(data), PC_DISK_LEN / 2048 - 1);
	assert_int_equal(get32(data + 4), 2048);
	expect_good(SEND(g, 0, 4096, 0x28, 0, B32(1), 0, B16(2)));
	expect_sense(
		SEND(g, 0, 4096, 0x28, 0, B32(PC_DISK_LEN / 2048), 0, B16(1)),
		OUT_OF_RANGE);
	assert_int_equal(SEND(g, 0, 2047, 0x28, 0, B32(1), 0, B16(1)).response,
			 1);
	expect_good(SEND(g, 0, 20, 0x43, 0, 0, 0, 0, 0, 0, B16(20)));
	assert_int_equal(get16(data), 18);
	expect_good(SEND(g, 0, 64, 0x46, 0, B16(0), 0, 0, 0, B16(64)));
	assert_int_equal(get16(data + 6), 0x0008);
	expect_good(SEND(g, 0, 64, 0x5a, 0, 0x2a, 0, 0, 0, 0, B16(64)));
	assert_int_equal(data[8], 0x2a);
	expect_sense(SEND(g, 2048, 0, 0x2a, 0, B32(0), 0, B16(1)),
		     INVALID_CODE);
	/* Locked, then ejected. */
	expect_good(SEND(g, 0, 0, 0x1e, 0, 0, 0, 1));
	expect_sense(SEND(g, 0, 0, 0x1b, 0, 0, 0, 2), 0x055302);
	expect_good(SEND(g, 0, 0, 0x1e, 0, 0, 0, 0));
	expect_good(SEND(g, 0, 0, 0x1b, 0, 0, 0, 2));
	expect_sense(SEND(g, 0, 0, 0x00), 0x023a00);
	/* A person puts another in. */
	change = (struct change){cd.drive, pc->disk_path};
	loop_call(pc->io, change_call, &change);
	expect_good(SEND(g, 0, 64, 0x4a, 1, 0, 0, 0x10, 0, 0, B16(64)));
	assert_int_equal(data[4], 2);
	expect_sense(SEND(g, 0, 0, 0x00), 0x062800);
	expect_good(SEND(g, 0, 0, 0x00));
	drop_cd(&cd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(inquiry),
		T(vital_product_data),
		T(capacity),
		T(codes_nobody_knows),
		T(request_sense),
		T(transfers_of_all_lengths),
		T(transfers_that_are_refused),
		T(forced_unit_access),
		T(synchronize_cache),
		T(readonly_disks_refuse_writes),
		T(verify),
		T(write_and_verify),
		T(unmap),
		T(write_same),
		T(unmap_is_stable_once),
		T(write_same_is_stable_once),
		T(mode_sense),
		T(guest_switches_the_write_cache),
		T(the_very_next_command_knows),
		T(mode_select_is_checked),
		T(reset_leaves_the_cache_off),
		T(stopped_disks_serve_nothing),
		T(cdrom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
