/*
 * qcow2 after a crash at any write: random work on an image whose file notes
 * every change; then the image as it is after each prefix of the changes, and
 * after random choices of those that no flush covers, is opened and read.
 *
 * BINNACLE_CRASH_SEEDS=N runs N seeds, BINNACLE_CRASH_FIRST=N begins with N.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/filter/log.h"
#include "tests/unit/blk_memory.h"
#include "tests/unit/crash_model.h"

#define DEFAULT_SEEDS 36
#define LANES	      4
#define BIG_MAX	      128 /* sectors of a large request */

struct shape {
	const char *opts; /* key=value, with commas */
	uint32_t cluster, nr;
	uint32_t backing, grown; /* sectors */
	bool lazy, data_file, no_packed, no_snapshots;
	uint32_t filled; /* sectors that are written before the log begins */
};

static const struct shape shapes[] = {
	{.opts = "cluster_size=4096",
	 .cluster = 4096,
	 .nr = 1024,
	 .grown = 1500},
	{.opts = "cluster_size=4096",
	 .cluster = 4096,
	 .nr = 1024,
	 .backing = 700,
	 .grown = 1500},
	{.opts = "cluster_size=512", .cluster = 512, .nr = 400, .grown = 5000},
	{.opts = "cluster_size=512",
	 .cluster = 512,
	 .nr = 700,
	 .backing = 500,
	 .grown = 1100},
	{.opts = "cluster_size=512,refcount_bits=64",
	 .cluster = 512,
	 .nr = 4600,
	 .grown = 5200,
	 .filled = 3940},
	{.opts = "cluster_size=1024,compat=0.10",
	 .cluster = 1024,
	 .nr = 600,
	 .grown = 600},
	{.opts = "cluster_size=2048,refcount_bits=1",
	 .cluster = 2048,
	 .nr = 800,
	 .grown = 1000,
	 .no_snapshots = true},
	{.opts = "cluster_size=1024,refcount_bits=2",
	 .cluster = 1024,
	 .nr = 800,
	 .backing = 300,
	 .grown = 900},
	{.opts = "cluster_size=1024,refcount_bits=8",
	 .cluster = 1024,
	 .nr = 800,
	 .grown = 900},
	{.opts = "cluster_size=16384,extended_l2=on",
	 .cluster = 16384,
	 .nr = 1200,
	 .grown = 1300},
	{.opts = "cluster_size=16384,extended_l2=on",
	 .cluster = 16384,
	 .nr = 1200,
	 .backing = 900,
	 .grown = 1300},
	{.opts = "cluster_size=65536,extended_l2=on",
	 .cluster = 65536,
	 .nr = 1500,
	 .backing = 1000,
	 .grown = 2000},
	{.opts = "cluster_size=4096,lazy_refcounts=on",
	 .cluster = 4096,
	 .nr = 800,
	 .backing = 300,
	 .grown = 900,
	 .lazy = true},
	{.opts = "cluster_size=512,lazy_refcounts=on,refcount_bits=32",
	 .cluster = 512,
	 .nr = 600,
	 .grown = 700,
	 .lazy = true},
	{.opts = "cluster_size=4096,compression_type=zstd",
	 .cluster = 4096,
	 .nr = 800,
	 .grown = 900},
	{.opts = "cluster_size=4096",
	 .cluster = 4096,
	 .nr = 1000,
	 .grown = 1000,
	 .data_file = true},
	{.opts = "cluster_size=4096,data_file_raw=on",
	 .cluster = 4096,
	 .nr = 1000,
	 .grown = 1000,
	 .data_file = true},
	{.opts = "cluster_size=65536",
	 .cluster = 65536,
	 .nr = 1500,
	 .backing = 1100,
	 .grown = 2000},
};
#define NR_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* The bytes of a file. */
struct image {
	uint8_t *data;
	uint64_t len, max;
};

struct crash {
	struct blk_bench bench;
	const struct shape *shape;
	unsigned seed, random;
	char dir[64], path[96], data_path[96];
	struct model *m;
	struct blk *disk[2], *log[2], *b; /* [1]: the external data file */
	struct blk *backing;
	struct image base[2], now[2], stable[2], tmp[2];
	unsigned running, lane;
	uint64_t states;
	bool failed;
};

