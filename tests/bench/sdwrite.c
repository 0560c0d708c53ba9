/*
 * sdwrite [ROUNDS]: how fast a guest writes to an SD card, one after the other:
 * by multi-block commands, each of which the card flushes once; by single-block
 * commands; and what a flush for each block of 512 bytes would cost even
 * without a card before the disk.  All in the same run, in turns; medians.
 *
 * Prints a line for each and the ratio of the first to the better of the others;
 * exits 1 when it is below 20.
 */
#include "tests/unit/sd_guest.h"

#define MULTI	   1000u /* blocks of a command */
#define COMMANDS   8u
#define SINGLES	   200u
#define MAX_ROUNDS 31u
#define WANTED	   20.0

struct one {
	struct fake_pc *pc;
	struct drive_req req;
	struct iovec iov;
	int done; /* atomic */
};

static void one_done(struct drive_req *req, int res)
{
	struct one *o = req->opaque;

	assert_int_equal(res, 0);
	/* Release: pairs with write_one. */
	__atomic_store_n(&o->done, 1, __ATOMIC_RELEASE);
}

static void one_submit(void *arg)
{
	struct one *o = arg;

	drive_submit(o->pc->drive, &o->req);
}

/* The drive of a card has no write cache: each write is followed by a flush. */
static void write_one(struct sd_guest *g, uint32_t block)
{
	struct one o = {.pc = g->pc};

	o.iov = (struct iovec){pc_ram(g->pc, SD_DATA), 512};
	o.req = (struct drive_req){.op = DRIVE_WRITE,
				   .off = block * 512ull,
				   .len = 512,
				   .iov = &o.iov,
				   .nr_iov = 1,
				   .done = one_done,
				   .opaque = &o};
	loop_call(g->pc->io, one_submit, &o);
	while (!__atomic_load_n(&o.done, __ATOMIC_ACQUIRE))
		continue;
}

/* Blocks a second. */
static double multi(struct sd_guest *g)
{
	uint64_t start = loop_now_ns();

	for (unsigned i = 0; i < COMMANDS; i++)
		assert_int_equal(sd_adma(g, true, i * MULTI, MULTI), 0);
	return COMMANDS * MULTI * 1e9 / (double)(loop_now_ns() - start);
}

static double single(struct sd_guest *g)
{
	uint64_t start = loop_now_ns();

	for (unsigned i = 0; i < SINGLES; i++)
		assert_int_equal(sd_adma(g, true, i, 1), 0);
	return SINGLES * 1e9 / (double)(loop_now_ns() - start);
}

static double flushed(struct sd_guest *g)
{
	uint64_t start = loop_now_ns();

	for (unsigned i = 0; i < SINGLES; i++)
		write_one(g, i);
	return SINGLES * 1e9 / (double)(loop_now_ns() - start);
}

static int compare(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

static double median(double *values, unsigned nr)
{
	qsort(values, nr, sizeof(*values), compare);
	return values[nr / 2];
}

static void print(const char *what, double rate)
{
	printf("%-44s %10.0f blocks/s %8.2f MiB/s\n", what, rate, rate / 2048);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 5;
	double rates[3][MAX_ROUNDS], best;
	struct sd_guest g;
	unsigned syncs;

	if (rounds < 1 || rounds > MAX_ROUNDS)
		rounds = MAX_ROUNDS;
	sd_make(&g, pc_create(), DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < rounds; i++) {
		syncs = pc_gate.syncs;
		rates[0][i] = multi(&g);
		assert_int_equal(pc_gate.syncs - syncs, COMMANDS);
		rates[1][i] = single(&g);
		rates[2][i] = flushed(&g);
		assert_int_equal(pc_gate.syncs - syncs, COMMANDS + 2 * SINGLES);
	}
	pc_destroy(g.pc);
	for (unsigned i = 0; i < 3; i++)
		rates[i][0] = median(rates[i], rounds);
	print("multi-block commands, one flush each", rates[0][0]);
	print("single-block commands, one flush each", rates[1][0]);
	print("no card, one flush for each block", rates[2][0]);
	best = rates[1][0] > rates[2][0] ? rates[1][0] : rates[2][0];
	printf("ratio %.1f, at least %.0f is wanted\n", rates[0][0] / best,
	       WANTED);
	return rates[0][0] / best < WANTED;
}
