/*
 * Jobs wait in one queue; a thread is added when one arrives and nobody is
 * idle.  The first is made at creation, so that a job never fails for want of
 * a thread.
 */
#include "core/blk/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/error.h"

#define WORKER_MAX 64

struct worker_pool {
	pthread_mutex_t lock; /* a leaf; protects all below */
	pthread_cond_t work;
	struct worker_job *first, *last;
	unsigned nr_queued, nr_idle, nr_threads, max;
	bool stopping;
	pthread_t threads[WORKER_MAX];
};

static void *worker_thread(void *arg)
{
	struct worker_pool *p = arg;
	struct worker_job *job;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->first && !p->stopping) {
			p->nr_idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->nr_idle--;
		}
		job = p->first;
		if (!job)
			break;
		p->first = job->next;
		p->nr_queued--;
		pthread_mutex_unlock(&p->lock);
		job->next = NULL;
		job->run(job);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int add_thread_locked(struct worker_pool *p)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&p->threads[p->nr_threads], NULL, worker_thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	pthread_setname_np(p->threads[p->nr_threads], "bn-worker");
	p->nr_threads++;
	return 0;
}

struct worker_pool *worker_pool_create(unsigned nr, struct error *e)
{
	struct worker_pool *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		error_set(e, -ENOMEM, "no memory for worker threads");
		return NULL;
	}
	p->max = nr < 1 ? 1 : nr > WORKER_MAX ? WORKER_MAX : nr;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_mutex_lock(&p->lock);
	r = add_thread_locked(p);
	pthread_mutex_unlock(&p->lock);
	if (r) {
		error_errno(e, -r, "starting a worker thread");
		worker_pool_destroy(p);
		return NULL;
	}
	return p;
}

void worker_pool_destroy(struct worker_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nr_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void worker_submit(struct worker_pool *p, struct worker_job *job)
{
	bool wake;

	pthread_mutex_lock(&p->lock);
	job->next = NULL;
	if (p->first)
		p->last->next = job;
	else
		p->first = job;
	p->last = job;
	p->nr_queued++;
	/* A failure to add one leaves the work to those that are there. */
	if (p->nr_queued > p->nr_idle && p->nr_threads < p->max)
		add_thread_locked(p);
	wake = p->nr_idle;
	pthread_mutex_unlock(&p->lock);
	/* Nobody sleeps: the next to finish takes it. */
	if (wake)
		pthread_cond_signal(&p->work);
}
