/* Starting a session in the background, finding it, asking it things. */
#include "ui/session/session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <locale.h>
#include <langinfo.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/vm.h"
#include "ui/session/client.h"
#include "ui/session/config_json.h"
#include "ui/session/server.h"
#include "ui/session/socket.h"
#include "ui/term/canvas.h"

#define FOLDER_LEN 200

/* ---- in this process ---- */

static int run_here(const struct session_options *o,
		    const struct vm_config *cfg, struct error *e)
{
	bool shown = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	struct server_options so = {.share = o->share,
				    .listen_fd = -1,
				    .script = o->script,
				    .tty = shown ? STDIN_FILENO : -1};
	struct server *s = server_create(&so, e);
	int ret = 0;

	if (!s)
		return e->code;
	if (cfg)
		ret = server_run_machine(s, cfg, e);
	if (!ret)
		ret = server_loop(s, e);
	server_destroy(s);
	return ret;
}

/* ---- in the background ---- */

/* The session speaks Unicode whatever the locale of the shell that happened to
 * start it; each terminal says for itself what it can show. */
static void speak_unicode(void)
{
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
}

static void leave_terminal(const char *folder)
{
	char path[FOLDER_LEN + 16];
	int null = open("/dev/null", O_RDWR), words;

	setsid();
	snprintf(path, sizeof(path), "%s/session.log", folder);
	words = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	dup2(null, STDIN_FILENO);
	dup2(words >= 0 ? words : null, STDOUT_FILENO);
	dup2(words >= 0 ? words : null, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

static int background(const struct session_options *o, const char *folder,
		      int listen_fd)
{
	struct server_options so = {.share = o->share,
				    .folder = folder,
				    .listen_fd = listen_fd,
				    .tty = -1};
	struct error e = {0};
	struct server *s;
	int ret;

	leave_terminal(folder);
	speak_unicode();
	s = server_create(&so, &e);
	ret = s ? server_loop(s, &e) : e.code;
	socket_remove(folder);
	server_destroy(s);
	if (ret)
		fprintf(stderr, "binnacle: %s\n", e.msg);
	return ret ? 1 : 0;
}

/* The socket listens before the fork, so the client can connect at once. */
static int start_background(const struct session_options *o, const char *folder,
			    struct error *e)
{
	int fd = socket_listen(folder, e);
	pid_t pid;

	if (fd == -EADDRINUSE)
		return 0;
	if (fd < 0)
		return fd;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		close(fd);
		return error_errno(e, errno, "starting the session");
	}
	if (!pid)
		exit(background(o, folder, fd));
	close(fd);
	return 0;
}

/* Connects, to a new session if there is none and `start` says so. */
static int reach(const struct session_options *o, bool start, struct channel *c,
		 struct error *e)
{
	char folder[FOLDER_LEN];
	int fd, ret;

	signal(SIGPIPE, SIG_IGN);
	*c = (struct channel){.fd = -1, .passed = -1};
	ret = socket_folder(folder, sizeof(folder), e);
	if (ret)
		return ret;
	fd = socket_connect(folder, e);
	if (fd == -ENOENT && start) {
		ret = start_background(o, folder, e);
		if (ret)
			return ret;
		fd = socket_connect(folder, e);
	}
	if (fd < 0)
		return fd;
	if (channel_init(c, fd)) {
		close(fd);
		return error_set(e, -ENOMEM, "no memory");
	}
	return 0;
}

/* Sends a request and waits for its answer, which the caller puts. */
static struct json_object *ask(struct channel *c, struct json_object *request,
			       struct error *e)
{
	struct json_object *o, *v;
	bool bad = false;
	int ret = channel_send(c, request, -1);

	while (!ret && !bad) {
		o = channel_next(c, &bad);
		if (o) {
			if (json_object_object_get_ex(o, "error", &v)) {
				error_set(e, -EREMOTEIO, "%s",
					  json_object_get_string(v));
				json_object_put(o);
				return NULL;
			}
			return o;
		}
		ret = channel_read(c);
	}
	error_set(e, -EPIPE, "the session did not answer");
	return NULL;
}

static struct json_object *new_request(const char *name)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "request", json_object_new_string(name));
	return o;
}

