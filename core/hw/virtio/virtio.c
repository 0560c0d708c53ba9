/* Device status, queues and interrupts: virtio 1.2, chapters 2 and 3. */
#include "core/hw/virtio/virtio.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"

#define ISR_QUEUE  1
#define ISR_CONFIG 2

/* ---- interrupts ---- */

static void send_interrupt(struct virtio_dev *v, uint16_t vector, uint8_t isr)
{
	device_count(v->interrupts, 1);
	if (pci_msix_enabled(&v->pci)) {
		pci_msix_fire(&v->pci, vector);
		return;
	}
	v->isr |= isr;
	pci_intx(&v->pci, true);
}

void virtio_interrupt(struct virtio_dev *v, unsigned index)
{
	struct virtqueue *q = &v->queues[index].vq;

	if (q->enabled && virtqueue_should_interrupt(q))
		send_interrupt(v, q->vector, ISR_QUEUE);
}

bool virtio_config_changed(struct virtio_dev *v)
{
	v->generation++;
	if (!(v->status & VIRTIO_STATUS_DRIVER_OK))
		return false;
	send_interrupt(v, v->config_vector, ISR_CONFIG);
	return true;
}

void virtio_fail(struct virtio_dev *v, const char *why)
{
	if (v->pci.dev.failed)
		return;
	device_fail(&v->pci.dev, "%s", why);
	v->status |= VIRTIO_STATUS_NEEDS_RESET;
	virtio_config_changed(v);
}

/* ---- queues ---- */

bool virtio_has(const struct virtio_dev *v, uint64_t bit)
{
	return (v->driver_features & bit) == bit;
}

/* Locked: true when queue index may be served now. */
static bool is_live(const struct virtio_dev *v, unsigned index)
{
	return (v->status & VIRTIO_STATUS_DRIVER_OK) && !v->pci.dev.failed &&
	       !v->resetting && v->queues[index].vq.enabled &&
	       pci_bus_master(&v->pci);
}

int virtio_next(struct virtio_dev *v, unsigned index, uint16_t *head)
{
	const char *why = "";
	int r;

	if (!is_live(v, index))
		return 0;
	r = virtqueue_next(&v->queues[index].vq, head, &why);
	if (r < 0)
		virtio_fail(v, why);
	return r > 0;
}

bool virtio_walk(struct virtio_dev *v, unsigned index, uint16_t head,
		 struct vq_chain *c)
{
	const char *why = "";

	if (!virtqueue_walk(&v->queues[index].vq, v->pci.dev.m->mem, head, c,
			    &why))
		return true;
	virtio_fail(v, why);
	return false;
}

bool virtio_store(struct virtio_dev *v, const struct vq_chain *c, uint64_t off,
		  const void *buf, size_t len)
{
	struct iovec *in = c->iov + c->nr_out;

	if (!iov_write(in, c->nr_in, off, buf, len))
		return false;
	dma_mark_iov(v->pci.dev.m->mem, in, c->nr_in, off + len);
	return true;
}

void virtio_push(struct virtio_dev *v, unsigned index, uint16_t head,
		 uint32_t len)
{
	virtqueue_push(&v->queues[index].vq, v->pci.dev.m->mem, head, len);
}

bool virtio_want_kicks(struct virtio_dev *v, unsigned index, bool want)
{
	return is_live(v, index) &&
	       virtqueue_want_kicks(&v->queues[index].vq, v->pci.dev.m->mem,
				    want);
}

void virtio_poke(struct virtio_dev *v, unsigned index)
{
	uint64_t one = 1;

	/* Can only fail when the counter is full: then it is readable. */
	if (write(v->queues[index].kick.fd, &one, sizeof(one)) < 0)
		return;
}

void virtio_take_all(struct virtio_dev *v, unsigned index, virtio_take_fn *take,
		     void *arg)
{
	unsigned left = v->type->queue_len;
	uint16_t head;

	do {
		virtio_want_kicks(v, index, false);
		for (; left && virtio_next(v, index, &head); left--)
			take(arg, index, head);
	} while (left && virtio_want_kicks(v, index, true));
	if (!left)
		virtio_poke(v, index);
	virtio_interrupt(v, index);
}

static void poke_all(struct virtio_dev *v)
{
	for (unsigned i = 0; i < v->nr_queues; i++)
		virtio_poke(v, i);
}

static void on_kick(void *arg, uint32_t events)
{
	struct virtio_queue *q = arg;
	struct virtio_dev *v = q->v;
	uint64_t n;
	bool live;

	(void)events;
	if (read(q->kick.fd, &n, sizeof(n)) != sizeof(n))
		return;
	pthread_mutex_lock(&v->pci.dev.lock);
	live = is_live(v, q->index);
	pthread_mutex_unlock(&v->pci.dev.lock);
	if (!live)
		return;
	device_count(v->kicks, 1);
	v->type->serve(v, q->index);
}

