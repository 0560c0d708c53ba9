/*
 * The session's loop.  It sleeps in one poll(): signals, the door, clients,
 * the lent terminal, what machines and the shown screen have to tell.  A
 * second-tick runs only while somebody looks at something that moves.
 */
#include "ui/session/server.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"
#include "ui/script/script.h"
#include "ui/session/server_int.h"
#include "ui/term/term.h"

#define SECOND	      1000000000ull
#define FRAME_NS      33000000ull /* between frames nobody asked for */
#define AGAIN_NS      20000000ull /* when a screen waits for facts */
#define MAX_SOURCES   64
#define KEYS_PER_TURN 64

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* ---- life ---- */

static int open_signals(struct server *s, struct error *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->signals < 0)
		return error_errno(e, errno, "watching for signals");
	return 0;
}

static void read_machines(struct server *s)
{
	struct error e = {0};

	if (fleet_folder(s->ui->folder, sizeof(s->ui->folder), s->share, &e))
		ui_say(s->ui, true, "%s", e.msg);
	else
		fleet_scan(s->ui->fleet, s->ui->folder);
	ui_refresh(s->ui);
}

struct server *server_create(const struct server_options *o, struct error *e)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s) {
		error_set(e, -ENOMEM, "no memory for the session");
		return NULL;
	}
	s->signals = -1;
	s->share = o->share ? o->share : vm_share_dir();
	s->folder = o->folder;
	s->listen_fd = o->folder ? o->listen_fd : -1;
	s->own_tty = o->tty;
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++)
		s->clients[i].channel.fd = -1;
	s->log = log_create(LOG_LEVEL_ERROR + 1);
	if (open_signals(s, e))
		goto fail;
	s->ui = ui_create(s->share, s->log, e);
	if (!s->ui)
		goto fail;
	if (o->script) {
		s->script = script_open(o->script, e);
		if (!s->script)
			goto fail;
	}
	read_machines(s);
	log_write(s->log, LOG_LEVEL_INFO, "session",
		  "binnacle %s, %u machines in %s", BINNACLE_VERSION,
		  fleet_count(s->ui->fleet), s->ui->folder);
	return s;
fail:
	server_destroy(s);
	return NULL;
}

void server_destroy(struct server *s)
{
	if (!s)
		return;
	server_detach(s, "the session has ended");
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++)
		if (s->clients[i].channel.fd >= 0)
			channel_fini(&s->clients[i].channel);
	ui_destroy(s->ui);
	script_close(s->script);
	log_destroy(s->log);
	if (s->signals >= 0)
		close(s->signals);
	free(s);
}

int server_run_machine(struct server *s, const struct vm_config *cfg,
		       struct error *e)
{
	struct machine *m = fleet_same(s->ui->fleet, cfg);

	if (!m)
		m = fleet_add(s->ui->fleet, cfg);
	if (!m)
		return error_set(e, -ENOSPC,
				 "the session has no room for "
				 "another machine");
	ui_choose(s->ui, m);
	ui_switch(s->ui, SCREEN_CONSOLE);
	s->grab_when_running = true;
	if (machine_is_running(m))
		return 0;
	return ui_command(s->ui, "start") & EFFECT_FAILED
		       ? error_set(e, -EINVAL, "%s", s->ui->message)
		       : 0;
}

/* ---- the terminal ---- */

static void fit_terminal(struct server *s)
{
	int rows, cols;

	if (!s->term)
		return;
	term_size(s->term, &rows, &cols);
	if (rows != s->ui->canvas.rows || cols != s->ui->canvas.cols)
		ui_resize(s->ui, rows, cols);
	s->draw = true;
	s->urgent = true;
}

int server_lend(struct server *s, const struct term_options *o, struct error *e)
{
	s->term = term_open(o, e);
	if (!s->term)
		return e->code;
	s->ui->mouse = o->mouse;
	ui_show(s->ui, true, term_is_mono(s->term), term_is_ascii(s->term));
	fit_terminal(s);
	return 0;
}

