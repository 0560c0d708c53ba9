/*
 * power_sd: an SD card for a power_bench, by the driver of sd_guest.h: one
 * transfer at a time, and no way to flush.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_POWER_SD_H
#define TESTS_UNIT_POWER_SD_H

#include "tests/unit/power_bench.h"

#include "tests/unit/sd_guest.h"

static inline struct sd_guest *ps_guest(struct power_bench *b)
{
	return (struct sd_guest *)(void *)b->state;
}

static inline void ps_attach(struct power_bench *b)
{
	struct device_args host = {.devfn = -1, .io = b->pc->io};
	struct device_args card = {
		.devfn = -1, .drive = b->pc->drive, .io = b->pc->io};

	b->dev = card.parent = pc_add(b->pc, &sdhci_class, "sd-host", &host);
	pc_add(b->pc, &sd_card_class, "sd0", &card);
}

static inline void ps_start(struct power_bench *b)
{
	struct sd_guest *g = ps_guest(b);

	_Static_assert(sizeof(*g) <= sizeof(b->state), "state is too small");
	*g = (struct sd_guest){.pc = b->pc, .host = b->dev};
	pc_map_bar(b->pc, b->dev, 0, PC_BAR);
	sd_init_card(g);
}

static inline void ps_submit(struct power_bench *b, unsigned slot)
{
	struct power_slot *s = &b->slots[slot];
	struct sd_guest *g = ps_guest(b);

	sd_put_adma(g, 0, 0x23, bench_gpa(slot), s->nr * 512);
	assert_int_equal(sd_adma_start(g, s->op == DRIVE_WRITE,
				       (uint32_t)(bench_offset(s->first) / 512),
				       s->nr, s->nr > 1 ? SD_AUTO12 : 0),
			 0);
}

static inline void ps_poll(struct power_bench *b)
{
	struct power_slot *s = &b->slots[0];
	uint32_t status;

	if (!s->busy)
		return;
	status = (uint32_t)pc_in(b->pc, SD_STATUS, 4);
	if (!(status & (SD_IS_TRANSFER | SD_IS_ERROR)))
		return;
	s->failed = sd_finish(ps_guest(b)) != 0;
	s->answered = true;
}

static const struct power_bus power_sd = {
	.name = "sd",
	.depth = 1,
	.never_wce = true,
	.attach = ps_attach,
	.start = ps_start,
	.submit = ps_submit,
	.poll = ps_poll,
};

#endif