void virtio_enable_queue(struct virtio_dev *v, struct virtio_queue *q)
{
	const char *why = "";

	/* The features tell the ring's form: virtio 1.2, 3.1.1. */
	if (q->vq.enabled || v->pci.dev.failed ||
	    !(v->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	q->vq.event_idx = virtio_has(v, VIRTIO_F_EVENT_IDX);
	q->vq.packed = virtio_has(v, VIRTIO_F_RING_PACKED);
	if (virtqueue_enable(&q->vq, v->pci.dev.m->mem, &why))
		virtio_fail(v, why);
	else
		virtio_poke(v, q->index);
}

/* ---- status and reset ---- */

static void reset_locked(struct virtio_dev *v)
{
	if ((v->status & VIRTIO_STATUS_DRIVER_OK) && v->type->started)
		v->type->started(v, false);
	v->epoch++;
	v->resetting = v->in_flight > 0;
	v->status = v->isr = 0;
	v->driver_features = 0;
	v->feature_sel = v->driver_feature_sel = 0;
	v->config_vector = 0xffff;
	v->queue_sel = 0;
	v->pci.dev.failed = false;
	v->pci.dev.why[0] = '\0';
	for (unsigned i = 0; i < v->nr_queues; i++)
		virtqueue_reset(&v->queues[i].vq, v->type->queue_len);
	pci_intx(&v->pci, false);
	if (v->type->reset)
		v->type->reset(v);
}

uint8_t virtio_get_status(const struct virtio_dev *v)
{
	/* A driver that waits for 0 waits for what is in flight. */
	if (v->resetting && !v->status)
		return VIRTIO_STATUS_ACK;
	return v->status;
}

void virtio_set_status(struct virtio_dev *v, uint8_t status)
{
	uint8_t added = status & ~v->status;

	if (!status) {
		reset_locked(v);
		return;
	}
	if ((added & VIRTIO_STATUS_FEATURES_OK) &&
	    (!virtio_has(v, VIRTIO_F_VERSION_1) ||
	     (v->driver_features & ~v->features)))
		status &= ~VIRTIO_STATUS_FEATURES_OK;
	if (!(status & VIRTIO_STATUS_FEATURES_OK))
		status &= ~VIRTIO_STATUS_DRIVER_OK;
	/* Only a reset takes bits away. */
	v->status |= status & ~VIRTIO_STATUS_NEEDS_RESET;
	if (added & v->status & VIRTIO_STATUS_DRIVER_OK) {
		if (v->type->started)
			v->type->started(v, true);
		poke_all(v);
	}
}

void virtio_hold(struct virtio_dev *v)
{
	v->in_flight++;
}

void virtio_release(struct virtio_dev *v)
{
	v->in_flight--;
	if (v->resetting && !v->in_flight) {
		v->resetting = false;
		poke_all(v);
	}
}

void virtio_device_reset(struct device *dev)
{
	struct virtio_dev *v = virtio_of(dev);

	pthread_mutex_lock(&dev->lock);
	reset_locked(v);
	pci_dev_reset(&v->pci);
	virtio_pci_place_doorbells(v);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- state ---- */

static const struct state_field queue_fields[] = {
	STATE_FIELD(struct virtio_queue, vq.len),
	STATE_FIELD(struct virtio_queue, vq.desc),
	STATE_FIELD(struct virtio_queue, vq.avail),
	STATE_FIELD(struct virtio_queue, vq.used),
	STATE_FIELD(struct virtio_queue, vq.vector),
	STATE_FIELD(struct virtio_queue, vq.enabled),
	STATE_FIELD(struct virtio_queue, vq.next_avail),
	STATE_FIELD(struct virtio_queue, vq.next_used),
	STATE_FIELD(struct virtio_queue, vq.signalled),
	STATE_FIELD_SINCE(struct virtio_queue, vq.avail_wrap, 2),
	STATE_FIELD_SINCE(struct virtio_queue, vq.used_wrap, 2),
	STATE_FIELD_SINCE(struct virtio_queue, vq.unsignalled, 2),
};

static const struct state_desc queue_state = {
	.name = "virtqueue",
	.version = 2,
	.oldest = 1,
	.fields = queue_fields,
	.nr_fields = sizeof(queue_fields) / sizeof(queue_fields[0]),
};

/* A state of version 1 has the first queues only. */
#define QUEUES_V1 4

static const struct state_field virtio_fields[] = {
	STATE_STRUCTS(struct virtio_dev, pci, 1, &pci_dev_state),
	STATE_FIELD(struct virtio_dev, driver_features),
	STATE_FIELD(struct virtio_dev, feature_sel),
	STATE_FIELD(struct virtio_dev, driver_feature_sel),
	STATE_FIELD(struct virtio_dev, config_vector),
	STATE_FIELD(struct virtio_dev, queue_sel),
	STATE_FIELD(struct virtio_dev, status),
	STATE_FIELD(struct virtio_dev, isr),
	STATE_FIELD(struct virtio_dev, generation),
	STATE_FIELD(struct virtio_dev, pci.dev.failed),
	{
		.name = "queues",
		.type = STATE_STRUCT,
		.offset = offsetof(struct virtio_dev, queues),
		.count = QUEUES_V1,
		.since = 1,
		.stride = sizeof(struct virtio_queue),
		.desc = &queue_state,
	},
	{
		.name = "more_queues",
		.type = STATE_STRUCT,
		.offset = offsetof(struct virtio_dev, queues[QUEUES_V1]),
		.count = VIRTIO_MAX_QUEUES - QUEUES_V1,
		.since = 2,
		.stride = sizeof(struct virtio_queue),
		.desc = &queue_state,
	},
};

static int virtio_check(void *obj, int version, struct error *e)
{
	struct virtio_dev *v = obj;

	(void)version;
	if ((v->status & VIRTIO_STATUS_FEATURES_OK) &&
	    (v->driver_features & ~v->features))
		return error_set(e, -EINVAL,
				 "'%s': the state has features 0x%llx that "
				 "this device lacks",
				 v->pci.dev.name,
				 (unsigned long long)(v->driver_features &
						      ~v->features));
	return 0;
}

const struct state_desc virtio_dev_state = {
	.name = "virtio",
	.version = 2,
	.oldest = 1,
	.fields = virtio_fields,
	.nr_fields = sizeof(virtio_fields) / sizeof(virtio_fields[0]),
	.check = virtio_check,
};

/* All or none: a queue without rings must not be served. */
static int queues_loaded(struct virtio_dev *v, struct error *e)
{
	bool enabled[VIRTIO_MAX_QUEUES];
	const char *why = "";

	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		enabled[i] = v->queues[i].vq.enabled;
		v->queues[i].vq.enabled = false;
	}
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		struct virtqueue *q = &v->queues[i].vq;
		int r = 0;

		q->event_idx = virtio_has(v, VIRTIO_F_EVENT_IDX);
		q->packed = virtio_has(v, VIRTIO_F_RING_PACKED);
		why = "this device has no such queue";
		if (enabled[i])
			r = i < v->nr_queues
				    ? virtqueue_enable(q, v->pci.dev.m->mem,
						       &why)
				    : -EINVAL;
		if (r)
			return error_set(e, -EINVAL, "'%s': queue %u: %s",
					 v->pci.dev.name, i, why);
	}
	return 0;
}

int virtio_device_loaded(struct device *dev, struct error *e)
{
	struct virtio_dev *v = virtio_of(dev);
	int r = queues_loaded(v, e);

	if (r)
		return r;
	pci_dev_loaded(&v->pci);
	virtio_pci_place_doorbells(v);
	if ((v->status & VIRTIO_STATUS_DRIVER_OK) && v->type->started)
		v->type->started(v, true);
	/* A kick may have been on its way when the state was taken. */
	poke_all(v);
	return 0;
}

/* ---- life ---- */

static int queue_init(struct virtio_dev *v, unsigned index, struct error *e)
{
	struct virtio_queue *q = &v->queues[index];
	int r;

	virtqueue_reset(&q->vq, v->type->queue_len);
	q->v = v;
	q->index = index;
	q->doorbell_addr = UINT64_MAX;
	q->kick = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.fn = on_kick,
		.arg = q,
	};
	if (q->kick.fd < 0)
		return error_errno(e, errno, "an eventfd");
	r = loop_fd_add(v->loop, &q->kick);
	if (!r)
		return 0;
	close(q->kick.fd);
	q->kick.fd = -1;
	return error_errno(e, -r, "watching an eventfd");
}

