/* Ring layout: virtio 1.2, 2.7.5 (descriptors), 2.7.6 (available), 2.7.8
 * (used).  The guest and the host are both little endian. */
#include "core/hw/virtio/virtqueue.h"

#include <errno.h>
#include <string.h>

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4
#define DESC_LEN      16

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static uint64_t desc_bytes(const struct virtqueue *q)
{
	return (uint64_t)q->len * DESC_LEN;
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
	*q = (struct virtqueue){
		.max_len = max_len,
		.len = max_len,
		.vector = 0xffff,
	};
}

/* A ring must lie in one stretch of host memory; NULL if it doesn't. */
static uint8_t *map_ring(struct mem *mem, uint64_t gpa, uint64_t len,
			 bool write)
{
	struct iovec iov[8];
	int nr = dma_map(mem, gpa, len, write, iov, 8);

	for (int i = 1; i < nr; i++)
		if ((uint8_t *)iov[i - 1].iov_base + iov[i - 1].iov_len !=
		    (uint8_t *)iov[i].iov_base)
			return NULL;
	return nr > 0 ? iov[0].iov_base : NULL;
}

int virtqueue_enable(struct virtqueue *q, struct mem *mem, const char **why)
{
	if (!q->len || q->len > q->max_len || (q->len & (q->len - 1))) {
		*why = "queue length is no power of two within the maximum";
		return -EINVAL;
	}
	if ((q->desc & 15) || (q->avail & 1) || (q->used & 3)) {
		*why = "queue ring is not aligned";
		return -EINVAL;
	}
	q->desc_host = map_ring(mem, q->desc, desc_bytes(q), false);
	q->avail_host = map_ring(mem, q->avail, avail_bytes(q), false);
	q->used_host = map_ring(mem, q->used, used_bytes(q), true);
	if (!q->desc_host || !q->avail_host || !q->used_host) {
		*why = "queue ring is not in RAM";
		return -EFAULT;
	}
	q->enabled = true;
	return 0;
}

int virtqueue_next(struct virtqueue *q, uint16_t *head, const char **why)
{
	/* Acquire: what the driver stored before it moved the index. */
	uint16_t idx = __atomic_load_n(avail_field(q, 1), __ATOMIC_ACQUIRE);
	uint16_t nr = idx - q->next_avail;

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
		memcpy(d, t->host + (size_t)index * DESC_LEN, DESC_LEN);
		return 0;
	}
	return dma_read(mem, t->gpa + (uint64_t)index * DESC_LEN, d, DESC_LEN);
}

static int add_buffer(struct mem *mem, const struct desc *d, struct vq_chain *c,
		      const char **why)
{
	bool in = d->flags & DESC_WRITE;
	int at = c->nr_out + c->nr_in, nr;

	if (!in && c->nr_in) {
		*why = "descriptor to read after one to write";
		return -EINVAL;
	}
	if (!d->len)
		return 0;
	nr = dma_map(mem, d->addr, d->len, in, c->iov + at, c->max - at);
	if (nr < 0) {
		*why = nr == -E2BIG ? "chain has too many buffers"
				    : "buffer is not in RAM";
		return nr;
	}
	if (in) {
		c->nr_in += nr;
		c->in_len += d->len;
	} else {
		c->nr_out += nr;
		c->out_len += d->len;
	}
	return 0;
}

/* Follows an indirect descriptor: its table replaces t. */
static int enter_indirect(const struct desc *d, struct table *t,
			  const char **why)
{
	if ((d->flags & DESC_NEXT) || !d->len || d->len % DESC_LEN) {
		*why = "indirect descriptor is malformed";
		return -EINVAL;
	}
	if (d->len / DESC_LEN > VIRTQUEUE_MAX_LEN) {
		*why = "indirect table is too long";
		return -EINVAL;
	}
	*t = (struct table){.gpa = d->addr, .nr = d->len / DESC_LEN};
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
	for (;;) {
		if (read_desc(mem, &t, index, &d)) {
			*why = "indirect table is not in RAM";
			return -EFAULT;
		}
		if (d.flags & DESC_INDIRECT) {
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
		r = add_buffer(mem, &d, c, why);
		if (r || !(d.flags & DESC_NEXT))
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

	memcpy(q->used_host + 4 + 8 * (q->next_used % q->len), entry, 8);
	q->next_used++;
	/* Release: the entry and the buffers come before the index. */
	__atomic_store_n(used_field(q, 2), q->next_used, __ATOMIC_RELEASE);
	mark_used(q, mem);
}

bool virtqueue_should_interrupt(struct virtqueue *q)
{
	uint16_t old = q->signalled, event;

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
