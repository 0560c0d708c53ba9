/*
 * Power cuts over an SD card: once the card isn't busy any more its data are on
 * stable storage, with every cache mode but unsafe, on raw and qcow2 images, and
 * with the modes that nobody asked for.
 */
#include "tests/unit/power_rounds.h"
#include "tests/unit/sd_guest.h"

static struct sd_guest guest;

static void sd_bus_attach(struct power_bench *b)
{
	struct device_args host = {.devfn = -1, .name = "sd-host"};
	struct device_args card = {.devfn = -1, .name = "sd0"};

	guest = (struct sd_guest){.pc = b->pc};
	guest.host = device_create(&b->pc->m, &sdhci_class, &host, &b->pc->e);
	assert_non_null(guest.host);
	card.drive = b->pc->drive;
	card.io = b->pc->io;
	card.parent = guest.host;
	guest.card = device_create(&b->pc->m, &sd_card_class, &card, &b->pc->e);
	if (!guest.card)
		fail_msg("%s", b->pc->e.msg);
}

static void sd_bus_start(struct power_bench *b)
{
	pc_map_bar(b->pc, guest.host, 0, PC_BAR);
	sd_init_card(&guest);
}

static void sd_bus_submit(struct power_bench *b, unsigned slot)
{
	struct power_slot *s = &b->slots[slot];

	/* There is no command for it, and no need. */
	if (s->op == DRIVE_FLUSH) {
		s->answered = true;
		return;
	}
	sd_put_adma(&guest, 0, 0x23, bench_gpa(slot), s->nr * 512);
	assert_int_equal(sd_adma_start(&guest, s->op == DRIVE_WRITE,
				       (uint32_t)(bench_offset(s->first) / 512),
				       s->nr, s->nr > 1 ? SD_AUTO12 : 0),
			 0);
}

static void sd_bus_poll(struct power_bench *b)
{
	uint32_t status = (uint32_t)pc_in(b->pc, SD_STATUS, 4);

	if (!b->slots[0].busy || b->slots[0].op == DRIVE_FLUSH ||
	    !(status & (SD_IS_TRANSFER | SD_IS_ERROR)))
		return;
	b->slots[0].failed = status & SD_IS_ERROR;
	b->slots[0].answered = true;
	pc_out(b->pc, SD_STATUS, 0xffff003e, 4);
}

static const struct power_bus sd_bus = {
	.name = "sd",
	.depth = 1,
	.never_wce = true,
	.attach = sd_bus_attach,
	.start = sd_bus_start,
	.submit = sd_bus_submit,
	.poll = sd_bus_poll,
};

static void run_format(const char *name, const char *options)
{
	static struct power_bench b;

	for (int preset = 0; preset < DRIVE_NR_PRESETS; preset++) {
		b = (struct power_bench){.bus = &sd_bus,
					 .seed = (unsigned)preset + 1,
					 .options = options};
		b.cfg.format = name;
		b.cfg.preset = preset;
		bench_rounds(&b, 4);
		assert_true(b.promised > 0);
		if (cache_modes[preset].ignore_flush)
			assert_true(b.losses + b.destroyed > 0);
		else
			assert_int_equal(b.losses, 0);
	}
}

static void raw_cards_keep_what_they_took(void **state)
{
	(void)state;
	run_format("raw", "");
}

static void qcow2_cards_keep_what_they_took(void **state)
{
	(void)state;
	run_format("qcow2", "cluster_size=4096");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(raw_cards_keep_what_they_took),
		cmocka_unit_test(qcow2_cards_keep_what_they_took),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
