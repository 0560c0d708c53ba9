/* The control queue (task management functions) and the event queue: virtio
 * 1.2, 5.6.6.2 and 5.6.6.3. */
#include <string.h>

#include "core/hw/virtio/virtio_scsi_int.h"

#define TYPE_TMF       0
#define TYPE_QUERY     1
#define TYPE_SUBSCRIBE 2
#define TMF_LEN	       24u
#define QUERY_LEN      16u
#define QUERY_ANSWER   5u

enum function {
	ABORT_TASK,
	ABORT_TASK_SET,
	CLEAR_ACA,
	CLEAR_TASK_SET,
	I_T_NEXUS_RESET,
	LOGICAL_UNIT_RESET,
	QUERY_TASK,
	QUERY_TASK_SET
};

/* ---- the commands that a function is about ---- */

static bool is_meant(const struct virtio_scsi_slot *slot,
		     const struct virtio_scsi_tmf *t, unsigned epoch)
{
	return slot->busy && slot->epoch == epoch && slot->unit == t->unit &&
	       slot->serial < t->before && (!t->is_one || slot->tag == t->tag);
}

static unsigned count(const struct virtio_scsi *s,
		      const struct virtio_scsi_tmf *t)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < s->nr_slots; i++)
		nr += is_meant(&s->slots[i], t, s->v.epoch);
	return nr;
}

static void abort_all(struct virtio_scsi *s, const struct virtio_scsi_tmf *t,
		      enum virtio_scsi_response why)
{
	for (unsigned i = 0; i < s->nr_slots; i++)
		if (is_meant(&s->slots[i], t, s->v.epoch) &&
		    !s->slots[i].aborted)
			s->slots[i].aborted = (uint8_t)why;
}

/* ---- answers ---- */

static void answer(struct virtio_scsi *s, struct virtio_scsi_tmf *t,
		   uint8_t response)
{
	t->busy = false;
	virtio_store(&s->v, &t->chain, 0, &response, 1);
	virtio_push(&s->v, QUEUE_CONTROL, t->chain.head, 1);
}

void virtio_scsi_ended(struct virtio_scsi *s)
{
	struct virtio_scsi_tmf **p = &s->waiting, *t;

	if (!s->waiting)
		return;
	while ((t = *p)) {
		if (count(s, t)) {
			p = &t->next;
			continue;
		}
		*p = t->next;
		answer(s, t, t->response);
	}
	virtio_interrupt(&s->v, QUEUE_CONTROL);
}

/* Answers now, or when the last of those that were aborted has ended. */
static void answer_later(struct virtio_scsi *s, struct virtio_scsi_tmf *t)
{
	if (!count(s, t)) {
		answer(s, t, t->response);
		return;
	}
	t->next = s->waiting;
	s->waiting = t;
}

/* ---- functions ---- */

static void perform(struct virtio_scsi *s, struct virtio_scsi_tmf *t,
		    uint32_t function)
{
	t->is_one = function == ABORT_TASK || function == QUERY_TASK;
	t->before = s->serial;
	t->response = RESPONSE_OK;
	switch (function) {
	case ABORT_TASK:
	case ABORT_TASK_SET:
	case CLEAR_TASK_SET:
		abort_all(s, t, RESPONSE_ABORTED);
		answer_later(s, t);
		return;
	case I_T_NEXUS_RESET:
	case LOGICAL_UNIT_RESET:
		abort_all(s, t, RESPONSE_RESET);
		scsi_reset(t->unit);
		answer_later(s, t);
		return;
	case QUERY_TASK:
	case QUERY_TASK_SET:
		answer(s, t, count(s, t) ? RESPONSE_SUCCEEDED : RESPONSE_OK);
		return;
	}
	answer(s, t, RESPONSE_REJECTED);
}

static void manage(struct virtio_scsi *s, struct virtio_scsi_tmf *t)
{
	struct scsi_unit *target;
	uint8_t head[TMF_LEN];
	uint32_t function;

	if (!iov_read(t->chain.iov, t->chain.nr_out, 0, head, TMF_LEN) ||
	    !t->chain.in_len) {
		virtio_fail(&s->v, "task management function is too short");
		return;
	}
	memcpy(&function, head + 4, 4);
	memcpy(&t->tag, head + 16, 8);
	t->unit = virtio_scsi_unit(s, head + 8, &target);
	if (t->unit)
		perform(s, t, function);
	else
		answer(s, t, target ? RESPONSE_BAD_LUN : RESPONSE_BAD_TARGET);
}

