/* The device's side of a ring against good, bad and random drivers. */
#include "tests/unit/vq_ring.h"

#define LEN   16u
#define DESC  0x10000u
#define AVAIL 0x11000u
#define USED  0x12000u
#define TABLE 0x13000u
#define DATA  0x20000u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static void put(struct ring *r, uint64_t at, unsigned i, uint64_t addr,
		uint32_t len, uint16_t flags, uint16_t next)
{
	struct desc d = {addr, len, flags, next};

	memcpy(pc_ram(r->pc, at + 16 * i), &d, sizeof(d));
}

static void offer(struct ring *r, uint16_t head)
{
	uint16_t idx = *word(r, AVAIL + 2);

	*word(r, AVAIL + 4 + 2 * (idx % LEN)) = head;
	*word(r, AVAIL + 2) = idx + 1;
}

static void open_ring(struct ring *r, struct fake_pc *pc)
{
	ring_open(r, pc, false, LEN, DESC, AVAIL, USED);
}

static void chains_are_followed(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	assert_int_equal(next(&r, &head), 0);
	put(&r, DESC, 3, DATA, 16, 1, 7);
	put(&r, DESC, 7, DATA + 0x1000, 512, 3, 2);
	put(&r, DESC, 2, DATA + 0x2000, 1, 2, 0);
	offer(&r, 3);
	assert_int_equal(walk(&r, &head), 0);
	assert_int_equal(r.c.head, 3);
	assert_int_equal(r.c.nr_out, 1);
	assert_int_equal(r.c.nr_in, 2);
	assert_int_equal(r.c.out_len, 16);
	assert_int_equal(r.c.in_len, 513);
	assert_ptr_equal(r.iov[1].iov_base, pc_ram(r.pc, DATA + 0x1000));
	assert_int_equal(next(&r, &head), 0);
}

static void indirect_tables_are_followed(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	put(&r, DESC, 0, TABLE, 3 * 16, 4, 0);
	put(&r, TABLE, 0, DATA, 16, 1, 2);
	put(&r, TABLE, 2, DATA + 64, 8, 2, 0);
	offer(&r, 0);
	assert_int_equal(walk(&r, &head), 0);
	assert_int_equal(r.c.nr_out, 1);
	assert_int_equal(r.c.in_len, 8);
}

static void buffers_are_cut_where_memory_is(void **state)
{
	struct fake_pc *pc = *state;
	struct ring r;
	uint16_t head;

	open_ring(&r, pc);
	/* The last page before the hole, and one byte into it. */
	put(&r, DESC, 0, PC_HOLE - 4096, 4096, 2, 0);
	offer(&r, 0);
	assert_int_equal(walk(&r, &head), 0);
	put(&r, DESC, 1, PC_HOLE - 4096, 4097, 2, 0);
	offer(&r, 1);
	assert_int_equal(walk(&r, &head), -EFAULT);
	assert_string_equal(r.why, "buffer is not in RAM");
}

struct bad {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
	int want;
};

static void bad_descriptors_are_refused(void **state)
{
	static const struct bad rows[] = {
		{DATA, 16, 1, 0, -EINVAL},   /* bites its tail */
		{DATA, 16, 1, LEN, -EINVAL}, /* leaves the table */
		{DATA, 16, 1, 0xffff, -EINVAL},
		{PC_RAM_LEN, 1, 0, 0, -EFAULT},	     /* past RAM */
		{UINT64_MAX - 7, 16, 0, 0, -EFAULT}, /* wraps */
		{DATA, UINT32_MAX, 0, 0, -EFAULT},   /* longer than RAM */
		{PC_HOLE, 16, 2, 0, -EFAULT},
		{TABLE, 0, 4, 0, -EINVAL},	     /* empty table */
		{TABLE, 24, 4, 0, -EINVAL},	     /* odd table */
		{TABLE, 16, 5, 0, -EINVAL},	     /* table and next */
		{PC_RAM_LEN - 8, 16, 4, 0, -EFAULT}, /* table past RAM */
		{TABLE, 0xfffffff0u, 4, 0, -EINVAL}, /* absurd table */
	};
	struct ring r;
	uint16_t head;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		open_ring(&r, *state);
		put(&r, DESC, 0, rows[i].addr, rows[i].len, rows[i].flags,
		    rows[i].next);
		offer(&r, 0);
		assert_int_equal(walk(&r, &head), rows[i].want);
		assert_non_null(r.why);
	}
}

