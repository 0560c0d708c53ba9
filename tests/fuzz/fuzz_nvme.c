/*
 * An NVMe controller under a driver made of arbitrary bytes: registers,
 * doorbells, rings, commands that almost make sense, lists of pages, doorbell
 * buffers, resets and moves in mid-flight.  Whatever it did, the next driver
 * finds a controller that works.
 */
#include "tests/fuzz/fuzz_device.h"
#include "tests/unit/nvme_guest.h"

#define QUEUES 4u
#define LEN    16u

/* An address that a driver could mean, or not. */
static uint64_t any_page(struct fuzz_input *in, uint64_t usual)
{
	switch (fuzz_pick(in, 24)) {
	case 0:
		return PC_BAR + (fuzz_take(in, 2) & ~3ull);
	case 1:
		return G_SQ(fuzz_pick(in, QUEUES)) + 4096u * fuzz_pick(in, 20);
	case 2:
		return PC_RAM_LEN - fuzz_take(in, 2);
	case 3:
		return G_LISTS + fuzz_take(in, 2);
	case 4:
		return G_SHADOW + 4096u * fuzz_pick(in, 2);
	case 5:
		return fuzz_take(in, 8);
	}
	return usual;
}

/* The BAR has 64 bits. */
static void map(struct guest *g)
{
	pc_config_out(g->pc, g->dev, 0x14, 0, 4);
	pc_map_bar(g->pc, g->dev, 0, PC_BAR);
}

static void poke_register(struct guest *g, struct fuzz_input *in)
{
	uint32_t at = (uint32_t)fuzz_take(in, 2) % 0x4000;
	unsigned len = 1u << fuzz_pick(in, 4);

	if (fuzz_pick(in, 4))
		at %= 64;
	if (fuzz_pick(in, 3))
		pc_out(g->pc, PC_BAR + at, fuzz_take(in, len), len);
	else
		pc_in(g->pc, PC_BAR + at, len);
}

static void poke_config(struct guest *g, struct fuzz_input *in)
{
	unsigned len = 1u << fuzz_pick(in, 3), at = fuzz_pick(in, 256) & ~3u;

	pc_config_out(g->pc, g->dev, at, (uint32_t)fuzz_take(in, len), len);
	/* Mapped and bus master again, as the rest wants it. */
	if (fuzz_pick(in, 4))
		map(g);
}

/* Enabled, or nearly so. */
static void start(struct guest *g, struct fuzz_input *in)
{
	struct fake_pc *pc = g->pc;
	uint32_t aqa = (LEN - 1) << 16 | (LEN - 1), cc = G_CC;

	if (!fuzz_pick(in, 8))
		aqa = (uint32_t)fuzz_take(in, 4);
	if (!fuzz_pick(in, 8))
		cc = (uint32_t)fuzz_take(in, 4);
	g_queue_start(g, 0, 0, LEN);
	pc_out(pc, PC_BAR + NVME_CC, 0, 4);
	pc_out(pc, PC_BAR + NVME_AQA, aqa, 4);
	pc_out(pc, PC_BAR + NVME_ASQ, any_page(in, G_SQ(0)), 8);
	pc_out(pc, PC_BAR + NVME_ACQ, any_page(in, G_CQ(0)), 8);
	pc_out(pc, PC_BAR + NVME_CC, cc, 4);
}

/* Any command, with fields that are often right. */
static void put(struct guest *g, struct fuzz_input *in, unsigned id)
{
	static const uint8_t opcodes[] = {
		NVME_DELETE_SQ,	  NVME_CREATE_SQ,	NVME_GET_LOG_PAGE,
		NVME_DELETE_CQ,	  NVME_CREATE_CQ,	NVME_IDENTIFY,
		NVME_ABORT,	  NVME_SET_FEATURES,	NVME_GET_FEATURES,
		NVME_ASYNC_EVENT, NVME_DOORBELL_BUFFER, NVME_WRITE_ZEROES,
	};
	unsigned op = fuzz_pick(in, 64);
	struct nvme_cmd c = {
		.opcode =
			op < sizeof(opcodes) ? opcodes[op] : (uint8_t)(op % 3),
		.nsid = fuzz_pick(in, 8) ? 1 : (uint32_t)fuzz_take(in, 4),
		.prp1 = any_page(in, G_DATA + 4096u * fuzz_pick(in, 64)),
		.prp2 = any_page(in, G_LISTS + 8u * fuzz_pick(in, 255)),
		.dw10 = (uint32_t)fuzz_take(in, 2) % 9000,
		.dw11 = fuzz_pick(in, 16) ? 0 : (uint32_t)fuzz_take(in, 4),
		.dw12 = (uint32_t)fuzz_take(in, 2) % 2100,
	};

	if (!fuzz_pick(in, 16))
		c.flags = (uint8_t)fuzz_take(in, 1);
	if (!id && fuzz_pick(in, 8)) { /* the admin commands' numbers */
		c.dw10 = fuzz_pick(in, 12) | fuzz_pick(in, 40) << 16;
		c.dw11 = fuzz_pick(in, 8) | fuzz_pick(in, 8) << 16;
	}
	g_put(g, id, &c);
	if (fuzz_pick(in, 2))
		g_ring_sq(g, id);
}

