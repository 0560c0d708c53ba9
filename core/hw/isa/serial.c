/*
 * A 16550A UART between a guest and a serial line.
 *
 * Output leaves at once: the transmitter is empty whenever the guest looks.
 * Input waits in the line until the receive FIFO has room.  Specification:
 * National Semiconductor PC16550D.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/console.h"
#include "core/device.h"
#include "core/error.h"
#include "core/hw/isa/isa.h"
#include "core/irq.h"
#include "core/loop.h"
#include "core/migration/state.h"

#define FIFO_LEN 16

enum { /* registers */
       REG_DATA,
       REG_IER,
       REG_IIR_FCR,
       REG_LCR,
       REG_MCR,
       REG_LSR,
       REG_MSR,
       REG_SCR
};

#define IER_RX	    0x01
#define IER_TX	    0x02
#define IER_LINE    0x04
#define IER_MODEM   0x08
#define IER_ALL	    0x0f
#define IIR_NONE    0x01
#define IIR_MODEM   0x00
#define IIR_TX	    0x02
#define IIR_RX	    0x04
#define IIR_LINE    0x06
#define IIR_TIMOUT  0x0c
#define IIR_FIFO    0xc0
#define FCR_ENABLE  0x01
#define FCR_RX_CLR  0x02
#define LCR_DLAB    0x80
#define MCR_OUT2    0x08
#define MCR_LOOP    0x10
#define MCR_ALL	    0x1f
#define LSR_READY   0x01
#define LSR_OVERRUN 0x02
#define LSR_TX	    0x60 /* holding and shift registers empty */
#define MSR_LINES   0xf0
#define MSR_CTS	    0x10
#define MSR_DSR	    0x20
#define MSR_RI	    0x40
#define MSR_DCD	    0x80

struct serial {
	struct device dev;
	struct bus_ports ports;
	struct irq irq;
	struct serial_line *line;
	struct loop_timer input; /* due at once when input arrived */
	struct device_counter *in, *out;
	uint8_t ier, fcr, lcr, mcr, scr, lsr_errors, msr;
	uint8_t divisor[2];
	bool tx_pending; /* the transmitter became empty: an interrupt waits */
	uint8_t fifo[FIFO_LEN];
	uint32_t fifo_first, fifo_nr;
};

static unsigned fifo_room(const struct serial *s)
{
	unsigned room = s->fcr & FCR_ENABLE ? FIFO_LEN : 1;

	return s->fifo_nr < room ? room - s->fifo_nr : 0;
}

static unsigned rx_trigger(const struct serial *s)
{
	static const uint8_t levels[4] = {1, 4, 8, 14};

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* Fewer bytes than the trigger level count as timed out at once: no more may
 * come for long, and nobody gains from waiting four characters. */
static uint8_t interrupt_id(const struct serial *s)
{
	if ((s->ier & IER_LINE) && s->lsr_errors)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->fifo_nr >= rx_trigger(s))
		return IIR_RX;
	if ((s->ier & IER_RX) && s->fifo_nr)
		return IIR_TIMOUT;
	if ((s->ier & IER_TX) && s->tx_pending)
		return IIR_TX;
	if ((s->ier & IER_MODEM) && (s->msr & ~MSR_LINES))
		return IIR_MODEM;
	return IIR_NONE;
}

