/* The NVMe controller, driven by a guest's driver (nvme_guest.h): what it says
 * of itself, features, log pages, events. */
#include "tests/unit/nvme_guest.h"

#include "core/blk/drive_actions.h"

static uint64_t get(const uint8_t *p, unsigned len)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

/* ---- what it says of itself ---- */

static void registers_say_what_it_is(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(pci_config_read((void *)g.dev, 8, 4) >> 8, 0x010802);
	assert_int_equal(pc_in(g.pc, PC_BAR, 8), 0x203c0103ff);
	assert_int_equal(pc_in(g.pc, PC_BAR, 4), 0x3c0103ff);
	assert_int_equal(pc_in(g.pc, PC_BAR + 4, 4), 0x20);
	assert_int_equal(pc_in(g.pc, PC_BAR + NVME_VS, 4), 0x10400);
	assert_int_equal(g_csts(&g), 0);
	pc_out(g.pc, PC_BAR + NVME_ASQ, 0x123456789abcdef0, 8);
	assert_int_equal(pc_in(g.pc, PC_BAR + NVME_ASQ, 8), 0x123456789abcd000);
	pc_out(g.pc, PC_BAR + NVME_ASQ + 4, 7, 4);
	assert_int_equal(pc_in(g.pc, PC_BAR + NVME_ASQ, 8), 0x79abcd000);
	pc_out(g.pc, PC_BAR + NVME_INTMS, 6, 4);
	pc_out(g.pc, PC_BAR + NVME_INTMC, 2, 4);
	assert_int_equal(pc_in(g.pc, PC_BAR + NVME_INTMS, 4), 4);
	assert_int_equal(pc_in(g.pc, PC_BAR + NVME_INTMC, 4), 4);
	/* Narrow writes do nothing. */
	pc_out(g.pc, PC_BAR + NVME_INTMC, 4, 1);
	assert_int_equal(pc_in(g.pc, PC_BAR + NVME_INTMS, 4), 4);
	assert_int_equal(pc_in(g.pc, PC_BAR + 0x38, 8), 0);
}

static void identify_tells_the_truth(void **state)
{
	struct guest g;
	uint8_t *p, id[16];

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	p = pc_ram(g.pc, G_DATA);
	assert_int_equal(g_admin(&g, NVME_IDENTIFY, 0, NVME_CNS_CTRL, 0), 0);
	assert_int_equal(get(p, 2), pci_config_read((void *)g.dev, 0, 2));
	assert_memory_equal(p + 4, "disk0               ", 20);
	assert_memory_equal(p + 24, "Binnacle NVMe Disk  ", 20);
	assert_int_equal(p[77], 8);
	assert_int_equal(get(p + 80, 4), 0x10400);
	assert_int_equal(get(p + 256, 2), 0x100); /* doorbell buffers */
	assert_int_equal(p[512], 0x66);
	assert_int_equal(p[513], 0x44);
	assert_int_equal(get(p + 516, 4), 1);
	assert_int_equal(get(p + 520, 2), 0x1c);
	assert_int_equal(p[525] & 1, 1);
	assert_memory_equal(p + 768, "nqn.2014-08.org.nvmexpress:uuid:", 32);

	assert_int_equal(g_admin(&g, NVME_IDENTIFY, 1, NVME_CNS_NS, 0), 0);
	assert_int_equal(get(p, 8), G_BLOCKS);
	assert_int_equal(get(p + 8, 8), G_BLOCKS);
	assert_int_equal(p[26], 0);
	assert_int_equal(p[99], 0);
	assert_int_equal(p[130], 9);
	memcpy(id, p + 104, 16);

	assert_int_equal(g_admin(&g, NVME_IDENTIFY, 0, NVME_CNS_NS_LIST, 0), 0);
	assert_int_equal(get(p, 8), 1);
	assert_int_equal(g_admin(&g, NVME_IDENTIFY, 1, NVME_CNS_NS_LIST, 0), 0);
	assert_int_equal(get(p, 8), 0);
	assert_int_equal(g_admin(&g, NVME_IDENTIFY, 1, NVME_CNS_NS_DESC, 0), 0);
	assert_int_equal(get(p, 4), 0x1002);
	assert_memory_equal(p + 4, id, 16);
	assert_int_equal(get(p + 20, 4), 0);
}

