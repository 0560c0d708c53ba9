/*
 * A commit that is cut off at each of its writes.  The base is shorter than
 * what is committed and than its own backing file, so it must grow: at every
 * moment the chain shows the same disk, and the base alone never shows what its
 * backing file holds behind its old end.
 */
#include "tests/unit/job_chain.h"

#include "core/blk/filter/log.h"
#include "core/blk/job.h"

#define ROUNDS 4

struct bytes {
	uint8_t *data;
	uint64_t len;
};

struct cut {
	struct bench *t;
	struct chain c;
	struct blk *log[2];	 /* of base and top */
	struct bytes file[2];	 /* as after the log's first entries */
	struct bytes old, after; /* what base showed, what top shows */
	char path[3][180];	 /* of the chain that a cut leaves */
};

static struct bytes read_all(struct blk *b)
{
	struct bytes out = {.len = blk_len(b)};

	out.data = malloc(out.len);
	SHADOW_CHECK(out.data && !blk_read(b, 0, out.data, out.len), "%s",
		     blk_name(b));
	return out;
}

static void reach(struct bytes *f, uint64_t len)
{
	uint64_t old = f->len;

	f->data = realloc(f->data, len ? len : 1);
	SHADOW_CHECK(f->data, "memory");
	if (len > old)
		memset(f->data + old, 0, len - old);
	f->len = len;
}

static void apply(struct cut *x, const struct blk_log_entry *entry)
{
	struct bytes *f = &x->file[entry->node == x->log[0] ? 0 : 1];
	uint64_t end = entry->off + entry->len;

	if (entry->flags & BLK_LOG_TRUNCATE) {
		reach(f, entry->off);
		return;
	}
	if (entry->flags & (BLK_LOG_MARK | BLK_LOG_FLUSH))
		return;
	if (end > f->len && !(entry->flags & BLK_LOG_DISCARD))
		reach(f, end);
	if (end > f->len)
		end = f->len;
	if (entry->flags & (BLK_LOG_DISCARD | BLK_LOG_ZEROES))
		memset(f->data + entry->off, 0, end - entry->off);
	else
		memcpy(f->data + entry->off, entry->data, entry->len);
}

static void put_file(const char *path, const struct bytes *f)
{
	FILE *out = fopen(path, "w");

	SHADOW_CHECK(out && fwrite(f->data, 1, f->len, out) == f->len, "%s",
		     path);
	fclose(out);
}

static void check_base(struct cut *x, struct blk *b, uint64_t at)
{
	static const uint8_t zeroes[512];
	struct bytes now = read_all(b);

	SHADOW_CHECK(now.len == x->old.len || now.len == x->after.len,
		     "entry %llu: a length of %llu", (unsigned long long)at,
		     (unsigned long long)now.len);
	for (uint64_t i = 0; i < now.len; i += 512) {
		const uint8_t *was = i < x->old.len ? x->old.data + i : zeroes;

		SHADOW_CHECK(
			!memcmp(now.data + i, was, 512) ||
				!memcmp(now.data + i, x->after.data + i, 512),
			"entry %llu: the base shows something else at "
			"%llu",
			(unsigned long long)at, (unsigned long long)i);
	}
	free(now.data);
}

static void check_state(struct cut *x, uint64_t at)
{
	struct blk *b;

	for (unsigned i = 0; i < 2; i++) {
		put_file(x->path[1 + i], &x->file[i]);
		chain_check_image(x->t, x->path[1 + i]);
	}
	b = shadow_open(x->t, x->path[2], false);
	shadow_compare(&x->c.w, b, false);
	blk_unref(b);
	b = shadow_open(x->t, x->path[1], false);
	check_base(x, b, at);
	blk_unref(b);
}

static void wrap(struct cut *x)
{
	struct error e = {0};

	for (unsigned i = 0; i < 2; i++) {
		struct blk *b = x->c.layer[1 + i];

		x->file[i] = read_all(b->file);
		b->file = blk_filter_open(b->file, &blk_log_driver, &e);
		SHADOW_CHECK(b->file, "%s", e.msg);
		x->log[i] = blk_ref(b->file);
	}
	blk_log_share(x->log[1], x->log[0]);
	x->old = read_all(x->c.layer[1]);
	x->after = read_all(x->c.layer[2]);
}

static void make_place(struct cut *x)
{
	char dir[160];

	snprintf(dir, sizeof(dir), "%s/crash", x->c.dir);
	SHADOW_CHECK(!mkdir(dir, 0755), "%s", dir);
	for (unsigned i = 0; i < 3; i++)
		snprintf(x->path[i], sizeof(x->path[i]), "%s/%u.img", dir, i);
	chain_copy_file(x->c.path[0], x->path[0]);
}

static void commit(struct cut *x)
{
	struct blk_job_config cfg = {.kind = BLK_JOB_COMMIT,
				     .disk = x->c.disk,
				     .top = x->c.layer[2],
				     .base = x->c.layer[1]};
	struct error e = {0};
	struct blk_job *j = blk_job_start(&cfg, &e);

	SHADOW_CHECK(j, "%s", e.msg);
	SHADOW_CHECK(!blk_job_wait(j), "the job");
	blk_job_put(j);
	blk_unref(x->c.disk);
}

static int do_round(void *arg)
{
	static const uint64_t lens[] = {1000 << 10, 301 << 10, 901 << 10};
	struct cut x = {.t = arg};
	uint64_t nr;

	chain_create_lens(&x.c, x.t, 3, lens);
	wrap(&x);
	make_place(&x);
	commit(&x);
	nr = blk_log_count(x.log[0]);
	SHADOW_CHECK(nr > 4, "the log");
	for (uint64_t i = 0; i < nr; i++) {
		apply(&x, blk_log_at(x.log[0], i));
		check_state(&x, i);
	}
	SHADOW_CHECK(x.file[0].len, "the base");
	for (unsigned i = 0; i < 2; i++) {
		blk_unref(x.log[i]);
		free(x.file[i].data);
	}
	free(x.old.data);
	free(x.after.data);
	chain_remove(&x.c);
	return 0;
}

static void cuts(void **state)
{
	struct bench *t = *state;

	for (unsigned i = 0; i < ROUNDS; i++)
		assert_int_equal(blk_run(t->ctx, do_round, t), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cuts, bench_setup,
						bench_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
