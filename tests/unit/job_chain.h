/*
 * job_chain: random chains of images below a running disk, and what a crash
 * would leave of them.
 *
 * Thread rule: [co], on the disk's loop.
 */
#ifndef TESTS_UNIT_JOB_CHAIN_H
#define TESTS_UNIT_JOB_CHAIN_H

#include "tests/unit/shadow.h"

#define CHAIN_MOST 5

struct chain {
	struct bench *t;
	unsigned nr;
	char dir[128];
	char path[CHAIN_MOST][160]; /* the bottom first */
	struct blk *layer[CHAIN_MOST];
	struct blk *disk;
	struct shadow w;
	bool is_raw;	      /* the bottom */
	const uint64_t *lens; /* NULL: any, and the bottom of any format */
};

/* The model gets another length; new sectors are zeroes. */
static inline void chain_resize(struct shadow *w, uint64_t len)
{
	unsigned nr = (len + SHADOW_SECTOR - 1) / SHADOW_SECTOR;
	unsigned keep = nr < w->nr ? nr : w->nr;
	struct shadow_sector *s = calloc(nr + 1, sizeof(*s));

	SHADOW_CHECK(s, "memory");
	memcpy(s, w->s, keep * sizeof(*s));
	free(w->s);
	w->s = s;
	w->nr = nr;
	w->len = len;
}

static inline void chain_make_image(struct chain *c, unsigned i, uint64_t len)
{
	static const char *const sizes[] = {"512", "4096", "65536", "262144"};
	struct bench *t = c->t;
	struct blk_opt opts[3] = {
		{"cluster_size", sizes[bench_rand(t, 4)]},
		{"compat", bench_rand(t, 5) ? "1.1" : "0.10"},
	};
	struct blk_create make = {
		.path = c->path[i], .len = len, .opts = opts, .nr_opts = 2};
	char name[16];
	struct error e = {0};
	bool raw = !i && (c->lens || bench_rand(t, 2));

	c->is_raw |= raw;
	if (i) {
		snprintf(name, sizeof(name), "%u.img", i - 1);
		make.backing = name;
		make.backing_format = i == 1 && c->is_raw ? "raw" : "qcow2";
	}
	if (!raw && strcmp(opts[1].value, "0.10") && bench_rand(t, 4) == 0) {
		opts[0].value = "65536";
		opts[2] = (struct blk_opt){"extended_l2", "on"};
		make.nr_opts = 3;
	}
	if (raw)
		SHADOW_CHECK(!blk_make_file(t->ctx, make.path, len,
					    BLK_PREALLOC_OFF, &e),
			     "%s", e.msg);
	else
		SHADOW_CHECK(!blk_qcow2_format.create(t->ctx, &make, &e), "%s",
			     e.msg);
}

/* Writes one layer through the model. */
static inline void chain_fill(struct chain *c, unsigned i, uint64_t len)
{
	struct blk_options o = {.path = c->path[i], .write = true};
	unsigned tail = c->w.len / SHADOW_SECTOR, changes;
	bool odd = c->w.len % SHADOW_SECTOR;
	struct error e = {0};

	c->w.disk = blk_open(c->t->ctx, &o, &e);
	SHADOW_CHECK(c->w.disk, "%s", e.msg);
	if (blk_len(c->w.disk) > len)
		len = blk_len(c->w.disk);
	chain_resize(&c->w, len);
	/* What was the end in the middle of a sector is none now. */
	if (odd && tail < c->w.nr)
		shadow_change(&c->w, tail, 1, false);
	changes = bench_rand(c->t, 30);
	while (changes--) {
		unsigned first = bench_rand(c->t, c->w.nr);
		unsigned n = 1 + bench_rand(c->t, SHADOW_MOST);

		if (n > c->w.nr - first)
			n = c->w.nr - first;
		shadow_change(&c->w, first, n, bench_rand(c->t, 4) == 0);
	}
	c->layer[i] = c->w.disk;
}

static inline void chain_open(struct chain *c)
{
	struct blk *b = shadow_open(c->t, c->path[c->nr - 1], true);
	struct error e = {0};

	for (unsigned i = c->nr; i--;) {
		c->layer[i] = b;
		b = blk_backing(b);
	}
	SHADOW_CHECK(!b, "a layer too many");
	c->disk = blk_disk_create(c->layer[c->nr - 1], &e);
	SHADOW_CHECK(c->disk, "%s", e.msg);
}

