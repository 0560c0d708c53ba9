/*
 * Disks, images: the chain of a disk's images, top first, each with a strip of
 * what it holds of the part of the disk that is looked at.
 *
 * What is asked for arrives a moment later; until then the strips show what is
 * known of the range that was looked at before.
 */
#include <stdio.h>
#include <string.h>

#include "ui/screen/disks_parts.h"
#include "ui/screen/screens.h"

#define NAME_COLS 15

static const struct kind {
	char letter;
	uint32_t glyph;
	enum role role;
	const char *name;
} kinds[] = {
	{'d', 0x2588, ROLE_GRAPH, "data"},
	{'m', 0x2593, ROLE_GRAPH, "mixed"},
	{'z', 0x2592, ROLE_ACCENT, "zeroes"},
	{'.', 0xb7, ROLE_DIM, "unallocated"},
	{'e', 0x2524, ROLE_WARN, "end"},
	{' ', 0x2508, ROLE_DIM, "past the end"},
	{'?', '?', ROLE_WARN, "not known"},
};
#define NR_KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

static const struct kind *kind_of(char letter)
{
	for (int i = 0; i < NR_KINDS; i++)
		if (kinds[i].letter == letter)
			return &kinds[i];
	return &kinds[NR_KINDS - 1];
}

/* ---- where one looks ---- */

static uint64_t whole_cell(uint64_t disk_len, unsigned nr_cells)
{
	return nr_cells ? (disk_len + nr_cells - 1) / nr_cells : 0;
}

/* Keeps what is looked at inside the disk, and the cursor in the strips. */
static void fit(struct disks_look *k, uint64_t disk_len, int nr_cells)
{
	uint64_t all = k->cell * (uint64_t)nr_cells;

	if (k->cell >= whole_cell(disk_len, (unsigned)nr_cells))
		k->cell = all = 0;
	if (!k->cell || all >= disk_len)
		k->off = 0;
	else if (k->off > disk_len - all)
		k->off = (disk_len - all) / k->cell * k->cell;
	if (k->cursor >= nr_cells)
		k->cursor = nr_cells - 1;
	if (k->cursor < 0)
		k->cursor = 0;
	k->at = (struct vm_disk_range){k->off, all, (unsigned)nr_cells,
				       k->at.first};
}

/* Bytes a cell: of all of the disk as few whole sectors as do. */
static uint64_t shown_cell(const struct disks_look *k, uint64_t disk_len)
{
	uint64_t cell =
		k->cell ? k->cell : whole_cell(disk_len, k->at.nr_cells);

	return (cell + 511) & ~511ull;
}

static uint64_t disk_len(const struct disks_view *dv)
{
	return dv->rows[dv->look.disk].len;
}

void disks_map_move(struct disks_view *dv, int by)
{
	struct disks_look *k = &dv->look;
	int last = (int)k->at.nr_cells - 1, to = k->cursor + by;
	uint64_t far;

	if (k->cell && to < 0) {
		far = (uint64_t)-to * k->cell;
		k->off -= far < k->off ? far : k->off;
	} else if (k->cell && to > last) {
		k->off += (uint64_t)(to - last) * k->cell;
	}
	k->cursor = to;
	fit(k, disk_len(dv), last + 1);
}

static uint64_t power_of_2_up_to(uint64_t n)
{
	uint64_t p = 512;

	while (p <= n / 2)
		p *= 2;
	return p;
}

/* What the cursor's cell begins with stays under the cursor. */
void disks_map_zoom(struct disks_view *dv, bool in)
{
	struct disks_look *k = &dv->look;
	uint64_t cell = k->shown_cell, here, left;
	int nr = (int)k->at.nr_cells;

	if (!nr || (!in && !k->cell))
		return;
	here = k->off + cell * (uint64_t)k->cursor;
	k->cell = in ? power_of_2_up_to(cell / 4) : cell * 4;
	left = k->cell * (uint64_t)k->cursor;
	k->off = here > left ? (here - left) / k->cell * k->cell : 0;
	fit(k, disk_len(dv), nr);
	k->shown_cell = shown_cell(k, disk_len(dv));
	k->cursor = (int)((here - k->off) / k->shown_cell);
	fit(k, disk_len(dv), nr);
}

/* ---- strips ---- */

/* What the layer has at a byte, as far as is known. */
static char letter_at(const struct vm_disk_map *m, int layer, uint64_t off)
{
	uint64_t i;

	if (off < m->range.off || !m->cell)
		return '?';
	i = (off - m->range.off) / m->cell;
	return i < m->range.nr_cells ? m->layers[layer].cells[i] : '?';
}

