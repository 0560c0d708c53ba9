/*
 * bus: from a guest's port or memory access to the handler behind it.
 *
 * A handler is a pair of functions over a region (memory.h) or a port range.
 * Accesses are split to what the handler takes; nothing there reads as ones.
 * The dispatch takes the lock of the device that owns the handler, calls,
 * drops it, then commits pending changes of the memory map.
 *
 * Thread rule: bus_pio and bus_mmio by a vCPU thread inside the world with no
 * lock held; ranges are added and moved with the world stopped or before the
 * machine starts (bus_ports_set from a handler is applied after it returned).
 */
#ifndef CORE_BUS_H
#define CORE_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bus;
struct device;
struct mem;
struct world_member;

/* off is relative to the start of the region or port range; len is 1, 2, 4 or
 * 8 and off + len lies inside it.  Called under the device's lock. */
struct bus_ops {
	uint64_t (*read)(void *opaque, uint64_t off, unsigned len);
	void (*write)(void *opaque, uint64_t off, uint64_t value, unsigned len);
	/* Accesses are split or widened to these; 0 means 1 and 8.  A widened
	 * read calls read once and cuts; narrow writes below min are passed
	 * as they are. */
	unsigned min_len, max_len;
	/* Optional: runs of string port I/O (rep ins/outs) in one call. */
	void (*read_many)(void *opaque, uint64_t off, void *buf, unsigned len,
			  unsigned count);
};

/* Owned and embedded by its creator. */
struct bus_ports {
	char name[32];
	uint16_t port;
	uint16_t nr;
	bool enabled;
	const struct bus_ops *ops;
	struct device *dev; /* whose lock; NULL: handler locks by itself */
	void *opaque;
	struct bus_ports *next;
	uint64_t reads, writes; /* relaxed atomics */
};

struct bus *bus_create(struct mem *mem); /* NULL when memory is short */
void bus_destroy(struct bus *bus);

/* Overlapping ranges: the one added last wins. */
void bus_ports_add(struct bus *bus, struct bus_ports *p);
void bus_ports_remove(struct bus *bus, struct bus_ports *p);
void bus_ports_set(struct bus *bus, struct bus_ports *p, uint16_t port,
		   bool enabled);

/* Accesses of a vCPU; data holds len * count bytes, little endian. */
void bus_pio(struct bus *bus, struct world_member *self, uint16_t port,
	     void *data, unsigned len, unsigned count, bool write);
void bus_mmio(struct bus *bus, struct world_member *self, uint64_t gpa,
	      void *data, unsigned len, bool write);

/* Applies pending port and memory map changes; also called at each exit. */
void bus_commit(struct bus *bus, struct world_member *self);

/* The memory map behind it. */
struct mem *bus_mem(const struct bus *bus);

/* Accesses that met nothing: a guest's probing, or a missing device. */
uint64_t bus_unclaimed(const struct bus *bus);

#endif