/* There are no asynchronous notifications to ask for: 5.6.6.2.2. */
static void query(struct virtio_scsi *s, struct virtio_scsi_tmf *t)
{
	static const uint8_t none[QUERY_ANSWER] = {0};

	if (t->chain.out_len < QUERY_LEN ||
	    !virtio_store(&s->v, &t->chain, 0, none, sizeof(none))) {
		virtio_fail(&s->v, "control request is too short");
		return;
	}
	t->busy = false;
	virtio_push(&s->v, QUEUE_CONTROL, t->chain.head, sizeof(none));
}

/* A virtio_take_fn of the control queue. */
static void take(void *arg, unsigned index, uint16_t head)
{
	struct virtio_scsi *s = arg;
	struct virtio_scsi_tmf *t = &s->tmfs[head];
	uint32_t type;

	if (t->busy) {
		virtio_fail(&s->v, "descriptor made available twice");
		return;
	}
	t->chain.iov = t->iov;
	t->chain.max = VIRTIO_SCSI_IOV;
	if (!virtio_walk(&s->v, index, head, &t->chain))
		return;
	t->busy = true;
	if (!iov_read(t->chain.iov, t->chain.nr_out, 0, &type, sizeof(type)))
		virtio_fail(&s->v, "control request is too short");
	else if (type == TYPE_TMF)
		manage(s, t);
	else if (type == TYPE_QUERY || type == TYPE_SUBSCRIBE)
		query(s, t);
	else
		virtio_fail(&s->v, "unknown control request");
}

/* ---- events ---- */

#define EVENT_NONE   0u
#define EVENT_CHANGE 3u
#define EVENT_MISSED 0x80000000u

struct event {
	uint32_t event;
	uint8_t lun[8];
	uint32_t reason;
};

static void send_event(struct virtio_scsi *s, struct event *event)
{
	struct iovec iov[8];
	struct vq_chain chain = {.iov = iov, .max = 8};
	uint16_t head;

	/* Without a buffer: asks to be told of the next one. */
	if (!virtio_next(&s->v, QUEUE_EVENT, &head) &&
	    (!virtio_want_kicks(&s->v, QUEUE_EVENT, true) ||
	     !virtio_next(&s->v, QUEUE_EVENT, &head))) {
		s->events_missed = true;
		return;
	}
	if (!virtio_walk(&s->v, QUEUE_EVENT, head, &chain))
		return;
	if (s->events_missed)
		event->event |= EVENT_MISSED;
	if (!virtio_store(&s->v, &chain, 0, event, sizeof(*event))) {
		virtio_fail(&s->v, "event buffer is too short");
		return;
	}
	s->events_missed = false;
	virtio_push(&s->v, QUEUE_EVENT, head, sizeof(*event));
	virtio_interrupt(&s->v, QUEUE_EVENT);
}

void virtio_scsi_tell(struct scsi_unit *u, uint8_t asc, uint8_t ascq)
{
	struct virtio_scsi *s = (struct virtio_scsi *)(void *)u->dev.parent;
	struct event event = {
		.event = EVENT_CHANGE,
		.lun = {1, (uint8_t)u->target},
		.reason = asc | (uint32_t)ascq << 8,
	};

	if ((s->v.status & VIRTIO_STATUS_DRIVER_OK) &&
	    virtio_has(&s->v, VIRTIO_SCSI_F_CHANGE))
		send_event(s, &event);
}

/* ---- on the loop ---- */

void virtio_scsi_serve_control(struct virtio_scsi *s, unsigned queue)
{
	struct event none = {.event = EVENT_NONE};

	pthread_mutex_lock(&s->v.pci.dev.lock);
	if (queue == QUEUE_CONTROL)
		virtio_take_all(&s->v, queue, take, s);
	else if (s->events_missed)
		send_event(s, &none);
	pthread_mutex_unlock(&s->v.pci.dev.lock);
}
