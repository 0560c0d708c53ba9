/*
 * Requests and upkeep of an image, each told to the model: writes, snapshots,
 * bitmaps, other lengths.  Thread rule: [co].
 */
#ifndef TESTS_UNIT_CRASH_UPKEEP_H
#define TESTS_UNIT_CRASH_UPKEEP_H

#include "tests/unit/crash_bench.h"

static uint32_t disk_sectors(struct crash *c)
{
	return blk_len(c->b) / SECTOR;
}

static void work_write(struct crash *c, uint32_t first, uint32_t nr,
		       unsigned flags)
{
	uint8_t *buf = malloc(nr * SECTOR);
	uint32_t tag = c->m->next_tag++;

	for (uint32_t i = 0; i < nr; i++)
		model_fill(buf + i * SECTOR, tag, first + i);
	model_begin(c->m, first, nr, tag, position(c));
	CHECK_EQ(blk_write(c->b, (uint64_t)first * SECTOR, buf, nr * SECTOR,
			   flags),
		 0);
	model_done(c->m, first, nr);
	free(buf);
}

static void work_zero(struct crash *c, uint32_t first, uint32_t nr,
		      unsigned flags)
{
	model_begin(c->m, first, nr, TAG_ZERO, position(c));
	CHECK_EQ(blk_write_zeroes(c->b, (uint64_t)first * SECTOR,
				  (uint64_t)nr * SECTOR, flags),
		 0);
	model_done(c->m, first, nr);
}

/* What a discard leaves is known afterwards: zeroes, or what was there. */
static void work_discard(struct crash *c, uint32_t first, uint32_t nr)
{
	uint64_t at = position(c);
	uint8_t buf[SECTOR];
	uint32_t *old = malloc(nr * sizeof(*old));

	for (uint32_t i = 0; i < nr; i++)
		old[i] = history_last(&c->m->sectors[first + i]);
	model_begin(c->m, first, nr, TAG_ZERO, at);
	CHECK_EQ(blk_discard(c->b, (uint64_t)first * SECTOR,
			     (uint64_t)nr * SECTOR),
		 0);
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t s = first + i;

		CHECK_EQ(blk_read(c->b, (uint64_t)s * SECTOR, buf, SECTOR), 0);
		if (model_is(buf, TAG_ZERO, s))
			continue;
		CHECK(model_is(buf, old[i], s));
		history_add(&c->m->sectors[s], old[i], at);
	}
	model_done(c->m, first, nr);
	free(old);
}

static void work_flush(struct crash *c)
{
	uint64_t covers = c->m->completions;

	CHECK_EQ(blk_flush(c->b), 0);
	model_flushed(c->m, covers, position(c));
}

static struct model_snapshot *pick_snapshot(struct crash *c)
{
	struct model_snapshot *list[MODEL_SNAPSHOTS];
	unsigned nr = 0;

	for (unsigned i = 0; i < c->m->nr_snapshots; i++)
		if (c->m->snapshots[i].delete_begin == NEVER)
			list[nr++] = &c->m->snapshots[i];
	return nr ? list[any(c, nr)] : NULL;
}

static bool snapshot_op(struct crash *c, enum blk_snapshot_op op,
			const char *name)
{
	struct error e = {0};

	if (!blk_qcow2_format.snapshot(c->b, op, name, &e))
		return true;
	/* Two bits count to three, which packed clusters may need. */
	if (!strstr(c->shape->opts, "refcount_bits=2"))
		fprintf(stderr, "seed %u: %s\n", c->seed, e.msg);
	CHECK(strstr(c->shape->opts, "refcount_bits=2"));
	return false;
}

static void work_snapshot(struct crash *c)
{
	struct model_snapshot *s;

	if (c->shape->no_snapshots || c->shape->data_file ||
	    c->m->nr_snapshots == MODEL_SNAPSHOTS)
		return;
	s = &c->m->snapshots[c->m->nr_snapshots++];
	*s = (struct model_snapshot){.nr = disk_sectors(c),
				     .begin = position(c),
				     .done = NEVER,
				     .delete_begin = NEVER,
				     .delete_done = NEVER};
	snprintf(s->name, sizeof(s->name), "s%u", c->m->nr_snapshots);
	s->tags = malloc(s->nr * sizeof(*s->tags));
	for (uint32_t i = 0; i < s->nr; i++)
		s->tags[i] = history_last(&c->m->sectors[i]);
	c->nr_taken++;
	if (snapshot_op(c, BLK_SNAPSHOT_CREATE, s->name))
		s->done = position(c);
	else
		s->delete_begin = s->delete_done = 0;
}

static void work_delete(struct crash *c)
{
	struct model_snapshot *s = pick_snapshot(c);

	if (!s)
		return;
	c->nr_deleted++;
	s->delete_begin = position(c);
	snapshot_op(c, BLK_SNAPSHOT_DELETE, s->name);
	s->delete_done = position(c);
}

/* All sectors become what tags says, or what lies below. */
static void begin_all(struct crash *c, const uint32_t *tags, uint32_t nr)
{
	for (uint32_t s = 0; s < MODEL_SECTORS; s++)
		history_add(&c->m->sectors[s],
			    !tags    ? model_below(c->m, s)
			    : s < nr ? tags[s]
				     : TAG_ZERO,
			    position(c));
}