/* ---- features ---- */

static void features_are_kept_until_a_reset(void **state)
{
	static const struct {
		unsigned id;
		uint32_t set, got, initial;
	} rows[] = {
		{NVME_FEAT_ARBITRATION, 0x01020303, 0x01020303, 6},
		{NVME_FEAT_POWER, 0, 0, 0},
		{NVME_FEAT_TEMPERATURE, 350, 350, 0xffff},
		{NVME_FEAT_RECOVERY, 0x12345, 0x2345, 0},
		{NVME_FEAT_COALESCING, 0x0207, 0x0207, 0},
		{NVME_FEAT_VECTOR, 0, 0, 0},
		{NVME_FEAT_ATOMICITY, 1, 1, 0},
		{NVME_FEAT_EVENTS, 0xffffff00, 0x100, 0},
	};
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	g_start(&g, 32);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned id = rows[i].id;

		assert_int_equal(g_get_feature(&g, id), rows[i].initial);
		assert_int_equal(g_set_feature(&g, id, rows[i].set), 0);
		assert_int_equal(g_get_feature(&g, id), rows[i].got);
		assert_int_equal(g_get_feature(&g, id | 1 << 8),
				 rows[i].initial);
		assert_int_equal(g_get_feature(&g, id | 2 << 8),
				 rows[i].initial);
		assert_int_equal(g_get_feature(&g, id | 3 << 8), 4);
	}
	assert_int_equal(g_set_feature(&g, NVME_FEAT_VECTOR, 1u << 16 | 5), 0);
	assert_int_equal(g_admin(&g, NVME_GET_FEATURES, 0, 9, 5), 0);
	assert_int_equal(g.last.result, 1u << 16 | 5);
	assert_int_equal(g_admin(&g, NVME_GET_FEATURES, 0, 4, 1u << 20), 0);
	assert_int_equal(g.last.result, 0);
	g_start(&g, 32);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(g_get_feature(&g, rows[i].id),
				 rows[i].initial);
}

static void queues_are_granted(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	g_start(&g, 32);
	assert_int_equal(g_get_feature(&g, NVME_FEAT_QUEUES), 0x000f000f);
	assert_int_equal(g_set_feature(&g, NVME_FEAT_QUEUES, 0x00ff00ff), 0);
	assert_int_equal(g.last.result, 0x000f000f);
	assert_int_equal(g_set_feature(&g, NVME_FEAT_QUEUES, 0xffffffff),
			 NVME_INVALID_FIELD);
	assert_int_equal(g_set_feature(&g, NVME_FEAT_QUEUES, 0x00010001), 0);
	assert_int_equal(g.last.result, 0x00010001);
	g_create_pair(&g, 2, 16);
	g_queue_start(&g, 3, 3, 16);
	assert_int_equal(g_create_cq(&g, 3, 16, 3), NVME_INVALID_QUEUE_ID);
}

/* ---- log pages ---- */

