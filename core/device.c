/* What every device model has in common: making, finding, failing. */
#include "core/device.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

static void device_link(struct device *dev)
{
	struct device **p = &dev->m->devices;

	while (*p)
		p = &(*p)->next;
	*p = dev;
}

static void device_unlink(struct device *dev)
{
	struct device **p = &dev->m->devices;

	while (*p && *p != dev)
		p = &(*p)->next;
	if (*p)
		*p = dev->next;
}

struct device *device_create(struct machine *m, const struct device_class *cls,
			     const struct device_args *args, struct error *e)
{
	struct device *dev;
	int r;

	if (device_find(m, args->name)) {
		error_set(e, -EEXIST, "a device named '%s' is there already",
			  args->name);
		return NULL;
	}
	dev = calloc(1, cls->size);
	if (!dev) {
		error_set(e, -ENOMEM, "no memory for the device '%s'",
			  args->name);
		return NULL;
	}
	dev->cls = cls;
	dev->m = m;
	dev->parent = args->parent;
	snprintf(dev->name, sizeof(dev->name), "%s", args->name);
	pthread_mutex_init(&dev->lock, NULL);
	/* Linked first: on-board parts made by create come after it. */
	device_link(dev);
	r = cls->create(dev, args, e);
	if (r) {
		error_prefix(e, r, "device '%s' (%s)", args->name, cls->name);
		device_unlink(dev);
		pthread_mutex_destroy(&dev->lock);
		free(dev);
		return NULL;
	}
	return dev;
}

void device_destroy(struct device *dev)
{
	if (!dev)
		return;
	if (dev->cls->destroy)
		dev->cls->destroy(dev);
	device_unlink(dev);
	pthread_mutex_destroy(&dev->lock);
	free(dev);
}

struct device *device_find(struct machine *m, const char *name)
{
	for (struct device *dev = m->devices; dev; dev = dev->next)
		if (!strcmp(dev->name, name))
			return dev;
	return NULL;
}

void device_fail(struct device *dev, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(dev->why, sizeof(dev->why), fmt, ap);
	va_end(ap);
	dev->failed = true;
	log_guest(dev->m->log, &dev->limit, dev->name,
		  "stopped until it is reset: %s", dev->why);
}

struct device_counter *device_counter_add(struct device *dev, const char *name)
{
	/* One too many shares the last: a miscount beats a wild store. */
	if (dev->nr_counters == DEVICE_MAX_COUNTERS)
		return &dev->counters[DEVICE_MAX_COUNTERS - 1];
	dev->counters[dev->nr_counters].name = name;
	return &dev->counters[dev->nr_counters++];
}
