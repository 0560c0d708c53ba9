/*
 * An image of each shape in memory, its changes noted: what test_qcow2_crash
 * works on.  Thread rule: [co].
 */
#ifndef TESTS_UNIT_CRASH_BENCH_H
#define TESTS_UNIT_CRASH_BENCH_H

#include <stdio.h>
#include <sys/stat.h>

#include "core/blk/filter/log.h"
#include "tests/unit/blk_memory.h"
#include "tests/unit/crash_model.h"
#include "tests/unit/crash_shapes.h"

#define LANES	4
#define BIG_MAX 128 /* sectors of a large request */

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
	unsigned running, lane, peer;
	uint64_t states;
	/* How often it was tried. */
	unsigned nr_taken, nr_deleted, nr_applied, nr_grown, nr_shrunk;
	unsigned nr_stored;    /* bitmaps, while the image goes on */
	bool failed, is_whole; /* the state has every change so far */
	/* Bitmaps; their tags are what the disk held when all bits were 0. */
	struct model_snapshot bitmaps[MODEL_SNAPSHOTS];
	unsigned nr_bitmaps;
	uint64_t closing; /* position when the image was closed */
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

#endif
