/* The virtio-scsi controller, driven by a guest's driver written here. */
#include "tests/unit/scsi_guest.h"

#include "core/blk/drive_actions.h"
#include "core/disk_driver.h"

#define ABORT_TASK	   0
#define ABORT_TASK_SET	   1
#define CLEAR_ACA	   2
#define LOGICAL_UNIT_RESET 5
#define QUERY_TASK	   6
#define QUERY_TASK_SET	   7

static const uint8_t read_one[10] = {0x28, [8] = 1};
static const uint8_t write_one[10] = {0x2a, [8] = 1};

/* ---- task management ---- */

static void offer_tmf(struct guest *g, uint32_t function, uint64_t tag)
{
	uint8_t *p = pc_ram(g->pc, HEAD(15));

	memset(p, 0, 0x400);
	memcpy(p + 4, &function, 4);
	memcpy(p + 8, g->lun, 8);
	memcpy(p + 16, &tag, 8);
	p[0x200] = 0xee;
	put_desc(g, 0, 0, HEAD(15), 24, 1);
	put_desc(g, 0, 1, HEAD(15) + 0x200, 1, 2);
	offer(g, 0, 0);
	kick(g, 0);
}

static uint8_t tmf(struct guest *g, uint32_t function, uint64_t tag)
{
	offer_tmf(g, function, tag);
	assert_int_equal(wait_used(g, 0), 1);
	return *pc_ram(g->pc, HEAD(15) + 0x200);
}

/* ---- tests ---- */

static void controller_says_what_it_is(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(pci_config_read((void *)g.dev, 0, 4), 0x10481af4);
	assert_int_equal(pc_in(g.pc, COMMON + 18, 2), NR_QUEUES);
	assert_int_equal(pc_in(g.pc, CONFIG, 4), 1);	      /* queues */
	assert_true(pc_in(g.pc, CONFIG + 4, 4) >= 64);	      /* segments */
	assert_int_equal(pc_in(g.pc, CONFIG + 16, 4), 16);    /* events */
	assert_int_equal(pc_in(g.pc, CONFIG + 20, 4), 96);    /* sense */
	assert_int_equal(pc_in(g.pc, CONFIG + 24, 4), 32);    /* cdb */
	assert_int_equal(pc_in(g.pc, CONFIG + 30, 2), 15);    /* targets */
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 4), 16383); /* LUNs */
}

static void data_go_round_in_several_pieces(void **state)
{
	struct guest g;
	uint8_t *data;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	data = data_of(&g, 0);
	memset(data, 0x5a, 4096);
	expect_good(SEND(&g, 4096, 0, 0x2a, 0, B32(3), 0, B16(8), 0));
	memset(data, 0, 8192);
	/* The answer's header, sense and data in odd pieces. */
	build(&g, 0, (const uint8_t[]){0x28, 0, B32(3), 0, B16(8), 0}, 10, 0,
	      0);
	put_desc(&g, 2, 0, HEAD(0), 20, 1);
	put_desc(&g, 2, 1, HEAD(0) + 20, HEAD_LEN - 20, 1);
	put_desc(&g, 2, 2, ANSWER(0), 5, 3);
	put_desc(&g, 2, 3, ANSWER(0) + 5, ANSWER_LEN - 5, 3);
	put_desc(&g, 2, 4, DATA, 100, 3);
	put_desc(&g, 2, 5, DATA + 4096, 3996, 2);
	offer(&g, 2, 0);
	kick(&g, 2);
	assert_int_equal(wait_used(&g, 2), ANSWER_LEN + 4096);
	expect_good(answer_of(&g, 0));
	assert_int_equal(data[0], 0x5a);
	assert_int_equal(data[99], 0x5a);
	assert_int_equal(data[100], 0);
	assert_int_equal(data[4096 + 3995], 0x5a);
	assert_int_equal(data[4096 + 3996], 0);
}

