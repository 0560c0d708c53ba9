/*
 * Packed virtqueues: virtio 1.2, 2.8.
 *
 * Driver and device write the same ring: a descriptor is available when its
 * two flag bits differ and the first equals the driver's wrap counter; used
 * elements overwrite the ring in the order of completion.  So a chain in the
 * device's hands may no longer be found where it was, and its id is the
 * driver's to choose: what the device must remember of it stands in a table of
 * its own, whose index is the chain's head for the rest of the program.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hw/virtio/virtqueue_int.h"

#define DESC_AVAIL (1u << 7)
#define DESC_USED  (1u << 15)

/* 2.8.10: an event suppression area is one word, off and wrap bit first. */
#define EVENT_LEN     4
#define EVENT_ENABLE  0u
#define EVENT_DISABLE 1u
#define EVENT_DESC    2u
#define EVENT_WRAP    (1u << 15)

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

struct vq_packed {
	uint16_t free;	   /* head of the list of free entries */
	uint16_t nr_taken; /* descriptors in the device's hands */
	struct taken {
		uint16_t id, first, nr;
		uint16_t next; /* of the list */
	} taken[];
};

static uint8_t *desc_at(const struct virtqueue *q, unsigned index)
{
	return q->desc_host + (size_t)index * VQ_DESC_LEN;
}

static uint16_t *flags_at(const struct virtqueue *q, unsigned index)
{
	return (uint16_t *)(void *)(desc_at(q, index) +
				    offsetof(struct desc, flags));
}

static uint32_t *event_word(uint8_t *area)
{
	return (uint32_t *)(void *)area;
}

int vq_packed_enable(struct virtqueue *q, struct mem *mem, const char **why)
{
	if (!q->len || q->len > q->max_len) {
		*why = "queue length is not within the maximum";
		return -EINVAL;
	}
	if ((q->desc & 15) || (q->avail & 3) || (q->used & 3)) {
		*why = "queue ring is not aligned";
		return -EINVAL;
	}
	if (q->next_avail >= q->len || q->next_used >= q->len) {
		*why = "queue position is past its ring";
		return -EINVAL;
	}
	q->desc_host =
		dma_map_one(mem, q->desc, (uint64_t)q->len * VQ_DESC_LEN, true);
	q->avail_host = dma_map_one(mem, q->avail, EVENT_LEN, false);
	q->used_host = dma_map_one(mem, q->used, EVENT_LEN, true);
	if (!q->desc_host || !q->avail_host || !q->used_host) {
		*why = "queue ring is not in RAM";
		return -EFAULT;
	}
	free(q->chains);
	q->chains = calloc(1, sizeof(*q->chains) +
				      q->len * sizeof(q->chains->taken[0]));
	if (!q->chains) {
		*why = "the host has no memory for the queue";
		return -ENOMEM;
	}
	for (uint16_t i = 0; i < q->len; i++)
		q->chains->taken[i].next = i + 1;
	q->enabled = true;
	return 0;
}

/* ---- available descriptors ---- */

static bool is_available(const struct virtqueue *q, uint16_t flags)
{
	bool avail = flags & DESC_AVAIL, used = flags & DESC_USED;

	return avail == q->avail_wrap && used != q->avail_wrap;
}

/* How many descriptors the chain at next_avail has, the flags of whose first
 * are known; -EINVAL when the ring has not so many left. */
static int chain_len(const struct virtqueue *q, uint16_t flags)
{
	unsigned room = q->len - q->chains->nr_taken;
	unsigned nr = 1, at = q->next_avail;

	for (; nr <= room; nr++) {
		if (!(flags & VQ_DESC_NEXT))
			return (int)nr;
		at = at + 1u == q->len ? 0 : at + 1;
		flags = __atomic_load_n(flags_at(q, at), __ATOMIC_RELAXED);
	}
	return -EINVAL;
}

int vq_packed_next(struct virtqueue *q, uint16_t *head, const char **why)
{
	struct vq_packed *p = q->chains;
	/* Acquire: what the driver stored before it set the flags. */
	uint16_t flags =
		__atomic_load_n(flags_at(q, q->next_avail), __ATOMIC_ACQUIRE);
	struct taken *t;
	unsigned last;
	int nr;

	if (!is_available(q, flags))
		return 0;
	nr = chain_len(q, flags);
	if (nr < 0) {
		*why = "more descriptors are available than the ring has";
		return nr;
	}
	last = q->next_avail + (unsigned)nr - 1;
	*head = p->free;
	t = &p->taken[*head];
	p->free = t->next;
	p->nr_taken += (uint16_t)nr;
	t->first = q->next_avail;
	t->nr = (uint16_t)nr;
	memcpy(&t->id, desc_at(q, last % q->len) + offsetof(struct desc, id),
	       sizeof(t->id));
	if (last + 1 >= q->len)
		q->avail_wrap = !q->avail_wrap;
	q->next_avail = (uint16_t)((last + 1) % q->len);
	return 1;
}

