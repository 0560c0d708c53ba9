/* Split ring layout: virtio 1.2, 2.7.5 (descriptors), 2.7.6 (available), 2.7.8
 * (used).  The guest and the host are both little endian. */
#include "core/hw/virtio/virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hw/virtio/virtqueue_int.h"

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static uint64_t desc_bytes(const struct virtqueue *q)
{
	return (uint64_t)q->len * VQ_DESC_LEN;
}

static uint64_t avail_bytes(const struct virtqueue *q)
{
	return 6 + 2ull * q->len;
}

static uint64_t used_bytes(const struct virtqueue *q)
{
	return 6 + 8ull * q->len;
}

static uint16_t *avail_field(const struct virtqueue *q, unsigned index)
{
	return (uint16_t *)(void *)(q->avail_host + 2 * index);
}

static uint16_t *used_field(const struct virtqueue *q, unsigned off)
{
	return (uint16_t *)(void *)(q->used_host + off);
}

void virtqueue_reset(struct virtqueue *q, uint16_t max_len)
{
	free(q->chains);
	*q = (struct virtqueue){
		.max_len = max_len,
		.len = max_len,
		.vector = 0xffff,
		.avail_wrap = true,
		.used_wrap = true,
	};
}

void virtqueue_fini(struct virtqueue *q)
{
	virtqueue_reset(q, q->max_len);
}

int virtqueue_enable(struct virtqueue *q, struct mem *mem, const char **why)
{
	if (q->packed)
		return vq_packed_enable(q, mem, why);
	if (!q->len || q->len > q->max_len || (q->len & (q->len - 1))) {
		*why = "queue length is no power of two within the maximum";
		return -EINVAL;
	}
	if ((q->desc & 15) || (q->avail & 1) || (q->used & 3)) {
		*why = "queue ring is not aligned";
		return -EINVAL;
	}
	q->desc_host = dma_map_one(mem, q->desc, desc_bytes(q), false);
	q->avail_host = dma_map_one(mem, q->avail, avail_bytes(q), false);
	q->used_host = dma_map_one(mem, q->used, used_bytes(q), true);
	if (!q->desc_host || !q->avail_host || !q->used_host) {
		*why = "queue ring is not in RAM";
		return -EFAULT;
	}
	q->enabled = true;
	return 0;
}

int virtqueue_next(struct virtqueue *q, uint16_t *head, const char **why)
{
	uint16_t nr;

	if (q->packed)
		return vq_packed_next(q, head, why);
	/* Acquire: what the driver stored before it moved the index. */
	nr = __atomic_load_n(avail_field(q, 1), __ATOMIC_ACQUIRE) -
	     q->next_avail;
	if (!nr)
		return 0;
	if (nr > q->len) {
		*why = "available index is ahead by more than the queue length";
		return -EINVAL;
	}
	*head = __atomic_load_n(avail_field(q, 2 + q->next_avail % q->len),
				__ATOMIC_RELAXED);
	if (*head >= q->len) {
		*why = "available ring names a descriptor outside the table";
		return -EINVAL;
	}
	q->next_avail++;
	return 1;
}

/* ---- chains ---- */

/* Where a walk takes its descriptors from. */
struct table {
	const uint8_t *host; /* NULL: read from guest memory */
	uint64_t gpa;
	uint32_t nr;
};

static int read_desc(struct mem *mem, const struct table *t, uint32_t index,
		     struct desc *d)
{
	if (t->host) {
		memcpy(d, t->host + (size_t)index * VQ_DESC_LEN, VQ_DESC_LEN);
		return 0;
	}
	return dma_read(mem, t->gpa + (uint64_t)index * VQ_DESC_LEN, d,
			VQ_DESC_LEN);
}

int vq_add_buffer(struct mem *mem, uint64_t addr, uint32_t len, bool in,
		  struct vq_chain *c, const char **why)
{
	int at = c->nr_out + c->nr_in, nr;

	if (!in && c->nr_in) {
		*why = "descriptor to read after one to write";
		return -EINVAL;
	}
	if (!len)
		return 0;
	nr = dma_map(mem, addr, len, in, c->iov + at, c->max - at);
	if (nr < 0) {
		*why = nr == -E2BIG ? "chain has too many buffers"
				    : "buffer is not in RAM";
		return nr;
	}
	if (in) {
		c->nr_in += nr;
		c->in_len += len;
	} else {
		c->nr_out += nr;
		c->out_len += len;
	}
	return 0;
}

