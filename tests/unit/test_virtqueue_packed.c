/* The device's side of a packed ring against good, bad and random drivers, and
 * against the split ring. */
#include "tests/unit/vq_ring.h"

#define LEN    12u /* no power of two */
#define RING   0x10000u
#define DRIVER 0x11000u
#define DEVICE 0x11010u
#define TABLE  0x12000u
#define SPLIT  0x14000u
#define DATA   0x20000u

#define NEXT	 1u
#define WRITE	 2u
#define INDIRECT 4u
#define AVAIL	 (1u << 7)
#define USED	 (1u << 15)

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

static struct desc *desc_at(struct ring *r, unsigned i)
{
	return (struct desc *)(void *)pc_ram(r->pc, RING + 16 * i);
}

static void open_ring(struct ring *r, struct fake_pc *pc)
{
	ring_open(r, pc, true, LEN, RING, DRIVER, DEVICE);
}

/* ---- the driver ---- */

/* The next descriptor of a chain; the caller keeps the first one's flags back
 * until all are there, as a driver does. */
static uint16_t put(struct ring *r, uint64_t addr, uint32_t len, uint16_t flags,
		    uint16_t id)
{
	struct desc *d = desc_at(r, r->at);

	flags |= r->wrap ? AVAIL : USED;
	*d = (struct desc){addr, len, id, d->flags};
	if (++r->at == LEN) {
		r->at = 0;
		r->wrap = !r->wrap;
	}
	return flags;
}

static void offer(struct ring *r, uint64_t addr, uint32_t len, uint16_t flags,
		  uint16_t id)
{
	struct desc *d = desc_at(r, r->at);

	flags = put(r, addr, len, flags, id);
	__atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
}

/* A chain of nr descriptors as given. */
static void offer_chain(struct ring *r, const struct desc *descs, unsigned nr,
			uint16_t id)
{
	struct desc *first = desc_at(r, r->at);
	uint16_t first_flags = 0;

	for (unsigned i = 0; i < nr; i++) {
		struct desc *d = desc_at(r, r->at);
		uint16_t flags = descs[i].flags | (i + 1 < nr ? NEXT : 0);

		flags = put(r, descs[i].addr, descs[i].len, flags, id);
		if (i)
			d->flags = flags;
		else
			first_flags = flags;
	}
	__atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE);
}

/* The next used element, if there is one; nr: its chain's descriptors. */
static bool take_used(struct ring *r, uint16_t *id, uint32_t *len)
{
	struct desc *d = desc_at(r, r->used_at);
	uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);

	if (!!(flags & AVAIL) != r->used_wrap ||
	    !!(flags & USED) != r->used_wrap)
		return false;
	*id = d->id;
	*len = d->len;
	assert_int_equal(!!(flags & WRITE), d->len > 0);
	return true;
}

static void skip_used(struct ring *r, unsigned nr)
{
	r->used_at = (uint16_t)(r->used_at + nr);
	if (r->used_at >= LEN) {
		r->used_at = (uint16_t)(r->used_at - LEN);
		r->used_wrap = !r->used_wrap;
	}
}

/* ---- tests ---- */

static void chains_go_round_and_round(void **state)
{
	struct ring r;
	uint16_t head, id;
	uint32_t len;

	open_ring(&r, *state);
	assert_int_equal(next(&r, &head), 0);
	/* 5 does not divide 12: the chains cross the end at every place. */
	for (unsigned round = 0; round < 50; round++) {
		struct desc d[5] = {{DATA, 16, 0, 0},
				    {DATA + 0x1000, 8, 0, 0},
				    {DATA + 0x2000, 512, 0, WRITE},
				    {DATA + 0x3000, 0, 0, WRITE},
				    {DATA + 0x4000, 1, 0, WRITE}};

		offer_chain(&r, d, 5, (uint16_t)(40000 + round));
		assert_int_equal(walk(&r, &head), 0);
		assert_true(head < LEN);
		assert_int_equal(r.c.head, head);
		assert_int_equal(r.c.nr_out, 2);
		assert_int_equal(r.c.out_len, 24);
		assert_int_equal(r.c.in_len, 513);
		assert_ptr_equal(r.iov[2].iov_base,
				 pc_ram(r.pc, DATA + 0x2000));
		assert_int_equal(next(&r, &head), 0);
		assert_false(take_used(&r, &id, &len));
		push(&r, r.c.head, round % 3 ? 513 : 0);
		assert_true(take_used(&r, &id, &len));
		assert_int_equal(id, 40000 + round);
		assert_int_equal(len, round % 3 ? 513 : 0);
		skip_used(&r, 5);
	}
	virtqueue_fini(&r.q);
}

