/*
 * Requests wait in one queue; a thread is added when one arrives and nobody
 * is idle.  The first is made at creation, so that a request never fails for
 * want of a thread.
 */
#include "core/blk/aio.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/blk/drive.h"
#include "core/error.h"

#define AIO_MAX_THREADS 8

struct blk_aio {
	struct blk_aio_client client;
	pthread_mutex_t lock; /* a leaf; protects all below */
	pthread_cond_t work;
	struct drive_req *first, *last;
	unsigned nr_queued, nr_idle, nr_threads;
	bool stopping;
	pthread_t threads[AIO_MAX_THREADS];
};

static void *aio_thread(void *arg)
{
	struct blk_aio *aio = arg;
	struct drive_req *req;

	pthread_mutex_lock(&aio->lock);
	for (;;) {
		while (!aio->first && !aio->stopping) {
			aio->nr_idle++;
			pthread_cond_wait(&aio->work, &aio->lock);
			aio->nr_idle--;
		}
		req = aio->first;
		if (!req)
			break;
		aio->first = req->next;
		aio->nr_queued--;
		pthread_mutex_unlock(&aio->lock);
		req->next = NULL;
		req->res = aio->client.run(aio->client.opaque, req);
		aio->client.completed(aio->client.opaque, req);
		pthread_mutex_lock(&aio->lock);
	}
	pthread_mutex_unlock(&aio->lock);
	return NULL;
}

static int add_thread_locked(struct blk_aio *aio)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&aio->threads[aio->nr_threads], NULL, aio_thread,
			   aio);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	pthread_setname_np(aio->threads[aio->nr_threads], "bn-aio");
	aio->nr_threads++;
	return 0;
}

static void aio_threads_destroy(struct blk_aio *aio)
{
	if (!aio)
		return;
	pthread_mutex_lock(&aio->lock);
	aio->stopping = true;
	pthread_cond_broadcast(&aio->work);
	pthread_mutex_unlock(&aio->lock);
	for (unsigned i = 0; i < aio->nr_threads; i++)
		pthread_join(aio->threads[i], NULL);
	pthread_cond_destroy(&aio->work);
	pthread_mutex_destroy(&aio->lock);
	free(aio);
}

static struct blk_aio *aio_threads_create(const struct blk_aio_client *client,
					  struct error *e)
{
	struct blk_aio *aio = calloc(1, sizeof(*aio));
	int r;

	if (!aio) {
		error_set(e, -ENOMEM, "no memory for I/O threads");
		return NULL;
	}
	aio->client = *client;
	pthread_mutex_init(&aio->lock, NULL);
	pthread_cond_init(&aio->work, NULL);
	pthread_mutex_lock(&aio->lock);
	r = add_thread_locked(aio);
	pthread_mutex_unlock(&aio->lock);
	if (r) {
		error_errno(e, -r, "starting an I/O thread");
		aio_threads_destroy(aio);
		return NULL;
	}
	return aio;
}

static void aio_threads_submit(struct blk_aio *aio, struct drive_req *req)
{
	pthread_mutex_lock(&aio->lock);
	req->next = NULL;
	if (aio->first)
		aio->last->next = req;
	else
		aio->first = req;
	aio->last = req;
	aio->nr_queued++;
	/* A failure to add one leaves the work to those that are there. */
	if (aio->nr_queued > aio->nr_idle && aio->nr_threads < AIO_MAX_THREADS)
		add_thread_locked(aio);
	pthread_cond_signal(&aio->work);
	pthread_mutex_unlock(&aio->lock);
}

const struct blk_aio_class blk_aio_threads = {
	.name = "threads",
	.create = aio_threads_create,
	.destroy = aio_threads_destroy,
	.submit = aio_threads_submit,
};
