/*
 * nbd: the node over an export of an NBD server, by libnbd.
 *
 * libnbd's handle is a state machine without a thread of its own: it is fed
 * with the events of its socket, and a request's completion wakes the coroutine
 * that made it.  Whatever the server does or leaves undone ends in a request's
 * error at worst; a connection that broke stays broken.
 *
 * The socket is watched through a duplicate: libnbd closes its own when the
 * connection dies, and the number may then be another's.
 */
#include "core/blk/nbd/nbd.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/blk/ctx.h"
#include "core/blk/driver.h"
#include "core/blk/iov.h"
#include "core/blk/nbd/address.h"
#include "core/blk/nbd/connect.h"
#include "core/error.h"

#define HANDSHAKE_NS  (30ull * 1000000000)
#define TRANSFER_MAX  (32u << 20) /* bytes of data a request, at most */
#define RANGE_MAX     (1u << 30)  /* bytes a request without data */
#define ALIGN_MAX     65536
#define EXTENTS_MAX   1024
#define EXTENTS_NS    1000000000ull /* others may write to the export too */
#define CONTEXT	      "base:allocation"
#define GIVE_UP_STEPS 64
#define EXTENT_HOLE   1 /* flags of base:allocation, protocol document */
#define EXTENT_ZERO   2

struct extent {
	uint64_t end;
	uint32_t flags;
};

struct nbd_node {
	struct nbd_handle *h;
	struct loop *loop;
	struct loop_fd watch;
	bool watching, dead;
	char *why;	   /* the connection died; or NULL */
	struct co *opener; /* asleep in shake_hands() */
	bool read_only, can_flush, can_fua, can_trim, can_zero, can_fast_zero;
	bool can_status;
	uint64_t transfer_max;
	/* What the server said last of its extents, until a write or a second
	 * has passed. */
	struct extent extents[EXTENTS_MAX];
	unsigned nr_extents;
	uint64_t extents_off, extents_ns, generation;
};

/* ---- the handle and its socket ---- */

/* libnbd puts the names of its functions before each message. */
static const char *reason(void)
{
	const char *text = nbd_get_error(), *colon;

	if (!text)
		return "the connection broke";
	if (nbd_get_errno() == ENOENT)
		return "Requested export not available";
	colon = strstr(text, ": ");
	if (!strncmp(text, "nbd_", 4) && colon)
		text = colon + 2;
	return text;
}

static void unwatch(struct nbd_node *n)
{
	if (n->watching)
		loop_fd_remove(n->loop, &n->watch);
	n->watching = false;
}

static bool is_gone(struct nbd_node *n)
{
	return nbd_aio_is_dead(n->h) || nbd_aio_is_closed(n->h);
}

/* Nothing tells of the socket any more: every request under way fails. */
static void give_up(struct nbd_node *n)
{
	n->dead = true;
	shutdown(n->watch.fd, SHUT_RDWR);
	for (int i = 0; i < GIVE_UP_STEPS && !is_gone(n); i++) {
		if (nbd_aio_get_direction(n->h) & LIBNBD_AIO_DIRECTION_READ)
			nbd_aio_notify_read(n->h);
		else
			nbd_aio_notify_write(n->h);
	}
}

static void watch(struct nbd_node *n, uint32_t events)
{
	if (n->watching && n->watch.events == events)
		return;
	unwatch(n);
	n->watch.events = events;
	n->watching = !loop_fd_add(n->loop, &n->watch);
	if (!n->watching)
		give_up(n);
}

/* After every call that moves the state machine. */
static void follow(struct nbd_node *n)
{
	unsigned direction = nbd_aio_get_direction(n->h);

	if (is_gone(n)) {
		n->dead = true;
		unwatch(n);
	} else {
		watch(n,
		      (direction & LIBNBD_AIO_DIRECTION_READ ? EPOLLIN : 0) |
			      (direction & LIBNBD_AIO_DIRECTION_WRITE ? EPOLLOUT
								      : 0));
	}
	if (n->opener)
		co_wake(n->opener);
}

