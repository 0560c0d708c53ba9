/*
 * Tiny hand-assembled guests on the host's KVM, through the whole engine:
 * world, memory map, bus and vCPU threads.
 */
#include "tests/unit/engine.h"
#include "tests/unit/engine_guests.h"

#include <cpuid.h>
#include <errno.h>

#define BOOT(en, mode, guest) engine_boot(en, mode, guest, sizeof(guest))

/* mov dx, 0x3f8; mov al, 'H'; out dx, al; mov al, 'i'; out dx, al; hlt; jmp */
static const uint8_t hello[] = {0xba, 0xf8, 0x03, 0xb0, 'H',  0xee,
				0xb0, 'i',  0xee, 0xf4, 0xeb, 0xfd};

static uint32_t ram32(struct engine *en, unsigned at)
{
	uint32_t v;

	memcpy(&v, mem_block_host(en->ram) + at, sizeof(v));
	return v;
}

static void test_hello(void **state)
{
	struct engine *en = *state;
	struct vcpu_status status;

	BOOT(en, ENGINE_REAL, hello);
	vcpu_status_copy(en->vcpus, 0, &status);
	assert_int_equal(status.state, VCPU_PAUSED);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 2));
	assert_string_equal(en->output, "Hi");
	vcpu_status_copy(en->vcpus, 0, &status);
	assert_int_equal(status.state, VCPU_RUNNING);
	assert_int_equal(status.pio, 2);
	vcpu_set_pause(en->vcpus);
	vcpu_status_copy(en->vcpus, 0, &status);
	assert_int_equal(status.state, VCPU_PAUSED);
	assert_in_range(status.rip, ENGINE_ENTRY, ENGINE_ENTRY + sizeof(hello));
	assert_true(status.kicks > 0);
}

static void test_long_mode(void **state)
{
	struct engine *en = *state;

	BOOT(en, ENGINE_LONG, guest_print64);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 2));
	assert_string_equal(en->output, "64");
}

/* What the CPU says of itself: its number among three, its name; nothing of
 * virtualization inside. */
static void test_cpuid(void **state)
{
	struct engine *en = engine_create(&kvm_accel, 3);
	uint32_t host[4];

	(void)state;
	BOOT(en, ENGINE_LONG, guest_cpuid);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 1));
	assert_int_equal(ram32(en, 0x5004) >> 24, 0);	     /* APIC id */
	assert_int_equal(ram32(en, 0x5004) >> 16 & 0xff, 4); /* ids */
	assert_true(ram32(en, 0x5008) & 1u << 31);	     /* hypervisor */
	assert_false(ram32(en, 0x5008) & 1u << 5);	     /* VMX */
	if (ram32(en, 0x5018)) {
		assert_int_equal(ram32(en, 0x5010), 2); /* bits of an id */
		assert_int_equal(ram32(en, 0x5014), 3); /* CPUs */
	}
	__cpuid(0x80000002, host[0], host[1], host[2], host[3]);
	assert_int_equal(ram32(en, 0x5020), host[0]);
	assert_int_equal(ram32(en, 0x502c), host[3]);
	assert_false(ram32(en, 0x5038) & 1u << 2); /* SVM */
	engine_destroy(en);
}

/* ---- memory-mapped handlers ---- */

struct access_log {
	unsigned nr;
	struct {
		uint64_t off, value;
		unsigned len;
		bool write;
	} at[16];
};

static void note(struct access_log *log, uint64_t off, uint64_t value,
		 unsigned len, bool write)
{
	if (log->nr == 16)
		return;
	log->at[log->nr].off = off;
	log->at[log->nr].value = value;
	log->at[log->nr].len = len;
	log->at[log->nr++].write = write;
}

static uint64_t log_read(void *opaque, uint64_t off, unsigned len)
{
	note(opaque, off, 0, len, false);
	return 0xa0a1a2a3u + off;
}

