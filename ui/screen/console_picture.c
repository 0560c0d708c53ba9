/*
 * The guest's picture.  Text modes become text; graphics are averaged down to
 * two pixels a cell (upper half-blocks), or to a ramp of characters where
 * there is no colour.
 */
#include "ui/screen/console_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TEXT_HZ	    20
#define GRAPHICS_HZ 10

struct picture {
	struct console *console;
	struct console_viewer *viewer;
	struct console_info info;
	struct console_text text;
	bool has_text;
	uint32_t *pixels; /* info.width x info.height, as of generation */
	uint64_t generation;
	int hz;
	struct rect shown; /* cells of the last drawing */
};

struct picture *picture_open(struct console *c)
{
	struct picture *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->console = c;
	p->hz = TEXT_HZ;
	p->viewer = console_viewer_create(c, TEXT_HZ);
	if (!p->viewer) {
		free(p);
		return NULL;
	}
	console_info(c, &p->info);
	return p;
}

void picture_close(struct picture *p)
{
	if (!p)
		return;
	console_viewer_destroy(p->viewer);
	free(p->pixels);
	free(p);
}

int picture_fd(const struct picture *p)
{
	return console_viewer_fd(p->viewer);
}

void picture_label(const struct picture *p, char *buf, size_t len)
{
	if (p->info.is_text)
		snprintf(buf, len, "VGA %dx%d", p->info.cols, p->info.rows);
	else
		snprintf(buf, len, "VGA %dx%d", p->info.width, p->info.height);
}

/* ---- text ---- */

static int ansi(unsigned ibm)
{
	static const unsigned char order[8] = {0, 4, 2, 6, 1, 5, 3, 7};

	return order[ibm & 7] | (int)(ibm & 8);
}

struct style picture_style(unsigned attr, bool mono)
{
	struct style s = {ansi(attr & 15), ansi(attr >> 4 & 7), 0};

	if (attr & 0x80)
		s.attr |= ATTR_BLINK;
	if (!mono)
		return s;
	if (s.bg == 7 || (s.bg && !(s.fg & 8)))
		s.attr |= ATTR_REVERSE;
	else if (s.fg & 8)
		s.attr |= ATTR_BOLD;
	s.fg = s.bg = -1;
	return s;
}

static bool row_is_blank(const struct console_text *t, int row)
{
	for (int col = 0; col < t->cols; col++)
		if (t->cells[row][col].ch > ' ' ||
		    t->cells[row][col].attr & 0x70)
			return false;
	return true;
}

/* Which rows to show when not all fit: those with something on them, with
 * the cursor inside. */
static int first_row(const struct console_text *t, int rows)
{
	int top = 0, bottom = t->rows;

	if (t->rows <= rows)
		return 0;
	while (bottom > top + 1 && row_is_blank(t, bottom - 1))
		bottom--;
	if (t->cursor_row >= bottom && t->cursor_row < t->rows)
		bottom = t->cursor_row + 1;
	top = bottom > rows ? bottom - rows : 0;
	while (top > 0 && row_is_blank(t, top) && row_is_blank(t, bottom - 1) &&
	       t->cursor_row < bottom - 1) {
		top--;
		bottom--;
	}
	if (t->cursor_row >= 0 && t->cursor_row < top)
		top = t->cursor_row;
	return top;
}

static void draw_text(struct picture *p, struct canvas *c, struct rect r,
		      int scroll, bool cursor)
{
	const struct console_text *t = &p->text;
	int rows = t->rows < r.rows ? t->rows : r.rows;
	int cols = t->cols < r.cols ? t->cols : r.cols;
	int top = first_row(t, r.rows) - scroll;

	if (top > t->rows - rows)
		top = t->rows - rows;
	if (top < 0)
		top = 0;
	r.row += (r.rows - rows) / 2;
	r.col += (r.cols - cols) / 2;
	p->shown = (struct rect){r.row, r.col, rows, cols};
	for (int row = 0; row < rows; row++) {
		for (int col = 0; col < cols; col++) {
			struct console_cell cell = t->cells[top + row][col];

			canvas_put(c, r.row + row, r.col + col,
				   text_cp437((uint8_t)cell.ch),
				   picture_style(cell.attr, c->mono));
		}
	}
	if (cursor && t->cursor_row >= top && t->cursor_row < top + rows &&
	    t->cursor_col >= 0 && t->cursor_col < cols) {
		c->cursor_row = r.row + t->cursor_row - top;
		c->cursor_col = r.col + t->cursor_col;
	}
}

/* ---- graphics ---- */

/* Brings our copy of the surface up to date; false when there is none. */
static bool copy_surface(struct picture *p)
{
	struct console_rect r;
	bool fresh = !p->pixels || p->generation != p->info.generation;
	size_t count = (size_t)p->info.width * (size_t)p->info.height;

	if (!count)
		return false;
	if (fresh) {
		free(p->pixels);
		p->pixels = calloc(count, sizeof(*p->pixels));
		p->generation = p->info.generation;
		console_viewer_take(p->viewer, &r);
		r = (struct console_rect){0, 0, p->info.width, p->info.height};
	} else if (!console_viewer_take(p->viewer, &r)) {
		return true;
	}
	if (!p->pixels)
		return false;
	if (r.x < 0 || r.y < 0 || r.w <= 0 || r.h <= 0 ||
	    r.w > p->info.width - r.x || r.h > p->info.height - r.y)
		return true;
	if (!console_copy_pixels(
		    p->console, p->generation, r,
		    p->pixels + (size_t)r.y * (size_t)p->info.width + r.x,
		    p->info.width))
		p->generation = 0;
	return true;
}

