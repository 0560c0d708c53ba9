/* The NVMe controller, driven by a guest's driver (nvme_guest.h): commands
 * that move data. */
#include "tests/unit/nvme_guest.h"

static unsigned flush(struct guest *g)
{
	struct nvme_cmd c = {.opcode = NVME_FLUSH, .nsid = 1};

	return g_do(g, 1, &c);
}

static void data_goes_round(void **state)
{
	struct guest g;
	uint8_t *data;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	data = pc_ram(g.pc, G_DATA);
	memset(data, 0xa7, 8192);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 100, 16), 0);
	assert_int_equal(pc_gate.syncs, 0);
	assert_int_equal(flush(&g), 0);
	assert_int_equal(pc_gate.syncs, 1);
	memset(data, 0, 8192);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 100, 16), 0);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(data[i], 0xa7);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 116, 1), 0);
	assert_int_equal(data[0], 0);
	assert_int_equal(data[512], 0xa7);
}

/* Lists of nr pages each, which go on in one another from off on. */
static void put_list(struct guest *g, uint64_t at, unsigned first, unsigned nr)
{
	for (unsigned i = first; i < nr; i++) {
		uint64_t page = G_DATA + 8192u * (nr - i), next;

		if (at % 4096 == 4088 && i + 1 < nr) {
			next = (at & ~0xfffull) + 4096;
			memcpy(pc_ram(g->pc, at), &next, 8);
			at = next;
		}
		memcpy(pc_ram(g->pc, at), &page, 8);
		at += 8;
	}
}

static void long_commands_take_lists_of_pages(void **state)
{
	static const struct {
		unsigned off, pages, list;
	} rows[] = {
		{0, 3, 0},	{0, 256, 0},	 {512, 256, 0},
		{0, 200, 3000}, {2048, 3, 4088}, {0, 256, 4080},
	};
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned nr = rows[i].pages * 8;
		struct nvme_cmd c = g_rw(NVME_WRITE, 0, nr);
		uint8_t *p = pc_ram(g.pc, 0x400000);

		/* Written in one piece, read through the list. */
		for (unsigned at = 0; at < rows[i].pages * 4096; at += 64)
			*(uint64_t *)(void *)(p + at) = i << 20 | at;
		for (unsigned at = 0; at < nr; at += 16) {
			c = g_rw(NVME_WRITE, at, nr - at < 16 ? nr - at : 16);
			c.prp1 = 0x400000 + 512 * at;
			c.prp2 = c.prp1 + 4096;
			assert_int_equal(g_do(&g, 1, &c), 0);
		}
		c = g_rw(NVME_READ, 0, nr);
		c.prp1 = G_DATA + rows[i].off;
		c.prp2 = G_LISTS + rows[i].list;
		put_list(&g, c.prp2, 1, rows[i].pages + !!rows[i].off);
		assert_int_equal(g_do(&g, 1, &c), 0);
		for (unsigned at = 0; at < rows[i].pages * 4096; at += 64) {
			unsigned from = at + rows[i].off;
			unsigned page = from / 4096;
			unsigned all = rows[i].pages + !!rows[i].off;
			uint64_t gpa =
				page ? G_DATA + 8192u * (all - page) : G_DATA;
			uint64_t got = *(uint64_t *)(void *)pc_ram(
				g.pc, gpa + from % 4096);

			assert_int_equal(got, i << 20 | at);
		}
	}
}

