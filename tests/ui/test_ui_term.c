/* The terminal: a pty that reads, stalls, changes size, and goes away. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/error.h"
#include "ui/term/term.h"

const char *__lsan_default_suppressions(void);

/* ncurses keeps one block for a process's whole life. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libtinfo";
}

struct fixture {
	int master, slave;
	struct termios before;
	struct theme theme;
	struct canvas canvas;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct winsize ws = {.ws_row = 24, .ws_col = 80};

	if (openpty(&f->master, &f->slave, NULL, NULL, &ws))
		return -1;
	tcgetattr(f->slave, &f->before);
	theme_load(&f->theme, "binnacle", NULL, NULL);
	f->canvas.theme = &f->theme;
	canvas_resize(&f->canvas, 24, 80);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	canvas_fini(&f->canvas);
	if (f->master >= 0)
		close(f->master);
	close(f->slave);
	free(f);
	return 0;
}

static struct term *open_term(struct fixture *f, const char *type)
{
	struct term_options o = {.tty = f->slave, .type = type, .mouse = true};
	struct error e = {0};
	struct term *t = term_open(&o, &e);
	int rows, cols;

	if (!t)
		fail_msg("%s", e.msg);
	term_size(t, &rows, &cols);
	assert_int_equal(rows, 24);
	assert_int_equal(cols, 80);
	return t;
}

/* Everything that has come out of the terminal's other end. */
static size_t read_all(struct term *t, int master, char *buf, size_t len)
{
	struct pollfd p = {.fd = master, .events = POLLIN};
	size_t used = 0;
	ssize_t n;

	while (used < len - 1 && poll(&p, 1, 200) == 1) {
		n = read(master, buf + used, len - 1 - used);
		if (n <= 0)
			break;
		used += (size_t)n;
		if (t)
			term_flush(t);
	}
	buf[used] = '\0';
	return used;
}

static void frames_reach_the_tty(void **state)
{
	static const char *const types[] = {"xterm-256color", "vt100", "linux",
					    "screen", "tmux-256color"};
	struct fixture *f = *state;
	static char out[1 << 20];
	struct termios now;
	struct term *t;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		t = open_term(f, types[i]);
		canvas_clear(&f->canvas);
		canvas_text(&f->canvas, 3, 5, 40, ROLE_BAD, "unmistakable");
		assert_true(term_show(t, &f->canvas));
		read_all(t, f->master, out, sizeof(out));
		assert_non_null(strstr(out, "unmistakable"));
		tcgetattr(f->slave, &now);
		assert_false(now.c_lflag & (ICANON | ECHO | ISIG));
		term_close(t);
		tcgetattr(f->slave, &now);
		assert_int_equal(now.c_lflag, f->before.c_lflag);
		read_all(NULL, f->master, out, sizeof(out));
	}
}

static void unknown_types_are_refused(void **state)
{
	struct fixture *f = *state;
	struct term_options o = {.tty = f->slave, .type = "no-such-terminal"};
	struct error e = {0};
	struct termios now;

	assert_null(term_open(&o, &e));
	assert_non_null(strstr(e.msg, "no-such-terminal"));
	tcgetattr(f->slave, &now);
	assert_int_equal(now.c_lflag, f->before.c_lflag);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Nobody reads the other end: frames are skipped, nothing waits. */
static void stalled_tty_does_not_stop_us(void **state)
{
	struct fixture *f = *state;
	struct term *t = open_term(f, "xterm-256color");
	double begin = seconds();
	int shown = 0;

	for (int i = 0; i < 200; i++) {
		for (int row = 0; row < 24; row++)
			for (int col = 0; col < 80; col++)
				canvas_put(&f->canvas, row, col,
					   (uint32_t)('a' + (i + col) % 26),
					   (struct style){i, col, 0});
		shown += term_show(t, &f->canvas);
	}
	assert_true(seconds() - begin < 60);
	assert_true(shown < 200);
	assert_true(term_is_busy(t));
	term_close(t);
}

static void vanished_tty_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct term *t = open_term(f, "xterm-256color");
	struct pollfd p;
	struct key k;

	close(f->master);
	f->master = -1;
	p = (struct pollfd){.fd = term_fd(t), .events = POLLIN};
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(p.revents & (POLLHUP | POLLERR));
	assert_false(term_read_key(t, &k));
	term_show(t, &f->canvas);
	term_close(t);
}

static void expect_key(struct fixture *f, struct term *t, const char *bytes,
		       const char *name)
{
	struct pollfd p = {.fd = term_fd(t), .events = POLLIN};
	struct key k;
	char got[64];

	assert_int_equal(write(f->master, bytes, strlen(bytes)), strlen(bytes));
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(term_read_key(t, &k));
	key_to_text(&k, got, sizeof(got));
	assert_string_equal(got, name);
	assert_false(term_read_key(t, &k));
}

static void keys_arrive(void **state)
{
	struct fixture *f = *state;
	struct term *t = open_term(f, "xterm-256color");

	expect_key(f, t, "a", "a");
	expect_key(f, t, "\xc3\xa4", "\xc3\xa4");
	expect_key(f, t, "\r", "Enter");
	expect_key(f, t, "\x7f", "Backspace");
	expect_key(f, t, "\x0f", "Ctrl-O");
	expect_key(f, t, "\x1b", "Esc");
	expect_key(f, t,
		   "\x1b"
		   "x",
		   "Alt-x");
	expect_key(f, t, "\x1bOA", "Up");
	expect_key(f, t, "\x1bOP", "F1");
	expect_key(f, t, "\x1b[24~", "F12");
	expect_key(f, t, "\x1b[Z", "Shift-Tab");
	expect_key(f, t, "\x1b[5~", "PgUp");
	expect_key(f, t, "\x1c", "Ctrl-\\");
	term_close(t);
}

static void size_follows_the_tty(void **state)
{
	struct fixture *f = *state;
	struct term *t = open_term(f, "xterm-256color");
	struct winsize ws = {.ws_row = 60, .ws_col = 200};
	static char out[1 << 20];
	int rows, cols;

	ioctl(f->master, TIOCSWINSZ, &ws);
	term_size(t, &rows, &cols);
	assert_int_equal(rows, 60);
	assert_int_equal(cols, 200);
	canvas_resize(&f->canvas, 60, 200);
	canvas_text(&f->canvas, 59, 180, 20, ROLE_TEXT, "in the corner");
	term_show(t, &f->canvas);
	read_all(t, f->master, out, sizeof(out));
	assert_non_null(strstr(out, "in the corner"));
	term_close(t);
}

int main(void)
{
#define TERM_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TERM_TEST(frames_reach_the_tty),
		TERM_TEST(unknown_types_are_refused),
		TERM_TEST(stalled_tty_does_not_stop_us),
		TERM_TEST(vanished_tty_is_noticed),
		TERM_TEST(keys_arrive),
		TERM_TEST(size_follows_the_tty),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
