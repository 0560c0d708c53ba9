/*
 * Hundreds of power cuts over every cache mode, bus, format and kind of cut:
 * nothing that was acknowledged as stable is ever missing and the tables of an
 * image are always whole, except under unsafe, where losses must be seen.
 * BINNACLE_POWER_ROUNDS=N cuts N times as often.
 */
#include "tests/unit/power_rounds.h"

#include "tests/unit/power_ahci.h"
#include "tests/unit/power_ide.h"
#include "tests/unit/power_nvme.h"
#include "tests/unit/power_sd.h"
#include "tests/unit/power_virtio.h"

/* ---- no bus: the drive itself ---- */

static void direct_attach(struct power_bench *b)
{
	static const struct drive_caps caps = {.device = "test-disk",
					       .wce = DRIVE_WCE_NEGOTIABLE,
					       .flush = true,
					       .fua = true};

	if (drive_attach(b->pc->drive, &caps, &b->pc->e))
		fail_msg("%s", b->pc->e.msg);
}

static void direct_start(struct power_bench *b)
{
	(void)b;
}

static void direct_done(struct drive_req *req, int res)
{
	struct power_slot *s = req->opaque;

	s->failed = res != 0;
	if (res == -ECANCELED)
		return;
	/* Release: pairs with bench_reap. */
	__atomic_store_n(&s->answered, true, __ATOMIC_RELEASE);
}

struct direct_call {
	struct power_bench *b;
	struct power_slot *s;
	bool wce;
};

static void direct_submit_on_loop(void *arg)
{
	struct direct_call *c = arg;

	drive_submit(c->b->pc->drive, &c->s->req);
}

static void direct_submit(struct power_bench *b, unsigned slot)
{
	struct power_slot *s = &b->slots[slot];
	struct direct_call c = {b, s, false};
	bool flush = s->op == DRIVE_FLUSH;

	s->iov = (struct iovec){pc_ram(b->pc, bench_gpa(slot)), s->nr * 512};
	s->req = (struct drive_req){.op = s->op,
				    .fua = s->fua,
				    .off = flush ? 0 : bench_offset(s->first),
				    .len = s->nr * 512,
				    .iov = &s->iov,
				    .nr_iov = flush ? 0 : 1,
				    .done = direct_done,
				    .opaque = s};
	loop_call(b->pc->io, direct_submit_on_loop, &c);
}

static void direct_poll(struct power_bench *b)
{
	(void)b;
}

static void direct_set_wce_on_loop(void *arg)
{
	struct direct_call *c = arg;

	drive_set_wce(c->b->pc->drive, c->wce);
}

static void direct_set_wce(struct power_bench *b, bool on)
{
	struct direct_call c = {b, NULL, on};

	loop_call(b->pc->io, direct_set_wce_on_loop, &c);
}

static const struct power_bus direct_bus = {
	.name = "no bus",
	.depth = BENCH_DEPTH,
	.has_fua = true,
	.attach = direct_attach,
	.start = direct_start,
	.submit = direct_submit,
	.poll = direct_poll,
	.set_wce = direct_set_wce,
};

/* ---- the matrix ---- */

static const struct format {
	const char *name, *options;
} formats[] = {
	{"raw", ""},
	{"qcow2", "cluster_size=512"},
	{"qcow2", "cluster_size=4096"},
	{"qcow2", "cluster_size=65536"},
	{"qcow2", "cluster_size=4096,lazy_refcounts=on"},
	{"qcow2", "cluster_size=65536,lazy_refcounts=on"},
};
#define NR_FORMATS (sizeof(formats) / sizeof(formats[0]))

/* Times every kind of cut. */
static unsigned nr_rounds(void)
{
	const char *text = getenv("BINNACLE_POWER_ROUNDS");

	return text ? (unsigned)atoi(text) : 1;
}

static void all_of(const struct power_bus *bus)
{
	static struct power_bench b;
	unsigned cuts = 0, torn = 0;

	for (int preset = 0; preset < DRIVE_NR_PRESETS; preset++)
		for (unsigned f = 0; f < NR_FORMATS; f++) {
			memset(&b, 0, sizeof(b));
			b.bus = bus;
			b.seed = (unsigned)preset * 100 + f + 1;
			b.options = formats[f].options;
			b.cfg.format = formats[f].name;
			b.cfg.preset = preset;
			bench_rounds(&b, nr_rounds() * 4);
			cuts += b.cuts;
			torn += b.torn;
			assert_true(b.promised > 0);
			if (cache_modes[preset].ignore_flush && !b.losses &&
			    !b.destroyed)
				fail_msg("%s, %s %s: nothing was ever lost "
					 "under unsafe",
					 bus->name, formats[f].name,
					 formats[f].options);
		}
	print_message("%s: %u cuts, %u writes torn\n", bus->name, cuts, torn);
	/* What is stable at once can't be torn. */
	assert_true(torn > 0 || bus->never_wce);
}

static void without_a_bus(void **state)
{
	(void)state;
	all_of(&direct_bus);
}

static void on_virtio(void **state)
{
	(void)state;
	all_of(&power_virtio_blk);
}

static void on_scsi(void **state)
{
	(void)state;
	all_of(&power_virtio_scsi);
}

static void on_ahci(void **state)
{
	(void)state;
	all_of(&power_ahci);
}

static void on_ide(void **state)
{
	(void)state;
	all_of(&power_ide);
}

static void on_nvme(void **state)
{
	(void)state;
	all_of(&power_nvme);
}

static void on_sd(void **state)
{
	(void)state;
	all_of(&power_sd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_bus), cmocka_unit_test(on_virtio),
		cmocka_unit_test(on_scsi),	 cmocka_unit_test(on_ahci),
		cmocka_unit_test(on_ide),	 cmocka_unit_test(on_nvme),
		cmocka_unit_test(on_sd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