static void bad_pages_fail_the_command(void **state)
{
	static const struct {
		uint64_t prp1, prp2;
		unsigned nr, status;
	} rows[] = {
		{G_DATA + 1, 0, 1, NVME_PRP_OFFSET},
		{G_DATA + 2, 0, 1, NVME_PRP_OFFSET},
		{G_DATA + 4, 0, 1, NVME_OK},
		{G_DATA, G_DATA + 512, 16, NVME_PRP_OFFSET},
		{G_DATA, G_LISTS + 4, 24, NVME_PRP_OFFSET},
		{PC_HOLE, 0, 1, NVME_DATA_TRANSFER_ERROR},
		{0xfffffffffffff000, 0, 8, NVME_DATA_TRANSFER_ERROR},
		{G_DATA, PC_HOLE, 16, NVME_DATA_TRANSFER_ERROR},
		{G_DATA, PC_HOLE, 24, NVME_DATA_TRANSFER_ERROR},
		{G_DATA, PC_BAR, 24, NVME_DATA_TRANSFER_ERROR},
		{PC_RAM_LEN - 512, PC_RAM_LEN, 2, NVME_DATA_TRANSFER_ERROR},
		/* The list's first entry is 1: no page. */
		{G_DATA, G_LISTS, 24, NVME_PRP_OFFSET},
		/* The last entry leads back to itself, and to its page. */
		{G_DATA, G_LISTS + 8192 + 4088, 2048, NVME_PRP_OFFSET},
		{G_DATA, G_LISTS + 12288 + 4088, 2048, NVME_PRP_OFFSET},
	};
	struct guest g;
	uint64_t page;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	page = 1;
	memcpy(pc_ram(g.pc, G_LISTS), &page, 8);
	page = G_LISTS + 8192 + 4088;
	memcpy(pc_ram(g.pc, page), &page, 8);
	/* A page whose entries are that page, and the last leads to it. */
	page = G_LISTS + 12288;
	for (unsigned i = 0; i < 512; i++)
		memcpy(pc_ram(g.pc, page + 8 * i), &page, 8);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]) - 1; i++) {
		struct nvme_cmd c = g_rw(NVME_WRITE, 0, rows[i].nr);

		c.prp1 = rows[i].prp1;
		c.prp2 = rows[i].prp2;
		if (g_do(&g, 1, &c) != rows[i].status)
			fail_msg("row %u: 0x%x", i, g.last.status >> 1);
	}
	/* It ends with the command's length: nothing is wrong with it. */
	struct nvme_cmd c = g_rw(NVME_WRITE, 0, 2048);
	c.prp2 = G_LISTS + 12288 + 4088;
	assert_int_equal(g_do(&g, 1, &c), 0);
	assert_false(g.dev->failed);
}

static const struct {
	struct nvme_cmd c;
	unsigned queue, status;
} bad_fields[] = {
	{{.opcode = 0x99}, 0, NVME_INVALID_OPCODE},
	{{.opcode = 0x99, .nsid = 1}, 1, NVME_INVALID_OPCODE},
	{{.opcode = NVME_READ, .nsid = 1, .flags = 1}, 1, NVME_INVALID_FIELD},
	{{.opcode = NVME_READ, .nsid = 1, .flags = 0x40},
	 1,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_READ}, 1, NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_READ, .nsid = 2}, 1, NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_READ, .nsid = ~0u}, 1, NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_FLUSH, .nsid = 2}, 1, NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_FLUSH, .nsid = ~0u}, 1, NVME_OK},
	{{.opcode = NVME_READ, .nsid = 1, .dw10 = G_BLOCKS}, 1, NVME_LBA_RANGE},
	{{.opcode = NVME_READ,
	  .nsid = 1,
	  .prp1 = G_DATA,
	  .dw10 = G_BLOCKS - 1,
	  .dw12 = 1},
	 1,
	 NVME_LBA_RANGE},
	{{.opcode = NVME_WRITE, .nsid = 1, .dw10 = ~0u, .dw11 = ~0u},
	 1,
	 NVME_LBA_RANGE},
	{{.opcode = NVME_WRITE, .nsid = 1, .dw11 = 0x800000},
	 1,
	 NVME_LBA_RANGE},
	{{.opcode = NVME_WRITE, .nsid = 1, .dw12 = 2048},
	 1,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_WRITE_ZEROES, .nsid = 1, .dw12 = 0xffff},
	 1,
	 NVME_LBA_RANGE},
	{{.opcode = NVME_IDENTIFY, .dw10 = 0x77, .prp1 = G_DATA},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_IDENTIFY, .nsid = 2, .prp1 = G_DATA},
	 0,
	 NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_IDENTIFY, .nsid = ~0u, .dw10 = 2},
	 0,
	 NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_IDENTIFY, .nsid = 7, .dw10 = 3},
	 0,
	 NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_IDENTIFY, .dw10 = 1, .prp1 = PC_HOLE},
	 0,
	 NVME_DATA_TRANSFER_ERROR},
	{{.opcode = NVME_GET_LOG_PAGE, .dw10 = 0x77}, 0, NVME_INVALID_LOG_PAGE},
	{{.opcode = NVME_GET_LOG_PAGE, .dw10 = 2, .nsid = 5},
	 0,
	 NVME_INVALID_NAMESPACE},
	{{.opcode = NVME_GET_LOG_PAGE, .dw10 = 2, .dw12 = 1024},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_GET_LOG_PAGE, .dw10 = 2, .dw13 = 1},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_GET_LOG_PAGE,
	  .dw10 = 2 | 0xffffu << 16,
	  .dw11 = 0xffff,
	  .prp1 = G_DATA},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_SET_FEATURES, .dw10 = 0x33}, 0, NVME_INVALID_FIELD},
	{{.opcode = NVME_GET_FEATURES, .dw10 = 3}, 0, NVME_INVALID_FIELD},
	{{.opcode = NVME_GET_FEATURES, .dw10 = 6 | 4 << 8},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_SET_FEATURES, .dw10 = 6 | 1u << 31},
	 0,
	 NVME_NOT_SAVEABLE},
	{{.opcode = NVME_SET_FEATURES, .dw10 = 6, .nsid = 1},
	 0,
	 NVME_NOT_NS_SPECIFIC},
	{{.opcode = NVME_SET_FEATURES, .dw10 = 2, .dw11 = 1},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_SET_FEATURES, .dw10 = 4, .dw11 = 5 << 16},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_SET_FEATURES, .dw10 = 9, .dw11 = 17},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_SET_FEATURES, .dw10 = 7, .dw11 = 1},
	 0,
	 NVME_SEQUENCE_ERROR},
	{{.opcode = NVME_ABORT, .dw10 = 99}, 0, NVME_INVALID_FIELD},
	{{.opcode = NVME_DOORBELL_BUFFER}, 0, NVME_INVALID_FIELD},
	{{.opcode = NVME_DOORBELL_BUFFER,
	  .prp1 = G_SHADOW + 4,
	  .prp2 = G_WISHES},
	 0,
	 NVME_INVALID_FIELD},
	{{.opcode = NVME_DOORBELL_BUFFER, .prp1 = G_SHADOW, .prp2 = PC_HOLE},
	 0,
	 NVME_DATA_TRANSFER_ERROR},
};