/* An indirect table is in order, without NEXT: 2.8.7. */
static int walk_table(struct mem *mem, const struct desc *table,
		      struct vq_chain *c, const char **why)
{
	int nr = vq_table_len(table->len, why), r = nr < 0 ? nr : 0;
	struct desc d;

	for (int i = 0; i < nr && !r; i++) {
		if (dma_read(mem, table->addr + (uint64_t)i * VQ_DESC_LEN, &d,
			     sizeof(d))) {
			*why = "indirect table is not in RAM";
			return -EFAULT;
		}
		if (d.flags & VQ_DESC_INDIRECT) {
			*why = "indirect table within another";
			return -EINVAL;
		}
		r = vq_add_buffer(mem, d.addr, d.len, d.flags & VQ_DESC_WRITE,
				  c, why);
	}
	return r;
}

int vq_packed_walk(const struct virtqueue *q, struct mem *mem, uint16_t head,
		   struct vq_chain *c, const char **why)
{
	const struct taken *t = &q->chains->taken[head];
	struct desc d;
	int r = 0;

	for (unsigned i = 0; i < t->nr && !r; i++) {
		memcpy(&d, desc_at(q, (t->first + i) % q->len), sizeof(d));
		if (!(d.flags & VQ_DESC_INDIRECT)) {
			r = vq_add_buffer(mem, d.addr, d.len,
					  d.flags & VQ_DESC_WRITE, c, why);
		} else if (t->nr > 1) {
			*why = "indirect descriptor is malformed";
			r = -EINVAL;
		} else {
			r = walk_table(mem, &d, c, why);
		}
	}
	return r;
}

/* ---- used descriptors ---- */

static void mark(struct mem *mem, void *host, size_t len)
{
	struct iovec iov = {.iov_base = host, .iov_len = len};

	dma_mark_iov(mem, &iov, 1, len);
}

void vq_packed_push(struct virtqueue *q, struct mem *mem, uint16_t head,
		    uint32_t len)
{
	struct vq_packed *p = q->chains;
	struct taken *t = &p->taken[head];
	uint8_t *d = desc_at(q, q->next_used);
	uint16_t flags = len ? VQ_DESC_WRITE : 0;
	unsigned next = (unsigned)q->next_used + t->nr;

	if (q->used_wrap)
		flags |= DESC_AVAIL | DESC_USED;
	memcpy(d + offsetof(struct desc, len), &len, sizeof(len));
	memcpy(d + offsetof(struct desc, id), &t->id, sizeof(t->id));
	/* Release: the element and the buffers come before its flags. */
	__atomic_store_n(flags_at(q, q->next_used), flags, __ATOMIC_RELEASE);
	mark(mem, d, VQ_DESC_LEN);
	if (next >= q->len)
		q->used_wrap = !q->used_wrap;
	q->next_used = (uint16_t)(next % q->len);
	q->unsignalled += t->nr;
	p->nr_taken -= t->nr;
	t->next = p->free;
	p->free = head;
}

/* ---- events ---- */

/* Has one of the last nr used descriptors reached the wanted one? */
static bool reached(const struct virtqueue *q, uint32_t event, uint16_t nr)
{
	uint16_t off = event & (EVENT_WRAP - 1);

	if (!!(event & EVENT_WRAP) != q->used_wrap)
		off -= q->len;
	return (uint16_t)(q->next_used - off - 1) < nr;
}

bool vq_packed_should_interrupt(struct virtqueue *q)
{
	uint16_t nr = q->unsignalled;
	uint32_t *own = event_word(q->used_host), event;

	if (!nr)
		return false;
	q->unsignalled = 0;
	/* Sequentially consistent, and so is the load below: the elements must
	 * be visible before the driver's wish is read, as the driver stores
	 * its wish, then reads the ring.  The device's own area is stored as
	 * it was, for the order alone. */
	__atomic_store_n(own, __atomic_load_n(own, __ATOMIC_RELAXED),
			 __ATOMIC_SEQ_CST);
	event = __atomic_load_n(event_word(q->avail_host), __ATOMIC_SEQ_CST);
	switch (event >> 16 & 3) {
	case EVENT_DISABLE:
		return false;
	case EVENT_DESC:
		return !q->event_idx || reached(q, event, nr);
	}
	return true;
}

bool vq_packed_want_kicks(struct virtqueue *q, struct mem *mem, bool want)
{
	uint32_t event = EVENT_DISABLE << 16;

	if (want)
		event = EVENT_ENABLE << 16;
	if (want && q->event_idx)
		event = q->next_avail | (q->avail_wrap ? EVENT_WRAP : 0) |
			EVENT_DESC << 16;
	/* Sequentially consistent, and so is the load below: the wish must be
	 * visible before the ring is read again, as the driver stores the
	 * descriptor, then reads the wish. */
	__atomic_store_n(event_word(q->used_host), event, __ATOMIC_SEQ_CST);
	mark(mem, q->used_host, EVENT_LEN);
	return want &&
	       is_available(q, __atomic_load_n(flags_at(q, q->next_avail),
					       __ATOMIC_SEQ_CST));
}
