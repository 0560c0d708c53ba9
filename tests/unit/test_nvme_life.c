/* The NVMe controller, driven by a guest's driver (nvme_guest.h): queues,
 * interrupts, resets, state. */
#include "tests/unit/nvme_guest.h"

#include "core/disk_driver.h"

static unsigned rw(struct guest *g, unsigned id, uint8_t opcode, uint64_t lba)
{
	struct nvme_cmd c = g_rw(opcode, lba, 1);

	return g_do(g, id, &c);
}

static void close_gate(void)
{
	pc_gate.gate = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	assert_true(pc_gate.gate >= 0);
}

static void open_gate(void)
{
	uint64_t n = 10000;

	assert_int_equal(write(pc_gate.gate, &n, sizeof(n)), sizeof(n));
}

static void remove_gate(void)
{
	close(pc_gate.gate);
	pc_gate.gate = -1;
}

static void wait_in_flight(struct guest *g, unsigned nr)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (drive_in_flight(g->pc->drive) < nr) {
		assert_true(loop_now_ns() < end);
		usleep(1000);
	}
}

/* ---- queues ---- */

/* Writes of one block each, into nr queues by turns, so that rings wrap and
 * phases turn many times; every answer has its command and the ring's head. */
static void many_commands(struct guest *g, unsigned nr, unsigned len,
			  unsigned rounds)
{
	for (unsigned round = 0; round < rounds; round++) {
		unsigned n = 1 + round % (len - 1), id = 1 + round % nr;
		uint16_t first = g->next_cid;
		uint64_t seen = 0;

		for (unsigned i = 0; i < n; i++) {
			struct nvme_cmd c = g_rw(NVME_WRITE, i, 1);

			g_put(g, id, &c);
		}
		g_ring_sq(g, id);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(g_wait(g, g->q[id].cqid), 0);
			assert_int_equal(g->last.sqid, id);
			assert_true((uint16_t)(g->last.cid - first) < n);
			seen |= 1ull << (uint16_t)(g->last.cid - first);
			assert_true(g->last.sq_head < len);
		}
		assert_int_equal(seen, (1ull << n) - 1);
		assert_int_equal(g->last.sq_head, g->q[id].tail);
	}
}

static void rings_wrap_and_phases_turn(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_UNSAFE, false);
	g_start(&g, 2);
	g_create_pair(&g, 1, 5);
	many_commands(&g, 1, 5, 200);
	for (unsigned i = 0; i < 50; i++)
		g_get_feature(&g, NVME_FEAT_ARBITRATION);
}

static void sixteen_queues_work_together(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_UNSAFE, false);
	g_start(&g, 32);
	for (unsigned i = 1; i < G_QUEUES; i++)
		g_create_pair(&g, i, 33);
	many_commands(&g, 16, 33, 600);
	/* All at once. */
	for (unsigned i = 1; i < G_QUEUES; i++)
		for (unsigned n = 0; n < 30; n++) {
			struct nvme_cmd c = g_rw(NVME_READ, n, 1);

			c.prp1 += 512 * (32 * i + n);
			g_put(&g, i, &c);
		}
	for (unsigned i = 1; i < G_QUEUES; i++)
		g_ring_sq(&g, i);
	for (unsigned i = 1; i < G_QUEUES; i++)
		for (unsigned n = 0; n < 30; n++)
			assert_int_equal(g_wait(&g, i), 0);
}

/* 1023 commands in each of two queues: more than there are slots. */
static void queues_are_deep(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_UNSAFE, false);
	g_start(&g, 32);
	for (unsigned id = 1; id < 3; id++) {
		g_create_pair(&g, id, 1024);
		for (unsigned i = 0; i < 1023; i++) {
			struct nvme_cmd c = g_rw(NVME_READ, i, 1);

			c.prp1 += 512 * (1024 * id + i);
			g_put(&g, id, &c);
		}
	}
	g_ring_sq(&g, 1);
	g_ring_sq(&g, 2);
	for (unsigned id = 1; id < 3; id++)
		for (unsigned i = 0; i < 1023; i++)
			assert_int_equal(g_wait(&g, id), 0);
}

