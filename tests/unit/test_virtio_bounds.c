/*
 * How much a driver gets done at once: what one request moves, and what one
 * turn takes from a ring that is never empty.
 */
#include "tests/unit/virtio_blk_guest.h"

#include "core/hw/virtio/virtio.h"

#define SIZE_MAX_LEN (256u << 10)
#define PIECES	     126u
#define BIG_RING     128u

#define F_SIZE_MAX (1u << 1)
#define F_ZEROES   (1u << 14)
#define F_INDIRECT (1u << 28)

/* A chain in an indirect table: nr pieces of len bytes, all the same memory. */
static uint8_t big_read(struct guest *g, unsigned nr, uint32_t len)
{
	struct desc d;

	put_header(g, 0, T_IN, 0);
	for (unsigned i = 0; i < nr + 2; i++) {
		d = (struct desc){DATA, len, 3, (uint16_t)(i + 1)};
		if (!i)
			d = (struct desc){HEADERS, 16, 1, 1};
		if (i == nr + 1)
			d = (struct desc){STATUS, 1, 2, 0};
		memcpy(pc_ram(g->pc, TABLE + 16 * i), &d, sizeof(d));
	}
	put_desc(g, 0, TABLE, 16 * (nr + 2), 4, 0);
	offer(g, 0);
	kick(g);
	wait_used(g);
	return *pc_ram(g->pc, STATUS);
}

/* Larger than any bound. */
static void make_large(struct guest *g, struct fake_pc *pc)
{
	assert_int_equal(truncate(pc->disk_path, 64 << 20), 0);
	make(g, pc, DRIVE_WRITEBACK, false);
}

static void a_request_is_bounded(void **state)
{
	struct guest g;

	make_large(&g, *state);
	start(&g, F_FLUSH | F_INDIRECT | F_SIZE_MAX);
	assert_int_equal(pc_in(g.pc, CONFIG + 8, 4), SIZE_MAX_LEN);
	assert_int_equal(pc_in(g.pc, CONFIG + 12, 4), PIECES);
	/* A driver that does not keep to it, but means little. */
	assert_int_equal(big_read(&g, 1, 2 * SIZE_MAX_LEN), 0);
	assert_int_equal(big_read(&g, PIECES, SIZE_MAX_LEN), 0);
	assert_int_equal(big_read(&g, PIECES, SIZE_MAX_LEN + 512), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static void zeroes_are_bounded(void **state)
{
	struct {
		uint64_t sector;
		uint32_t nr, flags;
	} range = {0, (32 << 20) / 512 + 1, 0};
	struct guest g;

	make_large(&g, *state);
	start(&g, F_FLUSH | F_ZEROES);
	assert_int_equal(pc_in(g.pc, CONFIG + 48, 4), (32 << 20) / 512);
	memcpy(pc_ram(g.pc, DATA), &range, sizeof(range));
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16), 1);
	range.nr = 8;
	memcpy(pc_ram(g.pc, DATA), &range, sizeof(range));
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16), 0);
}

struct flood {
	struct guest *g;
	struct virtio_dev *v;
	unsigned taken, left;
};

/* A virtio_take_fn: answers, and the driver has another one ready. */
static void answer_and_offer(void *arg, unsigned queue, uint16_t head)
{
	struct flood *f = arg;

	f->taken++;
	virtio_push(f->v, queue, head, 0);
	if (f->left) {
		f->left--;
		offer(f->g, head);
	}
}

/* The turn ends although the ring is never empty: whoever wants the device's
 * lock gets it, and the queue's loop is told to come back. */
static void a_flood_ends_the_turn(void **state)
{
	struct guest g;
	struct flood f = {.g = &g, .left = 50 * BIG_RING};

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	f.v = (struct virtio_dev *)(void *)g.dev;
	build(&g, 0, T_GET_ID, 0, 0, 20);
	world_enter(g.pc->m.world, &g.pc->guest);
	pthread_mutex_lock(&g.dev->lock);
	offer(&g, 0);
	virtio_take_all(f.v, 0, answer_and_offer, &f);
	pthread_mutex_unlock(&g.dev->lock);
	world_leave(g.pc->m.world, &g.pc->guest);
	assert_true(f.taken >= RING_LEN);
	assert_true(f.taken <= BIG_RING);
	/* What is left is taken without a kick. */
	g.used = (uint16_t)f.taken;
	wait_used(&g);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_is_bounded),
		T(zeroes_are_bounded),
		T(a_flood_ends_the_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
