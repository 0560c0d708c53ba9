/*
 * server: listening sockets, connections and what they share.
 */
#include "core/blk/nbd/server.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/blk/ctx.h"
#include "core/blk/nbd/address.h"
#include "core/blk/nbd/conn.h"
#include "core/blk/nbd/connect.h"
#include "core/blk/nbd/proto.h"
#include "core/error.h"

#define NEGOTIATE_NS  (30ull * 1000000000)
#define ACCEPT_NS     1000000000ull /* until the next try without memory */
#define BACKLOG	      64
#define LISTENERS_MAX 16

struct listener {
	struct nbd_server *server;
	struct loop_fd watch;
	char *path; /* of a Unix socket, to be removed; or NULL */
};

struct nbd_server {
	struct blk_ctx *ctx;
	struct nbd_server_config cfg;
	struct nbd_export *exports, **exports_end;
	struct listener listeners[LISTENERS_MAX];
	unsigned nr_listeners;
	bool listening; /* the listeners are watched */
	bool stopping;
	struct loop_timer again;
	struct nbd_conn *conns;
	unsigned nr_conns;
	struct co_queue gone; /* for nr_conns to become 0 */
};

/* ---- the socket of a connection ---- */

static void watch(struct nbd_conn *c, uint32_t events)
{
	if (c->watch.events == events)
		return;
	if (c->watch.events)
		loop_fd_remove(c->server->ctx->loop, &c->watch);
	c->watch.events = events;
	if (events && loop_fd_add(c->server->ctx->loop, &c->watch)) {
		c->watch.events = 0;
		c->broken = true;
	}
}

/* What nobody waits for any more is not watched until somebody does. */
static void on_conn(void *arg, uint32_t events)
{
	struct nbd_conn *c = arg;
	uint32_t over = EPOLLHUP | EPOLLERR, keep = c->watch.events;

	if (events & (EPOLLIN | over)) {
		if (c->reader)
			co_wake(c->reader);
		else
			keep &= ~(uint32_t)EPOLLIN;
	}
	if (events & (EPOLLOUT | over)) {
		if (c->writer)
			co_wake(c->writer);
		else
			keep &= ~(uint32_t)EPOLLOUT;
	}
	watch(c, keep);
}

static int sleep_as(struct nbd_conn *c, struct co **who, uint32_t event)
{
	watch(c, c->watch.events | event);
	if (c->broken)
		return -ECONNRESET;
	*who = co_self();
	co_yield ();
	*who = NULL;
	return c->broken ? -ECONNRESET : 0;
}

/* At least one byte; what there is. */
static ssize_t receive(struct nbd_conn *c, void *buf, size_t len)
{
	for (;;) {
		ssize_t n = recv(c->watch.fd, buf, len, 0);
		int ret;

		if (n > 0)
			return n;
		if (!n)
			return -ECONNRESET;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ret = sleep_as(c, &c->reader, EPOLLIN);
		if (ret)
			return ret;
	}
}

int nbd_conn_recv(struct nbd_conn *c, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len) {
		size_t have = c->in_len - c->in_at;
		ssize_t n;

		if (c->broken)
			return -ECONNRESET;
		if (have) {
			n = have < len ? have : len;
			memcpy(to, c->in + c->in_at, n);
			c->in_at += n;
		} else if (len >= CONN_BUFFER) {
			n = receive(c, to, len);
			if (n < 0)
				return n;
		} else {
			n = receive(c, c->in, CONN_BUFFER);
			if (n < 0)
				return n;
			c->in_at = 0;
			c->in_len = n;
			continue;
		}
		to += n;
		len -= n;
	}
	return 0;
}

int nbd_conn_skip(struct nbd_conn *c, uint64_t len)
{
	uint8_t junk[4096];
	int ret = 0;

	while (len && !ret) {
		size_t part = len < sizeof(junk) ? len : sizeof(junk);

		ret = nbd_conn_recv(c, junk, part);
		len -= part;
	}
	return ret;
}

static int send_all(struct nbd_conn *c, struct iovec *iov, int nr)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = nr};

	while (m.msg_iovlen && !c->broken) {
		ssize_t n = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			n = sleep_as(c, &c->writer, EPOLLOUT);
		else if (n < 0)
			n = errno == EINTR ? 0 : -errno;
		if (n < 0)
			return n;
		for (; m.msg_iovlen && (size_t)n >= m.msg_iov->iov_len;
		     m.msg_iovlen--)
			n -= m.msg_iov++->iov_len;
		if (m.msg_iovlen) {
			m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + n;
			m.msg_iov->iov_len -= n;
		}
	}
	return c->broken ? -ECONNRESET : 0;
}

/* Whatever waits for the socket fails from here on. */
static void conn_break(struct nbd_conn *c)
{
	if (c->broken)
		return;
	c->broken = true;
	shutdown(c->watch.fd, SHUT_RDWR);
	if (c->reader)
		co_wake(c->reader);
	if (c->writer)
		co_wake(c->writer);
}

