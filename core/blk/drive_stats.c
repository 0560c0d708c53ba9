/*
 * A flush makes stable what had completed when it began.  Marks are numbered in
 * the order in which flushes begin; they may end in another one.
 */
#include "core/blk/drive_stats.h"

#include <string.h>

#include "core/blk/ctx.h"
#include "core/blk/drive_parts.h"
#include "core/log.h"

static uint64_t get(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* One writer: no read-modify-write cycle is needed. */
static void set(uint64_t *p, uint64_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

static void add(uint64_t *p, uint64_t n)
{
	set(p, *p + n);
}

/* ---- requests ---- */

static bool is_own(const struct drive *d, const struct drive_req *req)
{
	return req == &d->own_flush;
}

static bool is_write(const struct drive_req *req)
{
	return req->op == DRIVE_WRITE || req->op == DRIVE_WRITE_ZEROES;
}

static unsigned bucket_of(uint64_t ns)
{
	uint64_t us = ns / 1000;
	unsigned i = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

	return i < DRIVE_BUCKETS ? i : DRIVE_BUCKETS - 1;
}

void drive_count_begin(struct drive *d, const struct drive_req *req)
{
	if (!is_own(d, req))
		add(&d->counters.flow[req->op].in_flight, 1);
}

void drive_count_kept(struct drive *d, const struct drive_req *req)
{
	struct drive_flow *f = &d->counters.flow[req->op];

	if (!is_own(d, req))
		set(&f->in_flight, f->in_flight - 1);
}

static void guest_flushed(struct drive_counters *c, uint64_t now)
{
	set(&c->last_flush_ns, now);
	set(&c->writing_since_ns, 0);
	__atomic_store_n(&c->never_flushes, 0, __ATOMIC_RELAXED);
}

static void guest_wrote(struct drive *d, uint64_t now)
{
	struct drive_counters *c = &d->counters;
	uint64_t since = c->writing_since_ns;

	if (!since) {
		set(&c->writing_since_ns, now);
		return;
	}
	if (c->never_flushes || now - since <= d->cfg.never_flush_ns)
		return;
	__atomic_store_n(&c->never_flushes, 1, __ATOMIC_RELAXED);
	if (!c->said_never)
		log_write(d->log, LOG_LEVEL_WARN, "disk",
			  "'%s': the guest has written for %llu s and never "
			  "flushed its disk's write cache: what it wrote may "
			  "be lost when the host stops; turn the write cache "
			  "off, or set max-unflushed-age",
			  d->path,
			  (unsigned long long)((now - since) / 1000000000));
	c->said_never = true;
}

void drive_count_end(struct drive *d, const struct drive_req *req, uint64_t now)
{
	struct drive_flow *f = &d->counters.flow[req->op];
	uint64_t ns = now > req->start_ns ? now - req->start_ns : 0;

	if (is_own(d, req)) {
		add(&d->counters.own_flushes, 1);
		return;
	}
	set(&f->in_flight, f->in_flight - 1);
	if (d->is_cut)
		return;
	add(&f->ops, 1);
	if (req->res)
		add(&f->failed, 1);
	else if (req->op != DRIVE_FLUSH)
		add(&f->bytes, req->len);
	add(&f->total_ns, ns);
	if (ns > f->max_ns)
		set(&f->max_ns, ns);
	add(&f->latency[bucket_of(ns)], 1);
	if (req->res)
		return;
	if (req->op == DRIVE_FLUSH || (is_write(req) && req->fua))
		guest_flushed(&d->counters, now);
	else if (is_write(req) && drive_wce_now(d))
		guest_wrote(d, now);
}

/* ---- what is stable ---- */

void drive_count_written(struct drive *d, uint64_t bytes)
{
	struct drive_counters *c = &d->counters;

	add(&c->written_ops, 1);
	add(&c->written_bytes, bytes);
	if (c->since_mark_ns)
		return;
	c->since_mark_ns = loop_now_ns();
	if (!c->oldest_ns)
		set(&c->oldest_ns, c->since_mark_ns);
}

struct drive_mark drive_count_mark(struct drive *d)
{
	struct drive_counters *c = &d->counters;

	c->since_mark_ns = 0;
	return (struct drive_mark){
		.nr = ++c->last_mark,
		.ns = loop_now_ns(),
		.ops = c->written_ops,
		.bytes = c->written_bytes,
	};
}

void drive_count_stable(struct drive *d, const struct drive_mark *m)
{
	struct drive_counters *c = &d->counters;
	uint64_t oldest = m->ns;

	if (m->nr <= c->stable_mark)
		return;
	c->stable_mark = m->nr;
	set(&c->stable_ops, m->ops);
	set(&c->stable_bytes, m->bytes);
	/* With a later flush on its way it is not known when the first write
	 * after this one completed: not before this one began. */
	if (m->nr == c->last_mark)
		oldest = c->since_mark_ns;
	set(&c->oldest_ns, c->written_ops == m->ops ? 0 : oldest);
}

void drive_count_forget(struct drive *d)
{
	struct drive_mark mark = drive_count_mark(d);

	drive_count_stable(d, &mark);
	set(&d->counters.writing_since_ns, 0);
}

uint64_t drive_unflushed_since(const struct drive *d)
{
	return get(&d->counters.oldest_ns);
}

/* ---- copies ---- */

static void copy_flow(const struct drive_flow *f, struct drive_flow *out)
{
	out->in_flight = get(&f->in_flight);
	out->ops = get(&f->ops);
	out->bytes = get(&f->bytes);
	out->failed = get(&f->failed);
	out->total_ns = get(&f->total_ns);
	out->max_ns = get(&f->max_ns);
	for (unsigned i = 0; i < DRIVE_BUCKETS; i++)
		out->latency[i] = get(&f->latency[i]);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Of something that happened then; 0: it did not. */
static uint64_t age_of(uint64_t then, uint64_t now)
{
	return then ? minus(now, then) + 1 : 0;
}

void drive_facts_copy(struct drive *d, struct drive_facts *out)
{
	const struct drive_counters *c = &d->counters;
	uint64_t now = loop_now_ns(), stable_ops, stable_bytes;

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < DRIVE_NR_OPS; i++)
		copy_flow(&c->flow[i], &out->flow[i]);
	out->host_flushes = get(&d->ctx->host_flushes);
	out->merged_flushes = get(&c->merged_flushes);
	out->own_flushes = get(&c->own_flushes);
	stable_ops = get(&c->stable_ops);
	stable_bytes = get(&c->stable_bytes);
	out->unflushed_writes = minus(get(&c->written_ops), stable_ops);
	out->unflushed_bytes = minus(get(&c->written_bytes), stable_bytes);
	out->unflushed_age_ns = age_of(get(&c->oldest_ns), now);
	out->last_flush_age_ns = age_of(get(&c->last_flush_ns), now);
	out->never_flushes =
		__atomic_load_n(&c->never_flushes, __ATOMIC_RELAXED) &&
		drive_wce_now(d);
	out->max_unflushed_ns = d->cfg.max_unflushed_ns;
	out->never_flush_ns = d->cfg.never_flush_ns;
	out->sync_failed = __atomic_load_n(&d->sync_failed, __ATOMIC_RELAXED);
}

void drive_stats_copy(struct drive *d, struct drive_stats *out)
{
	static const enum drive_op writes[] = {DRIVE_WRITE, DRIVE_DISCARD,
					       DRIVE_WRITE_ZEROES};
	const struct drive_flow *f = d->counters.flow;

	*out = (struct drive_stats){
		.reads = get(&f[DRIVE_READ].ops) - get(&f[DRIVE_READ].failed),
		.flushes =
			get(&f[DRIVE_FLUSH].ops) - get(&f[DRIVE_FLUSH].failed),
		.read_bytes = get(&f[DRIVE_READ].bytes),
		.write_bytes = get(&f[DRIVE_WRITE].bytes),
	};
	for (unsigned i = 0; i < 3; i++)
		out->writes +=
			get(&f[writes[i]].ops) - get(&f[writes[i]].failed);
	for (unsigned i = 0; i < DRIVE_NR_OPS; i++)
		out->errors += get(&f[i].failed);
}
