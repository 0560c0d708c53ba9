/* A port that swallows text: firmware's debug output, line by line. */
#include <stdio.h>
#include <string.h>

#include "core/console.h"
#include "core/device.h"
#include "core/hw/isa/isa.h"

#define DEBUGCON_PORT  0x402
#define DEBUGCON_MAGIC 0xe9 /* what a read answers, so that guests find it */

struct debugcon {
	struct device dev;
	struct bus_ports ports;
	struct serial_line *line;
	char text[160];
	unsigned len;
};

static void flush(struct debugcon *s)
{
	if (s->len)
		log_write(s->dev.m->log, LOG_LEVEL_DEBUG, s->dev.name, "%.*s",
			  (int)s->len, s->text);
	s->len = 0;
}

static uint64_t debugcon_read(void *opaque, uint64_t off, unsigned len)
{
	(void)opaque;
	(void)off;
	(void)len;
	return DEBUGCON_MAGIC;
}

static void debugcon_write(void *opaque, uint64_t off, uint64_t value,
			   unsigned len)
{
	struct debugcon *s = opaque;
	uint8_t c = value;

	(void)off;
	(void)len;
	if (s->line)
		serial_line_output(s->line, &c, 1);
	if (c == '\n') {
		flush(s);
		return;
	}
	if (c >= ' ' && c < 0x7f)
		s->text[s->len++] = c;
	if (s->len == sizeof(s->text))
		flush(s);
}

static const struct bus_ops debugcon_ops = {
	.read = debugcon_read,
	.write = debugcon_write,
	.max_len = 1,
};

static int debugcon_create(struct device *dev, const struct device_args *args,
			   struct error *e)
{
	struct debugcon *s = (struct debugcon *)dev;

	(void)e;
	s->line = args->line;
	isa_ports_add(dev, &s->ports, "debugcon",
		      args->port ? args->port : DEBUGCON_PORT, 1,
		      &debugcon_ops);
	return 0;
}

static void debugcon_destroy(struct device *dev)
{
	struct debugcon *s = (struct debugcon *)dev;

	bus_ports_remove(dev->m->bus, &s->ports);
}

static void debugcon_reset(struct device *dev)
{
	flush((struct debugcon *)dev);
}

const struct device_class debugcon_class = {
	.name = "isa-debugcon",
	.summary = "debug output of firmware",
	.bus = DEVICE_ON_ISA,
	.size = sizeof(struct debugcon),
	.create = debugcon_create,
	.destroy = debugcon_destroy,
	.reset = debugcon_reset,
};
