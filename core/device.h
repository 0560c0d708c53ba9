/*
 * device: what every device model has in common.
 *
 * A device is one source file that exports one const struct device_class; the
 * list of classes is core/hw/classes.c.  A device is made by its class's create
 * and only then loaded with state: there is no other way to make one.
 *
 * Thread rule: create, destroy, reset, quiesce, loaded on the main loop with
 * the world stopped (or before the machine starts), unlocked: a reset takes
 * dev->lock itself where another thread may come meanwhile (input from a front
 * end; a snapshot of config space).  Register handlers run under dev->lock, and
 * so does the codec of the state with its pre_save and check.  Order of locks:
 * device, console, memory, log; at most one device lock at a time; never across
 * a call that can sleep, nor a drive_* call.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/log.h"

struct accel_ops;
struct accel_vm;
struct bus;
struct console;
struct device;
struct device_feature;
struct disk_driver;
struct drive;
struct error;
struct fw_cfg;
struct irq;
struct irq_hub;
struct loop;
struct mem;
struct pci_host;
struct serial_line;
struct state_desc;
struct world;

/* Wishes a guest can have about its machine; see machine.request. */
enum machine_request {
	MACHINE_RESET,
	MACHINE_POWEROFF,
	MACHINE_SLEEP,
	MACHINE_EXIT /* value: isa-debug-exit's code */
};

/* The services of one virtual machine, as its devices see them. */
struct machine {
	struct world *world;
	struct mem *mem;
	struct bus *bus;
	struct irq_hub *irq;
	struct loop *main; /* timers, input, everything slow */
	struct log *log;
	struct console *console; /* the guest's screen and input */
	struct pci_host *pci;	 /* the root complex, once made */
	struct fw_cfg *fw_cfg;	 /* once made */
	const struct accel_ops *accel;
	struct accel_vm *accel_vm;
	uint64_t ram_below_4g, ram_above_4g; /* bytes */
	unsigned nr_vcpus;
	/* [any] Asks; the main loop acts. */
	void (*request)(struct machine *m, enum machine_request what,
			int value);
	struct device *devices; /* in order of creation */
};

/* What a device is made from.  Fields a class does not use stay zero. */
struct device_args {
	char name[32]; /* unique in the machine, shown to people: "disk0" */
	int devfn;     /* PCI place, -1: the next free slot */
	uint16_t port; /* ISA place, 0: the class's usual one */
	struct drive *drive;	  /* disks */
	struct serial_line *line; /* serial ports */
	struct loop *io;	  /* disks: the loop of the drive */
	const char *rom;	  /* PCI option ROM file, NULL: none */
	bool is_cdrom;
	unsigned unit;	       /* e.g. the AHCI port a disk sits on */
	struct device *parent; /* e.g. the controller of a disk */
};

enum device_bus {
	DEVICE_ON_BOARD,
	DEVICE_ON_ISA,
	DEVICE_ON_PCI,
	DEVICE_ON_CONTROLLER
};

struct device_class {
	const char *name;    /* "virtio-blk-pci" */
	const char *summary; /* one line for people */
	enum device_bus bus;
	size_t size; /* of the struct that begins with struct device */
	/* Mandatory; one that fails takes back what it made: destroy isn't
	 * called then. */
	int (*create)(struct device *dev, const struct device_args *args,
		      struct error *e);
	void (*destroy)(struct device *dev); /* optional */
	void (*reset)(struct device *dev);   /* optional */
	/* Optional: returns when no request of the device is in flight and
	 * none will start until the world resumes. */
	void (*quiesce)(struct device *dev);
	const struct state_desc *state; /* NULL: nothing to move */
	/* Optional: after state was loaded, put derived things in place. */
	int (*loaded)(struct device *dev, struct error *e);
	/* Optional, locked: fills in at most max rows, one for each feature bit
	 * that the device or its driver has set, in their order: how many. */
	unsigned (*features)(struct device *dev, struct device_feature *out,
			     unsigned max);
	/* Disks only, all optional.  [any], unlocked: fills out, which is
	 * zeroed, from what the driver negotiated. */
	void (*disk_driver)(struct device *dev, struct disk_driver *out);
	/* World stopped, unlocked: the drive's length grew.  True when the
	 * driver is told by an interrupt or unit attention. */
	bool (*disk_resized)(struct device *dev);
	/* World stopped, unlocked: a person wants the write cache on or off.
	 * 0 when the device's state is changed and its driver is told;
	 * -EOPNOTSUPP or another -errno with nothing changed. */
	int (*disk_set_wce)(struct device *dev, bool on, struct error *e);
};

#define DEVICE_MAX_COUNTERS 8

/* A number that only grows; shown in the Devices screen. */
struct device_counter {
	const char *name;
	uint64_t value; /* relaxed atomic */
};

struct device {
	const struct device_class *cls;
	char name[32];
	struct machine *m;
	struct device *next, *parent;
	pthread_mutex_t lock;
	struct log_limit limit;
	const struct irq *line; /* its ISA line, for the panels; or NULL */
	bool failed;		/* under lock: stopped serving a broken guest */
	char why[120];		/* and the reason */
	struct device_counter counters[DEVICE_MAX_COUNTERS];
	unsigned nr_counters;
};

/* Allocates, fills the common part, calls create; NULL with the reason in e.
 * The device is linked into m->devices. */
struct device *device_create(struct machine *m, const struct device_class *cls,
			     const struct device_args *args, struct error *e);
void device_destroy(struct device *dev); /* NULL is fine */
struct device *device_find(struct machine *m, const char *name);

/* Under dev->lock: a guest error. Logs (rate-limited), sets failed and why. */
void device_fail(struct device *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* In create: registers a counter; count with device_count [any]. */
struct device_counter *device_counter_add(struct device *dev, const char *name);
static inline void device_count(struct device_counter *c, uint64_t n)
{
	__atomic_fetch_add(&c->value, n, __ATOMIC_RELAXED);
}

#endif