static void irq_update(struct serial *s)
{
	bool level = interrupt_id(s) != IIR_NONE;

	/* OUT2 gates the line on a PC; loopback cuts it off. */
	level = level && (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
	irq_set(&s->irq, level);
}

static void fifo_put(struct serial *s, uint8_t c)
{
	if (!fifo_room(s)) {
		s->lsr_errors |= LSR_OVERRUN;
		return;
	}
	s->fifo[(s->fifo_first + s->fifo_nr++) % FIFO_LEN] = c;
}

static void rx_fill(struct serial *s)
{
	uint8_t buf[FIFO_LEN];
	unsigned room = fifo_room(s);
	size_t n;

	if (!s->line || !room || (s->mcr & MCR_LOOP))
		return;
	n = serial_line_input(s->line, buf, room);
	for (size_t i = 0; i < n; i++)
		fifo_put(s, buf[i]);
	device_count(s->in, n);
}

static uint8_t data_read(struct serial *s)
{
	uint8_t c = s->fifo[s->fifo_first];

	if (!s->fifo_nr)
		return 0;
	s->fifo_first = (s->fifo_first + 1) % FIFO_LEN;
	s->fifo_nr--;
	if (!s->fifo_nr)
		rx_fill(s);
	return c;
}

static void data_write(struct serial *s, uint8_t c)
{
	if (s->mcr & MCR_LOOP) {
		fifo_put(s, c);
	} else if (s->line) {
		serial_line_output(s->line, &c, 1);
		device_count(s->out, 1);
	}
	s->tx_pending = true;
}

/* The lines a modem would drive: present, or what MCR says in loopback. */
static uint8_t modem_lines(const struct serial *s)
{
	uint8_t m = s->mcr;

	if (!(m & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (m & 0x01 ? MSR_DSR : 0) | (m & 0x02 ? MSR_CTS : 0) |
	       (m & 0x04 ? MSR_RI : 0) | (m & 0x08 ? MSR_DCD : 0);
}

static void modem_update(struct serial *s)
{
	uint8_t now = modem_lines(s), old = s->msr & MSR_LINES;
	uint8_t changed = (now ^ old) >> 4;

	/* Ring reports its trailing edge only. */
	if (now & MSR_RI)
		changed &= ~(MSR_RI >> 4);
	s->msr = now | (s->msr & 0x0f) | changed;
}

static uint8_t reg_read(struct serial *s, unsigned reg)
{
	uint8_t value;

	switch (reg) {
	case REG_DATA:
		return s->lcr & LCR_DLAB ? s->divisor[0] : data_read(s);
	case REG_IER:
		return s->lcr & LCR_DLAB ? s->divisor[1] : s->ier;
	case REG_IIR_FCR:
		value = interrupt_id(s);
		if (value == IIR_TX)
			s->tx_pending = false;
		return value | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		value = LSR_TX | s->lsr_errors | (s->fifo_nr ? LSR_READY : 0);
		s->lsr_errors = 0;
		return value;
	case REG_MSR:
		value = s->msr;
		s->msr &= MSR_LINES;
		return value;
	default:
		return s->scr;
	}
}

static void fcr_write(struct serial *s, uint8_t value)
{
	if ((value ^ s->fcr) & FCR_ENABLE || value & FCR_RX_CLR)
		s->fifo_nr = 0;
	s->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
}

static void ier_write(struct serial *s, uint8_t value)
{
	uint8_t fresh = value & ~s->ier;

	s->ier = value & IER_ALL;
	if (fresh & IER_TX)
		s->tx_pending = true;
}

static void reg_write(struct serial *s, unsigned reg, uint8_t value)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
	case REG_IER:
		if (dlab)
			s->divisor[reg] = value;
		else if (reg == REG_DATA)
			data_write(s, value);
		else
			ier_write(s, value);
		break;
	case REG_IIR_FCR:
		fcr_write(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & MCR_ALL;
		modem_update(s);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* line and modem status are read-only */
		break;
	}
}

static uint64_t serial_read(void *opaque, uint64_t off, unsigned len)
{
	struct serial *s = opaque;
	uint8_t value = reg_read(s, off);

	(void)len;
	irq_update(s);
	return value;
}

static void serial_write(void *opaque, uint64_t off, uint64_t value,
			 unsigned len)
{
	struct serial *s = opaque;

	(void)len;
	reg_write(s, off, value);
	rx_fill(s);
	/* A byte written while one was reported empty is a new edge. */
	if (off == REG_DATA && !(s->lcr & LCR_DLAB) && (s->ier & IER_TX))
		irq_set(&s->irq, false);
	irq_update(s);
}

static const struct bus_ops serial_ops = {
	.read = serial_read,
	.write = serial_write,
	.max_len = 1,
};

/* On the typing thread, under the line's lock. */
static void input_arrived(void *arg)
{
	struct serial *s = arg;

	loop_timer_set(&s->input, loop_now_ns());
}

static void input_take(void *arg)
{
	struct serial *s = arg;

	pthread_mutex_lock(&s->dev.lock);
	rx_fill(s);
	irq_update(s);
	pthread_mutex_unlock(&s->dev.lock);
}

/* ---- life ---- */

static void serial_reset(struct device *dev)
{
	struct serial *s = (struct serial *)dev;

	s->ier = s->fcr = s->lcr = s->scr = s->lsr_errors = 0;
	s->mcr = MCR_OUT2;
	s->divisor[0] = 12; /* 9600 baud */
	s->divisor[1] = 0;
	s->tx_pending = false;
	s->fifo_first = s->fifo_nr = 0;
	s->msr = modem_lines(s);
	irq_update(s);
}

static int serial_create(struct device *dev, const struct device_args *args,
			 struct error *e)
{
	static const uint16_t ports[4] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
	struct serial *s = (struct serial *)dev;

	if (args->unit >= 4)
		return error_set(e, -EINVAL,
				 "a PC has serial ports 0 to 3, not %u",
				 args->unit);
	s->line = args->line;
	s->in = device_counter_add(dev, "bytes in");
	s->out = device_counter_add(dev, "bytes out");
	irq_init(&s->irq, dev->m->irq, args->unit % 2 ? 3 : 4);
	dev->line = &s->irq;
	isa_ports_add(dev, &s->ports, dev->name,
		      args->port ? args->port : ports[args->unit], 8,
		      &serial_ops);
	loop_timer_init(&s->input, dev->m->main, input_take, s);
	serial_reset(dev);
	if (s->line)
		serial_line_set_notify(s->line, input_arrived, s);
	return 0;
}

static void serial_destroy(struct device *dev)
{
	struct serial *s = (struct serial *)dev;

	if (s->line)
		serial_line_set_notify(s->line, NULL, NULL);
	loop_timer_stop(&s->input);
	bus_ports_remove(dev->m->bus, &s->ports);
	irq_set(&s->irq, false);
}

static int serial_check(void *obj, int version, struct error *e)
{
	struct serial *s = obj;

	(void)version;
	if (s->fifo_first >= FIFO_LEN || s->fifo_nr > FIFO_LEN)
		return error_set(e, -EINVAL,
				 "serial port: FIFO position %u, fill %u",
				 s->fifo_first, s->fifo_nr);
	return 0;
}

static const struct state_field serial_fields[] = {
	STATE_FIELD(struct serial, ier),
	STATE_FIELD(struct serial, fcr),
	STATE_FIELD(struct serial, lcr),
	STATE_FIELD(struct serial, mcr),
	STATE_FIELD(struct serial, scr),
	STATE_FIELD(struct serial, lsr_errors),
	STATE_FIELD(struct serial, msr),
	STATE_ARRAY(struct serial, divisor),
	STATE_FIELD(struct serial, tx_pending),
	STATE_ARRAY(struct serial, fifo),
	STATE_FIELD(struct serial, fifo_first),
	STATE_FIELD(struct serial, fifo_nr),
};

static const struct state_desc serial_state = {
	.name = "serial",
	.version = 1,
	.oldest = 1,
	.fields = serial_fields,
	.nr_fields = sizeof(serial_fields) / sizeof(serial_fields[0]),
	.check = serial_check,
};

static int serial_loaded(struct device *dev, struct error *e)
{
	(void)e;
	irq_update((struct serial *)dev);
	return 0;
}

const struct device_class serial_class = {
	.name = "serial",
	.summary = "16550A serial port",
	.bus = DEVICE_ON_ISA,
	.size = sizeof(struct serial),
	.create = serial_create,
	.destroy = serial_destroy,
	.reset = serial_reset,
	.state = &serial_state,
	.loaded = serial_loaded,
};