static void several_queues_share_a_completion_queue(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_UNSAFE, false);
	g_start(&g, 32);
	g_create_pair(&g, 1, 8);
	g_queue_start(&g, 2, 1, 300);
	assert_int_equal(g_create_sq(&g, 2, 300, 1), 0);
	assert_int_equal(rw(&g, 2, NVME_WRITE, 0), 0);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	assert_int_equal(g_admin(&g, NVME_DELETE_SQ, 0, 1, 0), 0);
	assert_int_equal(g_admin(&g, NVME_DELETE_CQ, 0, 1, 0),
			 NVME_INVALID_DELETION);
	assert_int_equal(rw(&g, 2, NVME_READ, 0), 0);
}

/* Nothing is lost when nobody takes answers for a while. */
static void full_completion_queues_hold_commands_back(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_UNSAFE, false);
	g_start(&g, 32);
	g_create_pair(&g, 1, 4);
	g_queue_start(&g, 2, 1, 64);
	assert_int_equal(g_create_sq(&g, 2, 64, 1), 0);
	for (unsigned buffered = 0; buffered < 2; buffered++) {
		if (buffered)
			g_set_buffers(&g);
		for (unsigned i = 0; i < 20; i++) {
			struct nvme_cmd c = g_rw(NVME_READ, i, 1);

			c.prp1 += 512 * i;
			g_put(&g, 2, &c);
		}
		g_ring_sq(&g, 2);
		usleep(20000);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(g_wait(&g, 1), 0);
	}
}

static void deleted_queues_end_what_they_took(void **state)
{
	struct nvme_cmd c = g_rw(NVME_READ, 0, 1);
	struct guest g;
	uint16_t cid;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	close_gate();
	cid = g_send(&g, 1, &c);
	wait_in_flight(&g, 1);
	c = (struct nvme_cmd){.opcode = NVME_DELETE_SQ, .dw10 = 1};
	g_send(&g, 0, &c);
	/* Others go on, and nothing more is taken from this one. */
	g_send(&g, 1, &(struct nvme_cmd){.opcode = NVME_FLUSH, .nsid = 1});
	c = (struct nvme_cmd){.opcode = NVME_GET_FEATURES, .dw10 = 1};
	g_send(&g, 0, &c);
	assert_int_equal(g_wait(&g, 0), 0);
	assert_int_equal(g.last.cid, c.cid);
	c = (struct nvme_cmd){.opcode = NVME_DELETE_SQ, .dw10 = 1};
	g_send(&g, 0, &c);
	assert_int_equal(g_wait(&g, 0), NVME_INVALID_QUEUE_ID);
	assert_false(g_peek(&g, 0, &g.last));
	open_gate();
	assert_int_equal(g_wait(&g, 0), 0);
	assert_int_equal(g_wait(&g, 1), 0);
	assert_int_equal(g.last.cid, cid);
	assert_false(g_peek(&g, 1, &g.last));
	assert_int_equal(g_admin(&g, NVME_DELETE_CQ, 0, 1, 0), 0);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	remove_gate();
}

/* ---- interrupts ---- */

static void the_pin_follows_the_completion_queues(void **state)
{
	struct nvme_cmd c = g_rw(NVME_READ, 0, 1);
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(g_pin(&g));
	g_send(&g, 1, &c);
	g_wait_peek(&g, 1);
	/* The pin is set after the answers of a batch. */
	while (!g_pin(&g))
		usleep(100);
	pc_out(g.pc, PC_BAR + NVME_INTMS, 1u << 1, 4);
	assert_false(g_pin(&g));
	pc_out(g.pc, PC_BAR + NVME_INTMC, 1u << 1, 4);
	assert_true(g_pin(&g));
	g_next(&g, 1);
	assert_false(g_pin(&g));
	/* With buffers, too, the driver rings for what it took. */
	g_set_buffers(&g);
	for (unsigned i = 0; i < 200; i++) {
		g_send(&g, 1, &c);
		g_wait_peek(&g, 1);
		while (!g_pin(&g))
			usleep(100);
		g_next(&g, 1);
		assert_false(g_pin(&g));
	}
}

