/*
 * nvme_guest: a guest's NVMe driver, for tests of the controller: queues,
 * doorbells (registers, or buffers in memory), PRPs, completions by polling.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_NVME_GUEST_H
#define TESTS_UNIT_NVME_GUEST_H

#include "tests/unit/fake_pc.h"

#include "core/hw/storage/nvme_spec.h"

#define G_SQ(id)	 (0x200000u + (id)*0x20000u)
#define G_CQ(id)	 (0x210000u + (id)*0x20000u)
#define G_LISTS		 0x600000u /* of pages */
#define G_SHADOW	 0x640000u
#define G_WISHES	 0x641000u
#define G_DATA		 0x800000u
#define G_QUEUES	 17
#define G_NO_CQE	 0xffffffffu
#define G_BLOCKS	 (PC_DISK_LEN / 512)
#define G_IS_DNR(status) ((status)&NVME_STATUS_DNR)

extern const struct device_class nvme_class;

struct g_queue {
	unsigned id, cqid, len, tail, head;
	bool phase;
};

struct guest {
	struct fake_pc *pc;
	struct device *dev;
	struct g_queue q[G_QUEUES];
	uint16_t next_cid;
	bool buffered;	/* doorbell buffers are set */
	unsigned rings; /* doorbell registers written */
	struct nvme_cqe last;
};

/* ---- doorbells ---- */

static inline uint32_t *g_word(struct guest *g, uint64_t page, unsigned index)
{
	return (uint32_t *)(void *)pc_ram(g->pc, page) + index;
}

/* As Linux decides it: does the controller wish for a value on the way? */
static inline bool g_wants_ring(uint32_t wish, uint32_t old, uint32_t value)
{
	return (uint16_t)(value - wish - 1) < (uint16_t)(value - old);
}

static inline void g_ring(struct guest *g, unsigned index, uint32_t value)
{
	uint32_t old, wish;

	if (g->buffered && index > 1) {
		old = *g_word(g, G_SHADOW, index);
		__atomic_store_n(g_word(g, G_SHADOW, index), value,
				 __ATOMIC_SEQ_CST);
		wish = __atomic_load_n(g_word(g, G_WISHES, index),
				       __ATOMIC_SEQ_CST);
		if (!g_wants_ring(wish, old, value))
			return;
	}
	g->rings++;
	pc_out(g->pc, PC_BAR + NVME_DOORBELLS + 4 * index, value, 4);
}

/* ---- commands ---- */

/* Into the ring, without the doorbell. */
static inline uint16_t g_put(struct guest *g, unsigned id, struct nvme_cmd *c)
{
	struct g_queue *q = &g->q[id];

	c->cid = g->next_cid++;
	memcpy(pc_ram(g->pc, G_SQ(id) + q->tail * NVME_SQE_LEN), c, sizeof(*c));
	q->tail = (q->tail + 1) % q->len;
	return c->cid;
}

static inline void g_ring_sq(struct guest *g, unsigned id)
{
	g_ring(g, 2 * id, g->q[id].tail);
}

static inline uint16_t g_send(struct guest *g, unsigned id, struct nvme_cmd *c)
{
	uint16_t cid = g_put(g, id, c);

	g_ring_sq(g, id);
	return cid;
}

/* The next answer of completion queue id, if it is there; not yet given
 * back. */
static inline bool g_peek(struct guest *g, unsigned id, struct nvme_cqe *e)
{
	struct g_queue *q = &g->q[id];
	uint8_t *at = pc_ram(g->pc, G_CQ(id) + q->head * NVME_CQE_LEN);
	uint32_t last = __atomic_load_n((uint32_t *)(void *)(at + 12),
					__ATOMIC_ACQUIRE);

	if ((last >> 16 & 1) != q->phase)
		return false;
	memcpy(e, at, sizeof(*e));
	return true;
}

static inline void g_next(struct guest *g, unsigned id)
{
	struct g_queue *q = &g->q[id];

	q->head = (q->head + 1) % q->len;
	if (!q->head)
		q->phase = !q->phase;
	g_ring(g, 2 * id + 1, q->head);
}

static inline void g_wait_peek(struct guest *g, unsigned id)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (!g_peek(g, id, &g->last)) {
		if (loop_now_ns() > end)
			fail_msg("queue %u: no answer", id);
		usleep(20);
	}
}

/* Status (type and code) of the next answer of completion queue id. */
static inline unsigned g_wait(struct guest *g, unsigned id)
{
	g_wait_peek(g, id);
	g_next(g, id);
	return g->last.status >> 1 & 0x7ff;
}

static inline unsigned g_do(struct guest *g, unsigned id, struct nvme_cmd *c)
{
	uint16_t cid = g_send(g, id, c);
	unsigned status = g_wait(g, g->q[id].cqid);

	assert_int_equal(g->last.cid, cid);
	assert_int_equal(g->last.sqid, id);
	return status;
}

static inline struct nvme_cmd g_rw(uint8_t opcode, uint64_t lba, unsigned nr)
{
	return (struct nvme_cmd){
		.opcode = opcode,
		.nsid = 1,
		.prp1 = G_DATA,
		.prp2 = nr > 8 ? G_DATA + 4096 : 0,
		.dw10 = (uint32_t)lba,
		.dw11 = (uint32_t)(lba >> 32),
		.dw12 = nr - 1,
	};
}

