/*
 * The memory map against a model that asks, for each unit of the address
 * space, which region wins; then the rules for dirty bits, and DMA.
 */
#include "tests/unit/fake_accel.h"

#include <pthread.h>
#include <stdio.h>

#include "core/bus.h"
#include "core/error.h"
#include "core/memory.h"

#define PAGE	  4096u
#define UNIT	  512u /* region borders are multiples of this */
#define PAGES	  48u
#define SPACE	  (PAGES * PAGE)
#define BLOCKS	  3
#define REGIONS	  14
#define BLOCK_LEN (16u * PAGE)

struct fixture {
	struct accel_vm vm;
	struct world *world;
	struct mem *mem;
	struct ram_block *blocks[BLOCKS];
	struct region regions[REGIONS];
	bool added[REGIONS];
	unsigned order[REGIONS], clock; /* when each was added */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error e;
	unsigned i;

	f->world = world_create();
	f->vm.world = f->world;
	f->mem = mem_create(&fake_accel, &f->vm, f->world, NULL, &e);
	assert_non_null(f->mem);
	for (i = 0; i < BLOCKS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "block%u", i);
		f->blocks[i] = mem_block_create(f->mem, name, BLOCK_LEN, &e);
		assert_non_null(f->blocks[i]);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned i;

	f->vm.world = NULL;
	mem_destroy(f->mem);
	for (i = 0; i < FAKE_SLOTS; i++)
		assert_int_equal(f->vm.slots[i].slot.len, 0);
	fake_fini(&f->vm);
	world_destroy(f->world);
	free(f);
	return 0;
}

static struct region *add(struct fixture *f, unsigned i, enum region_kind kind,
			  gpa_t gpa, uint64_t len, int priority)
{
	struct region *r = &f->regions[i];

	*r = (struct region){.kind = kind,
			     .gpa = gpa,
			     .len = len,
			     .priority = priority,
			     .enabled = true};
	snprintf(r->name, sizeof(r->name), "region%u", i);
	if (kind == REGION_RAM || kind == REGION_ROM)
		r->block = f->blocks[i % BLOCKS];
	mem_region_add(f->mem, r);
	f->added[i] = true;
	f->order[i] = ++f->clock;
	return r;
}

/* ---- the map against the model ---- */

static struct region *model_at(struct fixture *f, gpa_t gpa)
{
	int best = -1;
	unsigned i;

	for (i = 0; i < REGIONS; i++) {
		struct region *r = &f->regions[i];

		if (!f->added[i] || !r->enabled || gpa < r->gpa ||
		    gpa - r->gpa >= r->len)
			continue;
		if (best < 0 || r->priority > f->regions[best].priority ||
		    (r->priority == f->regions[best].priority &&
		     f->order[i] > f->order[best]))
			best = (int)i;
	}
	return best < 0 ? NULL : &f->regions[best];
}

static uint8_t *model_host(const struct region *r, gpa_t gpa)
{
	if (!r || !r->block)
		return NULL;
	if (r->kind != REGION_RAM && r->kind != REGION_ROM)
		return NULL;
	return mem_block_host(r->block) + r->block_off + (gpa - r->gpa);
}

static void check_byte(struct fixture *f, gpa_t gpa)
{
	const struct mem_flat *flat = mem_find(f->mem, gpa);
	struct region *want = model_at(f, gpa);

	if (!want) {
		assert_null(flat);
		return;
	}
	assert_non_null(flat);
	assert_ptr_equal(flat->region, want);
	assert_int_equal(flat->kind, want->kind);
	assert_int_equal(flat->region_off + (gpa - flat->gpa), gpa - want->gpa);
	assert_ptr_equal(flat->host ? flat->host + (gpa - flat->gpa) : NULL,
			 model_host(want, gpa));
}

/* A page has a slot when all of it is the same kind of one block's page. */
static void check_page(struct fixture *f, gpa_t page)
{
	struct fake_slot *s = fake_at(&f->vm, page);
	struct region *first = model_at(f, page);
	uint8_t *host = model_host(first, page);
	bool whole = host && (uintptr_t)host % PAGE == 0;
	gpa_t gpa;

	for (gpa = page; whole && gpa < page + PAGE; gpa += UNIT) {
		struct region *r = model_at(f, gpa);

		whole = model_host(r, gpa) == host + (gpa - page) &&
			r->kind == first->kind;
	}
	if (!whole) {
		assert_null(s);
		return;
	}
	assert_non_null(s);
	assert_ptr_equal((uint8_t *)s->slot.host + (page - s->slot.gpa), host);
	assert_int_equal(s->slot.readonly, first->kind == REGION_ROM);
}