static int need_terminal(struct error *e)
{
	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		return 0;
	return error_set(e, -ENOTTY,
			 "standard input and output are no terminal; without "
			 "one there are 'binnacle run --headless', 'binnacle "
			 "list', 'binnacle command', and BINNACLE_SCRIPT=FILE "
			 "to play a script");
}

static int attach(const struct session_options *o, bool start,
		  struct json_object *first, struct error *e)
{
	struct json_object *reply;
	struct channel c;
	int ret = need_terminal(e);

	if (!ret)
		ret = reach(o, start, &c, e);
	if (ret) {
		json_object_put(first);
		return ret;
	}
	if (first) {
		reply = ask(&c, first, e);
		ret = reply ? 0 : e->code;
		json_object_put(reply);
	}
	if (!ret)
		ret = client_attach(&c, e);
	channel_fini(&c);
	return ret;
}

int session_open(const struct session_options *o, struct error *e)
{
	setlocale(LC_ALL, "");
	if (o->script)
		return run_here(o, NULL, e);
	return attach(o, true, NULL, e);
}

int session_run_machine(const struct session_options *o,
			const struct vm_config *cfg, struct error *e)
{
	struct json_object *request;

	setlocale(LC_ALL, "");
	if (o->script)
		return run_here(o, cfg, e);
	request = new_request("run");
	json_object_object_add(request, "config", config_to_json(cfg));
	return attach(o, true, request, e);
}

int session_attach(const struct session_options *o, struct error *e)
{
	setlocale(LC_ALL, "");
	return attach(o, false, NULL, e);
}

/* ---- questions ---- */

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v)
						     : "";
}

static int64_t number_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v)
						     : 0;
}

static void print_unsafe(FILE *out, struct json_object *machine)
{
	struct json_object *list;

	if (!json_object_object_get_ex(machine, "unsafe_disks", &list))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++)
		fprintf(out, "%20s UNSAFE: flushes to '%s' are ignored\n", "",
			json_object_get_string(
				json_object_array_get_idx(list, i)));
}

static void print_table(FILE *out, struct json_object *reply)
{
	struct json_object *list, *m;
	char mem[32], up[32];

	if (!json_object_object_get_ex(reply, "machines", &list))
		return;
	fprintf(out, "%-20s %-9s %4s %9s %9s  %s\n", "MACHINE", "STATE", "CPUS",
		"MEMORY", "UP", "DESCRIPTION");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		m = json_object_array_get_idx(list, i);
		text_size((uint64_t)number_of(m, "memory"), mem, sizeof(mem));
		text_uptime((uint64_t)number_of(m, "uptime_ns"), up,
			    sizeof(up));
		if (!strcmp(text_of(m, "state"), "off"))
			strcpy(up, "-");
		fprintf(out, "%-20s %-9s %4" PRId64 " %9s %9s  %s\n",
			text_of(m, "id"), text_of(m, "state"),
			number_of(m, "cpus"), mem, up,
			text_of(m, "description"));
		print_unsafe(out, m);
	}
}

int session_list(FILE *out, bool json, struct error *e)
{
	struct session_options o = {0};
	struct json_object *reply;
	struct channel c;
	int ret = reach(&o, false, &c, e);

	if (ret)
		return ret;
	reply = ask(&c, new_request("list"), e);
	channel_fini(&c);
	if (!reply)
		return e->code;
	if (json)
		fprintf(out, "%s\n",
			json_object_to_json_string_ext(
				reply, JSON_C_TO_STRING_PRETTY));
	else
		print_table(out, reply);
	json_object_put(reply);
	return 0;
}

int session_command(const char *line, FILE *out, struct error *e)
{
	struct session_options o = {0};
	struct json_object *request, *reply;
	struct channel c;
	int ret = reach(&o, false, &c, e);

	if (ret)
		return ret;
	request = new_request("command");
	json_object_object_add(request, "line", json_object_new_string(line));
	reply = ask(&c, request, e);
	channel_fini(&c);
	if (!reply)
		return e->code;
	if (*text_of(reply, "message"))
		fprintf(out, "%s\n", text_of(reply, "message"));
	json_object_put(reply);
	return 0;
}
