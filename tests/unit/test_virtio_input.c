/* virtio keyboard, tablet and random numbers, driven by a guest's driver. */
#include "tests/unit/fake_pc.h"

#include "core/hw/virtio/virtio_input_keys.h"

#define RING_LEN 16u
#define DESC	 0x10000u
#define AVAIL	 0x11000u
#define USED	 0x12000u
#define DATA	 0x20000u
#define STEP	 0x4000u /* from queue to queue */

#define COMMON PC_BAR
#define CONFIG (PC_BAR + 0x2000)
#define NOTIFY (PC_BAR + 0x3000)

extern const struct device_class virtio_keyboard_class, virtio_tablet_class;
extern const struct device_class virtio_rng_class;

struct event {
	uint16_t type, code;
	uint32_t value;
};

struct guest {
	struct fake_pc *pc;
	struct device *dev;
	uint16_t avail, used; /* of queue 0 */
};

static void set_queue(struct guest *g, unsigned index)
{
	struct fake_pc *pc = g->pc;
	uint32_t base = index * STEP;

	memset(pc_ram(pc, DESC + base), 0, 0x3000);
	pc_out(pc, COMMON + 22, index, 2);
	pc_out(pc, COMMON + 24, RING_LEN, 2);
	pc_out(pc, COMMON + 32, DESC + base, 8);
	pc_out(pc, COMMON + 40, AVAIL + base, 8);
	pc_out(pc, COMMON + 48, USED + base, 8);
	pc_out(pc, COMMON + 28, 1, 2);
}

static void make(struct guest *g, struct fake_pc *pc,
		 const struct device_class *cls, unsigned nr_queues)
{
	struct device_args args = {.devfn = -1};

	*g = (struct guest){.pc = pc};
	g->dev = pc_add(pc, cls, "input", &args);
	pc_map_bar(pc, g->dev, 0, PC_BAR);
	pc_out(pc, COMMON + 20, 3, 1);
	pc_out(pc, COMMON + 8, 1, 4);
	pc_out(pc, COMMON + 12, 1, 4);
	pc_out(pc, COMMON + 20, 11, 1);
	assert_int_equal(pc_in(pc, COMMON + 18, 2), nr_queues);
	for (unsigned i = 0; i < nr_queues; i++)
		set_queue(g, i);
	pc_out(pc, COMMON + 20, 15, 1);
}

/* A buffer of len bytes for the device to write, at DATA + 64 * slot. */
static void offer(struct guest *g, uint16_t slot, uint32_t len)
{
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d = {DATA + 64u * slot, len, 2, 0};
	uint8_t *ring = pc_ram(g->pc, AVAIL);

	memcpy(pc_ram(g->pc, DESC + 16u * slot), &d, sizeof(d));
	memcpy(ring + 4 + 2 * (g->avail % RING_LEN), &slot, 2);
	g->avail++;
	/* Release: as a driver's barrier before it moves the index. */
	__atomic_store_n((uint16_t *)(void *)(ring + 2), g->avail,
			 __ATOMIC_RELEASE);
}

static void kick(struct guest *g)
{
	pc_out(g->pc, NOTIFY, 0, 2);
}

static void expect(struct guest *g, uint16_t type, uint16_t code,
		   uint32_t value)
{
	uint16_t slot = g->used % RING_LEN;
	struct event ev;

	g->used++;
	pc_wait16(g->pc, USED + 2, g->used);
	memcpy(&ev, pc_ram(g->pc, DATA + 64u * slot), sizeof(ev));
	assert_int_equal(ev.type, type);
	assert_int_equal(ev.code, code);
	assert_int_equal(ev.value, value);
}

/* Takes one after the other, so that the used index can be waited for. */
static void offer_one(struct guest *g)
{
	offer(g, g->avail % RING_LEN, 8);
	kick(g);
}

static void keys_arrive_as_events(void **state)
{
	struct guest g;
	struct console *c;

	make(&g, *state, &virtio_keyboard_class, 2);
	c = g.pc->m.console;
	console_key(c, 0x1e, true);   /* A */
	console_key(c, 0x148, false); /* up */
	offer_one(&g);
	expect(&g, 1, 30, 1);
	offer_one(&g);
	expect(&g, 0, 0, 0);
	offer_one(&g);
	expect(&g, 1, 103, 0);
	offer_one(&g);
	expect(&g, 0, 0, 0);
	/* With a buffer waiting an event needs no kick. */
	offer_one(&g);
	usleep(20000);
	console_key(c, 0x3b, true);
	expect(&g, 1, 59, 1);
}