static void nested_and_looping_tables_are_refused(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	put(&r, DESC, 0, TABLE, 32, 4, 0);
	put(&r, TABLE, 0, TABLE, 16, 4, 0);
	offer(&r, 0);
	assert_int_equal(walk(&r, &head), -EINVAL);
	put(&r, TABLE, 0, DATA, 1, 1, 1);
	put(&r, TABLE, 1, DATA, 1, 1, 0);
	offer(&r, 0);
	assert_int_equal(walk(&r, &head), -EINVAL);
	assert_non_null(strstr(r.why, "loops"));
}

static void readable_after_writable_is_refused(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	put(&r, DESC, 0, DATA, 16, 3, 1);
	put(&r, DESC, 1, DATA, 16, 0, 0);
	offer(&r, 0);
	assert_int_equal(walk(&r, &head), -EINVAL);
}

static void too_many_buffers_are_refused(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	r.c.max = 4;
	for (unsigned i = 0; i < 8; i++)
		put(&r, DESC, i, DATA, 16, 1, (uint16_t)(i + 1));
	offer(&r, 0);
	assert_int_equal(walk(&r, &head), -E2BIG);
}

static void wild_indices_are_refused(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	*word(&r, AVAIL + 2) = LEN + 1;
	assert_int_equal(next(&r, &head), -EINVAL);
	*word(&r, AVAIL + 2) = 0;
	offer(&r, LEN);
	assert_int_equal(next(&r, &head), -EINVAL);
	/* A full ring is fine, also across the wrap of the index. */
	open_ring(&r, *state);
	r.q.next_avail = 0xfff8;
	*word(&r, AVAIL + 2) = (uint16_t)(0xfff8 + LEN);
	for (unsigned i = 0; i < LEN; i++)
		assert_int_equal(next(&r, &head), 1);
	assert_int_equal(next(&r, &head), 0);
}

static void bad_rings_are_not_enabled(void **state)
{
	static const struct {
		uint16_t len;
		uint64_t desc, avail, used;
	} rows[] = {
		{0, DESC, AVAIL, USED},
		{12, DESC, AVAIL, USED},
		{512, DESC, AVAIL, USED},
		{LEN, DESC + 8, AVAIL, USED},
		{LEN, DESC, AVAIL + 1, USED},
		{LEN, DESC, AVAIL, USED + 2},
		{LEN, PC_RAM_LEN - 16, AVAIL, USED},
		{LEN, DESC, PC_HOLE, USED},
		{LEN, DESC, AVAIL, UINT64_MAX - 3},
		{LEN, DESC, AVAIL, PC_HOLE - 8},
	};
	struct fake_pc *pc = *state;
	struct ring r;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		open_ring(&r, pc);
		ring_set(&r, false, rows[i].len, rows[i].desc, rows[i].avail,
			 rows[i].used);
		assert_true(virtqueue_enable(&r.q, pc->m.mem, &r.why) < 0);
		assert_false(r.q.enabled);
	}
}

static void used_entries_are_in_order_and_dirty(void **state)
{
	struct fake_pc *pc = *state;
	struct mem_client *client;
	uint64_t bits[1];
	uint32_t entry[2];
	struct ring r;

	open_ring(&r, pc);
	client = mem_client_create(pc->m.mem, "test", pc->ram);
	mem_client_take(client, pc->ram, 0, 64, bits);
	push(&r, 5, 100);
	push(&r, 6, 200);
	assert_int_equal(*word(&r, USED + 2), 2);
	memcpy(entry, pc_ram(pc, USED + 4 + 8), 8);
	assert_int_equal(entry[0], 6);
	assert_int_equal(entry[1], 200);
	mem_client_take(client, pc->ram, 0, 64, bits);
	assert_true(bits[0] & (1ull << (USED / 4096)));
	mem_client_destroy(pc->m.mem, client);
}

