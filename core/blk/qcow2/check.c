/*
 * Check and repair: counts every reference in the image and compares with the
 * refcounts that it keeps.
 *
 * The counts are one array in memory; when the refcount structures can't be
 * mended in place, new ones are written behind the image's end from it.
 */
#include "core/blk/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/l1.h"
#include "core/error.h"

/* 512 MiB of counts: an image file of 8 TiB with the usual clusters. */
#define COUNTS_MAX (128u << 20)
/* Clusters behind the file's end whose counts are looked at. */
#define PAST_END_MAX (1u << 20)

struct checker {
	struct qcow2 *s;
	struct blk_check *out;
	unsigned fix;
	uint32_t *refs; /* for each host cluster: references found */
	uint64_t nr;
	uint64_t beyond; /* corruptions that no refcount mends */
	bool rebuild;	 /* the refcount structures can't be mended in place */
	uint64_t highest;
};

static void say(struct checker *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct checker *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (!c->out->say)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->out->say(c->out->say_arg, text);
}

/* ---- counting ---- */

static void count(struct checker *c, uint64_t off, uint64_t len)
{
	unsigned bits = c->s->h.cluster_bits;
	uint64_t first = off >> bits, last;

	if (!len)
		return;
	last = (off + len - 1) >> bits;
	if (off > INT64_MAX - len || last >= c->nr) {
		say(c,
		    "ERROR: counting reference for region exceeding the end of "
		    "the file by one cluster or more: offset 0x%" PRIx64
		    " size 0x%" PRIx64,
		    off, len);
		c->out->corruptions++;
		return;
	}
	for (uint64_t i = first; i <= last; i++)
		if (c->refs[i] != UINT32_MAX)
			c->refs[i]++;
}

struct l2_walk {
	bool active;
	uint64_t next; /* where the next cluster of a file in order lies */
};

static void count_entry(struct checker *c, struct l2_walk *w, uint64_t entry,
			uint64_t bitmap)
{
	struct qcow2 *s = c->s;
	uint64_t host = entry & QCOW2_OFFSET_MASK, len;

	if (entry & QCOW2_COMPRESSED) {
		if (entry & QCOW2_COPIED) {
			say(c,
			    "ERROR: coffset=0x%" PRIx64
			    ": copied flag must never be set for compressed "
			    "clusters",
			    host);
			c->out->corruptions++;
		}
		qcow2_packed_place(s, entry, &host, &len);
		count(c, host & ~511ull, (len + (host & 511) + 511) & ~511ull);
		if (w->active) {
			c->out->compressed++;
			c->out->fragmented++;
			c->out->allocated++;
		}
		return;
	}
	if (s->nr_sub > 1 && (bitmap >> 32) & bitmap & 0xffffffff) {
		say(c,
		    "ERROR: host offset 0x%" PRIx64
		    ": invalid allocation and zero bits of subclusters",
		    host);
		c->out->corruptions++;
	}
	if (!host && !(s->b->data_file && (entry & QCOW2_COPIED)))
		return;
	if (w->active && !(entry & QCOW2_ZERO && s->nr_sub == 1)) {
		c->out->allocated++;
		if (w->next && host != w->next)
			c->out->fragmented++;
		w->next = host + s->cluster_len;
	}
	if (s->b->data_file)
		return;
	if (host & (s->cluster_len - 1)) {
		say(c,
		    "ERROR offset=%" PRIx64
		    ": Cluster is not properly aligned; L2 entry corrupted.",
		    host);
		c->out->corruptions++;
		return;
	}
	count(c, host, s->cluster_len);
}

static int count_l2(struct checker *c, struct l2_walk *w, uint64_t l2,
		    uint64_t *table)
{
	struct qcow2 *s = c->s;
	unsigned step = s->l2_entry_len / 8;
	int ret = blk_read(s->b->file, l2, table, s->cluster_len);

	w->next = 0;
	if (ret) {
		say(c, "ERROR: I/O error in check_refcounts_l2");
		c->out->check_errors++;
		return ret;
	}
	for (uint64_t i = 0; i < s->cluster_len / 8; i += step)
		if (table[i] || (step == 2 && table[i + 1]))
			count_entry(c, w, be64toh(table[i]),
				    step == 2 ? be64toh(table[i + 1]) : 0);
	return 0;
}

