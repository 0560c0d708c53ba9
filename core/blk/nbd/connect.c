#include "core/blk/nbd/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/blk/nbd/address.h"
#include "core/error.h"

#define CONNECT_MS 30000
#define ALIVE_SEC  60 /* without an answer: the other host is gone */

int nbd_socket_unix(const char *path, struct sockaddr_un *out, struct error *e)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(out->sun_path))
		return error_set(e, -ENAMETOOLONG,
				 "the socket's path '%s' is longer than %zu "
				 "bytes",
				 path, sizeof(out->sun_path) - 1);
	strcpy(out->sun_path, path);
	return 0;
}

void nbd_socket_tune(int fd)
{
	int on = 1, idle = ALIVE_SEC / 2, every = ALIVE_SEC / 6, count = 3;
	unsigned unacked_ms = ALIVE_SEC * 1000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms,
		   sizeof(unacked_ms));
}

/* 0 or -errno; the socket stays non-blocking. */
static int connect_within(int fd, const struct sockaddr *to, socklen_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int err = 0;

	if (!connect(fd, to, len))
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	if (poll(&p, 1, CONNECT_MS) != 1)
		return -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size))
		return -errno;
	return -err;
}

static int try_connect(int family, const struct sockaddr *to, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	ret = connect_within(fd, to, len);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

static int connect_tcp(const struct nbd_address *a, struct error *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int ret = getaddrinfo(a->host, a->port, &hints, &list);

	if (ret)
		return error_set(e, -EHOSTUNREACH,
				 "address resolution failed for %s:%s: %s",
				 a->host, a->port, gai_strerror(ret));
	ret = -EHOSTUNREACH;
	for (struct addrinfo *i = list; i && ret < 0; i = i->ai_next)
		ret = try_connect(i->ai_family, i->ai_addr, i->ai_addrlen);
	freeaddrinfo(list);
	if (ret < 0)
		return error_errno(e, -ret, "Failed to connect to '%s:%s'",
				   a->host, a->port);
	nbd_socket_tune(ret);
	return ret;
}

int nbd_socket_connect(const struct nbd_address *a, struct error *e)
{
	struct sockaddr_un to;
	int ret;

	if (!a->socket)
		return connect_tcp(a, e);
	ret = nbd_socket_unix(a->socket, &to, e);
	if (ret)
		return ret;
	ret = try_connect(AF_UNIX, (struct sockaddr *)&to, sizeof(to));
	if (ret < 0)
		error_errno(e, -ret, "Failed to connect to '%s'", a->socket);
	return ret;
}
