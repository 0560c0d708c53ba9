/*
 * aio: how a file's transfers run beside the loop; one backend is one file that
 * exports one const struct file_aio_class.
 *
 * Thread rule: create and destroy on the loop; the rest in its coroutines.
 */
#ifndef CORE_BLK_FILE_AIO_H
#define CORE_BLK_FILE_AIO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "core/blk/blk.h"

/* What each backend's own struct begins with. */
struct file_aio {
	const struct file_aio_class *class;
	struct blk_ctx *ctx;
};

struct file_aio_class {
	const char *name;
	bool needs_direct; /* else its calls would sleep */
	/* NULL with the reason in e. */
	struct file_aio *(*create)(struct blk_ctx *ctx, struct error *e);
	void (*destroy)(struct file_aio *aio); /* nothing in flight */
	/* One system call's worth: bytes moved, or -errno. */
	ssize_t (*move)(struct file_aio *aio, int fd, bool write,
			const struct iovec *iov, int nr, uint64_t off);
	int (*sync)(struct file_aio *aio, int fd); /* fdatasync */
};

extern const struct file_aio_class file_aio_threads, file_aio_native,
	file_aio_uring;

/* The context's instance of a backend, made when first asked for; NULL with
 * the reason and the alternatives in e. */
struct file_aio *file_aio_get(struct blk_ctx *ctx, enum blk_aio kind,
			      struct error *e);
/* Ends all of the context's backends. */
void file_aio_fini(struct blk_ctx *ctx);

#endif