static void enable_msix(struct guest *g)
{
	struct pci_dev *d = (struct pci_dev *)(void *)g->dev;

	for (unsigned v = 0; v < 4; v++) {
		uint64_t at = PC_BAR + 0x2000 + 16 * v;

		pc_out(g->pc, at, 0xfee00000, 4);
		pc_out(g->pc, at + 8, 0x41 + v, 4);
		pc_out(g->pc, at + 12, 0, 4);
	}
	pc_config_out(g->pc, g->dev, d->msix.cap + 2, 0x8000, 2);
}

static uint64_t raised(struct guest *g, unsigned vector)
{
	struct pci_dev *d = (struct pci_dev *)(void *)g->dev;

	return __atomic_load_n(&d->msix.msi[vector].raised, __ATOMIC_RELAXED);
}

static void each_completion_queue_has_its_vector(void **state)
{
	struct guest g;
	uint64_t was;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	enable_msix(&g);
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	g_create_pair(&g, 2, 64);
	assert_int_equal(rw(&g, 2, NVME_READ, 0), 0);
	while (!raised(&g, 2))
		usleep(100);
	assert_int_equal(raised(&g, 1), 0);
	assert_true(raised(&g, 0) >= 4);
	assert_false(g_pin(&g));
	/* One batch, one interrupt. */
	close_gate();
	for (unsigned i = 0; i < 8; i++) {
		struct nvme_cmd c = g_rw(NVME_READ, i, 1);

		c.prp1 += 512 * i;
		g_put(&g, 1, &c);
	}
	g_ring_sq(&g, 1);
	wait_in_flight(&g, 8);
	world_stop(g.pc->m.world, NULL);
	open_gate();
	pc_quiesce(g.pc);
	assert_int_equal(raised(&g, 1), 1);
	world_resume(g.pc->m.world);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(g_wait(&g, 1), 0);
	/* A queue that wants none. */
	was = raised(&g, 3);
	g_queue_start(&g, 3, 3, 64);
	struct nvme_cmd c = {.opcode = NVME_CREATE_CQ,
			     .prp1 = G_CQ(3),
			     .dw10 = 3 | 63u << 16,
			     .dw11 = 3u << 16 | 1};
	assert_int_equal(g_do(&g, 0, &c), 0);
	assert_int_equal(g_create_sq(&g, 3, 64, 3), 0);
	assert_int_equal(rw(&g, 3, NVME_READ, 0), 0);
	g_get_feature(&g, 1);
	assert_int_equal(raised(&g, 3), was);
	remove_gate();
}

/* ---- doorbell buffers ---- */

/* An engine that watches doorbells. */
static struct watch {
	uint64_t addr;
	int fd;
} watches[64];

static int watch_doorbell(struct accel_vm *vm, uint64_t addr, unsigned len,
			  bool is_port, int fd, bool add)
{
	(void)vm;
	assert_int_equal(len, 0);
	assert_false(is_port);
	for (unsigned i = 0; i < 64; i++) {
		if (add ? watches[i].addr : watches[i].addr != addr)
			continue;
		watches[i] = (struct watch){add ? addr : 0, fd};
		return 0;
	}
	return -ENOENT;
}

static unsigned nr_watches(void)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < 64; i++)
		nr += watches[i].addr != 0;
	return nr;
}

static uint64_t bar_writes(struct guest *g)
{
	return __atomic_load_n(
		&((struct pci_dev *)(void *)g->dev)->bars[0].writes,
		__ATOMIC_RELAXED);
}

/* Rings as KVM would: a watched address never reaches the device. */
static unsigned ring_watched(struct guest *g, unsigned id, unsigned tail)
{
	uint64_t addr = PC_BAR + NVME_DOORBELLS + 8 * id, one = 1;
	uint32_t old = *g_word(g, G_SHADOW, 2 * id), wish;

	__atomic_store_n(g_word(g, G_SHADOW, 2 * id), tail, __ATOMIC_SEQ_CST);
	wish = __atomic_load_n(g_word(g, G_WISHES, 2 * id), __ATOMIC_SEQ_CST);
	if (!g_wants_ring(wish, old, tail))
		return 0;
	for (unsigned i = 0; i < 64; i++) {
		if (watches[i].addr != addr)
			continue;
		assert_int_equal(write(watches[i].fd, &one, 8), 8);
		return 1;
	}
	fail_msg("doorbell %u is not watched", id);
	return 0;
}

