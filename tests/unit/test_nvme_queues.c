/* The NVMe controller, driven by a guest's driver (nvme_guest.h): queues,
 * interrupts, doorbells in memory. */
#include "tests/unit/nvme_guest.h"

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
	assert_int_equal(g_do_rw(&g, 2, NVME_WRITE, 0, 1), 0);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 1), 0);
	assert_int_equal(g_admin(&g, NVME_DELETE_SQ, 0, 1, 0), 0);
	assert_int_equal(g_admin(&g, NVME_DELETE_CQ, 0, 1, 0),
			 NVME_INVALID_DELETION);
	assert_int_equal(g_do_rw(&g, 2, NVME_READ, 0, 1), 0);
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
	pc_gate_shut(&pc_gate.gate);
	cid = g_send(&g, 1, &c);
	pc_wait_in_flight(g.pc, 1);
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
	pc_gate_pass(pc_gate.gate, 10000);
	assert_int_equal(g_wait(&g, 0), 0);
	assert_int_equal(g_wait(&g, 1), 0);
	assert_int_equal(g.last.cid, cid);
	assert_false(g_peek(&g, 1, &g.last));
	assert_int_equal(g_admin(&g, NVME_DELETE_CQ, 0, 1, 0), 0);
	g_create_pair(&g, 1, 64);
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 1), 0);
	pc_gate_open(&pc_gate.gate);
}

/* ---- interrupts ---- */

static bool pin(struct guest *g)
{
	bool level;

	pthread_mutex_lock(&g->dev->lock);
	level = pc_intx(g->pc, g->dev);
	pthread_mutex_unlock(&g->dev->lock);
	return level;
}

static void the_pin_follows_the_completion_queues(void **state)
{
	struct nvme_cmd c = g_rw(NVME_READ, 0, 1);
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(pin(&g));
	g_send(&g, 1, &c);
	g_wait_peek(&g, 1);
	/* The pin is set after the answers of a batch. */
	while (!pin(&g))
		usleep(100);
	pc_out(g.pc, PC_BAR + NVME_INTMS, 1u << 1, 4);
	assert_false(pin(&g));
	pc_out(g.pc, PC_BAR + NVME_INTMC, 1u << 1, 4);
	assert_true(pin(&g));
	g_next(&g, 1);
	assert_false(pin(&g));
	/* With buffers, too, the driver rings for what it took. */
	g_set_buffers(&g);
	for (unsigned i = 0; i < 200; i++) {
		g_send(&g, 1, &c);
		g_wait_peek(&g, 1);
		while (!pin(&g))
			usleep(100);
		g_next(&g, 1);
		assert_false(pin(&g));
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
	assert_int_equal(g_do_rw(&g, 2, NVME_READ, 0, 1), 0);
	while (!raised(&g, 2))
		usleep(100);
	assert_int_equal(raised(&g, 1), 0);
	assert_true(raised(&g, 0) >= 4);
	assert_false(pin(&g));
	/* One batch, one interrupt. */
	pc_gate_shut(&pc_gate.gate);
	for (unsigned i = 0; i < 8; i++) {
		struct nvme_cmd c = g_rw(NVME_READ, i, 1);

		c.prp1 += 512 * i;
		g_put(&g, 1, &c);
	}
	g_ring_sq(&g, 1);
	pc_wait_in_flight(g.pc, 8);
	world_stop(g.pc->m.world, NULL);
	pc_gate_pass(pc_gate.gate, 10000);
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
	assert_int_equal(g_do_rw(&g, 3, NVME_READ, 0, 1), 0);
	g_get_feature(&g, 1);
	assert_int_equal(raised(&g, 3), was);
	pc_gate_open(&pc_gate.gate);
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
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 1), 0);
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
	pc_gate_shut(&pc_gate.gate);
	rings = 0;
	for (unsigned i = 0; i < 60; i++) {
		struct nvme_cmd c = g_rw(NVME_READ, i, 1);

		c.prp1 += 512 * i;
		g_put(&g, 2, &c);
		rings += ring_watched(&g, 2, g.q[2].tail);
		if (i < 20)
			pc_wait_in_flight(g.pc, i < 16 ? i + 1 : 16);
	}
	assert_int_equal(rings, 16);
	pc_gate_pass(pc_gate.gate, 10000);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(g_wait(&g, 2), 0);
	pc_gate_open(&pc_gate.gate);
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
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 1), 0);
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
	assert_int_equal(g_do_rw(&g, 1, NVME_READ, 0, 1), 0);
	assert_false(g.dev->failed);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
