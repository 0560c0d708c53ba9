/*
 * virtio-input: virtio 1.2, 5.8: a keyboard and a tablet, each a function of
 * its own.
 *
 * Front ends post input on their own threads, which may not touch guest
 * memory: events wait in a ring under the device's lock, and the main loop
 * puts them into the driver's buffers.  When a report doesn't fit into the
 * ring it is dropped whole, so that the driver never sees half of one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/console.h"
#include "core/error.h"
#include "core/hw/virtio/virtio.h"
#include "core/hw/virtio/virtio_input_keys.h"

#define QUEUE_LEN   64
#define EVENT_QUEUE 0
#define LED_QUEUE   1
#define RING_LEN    256u /* a power of two */

/* struct virtio_input_config, by offset. */
#define CONFIG_SELECT 0
#define CONFIG_SUBSEL 1
#define CONFIG_SIZE   2
#define CONFIG_DATA   8
#define CONFIG_LEN    136

enum config_select {
	SELECT_NAME = 0x01,
	SELECT_SERIAL = 0x02,
	SELECT_IDS = 0x03,
	SELECT_BITS = 0x11,
	SELECT_ABS = 0x12
};

/* Linux's event codes, which the specification adopts. */
#define EV_SYN	   0x00
#define EV_KEY	   0x01
#define EV_REL	   0x02
#define EV_ABS	   0x03
#define EV_LED	   0x11
#define EV_REP	   0x14
#define REL_WHEEL  0x08
#define ABS_X	   0x00
#define ABS_Y	   0x01
#define BTN_LEFT   0x110
#define BTN_RIGHT  0x111
#define BTN_MIDDLE 0x112
#define ABS_MAX	   32767

struct event {
	uint16_t type, code;
	uint32_t value;
};

struct virtio_input {
	struct virtio_dev v; /* first */
	bool is_tablet;
	struct console_input sink;
	uint8_t select, subsel;
	unsigned buttons; /* last reported */
	/* Protected by dev.lock. */
	struct event ring[RING_LEN];
	unsigned head, tail; /* free-running */
	struct device_counter *events, *dropped;
};

static struct virtio_input *input_of(struct virtio_dev *v)
{
	return (struct virtio_input *)(void *)v;
}

/* ---- from front ends ---- */

static bool is_listening(const struct virtio_input *in)
{
	return in->v.status & VIRTIO_STATUS_DRIVER_OK;
}

/* Locked: room for nr more events. */
static bool has_room(struct virtio_input *in, unsigned nr)
{
	if (!is_listening(in))
		return false;
	if (RING_LEN - (in->head - in->tail) >= nr)
		return true;
	device_count(in->dropped, nr);
	return false;
}

static void put_event(struct virtio_input *in, uint16_t type, uint16_t code,
		      uint32_t value)
{
	in->ring[in->head++ % RING_LEN] = (struct event){type, code, value};
}

static void on_key(void *opaque, uint16_t scancode, bool down)
{
	struct virtio_input *in = opaque;
	uint16_t key = virtio_input_key(scancode);

	if (!key)
		return;
	pthread_mutex_lock(&in->v.pci.dev.lock);
	if (has_room(in, 2)) {
		put_event(in, EV_KEY, key, down);
		put_event(in, EV_SYN, 0, 0);
		virtio_poke(&in->v, EVENT_QUEUE);
	}
	pthread_mutex_unlock(&in->v.pci.dev.lock);
}

static uint32_t clamp(int value)
{
	return value < 0 ? 0 : value > ABS_MAX ? ABS_MAX : (uint32_t)value;
}

/* Locked: buttons that changed; the wheel turns when its bit appears. */
static void put_buttons(struct virtio_input *in, unsigned buttons)
{
	static const uint16_t codes[] = {BTN_LEFT, BTN_MIDDLE, BTN_RIGHT};
	unsigned changed = buttons ^ in->buttons;

	for (unsigned i = 0; i < 3; i++)
		if (changed & (1u << i))
			put_event(in, EV_KEY, codes[i], (buttons >> i) & 1);
	if (changed & buttons & 8)
		put_event(in, EV_REL, REL_WHEEL, 1);
	if (changed & buttons & 16)
		put_event(in, EV_REL, REL_WHEEL, (uint32_t)-1);
	in->buttons = buttons;
}

static void on_pointer(void *opaque, int x, int y, unsigned buttons)
{
	struct virtio_input *in = opaque;

	pthread_mutex_lock(&in->v.pci.dev.lock);
	if (has_room(in, 8)) {
		put_event(in, EV_ABS, ABS_X, clamp(x));
		put_event(in, EV_ABS, ABS_Y, clamp(y));
		put_buttons(in, buttons);
		put_event(in, EV_SYN, 0, 0);
		virtio_poke(&in->v, EVENT_QUEUE);
	}
	pthread_mutex_unlock(&in->v.pci.dev.lock);
}

