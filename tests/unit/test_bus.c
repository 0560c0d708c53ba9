#include "tests/unit/fake_accel.h"

#include <pthread.h>
#include <stdio.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/error.h"
#include "core/memory.h"

struct call {
	uint64_t off, value;
	unsigned len, count;
	bool write, locked;
};

struct fixture {
	struct accel_vm vm;
	struct world *world;
	struct mem *mem;
	struct bus *bus;
	struct device dev;
	struct call calls[64];
	unsigned nr;
	uint64_t answer;
	struct bus_ports *move; /* moved by the next write */
	struct region *flip;	/* hidden by the next write */
};

static struct call *note(struct fixture *f, uint64_t off, uint64_t value,
			 unsigned len, bool write)
{
	struct call *c = &f->calls[f->nr++ % 64];
	bool locked = pthread_mutex_trylock(&f->dev.lock) != 0;

	if (!locked)
		pthread_mutex_unlock(&f->dev.lock);
	*c = (struct call){.off = off,
			   .value = value,
			   .len = len,
			   .count = 1,
			   .write = write,
			   .locked = locked};
	return c;
}

static uint64_t on_read(void *opaque, uint64_t off, unsigned len)
{
	struct fixture *f = opaque;

	note(f, off, 0, len, false);
	return f->answer;
}

static void on_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct fixture *f = opaque;

	note(f, off, value, len, true);
	if (f->move)
		bus_ports_set(f->bus, f->move, 0x500, true);
	if (f->flip)
		mem_region_set(f->mem, f->flip, 0, REGION_IO, false);
	f->move = NULL;
	f->flip = NULL;
}

static void on_read_many(void *opaque, uint64_t off, void *buf, unsigned len,
			 unsigned count)
{
	note(opaque, off, 0, len, false)->count = count;
	memset(buf, 0x77, (size_t)len * count);
}

static const struct bus_ops plain = {.read = on_read, .write = on_write};
static const struct bus_ops bytes = {
	.read = on_read, .write = on_write, .max_len = 1};
static const struct bus_ops words = {
	.read = on_read, .write = on_write, .min_len = 4, .max_len = 4};
static const struct bus_ops strings = {.read = on_read,
				       .write = on_write,
				       .max_len = 2,
				       .read_many = on_read_many};
static const struct bus_ops deaf = {.max_len = 4};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error e;

	pthread_mutex_init(&f->dev.lock, NULL);
	f->world = world_create();
	f->mem = mem_create(&fake_accel, &f->vm, f->world, NULL, &e);
	f->bus = bus_create(f->mem);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bus_destroy(f->bus);
	mem_destroy(f->mem);
	world_destroy(f->world);
	fake_fini(&f->vm);
	free(f);
	return 0;
}

static struct bus_ports ports(struct fixture *f, const struct bus_ops *ops,
			      uint16_t port, uint16_t nr)
{
	return (struct bus_ports){.port = port,
				  .nr = nr,
				  .enabled = true,
				  .ops = ops,
				  .dev = &f->dev,
				  .opaque = f};
}

static uint64_t in(struct fixture *f, uint16_t port, unsigned len)
{
	uint64_t v = 0;

	bus_pio(f->bus, NULL, port, &v, len, 1, false);
	return v;
}

static void out(struct fixture *f, uint16_t port, uint64_t v, unsigned len)
{
	bus_pio(f->bus, NULL, port, &v, len, 1, true);
}

static void test_ports(void **state)
{
	struct fixture *f = *state;
	struct bus_ports a = ports(f, &plain, 0x60, 8);
	struct bus_ports b = ports(f, &plain, 0x64, 1);

	bus_ports_add(f->bus, &a);
	bus_ports_add(f->bus, &b);
	out(f, 0x62, 0x1234, 2);
	assert_int_equal(f->calls[0].off, 2);
	assert_int_equal(f->calls[0].value, 0x1234);
	assert_true(f->calls[0].locked);
	f->answer = 0x56;
	assert_int_equal(in(f, 0x64, 1), 0x56); /* the one added last */
	assert_int_equal(f->calls[1].off, 0);
	assert_int_equal(b.reads, 1);
	assert_int_equal(in(f, 0x65, 1), 0x56);
	assert_int_equal(f->calls[2].off, 5);
	assert_int_equal(in(f, 0x80, 4), 0xffffffff);
	out(f, 0x80, 1, 1);
	assert_int_equal(bus_unclaimed(f->bus), 2);
	bus_ports_remove(f->bus, &a);
	assert_int_equal(in(f, 0x60, 1), 0xff);
	bus_ports_set(f->bus, &b, 0x64, false);
	assert_int_equal(in(f, 0x64, 1), 0xff);
}