static void log_write_access(void *opaque, uint64_t off, uint64_t value,
			     unsigned len)
{
	note(opaque, off, value, len, true);
}

static const struct bus_ops log_ops = {.read = log_read,
				       .write = log_write_access};

static void test_mmio_and_strings(void **state)
{
	static const struct {
		uint64_t off, value;
		unsigned len;
	} want[6] = {{0, 0, 1},	   {2, 0, 2},	    {4, 0, 4},
		     {8, 0x11, 1}, {10, 0x2222, 2}, {12, 0x33333333, 4}};
	struct engine *en = *state;
	struct access_log log = {0};
	struct region r = {.name = "io",
			   .kind = REGION_IO,
			   .gpa = 0xd0000000,
			   .len = 0x1000,
			   .priority = 1,
			   .enabled = true,
			   .ops = &log_ops,
			   .opaque = &log};
	unsigned i;

	engine_add_region(en, &r);
	BOOT(en, ENGINE_FLAT32, guest_mmio);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 1));
	vcpu_set_pause(en->vcpus);
	assert_int_equal(log.nr, 6);
	for (i = 0; i < 6; i++) {
		assert_int_equal(log.at[i].off, want[i].off);
		assert_int_equal(log.at[i].value, want[i].value);
		assert_int_equal(log.at[i].len, want[i].len);
		assert_int_equal(log.at[i].write, i >= 3);
	}
	assert_int_equal(ram32(en, 0x5000), 0xa0a1a2a7);
	assert_int_equal(ram32(en, 0x6000), 0x03020100);
	mem_region_remove(en->mem, &r);
	mem_commit(en->mem, NULL);
}

/* ROM keeps its bytes, a hole reads as ones, and neither ends the guest. */
static void test_rom_and_hole(void **state)
{
	struct engine *en = *state;
	struct error e;
	struct ram_block *b = mem_block_create(en->mem, "rom", 0x1000, &e);
	struct region r = {.name = "rom",
			   .kind = REGION_ROM,
			   .gpa = 0x2000000,
			   .len = 0x1000,
			   .enabled = true,
			   .block = b};
	struct region reserved = {.name = "reserved",
				  .kind = REGION_RESERVED,
				  .gpa = 0x3000000,
				  .len = 0x1000,
				  .enabled = true};

	memset(mem_block_host(b), 0x5a, 0x1000);
	engine_add_region(en, &r);
	engine_add_region(en, &reserved);
	BOOT(en, ENGINE_FLAT32, guest_rom);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 2));
	vcpu_set_pause(en->vcpus);
	assert_int_equal(ram32(en, 0x5000), 0x5a5a5a5a);
	assert_int_equal(ram32(en, 0x5004), 0xffffffff);
	assert_int_equal(ram32(en, 0x5008), 0xffffffff);
	assert_true(bus_unclaimed(en->bus) >= 3);
	mem_region_remove(en->mem, &r);
	mem_region_remove(en->mem, &reserved);
	mem_commit(en->mem, NULL);
}

/* ---- ends ---- */

static void test_triple_fault(void **state)
{
	struct engine *en = *state;
	struct vcpu_status status;
	struct error e = {0};

	BOOT(en, ENGINE_FLAT32, guest_triple);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait(&en->crashes, 1));
	assert_true(en->triple_fault);
	vcpu_set_pause(en->vcpus);
	vcpu_status_copy(en->vcpus, 0, &status);
	assert_int_equal(status.state, VCPU_CRASHED);
	assert_non_null(strstr(en->crash_text, "triple fault"));
	assert_true(strstr(en->crash_text, "32-bit protected mode") ||
		    strstr(en->crash_text, "forgets its registers"));
	assert_non_null(strstr(en->crash_text, "cr0"));
	/* A reset brings it back to the first instruction of a PC. */
	if (vcpu_set_reset(en->vcpus, &e))
		fail_msg("%s", e.msg);
	vcpu_status_copy(en->vcpus, 0, &status);
	assert_int_equal(status.state, VCPU_PAUSED);
	assert_int_equal(status.rip, 0xfff0);
	BOOT(en, ENGINE_REAL, hello);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 2));
	assert_string_equal(en->output, "Hi");
}