/* What is done first frees its place first, under the feet of the others. */
static void chains_end_in_any_order(void **state)
{
	struct ring r;
	uint16_t a, b, c, d, id;
	uint32_t len;

	open_ring(&r, *state);
	for (uint16_t i = 0; i < LEN; i++)
		offer(&r, DATA + i, i + 1u, WRITE, i);
	assert_int_equal(next(&r, &a), 1);
	assert_int_equal(next(&r, &b), 1);
	assert_int_equal(next(&r, &c), 1);
	push(&r, c, 3);
	assert_true(take_used(&r, &id, &len));
	assert_int_equal(id, 2);
	skip_used(&r, 1);
	/* The driver takes the first's place while the first is held. */
	offer(&r, DATA + 99, 99, 0, 2);
	for (unsigned i = 3; i < LEN; i++) {
		assert_int_equal(next(&r, &d), 1);
		assert_true(d != a && d != b);
		push(&r, d, 1);
	}
	assert_int_equal(walk(&r, &d), 0);
	assert_int_equal(r.c.out_len, 99);
	assert_true(d != a && d != b);
	push(&r, b, 2);
	push(&r, a, 1);
	push(&r, d, 0);
	skip_used(&r, LEN - 3);
	for (unsigned i = 0; i < 3; i++) {
		static const uint16_t ids[] = {1, 0, 2};

		assert_true(take_used(&r, &id, &len));
		assert_int_equal(id, ids[i]);
		skip_used(&r, 1);
	}
	assert_int_equal(next(&r, &a), 0);
	virtqueue_fini(&r.q);
}

static void put_table(struct ring *r, unsigned i, uint64_t addr, uint32_t len,
		      uint16_t flags)
{
	struct desc d = {addr, len, 0xeeee, flags};

	memcpy(pc_ram(r->pc, TABLE + 16 * i), &d, sizeof(d));
}

static void indirect_tables_are_read_in_order(void **state)
{
	struct ring r;
	uint16_t head, id;
	uint32_t len;

	open_ring(&r, *state);
	put_table(&r, 0, DATA, 16, 0);
	put_table(&r, 1, DATA + 64, 32, NEXT); /* means nothing here */
	put_table(&r, 2, DATA + 128, 8, WRITE);
	offer(&r, TABLE, 3 * 16, INDIRECT, 7);
	assert_int_equal(walk(&r, &head), 0);
	assert_int_equal(r.c.out_len, 48);
	assert_int_equal(r.c.in_len, 8);
	push(&r, head, 8);
	assert_true(take_used(&r, &id, &len));
	assert_int_equal(id, 7);
	virtqueue_fini(&r.q);
}

static void bad_descriptors_are_refused(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
		int want;
	} rows[] = {
		{PC_RAM_LEN, 1, 0, -EFAULT},
		{UINT64_MAX - 7, 16, 0, -EFAULT},
		{DATA, UINT32_MAX, 0, -EFAULT},
		{PC_HOLE, 16, WRITE, -EFAULT},
		{PC_BAR, 16, WRITE, -EFAULT},
		{TABLE, 0, INDIRECT, -EINVAL},
		{TABLE, 24, INDIRECT, -EINVAL},
		{TABLE, 0xfffffff0u, INDIRECT, -EINVAL},
		{PC_RAM_LEN - 8, 16, INDIRECT, -EFAULT},
		{UINT64_MAX - 15, 32, INDIRECT, -EFAULT},
		{TABLE, 16, INDIRECT, -EINVAL}, /* within it another */
	};
	struct ring r;
	uint16_t head;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		open_ring(&r, *state);
		put_table(&r, 0, TABLE, 16, INDIRECT);
		offer(&r, rows[i].addr, rows[i].len, rows[i].flags, 0);
		assert_int_equal(walk(&r, &head), rows[i].want);
		assert_non_null(r.why);
		virtqueue_fini(&r.q);
	}
	/* A table is a chain of its own. */
	open_ring(&r, *state);
	put_table(&r, 0, DATA, 16, 0);
	offer_chain(&r,
		    (struct desc[]){{DATA, 1, 0, 0}, {TABLE, 16, 0, INDIRECT}},
		    2, 0);
	assert_int_equal(walk(&r, &head), -EINVAL);
	/* What the device reads comes first. */
	offer_chain(&r, (struct desc[]){{DATA, 1, 0, WRITE}, {DATA, 1, 0, 0}},
		    2, 0);
	assert_int_equal(walk(&r, &head), -EINVAL);
	virtqueue_fini(&r.q);
}