static void on_socket(void *arg, uint32_t events)
{
	struct nbd_node *n = arg;
	unsigned direction = nbd_aio_get_direction(n->h);
	int ret = 0;

	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) &&
	    (direction & LIBNBD_AIO_DIRECTION_READ))
		ret = nbd_aio_notify_read(n->h);
	else if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) &&
		 (direction & LIBNBD_AIO_DIRECTION_WRITE))
		ret = nbd_aio_notify_write(n->h);
	if (ret && !n->why)
		n->why = strdup(reason());
	follow(n);
}

/* ---- requests ---- */

struct request {
	struct nbd_node *n;
	struct co *waiter; /* asleep in finish(); else none may be woken */
	bool done;
	int error;
	uint64_t generation; /* of status: before it was asked */
};

static int on_done(void *arg, int *error)
{
	struct request *r = arg;

	r->error = *error;
	r->done = true;
	if (r->waiter)
		co_wake(r->waiter);
	return 1;
}

#define ON_DONE(r) ((nbd_completion_callback){on_done, (r), NULL})

/* Waits for the request that the cookie names: 0 or -errno. */
static int finish(struct request *r, int64_t cookie)
{
	int err = cookie < 0 ? nbd_get_errno() : 0;

	follow(r->n);
	if (cookie < 0)
		return r->n->dead ? -ENOTCONN : err ? -err : -EIO;
	r->waiter = co_self();
	while (!r->done)
		co_yield ();
	return -r->error;
}

static struct request begin(struct blk *b)
{
	return (struct request){.n = b->priv};
}

static int read_part(struct blk *b, void *buf, size_t len, uint64_t off)
{
	struct request r = begin(b);

	if (r.n->dead)
		return -ENOTCONN;
	return finish(&r, nbd_aio_pread(r.n->h, buf, len, off, ON_DONE(&r), 0));
}

static int write_part(struct blk *b, const void *buf, size_t len, uint64_t off,
		      unsigned flags)
{
	struct request r = begin(b);
	uint32_t fua =
		(flags & BLK_FUA) && r.n->can_fua ? LIBNBD_CMD_FLAG_FUA : 0;

	if (r.n->dead)
		return -ENOTCONN;
	return finish(&r,
		      nbd_aio_pwrite(r.n->h, buf, len, off, ON_DONE(&r), fua));
}

static void forget_extents(struct nbd_node *n)
{
	n->nr_extents = 0;
	n->generation++;
}

/* libnbd takes one buffer: several pieces go through another. */
static void *whole(const struct iovec *iov, int nr, size_t len)
{
	void *buf;

	if (nr == 1)
		return iov->iov_base;
	return posix_memalign(&buf, 4096, len) ? NULL : buf;
}

static int node_readv(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr)
{
	struct nbd_node *n = b->priv;
	uint64_t max = len < n->transfer_max ? len : n->transfer_max, done = 0;
	void *buf = whole(iov, nr, max);
	int ret = buf ? 0 : -ENOMEM;

	while (done < len && !ret) {
		size_t part = len - done < max ? len - done : max;

		ret = read_part(b, nr == 1 ? (char *)buf + done : buf, part,
				off + done);
		if (nr != 1 && !ret)
			iov_from_buf(iov, nr, done, buf, part);
		done += part;
	}
	if (nr != 1)
		free(buf);
	return ret;
}

static int node_writev(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr, unsigned flags)
{
	struct nbd_node *n = b->priv;
	uint64_t max = len < n->transfer_max ? len : n->transfer_max, done = 0;
	void *buf;
	int ret = 0;

	if (off + len > b->len)
		return -ENOSPC;
	buf = whole(iov, nr, max);
	if (!buf)
		return -ENOMEM;
	while (done < len && !ret) {
		size_t part = len - done < max ? len - done : max;

		if (nr != 1)
			iov_to_buf(iov, nr, done, buf, part);
		ret = write_part(b, nr == 1 ? (char *)buf + done : buf, part,
				 off + done, flags);
		done += part;
	}
	forget_extents(n);
	if (nr != 1)
		free(buf);
	return ret;
}

