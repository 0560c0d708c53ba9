/*
 * virtio_guest: the driver's side of a virtio-pci device over fake_pc: features,
 * and queues of both forms, several at a time.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_VIRTIO_GUEST_H
#define TESTS_UNIT_VIRTIO_GUEST_H

#include "tests/unit/fake_pc.h"

#define VG_COMMON PC_BAR
#define VG_ISR	  (PC_BAR + 0x1000)
#define VG_CONFIG (PC_BAR + 0x2000)
#define VG_NOTIFY (PC_BAR + 0x3000)
#define VG_MSIX	  (PC_BAR + 0x4000)

#define VG_NEXT	    1u
#define VG_WRITE    2u
#define VG_INDIRECT 4u
#define VG_AVAIL    (1u << 7)
#define VG_USED	    (1u << 15)

#define VG_F_EVENT_IDX (1ull << 29)
#define VG_F_VERSION_1 (1ull << 32)
#define VG_F_PACKED    (1ull << 34)

/* Descriptors of one chain, and chains of a queue, at most. */
#define VG_CHAIN 4u
#define VG_IDS	 16u
#define VG_LEN	 (VG_IDS * VG_CHAIN)

/* The rings of queue i lie in the 12 KiB from here on. */
#define VG_RINGS(i) (0x10000u + 0x3000u * (i))

struct vg_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* VG_WRITE, VG_INDIRECT; VG_NEXT is added */
};

struct vg_queue {
	struct fake_pc *pc;
	unsigned index;
	bool packed;
	uint64_t desc, avail, used;
	uint16_t at, used_at; /* counters; positions when packed */
	bool wrap, used_wrap;
	uint16_t nr[VG_IDS]; /* descriptors of a chain in flight */
};

static inline void vg_status(struct fake_pc *pc, uint8_t status)
{
	pc_out(pc, VG_COMMON + 20, status, 1);
}

/* A reset, and then up to FEATURES_OK. */
static inline void vg_negotiate(struct fake_pc *pc, uint64_t features)
{
	vg_status(pc, 0);
	pc_wait_reg(pc, VG_COMMON + 20, 1, 0xff, 0);
	vg_status(pc, 1);
	vg_status(pc, 3);
	features |= VG_F_VERSION_1;
	for (unsigned i = 0; i < 2; i++) {
		pc_out(pc, VG_COMMON + 8, i, 4);
		pc_out(pc, VG_COMMON + 12, (uint32_t)(features >> (32 * i)), 4);
	}
	vg_status(pc, 11);
	assert_int_equal(pc_in(pc, VG_COMMON + 20, 1), 11);
}

/* Places and enables queue index with its rings where q says. */
static inline void vg_enable(struct vg_queue *q)
{
	struct fake_pc *pc = q->pc;

	pc_out(pc, VG_COMMON + 22, q->index, 2);
	assert_true(pc_in(pc, VG_COMMON + 24, 2) >= VG_LEN);
	pc_out(pc, VG_COMMON + 24, VG_LEN, 2);
	pc_out(pc, VG_COMMON + 26, q->index, 2);
	pc_out(pc, VG_COMMON + 32, q->desc, 8);
	pc_out(pc, VG_COMMON + 40, q->avail, 8);
	pc_out(pc, VG_COMMON + 48, q->used, 8);
	pc_out(pc, VG_COMMON + 28, 1, 2);
}

static inline void vg_queue_init(struct vg_queue *q, struct fake_pc *pc,
				 unsigned index, bool packed)
{
	*q = (struct vg_queue){
		.pc = pc,
		.index = index,
		.packed = packed,
		.desc = VG_RINGS(index),
		.avail = VG_RINGS(index) + 0x1000,
		.used = VG_RINGS(index) + 0x2000,
		.wrap = true,
		.used_wrap = true,
	};
	memset(pc_ram(pc, q->desc), 0, 0x3000);
	vg_enable(q);
}

static inline void vg_kick(struct vg_queue *q)
{
	pc_out(q->pc, VG_NOTIFY + 4 * q->index, q->index, 2);
}

static inline void vg_store16(struct vg_queue *q, uint64_t gpa, uint16_t value)
{
	/* Release: a driver's barrier before what makes it available. */
	__atomic_store_n((uint16_t *)(void *)pc_ram(q->pc, gpa), value,
			 __ATOMIC_RELEASE);
}

