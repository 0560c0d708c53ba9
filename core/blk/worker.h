/*
 * worker: a few threads that take jobs which sleep or compute.
 *
 * A job is embedded in its owner, which keeps it alive until run returned.
 * Thread rule: [any]; destroy with no job left.
 */
#ifndef CORE_BLK_WORKER_H
#define CORE_BLK_WORKER_H

struct error;
struct worker_pool;

struct worker_job {
	void (*run)(struct worker_job *job); /* on a worker; may free the job */
	struct worker_job *next;
};

/* NULL with the reason in e.  Threads start as they are needed, at most nr. */
struct worker_pool *worker_pool_create(unsigned nr, struct error *e);
void worker_pool_destroy(struct worker_pool *p); /* NULL is fine */
void worker_submit(struct worker_pool *p, struct worker_job *job);

#endif
