/* The copy engine between disks in memory that wait, fail and know their
 * zeroes, and the tests for zeroes. */
#include "tests/unit/bench.h"

#include "core/blk/copy.h"
#include "core/blk/iov.h"

#define BLOCK	4096
#define MAX_LEN (600 * BLOCK)

/* ---- a disk in memory ---- */

enum state { HOLE, ZERO, DATA };

struct mem {
	uint8_t bytes[MAX_LEN];
	uint8_t states[MAX_LEN / BLOCK];
	uint64_t len, delay_ns;
	uint64_t last_write, bad_from, bad_end;
	uint64_t written, zeroed;
	unsigned nr_status, nr_reads, in_flight, most_in_flight;
	bool ordered, past_end, odd_compressed, zero_reads;
};

static void mem_wait(struct blk *b)
{
	struct mem *m = b->priv;

	if (++m->in_flight > m->most_in_flight)
		m->most_in_flight = m->in_flight;
	if (m->delay_ns)
		co_sleep_ns(b->ctx, rand() % m->delay_ns);
	m->in_flight--;
}

static int mem_readv(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr)
{
	struct mem *m = b->priv;

	m->nr_reads++;
	m->past_end |= off + len > m->len;
	for (uint64_t i = off / BLOCK; i <= (off + len - 1) / BLOCK; i++)
		if (m->states[i] == ZERO && !m->zero_reads)
			return -EIO;
	mem_wait(b);
	if (off < m->bad_end && off + len > m->bad_from)
		return -EIO;
	iov_from_buf(iov, nr, 0, m->bytes + off, len);
	return 0;
}

static int mem_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags)
{
	struct mem *m = b->priv;

	m->ordered &= off >= m->last_write;
	m->last_write = off;
	m->written += len;
	if ((flags & BLK_COMPRESSED) &&
	    (off % 65536 || (len % 65536 && off + len < m->len)))
		m->odd_compressed = true;
	mem_wait(b);
	if (off < m->bad_end && off + len > m->bad_from)
		return -ENOSPC;
	iov_to_buf(iov, nr, 0, m->bytes + off, len);
	return 0;
}

static int mem_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			    unsigned flags)
{
	struct mem *m = b->priv;

	(void)flags;
	m->zeroed += len;
	memset(m->bytes + off, 0, len);
	return 0;
}

static int mem_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		      uint64_t *map, struct blk **file)
{
	struct mem *m = b->priv;
	uint64_t i = off / BLOCK, end = i;

	(void)map;
	(void)file;
	m->nr_status++;
	m->past_end |= off + len > m->len;
	while (end * BLOCK < off + len && m->states[end] == m->states[i])
		end++;
	*pnum = end * BLOCK - off < len ? end * BLOCK - off : len;
	return m->states[i] == DATA   ? BLK_STATUS_DATA
	       : m->states[i] == ZERO ? BLK_STATUS_ZERO
				      : 0;
}

static const struct blk_driver mem_driver = {
	.name = "mem",
	.readv = mem_readv,
	.writev = mem_writev,
	.write_zeroes = mem_write_zeroes,
	.status = mem_status,
};

static struct blk mem_node(struct bench *f, uint64_t len)
{
	struct mem *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->len = len;
	m->ordered = true;
	return (struct blk){.drv = &mem_driver,
			    .ctx = f->ctx,
			    .name = "mem",
			    .priv = m,
			    .len = len,
			    .align = 1,
			    .write = true,
			    .refs = 1};
}

/* Blocks of all states, in runs; some data is zero inside. */
static void fill(struct mem *m, bool holes)
{
	for (uint64_t i = 0; i < MAX_LEN / BLOCK; i++) {
		uint8_t *p = m->bytes + i * BLOCK;

		m->states[i] = i && rand() % 4 ? m->states[i - 1] : rand() % 3;
		if (m->states[i] == HOLE && !holes)
			m->states[i] = ZERO;
		if (m->states[i] != DATA || rand() % 3 == 0)
			continue;
		for (int j = 0; j < BLOCK; j++)
			p[j] = rand() | 1;
	}
}

