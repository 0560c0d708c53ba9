/* virtio-blk over PCI: broken rings, resets, moved state, hostile guests. */
#include "tests/unit/virtio_blk_guest.h"

static void wait_failed(struct guest *g)
{
	pc_wait_reg(g->pc, COMMON + 20, 1, 64, 64);
}

static void broken_rings_stop_the_device_only(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 6; i++) {
		start(&g, F_FLUSH);
		build(&g, 0, T_IN, 0, 0, 512);
		if (i == 0) /* loop */
			put_desc(&g, 1, DATA, 512, 3, 1);
		if (i == 1) /* wild address */
			put_desc(&g, 1, PC_HOLE, 512, 3, 2);
		if (i == 2) /* absurd length */
			put_desc(&g, 1, DATA, UINT32_MAX, 3, 2);
		if (i == 3) /* no status byte */
			put_desc(&g, 0, HEADERS, 16, 0, 0);
		if (i == 4) /* short header */
			put_desc(&g, 0, HEADERS, 15, 1, 2);
		if (i == 5) /* index far ahead */
			g.avail += 1000;
		offer(&g, 0);
		kick(&g);
		wait_failed(&g);
		/* It stays silent until it is reset. */
		kick(&g);
		assert_true(get_status(&g) & 64);
	}
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static void bad_queue_addresses_stop_the_device(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	set_status(&g, 0);
	set_status(&g, 3);
	/* Not before the features are settled: they tell the ring's form. */
	pc_out(g.pc, COMMON + 28, 1, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 28, 2), 0);
	pc_out(g.pc, COMMON + 8, 1, 4);
	pc_out(g.pc, COMMON + 12, 1, 4); /* VERSION_1 */
	set_status(&g, 11);
	pc_out(g.pc, COMMON + 32, 0xfffffff0, 8);
	pc_out(g.pc, COMMON + 28, 1, 2);
	assert_true(get_status(&g) & 64);
	assert_int_equal(pc_in(g.pc, COMMON + 28, 2), 0);
	/* A queue that isn't there. */
	pc_out(g.pc, COMMON + 22, 9, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 24, 2), 0);
	pc_out(g.pc, COMMON + 28, 1, 2);
}

static void same_descriptor_twice_stops_the_device(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	pc_gate_shut(&pc_gate.gate);
	build(&g, 0, T_IN, 0, 0, 512);
	offer(&g, 0);
	offer(&g, 0);
	kick(&g);
	wait_failed(&g);
	pc_gate_pass(pc_gate.gate, 100);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	pc_gate_open(&pc_gate.gate);
}

static void reset_waits_for_what_is_in_flight(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	pc_gate_shut(&pc_gate.gate);
	build(&g, 0, T_IN, 0, 0, 512);
	offer(&g, 0);
	kick(&g);
	pc_wait_in_flight(g.pc, 1);
	set_status(&g, 0);
	assert_int_not_equal(get_status(&g), 0);
	*pc_ram(g.pc, STATUS) = 0xee;
	pc_gate_pass(pc_gate.gate, 100);
	pc_wait_reg(g.pc, COMMON + 20, 1, 0xff, 0);
	/* The old request answers nobody. */
	assert_int_equal(*pc_ram(g.pc, STATUS), 0xee);
	assert_int_equal(*(uint16_t *)(void *)pc_ram(g.pc, USED + 2), 0);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	pc_gate_open(&pc_gate.gate);
}