static void draw_strip(struct ui *ui, const struct disks_view *dv, int layer,
		       int row)
{
	const struct disks_look *k = &dv->look;
	uint64_t len = disk_len(dv);

	for (unsigned i = 0; i < k->at.nr_cells; i++) {
		uint64_t off = k->off + i * k->shown_cell;
		const struct kind *kind;

		if (off >= len)
			break;
		kind = kind_of(letter_at(&k->map, layer, off));
		canvas_put(&ui->canvas, row, k->strips.col + (int)i,
			   kind->glyph, ui->theme.roles[kind->role]);
	}
}

static void draw_layer(struct ui *ui, struct view *v, int layer, int row,
		       struct rect in)
{
	const struct disks_view *dv = v->data;
	const struct list *l = &v->panels[DISKS_MAP];
	int place = (int)dv->look.map.range.first + layer;

	canvas_text(&ui->canvas, row, in.col, NAME_COLS - 1, ROLE_STRONG,
		    dv->look.map.layers[layer].name);
	if (place == l->sel && v->focus == DISKS_MAP)
		canvas_tint(&ui->canvas, row, in.col, NAME_COLS - 1,
			    ROLE_SELECT);
	draw_strip(ui, dv, layer, row);
	canvas_tint(&ui->canvas, row, dv->look.strips.col + dv->look.cursor, 1,
		    ROLE_SELECT);
}

/* The ends of what is shown. */
static void draw_axis(struct ui *ui, const struct disks_look *k, int row,
		      uint64_t len)
{
	struct canvas *c = &ui->canvas;
	uint64_t end = k->off + k->shown_cell * k->at.nr_cells;
	int width = (int)k->at.nr_cells;
	char text[32];

	text_size(k->off, text, sizeof(text));
	canvas_text(c, row, k->strips.col, width, ROLE_DIM, text);
	text_size(end < len ? end : len, text, sizeof(text));
	canvas_right(c, row, k->strips.col + width - 11, 11, ROLE_DIM, text);
}

static void draw_legend(struct ui *ui, int row, struct rect in)
{
	struct canvas *c = &ui->canvas;
	int col = in.col, end = in.col + in.cols;

	for (int i = 0; i < NR_KINDS; i++) {
		if (col + 2 + text_width(kinds[i].name) > end)
			return;
		canvas_put(c, row, col, kinds[i].glyph,
			   ui->theme.roles[kinds[i].role]);
		col += 2;
		col += canvas_text(c, row, col, end - col, ROLE_DIM,
				   kinds[i].name);
		col += 2;
	}
}

/* ---- words ---- */

/* Where the guest's bytes under the cursor come from. */
static void source_of(const struct disks_look *k, char *text, size_t len)
{
	uint64_t off = k->off + k->shown_cell * (uint64_t)k->cursor;

	for (unsigned i = 0; i < k->map.nr_layers; i++) {
		char letter = letter_at(&k->map, (int)i, off);

		if (letter == '.')
			continue;
		if (letter == ' ')
			break;
		snprintf(text, len,
			 letter == 'd'	 ? "the guest reads data of %s"
			 : letter == 'z' ? "zeroes, says %s"
			 : letter == '?' ? "looking at %s ..."
					 : "several things, the first in %s",
			 k->map.layers[i].name);
		return;
	}
	snprintf(text, len,
		 k->map.all_layers > k->map.range.first + k->map.nr_layers
			 ? "in an image further down"
			 : "no image holds it: the guest reads zeroes");
}

static void draw_cursor_line(struct ui *ui, const struct disks_look *k, int row,
			     struct rect in)
{
	char from[32], size[32], text[160] = "";
	uint64_t off = k->off + k->shown_cell * (uint64_t)k->cursor;

	text_size(k->shown_cell, size, sizeof(size));
	text_size(off, from, sizeof(from));
	if (!k->map.range.first)
		source_of(k, text, sizeof(text));
	canvas_printf(&ui->canvas, row, in.col, in.cols, ROLE_TEXT,
		      "%s at %s (0x%llx): %s", size, from,
		      (unsigned long long)off, text);
}

static void draw_layer_line(struct ui *ui, const struct view *v, int row,
			    struct rect in)
{
	const struct disks_view *dv = v->data;
	const struct vm_disk_map *m = &dv->look.map;
	const struct list *l = &v->panels[DISKS_MAP];
	const struct vm_disk_layer *it;
	char size[32];
	int i = l->sel - (int)m->range.first;

	if (i < 0 || i >= (int)m->nr_layers)
		return;
	it = &m->layers[i];
	text_size(it->len, size, sizeof(size));
	canvas_printf(&ui->canvas, row, in.col, in.cols, ROLE_TEXT,
		      "%d of %u: %s, %s, %s%s%s", l->sel + 1, m->all_layers,
		      it->name, it->format, size,
		      it->filters[0] ? ", filters: " : "", it->filters);
}