void server_detach(struct server *s, const char *why)
{
	bool was_shown = s->term != NULL;

	term_close(s->term);
	s->term = NULL;
	if (was_shown && s->ui)
		ui_show(s->ui, false, false, false);
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++)
		if (s->clients[i].attached)
			client_farewell(&s->clients[i], why);
	/* Without a terminal and without a machine there is nothing to keep. */
	if (was_shown && s->ui && !fleet_active(s->ui->fleet) && !s->script)
		s->quit = true;
}

static void lose_terminal(struct server *s)
{
	log_write(s->log, LOG_LEVEL_INFO, "session", "the terminal went away");
	server_detach(s, "the terminal went away");
}

void server_effects(struct server *s, unsigned effects)
{
	if (effects & EFFECT_DRAW)
		s->draw = s->urgent = true;
	if (effects & EFFECT_MOUSE && s->term)
		term_set_mouse(s->term, s->ui->mouse);
	if (effects & EFFECT_REDRAW && s->term) {
		term_redraw(s->term);
		fit_terminal(s);
	}
	if (effects & EFFECT_QUIT)
		s->quit = true;
	if (effects & EFFECT_DETACH) {
		if (s->own_tty >= 0 || !s->folder)
			s->quit = true;
		else
			server_detach(s, "detached");
	}
}

static void read_keys(struct server *s)
{
	struct key k;

	for (int i = 0; i < KEYS_PER_TURN && s->term; i++) {
		if (!term_read_key(s->term, &k))
			return;
		server_effects(s, ui_key(s->ui, &k));
	}
}

/* ---- turns ---- */

static void show_frame(struct server *s, uint64_t now)
{
	s->urgent = false;
	if (!s->term && !s->script) {
		s->draw = false;
		return;
	}
	ui_draw(s->ui);
	s->drawn_ns = now;
	/* What does not come soon is waited for with less haste. */
	if (!s->ui->waits)
		s->again_step = AGAIN_NS;
	else if (s->again_step < SECOND)
		s->again_step *= 2;
	s->again_ns = s->ui->waits ? now + s->again_step : 0;
	s->draw = s->term && !term_show(s->term, &s->ui->canvas);
}

static void take_news(struct server *s)
{
	if (ui_refresh(s->ui))
		s->draw = true;
	if (s->grab_when_running && s->ui->machine &&
	    machine_is_running(s->ui->machine)) {
		s->grab_when_running = false;
		if (s->ui->current == SCREEN_CONSOLE)
			console_grab(s->ui, true);
		s->draw = true;
	}
}

static void tick(struct server *s, uint64_t now)
{
	if (s->again_ns && now >= s->again_ns) {
		s->again_ns = 0;
		s->draw = true;
	}
	if (now < s->next_tick_ns)
		return;
	s->next_tick_ns = now + SECOND;
	take_news(s);
	if (ui_tick(s->ui) || log_seq(s->log) != s->seen_log) {
		s->seen_log = log_seq(s->log);
		s->draw = true;
	}
}

static void run_script(struct server *s)
{
	unsigned effects;
	int wait;

	if (!s->script || s->draw || now_ns() < s->script_ns)
		return;
	wait = script_step(s->script, s->ui, now_ns(), &effects);
	server_effects(s, effects);
	if (wait < 0)
		s->quit = true;
	else
		s->script_ns = now_ns() + (uint64_t)wait * 1000000;
	/* The next step sees a frame of its own. */
	s->draw = s->urgent = true;
}

static bool is_watched(const struct server *s)
{
	return s->term || s->script;
}

/* Milliseconds until something is due, -1: nothing is. */
static int patience(const struct server *s, uint64_t now)
{
	uint64_t due = UINT64_MAX;

	if (s->draw && !(s->term && term_is_busy(s->term)))
		due = s->urgent ? now : s->drawn_ns + FRAME_NS;
	if (is_watched(s) && fleet_active(s->ui->fleet) &&
	    s->next_tick_ns < due)
		due = s->next_tick_ns;
	if (is_watched(s) && s->again_ns && s->again_ns < due)
		due = s->again_ns;
	if (s->script && s->script_ns < due)
		due = s->script_ns;
	if (due == UINT64_MAX)
		return -1;
	return due <= now ? 0 : (int)((due - now + 999999) / 1000000);
}

