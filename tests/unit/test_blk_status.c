#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/blk/driver.h"

static int layer_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *n,
			uint64_t *map, struct blk **file)
{
	static const int flags[] = {0, BLK_STATUS_DATA, BLK_STATUS_ZERO};
	const uint8_t *s = b->priv;

	(void)map;
	(void)file;
	for (*n = 1; *n < len && s[off + *n] == s[off];)
		++*n;
	return flags[s[off]];
}

static const struct blk_driver layer = {.name = "layer",
					.status = layer_status};
static const struct blk_driver plain = {.name = "plain"};

static void ends(void **state)
{
	struct blk b = {.drv = &plain, .len = 1000, .is_protocol = true};
	uint64_t n, map;
	int want = BLK_STATUS_DATA | BLK_STATUS_ALLOCATED |
		   BLK_STATUS_OFFSET_VALID;

	(void)state;
	assert_int_equal(blk_status(&b, 8, 10, &n, &map, NULL), want);
	assert_int_equal(map, 8);
	assert_int_equal(blk_status(&b, 900, 4096, &n, NULL, NULL),
			 want | BLK_STATUS_EOF);
	assert_int_equal(n, 100);
	assert_int_equal(blk_status(&b, 1000, 1, &n, NULL, NULL),
			 BLK_STATUS_EOF);
	assert_int_equal(n, 0);
}

static int byte_kind(struct blk *b, uint64_t off)
{
	for (; b && off < b->len; b = b->backing)
		if (((uint8_t *)b->priv)[off])
			return ((uint8_t *)b->priv)[off];
	return 2;
}

static void chains(void **state)
{
	static uint8_t s[5][64];
	struct blk b[5];

	(void)state;
	srand(1);
	for (int round = 0; round < 20000; round++) {
		int nr = 1 + rand() % 5;

		for (int i = 0; i < nr; i++) {
			b[i] = (struct blk){.drv = &layer,
					    .priv = s[i],
					    .len = 1 + rand() % 64,
					    .backing = i + 1 < nr ? &b[i + 1]
								  : NULL};
			for (int j = 0; j < 64; j++)
				s[i][j] = j % 4 ? s[i][j - 1] : rand() % 3;
		}
		for (uint64_t off = 0, n; off < b->len; off += n) {
			int r = blk_status_above(b, NULL, off, 64, &n, NULL,
						 NULL, NULL);

			assert_true(r >= 0 && n && off + n <= b->len);
			assert_int_equal(!!(r & BLK_STATUS_EOF),
					 off + n == b->len);
			for (uint64_t j = off; j < off + n; j++)
				assert_int_equal(byte_kind(b, j),
						 r & BLK_STATUS_ZERO ? 2 : 1);
		}
	}
}

/* Counts how often it is asked; priv is the counter. */
static int counting_status(struct blk *b, uint64_t off, uint64_t len,
			   uint64_t *n, uint64_t *map, struct blk **file)
{
	(void)off;
	(void)map;
	(void)file;
	++*(int *)b->priv;
	*n = len;
	return BLK_STATUS_DATA;
}

static const struct blk_driver counting = {.name = "counting",
					   .status = counting_status};

/* Zeroes that the top layer knows of need no look below (B08). */
static void known_zeroes_stop_the_walk(void **state)
{
	uint8_t unallocated[64] = {0};
	int asked = 0, depth;
	struct blk base = {.drv = &counting, .priv = &asked, .len = 32};
	struct blk top = {.drv = &layer,
			  .priv = unallocated,
			  .len = 64,
			  .backing = &base};
	uint64_t n;
	int r = blk_status_above(&top, NULL, 32, 32, &n, NULL, NULL, &depth);

	(void)state;
	assert_int_equal(r, BLK_STATUS_ZERO | BLK_STATUS_EOF);
	assert_int_equal(n, 32);
	assert_int_equal(depth, 0);
	assert_int_equal(asked, 0);
	/* Before the base's end it has to be asked. */
	r = blk_status_above(&top, NULL, 0, 16, &n, NULL, NULL, &depth);
	assert_true(r & BLK_STATUS_DATA);
	assert_int_equal(depth, 1);
	assert_int_equal(asked, 1);
}

static int failing_status(struct blk *b, uint64_t off, uint64_t len,
			  uint64_t *n, uint64_t *map, struct blk **file)
{
	(void)b;
	(void)off;
	(void)len;
	(void)n;
	(void)map;
	(void)file;
	return -EIO;
}

static const struct blk_driver failing = {.name = "failing",
					  .status = failing_status};

/* Maps the disk to the file's bytes 1000 and on. */
static int shifted_status(struct blk *b, uint64_t off, uint64_t len,
			  uint64_t *n, uint64_t *map, struct blk **file)
{
	*n = len;
	*map = off + 1000;
	*file = b->file;
	return BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID;
}

static const struct blk_driver shifted = {.name = "shifted",
					  .status = shifted_status};

/* What the file fails to say is only unknown (B11); what lies past its end
 * reads as zeroes (B10). */
static void files_below(void **state)
{
	struct blk file = {.drv = &failing, .len = 4096, .is_protocol = true};
	struct blk b = {.drv = &shifted, .file = &file, .len = 512};
	uint64_t n, map;
	int want = BLK_STATUS_DATA | BLK_STATUS_ALLOCATED |
		   BLK_STATUS_OFFSET_VALID | BLK_STATUS_EOF;

	(void)state;
	assert_int_equal(blk_status(&b, 0, 512, &n, &map, NULL), want);
	assert_int_equal(n, 512);
	assert_int_equal(map, 1000);
	file.len = 900;
	assert_int_equal(blk_status(&b, 0, 512, &n, &map, NULL),
			 want | BLK_STATUS_ZERO);
	assert_int_equal(n, 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends),
		cmocka_unit_test(chains),
		cmocka_unit_test(known_zeroes_stop_the_walk),
		cmocka_unit_test(files_below),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
