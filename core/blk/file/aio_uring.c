/*
 * io_uring, by liburing.  Requests that the coroutines of one turn of the loop
 * make go in with one system call; completions are read from shared memory.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/blk/co.h"
#include "core/blk/ctx.h"
#include "core/blk/file/aio.h"
#include "core/error.h"

#define DEPTH 256
#define BATCH 8

struct uring {
	struct file_aio aio; /* first */
	struct io_uring ring;
	struct loop_fd done_fd;
	struct loop_work submit;
	unsigned nr_busy;
	struct co_queue room;
};

struct request {
	struct co *co;
	int res;
	bool done;
};

static void reap_all(struct uring *u)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&u->ring, &cqe)) {
		struct request *r = io_uring_cqe_get_data(cqe);

		r->res = cqe->res;
		r->done = true;
		io_uring_cqe_seen(&u->ring, cqe);
		u->nr_busy--;
		co_wake(r->co);
		co_wake_one(&u->room);
	}
}

static void reap(void *arg, uint32_t events)
{
	struct uring *u = arg;
	uint64_t count;

	(void)events;
	if (read(u->done_fd.fd, &count, sizeof(count)) < 0)
		return;
	reap_all(u);
}

static void submit_queued(void *arg)
{
	struct uring *u = arg;
	int ret;

	do
		ret = io_uring_submit(&u->ring);
	while (ret == -EINTR);
	/* The kernel is short of memory: completions make room. */
	if (ret == -EAGAIN || ret == -EBUSY)
		loop_post(u->aio.ctx->loop, &u->submit);
	reap_all(u);
}

static int run(struct uring *u, struct request *r, struct io_uring_sqe *sqe)
{
	r->co = co_self();
	io_uring_sqe_set_data(sqe, r);
	u->nr_busy++;
	/* A device that waits for a whole turn's requests stands idle. */
	if (io_uring_sq_ready(&u->ring) >= BATCH)
		io_uring_submit(&u->ring);
	loop_post(u->aio.ctx->loop, &u->submit);
	while (!r->done)
		co_yield ();
	return r->res;
}

/* No more are in flight than the ring has places for. */
static struct io_uring_sqe *get_sqe(struct uring *u)
{
	while (u->nr_busy == DEPTH)
		co_wait(&u->room, NULL);
	return io_uring_get_sqe(&u->ring);
}

static ssize_t uring_move(struct file_aio *aio, int fd, bool write,
			  const struct iovec *iov, int nr, uint64_t off)
{
	struct uring *u = (struct uring *)aio;
	struct io_uring_sqe *sqe = get_sqe(u);
	struct request r = {0};

	if (!sqe)
		return -EAGAIN;
	if (write)
		io_uring_prep_writev(sqe, fd, iov, nr, off);
	else
		io_uring_prep_readv(sqe, fd, iov, nr, off);
	return run(u, &r, sqe);
}

static int uring_sync(struct file_aio *aio, int fd)
{
	struct uring *u = (struct uring *)aio;
	struct io_uring_sqe *sqe = get_sqe(u);
	struct request r = {0};

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	return run(u, &r, sqe);
}

static void uring_destroy(struct file_aio *aio)
{
	struct uring *u = (struct uring *)aio;

	loop_fd_remove(aio->ctx->loop, &u->done_fd);
	close(u->done_fd.fd);
	io_uring_queue_exit(&u->ring);
	free(u);
}

static struct file_aio *uring_create(struct blk_ctx *ctx, struct error *e)
{
	struct uring *u = calloc(1, sizeof(*u));
	int ret;

	if (!u) {
		error_set(e, -ENOMEM, "no memory");
		return NULL;
	}
	ret = io_uring_queue_init(DEPTH, &u->ring, 0);
	if (ret) {
		error_errno(e, -ret,
			    "the kernel offers no io_uring (see "
			    "kernel.io_uring_disabled)");
		free(u);
		return NULL;
	}
	u->submit = (struct loop_work){.fn = submit_queued, .arg = u};
	u->done_fd =
		(struct loop_fd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				 .events = 1, /* EPOLLIN */
				 .fn = reap,
				 .arg = u};
	ret = u->done_fd.fd < 0
		      ? -errno
		      : io_uring_register_eventfd(&u->ring, u->done_fd.fd);
	if (!ret)
		ret = loop_fd_add(ctx->loop, &u->done_fd);
	if (ret) {
		error_errno(e, -ret, "no event descriptor");
		if (u->done_fd.fd >= 0)
			close(u->done_fd.fd);
		io_uring_queue_exit(&u->ring);
		free(u);
		return NULL;
	}
	return &u->aio;
}

const struct file_aio_class file_aio_uring = {
	.name = "io_uring",
	.create = uring_create,
	.destroy = uring_destroy,
	.move = uring_move,
	.sync = uring_sync,
};
