/*
 * Ordinary system calls on the context's worker threads.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/blk/co.h"
#include "core/blk/file/aio.h"

struct move {
	int fd;
	bool write;
	const struct iovec *iov;
	int nr;
	uint64_t off;
	ssize_t moved;
};

static int move_call(void *arg)
{
	struct move *m = arg;

	m->moved = m->write ? pwritev(m->fd, m->iov, m->nr, m->off)
			    : preadv(m->fd, m->iov, m->nr, m->off);
	if (m->moved < 0)
		m->moved = -errno;
	return 0;
}

static ssize_t threads_move(struct file_aio *aio, int fd, bool write,
			    const struct iovec *iov, int nr, uint64_t off)
{
	struct move m = {fd, write, iov, nr, off, 0};

	co_worker(aio->ctx, move_call, &m);
	return m.moved;
}

static int sync_call(void *arg)
{
	return fdatasync(*(int *)arg) ? -errno : 0;
}

static int threads_sync(struct file_aio *aio, int fd)
{
	return co_worker(aio->ctx, sync_call, &fd);
}

static struct file_aio *threads_create(struct blk_ctx *ctx, struct error *e)
{
	(void)ctx;
	(void)e;
	return calloc(1, sizeof(struct file_aio));
}

static void threads_destroy(struct file_aio *aio)
{
	free(aio);
}

const struct file_aio_class file_aio_threads = {
	.name = "threads",
	.create = threads_create,
	.destroy = threads_destroy,
	.move = threads_move,
	.sync = threads_sync,
};