static void check_all(struct fixture *f)
{
	gpa_t gpa;

	for (gpa = 0; gpa < SPACE; gpa += UNIT) {
		check_byte(f, gpa);
		check_byte(f, gpa + UNIT - 1);
	}
	for (gpa = 0; gpa < SPACE; gpa += PAGE)
		check_page(f, gpa);
}

static unsigned pick(unsigned *seed, unsigned n)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % n;
}

static gpa_t pick_gpa(unsigned *seed)
{
	if (pick(seed, 3))
		return pick(seed, PAGES) * PAGE;
	return pick(seed, SPACE / UNIT) * UNIT;
}

static void random_region(struct fixture *f, unsigned i, unsigned *seed)
{
	struct region *r = &f->regions[i];
	uint64_t units = BLOCK_LEN / UNIT;

	*r = (struct region){
		.kind = pick(seed, 4),
		.gpa = pick_gpa(seed),
		.priority = (int)pick(seed, 3),
		.enabled = pick(seed, 4) != 0,
		.block = f->blocks[pick(seed, BLOCKS)],
	};
	r->block_off =
		pick(seed, 3) ? pick(seed, 8) * PAGE : pick(seed, 64) * UNIT;
	r->len = (1 + pick(seed, (unsigned)(units - r->block_off / UNIT))) *
		 UNIT;
	mem_region_add(f->mem, r);
	f->added[i] = true;
	f->order[i] = ++f->clock;
}

static void test_random_maps(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 20, round, i;

	for (round = 0; round < 400; round++) {
		unsigned changes = 1 + pick(&seed, 3);

		while (changes--) {
			i = pick(&seed, REGIONS);
			if (!f->added[i]) {
				random_region(f, i, &seed);
			} else if (pick(&seed, 3)) {
				mem_region_set(f->mem, &f->regions[i],
					       pick_gpa(&seed), pick(&seed, 4),
					       pick(&seed, 4) != 0);
			} else {
				mem_region_remove(f->mem, &f->regions[i]);
				f->added[i] = false;
			}
		}
		mem_commit(f->mem, NULL);
		assert_false(mem_commit_pending(f->mem));
		check_all(f);
	}
}

static void test_end_of_address_space(void **state)
{
	struct fixture *f = *state;

	add(f, 0, REGION_IO, UINT64_MAX - 0xfff, 0x10000, 1);
	add(f, 1, REGION_RAM, UINT64_MAX - 0x1fff, BLOCK_LEN, 0);
	mem_commit(f->mem, NULL);
	assert_ptr_equal(mem_find(f->mem, UINT64_MAX - 0xfff)->region,
			 &f->regions[0]);
	assert_ptr_equal(mem_find(f->mem, UINT64_MAX - 0x1000)->region,
			 &f->regions[1]);
	assert_null(mem_find(f->mem, 0));
}

/* A refused slot (beyond the CPU's address width) leaves RAM to the bus. */
static void test_refused_slot(void **state)
{
	struct fixture *f = *state;

	f->vm.refuse_gpa = 0x10000;
	add(f, 0, REGION_RAM, 0x10000, PAGE, 0);
	add(f, 1, REGION_RAM, 0x20000, PAGE, 0);
	mem_commit(f->mem, NULL);
	assert_null(fake_at(&f->vm, 0x10000));
	assert_non_null(fake_at(&f->vm, 0x20000));
	assert_non_null(mem_find(f->mem, 0x10000)->host);
}