static int count_l1(struct checker *c, uint64_t off, uint64_t nr, bool active)
{
	struct qcow2 *s = c->s;
	struct l2_walk w = {.active = active};
	uint64_t *l1 = NULL, *table = malloc(s->cluster_len);
	int ret = table ? 0 : -ENOMEM;

	count(c, off, nr * 8);
	if (!ret)
		ret = qcow2_read_table(s, off, nr, &l1);
	if (ret)
		c->out->check_errors++;
	for (uint64_t i = 0; i < nr && !ret; i++) {
		uint64_t l2 = l1[i] & QCOW2_OFFSET_MASK;

		if (!l2)
			continue;
		count(c, l2, s->cluster_len);
		if (l2 & (s->cluster_len - 1)) {
			say(c,
			    "ERROR l2_offset=%" PRIx64
			    ": Table is not cluster aligned; L1 entry "
			    "corrupted",
			    l2);
			c->out->corruptions++;
			continue;
		}
		if (l2 < s->b->file->len)
			ret = count_l2(c, &w, l2, table);
	}
	free(l1);
	free(table);
	return ret;
}

/* Section "Bitmaps extension": directory, tables, data clusters. */
static int count_bitmaps(struct checker *c)
{
	struct qcow2 *s = c->s;
	struct error e = {0};
	uint64_t *table;

	if (!s->h.bitmaps.nr)
		return 0;
	if (s->bitmaps.why) {
		say(c, "ERROR bitmaps: %s", s->bitmaps.why);
		c->out->corruptions++;
		return 0;
	}
	count(c, s->h.bitmaps.dir_off, s->h.bitmaps.dir_len);
	for (uint32_t i = 0; i < s->bitmaps.nr; i++) {
		const struct qcow2_bitmap *m = s->bitmaps.list[i];

		count(c, m->table_off, m->nr_table * 8ull);
		if (qcow2_bitmap_read_table(s, m, &table, &e)) {
			say(c, "ERROR %s", e.msg);
			c->out->corruptions++;
			continue;
		}
		for (uint32_t k = 0; k < m->nr_table; k++)
			if (table[k] & QCOW2_OFFSET_MASK)
				count(c, table[k] & QCOW2_OFFSET_MASK,
				      s->cluster_len);
		free(table);
	}
	return 0;
}

/* A directory that is wrong goes first: only the header changes. */
static int mend_directory(struct checker *c, struct error *e)
{
	struct qcow2 *s = c->s;

	if (!(c->fix & BLK_REPAIR_ERRORS) || !s->bitmaps.why)
		return 0;
	say(c, "Repairing bitmaps: %s", s->bitmaps.why);
	c->out->corruptions_fixed++;
	return qcow2_bitmaps_drop(s, e);
}

/* With true refcounts: bitmaps with wrong tables are removed; their data was
 * found as leaks. */
static int mend_tables(struct checker *c, struct error *e)
{
	struct qcow2 *s = c->s;
	int ret = 0;

	if (!(c->fix & BLK_REPAIR_ERRORS))
		return 0;
	for (uint32_t i = s->bitmaps.nr; i-- > 0 && !ret;) {
		struct qcow2_bitmap *m = s->bitmaps.list[i];
		uint64_t *table, off = m->table_off, len = m->nr_table * 8ull;
		struct error why = {0};

		if (!qcow2_bitmap_read_table(s, m, &table, &why)) {
			free(table);
			continue;
		}
		say(c, "Repairing %s", why.msg);
		c->out->corruptions_fixed++;
		ret = qcow2_bitmap_forget(s, m, e);
		if (!ret)
			ret = qcow2_free_later(s, off, len);
	}
	return ret;
}

static void count_blocks(struct checker *c)
{
	struct qcow2 *s = c->s;

	count(c, s->h.rt_off, s->nr_rt * 8);
	for (uint64_t i = 0; i < s->nr_rt; i++) {
		uint64_t off = s->rt[i], cluster = off >> s->h.cluster_bits;

		if (!off)
			continue;
		if (off & (s->cluster_len - 1)) {
			say(c,
			    "ERROR refcount block %" PRIu64
			    " is not cluster aligned; refcount table entry "
			    "corrupted",
			    i);
		} else if (cluster >= c->nr) {
			say(c,
			    "ERROR refcount block %" PRIu64 " is outside image",
			    i);
		} else {
			count(c, off, s->cluster_len);
			if (c->refs[cluster] == 1)
				continue;
			say(c, "ERROR refcount block %" PRIu64 " refcount=%u",
			    i, c->refs[cluster]);
		}
		c->out->corruptions++;
		c->rebuild = true;
	}
}