static void many_requests_in_one_kick(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_NONE, false);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 8; i++) {
			uint8_t cdb[10] = {0x2a,       0, 0, 0, 0,
					   (uint8_t)i, 0, 0, 1};

			memset(data_of(&g, i), (int)(round + i), 512);
			build(&g, i, cdb, 10, 512, 0);
			offer(&g, 2, (uint16_t)(4 * i));
		}
		kick(&g, 2);
		g.used[2] += 7;
		wait_used(&g, 2);
		for (unsigned i = 0; i < 8; i++)
			expect_good(answer_of(&g, i));
	}
	expect_good(SEND(&g, 0, 512, 0x28, 0, B32(5), 0, B16(1), 0));
	assert_int_equal(data_of(&g, 0)[511], 99 + 5);
}

static void each_vcpu_has_a_queue(void **state)
{
	struct fake_pc *pc = *state;
	struct guest g;

	pc->m.nr_vcpus = 2;
	make_ready(&g, pc, DRIVE_WRITEBACK, false);
	assert_int_equal(pc_in(pc, COMMON + 18, 2), 4);
	assert_int_equal(pc_in(pc, CONFIG, 4), 2);
	set_queue(&g, 3);
	for (unsigned i = 0; i < 100; i++) {
		g.queue = 2 + i % 2;
		data_of(&g, 0)[0] = (uint8_t)i;
		expect_good(SEND(&g, 512, 0, 0x2a, 0, B32(i), 0, B16(1)));
	}
	g.queue = 2;
	expect_good(SEND(&g, 0, 512, 0x28, 0, B32(99), 0, B16(1)));
	assert_int_equal(data_of(&g, 0)[0], 99);
}

static void residuals_and_overruns(void **state)
{
	struct answer a;
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	a = SEND(&g, 0, 4096, 0x28, 0, B32(0), 0, B16(1), 0);
	expect_good(a);
	assert_int_equal(a.residual, 4096 - 512);
	assert_int_equal(a.used, ANSWER_LEN + 512);
	a = SEND(&g, 1024, 0, 0x2a, 0, B32(0), 0, B16(1), 0);
	expect_good(a);
	assert_int_equal(a.residual, 512);
	/* More than there is room for: nothing moves. */
	a = SEND(&g, 0, 512, 0x28, 0, B32(0), 0, B16(2), 0);
	assert_int_equal(a.response, 1);
	assert_int_equal(a.residual, 512);
	a = SEND(&g, 512, 0, 0x2a, 0, B32(0), 0, B16(2), 0);
	assert_int_equal(a.response, 1);
	/* In the wrong direction. */
	a = SEND(&g, 512, 0, 0x28, 0, B32(0), 0, B16(1), 0);
	assert_int_equal(a.response, 1);
}

static void targets_and_luns(void **state)
{
	struct answer a;
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	g.lun[1] = 1;
	assert_int_equal(SEND(&g, 0, 0, 0x00).response, 3);
	g.lun[1] = 200;
	assert_int_equal(SEND(&g, 0, 0, 0x00).response, 3);
	g.lun[0] = 0;
	assert_int_equal(SEND(&g, 0, 0, 0x00).response, 3);
	/* Flat addressing of the same unit, then a unit that isn't there. */
	memcpy(g.lun, (uint8_t[8]){1, 0, 0x40}, 8);
	expect_good(SEND(&g, 0, 0, 0x00));
	g.lun[3] = 7;
	expect_sense(SEND(&g, 0, 0, 0x00), 0x052500);
	expect_good(SEND(&g, 0, 36, 0x12, 0, 0, 0, 36, 0));
	assert_int_equal(data_of(&g, 0)[0], 0x7f);
	a = SEND(&g, 0, 64, 0xa0, 0, 0, 0, 0, 0, B32(64), 0, 0);
	expect_good(a);
	assert_int_equal(a.residual, 64 - 16);
	assert_int_equal(get32(data_of(&g, 0)), 8);
	expect_good(SEND(&g, 0, 18, 0x03, 0, 0, 0, 18, 0));
	assert_int_equal(data_of(&g, 0)[2], 5);
	assert_int_equal(data_of(&g, 0)[12], 0x25);
	g.lun[3] = 0;
	expect_good(SEND(&g, 0, 0, 0x00));
}