static void test_untouched_slots_stay(void **state)
{
	struct fixture *f = *state;
	struct region *over;
	unsigned sets;
	uint32_t id;

	add(f, 0, REGION_RAM, 0, 16 * PAGE, 0);
	add(f, 1, REGION_RAM, 0x100000, 16 * PAGE, 0);
	over = add(f, 2, REGION_ROM, 4 * PAGE, 2 * PAGE, 1);
	mem_commit(f->mem, NULL);
	id = fake_at(&f->vm, 0x100000)->slot.id;
	sets = f->vm.sets;
	mem_region_set(f->mem, over, 4 * PAGE, REGION_IO, true);
	mem_commit(f->mem, NULL);
	assert_int_equal(f->vm.sets, sets + 1); /* the ROM slot goes */
	assert_int_equal(fake_at(&f->vm, 0x100000)->slot.id, id);
	mem_region_set(f->mem, over, 4 * PAGE, REGION_IO, true);
	mem_commit(f->mem, NULL);
	assert_int_equal(f->vm.sets, sets + 1);
	mem_region_set(f->mem, over, 4 * PAGE, REGION_IO, false);
	mem_commit(f->mem, NULL);
	assert_int_equal(f->vm.sets, sets + 4); /* two go, one comes */
	assert_int_equal(fake_at(&f->vm, 0x100000)->slot.id, id);
}

/* R2: a freed id comes back as late as possible. */
static void test_slot_ids_go_round(void **state)
{
	struct fixture *f = *state;
	struct region *r = add(f, 0, REGION_RAM, 0, PAGE, 0);
	bool seen[4096] = {false};
	unsigned i;

	for (i = 0; i < 4000; i++) {
		uint32_t id;

		mem_region_set(f->mem, r, (i + 1) * PAGE, REGION_RAM, true);
		mem_commit(f->mem, NULL);
		id = fake_at(&f->vm, (i + 1) * PAGE)->slot.id;
		assert_true(id < 4096);
		assert_false(seen[id]);
		seen[id] = true;
	}
}

/* ---- dirty bits ---- */

static bool took(struct mem_client *c, struct ram_block *b, unsigned page)
{
	uint64_t bits[1];

	mem_client_take(c, b, 0, 16, bits);
	return bits[0] >> page & 1;
}

static void drain(struct mem_client *c, struct ram_block *b)
{
	uint64_t bits[1];

	mem_client_take(c, b, 0, 16, bits);
}

static void test_client_starts_all_dirty(void **state)
{
	struct fixture *f = *state;
	struct mem_client *c;
	uint64_t bits[2];

	add(f, 0, REGION_RAM, 0, BLOCK_LEN, 0);
	mem_commit(f->mem, NULL);
	assert_false(fake_at(&f->vm, 0)->slot.log_dirty);
	c = mem_client_create(f->mem, "one", NULL);
	assert_true(fake_at(&f->vm, 0)->slot.log_dirty);
	assert_int_equal(mem_client_take(c, f->blocks[0], 0, 128, bits), 16);
	assert_int_equal(bits[0], 0xffff);
	assert_int_equal(bits[1], 0);
	assert_int_equal(mem_client_take(c, f->blocks[0], 0, 128, bits), 0);
	assert_int_equal(mem_client_take(c, f->blocks[0], 64, 64, bits), 0);
	mem_client_destroy(f->mem, c);
	assert_false(fake_at(&f->vm, 0)->slot.log_dirty);
}

/* R1: bits that the engine holds survive the slot. */
static void test_split_keeps_bits(void **state)
{
	struct fixture *f = *state;
	struct mem_event events[16];
	struct mem_client *c;
	struct region *over;
	size_t n;

	add(f, 0, REGION_RAM, 0, BLOCK_LEN, 0);
	over = add(f, 1, REGION_ROM, 4 * PAGE, PAGE, 1);
	mem_region_set(f->mem, over, 4 * PAGE, REGION_ROM, false);
	mem_commit(f->mem, NULL);
	c = mem_client_create(f->mem, "one", f->blocks[0]);
	drain(c, f->blocks[0]);
	fake_write(&f->vm, 2 * PAGE);
	fake_write(&f->vm, 4 * PAGE);
	fake_write(&f->vm, 15 * PAGE);
	n = mem_copy_events(f->mem, 0, events, 16);
	mem_region_set(f->mem, over, 4 * PAGE, REGION_ROM, true);
	mem_commit(f->mem, NULL);
	assert_int_equal(mem_copy_events(f->mem, events[n - 1].seq, events, 16),
			 4);
	assert_int_equal(events[0].kind, MEM_SLOT_DESTROYED);
	assert_int_equal(events[0].dirty_carried, 3);
	assert_string_equal(events[0].block, "block0");
	fake_write(&f->vm, 5 * PAGE);
	mem_harvest(f->mem);
	{
		uint64_t bits;

		assert_int_equal(mem_client_take(c, f->blocks[0], 0, 16, &bits),
				 4);
		assert_int_equal(bits, 1u << 2 | 1u << 4 | 1u << 5 | 1u << 15);
	}
}