static int count_all(struct checker *c, bool with_blocks)
{
	struct qcow2 *s = c->s;
	int ret;

	count(c, 0, s->cluster_len);
	ret = count_l1(c, s->h.l1_off, s->h.nr_l1, true);
	for (uint32_t i = 0; i < s->h.nr_snapshots && !ret; i++)
		ret = count_l1(c, s->snapshots[i].l1_off, s->snapshots[i].nr_l1,
			       false);
	count(c, s->h.snapshots_off, s->snapshots_len);
	if (!ret)
		ret = count_bitmaps(c);
	if (!ret && with_blocks)
		count_blocks(c);
	return ret;
}

/* ---- comparing ---- */

static int compare_one(struct checker *c, uint64_t i, uint64_t kept,
		       unsigned fix)
{
	uint64_t found = i < c->nr ? c->refs[i] : 0, *fixed = NULL;

	if ((kept || found) && i < c->nr)
		c->highest = i + 1;
	if (kept == found)
		return 0;
	if (!kept)
		c->rebuild = true;
	else if (kept > found && (fix & BLK_REPAIR_LEAKS))
		fixed = &c->out->leaks_fixed;
	else if (kept < found && (fix & BLK_REPAIR_ERRORS))
		fixed = &c->out->corruptions_fixed;
	say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
	    fixed	   ? "Repairing"
	    : kept < found ? "ERROR"
			   : "Leaked",
	    i, kept, found);
	if (fixed && !qcow2_set_refcount(c->s, i, found)) {
		++*fixed;
		return 0;
	}
	if (kept < found)
		c->out->corruptions++;
	else
		c->out->leaks++;
	return 0;
}

/* How far to compare: a file that a crash left short may have counts for what
 * was to follow; whoever mends it takes those back. */
static uint64_t compare_end(struct checker *c, unsigned fix)
{
	struct qcow2 *s = c->s;
	uint64_t end = s->nr_rt, max = c->nr + PAST_END_MAX;

	while (end && !s->rt[end - 1])
		end--;
	end <<= s->refblock_bits;
	if (!fix || end <= c->nr)
		return c->nr;
	return end < max ? end : max;
}

static int compare(struct checker *c, unsigned fix)
{
	struct qcow2 *s = c->s;
	uint64_t per_block = 1ull << s->refblock_bits;
	uint64_t end = compare_end(c, fix);
	uint8_t *block = malloc(s->cluster_len);
	int ret = block ? 0 : -ENOMEM;

	c->highest = 0;
	for (uint64_t i = 0; i < end && !ret; i++) {
		uint64_t b = i >> s->refblock_bits, off;

		off = b < s->nr_rt ? s->rt[b] : 0;
		if (off & (s->cluster_len - 1) || off > INT64_MAX)
			off = 0;
		if (!(i & (per_block - 1)) && off)
			ret = blk_read(s->b->file, off, block, s->cluster_len);
		if (!ret)
			ret = compare_one(
				c, i,
				off ? qcow2_refcount_peek(block,
							  s->h.refcount_order,
							  i & (per_block - 1))
				    : 0,
				fix);
	}
	free(block);
	return ret;
}

/* ---- COPIED bits ---- */

static int check_copied(struct checker *c)
{
	struct qcow2 *s = c->s;
	/* With every leak gone and nothing else wrong, flags are as harmless to
	 * set right. */
	bool fix = c->fix & BLK_REPAIR_ERRORS ||
		   (c->fix && !c->out->check_errors && !c->out->corruptions &&
		    !c->out->leaks);
	uint64_t *fixed = &c->out->corruptions_fixed, refs, nr = 0;
	uint64_t *table = malloc(s->cluster_len);
	int ret = table ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < s->h.nr_l1 && !ret; i++) {
		uint64_t l2 = s->l1[i] & QCOW2_OFFSET_MASK;
		unsigned step = s->l2_entry_len / 8;

		if (!l2 || l2 & (s->cluster_len - 1) || l2 >= s->b->file->len)
			continue;
		if (qcow2_get_refcount(s, l2 >> s->h.cluster_bits, &refs))
			continue;
		if ((refs == 1) != !!(s->l1[i] & QCOW2_COPIED)) {
			say(c,
			    "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu64
			    " l1_entry=%" PRIx64 " refcount=%" PRIu64,
			    fix ? "Repairing" : "ERROR", i, s->l1[i], refs);
			nr++;
		}
		ret = blk_read(s->b->file, l2, table, s->cluster_len);
		for (uint64_t k = 0; k < s->cluster_len / 8 && !ret;
		     k += step) {
			uint64_t entry = be64toh(table[k]);

			if (entry & QCOW2_COMPRESSED || s->b->data_file ||
			    !(entry & QCOW2_OFFSET_MASK))
				continue;
			if (qcow2_get_refcount(s,
					       (entry & QCOW2_OFFSET_MASK) >>
						       s->h.cluster_bits,
					       &refs) ||
			    (refs == 1) == !!(entry & QCOW2_COPIED))
				continue;
			say(c,
			    "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64
			    " refcount=%" PRIu64,
			    fix ? "Repairing" : "ERROR", entry, refs);
			nr++;
		}
	}
	free(table);
	if (!ret && nr && fix) {
		ret = qcow2_refresh_copied(s);
		if (!ret)
			ret = qcow2_write_meta(s, true);
	}
	*(nr && fix && !ret ? fixed : &c->out->corruptions) += nr;
	return ret;
}

