/* virtio-blk with several queues of both forms, against a copy of the disk. */
#include "tests/unit/virtio_guest.h"

#include "core/hw/virtio/virtio.h"

#define NR_QUEUES 4u
#define NR_SLOTS  (NR_QUEUES * VG_IDS)
#define DISK_USED (NR_SLOTS * 16u) /* sectors; 16 belong to a slot */

/* Of a slot: header, status, table, and 8 KiB of data. */
#define HEADERS 0x40000u
#define STATUS	0x41000u
#define TABLES	0x42000u
#define DATA	0x100000u

#define T_IN	0
#define T_OUT	1
#define T_FLUSH 4

#define F_FLUSH (1ull << 9)
#define F_WCE	(1ull << 11)
#define F_MQ	(1ull << 12)

extern const struct device_class virtio_blk_class;

struct guest {
	struct fake_pc *pc;
	struct device *dev;
	uint32_t seed;
	struct vg_queue queues[NR_QUEUES];
	uint8_t *shadow; /* of the sectors in use */
	struct {
		uint32_t type, sector, nr;
	} asked[NR_SLOTS];
	unsigned in_flight;
};

static void make(struct guest *g, struct fake_pc *pc, unsigned cpus)
{
	struct device_args args = {.devfn = -1};

	*g = (struct guest){.pc = pc, .seed = 11};
	pc_open_drive(pc, DRIVE_WRITEBACK, false);
	pc->m.nr_vcpus = cpus;
	args.drive = pc->drive;
	args.io = pc->io;
	g->dev = pc_add(pc, &virtio_blk_class, "disk0", &args);
	pc_map_bar(pc, g->dev, 0, PC_BAR);
}

static void start(struct guest *g, uint64_t features)
{
	vg_negotiate(g->pc, features);
	for (unsigned i = 0; i < NR_QUEUES; i++)
		vg_queue_init(&g->queues[i], g->pc, i, features & VG_F_PACKED);
	vg_status(g->pc, 15);
	assert_int_equal(pc_in(g->pc, VG_COMMON + 20, 1), 15);
	g->in_flight = 0;
}

/* ---- requests ---- */

/* One chain, direct or by a table, of a slot. */
static void ask(struct guest *g, unsigned queue, uint16_t id, uint32_t type,
		uint64_t sector, uint32_t nr)
{
	struct vg_queue *q = &g->queues[queue];
	unsigned slot = queue * VG_IDS + id, n = 0;
	uint64_t header = HEADERS + 16 * slot, table = TABLES + 64 * slot;
	uint32_t h[2] = {type, 0};
	struct vg_desc d[3];

	memcpy(pc_ram(g->pc, header), h, 8);
	memcpy(pc_ram(g->pc, header + 8), &sector, 8);
	*pc_ram(g->pc, STATUS + slot) = 0xee;
	d[n++] = (struct vg_desc){header, 16, 0};
	if (nr)
		d[n++] = (struct vg_desc){DATA + 8192 * slot, 512 * nr,
					  type == T_IN ? VG_WRITE : 0};
	d[n++] = (struct vg_desc){STATUS + slot, 1, VG_WRITE};
	if (pc_random(&g->seed) % 2) {
		for (unsigned i = 0; i < n; i++) {
			bool last = i + 1 == n;
			uint16_t w = d[i].flags;
			/* Split: flags, next.  Packed: id, flags. */
			uint16_t tail[2] = {w | (last ? 0 : VG_NEXT),
					    (uint16_t)(i + 1)};

			if (q->packed) {
				tail[0] = 0;
				tail[1] = w;
			}
			memcpy(pc_ram(g->pc, table + 16 * i), &d[i], 12);
			memcpy(pc_ram(g->pc, table + 16 * i + 12), tail, 4);
		}
		d[0] = (struct vg_desc){table, 16 * n, VG_INDIRECT};
		n = 1;
	}
	g->asked[slot].type = type;
	g->asked[slot].sector = (uint32_t)sector;
	g->asked[slot].nr = nr;
	vg_offer(q, d, n, id);
	g->in_flight++;
}