/* A slot begins anywhere in its block, and its bits land in two words. */
static void test_slot_inside_a_block(void **state)
{
	static const unsigned pages[] = {0, 58, 59, 63, 64, 127, 128, 199};
	struct fixture *f = *state;
	struct error e;
	struct ram_block *b = mem_block_create(f->mem, "big", 300 * PAGE, &e);
	struct region *r = add(f, 0, REGION_RAM, 0x100000, 200 * PAGE, 0);
	uint64_t bits[5], want[5] = {0};
	struct mem_client *c;
	unsigned i;

	r->block = b;
	r->block_off = 5 * PAGE;
	mem_commit(f->mem, NULL);
	c = mem_client_create(f->mem, "c", b);
	assert_int_equal(mem_client_take(c, b, 0, 300, bits), 300);
	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		unsigned page = 5 + pages[i];

		fake_write(&f->vm, 0x100000 + pages[i] * PAGE);
		want[page / 64] |= 1ull << page % 64;
	}
	mem_harvest(f->mem);
	assert_int_equal(mem_client_take(c, b, 0, 300, bits), 8);
	assert_memory_equal(bits, want, sizeof(bits));
	/* Marks cross words too. */
	mem_block_mark(b, 60 * PAGE, 140 * PAGE);
	assert_int_equal(mem_client_take(c, b, 64, 100, bits), 100);
	assert_int_equal(mem_client_take(c, b, 0, 300, bits), 40);
	assert_int_equal(bits[0], 0xfull << 60);
}

/* R3: when the engine can't say, everything is dirty. */
static void test_failed_harvest_is_all_dirty(void **state)
{
	struct fixture *f = *state;
	struct mem_client *c;
	uint64_t bits;

	add(f, 0, REGION_RAM, 0, 8 * PAGE, 0);
	mem_commit(f->mem, NULL);
	c = mem_client_create(f->mem, "one", NULL);
	drain(c, f->blocks[0]);
	f->vm.fail_dirty = -EIO;
	mem_region_set(f->mem, &f->regions[0], 0, REGION_RAM, false);
	mem_commit(f->mem, NULL);
	assert_int_equal(mem_client_take(c, f->blocks[0], 0, 16, &bits), 8);
	assert_int_equal(bits, 0xff);
}

/* R4: each client clears its own. */
static void test_clients_are_independent(void **state)
{
	struct fixture *f = *state;
	struct mem_client *a, *b;

	add(f, 0, REGION_RAM, 0, BLOCK_LEN, 0);
	mem_commit(f->mem, NULL);
	a = mem_client_create(f->mem, "a", NULL);
	b = mem_client_create(f->mem, "b", f->blocks[0]);
	drain(a, f->blocks[0]);
	drain(b, f->blocks[0]);
	fake_write(&f->vm, 3 * PAGE);
	mem_harvest(f->mem);
	assert_true(took(a, f->blocks[0], 3));
	assert_false(took(a, f->blocks[0], 3));
	fake_write(&f->vm, 3 * PAGE);
	mem_client_destroy(f->mem, a);
	assert_true(fake_at(&f->vm, 0)->slot.log_dirty);
	assert_true(took(b, f->blocks[0], 3));
	mem_harvest(f->mem);
	assert_true(took(b, f->blocks[0], 3));
}

static void test_client_places(void **state)
{
	struct fixture *f = *state;
	struct mem_client *c[MEM_MAX_CLIENTS];
	struct error e;
	struct ram_block *late;
	unsigned i;

	for (i = 0; i < MEM_MAX_CLIENTS; i++) {
		c[i] = mem_client_create(f->mem, "c", NULL);
		assert_non_null(c[i]);
	}
	assert_null(mem_client_create(f->mem, "c", NULL));
	late = mem_block_create(f->mem, "late", PAGE, &e);
	assert_true(took(c[3], late, 0));
	mem_client_destroy(f->mem, c[5]);
	drain(c[4], f->blocks[0]);
	c[5] = mem_client_create(f->mem, "c", f->blocks[1]);
	assert_non_null(c[5]);
	mem_block_mark(f->blocks[0], 0, PAGE);
	assert_false(took(c[5], f->blocks[0], 0));
	assert_true(took(c[5], f->blocks[1], 0));
	assert_true(took(c[4], f->blocks[0], 0));
}

