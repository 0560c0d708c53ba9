/*
 * Dirty bits: of a block, one bitmap a client.
 *
 * A writer stores its data, then sets the bit with release; a taker clears
 * the bit with acquire, then reads the data.  A store that the taker's copy
 * missed therefore has its bit set after the take.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory_int.h"

static uint64_t block_pages(const struct ram_block *b)
{
	return b->len / MEM_PAGE_SIZE;
}

static size_t block_words(const struct ram_block *b)
{
	return (size_t)((block_pages(b) + 63) / 64);
}

static void or_one(uint64_t *bits, uint64_t page, uint64_t word)
{
	unsigned shift = page % 64;

	__atomic_fetch_or(&bits[page / 64], word << shift, __ATOMIC_RELEASE);
	if (shift && word >> (64 - shift))
		__atomic_fetch_or(&bits[page / 64 + 1], word >> (64 - shift),
				  __ATOMIC_RELEASE);
}

void mem_block_or(struct ram_block *b, uint64_t page, uint64_t word)
{
	/* Acquire: pairs with the release that made the bitmap visible. */
	unsigned active = __atomic_load_n(&b->active, __ATOMIC_ACQUIRE);
	unsigned i;

	for (i = 0; active >> i; i++) {
		if (active & (1u << i))
			or_one(b->bits[i], page, word);
	}
}

void mem_block_mark(struct ram_block *b, uint64_t off, uint64_t len)
{
	uint64_t page, last;

	if (!len || off >= b->len ||
	    !__atomic_load_n(&b->active, __ATOMIC_ACQUIRE))
		return;
	if (len > b->len - off)
		len = b->len - off;
	page = off / MEM_PAGE_SIZE;
	last = (off + len - 1) / MEM_PAGE_SIZE;
	while (page <= last) {
		uint64_t n = 64 - page % 64;

		if (n > last - page + 1)
			n = last - page + 1;
		mem_block_or(b, page, n == 64 ? ~0ull : (1ull << n) - 1);
		page += n;
	}
}

/* ---- clients ---- */

static int ready_bits(struct ram_block *b, unsigned index)
{
	if (!b->bits[index])
		b->bits[index] = calloc(block_words(b), sizeof(uint64_t));
	return b->bits[index] ? 0 : -ENOMEM;
}

/* Every page dirty for this client, then let the markers see it. */
static void start_block(struct ram_block *b, unsigned index)
{
	uint64_t pages = block_pages(b), w;
	size_t words = block_words(b);

	for (w = 0; w < words; w++) {
		uint64_t all = ~0ull;

		if (w == words - 1 && pages % 64)
			all = (1ull << pages % 64) - 1;
		__atomic_store_n(&b->bits[index][w], all, __ATOMIC_RELAXED);
	}
	/* Release: the bitmap is there before its bit in the mask. */
	__atomic_fetch_or(&b->active, 1u << index, __ATOMIC_RELEASE);
}

int mem_dirty_init_block(struct mem *mem, struct ram_block *b)
{
	unsigned i;

	for (i = 0; i < MEM_MAX_CLIENTS; i++) {
		if (!mem->clients[i].used || mem->clients[i].only)
			continue;
		if (ready_bits(b, i))
			return -ENOMEM;
		start_block(b, i);
	}
	return 0;
}

struct mem_client *mem_client_create(struct mem *mem, const char *name,
				     struct ram_block *block)
{
	struct mem_client *c = NULL;
	struct ram_block *b;
	unsigned i;

	pthread_mutex_lock(&mem->lock);
	for (i = 0; i < MEM_MAX_CLIENTS && mem->clients[i].used; i++)
		;
	if (i == MEM_MAX_CLIENTS)
		goto out;
	for (b = mem->blocks; b; b = b->next) {
		if ((!block || b == block) && ready_bits(b, i))
			goto out;
	}
	c = &mem->clients[i];
	c->mem = mem;
	c->index = i;
	c->only = block;
	c->used = true;
	snprintf(c->name, sizeof(c->name), "%s", name);
	for (b = mem->blocks; b; b = b->next) {
		if (!block || b == block) {
			start_block(b, i);
			mem_slots_log_locked(mem, b);
		}
	}
out:
	pthread_mutex_unlock(&mem->lock);
	return c;
}

void mem_client_destroy(struct mem *mem, struct mem_client *c)
{
	struct ram_block *b;

	if (!c)
		return;
	pthread_mutex_lock(&mem->lock);
	for (b = mem->blocks; b; b = b->next) {
		if (c->only && b != c->only)
			continue;
		__atomic_fetch_and(&b->active, ~(1u << c->index),
				   __ATOMIC_RELEASE);
		mem_slots_log_locked(mem, b);
	}
	c->used = false;
	pthread_mutex_unlock(&mem->lock);
}

uint64_t mem_client_take(struct mem_client *c, struct ram_block *block,
			 uint64_t first, uint64_t nr, uint64_t *bitmap)
{
	uint64_t pages = block_pages(block), n = 0, w, words = (nr + 63) / 64;
	uint64_t *bits = block->bits[c->index];

	memset(bitmap, 0, words * sizeof(*bitmap));
	if (first % 64 || first >= pages || !bits ||
	    (c->only && c->only != block))
		return 0;
	if (nr > pages - first)
		nr = pages - first;
	for (w = 0; w < (nr + 63) / 64; w++) {
		uint64_t *src = &bits[first / 64 + w];
		uint64_t mask = ~0ull;

		if (nr - w * 64 < 64)
			mask = (1ull << (nr - w * 64)) - 1;
		if (!(__atomic_load_n(src, __ATOMIC_RELAXED) & mask))
			continue;
		bitmap[w] =
			__atomic_fetch_and(src, ~mask, __ATOMIC_ACQ_REL) & mask;
		n += (uint64_t)__builtin_popcountll(bitmap[w]);
	}
	return n;
}