static void driver_chooses_the_sizes(void **state)
{
	struct answer a;
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	pc_out(g.pc, CONFIG + 20, 5, 4);
	assert_int_equal(pc_in(g.pc, CONFIG + 20, 4), 5);
	memset(data_of(&g, 0), 0xee, 4);
	a = SEND(&g, 0, 0, 0xff);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.used, 12 + 5);
	assert_int_equal(*pc_ram(g.pc, ANSWER(0)), 5);
	pc_out(g.pc, CONFIG + 24, 6, 4);
	/* A block of six bytes: what follows is data. */
	expect_good(SEND(&g, 0, 0, 0x00));
	pc_out(g.pc, CONFIG + 24, 0, 4);
	assert_true(get_status(&g) & 64);
	start(&g);
	assert_int_equal(pc_in(g.pc, CONFIG + 20, 4), 96);
	assert_int_equal(pc_in(g.pc, CONFIG + 24, 4), 32);
	pc_out(g.pc, CONFIG + 20, 0xffffffff, 4);
	assert_true(get_status(&g) & 64);
}

static void functions_without_commands(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(tmf(&g, ABORT_TASK, 100), 0);
	assert_int_equal(tmf(&g, QUERY_TASK, 100), 0);
	assert_int_equal(tmf(&g, QUERY_TASK_SET, 0), 0);
	assert_int_equal(tmf(&g, CLEAR_ACA, 0), 11);
	assert_int_equal(tmf(&g, 99, 0), 11);
	assert_int_equal(tmf(&g, LOGICAL_UNIT_RESET, 0), 0);
	expect_sense(SEND(&g, 0, 0, 0x00), 0x062903);
	expect_good(SEND(&g, 0, 0, 0x00));
	g.lun[3] = 1;
	assert_int_equal(tmf(&g, LOGICAL_UNIT_RESET, 0), 12);
	g.lun[1] = 3;
	assert_int_equal(tmf(&g, LOGICAL_UNIT_RESET, 0), 3);
}

static void notifications_are_not_to_be_had(void **state)
{
	struct guest g;
	uint8_t *p;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	p = pc_ram(g.pc, HEAD(15));
	memset(p, 0, 0x400);
	p[0] = 2; /* SUBSCRIBE */
	p[12] = 0x3e;
	memset(p + 0x200, 0xee, 5);
	put_desc(&g, 0, 0, HEAD(15), 16, 1);
	put_desc(&g, 0, 1, HEAD(15) + 0x200, 5, 2);
	offer(&g, 0, 0);
	kick(&g, 0);
	assert_int_equal(wait_used(&g, 0), 5);
	assert_memory_equal(p + 0x200, "\0\0\0\0\0", 5);
}

/* Three reads wait in the drive. */
static void hold_three(struct guest *g)
{
	pc_gate_shut(&pc_gate.gate);
	for (unsigned i = 0; i < 3; i++) {
		build(g, i, read_one, sizeof(read_one), 0, 512);
		offer(g, 2, (uint16_t)(4 * i));
	}
	kick(g, 2);
	pc_wait_in_flight(g->pc, 3);
}