static unsigned any(struct crash *c, unsigned below)
{
	return rand_r(&c->random) % below;
}

static uint64_t position(struct crash *c)
{
	return c->log[0] ? blk_log_count(c->log[0]) : 0;
}

static bool wrong(struct crash *c, uint64_t at, const char *what, long long a,
		  long long b)
{
	fprintf(stderr, "seed %u (%s), position %llu: %s (%lld, %lld)\n",
		c->seed, c->shape->opts, (unsigned long long)at, what, a, b);
	c->failed = true;
	return false;
}

/* ---- making the image ---- */

static int create_image(struct crash *c)
{
	struct blk_opt opts[8];
	struct blk_create create = {.path = c->path,
				    .len = c->shape->nr * (uint64_t)SECTOR,
				    .opts = opts};
	char text[128], *save = NULL;
	struct error e = {0};
	int ret;

	snprintf(text, sizeof(text), "%s", c->shape->opts);
	for (char *p = strtok_r(text, ",", &save); p;
	     p = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(p, '=');

		*eq = 0;
		opts[create.nr_opts++] = (struct blk_opt){p, eq + 1};
	}
	if (c->shape->data_file)
		opts[create.nr_opts++] =
			(struct blk_opt){"data_file", c->data_path};
	if (c->shape->backing) {
		create.backing = "base.raw";
		create.backing_format = "raw";
	}
	ret = blk_qcow2_format.create(c->bench.ctx, &create, &e);
	if (ret)
		fprintf(stderr, "%s\n", e.msg);
	return ret;
}

static void image_reach(struct image *i, uint64_t end)
{
	uint64_t max = i->max ? i->max : 65536;

	if (end <= i->max)
		return;
	while (max < end)
		max *= 2;
	i->data = realloc(i->data, max);
	memset(i->data + i->max, 0, max - i->max);
	i->max = max;
}

static void image_copy(struct image *to, const struct image *from)
{
	if (!from->data)
		return;
	image_reach(to, from->max);
	memcpy(to->data, from->data, from->len);
	if (to->len > from->len)
		memset(to->data + from->len, 0, to->len - from->len);
	to->len = from->len;
}

static struct blk *load_file(struct crash *c, const char *path)
{
	struct blk *b;
	struct stat st;
	FILE *in = fopen(path, "r");

	CHECK(in && !fstat(fileno(in), &st));
	b = memory_disk_open(c->bench.ctx, st.st_size);
	CHECK_EQ(fread(memory_disk_of(b)->data, 1, st.st_size, in), st.st_size);
	fclose(in);
	free(b->name);
	b->name = strdup(path);
	b->options.path = b->name;
	return b;
}

/* An image over file, with our own nodes around it; NULL when it refuses. */
static struct blk *open_over(struct crash *c, struct blk *file,
			     struct blk *data, bool write, const char *snapshot,
			     struct error *e)
{
	struct blk_options o = {.format = "qcow2",
				.write = write,
				.no_backing = true,
				.no_lock = true,
				.discard_unmap = true,
				.cache_len = c->seed % 3 ? 0 : 1,
				.snapshot = snapshot};
	struct blk *b = blk_open_over(file, &o, e);

	if (!b) {
		blk_unref(data);
		return NULL;
	}
	if (c->shape->backing)
		b->backing = blk_ref(c->backing);
	if (data) {
		blk_unref(b->data_file);
		b->data_file = data;
	}
	return b;
}

static void open_live(struct crash *c)
{
	struct error e = {0};
	unsigned nr = c->shape->data_file ? 2 : 1;

	CHECK_EQ(create_image(c), 0);
	for (unsigned i = 0; i < nr; i++) {
		c->disk[i] = load_file(c, i ? c->data_path : c->path);
		memory_disk_of(c->disk[i])->slow = 4;
		memory_disk_of(c->disk[i])->seed = c->seed;
		c->log[i] = blk_filter_open(blk_ref(c->disk[i]),
					    &blk_log_driver, &e);
	}
	if (nr > 1)
		blk_log_share(c->log[1], c->log[0]);
	c->b = open_over(c, blk_ref(c->log[0]),
			 nr > 1 ? blk_ref(c->log[1]) : NULL, true, NULL, &e);
	if (!c->b)
		fprintf(stderr, "%s\n", e.msg);
	CHECK(c->b);
}

