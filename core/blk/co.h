/*
 * co: coroutines of the block layer, so that formats read like plain code
 * while many requests are in flight.
 *
 * A coroutine runs on its context's loop and gives the loop back whenever it
 * waits.  Between two waits nobody else touches the objects of that loop, so
 * data needs no lock; what must stay true across a wait takes a co_mutex.
 *
 * Thread rule: every call on the context's loop; calls marked [co] only inside
 * a coroutine; calls marked [any] from any thread.
 */
#ifndef CORE_BLK_CO_H
#define CORE_BLK_CO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blk_ctx;
struct co;

typedef void co_fn(void *arg);

/* Runs fn in a coroutine until its first wait, then returns.  Stacks come from
 * a pool; -ENOMEM when a new one can't be had. */
int co_start(struct blk_ctx *ctx, co_fn *fn, void *arg);

struct co *co_self(void); /* NULL outside coroutines */
void co_yield (void);	  /* [co] until co_wake */
/* Resumes soon, from the loop, never inside this call.  Waking a coroutine
 * that has not yielded yet makes its next yield return at once. */
void co_wake(struct co *co);

/* [co] Sleeps without holding the loop. */
void co_sleep_ns(struct blk_ctx *ctx, uint64_t ns);

/* [co] Runs fn on a worker thread and returns its result: compression,
 * hashing, system calls that sleep. */
int co_worker(struct blk_ctx *ctx, int (*fn)(void *arg), void *arg);

/* First come, first served; embedded, zero-initialised. */
struct co_mutex {
	struct co *holder, *first, *last;
};
void co_lock(struct co_mutex *m);   /* [co] */
void co_unlock(struct co_mutex *m); /* [co] by the holder */

/* A place to wait for a condition; embedded, zero-initialised. */
struct co_queue {
	struct co *first, *last;
};
void co_wait(struct co_queue *q, struct co_mutex *m); /* [co] m may be NULL */
bool co_wake_one(struct co_queue *q);
void co_wake_all(struct co_queue *q);

/* Runs fn in a coroutine of ctx's loop and waits for its result: tools and
 * tests, never the loop's own thread nor a vCPU. */
int blk_run(struct blk_ctx *ctx, int (*fn)(void *arg), void *arg); /* [any] */

#endif
