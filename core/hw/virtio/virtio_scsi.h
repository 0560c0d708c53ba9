/*
 * virtio_scsi: how a SCSI unit finds the controller that it sits on.
 *
 * Thread rule: main loop, before the machine starts or with the world stopped.
 */
#ifndef CORE_HW_VIRTIO_VIRTIO_SCSI_H
#define CORE_HW_VIRTIO_VIRTIO_SCSI_H

#include <stdint.h>

struct device;
struct error;
struct scsi_unit;

/* Targets of one controller, each with one logical unit. */
#define VIRTIO_SCSI_TARGETS 16

/* Makes u the target u->target; 0, or -errno with the reason (no such target,
 * taken, not such a controller, another I/O loop). */
int virtio_scsi_attach(struct device *controller, struct scsi_unit *u,
		       struct error *e);
/* Takes it away; nothing may be in flight.  A unit that isn't attached is
 * fine. */
void virtio_scsi_detach(struct scsi_unit *u);

/* Locked (the controller's): tells a driver that wants to know that something
 * about u changed, by additional sense code and qualifier. */
void virtio_scsi_tell(struct scsi_unit *u, uint8_t asc, uint8_t ascq);

#endif
