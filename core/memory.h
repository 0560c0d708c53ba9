/*
 * memory: guest RAM, the map of the guest's physical address space, and which
 * pages were written.
 *
 * RAM is a list of named blocks.  Regions place parts of blocks and handlers
 * (bus.h) in the address space; where regions overlap the higher priority
 * wins.  A commit flattens the regions into a view and turns its RAM parts
 * into the engine's slots.  Only this module sets slots and reads dirty logs.
 *
 * Dirty bits belong to blocks, not to slots.  One harvest collects them from
 * the engine; device writes mark them at once; every dirty client owns a copy
 * and clears only that.  Rules for a commit that changes slots:
 *   R1 it stops the world, harvests the affected slots into their blocks,
 *      deletes, adds, resumes;
 *   R2 a slot id isn't used again while a dirty ring may name it;
 *   R3 when a harvest fails every page of the destroyed slot becomes dirty;
 *   R4 clearing one client's bits never clears another's.
 *
 * Thread rule: regions change on the main loop or on a vCPU inside a handler;
 * mem_commit by the same thread with no device lock held (the vCPU's exit path
 * does it after the handler returned).  Blocks, clients, harvest: [any].
 * dma_*: by a member inside the world.
 * Lock order: device, console, mem->lock, log.
 */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef uint64_t gpa_t;

#define MEM_PAGE_SIZE	4096ull
#define MEM_MAX_CLIENTS 8

struct accel_ops;
struct accel_vm;
struct bus_ops;
struct device;
struct error;
struct log;
struct mem;
struct world;
struct world_member;

/* ---- blocks ---- */

struct ram_block; /* lives as long as its mem */

/* Zeroed memory, len bytes (page aligned), memfd-backed so that a second
 * mapping or another process can share it.  NULL with the reason in e. */
struct ram_block *mem_block_create(struct mem *mem, const char *name,
				   uint64_t len, struct error *e);
struct ram_block *mem_block_find(struct mem *mem, const char *name);
const char *mem_block_name(const struct ram_block *b);
uint64_t mem_block_len(const struct ram_block *b);
uint8_t *mem_block_host(const struct ram_block *b);
/* Next block after b (NULL: the first), NULL at the end. */
struct ram_block *mem_block_next(struct mem *mem, const struct ram_block *b);
/* [any] Marks [off, off + len) dirty for every active client; clamped. */
void mem_block_mark(struct ram_block *b, uint64_t off, uint64_t len);

/* ---- regions ---- */

enum region_kind {
	REGION_RAM,	 /* block, readable and writable */
	REGION_ROM,	 /* block, reads and code; writes go to ops or vanish */
	REGION_IO,	 /* handlers */
	REGION_RESERVED, /* hides what lies under it: reads ones */
};

/* Owned and embedded by its creator; fields change only through the calls. */
struct region {
	char name[32];
	enum region_kind kind;
	gpa_t gpa;
	uint64_t len;
	int priority; /* RAM 0, devices 1, overlays above */
	bool enabled;
	struct ram_block *block; /* RAM, ROM */
	uint64_t block_off;
	const struct bus_ops *ops; /* IO, ROM (optional) */
	void *opaque;
	struct device *dev;  /* whose lock; NULL: handler locks by itself */
	struct region *next; /* of mem's list */
};

/* Adds to the map (visible after the next commit).  A removed region stays in
 * use until the commit returned: free it only then. */
void mem_region_add(struct mem *mem, struct region *r);
void mem_region_remove(struct mem *mem, struct region *r);
/* Changes place, kind or visibility, visible after the next commit; from a
 * handler: the commit follows before the vCPU runs guest code again. */
void mem_region_set(struct mem *mem, struct region *r, gpa_t gpa,
		    enum region_kind kind, bool enabled);
/* Applies all changes; cheap when nothing changed.  self as world_stop. */
void mem_commit(struct mem *mem, struct world_member *self);
bool mem_commit_pending(const struct mem *mem);