static void bad_fields_have_their_status(void **state)
{
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < sizeof(bad_fields) / sizeof(bad_fields[0]);
	     i++) {
		struct nvme_cmd c = bad_fields[i].c;

		if (g_do(&g, bad_fields[i].queue, &c) != bad_fields[i].status)
			fail_msg("row %u: 0x%x", i, g.last.status >> 1 & 0x7ff);
		assert_int_equal(!!(g.last.status >> 1 & NVME_STATUS_DNR),
				 !!bad_fields[i].status);
	}
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 8), 0);
}

static void queues_that_cannot_be(void **state)
{
	static const struct {
		uint8_t opcode;
		uint64_t prp1;
		uint32_t dw10, dw11;
		unsigned status;
	} rows[] = {
		{NVME_CREATE_CQ, G_CQ(2), 0x3f0000, 3, NVME_INVALID_QUEUE_ID},
		{NVME_CREATE_CQ, G_CQ(2), 0x3f0001, 3, NVME_INVALID_QUEUE_ID},
		{NVME_CREATE_CQ, G_CQ(2), 0x3f0011, 3, NVME_INVALID_QUEUE_ID},
		{NVME_CREATE_CQ, G_CQ(2), 0x3fffff, 3, NVME_INVALID_QUEUE_ID},
		{NVME_CREATE_CQ, G_CQ(2), 2, 3, NVME_INVALID_QUEUE_SIZE},
		{NVME_CREATE_CQ, G_CQ(2), 0x4000002, 3,
		 NVME_INVALID_QUEUE_SIZE},
		{NVME_CREATE_CQ, G_CQ(2), 0x3f0002, 2, NVME_INVALID_FIELD},
		{NVME_CREATE_CQ, G_CQ(2), 0x3f0002, 0x110003,
		 NVME_INVALID_VECTOR},
		{NVME_CREATE_CQ, G_CQ(2) + 16, 0x3f0002, 3, NVME_PRP_OFFSET},
		{NVME_CREATE_CQ, PC_HOLE, 0x3f0002, 3,
		 NVME_DATA_TRANSFER_ERROR},
		{NVME_CREATE_CQ, PC_RAM_LEN - 4096, 0x1ff0002, 3,
		 NVME_DATA_TRANSFER_ERROR},
		{NVME_CREATE_CQ, 0xfffffffffffff000, 0x3ff0002, 3,
		 NVME_DATA_TRANSFER_ERROR},
		{NVME_CREATE_SQ, G_SQ(2), 0x3f0001, 0x10001,
		 NVME_INVALID_QUEUE_ID},
		{NVME_CREATE_SQ, G_SQ(2), 0x3f0002, 1, NVME_INVALID_QUEUE_ID},
		{NVME_CREATE_SQ, G_SQ(2), 0x3f0002, 0x20001, NVME_CQ_INVALID},
		{NVME_CREATE_SQ, G_SQ(2), 0x3f0002, 0xff0001, NVME_CQ_INVALID},
		{NVME_CREATE_SQ, G_SQ(2), 0x3f0002, 0x10000,
		 NVME_INVALID_FIELD},
		{NVME_CREATE_SQ, PC_BAR, 0x3f0002, 0x10001,
		 NVME_DATA_TRANSFER_ERROR},
		{NVME_DELETE_CQ, 0, 1, 0, NVME_INVALID_DELETION},
		{NVME_DELETE_CQ, 0, 0, 0, NVME_INVALID_QUEUE_ID},
		{NVME_DELETE_SQ, 0, 0, 0, NVME_INVALID_QUEUE_ID},
		{NVME_DELETE_SQ, 0, 2, 0, NVME_INVALID_QUEUE_ID},
		{NVME_DELETE_SQ, 0, 1, 0, NVME_OK},
		{NVME_DELETE_CQ, 0, 1, 0, NVME_OK},
		{NVME_DELETE_CQ, 0, 1, 0, NVME_INVALID_QUEUE_ID},
	};
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_cmd c = {
			.opcode = rows[i].opcode,
			.prp1 = rows[i].prp1,
			.dw10 = rows[i].dw10,
			.dw11 = rows[i].dw11,
		};

		if (g_do(&g, 0, &c) != rows[i].status)
			fail_msg("row %u: 0x%x", i, g.last.status >> 1 & 0x7ff);
	}
	g_create_pair(&g, 1, 1024);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 8), 0);
}