/* Takes back one chain of the queue, checks it: its id, or -1. */
static int take(struct guest *g, unsigned queue)
{
	unsigned slot;
	uint32_t len, want = 1;
	uint16_t id;

	if (!vg_used(&g->queues[queue], &id, &len))
		return -1;
	slot = queue * VG_IDS + id;
	if (g->asked[slot].type == T_IN)
		want += 512 * g->asked[slot].nr;
	assert_int_equal(len, want);
	assert_int_equal(*pc_ram(g->pc, STATUS + slot), 0);
	if (g->asked[slot].type == T_IN && g->shadow)
		assert_memory_equal(pc_ram(g->pc, DATA + 8192 * slot),
				    g->shadow + 512 * g->asked[slot].sector,
				    512 * g->asked[slot].nr);
	g->in_flight--;
	return id;
}

static void settle(struct guest *g)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (g->in_flight) {
		for (unsigned i = 0; i < NR_QUEUES; i++)
			while (take(g, i) >= 0)
				;
		if (loop_now_ns() > end)
			fail_msg("%u requests are lost", g->in_flight);
		usleep(100);
	}
}

/* A random request of a slot that is free, within the slot's own sectors. */
static void ask_random(struct guest *g, unsigned queue, uint16_t id)
{
	unsigned slot = queue * VG_IDS + id;
	uint32_t first = pc_random(&g->seed) % 16,
		 nr = 1 + pc_random(&g->seed) % 16;
	uint32_t sector = 16 * slot + first;
	uint8_t *data = pc_ram(g->pc, DATA + 8192 * slot);

	if (nr > 16 - first)
		nr = 16 - first;
	switch (pc_random(&g->seed) % 8) {
	case 0:
		ask(g, queue, id, T_FLUSH, 0, 0);
		break;
	case 1:
	case 2:
	case 3:
		for (unsigned i = 0; i < 512 * nr; i++)
			data[i] = (uint8_t)pc_random(&g->seed);
		memcpy(g->shadow + 512 * sector, data, 512 * nr);
		ask(g, queue, id, T_OUT, sector, nr);
		break;
	default:
		memset(data, 0xdd, 512 * nr);
		ask(g, queue, id, T_IN, sector, nr);
	}
}

static void work(struct guest *g, unsigned rounds)
{
	for (unsigned round = 0; round < rounds; round++) {
		unsigned queue = pc_random(&g->seed) % NR_QUEUES;
		struct vg_queue *q = &g->queues[queue];

		for (unsigned n = pc_random(&g->seed) % 6; n; n--) {
			uint16_t id = (uint16_t)(pc_random(&g->seed) % VG_IDS);

			if (!q->nr[id])
				ask_random(g, queue, id);
		}
		vg_kick(q);
		for (unsigned i = 0; i < NR_QUEUES; i++)
			while (pc_random(&g->seed) % 4 && take(g, i) >= 0)
				;
	}
	settle(g);
}

/* ---- tests ---- */

static void there_is_a_queue_for_each_cpu(void **state)
{
	static const struct {
		unsigned cpus, queues;
	} rows[] = {{1, 1}, {3, 3}, {8, 8}, {64, 8}};
	struct device_args args = {.devfn = -1};
	struct fake_pc *pc = *state;
	struct guest g;

	make(&g, pc, 1);
	world_stop(pc->m.world, NULL);
	device_destroy(g.dev);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	for (unsigned i = 0; i < 4; i++) {
		pc->m.nr_vcpus = rows[i].cpus;
		args.drive = pc->drive;
		args.io = pc->io;
		g.dev = pc_add(pc, &virtio_blk_class, "disk0", &args);
		pc_map_bar(pc, g.dev, 0, PC_BAR);
		assert_int_equal(pc_in(pc, VG_COMMON + 18, 2), rows[i].queues);
		assert_int_equal(pc_in(pc, VG_CONFIG + 34, 2), rows[i].queues);
		assert_int_equal(((struct pci_dev *)(void *)g.dev)->msix.nr,
				 rows[i].queues + 1);
		world_stop(pc->m.world, NULL);
		device_destroy(g.dev);
		bus_commit(pc->m.bus, NULL);
		world_resume(pc->m.world);
	}
}