/* A wide access over several ranges reaches each, byte by byte. */
static void test_ports_over_a_border(void **state)
{
	struct fixture *f = *state;
	struct bus_ports a = ports(f, &plain, 0x100, 2);
	struct bus_ports b = ports(f, &plain, 0x103, 1);

	bus_ports_add(f->bus, &a);
	bus_ports_add(f->bus, &b);
	f->answer = 0x42;
	assert_int_equal(in(f, 0x100, 4), 0x42ff4242);
	assert_int_equal(f->nr, 3);
	assert_int_equal(f->calls[2].off, 0);
	/* The last port, and past it. */
	a.nr = 1;
	bus_ports_set(f->bus, &a, 0xffff, true);
	assert_int_equal(in(f, 0xffff, 4), 0xffffff42);
}

static void test_widths(void **state)
{
	struct fixture *f = *state;
	struct bus_ports a = ports(f, &bytes, 0x10, 8);
	struct bus_ports b = ports(f, &words, 0x20, 8);
	struct bus_ports c = ports(f, &deaf, 0x30, 8);

	bus_ports_add(f->bus, &a);
	bus_ports_add(f->bus, &b);
	bus_ports_add(f->bus, &c);
	out(f, 0x10, 0x44332211, 4);
	assert_int_equal(f->nr, 4);
	assert_int_equal(f->calls[3].off, 3);
	assert_int_equal(f->calls[3].value, 0x44);
	f->answer = 0xaabbccdd;
	assert_int_equal(in(f, 0x25, 1), 0xcc);
	assert_int_equal(f->calls[4].off, 4);
	assert_int_equal(f->calls[4].len, 4);
	assert_int_equal(in(f, 0x26, 2), 0xaabb);
	out(f, 0x25, 0x99, 1);
	assert_int_equal(f->calls[6].off, 5);
	assert_int_equal(f->calls[6].len, 1);
	assert_int_equal(in(f, 0x30, 2), 0xffff);
	out(f, 0x30, 1, 2);
	assert_int_equal(f->nr, 7);
}

static void test_strings(void **state)
{
	struct fixture *f = *state;
	struct bus_ports a = ports(f, &strings, 0x1f0, 1);
	struct bus_ports b = ports(f, &strings, 0x1f2, 4);
	uint8_t buf[32];

	bus_ports_add(f->bus, &a);
	bus_ports_add(f->bus, &b);
	bus_pio(f->bus, NULL, 0x1f2, buf, 2, 16, false);
	assert_int_equal(f->nr, 1);
	assert_int_equal(f->calls[0].count, 16);
	assert_int_equal(buf[31], 0x77);
	assert_int_equal(b.reads, 16);
	/* Too wide for read_many: one by one, split. */
	f->answer = 0x0102;
	bus_pio(f->bus, NULL, 0x1f2, buf, 4, 8, false);
	assert_int_equal(f->nr, 17);
	memset(buf, 0x5a, sizeof(buf));
	bus_pio(f->bus, NULL, 0x1f2, buf, 2, 3, true);
	assert_int_equal(f->nr, 20);
	assert_int_equal(f->calls[19].value, 0x5a5a);
	bus_pio(f->bus, NULL, 0x9999, buf, 2, 16, false);
	assert_int_equal(buf[31], 0xff);
}

