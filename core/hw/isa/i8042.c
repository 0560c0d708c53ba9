/*
 * The keyboard controller: ports 0x60 and 0x64, two PS/2 devices.
 *
 * One output buffer; bytes of the controller itself come first, then the
 * keyboard's, then the mouse's.  A line is high while its byte waits.
 * Specification: Intel 8042 as in IBM's PS/2 technical reference.
 */
#include <errno.h>
#include <string.h>

#include "core/console.h"
#include "core/device.h"
#include "core/error.h"
#include "core/hw/isa/isa.h"
#include "core/hw/isa/ps2.h"
#include "core/irq.h"
#include "core/loop.h"
#include "core/migration/state.h"

#define DATA_PORT    0x60
#define COMMAND_PORT 0x64

#define STATUS_FULL    0x01
#define STATUS_SYSTEM  0x04
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCK  0x10
#define STATUS_AUX     0x20

#define CTR_KBD_IRQ   0x01
#define CTR_AUX_IRQ   0x02
#define CTR_SYSTEM    0x04
#define CTR_KBD_OFF   0x10
#define CTR_AUX_OFF   0x20
#define CTR_TRANSLATE 0x40
#define CTR_DEFAULT   (CTR_KBD_IRQ | CTR_AUX_IRQ | CTR_SYSTEM | CTR_TRANSLATE)

#define CMD_READ_RAM  0x20
#define CMD_WRITE_RAM 0x60
#define CMD_AUX_OFF   0xa7
#define CMD_AUX_ON    0xa8
#define CMD_AUX_TEST  0xa9
#define CMD_SELF_TEST 0xaa
#define CMD_KBD_TEST  0xab
#define CMD_KBD_OFF   0xad
#define CMD_KBD_ON    0xae
#define CMD_READ_IN   0xc0
#define CMD_READ_OUT  0xd0
#define CMD_WRITE_OUT 0xd1
#define CMD_WRITE_KBD 0xd2
#define CMD_LOOP_AUX  0xd3
#define CMD_WRITE_AUX 0xd4
#define CMD_A20_OFF   0xdd
#define CMD_A20_ON    0xdf
#define CMD_PULSE     0xf0

#define OUT_RUN	    0x01 /* 0 resets the machine */
#define OUT_A20	    0x02
#define OUT_DEFAULT (OUT_RUN | OUT_A20)

/* Typed faster than the keyboard's queue drains, a paste for instance. */
#define NR_WAITING	512
#define KEY_IS_DOWN	0x8000
#define KEY_INTERVAL_NS 5000000ull
#define SCAN_PAUSE	0x146

struct i8042 {
	struct device dev;
	struct bus_ports data_ports, command_ports;
	struct irq kbd_irq, aux_irq;
	struct console_input input;
	struct device_counter *keys, *moves;
	struct loop_timer typing; /* armed while keys wait and have room */
	bool typing_stalled;	  /* they wait and have none */
	uint16_t waiting[NR_WAITING];
	unsigned first_waiting, nr_waiting;
	struct ps2_kbd kbd;
	struct ps2_mouse mouse;
	uint8_t ctr, command, out_port, buffer;
	bool full, full_aux, broke; /* broke: a translated 0xf0 came */
	uint8_t own[2];		    /* byte of the controller, and: is aux */
	bool own_full;
};

/* ---- the output buffer ---- */

static void irq_update(struct i8042 *s)
{
	irq_set(&s->kbd_irq, s->full && !s->full_aux && (s->ctr & CTR_KBD_IRQ));
	irq_set(&s->aux_irq, s->full && s->full_aux && (s->ctr & CTR_AUX_IRQ));
}

static void buffer_put(struct i8042 *s, uint8_t value, bool aux)
{
	s->buffer = value;
	s->full = true;
	s->full_aux = aux;
}

/* false: the byte was swallowed by the translation. */
static bool kbd_take(struct i8042 *s)
{
	uint8_t c = ps2_queue_get(&s->kbd.queue);

	if (!(s->ctr & CTR_TRANSLATE)) {
		buffer_put(s, c, false);
		return true;
	}
	if (c == 0xf0) {
		s->broke = true;
		return false;
	}
	buffer_put(s, ps2_translate(c) | (s->broke ? 0x80 : 0), false);
	s->broke = false;
	return true;
}

