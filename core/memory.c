/*
 * Blocks, regions and the commit.
 */
#include "core/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "core/memory_int.h"
#include "core/world.h"

struct mem *mem_create(const struct accel_ops *accel, struct accel_vm *vm,
		       struct world *world, struct log *log, struct error *e)
{
	struct mem *mem = calloc(1, sizeof(*mem));

	if (!mem)
		goto no_memory;
	mem->view = mem_view_build(NULL);
	mem->events = calloc(MEM_EVENTS, sizeof(*mem->events));
	if (!mem->view || !mem->events)
		goto no_memory;
	mem->accel = accel;
	mem->vm = vm;
	mem->world = world;
	mem->log = log;
	mem->regions_tail = &mem->regions;
	mem->blocks_tail = &mem->blocks;
	pthread_mutex_init(&mem->lock, NULL);
	return mem;
no_memory:
	if (mem) {
		free(mem->view);
		free(mem->events);
	}
	free(mem);
	error_set(e, -ENOMEM, "no memory for a guest's memory map");
	return NULL;
}

static void block_free(struct ram_block *b)
{
	unsigned i;

	for (i = 0; i < MEM_MAX_CLIENTS; i++)
		free(b->bits[i]);
	if (b->host)
		munmap(b->host, b->len);
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}

void mem_destroy(struct mem *mem)
{
	struct ram_block *b, *next;

	if (!mem)
		return;
	mem_slots_fini(mem);
	for (b = mem->blocks; b; b = next) {
		next = b->next;
		block_free(b);
	}
	pthread_mutex_destroy(&mem->lock);
	free(mem->view);
	free(mem->events);
	free(mem);
}

struct world *mem_world(const struct mem *mem)
{
	return mem->world;
}

/* ---- blocks ---- */

static int block_map(struct ram_block *b, struct error *e)
{
	b->fd = memfd_create(b->name, MFD_CLOEXEC);
	if (b->fd < 0)
		return error_errno(e, errno, "memory block '%s'", b->name);
	if (ftruncate(b->fd, (off_t)b->len))
		return error_errno(e, errno, "memory block '%s' of %llu bytes",
				   b->name, (unsigned long long)b->len);
	b->host = mmap(NULL, b->len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_NORESERVE, b->fd, 0);
	if (b->host == MAP_FAILED) {
		b->host = NULL;
		return error_errno(
			e, errno,
			"mapping %llu bytes for memory block '%s': give "
			"the machine less memory",
			(unsigned long long)b->len, b->name);
	}
	/* A forked helper must not hold the guest's memory. */
	madvise(b->host, b->len, MADV_DONTFORK);
	return 0;
}

struct ram_block *mem_block_create(struct mem *mem, const char *name,
				   uint64_t len, struct error *e)
{
	struct ram_block *b;

	if (!len || len % MEM_PAGE_SIZE || len > INT64_MAX) {
		error_set(e, -EINVAL,
			  "memory block '%s': %llu bytes is not a "
			  "number of whole pages",
			  name, (unsigned long long)len);
		return NULL;
	}
	b = calloc(1, sizeof(*b));
	if (!b) {
		error_set(e, -ENOMEM, "memory block '%s': no memory", name);
		return NULL;
	}
	b->mem = mem;
	b->len = len;
	b->fd = -1;
	snprintf(b->name, sizeof(b->name), "%s", name);
	if (block_map(b, e))
		goto fail;
	pthread_mutex_lock(&mem->lock);
	if (mem_dirty_init_block(mem, b)) {
		pthread_mutex_unlock(&mem->lock);
		error_set(e, -ENOMEM, "memory block '%s': no memory", name);
		goto fail;
	}
	/* Release: whoever walks the list sees a whole block. */
	__atomic_store_n(mem->blocks_tail, b, __ATOMIC_RELEASE);
	mem->blocks_tail = &b->next;
	pthread_mutex_unlock(&mem->lock);
	return b;
fail:
	block_free(b);
	return NULL;
}

struct ram_block *mem_block_next(struct mem *mem, const struct ram_block *b)
{
	/* Acquire: pairs with the release in mem_block_create. */
	return __atomic_load_n(b ? &b->next : &mem->blocks, __ATOMIC_ACQUIRE);
}

struct ram_block *mem_block_find(struct mem *mem, const char *name)
{
	struct ram_block *b = NULL;

	while ((b = mem_block_next(mem, b))) {
		if (!strcmp(b->name, name))
			return b;
	}
	return NULL;
}

const char *mem_block_name(const struct ram_block *b)
{
	return b->name;
}

uint64_t mem_block_len(const struct ram_block *b)
{
	return b->len;
}

uint8_t *mem_block_host(const struct ram_block *b)
{
	return b->host;
}

/* ---- regions ---- */

static void set_pending(struct mem *mem)
{
	__atomic_store_n(&mem->pending, 1, __ATOMIC_RELEASE);
}

bool mem_commit_pending(const struct mem *mem)
{
	return __atomic_load_n(&mem->pending, __ATOMIC_ACQUIRE);
}

void mem_region_add(struct mem *mem, struct region *r)
{
	pthread_mutex_lock(&mem->lock);
	r->next = NULL;
	*mem->regions_tail = r;
	mem->regions_tail = &r->next;
	set_pending(mem);
	pthread_mutex_unlock(&mem->lock);
}