static void make_backing(struct crash *c)
{
	uint32_t nr = c->shape->backing;

	c->backing = memory_disk_open(c->bench.ctx, nr * (uint64_t)SECTOR);
	for (uint32_t s = 0; s < nr; s++)
		model_fill(memory_disk_of(c->backing)->data + s * SECTOR,
			   TAG_BACKING, s);
	c->backing->write = false;
}

/* ---- work ---- */

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

/* What lies past either length is anything until the end of it. */
static void work_resize(struct crash *c)
{
	uint32_t old = disk_sectors(c), small = c->shape->nr * 3 / 4;
	uint32_t new = small + any(c, c->shape->grown - small);
	uint32_t first = old < new ? old : new;
	struct error e = {0};

	if (strstr(c->shape->opts, "compat=0.10") && c->m->nr_snapshots)
		return;
	for (uint32_t s = first; s < MODEL_SECTORS; s++) {
		history_add(&c->m->sectors[s], model_below(c->m, s),
			    position(c));
		history_add(&c->m->sectors[s], TAG_ZERO, position(c));
	}
	history_add(&c->m->lens, new, position(c));
	if (blk_truncate(c->b, (uint64_t) new *SECTOR, BLK_PREALLOC_OFF, true,
			 &e))
		fprintf(stderr, "seed %u: %s\n", c->seed, e.msg);
	CHECK_EQ(e.code, 0);
	done_all(c);
}

static void work_alone(struct crash *c)
{
	uint32_t nr = disk_sectors(c), first = any(c, nr);
	uint32_t len = 1 + any(c, BIG_MAX);

	if (len > nr - first)
		len = nr - first;
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
		if (!any(c, 3))
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
	}
	all_lanes(c);
	covers = c->m->completions;
	CHECK_EQ(blk_unref(c->b), 0);
	c->b = NULL;
	model_flushed(c->m, covers, position(c));
}

/* ---- what a crash leaves ---- */

static void image_apply(struct image *i, const struct blk_log_entry *entry,
			unsigned torn, unsigned *seed)
{
	uint64_t end = entry->off + entry->len;

	if (entry->flags & BLK_LOG_TRUNCATE) {
		image_reach(i, entry->off);
		if (entry->off < i->len)
			memset(i->data + entry->off, 0, i->len - entry->off);
		i->len = entry->off;
		return;
	}
	if (entry->flags & (BLK_LOG_MARK | BLK_LOG_FLUSH))
		return;
	image_reach(i, end);
	if (entry->flags & BLK_LOG_DISCARD) {
		if (end > i->len)
			end = i->len;
		if (entry->off < end)
			memset(i->data + entry->off, 0, end - entry->off);
		return;
	}
	for (uint64_t at = 0; at < entry->len; at += SECTOR) {
		uint8_t *to = i->data + entry->off + at;

		if (torn && rand_r(seed) % 2)
			continue;
		if (entry->flags & BLK_LOG_ZEROES)
			memset(to, 0, SECTOR);
		else
			memcpy(to, (uint8_t *)entry->data + at, SECTOR);
	}
	if (end > i->len)
		i->len = end;
}

/* A node over the bytes of an image, which it borrows. */
static struct blk *borrow(struct crash *c, struct image *i, bool write)
{
	struct blk *b = memory_disk_open(c->bench.ctx, 0);
	struct memory_disk *d = memory_disk_of(b);

	free(d->data);
	d->data = i->data;
	d->max = i->max;
	b->len = i->len;
	b->write = write;
	free(b->name);
	b->name = strdup(c->path);
	b->options.path = b->name;
	return b;
}

static void give_back(struct blk *disk, struct image *i)
{
	struct memory_disk *d = memory_disk_of(disk);

	i->data = d->data;
	i->max = d->max;
	i->len = disk->len;
	d->data = NULL;
	blk_unref(disk);
}

struct mounted {
	struct blk *disk[2], *b;
	struct image *images;
};

