/*
 * copy: several lanes take pieces of the range one after the other; a piece
 * is what one block status covers, at most a chunk of it.
 *
 * Taking a piece is serial (a status query may wait), reading is parallel, and
 * a lane starts its first write when all pieces before its own have started
 * their last one, or at once when order does not matter.  That is order enough
 * for a format to lay clusters out as they come, and writes overlap.
 */
#include "core/blk/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/blk/blk.h"
#include "core/blk/co.h"
#include "core/blk/copy_offload.h"
#include "core/error.h"

#define SECTOR	     512
#define BUFFER_ALIGN 4096
#define NS_PER_S     1000000000ull

enum kind { KIND_SKIP, KIND_ZERO, KIND_DATA };

struct piece {
	uint64_t off, len; /* in source */
	uint64_t number;
	enum kind kind;
};

struct copier {
	const struct blk_copy *c;
	struct blk_ctx *ctx;
	struct error *e;
	struct copy_offload *offload; /* NULL: read and write */
	uint64_t end, next;	      /* in source; next piece starts there */
	uint64_t done;
	/* The answer of the last status query. */
	uint64_t known_end;
	enum kind known;
	struct co_mutex taking;
	uint64_t nr_taken, turn; /* the piece that may start to write */
	struct co_queue turns;
	uint32_t chunk;
	unsigned running;
	struct co *waiter;
	uint64_t start_ns;
	int ret;
};