static void test_mark_is_clamped(void **state)
{
	struct fixture *f = *state;
	struct mem_client *c = mem_client_create(f->mem, "c", NULL);
	uint64_t bits;

	drain(c, f->blocks[0]);
	mem_block_mark(f->blocks[0], BLOCK_LEN, PAGE);
	mem_block_mark(f->blocks[0], UINT64_MAX, UINT64_MAX);
	mem_block_mark(f->blocks[0], 0, 0);
	assert_int_equal(mem_client_take(c, f->blocks[0], 0, 16, &bits), 0);
	mem_block_mark(f->blocks[0], PAGE - 1, 2);
	mem_block_mark(f->blocks[0], 15 * PAGE + 7, UINT64_MAX);
	mem_client_take(c, f->blocks[0], 0, 16, &bits);
	assert_int_equal(bits, 0x8003);
}

/* Random writes, harvests, copies, map changes and failures: at the end of
 * each round both clients' copies equal the memory. */
struct copier {
	struct mem_client *client;
	uint8_t copy[BLOCKS][BLOCK_LEN / PAGE];
};

static void copier_run(struct fixture *f, struct copier *c)
{
	unsigned b, page;
	uint64_t bits;

	for (b = 0; b < BLOCKS; b++) {
		mem_client_take(c->client, f->blocks[b], 0, 16, &bits);
		for (page = 0; page < 16; page++) {
			if (bits >> page & 1)
				c->copy[b][page] = mem_block_host(
					f->blocks[b])[page * PAGE];
		}
	}
}

static void copier_check(struct fixture *f, struct copier *c)
{
	unsigned b, page;

	for (b = 0; b < BLOCKS; b++) {
		for (page = 0; page < 16; page++)
			assert_int_equal(
				c->copy[b][page],
				mem_block_host(f->blocks[b])[page * PAGE]);
	}
}

static void random_write(struct fixture *f, unsigned *seed)
{
	gpa_t gpa = pick(seed, PAGES) * PAGE;
	struct fake_slot *s = fake_at(&f->vm, gpa);
	uint8_t value = (uint8_t)pick(seed, 256);

	if (pick(seed, 3) == 0) {
		dma_write(f->mem, gpa, &value, 1);
	} else if (s && !s->slot.readonly) {
		((uint8_t *)s->slot.host)[gpa - s->slot.gpa] = value;
		fake_write(&f->vm, gpa);
	}
}

static void random_change(struct fixture *f, unsigned *seed)
{
	struct region *r = &f->regions[pick(seed, REGIONS)];

	mem_region_set(f->mem, r, pick(seed, PAGES) * PAGE, pick(seed, 4),
		       pick(seed, 4) != 0);
	f->vm.fail_dirty = pick(seed, 10) ? 0 : -EIO;
	mem_commit(f->mem, NULL);
	f->vm.fail_dirty = 0;
}

static void test_random_dirty(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 4, round, i;
	struct copier c[2] = {{0}};

	for (i = 0; i < REGIONS; i++) {
		random_region(f, i, &seed);
		f->regions[i].block_off &= ~(uint64_t)(PAGE - 1);
	}
	mem_commit(f->mem, NULL);
	c[0].client = mem_client_create(f->mem, "a", NULL);
	c[1].client = mem_client_create(f->mem, "b", NULL);
	for (round = 0; round < 500; round++) {
		for (i = 0; i < 40; i++) {
			switch (pick(&seed, 8)) {
			case 0:
				random_change(f, &seed);
				break;
			case 1:
				mem_harvest_block(f->mem,
						  f->blocks[pick(&seed, 3)]);
				break;
			case 2:
				copier_run(f, &c[pick(&seed, 2)]);
				break;
			default:
				random_write(f, &seed);
			}
		}
		mem_harvest(f->mem);
		copier_run(f, &c[0]);
		copier_check(f, &c[0]);
		if (round % 3)
			continue;
		copier_run(f, &c[1]);
		copier_check(f, &c[1]);
	}
}

