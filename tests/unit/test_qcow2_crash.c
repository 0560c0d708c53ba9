/*
 * qcow2 after a crash at any write: random work on an image whose file notes
 * every change; then the image as it is after each prefix of the changes, and
 * after random choices of those that no flush covers, is opened and read.
 *
 * BINNACLE_CRASH_SEEDS=N runs N seeds, BINNACLE_CRASH_FIRST=N begins with N;
 * BINNACLE_CRASH_PEER=N shows one state in N to qemu-img, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/qcow2/bitmap.h"
#include "tests/unit/crash_work.h"

#define DEFAULT_SEEDS 48

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
	char first[256];
};

static void on_line(void *arg, const char *line)
{
	struct found *f = arg;

	if (!*f->first && !strncmp(line, "ERROR", 5))
		snprintf(f->first, sizeof(f->first), "%s", line);
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
	if (out.corruptions)
		return wrong(c, at, f.first, out.corruptions, 0);
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

/* A bitmap that claims to be true has a bit for all that is not as it was when
 * it had none. */
static bool read_bitmap(struct crash *c, struct blk *b, struct qcow2_bitmap *m,
			const struct model_snapshot *was, uint64_t at)
{
	struct qcow2 *s = qcow2_of(b);
	uint8_t buf[SECTOR];
	bool ok = true;

	co_lock(&s->lock);
	if (qcow2_bitmap_load(s, m, NULL))
		ok = wrong(c, at, "a bitmap can't be read", 0, 0);
	co_unlock(&s->lock);
	for (uint32_t i = 0; i < blk_len(b) / SECTOR && ok; i++) {
		uint64_t bit = (uint64_t)i * SECTOR >> m->granularity_bits;

		if (m->bits[bit / 8] >> bit % 8 & 1)
			continue;
		ok = !blk_read(b, (uint64_t)i * SECTOR, buf, SECTOR) &&
		     model_is(buf, was->tags[i], i);
		if (!ok)
			wrong(c, at, "a bitmap misses a change", i, bit);
	}
	co_lock(&s->lock);
	qcow2_bitmap_unload(s, m);
	co_unlock(&s->lock);
	return ok;
}

static bool check_bitmaps(struct crash *c, struct blk *b, uint64_t at)
{
	struct qcow2 *s = qcow2_of(b);
	bool ok = true;

	if (s->bitmaps.why)
		return wrong(c, at, s->bitmaps.why, 0, 0);
	for (unsigned i = 0; i < c->nr_bitmaps && ok; i++) {
		const struct model_snapshot *was = &c->bitmaps[i];
		struct qcow2_bitmap *m = qcow2_bitmap_find(s, was->name);

		if (m && (was->begin > at || was->delete_done <= at))
			ok = wrong(c, at, "a bitmap that was not", i, 0);
		else if (!m && was->done <= at && was->delete_begin > at)
			ok = wrong(c, at, "a bitmap is gone", i, 0);
		else if (m && !m->inconsistent && at > c->closing)
			ok = read_bitmap(c, b, m, was, at);
		if (ok && m && m->inconsistent && c->is_whole &&
		    at == blk_log_count(c->log[0]))
			ok = wrong(c, at, "a bitmap was not stored", i, 0);
	}
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

/* Does qemu-img find it sound? */
static bool ask_peer(struct crash *c, const struct image *images, uint64_t at)
{
	char text[256], line[256];
	struct found f = {0};
	bool ok = true;
	FILE *io;

	snprintf(text, sizeof(text), "%s/state.qcow2", c->dir);
	io = fopen(text, "w");
	CHECK(io &&
	      fwrite(images[0].data, 1, images[0].len, io) == images[0].len);
	fclose(io);
	snprintf(text, sizeof(text),
		 "cd '%s' && touch base.raw && qemu-img check -U state.qcow2 "
		 "2>&1",
		 c->dir);
	io = popen(text, "r");
	CHECK(io);
	while (fgets(line, sizeof(line), io)) {
		if (strstr(line, "Could not open"))
			snprintf(f.first, sizeof(f.first), "%s", line);
		on_line(&f, line);
	}
	pclose(io);
	if (*f.first)
		ok = wrong(c, at, f.first, 0, 0);
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
	     check_snapshots(c, images, s.b, at, !any(c, 8)) &&
	     check_bitmaps(c, s.b, at);
	unmount_state(&s);
	if (ok && !any(c, 12))
		ok = go_on(c, images, at);
	if (ok && c->peer && !any(c, c->peer))
		ok = ask_peer(c, images, at);
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
		c->is_whole = true;
		if (!verify(c, c->now, i + 1))
			return false;
		c->is_whole = false;
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
	c->nr_bitmaps = 0;
	c->random = c->seed * 7919 + 1;
	c->shape = &shapes[c->seed % NR_SHAPES];
	m->next_tag = 2;
	m->backing = c->shape->backing;
	for (uint32_t s = 0; s < MODEL_SECTORS; s++)
		history_add(&m->sectors[s],
			    s < c->shape->nr ? model_below(m, s) : TAG_ZERO, 0)
			->done = 0;
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
	for (unsigned i = 0; i < c->nr_bitmaps; i++)
		free(c->bitmaps[i].tags);
	model_fini(m);
	return c->failed ? -EIO : 0;
}

static unsigned from_environment(const char *name, unsigned preset)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 10) : preset;
}

/* What must have been cut was there to be cut. */
static void check_tried(const struct crash *c, unsigned nr)
{
	print_message("snapshots: %u taken, %u deleted, %u applied; "
		      "disks: %u longer, %u shorter; bitmaps: %u stored\n",
		      c->nr_taken, c->nr_deleted, c->nr_applied, c->nr_grown,
		      c->nr_shrunk, c->nr_stored);
	if (nr < DEFAULT_SEEDS)
		return;
	assert_true(c->nr_taken && c->nr_deleted && c->nr_applied);
	assert_true(c->nr_grown && c->nr_shrunk && c->nr_stored);
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
	c.peer = from_environment("BINNACLE_CRASH_PEER", 0);
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
	check_tried(&c, nr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