struct lane {
	struct copier *k;
	uint8_t *buf;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int fail(struct copier *k, int ret, const char *what, uint64_t off)
{
	if (k->ret)
		return k->ret;
	k->ret = ret;
	error_set(k->e, ret, "error while %s at byte %llu: %s", what,
		  (unsigned long long)off, strerror(-ret));
	return ret;
}

/* ---- taking pieces ---- */

static enum kind kind_of(const struct blk_copy *c, int status)
{
	if (status & BLK_STATUS_ZERO)
		return KIND_ZERO;
	if (status & BLK_STATUS_DATA)
		return KIND_DATA;
	return c->above ? KIND_SKIP : KIND_DATA;
}

static int query(struct copier *k)
{
	const struct blk_copy *c = k->c;
	uint64_t n = 0;
	int st = blk_status_above(c->source, c->above ? c->base : NULL, k->next,
				  k->end - k->next, &n, NULL, NULL, NULL);

	if (st >= 0 && !n)
		st = -EIO;
	if (st < 0) {
		if (!c->salvage)
			return fail(k, st, "reading block status", k->next);
		/* Reading tells which sectors are lost. */
		n = min_u64(k->end - k->next, k->chunk);
		st = BLK_STATUS_DATA;
	}
	k->known = kind_of(c, st);
	k->known_end = k->next + n;
	return 0;
}

/* Compressed data comes in whole clusters: a smaller piece of anything counts
 * as data. */
static void fit_cluster(struct copier *k, struct piece *p)
{
	uint64_t cluster = k->c->compress_cluster;
	uint64_t in = (p->off - k->c->off + k->c->dest_off) % cluster;

	if (in + p->len < cluster) {
		p->len = min_u64(cluster - in, k->end - p->off);
		p->kind = KIND_DATA;
	} else if (p->off + p->len < k->end) {
		p->len -= (in + p->len) % cluster;
	}
}

/* Passes over what needs no write.  Compressed, only whole clusters do. */
static void skip_known(struct copier *k)
{
	const struct blk_copy *c = k->c;
	uint64_t to = k->next - c->off + c->dest_off, n;

	if (k->next >= k->known_end || k->known == KIND_DATA)
		return;
	if (k->known == KIND_ZERO && (to < c->zero_from || !c->sparse))
		return;
	n = k->known_end - k->next;
	if (c->compress_cluster && k->known_end < k->end) {
		uint64_t tail = (to + n) % c->compress_cluster;

		n -= min_u64(n, tail);
	}
	k->next += n;
	k->done += n;
}

/* False at the end or after an error. */
static bool take_piece(struct copier *k, struct piece *p)
{
	bool got = false;

	co_lock(&k->taking);
	do {
		skip_known(k);
		if (k->ret || k->next >= k->end)
			goto out;
	} while (k->next >= k->known_end && !query(k));
	if (k->ret)
		goto out;
	p->off = k->next;
	p->len = k->known_end - k->next;
	p->kind = k->known;
	if (k->c->compress_cluster)
		fit_cluster(k, p);
	if (p->kind == KIND_DATA) {
		/* Later chunks begin where chunks of dest do. */
		uint64_t in = (p->off - k->c->off + k->c->dest_off) % k->chunk;

		p->len = min_u64(p->len, k->chunk - in);
	}
	p->number = k->nr_taken++;
	k->next += p->len;
	got = true;
out:
	co_unlock(&k->taking);
	return got;
}

/* ---- order and speed ---- */

static void wait_turn(struct copier *k, const struct piece *p)
{
	while (!k->c->out_of_order && k->turn != p->number && !k->ret)
		co_wait(&k->turns, NULL);
}

/* The next piece's lane runs when this one has to wait for something. */
static void pass_turn(struct copier *k, const struct piece *p)
{
	if (k->c->out_of_order || k->turn != p->number)
		return;
	k->turn++;
	co_wake_all(&k->turns);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Sleeps until the bytes moved so far are due. */
static void keep_speed(struct copier *k, uint64_t moved)
{
	uint64_t due, now;

	if (!k->c->speed)
		return;
	due = k->start_ns + (uint64_t)((double)moved / k->c->speed * NS_PER_S);
	now = now_ns();
	if (due > now)
		co_sleep_ns(k->ctx, due - now);
}

/* ---- reading and writing ---- */

static int read_by_sectors(struct copier *k, uint8_t *buf, uint64_t off,
			   uint64_t len)
{
	while (len) {
		uint64_t n = min_u64(len, SECTOR - off % SECTOR);
		int ret = blk_read(k->c->source, off, buf, n);

		if (ret) {
			memset(buf, 0, n);
			if (k->c->salvaged)
				k->c->salvaged(k->c->arg, off, ret);
		}
		buf += n;
		off += n;
		len -= n;
	}
	return 0;
}

static int read_piece(struct lane *l, const struct piece *p)
{
	struct copier *k = l->k;
	int ret;

	if (!l->buf &&
	    posix_memalign((void **)&l->buf, BUFFER_ALIGN, k->chunk)) {
		l->buf = NULL;
		return fail(k, -ENOMEM, "reading", p->off);
	}
	ret = blk_read(k->c->source, p->off, l->buf, p->len);
	if (ret && k->c->salvage)
		return read_by_sectors(k, l->buf, p->off, p->len);
	return ret ? fail(k, ret, "reading", p->off) : 0;
}

/* Zeroes that take their space, whatever the format makes of zeroes. */
static int write_zero_data(struct copier *k, uint64_t off, uint64_t len)
{
	size_t part = min_u64(len, 1u << 20);
	void *buf = calloc(1, part);
	int ret = buf ? 0 : -ENOMEM;

	for (uint64_t n; len && !ret; off += n, len -= n) {
		n = min_u64(len, part);
		ret = blk_write(k->c->dest, off, buf, n, 0);
	}
	free(buf);
	return ret ? fail(k, ret, "writing", off) : 0;
}

static int write_zeroes(struct copier *k, uint64_t off, uint64_t len)
{
	const struct blk_copy *c = k->c;
	int ret;

	if (!c->sparse)
		return write_zero_data(k, off, len);
	if (off >= c->zero_from)
		return 0;
	len = min_u64(len, c->zero_from - off);
	ret = blk_write_zeroes(c->dest, off, len, BLK_MAY_UNMAP);
	return ret ? fail(k, ret, "writing", off) : 0;
}

static size_t data_run(const struct blk_copy *c, const uint8_t *buf, size_t len,
		       uint64_t off, bool *zero)
{
	size_t n;

	*zero = false;
	if (!c->sparse)
		return len;
	if (!c->compress_cluster)
		return blk_zero_run(buf, len, off, c->sparse, zero);
	n = min_u64(len, c->compress_cluster - off % c->compress_cluster);
	*zero = blk_is_zero(buf, n);
	for (size_t at = n, m; at < len; at += m, n = at) {
		m = min_u64(len - at, c->compress_cluster);
		if (blk_is_zero(buf + at, m) != *zero)
			break;
	}
	return n;
}

static int write_data(struct copier *k, const struct piece *p,
		      const uint8_t *buf, uint64_t off)
{
	const struct blk_copy *c = k->c;
	unsigned flags = c->compress_cluster ? BLK_COMPRESSED : 0;
	uint64_t len = p->len;
	bool zero;
	int ret = 0;

	for (size_t n; len && !ret; buf += n, off += n, len -= n) {
		n = data_run(c, buf, len, off, &zero);
		if (n == len)
			pass_turn(k, p);
		if (zero) {
			ret = write_zeroes(k, off, n);
			continue;
		}
		ret = blk_write(c->dest, off, buf, n, flags);
		if (ret)
			fail(k, ret, "writing", off);
	}
	return ret;
}

/* True when the file system copied it. */
static bool offloaded(struct copier *k, const struct piece *p, uint64_t to)
{
	if (!k->offload || p->kind != KIND_DATA)
		return false;
	return !copy_offload_range(k->offload, p->off, to, p->len);
}

static int do_piece(struct lane *l, const struct piece *p)
{
	struct copier *k = l->k;
	uint64_t to = p->off - k->c->off + k->c->dest_off;
	int ret = 0;

	keep_speed(k, p->off - k->c->off);
	if (!offloaded(k, p, to)) {
		if (p->kind == KIND_DATA)
			ret = read_piece(l, p);
		wait_turn(k, p);
		/* Clusters are packed side by side. */
		if (k->c->compress_cluster)
			pass_turn(k, p);
		if (k->ret)
			return k->ret;
		if (p->kind == KIND_DATA)
			ret = write_data(k, p, l->buf, to);
		else if (p->kind == KIND_ZERO)
			ret = write_zeroes(k, to, p->len);
	} else {
		wait_turn(k, p);
	}
	pass_turn(k, p);
	k->done += p->len;
	if (!ret && !k->ret && k->c->progress) {
		ret = k->c->progress(k->c->arg, k->done);
		if (ret < 0 && !k->ret) {
			k->ret = ret;
			error_set(k->e, ret, "stopped");
		}
	}
	return ret;
}

static void lane_run(void *arg)
{
	struct lane *l = arg;
	struct copier *k = l->k;
	struct piece p;

	while (take_piece(k, &p) && !do_piece(l, &p))
		;
	if (k->ret)
		co_wake_all(&k->turns);
	free(l->buf);
	l->buf = NULL;
	if (!--k->running && k->waiter)
		co_wake(k->waiter);
}

int blk_copy(const struct blk_copy *c, struct error *e)
{
	struct lane lanes[BLK_COPY_REQUESTS_MAX] = {0};
	unsigned nr = c->nr_requests ? c->nr_requests : BLK_COPY_REQUESTS;
	uint64_t len = blk_len(c->source);
	struct copier k = {.c = c, .ctx = blk_ctx_of(c->dest), .e = e};

	if (nr > BLK_COPY_REQUESTS_MAX)
		nr = BLK_COPY_REQUESTS_MAX;
	k.chunk = c->chunk ? c->chunk : BLK_COPY_CHUNK;
	if (k.chunk < c->compress_cluster)
		k.chunk = c->compress_cluster;
	k.next = k.known_end = c->off;
	k.end = c->off >= len ? c->off : c->off + min_u64(c->len, len - c->off);
	k.start_ns = c->speed ? now_ns() : 0;
	if (c->offload && !c->compress_cluster)
		k.offload = copy_offload_open(c->source, c->dest);
	for (unsigned i = 0; i < nr && k.next < k.end && !k.ret; i++) {
		lanes[i].k = &k;
		k.running++;
		if (!co_start(k.ctx, lane_run, &lanes[i]))
			continue;
		if (!--k.running)
			fail(&k, -ENOMEM, "starting", k.next);
		break;
	}
	k.waiter = co_self();
	while (k.running)
		co_yield ();
	copy_offload_close(k.offload);
	return k.ret;
}