static void read_signals(struct server *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH)
			fit_terminal(s);
		else if (info.ssi_signo != SIGHUP || s->own_tty >= 0)
			s->quit = true;
	}
}

enum {
	SOURCE_SIGNALS,
	SOURCE_DOOR,
	SOURCE_TTY,
	SOURCE_CLIENTS,
	SOURCE_UI = SOURCE_CLIENTS + SERVER_MAX_CLIENTS
};

static int gather(struct server *s, struct pollfd *p)
{
	int fds[MAX_SOURCES], n;
	struct client *c;

	p[SOURCE_SIGNALS] = (struct pollfd){s->signals, POLLIN, 0};
	p[SOURCE_DOOR] = (struct pollfd){s->listen_fd, POLLIN, 0};
	p[SOURCE_TTY] = (struct pollfd){-1, POLLIN, 0};
	if (s->term) {
		p[SOURCE_TTY].fd = term_fd(s->term);
		if (term_is_busy(s->term))
			p[SOURCE_TTY].events |= POLLOUT;
	}
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++) {
		c = &s->clients[i];
		p[SOURCE_CLIENTS + i] =
			(struct pollfd){c->channel.fd, POLLIN, 0};
	}
	n = ui_fds(s->ui, !s->draw, fds, MAX_SOURCES);
	for (int i = 0; i < n; i++)
		p[SOURCE_UI + i] = (struct pollfd){fds[i], POLLIN, 0};
	return SOURCE_UI + n;
}

static void serve(struct server *s, const struct pollfd *p, int n)
{
	bool news = false;

	if (p[SOURCE_SIGNALS].revents)
		read_signals(s);
	if (p[SOURCE_DOOR].revents)
		server_admit(s);
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++)
		if (p[SOURCE_CLIENTS + i].revents &&
		    p[SOURCE_CLIENTS + i].fd == s->clients[i].channel.fd)
			server_hear(s, &s->clients[i]);
	if (s->term && p[SOURCE_TTY].fd == term_fd(s->term)) {
		if (p[SOURCE_TTY].revents & POLLIN)
			read_keys(s);
		if (s->term && p[SOURCE_TTY].revents & (POLLHUP | POLLERR))
			lose_terminal(s);
		if (s->term && term_is_busy(s->term) && term_flush(s->term))
			lose_terminal(s);
	}
	for (int i = SOURCE_UI; i < n; i++)
		news |= p[i].revents != 0;
	if (news) {
		take_news(s);
		s->draw = true;
	}
}

static int show_own_terminal(struct server *s, struct error *e)
{
	const char *no_color = getenv("NO_COLOR");
	struct term_options o = {
		.tty = s->own_tty,
		.type = getenv("TERM"),
		.ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0,
		.no_color = no_color && *no_color,
		.mouse = s->ui->settings.mouse,
	};

	if (s->own_tty >= 0)
		return server_lend(s, &o, e);
	ui_show(s->ui, true, o.no_color, o.ascii);
	s->draw = s->urgent = true;
	return 0;
}

int server_loop(struct server *s, struct error *e)
{
	struct pollfd p[SOURCE_UI + MAX_SOURCES];
	uint64_t now;
	int n, ret;

	if (s->script || s->own_tty >= 0) {
		ret = show_own_terminal(s, e);
		if (ret)
			return ret;
	}
	while (!s->quit) {
		n = gather(s, p);
		if (poll(p, (nfds_t)n, patience(s, now_ns())) < 0 &&
		    errno != EINTR)
			return error_errno(e, errno, "waiting for events");
		serve(s, p, n);
		now = now_ns();
		if (is_watched(s))
			tick(s, now);
		if (s->draw && !(s->term && term_is_busy(s->term)) &&
		    (s->urgent || now >= s->drawn_ns + FRAME_NS))
			show_frame(s, now);
		run_script(s);
	}
	return s->script && script_failed(s->script, e) ? -EPROTO : 0;
}