static void rings_that_never_end_are_refused(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	for (unsigned i = 0; i < LEN; i++)
		desc_at(&r, i)->flags = AVAIL | NEXT;
	assert_int_equal(next(&r, &head), -EINVAL);
	virtqueue_fini(&r.q);
	/* More than the ring has, with its first chain still held. */
	open_ring(&r, *state);
	for (uint16_t i = 0; i < LEN; i++)
		offer(&r, DATA, 1, 0, i);
	for (unsigned i = 0; i < LEN; i++)
		assert_int_equal(next(&r, &head), 1);
	offer(&r, DATA, 1, 0, 0);
	assert_int_equal(next(&r, &head), -EINVAL);
	assert_non_null(strstr(r.why, "more descriptors"));
	virtqueue_fini(&r.q);
}

static void bad_rings_are_not_enabled(void **state)
{
	static const struct {
		uint16_t len;
		uint64_t ring, driver, device;
		uint16_t next;
	} rows[] = {
		{0, RING, DRIVER, DEVICE, 0},
		{257, RING, DRIVER, DEVICE, 0},
		{LEN, RING + 8, DRIVER, DEVICE, 0},
		{LEN, RING, DRIVER + 2, DEVICE, 0},
		{LEN, RING, DRIVER, DEVICE + 2, 0},
		{LEN, PC_RAM_LEN - 16, DRIVER, DEVICE, 0},
		{LEN, PC_BAR, DRIVER, DEVICE, 0},
		{LEN, RING, PC_HOLE, DEVICE, 0},
		{LEN, RING, DRIVER, UINT64_MAX - 3, 0},
		{LEN, RING, DRIVER, DEVICE, LEN},
	};
	struct fake_pc *pc = *state;
	struct virtqueue q = {0};
	const char *why;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		virtqueue_reset(&q, 256);
		q.packed = true;
		q.len = rows[i].len;
		q.desc = rows[i].ring;
		q.avail = rows[i].driver;
		q.used = rows[i].device;
		q.next_used = rows[i].next;
		assert_true(virtqueue_enable(&q, pc->m.mem, &why) < 0);
		assert_false(q.enabled);
	}
	virtqueue_fini(&q);
}

static void used_elements_are_dirty(void **state)
{
	struct fake_pc *pc = *state;
	struct mem_client *client;
	uint64_t bits[1];
	struct ring r;
	uint16_t head;

	open_ring(&r, pc);
	offer(&r, DATA, 1, WRITE, 0);
	assert_int_equal(next(&r, &head), 1);
	client = mem_client_create(pc->m.mem, "test", pc->ram);
	mem_client_take(client, pc->ram, 0, 64, bits);
	push(&r, head, 1);
	mem_client_take(client, pc->ram, 0, 64, bits);
	assert_true(bits[0] & (1ull << (RING / 4096)));
	want(&r, false);
	mem_client_take(client, pc->ram, 0, 64, bits);
	assert_true(bits[0] & (1ull << (DEVICE / 4096)));
	mem_client_destroy(pc->m.mem, client);
	virtqueue_fini(&r.q);
}

/* A chain there and back. */
static bool interrupts(struct ring *r)
{
	uint16_t head;

	offer(r, DATA, 1, WRITE, 0);
	assert_int_equal(next(r, &head), 1);
	push(r, head, 1);
	return virtqueue_should_interrupt(&r->q);
}

static void drivers_choose_their_interrupts(void **state)
{
	struct ring r;

	open_ring(&r, *state);
	assert_true(interrupts(&r));
	assert_false(virtqueue_should_interrupt(&r.q));
	*word(&r, DRIVER + 2) = 1;
	assert_false(interrupts(&r));
	*word(&r, DRIVER + 2) = 0;
	assert_true(interrupts(&r));
	/* At one place of one round: positions 0 to 2 have been used. */
	r.q.event_idx = true;
	*word(&r, DRIVER) = 5 | 0x8000;
	*word(&r, DRIVER + 2) = 2;
	for (unsigned at = 3; at < 2 * LEN; at++)
		assert_int_equal(interrupts(&r), at == 5);
	/* The second round has come to its place 0 again. */
	*word(&r, DRIVER) = 1 | 0x8000;
	assert_false(interrupts(&r));
	assert_true(interrupts(&r));
	virtqueue_fini(&r.q);
}

