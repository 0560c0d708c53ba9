#include "ui/screen/layout.h"

#include "ui/screen/ui.h"

static void side_by_side(struct rect r, int left, struct rect *a,
			 struct rect *b)
{
	*a = (struct rect){r.row, r.col, r.rows, left};
	*b = (struct rect){r.row, r.col + left, r.rows, r.cols - left};
}

static void stacked(struct rect r, int top, struct rect *a, struct rect *b)
{
	*a = (struct rect){r.row, r.col, top, r.cols};
	*b = (struct rect){r.row + top, r.col, r.rows - top, r.cols};
}

static void four(const struct view *v, struct rect r, struct rect *out)
{
	struct rect top, bottom;

	if (r.cols >= LAYOUT_WIDE_COLS && r.rows >= 28) {
		stacked(r, r.rows * 2 / 5, &top, &bottom);
		side_by_side(top, r.cols / 2, &out[0], &out[1]);
		side_by_side(bottom, r.cols / 2, &out[2], &out[3]);
		return;
	}
	stacked(r, r.rows * 11 / 20, &top, &bottom);
	out[v->focus < 3 ? v->focus : 1] = top;
	out[3] = bottom;
}

void layout_panels(const struct view *v, struct rect r, int nr,
		   struct rect *out)
{
	for (int i = 0; i < nr; i++)
		out[i] = (struct rect){r.row, r.col, 0, 0};
	if (v->zoom || r.rows < LAYOUT_FOLD_ROWS || r.cols < LAYOUT_FOLD_COLS)
		out[v->focus] = r;
	else if (nr == 4)
		four(v, r, out);
	else if (r.cols >= LAYOUT_WIDE_COLS)
		side_by_side(r, r.cols * 3 / 5, &out[0], &out[1]);
	else
		stacked(r, r.rows * 11 / 20, &out[0], &out[1]);
}

int sheet_next_row(struct sheet *s)
{
	int row = s->row++;

	if (row < s->top || row >= s->top + s->in.rows)
		return -1;
	return s->in.row + row - s->top;
}
