/*
 * Dispatch of port and memory accesses.
 *
 * The port ranges are flattened to a sorted table that is swapped with the
 * world stopped; vCPUs search it without a lock.
 */
#include "core/bus.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/memory.h"
#include "core/world.h"

#define BUS_PORTS 0x10000u

struct port_flat {
	uint32_t first, end;
	struct bus_ports *ports;
	uint16_t base; /* committed first port of the range */
};

struct port_table {
	size_t nr;
	struct port_flat flats[]; /* sorted, disjoint */
};

struct bus {
	struct mem *mem;
	struct world *world;
	struct port_table *table; /* swapped with the world stopped */
	int pending;		  /* atomic */
	uint64_t unclaimed;	  /* relaxed atomic */
	pthread_mutex_t lock;	  /* protects the list and its fields */
	struct bus_ports *ports;
};

struct bus *bus_create(struct mem *mem)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	bus->table = calloc(1, sizeof(*bus->table));
	if (!bus->table) {
		free(bus);
		return NULL;
	}
	bus->mem = mem;
	bus->world = mem_world(mem);
	pthread_mutex_init(&bus->lock, NULL);
	return bus;
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	pthread_mutex_destroy(&bus->lock);
	free(bus->table);
	free(bus);
}

struct mem *bus_mem(const struct bus *bus)
{
	return bus->mem;
}

uint64_t bus_unclaimed(const struct bus *bus)
{
	return __atomic_load_n(&bus->unclaimed, __ATOMIC_RELAXED);
}

static void count_unclaimed(struct bus *bus)
{
	__atomic_fetch_add(&bus->unclaimed, 1, __ATOMIC_RELAXED);
}

/* ---- the port table ---- */

static uint32_t ports_end(const struct bus_ports *p)
{
	uint32_t end = (uint32_t)p->port + p->nr;

	return end > BUS_PORTS ? BUS_PORTS : end;
}

static bool has_ports(const struct bus_ports *p)
{
	return p->enabled && p->nr;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The newest range is the first of the list. */
static struct bus_ports *ports_at(struct bus_ports *list, uint32_t port)
{
	struct bus_ports *p;

	for (p = list; p; p = p->next) {
		if (has_ports(p) && port >= p->port && port < ports_end(p))
			return p;
	}
	return NULL;
}

static struct port_table *table_build(struct bus_ports *list)
{
	struct port_table *t;
	struct bus_ports *p;
	uint32_t *bounds;
	size_t nr = 0, i;

	for (p = list; p; p = p->next)
		nr += has_ports(p) ? 2 : 0;
	bounds = calloc(nr + 1, sizeof(*bounds));
	t = calloc(1, sizeof(*t) + nr * sizeof(t->flats[0]));
	if (!bounds || !t) {
		free(bounds);
		free(t);
		return NULL;
	}
	for (nr = 0, p = list; p; p = p->next) {
		if (has_ports(p)) {
			bounds[nr++] = p->port;
			bounds[nr++] = ports_end(p);
		}
	}
	qsort(bounds, nr, sizeof(*bounds), compare_u32);
	for (i = 0; i + 1 < nr; i++) {
		if (bounds[i] == bounds[i + 1])
			continue;
		p = ports_at(list, bounds[i]);
		if (p)
			t->flats[t->nr++] = (struct port_flat){
				.first = bounds[i],
				.end = bounds[i + 1],
				.ports = p,
				.base = p->port,
			};
	}
	free(bounds);
	return t;
}

static const struct port_flat *find_port(const struct bus *bus, uint32_t port)
{
	const struct port_table *t = bus->table;
	size_t lo = 0, hi = t->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (port < t->flats[mid].first)
			hi = mid;
		else if (port >= t->flats[mid].end)
			lo = mid + 1;
		else
			return &t->flats[mid];
	}
	return NULL;
}

static void set_pending(struct bus *bus)
{
	__atomic_store_n(&bus->pending, 1, __ATOMIC_RELEASE);
}

void bus_ports_add(struct bus *bus, struct bus_ports *p)
{
	pthread_mutex_lock(&bus->lock);
	p->next = bus->ports;
	bus->ports = p;
	set_pending(bus);
	pthread_mutex_unlock(&bus->lock);
}

void bus_ports_remove(struct bus *bus, struct bus_ports *p)
{
	struct bus_ports **link;

	pthread_mutex_lock(&bus->lock);
	for (link = &bus->ports; *link; link = &(*link)->next) {
		if (*link == p) {
			*link = p->next;
			set_pending(bus);
			break;
		}
	}
	pthread_mutex_unlock(&bus->lock);
}

void bus_ports_set(struct bus *bus, struct bus_ports *p, uint16_t port,
		   bool enabled)
{
	pthread_mutex_lock(&bus->lock);
	if (p->port != port || p->enabled != enabled) {
		p->port = port;
		p->enabled = enabled;
		set_pending(bus);
	}
	pthread_mutex_unlock(&bus->lock);
}