struct run {
	struct blk_copy c;
	struct error e;
	int ret;
};

static int do_copy(void *arg)
{
	struct run *r = arg;

	r->ret = blk_copy(&r->c, &r->e);
	return 0;
}

static int copy(struct bench *f, struct run *r)
{
	assert_int_equal(blk_run(f->ctx, do_copy, r), 0);
	assert_int_equal(((struct mem *)r->c.source->priv)->in_flight, 0);
	assert_int_equal(((struct mem *)r->c.dest->priv)->in_flight, 0);
	return r->ret;
}

/* Two disks, the first full of data, and a copy of all of it. */
struct pair {
	struct blk from, to;
	struct mem *a, *b; /* their memory */
	struct run run;
};

static void pair_init(struct pair *p, struct bench *t)
{
	*p = (struct pair){.from = mem_node(t, MAX_LEN),
			   .to = mem_node(t, MAX_LEN)};
	p->a = p->from.priv;
	p->b = p->to.priv;
	memset(p->a->states, DATA, sizeof(p->a->states));
	p->run.c = (struct blk_copy){
		.source = &p->from, .dest = &p->to, .len = MAX_LEN};
}

static void pair_fini(struct pair *p)
{
	free(p->a);
	free(p->b);
}

/* ---- whole copies ---- */

static int count_progress(void *arg, uint64_t done)
{
	uint64_t *last = arg;

	assert_true(done >= *last);
	*last = done;
	return 0;
}

static void one_copy(struct bench *f, uint64_t len, struct run *r)
{
	struct blk from = mem_node(f, len), to = mem_node(f, len);
	struct mem *a = from.priv, *b = to.priv;
	uint64_t done = 0;
	bool zeroed = rand() % 2;

	fill(a, false);
	a->delay_ns = b->delay_ns = rand() % 2 ? 200000 : 0;
	/* A cluster that is partly data is read whole. */
	a->zero_reads = r->c.compress_cluster;
	r->c.source = &from;
	r->c.dest = &to;
	r->c.len = UINT64_MAX;
	r->c.zero_from = zeroed ? 0 : rand() % (len + 1);
	r->c.chunk = BLOCK << (rand() % 5);
	r->c.progress = count_progress;
	r->c.arg = &done;
	memset(b->bytes, 0x77, r->c.zero_from < len ? r->c.zero_from : len);
	if (!r->c.sparse)
		memset(b->bytes, 0x77, len);
	assert_int_equal(copy(f, r), 0);
	assert_memory_equal(a->bytes, b->bytes, len);
	assert_false(a->past_end || b->past_end || b->odd_compressed);
	if (!r->c.out_of_order)
		assert_true(b->ordered);
	assert_true(done <= len);
	if (r->c.sparse && !r->c.zero_from)
		assert_int_equal(b->zeroed, 0);
	if (!r->c.sparse)
		assert_int_equal(b->written + b->zeroed, len);
	free(a);
	free(b);
}

static void copies_are_equal(void **state)
{
	for (unsigned i = 0; i < 60; i++) {
		uint64_t len = MAX_LEN - rand() % (MAX_LEN / 2);
		struct run r = {.c = {
					.nr_requests = 1 + rand() % 16,
					.out_of_order = rand() % 2,
					.sparse = rand() % 3 * BLOCK,
				}};

		if (i % 5 == 4) {
			r.c.compress_cluster = 65536;
			r.c.out_of_order = false;
		}
		one_copy(*state, len, &r);
	}
}

static void requests_are_parallel(void **state)
{
	struct pair p;

	pair_init(&p, *state);
	p.run.c.chunk = 65536;
	p.run.c.nr_requests = 6;
	p.a->delay_ns = p.b->delay_ns = 2000000;
	assert_int_equal(copy(*state, &p.run), 0);
	assert_int_equal(p.a->most_in_flight, 6);
	assert_in_range(p.b->most_in_flight, 2, 6);
	assert_true(p.b->ordered);
	pair_fini(&p);
}