int vq_table_len(uint32_t len, const char **why)
{
	if (!len || len % VQ_DESC_LEN) {
		*why = "indirect descriptor is malformed";
		return -EINVAL;
	}
	if (len / VQ_DESC_LEN > VIRTQUEUE_MAX_LEN) {
		*why = "indirect table is too long";
		return -EINVAL;
	}
	return (int)(len / VQ_DESC_LEN);
}

/* Follows an indirect descriptor: its table replaces t. */
static int enter_indirect(const struct desc *d, struct table *t,
			  const char **why)
{
	int nr = vq_table_len(d->len, why);

	if (nr < 0)
		return nr;
	if (d->flags & VQ_DESC_NEXT) {
		*why = "indirect descriptor is malformed";
		return -EINVAL;
	}
	*t = (struct table){.gpa = d->addr, .nr = (uint32_t)nr};
	return 0;
}

int virtqueue_walk(const struct virtqueue *q, struct mem *mem, uint16_t head,
		   struct vq_chain *c, const char **why)
{
	struct table t = {.host = q->desc_host, .nr = q->len};
	uint32_t index = head, steps = 0;
	bool indirect = false;
	struct desc d;
	int r;

	c->head = head;
	c->nr_out = c->nr_in = 0;
	c->out_len = c->in_len = 0;
	if (q->packed)
		return vq_packed_walk(q, mem, head, c, why);
	for (;;) {
		if (read_desc(mem, &t, index, &d)) {
			*why = "indirect table is not in RAM";
			return -EFAULT;
		}
		if (d.flags & VQ_DESC_INDIRECT) {
			if (indirect) {
				*why = "indirect table within another";
				return -EINVAL;
			}
			r = enter_indirect(&d, &t, why);
			if (r)
				return r;
			indirect = true;
			index = steps = 0;
			continue;
		}
		r = vq_add_buffer(mem, d.addr, d.len, d.flags & VQ_DESC_WRITE,
				  c, why);
		if (r || !(d.flags & VQ_DESC_NEXT))
			return r;
		/* More steps than entries: the chain bites its tail. */
		if (d.next >= t.nr || ++steps >= t.nr) {
			*why = "descriptor chain leaves its table or loops";
			return -EINVAL;
		}
		index = d.next;
	}
}

/* ---- used ring ---- */

static void mark_used(struct virtqueue *q, struct mem *mem)
{
	struct iovec iov = {
		.iov_base = q->used_host,
		.iov_len = used_bytes(q),
	};

	dma_mark_iov(mem, &iov, 1, iov.iov_len);
}

void virtqueue_push(struct virtqueue *q, struct mem *mem, uint16_t head,
		    uint32_t len)
{
	uint32_t entry[2] = {head, len};

	if (q->packed) {
		vq_packed_push(q, mem, head, len);
		return;
	}
	memcpy(q->used_host + 4 + 8 * (q->next_used % q->len), entry, 8);
	q->next_used++;
	/* Release: the entry and the buffers come before the index. */
	__atomic_store_n(used_field(q, 2), q->next_used, __ATOMIC_RELEASE);
	mark_used(q, mem);
}

bool virtqueue_should_interrupt(struct virtqueue *q)
{
	uint16_t old = q->signalled, event;

	if (q->packed)
		return vq_packed_should_interrupt(q);
	if (old == q->next_used)
		return false;
	q->signalled = q->next_used;
	/* Sequentially consistent, and so are the loads below: the index must
	 * be visible before the driver's wish is read, as the driver stores
	 * its wish, then reads the index. */
	__atomic_store_n(used_field(q, 2), q->next_used, __ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(__atomic_load_n(avail_field(q, 0), __ATOMIC_SEQ_CST) &
			 AVAIL_NO_INTERRUPT);
	event = __atomic_load_n(avail_field(q, 2u + q->len), __ATOMIC_SEQ_CST);
	return (uint16_t)(q->next_used - event - 1) <
	       (uint16_t)(q->next_used - old);
}

bool virtqueue_want_kicks(struct virtqueue *q, struct mem *mem, bool want)
{
	uint16_t idx;

	if (q->packed)
		return vq_packed_want_kicks(q, mem, want);
	/* Sequentially consistent, and so is the load below: the wish must be
	 * visible before the index is read again, as the driver stores the
	 * index, then reads the wish. */
	if (q->event_idx && want)
		__atomic_store_n(used_field(q, 4u + 8u * q->len), q->next_avail,
				 __ATOMIC_SEQ_CST);
	else if (!q->event_idx)
		__atomic_store_n(used_field(q, 0), want ? 0 : USED_NO_NOTIFY,
				 __ATOMIC_SEQ_CST);
	if (!want)
		return false;
	mark_used(q, mem);
	idx = __atomic_load_n(avail_field(q, 1), __ATOMIC_SEQ_CST);
	return idx != q->next_avail;
}