static void log_pages(void **state)
{
	struct guest g;
	uint8_t *p;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	p = pc_ram(g.pc, G_DATA);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(g_do_rw(&g, 1, NVME_READ, G_BLOCKS + i, 1),
				 NVME_LBA_RANGE);
	assert_true(g.last.status >> 1 & NVME_STATUS_MORE);
	assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, ~0u,
				 NVME_LOG_ERROR | 255u << 16, 0),
			 0);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(get(p + 64 * i, 8), 20 - i);
		assert_int_equal(get(p + 64 * i + 8, 2), 1);
		assert_int_equal(get(p + 64 * i + 12, 2), NVME_LBA_RANGE << 1);
		assert_int_equal(get(p + 64 * i + 16, 8), G_BLOCKS + 19 - i);
		assert_int_equal(get(p + 64 * i + 24, 4), 1);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 16), 0);
	memset(p, 0xee, 4096);
	assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, ~0u,
				 NVME_LOG_SMART | 127u << 16, 0),
			 0);
	assert_int_equal(p[0], 0);
	assert_int_equal(get(p + 1, 2), 313);
	assert_int_equal(get(p + 32, 8), 1);
	assert_int_equal(get(p + 48, 8), 1);
	assert_int_equal(get(p + 64, 8), 20);
	assert_int_equal(get(p + 80, 8), 3);
	assert_int_equal(get(p + 176, 8), 20);
	assert_int_equal(p[511], 0);
	assert_int_equal(p[512], 0xee);
	/* From an offset on. */
	struct nvme_cmd c = {.opcode = NVME_GET_LOG_PAGE,
			     .prp1 = G_DATA,
			     .dw10 = NVME_LOG_SMART | 3u << 16,
			     .dw12 = 176};
	assert_int_equal(g_do(&g, 0, &c), 0);
	assert_int_equal(get(p, 8), 20);
	assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, ~0u,
				 NVME_LOG_FIRMWARE | 127u << 16, 0),
			 0);
	assert_int_equal(p[0], 1);
	assert_memory_equal(p + 8, BINNACLE_VERSION "   ", 8);
	assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, ~0u,
				 NVME_LOG_EFFECTS | 1023u << 16, 0),
			 0);
	assert_int_equal(get(p + 4 * NVME_IDENTIFY, 4), 1);
	assert_int_equal(get(p + 4 * 0x33, 4), 0);
	assert_int_equal(get(p + 1024 + 4 * NVME_WRITE, 4), 3);
	assert_int_equal(get(p + 1024 + 4 * NVME_FLUSH, 4), 1);
	assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, ~0u,
				 NVME_LOG_CHANGED_NS | 1023u << 16, 0),
			 0);
	assert_int_equal(get(p, 8), 0);
}

/* ---- asynchronous events ---- */

static void wait_event(struct guest *g, uint16_t cid, uint32_t result)
{
	assert_int_equal(g_wait(g, 0), 0);
	assert_int_equal(g->last.cid, cid);
	assert_int_equal(g->last.result, result);
}

static void wild_doorbells_are_events(void **state)
{
	struct nvme_cmd c = {.opcode = NVME_ASYNC_EVENT};
	struct guest g;
	uint16_t cid;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	cid = g_send(&g, 0, &c);
	pc_out(g.pc, PC_BAR + NVME_DOORBELLS + 8 * 9, 1, 4);
	wait_event(&g, cid, 0x010000);
	/* The next one is told when the log was read. */
	cid = g_send(&g, 0, &c);
	pc_out(g.pc, PC_BAR + NVME_DOORBELLS + 8, 64, 4);
	assert_int_equal(g_get_feature(&g, NVME_FEAT_EVENTS), 0);
	assert_int_equal(
		g_admin(&g, NVME_GET_LOG_PAGE, 0, NVME_LOG_ERROR | 1u << 15, 0),
		0);
	assert_int_equal(g_get_feature(&g, NVME_FEAT_EVENTS), 0);
	assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, 0, NVME_LOG_ERROR, 0),
			 0);
	wait_event(&g, cid, 0x010100);
	/* More taken from a completion queue than there was; no queue at all;
	 * the register's last word. */
	pc_out(g.pc, PC_BAR + NVME_DOORBELLS + 12, 5, 4);
	pc_out(g.pc, PC_BAR + NVME_DOORBELLS + 0xffc, 0xffffffff, 4);
	pc_out(g.pc, PC_BAR + NVME_DOORBELLS + 8 * 17, 0, 4);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 8), 0);
	assert_false(g.dev->failed);
	assert_int_equal(g_csts(&g), NVME_CSTS_RDY);
}