static void one_command_is_aborted(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	hold_three(&g);
	assert_int_equal(tmf(&g, QUERY_TASK, 101), 10);
	assert_int_equal(tmf(&g, QUERY_TASK, 103), 0);
	assert_int_equal(tmf(&g, QUERY_TASK_SET, 0), 10);
	offer_tmf(&g, ABORT_TASK, 101);
	usleep(20000);
	/* The function ends after the command. */
	assert_int_equal(*pc_ram(g.pc, HEAD(15) + 0x200), 0xee);
	pc_gate_pass(pc_gate.gate, 1000);
	wait_used(&g, 0);
	assert_int_equal(*pc_ram(g.pc, HEAD(15) + 0x200), 0);
	g.used[2] += 2;
	wait_used(&g, 2);
	expect_good(answer_of(&g, 0));
	assert_int_equal(answer_of(&g, 1).response, 2);
	expect_good(answer_of(&g, 2));
	pc_gate_open(&pc_gate.gate);
}

static void reset_of_the_unit_ends_its_commands(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	hold_three(&g);
	offer_tmf(&g, LOGICAL_UNIT_RESET, 0);
	pc_gate_pass(pc_gate.gate, 1000);
	wait_used(&g, 0);
	g.used[2] += 2;
	wait_used(&g, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(answer_of(&g, i).response, 4);
	expect_sense(SEND(&g, 0, 0, 0x00), 0x062903);
	pc_gate_open(&pc_gate.gate);
}

/* Commands of many steps stop at the next one. */
static void long_command_is_aborted(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate_shut(&pc_gate.gate);
	memset(data_of(&g, 0), 0x77, 512);
	build(&g, 0, (const uint8_t[]){0x41, 0, B32(0), 0, B16(1024), 0}, 10,
	      512, 0);
	offer(&g, 2, 0);
	kick(&g, 2);
	pc_wait_in_flight(g.pc, 1);
	offer_tmf(&g, ABORT_TASK_SET, 0);
	usleep(20000);
	pc_gate_pass(pc_gate.gate, 1);
	wait_used(&g, 0);
	wait_used(&g, 2);
	assert_int_equal(answer_of(&g, 0).response, 2);
	assert_int_equal(pc_gate.nr_order, 1);
	pc_gate_open(&pc_gate.gate);
}

static void reset_waits_for_what_is_in_flight(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	hold_three(&g);
	offer_tmf(&g, ABORT_TASK_SET, 0);
	set_status(&g, 0);
	assert_int_not_equal(get_status(&g), 0);
	memset(pc_ram(g.pc, ANSWER(0)), 0xee, ANSWER_LEN);
	*pc_ram(g.pc, USED(2) + 2) = 0xee;
	pc_gate_pass(pc_gate.gate, 1000);
	pc_wait_reg(g.pc, COMMON + 20, 1, 0xff, 0);
	/* The old requests answer nobody. */
	assert_int_equal(*pc_ram(g.pc, ANSWER(0) + 11), 0xee);
	assert_int_equal(*pc_ram(g.pc, USED(2) + 2), 0xee);
	pc_gate_open(&pc_gate.gate);
	start(&g);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	expect_good(SEND(&g, 0, 512, 0x28, 0, B32(0), 0, B16(1), 0));
	assert_int_equal(tmf(&g, QUERY_TASK_SET, 0), 0);
}

static void machine_reset_drains(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 5; i++) {
		build(&g, i, write_one, sizeof(write_one), 512, 0);
		offer(&g, 2, (uint16_t)(4 * i));
	}
	kick(&g, 2);
	pc_reset(g.pc);
	assert_int_equal(drive_in_flight(g.pc->drive), 0);
	pc_map_bar(g.pc, g.dev, 0, PC_BAR);
	assert_int_equal(get_status(&g), 0);
	start(&g);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	expect_good(SEND(&g, 0, 0, 0x00));
}

static void wait_failed(struct guest *g)
{
	pc_wait_reg(g->pc, COMMON + 20, 1, 64, 64);
}