static inline unsigned g_do_rw(struct guest *g, unsigned id, uint8_t opcode,
			       uint64_t lba, unsigned nr)
{
	struct nvme_cmd c = g_rw(opcode, lba, nr);

	return g_do(g, id, &c);
}

static inline unsigned g_admin(struct guest *g, uint8_t opcode, uint32_t nsid,
			       uint32_t dw10, uint32_t dw11)
{
	struct nvme_cmd c = {
		.opcode = opcode,
		.nsid = nsid,
		.prp1 = G_DATA,
		.dw10 = dw10,
		.dw11 = dw11,
	};

	return g_do(g, 0, &c);
}

static inline unsigned g_set_feature(struct guest *g, unsigned id,
				     uint32_t value)
{
	return g_admin(g, NVME_SET_FEATURES, 0, id, value);
}

static inline uint32_t g_get_feature(struct guest *g, unsigned id)
{
	assert_int_equal(g_admin(g, NVME_GET_FEATURES, 0, id, 0), 0);
	return g->last.result;
}

/* ---- life ---- */

static inline void g_queue_start(struct guest *g, unsigned id, unsigned cqid,
				 unsigned len)
{
	g->q[id] = (struct g_queue){
		.id = id,
		.cqid = cqid,
		.len = len,
		.phase = true,
	};
	memset(pc_ram(g->pc, G_SQ(id)), 0, 0x20000);
}

static inline uint32_t g_csts(struct guest *g)
{
	return (uint32_t)pc_in(g->pc, PC_BAR + NVME_CSTS, 4);
}

static inline void g_stop(struct guest *g)
{
	pc_out(g->pc, PC_BAR + NVME_CC, 0, 4);
	pc_wait_reg(g->pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_RDY, 0);
	g->buffered = false;
}

#define G_CC (NVME_CC_EN | NVME_SQE_LOG << 16 | NVME_CQE_LOG << 20)

static inline void g_start(struct guest *g, unsigned admin_len)
{
	struct fake_pc *pc = g->pc;

	g_stop(g);
	g_queue_start(g, 0, 0, admin_len);
	pc_out(pc, PC_BAR + NVME_AQA, (admin_len - 1) << 16 | (admin_len - 1),
	       4);
	pc_out(pc, PC_BAR + NVME_ASQ, G_SQ(0), 8);
	pc_out(pc, PC_BAR + NVME_ACQ, G_CQ(0), 4);
	pc_out(pc, PC_BAR + NVME_ACQ + 4, 0, 4);
	pc_out(pc, PC_BAR + NVME_CC, G_CC, 4);
	pc_wait_reg(pc, PC_BAR + NVME_CSTS, 4, NVME_CSTS_RDY, NVME_CSTS_RDY);
	assert_int_equal(g_csts(g), NVME_CSTS_RDY);
}

static inline unsigned g_create_cq(struct guest *g, unsigned id, unsigned len,
				   unsigned vector)
{
	struct nvme_cmd c = {
		.opcode = NVME_CREATE_CQ,
		.prp1 = G_CQ(id),
		.dw10 = id | (len - 1) << 16,
		.dw11 = vector << 16 | 3,
	};

	return g_do(g, 0, &c);
}

static inline unsigned g_create_sq(struct guest *g, unsigned id, unsigned len,
				   unsigned cqid)
{
	struct nvme_cmd c = {
		.opcode = NVME_CREATE_SQ,
		.prp1 = G_SQ(id),
		.dw10 = id | (len - 1) << 16,
		.dw11 = cqid << 16 | 1,
	};

	return g_do(g, 0, &c);
}

static inline void g_create_pair(struct guest *g, unsigned id, unsigned len)
{
	g_queue_start(g, id, id, len);
	assert_int_equal(g_create_cq(g, id, len, id), 0);
	assert_int_equal(g_create_sq(g, id, len, id), 0);
}

static inline void g_set_buffers(struct guest *g)
{
	struct nvme_cmd c = {
		.opcode = NVME_DOORBELL_BUFFER,
		.prp1 = G_SHADOW,
		.prp2 = G_WISHES,
	};

	memset(pc_ram(g->pc, G_SHADOW), 0, 0x2000);
	assert_int_equal(g_do(g, 0, &c), 0);
	g->buffered = true;
}

/* A controller with a drive, mapped and not enabled. */
static inline void g_make(struct guest *g, struct fake_pc *pc,
			  enum drive_preset preset, bool readonly)
{
	struct device_args args = {.devfn = -1};

	*g = (struct guest){.pc = pc, .next_cid = 100};
	pc_open_drive(pc, preset, readonly);
	args.drive = pc->drive;
	args.io = pc->io;
	g->dev = pc_add(pc, &nvme_class, "disk0", &args);
	pc_map_bar(pc, g->dev, 0, PC_BAR);
}

/* And with an admin queue and one for I/O. */
static inline void g_make_ready(struct guest *g, struct fake_pc *pc,
				enum drive_preset preset, bool readonly)
{
	g_make(g, pc, preset, readonly);
	g_start(g, 32);
	g_create_pair(g, 1, 64);
}

#endif
