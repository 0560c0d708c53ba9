/*
 * virtqueue_int: what the two forms of a virtqueue share; virtqueue.c holds
 * the split one and hands over to virtqueue_packed.c.
 *
 * Thread rule: as virtqueue.h.
 */
#ifndef CORE_HW_VIRTIO_VIRTQUEUE_INT_H
#define CORE_HW_VIRTIO_VIRTQUEUE_INT_H

#include "core/hw/virtio/virtqueue.h"

#define VQ_DESC_NEXT	 1
#define VQ_DESC_WRITE	 2
#define VQ_DESC_INDIRECT 4
#define VQ_DESC_LEN	 16

/* Adds the buffer of one descriptor to the chain: 0, or -errno with *why. */
int vq_add_buffer(struct mem *mem, uint64_t addr, uint32_t len, bool in,
		  struct vq_chain *c, const char **why);

/* Entries of an indirect table of len bytes, or -EINVAL with *why. */
int vq_table_len(uint32_t len, const char **why);

/* The packed form of the calls of virtqueue.h. */
int vq_packed_enable(struct virtqueue *q, struct mem *mem, const char **why);
int vq_packed_next(struct virtqueue *q, uint16_t *head, const char **why);
int vq_packed_walk(const struct virtqueue *q, struct mem *mem, uint16_t head,
		   struct vq_chain *c, const char **why);
void vq_packed_push(struct virtqueue *q, struct mem *mem, uint16_t head,
		    uint32_t len);
bool vq_packed_should_interrupt(struct virtqueue *q);
bool vq_packed_want_kicks(struct virtqueue *q, struct mem *mem, bool want);

#endif