static void tablet_moves_and_clicks(void **state)
{
	struct guest g;
	struct console *c;

	make(&g, *state, &virtio_tablet_class, 2);
	c = g.pc->m.console;
	assert_true(console_has_absolute(c));
	console_pointer(c, 100, 32767, 1);
	offer_one(&g);
	expect(&g, 3, 0, 100);
	offer_one(&g);
	expect(&g, 3, 1, 32767);
	offer_one(&g);
	expect(&g, 1, 0x110, 1);
	offer_one(&g);
	expect(&g, 0, 0, 0);
	console_pointer(c, -5, 99999, 16);
	offer_one(&g);
	expect(&g, 3, 0, 0);
	offer_one(&g);
	expect(&g, 3, 1, 32767);
	offer_one(&g);
	expect(&g, 1, 0x110, 0);
	offer_one(&g);
	expect(&g, 2, 8, UINT32_MAX);
	/* A reset takes the device off the console. */
	pc_out(g.pc, COMMON + 20, 0, 1);
	assert_false(console_has_absolute(c));
}

static void a_flood_of_input_is_dropped_whole(void **state)
{
	struct guest g;

	make(&g, *state, &virtio_keyboard_class, 2);
	for (unsigned i = 0; i < 1000; i++)
		console_key(g.pc->m.console, 0x1e, i % 2 == 0);
	for (unsigned i = 0; i < 128; i++) {
		offer_one(&g);
		expect(&g, 1, 30, i % 2 == 0);
		offer_one(&g);
		expect(&g, 0, 0, 0);
	}
}

static uint32_t select_config(struct guest *g, uint8_t select, uint8_t subsel)
{
	pc_out(g->pc, CONFIG, select, 1);
	pc_out(g->pc, CONFIG + 1, subsel, 1);
	return (uint32_t)pc_in(g->pc, CONFIG + 2, 1);
}

static void configuration_describes_the_device(void **state)
{
	struct guest g;

	make(&g, *state, &virtio_tablet_class, 2);
	assert_int_equal(select_config(&g, 0x01, 0), strlen("Binnacle tablet"));
	assert_int_equal(pc_in(g.pc, CONFIG + 8, 1), 'B');
	assert_int_equal(select_config(&g, 0x12, 0), 20);
	assert_int_equal(pc_in(g.pc, CONFIG + 12, 4), 32767);
	assert_int_equal(select_config(&g, 0x12, 5), 0);
	assert_int_equal(select_config(&g, 0x11, 3), 1);
	assert_int_equal(pc_in(g.pc, CONFIG + 8, 1), 3);
	assert_int_equal(select_config(&g, 0x11, 1), 0x112 / 8 + 1);
	/* Every selector, also those that don't exist, and every byte. */
	for (unsigned s = 0; s < 256; s++)
		for (unsigned t = 0; t < 40; t++)
			assert_true(select_config(&g, (uint8_t)s, (uint8_t)t) <=
				    128);
	for (unsigned off = 0; off < 0x200; off++)
		pc_in(g.pc, CONFIG + off, 8);
}

static void short_buffers_stop_the_device(void **state)
{
	struct guest g;

	make(&g, *state, &virtio_keyboard_class, 2);
	offer(&g, 0, 7);
	kick(&g);
	console_key(g.pc->m.console, 0x1e, true);
	pc_wait_reg(g.pc, COMMON + 20, 1, 64, 64);
}

static void every_key_has_one_code(void **state)
{
	uint8_t seen[256] = {0};
	unsigned nr = 0;

	(void)state;
	for (unsigned s = 0; s < 65536; s++) {
		uint16_t key = virtio_input_key((uint16_t)s);

		if (!key)
			continue;
		assert_true(key < 256);
		assert_int_equal(seen[key]++, 0);
		nr++;
	}
	assert_true(nr > 100);
	assert_int_equal(virtio_input_key(0x01), 1);
	assert_int_equal(virtio_input_key(0x153), 111);
}

static void random_numbers_differ(void **state)
{
	struct guest g;
	uint8_t zero[64] = {0};

	make(&g, *state, &virtio_rng_class, 1);
	offer(&g, 0, 64);
	offer(&g, 1, 64);
	kick(&g);
	pc_wait16(g.pc, USED + 2, 2);
	assert_memory_not_equal(pc_ram(g.pc, DATA), zero, 64);
	assert_memory_not_equal(pc_ram(g.pc, DATA), pc_ram(g.pc, DATA + 64),
				64);
	/* More than it gives at once, and a wild place. */
	offer(&g, 2, 100000);
	kick(&g);
	pc_wait16(g.pc, USED + 2, 3);
	offer(&g, 3, UINT32_MAX);
	kick(&g);
	pc_wait_reg(g.pc, COMMON + 20, 1, 64, 64);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(keys_arrive_as_events),
		T(tablet_moves_and_clicks),
		T(a_flood_of_input_is_dropped_whole),
		T(configuration_describes_the_device),
		T(short_buffers_stop_the_device),
		cmocka_unit_test(every_key_has_one_code),
		T(random_numbers_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
