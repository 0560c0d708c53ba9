/*
 * The server: life, the thread, its clients.
 *
 * The thread sleeps in poll() over its sockets and the viewer's eventfd; then
 * libvncserver, which never sleeps itself (rfbProcessEvents with no timeout),
 * serves what is ready.  Two things of the library are shared by all servers
 * of a process and kept honest here: its list of security types (a lock while
 * a client introduces itself, and a second look at who gave the password) and
 * its log hooks (they find their server by thread).
 */
#include "ui/vnc/vnc_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"

#define HZ	       30 /* while somebody looks */
#define FIRST_WIDTH    720
#define FIRST_HEIGHT   400
#define CLIENT_WAIT_MS 2000 /* for the rest of a message, for a full pipe */
#define HANDSHAKE_NS   30000000000ull
#define HOLD_MS	       50 /* until a client on hold is looked at again */
#define WAKE_MS	       500
#define LOG_LINES      20 /* of libvncserver, a second */

static pthread_mutex_t vnc_library_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct vnc *vnc_of_thread;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* ---- libvncserver's log ---- */

static void library_says(enum log_level level, const char *fmt, va_list ap)
{
	struct vnc *v = vnc_of_thread;
	uint64_t second = now_ns() / 1000000000ull;
	char text[200];

	if (!v)
		return;
	if (v->log_second != second) {
		v->log_second = second;
		v->log_lines = 0;
	}
	if (v->log_lines++ >= LOG_LINES)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = 0;
	if (text[0])
		log_write(v->log, level, "vnc", "%s", text);
}

static void on_log(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	library_says(LOG_LEVEL_DEBUG, fmt, ap);
	va_end(ap);
}

static void on_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	library_says(LOG_LEVEL_INFO, fmt, ap);
	va_end(ap);
}

/* ---- clients ---- */

static void rest_when_alone(struct vnc *v)
{
	unsigned clients;

	pthread_mutex_lock(&v->lock);
	clients = v->status.clients;
	pthread_mutex_unlock(&v->lock);
	console_viewer_set_hz(v->viewer, clients ? HZ : 0);
}

static void count_clients(struct vnc *v, int change)
{
	pthread_mutex_lock(&v->lock);
	v->status.clients += (unsigned)change;
	v->status.connections += change > 0;
	pthread_mutex_unlock(&v->lock);
	rest_when_alone(v);
}

static void on_client_gone(rfbClientPtr cl)
{
	struct vnc *v = cl->screen->screenData;
	struct vnc_client *client = cl->clientData;

	if (!client)
		return;
	vnc_input_release(v, client);
	vnc_input_forget(cl);
	cl->clientData = NULL;
	free(client);
	count_clients(v, -1);
	log_write(v->log, LOG_LEVEL_INFO, "vnc", "%s is gone",
		  cl->host ? cl->host : "a client");
}

static enum rfbNewClientAction on_new_client(rfbClientPtr cl)
{
	struct vnc *v = cl->screen->screenData;
	struct vnc_client *client = calloc(1, sizeof(*client));

	if (!client)
		return RFB_CLIENT_REFUSE;
	client->since_ns = now_ns();
	client->x = client->y = -1;
	cl->clientData = client;
	cl->clientGoneHook = on_client_gone;
	count_clients(v, 1);
	return RFB_CLIENT_ACCEPT;
}

static rfbBool on_password(rfbClientPtr cl, const char *response, int len)
{
	struct vnc_client *client = cl->clientData;
	rfbBool good = rfbCheckPasswordByList(cl, response, len);

	if (client && good)
		client->knows_password = true;
	return good;
}

static void drop(struct vnc *v, rfbClientPtr cl, const char *why)
{
	log_write(v->log, LOG_LEVEL_WARN, "vnc", "drops %s: %s",
		  cl->host ? cl->host : "a client", why);
	pthread_mutex_lock(&v->lock);
	v->status.dropped++;
	pthread_mutex_unlock(&v->lock);
	rfbCloseClient(cl);
}

static bool is_introducing(rfbClientPtr cl)
{
	return cl->state < RFB_NORMAL;
}

/* What the library doesn't check: strangers who stay, and clients who came in
 * by a security type that this server never offered. */
static void check_clients(struct vnc *v)
{
	rfbClientPtr cl;

	for (cl = v->screen->clientHead; cl; cl = cl->next) {
		struct vnc_client *client = cl->clientData;

		if (cl->sock == RFB_INVALID_SOCKET || !client)
			continue;
		if (v->password[0] && cl->state >= RFB_INITIALISATION &&
		    !client->knows_password)
			drop(v, cl, "no password");
		else if (is_introducing(cl) &&
			 now_ns() - client->since_ns > HANDSHAKE_NS)
			drop(v, cl, "it does not introduce itself");
	}
}

/* The display rested while nobody looked: lets it catch up, so that the very
 * first update shows what is there now. */