static void queues_interrupt_for_themselves(void **state)
{
	struct fake_pc *pc = *state;
	uint64_t end = loop_now_ns() + PC_WAIT_NS;
	struct pci_dev *d;
	struct guest g;

	make(&g, pc, NR_QUEUES);
	d = (struct pci_dev *)(void *)g.dev;
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		pc_out(pc, VG_MSIX + 16 * i, 0xfee00000, 4);
		pc_out(pc, VG_MSIX + 16 * i + 8, 0x41 + i, 4);
		pc_out(pc, VG_MSIX + 16 * i + 12, 0, 4);
	}
	pc_config_out(pc, g.dev, d->msix.cap + 2, 0x8000, 2);
	start(&g, F_FLUSH | F_MQ | VG_F_PACKED);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		ask(&g, i, 3, T_IN, 0, 1);
		vg_kick(&g.queues[i]);
		settle(&g);
		while (!__atomic_load_n(&d->msix.msi[i].raised,
					__ATOMIC_RELAXED))
			assert_true(loop_now_ns() < end);
		for (unsigned j = i + 1; j < NR_QUEUES; j++)
			assert_int_equal(d->msix.msi[j].raised, 0);
	}
}

static void all_queues_at_once(void **state)
{
	static const uint64_t features[] = {
		F_FLUSH | F_MQ,
		F_FLUSH | F_MQ | VG_F_EVENT_IDX,
		F_FLUSH | F_MQ | VG_F_PACKED,
		F_FLUSH | F_MQ | VG_F_PACKED | VG_F_EVENT_IDX,
	};
	struct guest g;

	make(&g, *state, NR_QUEUES);
	g.shadow = calloc(DISK_USED, 512);
	for (unsigned i = 0; i < 4; i++) {
		start(&g, features[i]);
		work(&g, 1500);
	}
	free(g.shadow);
}

/* In flight on every queue: the old requests answer nobody, the new do. */
static void reset_with_all_queues_in_flight(void **state)
{
	struct guest g;

	make(&g, *state, NR_QUEUES);
	for (unsigned form = 0; form < 2; form++) {
		start(&g, F_FLUSH | (form ? VG_F_PACKED : 0));
		pc_gate_shut(&pc_gate.gate);
		for (unsigned i = 0; i < NR_QUEUES; i++) {
			for (uint16_t id = 0; id < 2; id++)
				ask(&g, i, id, T_IN, 0, 1);
			vg_kick(&g.queues[i]);
		}
		pc_wait_in_flight(g.pc, 2 * NR_QUEUES);
		vg_status(g.pc, 0);
		assert_int_not_equal(pc_in(g.pc, VG_COMMON + 20, 1), 0);
		memset(pc_ram(g.pc, VG_RINGS(0)), 0x5a, 0x3000 * NR_QUEUES);
		pc_gate_pass(pc_gate.gate, 1000);
		pc_wait_reg(g.pc, VG_COMMON + 20, 1, 0xff, 0);
		for (unsigned i = 0; i < 0x3000 * NR_QUEUES; i++)
			assert_int_equal(*pc_ram(g.pc, VG_RINGS(0) + i), 0x5a);
		for (unsigned slot = 0; slot < 2; slot++)
			assert_int_equal(*pc_ram(g.pc, STATUS + slot), 0xee);
		pc_gate_open(&pc_gate.gate);
		start(&g, F_FLUSH | (form ? 0 : VG_F_PACKED));
		ask(&g, NR_QUEUES - 1, 0, T_IN, 0, 1);
		vg_kick(&g.queues[NR_QUEUES - 1]);
		settle(&g);
	}
}

/* The device of another machine goes on in mid-ring, on every queue. */
static void move(struct guest *g)
{
	struct fake_pc *pc = g->pc;
	struct device_args args = {.devfn = -1, .io = pc->io};
	const struct state_desc *desc = virtio_blk_class.state;
	struct drive *drive = pc->drive;
	struct state_buf buf = {0};
	struct device *old = g->dev;

	/* On the same image: the old drive lets go of it first. */
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(state_save(&buf, desc, "d", old, &pc->e), 0);
	device_destroy(old);
	drive_close(drive);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	pc_open_drive(pc, DRIVE_WRITEBACK, false);
	args.drive = pc->drive;
	g->dev = pc_add(pc, &virtio_blk_class, "disk0", &args);
	world_stop(pc->m.world, NULL);
	if (state_load(&buf, desc, "d", g->dev, &pc->e) ||
	    virtio_blk_class.loaded(g->dev, &pc->e))
		fail_msg("%s", pc->e.msg);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);
}

