/*
 * Random work on an image.  Thread rule: [co].
 */
#ifndef TESTS_UNIT_CRASH_WORK_H
#define TESTS_UNIT_CRASH_WORK_H

#include "tests/unit/crash_upkeep.h"

/* A lane has pieces of three sectors of its own, so that lanes share clusters
 * but no sector. */
static void lane_main(void *arg)
{
	struct crash *c = arg;
	unsigned lane = c->lane;
	uint32_t pieces = disk_sectors(c) / 3 / LANES;

	for (unsigned i = 0; i < 10; i++) {
		uint32_t first = (any(c, pieces) * LANES + lane) * 3;
		unsigned kind = any(c, 16), skip = any(c, 3);
		uint32_t nr = 1 + any(c, 3 - skip);

		first += skip;
		if (kind < 11)
			work_write(c, first, nr, kind ? 0 : BLK_FUA);
		else if (kind < 13)
			work_zero(c, first, nr, kind == 11 ? BLK_MAY_UNMAP : 0);
		else if (kind < 15)
			work_discard(c, first - skip, 3);
		else
			work_flush(c);
	}
	c->running--;
}

static void all_lanes(struct crash *c)
{
	for (c->lane = 0; c->lane < LANES; c->lane++) {
		c->running++;
		CHECK_EQ(co_start(c->bench.ctx, lane_main, c), 0);
	}
	while (c->running)
		co_sleep_ns(c->bench.ctx, 20000);
}

static void work_packed(struct crash *c)
{
	uint32_t per = c->shape->cluster / SECTOR;
	uint32_t clusters = disk_sectors(c) / per, first;

	if (!clusters || c->shape->data_file)
		return;
	first = any(c, clusters);
	for (unsigned i = 0; i < 4 && first + i < clusters; i++)
		work_write(c, (first + i) * per, per, BLK_COMPRESSED);
}

static void work_alone(struct crash *c)
{
	uint32_t nr = disk_sectors(c), first = any(c, nr);
	uint32_t len = 1 + any(c, BIG_MAX);

	if (len > nr - first)
		len = nr - first;
	if (c->shape->bitmaps && !any(c, 3)) {
		work_bitmap(c);
		return;
	}
	if (c->shape->amend && !any(c, 6)) {
		work_amend(c);
		return;
	}
	switch (any(c, 14)) {
	case 0:
	case 1:
	case 2:
		work_write(c, first, len, 0);
		break;
	case 3:
		work_zero(c, first, len, BLK_MAY_UNMAP);
		break;
	case 4:
		work_zero(c, first, len, 0);
		break;
	case 5:
		work_discard(c, first, len);
		break;
	case 6:
		work_packed(c);
		break;
	case 7:
	case 8:
		work_snapshot(c);
		break;
	case 9:
		work_delete(c);
		break;
	case 10:
		work_apply(c);
		break;
	case 11:
		work_resize(c);
		break;
	case 12:
		if (!any(c, 3) && !c->shape->bitmaps)
			work_empty(c);
		break;
	default:
		work_flush(c);
	}
}

static void warm_up(struct crash *c)
{
	uint32_t filled =
		c->shape->filled ? c->shape->filled : any(c, c->shape->nr / 4);

	for (uint32_t s = 0; s < filled; s += BIG_MAX)
		work_write(c, s, s + BIG_MAX > filled ? filled - s : BIG_MAX,
			   0);
	work_flush(c);
	blk_log_clear(c->log[0]);
	model_restart(c->m);
	for (unsigned i = 0; i < 2 && c->disk[i]; i++) {
		struct memory_disk *d = memory_disk_of(c->disk[i]);

		image_reach(&c->base[i], c->disk[i]->len);
		memcpy(c->base[i].data, d->data, c->disk[i]->len);
		c->base[i].len = c->disk[i]->len;
	}
}

static void work(struct crash *c)
{
	uint64_t covers;

	for (unsigned round = 0; round < 3; round++) {
		all_lanes(c);
		for (unsigned i = 0; i < 5; i++)
			work_alone(c);
		for (unsigned i = 0; i < 3 && c->shape->bitmaps; i++)
			work_bitmap(c);
		/* Over what the backing file holds there. */
		if (c->shape->backing > c->shape->nr)
			work_resize(c);
	}
	all_lanes(c);
	covers = c->m->completions;
	c->closing = position(c);
	CHECK_EQ(blk_unref(c->b), 0);
	c->b = NULL;
	model_flushed(c->m, covers, position(c));
}

#endif