static void buffer_fill(struct i8042 *s)
{
	if (!s->full && s->own_full) {
		buffer_put(s, s->own[0], s->own[1]);
		s->own_full = false;
	}
	while (!s->full && s->kbd.queue.nr && !(s->ctr & CTR_KBD_OFF))
		kbd_take(s);
	if (!s->full && s->mouse.queue.nr && !(s->ctr & CTR_AUX_OFF)) {
		buffer_put(s, ps2_queue_get(&s->mouse.queue), true);
		ps2_mouse_refill(&s->mouse);
	}
	irq_update(s);
}

/* A byte of the controller's own; a second one replaces the first. */
static void own_reply(struct i8042 *s, uint8_t value, bool aux)
{
	s->own[0] = value;
	s->own[1] = aux;
	s->own_full = true;
}

static bool kbd_has_room(const struct i8042 *s, uint16_t scancode)
{
	unsigned most = scancode == SCAN_PAUSE ? 8 : 3;

	return s->kbd.queue.nr + most <= PS2_KEYS_LEN;
}

/* Keys wait, and the timer stopped because the guest did not read. */
static void typing_resume(struct i8042 *s)
{
	if (!s->typing_stalled || !kbd_has_room(s, SCAN_PAUSE))
		return;
	s->typing_stalled = false;
	loop_timer_set(&s->typing, loop_now_ns() + KEY_INTERVAL_NS);
}

static uint8_t data_take(struct i8042 *s)
{
	uint8_t value = s->buffer;

	s->full = false;
	/* The line falls between two bytes: each is an edge of its own. */
	irq_update(s);
	buffer_fill(s);
	typing_resume(s);
	return value;
}

/* ---- commands ---- */

static void out_write(struct i8042 *s, uint8_t value)
{
	s->out_port = value & (OUT_RUN | OUT_A20);
	if (!(value & OUT_RUN))
		s->dev.m->request(s->dev.m, MACHINE_RESET, 0);
}

static uint8_t out_read(const struct i8042 *s)
{
	return s->out_port | (s->full && !s->full_aux ? 0x10 : 0) |
	       (s->full && s->full_aux ? 0x20 : 0);
}

static void ctr_set(struct i8042 *s, uint8_t set, uint8_t clear)
{
	s->ctr = (s->ctr | set) & ~clear;
}

static void command(struct i8042 *s, uint8_t value)
{
	switch (value) {
	case CMD_READ_RAM:
		own_reply(s, s->ctr, false);
		break;
	case CMD_WRITE_RAM:
	case CMD_WRITE_OUT:
	case CMD_WRITE_KBD:
	case CMD_LOOP_AUX:
	case CMD_WRITE_AUX:
		s->command = value;
		break;
	case CMD_AUX_OFF:
		ctr_set(s, CTR_AUX_OFF, 0);
		break;
	case CMD_AUX_ON:
		ctr_set(s, 0, CTR_AUX_OFF);
		break;
	case CMD_AUX_TEST:
	case CMD_KBD_TEST:
		own_reply(s, 0x00, false);
		break;
	case CMD_SELF_TEST:
		ctr_set(s, CTR_SYSTEM, 0);
		own_reply(s, 0x55, false);
		break;
	case CMD_KBD_OFF:
		ctr_set(s, CTR_KBD_OFF, 0);
		break;
	case CMD_KBD_ON:
		ctr_set(s, 0, CTR_KBD_OFF);
		break;
	case CMD_READ_IN:
		own_reply(s, 0x80, false); /* keyboard not locked */
		break;
	case CMD_READ_OUT:
		own_reply(s, out_read(s), false);
		break;
	case CMD_A20_OFF:
	case CMD_A20_ON:
		s->out_port = OUT_RUN | (value == CMD_A20_ON ? OUT_A20 : 0);
		break;
	default:
		if (value >= CMD_PULSE && !(value & OUT_RUN))
			s->dev.m->request(s->dev.m, MACHINE_RESET, 0);
	}
}