/* Requests that cost no write to a register that the device handles. */
static void buffered_requests_need_no_exit(void **state)
{
	struct accel_fast fast = fake_fast;
	struct accel_ops ops = fake_accel;
	unsigned rings = 0;
	struct guest g;
	uint64_t was;

	memset(watches, 0, sizeof(watches));
	fast.ioeventfd = watch_doorbell;
	ops.fast = &fast;
	((struct fake_pc *)*state)->m.accel = &ops;
	g_make(&g, *state, DRIVE_UNSAFE, false);
	enable_msix(&g);
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	assert_int_equal(nr_watches(), 0);
	g_set_buffers(&g);
	assert_int_equal(nr_watches(), 1);
	g_create_pair(&g, 2, 1024);
	assert_int_equal(nr_watches(), 2);
	was = bar_writes(&g);
	for (unsigned i = 0; i < 3000; i++) {
		struct nvme_cmd c = g_rw(NVME_READ, i % 100, 1);
		unsigned id = 1 + i % 2;

		g_put(&g, id, &c);
		rings += ring_watched(&g, id, g.q[id].tail);
		assert_int_equal(g_wait(&g, id), 0);
	}
	assert_true(rings >= 1 && rings <= 3000);
	assert_int_equal(bar_writes(&g), was);
	/* A busy queue is looked at without being asked. */
	close_gate();
	rings = 0;
	for (unsigned i = 0; i < 60; i++) {
		struct nvme_cmd c = g_rw(NVME_READ, i, 1);

		c.prp1 += 512 * i;
		g_put(&g, 2, &c);
		rings += ring_watched(&g, 2, g.q[2].tail);
		if (i < 20)
			wait_in_flight(&g, i < 16 ? i + 1 : 16);
	}
	assert_int_equal(rings, 16);
	open_gate();
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(g_wait(&g, 2), 0);
	remove_gate();
	assert_int_equal(bar_writes(&g), was);
	/* The BAR moves, decoding goes, the controller is reset. */
	pc_config_out(g.pc, g.dev, 4, 4, 2);
	assert_int_equal(nr_watches(), 0);
	pc_config_out(g.pc, g.dev, 4, 6, 2);
	assert_int_equal(nr_watches(), 2);
	assert_int_equal(g_admin(&g, NVME_DELETE_SQ, 0, 2, 0), 0);
	assert_int_equal(nr_watches(), 1);
	g_stop(&g);
	assert_int_equal(nr_watches(), 0);
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	assert_int_equal(nr_watches(), 0);
	g.pc->m.accel = &fake_accel;
}

static void wild_values_in_the_buffer_are_events(void **state)
{
	struct nvme_cmd c = {.opcode = NVME_ASYNC_EVENT};
	struct guest g;
	uint16_t cid;

	g_make_ready(&g, *state, DRIVE_UNSAFE, false);
	g_set_buffers(&g);
	cid = g_send(&g, 0, &c);
	__atomic_store_n(g_word(&g, G_SHADOW, 2), 64, __ATOMIC_SEQ_CST);
	pc_out(g.pc, PC_BAR + NVME_DOORBELLS + 8, 0, 4);
	assert_int_equal(g_wait(&g, 0), 0);
	assert_int_equal(g.last.cid, cid);
	assert_int_equal(g.last.result, 0x010100);
	__atomic_store_n(g_word(&g, G_SHADOW, 2), g.q[1].tail,
			 __ATOMIC_SEQ_CST);
	__atomic_store_n(g_word(&g, G_SHADOW, 3), 0xffffffff, __ATOMIC_SEQ_CST);
	c = g_rw(NVME_READ, 0, 1);
	g_send(&g, 1, &c);
	assert_int_equal(g_wait(&g, 1), 0);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	assert_false(g.dev->failed);
}

/* ---- resets ---- */

