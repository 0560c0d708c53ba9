/*
 * ctx: what the nodes of one loop share: the loop, coroutines, workers.
 *
 * Thread rule: on the loop, but for what is fixed at creation.
 */
#ifndef CORE_BLK_CTX_H
#define CORE_BLK_CTX_H

#include "core/blk/blk.h"
#include "core/blk/co.h"
#include "core/loop.h"

struct file_aio;
struct worker_pool;

struct blk_ctx {
	struct loop *loop;
	struct log *log;
	struct worker_pool *workers;
	char *backing_folders; /* NULL: only the image's own tree */
	/* Coroutines: stacks to use again, and those that were woken. */
	struct co *pool;
	unsigned nr_pool;
	struct co *ready, *ready_last;
	struct loop_work ready_work;
	struct file_aio *aio[BLK_NR_AIO]; /* made when first asked for */
	uint64_t host_flushes;		  /* relaxed atomic, [any] reads */
};

/* Runs woken coroutines; the context's ready_work. */
void co_run_ready(void *ctx);
/* Frees the pooled stacks. */
void co_pool_fini(struct blk_ctx *ctx);

#endif