/* What is at a guest physical address; inside the world or stopped. */
struct mem_flat {
	gpa_t gpa;
	uint64_t len;
	struct region *region;
	uint64_t region_off; /* of gpa within the region */
	uint8_t *host;	     /* of gpa; NULL for IO */
	/* The committed kind; region->kind may already be the next one. */
	enum region_kind kind;
};
/* NULL when nothing is there.  The result holds until the world stops. */
const struct mem_flat *mem_find(const struct mem *mem, gpa_t gpa);

/* ---- DMA: how devices reach guest memory ---- */

/* 0, or -EFAULT when any byte lies outside RAM (nothing is then promised about
 * the bytes before it) or gpa + len overflows.  Writes mark dirty; writes to
 * ROM vanish.  Never reaches handlers. */
int dma_read(struct mem *mem, gpa_t gpa, void *buf, size_t len);
int dma_write(struct mem *mem, gpa_t gpa, const void *buf, size_t len);

/* Appends host pieces for [gpa, gpa + len) to iov (room for max); returns how
 * many pieces were added or -EFAULT / -E2BIG.  The pieces stay valid while the
 * block lives (even when the map changes).  After a device stored into them:
 * dma_mark_iov. */
int dma_map(struct mem *mem, gpa_t gpa, uint64_t len, bool write,
	    struct iovec *iov, int max);
/* Where [gpa, gpa + len) lies when it is one stretch of host memory: a ring.
 * NULL when it isn't, or leaves RAM; valid and marked like dma_map's pieces. */
void *dma_map_one(struct mem *mem, gpa_t gpa, uint64_t len, bool write);
/* [any] Marks what host pieces from dma_map cover; len bytes from the first. */
void dma_mark_iov(struct mem *mem, const struct iovec *iov, int nr,
		  uint64_t len);

/* ---- dirty clients ---- */

struct mem_client;

/* Starts logging for block (NULL: all blocks) with every bit set for this
 * client.  NULL when MEM_MAX_CLIENTS are in use. */
struct mem_client *mem_client_create(struct mem *mem, const char *name,
				     struct ram_block *block);
void mem_client_destroy(struct mem *mem, struct mem_client *c);
/* Collects the engine's bits of every logged slot into all clients. */
void mem_harvest(struct mem *mem);
/* The same for the slots of one block. */
void mem_harvest_block(struct mem *mem, struct ram_block *block);
/* Moves the client's bits for pages [first, first + nr) of block into bitmap
 * (bit 0 = first; (nr + 63) / 64 words, overwritten) and clears them; first is
 * a multiple of 64.  Returns the number of set bits. */
uint64_t mem_client_take(struct mem_client *c, struct ram_block *block,
			 uint64_t first, uint64_t nr, uint64_t *bitmap);

/* ---- life and snapshots ---- */

struct mem *mem_create(const struct accel_ops *accel, struct accel_vm *vm,
		       struct world *world, struct log *log, struct error *e);
void mem_destroy(struct mem *mem); /* NULL is fine */
/* What the map's readers take part in. */
struct world *mem_world(const struct mem *mem);

enum mem_event_kind { MEM_SLOT_CREATED, MEM_SLOT_DESTROYED, MEM_SLOT_FLAGS };

/* One entry of the slot timeline. */
struct mem_event {
	uint64_t seq, time_ns; /* CLOCK_MONOTONIC */
	enum mem_event_kind kind;
	uint32_t slot;
	gpa_t gpa;
	uint64_t len;
	char block[24];
	bool readonly, logged;
	uint64_t dirty_carried; /* pages harvested when it was destroyed */
};

struct mem_row {
	char name[32]; /* region or block */
	char block[24];
	gpa_t gpa; /* of a block: 0 */
	uint64_t len;
	int priority;
	uint32_t slot;
	enum region_kind kind;
	bool enabled, logged;
	uint64_t dirty_pages; /* of a block: pages marked for any client */
};

/* [any] Copies at most max rows / events (seq > since); returns how many. */
size_t mem_copy_blocks(struct mem *mem, struct mem_row *out, size_t max);
size_t mem_copy_regions(struct mem *mem, struct mem_row *out, size_t max);
size_t mem_copy_slots(struct mem *mem, struct mem_row *out, size_t max);
size_t mem_copy_events(struct mem *mem, uint64_t since, struct mem_event *out,
		       size_t max);

#endif