/* Devices' threads write and mark while a client takes and copies. */
struct marker {
	struct ram_block *block;
	unsigned first; /* page; three pages are this thread's */
	pthread_t thread;
};

static void *marker_thread(void *arg)
{
	struct marker *m = arg;
	unsigned i;

	for (i = 1; i <= 20000; i++) {
		unsigned page = m->first + i % 3;

		__atomic_store_n(
			(unsigned *)(mem_block_host(m->block) + page * PAGE), i,
			__ATOMIC_RELAXED);
		mem_block_mark(m->block, page * PAGE, 4);
	}
	return NULL;
}

static void copy_counts(struct mem_client *c, struct ram_block *b,
			unsigned *copy)
{
	unsigned page;
	uint64_t bits;

	mem_client_take(c, b, 0, 16, &bits);
	for (page = 0; page < 16; page++) {
		if (bits >> page & 1)
			copy[page] = __atomic_load_n(
				(unsigned *)(mem_block_host(b) + page * PAGE),
				__ATOMIC_RELAXED);
	}
}

static void test_mark_and_take_at_once(void **state)
{
	struct fixture *f = *state;
	struct mem_client *c = mem_client_create(f->mem, "c", NULL);
	unsigned copy[16] = {0}, i;
	struct marker m[4];

	for (i = 0; i < 4; i++) {
		m[i].block = f->blocks[0];
		m[i].first = i * 4;
		pthread_create(&m[i].thread, NULL, marker_thread, &m[i]);
	}
	for (i = 0; i < 5000; i++)
		copy_counts(c, f->blocks[0], copy);
	for (i = 0; i < 4; i++)
		pthread_join(m[i].thread, NULL);
	copy_counts(c, f->blocks[0], copy);
	for (i = 0; i < 16; i++)
		assert_int_equal(
			copy[i],
			*(unsigned *)(mem_block_host(f->blocks[0]) + i * PAGE));
}

/* ---- DMA ---- */

static void test_dma(void **state)
{
	struct fixture *f = *state;
	uint8_t out[3 * PAGE], in[3 * PAGE];
	struct mem_client *c;
	unsigned i;

	add(f, 0, REGION_RAM, 0, 2 * PAGE, 0);
	add(f, 1, REGION_RAM, 2 * PAGE, 2 * PAGE, 0);
	add(f, 2, REGION_ROM, 4 * PAGE, PAGE, 0);
	add(f, 3, REGION_IO, 6 * PAGE, PAGE, 0);
	mem_commit(f->mem, NULL);
	c = mem_client_create(f->mem, "c", NULL);
	drain(c, f->blocks[0]);
	drain(c, f->blocks[1]);
	for (i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7);
	assert_int_equal(dma_write(f->mem, PAGE + 100, out, 2 * PAGE), 0);
	assert_int_equal(dma_read(f->mem, PAGE + 100, in, 2 * PAGE), 0);
	assert_memory_equal(in, out, 2 * PAGE);
	assert_memory_equal(mem_block_host(f->blocks[1]), out + (PAGE - 100),
			    PAGE);
	assert_true(took(c, f->blocks[0], 1));
	assert_true(took(c, f->blocks[1], 0));
	/* A write to ROM vanishes. */
	assert_int_equal(dma_write(f->mem, 4 * PAGE - 8, out, 16), 0);
	assert_int_equal(mem_block_host(f->blocks[2])[0], 0);
	/* Holes, handlers and wild addresses are refused. */
	assert_int_equal(dma_read(f->mem, 5 * PAGE - 1, in, 2), -EFAULT);
	assert_int_equal(dma_read(f->mem, 6 * PAGE, in, 1), -EFAULT);
	assert_int_equal(dma_write(f->mem, UINT64_MAX - 3, out, 8), -EFAULT);
	assert_int_equal(dma_read(f->mem, UINT64_MAX, in, 1), -EFAULT);
	assert_int_equal(dma_read(f->mem, UINT64_MAX, in, 0), 0);
}

