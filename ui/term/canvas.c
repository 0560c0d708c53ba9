/* The grid of cells.  Invariant: every cell's ch is printable, 0 only right
 * of a wide character, and below 0x80 on an ASCII canvas. */
#include "ui/term/canvas.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define CANVAS_MAX 1000 /* rows and columns beyond it are not drawn */

static const struct cell blank = {.ch = ' ', .fg = -1, .bg = -1};

int canvas_resize(struct canvas *c, int rows, int cols)
{
	struct cell *cells;

	rows = rows < 1 ? 1 : rows > CANVAS_MAX ? CANVAS_MAX : rows;
	cols = cols < 1 ? 1 : cols > CANVAS_MAX ? CANVAS_MAX : cols;
	cells = calloc((size_t)rows * (size_t)cols, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	free(c->cells);
	c->cells = cells;
	c->rows = rows;
	c->cols = cols;
	canvas_clear(c);
	return 0;
}

void canvas_fini(struct canvas *c)
{
	free(c->cells);
	c->cells = NULL;
	c->rows = c->cols = 0;
}

void canvas_clear(struct canvas *c)
{
	for (int i = 0; i < c->rows * c->cols; i++)
		c->cells[i] = blank;
	c->cursor_row = c->cursor_col = -1;
	c->clip.rows = 0;
}

void canvas_clip(struct canvas *c, struct rect r)
{
	c->clip = r;
}

static bool is_clipped(const struct canvas *c, int row, int col)
{
	const struct rect *r = &c->clip;

	return r->rows && (row < r->row || row >= r->row + r->rows ||
			   col < r->col || col >= r->col + r->cols);
}

static struct cell *cell_at(const struct canvas *c, int row, int col)
{
	if (row < 0 || col < 0 || row >= c->rows || col >= c->cols)
		return NULL;
	return &c->cells[row * c->cols + col];
}

/* Columns of a character on this canvas: 1 or 2; what can't be shown alone
 * (control, combining, unassigned) is replaced first. */
static int settle(const struct canvas *c, uint32_t *ch)
{
	int width;

	if (*ch >= 0x20 && *ch < 0x7f)
		return 1;
	if (c->ascii) {
		*ch = (uint32_t)text_ascii(*ch);
		return 1;
	}
	width = wcwidth((wchar_t)*ch);
	if (width == 1 || width == 2)
		return width;
	*ch = *ch < 0x20 || *ch == 0x7f ? 0xb7 : 0xfffd;
	return 1;
}

/* A half of a wide character must not stay behind alone. */
static void unpair(struct canvas *c, int row, int col)
{
	struct cell *here = cell_at(c, row, col);
	struct cell *left = cell_at(c, row, col - 1);
	struct cell *right = cell_at(c, row, col + 1);

	if (here && !here->ch && left)
		left->ch = ' ';
	if (here && here->ch && right && !right->ch)
		right->ch = ' ';
}

static int put(struct canvas *c, int row, int col, int room, uint32_t ch,
	       struct style style)
{
	int width = settle(c, &ch);
	struct cell *cell = cell_at(c, row, col);
	struct cell *half = width == 2 ? cell_at(c, row, col + 1) : NULL;

	if (width == 2 && (room < 2 || !half)) {
		ch = ' ';
		width = 1;
		half = NULL;
	}
	if (!cell || is_clipped(c, row, col))
		return width;
	unpair(c, row, col);
	*cell = (struct cell){ch, style.fg, style.bg, style.attr};
	if (half) {
		unpair(c, row, col + 1);
		*half = (struct cell){0, style.fg, style.bg, style.attr};
	}
	return width;
}

void canvas_put(struct canvas *c, int row, int col, uint32_t ch,
		struct style style)
{
	put(c, row, col, 2, ch, style);
}

int canvas_text_style(struct canvas *c, int row, int col, int width,
		      struct style style, const char *text)
{
	int used = 0;
	uint32_t ch;

	while (used < width && (ch = text_next(&text)) != 0) {
		if (ch >= 0x300 && !c->ascii && wcwidth((wchar_t)ch) == 0)
			continue;
		used += put(c, row, col + used, width - used, ch, style);
	}
	return used;
}

int canvas_text(struct canvas *c, int row, int col, int width, enum role role,
		const char *text)
{
	return canvas_text_style(c, row, col, width, c->theme->roles[role],
				 text);
}

int canvas_printf(struct canvas *c, int row, int col, int width, enum role role,
		  const char *fmt, ...)
{
	char buf[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	return canvas_text(c, row, col, width, role, buf);
}

void canvas_right(struct canvas *c, int row, int col, int width, enum role role,
		  const char *text)
{
	int need = text_width(text);
	int skip = need < width ? width - need : 0;

	canvas_text(c, row, col + skip, width - skip, role, text);
}

void canvas_fill(struct canvas *c, struct rect r, enum role role)
{
	struct style style = c->theme->roles[role];

	for (int row = r.row; row < r.row + r.rows; row++)
		for (int col = r.col; col < r.col + r.cols; col++)
			canvas_put(c, row, col, ' ', style);
}

void canvas_tint(struct canvas *c, int row, int col, int width, enum role role)
{
	struct style style = c->theme->roles[role];
	struct cell *cell;

	for (int i = 0; i < width; i++) {
		cell = cell_at(c, row, col + i);
		if (!cell || is_clipped(c, row, col + i))
			continue;
		if (style.bg >= 0) {
			cell->bg = style.bg;
			cell->fg = style.fg;
		}
		cell->attr |= style.attr;
	}
}

static void frame_lines(struct canvas *c, struct rect r, struct style s)
{
	int bottom = r.row + r.rows - 1, right = r.col + r.cols - 1;

	for (int col = r.col + 1; col < right; col++) {
		canvas_put(c, r.row, col, 0x2500, s);
		canvas_put(c, bottom, col, 0x2500, s);
	}
	for (int row = r.row + 1; row < bottom; row++) {
		canvas_put(c, row, r.col, 0x2502, s);
		canvas_put(c, row, right, 0x2502, s);
	}
	canvas_put(c, r.row, r.col, 0x256d, s);
	canvas_put(c, r.row, right, 0x256e, s);
	canvas_put(c, bottom, r.col, 0x2570, s);
	canvas_put(c, bottom, right, 0x256f, s);
}

struct rect canvas_frame(struct canvas *c, struct rect r, const char *title,
			 bool focused)
{
	enum role role = focused ? ROLE_FRAME_FOCUS : ROLE_FRAME;
	int col = r.col + 2, room = r.cols - 5;

	c->clip.rows = 0;
	if (r.rows < 2 || r.cols < 2)
		return (struct rect){r.row, r.col, 0, 0};
	frame_lines(c, r, c->theme->roles[role]);
	if (title && *title && room > 2) {
		canvas_text(c, r.row, col, 1, ROLE_TITLE, " ");
		col++;
		col += canvas_text(c, r.row, col, room, ROLE_TITLE, title);
		canvas_text(c, r.row, col, 1, ROLE_TITLE, " ");
	}
	r = (struct rect){r.row + 1, r.col + 1, r.rows - 2, r.cols - 2};
	canvas_clip(c, r);
	return r;
}

void canvas_spark(struct canvas *c, int row, int col, int width, enum role role,
		  const uint64_t *values, int nr, uint64_t max)
{
	struct style style = c->theme->roles[role];
	int skip = nr > width ? nr - width : 0;
	int pad = nr < width ? width - nr : 0;
	uint64_t level;

	for (int i = 0; i < width; i++) {
		if (i < pad || !max) {
			canvas_put(c, row, col + i, ' ', style);
			continue;
		}
		level = values[skip + i - pad];
		level = level > max ? max : level;
		if (level)
			level = 1 + (level - 1) * 7 / (max > 1 ? max - 1 : 1);
		canvas_put(c, row, col + i,
			   level ? 0x2580 + (uint32_t)level : ' ', style);
	}
}

void canvas_bar(struct canvas *c, int row, int col, int width, enum role role,
		uint64_t part, uint64_t whole)
{
	uint64_t full;

	if (width < 1)
		return;
	full = whole ? (uint64_t)((double)part / (double)whole * width + 0.5)
		     : 0;
	for (int i = 0; i < width; i++)
		canvas_put(
			c, row, col + i, (uint64_t)i < full ? 0x2588 : 0x2591,
			c->theme->roles[(uint64_t)i < full ? role : ROLE_DIM]);
}

size_t canvas_row_text(const struct canvas *c, int row, char *buf, size_t len)
{
	size_t used = 0, keep = 0;
	struct cell *cell;
	char utf8[8];
	int n;

	for (int col = 0; (cell = cell_at(c, row, col)) != NULL; col++) {
		if (!cell->ch)
			continue;
		n = text_encode(cell->ch, utf8);
		if (used + (size_t)n + 1 > len)
			break;
		memcpy(buf + used, utf8, (size_t)n);
		used += (size_t)n;
		if (cell->ch != ' ')
			keep = used;
	}
	if (len)
		buf[keep] = '\0';
	return keep;
}

void canvas_write(const struct canvas *c, FILE *out)
{
	char buf[4 * CANVAS_MAX + 1];

	for (int row = 0; row < c->rows; row++) {
		canvas_row_text(c, row, buf, sizeof(buf));
		fprintf(out, "%s\n", buf);
	}
}
