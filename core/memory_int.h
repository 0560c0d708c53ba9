/*
 * memory_int: what the files of the memory module share; nobody else's.
 *
 * memory.c holds blocks and regions, memory_view.c the flat map,
 * memory_slots.c the engine's slots, memory_dirty.c the dirty clients, dma.c
 * the devices' door.
 *
 * Thread rule: as memory.h; "_locked" means with mem->lock held.
 */
#ifndef CORE_MEMORY_INT_H
#define CORE_MEMORY_INT_H

#include <pthread.h>

#include "core/accel.h"
#include "core/memory.h"

#define MEM_EVENTS    4096
#define MEM_MAX_SLOTS 4096 /* ids go round in this many */

struct mem_client {
	struct mem *mem;
	char name[32];
	unsigned index;
	bool used;
	struct ram_block *only; /* NULL: all blocks */
};

struct ram_block {
	char name[32];
	struct mem *mem;
	struct ram_block *next; /* atomic: blocks are only ever appended */
	uint64_t len;
	uint8_t *host;
	int fd;
	unsigned active; /* atomic: a bit per client that logs this block */
	/* One bit a page; made for a client's first use and then kept as
	 * long as the block, so that markers need no lock. */
	uint64_t *bits[MEM_MAX_CLIENTS];
};

struct mem_slot {
	uint32_t id;
	gpa_t gpa;
	uint64_t len, block_off;
	struct ram_block *block;
	bool readonly, logged, keep;
};

struct mem_view {
	size_t nr;
	struct mem_flat flats[]; /* sorted, disjoint */
};

struct mem {
	const struct accel_ops *accel;
	struct accel_vm *vm;
	struct world *world;
	struct log *log;
	struct mem_view *view; /* swapped with the world stopped */
	int pending;	       /* atomic: regions changed since the commit */

	pthread_mutex_t lock; /* protects all that follows */
	struct region *regions, **regions_tail;
	struct ram_block *blocks, **blocks_tail;
	struct mem_client clients[MEM_MAX_CLIENTS];
	struct mem_slot *slots;
	size_t nr_slots;
	uint32_t next_slot;
	uint64_t *scratch; /* one slot's bits from the engine */
	size_t scratch_words;
	struct mem_event *events; /* ring of MEM_EVENTS */
	uint64_t event_seq;
	unsigned slot_failures;
};

/* The flat map of the regions; NULL when memory is short. */
struct mem_view *mem_view_build(const struct region *regions);
/* Index of the flat part that holds gpa, or -1. */
long mem_view_index(const struct mem_view *view, gpa_t gpa);

/* Makes the engine's slots those of the view, by rules R1 to R3; -ENOMEM when
 * nothing was changed. */
int mem_slots_apply_locked(struct mem *mem, const struct mem_view *view);
/* Turns logging of the block's slots on or off as its clients want. */
void mem_slots_log_locked(struct mem *mem, const struct ram_block *block);
void mem_slots_fini(struct mem *mem);

/* Ors word into the clients' bits of pages [page, page + 64). */
void mem_block_or(struct ram_block *b, uint64_t page, uint64_t word);
/* Readies a new block for clients that log all blocks; 0 or -ENOMEM. */
int mem_dirty_init_block(struct mem *mem, struct ram_block *b);

#endif
