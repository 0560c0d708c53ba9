/*
 * From the flat map to the engine's slots, with the smallest change.
 *
 * A slot that stays as it is isn't touched.  One that goes is harvested first
 * and deleted with no vCPU running, so that no write falls in between.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/memory_int.h"
#include "core/world.h"

static void add_event(struct mem *mem, enum mem_event_kind kind,
		      const struct mem_slot *s, uint64_t carried)
{
	struct mem_event *ev;

	mem->event_seq++;
	ev = &mem->events[mem->event_seq % MEM_EVENTS];
	memset(ev, 0, sizeof(*ev));
	ev->seq = mem->event_seq;
	ev->time_ns = loop_now_ns();
	ev->kind = kind;
	ev->slot = s->id;
	ev->gpa = s->gpa;
	ev->len = s->len;
	snprintf(ev->block, sizeof(ev->block), "%.23s", s->block->name);
	ev->readonly = s->readonly;
	ev->logged = s->logged;
	ev->dirty_carried = carried;
}

static int engine_set(struct mem *mem, const struct mem_slot *s, uint64_t len)
{
	struct accel_slot slot = {
		.id = s->id,
		.gpa = s->gpa,
		.len = len,
		.host = s->block->host + s->block_off,
		.readonly = s->readonly,
		.log_dirty = s->logged,
	};

	return mem->accel->slot_set(mem->vm, &slot);
}

/* ---- harvest ---- */

static int scratch_grow(struct mem *mem, size_t words)
{
	uint64_t *p;

	if (words <= mem->scratch_words)
		return 0;
	p = realloc(mem->scratch, words * sizeof(*p));
	if (!p)
		return -ENOMEM;
	mem->scratch = p;
	mem->scratch_words = words;
	return 0;
}

/* Moves the engine's bits of one slot to the block's clients. */
static uint64_t slot_harvest_locked(struct mem *mem, const struct mem_slot *s)
{
	uint64_t pages = s->len / MEM_PAGE_SIZE, n = 0, w;
	uint64_t first = s->block_off / MEM_PAGE_SIZE;
	size_t words = (size_t)((pages + 63) / 64);
	int err = scratch_grow(mem, words);

	if (!err) {
		memset(mem->scratch, 0, words * sizeof(*mem->scratch));
		err = mem->accel->slot_dirty(mem->vm, s->id, mem->scratch);
	}
	if (err) {
		/* R3: in doubt every page is dirty. */
		log_write(mem->log, LOG_LEVEL_WARN, "memory",
			  "dirty log of slot %u: %s; taking all of it as dirty",
			  s->id, strerror(-err));
		mem_block_mark(s->block, s->block_off, s->len);
		return pages;
	}
	for (w = 0; w < words; w++) {
		uint64_t word = mem->scratch[w];

		if (w == words - 1 && pages % 64)
			word &= (1ull << pages % 64) - 1;
		if (!word)
			continue;
		n += (uint64_t)__builtin_popcountll(word);
		mem_block_or(s->block, first + w * 64, word);
	}
	return n;
}

void mem_harvest_block(struct mem *mem, struct ram_block *block)
{
	size_t i;

	pthread_mutex_lock(&mem->lock);
	for (i = 0; i < mem->nr_slots; i++) {
		const struct mem_slot *s = &mem->slots[i];

		if (s->logged && (!block || s->block == block))
			slot_harvest_locked(mem, s);
	}
	pthread_mutex_unlock(&mem->lock);
}

void mem_harvest(struct mem *mem)
{
	mem_harvest_block(mem, NULL);
}

/* ---- what the map wants ---- */

static bool joins(const struct mem_slot *s, const struct mem_flat *f,
		  uint64_t off)
{
	return s->gpa + s->len == f->gpa && s->block == f->region->block &&
	       s->block_off + s->len == off &&
	       s->readonly == (f->kind == REGION_ROM);
}

/* Cuts the slot to whole pages; false when nothing is left of it or guest and
 * host pages don't coincide. */
static bool trim(struct mem_slot *s)
{
	uint64_t head = -s->gpa % MEM_PAGE_SIZE;

	if (s->gpa % MEM_PAGE_SIZE != s->block_off % MEM_PAGE_SIZE ||
	    s->len < head)
		return false;
	s->gpa += head;
	s->block_off += head;
	s->len = (s->len - head) & ~(MEM_PAGE_SIZE - 1);
	return s->len != 0;
}

static size_t wanted_slots(const struct mem_view *view, struct mem_slot *out)
{
	size_t i, n = 0, kept = 0;

	for (i = 0; i < view->nr; i++) {
		const struct mem_flat *f = &view->flats[i];
		uint64_t off;

		if (!f->host)
			continue;
		off = f->region->block_off + f->region_off;
		if (n && joins(&out[n - 1], f, off)) {
			out[n - 1].len += f->len;
			continue;
		}
		out[n++] = (struct mem_slot){
			.gpa = f->gpa,
			.len = f->len,
			.block = f->region->block,
			.block_off = off,
			.readonly = f->kind == REGION_ROM,
		};
	}
	for (i = 0; i < n; i++) {
		if (trim(&out[i]))
			out[kept++] = out[i];
	}
	return kept;
}