/* ---- new refcount structures ---- */

static int write_structures(struct checker *c, uint64_t first, uint64_t blocks,
			    uint64_t table)
{
	struct qcow2 *s = c->s;
	uint64_t per_block = 1ull << s->refblock_bits;
	uint64_t nr = first + blocks + table, *rt;
	uint8_t *block = malloc(s->cluster_len);
	int ret = 0;

	rt = calloc(table, s->cluster_len);
	if (!block || !rt)
		ret = -ENOMEM;
	for (uint64_t b = 0; b < blocks && !ret; b++) {
		memset(block, 0, s->cluster_len);
		for (uint64_t k = 0; k < per_block; k++) {
			uint64_t i = b * per_block + k, v = 0;

			if (i < c->nr && i < first)
				v = c->refs[i];
			else if (i >= first && i < nr)
				v = 1;
			if (v > s->max_refcount)
				ret = -EINVAL;
			qcow2_refcount_poke(block, s->h.refcount_order, k, v);
		}
		rt[b] = (first + b) << s->h.cluster_bits;
		if (!ret)
			ret = blk_write(s->b->file, rt[b], block,
					s->cluster_len, 0);
	}
	if (!ret)
		ret = qcow2_write_table(s,
					(first + blocks) << s->h.cluster_bits,
					rt, table * s->cluster_len / 8);
	free(block);
	free(rt);
	return ret;
}

static int reload(struct qcow2 *s, struct error *e)
{
	unsigned len = qcow2_slice_len(s->ref_cache);
	unsigned nr = qcow2_cache_slices(s->ref_cache);
	struct qcow2_cache *cache = qcow2_cache_create(s, len, nr);

	if (!cache)
		return error_set(e, -ENOMEM, "no memory for refcounts");
	qcow2_cache_destroy(s->ref_cache);
	s->ref_cache = cache;
	free(s->rt);
	free(s->rt_dirty);
	s->rt = NULL;
	s->rt_dirty = NULL;
	s->any_rt_dirty = false;
	s->frees.nr = 0;
	s->free_hint = 0;
	s->packed_off = 0;
	return qcow2_refcount_load(s, e);
}

int qcow2_refcount_reload(struct qcow2 *s, struct error *e)
{
	int ret = reload(s, e);

	if (ret) {
		s->nr_rt = 0;
		s->corrupt = s->lost = true;
	}
	return ret;
}

static void forget_one(struct checker *c, uint64_t off)
{
	uint64_t cluster = off >> c->s->h.cluster_bits;

	if (cluster < c->nr && !c->refs[cluster])
		qcow2_forget_meta(c->s, off, c->s->cluster_len);
}

/* Where the old structures lie is free now, unless others lie there too. */
static void forget_structures(struct checker *c)
{
	struct qcow2 *s = c->s;

	for (uint64_t i = 0; i < s->h.rt_clusters; i++)
		forget_one(c, s->h.rt_off + i * s->cluster_len);
	for (uint64_t i = 0; i < s->nr_rt; i++)
		forget_one(c, s->rt[i]);
}