static void data_write(struct i8042 *s, uint8_t value)
{
	uint8_t pending = s->command;

	s->command = 0;
	switch (pending) {
	case CMD_WRITE_RAM:
		s->ctr = value & 0x7f;
		break;
	case CMD_WRITE_OUT:
		out_write(s, value);
		break;
	case CMD_WRITE_KBD:
		own_reply(s, value, false);
		break;
	case CMD_LOOP_AUX:
		own_reply(s, value, true);
		break;
	case CMD_WRITE_AUX:
		ctr_set(s, 0, CTR_AUX_OFF);
		ps2_mouse_write(&s->mouse, value);
		break;
	default:
		ctr_set(s, 0, CTR_KBD_OFF);
		ps2_kbd_write(&s->kbd, value);
	}
}

/* ---- ports ---- */

static uint64_t data_port_read(void *opaque, uint64_t off, unsigned len)
{
	(void)off;
	(void)len;
	return data_take(opaque);
}

static void data_port_write(void *opaque, uint64_t off, uint64_t value,
			    unsigned len)
{
	(void)off;
	(void)len;
	data_write(opaque, value);
	buffer_fill(opaque);
	typing_resume(opaque);
}

static uint64_t command_port_read(void *opaque, uint64_t off, unsigned len)
{
	const struct i8042 *s = opaque;

	(void)off;
	(void)len;
	return STATUS_UNLOCK | STATUS_COMMAND | (s->full ? STATUS_FULL : 0) |
	       (s->full && s->full_aux ? STATUS_AUX : 0) |
	       (s->ctr & CTR_SYSTEM ? STATUS_SYSTEM : 0);
}

static void command_port_write(void *opaque, uint64_t off, uint64_t value,
			       unsigned len)
{
	(void)off;
	(void)len;
	command(opaque, value);
	buffer_fill(opaque);
}

static const struct bus_ops data_ops = {
	.read = data_port_read,
	.write = data_port_write,
	.max_len = 1,
};

static const struct bus_ops command_ops = {
	.read = command_port_read,
	.write = command_port_write,
	.max_len = 1,
};

/* ---- input ---- */

/*
 * Keys that wait come one by one, as from a typist: the queue of the keyboard
 * stays short, which firmware counts on.  They are the person's, not yet the
 * guest's, and no part of the device's state.
 */
static void key_wait(struct i8042 *s, uint16_t scancode, bool down)
{
	unsigned end = (s->first_waiting + s->nr_waiting) % NR_WAITING;

	if (s->nr_waiting == NR_WAITING)
		return;
	s->waiting[end] = scancode | (down ? KEY_IS_DOWN : 0);
	if (!s->nr_waiting++)
		loop_timer_set(&s->typing, loop_now_ns() + KEY_INTERVAL_NS);
}

static void typing_due(void *arg)
{
	struct i8042 *s = arg;
	uint16_t key;

	pthread_mutex_lock(&s->dev.lock);
	key = s->waiting[s->first_waiting];
	if (s->nr_waiting && kbd_has_room(s, key & ~KEY_IS_DOWN)) {
		s->first_waiting = (s->first_waiting + 1) % NR_WAITING;
		s->nr_waiting--;
		ps2_kbd_key(&s->kbd, key & ~KEY_IS_DOWN, key & KEY_IS_DOWN);
		buffer_fill(s);
	}
	s->typing_stalled = s->nr_waiting && !kbd_has_room(s, SCAN_PAUSE);
	if (s->nr_waiting && !s->typing_stalled)
		loop_timer_set(&s->typing, loop_now_ns() + KEY_INTERVAL_NS);
	pthread_mutex_unlock(&s->dev.lock);
}

static void input_key(void *opaque, uint16_t scancode, bool down)
{
	struct i8042 *s = opaque;

	device_count(s->keys, 1);
	pthread_mutex_lock(&s->dev.lock);
	if (s->nr_waiting || !kbd_has_room(s, scancode))
		key_wait(s, scancode, down);
	else
		ps2_kbd_key(&s->kbd, scancode, down);
	buffer_fill(s);
	pthread_mutex_unlock(&s->dev.lock);
}

