/*
 * vq_ring: the device's side of a ring in a fake_pc's memory, for tests that
 * write the driver's side themselves.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_VQ_RING_H
#define TESTS_UNIT_VQ_RING_H

#include "tests/unit/fake_pc.h"

#include "core/hw/virtio/virtqueue.h"

struct ring {
	struct fake_pc *pc;
	struct virtqueue q;
	struct iovec iov[64];
	struct vq_chain c;
	const char *why;
	/* Where a packed ring's driver is. */
	uint16_t at, used_at;
	bool wrap, used_wrap;
};

/* What the driver told of its ring, which is 16 KiB of zeroes from desc on. */
static inline void ring_set(struct ring *r, bool packed, uint16_t len,
			    uint64_t desc, uint64_t avail, uint64_t used)
{
	virtqueue_reset(&r->q, 256);
	r->q.packed = packed;
	r->q.len = len;
	r->q.desc = desc;
	r->q.avail = avail;
	r->q.used = used;
}

static inline void ring_open(struct ring *r, struct fake_pc *pc, bool packed,
			     uint16_t len, uint64_t desc, uint64_t avail,
			     uint64_t used)
{
	*r = (struct ring){.pc = pc, .wrap = true, .used_wrap = true};
	ring_set(r, packed, len, desc, avail, used);
	r->c.iov = r->iov;
	r->c.max = 64;
	memset(pc_ram(pc, desc), 0, 0x4000);
	assert_int_equal(virtqueue_enable(&r->q, pc->m.mem, &r->why), 0);
}

static inline uint16_t *word(struct ring *r, uint64_t gpa)
{
	return (uint16_t *)(void *)pc_ram(r->pc, gpa);
}

static inline int next(struct ring *r, uint16_t *head)
{
	return virtqueue_next(&r->q, head, &r->why);
}

static inline int walk(struct ring *r, uint16_t *head)
{
	assert_int_equal(next(r, head), 1);
	return virtqueue_walk(&r->q, r->pc->m.mem, *head, &r->c, &r->why);
}

static inline void push(struct ring *r, uint16_t head, uint32_t len)
{
	virtqueue_push(&r->q, r->pc->m.mem, head, len);
}

static inline bool want(struct ring *r, bool on)
{
	return virtqueue_want_kicks(&r->q, r->pc->m.mem, on);
}

#endif