static void what_the_host_s_disk_says(void **state)
{
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate.io_error = EIO;
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 8), NVME_READ_ERROR);
	assert_false(g.last.status >> 1 & NVME_STATUS_DNR);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8), NVME_WRITE_FAULT);
	pc_gate.io_error = ENOSPC;
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8),
			 NVME_CAPACITY_EXCEEDED);
	pc_gate.io_error = 0;
	pc_gate.sync_error = EIO;
	assert_int_equal(flush(&g), NVME_WRITE_FAULT);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 8), 0);
}

static void readonly_disks_refuse_writes(void **state)
{
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, true);
	assert_int_equal(g_admin(&g, NVME_IDENTIFY, 1, NVME_CNS_NS, 0), 0);
	assert_int_equal(*pc_ram(g.pc, G_DATA + 99), 1);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8),
			 NVME_WRITE_PROTECTED);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE_ZEROES, 0, 8),
			 NVME_WRITE_PROTECTED);
	assert_int_equal(g_do_rw(&g, 1, NVME_DSM, 0, 8), NVME_WRITE_PROTECTED);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 8), 0);
	assert_int_equal(flush(&g), 0);
}

/* ---- zeroes and ranges ---- */

static void zeroes_and_deallocation(void **state)
{
	struct nvme_cmd c = {.opcode = NVME_DSM, .nsid = 1, .prp1 = G_DATA};
	struct guest g;
	struct {
		uint32_t attributes, nr;
		uint64_t lba;
	} ranges[256] = {{0, 8, 0}, {0, 0, 5}, {7, 16, 100}};

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 2; i++) {
		memset(pc_ram(g.pc, G_DATA), 0x33, 4096);
		assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 8, 8), 0);
		c = g_rw(NVME_WRITE_ZEROES, 8, 8);
		c.dw12 |= i ? NVME_ZEROES_DEAC : 0;
		assert_int_equal(g_do(&g, 1, &c), 0);
		assert_int_equal(g_do_rw(&g, 1, NVME_READ, 8, 8), 0);
		assert_int_equal(*pc_ram(g.pc, G_DATA + 4095), 0);
	}
	c = (struct nvme_cmd){.opcode = NVME_DSM,
			      .nsid = 1,
			      .prp1 = G_DATA + 2048,
			      .prp2 = G_DATA + 4096,
			      .dw10 = 2,
			      .dw11 = NVME_DSM_DEALLOC};
	memcpy(pc_ram(g.pc, G_DATA + 2048), ranges, sizeof(ranges));
	assert_int_equal(g_do(&g, 1, &c), 0);
	c.dw10 = 255;
	assert_int_equal(g_do(&g, 1, &c), 0);
	/* A hint only. */
	c.dw11 = 3;
	assert_int_equal(g_do(&g, 1, &c), 0);
	c.dw11 = NVME_DSM_DEALLOC;
	ranges[255].lba = G_BLOCKS;
	ranges[255].nr = 1;
	memcpy(pc_ram(g.pc, G_DATA + 2048), ranges, sizeof(ranges));
	assert_int_equal(g_do(&g, 1, &c), NVME_LBA_RANGE);
	ranges[255].lba = UINT64_MAX;
	memcpy(pc_ram(g.pc, G_DATA + 2048), ranges, sizeof(ranges));
	assert_int_equal(g_do(&g, 1, &c), NVME_LBA_RANGE);
	c.dw10 = 254;
	assert_int_equal(g_do(&g, 1, &c), 0);
}