static void broken_registers_stop_the_controller(void **state)
{
	static const struct {
		uint32_t cc, aqa;
		uint64_t asq, acq;
	} rows[] = {
		{G_CC, 0x1f001f, PC_HOLE, G_CQ(0)},
		{G_CC, 0x1f001f, G_SQ(0), PC_HOLE},
		{G_CC, 0x1f001f, G_SQ(0), PC_BAR},
		{G_CC, 0x1f001f, 0xfffffffffffff000, G_CQ(0)},
		{G_CC, 0xfff0fff, PC_RAM_LEN - 8192, G_CQ(0)},
		{G_CC, 0x1f0000, G_SQ(0), G_CQ(0)},
		{G_CC, 0x1f, G_SQ(0), G_CQ(0)},
		{G_CC | 1 << 7, 0x1f001f, G_SQ(0), G_CQ(0)},
		{G_CC | 6 << 4, 0x1f001f, G_SQ(0), G_CQ(0)},
		{G_CC | 1 << 11, 0x1f001f, G_SQ(0), G_CQ(0)},
	};
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pc_out(g.pc, PC_BAR + NVME_AQA, rows[i].aqa, 4);
		pc_out(g.pc, PC_BAR + NVME_ASQ, rows[i].asq, 8);
		pc_out(g.pc, PC_BAR + NVME_ACQ, rows[i].acq, 8);
		pc_out(g.pc, PC_BAR + NVME_CC, rows[i].cc, 4);
		assert_int_equal(g_csts(&g), NVME_CSTS_CFS);
		assert_true(g.dev->failed);
		assert_true(g.dev->why[0]);
		/* Deaf until it is reset. */
		pc_out(g.pc, PC_BAR + NVME_DOORBELLS, 1, 4);
		g_stop(&g);
		assert_int_equal(g_csts(&g), 0);
		assert_false(g.dev->failed);
	}
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
}

static void reset_waits_for_what_is_in_flight(void **state)
{
	struct nvme_cmd c = g_rw(NVME_READ, 0, 1);
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	close_gate();
	g_send(&g, 1, &c);
	g_send(&g, 1, &c);
	wait_in_flight(&g, 2);
	/* A deletion waits for them as well. */
	c = (struct nvme_cmd){.opcode = NVME_DELETE_SQ, .dw10 = 1};
	g_send(&g, 0, &c);
	c = (struct nvme_cmd){.opcode = NVME_ASYNC_EVENT};
	g_send(&g, 0, &c);
	c = (struct nvme_cmd){.opcode = NVME_GET_FEATURES, .dw10 = 1};
	g_send(&g, 0, &c);
	assert_int_equal(g_wait(&g, 0), 0);
	pc_out(g.pc, PC_BAR + NVME_CC, 0, 4);
	assert_int_equal(g_csts(&g), NVME_CSTS_RDY);
	/* An impatient driver is served when they are back. */
	pc_out(g.pc, PC_BAR + NVME_CC, G_CC, 4);
	usleep(10000);
	assert_int_equal(g_csts(&g), NVME_CSTS_RDY);
	pc_out(g.pc, PC_BAR + NVME_CC, 0, 4);
	open_gate();
	pc_wait_reg(g.pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_RDY, 0);
	/* The old ones answer nobody. */
	assert_false(g_peek(&g, 1, &g.last));
	assert_false(g_peek(&g, 0, &g.last));
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	remove_gate();
}

static void normal_shutdown_makes_data_stable(void **state)
{
	struct nvme_cmd c = g_rw(NVME_WRITE, 0, 1);
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(rw(&g, 1, NVME_WRITE, 0), 0);
	close_gate();
	g_send(&g, 1, &c);
	wait_in_flight(&g, 1);
	pc_out(g.pc, PC_BAR + NVME_CC, G_CC | 1 << 14, 4);
	assert_int_equal(g_csts(&g) & NVME_CSTS_SHST, NVME_CSTS_SHST_BUSY);
	assert_int_equal(pc_gate.syncs, 0);
	open_gate();
	pc_wait_reg(g.pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_SHST,
		    NVME_CSTS_SHST_DONE);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(pc_gate.order[pc_gate.nr_order - 1], 's');
	assert_int_equal(g_wait(&g, 1), 0);
	/* Nothing is taken until a reset. */
	c = g_rw(NVME_READ, 0, 1);
	g_send(&g, 1, &c);
	usleep(20000);
	assert_false(g_peek(&g, 1, &g.last));
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	remove_gate();
}