static void wake_display(struct vnc *v)
{
	struct pollfd fds[2] = {
		{.fd = console_viewer_fd(v->viewer), .events = POLLIN},
		{.fd = v->stop_fd, .events = POLLIN},
	};

	vnc_frame_update(v); /* what is old news makes the eventfd readable */
	console_viewer_set_hz(v->viewer, HZ);
	if (poll(fds, 2, WAKE_MS) > 0)
		vnc_frame_update(v);
}

/*
 * Before it greets, the library peeks for a web browser; there it waits a
 * while for each client and forever for one that has sent one to three bytes.
 * So it meets a stand-in that looks like an impatient RFB client, and the real
 * socket takes the stand-in's place when the greeting is out.
 */
static rfbClientPtr introduce(struct vnc *v, int fd)
{
	char greeting[64];
	int pair[2];
	ssize_t len = -1;
	rfbClientPtr cl;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return NULL;
	if (pair[0] >= FD_SETSIZE || write(pair[1], "RFB ", 4) != 4) {
		close(pair[0]);
		close(pair[1]);
		return NULL;
	}
	cl = rfbNewClient(v->screen, pair[0]); /* closes it if it fails */
	if (cl)
		len = recv(pair[1], greeting, sizeof(greeting), MSG_DONTWAIT);
	close(pair[1]);
	if (!cl)
		return NULL;
	if (len <= 0 || dup3(fd, pair[0], O_CLOEXEC) < 0 ||
	    send(pair[0], greeting, (size_t)len, MSG_NOSIGNAL) != len)
		rfbCloseClient(cl);
	return cl;
}

static void name_client(rfbClientPtr cl)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[80];

	memset(&ss, 0, sizeof(ss));
	if (cl->sock == RFB_INVALID_SOCKET ||
	    getpeername(cl->sock, (struct sockaddr *)&ss, &len) ||
	    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), NULL,
			0, NI_NUMERICHOST) ||
	    !host[0])
		snprintf(host, sizeof(host), "a local client");
	free(cl->host);
	cl->host = strdup(host);
	log_write(((struct vnc *)cl->screen->screenData)->log, LOG_LEVEL_INFO,
		  "vnc", "%s connects", host);
}

static void accept_client(struct vnc *v)
{
	int fd =
		accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int one = 1;
	unsigned clients = 0;
	rfbClientPtr cl;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (cl = v->screen->clientHead; cl; cl = cl->next)
		clients++;
	if (!clients)
		wake_display(v);
	cl = NULL;
	if (clients < VNC_MAX_CLIENTS) {
		pthread_mutex_lock(&vnc_library_lock);
		cl = introduce(v, fd);
		pthread_mutex_unlock(&vnc_library_lock);
	}
	close(fd);
	if (cl)
		name_client(cl);
	else
		log_write(v->log, LOG_LEVEL_WARN, "vnc",
			  "refuses a client: %u are connected", clients);
	rest_when_alone(v);
}

/* ---- the thread ---- */

enum { POLL_STOP, POLL_LISTEN, POLL_VIEWER, POLL_CLIENTS };

/* Returns how many entries; *timeout in milliseconds. */
static nfds_t poll_list(struct vnc *v, struct pollfd *fds, int *timeout)
{
	nfds_t n = POLL_CLIENTS;
	rfbClientPtr cl;

	fds[POLL_STOP].events = POLLIN;
	fds[POLL_LISTEN].events = POLLIN;
	fds[POLL_VIEWER].events = POLLIN;
	fds[POLL_STOP].fd = v->stop_fd;
	fds[POLL_LISTEN].fd = v->listen_fd;
	fds[POLL_VIEWER].fd = console_viewer_fd(v->viewer);
	*timeout = -1;
	for (cl = v->screen->clientHead; cl; cl = cl->next) {
		if (n < POLL_CLIENTS + VNC_MAX_CLIENTS) {
			fds[n].events = cl->onHold ? POLLRDHUP : POLLIN;
			fds[n++].fd = cl->sock;
		}
		if (cl->onHold)
			*timeout = HOLD_MS;
		if (cl->sock == RFB_INVALID_SOCKET)
			*timeout = 0; /* the library has yet to bury it */
		else if (is_introducing(cl) && *timeout < 0)
			*timeout = 1000;
	}
	return n;
}

void vnc_serve(struct vnc *v)
{
	bool introducing = false;
	rfbClientPtr cl;

	for (cl = v->screen->clientHead; cl; cl = cl->next) {
		introducing |= is_introducing(cl);
		if (cl->clientData && cl->sock != RFB_INVALID_SOCKET &&
		    vnc_hold_update(cl, cl->clientData, now_ns()))
			drop(v, cl, "half a message");
	}
	if (introducing)
		pthread_mutex_lock(&vnc_library_lock);
	rfbProcessEvents(v->screen, 0);
	if (introducing)
		pthread_mutex_unlock(&vnc_library_lock);
	check_clients(v);
}

