/*
 * A serial line seen through libvterm.  What the line kept from before is
 * played into a new emulator with its answers muted: a guest must not get
 * replies to questions it asked long ago.
 */
#include "ui/screen/console_parts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vterm.h>

#define SERIAL_HISTORY 1000

struct past_line {
	struct cell *cells;
	int cols;
};

struct serial_view {
	struct serial_line *line;
	int fd;
	uint64_t pos;
	VTerm *vt;
	VTermScreen *screen;
	bool muted, cursor_hidden;
	int rows, cols;
	struct past_line
		past[SERIAL_HISTORY]; /* a ring, newest at `next` - 1 */
	int nr_past, next;
};

static void answer(const char *bytes, size_t len, void *user)
{
	struct serial_view *s = user;

	if (!s->muted)
		serial_line_send(s->line, bytes, len);
}

static int32_t from_vterm(const VTermColor *c, int32_t unset)
{
	if (VTERM_COLOR_IS_DEFAULT_FG(c) || VTERM_COLOR_IS_DEFAULT_BG(c))
		return unset;
	if (VTERM_COLOR_IS_INDEXED(c))
		return c->indexed.idx;
	return COLOR_RGB_BIT | c->rgb.red << 16 | c->rgb.green << 8 |
	       c->rgb.blue;
}

static struct cell convert(const VTermScreenCell *v)
{
	struct cell cell = {.ch = v->chars[0],
			    .fg = from_vterm(&v->fg, -1),
			    .bg = from_vterm(&v->bg, -1)};

	if (!cell.ch || cell.ch == (uint32_t)-1)
		cell.ch = ' ';
	cell.attr = (v->attrs.bold ? ATTR_BOLD : 0U) |
		    (v->attrs.reverse ? ATTR_REVERSE : 0U) |
		    (v->attrs.underline ? ATTR_UNDERLINE : 0U) |
		    (v->attrs.blink ? ATTR_BLINK : 0U);
	return cell;
}

static int push_line(int cols, const VTermScreenCell *cells, void *user)
{
	struct serial_view *s = user;
	struct past_line *l = &s->past[s->next];
	struct cell *copy = realloc(l->cells, (size_t)cols * sizeof(*copy));

	if (!copy)
		return 0;
	for (int i = 0; i < cols; i++)
		copy[i] = convert(&cells[i]);
	l->cells = copy;
	l->cols = cols;
	s->next = (s->next + 1) % SERIAL_HISTORY;
	if (s->nr_past < SERIAL_HISTORY)
		s->nr_past++;
	return 1;
}

static int set_prop(VTermProp prop, VTermValue *val, void *user)
{
	struct serial_view *s = user;

	if (prop == VTERM_PROP_CURSORVISIBLE)
		s->cursor_hidden = !val->boolean;
	return 1;
}

static const VTermScreenCallbacks screen_callbacks = {
	.sb_pushline = push_line,
	.settermprop = set_prop,
};

struct serial_view *serial_view_open(struct serial_line *line, int rows,
				     int cols)
{
	struct serial_view *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->line = line;
	s->rows = rows;
	s->cols = cols;
	s->fd = serial_line_reader_add(line);
	s->vt = vterm_new(rows, cols);
	if (!s->vt) {
		serial_view_close(s);
		return NULL;
	}
	vterm_set_utf8(s->vt, 1);
	vterm_output_set_callback(s->vt, answer, s);
	s->screen = vterm_obtain_screen(s->vt);
	vterm_screen_set_callbacks(s->screen, &screen_callbacks, s);
	vterm_screen_enable_altscreen(s->screen, 1);
	vterm_screen_reset(s->screen, 1);
	s->muted = true;
	serial_view_read(s);
	s->muted = false;
	return s;
}

void serial_view_close(struct serial_view *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		serial_line_reader_remove(s->line, s->fd);
	if (s->vt)
		vterm_free(s->vt);
	for (int i = 0; i < SERIAL_HISTORY; i++)
		free(s->past[i].cells);
	free(s);
}

int serial_view_fd(const struct serial_view *s)
{
	return s->fd;
}

bool serial_view_read(struct serial_view *s)
{
	char buf[4096];
	uint64_t count;
	bool came = false;
	size_t n, total = 0;

	if (s->fd >= 0 && read(s->fd, &count, sizeof(count)) < 0)
		count = 0;
	/* No more than the line keeps: a guest that floods can't hold us. */
	while (total < 256 * 1024 &&
	       (n = serial_line_read(s->line, &s->pos, buf, sizeof(buf))) > 0) {
		vterm_input_write(s->vt, buf, n);
		total += n;
		came = true;
	}
	return came;
}

