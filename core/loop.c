/*
 * epoll, one eventfd for posted work and one timerfd for the nearest timer.
 *
 * Posted work is a lock-free stack that the loop takes whole and turns round,
 * so that work runs in the order of posting.  Timers are a list sorted by
 * deadline under a mutex, which is never held around a callback.
 *
 * An inner loop's epoll descriptor is watched by the outer loop.  What the outer
 * loop's own thread posts to it costs no system call: the outer loop is told
 * by work of its own.
 */
#include "core/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/world.h"

#define LOOP_BATCH    32
#define POSTED_ROUNDS 8

/* Outlives an inner loop while it is queued in the outer one. */
struct outer_bell {
	struct loop_work work;
	struct loop *inner; /* NULL: gone, the bell frees itself */
};

struct loop {
	char name[16];
	struct world *world;
	struct world_member member;
	int epoll_fd, event_fd, timer_fd;
	struct loop_fd event_watch, timer_watch;
	pthread_t thread;
	int started; /* atomic */
	bool stopping;
	/* Atomic: the thread that is inside callbacks, 0: none is. */
	pthread_t runner;
	struct loop *outer; /* of an inner loop */
	struct loop_fd outer_watch;
	struct outer_bell *bell;
	struct loop_work stop_work;
	struct loop_work *posted; /* atomic; newest first */

	pthread_mutex_t timer_lock;
	struct loop_timer *timers; /* sorted; protected by timer_lock */

	struct epoll_event batch[LOOP_BATCH];
	int batch_len;
	/* Atomic: grows with each removed watch.  A batch fetched before a
	 * thread that had stopped the world removed one is thrown away. */
	unsigned removals;
};

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool loop_is_current(const struct loop *loop)
{
	return !__atomic_load_n(&loop->started, __ATOMIC_ACQUIRE) ||
	       pthread_equal(loop->thread, pthread_self());
}

struct world_member *loop_member(struct loop *loop)
{
	return loop->world ? &loop->member : NULL;
}

/* ---- descriptors ---- */

int loop_fd_add(struct loop *loop, struct loop_fd *w)
{
	struct epoll_event ev = {.events = w->events, .data.ptr = w};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev))
		return -errno;
	return 0;
}

void loop_fd_remove(struct loop *loop, struct loop_fd *w)
{
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	/* Events already fetched must not reach a watch that is gone. */
	for (int i = 0; i < loop->batch_len; i++)
		if (loop->batch[i].data.ptr == w)
			loop->batch[i].data.ptr = NULL;
	if (!loop_is_current(loop))
		__atomic_fetch_add(&loop->removals, 1, __ATOMIC_RELEASE);
}

/* ---- posted work ---- */

/* Is this thread inside the loop's callbacks?  It looks for posted work before
 * it sleeps. */
static bool is_runner(struct loop *loop)
{
	return pthread_equal(__atomic_load_n(&loop->runner, __ATOMIC_RELAXED),
			     pthread_self());
}

static void set_runner(struct loop *loop, bool on)
{
	__atomic_store_n(&loop->runner, on ? pthread_self() : 0,
			 __ATOMIC_RELAXED);
}