/* All at once, over the end of the ring, is one interrupt. */
static void a_batch_reaches_its_event(void **state)
{
	struct ring r;
	uint16_t heads[LEN];

	open_ring(&r, *state);
	r.q.event_idx = true;
	for (unsigned i = 0; i < 7; i++)
		interrupts(&r);
	for (unsigned event = 0; event < LEN; event++) {
		unsigned at = 7 + event; /* relative to where we are: 7 */

		*word(&r, DRIVER) =
			(uint16_t)(at % LEN | (at < LEN ? 0x8000 : 0));
		*word(&r, DRIVER + 2) = 2;
		for (unsigned i = 0; i < LEN; i++)
			offer(&r, DATA, 1, WRITE, (uint16_t)i);
		for (unsigned i = 0; i < LEN; i++)
			assert_int_equal(next(&r, &heads[i]), 1);
		for (unsigned i = 0; i < LEN; i++)
			push(&r, heads[i], 1);
		assert_true(virtqueue_should_interrupt(&r.q));
		/* Once more around, to the same wrap counter. */
		for (unsigned i = 0; i < LEN; i++)
			interrupts(&r);
	}
	virtqueue_fini(&r.q);
}

static void kicks_are_asked_for(void **state)
{
	struct ring r;
	uint16_t head;

	open_ring(&r, *state);
	assert_false(want(&r, false));
	assert_int_equal(*word(&r, DEVICE + 2), 1);
	assert_false(want(&r, true));
	assert_int_equal(*word(&r, DEVICE + 2), 0);
	offer(&r, DATA, 1, 0, 0);
	assert_true(want(&r, true));
	assert_int_equal(next(&r, &head), 1);
	r.q.event_idx = true;
	assert_false(want(&r, true));
	assert_int_equal(*word(&r, DEVICE), 1 | 0x8000);
	assert_int_equal(*word(&r, DEVICE + 2), 2);
	push(&r, head, 0);
	for (unsigned i = 1; i < LEN; i++)
		interrupts(&r);
	assert_false(want(&r, true));
	assert_int_equal(*word(&r, DEVICE), 0);
	virtqueue_fini(&r.q);
}

/* ---- the same work by both rings ---- */

#define SPLIT_LEN   64u
#define SPLIT_AVAIL (SPLIT + 0x1000)
#define SPLIT_USED  (SPLIT + 0x2000)

static void open_split(struct ring *r, struct fake_pc *pc)
{
	ring_open(r, pc, false, SPLIT_LEN, SPLIT, SPLIT_AVAIL, SPLIT_USED);
}

/* Chain number id stands at id * 5. */
static void offer_split(struct ring *r, const struct desc *descs, unsigned nr,
			uint16_t id)
{
	uint16_t first = (uint16_t)(id * 5), idx = *word(r, SPLIT_AVAIL + 2);

	for (uint16_t i = 0; i < nr; i++) {
		uint16_t tail[2] = {descs[i].flags | (i + 1u < nr ? NEXT : 0),
				    (uint16_t)(first + i + 1)};
		uint8_t *d = pc_ram(r->pc, SPLIT + 16u * (first + i));

		memcpy(d, &descs[i], 12);
		memcpy(d + 12, tail, 4);
	}
	*word(r, SPLIT_AVAIL + 4 + 2 * (idx % SPLIT_LEN)) = first;
	*word(r, SPLIT_AVAIL + 2) = idx + 1;
}

/* A chain as a driver could mean it, or nearly. */
static unsigned random_chain(uint32_t *seed, struct desc *d)
{
	unsigned nr = 1 + pc_random(seed) % 4, in = pc_random(seed) % 5;

	for (unsigned i = 0; i < nr; i++) {
		d[i] = (struct desc){
			.addr = pc_random(seed) % (PC_HOLE + 0x20000),
			.len = pc_random(seed) % 6000,
			.flags = i >= in ? WRITE : 0,
		};
		if (pc_random(seed) % 64 == 0)
			d[i].flags ^= WRITE;
		if (pc_random(seed) % 64 == 0)
			d[i].len = UINT32_MAX - pc_random(seed);
	}
	return nr;
}

static void same_chain(const struct ring *a, const struct ring *b)
{
	assert_int_equal(a->c.nr_out, b->c.nr_out);
	assert_int_equal(a->c.nr_in, b->c.nr_in);
	assert_int_equal(a->c.out_len, b->c.out_len);
	assert_int_equal(a->c.in_len, b->c.in_len);
	for (int i = 0; i < a->c.nr_out + a->c.nr_in; i++) {
		assert_ptr_equal(a->iov[i].iov_base, b->iov[i].iov_base);
		assert_int_equal(a->iov[i].iov_len, b->iov[i].iov_len);
	}
}

