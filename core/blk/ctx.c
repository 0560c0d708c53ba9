#include "core/blk/ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/file/aio.h"
#include "core/blk/worker.h"
#include "core/error.h"

#define CTX_WORKERS 4

struct blk_ctx *blk_ctx_create(const struct blk_ctx_config *cfg,
			       struct error *e)
{
	struct blk_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		goto no_memory;
	ctx->loop = cfg->loop;
	ctx->log = cfg->log;
	if (cfg->backing_folders) {
		ctx->backing_folders = strdup(cfg->backing_folders);
		if (!ctx->backing_folders)
			goto no_memory;
	}
	ctx->ready_work = (struct loop_work){.fn = co_run_ready, .arg = ctx};
	ctx->workers = worker_pool_create(
		cfg->nr_workers ? cfg->nr_workers : CTX_WORKERS, e);
	if (!ctx->workers) {
		free(ctx->backing_folders);
		free(ctx);
		return NULL;
	}
	return ctx;

no_memory:
	free(ctx);
	error_set(e, -ENOMEM, "no memory for the block layer");
	return NULL;
}

void blk_ctx_destroy(struct blk_ctx *ctx)
{
	if (!ctx)
		return;
	file_aio_fini(ctx);
	worker_pool_destroy(ctx->workers);
	co_pool_fini(ctx);
	free(ctx->backing_folders);
	free(ctx);
}
