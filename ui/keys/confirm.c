/* The confirmation: names the thing; only a deliberate yes runs the action. */
#include <stdio.h>
#include <string.h>

#include "ui/keys/layer.h"
#include "ui/screen/ui.h"

void confirm_open(struct ui *ui, const struct action *a, const char *arg,
		  const char *question)
{
	struct layer_state *s = &ui->layer;

	layer_open(ui, &layer_confirm);
	s->action = a;
	s->has_arg = arg != NULL;
	s->yes = false;
	snprintf(s->arg, sizeof(s->arg), "%s", arg ? arg : "");
	snprintf(s->question, sizeof(s->question), "%s", question);
}

/* Words of the question into rows of the box; returns how many. */
static int draw_question(struct ui *ui, struct rect in, bool dry)
{
	const char *word = ui->layer.question;
	int row = 0, col = 0;

	while (*word) {
		int n = (int)strcspn(word, " ");

		if (col && col + n > in.cols) {
			row++;
			col = 0;
		}
		if (!dry)
			canvas_printf(&ui->canvas, in.row + row, in.col + col,
				      in.cols - col, ROLE_STRONG, "%.*s", n,
				      word);
		col += n + 1;
		word += n + strspn(word + n, " ");
	}
	return row + 1;
}

static void draw(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	int cols = c->cols > 64 ? 60 : c->cols - 4, rows, left;
	struct rect r, in = {0, 0, 0, cols - 4};

	rows = draw_question(ui, in, true) + 5;
	r = (struct rect){(c->rows - rows) / 2, (c->cols - cols) / 2, rows,
			  cols};
	canvas_fill(c, r, ROLE_TEXT);
	in = canvas_frame(c, r, "Are you sure?", true);
	in.col++;
	in.cols -= 2;
	in.row++;
	draw_question(ui, in, false);
	left = in.col + in.cols - 17;
	canvas_text(c, r.row + rows - 2, left, 8,
		    ui->layer.yes ? ROLE_TEXT : ROLE_SELECT, "[ No ]");
	canvas_text(c, r.row + rows - 2, left + 9, 8,
		    ui->layer.yes ? ROLE_SELECT : ROLE_TEXT, "[ Yes ]");
}

static unsigned decide(struct ui *ui, bool yes)
{
	const struct action *a = ui->layer.action;
	char arg[256];

	layer_close(ui);
	if (!yes) {
		ui_say(ui, false, "nothing was done");
		return EFFECT_DRAW;
	}
	snprintf(arg, sizeof(arg), "%s", ui->layer.arg);
	return a->run(ui, ui->layer.has_arg ? arg : NULL);
}

static unsigned key(struct ui *ui, const struct key *k)
{
	switch (k->code) {
	case 'y':
	case 'Y':
		return decide(ui, true);
	case 'n':
	case 'N':
	case 'q':
	case K_ESC:
		return decide(ui, false);
	case K_ENTER:
		return decide(ui, ui->layer.yes);
	case K_LEFT:
	case K_RIGHT:
	case K_TAB:
		ui->layer.yes = !ui->layer.yes;
		return EFFECT_DRAW;
	default:
		return EFFECT_DRAW;
	}
}

const struct layer layer_confirm = {
	.name = "confirm",
	.hints = "y yes  n no  Left/Right choose  Enter take it  Esc no",
	.draw = draw,
	.key = key,
};