/* Mean colour of a box of the surface. */
static uint32_t mean(const struct picture *p, int x0, int y0, int x1, int y1)
{
	uint64_t r = 0, g = 0, b = 0, n = 0;
	/* At most 8x8 samples: enough for an eye, bounded for a CPU. */
	int dx = (x1 - x0 + 7) / 8, dy = (y1 - y0 + 7) / 8;

	for (int y = y0; y < y1; y += dy) {
		const uint32_t *line =
			p->pixels + (size_t)y * (size_t)p->info.width;

		for (int x = x0; x < x1; x += dx) {
			r += line[x] >> 16 & 255;
			g += line[x] >> 8 & 255;
			b += line[x] & 255;
			n++;
		}
	}
	if (!n)
		return 0;
	return (uint32_t)(r / n) << 16 | (uint32_t)(g / n) << 8 |
	       (uint32_t)(b / n);
}

static uint32_t pixel(const struct picture *p, int x, int y, int w, int h)
{
	int x0 = (int)((int64_t)x * p->info.width / w);
	int y0 = (int)((int64_t)y * p->info.height / h);
	int x1 = (int)((int64_t)(x + 1) * p->info.width / w);
	int y1 = (int)((int64_t)(y + 1) * p->info.height / h);

	if (y0 >= p->info.height)
		return 0;
	return mean(p, x0, y0, x1 > x0 ? x1 : x0 + 1, y1 > y0 ? y1 : y0 + 1);
}

static uint32_t ramp(uint32_t rgb)
{
	static const char levels[] = " .:-=+*#%@";
	uint32_t light =
		((rgb >> 16 & 255) * 3 + (rgb >> 8 & 255) * 6 + (rgb & 255)) /
		10;

	return (uint32_t)levels[light * 10 / 256];
}

static void draw_cell(const struct picture *p, struct canvas *c, int row,
		      int col, int w, int h)
{
	uint32_t up = pixel(p, col, row * 2, w, h);
	uint32_t low = pixel(p, col, row * 2 + 1, w, h);
	struct style s = {COLOR_RGB_BIT | (int32_t)up,
			  COLOR_RGB_BIT | (int32_t)low, 0};

	if (c->mono || c->ascii) {
		s.bg = -1;
		if (c->mono)
			s.fg = -1;
		canvas_put(
			c, p->shown.row + row, p->shown.col + col,
			ramp(((up >> 1) & 0x7f7f7f) + ((low >> 1) & 0x7f7f7f)),
			s);
		return;
	}
	if (up == low)
		s.fg = s.bg;
	canvas_put(c, p->shown.row + row, p->shown.col + col,
		   up == low ? ' ' : 0x2580, s);
}

static void draw_graphics(struct picture *p, struct canvas *c, struct rect r)
{
	int w = r.cols, h = r.rows * 2, need;

	if (!copy_surface(p))
		return;
	need = (int)((int64_t)w * p->info.height / p->info.width);
	if (need > h)
		w = (int)((int64_t)h * p->info.width / p->info.height);
	else
		h = (need + 1) & ~1;
	w = w < 1 ? 1 : w;
	h = h < 2 ? 2 : h;
	p->shown = (struct rect){r.row + (r.rows - h / 2) / 2,
				 r.col + (r.cols - w) / 2, h / 2, w};
	for (int row = 0; row < h / 2; row++)
		for (int col = 0; col < w; col++)
			draw_cell(p, c, row, col, w, h);
}

void picture_draw(struct picture *p, struct canvas *c, struct rect r,
		  int scroll, bool cursor)
{
	struct console_rect ignored;
	uint64_t count;
	int hz;

	if (read(picture_fd(p), &count, sizeof(count)) < 0)
		count = 0;
	p->shown = (struct rect){0, 0, 0, 0};
	console_info(p->console, &p->info);
	hz = p->info.is_text ? TEXT_HZ : GRAPHICS_HZ;
	if (hz != p->hz)
		console_viewer_set_hz(p->viewer, hz);
	p->hz = hz;
	if (r.rows < 1 || r.cols < 1)
		return;
	if (!p->info.is_text) {
		draw_graphics(p, c, r);
		return;
	}
	console_viewer_take(p->viewer, &ignored);
	p->has_text |= console_copy_text(p->console, &p->text);
	if (p->has_text)
		draw_text(p, c, r, scroll, cursor);
}

bool picture_position(const struct picture *p, int row, int col, int *x, int *y)
{
	const struct rect *s = &p->shown;

	if (row < s->row || row >= s->row + s->rows || col < s->col ||
	    col >= s->col + s->cols)
		return false;
	*x = (int)(((int64_t)(col - s->col) * 2 + 1) * 32767 / (2 * s->cols));
	*y = (int)(((int64_t)(row - s->row) * 2 + 1) * 32767 / (2 * s->rows));
	return true;
}
