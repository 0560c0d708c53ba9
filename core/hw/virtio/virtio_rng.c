/* virtio-rng: virtio 1.2, 5.4: fills the driver's buffers with random bytes
 * of the host's kernel. */
#include <errno.h>
#include <sys/random.h>

#include "core/error.h"
#include "core/hw/virtio/virtio.h"

#define QUEUE_LEN 64
#define MAX_IOV	  16
/* A driver that asks for more gets this much and asks again. */
#define MAX_BYTES 4096u

struct virtio_rng {
	struct virtio_dev v; /* first */
	struct device_counter *bytes;
};

/* A virtio_take_fn. */
static void fill(void *arg, unsigned index, uint16_t head)
{
	struct virtio_rng *g = arg;
	uint8_t buf[MAX_BYTES];
	struct iovec iov[MAX_IOV];
	struct vq_chain c = {.iov = iov, .max = MAX_IOV};
	ssize_t n = 0;

	if (!virtio_walk(&g->v, index, head, &c))
		return;
	if (c.in_len)
		n = getrandom(buf, c.in_len < MAX_BYTES ? c.in_len : MAX_BYTES,
			      0);
	if (n < 0)
		n = 0;
	virtio_store(&g->v, &c, 0, buf, (size_t)n);
	device_count(g->bytes, (uint64_t)n);
	virtio_push(&g->v, index, head, (uint32_t)n);
}

static void rng_serve(struct virtio_dev *v, unsigned index)
{
	pthread_mutex_lock(&v->pci.dev.lock);
	virtio_take_all(v, index, fill, v);
	pthread_mutex_unlock(&v->pci.dev.lock);
}

static const struct virtio_device_class rng_type = {
	.id = 4,
	.class_code = 0x00ff00,
	.nr_queues = 1,
	.queue_len = QUEUE_LEN,
	.serve = rng_serve,
};

static int rng_create(struct device *dev, const struct device_args *args,
		      struct error *e)
{
	struct virtio_rng *g = (struct virtio_rng *)(void *)dev;

	g->bytes = device_counter_add(dev, "bytes");
	return virtio_init(&g->v, &rng_type, 0, dev->m->main, args, e);
}

static void rng_destroy(struct device *dev)
{
	virtio_fini(virtio_of(dev));
}

static const struct state_field rng_fields[] = {
	STATE_STRUCTS(struct virtio_rng, v, 1, &virtio_dev_state),
};

static const struct state_desc rng_state = {
	.name = "virtio-rng",
	.version = 1,
	.oldest = 1,
	.fields = rng_fields,
	.nr_fields = sizeof(rng_fields) / sizeof(rng_fields[0]),
};

const struct device_class virtio_rng_class = {
	.name = "virtio-rng-pci",
	.summary = "virtio random numbers",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct virtio_rng),
	.create = rng_create,
	.destroy = rng_destroy,
	.reset = virtio_device_reset,
	.state = &rng_state,
	.loaded = virtio_device_loaded,
	.features = virtio_device_features,
};
