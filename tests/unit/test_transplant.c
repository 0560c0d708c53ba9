/*
 * A guest that is stopped in the middle of its loop goes on in another VM:
 * memory, vCPU and interrupt chips travel through the state codec.
 */
#include "tests/unit/engine.h"
#include "tests/unit/engine_guests.h"

#include "core/migration/state.h"

#define HOPS 3

static struct vcpu_state *vcpu_get(struct engine *en, unsigned index)
{
	struct vcpu_state *s = calloc(1, sizeof(*s));
	struct error e = {0};

	assert_non_null(s);
	if (vcpu_state_copy(en->vcpus, index, ACCEL_GET, s, &e))
		fail_msg("%s", e.msg);
	return s;
}

static void save(struct engine *en, struct state_buf *buf)
{
	struct chipset_state *chips = calloc(1, sizeof(*chips));
	struct error e = {0};
	unsigned i;

	for (i = 0; i < vcpu_set_count(en->vcpus); i++) {
		struct vcpu_state *s = vcpu_get(en, i);
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		if (state_save(buf, &vcpu_state_desc, name, s, &e))
			fail_msg("%s", e.msg);
		free(s);
	}
	assert_int_equal(
		en->accel->fast->chipset_state(en->vm, ACCEL_GET, chips, &e),
		0);
	if (state_save(buf, &chipset_state_desc, "0", chips, &e))
		fail_msg("%s", e.msg);
	free(chips);
}

static void load(struct engine *en, struct state_buf *buf)
{
	struct vcpu_state *s = calloc(1, sizeof(*s));
	struct chipset_state *chips = calloc(1, sizeof(*chips));
	struct error e = {0};
	unsigned i;

	for (i = 0; i < vcpu_set_count(en->vcpus); i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		if (state_load(buf, &vcpu_state_desc, name, s, &e) ||
		    vcpu_state_copy(en->vcpus, i, ACCEL_SET, s, &e))
			fail_msg("%s", e.msg);
		/* Nothing was left out in silence. */
		assert_string_equal(e.msg, "");
	}
	if (state_load(buf, &chipset_state_desc, "0", chips, &e) ||
	    en->accel->fast->chipset_state(en->vm, ACCEL_SET, chips, &e))
		fail_msg("%s", e.msg);
	free(s);
	free(chips);
}

/* Moves everything to a new machine and ends the old one. */
static struct engine *hop(struct engine *from)
{
	struct engine *to =
		engine_create(&kvm_accel, vcpu_set_count(from->vcpus));
	struct state_buf buf = {0};

	vcpu_set_pause(from->vcpus);
	memcpy(mem_block_host(to->ram), mem_block_host(from->ram), ENGINE_RAM);
	save(from, &buf);
	load(to, &buf);
	state_buf_fini(&buf);
	engine_destroy(from);
	return to;
}

/* rbx is the rcx-th element, or the next when the count lags behind. */
static void check_sequence(const struct kvm_regs *r)
{
	uint64_t x = 0, i;

	for (i = 0; i < r->rcx; i++)
		x = x * 1103515245u + 12345u;
	if (r->rbx != x && r->rbx != x * 1103515245u)
		assert_int_equal(r->rbx, x * 1103515245u + 12345u);
}

static uint64_t counter(struct engine *en)
{
	return __atomic_load_n((uint64_t *)(mem_block_host(en->ram) + 0x5000),
			       __ATOMIC_RELAXED);
}

static void run_until(struct engine *en, uint64_t n)
{
	uint64_t end = loop_now_ns() + ENGINE_WAIT_NS;

	vcpu_set_resume(en->vcpus);
	while (counter(en) < n && loop_now_ns() < end)
		engine_nap();
	assert_true(counter(en) >= n);
}

static void test_mid_loop(void **state)
{
	struct engine *en = engine_create(&kvm_accel, 1);
	unsigned i;

	(void)state;
	engine_boot(en, ENGINE_LONG, guest_counter, sizeof(guest_counter));
	run_until(en, 20000);
	for (i = 0; i < HOPS; i++) {
		struct vcpu_state *s;

		en = hop(en);
		s = vcpu_get(en, 0);
		assert_true(s->regs.rcx >= 20000);
		assert_in_range(s->regs.rip, ENGINE_ENTRY,
				ENGINE_ENTRY + sizeof(guest_counter));
		check_sequence(&s->regs);
		free(s);
		run_until(en, counter(en) + 20000);
	}
	vcpu_set_pause(en->vcpus);
	assert_int_equal(en->crashes, 0);
	engine_destroy(en);
}

/* A port read that was under way when the guest was stopped is finished once,
 * never twice and never not. */