/* Jumping into a hole is a guest's error, not the program's. */
static void test_code_in_a_hole(void **state)
{
	/* jmp 0x8000:0 with RAM up to 16 MiB hidden there */
	static const uint8_t code[] = {0xea, 0x00, 0x00, 0x00, 0x80};
	struct engine *en = *state;
	struct region hole = {.name = "hole",
			      .kind = REGION_RESERVED,
			      .gpa = 0x80000,
			      .len = 0x1000,
			      .priority = 1,
			      .enabled = true};

	engine_add_region(en, &hole);
	BOOT(en, ENGINE_REAL, code);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait(&en->crashes, 1));
	assert_non_null(strstr(en->crash_text, "rip"));
	vcpu_set_pause(en->vcpus);
	mem_region_remove(en->mem, &hole);
	mem_commit(en->mem, NULL);
}

/* ---- kicks ---- */

static void no_pio(void *opaque, uint16_t port, void *data, unsigned len,
		   unsigned count, bool write)
{
	(void)opaque;
	(void)port;
	(void)write;
	memset(data, 0xff, (size_t)len * count);
}

static void no_mmio(void *opaque, uint64_t gpa, void *data, unsigned len,
		    bool write)
{
	(void)opaque;
	(void)gpa;
	if (!write)
		memset(data, 0xff, len);
}

struct kicker {
	struct accel_vcpu *vcpu;
	unsigned want, quit; /* atomic */
};

static void *kicker_thread(void *arg)
{
	struct kicker *k = arg;
	unsigned done = 0;

	while (!__atomic_load_n(&k->quit, __ATOMIC_ACQUIRE)) {
		unsigned want = __atomic_load_n(&k->want, __ATOMIC_ACQUIRE);

		if (want == done)
			continue;
		done = want;
		kvm_accel.kick(k->vcpu);
	}
	return NULL;
}

