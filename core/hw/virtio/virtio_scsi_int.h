/*
 * virtio_scsi_int: what the controller's life and request queues
 * (virtio_scsi.c) and its control queue (virtio_scsi_control.c) share.
 *
 * Invariants: a slot is busy from when its chain is taken until it was pushed,
 * or, after a reset, until its drive request came back; an aborted slot goes
 * no further than the drive request that it waits for; a task management
 * function is answered after all commands that it ends.
 *
 * Thread rule: "locked" is the controller's dev.lock.
 */
#ifndef CORE_HW_VIRTIO_VIRTIO_SCSI_INT_H
#define CORE_HW_VIRTIO_VIRTIO_SCSI_INT_H

#include "core/hw/storage/scsi.h"
#include "core/hw/virtio/virtio.h"
#include "core/hw/virtio/virtio_scsi.h"

#define VIRTIO_SCSI_F_CHANGE (1ull << 2)

#define VIRTIO_SCSI_QUEUE_LEN 128
#define VIRTIO_SCSI_SEG_MAX   126
/* Headers, and pieces that the guest's memory map cuts. */
#define VIRTIO_SCSI_IOV (VIRTIO_SCSI_SEG_MAX + 2 + 8)

enum virtio_scsi_queue { QUEUE_CONTROL, QUEUE_EVENT, QUEUE_REQUEST };

/* Of a request, and of a task management function: virtio 1.2, 5.6.6. */
enum virtio_scsi_response {
	RESPONSE_OK = 0, /* FUNCTION_COMPLETE */
	RESPONSE_OVERRUN = 1,
	RESPONSE_ABORTED = 2,
	RESPONSE_BAD_TARGET = 3,
	RESPONSE_RESET = 4,
	RESPONSE_SUCCEEDED = 10,
	RESPONSE_REJECTED = 11,
	RESPONSE_BAD_LUN = 12
};

struct virtio_scsi;

struct virtio_scsi_slot {
	struct scsi_cmd cmd;
	struct virtio_scsi *scsi;
	struct virtio_scsi_slot *next; /* of a batch */
	struct scsi_unit *unit;
	struct vq_chain chain;
	unsigned queue, epoch;
	uint64_t tag;
	uint64_t serial;   /* grows from one command to the next */
	uint64_t expected; /* bytes of data, both ways */
	bool busy, eject;
	uint8_t aborted; /* the response then, or 0 */
	struct iovec iov[VIRTIO_SCSI_IOV], in[VIRTIO_SCSI_IOV];
};

/* A task management function that waits for commands to end. */
struct virtio_scsi_tmf {
	struct virtio_scsi_tmf *next;
	struct vq_chain chain;
	struct scsi_unit *unit;
	bool is_one; /* of all commands of the unit, only that with the tag */
	uint64_t tag, before; /* serial of the first command it doesn't touch */
	uint8_t response;
	bool busy;
	struct iovec iov[VIRTIO_SCSI_IOV];
};

struct virtio_scsi {
	struct virtio_dev v; /* first */
	struct loop *io;
	struct scsi_unit *units[VIRTIO_SCSI_TARGETS];
	/* Under the lock. */
	uint32_t sense_size, cdb_size; /* what the driver set */
	uint64_t serial;
	bool events_missed; /* the driver had no room for one */
	unsigned nr_slots;
	struct virtio_scsi_slot *slots; /* QUEUE_LEN for each request queue */
	struct virtio_scsi_tmf *tmfs;	/* QUEUE_LEN */
	struct virtio_scsi_tmf *waiting;
	struct device_counter *requests, *errors;
};

/* Locked: the unit that an address (5.6.6.1) names; NULL with the target's
 * unit, or none, in *target. */
struct scsi_unit *virtio_scsi_unit(struct virtio_scsi *s, const uint8_t *lun,
				   struct scsi_unit **target);
/* On the loop: takes what is on the control or the event queue. */
void virtio_scsi_serve_control(struct virtio_scsi *s, unsigned queue);
/* Locked: a command has ended; answers functions that waited for it. */
void virtio_scsi_ended(struct virtio_scsi *s);

#endif