static void test_mid_port_read(void **state)
{
	struct engine *en = engine_create(&kvm_accel, 1);
	unsigned i;

	(void)state;
	engine_boot(en, ENGINE_REAL, guest_inloop, sizeof(guest_inloop));
	for (i = 0; i < 40; i++) {
		unsigned reads = en->reads, j;

		for (j = 0; j < 5; j++) {
			vcpu_set_resume(en->vcpus);
			assert_true(engine_wait(&en->reads, en->reads + 1));
			vcpu_set_pause(en->vcpus);
		}
		assert_true(en->reads > reads);
		assert_int_equal(en->nr_output, 0);
		if (i % 10 == 9) {
			reads = en->reads;
			en = hop(en);
			en->reads = reads;
		}
	}
	engine_destroy(en);
}

/* A halted guest with an interrupt pending in the PIC wakes after the move;
 * a second CPU still waits for its SIPI. */
static void test_pending_interrupt(void **state)
{
	struct engine *en = engine_create(&kvm_accel, 2);
	struct chipset_state *chips = calloc(1, sizeof(*chips));
	uint16_t *vector = (uint16_t *)mem_block_host(en->ram) + 2 * (8 + 4);
	struct error e = {0};
	struct vcpu_state *s;
	struct irq irq;

	(void)state;
	en->accel->fast->chipset_state(en->vm, ACCEL_GET, chips, &e);
	chips->pic_master.chip.pic.irq_base = 8;
	chips->pic_master.chip.pic.imr = 0;
	en->accel->fast->chipset_state(en->vm, ACCEL_SET, chips, &e);
	free(chips);
	vector[0] = ENGINE_ENTRY + 0x10;
	vector[1] = 0;
	irq_init(&irq, en->irq, 4);
	engine_boot(en, ENGINE_REAL, guest_irq16, sizeof(guest_irq16));
	irq_pulse(&irq);
	en = hop(en);
	s = vcpu_get(en, 1);
	assert_int_equal(s->mp_state.mp_state, KVM_MP_STATE_UNINITIALIZED);
	free(s);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 1));
	assert_string_equal(en->output, "I");
	engine_destroy(en);
}

/* Everything that was set is read back the same. */
static void test_round_trip(void **state)
{
	struct engine *en = engine_create(&kvm_accel, 1);
	struct vcpu_state *a, *b;
	struct error e = {0};
	uint32_t i;

	(void)state;
	engine_boot(en, ENGINE_LONG, guest_counter, sizeof(guest_counter));
	a = vcpu_get(en, 0);
	a->regs.r15 = 0x1122334455667788;
	a->debugregs.db[0] = 0x5000;
	a->events.nmi.masked = 1;
	a->events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	a->events.flags |= KVM_VCPUEVENT_VALID_SHADOW;
	assert_int_equal(vcpu_state_copy(en->vcpus, 0, ACCEL_SET, a, &e), 0);
	b = vcpu_get(en, 0);
	assert_memory_equal(&a->regs, &b->regs, sizeof(a->regs));
	assert_memory_equal(&a->sregs, &b->sregs, sizeof(a->sregs));
	assert_memory_equal(&a->debugregs, &b->debugregs, sizeof(a->debugregs));
	assert_memory_equal(&a->xcrs, &b->xcrs, sizeof(a->xcrs));
	assert_int_equal(b->events.nmi.masked, 1);
	/* AMD has one shadow for STI and for MOV SS. */
	assert_true(b->events.interrupt.shadow & KVM_X86_SHADOW_INT_STI);
	assert_int_equal(a->nr_msrs, b->nr_msrs);
	assert_true(a->nr_msrs > 20);
	for (i = 0; i < a->nr_msrs; i++)
		assert_int_equal(a->msrs[i].index, b->msrs[i].index);
	free(a);
	free(b);
	engine_destroy(en);
}

/* State from outside is checked before it is believed. */
static void test_hostile_state(void **state)
{
	struct vcpu_state *s = calloc(1, sizeof(*s));
	struct state_buf buf = {0};
	struct error e = {0};

	(void)state;
	s->nr_msrs = VCPU_MAX_MSRS + 1;
	assert_int_equal(state_save(&buf, &vcpu_state_desc, "0", s, &e), 0);
	assert_int_not_equal(state_load(&buf, &vcpu_state_desc, "0", s, &e), 0);
	assert_non_null(strstr(e.msg, "MSRs"));
	state_buf_fini(&buf);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mid_loop),
		cmocka_unit_test(test_mid_port_read),
		cmocka_unit_test(test_pending_interrupt),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_hostile_state),
	};

	engine_skip_without_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