static void done_all(struct crash *c)
{
	model_done(c->m, 0, MODEL_SECTORS);
	history_done(&c->m->lens, c->m->completions);
}

static void work_apply(struct crash *c)
{
	struct model_snapshot *s = pick_snapshot(c);

	if (!s)
		return;
	/* It can't be told what a failed one leaves. */
	if (strstr(c->shape->opts, "refcount_bits=2"))
		return;
	c->nr_applied++;
	begin_all(c, s->tags, s->nr);
	history_add(&c->m->lens, s->nr, position(c));
	snapshot_op(c, BLK_SNAPSHOT_APPLY, s->name);
	done_all(c);
}

static void work_empty(struct crash *c)
{
	struct error e = {0};

	begin_all(c, NULL, 0);
	CHECK_EQ(blk_qcow2_format.make_empty(c->b, &e), 0);
	done_all(c);
}

/* What is cut off is anything until the end of it; what is added is zeroes at
 * every moment. */
static void work_resize(struct crash *c)
{
	uint32_t old = disk_sectors(c), small = c->shape->nr * 3 / 4;
	uint32_t new = small + any(c, c->shape->grown - small);
	uint32_t first = old < new ? old : new;
	struct error e = {0};

	if (strstr(c->shape->opts, "compat=0.10") && c->m->nr_snapshots)
		return;
	c->nr_grown += new > old;
	c->nr_shrunk += new < old;
	for (uint32_t s = first; s < MODEL_SECTORS; s++) {
		if (new < old)
			history_add(&c->m->sectors[s], model_below(c->m, s),
				    position(c));
		history_add(&c->m->sectors[s], TAG_ZERO, position(c));
	}
	history_add(&c->m->lens, new, position(c));
	/* Bits of what is cut off or new are 0, as the peers have it. */
	for (unsigned i = 0; i < c->nr_bitmaps; i++)
		for (uint32_t s = first; s < MODEL_SECTORS; s++)
			c->bitmaps[i].tags[s] = TAG_ZERO;
	if (blk_truncate(c->b, (uint64_t) new *SECTOR, BLK_PREALLOC_OFF, true,
			 &e))
		fprintf(stderr, "seed %u: %s\n", c->seed, e.msg);
	CHECK_EQ(e.code, 0);
	done_all(c);
}

static struct model_snapshot *pick_bitmap(struct crash *c)
{
	struct model_snapshot *list[MODEL_SNAPSHOTS];
	unsigned nr = 0;

	for (unsigned i = 0; i < c->nr_bitmaps; i++)
		if (c->bitmaps[i].delete_begin == NEVER)
			list[nr++] = &c->bitmaps[i];
	return nr ? list[any(c, nr)] : NULL;
}

static void bitmap_op(struct crash *c, enum blk_bitmap_verb verb,
		      const char *name)
{
	struct blk_bitmap_op op = {.verb = verb, .name = name};
	struct error e = {0};

	op.granularity = 512u << any(c, 8);
	if (blk_qcow2_format.bitmap(c->b, &op, &e))
		fprintf(stderr, "seed %u: %s\n", c->seed, e.msg);
	CHECK_EQ(e.code, 0);
}

static void keep_tags(struct crash *c, struct model_snapshot *m)
{
	free(m->tags);
	m->tags = malloc(MODEL_SECTORS * sizeof(*m->tags));
	m->nr = MODEL_SECTORS;
	for (uint32_t i = 0; i < m->nr; i++)
		m->tags[i] = history_last(&c->m->sectors[i]);
}

static void add_bitmap(struct crash *c)
{
	struct model_snapshot *m = &c->bitmaps[c->nr_bitmaps++];

	*m = (struct model_snapshot){.begin = position(c),
				     .done = NEVER,
				     .delete_begin = NEVER,
				     .delete_done = NEVER};
	snprintf(m->name, sizeof(m->name), "b%u", c->nr_bitmaps);
	keep_tags(c, m);
	bitmap_op(c, BLK_BITMAP_ADD, m->name);
	m->done = position(c);
}

static void work_bitmap(struct crash *c)
{
	struct model_snapshot *m = pick_bitmap(c);
	unsigned kind = any(c, 6);

	if ((!m || kind < 2) && c->nr_bitmaps < MODEL_SNAPSHOTS) {
		add_bitmap(c);
	} else if (kind == 2) {
		m->delete_begin = position(c);
		bitmap_op(c, BLK_BITMAP_REMOVE, m->name);
		m->delete_done = position(c);
	} else if (kind == 3) {
		keep_tags(c, m);
		bitmap_op(c, BLK_BITMAP_CLEAR, m->name);
	} else if (m) {
		/* Nothing changes in between. */
		c->nr_stored++;
		bitmap_op(c, BLK_BITMAP_DISABLE, m->name);
		bitmap_op(c, BLK_BITMAP_ENABLE, m->name);
	}
}

static void work_amend(struct crash *c)
{
	static const char *const widths[] = {"8", "16", "32", "64"};
	struct blk_opt opt = {"refcount_bits", widths[any(c, 4)]};
	struct blk_amend amend = {.opts = &opt, .nr_opts = 1};
	struct error e = {0};

	if (blk_qcow2_format.amend(c->b, &amend, &e))
		fprintf(stderr, "seed %u: %s\n", c->seed, e.msg);
	CHECK_EQ(e.code, 0);
}

#endif