static void event_requests_can_be_taken_back(void **state)
{
	struct nvme_cmd c = {.opcode = NVME_ASYNC_EVENT};
	struct guest g;
	uint16_t cids[4];

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 4; i++)
		cids[i] = g_send(&g, 0, &c);
	assert_int_equal(g_do(&g, 0, &c), NVME_EVENT_LIMIT);
	for (unsigned i = 0; i < 4; i++) {
		c = (struct nvme_cmd){.opcode = NVME_ABORT,
				      .dw10 = (uint32_t)cids[i] << 16};
		g_send(&g, 0, &c);
		assert_int_equal(g_wait(&g, 0), NVME_ABORT_REQUESTED);
		assert_int_equal(g.last.cid, cids[i]);
		assert_int_equal(g_wait(&g, 0), 0);
		assert_int_equal(g.last.result, 0);
	}
	/* What isn't there, and what the drive has, stays. */
	assert_int_equal(g_admin(&g, NVME_ABORT, 0, 7u << 16 | 1, 0), 0);
	assert_int_equal(g.last.result, 1);
}

static void heat_is_an_event(void **state)
{
	struct nvme_cmd c = {.opcode = NVME_ASYNC_EVENT};
	struct guest g;
	uint16_t cid;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	cid = g_send(&g, 0, &c);
	assert_int_equal(g_set_feature(&g, NVME_FEAT_TEMPERATURE, 300), 0);
	g_send(&g, 0,
	       &(struct nvme_cmd){.opcode = NVME_SET_FEATURES,
				  .dw10 = NVME_FEAT_EVENTS,
				  .dw11 = 2});
	assert_int_equal(g_wait(&g, 0), 0);
	wait_event(&g, cid, 0x020101);
	assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, 0,
				 NVME_LOG_SMART | 127u << 16, 0),
			 0);
	assert_int_equal(*pc_ram(g.pc, G_DATA), 2);
}

/* Told, when it is asked for, by an event that the log of changes follows. */
static void a_grown_disk_is_an_event(void **state)
{
	struct nvme_cmd c = {.opcode = NVME_ASYNC_EVENT};
	struct fake_pc *pc = *state;
	struct guest g;
	uint16_t cid;
	uint8_t *p;

	g_make_ready(&g, pc, DRIVE_WRITEBACK, false);
	p = pc_ram(pc, G_DATA);
	for (unsigned told = 0; told < 2; told++) {
		uint64_t len = PC_DISK_LEN + (told + 1) * 4096u;

		if (told)
			assert_int_equal(
				g_set_feature(&g, NVME_FEAT_EVENTS, 1u << 8),
				0);
		cid = g_send(&g, 0, &c);
		g_get_feature(&g, NVME_FEAT_EVENTS);
		world_stop(pc->m.world, NULL);
		assert_int_equal(drive_grow(pc->drive, len, &pc->e), 0);
		assert_int_equal(nvme_class.disk_resized(g.dev), told);
		world_resume(pc->m.world);
		if (told)
			wait_event(&g, cid, 0x040002);
		assert_int_equal(g_admin(&g, NVME_IDENTIFY, 1, NVME_CNS_NS, 0),
				 0);
		assert_int_equal(get(p, 8), len / 512);
		assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, 0,
					 NVME_LOG_CHANGED_NS | 1023u << 16, 0),
				 0);
		assert_int_equal(get(p, 8), 1);
		assert_int_equal(g_admin(&g, NVME_GET_LOG_PAGE, 0,
					 NVME_LOG_CHANGED_NS | 1023u << 16, 0),
				 0);
		assert_int_equal(get(p, 8), 0);
	}
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, G_BLOCKS + 8, 8), 0);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, G_BLOCKS + 16, 1),
			 NVME_LBA_RANGE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers_say_what_it_is),
		T(identify_tells_the_truth),
		T(features_are_kept_until_a_reset),
		T(queues_are_granted),
		T(log_pages),
		T(wild_doorbells_are_events),
		T(event_requests_can_be_taken_back),
		T(heat_is_an_event),
		T(a_grown_disk_is_an_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