static const struct console_input_ops keyboard_ops = {.key = on_key};
static const struct console_input_ops tablet_ops = {.pointer_abs = on_pointer};

/* ---- to the driver ---- */

/* Locked: one event into one chain. */
static void deliver(struct virtio_input *in, uint16_t head)
{
	struct iovec iov[4];
	struct vq_chain c = {.iov = iov, .max = 4};
	const struct event *ev = &in->ring[in->tail % RING_LEN];

	if (!virtio_walk(&in->v, EVENT_QUEUE, head, &c))
		return;
	if (!virtio_store(&in->v, &c, 0, ev, sizeof(*ev))) {
		virtio_fail(&in->v, "event buffer is shorter than an event");
		return;
	}
	in->tail++;
	device_count(in->events, 1);
	virtio_push(&in->v, EVENT_QUEUE, head, sizeof(*ev));
}

/* A virtio_take_fn: LEDs that the driver set are taken and forgotten. */
static void swallow(void *v, unsigned index, uint16_t head)
{
	virtio_push(v, index, head, 0);
}

static void input_serve(struct virtio_dev *v, unsigned index)
{
	struct virtio_input *in = input_of(v);
	uint16_t head;

	pthread_mutex_lock(&v->pci.dev.lock);
	if (index == LED_QUEUE) {
		virtio_take_all(v, LED_QUEUE, swallow, v);
	} else {
		while (in->head != in->tail &&
		       virtio_next(v, EVENT_QUEUE, &head))
			deliver(in, head);
		/* With events left over a new buffer is worth a kick. */
		if (virtio_want_kicks(v, EVENT_QUEUE, in->head != in->tail) &&
		    in->head != in->tail)
			virtio_poke(v, EVENT_QUEUE);
		virtio_interrupt(v, EVENT_QUEUE);
	}
	pthread_mutex_unlock(&v->pci.dev.lock);
}

/* ---- configuration: 5.8.4 ---- */

static void set_bit(uint8_t *bits, unsigned bit)
{
	bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
}

static unsigned bits_len(const uint8_t *bits)
{
	unsigned len = 128;

	while (len && !bits[len - 1])
		len--;
	return len;
}

/* Codes of one event type; returns the bytes used. */
static unsigned event_bits(const struct virtio_input *in, uint8_t type,
			   uint8_t *bits)
{
	if (!in->is_tablet && type == EV_KEY) {
		for (unsigned code = 0; code < 512; code++) {
			uint16_t key = virtio_input_key((uint16_t)code);

			if (key)
				set_bit(bits, key);
		}
	} else if (!in->is_tablet && type == EV_REP) {
		set_bit(bits, 0);
		set_bit(bits, 1);
	} else if (!in->is_tablet && type == EV_LED) {
		bits[0] = 7; /* Num Lock, Caps Lock, Scroll Lock */
	} else if (in->is_tablet && type == EV_KEY) {
		set_bit(bits, BTN_LEFT);
		set_bit(bits, BTN_RIGHT);
		set_bit(bits, BTN_MIDDLE);
	} else if (in->is_tablet && type == EV_REL) {
		set_bit(bits, REL_WHEEL);
	} else if (in->is_tablet && type == EV_ABS) {
		set_bit(bits, ABS_X);
		set_bit(bits, ABS_Y);
	}
	return bits_len(bits);
}

static unsigned selected_data(const struct virtio_input *in, uint8_t *data)
{
	const char *name =
		in->is_tablet ? "Binnacle tablet" : "Binnacle keyboard";
	/* Bus "virtual", vendor, product, version. */
	uint16_t ids[4] = {0x06, 0x0627, in->is_tablet ? 3 : 1, 1};
	uint32_t abs[5] = {0, ABS_MAX, 0, 0, 0};

	switch (in->select) {
	case SELECT_NAME:
		memcpy(data, name, strlen(name));
		return (unsigned)strlen(name);
	case SELECT_SERIAL:
		memcpy(data, in->v.pci.dev.name, strlen(in->v.pci.dev.name));
		return (unsigned)strlen(in->v.pci.dev.name);
	case SELECT_IDS:
		memcpy(data, ids, sizeof(ids));
		return sizeof(ids);
	case SELECT_BITS:
		return event_bits(in, in->subsel, data);
	case SELECT_ABS:
		if (!in->is_tablet || in->subsel > ABS_Y)
			return 0;
		memcpy(data, abs, sizeof(abs));
		return sizeof(abs);
	}
	return 0;
}

