/*
 * How much a driver gets done at once: what one request moves, and what one
 * turn takes from a ring that is never empty.
 */
#include "tests/unit/virtio_blk_guest.h"

#include "core/hw/virtio/virtio.h"

#define SIZE_MAX_LEN (256u << 10)
#define PIECES	     126u
#define BIG_RING     128u

#define LONG_DATA   (2u << 20)
#define LONG_PIECE  (8u << 20)
#define LONG_PIECES 8u
#define LONG_SHIFT  (64u << 10)

#define F_SIZE_MAX (1u << 1)
#define F_ZEROES   (1u << 14)
#define F_INDIRECT (1u << 28)

/* A chain in an indirect table: nr pieces of len bytes, all the same memory. */
static uint8_t big_read(struct guest *g, uint64_t sector, unsigned nr,
			uint32_t len)
{
	struct desc d;

	put_header(g, 0, T_IN, sector);
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

static void limits_are_told_and_not_forced(void **state)
{
	struct guest g;

	make_large(&g, *state);
	start(&g, F_FLUSH | F_INDIRECT | F_SIZE_MAX);
	assert_int_equal(pc_in(g.pc, CONFIG + 8, 4), SIZE_MAX_LEN);
	assert_int_equal(pc_in(g.pc, CONFIG + 12, 4), PIECES);
	/* A driver that does not keep to it, but means little. */
	assert_int_equal(big_read(&g, 0, 1, 2 * SIZE_MAX_LEN), 0);
	assert_int_equal(big_read(&g, 0, PIECES, SIZE_MAX_LEN), 0);
	assert_int_equal(big_read(&g, 0, PIECES, SIZE_MAX_LEN + 512), 0);
	/* Found out before anything is moved: the disk ends, half a sector. */
	assert_int_equal(big_read(&g, 4096, PIECES, 2 * SIZE_MAX_LEN), 1);
	assert_int_equal(big_read(&g, 0, PIECES, SIZE_MAX_LEN + 4), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

/* The whole disk in one request, as firmware does it that knows no limits: each
 * piece a bit behind the one before. */
static uint32_t long_request(struct guest *g, uint32_t type)
{
	uint16_t flags = type == T_IN ? 3 : 1;

	put_header(g, 0, type, 0);
	put_desc(g, 0, HEADERS, 16, 1, 1);
	for (uint16_t i = 1; i <= LONG_PIECES; i++)
		put_desc(g, i, LONG_DATA + LONG_SHIFT * (i - 1), LONG_PIECE,
			 flags, i + 1);
	put_desc(g, LONG_PIECES + 1, STATUS, 1, 2, 0);
	offer(g, 0);
	kick(g);
	return wait_used(g);
}

/* What is at byte off of the guest's memory at first. */
static uint32_t pattern(uint32_t off)
{
	return off * 2654435761u;
}

static void check_disk(struct fake_pc *pc)
{
	uint32_t *got = malloc(LONG_PIECE);
	int fd = open(pc->disk_path, O_RDONLY);

	assert_true(got && fd >= 0);
	for (uint32_t i = 0; i < LONG_PIECES; i++) {
		assert_int_equal(
			pread(fd, got, LONG_PIECE, (off_t)i * LONG_PIECE),
			LONG_PIECE);
		for (uint32_t at = 0; at < LONG_PIECE; at += 4)
			if (got[at / 4] != pattern(i * LONG_SHIFT + at))
				fail_msg("piece %u, byte %u", i, at);
	}
	close(fd);
	free(got);
}

static void a_long_request_is_done_in_steps(void **state)
{
	uint32_t last = LONG_SHIFT * (LONG_PIECES - 1), *ram;
	struct guest g;

	make_large(&g, *state);
	start(&g, F_FLUSH);
	ram = (uint32_t *)(void *)pc_ram(g.pc, LONG_DATA);
	for (uint32_t at = 0; at < last + LONG_PIECE; at += 4)
		ram[at / 4] = pattern(at);
	assert_int_equal(long_request(&g, T_OUT), 1);
	assert_int_equal(*pc_ram(g.pc, STATUS), 0);
	check_disk(g.pc);
	memset(ram, 0, last + LONG_PIECE);
	assert_int_equal(long_request(&g, T_IN), LONG_PIECES * LONG_PIECE + 1);
	assert_int_equal(*pc_ram(g.pc, STATUS), 0);
	for (uint32_t at = 0; at < LONG_PIECE; at += 4)
		if (ram[(last + at) / 4] != pattern(last + at))
			fail_msg("byte %u of the last piece", at);
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
		T(limits_are_told_and_not_forced),
		T(a_long_request_is_done_in_steps),
		T(zeroes_are_bounded),
		T(a_flood_ends_the_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