static void machine_reset_drains(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	for (unsigned i = 0; i < 5; i++) {
		build(&g, 3 * i, T_OUT, i, 0, 512);
		offer(&g, (uint16_t)(3 * i));
	}
	kick(&g);
	pc_reset(g.pc);
	assert_int_equal(drive_in_flight(g.pc->drive), 0);
	assert_int_equal(pci_config_read((void *)g.dev, 4, 2) & 6, 0);
	pc_map_bar(g.pc, g.dev, 0, PC_BAR);
	assert_int_equal(get_status(&g), 0);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static void no_dma_without_bus_mastering(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	pc_config_out(g.pc, g.dev, 4, 2, 2);
	build(&g, 0, T_IN, 0, 0, 512);
	offer(&g, 0);
	kick(&g);
	usleep(50000);
	assert_int_equal(*pc_ram(g.pc, STATUS), 0xee);
	/* Turned on, it serves what waits. */
	pc_config_out(g.pc, g.dev, 4, 6, 2);
	wait_used(&g);
	assert_int_equal(*pc_ram(g.pc, STATUS), 0);
}

static void window_in_config_space(void **state)
{
	struct guest g;
	struct pci_dev *d;
	unsigned cap;

	make(&g, *state, DRIVE_WRITEBACK, false);
	d = (struct pci_dev *)(void *)g.dev;
	for (cap = d->config[0x34]; cap; cap = d->config[cap + 1])
		if (d->config[cap] == 9 && d->config[cap + 3] == 5)
			break;
	assert_true(cap);
	/* Even with memory decoding off: that is what it is for. */
	pc_config_out(g.pc, g.dev, 4, 4, 2);
	pc_config_out(g.pc, g.dev, cap + 4, 0, 1);
	pc_config_out(g.pc, g.dev, cap + 8, 0x2000, 4);
	pc_config_out(g.pc, g.dev, cap + 12, 4, 4);
	assert_int_equal(pci_config_read(d, cap + 16, 4), PC_DISK_LEN / 512);
	pc_config_out(g.pc, g.dev, cap + 8, 20, 4);
	pc_config_out(g.pc, g.dev, cap + 12, 1, 4);
	pc_config_out(g.pc, g.dev, cap + 16, 3, 1);
	assert_int_equal(pci_config_read(d, cap + 16, 1), 3);
	/* Nonsense does nothing. */
	pc_config_out(g.pc, g.dev, cap + 8, 0xfffffffc, 4);
	pc_config_out(g.pc, g.dev, cap + 12, 3, 4);
	pc_config_out(g.pc, g.dev, cap + 16, 0, 4);
	pci_config_read(d, cap + 16, 4);
}

static void state_moves_to_another_device(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct device_args args = {.devfn = -1};
	struct device *other;
	struct drive *drive;
	struct guest g;

	make(&g, pc, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | F_WCE | F_EVENT_IDX);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(request(&g, T_OUT, i, 512), 0);
	/* One more is offered, but its kick gets lost in the move. */
	build(&g, 0, T_IN, 3, 0, 512);
	pc_config_out(pc, g.dev, 4, 2, 2);
	offer(&g, 0);
	pc_config_out(pc, g.dev, 4, 2, 2);
	drive = pc->drive;
	pc_disk_file(pc, "other.img");
	pc_open_drive(pc, DRIVE_WRITEBACK, false);
	args.drive = pc->drive;
	args.io = pc->io;
	other = pc_add(pc, &virtio_blk_class, "disk1", &args);

	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(
		state_save(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	device_destroy(g.dev);
	drive_close(drive);
	if (state_load(&buf, virtio_blk_class.state, "d", other, &pc->e))
		fail_msg("%s", pc->e.msg);
	assert_int_equal(virtio_blk_class.loaded(other, &pc->e), 0);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);

	g.dev = other;
	assert_int_equal(get_status(&g), 15);
	pc_config_out(pc, g.dev, 4, 6, 2);
	wait_used(&g);
	assert_int_equal(*pc_ram(pc, STATUS), 0);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static void impossible_states_are_refused(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g;

	make(&g, pc, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(
		state_save(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	/* The rings lie where the machine that is loaded has no memory. */
	mem_region_set(pc->m.mem, &pc->low, 0x40000000, REGION_RAM, true);
	bus_commit(pc->m.bus, NULL);
	assert_int_equal(
		state_load(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	assert_int_equal(virtio_blk_class.loaded(g.dev, &pc->e), -EINVAL);
	assert_non_null(strstr(pc->e.msg, "queue 0"));
	state_buf_fini(&buf);
	mem_region_set(pc->m.mem, &pc->low, 0, REGION_RAM, true);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	/* A kick now finds a queue that isn't there. */
	kick(&g);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

/* Random registers and rings: the process and the next driver survive. */
static void random_drivers_do_no_harm(void **state)
{
	struct guest g;
	uint32_t seed = 7;

	make(&g, *state, DRIVE_UNSAFE, false);
	for (unsigned round = 0; round < 300; round++) {
		start(&g, pc_random(&seed) & (F_FLUSH | F_WCE | F_EVENT_IDX));
		for (unsigned i = 0; i < RING_LEN; i++) {
			put_header(&g, i, pc_random(&seed) % 16,
				   pc_random(&seed) % 10000);
			put_desc(&g, i,
				 pc_random(&seed) % 3
					 ? HEADERS + 16 * i
					 : pc_random(&seed) % 0x1000000,
				 pc_random(&seed) % 2 ? 16 : 512,
				 pc_random(&seed) % 8,
				 pc_random(&seed) % (RING_LEN + 1));
		}
		for (unsigned i = 0; i < 8; i++)
			offer(&g, pc_random(&seed) % RING_LEN);
		kick(&g);
		for (unsigned i = 0; i < 20; i++) {
			unsigned reg = pc_random(&seed) % 0x3100;

			if (reg >= 20 && reg < 22)
				continue;
			pc_out(g.pc, PC_BAR + reg, pc_random(&seed),
			       1u << pc_random(&seed) % 4);
			pc_in(g.pc, PC_BAR + reg, 1u << pc_random(&seed) % 4);
		}
		set_status(&g, 0);
		pc_wait_reg(g.pc, COMMON + 20, 1, 0xff, 0);
	}
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(broken_rings_stop_the_device_only),
		T(bad_queue_addresses_stop_the_device),
		T(same_descriptor_twice_stops_the_device),
		T(reset_waits_for_what_is_in_flight),
		T(machine_reset_drains),
		T(no_dma_without_bus_mastering),
		T(window_in_config_space),
		T(state_moves_to_another_device),
		T(impossible_states_are_refused),
		T(random_drivers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