static void rings_go_on_after_a_move(void **state)
{
	struct guest g;

	make(&g, *state, NR_QUEUES);
	g.shadow = calloc(DISK_USED, 512);
	for (unsigned form = 0; form < 2; form++) {
		start(&g, F_FLUSH | F_WCE | F_MQ | VG_F_EVENT_IDX |
				  (form ? VG_F_PACKED : 0));
		pc_out(g.pc, VG_CONFIG + 32, form, 1);
		for (unsigned i = 0; i < 20; i++) {
			work(&g, 7 + i);
			/* Offered, but the kick gets lost in the move. */
			ask_random(&g, i % NR_QUEUES, 5);
			move(&g);
			settle(&g);
			assert_int_equal(pc_in(g.pc, VG_CONFIG + 32, 1), form);
		}
	}
	free(g.shadow);
}

/* ---- a state of version 1: four queues without wrap counters ---- */

struct old_blk {
	struct virtio_dev v; /* as the device's first bytes */
	bool wce;
};

#define QUEUE_V1(member)                                                       \
	{                                                                      \
		.name = "vq." #member,                                         \
		.type = STATE_TYPE_OF(((struct virtqueue *)0)->member),        \
		.offset = offsetof(struct virtio_queue, vq.member),            \
		.count = 1, .since = 1                                         \
	}

static void save_v1(struct guest *g, struct state_buf *buf)
{
	static const struct state_field queue_fields[] = {
		QUEUE_V1(len),	      QUEUE_V1(desc),	   QUEUE_V1(avail),
		QUEUE_V1(used),	      QUEUE_V1(vector),	   QUEUE_V1(enabled),
		QUEUE_V1(next_avail), QUEUE_V1(next_used), QUEUE_V1(signalled),
	};
	static const struct state_desc queue = {
		.name = "virtqueue",
		.version = 1,
		.oldest = 1,
		.fields = queue_fields,
		.nr_fields = 9,
	};
	static const struct state_field dev_fields[] = {
		STATE_STRUCTS(struct virtio_dev, pci, 1, &pci_dev_state),
		STATE_FIELD(struct virtio_dev, driver_features),
		STATE_FIELD(struct virtio_dev, feature_sel),
		STATE_FIELD(struct virtio_dev, driver_feature_sel),
		STATE_FIELD(struct virtio_dev, config_vector),
		STATE_FIELD(struct virtio_dev, queue_sel),
		STATE_FIELD(struct virtio_dev, status),
		STATE_FIELD(struct virtio_dev, isr),
		STATE_FIELD(struct virtio_dev, generation),
		STATE_FIELD(struct virtio_dev, pci.dev.failed),
		{.name = "queues",
		 .type = STATE_STRUCT,
		 .offset = offsetof(struct virtio_dev, queues),
		 .count = 4,
		 .since = 1,
		 .stride = sizeof(struct virtio_queue),
		 .desc = &queue},
	};
	static const struct state_desc dev = {
		.name = "virtio",
		.version = 1,
		.oldest = 1,
		.fields = dev_fields,
		.nr_fields = 11,
	};
	static const struct state_field fields[] = {
		STATE_STRUCTS(struct old_blk, v, 1, &dev),
		STATE_FIELD(struct old_blk, wce),
	};
	static const struct state_desc desc = {
		.name = "virtio-blk",
		.version = 1,
		.oldest = 1,
		.fields = fields,
		.nr_fields = 2,
	};
	struct old_blk *old = calloc(1, sizeof(*old));

	memcpy(&old->v, g->dev, sizeof(old->v));
	old->wce = true;
	assert_int_equal(state_save(buf, &desc, "d", old, &g->pc->e), 0);
	free(old);
}

static void states_of_before_are_read(void **state)
{
	struct fake_pc *pc = *state;
	struct state_buf buf = {0};
	struct guest g;

	make(&g, pc, NR_QUEUES);
	start(&g, F_FLUSH);
	for (uint16_t id = 0; id < 5; id++)
		ask(&g, 2, id, T_IN, 0, 1);
	vg_kick(&g.queues[2]);
	settle(&g);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	save_v1(&g, &buf);
	virtio_blk_class.reset(g.dev);
	if (state_load(&buf, virtio_blk_class.state, "d", g.dev, &pc->e) ||
	    virtio_blk_class.loaded(g.dev, &pc->e))
		fail_msg("%s", pc->e.msg);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);
	assert_int_equal(pc_in(pc, VG_COMMON + 20, 1), 15);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		ask(&g, i, 7, T_IN, 0, 1);
		vg_kick(&g.queues[i]);
		settle(&g);
	}
	/* And the next driver may have packed rings. */
	start(&g, F_FLUSH | VG_F_PACKED);
	ask(&g, 3, 7, T_IN, 0, 1);
	vg_kick(&g.queues[3]);
	settle(&g);
}

