/*
 * The split storm: a guest writes all the time while regions split and merge
 * the slot that it writes to, and a dirty client copies what it is told.
 * After each round the copy must equal the memory: 0 stale pages.
 *
 * The same storm under protocols that lose bits must find stale pages, or the
 * test proves nothing: one destroys slots without asking for their bits, one
 * asks and destroys them later while the guest runs on.
 *
 *   test_dirty_storm [ROUNDS]     (or BINNACLE_STORM_ROUNDS)
 */
#include "tests/unit/engine.h"
#include "tests/unit/engine_guests.h"

#define PAGE	    4096u
#define PAGES	    8192u
#define STORM_GPA   0x1000000u
#define OVERLAYS    8
#define CHANGES	    6 /* of the map, each round */
#define NAIVE_LIMIT 200

enum protocol { SOUND, DELETE_UNSYNCED, SYNC_THEN_DELETE };

/* What the engine's wrapper needs beside the engine. */
static struct {
	bool lose; /* slot_dirty answers "nothing" without asking */
} naive;

static int losing_slot_dirty(struct accel_vm *vm, uint32_t id, uint64_t *bitmap)
{
	if (naive.lose)
		return 0; /* the memory module cleared the bitmap */
	return kvm_accel.slot_dirty(vm, id, bitmap);
}

struct storm {
	struct engine *en;
	struct accel_ops ops;
	enum protocol protocol;
	bool vcpu_stopped; /* while the map changes */
	struct ram_block *ram;
	struct region base, over[OVERLAYS];
	struct mem_client *client;
	uint8_t *copy;
	uint64_t *bits;
	unsigned seed;
	uint64_t copied, stale, changes;
};

static unsigned pick(struct storm *s, unsigned n)
{
	s->seed = s->seed * 1103515245u + 12345u;
	return (s->seed >> 8) % n;
}

static void copy_dirty(struct storm *s)
{
	unsigned w;

	mem_harvest(s->en->mem);
	s->copied += mem_client_take(s->client, s->ram, 0, PAGES, s->bits);
	for (w = 0; w < PAGES / 64; w++) {
		uint64_t word = s->bits[w];

		while (word) {
			size_t page = w * 64 + (unsigned)__builtin_ctzll(word);

			memcpy(s->copy + page * PAGE,
			       mem_block_host(s->ram) + page * PAGE, PAGE);
			word &= word - 1;
		}
	}
}

/* The vCPU is stopped and everything harvested: what differs was lost. */
static void count_stale(struct storm *s)
{
	const uint8_t *now = mem_block_host(s->ram);
	size_t page;

	for (page = 0; page < PAGES; page++) {
		if (!memcmp(now + page * PAGE, s->copy + page * PAGE, PAGE))
			continue;
		s->stale++;
		memcpy(s->copy + page * PAGE, now + page * PAGE, PAGE);
	}
}

static void change_map(struct storm *s)
{
	static const enum region_kind kinds[] = {REGION_ROM, REGION_RAM,
						 REGION_RESERVED};
	struct region *r = &s->over[pick(s, OVERLAYS)];

	mem_region_set(s->en->mem, r, r->gpa, kinds[pick(s, 3)], pick(s, 2));
	if (s->protocol == SYNC_THEN_DELETE) {
		mem_harvest(s->en->mem);
		engine_nap();
	}
	naive.lose = s->protocol != SOUND;
	if (mem_commit_pending(s->en->mem))
		s->changes++;
	mem_commit(s->en->mem, NULL);
	naive.lose = false;
}

static void one_round(struct storm *s)
{
	unsigned i;

	if (s->vcpu_stopped) {
		vcpu_set_resume(s->en->vcpus);
		engine_nap();
		vcpu_set_pause(s->en->vcpus);
	} else {
		vcpu_set_resume(s->en->vcpus);
	}
	for (i = 0; i < CHANGES; i++) {
		change_map(s);
		if (!s->vcpu_stopped)
			engine_nap();
		if (i % 3 == 2)
			copy_dirty(s);
	}
	vcpu_set_pause(s->en->vcpus);
	copy_dirty(s);
	count_stale(s);
}

