/*
 * Each coroutine has a stack with a guard page.  It is entered once through
 * makecontext; after that switches are sigsetjmp and siglongjmp without the
 * signal mask, because swapcontext pays two system calls a switch.
 *
 * Who waits for something looks at it again after each yield: a wake may come
 * from somebody who is late.
 *
 * Woken coroutines wait in the context's ready list until the loop runs it, so
 * that a wake never runs foreign code inside the waker.
 */
#include "core/blk/co.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/blk/ctx.h"
#include "core/blk/worker.h"
#include "core/loop.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/* Reads nest as deep as backing chains do; pages that nobody touches cost
 * nothing. */
#define CO_STACK_LEN (8u << 20)
#define CO_POOL_MAX  64
#define CO_GUARD_LEN 4096

struct co {
	struct blk_ctx *ctx;
	co_fn *fn;
	void *arg;
	void *stack;
	sigjmp_buf env, caller;
	struct co *next;   /* ready list or pool */
	struct co *behind; /* in a mutex's or queue's list */
	bool yielded, woken, done;
	bool queued;	    /* in such a list */
	struct co *resumer; /* who runs on when this one yields */
#ifdef __SANITIZE_ADDRESS__
	void *fake, *caller_fake;
	const void *caller_stack;
	size_t caller_stack_len;
#endif
#ifdef __SANITIZE_THREAD__
	ucontext_t here, there;
	void *fiber, *caller_fiber;
#endif
};

/* The coroutine that runs on this thread. */
static _Thread_local struct co *current;

struct co *co_self(void)
{
	return current;
}

/* ---- switching ---- */

static void switch_start(struct co *co, bool to_co)
{
#ifdef __SANITIZE_ADDRESS__
	if (to_co)
		__sanitizer_start_switch_fiber(&co->caller_fake, co->stack,
					       CO_STACK_LEN);
	else
		__sanitizer_start_switch_fiber(co->done ? NULL : &co->fake,
					       co->caller_stack,
					       co->caller_stack_len);
#elif defined(__SANITIZE_THREAD__)
	if (to_co)
		co->caller_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(to_co ? co->fiber : co->caller_fiber, 0);
#else
	(void)co;
	(void)to_co;
#endif
}

static void switch_finish(struct co *co, bool in_co)
{
#ifdef __SANITIZE_ADDRESS__
	if (in_co)
		__sanitizer_finish_switch_fiber(co->fake, &co->caller_stack,
						&co->caller_stack_len);
	else
		__sanitizer_finish_switch_fiber(co->caller_fake, NULL, NULL);
#else
	(void)co;
	(void)in_co;
#endif
}

/* Both return when the other side switches back. */
static void enter(struct co *co)
{
#ifdef __SANITIZE_THREAD__
	/* It knows fibers, but no jumps between stacks. */
	switch_start(co, true);
	swapcontext(&co->there, &co->here);
#else
	if (sigsetjmp(co->caller, 0))
		return;
	switch_start(co, true);
	siglongjmp(co->env, 1);
#endif
}

static void leave(struct co *co)
{
#ifdef __SANITIZE_THREAD__
	switch_start(co, false);
	swapcontext(&co->here, &co->there);
#else
	if (sigsetjmp(co->env, 0))
		return;
	switch_start(co, false);
	siglongjmp(co->caller, 1);
#endif
}

static void co_main(unsigned high, unsigned low)
{
	struct co *co = (struct co *)((uintptr_t)high << 32 | low);

	switch_finish(co, true);
	/* Entered to make the first jump target; runs when resumed. */
	leave(co);
	for (;;) {
		switch_finish(co, true);
		co->fn(co->arg);
		co->done = true;
		leave(co);
	}
}

static void resume(struct co *co)
{
	co->resumer = current;
	current = co;
	co->yielded = false;
	enter(co);
	switch_finish(co, false);
	current = co->resumer;
}

/* ---- stacks ---- */

static void co_free(struct co *co)
{
#ifdef __SANITIZE_THREAD__
	__tsan_destroy_fiber(co->fiber);
#endif
	munmap((char *)co->stack - CO_GUARD_LEN, CO_STACK_LEN + CO_GUARD_LEN);
	free(co);
}