/* Kicks before, at and after the start of run() all end it. */
static void test_no_kick_is_lost(void **state)
{
	struct accel_bus bus = {.pio = no_pio, .mmio = no_mmio};
	struct error e = {0};
	struct accel_vm *vm = kvm_accel.vm_create(1, &e);
	struct world *world = world_create();
	struct mem *mem = mem_create(&kvm_accel, vm, world, NULL, &e);
	struct ram_block *ram = mem_block_create(mem, "ram", 0x1000, &e);
	struct region r = {.kind = REGION_RAM,
			   .gpa = 0xfffff000,
			   .len = 0x1000,
			   .enabled = true,
			   .block = ram};
	struct kicker k = {0};
	pthread_t thread;
	char text[64];
	unsigned i;

	(void)state;
	memcpy(mem_block_host(ram) + 0xff0, guest_loop16, 2);
	mem_region_add(mem, &r);
	mem_commit(mem, NULL);
	k.vcpu = kvm_accel.vcpu_create(vm, 0, &e);
	assert_non_null(k.vcpu);
	kvm_accel.kick(k.vcpu);
	assert_int_equal(kvm_accel.run(k.vcpu, &bus, text, sizeof(text)),
			 ACCEL_EXIT_KICK);
	pthread_create(&thread, NULL, kicker_thread, &k);
	for (i = 1; i <= 300; i++) {
		__atomic_store_n(&k.want, i, __ATOMIC_RELEASE);
		/* A kick that came twice counts once: run may return for
		 * the one before, never hang. */
		assert_int_equal(
			kvm_accel.run(k.vcpu, &bus, text, sizeof(text)),
			ACCEL_EXIT_KICK);
	}
	__atomic_store_n(&k.quit, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	kvm_accel.vcpu_destroy(k.vcpu);
	mem_destroy(mem);
	world_destroy(world);
	kvm_accel.vm_destroy(vm);
}

static void test_pause_resume_many(void **state)
{
	struct engine *en = *state;
	struct vcpu_status status;
	unsigned i;

	BOOT(en, ENGINE_REAL, guest_loop16);
	for (i = 0; i < 100; i++) {
		vcpu_set_resume(en->vcpus);
		vcpu_set_pause(en->vcpus);
	}
	vcpu_status_copy(en->vcpus, 0, &status);
	assert_int_equal(status.rip, ENGINE_ENTRY);
	assert_int_equal(en->crashes, 0);
}

/* ---- interrupts and a second CPU ---- */

static void test_interrupt_line(void **state)
{
	struct engine *en = *state;
	struct chipset_state *chips = calloc(1, sizeof(*chips));
	uint16_t *vector = (uint16_t *)mem_block_host(en->ram) + 2 * (8 + 4);
	struct error e = {0};
	struct irq irq;
	unsigned i;

	assert_int_equal(
		en->accel->fast->chipset_state(en->vm, ACCEL_GET, chips, &e),
		0);
	chips->pic_master.chip.pic.irq_base = 8;
	chips->pic_master.chip.pic.imr = 0;
	if (en->accel->fast->chipset_state(en->vm, ACCEL_SET, chips, &e))
		fail_msg("%s", e.msg);
	free(chips);
	vector[0] = ENGINE_ENTRY + 0x10;
	vector[1] = 0;
	irq_init(&irq, en->irq, 4);
	BOOT(en, ENGINE_REAL, guest_irq16);
	vcpu_set_resume(en->vcpus);
	for (i = 1; i <= 5; i++) {
		irq_pulse(&irq);
		assert_true(engine_wait_output(en, i));
	}
	assert_int_equal(irq.raised, 5);
	assert_string_equal(en->output, "IIIII");
}

static void test_second_cpu(void **state)
{
	struct engine *en = engine_create(&kvm_accel, 2);
	struct vcpu_status status;

	(void)state;
	memcpy(mem_block_host(en->ram) + 0x2000, guest_ap, sizeof(guest_ap));
	BOOT(en, ENGINE_REAL, guest_loop16);
	vcpu_set_resume(en->vcpus);
	vcpu_status_copy(en->vcpus, 1, &status);
	assert_int_equal(status.state, VCPU_WAITING_SIPI);
	vcpu_set_pause(en->vcpus);
	assert_int_equal(en->nr_output, 0);
	BOOT(en, ENGINE_FLAT32, guest_sipi);
	vcpu_set_resume(en->vcpus);
	assert_true(engine_wait_output(en, 1));
	assert_string_equal(en->output, "A");
	vcpu_status_copy(en->vcpus, 1, &status);
	assert_int_equal(status.state, VCPU_RUNNING);
	engine_destroy(en);
}

static void test_errors_are_sentences(void **state)
{
	struct engine *en = *state;
	struct error e = {0};

	assert_null(vcpu_set_create(&kvm_accel, en->vm, en->world, en->bus, 17,
				    NULL, NULL, &e));
	assert_string_equal(e.msg, "17 vCPUs: 1 to 16 are possible");
	assert_int_equal(vcpu_state_copy(en->vcpus, 3, ACCEL_GET, NULL, &e),
			 -EINVAL);
}

#define TEST(fn)                                                               \
	cmocka_unit_test_setup_teardown(fn, engine_setup, engine_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hello),
		TEST(test_long_mode),
		cmocka_unit_test(test_cpuid),
		TEST(test_mmio_and_strings),
		TEST(test_rom_and_hole),
		TEST(test_triple_fault),
		TEST(test_code_in_a_hole),
		cmocka_unit_test(test_no_kick_is_lost),
		TEST(test_pause_resume_many),
		TEST(test_interrupt_line),
		cmocka_unit_test(test_second_cpu),
		TEST(test_errors_are_sentences),
	};

	engine_skip_without_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