/* Asked of a controller that is off: it can be enabled afterwards. */
static void shutdown_before_the_start(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	pc_out(g.pc, PC_BAR + NVME_CC, 1 << 14, 4);
	pc_wait_reg(g.pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_SHST,
		    NVME_CSTS_SHST_DONE);
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
}

static void people_are_told_what_the_driver_uses(void **state)
{
	struct disk_driver d = {0};
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	nvme_class.disk_driver(g.dev, &d);
	assert_false(d.started);
	assert_string_equal(d.offered, "FLUSH FUA WRITE-ZEROES DSM VWC DBBUF");
	assert_string_equal(d.accepted, "");
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	g_set_buffers(&g);
	assert_int_equal(rw(&g, 1, NVME_FLUSH, 0), 0);
	d = (struct disk_driver){0};
	nvme_class.disk_driver(g.dev, &d);
	assert_true(d.started && d.flush && d.wce_control);
	assert_string_equal(d.accepted, "FLUSH DBBUF");
	assert_string_equal(d.text, "1 queue of commands, doorbells in memory");
}

static void machine_reset_drains(void **state)
{
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 20; i++) {
		struct nvme_cmd c = g_rw(NVME_WRITE, i, 1);

		g_put(&g, 1, &c);
	}
	g_ring_sq(&g, 1);
	pc_reset(g.pc);
	assert_int_equal(drive_in_flight(g.pc->drive), 0);
	assert_int_equal(pci_config_read((void *)g.dev, 4, 2) & 6, 0);
	pc_map_bar(g.pc, g.dev, 0, PC_BAR);
	assert_int_equal(g_csts(&g), 0);
	assert_int_equal(pc_in(g.pc, PC_BAR + NVME_ASQ, 8), 0);
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
}

static void no_dma_without_bus_mastering(void **state)
{
	struct nvme_cmd c = g_rw(NVME_READ, 0, 1);
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	pc_config_out(g.pc, g.dev, 4, 2, 2);
	g_send(&g, 1, &c);
	usleep(20000);
	assert_false(g_peek(&g, 1, &g.last));
	/* Turned on, it serves what waits. */
	pc_config_out(g.pc, g.dev, 4, 6, 2);
	assert_int_equal(g_wait(&g, 1), 0);
}

/* ---- state ---- */

static struct device *other_device(struct guest *g)
{
	struct device_args args = {.devfn = -1};

	pc_disk_file(g->pc, "other.img");
	pc_open_drive(g->pc, DRIVE_WRITEBACK, false);
	args.drive = g->pc->drive;
	args.io = g->pc->io;
	return pc_add(g->pc, &nvme_class, "disk1", &args);
}

/* In mid-use: commands that nobody has taken, an event request, the cache off,
 * buffers or registers. */