static int zero_part(struct blk *b, uint64_t off, uint64_t len, uint32_t flags)
{
	struct request r = begin(b);

	if (r.n->dead)
		return -ENOTCONN;
	return finish(&r, nbd_aio_zero(r.n->h, len, off, ON_DONE(&r), flags));
}

static int node_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			     unsigned flags)
{
	struct nbd_node *n = b->priv;
	uint32_t f = flags & BLK_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
	int ret = 0;

	if (off + len > b->len)
		return -ENOSPC;
	if (!n->can_zero)
		return -ENOTSUP;
	if ((flags & BLK_NO_FALLBACK) && !n->can_fast_zero)
		return -ENOTSUP;
	if (flags & BLK_NO_FALLBACK)
		f |= LIBNBD_CMD_FLAG_FAST_ZERO;
	while (len && !ret) {
		uint64_t part = len < RANGE_MAX ? len : RANGE_MAX;

		ret = zero_part(b, off, part, f);
		off += part;
		len -= part;
	}
	forget_extents(n);
	return ret;
}

static int trim_part(struct blk *b, uint64_t off, uint64_t len)
{
	struct request r = begin(b);

	if (r.n->dead)
		return -ENOTCONN;
	return finish(&r, nbd_aio_trim(r.n->h, len, off, ON_DONE(&r), 0));
}

static int node_discard(struct blk *b, uint64_t off, uint64_t len)
{
	struct nbd_node *n = b->priv;
	int ret = 0;

	if (!n->can_trim)
		return -ENOTSUP;
	while (len && !ret) {
		uint64_t part = len < RANGE_MAX ? len : RANGE_MAX;

		ret = trim_part(b, off, part);
		off += part;
		len -= part;
	}
	forget_extents(n);
	return ret;
}

static int node_flush(struct blk *b)
{
	struct request r = begin(b);

	if (r.n->dead)
		return -ENOTCONN;
	if (!r.n->can_flush)
		return 0;
	return finish(&r, nbd_aio_flush(r.n->h, ON_DONE(&r), 0));
}

/* ---- block status ---- */

static int on_extents(void *arg, const char *context, uint64_t off,
		      uint32_t *entries, size_t nr, int *error)
{
	struct request *r = arg;
	struct nbd_node *n = r->n;

	(void)error;
	if (strcmp(context, CONTEXT) || n->generation != r->generation)
		return 0;
	n->nr_extents = 0;
	n->extents_off = off;
	n->extents_ns = loop_now_ns();
	for (size_t i = 0; i + 1 < nr && n->nr_extents < EXTENTS_MAX; i += 2) {
		if (!entries[i])
			break;
		off += entries[i];
		n->extents[n->nr_extents++] =
			(struct extent){off, entries[i + 1]};
	}
	return 0;
}

static const struct extent *find_extent(struct nbd_node *n, uint64_t off)
{
	unsigned low = 0, high = n->nr_extents;

	if (!high || off < n->extents_off ||
	    loop_now_ns() - n->extents_ns > EXTENTS_NS)
		return NULL;
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (n->extents[middle].end > off)
			high = middle;
		else
			low = middle + 1;
	}
	return low < n->nr_extents ? &n->extents[low] : NULL;
}

static int ask_extents(struct blk *b, uint64_t off)
{
	struct request r = begin(b);
	uint64_t len = b->len - off;
	nbd_extent_callback extents = {on_extents, &r, NULL};

	if (r.n->dead)
		return -ENOTCONN;
	r.generation = r.n->generation;
	return finish(&r, nbd_aio_block_status(
				  r.n->h, len < RANGE_MAX ? len : RANGE_MAX,
				  off, extents, ON_DONE(&r), 0));
}

static int node_status(struct blk *b, uint64_t off, uint64_t len,
		       uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct nbd_node *n = b->priv;
	const struct extent *x = find_extent(n, off);
	int flags, ret = 0;

	*map = off;
	*file = b;
	*pnum = len;
	if (!x && n->can_status && off < b->len) {
		ret = ask_extents(b, off);
		x = find_extent(n, off);
	}
	if (ret)
		return ret;
	if (!x)
		return BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID;
	flags = x->flags & EXTENT_ZERO ? BLK_STATUS_ZERO : 0;
	/* A hole that need not read as zeroes is data for the layers above. */
	if (!(x->flags & EXTENT_HOLE) || !flags)
		flags |= BLK_STATUS_DATA;
	if (x->end < b->len && x->end - off < len)
		*pnum = (x->end - off) & ~(uint64_t)(b->align - 1);
	if (!*pnum) {
		*pnum = b->align;
		flags = BLK_STATUS_DATA;
	}
	return flags | BLK_STATUS_OFFSET_VALID;
}

