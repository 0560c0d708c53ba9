/*
 * The map of a disk's images, cell by cell, against what the images themselves
 * say of each block.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/blk/disk.h"
#include "core/blk/driver.h"
#include "core/blk/layers.h"
#include "core/error.h"
#include "core/loop.h"
#include "tests/unit/bench.h"
#include "tests/unit/job_chain.h"
#include "tests/unit/shadow.h"

/* Every 512 bytes of [off, end) for themselves. */
static uint8_t slow_look(struct blk *b, uint64_t off, uint64_t end)
{
	uint8_t cell = 0;

	for (; off < end; off += 512) {
		uint64_t n, part = end - off < 512 ? end - off : 512;
		int status = blk_status(b, off, part, &n, NULL, NULL);

		if (off >= blk_len(b) || n < part)
			cell |= LAYER_PAST;
		if (off >= blk_len(b))
			continue;
		cell |= status & BLK_STATUS_ZERO   ? LAYER_ZERO
			: status & BLK_STATUS_DATA ? LAYER_DATA
						   : LAYER_HOLE;
		if (off + n == blk_len(b))
			cell |= LAYER_END;
	}
	return cell;
}

static void check_layer(struct chain *c, const struct layers *look,
			const struct layer *l, struct blk *b)
{
	uint64_t disk = blk_len(c->disk);

	SHADOW_CHECK(l->len == blk_len(b), "length");
	SHADOW_CHECK(!strcmp(l->format, blk_format(b)), "%s", l->format);
	SHADOW_CHECK(!strcmp(l->name, strrchr(blk_name(b), '/') + 1), "%s",
		     l->name);
	for (unsigned i = 0; i < look->range.nr_cells; i++) {
		uint64_t off = look->range.off + i * look->cell;
		uint64_t end = off + look->cell;

		end = end < disk ? end : disk;

		uint8_t slow = off < end ? slow_look(b, off, end) : 0;
		uint8_t found = l->cells[i], more = slow & ~found;

		/* Zeroes in the middle of data may go unseen, and that a hole
		 * lies past the end of the backing file: both are safe. */
		if (found & (LAYER_DATA | LAYER_HOLE))
			more &= ~LAYER_ZERO;
		if (found & LAYER_MORE)
			more = 0;
		SHADOW_CHECK(!more && !(found & ~LAYER_MORE & ~slow),
			     "cell %u: %x, not %x", i, found, slow);
	}
}

/* All of the disk at first, then closer and closer. */
static struct layers_range some_range(struct bench *t, uint64_t disk, int round)
{
	struct layers_range r = {.nr_cells = 60};

	if (round) {
		r.nr_cells = 1 + bench_rand(t, LAYERS_CELLS);
		r.off = bench_rand(t, (unsigned)(disk / 512)) * 512ull;
		r.len = (disk >> round) + 1;
	}
	return r;
}

/* The cells cover the range, and no more than they must. */
static void check_cells(const struct layers *l, uint64_t disk)
{
	uint64_t len = disk - l->range.off, all = l->cell * l->range.nr_cells;

	if (l->range.len && l->range.len < len)
		len = l->range.len;
	SHADOW_CHECK(l->cell >= 512 && l->cell % 512 == 0 && all >= len &&
			     (l->cell == 512 ||
			      all - len < 512ull * l->range.nr_cells),
		     "%u cells of %llu for %llu", l->range.nr_cells,
		     (unsigned long long)l->cell, (unsigned long long)len);
}

static int look_at_chains(void *arg)
{
	struct bench *t = arg;

	for (int round = 0; round < 20; round++) {
		struct layers_range range;
		struct layers found;
		struct chain c;

		chain_create(&c, t, 1 + bench_rand(t, CHAIN_MOST));
		range = some_range(t, blk_len(c.disk), round % 6);
		range.first = round % 6 > 3;
		layers_look(c.disk, &range, &found);
		SHADOW_CHECK(found.nr == c.nr - range.first &&
				     found.total == c.nr,
			     "%u layers of %u", found.nr, c.nr);
		check_cells(&found, blk_len(c.disk));
		SHADOW_CHECK(
			!found.tables.budget ==
					!!strcmp(blk_format(c.layer[c.nr - 1]),
						 "qcow2") &&
				found.tables.used <= found.tables.budget,
			"tables: %llu of %llu",
			(unsigned long long)found.tables.used,
			(unsigned long long)found.tables.budget);
		for (unsigned i = 0; i < found.nr; i++)
			check_layer(&c, &found, &found.layer[i],
				    c.layer[c.nr - 1 - i - range.first]);
		SHADOW_CHECK(!blk_unref(c.disk), "close");
		chain_remove(&c);
	}
	return 0;
}

static void cells_say_what_the_images_say(void **state)
{
	struct bench *t = *state;

	assert_int_equal(blk_run(t->ctx, look_at_chains, t), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cells_say_what_the_images_say,
						bench_setup, bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
