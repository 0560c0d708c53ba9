/*
 * Disks, in words: what each name on the screen means.  The page
 * share/doc/disks.md says the same, line for line.
 */
#include <stdio.h>
#include <string.h>

#include "ui/screen/disks_parts.h"

const struct disks_term disks_terms[] = {
	{"!",
	 "What is marked differs from what was asked for, or may cost data."},
	{"Waits",
	 "Requests that the host could not do; they are kept until the machine "
	 "goes on. What failed, and what to do."},
	{"Cache",
	 "The cache mode: one of the presets, or what the switches below "
	 "amount to now."},
	{"Host cache", "On: reads and writes go through the host's page cache. "
		       "Off: past it (O_DIRECT)."},
	{"Write cache",
	 "WCE. On: the guest is told that a completed write may be lost until "
	 "it flushes. Off: a write completes only when it is stable."},
	{"AIO", "How the host's files are read and written: threads, native "
		"(Linux AIO) or io_uring."},
	{"Opened", "The flags with which the image's file is really open, as "
		   "fcntl(2) tells."},
	{"Unflushed",
	 "Writes that completed and that no completed flush has made stable; "
	 "a power loss may take them. The bar is the oldest one's age. A "
	 "guest that writes and never flushes is named here."},
	{"Page cache", "What the host's memory holds of the image's files, and "
		       "how much of that is not yet on the disk."},
	{"After a",
	 "What is certain to be there after each accident, with what "
	 "is in effect now."},
	{"On an error",
	 "What becomes of a request that the host can't do: werror for writes "
	 "and flushes, rerror for reads."},
	{"Driver", "What the driver in the guest accepted of what the device "
		   "offers."},
	{"a second",
	 "Requests and bytes in the last second; the graph is their "
	 "recent past."},
	{"busy", "Requests that the guest waits for right now."},
	{"failed", "Requests that ended with an error."},
	{"Latency",
	 "How long requests took, from submission to completion, in buckets "
	 "that double. Half of them, and 99 of 100, took less than the times "
	 "at the right."},
	{"data", "The image itself holds data here."},
	{"mixed",
	 "Several kinds in one cell: + looks closer, down to a sector."},
	{"zeroes",
	 "The image says that this reads as zeroes, and stores none."},
	{"unallocated",
	 "The image holds nothing here: the one below it counts."},
	{"end", "The image ends inside this cell."},
	{"past the end", "The image is shorter than the disk: zeroes."},
	{"tables", "The image's own tables in this program's memory."},
};
const int nr_disks_terms = sizeof(disks_terms) / sizeof(*disks_terms);

enum { NAME_COLS = 14 };

/* All lines of all terms, from row `top` of them on; returns how many. */
static int draw_terms(struct ui *ui, struct rect in, int top)
{
	struct sheet s = {.ui = ui, .in = in, .top = top};
	int width = in.cols - NAME_COLS;

	for (int i = 0; i < nr_disks_terms; i++) {
		const char *text = disks_terms[i].meaning;
		const char *name = disks_terms[i].name;

		while (*text) {
			size_t n = text_wrap(text, width);
			int row = sheet_next_row(&s);

			if (row >= 0) {
				canvas_text(&ui->canvas, row, in.col,
					    NAME_COLS - 1, ROLE_KEY, name);
				canvas_printf(&ui->canvas, row,
					      in.col + NAME_COLS, width,
					      ROLE_TEXT, "%.*s", (int)n, text);
			}
			name = "";
			text += n + strspn(text + n, " ");
		}
	}
	return s.row;
}

static void draw(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	int cols = c->cols > 104 ? 100 : c->cols, nr;
	int rows = c->rows > 44 ? 40 : c->rows - 3;
	struct rect r = {1 + (c->rows - 3 - rows) / 2, (c->cols - cols) / 2,
			 rows, cols};
	struct list l = {.sel = ui->layer.sel, .top = ui->layer.sel};
	struct rect in;

	canvas_fill(c, r, ROLE_TEXT);
	in = canvas_frame(c, r, "What the Disks screen says", true);
	in.col++;
	in.cols -= 2;
	nr = draw_terms(ui, in, ui->layer.top);
	/* The last page stays full. */
	list_fit(&l, nr > in.rows ? nr - in.rows + 1 : 1, 1);
	if (l.sel != ui->layer.top) {
		canvas_fill(c, in, ROLE_TEXT);
		draw_terms(ui, in, l.sel);
	}
	ui->layer.sel = ui->layer.top = l.sel;
}

static unsigned key(struct ui *ui, const struct key *k)
{
	int page = ui->canvas.rows - 6;

	switch (k->code) {
	case K_ESC:
	case 'q':
	case 'i':
		layer_close(ui);
		break;
	case K_UP:
	case 'k':
		ui->layer.sel--;
		break;
	case K_DOWN:
	case 'j':
		ui->layer.sel++;
		break;
	case K_PAGE_UP:
		ui->layer.sel -= page;
		break;
	case K_PAGE_DOWN:
	case ' ':
		ui->layer.sel += page;
		break;
	}
	return EFFECT_DRAW;
}

const struct layer layer_explain = {
	.name = "explain",
	.hints = "Up/Down move  Esc close",
	.draw = draw,
	.key = key,
};