static void draw_tables_line(struct ui *ui, const struct vm_disk_map *m,
			     int row, struct rect in)
{
	char used[32], budget[32], hits[32], misses[32];

	if (!m->tables_budget)
		return;
	text_size(m->tables_used, used, sizeof(used));
	text_size(m->tables_budget, budget, sizeof(budget));
	text_count(m->table_hits, hits, sizeof(hits));
	text_count(m->table_misses, misses, sizeof(misses));
	canvas_printf(&ui->canvas, row, in.col, in.cols, ROLE_DIM,
		      "tables: %s of at most %s in memory; %s found there, %s "
		      "read",
		      used, budget, hits, misses);
}

/* ---- the panel ---- */

static bool is_answered(const struct disks_look *k)
{
	const struct vm_disk_range *a = &k->at, *b = &k->map.range;

	return a->off == b->off && a->len == b->len &&
	       a->nr_cells == b->nr_cells && a->first == b->first;
}

/* Of another disk one sees all at first. */
static void ask(struct disks_view *dv, int disk, struct list *l, int nr_cells)
{
	struct disks_look *k = &dv->look;

	if (k->disk != disk) {
		*k = (struct disks_look){.disk = disk};
		l->sel = l->top = 0;
	}
	k->at.first = (unsigned)l->top;
	fit(k, dv->rows[disk].len, nr_cells);
	k->shown_cell = shown_cell(k, dv->rows[disk].len);
	vm_disk_map_copy(dv->vm, (unsigned)disk, &k->at, &k->map);
}

static void draw_images(struct ui *ui, struct view *v, struct rect in)
{
	struct disks_view *dv = v->data;
	int row = in.row;

	draw_legend(ui, row++, in);
	draw_axis(ui, &dv->look, row++, disk_len(dv));
	for (int i = 0; i < dv->look.strips.rows; i++)
		draw_layer(ui, v, i, row++, in);
	canvas_put(&ui->canvas, row++, dv->look.strips.col + dv->look.cursor,
		   0x25b2, ui->theme.roles[ROLE_KEY]);
	draw_cursor_line(ui, &dv->look, row++, in);
	draw_layer_line(ui, v, row++, in);
	draw_tables_line(ui, &dv->look.map, row, in);
}

/* Rows that are no images: the legend, the axis, the cursor, the lines below. */
#define OTHER_ROWS 6

void disks_draw_map(struct ui *ui, struct view *v, struct rect r)
{
	struct disks_view *dv = v->data;
	struct list *l = &v->panels[DISKS_MAP];
	int disk, room, cols;
	struct rect in;

	if (!r.rows || !disks_chosen(ui, &disk))
		return;
	in = disks_panel(ui, v, DISKS_MAP, r);
	room = in.rows - OTHER_ROWS;
	room = room > VM_MAP_LAYERS ? VM_MAP_LAYERS : room < 1 ? 1 : room;
	cols = in.cols - NAME_COLS;
	cols = cols > VM_MAP_CELLS ? VM_MAP_CELLS : cols;
	ask(dv, disk, l, cols);
	ui->waits |= dv->rows[disk].has_medium && !is_answered(&dv->look);
	list_place(l, (int)dv->look.map.all_layers,
		   (struct rect){in.row + 2, in.col, room, in.cols});
	if (room > (int)dv->look.map.nr_layers)
		room = (int)dv->look.map.nr_layers;
	dv->look.strips =
		(struct rect){in.row + 2, in.col + NAME_COLS, room, cols};
	if (room)
		draw_images(ui, v, in);
	else
		ui_empty(ui, in,
			 dv->rows[disk].has_medium ? "looking ..."
						   : "no medium");
}

/* ---- keys ---- */

static unsigned on_mouse(struct view *v, const struct key *k)
{
	struct disks_view *dv = v->data;
	struct rect r = dv->look.strips;

	if (!v->panels[DISKS_MAP].at.rows || k->row < r.row - 1 ||
	    k->row >= r.row + r.rows || k->col < r.col ||
	    k->col >= r.col + r.cols || !k->buttons)
		return EFFECT_PASS;
	v->focus = DISKS_MAP;
	dv->look.cursor = k->col - r.col;
	if (k->buttons & (8 | 16))
		disks_map_zoom(dv, k->buttons & 8);
	return EFFECT_DRAW;
}

unsigned disks_map_key(struct ui *ui, struct view *v, const struct key *k)
{
	int page = (int)((struct disks_view *)v->data)->look.at.nr_cells / 2;
	int by;

	(void)ui;
	if (k->code == K_MOUSE)
		return on_mouse(v, k);
	if (v->focus != DISKS_MAP || (k->code != K_LEFT && k->code != K_RIGHT))
		return EFFECT_PASS;
	by = k->mods & MOD_SHIFT ? page : 1;
	disks_map_move(v->data, k->code == K_LEFT ? -by : by);
	return EFFECT_DRAW;
}