static void move(struct guest *g, bool buffered)
{
	struct nvme_cmd c = {.opcode = NVME_ASYNC_EVENT};
	struct drive *drive = g->pc->drive;
	struct fake_pc *pc = g->pc;
	struct state_buf buf = {0};
	struct device *other;
	uint16_t event;

	g_create_pair(g, 2, 7);
	if (buffered)
		g_set_buffers(g);
	many_commands(g, 1, 33, 40);
	assert_int_equal(g_set_feature(g, NVME_FEAT_WRITE_CACHE, 0), 0);
	assert_int_equal(g_set_feature(g, NVME_FEAT_COALESCING, 0x305), 0);
	assert_int_equal(rw(g, 1, NVME_READ, G_BLOCKS), NVME_LBA_RANGE);
	event = g_send(g, 0, &c);
	g_get_feature(g, 1);
	pc_config_out(pc, g->dev, 4, 2, 2);
	c = g_rw(NVME_READ, 3, 1);
	g_send(g, 1, &c);
	g_send(g, 2, &c);
	other = other_device(g);

	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(
		state_save(&buf, nvme_class.state, "d", g->dev, &pc->e), 0);
	device_destroy(g->dev);
	drive_close(drive);
	if (state_load(&buf, nvme_class.state, "d", other, &pc->e))
		fail_msg("%s", pc->e.msg);
	assert_int_equal(nvme_class.loaded(other, &pc->e), 0);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);

	g->dev = other;
	assert_false(g_peek(g, 1, &g->last));
	pc_config_out(pc, g->dev, 4, 6, 2);
	assert_int_equal(g_wait(g, 1), 0);
	assert_int_equal(g_wait(g, 2), 0);
	assert_int_equal(g_get_feature(g, NVME_FEAT_WRITE_CACHE), 0);
	assert_int_equal(g_get_feature(g, NVME_FEAT_COALESCING), 0x305);
	assert_int_equal(rw(g, 1, NVME_WRITE, 0), 0);
	assert_true(pc_gate.syncs);
	assert_false(drive_wce(pc->drive));
	pc_out(pc, PC_BAR + NVME_DOORBELLS + 8 * 9, 1, 4);
	assert_int_equal(g_wait(g, 0), 0);
	assert_int_equal(g->last.cid, event);
	assert_int_equal(
		g_admin(g, NVME_GET_LOG_PAGE, 0, NVME_LOG_ERROR | 15u << 16, 0),
		0);
	assert_int_equal(*pc_ram(pc, G_DATA), 1);
	many_commands(g, 1, 33, 40);
}

static void state_moves_to_another_device(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	g_start(&g, 32);
	g_create_pair(&g, 1, 33);
	move(&g, false);
}

static void buffers_move_to_another_device(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	g_start(&g, 32);
	g_create_pair(&g, 1, 33);
	move(&g, true);
}

static void shutdowns_go_on_elsewhere(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g;

	g_make_ready(&g, pc, DRIVE_WRITEBACK, false);
	pc_out(pc, PC_BAR + NVME_CC, G_CC | 1 << 14, 4);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(state_save(&buf, nvme_class.state, "d", g.dev, &pc->e),
			 0);
	if (state_load(&buf, nvme_class.state, "d", g.dev, &pc->e))
		fail_msg("%s", pc->e.msg);
	assert_int_equal(nvme_class.loaded(g.dev, &pc->e), 0);
	world_resume(pc->m.world);
	state_buf_fini(&buf);
	pc_wait_reg(pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_SHST,
		    NVME_CSTS_SHST_DONE);
}

static void impossible_states_are_refused(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g;

	g_make_ready(&g, pc, DRIVE_WRITEBACK, false);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(state_save(&buf, nvme_class.state, "d", g.dev, &pc->e),
			 0);
	/* The rings lie where the machine that is loaded has no memory. */
	mem_region_set(pc->m.mem, &pc->high, 0x40000000, REGION_RAM, true);
	bus_commit(pc->m.bus, NULL);
	assert_int_equal(state_load(&buf, nvme_class.state, "d", g.dev, &pc->e),
			 0);
	assert_int_equal(nvme_class.loaded(g.dev, &pc->e), -EINVAL);
	assert_non_null(strstr(pc->e.msg, "not in RAM"));
	mem_region_set(pc->m.mem, &pc->high, PC_HOLE_END, REGION_RAM, true);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	pc_out(pc, PC_BAR + NVME_DOORBELLS + 8, 1, 4);
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
	state_buf_fini(&buf);
}

/* Every byte of a state is changed in turn: it is refused, or harmless. */
static void damaged_states_do_no_harm(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g;
	uint8_t *was;

	g_make_ready(&g, pc, DRIVE_UNSAFE, false);
	g_set_buffers(&g);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(state_save(&buf, nvme_class.state, "d", g.dev, &pc->e),
			 0);
	was = malloc(buf.len);
	memcpy(was, buf.data, buf.len);
	/* Config space and the MSI-X table have their own test. */
	for (size_t i = 5400; i < buf.len; i += 1 + i % 3) {
		buf.data[i] ^= (uint8_t)(1u << i % 8);
		buf.pos = 0;
		if (!state_load(&buf, nvme_class.state, "d", g.dev, &pc->e) &&
		    !nvme_class.loaded(g.dev, &pc->e)) {
			world_resume(pc->m.world);
			pc_out(pc, PC_BAR + NVME_DOORBELLS + 8, 5, 4);
			world_stop(pc->m.world, NULL);
			pc_quiesce(pc);
		}
		memcpy(buf.data, was, buf.len);
		nvme_class.reset(g.dev);
		bus_commit(pc->m.bus, NULL);
	}
	world_resume(pc->m.world);
	free(was);
	state_buf_fini(&buf);
	pc_map_bar(pc, g.dev, 0, PC_BAR);
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
}

