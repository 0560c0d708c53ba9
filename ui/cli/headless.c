/*
 * Without a screen: the guest's first serial line is this terminal or pipe.
 * On a terminal Ctrl-A x ends the run and Ctrl-A Ctrl-A sends one Ctrl-A.
 *
 * Nobody is there to let a machine go on that paused because the host could not
 * do what a disk was asked for: it is tried again by itself.
 */
#include "ui/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "core/console.h"
#include "core/log.h"
#include "ui/vnc/vnc.h"

#define RETRY_MS 5000

enum { FD_STDIN, FD_SERIAL, FD_EVENTS, FD_SIGNAL, NR_FDS };

struct headless {
	struct vm *vm;
	struct vnc *vnc; /* NULL: not asked for */
	struct serial_line *line;
	int out;       /* serial output goes here, -1: nowhere */
	uint64_t pos;  /* in the serial output */
	uint64_t seen; /* newest event */
	bool is_tty, escape;
	struct termios saved;
	char pending[4096]; /* typed, not yet taken by the guest */
	size_t nr_pending;
	int64_t retry_ms; /* when a paused machine goes on; 0: it isn't */
	int64_t retried_ms;
	bool done;
	int status;
};

static void write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		buf += n;
		len -= n;
	}
}

static void drain_eventfd(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
}

static void pump_serial(struct headless *h)
{
	char buf[4096];
	size_t n;

	while ((n = serial_line_read(h->line, &h->pos, buf, sizeof(buf))))
		if (h->out >= 0)
			write_all(h->out, buf, n);
}

static void send_pending(struct headless *h)
{
	size_t n = serial_line_send(h->line, h->pending, h->nr_pending);

	h->nr_pending -= n;
	memmove(h->pending, h->pending + n, h->nr_pending);
}

static void take_byte(struct headless *h, char c)
{
	if (h->is_tty && !h->escape && c == 1) {
		h->escape = true;
		return;
	}
	if (h->escape && c == 'x')
		h->done = true;
	else
		h->pending[h->nr_pending++] = c;
	h->escape = false;
}

/* false at the end of the input. */
static bool pump_stdin(struct headless *h)
{
	char buf[sizeof(h->pending)];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(h->pending) - h->nr_pending);
	ssize_t i;

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		return false;
	for (i = 0; i < n; i++)
		take_byte(h, buf[i]);
	send_pending(h);
	return true;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Said once, not at each try in vain. */
static void wait_for_host(struct headless *h, const char *why)
{
	int64_t now = now_ms();

	if (!h->retried_ms || now - h->retried_ms > RETRY_MS)
		fprintf(stderr,
			"\r\nbinnacle: paused: %s (tried again every %d s)\r\n",
			why, RETRY_MS / 1000);
	h->retry_ms = now + RETRY_MS;
}

static void go_on(struct headless *h)
{
	struct vm_command cmd = {.kind = VM_CMD_RESUME};

	h->retry_ms = 0;
	h->retried_ms = now_ms();
	vm_command(h->vm, &cmd);
}

/* Milliseconds for poll(); -1: until something happens. */
static int timeout_ms(const struct headless *h)
{
	int64_t left = h->retry_ms - now_ms();

	/* Input that the guest hasn't taken yet: look again soon. */
	if (h->nr_pending)
		return 20;
	if (!h->retry_ms)
		return -1;
	return left > 0 ? (int)left : 0;
}

static void handle_event(struct headless *h, const struct vm_event *ev)
{
	if (ev->kind == VM_EVENT_EXIT_CODE) {
		h->status = ev->code;
		h->done = true;
	} else if (ev->kind == VM_EVENT_STATE && ev->state == VM_OFF) {
		h->done = true;
	} else if (ev->kind == VM_EVENT_STATE && ev->state == VM_CRASHED) {
		struct vm_status st;

		vm_status_copy(h->vm, &st);
		fprintf(stderr, "\r\nbinnacle: %s\r\n", st.message);
		h->status = 1;
		h->done = true;
	} else if (ev->kind == VM_EVENT_STATE && ev->code) {
		wait_for_host(h, ev->text);
	} else if (ev->kind == VM_EVENT_COMMAND_FAILED) {
		fprintf(stderr, "\r\nbinnacle: %s\r\n", ev->text);
	}
}