static void broken_requests_stop_the_device_only(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 7; i++) {
		start(&g);
		build(&g, 0, read_one, sizeof(read_one), 0, 512);
		if (i == 0) /* short header */
			put_desc(&g, 2, 0, HEAD(0), HEAD_LEN - 1, 1);
		if (i == 1) /* short answer */
			put_desc(&g, 2, 1, ANSWER(0), ANSWER_LEN - 1, 2);
		if (i == 2) /* wild address */
			put_desc(&g, 2, 2, PC_HOLE, 512, 2);
		if (i == 3) /* absurd length */
			put_desc(&g, 2, 2, DATA, UINT32_MAX, 2);
		if (i == 4) /* nothing to write to */
			put_desc(&g, 2, 0, HEAD(0), HEAD_LEN, 0);
		if (i == 5) /* data before the answer's end */
			put_desc(&g, 2, 2, DATA, 512, 0);
		if (i == 6) /* index far ahead */
			g.avail[2] += 1000;
		offer(&g, 2, 0);
		kick(&g, 2);
		wait_failed(&g);
	}
	start(&g);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	expect_good(SEND(&g, 0, 0, 0x00));
}

static void broken_functions_stop_the_device_only(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 5; i++) {
		start(&g);
		memset(pc_ram(g.pc, HEAD(15)), 0, 24);
		*pc_ram(g.pc, HEAD(15)) = i == 3 ? 1 : i == 4 ? 77 : 0;
		put_desc(&g, 0, 0, HEAD(15),
			 i == 0	  ? 3
			 : i == 1 ? 23
				  : 24,
			 i == 2 ? 0 : 1);
		put_desc(&g, 0, 1, HEAD(15) + 0x200, 1, 2);
		offer(&g, 0, 0);
		kick(&g, 0);
		wait_failed(&g);
	}
	start(&g);
	assert_int_equal(tmf(&g, QUERY_TASK_SET, 0), 0);
}