void mem_region_remove(struct mem *mem, struct region *r)
{
	struct region **link;

	pthread_mutex_lock(&mem->lock);
	for (link = &mem->regions; *link; link = &(*link)->next) {
		if (*link != r)
			continue;
		*link = r->next;
		if (mem->regions_tail == &r->next)
			mem->regions_tail = link;
		set_pending(mem);
		break;
	}
	pthread_mutex_unlock(&mem->lock);
}

void mem_region_set(struct mem *mem, struct region *r, gpa_t gpa,
		    enum region_kind kind, bool enabled)
{
	pthread_mutex_lock(&mem->lock);
	if (r->gpa != gpa || r->kind != kind || r->enabled != enabled) {
		if (r->enabled || enabled)
			set_pending(mem);
		r->gpa = gpa;
		r->kind = kind;
		r->enabled = enabled;
	}
	pthread_mutex_unlock(&mem->lock);
}

void mem_commit(struct mem *mem, struct world_member *self)
{
	struct mem_view *view, *unused;

	if (!mem_commit_pending(mem))
		return;
	world_stop(mem->world, self);
	pthread_mutex_lock(&mem->lock);
	__atomic_store_n(&mem->pending, 0, __ATOMIC_RELEASE);
	view = mem_view_build(mem->regions);
	unused = view;
	if (view && !mem_slots_apply_locked(mem, view)) {
		unused = mem->view;
		mem->view = view;
	}
	pthread_mutex_unlock(&mem->lock);
	world_resume(mem->world);
	if (unused == view)
		log_write(mem->log, LOG_LEVEL_ERROR, "memory",
			  "no memory for a new memory map, keeping the old");
	free(unused);
}

const struct mem_flat *mem_find(const struct mem *mem, gpa_t gpa)
{
	long i = mem_view_index(mem->view, gpa);

	return i < 0 ? NULL : &mem->view->flats[i];
}

/* ---- snapshots ---- */

static uint64_t count_dirty(const struct ram_block *b)
{
	unsigned active = __atomic_load_n(&b->active, __ATOMIC_ACQUIRE);
	uint64_t n = 0, words = (b->len / MEM_PAGE_SIZE + 63) / 64, w;
	unsigned i;

	for (w = 0; active && w < words; w++) {
		uint64_t bits = 0;

		for (i = 0; i < MEM_MAX_CLIENTS; i++) {
			if (active & (1u << i))
				bits |= __atomic_load_n(&b->bits[i][w],
							__ATOMIC_RELAXED);
		}
		n += (uint64_t)__builtin_popcountll(bits);
	}
	return n;
}

size_t mem_copy_blocks(struct mem *mem, struct mem_row *out, size_t max)
{
	struct ram_block *b = NULL;
	size_t n = 0;

	while (n < max && (b = mem_block_next(mem, b))) {
		struct mem_row *row = &out[n++];

		memset(row, 0, sizeof(*row));
		snprintf(row->name, sizeof(row->name), "%s", b->name);
		snprintf(row->block, sizeof(row->block), "%.23s", b->name);
		row->len = b->len;
		row->enabled = true;
		row->logged = __atomic_load_n(&b->active, __ATOMIC_RELAXED);
		row->dirty_pages = count_dirty(b);
	}
	return n;
}

size_t mem_copy_regions(struct mem *mem, struct mem_row *out, size_t max)
{
	const struct region *r;
	size_t n = 0;

	pthread_mutex_lock(&mem->lock);
	for (r = mem->regions; r && n < max; r = r->next) {
		struct mem_row *row = &out[n++];

		memset(row, 0, sizeof(*row));
		snprintf(row->name, sizeof(row->name), "%s", r->name);
		if (r->block)
			snprintf(row->block, sizeof(row->block), "%.23s",
				 r->block->name);
		row->gpa = r->gpa;
		row->len = r->len;
		row->priority = r->priority;
		row->kind = r->kind;
		row->enabled = r->enabled;
	}
	pthread_mutex_unlock(&mem->lock);
	return n;
}

size_t mem_copy_slots(struct mem *mem, struct mem_row *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&mem->lock);
	for (n = 0; n < mem->nr_slots && n < max; n++) {
		const struct mem_slot *s = &mem->slots[n];
		struct mem_row *row = &out[n];

		memset(row, 0, sizeof(*row));
		snprintf(row->name, sizeof(row->name), "slot %u", s->id);
		snprintf(row->block, sizeof(row->block), "%.23s",
			 s->block->name);
		row->gpa = s->gpa;
		row->len = s->len;
		row->slot = s->id;
		row->kind = s->readonly ? REGION_ROM : REGION_RAM;
		row->enabled = true;
		row->logged = s->logged;
	}
	pthread_mutex_unlock(&mem->lock);
	return n;
}

size_t mem_copy_events(struct mem *mem, uint64_t since, struct mem_event *out,
		       size_t max)
{
	uint64_t seq;
	size_t n = 0;

	pthread_mutex_lock(&mem->lock);
	seq = since + 1;
	if (mem->event_seq > MEM_EVENTS && seq <= mem->event_seq - MEM_EVENTS)
		seq = mem->event_seq - MEM_EVENTS + 1;
	for (; seq <= mem->event_seq && n < max; seq++)
		out[n++] = mem->events[seq % MEM_EVENTS];
	pthread_mutex_unlock(&mem->lock);
	return n;
}
