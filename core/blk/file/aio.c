#include "core/blk/file/aio.h"

#include "core/blk/ctx.h"
#include "core/error.h"

static const struct file_aio_class *const classes[BLK_NR_AIO] = {
	[BLK_AIO_THREADS] = &file_aio_threads,
	[BLK_AIO_NATIVE] = &file_aio_native,
	[BLK_AIO_IO_URING] = &file_aio_uring,
};

struct file_aio *file_aio_get(struct blk_ctx *ctx, enum blk_aio kind,
			      struct error *e)
{
	struct file_aio *aio = ctx->aio[kind];

	if (aio)
		return aio;
	aio = classes[kind]->create(ctx, e);
	if (!aio) {
		error_prefix(e, -1, "aio=%s (aio=threads works everywhere)",
			     classes[kind]->name);
		return NULL;
	}
	aio->class = classes[kind];
	aio->ctx = ctx;
	ctx->aio[kind] = aio;
	return aio;
}

void file_aio_fini(struct blk_ctx *ctx)
{
	for (int i = 0; i < BLK_NR_AIO; i++) {
		if (ctx->aio[i])
			ctx->aio[i]->class->destroy(ctx->aio[i]);
		ctx->aio[i] = NULL;
	}
}
