/*
 * Everyone changes the memory map at once: four vCPUs from a handler, the
 * test's thread, and a loop; between that the vCPUs are paused and resumed
 * from inside the world.  Nothing may hang, and no look-up may see a change.
 */
#include "tests/unit/engine.h"
#include "tests/unit/engine_guests.h"

#include "core/device.h"

#define CPUS   4
#define FLIPS  400
#define PAUSES 40

struct fight {
	struct engine *en;
	struct device dev; /* whose lock the handler runs under */
	struct bus_ports port;
	struct region over;
	unsigned flips; /* atomic */
	struct world_member member;
	unsigned quit; /* atomic */
};

static void flip(struct fight *f)
{
	unsigned n = __atomic_add_fetch(&f->flips, 1, __ATOMIC_RELAXED);

	mem_region_set(f->en->mem, &f->over, 0x9000,
		       n % 2 ? REGION_ROM : REGION_RAM, n % 3 != 0);
}

static void on_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	(void)off;
	(void)value;
	(void)len;
	flip(opaque);
}

static const struct bus_ops ops = {.write = on_write};

/* As an I/O loop does: enter, look things up, change the map, leave. */
static void *loop_thread(void *arg)
{
	struct fight *f = arg;
	uint32_t v = 0;

	while (!__atomic_load_n(&f->quit, __ATOMIC_ACQUIRE)) {
		world_enter(f->en->world, &f->member);
		assert_int_equal(dma_write(f->en->mem, 0x8ffe, &v, 4), 0);
		pthread_mutex_lock(&f->dev.lock);
		flip(f);
		pthread_mutex_unlock(&f->dev.lock);
		mem_commit(f->en->mem, &f->member);
		assert_int_equal(dma_read(f->en->mem, 0x8ffe, &v, 4), 0);
		world_leave(f->en->world, &f->member);
		engine_nap();
	}
	return NULL;
}

static void start_cpus(struct engine *en)
{
	struct vcpu_state *s = calloc(1, sizeof(*s));
	struct error e = {0};
	unsigned i;

	engine_boot(en, ENGINE_REAL, guest_flip, sizeof(guest_flip));
	for (i = 1; i < CPUS; i++) {
		vcpu_state_copy(en->vcpus, i, ACCEL_GET, s, &e);
		s->sregs.cs.base = 0;
		s->sregs.cs.selector = 0;
		s->regs.rip = ENGINE_ENTRY;
		s->mp_state.mp_state = KVM_MP_STATE_RUNNABLE;
		if (vcpu_state_copy(en->vcpus, i, ACCEL_SET, s, &e))
			fail_msg("%s", e.msg);
	}
	free(s);
}

static void wait_pio(struct engine *en, unsigned cpu)
{
	uint64_t end = loop_now_ns() + ENGINE_WAIT_NS;
	struct vcpu_status status;

	do {
		vcpu_status_copy(en->vcpus, cpu, &status);
		if (loop_now_ns() > end)
			fail_msg("CPU %u did nothing", cpu);
		engine_nap();
	} while (!status.pio);
}

static void test_fight(void **state)
{
	struct fight f = {.en = engine_create(&kvm_accel, CPUS)};
	struct world_member self = {0};
	pthread_t thread;
	unsigned i;

	(void)state;
	pthread_mutex_init(&f.dev.lock, NULL);
	f.over = (struct region){.name = "over",
				 .gpa = 0x9000,
				 .len = 0x1000,
				 .priority = 1,
				 .block = f.en->ram,
				 .block_off = 0x9000};
	f.port = (struct bus_ports){.port = 0x700,
				    .nr = 1,
				    .enabled = true,
				    .ops = &ops,
				    .dev = &f.dev,
				    .opaque = &f};
	bus_ports_add(f.en->bus, &f.port);
	engine_add_region(f.en, &f.over);
	world_add(f.en->world, &f.member);
	world_add(f.en->world, &self);
	start_cpus(f.en);
	assert_int_equal(pthread_create(&thread, NULL, loop_thread, &f), 0);
	for (i = 0; i < PAUSES; i++) {
		world_enter(f.en->world, &self);
		vcpu_set_resume(f.en->vcpus);
		flip(&f);
		mem_commit(f.en->mem, &self);
		world_leave(f.en->world, &self);
		engine_nap();
		world_enter(f.en->world, &self);
		vcpu_set_pause(f.en->vcpus);
		world_stop(f.en->world, &self);
		world_resume(f.en->world);
		world_leave(f.en->world, &self);
	}
	vcpu_set_resume(f.en->vcpus);
	assert_true(engine_wait(&f.flips, FLIPS));
	/* Each takes part, however late its thread gets a CPU. */
	for (i = 0; i < CPUS; i++)
		wait_pio(f.en, i);
	__atomic_store_n(&f.quit, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	vcpu_set_pause(f.en->vcpus);
	assert_int_equal(f.en->crashes, 0);
	world_remove(f.en->world, &self);
	world_remove(f.en->world, &f.member);
	engine_destroy(f.en);
}

/* Stopping and ending machines that never ran, and ones that run. */
static void test_short_lives(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 10; i++) {
		struct engine *en = engine_create(&kvm_accel, 1 + i % 3);

		if (i % 2) {
			engine_boot(en, ENGINE_REAL, guest_loop16,
				    sizeof(guest_loop16));
			vcpu_set_resume(en->vcpus);
		}
		engine_destroy(en);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fight),
		cmocka_unit_test(test_short_lives),
	};

	engine_skip_without_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