static void make_entry(struct co *co, ucontext_t *entry)
{
	getcontext(entry);
	entry->uc_stack.ss_sp = co->stack;
	entry->uc_stack.ss_size = CO_STACK_LEN;
	entry->uc_link = NULL;
	makecontext(entry, (void (*)(void))co_main, 2,
		    (unsigned)((uintptr_t)co >> 32), (unsigned)(uintptr_t)co);
}

/* Runs co_main up to its first jump target. */
static void prime(struct co *co)
{
#ifdef __SANITIZE_THREAD__
	co->fiber = __tsan_create_fiber(0);
	make_entry(co, &co->here);
	enter(co);
#else
	ucontext_t entry;

	make_entry(co, &entry);
	if (!sigsetjmp(co->caller, 0)) {
		switch_start(co, true);
		setcontext(&entry);
	}
	switch_finish(co, false);
#endif
}

static struct co *co_create(struct blk_ctx *ctx)
{
	struct co *co = calloc(1, sizeof(*co));
	char *map;

	if (!co)
		return NULL;
	map = mmap(NULL, CO_STACK_LEN + CO_GUARD_LEN, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1,
		   0);
	if (map == MAP_FAILED) {
		free(co);
		return NULL;
	}
	/* A stack uses a page or two, not two megabytes. */
	madvise(map, CO_STACK_LEN + CO_GUARD_LEN, MADV_NOHUGEPAGE);
	mprotect(map, CO_GUARD_LEN, PROT_NONE);
	co->stack = map + CO_GUARD_LEN;
	co->ctx = ctx;
	prime(co);
	return co;
}

static void retire(struct co *co)
{
	struct blk_ctx *ctx = co->ctx;

	if (ctx->nr_pool == CO_POOL_MAX) {
		co_free(co);
		return;
	}
	co->next = ctx->pool;
	ctx->pool = co;
	ctx->nr_pool++;
}

static void run(struct co *co)
{
	resume(co);
	if (co->done)
		retire(co);
}

int co_start(struct blk_ctx *ctx, co_fn *fn, void *arg)
{
	struct co *co = ctx->pool;

	if (co) {
		ctx->pool = co->next;
		ctx->nr_pool--;
	} else {
		co = co_create(ctx);
		if (!co)
			return -ENOMEM;
	}
	co->next = NULL;
	co->fn = fn;
	co->arg = arg;
	co->done = co->woken = false;
	run(co);
	return 0;
}

void co_pool_fini(struct blk_ctx *ctx)
{
	while (ctx->pool) {
		struct co *co = ctx->pool;

		ctx->pool = co->next;
		co_free(co);
	}
	ctx->nr_pool = 0;
}

/* ---- yield and wake ---- */

void co_yield (void)
{
	struct co *co = current;

	assert(co);
	if (co->woken) {
		co->woken = false;
		return;
	}
	co->yielded = true;
	leave(co);
	switch_finish(co, true);
	co->woken = false;
}

void co_wake(struct co *co)
{
	struct blk_ctx *ctx = co->ctx;

	if (co->woken)
		return;
	co->woken = true;
	if (!co->yielded)
		return;
	co->next = NULL;
	if (ctx->ready_last)
		ctx->ready_last->next = co;
	else
		ctx->ready = co;
	ctx->ready_last = co;
	loop_post(ctx->loop, &ctx->ready_work);
}

void co_run_ready(void *arg)
{
	struct blk_ctx *ctx = arg;
	struct co *co = ctx->ready;

	ctx->ready = ctx->ready_last = NULL;
	while (co) {
		struct co *next = co->next;

		co->next = NULL;
		run(co);
		co = next;
	}
}

/* ---- sleeping ---- */

struct nap {
	struct loop_timer timer;
	struct co *co;
	bool over;
};

static void nap_over(void *arg)
{
	struct nap *nap = arg;

	nap->over = true;
	co_wake(nap->co);
}