static void commit_ports(struct bus *bus, struct world_member *self)
{
	struct port_table *t;

	world_stop(bus->world, self);
	pthread_mutex_lock(&bus->lock);
	t = table_build(bus->ports);
	/* Without memory the change stays pending and is tried again. */
	if (t) {
		free(bus->table);
		bus->table = t;
		__atomic_store_n(&bus->pending, 0, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&bus->lock);
	world_resume(bus->world);
}

void bus_commit(struct bus *bus, struct world_member *self)
{
	if (__atomic_load_n(&bus->pending, __ATOMIC_ACQUIRE))
		commit_ports(bus, self);
	mem_commit(bus->mem, self);
}

/* ---- one access ---- */

/* A handler with the place that it handles. */
struct target {
	const struct bus_ops *ops;
	void *opaque;
	struct device *dev;
	uint64_t len; /* of the whole region or range */
};

static uint64_t get_le(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	memcpy(&v, p, len);
	return v;
}

static void put_le(uint8_t *p, uint64_t v, unsigned len)
{
	memcpy(p, &v, len);
}

static unsigned max_len(const struct bus_ops *ops)
{
	return ops->max_len ? ops->max_len : 8;
}

/* A piece of len bytes or fewer that a handler can be called with. */
static unsigned piece_len(const struct bus_ops *ops, unsigned len)
{
	unsigned n = max_len(ops);

	while (n > len)
		n /= 2;
	return n;
}

static uint64_t read_wide(const struct target *t, uint64_t off, unsigned len)
{
	unsigned min = t->ops->min_len;
	uint64_t start, value;
	unsigned skip;

	if (len >= min)
		return t->ops->read(t->opaque, off, len);
	start = off & ~(uint64_t)(min - 1);
	skip = (unsigned)(off - start);
	if (start + min > t->len || skip + len > min)
		return t->ops->read(t->opaque, off, len);
	value = t->ops->read(t->opaque, start, min);
	return value >> (8 * skip);
}

static void target_access(const struct target *t, uint64_t off, uint8_t *data,
			  unsigned len, bool write)
{
	while (len) {
		unsigned n = piece_len(t->ops, len);

		if (write) {
			if (t->ops->write)
				t->ops->write(t->opaque, off, get_le(data, n),
					      n);
		} else if (t->ops->read) {
			put_le(data, read_wide(t, off, n), n);
		} else {
			memset(data, 0xff, n);
		}
		off += n;
		data += n;
		len -= n;
	}
}

static void target_lock(const struct target *t)
{
	if (t->dev)
		pthread_mutex_lock(&t->dev->lock);
}

static void target_unlock(const struct target *t)
{
	if (t->dev)
		pthread_mutex_unlock(&t->dev->lock);
}

/* ---- ports ---- */

/* An access that no single range covers goes byte by byte. */
static void pio_bytes(struct bus *bus, uint32_t port, uint8_t *data,
		      unsigned len, bool write)
{
	unsigned i;

	for (i = 0; i < len; i++) {
		const struct port_flat *f = find_port(bus, port + i);
		struct target t;

		if (!f) {
			if (!write)
				data[i] = 0xff;
			continue;
		}
		t = (struct target){f->ports->ops, f->ports->opaque,
				    f->ports->dev, f->ports->nr};
		target_lock(&t);
		target_access(&t, port + i - f->base, data + i, 1, write);
		target_unlock(&t);
	}
}

static void pio_run(const struct port_flat *f, uint32_t port, uint8_t *data,
		    unsigned len, unsigned count, bool write)
{
	struct target t = {f->ports->ops, f->ports->opaque, f->ports->dev,
			   f->ports->nr};
	uint64_t off = port - f->base;
	unsigned i;

	target_lock(&t);
	if (count > 1 && !write && t.ops->read_many && len >= t.ops->min_len &&
	    len <= max_len(t.ops)) {
		t.ops->read_many(t.opaque, off, data, len, count);
	} else {
		for (i = 0; i < count; i++)
			target_access(&t, off, data + (size_t)i * len, len,
				      write);
	}
	target_unlock(&t);
}

void bus_pio(struct bus *bus, struct world_member *self, uint16_t port,
	     void *data, unsigned len, unsigned count, bool write)
{
	const struct port_flat *f;
	unsigned i;

	bus_commit(bus, self);
	f = find_port(bus, port);
	if (f && port + len <= f->end) {
		__atomic_fetch_add(write ? &f->ports->writes : &f->ports->reads,
				   count, __ATOMIC_RELAXED);
		pio_run(f, port, data, len, count, write);
	} else {
		if (!f)
			count_unclaimed(bus);
		for (i = 0; i < count; i++)
			pio_bytes(bus, port, (uint8_t *)data + (size_t)i * len,
				  len, write);
	}
	bus_commit(bus, self);
}

/* ---- memory ---- */

static void ram_access(const struct mem_flat *f, uint64_t skip, uint8_t *data,
		       unsigned len, bool write)
{
	if (!write) {
		memcpy(data, f->host + skip, len);
		return;
	}
	memcpy(f->host + skip, data, len);
	mem_block_mark(f->region->block,
		       f->region->block_off + f->region_off + skip, len);
}

static void flat_access(struct bus *bus, const struct mem_flat *f,
			uint64_t skip, uint8_t *data, unsigned len, bool write)
{
	struct region *r = f->region;
	struct target t = {r->ops, r->opaque, r->dev, r->len};

	if (f->host && (f->kind == REGION_RAM || !write)) {
		ram_access(f, skip, data, len, write);
	} else if (r->ops && f->kind != REGION_RESERVED) {
		target_lock(&t);
		target_access(&t, f->region_off + skip, data, len, write);
		target_unlock(&t);
	} else {
		if (f->kind != REGION_ROM)
			count_unclaimed(bus);
		if (!write)
			memset(data, 0xff, len);
	}
}

void bus_mmio(struct bus *bus, struct world_member *self, uint64_t gpa,
	      void *data, unsigned len, bool write)
{
	uint8_t *p = data;

	bus_commit(bus, self);
	while (len) {
		const struct mem_flat *f = mem_find(bus->mem, gpa);
		unsigned n = 1;

		if (f) {
			uint64_t left = f->len - (gpa - f->gpa);

			n = left < len ? (unsigned)left : len;
			flat_access(bus, f, gpa - f->gpa, p, n, write);
		} else {
			count_unclaimed(bus);
			if (!write)
				*p = 0xff;
		}
		gpa += n;
		p += n;
		len -= n;
	}
	bus_commit(bus, self);
}