static void test_dma_map(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[8];
	struct mem_client *c;
	uint64_t bits;

	add(f, 0, REGION_RAM, 0, 2 * PAGE, 0);
	add(f, 1, REGION_RAM, 2 * PAGE, 2 * PAGE, 0);
	add(f, 2, REGION_ROM, 4 * PAGE, PAGE, 0);
	mem_commit(f->mem, NULL);
	c = mem_client_create(f->mem, "c", NULL);
	drain(c, f->blocks[0]);
	drain(c, f->blocks[1]);
	assert_int_equal(dma_map(f->mem, PAGE, 2 * PAGE, true, iov, 2), 2);
	assert_ptr_equal(iov[0].iov_base, mem_block_host(f->blocks[0]) + PAGE);
	assert_ptr_equal(iov[1].iov_base, mem_block_host(f->blocks[1]));
	assert_int_equal(iov[1].iov_len, PAGE);
	assert_int_equal(dma_map(f->mem, PAGE, 2 * PAGE, true, iov, 1), -E2BIG);
	assert_int_equal(dma_map(f->mem, 4 * PAGE, 8, true, iov, 2), -EFAULT);
	assert_int_equal(dma_map(f->mem, 4 * PAGE, 8, false, iov, 2), 1);
	assert_int_equal(dma_map(f->mem, 0, UINT64_MAX, false, iov, 8),
			 -EFAULT);
	assert_int_equal(dma_map(f->mem, PAGE, 2 * PAGE, true, iov, 2), 2);
	dma_mark_iov(f->mem, iov, 2, PAGE);
	assert_int_equal(mem_client_take(c, f->blocks[1], 0, 16, &bits), 0);
	assert_true(took(c, f->blocks[0], 1));
	dma_mark_iov(f->mem, iov, 2, UINT64_MAX);
	assert_true(took(c, f->blocks[1], 0));
}

static void test_snapshots(void **state)
{
	struct fixture *f = *state;
	struct mem_row rows[8];
	struct mem_client *c;

	add(f, 0, REGION_RAM, 0, 2 * PAGE, 0);
	add(f, 2, REGION_ROM, 4 * PAGE, PAGE, 3);
	mem_commit(f->mem, NULL);
	c = mem_client_create(f->mem, "c", f->blocks[0]);
	drain(c, f->blocks[0]);
	mem_block_mark(f->blocks[0], 0, 2 * PAGE);
	assert_int_equal(mem_copy_blocks(f->mem, rows, 8), BLOCKS);
	assert_string_equal(rows[0].name, "block0");
	assert_int_equal(rows[0].dirty_pages, 2);
	assert_true(rows[0].logged);
	assert_false(rows[1].logged);
	assert_int_equal(mem_copy_regions(f->mem, rows, 8), 2);
	assert_int_equal(rows[1].priority, 3);
	assert_int_equal(mem_copy_regions(f->mem, rows, 1), 1);
	assert_int_equal(mem_copy_slots(f->mem, rows, 8), 2);
	assert_true(rows[0].logged);
	assert_int_equal(rows[1].kind, REGION_ROM);
	assert_int_equal(rows[1].gpa, 4 * PAGE);
}

static void test_bad_blocks(void **state)
{
	struct fixture *f = *state;
	struct error e = {0};

	assert_null(mem_block_create(f->mem, "x", 0, &e));
	assert_null(mem_block_create(f->mem, "x", PAGE + 1, &e));
	assert_null(mem_block_create(f->mem, "x", UINT64_MAX - 0xfff, &e));
	assert_int_equal(e.code, -EINVAL);
	assert_ptr_equal(mem_block_find(f->mem, "block1"), f->blocks[1]);
	assert_null(mem_block_find(f->mem, "x"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_random_maps),
		TEST(test_end_of_address_space),
		TEST(test_refused_slot),
		TEST(test_untouched_slots_stay),
		TEST(test_slot_ids_go_round),
		TEST(test_client_starts_all_dirty),
		TEST(test_split_keeps_bits),
		TEST(test_slot_inside_a_block),
		TEST(test_failed_harvest_is_all_dirty),
		TEST(test_clients_are_independent),
		TEST(test_client_places),
		TEST(test_mark_is_clamped),
		TEST(test_random_dirty),
		TEST(test_mark_and_take_at_once),
		TEST(test_dma),
		TEST(test_dma_map),
		TEST(test_snapshots),
		TEST(test_bad_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