/* One with fewer queues can't go on where more were in use. */
static void queues_that_are_not_there_are_refused(void **state)
{
	struct fake_pc *pc = *state;
	struct device_args args = {.devfn = -1};
	struct state_buf buf = {0};
	struct guest g;

	make(&g, pc, NR_QUEUES);
	start(&g, F_FLUSH);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(
		state_save(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	device_destroy(g.dev);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	pc->m.nr_vcpus = 2;
	args.drive = pc->drive;
	args.io = pc->io;
	g.dev = pc_add(pc, &virtio_blk_class, "disk0", &args);
	world_stop(pc->m.world, NULL);
	assert_int_equal(
		state_load(&buf, virtio_blk_class.state, "d", g.dev, &pc->e),
		0);
	assert_int_equal(virtio_blk_class.loaded(g.dev, &pc->e), -EINVAL);
	assert_non_null(strstr(pc->e.msg, "queue 2"));
	virtio_blk_class.reset(g.dev);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);
}

/* What no memory is, or not the queue's: the device fails, and no more. */
static void rings_in_wrong_places(void **state)
{
	static const struct {
		uint64_t desc, avail, used;
		bool lies_in_ram;
	} rows[] = {
		{PC_BAR, VG_RINGS(0), VG_RINGS(1), false},
		{VG_RINGS(0), PC_BAR + 0x3000, VG_RINGS(1), false},
		{VG_RINGS(0), VG_RINGS(1), PC_BAR + 0x3000, false},
		{VG_RINGS(0), VG_RINGS(1), PC_RAM_LEN - 2, false},
		{PC_RAM_LEN, VG_RINGS(1), VG_RINGS(2), false},
		{PC_HOLE - 16, VG_RINGS(1), VG_RINGS(2), false},
		{0xfffffffffffffff0, VG_RINGS(1), VG_RINGS(2), false},
		{VG_RINGS(0), VG_RINGS(1), 0xfffffffffffffffc, false},
		/* All over one another, and over another queue's. */
		{VG_RINGS(0), VG_RINGS(0), VG_RINGS(0), true},
		{VG_RINGS(0), VG_RINGS(0) + 32, VG_RINGS(0) + 64, true},
		{VG_RINGS(1), VG_RINGS(1) + 0x1000, VG_RINGS(1) + 8, true},
	};
	struct guest g;

	make(&g, *state, NR_QUEUES);
	for (unsigned i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t packed = i & 1 ? VG_F_PACKED : 0;
		struct vg_queue q = {.pc = g.pc,
				     .desc = rows[i / 2].desc,
				     .avail = rows[i / 2].avail,
				     .used = rows[i / 2].used};

		vg_negotiate(g.pc, F_FLUSH | packed);
		vg_queue_init(&g.queues[1], g.pc, 1, packed);
		for (unsigned at = 0; at < 0x3000; at++)
			*pc_ram(g.pc, VG_RINGS(0) + at) =
				(uint8_t)pc_random(&g.seed);
		vg_enable(&q);
		vg_status(g.pc, 15);
		for (unsigned kicks = 0; kicks < 5; kicks++)
			vg_kick(&q);
		if (!rows[i / 2].lies_in_ram) {
			assert_true(pc_in(g.pc, VG_COMMON + 20, 1) & 64);
			assert_true(g.dev->failed);
			assert_string_not_equal(g.dev->why, "");
		}
	}
	start(&g, F_FLUSH);
	ask(&g, 0, 0, T_IN, 0, 1);
	vg_kick(&g.queues[0]);
	settle(&g);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(there_is_a_queue_for_each_cpu),
		T(queues_interrupt_for_themselves),
		T(all_queues_at_once),
		T(reset_with_all_queues_in_flight),
		T(rings_go_on_after_a_move),
		T(states_of_before_are_read),
		T(queues_that_are_not_there_are_refused),
		T(rings_in_wrong_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
