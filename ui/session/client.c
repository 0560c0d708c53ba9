#include "ui/session/client.h"

#include <errno.h>
#include <json-c/json.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "core/error.h"
#include "ui/session/socket.h"

/* Leaves the alternate screen and shows the cursor, in case the session died
 * without doing so; every terminal that knows these has them so. */
static const char rescue[] = "\033[?1000l\033[?1049l\033[?25h\033[0m\r\n";

static int send_attach(struct channel *c)
{
	struct json_object *o = json_object_new_object();
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	json_object_object_add(o, "request", json_object_new_string("attach"));
	json_object_object_add(o, "term",
			       json_object_new_string(term ? term : ""));
	json_object_object_add(
		o, "ascii",
		json_object_new_boolean(strcmp(nl_langinfo(CODESET), "UTF-8") !=
					0));
	json_object_object_add(o, "no_color",
			       json_object_new_boolean(no_color && *no_color));
	return channel_send(c, o, STDIN_FILENO);
}

static int send_resize(struct channel *c)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "request", json_object_new_string("resize"));
	return channel_send(c, o, -1);
}

/* Reads what the session says; 1: it is over, *e tells a refusal. */
static int listen_to(struct channel *c, char *why, size_t len, struct error *e)
{
	int ret = channel_read(c);
	struct json_object *o, *v;
	bool bad;

	while ((o = channel_next(c, &bad)) != NULL) {
		if (json_object_object_get_ex(o, "error", &v)) {
			error_set(e, -ENOTTY, "%s", json_object_get_string(v));
			ret = 1;
		} else if (json_object_object_get_ex(o, "why", &v)) {
			snprintf(why, len, "%s", json_object_get_string(v));
			ret = 1;
		}
		json_object_put(o);
	}
	return ret;
}

static int wait_for_end(struct channel *c, int signals, struct error *e)
{
	struct pollfd p[] = {{c->fd, POLLIN, 0}, {signals, POLLIN, 0}};
	struct signalfd_siginfo info;
	char why[160] = "";
	int ret;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return error_errno(e, errno, "waiting");
		if (p[1].revents &&
		    read(signals, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo != SIGWINCH)
				return 0;
			send_resize(c);
		}
		if (!p[0].revents)
			continue;
		ret = listen_to(c, why, sizeof(why), e);
		if (ret == 1 && why[0])
			/* Not every terminal takes its old screen back. */
			printf("\r\033[K[binnacle: %s]\n", why);
		if (ret == 1)
			return e->code;
		if (ret)
			return error_set(e, ret,
					 "the session has died; its last words "
					 "are in the file 'session.log' beside "
					 "its socket");
	}
}

int client_attach(struct channel *c, struct error *e)
{
	struct termios saved;
	struct error why = {0};
	sigset_t set;
	int signals, ret;

	if (tcgetattr(STDIN_FILENO, &saved))
		return error_set(e, -ENOTTY,
				 "standard input is no terminal; run this in a "
				 "terminal, or play a script: "
				 "BINNACLE_SCRIPT=FILE");
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	ret = send_attach(c);
	if (ret)
		return error_errno(e, -ret, "talking to the session");
	ret = wait_for_end(c, signals, &why);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	if (ret == -EPIPE || ret == -ECONNRESET)
		if (write(STDOUT_FILENO, rescue, sizeof(rescue) - 1) < 0)
			ret = -EPIPE;
	close(signals);
	if (ret && e)
		*e = why;
	return ret;
}
