#include "tests/unit/fake_accel.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/vcpu_dump.h"
#include "core/vcpu_state.h"

#define RAM 0x100000u

struct fixture {
	struct accel_vm vm;
	struct world *world;
	struct mem *mem;
	struct region region;
	uint8_t *ram;
	struct vcpu_state s;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error e;
	struct ram_block *b;

	f->world = world_create();
	f->mem = mem_create(&fake_accel, &f->vm, f->world, NULL, &e);
	b = mem_block_create(f->mem, "ram", RAM, &e);
	f->ram = mem_block_host(b);
	f->region = (struct region){
		.kind = REGION_RAM, .len = RAM, .enabled = true, .block = b};
	mem_region_add(f->mem, &f->region);
	mem_commit(f->mem, NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mem_destroy(f->mem);
	world_destroy(f->world);
	fake_fini(&f->vm);
	free(f);
	return 0;
}

static void put64(struct fixture *f, unsigned at, uint64_t v)
{
	memcpy(f->ram + at, &v, sizeof(v));
}

static void put32(struct fixture *f, unsigned at, uint32_t v)
{
	memcpy(f->ram + at, &v, sizeof(v));
}

static uint64_t walk(struct fixture *f, uint64_t linear)
{
	uint64_t gpa;

	return vcpu_walk(&f->s, f->mem, linear, &gpa) ? UINT64_MAX : gpa;
}

static void test_no_paging(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(walk(f, 0x123456789), 0x23456789);
}

static void test_long_mode(void **state)
{
	struct fixture *f = *state;

	f->s.sregs.cr0 = 1u << 31 | 1;
	f->s.sregs.efer = 1 << 10;
	f->s.sregs.cr3 = 0x1000;
	put64(f, 0x1000 + 8 * 511, 0x2003);
	put64(f, 0x2000 + 8 * 510, 0x3003);
	put64(f, 0x2000 + 8 * 1, 0x40000083); /* 1 GiB */
	put64(f, 0x3000 + 8 * 0, 0x4003);
	put64(f, 0x3000 + 8 * 1, 0x600083); /* 2 MiB */
	put64(f, 0x4000 + 8 * 5, 0x8000000000077003);
	assert_int_equal(walk(f, 0xffffffff80005123), 0x77123);
	assert_int_equal(walk(f, 0xffffffff80212345), 0x612345);
	assert_int_equal(walk(f, 0xffffff8041234567), 0x41234567);
	assert_int_equal(walk(f, 0xffffffff80006000), UINT64_MAX);
	assert_int_equal(walk(f, 0), UINT64_MAX);
	/* Tables outside RAM. */
	f->s.sregs.cr3 = 0xdeadbeef000;
	assert_int_equal(walk(f, 0), UINT64_MAX);
	put64(f, 0x1000, 0xfffffffffffff003);
	f->s.sregs.cr3 = 0x1000;
	assert_int_equal(walk(f, 0), UINT64_MAX);
	/* A fifth level in front. */
	put64(f, 0x5000 + 8 * 3, 0x1003);
	f->s.sregs.cr3 = 0x5000;
	f->s.sregs.cr4 = 1 << 12;
	assert_int_equal(walk(f, 3ull << 48 | 0xffff80005123), 0x77123);
}

static void test_pae(void **state)
{
	struct fixture *f = *state;

	f->s.sregs.cr0 = 1u << 31 | 1;
	f->s.sregs.cr4 = 1 << 5;
	f->s.sregs.cr3 = 0x1020;
	put64(f, 0x1020 + 8 * 3, 0x2001);
	put64(f, 0x2000 + 8 * 1, 0x3003);
	put64(f, 0x2000 + 8 * 2, 0x200083);
	put64(f, 0x3000 + 8 * 7, 0x55003);
	assert_int_equal(walk(f, 0xc0207abc), 0x55abc);
	assert_int_equal(walk(f, 0xc0412345), 0x212345);
	assert_int_equal(walk(f, 0x00001000), UINT64_MAX);
}

static void test_32_bit(void **state)
{
	struct fixture *f = *state;

	f->s.sregs.cr0 = 1u << 31 | 1;
	f->s.sregs.cr4 = 1 << 4;
	f->s.sregs.cr3 = 0x1000;
	put32(f, 0x1000 + 4 * 1, 0x2003);
	put32(f, 0x1000 + 4 * 2, 0x400083);
	put32(f, 0x2000 + 4 * 3, 0x66003);
	assert_int_equal(walk(f, 0x403def), 0x66def);
	assert_int_equal(walk(f, 0x812345), 0x412345);
	assert_int_equal(walk(f, 0xc00000), UINT64_MAX);
}

static void test_text(void **state)
{
	struct fixture *f = *state;
	char text[2048], *line;

	f->s.regs.rip = 0x10;
	f->s.regs.rax = 0xdeadbeef;
	f->s.sregs.cs.base = 0x7c00;
	memcpy(f->ram + 0x7c10, "\x0f\x0b\xf4", 3);
	vcpu_dump(&f->s, f->mem, text, sizeof(text));
	assert_non_null(
		strstr(text, "real mode, instruction at 7c10: 0f 0b f4"));
	assert_non_null(strstr(text, "rax 00000000deadbeef"));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		assert_true(strlen(line) <= 80);
	/* Nothing there, and no room. */
	f->s.sregs.cs.base = 0xf0000000;
	vcpu_dump(&f->s, f->mem, text, sizeof(text));
	assert_non_null(strstr(text, "f0000010: ??"));
	vcpu_dump(&f->s, f->mem, text, 10);
	assert_string_equal(text, "real mode");
	vcpu_dump(&f->s, f->mem, text, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_paging), TEST(test_long_mode), TEST(test_pae),
		TEST(test_32_bit),    TEST(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
