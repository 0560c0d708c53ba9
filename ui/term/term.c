/*
 * The terminal.  ncurses renders into a memory file; its contents are moved
 * into `out` after each frame and written to the tty as it takes them.
 * Terminal modes are set here, not by ncurses, which sees no tty.
 */
#define NCURSES_WIDECHAR 1
#include "ui/term/term.h"

#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "core/error.h"

/* How long a lone Esc waits for the rest of a sequence. */
#define ESC_MS 15

struct term {
	int tty; /* own description of the lent tty, or -1 */
	int memory;
	bool was_raw;
	struct termios saved;
	FILE *curses_out, *curses_in;
	SCREEN *screen;
	WINDOW *keys; /* a pad: reading keys never refreshes the screen */
	char *out;
	size_t out_len, out_done;
	int rows, cols;
	bool ascii, mono, redraw;
};

static int open_tty(struct term *t, int tty, struct error *e)
{
	struct termios raw;
	char path[64];

	t->tty = -1;
	if (tty < 0)
		return 0;
	/* A description of our own: O_NONBLOCK must not reach the shell. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", tty);
	t->tty = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (t->tty < 0)
		return error_errno(e, errno, "opening the terminal");
	if (tcgetattr(t->tty, &t->saved))
		return error_errno(e, errno, "reading the terminal's modes");
	raw = t->saved;
	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(t->tty, TCSANOW, &raw))
		return error_errno(e, errno, "setting the terminal's modes");
	t->was_raw = true;
	return 0;
}

static int open_files(struct term *t, struct error *e)
{
	int in;

	t->memory = memfd_create("frame", MFD_CLOEXEC);
	if (t->memory < 0)
		return error_errno(e, errno, "making room for frames");
	t->curses_out = fdopen(t->memory, "w");
	in = t->tty >= 0 ? dup(t->tty) : open("/dev/null", O_RDONLY);
	t->curses_in = in >= 0 ? fdopen(in, "r") : NULL;
	if (!t->curses_out || !t->curses_in)
		return error_errno(e, errno, "making room for frames");
	return 0;
}

static int open_curses(struct term *t, const struct term_options *o,
		       struct error *e)
{
	const char *type = o->type && *o->type ? o->type : "xterm-256color";

	set_escdelay(ESC_MS);
	t->screen = newterm(type, t->curses_out, t->curses_in);
	if (!t->screen)
		return error_set(e, -ENOTTY,
				 "terminal type '%.60s' is not known here; set "
				 "TERM to one that is, for example xterm",
				 type);
	set_term(t->screen);
	noecho();
	nonl();
	curs_set(0);
	t->mono = o->no_color || !has_colors();
	if (!t->mono) {
		start_color();
		use_default_colors();
	}
	t->keys = newpad(1, 1);
	if (!t->keys)
		return error_set(e, -ENOMEM, "no memory for the terminal");
	keypad(t->keys, TRUE);
	nodelay(t->keys, TRUE);
	mouseinterval(0);
	return 0;
}

struct term *term_open(const struct term_options *o, struct error *e)
{
	struct term *t = calloc(1, sizeof(*t));

	if (!t) {
		error_set(e, -ENOMEM, "no memory for the terminal");
		return NULL;
	}
	t->memory = -1;
	t->rows = o->rows ? o->rows : 24;
	t->cols = o->cols ? o->cols : 80;
	t->ascii = o->ascii;
	t->redraw = true;
	if (open_tty(t, o->tty, e) || open_files(t, e) ||
	    open_curses(t, o, e)) {
		term_close(t);
		return NULL;
	}
	term_set_mouse(t, o->mouse);
	return t;
}

/* Moves what ncurses wrote into the buffer of bytes to send. */
static void collect(struct term *t)
{
	off_t len;
	char *out;

	fflush(t->curses_out);
	len = lseek(t->memory, 0, SEEK_CUR);
	if (len <= 0)
		return;
	if (t->tty >= 0) {
		out = realloc(t->out, t->out_len + (size_t)len);
		if (out) {
			t->out = out;
			len = pread(t->memory, out + t->out_len, (size_t)len,
				    0);
			t->out_len += len > 0 ? (size_t)len : 0;
		}
	}
	lseek(t->memory, 0, SEEK_SET);
	if (ftruncate(t->memory, 0))
		t->redraw = true;
}

int term_flush(struct term *t)
{
	ssize_t n;

	while (t->out_done < t->out_len) {
		n = write(t->tty, t->out + t->out_done,
			  t->out_len - t->out_done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return -errno;
		t->out_done += (size_t)n;
	}
	t->out_done = t->out_len = 0;
	return 0;
}

bool term_is_busy(const struct term *t)
{
	return t->out_done < t->out_len;
}

/* The last bytes restore the screen: a line that is merely slow gets half a
 * second to take them. */
static void drain(struct term *t)
{
	struct pollfd p = {.fd = t->tty, .events = POLLOUT};

	for (int i = 0; i < 10 && t->tty >= 0; i++) {
		if (term_flush(t) || !term_is_busy(t))
			return;
		poll(&p, 1, 50);
	}
}

void term_close(struct term *t)
{
	if (!t)
		return;
	if (t->screen) {
		mousemask(0, NULL);
		if (t->keys)
			delwin(t->keys);
		endwin();
		collect(t);
		drain(t);
		delscreen(t->screen);
	}
	if (t->curses_out)
		fclose(t->curses_out);
	else if (t->memory >= 0)
		close(t->memory);
	if (t->curses_in)
		fclose(t->curses_in);
	if (t->was_raw)
		tcsetattr(t->tty, TCSANOW, &t->saved);
	if (t->tty >= 0)
		close(t->tty);
	free(t->out);
	free(t);
}

int term_fd(const struct term *t)
{
	return t->tty;
}

/* ---- colours ---- */

static const uint32_t ansi_rgb[16] = {
	0x000000, 0xcd0000, 0x00cd00, 0xcdcd00, 0x0000ee, 0xcd00cd,
	0x00cdcd, 0xe5e5e5, 0x7f7f7f, 0xff0000, 0x00ff00, 0xffff00,
	0x5c5cff, 0xff00ff, 0x00ffff, 0xffffff,
};

static int cube_level(int v)
{
	return v < 48 ? 0 : v < 115 ? 1 : (v - 35) / 40;
}

static uint32_t palette_rgb(int index)
{
	static const int levels[] = {0, 95, 135, 175, 215, 255};
	int i = index - 16, grey;

	if (index < 16)
		return ansi_rgb[index];
	if (index >= 232) {
		grey = 8 + (index - 232) * 10;
		return (uint32_t)(grey << 16 | grey << 8 | grey);
	}
	return (uint32_t)(levels[i / 36] << 16 | levels[i / 6 % 6] << 8 |
			  levels[i % 6]);
}

static int distance(uint32_t a, uint32_t b)
{
	int r = (int)(a >> 16 & 255) - (int)(b >> 16 & 255);
	int g = (int)(a >> 8 & 255) - (int)(b >> 8 & 255);
	int bl = (int)(a & 255) - (int)(b & 255);

	return 3 * r * r + 4 * g * g + 2 * bl * bl;
}

static int nearest_256(uint32_t rgb)
{
	int r = rgb >> 16 & 255, g = rgb >> 8 & 255, b = rgb & 255;
	int cube = 16 + 36 * cube_level(r) + 6 * cube_level(g) + cube_level(b);
	int mean = (r + g + b) / 3;
	int grey = mean < 8 ? 16 : mean > 238 ? 231 : 232 + (mean - 8) / 10;

	return distance(palette_rgb(cube), rgb) <=
			       distance(palette_rgb(grey), rgb)
		       ? cube
		       : grey;
}

/* Of eight colours none is a dark grey: what is not nearly black is white. */
static int grey_of_8(uint32_t rgb)
{
	int r = rgb >> 16 & 255, g = rgb >> 8 & 255, b = rgb & 255;
	int most = r > g ? (r > b ? r : b) : g > b ? g : b;
	int least = r < g ? (r < b ? r : b) : g < b ? g : b;

	if (most - least > 24)
		return -1;
	return most < 0x40 ? 0 : 7;
}

static int nearest_16(uint32_t rgb, int count)
{
	int best = count == 8 ? grey_of_8(rgb) : -1;

	if (best >= 0)
		return best;
	best = 0;

	for (int i = 1; i < count; i++)
		if (distance(ansi_rgb[i], rgb) < distance(ansi_rgb[best], rgb))
			best = i;
	return best;
}

/* What ncurses calls the colour on this terminal; *bold is set where a bright
 * ink must be made from a plain one. */
static int curses_color(int32_t color, bool *bold)
{
	uint32_t rgb;

	if (color < 0)
		return -1;
	if (color < 16 && COLORS >= 16 && COLORS <= 256)
		return color;
	if (color < 16) {
		*bold |= color >= 8;
		return color & 7;
	}
	if (color < 256 && COLORS == 256)
		return color;
	rgb = color & COLOR_RGB_BIT ? (uint32_t)color & 0xffffff
				    : palette_rgb(color);
	if (COLORS > 256)
		return rgb < 8 ? 0 : (int)rgb;
	if (COLORS == 256)
		return nearest_256(rgb);
	color = nearest_16(rgb, COLORS >= 16 ? 16 : 8);
	return color;
}

static attr_t curses_attr(uint32_t attr)
{
	return (attr & ATTR_BOLD ? A_BOLD : 0) | (attr & ATTR_DIM ? A_DIM : 0) |
	       (attr & ATTR_REVERSE ? A_REVERSE : 0) |
	       (attr & ATTR_UNDERLINE ? A_UNDERLINE : 0) |
	       (attr & ATTR_BLINK ? A_BLINK : 0);
}

/* ---- frames ---- */

static void show_cell(struct term *t, int row, int col, const struct cell *cell)
{
	wchar_t text[2] = {(wchar_t)cell->ch, 0};
	attr_t attr = curses_attr(cell->attr);
	bool bold = false, paper_bold = false;
	int pair = 0, fg, bg;
	cchar_t cc;

	if (!t->mono) {
		fg = curses_color(cell->fg, &bold);
		bg = curses_color(cell->bg, &paper_bold);
		if (fg >= 0 || bg >= 0)
			pair = alloc_pair(fg, bg);
		if (pair < 0)
			pair = 0;
		attr |= bold ? A_BOLD : 0;
	}
	setcchar(&cc, text, attr, (short)(pair < 32767 ? pair : 0), &pair);
	mvadd_wch(row, col, &cc);
}

bool term_show(struct term *t, const struct canvas *c)
{
	const struct cell *cell;

	if (term_is_busy(t))
		return false;
	if (t->redraw)
		clearok(stdscr, TRUE);
	t->redraw = false;
	for (int row = 0; row < c->rows && row < LINES; row++) {
		for (int col = 0; col < c->cols && col < COLS; col++) {
			cell = &c->cells[row * c->cols + col];
			if (cell->ch)
				show_cell(t, row, col, cell);
		}
	}
	if (c->cursor_row >= 0 && c->cursor_col >= 0) {
		curs_set(1);
		move(c->cursor_row, c->cursor_col);
	} else {
		curs_set(0);
	}
	refresh();
	collect(t);
	term_flush(t);
	return true;
}

void term_redraw(struct term *t)
{
	t->redraw = true;
}

void term_size(struct term *t, int *rows, int *cols)
{
	struct winsize ws;

	if (t->tty >= 0 && !ioctl(t->tty, TIOCGWINSZ, &ws) && ws.ws_row &&
	    ws.ws_col) {
		t->rows = ws.ws_row;
		t->cols = ws.ws_col;
	}
	if (t->rows != LINES || t->cols != COLS) {
		resize_term(t->rows, t->cols);
		erase();
		t->redraw = true;
	}
	*rows = t->rows;
	*cols = t->cols;
}

void term_set_mouse(struct term *t, bool on)
{
	mmask_t mask = BUTTON1_PRESSED | BUTTON1_RELEASED | BUTTON2_PRESSED |
		       BUTTON2_RELEASED | BUTTON3_PRESSED | BUTTON3_RELEASED |
		       BUTTON4_PRESSED | BUTTON5_PRESSED;

	mousemask(on ? mask : 0, NULL);
	collect(t);
	term_flush(t);
}

bool term_is_mono(const struct term *t)
{
	return t->mono;
}

bool term_is_ascii(const struct term *t)
{
	return t->ascii;
}

/* ---- keys ---- */

static const struct {
	int curses;
	uint32_t code;
	unsigned mods;
} key_map[] = {
	{KEY_UP, K_UP, 0},
	{KEY_DOWN, K_DOWN, 0},
	{KEY_LEFT, K_LEFT, 0},
	{KEY_RIGHT, K_RIGHT, 0},
	{KEY_HOME, K_HOME, 0},
	{KEY_END, K_END, 0},
	{KEY_FIND, K_HOME, 0},
	{KEY_SELECT, K_END, 0},
	{KEY_PPAGE, K_PAGE_UP, 0},
	{KEY_NPAGE, K_PAGE_DOWN, 0},
	{KEY_SPREVIOUS, K_PAGE_UP, MOD_SHIFT},
	{KEY_SNEXT, K_PAGE_DOWN, MOD_SHIFT},
	{KEY_IC, K_INSERT, 0},
	{KEY_DC, K_DELETE, 0},
	{KEY_BACKSPACE, K_BACKSPACE, 0},
	{KEY_ENTER, K_ENTER, 0},
	{KEY_BTAB, K_TAB, MOD_SHIFT},
	{KEY_SLEFT, K_LEFT, MOD_SHIFT},
	{KEY_SRIGHT, K_RIGHT, MOD_SHIFT},
	{KEY_SR, K_UP, MOD_SHIFT},
	{KEY_SF, K_DOWN, MOD_SHIFT},
};

static bool read_mouse(struct key *k)
{
	MEVENT m;

	if (getmouse(&m) != OK)
		return false;
	*k = (struct key){.code = K_MOUSE, .row = m.y, .col = m.x};
	k->buttons = (m.bstate & BUTTON1_PRESSED ? 1U : 0) |
		     (m.bstate & BUTTON2_PRESSED ? 2U : 0) |
		     (m.bstate & BUTTON3_PRESSED ? 4U : 0) |
		     (m.bstate & BUTTON4_PRESSED ? 8U : 0) |
		     (m.bstate & BUTTON5_PRESSED ? 16U : 0);
	return true;
}

static bool from_function_key(wint_t ch, struct key *k)
{
	if (ch == KEY_MOUSE)
		return read_mouse(k);
	if (ch >= (wint_t)KEY_F(1) && ch <= (wint_t)KEY_F(12)) {
		*k = (struct key){.code = K_F1 + ch - (wint_t)KEY_F(1)};
		return true;
	}
	for (size_t i = 0; i < sizeof(key_map) / sizeof(key_map[0]); i++) {
		if (ch == (wint_t)key_map[i].curses) {
			*k = (struct key){.code = key_map[i].code,
					  .mods = key_map[i].mods};
			return true;
		}
	}
	return false;
}

static void from_char(wint_t ch, struct key *k)
{
	*k = (struct key){.code = ch};
	if (ch == '\r' || ch == '\n')
		k->code = K_ENTER;
	else if (ch == '\t')
		k->code = K_TAB;
	else if (ch == 0x7f || ch == 8)
		k->code = K_BACKSPACE;
	else if (ch == 0x1b)
		k->code = K_ESC;
	else if (ch == 0)
		*k = (struct key){.code = ' ', .mods = MOD_CTRL};
	else if (ch < 0x1b)
		*k = (struct key){.code = ch - 1 + 'a', .mods = MOD_CTRL};
	else if (ch < 0x20)
		*k = (struct key){.code = ch - 0x1c + '\\', .mods = MOD_CTRL};
}

bool term_read_key(struct term *t, struct key *k)
{
	wint_t ch;
	int ret;

	if (t->tty < 0)
		return false;
	for (;;) {
		ret = wget_wch(t->keys, &ch);
		if (ret == ERR)
			return false;
		if (ret == KEY_CODE_YES) {
			if (from_function_key(ch, k))
				return true;
			continue;
		}
		from_char(ch, k);
		if (k->code != K_ESC)
			return true;
		ret = wget_wch(t->keys, &ch);
		if (ret == ERR)
			return true;
		if (ret == KEY_CODE_YES) {
			if (!from_function_key(ch, k))
				continue;
		} else {
			from_char(ch, k);
		}
		if (k->code != K_ESC)
			k->mods |= MOD_ALT;
		return true;
	}
}
