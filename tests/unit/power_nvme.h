/*
 * power_nvme: NVMe for a power_bench, by the driver of nvme_guest.h.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_POWER_NVME_H
#define TESTS_UNIT_POWER_NVME_H

#include "tests/unit/power_bench.h"

#include "tests/unit/nvme_guest.h"

static inline struct guest *pn_guest(struct power_bench *b)
{
	return (struct guest *)(void *)b->state;
}

static inline void pn_attach(struct power_bench *b)
{
	struct device_args args = {
		.devfn = -1, .drive = b->pc->drive, .io = b->pc->io};

	b->dev = pc_add(b->pc, &nvme_class, "disk0", &args);
}

static inline void pn_start(struct power_bench *b)
{
	struct guest *g = pn_guest(b);

	_Static_assert(sizeof(*g) <= sizeof(b->state), "state is too small");
	*g = (struct guest){.pc = b->pc, .dev = b->dev};
	pc_map_bar(b->pc, b->dev, 0, PC_BAR);
	g_start(g, 32);
	g_create_pair(g, 1, 64);
	g->next_cid = 0;
}

/* The command's number is the slot's. */
static inline void pn_submit(struct power_bench *b, unsigned slot)
{
	struct power_slot *s = &b->slots[slot];
	struct guest *g = pn_guest(b);
	struct nvme_cmd c = {.nsid = 1};

	if (s->op != DRIVE_FLUSH)
		c = g_rw(s->op == DRIVE_WRITE ? NVME_WRITE : NVME_READ,
			 bench_offset(s->first) / 512, s->nr);
	else
		c.opcode = NVME_FLUSH;
	if (s->op != DRIVE_FLUSH) {
		c.prp1 = bench_gpa(slot);
		c.prp2 = s->nr > 8 ? bench_gpa(slot) + 4096 : 0;
		c.dw12 |= s->fua ? 1u << 30 : 0;
	}
	g->next_cid = (uint16_t)slot;
	g_send(g, 1, &c);
}

static inline void pn_poll(struct power_bench *b)
{
	struct guest *g = pn_guest(b);
	struct nvme_cqe e;

	while (g_peek(g, 1, &e)) {
		g_next(g, 1);
		assert_true(e.cid < BENCH_DEPTH);
		b->slots[e.cid].failed = e.status >> 1;
		b->slots[e.cid].answered = true;
	}
}

/* The feature "volatile write cache". */
static inline void pn_set_wce(struct power_bench *b, bool on)
{
	struct guest *g = pn_guest(b);

	g->next_cid = 100;
	assert_int_equal(g_set_feature(g, 6, on), 0);
}

static const struct power_bus power_nvme = {
	.name = "nvme",
	.depth = BENCH_DEPTH,
	.has_fua = true,
	.attach = pn_attach,
	.start = pn_start,
	.submit = pn_submit,
	.poll = pn_poll,
	.set_wce = pn_set_wce,
};

#endif