void loop_post(struct loop *loop, struct loop_work *work)
{
	struct loop_work *head;
	uint64_t one = 1;

	/* Acquire: who runs it next sees what this thread wrote before. */
	if (__atomic_exchange_n(&work->queued, 1, __ATOMIC_ACQ_REL))
		return;
	head = __atomic_load_n(&loop->posted, __ATOMIC_RELAXED);
	do {
		work->next = head;
	} while (!__atomic_compare_exchange_n(&loop->posted, &head, work, true,
					      __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	/* Only the first of a batch needs to wake the loop. */
	if (head || is_runner(loop))
		return;
	if (loop->outer && is_runner(loop->outer)) {
		loop_post(loop->outer, &loop->bell->work);
		return;
	}
	if (write(loop->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return;
}

static void run_posted(struct loop *loop)
{
	struct loop_work *w, *next, *todo = NULL;

	w = __atomic_exchange_n(&loop->posted, NULL, __ATOMIC_ACQUIRE);
	for (; w; w = next) {
		next = w->next;
		w->next = todo;
		todo = w;
	}
	for (w = todo; w; w = next) {
		loop_fn *fn = w->fn;
		void *arg = w->arg;

		next = w->next;
		/* From here on it may be posted again, or be freed by fn.
		 * Acquire: fn sees what those wrote who found it queued. */
		__atomic_exchange_n(&w->queued, 0, __ATOMIC_ACQ_REL);
		fn(arg);
	}
}

/* Edge triggered, so never read: each write wakes the loop once. */
static void on_event_fd(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
}

struct loop_call_state {
	loop_fn *fn;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void run_call(void *arg)
{
	struct loop_call_state *call = arg;

	call->fn(call->arg);
	pthread_mutex_lock(&call->lock);
	call->done = true;
	pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&call->lock);
}

void loop_call(struct loop *loop, loop_fn *fn, void *arg)
{
	struct loop_call_state call = {
		.fn = fn,
		.arg = arg,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER,
	};
	struct loop_work work = {.fn = run_call, .arg = &call};

	if (loop_is_current(loop)) {
		fn(arg);
		return;
	}
	loop_post(loop, &work);
	pthread_mutex_lock(&call.lock);
	while (!call.done)
		pthread_cond_wait(&call.cond, &call.lock);
	pthread_mutex_unlock(&call.lock);
	pthread_mutex_destroy(&call.lock);
	pthread_cond_destroy(&call.cond);
}

/* ---- timers ---- */

static void arm_locked(struct loop *loop)
{
	uint64_t at = loop->timers ? loop->timers->deadline_ns : 0;
	struct itimerspec its = {0};

	its.it_value.tv_sec = (time_t)(at / 1000000000u);
	its.it_value.tv_nsec = (long)(at % 1000000000u);
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void unlink_locked(struct loop_timer *t)
{
	struct loop_timer **p = &t->loop->timers;

	while (*p && *p != t)
		p = &(*p)->next;
	if (*p)
		*p = t->next;
	t->next = NULL;
	t->deadline_ns = 0;
}

void loop_timer_init(struct loop_timer *t, struct loop *loop, loop_fn *fn,
		     void *arg)
{
	*t = (struct loop_timer){.fn = fn, .arg = arg, .loop = loop};
}

void loop_timer_set(struct loop_timer *t, uint64_t deadline_ns)
{
	struct loop *loop = t->loop;
	struct loop_timer **p, *first;

	pthread_mutex_lock(&loop->timer_lock);
	first = loop->timers;
	if (t->deadline_ns)
		unlink_locked(t);
	t->deadline_ns = deadline_ns ? deadline_ns : 1;
	for (p = &loop->timers; *p && (*p)->deadline_ns <= t->deadline_ns;
	     p = &(*p)->next)
		;
	t->next = *p;
	*p = t;
	if (loop->timers == t || first == t)
		arm_locked(loop);
	pthread_mutex_unlock(&loop->timer_lock);
}

void loop_timer_stop(struct loop_timer *t)
{
	struct loop *loop = t->loop;
	bool was_first;

	if (!loop)
		return;
	pthread_mutex_lock(&loop->timer_lock);
	was_first = loop->timers == t;
	if (t->deadline_ns)
		unlink_locked(t);
	if (was_first)
		arm_locked(loop);
	pthread_mutex_unlock(&loop->timer_lock);
}

static void on_timer_fd(void *arg, uint32_t events)
{
	struct loop *loop = arg;
	uint64_t n, now = loop_now_ns();
	ssize_t got = read(loop->timer_fd, &n, sizeof(n));

	(void)events;
	(void)got; /* nothing to read when it was moved meanwhile */
	pthread_mutex_lock(&loop->timer_lock);
	while (loop->timers && loop->timers->deadline_ns <= now) {
		struct loop_timer *t = loop->timers;
		loop_fn *fn = t->fn;
		void *targ = t->arg;

		unlink_locked(t);
		pthread_mutex_unlock(&loop->timer_lock);
		fn(targ);
		pthread_mutex_lock(&loop->timer_lock);
	}
	arm_locked(loop);
	pthread_mutex_unlock(&loop->timer_lock);
}

/* ---- life ---- */

static void on_stop(void *arg)
{
	struct loop *loop = arg;

	loop->stopping = true;
}

static void run_batch(struct loop *loop)
{
	for (int i = 0; i < loop->batch_len; i++) {
		struct loop_fd *w = loop->batch[i].data.ptr;

		if (w)
			w->fn(w->arg, loop->batch[i].events);
	}
	loop->batch_len = 0;
}

/* What callbacks post meanwhile runs too, but other events get their turn. */
static void run_all_posted(struct loop *loop)
{
	uint64_t one = 1;

	for (int i = 0; i < POSTED_ROUNDS; i++) {
		if (!__atomic_load_n(&loop->posted, __ATOMIC_RELAXED))
			return;
		run_posted(loop);
	}
	if (__atomic_load_n(&loop->posted, __ATOMIC_RELAXED) &&
	    write(loop->event_fd, &one, sizeof(one)) < 0)
		return;
}

static void *loop_thread(void *arg)
{
	struct loop *loop = arg;

	while (!loop->stopping) {
		unsigned seen =
			__atomic_load_n(&loop->removals, __ATOMIC_ACQUIRE);
		int n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, -1);

		if (n <= 0)
			continue;
		if (loop->world)
			world_enter(loop->world, &loop->member);
		set_runner(loop, true);
		/* Nothing is lost: watches are level triggered, and posted
		 * work is looked for in any case. */
		if (__atomic_load_n(&loop->removals, __ATOMIC_ACQUIRE) ==
		    seen) {
			loop->batch_len = n;
			run_batch(loop);
		}
		run_all_posted(loop);
		set_runner(loop, false);
		if (loop->world)
			world_leave(loop->world, &loop->member);
	}
	return NULL;
}

void loop_poll(struct loop *inner, bool wait)
{
	bool posted = __atomic_load_n(&inner->posted, __ATOMIC_RELAXED);
	int n = epoll_wait(inner->epoll_fd, inner->batch, LOOP_BATCH,
			   wait && !posted ? -1 : 0);

	set_runner(inner, true);
	inner->batch_len = n > 0 ? n : 0;
	run_batch(inner);
	run_all_posted(inner);
	set_runner(inner, false);
}

static int open_descriptors(struct loop *loop)
{
	int r;

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->event_fd < 0 || loop->timer_fd < 0)
		return -errno;
	loop->event_watch = (struct loop_fd){
		.fd = loop->event_fd,
		.events = EPOLLIN | EPOLLET,
		.fn = on_event_fd,
		.arg = loop,
	};
	loop->timer_watch = (struct loop_fd){
		.fd = loop->timer_fd,
		.events = EPOLLIN,
		.fn = on_timer_fd,
		.arg = loop,
	};
	r = loop_fd_add(loop, &loop->event_watch);
	return r ? r : loop_fd_add(loop, &loop->timer_watch);
}

static void on_outer_watch(void *arg, uint32_t events)
{
	(void)events;
	loop_poll(arg, false);
}

static void on_bell(void *arg)
{
	struct outer_bell *bell = arg;
	struct loop *inner = bell->inner;

	if (!inner) {
		free(bell);
		return;
	}
	set_runner(inner, true);
	run_all_posted(inner);
	set_runner(inner, false);
}

static void leave_outer(struct loop *inner)
{
	loop_fd_remove(inner->outer, &inner->outer_watch);
	inner->bell->inner = NULL;
	/* Acquire: what posted it is over. */
	if (!__atomic_load_n(&inner->bell->work.queued, __ATOMIC_ACQUIRE))
		free(inner->bell);
}

static void loop_free(struct loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->event_fd >= 0)
		close(loop->event_fd);
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	pthread_mutex_destroy(&loop->timer_lock);
	free(loop);
}

struct loop *loop_create(const char *name, struct world *world, struct error *e)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop) {
		error_set(e, -ENOMEM, "no memory for the loop '%s'", name);
		return NULL;
	}
	snprintf(loop->name, sizeof(loop->name), "%s", name);
	loop->stop_work = (struct loop_work){.fn = on_stop, .arg = loop};
	loop->epoll_fd = loop->event_fd = loop->timer_fd = -1;
	pthread_mutex_init(&loop->timer_lock, NULL);
	r = open_descriptors(loop);
	if (r) {
		error_errno(e, -r, "opening descriptors for the loop '%s'",
			    name);
		loop_free(loop);
		return NULL;
	}
	loop->world = world;
	if (world)
		world_add(world, &loop->member);
	return loop;
}