int nbd_conn_send(struct nbd_conn *c, struct iovec *iov, int nr)
{
	int ret;

	co_lock(&c->sending);
	ret = send_all(c, iov, nr);
	co_unlock(&c->sending);
	if (ret)
		conn_break(c);
	return ret;
}

/* ---- connections ---- */

static void resume_listening(struct nbd_server *s);

static void conn_free(struct nbd_conn *c)
{
	struct nbd_server *s = c->server;
	struct nbd_conn **p = &s->conns;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	watch(c, 0);
	close(c->watch.fd);
	free(c->in);
	free(c);
	s->nr_conns--;
}

static void conn_run(void *arg)
{
	struct nbd_conn *c = arg;
	struct nbd_server *s = c->server;
	bool negotiated = nbd_conn_negotiate(c);

	loop_timer_stop(&c->deadline);
	if (negotiated)
		nbd_conn_serve(c);
	conn_free(c);
	if (!s->stopping)
		resume_listening(s);
	if (s->cfg.client_gone)
		s->cfg.client_gone(s->cfg.arg, negotiated, s->nr_conns);
	if (!s->nr_conns)
		co_wake_all(&s->gone);
}

static void on_deadline(void *arg)
{
	conn_break(arg);
}

/* Takes the socket in any case. */
static void conn_start(struct nbd_server *s, int fd)
{
	struct nbd_conn *c = calloc(1, sizeof(*c));
	struct loop *loop = s->ctx->loop;

	if (c)
		c->in = malloc(CONN_BUFFER);
	if (!c || !c->in)
		goto no_memory;
	nbd_socket_tune(fd);
	c->server = s;
	c->watch = (struct loop_fd){.fd = fd, .fn = on_conn, .arg = c};
	c->next = s->conns;
	s->conns = c;
	s->nr_conns++;
	loop_timer_init(&c->deadline, loop, on_deadline, c);
	loop_timer_set(&c->deadline, loop_now_ns() + NEGOTIATE_NS);
	if (co_start(s->ctx, conn_run, c)) {
		loop_timer_stop(&c->deadline);
		conn_free(c);
	}
	return;

no_memory:
	if (c)
		free(c->in);
	free(c);
	close(fd);
}

/* ---- listening ---- */

static void pause_listening(struct nbd_server *s)
{
	for (unsigned i = 0; s->listening && i < s->nr_listeners; i++)
		loop_fd_remove(s->ctx->loop, &s->listeners[i].watch);
	s->listening = false;
}

static bool is_full(struct nbd_server *s)
{
	return s->cfg.max_clients && s->nr_conns >= s->cfg.max_clients;
}

static void resume_listening(struct nbd_server *s)
{
	if (s->listening || is_full(s))
		return;
	for (unsigned i = 0; i < s->nr_listeners; i++)
		loop_fd_add(s->ctx->loop, &s->listeners[i].watch);
	s->listening = true;
}

static void on_again(void *arg)
{
	resume_listening(arg);
}

static void on_listener(void *arg, uint32_t events)
{
	struct listener *l = arg;
	struct nbd_server *s = l->server;
	int fd = accept4(l->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		conn_start(s, fd);
		if (is_full(s))
			pause_listening(s);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		   errno == ENOBUFS) {
		pause_listening(s);
		loop_timer_set(&s->again, loop_now_ns() + ACCEPT_NS);
	}
}

