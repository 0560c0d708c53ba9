/* A port by which a test guest ends its machine with an exit code. */
#include "core/device.h"
#include "core/hw/isa/isa.h"

#define DEBUG_EXIT_PORT 0x501

struct debug_exit {
	struct device dev;
	struct bus_ports ports;
};

static void debug_exit_write(void *opaque, uint64_t off, uint64_t value,
			     unsigned len)
{
	struct debug_exit *s = opaque;
	struct machine *m = s->dev.m;

	(void)off;
	(void)len;
	m->request(m, MACHINE_EXIT, (int)((value << 1 | 1) & 0x7fffffff));
}

static const struct bus_ops debug_exit_ops = {
	.write = debug_exit_write,
	.max_len = 4,
};

static int debug_exit_create(struct device *dev, const struct device_args *args,
			     struct error *e)
{
	struct debug_exit *s = (struct debug_exit *)dev;

	(void)e;
	isa_ports_add(dev, &s->ports, "debug-exit",
		      args->port ? args->port : DEBUG_EXIT_PORT, 4,
		      &debug_exit_ops);
	return 0;
}

static void debug_exit_destroy(struct device *dev)
{
	struct debug_exit *s = (struct debug_exit *)dev;

	bus_ports_remove(dev->m->bus, &s->ports);
}

const struct device_class debug_exit_class = {
	.name = "isa-debug-exit",
	.summary = "ends the machine with an exit code",
	.bus = DEVICE_ON_ISA,
	.size = sizeof(struct debug_exit),
	.create = debug_exit_create,
	.destroy = debug_exit_destroy,
};
