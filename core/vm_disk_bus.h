/*
 * vm_disk_bus: the buses that a machine's disks can sit on.  A bus is one row
 * of the table in vm_disk_bus.c.
 *
 * Thread rule: constant data, [any].
 */
#ifndef CORE_VM_DISK_BUS_H
#define CORE_VM_DISK_BUS_H

#include <stddef.h>

struct error;
struct vm_disk_config;

struct vm_disk_bus {
	const char *name;	  /* as in bus=NAME */
	const char *about;	  /* for people */
	const char *disk, *cdrom; /* device classes; NULL: it has none */
	/* Class of what the disks are units of, and which share its I/O loop;
	 * NULL: each disk is a PCI function of its own. */
	const char *controller;
	unsigned units;	      /* of one controller */
	unsigned controllers; /* at most; 0: as many as are needed */
	int devfn;	      /* of the first controller; -1: the next free */
	/* What firmware puts behind the PCI function to name a disk: a format
	 * of its channel and its place there (Open Firmware's IEEE 1275 path,
	 * as SeaBIOS has it); NULL: nothing. */
	const char *path;
	unsigned per_channel;
};

/* NULL behind the last. */
const struct vm_disk_bus *vm_disk_bus_at(size_t i);
/* The bus that the disk asks for or, when it names none, the usual one for its
 * kind; NULL with a sentence that lists those that would do. */
const struct vm_disk_bus *vm_disk_bus_of(const struct vm_disk_config *d,
					 struct error *e);

#endif