static void input_config_read(struct virtio_dev *v, unsigned off, void *buf,
			      unsigned len)
{
	struct virtio_input *in = input_of(v);
	uint8_t image[CONFIG_LEN] = {0};

	image[CONFIG_SELECT] = in->select;
	image[CONFIG_SUBSEL] = in->subsel;
	image[CONFIG_SIZE] = (uint8_t)selected_data(in, image + CONFIG_DATA);
	memcpy(buf, image + off, len);
}

static void input_config_write(struct virtio_dev *v, unsigned off,
			       uint32_t value, unsigned len)
{
	struct virtio_input *in = input_of(v);

	for (unsigned i = 0; i < len; i++) {
		if (off + i == CONFIG_SELECT)
			in->select = (uint8_t)(value >> (8 * i));
		else if (off + i == CONFIG_SUBSEL)
			in->subsel = (uint8_t)(value >> (8 * i));
	}
}

/* ---- life ---- */

static void input_reset(struct virtio_dev *v)
{
	struct virtio_input *in = input_of(v);

	in->select = in->subsel = 0;
	in->head = in->tail = 0;
	in->buttons = 0;
}

static void input_started(struct virtio_dev *v, bool on)
{
	struct virtio_input *in = input_of(v);

	console_input_enable(v->pci.dev.m->console, &in->sink, on);
}

static const struct virtio_device_class keyboard_type = {
	.id = 18,
	.class_code = 0x090000,
	.nr_queues = 2,
	.queue_len = QUEUE_LEN,
	.config_len = CONFIG_LEN,
	.config_read = input_config_read,
	.config_write = input_config_write,
	.serve = input_serve,
	.reset = input_reset,
	.started = input_started,
};

static const struct virtio_device_class tablet_type = {
	.id = 18,
	.class_code = 0x090200,
	.nr_queues = 2,
	.queue_len = QUEUE_LEN,
	.config_len = CONFIG_LEN,
	.config_read = input_config_read,
	.config_write = input_config_write,
	.serve = input_serve,
	.reset = input_reset,
	.started = input_started,
};

static int input_create(struct virtio_input *in, bool is_tablet,
			const struct device_args *args, struct error *e)
{
	struct device *dev = &in->v.pci.dev;
	int r;

	if (!dev->m->console)
		return error_set(e, -EINVAL, "the machine has no console");
	in->is_tablet = is_tablet;
	in->events = device_counter_add(dev, "events");
	in->dropped = device_counter_add(dev, "dropped");
	in->sink = (struct console_input){
		.ops = is_tablet ? &tablet_ops : &keyboard_ops,
		.opaque = in,
		.priority = 10,
	};
	r = virtio_init(&in->v, is_tablet ? &tablet_type : &keyboard_type, 0,
			dev->m->main, args, e);
	if (!r)
		console_input_add(dev->m->console, &in->sink);
	return r;
}

static int keyboard_create(struct device *dev, const struct device_args *args,
			   struct error *e)
{
	return input_create((struct virtio_input *)(void *)dev, false, args, e);
}

static int tablet_create(struct device *dev, const struct device_args *args,
			 struct error *e)
{
	return input_create((struct virtio_input *)(void *)dev, true, args, e);
}

static void input_destroy(struct device *dev)
{
	struct virtio_input *in = (struct virtio_input *)(void *)dev;

	console_input_remove(dev->m->console, &in->sink);
	virtio_fini(&in->v);
}

static const struct state_field input_fields[] = {
	STATE_STRUCTS(struct virtio_input, v, 1, &virtio_dev_state),
	STATE_FIELD(struct virtio_input, select),
	STATE_FIELD(struct virtio_input, subsel),
	STATE_FIELD(struct virtio_input, buttons),
};

static const struct state_desc input_state = {
	.name = "virtio-input",
	.version = 1,
	.oldest = 1,
	.fields = input_fields,
	.nr_fields = sizeof(input_fields) / sizeof(input_fields[0]),
};

const struct device_class virtio_keyboard_class = {
	.name = "virtio-keyboard-pci",
	.summary = "virtio keyboard",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct virtio_input),
	.create = keyboard_create,
	.destroy = input_destroy,
	.reset = virtio_device_reset,
	.state = &input_state,
	.loaded = virtio_device_loaded,
	.features = virtio_device_features,
};

const struct device_class virtio_tablet_class = {
	.name = "virtio-tablet-pci",
	.summary = "virtio absolute pointer",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct virtio_input),
	.create = tablet_create,
	.destroy = input_destroy,
	.reset = virtio_device_reset,
	.state = &input_state,
	.loaded = virtio_device_loaded,
	.features = virtio_device_features,
};