int virtio_init(struct virtio_dev *v, const struct virtio_device_class *type,
		uint64_t features, struct loop *loop,
		const struct device_args *args, struct error *e)
{
	int r;

	v->type = type;
	v->loop = loop;
	if (!v->nr_queues)
		v->nr_queues = type->nr_queues;
	v->features = features | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX |
		      VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED;
	v->config_vector = 0xffff;
	v->kicks = device_counter_add(&v->pci.dev, "kicks");
	v->interrupts = device_counter_add(&v->pci.dev, "interrupts");
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		v->queues[i].kick.fd = -1;
	for (unsigned i = 0; i < v->nr_queues; i++) {
		r = queue_init(v, i, e);
		if (r)
			goto out;
	}
	r = virtio_pci_init(v, args, e);
out:
	if (r)
		virtio_fini(v);
	return r;
}

void virtio_fini(struct virtio_dev *v)
{
	virtio_pci_remove_doorbells(v);
	for (unsigned i = 0; i < v->nr_queues; i++) {
		struct virtio_queue *q = &v->queues[i];

		if (q->kick.fd < 0)
			continue;
		loop_fd_remove(v->loop, &q->kick);
		close(q->kick.fd);
		q->kick.fd = -1;
		virtqueue_fini(&q->vq);
	}
	pci_dev_fini(&v->pci);
}