static void storm_init(struct storm *s, enum protocol protocol,
		       bool vcpu_stopped)
{
	struct error e;
	unsigned i;

	*s = (struct storm){
		.protocol = protocol, .vcpu_stopped = vcpu_stopped, .seed = 7};
	s->ops = kvm_accel;
	s->ops.slot_dirty = losing_slot_dirty;
	s->en = engine_create(&s->ops, 1);
	s->ram = mem_block_create(s->en->mem, "storm.ram", PAGES * PAGE, &e);
	s->copy = calloc(PAGES, PAGE);
	s->bits = calloc(PAGES / 64, sizeof(*s->bits));
	assert_non_null(s->ram);
	assert_non_null(s->copy);
	s->base = (struct region){.name = "storm",
				  .kind = REGION_RAM,
				  .gpa = STORM_GPA,
				  .len = PAGES * PAGE,
				  .enabled = true,
				  .block = s->ram};
	engine_add_region(s->en, &s->base);
	for (i = 0; i < OVERLAYS; i++) {
		unsigned first = (i * 2 + 1) * PAGES / (2 * OVERLAYS);

		s->over[i] = (struct region){.name = "overlay",
					     .kind = REGION_ROM,
					     .gpa = STORM_GPA + first * PAGE,
					     .len = (i + 1) * PAGE,
					     .priority = 1,
					     .block = s->ram,
					     .block_off = first * PAGE};
		engine_add_region(s->en, &s->over[i]);
	}
	s->client = mem_client_create(s->en->mem, "storm", NULL);
	engine_boot(s->en, ENGINE_FLAT32, guest_storm, sizeof(guest_storm));
}

static void storm_fini(struct storm *s)
{
	assert_int_equal(s->en->crashes, 0);
	engine_destroy(s->en);
	free(s->copy);
	free(s->bits);
}

static unsigned rounds;

static void run_sound(bool vcpu_stopped)
{
	struct storm s;
	unsigned i;

	storm_init(&s, SOUND, vcpu_stopped);
	for (i = 0; i < rounds; i++)
		one_round(&s);
	print_message("%u rounds, %llu changes of the map, %llu pages copied, "
		      "%llu stale\n",
		      rounds, (unsigned long long)s.changes,
		      (unsigned long long)s.copied,
		      (unsigned long long)s.stale);
	assert_true(s.changes > rounds);
	assert_true(s.copied > PAGES);
	assert_int_equal(s.stale, 0);
	storm_fini(&s);
}

static void run_naive(enum protocol protocol, bool vcpu_stopped)
{
	struct storm s;
	unsigned i;

	storm_init(&s, protocol, vcpu_stopped);
	for (i = 0; i < NAIVE_LIMIT && !s.stale; i++)
		one_round(&s);
	print_message("%llu stale after %u rounds\n",
		      (unsigned long long)s.stale, i);
	assert_true(s.stale > 0);
	storm_fini(&s);
}

static void test_vcpu_stopped(void **state)
{
	(void)state;
	run_sound(true);
}

static void test_vcpu_writing(void **state)
{
	(void)state;
	run_sound(false);
}

static void test_unsynced_is_caught(void **state)
{
	(void)state;
	run_naive(DELETE_UNSYNCED, true);
}

static void test_sync_then_delete_is_caught(void **state)
{
	(void)state;
	run_naive(SYNC_THEN_DELETE, false);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vcpu_stopped),
		cmocka_unit_test(test_vcpu_writing),
		cmocka_unit_test(test_unsynced_is_caught),
		cmocka_unit_test(test_sync_then_delete_is_caught),
	};
	const char *env = getenv("BINNACLE_STORM_ROUNDS");

	engine_skip_without_kvm();
	rounds = 60;
	if (argc > 1)
		rounds = (unsigned)atoi(argv[1]);
	else if (env)
		rounds = (unsigned)atoi(env);
	if (!rounds) {
		fprintf(stderr, "ROUNDS: a number from 1\n");
		return 2;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