/* ---- write cache: C28 ---- */

static void guest_switches_the_write_cache(void **state)
{
	struct nvme_cmd c = g_rw(NVME_WRITE, 0, 8);
	struct guest g;
	unsigned was;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(g_get_feature(&g, NVME_FEAT_WRITE_CACHE), 1);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8), 0);
	assert_int_equal(pc_gate.syncs, 0);
	/* Off: what was written before is stable when that is answered. */
	assert_int_equal(g_set_feature(&g, NVME_FEAT_WRITE_CACHE, 0), 0);
	assert_true(pc_gate.syncs >= 1);
	assert_int_equal(g_get_feature(&g, NVME_FEAT_WRITE_CACHE), 0);
	for (unsigned i = 0; i < 5; i++) {
		was = __atomic_load_n(&pc_gate.syncs, __ATOMIC_SEQ_CST);
		assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8), 0);
		assert_true(pc_gate.syncs > was);
	}
	assert_false(drive_wce(g.pc->drive));
	assert_int_equal(g_set_feature(&g, NVME_FEAT_WRITE_CACHE, 1), 0);
	was = pc_gate.syncs;
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8), 0);
	assert_int_equal(pc_gate.syncs, was);
	assert_true(drive_wce(g.pc->drive));
	/* One write that must be stable. */
	c.dw12 |= NVME_RW_FUA;
	assert_int_equal(g_do(&g, 1, &c), 0);
	assert_int_equal(pc_gate.syncs, was + 1);
	c.opcode = NVME_WRITE_ZEROES;
	assert_int_equal(g_do(&g, 1, &c), 0);
	assert_int_equal(pc_gate.syncs, was + 2);
	/* A reset brings back what the machine was given. */
	assert_int_equal(g_set_feature(&g, NVME_FEAT_WRITE_CACHE, 0), 0);
	g_start(&g, 32);
	assert_int_equal(g_get_feature(&g, NVME_FEAT_WRITE_CACHE), 1);
}

static void write_through_from_the_start(void **state)
{
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITETHROUGH, false);
	assert_int_equal(g_get_feature(&g, NVME_FEAT_WRITE_CACHE), 0);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8), 0);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(g_set_feature(&g, NVME_FEAT_WRITE_CACHE, 1), 0);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 8), 0);
	assert_int_equal(pc_gate.syncs, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(data_goes_round),
		T(long_commands_take_lists_of_pages),
		T(bad_pages_fail_the_command),
		T(bad_fields_have_their_status),
		T(queues_that_cannot_be),
		T(what_the_host_s_disk_says),
		T(readonly_disks_refuse_writes),
		T(zeroes_and_deallocation),
		T(guest_switches_the_write_cache),
		T(write_through_from_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