/* ---- opening and closing ---- */

struct connecting {
	struct nbd_address address;
	struct error *e;
};

static int connect_call(void *arg)
{
	struct connecting *c = arg;

	return nbd_socket_connect(&c->address, c->e);
}

static int lib_error(struct error *e, int otherwise)
{
	int err = nbd_get_errno();

	return error_set(e, err ? -err : -otherwise, "%s", reason());
}

static void deadline(void *arg)
{
	struct nbd_node *n = arg;

	if (n->opener)
		co_wake(n->opener);
}

/* Drives the handshake to its end, one way or the other. */
static int shake_hands(struct blk *b, struct error *e)
{
	struct nbd_node *n = b->priv;
	uint64_t until = loop_now_ns() + HANDSHAKE_NS;
	struct loop_timer timer;

	loop_timer_init(&timer, n->loop, deadline, n);
	loop_timer_set(&timer, until);
	follow(n);
	while (!n->dead && !nbd_aio_is_ready(n->h) && loop_now_ns() < until) {
		n->opener = co_self();
		co_yield ();
		n->opener = NULL;
	}
	loop_timer_stop(&timer);
	if (n->dead)
		return error_set(e, -ECONNRESET, "%s",
				 n->why ? n->why : "the server hung up");
	if (!nbd_aio_is_ready(n->h))
		return error_set(e, -ETIMEDOUT,
				 "the server did not greet within %llu "
				 "seconds; is it one for NBD?",
				 HANDSHAKE_NS / 1000000000);
	return 0;
}

static int take_alignment(struct blk *b, struct error *e)
{
	struct nbd_node *n = b->priv;
	int64_t min = nbd_get_block_size(n->h, LIBNBD_SIZE_MINIMUM);
	int64_t max = nbd_get_block_size(n->h, LIBNBD_SIZE_MAXIMUM);

	/* Unsaid, it is 512, as the protocol document recommends. */
	if (min <= 0)
		min = b->len % 512 ? 1 : 512;
	if (min > ALIGN_MAX || (min & (min - 1)))
		return error_set(e, -EINVAL,
				 "the server wants blocks of %lld bytes, "
				 "which is not a power of two up to %d",
				 (long long)min, ALIGN_MAX);
	if (b->len % min)
		return error_set(e, -EINVAL,
				 "the export's size, %llu bytes, is not a "
				 "multiple of its block size %lld",
				 (unsigned long long)b->len, (long long)min);
	b->align = min;
	n->transfer_max = TRANSFER_MAX;
	if (max > 0 && max < TRANSFER_MAX)
		n->transfer_max = max < min ? min : max & ~(min - 1);
	return 0;
}

static int take_facts(struct blk *b, const struct blk_options *o,
		      struct error *e)
{
	struct nbd_node *n = b->priv;
	int64_t len = nbd_get_size(n->h);

	if (len < 0)
		return lib_error(e, EOVERFLOW);
	b->len = len;
	n->read_only = nbd_is_read_only(n->h) == 1;
	n->can_flush = nbd_can_flush(n->h) == 1;
	n->can_fua = nbd_can_fua(n->h) == 1;
	n->can_trim = nbd_can_trim(n->h) == 1;
	n->can_zero = nbd_can_zero(n->h) == 1;
	n->can_fast_zero = nbd_can_fast_zero(n->h) == 1;
	n->can_status = nbd_can_meta_context(n->h, CONTEXT) == 1;
	if (o->write && n->read_only)
		return error_set(e, -EACCES, "Could not open image: %s",
				 strerror(EACCES));
	return take_alignment(b, e);
}

/* One server, one name, however it was written. */
static int take_name(struct blk *b, const struct nbd_address *a,
		     struct error *e)
{
	char *name = nbd_address_uri(a);