/* ---- hostile guests ---- */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void random_command(struct guest *g, uint32_t *seed, struct nvme_cmd *c)
{
	static const uint8_t opcodes[] = {0, 1, 2,   4,	  5,	6,
					  8, 9, 0xa, 0xc, 0x7c, 0x33};
	static const uint64_t pages[] = {
		G_DATA,	 G_LISTS,	    G_LISTS + 4088, G_SQ(1),
		G_CQ(1), G_SHADOW,	    G_WISHES,	    PC_HOLE,
		PC_BAR,	 0xfffffffffffff000};

	(void)g;
	*c = (struct nvme_cmd){
		.opcode = opcodes[next_random(seed) % 12],
		.nsid = next_random(seed) % 8 ? 1 : next_random(seed),
		.prp1 = pages[next_random(seed) % 10],
		.prp2 = pages[next_random(seed) % 10],
		.dw10 = next_random(seed) % 20 | next_random(seed) % 64 << 16,
		.dw11 = next_random(seed) % 4 | next_random(seed) % 4 << 16,
		.dw12 = next_random(seed) % 4000,
	};
}

/* Random registers, rings and doorbells: the process and the next driver
 * survive. */
static void random_drivers_do_no_harm(void **state)
{
	struct guest g;
	uint32_t seed = 7;

	g_make(&g, *state, DRIVE_UNSAFE, false);
	for (unsigned round = 0; round < 200; round++) {
		g_start(&g, 32);
		g_create_pair(&g, 1, 32);
		for (unsigned i = 0; i < 2048; i++)
			*(uint64_t *)(void *)pc_ram(g.pc, G_LISTS + 8 * i) =
				G_LISTS + next_random(&seed) % 4 * 4096;
		for (unsigned i = 0; i < 12; i++) {
			struct nvme_cmd c;

			random_command(&g, &seed, &c);
			g_put(&g, next_random(&seed) % 2, &c);
		}
		g_ring_sq(&g, 0);
		g_ring_sq(&g, 1);
		for (unsigned i = 0; i < 12; i++) {
			unsigned reg = next_random(&seed) % 0x1100 & ~3u;

			if (next_random(&seed) % 2)
				reg = NVME_DOORBELLS +
				      next_random(&seed) % 8 * 4;
			pc_out(g.pc, PC_BAR + reg, next_random(&seed) % 80,
			       next_random(&seed) % 4 ? 4 : 8);
			pc_in(g.pc, PC_BAR + reg, 4);
		}
		g_stop(&g);
	}
	g_start(&g, 32);
	g_create_pair(&g, 1, 64);
	assert_int_equal(rw(&g, 1, NVME_READ, 0), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rings_wrap_and_phases_turn),
		T(sixteen_queues_work_together),
		T(queues_are_deep),
		T(several_queues_share_a_completion_queue),
		T(full_completion_queues_hold_commands_back),
		T(deleted_queues_end_what_they_took),
		T(the_pin_follows_the_completion_queues),
		T(each_completion_queue_has_its_vector),
		T(buffered_requests_need_no_exit),
		T(wild_values_in_the_buffer_are_events),
		T(broken_registers_stop_the_controller),
		T(reset_waits_for_what_is_in_flight),
		T(normal_shutdown_makes_data_stable),
		T(shutdown_before_the_start),
		T(people_are_told_what_the_driver_uses),
		T(machine_reset_drains),
		T(no_dma_without_bus_mastering),
		T(state_moves_to_another_device),
		T(buffers_move_to_another_device),
		T(shutdowns_go_on_elsewhere),
		T(impossible_states_are_refused),
		T(damaged_states_do_no_harm),
		T(random_drivers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
