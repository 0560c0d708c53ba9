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

static void check_layer(struct chain *c, const struct layer *l, struct blk *b)
{
	uint64_t disk = blk_len(c->disk);
	uint64_t cell = (disk / LAYERS_CELLS + 1 + 511) & ~511ull;

	SHADOW_CHECK(l->len == blk_len(b), "length");
	SHADOW_CHECK(!strcmp(l->name, strrchr(blk_name(b), '/') + 1), "%s",
		     l->name);
	for (unsigned i = 0; i < LAYERS_CELLS; i++) {
		uint64_t off = i * cell;
		uint64_t end = off + cell < disk ? off + cell : disk;
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

static int look_at_chains(void *arg)
{
	struct bench *t = arg;

	for (int round = 0; round < 20; round++) {
		struct layers found;
		struct chain c;

		chain_create(&c, t, 1 + bench_rand(t, CHAIN_MOST));
		layers_look(c.disk, &found);
		SHADOW_CHECK(found.nr == c.nr && found.total == c.nr,
			     "%u layers of %u", found.nr, c.nr);
		SHADOW_CHECK(
			!found.tables.budget ==
					!!strcmp(blk_format(c.layer[c.nr - 1]),
						 "qcow2") &&
				found.tables.used <= found.tables.budget,
			"tables: %llu of %llu",
			(unsigned long long)found.tables.used,
			(unsigned long long)found.tables.budget);
		for (unsigned i = 0; i < c.nr; i++)
			check_layer(&c, &found.layer[i], c.layer[c.nr - 1 - i]);
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