static void same_descriptor_twice_stops_the_device(void **state)
{
	struct guest g;

	make_ready(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate_shut(&pc_gate.gate);
	build(&g, 0, read_one, sizeof(read_one), 0, 512);
	offer(&g, 2, 0);
	offer(&g, 2, 0);
	kick(&g, 2);
	wait_failed(&g);
	pc_gate_pass(pc_gate.gate, 1000);
	start(&g);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	pc_gate_open(&pc_gate.gate);
}

static void units_sit_where_there_is_room(void **state)
{
	struct fake_pc *pc = *state;
	struct device_args args = {.devfn = -1, .io = pc->io};
	struct guest g;

	make(&g, pc, DRIVE_WRITEBACK, false);
	args.drive = pc->drive;
	args.parent = g.dev;
	snprintf(args.name, sizeof(args.name), "disk1");
	world_stop(pc->m.world, NULL);
	assert_null(device_create(&pc->m, &scsi_disk_class, &args, &pc->e));
	assert_non_null(strstr(pc->e.msg, "taken by 'disk0'"));
	args.unit = 16;
	assert_null(device_create(&pc->m, &scsi_disk_class, &args, &pc->e));
	assert_non_null(strstr(pc->e.msg, "0 to 15"));
	args.unit = 1;
	args.io = pc->m.main;
	assert_null(device_create(&pc->m, &scsi_disk_class, &args, &pc->e));
	assert_non_null(strstr(pc->e.msg, "one I/O loop"));
	args.parent = g.disk;
	assert_null(device_create(&pc->m, &scsi_disk_class, &args, &pc->e));
	assert_non_null(strstr(pc->e.msg, "not a SCSI controller"));
	assert_null(device_create(&pc->m, &scsi_cdrom_class, &args, &pc->e));
	assert_non_null(strstr(pc->e.msg, "read-only"));
	world_resume(pc->m.world);
}

/* ---- news for the driver ---- */

#define F_CHANGE 4u

/* Room for an event of len bytes. */
static void offer_event(struct guest *g, uint32_t len)
{
	memset(pc_ram(g->pc, HEAD(14)), 0xee, 16);
	put_desc(g, 1, 0, HEAD(14), len, 2);
	offer(g, 1, 0);
	kick(g, 1);
}

static void expect_event(struct guest *g, uint32_t event, uint32_t reason)
{
	uint32_t got[4];

	assert_int_equal(wait_used(g, 1), 16);
	memcpy(got, pc_ram(g->pc, HEAD(14)), 16);
	assert_int_equal(got[0], event);
	assert_int_equal(got[1], event & 0xff ? 1 : 0);
	assert_int_equal(got[3], reason);
}

static void set_wce(struct guest *g, bool on)
{
	world_stop(g->pc->m.world, NULL);
	assert_int_equal(scsi_disk_class.disk_set_wce(g->disk, on, &g->pc->e),
			 0);
	world_resume(g->pc->m.world);
}

static void person_switches_the_write_cache(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start_with(&g, F_CHANGE);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	expect_good(SEND(&g, 512, 0, 0x2a, 0, B32(0), 0, B16(1)));
	offer_event(&g, 16);
	set_wce(&g, false);
	expect_event(&g, 3, 0x012a);
	expect_sense(SEND(&g, 0, 0, 0x00), 0x062a01);
	expect_good(SEND(&g, 0, 64, 0x1a, 8, 0x08, 0, 64));
	assert_int_equal(data_of(&g, 0)[6], 0);
	pc_gate.syncs = 0;
	expect_good(SEND(&g, 512, 0, 0x2a, 0, B32(0), 0, B16(1)));
	assert_true(pc_gate.syncs >= 1);
	/* Twice without room: the driver learns that it missed something. */
	set_wce(&g, true);
	set_wce(&g, false);
	offer_event(&g, 16);
	expect_event(&g, 0x80000000u, 0);
	/* The same again is no news. */
	set_wce(&g, false);
	offer_event(&g, 16);
	set_wce(&g, true);
	expect_event(&g, 3, 0x012a);
	offer_event(&g, 15);
	set_wce(&g, false);
	pc_wait_reg(g.pc, COMMON + 20, 1, 64, 64);
}

static void disk_grows_under_its_driver(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start_with(&g, F_CHANGE);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	offer_event(&g, 16);
	world_stop(g.pc->m.world, NULL);
	assert_int_equal(drive_grow(g.pc->drive, 2 * PC_DISK_LEN, &g.pc->e), 0);
	assert_true(scsi_disk_class.disk_resized(g.disk));
	world_resume(g.pc->m.world);
	expect_event(&g, 3, 0x092a);
	expect_sense(SEND(&g, 0, 0, 0x00), 0x062a09);
	expect_good(SEND(&g, 0, 8, 0x25));
	assert_int_equal(get32(data_of(&g, 0)), 2 * PC_DISK_LEN / 512 - 1);
	expect_good(SEND(&g, 512, 0, 0x2a, 0, B32(2 * PC_DISK_LEN / 512 - 1), 0,
			 B16(1)));
}

static void what_the_driver_uses_is_known(void **state)
{
	struct disk_driver d = {0};
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	scsi_disk_class.disk_driver(g.disk, &d);
	assert_false(d.started);
	start(&g);
	expect_sense(SEND(&g, 0, 0, 0x00), ATTENTION_POWER_ON);
	expect_good(SEND(&g, 0, 0, 0x35));
	d = (struct disk_driver){0};
	scsi_disk_class.disk_driver(g.disk, &d);
	assert_true(d.started && d.flush && d.fua && d.wce_control);
	assert_string_equal(d.offered, "SYNCHRONIZE-CACHE FUA MODE-SELECT-08 "
				       "UNMAP WRITE-SAME");
	assert_string_equal(d.accepted, "SYNCHRONIZE-CACHE");
}

/* ---- state ---- */

static void save_both(struct guest *g, struct state_buf *buf)
{
	struct fake_pc *pc = g->pc;

	assert_int_equal(
		state_save(buf, virtio_scsi_class.state, "c", g->dev, &pc->e),
		0);
	assert_int_equal(
		state_save(buf, scsi_disk_class.state, "d", g->disk, &pc->e),
		0);
}

static void load_both(struct guest *g, struct state_buf *buf)
{
	struct fake_pc *pc = g->pc;

	if (state_load(buf, virtio_scsi_class.state, "c", g->dev, &pc->e) ||
	    state_load(buf, scsi_disk_class.state, "d", g->disk, &pc->e))
		fail_msg("%s", pc->e.msg);
	assert_int_equal(virtio_scsi_class.loaded(g->dev, &pc->e), 0);
}

/* In mid-use, with the cache turned off and one request offered. */
static void state_moves_to_another_controller(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g, other;
	struct drive *drive;

	make_ready(&g, pc, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 20; i++)
		expect_good(SEND(&g, 512, 0, 0x2a, 0, B32(i), 0, B16(1), 0));
	memset(data_of(&g, 0), 0, 24);
	memcpy(data_of(&g, 0) + 4, "\x08\x12", 2);
	expect_good(SEND(&g, 24, 0, 0x15, 0x10, 0, 0, 24, 0));
	expect_good(SEND(&g, 0, 0, 0x1e, 0, 0, 0, 1, 0));
	pc_config_out(pc, g.dev, 4, 2, 2);
	build(&g, 0, read_one, sizeof(read_one), 0, 512);
	offer(&g, 2, 0);
	drive = pc->drive;
	pc_disk_file(pc, "other.img");
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	save_both(&g, &buf);
	device_destroy(g.disk);
	device_destroy(g.dev);
	drive_close(drive);
	pc->drive = NULL;
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	make(&other, pc, DRIVE_WRITEBACK, false);
	g.dev = other.dev;
	g.disk = other.disk;
	world_stop(pc->m.world, NULL);
	load_both(&g, &buf);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);

	assert_int_equal(get_status(&g), 15);
	pc_config_out(pc, g.dev, 4, 6, 2);
	wait_used(&g, 2);
	expect_good(answer_of(&g, 0));
	pc_gate.syncs = 0;
	expect_good(SEND(&g, 512, 0, 0x2a, 0, B32(0), 0, B16(1), 0));
	assert_true(pc_gate.syncs >= 1);
	assert_false(drive_wce(pc->drive));
}