/* B15: one query and no read for a source that is zero up to its end, however
 * much was asked for. */
static void nothing_past_the_end(void **state)
{
	struct blk from = mem_node(*state, 100 * BLOCK + 1000),
		   to = mem_node(*state, MAX_LEN);
	struct mem *a = from.priv, *b = to.priv;
	struct run r = {.c = {.source = &from,
			      .dest = &to,
			      .len = MAX_LEN,
			      .sparse = BLOCK}};

	memset(a->states, ZERO, sizeof(a->states));
	assert_int_equal(copy(*state, &r), 0);
	assert_int_equal(a->nr_status, 1);
	assert_int_equal(a->nr_reads, 0);
	assert_int_equal(b->written + b->zeroed, 0);
	r.c.off = 100 * BLOCK + 1000;
	assert_int_equal(copy(*state, &r), 0);
	assert_int_equal(a->nr_status, 1);
	memset(a->states, DATA, sizeof(a->states));
	memset(a->bytes, 1, a->len);
	r.c.off = 0;
	assert_int_equal(copy(*state, &r), 0);
	assert_int_equal(a->nr_status, 2);
	assert_int_equal(b->written, a->len);
	assert_false(a->past_end);
	free(a);
	free(b);
}

static void holes_stay_above_a_base(void **state)
{
	struct blk base = mem_node(*state, MAX_LEN),
		   from = mem_node(*state, MAX_LEN),
		   to = mem_node(*state, MAX_LEN);
	struct mem *z = base.priv, *a = from.priv, *b = to.priv;
	struct run r = {.c = {.source = &from,
			      .dest = &to,
			      .len = MAX_LEN,
			      .above = true,
			      .base = &base,
			      .zero_from = UINT64_MAX,
			      .sparse = BLOCK}};

	from.backing = &base;
	memset(z->states, DATA, sizeof(z->states));
	fill(a, true);
	memset(b->bytes, 0x55, MAX_LEN);
	assert_int_equal(copy(*state, &r), 0);
	for (uint64_t i = 0; i < MAX_LEN / BLOCK; i++) {
		uint8_t old[BLOCK];

		memset(old, 0x55, BLOCK);
		assert_memory_equal(b->bytes + i * BLOCK,
				    a->states[i] == HOLE ? old
							 : a->bytes + i * BLOCK,
				    BLOCK);
	}
	free(z);
	free(a);
	free(b);
}

/* ---- ends before the end ---- */

static void errors_are_told(void **state)
{
	struct pair p;

	pair_init(&p, *state);
	p.run.c.chunk = 65536;
	p.a->bad_from = 65536 * 3;
	p.a->bad_end = p.a->bad_from + 1;
	p.a->delay_ns = 100000;
	assert_int_equal(copy(*state, &p.run), -EIO);
	assert_string_equal(
		p.run.e.msg,
		"error while reading at byte 196608: Input/output error");
	p.a->bad_end = 0;
	p.b->bad_from = 65536 * 5 + 1;
	p.b->bad_end = p.b->bad_from + 1;
	p.b->delay_ns = 100000;
	assert_int_equal(copy(*state, &p.run), -ENOSPC);
	assert_string_equal(
		p.run.e.msg,
		"error while writing at byte 327680: No space left on device");
	pair_fini(&p);
}

struct lost {
	unsigned nr;
	uint64_t first;
};

static void count_lost(void *arg, uint64_t off, int error)
{
	struct lost *l = arg;

	assert_int_equal(error, -EIO);
	if (!l->nr++)
		l->first = off;
}