static void both_rings_do_the_same(void **state)
{
	struct ring p, s;
	uint32_t seed = 4;
	unsigned good = 0;

	open_ring(&p, *state);
	open_split(&s, *state);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned nr_chains = 1 + pc_random(&seed) % 3;
		unsigned nr[3], first = pc_random(&seed) % 3;
		uint16_t p_heads[3], s_heads[3];

		for (uint16_t i = 0; i < nr_chains; i++) {
			struct desc d[4];

			nr[i] = random_chain(&seed, d);
			offer_chain(&p, d, nr[i], i);
			offer_split(&s, d, nr[i], i);
		}
		for (unsigned i = 0; i < nr_chains; i++) {
			int r = walk(&p, &p_heads[i]);

			assert_int_equal(walk(&s, &s_heads[i]), r);
			assert_int_equal(s_heads[i], i * 5);
			if (r)
				assert_string_equal(p.why, s.why);
			else
				same_chain(&p, &s);
			good += !r;
		}
		/* Back in another order. */
		for (unsigned i = 0; i < nr_chains; i++) {
			unsigned which = (first + i) % nr_chains;
			uint32_t len = pc_random(&seed) % 3, got, entry[2];
			uint16_t id, idx = *word(&s, SPLIT_USED + 2);

			push(&p, p_heads[which], len);
			push(&s, s_heads[which], len);
			assert_true(take_used(&p, &id, &got));
			skip_used(&p, nr[which]);
			memcpy(entry,
			       pc_ram(s.pc,
				      SPLIT_USED + 4 + 8 * (idx % SPLIT_LEN)),
			       8);
			assert_int_equal(id * 5, entry[0]);
			assert_int_equal(got, len);
			assert_int_equal(entry[1], len);
		}
		assert_int_equal(next(&p, &p_heads[0]), 0);
		assert_int_equal(next(&s, &s_heads[0]), 0);
	}
	assert_true(good > 10000);
	virtqueue_fini(&p.q);
	virtqueue_fini(&s.q);
}

/* A driver made of noise, biased to values that almost make sense; its ring
 * may lie over its own tables and event areas. */
static void random_rings_do_no_harm(void **state)
{
	struct fake_pc *pc = *state;
	uint32_t seed = 20240229, good = 0;
	struct ring r;

	for (unsigned round = 0; round < 20000; round++) {
		uint16_t head;

		open_ring(&r, pc);
		r.q.event_idx = round & 1;
		if (round % 4 == 0)
			r.q.used_host = r.q.desc_host + 12;
		for (unsigned i = 0; i < 2 * LEN; i++) {
			struct desc d = {
				.addr = pc_random(&seed) % (PC_RAM_LEN * 2),
				.len = pc_random(&seed) % 9000,
				.id = (uint16_t)pc_random(&seed),
				.flags = pc_random(&seed) % 8 | AVAIL,
			};
			uint64_t at = i < LEN ? RING : TABLE;

			if (pc_random(&seed) % 4 == 0)
				d.addr = pc_random(&seed) % 2 ? TABLE : RING;
			if (pc_random(&seed) % 4 == 0)
				d.len = 16 * (pc_random(&seed) % 20);
			if (pc_random(&seed) % 32 == 0)
				d.addr = UINT64_MAX - pc_random(&seed) % 8192;
			memcpy(pc_ram(pc, at + 16 * (i % LEN)), &d, sizeof(d));
		}
		*word(&r, DRIVER) = (uint16_t)pc_random(&seed);
		*word(&r, DRIVER + 2) = (uint16_t)pc_random(&seed);
		while (next(&r, &head) == 1) {
			assert_true(head < LEN);
			if (virtqueue_walk(&r.q, pc->m.mem, head, &r.c, &r.why))
				continue;
			good++;
			for (int i = 0; i < r.c.nr_in; i++)
				((uint8_t *)r.iov[r.c.nr_out + i].iov_base)[0] =
					1;
			if (pc_random(&seed) % 2)
				push(&r, head, pc_random(&seed) % 2);
			virtqueue_should_interrupt(&r.q);
			want(&r, pc_random(&seed) % 2);
		}
		virtqueue_fini(&r.q);
	}
	assert_true(good > 0);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(chains_go_round_and_round),
		T(chains_end_in_any_order),
		T(indirect_tables_are_read_in_order),
		T(bad_descriptors_are_refused),
		T(rings_that_never_end_are_refused),
		T(bad_rings_are_not_enabled),
		T(used_elements_are_dirty),
		T(drivers_choose_their_interrupts),
		T(a_batch_reaches_its_event),
		T(kicks_are_asked_for),
		T(both_rings_do_the_same),
		T(random_rings_do_no_harm),
	};

	return cmocka_run_group_tests(tests, pc_setup, pc_teardown);
}