static void impossible_states_are_refused(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g;
	uint32_t *sizes;

	make_ready(&g, pc, DRIVE_WRITEBACK, false);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	save_both(&g, &buf);
	/* The two sizes come last in the controller's section. */
	for (size_t i = 0; i + 4 <= buf.len; i++)
		if (!memcmp(buf.data + i, "\x60\0\0\0", 4)) {
			sizes = (uint32_t *)(void *)(buf.data + i);
			memset(sizes, 0xff, 4);
		}
	assert_int_equal(
		state_load(&buf, virtio_scsi_class.state, "c", g.dev, &pc->e),
		-EINVAL);
	state_buf_fini(&buf);
	world_resume(pc->m.world);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(controller_says_what_it_is),
		T(data_go_round_in_several_pieces),
		T(many_requests_in_one_kick),
		T(each_vcpu_has_a_queue),
		T(residuals_and_overruns),
		T(targets_and_luns),
		T(driver_chooses_the_sizes),
		T(functions_without_commands),
		T(notifications_are_not_to_be_had),
		T(one_command_is_aborted),
		T(reset_of_the_unit_ends_its_commands),
		T(long_command_is_aborted),
		T(reset_waits_for_what_is_in_flight),
		T(machine_reset_drains),
		T(broken_requests_stop_the_device_only),
		T(broken_functions_stop_the_device_only),
		T(same_descriptor_twice_stops_the_device),
		T(units_sit_where_there_is_room),
		T(person_switches_the_write_cache),
		T(disk_grows_under_its_driver),
		T(what_the_driver_uses_is_known),
		T(state_moves_to_another_controller),
		T(impossible_states_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