static void *vnc_thread(void *arg)
{
	struct vnc *v = arg;
	struct pollfd fds[POLL_CLIENTS + VNC_MAX_CLIENTS] = {0};
	nfds_t n;
	int timeout;

	vnc_of_thread = v;
	for (;;) {
		n = poll_list(v, fds, &timeout);
		if (poll(fds, n, timeout) < 0 && errno != EINTR)
			break;
		if (fds[POLL_STOP].revents)
			break;
		if (fds[POLL_LISTEN].revents)
			accept_client(v);
		if (fds[POLL_VIEWER].revents)
			vnc_frame_update(v);
		vnc_serve(v);
	}
	rfbShutdownServer(v->screen, TRUE);
	return NULL;
}

/* ---- life ---- */

/* An arrow for clients that draw the pointer themselves. */
static void set_cursor(rfbScreenInfoPtr screen)
{
	char picture[] = "x        "
			 "xx       "
			 "xxx      "
			 "xxxx     "
			 "xxxxx    "
			 "xxxxxx   "
			 "xxxxxxx  "
			 "xxxx     "
			 "x  xx    "
			 "    xx   ";
	rfbCursorPtr cursor = rfbMakeXCursor(9, 10, picture, picture);

	if (!cursor)
		return;
	cursor->foreRed = cursor->foreGreen = cursor->foreBlue = 0xffff;
	rfbSetCursor(screen, cursor);
	/* Out of sight for the rest: the guest draws its own. */
	screen->cursorX = screen->cursorY = -100;
}

static int create_screen(struct vnc *v, struct error *e)
{
	rfbScreenInfoPtr s;

	if (vnc_frame_resize(v, FIRST_WIDTH, FIRST_HEIGHT))
		return error_set(e, -ENOMEM, "VNC: no memory for a frame");
	pthread_mutex_lock(&vnc_library_lock);
	rfbLog = on_log;
	rfbErr = on_error;
	s = rfbGetScreen(NULL, NULL, v->width, v->height, 8, 3, 4);
	if (s) {
		s->screenData = v;
		s->desktopName = v->name;
		s->frameBuffer = (char *)v->frame;
		s->port = s->ipv6port = 0; /* the sockets are ours */
		s->alwaysShared = TRUE;
		s->deferUpdateTime = 0;
		s->maxClientWait = CLIENT_WAIT_MS;
		s->newClientHook = on_new_client;
		if (v->password[0]) {
			v->passwords[0] = v->password;
			s->authPasswdData = v->passwords;
			s->passwordCheck = on_password;
		}
		v->screen = s;
		set_cursor(s);
		vnc_input_init(v);
		rfbInitServer(s);
	}
	pthread_mutex_unlock(&vnc_library_lock);
	return s ? 0 : error_set(e, -ENOMEM, "VNC: no memory for a screen");
}

static void vnc_free(struct vnc *v)
{
	if (v->screen)
		rfbScreenCleanup(v->screen);
	console_viewer_destroy(v->viewer);
	if (v->listen_fd >= 0)
		close(v->listen_fd);
	if (v->unix_path[0])
		unlink(v->unix_path);
	if (v->stop_fd >= 0)
		close(v->stop_fd);
	pthread_mutex_destroy(&v->lock);
	explicit_bzero(v->password, sizeof(v->password));
	free(v->frame);
	free(v->copy);
	free(v);
}

static int vnc_prepare(struct vnc *v, const struct vnc_config *cfg,
		       struct error *e)
{
	int ret = 0;

	if (cfg->password_file && cfg->password_file[0])
		ret = vnc_read_password(v, cfg->password_file, e);
	if (ret)
		return ret;
	ret = vnc_listen(v, cfg->listen, e);
	if (ret)
		return ret;
	v->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->viewer = console_viewer_create(v->console, 0);
	if (v->stop_fd < 0 || !v->viewer)
		return error_set(e, -ENOMEM, "VNC: no eventfd is left");
	return create_screen(v, e);
}

struct vnc *vnc_start(const struct vnc_config *cfg, struct error *e)
{
	struct vnc *v = calloc(1, sizeof(*v));
	int ret;

	if (!v) {
		error_set(e, -ENOMEM, "VNC: no memory");
		return NULL;
	}
	v->console = cfg->console;
	v->log = cfg->log;
	v->listen_fd = v->stop_fd = -1;
	pthread_mutex_init(&v->lock, NULL);
	snprintf(v->name, sizeof(v->name), "%s",
		 cfg->name ? cfg->name : "Binnacle");
	ret = vnc_prepare(v, cfg, e);
	if (!ret) {
		ret = pthread_create(&v->thread, NULL, vnc_thread, v);
		if (ret)
			error_errno(e, ret, "VNC: no thread");
	}
	if (ret) {
		vnc_free(v);
		return NULL;
	}
	pthread_setname_np(v->thread, "vnc");
	log_write(v->log, LOG_LEVEL_INFO, "vnc", "listens on %s",
		  v->status.address);
	return v;
}

void vnc_stop(struct vnc *v)
{
	uint64_t one = 1;

	if (!v)
		return;
	while (write(v->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(v->thread, NULL);
	vnc_free(v);
}

void vnc_status_copy(struct vnc *v, struct vnc_status *out)
{
	pthread_mutex_lock(&v->lock);
	*out = v->status;
	pthread_mutex_unlock(&v->lock);
}
