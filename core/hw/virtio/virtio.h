/*
 * virtio: what all virtio devices share; the contract for a device type.
 *
 * A device type is one file with a const struct virtio_device_class; the
 * transport is modern virtio-pci (virtio 1.2, 4.1).  The guest's kick goes by
 * eventfd to the loop that serves the device, with the vCPU running on.
 *
 * Life of a queue: the driver sets it up and enables it (vCPU, under the
 * device's lock); once DRIVER_OK is set, serve() runs on the loop for each
 * kick.  A reset while requests are in flight lets the device status read
 * non-zero until the last of them has come back: until then nothing is served.
 *
 * Thread rule: functions say which thread or lock they want; "locked" is
 * dev.lock held, inside the world or with the world stopped.
 */
#ifndef CORE_HW_VIRTIO_VIRTIO_H
#define CORE_HW_VIRTIO_VIRTIO_H

#include "core/hw/pci.h"
#include "core/hw/virtio/virtqueue.h"
#include "core/loop.h"
#include "core/migration/state.h"

#define VIRTIO_MAX_QUEUES 16

#define VIRTIO_STATUS_ACK	  1
#define VIRTIO_STATUS_DRIVER	  2
#define VIRTIO_STATUS_DRIVER_OK	  4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64

#define VIRTIO_F_INDIRECT    (1ull << 28)
#define VIRTIO_F_EVENT_IDX   (1ull << 29)
#define VIRTIO_F_VERSION_1   (1ull << 32)
#define VIRTIO_F_RING_PACKED (1ull << 34)

struct virtio_dev;

struct virtio_device_class {
	uint16_t id;	     /* virtio 1.2, chapter 5 */
	uint32_t class_code; /* PCI */
	unsigned nr_queues;  /* unless virtio_dev.nr_queues says otherwise */
	uint16_t queue_len;  /* a power of two */
	unsigned config_len;
	/* Locked: bytes [off, off + len) of the device's configuration, which
	 * lie inside config_len. */
	void (*config_read)(struct virtio_dev *v, unsigned off, void *buf,
			    unsigned len);
	/* Locked; optional. */
	void (*config_write)(struct virtio_dev *v, unsigned off, uint32_t value,
			     unsigned len);
	/* On the loop, unlocked: the driver kicked queue index. */
	void (*serve)(struct virtio_dev *v, unsigned index);
	/* Locked; optional: forget what the driver set up. */
	void (*reset)(struct virtio_dev *v);
	/* Locked; optional: DRIVER_OK was set or lost. */
	void (*started)(struct virtio_dev *v, bool on);
};

struct virtio_queue {
	struct virtqueue vq;
	struct virtio_dev *v;
	unsigned index;
	struct loop_fd kick;	/* its eventfd; watched by v->loop */
	uint64_t doorbell_addr; /* where the engine watches, or UINT64_MAX */
};

struct virtio_dev {
	struct pci_dev pci; /* first */
	const struct virtio_device_class *type;
	struct loop *loop;
	uint64_t features;  /* offered */
	unsigned nr_queues; /* set before virtio_init, or the type's */
	/* Protected by dev.lock. */
	uint64_t driver_features; /* accepted */
	uint32_t feature_sel, driver_feature_sel;
	uint16_t config_vector, queue_sel;
	uint8_t status, isr, generation;
	unsigned in_flight; /* chains that the device holds */
	unsigned epoch;	    /* grows with each reset */
	bool resetting;
	struct virtio_queue queues[VIRTIO_MAX_QUEUES];
	uint8_t pci_cfg_cap;
	struct device_counter *kicks, *interrupts;
};

/* ---- for a device type ---- */

/* In create, before anything else of virtio: PCI function, capabilities,
 * queues served by loop. 0 or -errno. */
int virtio_init(struct virtio_dev *v, const struct virtio_device_class *type,
		uint64_t features, struct loop *loop,
		const struct device_args *args, struct error *e);
