/*
 * loop: one thread that waits for file descriptors, timers and posted work.
 *
 * Every object that a loop serves belongs to the loop's thread; other threads
 * post to it.  A loop that joined a world is inside it while it runs
 * callbacks and outside while it sleeps.
 *
 * Thread rule: calls marked [any] may come from any thread, all others from
 * the loop's own thread, while the loop is not started, or by a thread that
 * has stopped the world which the loop is part of.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct loop;
struct world;
struct world_member;

typedef void loop_fn(void *arg);

/* Embedded by its owner: posting allocates nothing. */
struct loop_work {
	loop_fn *fn;
	void *arg;
	struct loop_work *next;
	int queued; /* atomic: posting queued work again does nothing */
};

/* Embedded; watches a descriptor until removed. */
struct loop_fd {
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT; level triggered */
	void (*fn)(void *arg, uint32_t events);
	void *arg;
};

/* Embedded one-shot timer on CLOCK_MONOTONIC. */
struct loop_timer {
	loop_fn *fn;
	void *arg;
	struct loop *loop;
	uint64_t deadline_ns; /* 0: not armed */
	struct loop_timer *next;
};

/* NULL with the reason in e; name (at most 15 characters) names the thread.
 * world may be NULL: the loop then takes no part in it. */
struct loop *loop_create(const char *name, struct world *world,
			 struct error *e);

/* Starts the thread; 0 or -errno. */
int loop_start(struct loop *loop, struct error *e);

/* [any but its own thread] Runs what was posted before, ends the thread,
 * frees.  NULL is fine.  The owners removed their watches before; loops inside
 * it are gone. */
void loop_destroy(struct loop *loop);

/*
 * A loop without a thread of its own: it runs inside outer, or wherever
 * loop_poll is called while outer can't run.  Calls that are not [any] go by
 * the rule for outer.  Outlived by outer; end it with loop_destroy.
 */
struct loop *loop_create_inside(struct loop *outer, struct error *e);
/* Runs what an inner loop has to do; with wait, first sleeps until there is
 * something.  Not from the inner loop's own callbacks. */
void loop_poll(struct loop *inner, bool wait);

/* [any] Runs work->fn once, soon, on the loop. */
void loop_post(struct loop *loop, struct loop_work *work);

/* [any but its own thread] Runs fn on the loop and waits for it to return.
 * Only for set-up, tear-down and the UI's rare questions: never from a vCPU
 * or from another loop that is counted as running (who stopped the world may
 * touch what belongs to a loop without asking it). */
void loop_call(struct loop *loop, loop_fn *fn, void *arg);

/* [any] True on the loop's own thread (or when it isn't started). */
bool loop_is_current(const struct loop *loop);

/* [any] The loop's place in its world, for world_stop and mem_commit by code
 * that runs on the loop; NULL without a world. */
struct world_member *loop_member(struct loop *loop);

/* 0 or -errno. */
int loop_fd_add(struct loop *loop, struct loop_fd *w);
void loop_fd_remove(struct loop *loop, struct loop_fd *w);

/* [any] Arms, re-arms (absolute time) or stops.  After loop_timer_stop
 * returns on the loop's thread the callback does not run any more. */
void loop_timer_init(struct loop_timer *t, struct loop *loop, loop_fn *fn,
		     void *arg);
void loop_timer_set(struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_stop(struct loop_timer *t);

/* [any] CLOCK_MONOTONIC in nanoseconds. */
uint64_t loop_now_ns(void);

#endif