void co_sleep_ns(struct blk_ctx *ctx, uint64_t ns)
{
	struct nap nap = {.co = current};

	loop_timer_init(&nap.timer, ctx->loop, nap_over, &nap);
	loop_timer_set(&nap.timer, loop_now_ns() + ns);
	while (!nap.over)
		co_yield ();
}

/* ---- mutexes and queues ---- */

static void enqueue(struct co **first, struct co **last, struct co *co)
{
	co->behind = NULL;
	co->queued = true;
	if (*last)
		(*last)->behind = co;
	else
		*first = co;
	*last = co;
}

static struct co *dequeue(struct co **first, struct co **last)
{
	struct co *co = *first;

	if (!co)
		return NULL;
	*first = co->behind;
	if (!*first)
		*last = NULL;
	co->queued = false;
	return co;
}

void co_lock(struct co_mutex *m)
{
	if (!m->holder) {
		m->holder = current;
		return;
	}
	assert(m->holder != current);
	enqueue(&m->first, &m->last, current);
	/* The one who unlocks hands the mutex over. */
	while (m->holder != current)
		co_yield ();
}

void co_unlock(struct co_mutex *m)
{
	assert(m->holder == current);
	m->holder = dequeue(&m->first, &m->last);
	if (m->holder)
		co_wake(m->holder);
}

void co_wait(struct co_queue *q, struct co_mutex *m)
{
	enqueue(&q->first, &q->last, current);
	if (m)
		co_unlock(m);
	while (current->queued)
		co_yield ();
	if (m)
		co_lock(m);
}

bool co_wake_one(struct co_queue *q)
{
	struct co *co = dequeue(&q->first, &q->last);

	if (co)
		co_wake(co);
	return co;
}

void co_wake_all(struct co_queue *q)
{
	while (co_wake_one(q))
		;
}

/* ---- other threads ---- */

struct co_job {
	struct worker_job job; /* first */
	struct loop_work back;
	struct co *co;
	int (*fn)(void *arg);
	void *arg;
	int res;
	bool back_here;
};

static void job_back(void *arg)
{
	struct co_job *j = arg;

	j->back_here = true;
	co_wake(j->co);
}

static void job_run(struct worker_job *job)
{
	struct co_job *j = (struct co_job *)job;

	j->res = j->fn(j->arg);
	loop_post(j->co->ctx->loop, &j->back);
}

int co_worker(struct blk_ctx *ctx, int (*fn)(void *arg), void *arg)
{
	struct co_job j = {
		.job.run = job_run,
		.co = current,
		.fn = fn,
		.arg = arg,
	};

	j.back = (struct loop_work){.fn = job_back, .arg = &j};
	worker_submit(ctx->workers, &j.job);
	while (!j.back_here)
		co_yield ();
	return j.res;
}

struct outside {
	struct blk_ctx *ctx;
	int (*fn)(void *arg);
	void *arg;
	int res;
	bool done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct loop_work work;
};

static void outside_end(struct outside *o, int res)
{
	pthread_mutex_lock(&o->lock);
	o->res = res;
	o->done = true;
	pthread_cond_signal(&o->cond);
	pthread_mutex_unlock(&o->lock);
}

static void outside_co(void *arg)
{
	struct outside *o = arg;

	outside_end(o, o->fn(o->arg));
}

static void outside_start(void *arg)
{
	struct outside *o = arg;

	if (co_start(o->ctx, outside_co, o))
		outside_end(o, -ENOMEM);
}

int blk_run(struct blk_ctx *ctx, int (*fn)(void *arg), void *arg)
{
	struct outside o = {.ctx = ctx, .fn = fn, .arg = arg};

	pthread_mutex_init(&o.lock, NULL);
	pthread_cond_init(&o.cond, NULL);
	o.work = (struct loop_work){.fn = outside_start, .arg = &o};
	loop_post(ctx->loop, &o.work);
	pthread_mutex_lock(&o.lock);
	while (!o.done)
		pthread_cond_wait(&o.cond, &o.lock);
	pthread_mutex_unlock(&o.lock);
	pthread_cond_destroy(&o.cond);
	pthread_mutex_destroy(&o.lock);
	return o.res;
}