static int rebuild(struct checker *c, struct error *e)
{
	struct qcow2 *s = c->s;
	uint64_t first = c->nr, blocks = 1, table = 1, before;
	uint64_t per_block = 1ull << s->refblock_bits;
	struct qcow2_header h = s->h;
	int ret;

	say(c, "Rebuilding refcount structure");
	/* Not over what was found behind the last cluster in use. */
	while (first && !c->refs[first - 1])
		first--;
	do {
		before = blocks + table;
		blocks = (first + blocks + table + per_block - 1) / per_block;
		table = (blocks * 8 + s->cluster_len - 1) / s->cluster_len;
	} while (blocks + table != before);
	if (table * s->cluster_len > QCOW2_MAX_RT_LEN)
		return error_set(e, -EFBIG, "the refcount table is too large");
	ret = write_structures(c, first, blocks, table);
	if (!ret)
		ret = blk_flush(s->b->file);
	h.rt_off = (first + blocks) << s->h.cluster_bits;
	h.rt_clusters = table;
	if (!ret)
		ret = qcow2_header_write(s->b->file, &h, e);
	if (!ret)
		ret = blk_flush(s->b->file);
	s->header_unsure |= ret != 0;
	if (ret)
		return error_errno(e, -ret, "Could not rebuild refcounts");
	forget_structures(c);
	s->h = h;
	s->fresh_off = s->b->file->len;
	return qcow2_refcount_reload(s, e);
}

/* ---- the whole ---- */

static int count_and_compare(struct checker *c, struct error *e)
{
	struct qcow2 *s = c->s;
	int ret;

	c->nr = (s->b->file->len + s->cluster_len - 1) >> s->h.cluster_bits;
	if (c->nr > COUNTS_MAX)
		return error_set(e, -EFBIG,
				 "the image has too many clusters to check");
	c->refs = calloc(c->nr + 1, sizeof(*c->refs));
	if (!c->refs)
		return error_set(e, -ENOMEM, "no memory to check the image");
	ret = count_all(c, true);
	c->beyond = c->out->corruptions;
	if (!ret)
		ret = compare(c, 0);
	if (ret)
		error_errno(e, -ret, "Could not read the image's tables");
	return ret;
}

static int repair_structures(struct checker *c, struct error *e)
{
	struct blk_check old = *c->out;
	int ret;

	if (!(c->fix & BLK_REPAIR_ERRORS)) {
		say(c, "ERROR need to rebuild refcount structures");
		return error_set(e, -EIO, "Input/output error");
	}
	/* Counted without the structures that are to go. */
	memset(c->refs, 0, c->nr * sizeof(*c->refs));
	ret = count_all(c, false);
	*c->out = old;
	if (!ret)
		ret = rebuild(c, e);
	if (!ret)
		ret = qcow2_write_meta(c->s, true);
	c->out->corruptions_fixed += c->out->corruptions - c->beyond;
	c->out->corruptions = c->beyond;
	c->out->leaks_fixed += c->out->leaks;
	c->out->leaks = 0;
	return ret;
}

static int clear_marks(struct qcow2 *s)
{
	uint64_t marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;

	s->corrupt = false;
	if (!(s->h.incompat & marks))
		return 0;
	return qcow2_set_incompat(s, 0, marks);
}

static int run(struct checker *c, struct error *e)
{
	int ret = count_and_compare(c, e);

	if (!ret && c->rebuild && c->fix) {
		ret = repair_structures(c, e);
	} else if (!ret && c->fix) {
		/* Compared again, this time mending what differs. */
		c->out->leaks = 0;
		c->out->corruptions = c->beyond;
		ret = compare(c, c->fix);
	}
	if (!ret && c->fix)
		ret = mend_tables(c, e);
	if (!ret && c->fix)
		ret = qcow2_write_meta(c->s, true);
	if (!ret && !(c->rebuild && !c->fix && c->out->check_errors))
		ret = check_copied(c);
	if (!ret && (c->fix & BLK_REPAIR_ERRORS) && !c->out->corruptions)
		ret = clear_marks(c->s);
	return ret;
}

int qcow2_check(struct blk *b, unsigned repair, struct blk_check *out,
		struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	struct checker c = {.s = s, .out = out, .fix = repair};
	int ret;

	if (repair && !b->write)
		return error_set(e, -EROFS, "the image is open for reading");
	co_lock(&s->lock);
	out->total_clusters =
		(b->len + s->cluster_len - 1) >> s->h.cluster_bits;
	ret = b->write ? qcow2_write_meta(s, true) : 0;
	if (!ret && repair)
		ret = mend_directory(&c, e);
	if (!ret)
		ret = run(&c, e);
	out->end_offset = c.highest << s->h.cluster_bits;
	if (c.rebuild && repair && !ret)
		out->end_offset = s->b->file->len;
	if (repair)
		b->write_gen++;
	co_unlock(&s->lock);
	free(c.refs);
	return ret;
}