static inline uint64_t chain_len(struct chain *c, unsigned i)
{
	uint64_t len = 65536 + bench_rand(c->t, 1500000);

	if (c->lens)
		return c->lens[i];
	if (i && bench_rand(c->t, 2))
		len = c->w.len;
	return i || bench_rand(c->t, 2) ? (len + 511) & ~511ull : len;
}

/* A chain of nr layers, open as a disk, with a model of what is in it.  lens:
 * their lengths, over a raw bottom; NULL: at random. */
static inline void chain_create_lens(struct chain *c, struct bench *t,
				     unsigned nr, const uint64_t *lens)
{
	memset(c, 0, sizeof(*c));
	c->lens = lens;
	c->t = t;
	c->nr = nr;
	c->w = (struct shadow){.t = t, .s = calloc(1, sizeof(*c->w.s))};
	snprintf(c->dir, sizeof(c->dir), "%s/%u-XXXXXX", t->dir, nr);
	SHADOW_CHECK(mkdtemp(c->dir), "%s", c->dir);
	for (unsigned i = 0; i < nr; i++) {
		uint64_t len = chain_len(c, i);

		snprintf(c->path[i], sizeof(c->path[i]), "%s/%u.img", c->dir,
			 i);
		chain_make_image(c, i, len);
		chain_fill(c, i, len);
		SHADOW_CHECK(!blk_unref(c->layer[i]), "close");
	}
	shadow_settle(&c->w);
	chain_open(c);
	shadow_compare(&c->w, c->disk, false);
}

static inline void chain_create(struct chain *c, struct bench *t, unsigned nr)
{
	chain_create_lens(c, t, nr, NULL);
}

static inline void chain_remove(struct chain *c)
{
	char cmd[200];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", c->dir);
	SHADOW_CHECK(!system(cmd), "%s", cmd);
	free(c->w.s);
}

/* ---- crashes ---- */

/* Nothing else runs on the loop meanwhile: a request that waits for another
 * has not been sent yet. */
static inline void chain_copy_file(const char *from, const char *to)
{
	static const size_t piece = 65536;
	FILE *a = fopen(from, "r"), *b = fopen(to, "w");
	char *buf = malloc(piece);
	size_t n;

	SHADOW_CHECK(a && b && buf, "%s: %s", from, strerror(errno));
	while ((n = fread(buf, 1, piece, a)))
		SHADOW_CHECK(fwrite(buf, 1, n, b) == n, "%s", to);
	fclose(a);
	fclose(b);
	free(buf);
}

static inline void chain_check_image(struct bench *t, const char *path)
{
	struct blk_options o = {
		.path = path, .format = "qcow2", .no_backing = true};
	struct blk_check found = {0};
	struct error e = {0};
	struct blk *b = blk_open(t->ctx, &o, &e);

	SHADOW_CHECK(b, "%s", e.msg);
	SHADOW_CHECK(!blk_qcow2_format.check(b, 0, &found, &e), "%s", e.msg);
	SHADOW_CHECK(!found.corruptions && !found.check_errors,
		     "%s: %llu corruptions", path,
		     (unsigned long long)found.corruptions);
	blk_unref(b);
}

/* Would the process die now, the chain that began at `top` would show what was
 * flushed, and every image would be valid. */
static inline void chain_crash(struct chain *c, const char *top)
{
	struct shadow w = c->w;
	char dir[160], path[256];
	struct blk *b;

	snprintf(dir, sizeof(dir), "%s/crash", c->dir);
	mkdir(dir, 0755);
	/* The model goes on while we look. */
	w.s = malloc((w.nr + 1) * sizeof(*w.s));
	SHADOW_CHECK(w.s, "memory");
	memcpy(w.s, c->w.s, (w.nr + 1) * sizeof(*w.s));
	for (unsigned i = 0; i < c->nr; i++) {
		snprintf(path, sizeof(path), "%s/%u.img", dir, i);
		chain_copy_file(c->path[i], path);
	}
	if (*top != '/' && strcmp(top, strrchr(c->path[c->nr - 1], '/') + 1)) {
		char from[256];

		snprintf(from, sizeof(from), "%s/%s", c->dir, top);
		snprintf(path, sizeof(path), "%s/%s", dir, top);
		chain_copy_file(from, path);
	}
	snprintf(path, sizeof(path), "%s/%s", dir, top);
	b = shadow_open(c->t, path, false);
	shadow_compare(&w, b, true);
	for (struct blk *p = b; p; p = blk_backing(p))
		if (!strcmp(blk_format(p), "qcow2"))
			chain_check_image(c->t, blk_name(p));
	blk_unref(b);
	free(w.s);
}

#endif