void virtio_fini(struct virtio_dev *v); /* in destroy; also undoes init */

/* device_class.reset and .loaded of all virtio devices: main loop, world
 * stopped, nothing in flight. */
void virtio_device_reset(struct device *dev);
int virtio_device_loaded(struct device *dev, struct error *e);
extern const struct state_desc virtio_dev_state;

/* device_class.features of all virtio devices. */
unsigned virtio_device_features(struct device *dev, struct device_feature *out,
				unsigned max);
/* Locked: fills in a disk's offered and accepted. */
void virtio_disk_words(struct virtio_dev *v, struct disk_driver *out);
/* Locked: tells the driver that the device's configuration changed: true when
 * there is one to tell. */
bool virtio_config_changed(struct virtio_dev *v);

/* Locked, on the loop: takes the next chain's head, as virtqueue_next; a
 * broken ring fails the device and is 0. */
int virtio_next(struct virtio_dev *v, unsigned index, uint16_t *head);
/* Locked: as virtqueue_walk; a broken chain fails the device: false. */
bool virtio_walk(struct virtio_dev *v, unsigned index, uint16_t head,
		 struct vq_chain *c);
/* Locked: stores into the chain's in pieces at byte off and marks them dirty;
 * false when they are too short. */
bool virtio_store(struct virtio_dev *v, const struct vq_chain *c, uint64_t off,
		  const void *buf, size_t len);
/* Locked: hands a chain back, len bytes of its in pieces having been stored. */
void virtio_push(struct virtio_dev *v, unsigned index, uint16_t head,
		 uint32_t len);
/* Locked: asks for kicks (or not); as virtqueue_want_kicks, and false for a
 * queue that isn't live. */
bool virtio_want_kicks(struct virtio_dev *v, unsigned index, bool want);
/* Locked: does something with a chain, walks it for one. */
typedef void virtio_take_fn(void *arg, unsigned index, uint16_t head);
/* Locked, on the loop: hands every chain of a live queue to take, in order, and
 * interrupts the driver.  A queue's length at most, the rest soon: others want
 * the lock and the loop while a driver makes more and more available. */
void virtio_take_all(struct virtio_dev *v, unsigned index, virtio_take_fn *take,
		     void *arg);
/* Locked: interrupts the driver if it wants that for queue index. */
void virtio_interrupt(struct virtio_dev *v, unsigned index);
/* Locked: a guest error: failed, NEEDS_RESET, the driver is told. */
void virtio_fail(struct virtio_dev *v, const char *why);
/* Locked: one more, one less chain in the device's hands. */
void virtio_hold(struct virtio_dev *v);
void virtio_release(struct virtio_dev *v);
/* [any] serve(index) soon, on the loop, if the queue is live then. */
void virtio_poke(struct virtio_dev *v, unsigned index);
/* Locked: the accepted feature bits contain bit (a mask). */
bool virtio_has(const struct virtio_dev *v, uint64_t bit);

static inline struct virtio_dev *virtio_of(struct device *dev)
{
	return (struct virtio_dev *)(void *)dev;
}

/* ---- between virtio.c and the transport ---- */

/* Locked: the driver wrote the device status. */
void virtio_set_status(struct virtio_dev *v, uint8_t status);
/* Locked: what the driver reads there. */
uint8_t virtio_get_status(const struct virtio_dev *v);
/* Locked: the driver enabled the queue. */
void virtio_enable_queue(struct virtio_dev *v, struct virtio_queue *q);

/* Capabilities and BAR of the transport; 0 or -errno. */
int virtio_pci_init(struct virtio_dev *v, const struct device_args *args,
		    struct error *e);
/* Locked or world stopped: (un)tells the engine where the doorbells are. */
void virtio_pci_place_doorbells(struct virtio_dev *v);
void virtio_pci_remove_doorbells(struct virtio_dev *v);

#endif