static bool mount_state(struct crash *c, struct mounted *s,
			struct image *images, bool write, const char *snapshot,
			uint64_t at)
{
	struct error e = {0};
	bool data = c->shape->data_file;

	s->images = images;
	s->disk[0] = borrow(c, &images[0], write);
	s->disk[1] = data ? borrow(c, &images[1], write) : NULL;
	s->b = open_over(c, blk_ref(s->disk[0]),
			 data ? blk_ref(s->disk[1]) : NULL, write, snapshot,
			 &e);
	return s->b || wrong(c, at, e.msg, e.code, 0);
}

static void unmount_state(struct mounted *s)
{
	blk_unref(s->b);
	give_back(s->disk[0], &s->images[0]);
	if (s->disk[1])
		give_back(s->disk[1], &s->images[1]);
}

struct found {
	unsigned copied;
	char first[256];
};

static void on_line(void *arg, const char *line)
{
	struct found *f = arg;

	if (strstr(line, "OFLAG_COPIED"))
		f->copied++;
	else if (!*f->first && !strncmp(line, "ERROR", 5))
		snprintf(f->first, sizeof(f->first), "%s", line);
}

/* While a snapshot comes or goes the COPIED bits can't all change at once: one
 * that is out of date is harmless as long as nothing is shared by it. */
static bool copied_may_lag(const struct model *m, uint64_t at)
{
	for (unsigned i = 0; i < m->nr_snapshots; i++)
		if (m->snapshots[i].begin <= at)
			return true;
	return false;
}

static bool check_state(struct crash *c, struct blk *b, uint64_t at)
{
	struct found f = {0};
	struct blk_check out = {.say = on_line, .say_arg = &f};
	struct error e = {0};

	if (blk_qcow2_format.check(b, 0, &out, &e))
		return wrong(c, at, e.msg, e.code, 0);
	if (out.check_errors)
		return wrong(c, at, "check errors", out.check_errors, 0);
	if (f.copied && copied_may_lag(c->m, at))
		out.corruptions -= f.copied;
	if (out.corruptions)
		return wrong(c, at, *f.first ? f.first : "COPIED",
			     out.corruptions, f.copied);
	if (c->shape->lazy && b->write && out.leaks)
		return wrong(c, at, "leaks after the repair", out.leaks, 0);
	return true;
}

/* Tells a sector's story: what it holds, and what it might. */
static void explain(struct crash *c, const uint8_t *buf, uint32_t s)
{
	const struct history *h = &c->m->sectors[s];

	for (uint32_t tag = 0; tag < c->m->next_tag; tag++)
		for (uint32_t from = 0; from < MODEL_SECTORS; from++)
			if (model_is(buf, tag, from)) {
				fprintf(stderr, "holds version %u of %u\n", tag,
					from);
				goto found;
			}
found:
	for (unsigned i = 0; i < h->nr; i++)
		fprintf(stderr, "version %u at %lld, done %lld\n",
			h->list[i].tag, (long long)h->list[i].begin,
			(long long)h->list[i].done);
}

static bool read_state(struct crash *c, struct blk *b, uint64_t at)
{
	uint64_t stable = model_stable(c->m, at);
	uint32_t nr = blk_len(b) / SECTOR;
	uint8_t *buf = malloc(blk_len(b));
	int ret = blk_read(b, 0, buf, blk_len(b));
	bool ok = true;

	if (!model_allows_len(c->m, nr, at, stable))
		ok = wrong(c, at, "the disk's length", nr, 0);
	else if (ret)
		ok = wrong(c, at, "reading", ret, 0);
	for (uint32_t s = 0; s < nr && ok; s++)
		if (!model_allows(c->m, buf + s * SECTOR, s, at, stable)) {
			explain(c, buf + s * SECTOR, s);
			ok = wrong(c, at, "a sector is neither old nor new", s,
				   *(uint64_t *)(buf + s * SECTOR));
		}
	free(buf);
	return ok;
}

static bool read_snapshot(struct crash *c, struct image *images,
			  const struct model_snapshot *sn, uint64_t at)
{
	struct mounted s;
	uint8_t *buf;
	bool ok;

	if (!mount_state(c, &s, images, false, sn->name, at))
		return false;
	buf = malloc(sn->nr * SECTOR);
	ok = blk_len(s.b) == sn->nr * (uint64_t)SECTOR &&
	     !blk_read(s.b, 0, buf, sn->nr * SECTOR);
	if (!ok)
		wrong(c, at, "a snapshot can't be read", 0, 0);
	for (uint32_t i = 0; i < sn->nr && ok; i++)
		if (!model_is(buf + i * SECTOR, sn->tags[i], i))
			ok = wrong(c, at, "a snapshot changed", i,
				   *(uint64_t *)(buf + i * SECTOR));
	free(buf);
	unmount_state(&s);
	return ok;
}