	if (!name)
		return error_set(e, -ENOMEM, "no memory for a name");
	free(b->name);
	b->name = name;
	b->options.path = name;
	return 0;
}

static int start(struct blk *b, int fd, const struct nbd_address *a,
		 struct error *e)
{
	struct nbd_node *n = b->priv;

	n->h = nbd_create();
	n->watch = (struct loop_fd){.fd = dup(fd), .fn = on_socket, .arg = n};
	if (!n->h || n->watch.fd < 0) {
		close(fd);
		return error_set(e, -ENOMEM, "no memory to open '%s'", b->name);
	}
	if (nbd_set_export_name(n->h, a->export) ||
	    nbd_add_meta_context(n->h, CONTEXT)) {
		close(fd);
		return lib_error(e, EINVAL);
	}
	/* It owns the socket from here on. */
	if (nbd_aio_connect_socket(n->h, fd))
		return lib_error(e, EIO);
	return shake_hands(b, e);
}

static void node_end(struct blk *b)
{
	struct nbd_node *n = b->priv;

	if (n->h && !n->dead)
		nbd_aio_disconnect(n->h, 0);
	unwatch(n);
	if (n->watch.fd > 0)
		close(n->watch.fd);
	nbd_close(n->h);
	free(n->why);
}

static int node_open(struct blk *b, const struct blk_options *o,
		     struct error *e)
{
	struct nbd_node *n = b->priv;
	struct connecting c = {.e = e};
	int ret = nbd_address_parse(o->path, &c.address, e);

	n->loop = b->ctx->loop;
	if (ret)
		goto out;
	ret = co_worker(b->ctx, connect_call, &c);
	if (ret < 0)
		goto out;
	ret = start(b, ret, &c.address, e);
	if (!ret)
		ret = take_name(b, &c.address, e);
	if (!ret)
		ret = take_facts(b, o, e);
	if (ret)
		node_end(b);
out:
	nbd_address_fini(&c.address);
	return ret;
}

static int node_set_write(struct blk *b, bool write, struct error *e)
{
	struct nbd_node *n = b->priv;

	if (write && n->read_only)
		return error_set(e, -EACCES,
				 "'%s': the server exports it for reading only",
				 b->name);
	return 0;
}

static int node_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			 bool allow_shrink, struct error *e)
{
	(void)allow_shrink;
	if (len == b->len && mode == BLK_PREALLOC_OFF)
		return 0;
	return error_set(e, -ENOTSUP, "Cannot resize NBD nodes");
}

const struct blk_driver blk_nbd_driver = {
	.name = "nbd",
	.priv_len = sizeof(struct nbd_node),
	.open = node_open,
	.close = node_end,
	.readv = node_readv,
	.writev = node_writev,
	.write_zeroes = node_write_zeroes,
	.discard = node_discard,
	.flush = node_flush,
	.status = node_status,
	.set_write = node_set_write,
	.truncate = node_truncate,
};

int nbd_export_prepare(struct blk_ctx *ctx, const char *path, uint64_t len,
		       struct error *e)
{
	struct blk_options o = {.path = path, .format = "file", .write = true};
	struct blk *b = blk_open(ctx, &o, e);
	uint64_t first;
	int ret = 0, closed;

	if (!b)
		return error_prefix(e, -EIO,
				    "an NBD server makes no exports, and this "
				    "one can't be used");
	if (len > b->len)
		ret = error_set(e, -ENOSPC,
				"Cannot grow NBD nodes: '%s' has %llu bytes, "
				"%llu are needed",
				path, (unsigned long long)b->len,
				(unsigned long long)len);
	/* What an old image left there must not be taken for the new one. */
	first = b->len < ALIGN_MAX ? b->len : ALIGN_MAX;
	if (!ret)
		ret = blk_write_zeroes(b, 0, first, 0);
	closed = blk_unref(b);
	ret = ret ? ret : closed;
	if (ret && len <= (uint64_t)INT64_MAX && e && !e->code)
		error_errno(e, -ret, "Could not write to '%s'", path);
	return ret;
}
