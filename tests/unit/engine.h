/*
 * engine: a machine without devices for tests of the engine: RAM at 0, a port
 * 0x3f8 whose bytes are kept, and vCPU threads.
 *
 * Thread rule: as the modules it is made of; the test's thread takes no part
 * in the world.
 */
#ifndef TESTS_UNIT_ENGINE_H
#define TESTS_UNIT_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/bus.h"
#include "core/error.h"
#include "core/irq.h"
#include "core/kvm.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/vcpu.h"
#include "core/vcpu_state.h"
#include "core/world.h"

#define ENGINE_RAM     (16u << 20)
#define ENGINE_ENTRY   0x1000u
#define ENGINE_PORT    0x3f8
#define ENGINE_WAIT_NS (60ull * 1000000000ull)

struct engine {
	const struct accel_ops *accel;
	struct accel_vm *vm;
	struct world *world;
	struct mem *mem;
	struct bus *bus;
	struct irq_hub *irq;
	struct vcpu_set *vcpus;
	struct ram_block *ram;
	struct region region;
	struct bus_ports port;
	pthread_mutex_t lock; /* protects output */
	char output[4096];
	unsigned nr_output; /* atomic */
	unsigned crashes;   /* atomic */
	unsigned reads;	    /* atomic */
	bool triple_fault;
	char crash_text[2048];
};

static inline void engine_skip_without_kvm(void)
{
	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("SKIP: /dev/kvm can't be used here\n");
		exit(77);
	}
}

static inline void engine_out(void *opaque, uint64_t off, uint64_t value,
			      unsigned len)
{
	struct engine *en = opaque;
	unsigned n;

	(void)off;
	(void)len;
	pthread_mutex_lock(&en->lock);
	n = en->nr_output;
	if (n + 1 < sizeof(en->output))
		en->output[n] = (char)value;
	__atomic_store_n(&en->nr_output, n + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&en->lock);
}

/* Port reads count up from 0. */
static inline uint64_t engine_in(void *opaque, uint64_t off, unsigned len)
{
	struct engine *en = opaque;

	(void)off;
	(void)len;
	return __atomic_fetch_add(&en->reads, 1, __ATOMIC_RELEASE);
}

static const struct bus_ops engine_port_ops = {
	.read = engine_in, .write = engine_out, .max_len = 1};

static inline void engine_crash(void *arg, unsigned index, bool triple_fault,
				const char *text)
{
	struct engine *en = arg;

	(void)index;
	en->triple_fault = triple_fault;
	snprintf(en->crash_text, sizeof(en->crash_text), "%s", text);
	__atomic_fetch_add(&en->crashes, 1, __ATOMIC_RELEASE);
}

static inline struct engine *engine_create(const struct accel_ops *accel,
					   unsigned nr_vcpus)
{
	struct engine *en = calloc(1, sizeof(*en));
	struct error e = {0};

	assert_non_null(en);
	pthread_mutex_init(&en->lock, NULL);
	en->accel = accel;
	en->world = world_create();
	en->vm = accel->vm_create(nr_vcpus, &e);
	if (!en->vm)
		fail_msg("%s", e.msg);
	en->mem = mem_create(accel, en->vm, en->world, NULL, &e);
	en->bus = bus_create(en->mem);
	en->irq = irq_hub_create(accel, en->vm, &e);
	en->ram = mem_block_create(en->mem, "test.ram", ENGINE_RAM, &e);
	assert_non_null(en->ram);
	en->region = (struct region){.name = "ram",
				     .kind = REGION_RAM,
				     .len = ENGINE_RAM,
				     .enabled = true,
				     .block = en->ram};
	mem_region_add(en->mem, &en->region);
	en->port = (struct bus_ports){.name = "port",
				      .port = ENGINE_PORT,
				      .nr = 8,
				      .enabled = true,
				      .ops = &engine_port_ops,
				      .opaque = en};
	bus_ports_add(en->bus, &en->port);
	bus_commit(en->bus, NULL);
	en->vcpus = vcpu_set_create(accel, en->vm, en->world, en->bus, nr_vcpus,
				    engine_crash, en, &e);
	if (!en->vcpus)
		fail_msg("%s", e.msg);
	return en;
}