static void pump_events(struct headless *h)
{
	struct vm_event ev[16];
	size_t n, i;

	drain_eventfd(vm_event_fd(h->vm));
	while ((n = vm_events(h->vm, h->seen, ev, 16))) {
		for (i = 0; i < n; i++)
			handle_event(h, &ev[i]);
		h->seen = ev[n - 1].seq;
	}
}

static void serve(struct headless *h, struct pollfd *fds)
{
	while (!h->done) {
		fds[FD_STDIN].events =
			h->nr_pending < sizeof(h->pending) ? POLLIN : 0;
		if (poll(fds, NR_FDS, timeout_ms(h)) < 0 && errno != EINTR)
			return;
		if (fds[FD_STDIN].revents && !pump_stdin(h))
			fds[FD_STDIN].fd = -1;
		if (fds[FD_SERIAL].revents)
			drain_eventfd(fds[FD_SERIAL].fd);
		pump_serial(h);
		if (fds[FD_EVENTS].revents)
			pump_events(h);
		if (fds[FD_SIGNAL].revents) {
			h->status = 128 + SIGTERM;
			h->done = true;
		}
		if (h->nr_pending)
			send_pending(h);
		if (h->retry_ms && now_ms() >= h->retry_ms)
			go_on(h);
	}
	pump_serial(h);
}

static void raw_terminal(struct headless *h)
{
	struct termios t;

	h->is_tty = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &h->saved);
	if (!h->is_tty)
		return;
	t = h->saved;
	cfmakeraw(&t);
	tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

static int open_output(struct headless *h, const char *serial, struct error *e)
{
	if (!strcmp(serial, "") || !strcmp(serial, "stdio")) {
		h->out = STDOUT_FILENO;
	} else if (!strcmp(serial, "none")) {
		h->out = -1;
	} else if (!strncmp(serial, "file:", 5)) {
		h->out = open(serial + 5,
			      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (h->out < 0)
			return error_errno(e, errno, "--serial %s", serial);
	} else {
		return error_set(e, -EINVAL,
				 "--serial %s: give stdio, none or file:PATH",
				 serial);
	}
	return 0;
}

static int signal_fd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigdelset(&set, SIGPIPE);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int open_vnc(struct headless *h, struct error *e)
{
	struct vnc_status st;

	if (vnc_start_vm(h->vm, &h->vnc, e))
		return e->code;
	if (h->vnc) {
		vnc_status_copy(h->vnc, &st);
		fprintf(stderr, "binnacle: VNC on %s\n", st.address);
	}
	return 0;
}

static int run(struct headless *h, const struct vm_config *cfg, struct error *e)
{
	struct vm_command start = {.kind = VM_CMD_RESUME};
	struct pollfd fds[NR_FDS];
	int ret;

	fds[FD_SIGNAL] = (struct pollfd){signal_fd(), POLLIN, 0};
	h->vm = vm_create(cfg, NULL, e);
	if (!h->vm)
		return e->code;
	ret = open_vnc(h, e);
	if (ret)
		return ret;
	h->line = vm_serial(h->vm, 0);
	fds[FD_STDIN] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
	fds[FD_SERIAL] =
		(struct pollfd){serial_line_reader_add(h->line), POLLIN, 0};
	fds[FD_EVENTS] = (struct pollfd){vm_event_fd(h->vm), POLLIN, 0};
	ret = vm_command_sync(h->vm, &start, e);
	if (!ret) {
		raw_terminal(h);
		serve(h, fds);
		if (h->is_tty)
			tcsetattr(STDIN_FILENO, TCSANOW, &h->saved);
	}
	serial_line_reader_remove(h->line, fds[FD_SERIAL].fd);
	close(fds[FD_SIGNAL].fd);
	return ret;
}

int headless_run(const struct vm_config *cfg)
{
	struct headless h = {.out = -1};
	struct error e = {0};
	int ret;

	ret = open_output(&h, cfg->serial, &e);
	if (!ret)
		ret = run(&h, cfg, &e);
	vnc_stop(h.vnc);
	vm_destroy(h.vm);
	if (h.out > STDERR_FILENO)
		close(h.out);
	return ret ? cli_fail(&e) : h.status;
}