static inline uint16_t vg_load16(struct vg_queue *q, uint64_t gpa)
{
	return __atomic_load_n((uint16_t *)(void *)pc_ram(q->pc, gpa),
			       __ATOMIC_ACQUIRE);
}

static inline void vg_offer_packed(struct vg_queue *q, const struct vg_desc *d,
				   unsigned nr, uint16_t id)
{
	uint64_t first = q->desc + 16u * q->at + 14;
	uint16_t first_flags = 0;

	for (unsigned i = 0; i < nr; i++) {
		uint64_t at = q->desc + 16u * q->at;
		uint16_t flags = d[i].flags | (q->wrap ? VG_AVAIL : VG_USED);

		flags |= i + 1 < nr ? VG_NEXT : 0;
		memcpy(pc_ram(q->pc, at), &d[i], 12);
		memcpy(pc_ram(q->pc, at + 12), &id, 2);
		if (i)
			vg_store16(q, at + 14, flags);
		else
			first_flags = flags;
		if (++q->at == VG_LEN) {
			q->at = 0;
			q->wrap = !q->wrap;
		}
	}
	vg_store16(q, first, first_flags);
}

static inline void vg_offer_split(struct vg_queue *q, const struct vg_desc *d,
				  unsigned nr, uint16_t id)
{
	uint16_t head = (uint16_t)(id * VG_CHAIN);

	for (uint16_t i = 0; i < nr; i++) {
		uint8_t *at = pc_ram(q->pc, q->desc + 16u * (head + i));
		uint16_t tail[2] = {d[i].flags | (i + 1u < nr ? VG_NEXT : 0),
				    (uint16_t)(head + i + 1)};

		memcpy(at, &d[i], 12);
		memcpy(at + 12, tail, 4);
	}
	vg_store16(q, q->avail + 4 + 2 * (q->at % VG_LEN), head);
	q->at++;
	vg_store16(q, q->avail + 2, q->at);
}

/* Makes a chain available under a number below VG_IDS that isn't in flight. */
static inline void vg_offer(struct vg_queue *q, const struct vg_desc *d,
			    unsigned nr, uint16_t id)
{
	assert_true(id < VG_IDS && !q->nr[id] && nr <= VG_CHAIN);
	q->nr[id] = (uint16_t)nr;
	if (q->packed)
		vg_offer_packed(q, d, nr, id);
	else
		vg_offer_split(q, d, nr, id);
}

static inline bool vg_used_packed(struct vg_queue *q, uint16_t *id,
				  uint32_t *len)
{
	uint64_t at = q->desc + 16u * q->used_at;
	uint16_t flags = vg_load16(q, at + 14);

	if (!!(flags & VG_AVAIL) != q->used_wrap ||
	    !!(flags & VG_USED) != q->used_wrap)
		return false;
	memcpy(len, pc_ram(q->pc, at + 8), 4);
	memcpy(id, pc_ram(q->pc, at + 12), 2);
	assert_true(*id < VG_IDS && q->nr[*id]);
	q->used_at = (uint16_t)(q->used_at + q->nr[*id]);
	if (q->used_at >= VG_LEN) {
		q->used_at = (uint16_t)(q->used_at - VG_LEN);
		q->used_wrap = !q->used_wrap;
	}
	return true;
}

static inline bool vg_used_split(struct vg_queue *q, uint16_t *id,
				 uint32_t *len)
{
	uint32_t entry[2];

	if (vg_load16(q, q->used + 2) == q->used_at)
		return false;
	memcpy(entry, pc_ram(q->pc, q->used + 4 + 8 * (q->used_at % VG_LEN)),
	       8);
	q->used_at++;
	assert_int_equal(entry[0] % VG_CHAIN, 0);
	*id = (uint16_t)(entry[0] / VG_CHAIN);
	*len = entry[1];
	assert_true(*id < VG_IDS && q->nr[*id]);
	return true;
}

/* Takes one chain that came back, if there is one. */
static inline bool vg_used(struct vg_queue *q, uint16_t *id, uint32_t *len)
{
	bool is_there = q->packed ? vg_used_packed(q, id, len)
				  : vg_used_split(q, id, len);

	if (is_there)
		q->nr[*id] = 0;
	return is_there;
}

static inline void vg_wait(struct vg_queue *q, uint16_t *id, uint32_t *len)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (!vg_used(q, id, len)) {
		if (loop_now_ns() > end)
			fail_msg("queue %u doesn't answer", q->index);
		usleep(100);
	}
}

#endif
