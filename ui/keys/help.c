/* Help: every action that works here, searched by typing, run by Enter. */
#include <stdio.h>
#include <string.h>

#include "ui/keys/layer.h"
#include "ui/screen/ui.h"

static bool matches(const struct ui *ui, const struct action *a)
{
	const char *text = ui->layer.line.text;

	return text_has(a->name, text) || text_has(a->help, text) ||
	       (action_keys(ui, a) && !strcmp(action_keys(ui, a), text));
}

/* Action number `row` of those that match, NULL past the last. */
static const struct action *match_at(const struct ui *ui, int row)
{
	const struct action *a;

	for (int i = 0; (a = action_at(ui_current(ui), i)) != NULL; i++)
		if (matches(ui, a) && row-- == 0)
			return a;
	return NULL;
}

static void fit(struct ui *ui, int rows)
{
	struct list l = {.sel = ui->layer.sel, .top = ui->layer.top};
	int nr = 0;

	while (match_at(ui, nr))
		nr++;
	list_fit(&l, nr, rows);
	ui->layer.sel = l.sel;
	ui->layer.top = l.top;
}

static struct rect box(const struct ui *ui)
{
	const struct canvas *c = &ui->canvas;
	int cols = c->cols > 84 ? 76 : c->cols;
	int rows = c->rows > 40 ? 36 : c->rows - 3;

	return (struct rect){1 + (c->rows - 3 - rows) / 2, (c->cols - cols) / 2,
			     rows, cols};
}

static void draw_row(struct ui *ui, const struct action *a, int row, int col,
		     int width)
{
	struct canvas *c = &ui->canvas;
	const char *keys = action_keys(ui, a);
	bool here = action_is_here(ui, a);
	int name = width > 56 ? 19 : 16, at;

	canvas_text(c, row, col, 13, ROLE_KEY, keys ? keys : "");
	at = col + 14;
	canvas_text(c, row, at, name - 1, here ? ROLE_STRONG : ROLE_DIM,
		    a->name);
	at += name;
	canvas_text(c, row, at, col + width - at, here ? ROLE_TEXT : ROLE_DIM,
		    a->help);
}

static void draw(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	const struct action *a;
	struct rect r = box(ui), in;
	char title[64];
	int row;

	snprintf(title, sizeof(title), "Help: keys on %s",
		 ui_current(ui)->title);
	canvas_fill(c, r, ROLE_TEXT);
	in = canvas_frame(c, r, title, true);
	fit(ui, in.rows - 1);
	for (int i = 0; i < in.rows - 1; i++) {
		a = match_at(ui, ui->layer.top + i);
		if (!a)
			break;
		row = in.row + 1 + i;
		draw_row(ui, a, row, in.col + 1, in.cols - 2);
		if (ui->layer.top + i == ui->layer.sel)
			canvas_tint(c, row, in.col, in.cols, ROLE_SELECT);
	}
	if (!match_at(ui, 0))
		ui_empty(ui, in, "no action of this screen is called that");
	canvas_text(c, in.row, in.col + 1, 8, ROLE_KEY, "Search:");
	canvas_text(c, in.row, in.col + 9, in.cols - 10, ROLE_STRONG,
		    ui->layer.line.text);
	c->cursor_row = in.row;
	c->cursor_col = in.col + 9 + text_width(ui->layer.line.text);
}

static unsigned key(struct ui *ui, const struct key *k)
{
	const struct action *a;
	int page = box(ui).rows - 4;

	switch (k->code) {
	case K_ESC:
	case K_F1:
		layer_close(ui);
		return EFFECT_DRAW;
	case K_ENTER:
		a = match_at(ui, ui->layer.sel);
		if (!a)
			return EFFECT_DRAW;
		layer_close(ui);
		return action_invoke(ui, a, NULL);
	case K_UP:
		ui->layer.sel--;
		return EFFECT_DRAW;
	case K_DOWN:
		ui->layer.sel++;
		return EFFECT_DRAW;
	case K_PAGE_UP:
		ui->layer.sel -= page;
		return EFFECT_DRAW;
	case K_PAGE_DOWN:
		ui->layer.sel += page;
		return EFFECT_DRAW;
	default:
		if (line_key(&ui->layer.line, k))
			ui->layer.sel = ui->layer.top = 0;
		return EFFECT_DRAW;
	}
}

const struct layer layer_help = {
	.name = "help",
	.hints = "type to search  Up/Down choose  Enter run  Esc close",
	.draw = draw,
	.key = key,
};
