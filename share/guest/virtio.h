/*
 * virtio: one device over PCI, the modern interface of virtio 1.x, with one
 * split virtqueue.  A request runs in a slot and is up to VIRTIO_PARTS pieces
 * of memory, those that the device writes behind those that it reads.
 */
#ifndef SHARE_GUEST_VIRTIO_H
#define SHARE_GUEST_VIRTIO_H
#include "share/guest/guest.h"

#define VIRTIO_PARTS 4

struct virtio_part {
	const volatile void *at;
	uint32_t len;
	bool is_written; /* by the device */
};

/* The nth device of a type, also one with the older interface beside. */
const struct pci_device *virtio_find(unsigned type, uint16_t transitional,
				     unsigned nth);
/* Resets it, acknowledges those of the features that it has, and starts it with
 * the one queue; false: it can't be driven. */
bool virtio_start(const struct pci_device *pci, uint16_t queue,
		  uint32_t features);
uint32_t virtio_features(void); /* acknowledged, of the first 32 */
volatile void *virtio_config(void);
unsigned virtio_slots(void);
bool virtio_uses_msix(void);
void virtio_submit(unsigned slot, const struct virtio_part *parts, unsigned nr);
int virtio_reap(void); /* a finished slot, or -1 */
#endif
