/* Where the server listens, and whom it lets in. */
#include "ui/vnc/vnc_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"

#define BASE_PORT    5900
#define BACKLOG	     8
#define RFB_PASSWORD 8 /* characters that count */

static int number(const char *text, unsigned long max, unsigned *out)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || n > max)
		return -EINVAL;
	*out = (unsigned)n;
	return 0;
}

/* "HOST:DISPLAY", "HOST::PORT", "[V6]:...": host may come out empty. */
static int split(const char *address, char *host, size_t len, unsigned *port)
{
	const char *end, *rest;
	bool bracket = address[0] == '[';

	end = bracket ? strchr(address, ']') : strchr(address, ':');
	if (!end)
		return -EINVAL;
	rest = end + bracket;
	address += bracket;
	if (*rest != ':' || (size_t)(end - address) >= len)
		return -EINVAL;
	snprintf(host, len, "%.*s", (int)(end - address), address);
	if (rest[1] == ':')
		return number(rest + 2, 65535, port);
	if (number(rest + 1, 65535 - BASE_PORT, port))
		return -EINVAL;
	*port += BASE_PORT;
	return 0;
}

static bool is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	if (sa->sa_family != AF_INET6)
		return false;
	return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
	       (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) &&
		in6->sin6_addr.s6_addr[12] == 127);
}

static int listen_on(struct vnc *v, const struct sockaddr *sa, socklen_t len,
		     const char *address, struct error *e)
{
	int one = 1, ret;

	v->listen_fd = socket(sa->sa_family,
			      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->listen_fd < 0)
		return error_errno(e, errno, "VNC: no socket");
	if (sa->sa_family != AF_UNIX)
		setsockopt(v->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one,
			   sizeof(one));
	if (bind(v->listen_fd, sa, len) || listen(v->listen_fd, BACKLOG)) {
		ret = error_errno(e, errno,
				  errno == EADDRINUSE
					  ? "VNC: can't listen on %s, choose "
					    "another display"
					  : "VNC: can't listen on %s",
				  address);
		close(v->listen_fd);
		v->listen_fd = -1;
		return ret;
	}
	return 0;
}

static int listen_unix(struct vnc *v, const char *path, struct error *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	mode_t mask;
	int ret;

	if (!path[0] || strlen(path) >= sizeof(sa.sun_path))
		return error_set(e, -EINVAL,
				 "VNC: the path of a Unix socket has 1 to %zu "
				 "characters",
				 sizeof(sa.sun_path) - 1);
	strcpy(sa.sun_path, path);
	mask = umask(0177);
	ret = listen_on(v, (struct sockaddr *)&sa, sizeof(sa), path, e);
	umask(mask);
	if (ret)
		return ret;
	snprintf(v->unix_path, sizeof(v->unix_path), "%s", path);
	snprintf(v->status.address, sizeof(v->status.address), "unix:%s", path);
	return 0;
}

static int resolve(const char *host, struct addrinfo **out, struct error *e)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE,
	};
	int ret;

	if (!host[0])
		host = "127.0.0.1";
	else if (!strcmp(host, "*"))
		host = "0.0.0.0";
	ret = getaddrinfo(host, "0", &hints, out);
	if (ret)
		return error_set(e, -EADDRNOTAVAIL, "VNC: host '%s': %s", host,
				 gai_strerror(ret));
	return 0;
}

static void fill_status(struct vnc *v)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[80] = "?";

	memset(&ss, 0, sizeof(ss));
	getsockname(v->listen_fd, (struct sockaddr *)&ss, &len);
	getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), NULL, 0,
		    NI_NUMERICHOST);
	v->status.port = ntohs(ss.ss_family == AF_INET6
				       ? ((struct sockaddr_in6 *)&ss)->sin6_port
				       : ((struct sockaddr_in *)&ss)->sin_port);
	snprintf(v->status.address, sizeof(v->status.address),
		 strchr(host, ':') ? "[%s]::%u" : "%s::%u", host,
		 v->status.port);
}

int vnc_listen(struct vnc *v, const char *address, struct error *e)
{
	struct addrinfo *ai;
	struct sockaddr_storage ss;
	char host[80];
	unsigned port;
	int ret;

	if (!strncmp(address, "unix:", 5))
		return listen_unix(v, address + 5, e);
	if (split(address, host, sizeof(host), &port))
		return error_set(e, -EINVAL,
				 "VNC: '%s' is no address: write "
				 "127.0.0.1:1 for port 5901, 127.0.0.1::5901, "
				 "or unix:PATH",
				 address);
	ret = resolve(host, &ai, e);
	if (ret)
		return ret;
	memcpy(&ss, ai->ai_addr, ai->ai_addrlen);
	if (ss.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&ss)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&ss)->sin_port = htons((uint16_t)port);
	if (!is_loopback((struct sockaddr *)&ss) && !v->password[0])
		ret = error_set(e, -EACCES,
				"VNC: %s would let anybody on the network use "
				"the guest: give a password file, or listen "
				"on 127.0.0.1",
				address);
	else
		ret = listen_on(v, (struct sockaddr *)&ss, ai->ai_addrlen,
				address, e);
	freeaddrinfo(ai);
	if (!ret)
		fill_status(v);
	return ret;
}

int vnc_read_password(struct vnc *v, const char *path, struct error *e)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	bool got;

	if (!f)
		return error_errno(e, errno, "VNC: password file '%s'", path);
	got = fgets(v->password, sizeof(v->password), f) != NULL;
	if (!fstat(fileno(f), &st) && (st.st_mode & 077))
		log_write(v->log, LOG_LEVEL_WARN, "vnc",
			  "others may read the password file '%s': chmod 600 "
			  "helps",
			  path);
	fclose(f);
	v->password[strcspn(v->password, "\r\n")] = 0;
	if (!got || !v->password[0])
		return error_set(e, -EINVAL,
				 "VNC: the first line of '%s' is empty, a "
				 "password was expected there",
				 path);
	if (strlen(v->password) > RFB_PASSWORD)
		log_write(v->log, LOG_LEVEL_WARN, "vnc",
			  "of the password only the first %d characters count",
			  RFB_PASSWORD);
	return 0;
}