static inline void engine_destroy(struct engine *en)
{
	vcpu_set_destroy(en->vcpus);
	irq_hub_destroy(en->irq);
	bus_destroy(en->bus);
	mem_destroy(en->mem);
	en->accel->vm_destroy(en->vm);
	world_destroy(en->world);
	free(en);
}

/* Adds a region over RAM's rest, IO or ROM; visible at once. */
static inline void engine_add_region(struct engine *en, struct region *r)
{
	mem_region_add(en->mem, r);
	mem_commit(en->mem, NULL);
}

static inline int engine_setup(void **state)
{
	*state = engine_create(&kvm_accel, 1);
	return 0;
}

static inline int engine_teardown(void **state)
{
	engine_destroy(*state);
	return 0;
}

enum engine_mode { ENGINE_REAL, ENGINE_FLAT32, ENGINE_LONG };

static inline void engine_flat_segment(struct kvm_segment *g, bool code,
				       bool is_long)
{
	*g = (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = code ? 8 : 16,
		.type = code ? 11 : 3,
		.present = 1,
		.db = !is_long,
		.s = 1,
		.l = is_long && code,
		.g = 1,
	};
}

/* Identity-maps the first 4 GiB by 2 MiB pages; tables at 1 MiB. */
static inline void engine_page_tables(struct engine *en)
{
	uint64_t *table = (uint64_t *)(mem_block_host(en->ram) + 0x100000);
	unsigned i;

	table[0] = 0x101000 | 3;
	for (i = 0; i < 4; i++)
		table[512 + i] = (0x102000 + i * 0x1000ull) | 3;
	for (i = 0; i < 2048; i++)
		table[1024 + i] = i * 0x200000ull | 0x83;
}

static inline void engine_enter_mode(struct engine *en, struct kvm_sregs *s,
				     enum engine_mode mode)
{
	bool is_long = mode == ENGINE_LONG;

	if (mode == ENGINE_REAL) {
		s->cs.base = 0;
		s->cs.selector = 0;
		return;
	}
	engine_flat_segment(&s->cs, true, is_long);
	engine_flat_segment(&s->ds, false, is_long);
	s->es = s->fs = s->gs = s->ss = s->ds;
	s->cr0 |= 1;
	if (is_long) {
		engine_page_tables(en);
		s->cr3 = 0x100000;
		s->cr4 |= 1 << 5;
		s->cr0 |= 1u << 31;
		s->efer |= 1 << 8 | 1 << 10;
	}
}

/* Puts code at ENGINE_ENTRY and the boot CPU before it. */
static inline void engine_boot(struct engine *en, enum engine_mode mode,
			       const void *code, size_t len)
{
	struct vcpu_state *s = malloc(sizeof(*s));
	struct error e = {0};

	memcpy(mem_block_host(en->ram) + ENGINE_ENTRY, code, len);
	assert_non_null(s);
	assert_int_equal(vcpu_state_copy(en->vcpus, 0, ACCEL_GET, s, &e), 0);
	engine_enter_mode(en, &s->sregs, mode);
	s->regs.rip = ENGINE_ENTRY;
	s->regs.rsp = 0x8000;
	s->regs.rflags = 2;
	if (vcpu_state_copy(en->vcpus, 0, ACCEL_SET, s, &e))
		fail_msg("%s", e.msg);
	free(s);
}

static inline void engine_nap(void)
{
	struct timespec ts = {.tv_nsec = 1000000};

	nanosleep(&ts, NULL);
}

/* Polls until *counter reaches n; false after a generous time. */
static inline bool engine_wait(const unsigned *counter, unsigned n)
{
	uint64_t end = loop_now_ns() + ENGINE_WAIT_NS;

	while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) < n) {
		if (loop_now_ns() > end)
			return false;
		engine_nap();
	}
	return true;
}

static inline bool engine_wait_output(struct engine *en, unsigned n)
{
	return engine_wait(&en->nr_output, n);
}

#endif