static bool has_snapshot(const struct blk_snapshot_info *list, int nr,
			 const char *name)
{
	for (int i = 0; i < nr; i++)
		if (!strcmp(list[i].name, name))
			return true;
	return false;
}

static bool check_snapshots(struct crash *c, struct image *images,
			    struct blk *b, uint64_t at, bool content)
{
	struct blk_snapshot_info *list = calloc(MODEL_SNAPSHOTS, sizeof(*list));
	int nr = blk_qcow2_format.snapshots(b, list, MODEL_SNAPSHOTS);
	bool ok = true;

	for (unsigned i = 0; i < c->m->nr_snapshots && ok; i++) {
		const struct model_snapshot *sn = &c->m->snapshots[i];
		bool there = has_snapshot(list, nr, sn->name);

		if (there && (sn->begin > at || sn->delete_done <= at))
			ok = wrong(c, at, "a snapshot that was not", i, 0);
		else if (!there && sn->done <= at && sn->delete_begin > at)
			ok = wrong(c, at, "a snapshot is gone", i, 0);
		else if (there && content)
			ok = read_snapshot(c, images, sn, at);
	}
	free(list);
	return ok;
}

/* Life goes on: more writes to what the crash left must not hurt it. */
static bool go_on(struct crash *c, struct image *images, uint64_t at)
{
	struct mounted s;
	struct image copy[2] = {0};
	unsigned seed = c->random;
	uint32_t nr, where[24];
	uint8_t buf[SECTOR];
	bool ok = true;

	for (unsigned i = 0; i < 2; i++)
		image_copy(&copy[i], &images[i]);
	if (!mount_state(c, &s, copy, true, NULL, at))
		return false;
	nr = blk_len(s.b) / SECTOR;
	for (unsigned i = 0; i < 24 && ok; i++) {
		where[i] = rand_r(&seed) % nr;
		model_fill(buf, 1000000 + where[i], where[i]);
		ok = !blk_write(s.b, where[i] * (uint64_t)SECTOR, buf, SECTOR,
				0);
	}
	ok = ok && !blk_flush(s.b);
	for (unsigned i = 0; i < 24 && ok; i++)
		ok = !blk_read(s.b, where[i] * (uint64_t)SECTOR, buf, SECTOR) &&
		     model_is(buf, 1000000 + where[i], where[i]);
	if (!ok)
		wrong(c, at, "writing after the crash", 0, 0);
	ok = ok && check_state(c, s.b, at) &&
	     check_snapshots(c, copy, s.b, at, false);
	unmount_state(&s);
	for (unsigned i = 0; i < c->m->nr_snapshots && ok; i++) {
		const struct model_snapshot *sn = &c->m->snapshots[i];

		if (sn->done <= at && sn->delete_begin > at)
			ok = read_snapshot(c, copy, sn, at);
	}
	free(copy[0].data);
	free(copy[1].data);
	return ok;
}

/* Opens the image as it lies there; with lazy refcounts it repairs itself. */
static bool verify(struct crash *c, struct image *images, uint64_t at)
{
	struct mounted s;
	bool write = c->shape->lazy, ok;

	c->states++;
	if (write) {
		static struct image copy[2];

		for (unsigned i = 0; i < 2; i++)
			image_copy(&copy[i], &images[i]);
		images = copy;
	}
	if (!mount_state(c, &s, images, write, NULL, at))
		return false;
	ok = check_state(c, s.b, at) && read_state(c, s.b, at) &&
	     check_snapshots(c, images, s.b, at, !any(c, 8));
	unmount_state(&s);
	if (ok && !any(c, 12))
		ok = go_on(c, images, at);
	return ok;
}

static unsigned device(const struct crash *c, const struct blk_log_entry *e)
{
	return e->node == c->log[0] ? 0 : 1;
}

