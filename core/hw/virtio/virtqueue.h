/*
 * virtqueue: the device's side of a virtqueue, split or packed (virtio 1.2, 2.7
 * and 2.8), with indirect descriptors and event suppression.
 *
 * Everything in guest memory is hostile and may change at any time: each value
 * is read once and then checked.  Whatever can't be made sense of is -EINVAL
 * or -EFAULT with a text; the queue's owner then fails the device.
 *
 * Thread rule: the owner's lock protects a queue; calls that touch guest
 * memory by a member inside the world, or with the world stopped.
 */
#ifndef CORE_HW_VIRTIO_VIRTQUEUE_H
#define CORE_HW_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/hw/iov.h"
#include "core/memory.h"

#define VIRTQUEUE_MAX_LEN 1024

struct vq_packed;

struct virtqueue {
	uint16_t max_len; /* entries offered; a power of two */
	/* What the driver set; fixed while enabled. */
	uint16_t len;
	/* Guest physical; of a packed ring the second is the driver's, the third
	 * the device's event suppression area. */
	uint64_t desc, avail, used;
	uint16_t vector;
	bool enabled;
	bool event_idx, packed; /* negotiated; set before enabling */
	/* Progress: counters, or positions in a packed ring. */
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap; /* packed: the wrap counters */
	uint16_t unsignalled;	    /* packed: used since then, descriptors */
	uint16_t
		signalled; /* next_used when an interrupt was last considered */
	/* Host views of the rings while enabled. */
	uint8_t *desc_host, *avail_host, *used_host;
	struct vq_packed *chains; /* packed: those in the device's hands */
};

/* The buffers of one chain as host pieces; iov is the caller's. */
struct vq_chain {
	uint16_t head;
	struct iovec *iov; /* driver's (out) pieces first, then device's (in) */
	int max, nr_out, nr_in;
	uint64_t out_len, in_len; /* bytes */
};

/* Back to power-on: disabled, nothing set, no chain in the device's hands. The
 * first time on zeroed memory. */
void virtqueue_reset(struct virtqueue *q, uint16_t max_len);
void virtqueue_fini(struct virtqueue *q);

/* Maps the rings; 0, or -errno with *why set to a static text. */
int virtqueue_enable(struct virtqueue *q, struct mem *mem, const char **why);

/* Takes the next available chain's head, which is below len: 1, 0 when there is
 * none, -EINVAL with *why when the ring is broken.  Only a broken split ring
 * gives a head again before it was pushed. */
int virtqueue_next(struct virtqueue *q, uint16_t *head, const char **why);

/* Walks the chain at head into c (iov and max set by the caller): 0, or
 * -errno with *why. */
int virtqueue_walk(const struct virtqueue *q, struct mem *mem, uint16_t head,
		   struct vq_chain *c, const char **why);

/* Returns a chain, once, after len bytes were stored into its in buffers. */
void virtqueue_push(struct virtqueue *q, struct mem *mem, uint16_t head,
		    uint32_t len);

/* True when something was pushed since the last call and the driver wants an
 * interrupt for it. */
bool virtqueue_should_interrupt(struct virtqueue *q);

/* Asks the driver to notify (or not to bother).  After asking, look at the
 * ring once more: true when chains are waiting (false for not to bother). */
bool virtqueue_want_kicks(struct virtqueue *q, struct mem *mem, bool want);

#endif