static void input_move(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
	struct i8042 *s = opaque;

	pthread_mutex_lock(&s->dev.lock);
	device_count(s->moves, 1);
	ps2_mouse_move(&s->mouse, dx, dy, dz, buttons);
	buffer_fill(s);
	pthread_mutex_unlock(&s->dev.lock);
}

static const struct console_input_ops input_ops = {
	.key = input_key,
	.pointer_rel = input_move,
};

/* ---- life ---- */

static void i8042_reset(struct device *dev)
{
	struct i8042 *s = (struct i8042 *)dev;

	/* A person may be typing. */
	pthread_mutex_lock(&dev->lock);
	s->ctr = CTR_DEFAULT;
	s->command = 0;
	s->out_port = OUT_DEFAULT;
	s->full = s->full_aux = s->broke = s->own_full = false;
	s->nr_waiting = 0;
	s->typing_stalled = false;
	ps2_kbd_reset(&s->kbd);
	ps2_mouse_reset(&s->mouse);
	irq_update(s);
	pthread_mutex_unlock(&dev->lock);
}

static int i8042_create(struct device *dev, const struct device_args *args,
			struct error *e)
{
	struct i8042 *s = (struct i8042 *)dev;

	(void)args;
	(void)e;
	irq_init(&s->kbd_irq, dev->m->irq, 1);
	irq_init(&s->aux_irq, dev->m->irq, 12);
	dev->line = &s->kbd_irq;
	s->keys = device_counter_add(dev, "key events");
	s->moves = device_counter_add(dev, "pointer events");
	isa_ports_add(dev, &s->data_ports, "i8042-data", DATA_PORT, 1,
		      &data_ops);
	isa_ports_add(dev, &s->command_ports, "i8042-command", COMMAND_PORT, 1,
		      &command_ops);
	loop_timer_init(&s->typing, dev->m->main, typing_due, s);
	i8042_reset(dev);
	if (!dev->m->console)
		return 0;
	s->input.ops = &input_ops;
	s->input.opaque = s;
	s->input.enabled = true;
	console_input_add(dev->m->console, &s->input);
	return 0;
}

static void i8042_destroy(struct device *dev)
{
	struct i8042 *s = (struct i8042 *)dev;

	if (s->input.ops)
		console_input_remove(dev->m->console, &s->input);
	loop_timer_stop(&s->typing);
	bus_ports_remove(dev->m->bus, &s->command_ports);
	bus_ports_remove(dev->m->bus, &s->data_ports);
	irq_set(&s->kbd_irq, false);
	irq_set(&s->aux_irq, false);
}

static const struct state_field i8042_fields[] = {
	STATE_STRUCTS(struct i8042, kbd, 1, &ps2_kbd_state),
	STATE_STRUCTS(struct i8042, mouse, 1, &ps2_mouse_state),
	STATE_FIELD(struct i8042, ctr),
	STATE_FIELD(struct i8042, command),
	STATE_FIELD(struct i8042, out_port),
	STATE_FIELD(struct i8042, buffer),
	STATE_FIELD(struct i8042, full),
	STATE_FIELD(struct i8042, full_aux),
	STATE_FIELD(struct i8042, broke),
	STATE_ARRAY(struct i8042, own),
	STATE_FIELD(struct i8042, own_full),
};

static const struct state_desc i8042_state = {
	.name = "i8042",
	.version = 1,
	.oldest = 1,
	.fields = i8042_fields,
	.nr_fields = sizeof(i8042_fields) / sizeof(i8042_fields[0]),
};

static int i8042_loaded(struct device *dev, struct error *e)
{
	(void)e;
	irq_update((struct i8042 *)dev);
	return 0;
}

const struct device_class i8042_class = {
	.name = "i8042",
	.summary = "keyboard controller with PS/2 keyboard and mouse",
	.bus = DEVICE_ON_ISA,
	.size = sizeof(struct i8042),
	.create = i8042_create,
	.destroy = i8042_destroy,
	.reset = i8042_reset,
	.state = &i8042_state,
	.loaded = i8042_loaded,
};
