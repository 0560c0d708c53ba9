/*
 * Text modes: cells for the terminal, glyphs of the guest's font for VNC.
 *
 * What a cell shows is one number, its key; a cell is drawn when its key is
 * not the one it was drawn with.
 */
#include "core/hw/display/vga.h"

#include <string.h>

#include "core/loop.h"

#define BLINK_NS     266000000ull /* 16 frames at 60 Hz */
#define KEY_CURSOR   (1u << 16)
#define KEY_HIDDEN   (1u << 17) /* a blinking character, its dark half */
#define GLYPH_STRIDE 32

static uint32_t cell_address(const struct vga_mode *m, int row, int col)
{
	return (m->start + (uint32_t)row * m->pitch + (uint32_t)col * 4) &
	       m->wrap;
}

/* Copies both fonts out of plane 2; true when they differ from before. */
static bool update_fonts(struct vga *v)
{
	bool changed = false;
	int f, i;

	for (f = 0; f < 2; f++) {
		uint8_t *font = v->drawn.fonts[f];

		for (i = 0; i < 256 * GLYPH_STRIDE; i++) {
			uint32_t at = (v->mode.fonts[f] + (uint32_t)i) * 4 + 2;
			uint8_t byte = v->vram[at & v->mode.wrap];

			changed |= font[i] != byte;
			font[i] = byte;
		}
	}
	return changed;
}

static void read_cells(struct vga *v)
{
	const struct vga_mode *m = &v->mode;
	struct console_text *t = &v->drawn.text;
	int row, col;

	t->cols = m->cols;
	t->rows = m->rows;
	for (row = 0; row < m->rows; row++) {
		for (col = 0; col < m->cols; col++) {
			const uint8_t *p = v->vram + cell_address(m, row, col);

			t->cells[row][col] =
				(struct console_cell){.ch = p[0], .attr = p[1]};
		}
	}
}

static void find_cursor(struct vga *v)
{
	const struct vga_mode *m = &v->mode;
	struct console_text *t = &v->drawn.text;
	uint32_t want = ((uint32_t)m->cursor * 4) & m->wrap;
	int row, col;

	t->cursor_col = t->cursor_row = -1;
	if (m->cursor < 0)
		return;
	for (row = 0; row < m->rows; row++) {
		uint32_t first = cell_address(m, row, 0);

		col = (int)((want - first) & m->wrap) / 4;
		if (col < m->cols) {
			t->cursor_col = col;
			t->cursor_row = row;
			return;
		}
	}
}

static uint32_t cell_key(const struct vga *v, int row, int col, bool dark)
{
	const struct console_text *t = &v->drawn.text;
	const struct console_cell *cell = &t->cells[row][col];
	uint32_t key = (uint32_t)cell->ch | (uint32_t)cell->attr << 8;

	if (dark && v->mode.blinks && (cell->attr & 0x80))
		key |= KEY_HIDDEN;
	if (!dark && row == t->cursor_row && col == t->cursor_col)
		key |= KEY_CURSOR;
	return key;
}

/* The pixels of one scan line of a glyph, the leftmost in bit 8. */
static unsigned glyph_bits(const struct vga *v, uint32_t key, int line)
{
	const struct vga_mode *m = &v->mode;
	unsigned ch = key & 0xff, font = key >> 11 & 1, bits;

	if ((key & KEY_CURSOR) && line >= m->cursor_from &&
	    line <= m->cursor_to)
		return 0x1ff;
	if (key & KEY_HIDDEN)
		return 0;
	bits = (unsigned)v->drawn.fonts[font][ch * GLYPH_STRIDE + line] << 1;
	if (m->line_graphics && ch >= 0xc0 && ch <= 0xdf)
		bits |= bits >> 1 & 1;
	return bits;
}

static void draw_cell(struct vga *v, uint32_t *surface, int row, int col)
{
	const struct vga_mode *m = &v->mode;
	uint32_t key = v->drawn.keys[row][col];
	uint32_t ink = m->colours[key >> 8 & 15];
	uint32_t paper = m->colours[key >> 12 & (m->blinks ? 7 : 15)];
	int width = m->cell_width * m->dots, x, y;
	uint32_t *dst = surface + (size_t)row * m->cell_height * m->width +
			(size_t)col * width;

	for (y = 0; y < m->cell_height; y++, dst += m->width) {
		unsigned bits = glyph_bits(v, key, y);

		for (x = 0; x < width; x++)
			dst[x] = bits >> (8 - x / m->dots) & 1 ? ink : paper;
	}
}

/* Draws the cells of a row whose key changed; tells where. */
static void draw_row(struct vga *v, uint32_t *surface, int row, bool dark)
{
	const struct vga_mode *m = &v->mode;
	int width = m->cell_width * m->dots, col, from = -1, to = 0;
	struct console_rect r;

	for (col = 0; col < m->cols; col++) {
		uint32_t key = cell_key(v, row, col, dark);

		if (v->drawn.keys[row][col] == key)
			continue;
		v->drawn.keys[row][col] = key;
		draw_cell(v, surface, row, col);
		if (from < 0)
			from = col;
		to = col + 1;
	}
	if (from < 0)
		return;
	r = (struct console_rect){from * width, row * m->cell_height,
				  (to - from) * width, m->cell_height};
	console_changed(v->pci.dev.m->console, r);
}

void vga_text_draw(struct vga *v, bool full, bool dirty)
{
	struct console *c = v->pci.dev.m->console;
	uint32_t *surface = console_surface(c, v->mode.width, v->mode.height);
	bool dark = loop_now_ns() / BLINK_NS & 1;
	int row;

	if (dirty || full) {
		full |= update_fonts(v);
		read_cells(v);
		find_cursor(v);
		console_set_text(c, &v->drawn.text);
	}
	if (!surface)
		return;
	if (full)
		memset(v->drawn.keys, 0xff, sizeof(v->drawn.keys));
	for (row = 0; row < v->mode.rows; row++)
		draw_row(v, surface, row, dark);
}