/* A choice of what no flush covers, some of it torn: the last change always,
 * and often little of what it may depend on. */
static bool verify_choice(struct crash *c, uint64_t at, const uint64_t *covered)
{
	unsigned chance = any(c, 2) ? 10 : any(c, 100);
	uint64_t from = covered[0] < covered[1] ? covered[0] : covered[1];

	for (unsigned i = 0; i < 2; i++)
		image_copy(&c->tmp[i], &c->stable[i]);
	for (uint64_t i = from; i < at; i++) {
		const struct blk_log_entry *entry = blk_log_at(c->log[0], i);
		unsigned d = device(c, entry);

		if (i + 1 == at)
			image_apply(&c->tmp[d], entry, 0, NULL);
		else if (i >= covered[d] && any(c, 100) < chance)
			image_apply(&c->tmp[d], entry, !any(c, 8), &c->random);
	}
	return verify(c, c->tmp, at);
}

static bool verify_all(struct crash *c)
{
	uint64_t nr = blk_log_count(c->log[0]);
	uint64_t covered[2] = {0, c->shape->data_file ? 0 : nr};

	for (unsigned i = 0; i < 2; i++) {
		image_copy(&c->now[i], &c->base[i]);
		image_copy(&c->stable[i], &c->base[i]);
	}
	for (uint64_t i = 0; i < nr; i++) {
		const struct blk_log_entry *entry = blk_log_at(c->log[0], i);
		unsigned d = device(c, entry);

		if (entry->flags & BLK_LOG_FLUSH) {
			image_copy(&c->stable[d], &c->now[d]);
			covered[d] = i + 1;
			continue;
		}
		image_apply(&c->now[d], entry, 0, NULL);
		if (!verify(c, c->now, i + 1))
			return false;
		if (!verify_choice(c, i + 1, covered))
			return false;
	}
	return true;
}

static int seed_run(void *arg)
{
	struct crash *c = arg;
	struct model *m = calloc(1, sizeof(*m));

	c->m = m;
	c->random = c->seed * 7919 + 1;
	c->shape = &shapes[c->seed % NR_SHAPES];
	m->next_tag = 2;
	m->backing = c->shape->backing;
	for (uint32_t s = 0; s < MODEL_SECTORS; s++)
		history_add(&m->sectors[s], model_below(m, s), 0)->done = 0;
	history_add(&m->lens, c->shape->nr, 0)->done = 0;
	make_backing(c);
	open_live(c);
	warm_up(c);
	work(c);
	verify_all(c);
	for (unsigned i = 0; i < 2 && c->log[i]; i++) {
		blk_unref(c->log[i]);
		blk_unref(c->disk[i]);
		c->log[i] = c->disk[i] = NULL;
	}
	blk_unref(c->backing);
	model_fini(m);
	return c->failed ? -EIO : 0;
}

static unsigned from_environment(const char *name, unsigned preset)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 10) : preset;
}

static void crashes(void **state)
{
	unsigned first = from_environment("BINNACLE_CRASH_FIRST", 0);
	unsigned nr = from_environment("BINNACLE_CRASH_SEEDS", DEFAULT_SEEDS);
	const char *tmp = getenv("TMPDIR");
	struct crash c = {0};
	char text[128];

	(void)state;
	snprintf(c.dir, sizeof(c.dir), "%s/binnacle-crash-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(c.dir));
	snprintf(c.path, sizeof(c.path), "%s/a.qcow2", c.dir);
	snprintf(c.data_path, sizeof(c.data_path), "%s/a.data", c.dir);
	assert_int_equal(blk_bench_start(&c.bench), 0);
	for (c.seed = first; c.seed < first + nr && !c.failed; c.seed++)
		blk_run(c.bench.ctx, seed_run, &c);
	blk_bench_stop(&c.bench);
	for (unsigned i = 0; i < 2; i++) {
		free(c.base[i].data);
		free(c.now[i].data);
		free(c.stable[i].data);
		free(c.tmp[i].data);
	}
	snprintf(text, sizeof(text), "rm -r '%s'", c.dir);
	assert_int_equal(system(text), 0);
	print_message("%llu states of %u seeds\n", (unsigned long long)c.states,
		      nr);
	assert_false(c.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
