/*
 * The ledger of what a guest was promised: which flush promises which change,
 * and what of it is there afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/blk/driver.h"
#include "core/blk/iov.h"
#include "core/blk/power/ledger.h"

#define SECTOR 512u
#define LEN    (64u * SECTOR)

/* What the disk holds after the cut. */
static uint8_t held[LEN];

static int held_readv(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr)
{
	(void)b;
	iov_from_buf(iov, nr, 0, held + off, len);
	return 0;
}

static const struct blk_driver driver = {.name = "held", .readv = held_readv};

static const uint8_t *filled(uint8_t value)
{
	static uint8_t data[8 * SECTOR];

	memset(data, value, sizeof(data));
	return data;
}

static struct ledger_change *begin(struct ledger *l, unsigned sector,
				   unsigned nr, uint8_t value)
{
	struct ledger_change *c =
		ledger_begin(l, sector * SECTOR, nr * SECTOR, filled(value));

	assert_non_null(c);
	return c;
}

static void write_done(struct ledger *l, unsigned sector, unsigned nr,
		       uint8_t value)
{
	ledger_end(l, begin(l, sector, nr, value), true, false);
}

static void hold(unsigned sector, unsigned nr, uint8_t value)
{
	memset(held + sector * SECTOR, value, nr * SECTOR);
}

static struct ledger_facts check(struct ledger *l)
{
	struct blk b = {.drv = &driver, .len = LEN, .align = 1};
	struct ledger_facts f;

	assert_int_equal(ledger_check(l, &b, &f), 0);
	return f;
}

static int setup(void **state)
{
	memset(held, 0, sizeof(held));
	*state = ledger_create();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	ledger_destroy(*state);
	return 0;
}

static void a_flush_promises_what_had_ended(void **state)
{
	struct ledger *l = *state;
	struct ledger_change *late;
	struct ledger_facts f;
	uint64_t asked;

	write_done(l, 0, 2, 1);
	late = begin(l, 4, 2, 2);
	asked = ledger_now(l);
	ledger_end(l, late, true, false);
	write_done(l, 8, 1, 3);
	ledger_flushed(l, asked);
	hold(0, 1, 1);
	f = check(l);
	assert_int_equal(f.promised, 2 * SECTOR);
	assert_int_equal(f.kept, SECTOR);
	assert_int_equal(f.first_missing, SECTOR);
	assert_int_equal(f.answered, 2);
	assert_int_equal(f.lost, 2);
	assert_int_equal(f.torn, 0);
	/* What was found counts from now on. */
	f = check(l);
	assert_int_equal(f.kept, f.promised);
	assert_int_equal(f.answered, 0);
}

static void later_changes_may_be_there_instead(void **state)
{
	struct ledger *l = *state;
	struct ledger_facts f;

	ledger_end(l, begin(l, 0, 4, 1), true, true);
	write_done(l, 0, 4, 2);
	begin(l, 2, 2, 3);
	hold(0, 1, 1);
	hold(1, 2, 2);
	hold(3, 1, 3);
	f = check(l);
	assert_int_equal(f.promised, 4 * SECTOR);
	assert_int_equal(f.kept, 4 * SECTOR);
	assert_int_equal(f.torn, 1);
	assert_int_equal(f.unanswered, 1);
	/* What a promised one has replaced may not come back. */
	ledger_end(l, begin(l, 0, 1, 4), true, false);
	ledger_end(l, begin(l, 0, 1, 5), true, true);
	hold(0, 1, 4);
	f = check(l);
	assert_int_equal(f.promised - f.kept, SECTOR);
	assert_int_equal(f.first_missing, 0);
}

static void what_may_be_anything_is_not_watched(void **state)
{
	struct ledger *l = *state;
	struct ledger_change *one, *two;
	struct ledger_facts f;

	/* Both at once, over what was promised. */
	ledger_end(l, begin(l, 0, 4, 1), true, true);
	one = begin(l, 0, 2, 2);
	two = begin(l, 1, 2, 3);
	ledger_end(l, two, true, true);
	ledger_end(l, one, true, true);
	hold(0, 1, 2);
	hold(1, 1, 9);
	hold(2, 1, 3);
	hold(3, 1, 1);
	f = check(l);
	assert_int_equal(f.promised, 3 * SECTOR);
	assert_int_equal(f.kept, 3 * SECTOR);
	/* Discarded, and a change that failed. */
	ledger_forget(l, 0, SECTOR);
	ledger_end(l, begin(l, 2, 1, 7), false, false);
	hold(0, 3, 9);
	f = check(l);
	assert_int_equal(f.promised, SECTOR);
	assert_int_equal(f.kept, SECTOR);
	assert_false(f.is_partial);
}

static void zeroes_are_content(void **state)
{
	struct ledger *l = *state;
	struct ledger_change *c;
	struct ledger_facts f;

	ledger_end(l, begin(l, 0, 2, 1), true, true);
	c = ledger_begin(l, 0, SECTOR, NULL);
	assert_non_null(c);
	ledger_end(l, c, true, true);
	hold(0, 2, 1);
	f = check(l);
	assert_int_equal(f.promised, 2 * SECTOR);
	assert_int_equal(f.kept, SECTOR);
	/* Too many to note one by one. */
	c = ledger_begin(l, 0, 1ull << 40, NULL);
	assert_non_null(c);
	ledger_end(l, c, true, true);
	f = check(l);
	assert_int_equal(f.promised, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_flush_promises_what_had_ended),
		T(later_changes_may_be_there_instead),
		T(what_may_be_anything_is_not_watched),
		T(zeroes_are_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
