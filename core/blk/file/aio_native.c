/*
 * The kernel's own asynchronous I/O, by libaio.  Requests that the coroutines
 * of one turn of the loop make go in with one system call; an eventfd says
 * when some are done.
 */
#include <errno.h>
#include <libaio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/blk/co.h"
#include "core/blk/ctx.h"
#include "core/blk/file/aio.h"
#include "core/error.h"

#define DEPTH 256
#define BATCH 8

struct native {
	struct file_aio aio; /* first */
	io_context_t io;
	struct loop_fd done_fd;
	struct loop_work submit;
	struct iocb *queued[DEPTH];
	unsigned nr_queued, nr_busy;
	struct co_queue room;
};

struct request {
	struct iocb iocb; /* first */
	struct co *co;
	ssize_t res;
	bool done;
};

static void finish(struct native *n, struct iocb *iocb, ssize_t res)
{
	struct request *r = (struct request *)iocb;

	r->res = res;
	r->done = true;
	n->nr_busy--;
	co_wake(r->co);
	co_wake_one(&n->room);
}

static void submit_queued(void *arg)
{
	struct native *n = arg;
	unsigned done = 0;

	while (done < n->nr_queued) {
		int ret =
			io_submit(n->io, n->nr_queued - done, n->queued + done);

		if (ret > 0)
			done += ret;
		else if (ret != -EINTR)
			finish(n, n->queued[done++], ret ? ret : -EIO);
	}
	n->nr_queued = 0;
}

static void reap(void *arg, uint32_t events)
{
	struct native *n = arg;
	struct io_event list[64];
	struct timespec now = {0};
	uint64_t count;
	int nr;

	(void)events;
	if (read(n->done_fd.fd, &count, sizeof(count)) < 0)
		return;
	do {
		nr = io_getevents(n->io, 0, 64, list, &now);
		for (int i = 0; i < nr; i++)
			finish(n, list[i].obj, (ssize_t)list[i].res);
	} while (nr == 64);
}

static ssize_t run(struct native *n, struct request *r)
{
	while (n->nr_busy == DEPTH)
		co_wait(&n->room, NULL);
	io_set_eventfd(&r->iocb, n->done_fd.fd);
	r->co = co_self();
	n->nr_busy++;
	n->queued[n->nr_queued++] = &r->iocb;
	/* A device that waits for a whole turn's requests stands idle. */
	if (n->nr_queued >= BATCH)
		submit_queued(n);
	loop_post(n->aio.ctx->loop, &n->submit);
	while (!r->done)
		co_yield ();
	return r->res;
}

static ssize_t native_move(struct file_aio *aio, int fd, bool write,
			   const struct iovec *iov, int nr, uint64_t off)
{
	struct request r = {0};

	if (write)
		io_prep_pwritev(&r.iocb, fd, iov, nr, off);
	else
		io_prep_preadv(&r.iocb, fd, iov, nr, off);
	return run((struct native *)aio, &r);
}

static void native_destroy(struct file_aio *aio)
{
	struct native *n = (struct native *)aio;

	loop_fd_remove(aio->ctx->loop, &n->done_fd);
	close(n->done_fd.fd);
	io_destroy(n->io);
	free(n);
}

static struct file_aio *native_create(struct blk_ctx *ctx, struct error *e)
{
	struct native *n = calloc(1, sizeof(*n));
	int ret;

	if (!n) {
		error_set(e, -ENOMEM, "no memory");
		return NULL;
	}
	ret = io_setup(DEPTH, &n->io);
	if (ret) {
		error_errno(e, -ret,
			    "the kernel offers no more asynchronous "
			    "I/O (see fs.aio-max-nr)");
		free(n);
		return NULL;
	}
	n->submit = (struct loop_work){.fn = submit_queued, .arg = n};
	n->done_fd =
		(struct loop_fd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				 .events = 1, /* EPOLLIN */
				 .fn = reap,
				 .arg = n};
	ret = n->done_fd.fd < 0 ? -errno : loop_fd_add(ctx->loop, &n->done_fd);
	if (ret) {
		error_errno(e, -ret, "no event descriptor");
		if (n->done_fd.fd >= 0)
			close(n->done_fd.fd);
		io_destroy(n->io);
		free(n);
		return NULL;
	}
	return &n->aio;
}

/* libaio's own fdsync is refused by most file systems. */
static int native_sync(struct file_aio *aio, int fd)
{
	return file_aio_threads.sync(aio, fd);
}

const struct file_aio_class file_aio_native = {
	.name = "native",
	.needs_direct = true,
	.create = native_create,
	.destroy = native_destroy,
	.move = native_move,
	.sync = native_sync,
};
