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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends),
		cmocka_unit_test(chains),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
