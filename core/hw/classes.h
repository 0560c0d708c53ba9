/*
 * classes: the list of all device models in this program.
 *
 * A new device is one source file and one row in classes.c.
 * Thread rule: constant data, [any].
 */
#ifndef CORE_HW_CLASSES_H
#define CORE_HW_CLASSES_H

#include <stddef.h>

struct device_class;

/* The class of that name, NULL when this program has none. */
const struct device_class *device_class_find(const char *name);

#endif