/* ---- changing them ---- */

static bool is_same(const struct mem_slot *a, const struct mem_slot *b)
{
	return a->gpa == b->gpa && a->len == b->len && a->block == b->block &&
	       a->block_off == b->block_off && a->readonly == b->readonly;
}

static void slot_remove(struct mem *mem, struct mem_slot *s)
{
	uint64_t carried = s->logged ? slot_harvest_locked(mem, s) : 0;
	int err = engine_set(mem, s, 0);

	if (err)
		log_write(mem->log, LOG_LEVEL_ERROR, "memory",
			  "removing slot %u: %s", s->id, strerror(-err));
	add_event(mem, MEM_SLOT_DESTROYED, s, carried);
}

static bool is_id_used(const struct mem_slot *slots, size_t nr, uint32_t id)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		if (slots[i].id == id)
			return true;
	}
	return false;
}

static bool slot_add(struct mem *mem, struct mem_slot *s, uint32_t id)
{
	int err;

	s->id = id;
	s->logged = !s->readonly &&
		    __atomic_load_n(&s->block->active, __ATOMIC_ACQUIRE);
	err = engine_set(mem, s, s->len);
	if (!err) {
		add_event(mem, MEM_SLOT_CREATED, s, 0);
		return true;
	}
	/* A guest can ask for this: a BAR beyond the CPU's address width.
	 * Accesses then take the slow way through the bus. */
	if (mem->slot_failures++ < 20)
		log_write(mem->log, LOG_LEVEL_WARN, "memory",
			  "'%s' can't be mapped at 0x%llx (%llu bytes): %s",
			  s->block->name, (unsigned long long)s->gpa,
			  (unsigned long long)s->len, strerror(-err));
	return false;
}

/* R2: ids go round, so that a freed one comes back as late as possible. */
static uint32_t pick_id(struct mem *mem, const struct mem_slot *slots,
			size_t nr)
{
	do {
		mem->next_slot = (mem->next_slot + 1) % MEM_MAX_SLOTS;
	} while (is_id_used(slots, nr, mem->next_slot));
	return mem->next_slot;
}

static void mark_kept(struct mem *mem, struct mem_slot *want, size_t nr)
{
	size_t i, j;

	for (i = 0; i < mem->nr_slots; i++) {
		struct mem_slot *s = &mem->slots[i];

		s->keep = false;
		for (j = 0; j < nr && !s->keep; j++) {
			if (!want[j].keep && is_same(s, &want[j])) {
				want[j].id = s->id;
				want[j].logged = s->logged;
				want[j].keep = s->keep = true;
			}
		}
	}
}

int mem_slots_apply_locked(struct mem *mem, const struct mem_view *view)
{
	struct mem_slot *want = calloc(view->nr + 1, sizeof(*want));
	size_t nr, i, kept = 0;

	world_assert_stopped(mem->world);
	if (!want)
		return -ENOMEM;
	nr = wanted_slots(view, want);
	if (nr >= MEM_MAX_SLOTS)
		nr = MEM_MAX_SLOTS - 1;
	mark_kept(mem, want, nr);
	for (i = 0; i < mem->nr_slots; i++) {
		if (!mem->slots[i].keep)
			slot_remove(mem, &mem->slots[i]);
		else
			mem->slots[kept++] = mem->slots[i];
	}
	mem->nr_slots = kept;
	for (i = kept = 0; i < nr; i++) {
		struct mem_slot *s = &want[i];

		if (s->keep || slot_add(mem, s, pick_id(mem, want, nr)))
			want[kept++] = *s;
	}
	free(mem->slots);
	mem->slots = want;
	mem->nr_slots = kept;
	return 0;
}

void mem_slots_log_locked(struct mem *mem, const struct ram_block *block)
{
	bool on = __atomic_load_n(&block->active, __ATOMIC_ACQUIRE);
	size_t i;
	int err;

	for (i = 0; i < mem->nr_slots; i++) {
		struct mem_slot *s = &mem->slots[i];

		if (s->block != block || s->readonly || s->logged == on)
			continue;
		s->logged = on;
		err = engine_set(mem, s, s->len);
		if (err) {
			log_write(mem->log, LOG_LEVEL_ERROR, "memory",
				  "dirty log of slot %u: %s", s->id,
				  strerror(-err));
			s->logged = !on;
			continue;
		}
		add_event(mem, MEM_SLOT_FLAGS, s, 0);
	}
}

void mem_slots_fini(struct mem *mem)
{
	size_t i;

	for (i = 0; i < mem->nr_slots; i++)
		engine_set(mem, &mem->slots[i], 0);
	free(mem->slots);
	free(mem->scratch);
}
