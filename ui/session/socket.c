#include "ui/session/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"

/* A peer that does not read its answers is given up after this. */
#define SEND_WAIT_MS 500

int socket_folder(char *buf, size_t len, struct error *e)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	int n;

	if (runtime && *runtime == '/')
		n = snprintf(buf, len, "%s/binnacle", runtime);
	else
		n = snprintf(buf, len, "/tmp/binnacle-%u", (unsigned)getuid());
	if (n < 0 || (size_t)n >= len)
		return error_set(e, -ENAMETOOLONG,
				 "XDG_RUNTIME_DIR is too long a path");
	if (mkdir(buf, 0700) && errno != EEXIST)
		return error_errno(e, errno, "making '%s'", buf);
	if (lstat(buf, &st))
		return error_errno(e, errno, "looking at '%s'", buf);
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() ||
	    (st.st_mode & 077) != 0)
		return error_set(e, -EPERM,
				 "'%s' must be a folder of yours that nobody "
				 "else can enter; remove it or chmod 700 it",
				 buf);
	return 0;
}

static int fill_address(struct sockaddr_un *sa, const char *folder,
			struct error *e)
{
	int n;

	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	n = snprintf(sa->sun_path, sizeof(sa->sun_path), "%s/session", folder);
	if (n < 0 || (size_t)n >= sizeof(sa->sun_path))
		return error_set(e, -ENAMETOOLONG,
				 "the path of the session's socket, "
				 "'%s/session', is too long; set "
				 "XDG_RUNTIME_DIR to a shorter folder",
				 folder);
	return 0;
}

int socket_connect(const char *folder, struct error *e)
{
	struct sockaddr_un sa;
	int fd, ret = fill_address(&sa, folder, e);

	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(e, errno, "making a socket");
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	ret = -errno;
	close(fd);
	if (ret == -ENOENT || ret == -ECONNREFUSED)
		return error_set(
			e, -ENOENT,
			"no session is running; 'binnacle' starts one");
	return error_errno(e, -ret, "connecting to the session");
}

int socket_listen(const char *folder, struct error *e)
{
	struct sockaddr_un sa;
	int fd, ret = fill_address(&sa, folder, e);

	if (ret)
		return ret;
	fd = socket_connect(folder, NULL);
	if (fd >= 0) {
		close(fd);
		return error_set(e, -EADDRINUSE,
				 "a session is running already");
	}
	unlink(sa.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_errno(e, errno, "making a socket");
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 8)) {
		ret = error_errno(e, errno, "listening at '%s'", sa.sun_path);
		close(fd);
		return ret;
	}
	return fd;
}

void socket_remove(const char *folder)
{
	struct sockaddr_un sa;

	if (!fill_address(&sa, folder, NULL))
		unlink(sa.sun_path);
}

int socket_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ||
	    (peer.uid != getuid() && peer.uid != 0)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

int channel_init(struct channel *c, int fd)
{
	*c = (struct channel){.fd = fd, .passed = -1};
	c->buf = malloc(SOCKET_LINE_MAX);
	return c->buf ? 0 : -ENOMEM;
}

void channel_fini(struct channel *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->passed >= 0)
		close(c->passed);
	free(c->buf);
	*c = (struct channel){.fd = -1, .passed = -1};
}

static void take_passed(struct channel *c, struct msghdr *msg)
{
	struct cmsghdr *cm;
	int fd;

	for (cm = CMSG_FIRSTHDR(msg); cm; cm = CMSG_NXTHDR(msg, cm)) {
		if (cm->cmsg_level != SOL_SOCKET ||
		    cm->cmsg_type != SCM_RIGHTS ||
		    cm->cmsg_len < CMSG_LEN(sizeof(fd)))
			continue;
		memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
		if (c->passed >= 0)
			close(c->passed);
		c->passed = fd;
	}
}

int channel_read(struct channel *c)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n;

	if (c->len == SOCKET_LINE_MAX)
		return -EMSGSIZE;
	iov.iov_base = c->buf + c->len;
	iov.iov_len = SOCKET_LINE_MAX - c->len;
	n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	take_passed(c, &msg);
	if (!n)
		return -EPIPE;
	c->len += (size_t)n;
	return 0;
}

struct json_object *channel_next(struct channel *c, bool *bad)
{
	struct json_object *o;
	char *end = memchr(c->buf, '\n', c->len);
	size_t n;

	*bad = false;
	if (!end)
		return NULL;
	*end = '\0';
	n = (size_t)(end - c->buf) + 1;
	o = json_tokener_parse(c->buf);
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		o = NULL;
		*bad = true;
	}
	memmove(c->buf, c->buf + n, c->len - n);
	c->len -= n;
	return o;
}

static int send_some(int fd, const char *text, size_t len, int pass)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	struct cmsghdr *cm;
	ssize_t n;

	if (pass >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &pass, sizeof(int));
	}
	n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	if (n >= 0)
		return (int)n;
	if (errno == EINTR)
		return 0;
	if (errno == EAGAIN && poll(&p, 1, SEND_WAIT_MS) == 1)
		return 0;
	return -errno;
}

int channel_send(struct channel *c, struct json_object *o, int pass)
{
	size_t len, done = 0;
	char *line;
	int n;

	n = asprintf(&line, "%s\n",
		     json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	if (n < 0)
		return -ENOMEM;
	len = (size_t)n;
	while (done < len) {
		n = send_some(c->fd, line + done, len - done, done ? -1 : pass);
		if (n < 0)
			break;
		done += (size_t)n;
	}
	free(line);
	return n < 0 ? n : 0;
}