/* Row `row` counted from the oldest kept line; the screen follows the past. */
static void draw_past_row(const struct serial_view *s, struct canvas *c,
			  int line, int row, struct rect r)
{
	const struct past_line *l =
		&s->past[(s->next - s->nr_past + line + SERIAL_HISTORY) %
			 SERIAL_HISTORY];

	for (int i = 0; i < l->cols && i < r.cols; i++)
		canvas_put(c, row, r.col + i, l->cells[i].ch,
			   (struct style){l->cells[i].fg, l->cells[i].bg,
					  l->cells[i].attr});
}

static void draw_screen_row(const struct serial_view *s, struct canvas *c,
			    int line, int row, struct rect r)
{
	VTermScreenCell v;
	struct cell cell;

	for (int col = 0; col < s->cols && col < r.cols;) {
		if (!vterm_screen_get_cell(s->screen, (VTermPos){line, col},
					   &v))
			return;
		cell = convert(&v);
		canvas_put(c, row, r.col + col, cell.ch,
			   (struct style){cell.fg, cell.bg, cell.attr});
		col += v.width > 1 ? v.width : 1;
	}
}

/* The last row worth showing: with the cursor or text on it. */
static int used_rows(const struct serial_view *s, VTermPos cursor)
{
	int used = s->rows;
	VTermScreenCell v;
	bool blank = true;

	while (used > cursor.row + 1) {
		for (int col = 0; col < s->cols && blank; col++) {
			vterm_screen_get_cell(s->screen,
					      (VTermPos){used - 1, col}, &v);
			blank = !v.chars[0] || v.chars[0] == ' ';
		}
		if (!blank)
			break;
		used--;
	}
	return used;
}

int serial_view_draw(struct serial_view *s, struct canvas *c, struct rect r,
		     int scroll, bool cursor)
{
	VTermPos at;
	int end, top, line;

	vterm_state_get_cursorpos(vterm_obtain_state(s->vt), &at);
	end = s->nr_past + used_rows(s, at);
	if (scroll > end - r.rows)
		scroll = end - r.rows;
	if (scroll < 0)
		scroll = 0;
	top = end - r.rows - scroll;
	/* A screen that fits is shown from its own first row. */
	if (s->rows <= r.rows && !scroll)
		top = s->nr_past;
	if (top < 0)
		top = 0;
	for (int i = 0; i < r.rows; i++) {
		line = top + i;
		if (line < s->nr_past)
			draw_past_row(s, c, line, r.row + i, r);
		else if (line < s->nr_past + s->rows)
			draw_screen_row(s, c, line - s->nr_past, r.row + i, r);
	}
	line = s->nr_past + at.row - top;
	if (cursor && !s->cursor_hidden && line >= 0 && line < r.rows &&
	    at.col < r.cols) {
		c->cursor_row = r.row + line;
		c->cursor_col = r.col + at.col;
	}
	return scroll;
}

static const struct {
	uint32_t code;
	VTermKey key;
} vterm_keys[] = {
	{K_UP, VTERM_KEY_UP},
	{K_DOWN, VTERM_KEY_DOWN},
	{K_LEFT, VTERM_KEY_LEFT},
	{K_RIGHT, VTERM_KEY_RIGHT},
	{K_HOME, VTERM_KEY_HOME},
	{K_END, VTERM_KEY_END},
	{K_PAGE_UP, VTERM_KEY_PAGEUP},
	{K_PAGE_DOWN, VTERM_KEY_PAGEDOWN},
	{K_INSERT, VTERM_KEY_INS},
	{K_DELETE, VTERM_KEY_DEL},
	{K_BACKSPACE, VTERM_KEY_BACKSPACE},
	{K_ENTER, VTERM_KEY_ENTER},
	{K_TAB, VTERM_KEY_TAB},
	{K_ESC, VTERM_KEY_ESCAPE},
};

void serial_view_key(struct serial_view *s, const struct key *k)
{
	VTermModifier mod = (k->mods & MOD_SHIFT ? VTERM_MOD_SHIFT : 0) |
			    (k->mods & MOD_CTRL ? VTERM_MOD_CTRL : 0) |
			    (k->mods & MOD_ALT ? VTERM_MOD_ALT : 0);

	if (k->code >= K_F1 && k->code <= K_F12) {
		vterm_keyboard_key(
			s->vt, VTERM_KEY_FUNCTION_0 + (int)(k->code - K_F1) + 1,
			mod);
		return;
	}
	for (size_t i = 0; i < sizeof(vterm_keys) / sizeof(vterm_keys[0]); i++)
		if (vterm_keys[i].code == k->code)
			vterm_keyboard_key(s->vt, vterm_keys[i].key, mod);
	if (k->code < K_NONE)
		vterm_keyboard_unichar(s->vt, k->code, mod);
}

void serial_view_type(struct serial_view *s, const char *text)
{
	struct key k = {0};
	uint32_t ch;

	while ((ch = text_next(&text)) != 0) {
		k.code = ch == '\n' || ch == '\r' ? K_ENTER : ch;
		serial_view_key(s, &k);
	}
}