/* Is the file at path a socket that nobody listens at any more? */
static bool is_stale(const struct sockaddr_un *at)
{
	struct stat st;
	int fd, ret;

	if (lstat(at->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ret = fd < 0 ? -1
		     : connect(fd, (const struct sockaddr *)at, sizeof(*at));
	ret = ret && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return ret;
}

static int open_unix(const char *path, struct error *e)
{
	struct sockaddr_un at;
	int fd, ret = nbd_socket_unix(path, &at, e);

	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(e, errno, "Failed to create a socket");
	if (is_stale(&at))
		unlink(path);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		ret = error_errno(e, errno, "Failed to bind socket to %s",
				  path);
	} else if (listen(fd, BACKLOG)) {
		ret = error_errno(e, errno, "Failed to listen on socket");
		unlink(path);
	}
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

static int open_one_tcp(const struct addrinfo *a)
{
	int on = 1, ret;
	int fd = socket(a->ai_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, BACKLOG))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* ---- the server ---- */

static int add_listener(struct nbd_server *s, int fd, const char *path,
			struct error *e)
{
	struct listener *l = &s->listeners[s->nr_listeners];

	if (s->nr_listeners == LISTENERS_MAX) {
		close(fd);
		return error_set(e, -ENOSPC, "more than %d listening sockets",
				 LISTENERS_MAX);
	}
	pause_listening(s);
	*l = (struct listener){.server = s,
			       .watch = {.fd = fd,
					 .events = EPOLLIN,
					 .fn = on_listener,
					 .arg = l},
			       .path = path ? strdup(path) : NULL};
	s->nr_listeners++;
	resume_listening(s);
	return 0;
}

static int listen_tcp(struct nbd_server *s, const struct nbd_address *a,
		      struct error *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE},
			*list = NULL;
	int ret = getaddrinfo(a->host, a->port, &hints, &list), added = 0;

	if (ret)
		return error_set(e, -EADDRNOTAVAIL,
				 "address resolution failed for %s:%s: %s",
				 a->host, a->port, gai_strerror(ret));
	for (struct addrinfo *i = list; i; i = i->ai_next) {
		int fd = open_one_tcp(i);

		if (fd < 0)
			ret = fd;
		else if (!add_listener(s, fd, NULL, e))
			added++;
	}
	freeaddrinfo(list);
	if (added)
		return 0;
	return error_errno(e, -ret, "Failed to bind socket to %s:%s", a->host,
			   a->port);
}

int nbd_server_listen(struct nbd_server *s, const struct nbd_address *a,
		      struct error *e)
{
	int fd;

	if (!a->socket)
		return listen_tcp(s, a, e);
	fd = open_unix(a->socket, e);
	return fd < 0 ? fd : add_listener(s, fd, a->socket, e);
}

struct nbd_server *nbd_server_create(struct blk_ctx *ctx,
				     const struct nbd_server_config *cfg,
				     struct error *e)
{
	struct nbd_server *s = calloc(1, sizeof(*s));

	if (!s) {
		error_set(e, -ENOMEM, "no memory for a server");
		return NULL;
	}
	s->ctx = ctx;
	s->cfg = *cfg;
	s->exports_end = &s->exports;
	loop_timer_init(&s->again, ctx->loop, on_again, s);
	return s;
}

static void export_free(struct nbd_export *x)
{
	free(x->name);
	free(x->description);
	free(x);
}

int nbd_server_add_export(struct nbd_server *s,
			  const struct nbd_export_config *cfg, struct error *e)
{
	uint64_t len = blk_len(cfg->blk);
	struct nbd_export *x;

	if (strlen(cfg->name) > NBD_STRING_MAX ||
	    (cfg->description && strlen(cfg->description) > NBD_STRING_MAX))
		return error_set(e, -ENAMETOOLONG,
				 "export name or description is longer than %d "
				 "bytes",
				 NBD_STRING_MAX);
	if (nbd_server_find(s, cfg->name))
		return error_set(e, -EEXIST, "there is an export '%s' already",
				 cfg->name);
	if (cfg->off > len || cfg->len > len - cfg->off)
		return error_set(e, -EINVAL,
				 "the disk has %llu bytes; an export can't "
				 "reach beyond them",
				 (unsigned long long)len);
	if (cfg->write && !blk_writable(cfg->blk))
		return error_set(e, -EROFS, "'%s' is open for reading only",
				 blk_name(cfg->blk));
	x = calloc(1, sizeof(*x));
	if (x) {
		x->name = strdup(cfg->name);
		if (cfg->description)
			x->description = strdup(cfg->description);
	}
	if (!x || !x->name || (cfg->description && !x->description)) {
		if (x)
			export_free(x);
		return error_set(e, -ENOMEM, "no memory for an export");
	}
	x->blk = blk_ref(cfg->blk);
	x->off = cfg->off;
	x->len = cfg->len ? cfg->len : len - cfg->off;
	x->write = cfg->write;
	x->write_through = cfg->write_through;
	*s->exports_end = x;
	s->exports_end = &x->next;
	return 0;
}

void nbd_server_destroy(struct nbd_server *s)
{
	if (!s)
		return;
	s->stopping = true;
	pause_listening(s);
	loop_timer_stop(&s->again);
	for (unsigned i = 0; i < s->nr_listeners; i++) {
		struct listener *l = &s->listeners[i];

		close(l->watch.fd);
		if (l->path)
			unlink(l->path);
		free(l->path);
	}
	for (struct nbd_conn *c = s->conns; c; c = c->next)
		conn_break(c);
	while (s->nr_conns)
		co_wait(&s->gone, NULL);
	while (s->exports) {
		struct nbd_export *x = s->exports;

		s->exports = x->next;
		blk_unref(x->blk);
		export_free(x);
	}
	free(s);
}

/* ---- for the connections ---- */

struct nbd_export *nbd_server_find(struct nbd_server *s, const char *name)
{
	struct nbd_export *x = s->exports;

	while (x && strcmp(x->name, name))
		x = x->next;
	return x;
}

struct nbd_export *nbd_server_next(struct nbd_server *s, struct nbd_export *x)
{
	return x ? x->next : s->exports;
}

uint16_t nbd_conn_flags(struct nbd_conn *c, const struct nbd_export *x)
{
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_FLUSH | NBD_FLAG_FUA |
			 NBD_FLAG_CACHE;

	if (x->write)
		flags |= NBD_FLAG_TRIM | NBD_FLAG_WRITE_ZEROES |
			 NBD_FLAG_FAST_ZERO;
	else
		flags |= NBD_FLAG_READ_ONLY;
	if (c->structured)
		flags |= NBD_FLAG_DF;
	/* All connections share the node: a flush of one is one of all. */
	if (c->server->cfg.max_clients != 1)
		flags |= NBD_FLAG_MULTI_CONN;
	return flags;
}

struct blk_ctx *nbd_server_ctx(struct nbd_server *s)
{
	return s->ctx;
}