struct loop *loop_create_inside(struct loop *outer, struct error *e)
{
	struct loop *loop = loop_create(outer->name, NULL, e);
	int r;

	if (!loop)
		return NULL;
	loop->bell = calloc(1, sizeof(*loop->bell));
	if (!loop->bell) {
		error_set(e, -ENOMEM, "no memory for the loop '%s'",
			  outer->name);
		loop_free(loop);
		return NULL;
	}
	loop->bell->work = (struct loop_work){.fn = on_bell, .arg = loop->bell};
	loop->bell->inner = loop;
	loop->outer_watch = (struct loop_fd){
		.fd = loop->epoll_fd,
		.events = EPOLLIN,
		.fn = on_outer_watch,
		.arg = loop,
	};
	r = loop_fd_add(outer, &loop->outer_watch);
	if (r) {
		error_errno(e, -r, "joining the loop '%s'", outer->name);
		free(loop->bell);
		loop_free(loop);
		return NULL;
	}
	loop->outer = outer;
	return loop;
}

int loop_start(struct loop *loop, struct error *e)
{
	sigset_t all, old;
	int r;

	/* Signals are the main program's; a new thread inherits the mask. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&loop->thread, NULL, loop_thread, loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return error_errno(e, r, "starting the thread '%s'",
				   loop->name);
	pthread_setname_np(loop->thread, loop->name);
	__atomic_store_n(&loop->started, 1, __ATOMIC_RELEASE);
	return 0;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	if (__atomic_load_n(&loop->started, __ATOMIC_ACQUIRE)) {
		loop_post(loop, &loop->stop_work);
		pthread_join(loop->thread, NULL);
		__atomic_store_n(&loop->started, 0, __ATOMIC_RELEASE);
	}
	run_posted(loop);
	if (loop->outer)
		leave_outer(loop);
	if (loop->world)
		world_remove(loop->world, &loop->member);
	loop_free(loop);
}