static void open_queue(struct guest *g, struct fuzz_input *in)
{
	unsigned id = 1 + fuzz_pick(in, QUEUES - 1);
	struct nvme_cmd c = {
		.opcode = NVME_CREATE_CQ,
		.prp1 = any_page(in, G_CQ(id)),
		.dw10 = id | (LEN - 1) << 16,
		.dw11 = id << 16 | 3,
	};

	g_queue_start(g, id, id, LEN);
	g_put(g, 0, &c);
	c.opcode = NVME_CREATE_SQ;
	c.prp1 = any_page(in, G_SQ(id));
	g_put(g, 0, &c);
	g_ring_sq(g, 0);
}

static void set_buffers(struct guest *g, struct fuzz_input *in)
{
	struct nvme_cmd c = {
		.opcode = NVME_DOORBELL_BUFFER,
		.prp1 = any_page(in, G_SHADOW),
		.prp2 = any_page(in, G_WISHES),
	};

	g_put(g, 0, &c);
	g_ring_sq(g, 0);
	g->buffered = true;
}

static void take_answers(struct guest *g, struct fuzz_input *in)
{
	unsigned id = fuzz_pick(in, QUEUES);
	struct nvme_cqe e;

	while (g->q[id].len && g_peek(g, id, &e))
		g_next(g, id);
}

static void list_of_pages(struct guest *g, struct fuzz_input *in)
{
	uint64_t at = G_LISTS + 8 * (fuzz_take(in, 2) % 1024);
	unsigned nr = fuzz_pick(in, 256);

	for (unsigned i = 0; i < nr; i++) {
		uint64_t page = fuzz_pick(in, 8) ? G_DATA + 4096 * (i % 256)
						 : any_page(in, G_LISTS);

		memcpy(pc_ram(g->pc, at + 8 * i), &page, 8);
	}
}

static void move(struct guest *g, struct fuzz_input *in)
{
	fuzz_move(in, g->pc, g->dev, SIZE_MAX);
	map(g);
}

static void step(struct guest *g, struct fuzz_input *in)
{
	unsigned id = fuzz_pick(in, QUEUES);

	switch (fuzz_pick(in, 20)) {
	case 0:
		poke_register(g, in);
		break;
	case 1:
		poke_config(g, in);
		break;
	case 2:
		start(g, in);
		break;
	case 3:
		fuzz_ram(in, g->pc, G_SQ(id) + fuzz_take(in, 2) % 0x11000,
			 fuzz_pick(in, 64));
		break;
	case 4:
		fuzz_ram(in, g->pc, G_SHADOW + fuzz_pick(in, 64),
			 fuzz_pick(in, 16));
		break;
	case 5:
		pc_out(g->pc, PC_BAR + NVME_DOORBELLS + 4 * fuzz_pick(in, 40),
		       fuzz_take(in, 1) % 20, 4);
		break;
	case 6:
		fuzz_settle(g->pc);
		break;
	case 7:
		if (!fuzz_pick(in, 4))
			move(g, in);
		break;
	case 8:
		list_of_pages(g, in);
		break;
	case 9:
		set_buffers(g, in);
		break;
	case 10:
		open_queue(g, in);
		break;
	case 11:
	case 12:
		take_answers(g, in);
		break;
	default:
		if (g->q[id].len)
			put(g, in, id);
	}
}

/* ---- the driver after it ---- */

static void works(struct guest *g)
{
	struct nvme_cmd c = g_rw(NVME_READ, 0, 8);

	map(g);
	g_start(g, LEN);
	g_create_pair(g, 1, LEN);
	assert_int_equal(g_do(g, 1, &c), 0);
	g_set_buffers(g);
	assert_int_equal(g_do(g, 1, &c), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct guest *g;
	struct fuzz_input in = {data, len};

	if (!g) {
		g = calloc(1, sizeof(*g));
		g_make(g, pc_create(), DRIVE_UNSAFE, false);
	}
	memset(g->q, 0, sizeof(g->q));
	g->buffered = false;
	start(g, &in);
	open_queue(g, &in);
	while (in.len)
		step(g, &in);
	/* By the controller's reset, or by the machine's. */
	if (len % 2)
		pc_reset(g->pc);
	works(g);
	return 0;
}