static void salvage_loses_bad_sectors_only(void **state)
{
	struct pair p;
	struct lost lost = {0};

	pair_init(&p, *state);
	p.run.c.salvage = true;
	p.run.c.salvaged = count_lost;
	p.run.c.arg = &lost;
	memset(p.a->bytes, 3, MAX_LEN);
	p.a->bad_from = 100 * 512 + 20;
	p.a->bad_end = 103 * 512;
	assert_int_equal(copy(*state, &p.run), 0);
	assert_int_equal(lost.nr, 3);
	assert_int_equal(lost.first, 100 * 512);
	memset(p.a->bytes + 100 * 512, 0, 3 * 512);
	assert_memory_equal(p.a->bytes, p.b->bytes, MAX_LEN);
	pair_fini(&p);
}

static int stop_half_way(void *arg, uint64_t done)
{
	(void)arg;
	return done > MAX_LEN / 2 ? -ECANCELED : 0;
}

static void progress_can_cancel(void **state)
{
	struct pair p;

	pair_init(&p, *state);
	p.run.c.chunk = 16384;
	p.run.c.progress = stop_half_way;
	p.b->delay_ns = 50000;
	assert_int_equal(copy(*state, &p.run), -ECANCELED);
	assert_in_range(p.b->written, MAX_LEN / 2, MAX_LEN - 16384 * 16);
	pair_fini(&p);
}

static void speed_is_limited(void **state)
{
	struct pair p;
	uint64_t begin = loop_now_ns();

	pair_init(&p, *state);
	p.run.c.chunk = 65536;
	p.run.c.speed = MAX_LEN * 5;
	assert_int_equal(copy(*state, &p.run), 0);
	assert_true(loop_now_ns() - begin >= 150000000);
	pair_fini(&p);
}

/* ---- zeroes ---- */

static void zero_tests(void **state)
{
	uint8_t buf[2000] = {0};

	(void)state;
	for (size_t at = 0; at < 70; at++)
		for (size_t len = 0; len < 700; len += 13) {
			assert_true(blk_is_zero(buf + at, len));
			if (!len)
				continue;
			buf[at + len - 1] = 1;
			assert_false(blk_is_zero(buf + at, len));
			assert_true(blk_is_zero(buf + at, len - 1));
			buf[at + len - 1] = 0;
			buf[at + len / 2] = 0x80;
			assert_false(blk_is_zero(buf + at, len));
			buf[at + len / 2] = 0;
		}
}

static void zero_runs(void **state)
{
	uint8_t buf[10 * BLOCK] = {0};
	bool zero;

	(void)state;
	assert_int_equal(blk_zero_run(buf, sizeof(buf), 0, BLOCK, &zero),
			 sizeof(buf));
	assert_true(zero);
	buf[2 * BLOCK + 5] = 1;
	assert_int_equal(blk_zero_run(buf, sizeof(buf), 0, BLOCK, &zero),
			 2 * BLOCK);
	assert_true(zero);
	/* Blocks are those of the disk, not of the buffer. */
	assert_int_equal(blk_zero_run(buf, sizeof(buf), 512, BLOCK, &zero),
			 2 * BLOCK - 512);
	assert_int_equal(
		blk_zero_run(buf + 2 * BLOCK, 8 * BLOCK, 0, BLOCK, &zero),
		BLOCK);
	assert_false(zero);
	/* One zero block between two others is too short to leave out. */
	buf[4 * BLOCK] = 1;
	assert_int_equal(
		blk_zero_run(buf + 2 * BLOCK, 8 * BLOCK, 0, BLOCK + 512, &zero),
		3 * BLOCK);
	assert_false(zero);
	assert_int_equal(
		blk_zero_run(buf + 2 * BLOCK, 8 * BLOCK, 0, BLOCK, &zero),
		BLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(copies_are_equal, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(requests_are_parallel,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(nothing_past_the_end,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(holes_stay_above_a_base,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(errors_are_told, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(salvage_loses_bad_sectors_only,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(progress_can_cancel,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(speed_is_limited, bench_setup,
						bench_teardown),
		cmocka_unit_test(zero_tests),
		cmocka_unit_test(zero_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
