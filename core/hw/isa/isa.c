#include "core/hw/isa/isa.h"

#include <stdio.h>

#include "core/device.h"

void isa_ports_add(struct device *dev, struct bus_ports *p, const char *name,
		   uint16_t port, uint16_t nr, const struct bus_ops *ops)
{
	*p = (struct bus_ports){.port = port,
				.nr = nr,
				.enabled = true,
				.ops = ops,
				.dev = dev,
				.opaque = dev};
	snprintf(p->name, sizeof(p->name), "%s", name);
	bus_ports_add(dev->m->bus, p);
}