static void flags_silence_interrupts(void **state)
{
	struct fake_pc *pc = *state;
	struct ring r;

	open_ring(&r, pc);
	push(&r, 0, 0);
	assert_true(virtqueue_should_interrupt(&r.q));
	assert_false(virtqueue_should_interrupt(&r.q));
	*word(&r, AVAIL) = 1;
	push(&r, 0, 0);
	assert_false(virtqueue_should_interrupt(&r.q));
}

static void event_index_silences_interrupts(void **state)
{
	struct fake_pc *pc = *state;
	struct ring r;

	open_ring(&r, pc);
	r.q.event_idx = true;
	push(&r, 0, 0);
	assert_true(virtqueue_should_interrupt(&r.q));
	/* Wanted when entry 3 has been used, that is: at index 4. */
	*word(&r, AVAIL + 4 + 2 * LEN) = 3;
	push(&r, 0, 0);
	assert_false(virtqueue_should_interrupt(&r.q));
	push(&r, 0, 0);
	assert_false(virtqueue_should_interrupt(&r.q));
	push(&r, 0, 0);
	assert_true(virtqueue_should_interrupt(&r.q));
	push(&r, 0, 0);
	assert_false(virtqueue_should_interrupt(&r.q));
}

static void kicks_are_asked_for(void **state)
{
	struct fake_pc *pc = *state;
	struct ring r;

	open_ring(&r, pc);
	assert_false(want(&r, false));
	assert_int_equal(*word(&r, USED), 1);
	assert_false(want(&r, true));
	assert_int_equal(*word(&r, USED), 0);
	offer(&r, 0);
	assert_true(want(&r, true));
	r.q.event_idx = true;
	r.q.next_avail = 7;
	want(&r, true);
	assert_int_equal(*word(&r, USED + 4 + 8 * LEN), 7);
}

/* A driver made of noise, biased to values that almost make sense. */
static void random_rings_do_no_harm(void **state)
{
	struct fake_pc *pc = *state;
	uint32_t seed = 20240229, good = 0;
	struct ring r;

	for (unsigned round = 0; round < 20000; round++) {
		uint16_t head;

		open_ring(&r, pc);
		for (unsigned i = 0; i < 2 * LEN; i++) {
			uint64_t at = i < LEN ? DESC : TABLE;
			uint64_t addr = pc_random(&seed) % (PC_RAM_LEN * 2);
			uint32_t len = pc_random(&seed) % 9000;

			if (pc_random(&seed) % 4 == 0)
				addr = TABLE;
			if (pc_random(&seed) % 4 == 0)
				len = 16 * (pc_random(&seed) % 20);
			if (pc_random(&seed) % 32 == 0)
				len = pc_random(&seed) << 8;
			if (pc_random(&seed) % 32 == 0)
				addr = UINT64_MAX - pc_random(&seed) % 8192;
			put(&r, at, i % LEN, addr, len, pc_random(&seed) % 8,
			    pc_random(&seed) % (LEN + 1));
		}
		for (unsigned i = 0; i < LEN; i++)
			offer(&r, pc_random(&seed) % (LEN + 1));
		while (next(&r, &head) == 1) {
			if (virtqueue_walk(&r.q, pc->m.mem, head, &r.c, &r.why))
				continue;
			good++;
			assert_true(r.c.nr_in + r.c.nr_out <= r.c.max);
			for (int i = 0; i < r.c.nr_in; i++)
				((uint8_t *)r.iov[r.c.nr_out + i].iov_base)[0] =
					1;
			push(&r, head, 0);
		}
	}
	assert_true(good > 0);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(chains_are_followed),
		T(indirect_tables_are_followed),
		T(buffers_are_cut_where_memory_is),
		T(bad_descriptors_are_refused),
		T(nested_and_looping_tables_are_refused),
		T(readable_after_writable_is_refused),
		T(too_many_buffers_are_refused),
		T(wild_indices_are_refused),
		T(bad_rings_are_not_enabled),
		T(used_entries_are_in_order_and_dirty),
		T(flags_silence_interrupts),
		T(event_index_silences_interrupts),
		T(kicks_are_asked_for),
		T(random_rings_do_no_harm),
	};

	return cmocka_run_group_tests(tests, pc_setup, pc_teardown);
}
