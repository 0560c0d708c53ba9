/*
 * binnacle nbd --machine: asks the running session to serve one of a machine's
 * disks as it is now.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "ui/cli/cli.h"
#include "ui/session/session.h"

#define PATIENCE_MS 5000
#define PAUSE_MS    20

struct export
{
	const char *machine; /* NAME[:DISK] */
	const char *socket, *host, *port;
	bool end;
};

static bool answers_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	ok = fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof(a));
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool answers_tcp(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *a;
	bool ok = false;

	if (getaddrinfo(host, port, &hints, &list))
		return false;
	for (a = list; a && !ok; a = a->ai_next) {
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		ok = fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen);
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	return ok;
}

/* The session does it soon; what stood in the way is in its log. */
static int wait_until_served(const struct export *x, struct error *e)
{
	for (int ms = 0; ms < PATIENCE_MS; ms += PAUSE_MS) {
		if (x->socket ? answers_unix(x->socket)
			      : answers_tcp(x->host, x->port))
			return 0;
		usleep(PAUSE_MS * 1000);
	}
	return error_set(e, -ETIMEDOUT,
			 "'%s' is not served: the session's log tells why "
			 "(binnacle attach)",
			 x->machine);
}

static int ask_session(const struct export *x, struct error *e)
{
	bool has_disk = strchr(x->machine, ':');
	char line[PATH_MAX + 256];
	int ret;

	if (x->end)
		snprintf(line, sizeof(line), "disk %s%s end-export", x->machine,
			 has_disk ? "" : ":0");
	else if (x->socket)
		snprintf(line, sizeof(line), "disk %s%s export nbd:unix:%s",
			 x->machine, has_disk ? "" : ":0", x->socket);
	else
		snprintf(line, sizeof(line), "disk %s%s export nbd:%s:%s",
			 x->machine, has_disk ? "" : ":0", x->host, x->port);
	ret = session_command(line, stdout, e);
	return ret || x->end ? ret : wait_until_served(x, e);
}

int cli_export(int argc, char **argv)
{
	static const struct option options[] = {
		{"machine", required_argument, NULL, 'm'},
		{"socket", required_argument, NULL, 'k'},
		{"bind", required_argument, NULL, 'b'},
		{"port", required_argument, NULL, 'p'},
		{"end", no_argument, NULL, 'e'},
		{0}};
	struct export x = {.host = "127.0.0.1", .port = "10809"};
	struct error e = {0};
	int c;

	while ((c = getopt_long(argc, argv, "k:b:p:", options, NULL)) != -1) {
		if (c == 'm')
			x.machine = optarg;
		else if (c == 'k')
			x.socket = optarg;
		else if (c == 'b')
			x.host = optarg;
		else if (c == 'p')
			x.port = optarg;
		else if (c == 'e')
			x.end = true;
		else
			return 1;
	}
	if (optind < argc)
		error_set(&e, -EINVAL,
			  "'%s': with --machine the disk is named as "
			  "MACHINE:NUMBER",
			  argv[optind]);
	else if (x.socket && *x.socket != '/')
		error_set(&e, -EINVAL, "socket path must be absolute");
	else
		ask_session(&x, &e);
	return e.code ? cli_fail(&e) : 0;
}
