/* The NVMe controller, driven by a guest's driver (nvme_guest.h): resets,
 * shutdowns, moved state, hostile guests. */
#include "tests/unit/nvme_guest.h"

#include "core/disk_driver.h"

/* The next driver finds a controller that works. */
static void work_anew(struct guest *g)
{
	g_start(g, 32);
	g_create_pair(g, 1, 64);
	assert_int_equal(g_do_rw(g, 1, NVME_READ, 0, 1), 0);
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
	work_anew(&g);
}

static void reset_waits_for_what_is_in_flight(void **state)
{
	struct nvme_cmd c = g_rw(NVME_READ, 0, 1);
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate_shut(&pc_gate.gate);
	g_send(&g, 1, &c);
	g_send(&g, 1, &c);
	pc_wait_in_flight(g.pc, 2);
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
	pc_gate_pass(pc_gate.gate, 10000);
	pc_wait_reg(g.pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_RDY, 0);
	/* The old ones answer nobody. */
	assert_false(g_peek(&g, 1, &g.last));
	assert_false(g_peek(&g, 0, &g.last));
	work_anew(&g);
	pc_gate_open(&pc_gate.gate);
}

static void normal_shutdown_makes_data_stable(void **state)
{
	struct nvme_cmd c = g_rw(NVME_WRITE, 0, 1);
	struct guest g;

	g_make_ready(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(g_do_rw(&g, 1, NVME_WRITE, 0, 1), 0);
	pc_gate_shut(&pc_gate.gate);
	g_send(&g, 1, &c);
	pc_wait_in_flight(g.pc, 1);
	pc_out(g.pc, PC_BAR + NVME_CC, G_CC | 1 << 14, 4);
	assert_int_equal(g_csts(&g) & NVME_CSTS_SHST, NVME_CSTS_SHST_BUSY);
	assert_int_equal(pc_gate.syncs, 0);
	pc_gate_pass(pc_gate.gate, 10000);
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
	work_anew(&g);
	pc_gate_open(&pc_gate.gate);
}

/* Asked of a controller that is off: it can be enabled afterwards. */
static void shutdown_before_the_start(void **state)
{
	struct guest g;

	g_make(&g, *state, DRIVE_WRITEBACK, false);
	pc_out(g.pc, PC_BAR + NVME_CC, 1 << 14, 4);
	pc_wait_reg(g.pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_SHST,
		    NVME_CSTS_SHST_DONE);
	work_anew(&g);
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
	assert_int_equal(g_do_rw(&g, 1, NVME_FLUSH, 0, 1), 0);
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
	work_anew(&g);
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

/* So many commands that the rings wrap several times, and end in mid-ring. */
static void wear(struct guest *g)
{
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(g_do_rw(g, 1, NVME_WRITE, i, 1), 0);
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
	wear(g);
	assert_int_equal(g_set_feature(g, NVME_FEAT_WRITE_CACHE, 0), 0);
	assert_int_equal(g_set_feature(g, NVME_FEAT_COALESCING, 0x305), 0);
	assert_int_equal(g_do_rw(g, 1, NVME_READ, G_BLOCKS, 1), NVME_LBA_RANGE);
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
	assert_int_equal(g_do_rw(g, 1, NVME_WRITE, 0, 1), 0);
	assert_true(pc_gate.syncs);
	assert_false(drive_wce(pc->drive));
	pc_out(pc, PC_BAR + NVME_DOORBELLS + 8 * 9, 1, 4);
	assert_int_equal(g_wait(g, 0), 0);
	assert_int_equal(g->last.cid, event);
	assert_int_equal(
		g_admin(g, NVME_GET_LOG_PAGE, 0, NVME_LOG_ERROR | 15u << 16, 0),
		0);
	assert_int_equal(*pc_ram(pc, G_DATA), 1);
	wear(g);
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
	work_anew(&g);
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
	work_anew(&g);
}

/* ---- hostile guests ---- */

static void random_command(uint32_t *seed, struct nvme_cmd *c)
{
	static const uint8_t opcodes[] = {0, 1, 2,   4,	  5,	6,
					  8, 9, 0xa, 0xc, 0x7c, 0x33};
	static const uint64_t pages[] = {
		G_DATA,	 G_LISTS,	    G_LISTS + 4088, G_SQ(1),
		G_CQ(1), G_SHADOW,	    G_WISHES,	    PC_HOLE,
		PC_BAR,	 0xfffffffffffff000};

	*c = (struct nvme_cmd){
		.opcode = opcodes[pc_random(seed) % 12],
		.nsid = pc_random(seed) % 8 ? 1 : pc_random(seed),
		.prp1 = pages[pc_random(seed) % 10],
		.prp2 = pages[pc_random(seed) % 10],
		.dw10 = pc_random(seed) % 20 | pc_random(seed) % 64 << 16,
		.dw11 = pc_random(seed) % 4 | pc_random(seed) % 4 << 16,
		.dw12 = pc_random(seed) % 4000,
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
				G_LISTS + pc_random(&seed) % 4 * 4096;
		for (unsigned i = 0; i < 12; i++) {
			struct nvme_cmd c;

			random_command(&seed, &c);
			g_put(&g, pc_random(&seed) % 2, &c);
		}
		g_ring_sq(&g, 0);
		g_ring_sq(&g, 1);
		for (unsigned i = 0; i < 12; i++) {
			unsigned reg = pc_random(&seed) % 0x1100 & ~3u;

			if (pc_random(&seed) % 2)
				reg = NVME_DOORBELLS + pc_random(&seed) % 8 * 4;
			pc_out(g.pc, PC_BAR + reg, pc_random(&seed) % 80,
			       pc_random(&seed) % 4 ? 4 : 8);
			pc_in(g.pc, PC_BAR + reg, 4);
		}
		g_stop(&g);
	}
	work_anew(&g);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
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