/* A handler that changes the map does so after it returned. */
static void test_changes_from_a_handler(void **state)
{
	struct fixture *f = *state;
	struct bus_ports a = ports(f, &plain, 0x400, 4);
	struct region r = {.kind = REGION_IO,
			   .len = 0x1000,
			   .enabled = true,
			   .ops = &plain,
			   .dev = &f->dev,
			   .opaque = f};
	uint8_t byte = 0;

	bus_ports_add(f->bus, &a);
	mem_region_add(f->mem, &r);
	f->move = &a;
	out(f, 0x400, 1, 1);
	assert_int_equal(in(f, 0x400, 1), 0xff);
	assert_int_equal(in(f, 0x500, 1), 0);
	f->flip = &r;
	bus_mmio(f->bus, NULL, 0x10, &byte, 1, true);
	assert_int_equal(f->nr, 3);
	assert_null(mem_find(f->mem, 0));
	bus_mmio(f->bus, NULL, 0x10, &byte, 1, false);
	assert_int_equal(byte, 0xff);
	mem_region_remove(f->mem, &r);
}

/* One access over RAM's tail, a handler and a hole, and of odd lengths. */
static void test_mmio_pieces(void **state)
{
	struct fixture *f = *state;
	struct error e;
	struct ram_block *b = mem_block_create(f->mem, "ram", 0x1000, &e);
	struct region ram = {.kind = REGION_RAM,
			     .gpa = 0x1000,
			     .len = 0xffe,
			     .enabled = true,
			     .block = b};
	struct region io = {.kind = REGION_IO,
			    .gpa = 0x1ffe,
			    .len = 3,
			    .enabled = true,
			    .ops = &plain,
			    .opaque = f};
	struct mem_client *c;
	uint8_t buf[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	uint64_t bits;

	mem_region_add(f->mem, &ram);
	mem_region_add(f->mem, &io);
	bus_commit(f->bus, NULL);
	c = mem_client_create(f->mem, "c", NULL);
	mem_client_take(c, b, 0, 1, &bits);
	bus_mmio(f->bus, NULL, 0x1ffc, buf, 8, true);
	assert_memory_equal(mem_block_host(b) + 0xffc, buf, 2);
	assert_int_equal(mem_client_take(c, b, 0, 1, &bits), 1);
	assert_int_equal(f->nr, 2);
	assert_int_equal(f->calls[0].len, 2);
	assert_int_equal(f->calls[0].value, 0x0403);
	assert_false(f->calls[0].locked);
	assert_int_equal(f->calls[1].off, 2);
	assert_int_equal(f->calls[1].len, 1);
	f->answer = 0xabcd;
	bus_mmio(f->bus, NULL, 0x1ffc, buf, 8, false);
	{
		static const uint8_t want[8] = {1,    2,    0xcd, 0xab,
						0xcd, 0xff, 0xff, 0xff};
		assert_memory_equal(buf, want, 8);
	}
	bus_mmio(f->bus, NULL, UINT64_MAX - 1, buf, 8, false);
	mem_region_remove(f->mem, &ram);
	mem_region_remove(f->mem, &io);
	bus_commit(f->bus, NULL);
}

static void test_rom_writes(void **state)
{
	struct fixture *f = *state;
	struct error e;
	struct ram_block *b = mem_block_create(f->mem, "rom", 0x1000, &e);
	struct region rom = {
		.kind = REGION_ROM, .len = 0x1000, .enabled = true, .block = b};
	uint32_t v = 0x11223344;

	mem_region_add(f->mem, &rom);
	bus_mmio(f->bus, NULL, 0x10, &v, 4, true);
	assert_int_equal(mem_block_host(b)[0x10], 0);
	rom.ops = &plain;
	rom.opaque = f;
	bus_mmio(f->bus, NULL, 0x10, &v, 4, true);
	assert_int_equal(f->nr, 1);
	assert_int_equal(f->calls[0].off, 0x10);
	bus_mmio(f->bus, NULL, 0x10, &v, 4, false);
	assert_int_equal(v, 0);
	mem_region_remove(f->mem, &rom);
	bus_commit(f->bus, NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ports),
		TEST(test_ports_over_a_border),
		TEST(test_widths),
		TEST(test_strings),
		TEST(test_changes_from_a_handler),
		TEST(test_mmio_pieces),
		TEST(test_rom_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
