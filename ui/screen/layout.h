/*
 * layout: where the panels of a screen go.
 *
 * Thread rule: pure functions over values; [any] thread.
 */
#ifndef UI_SCREEN_LAYOUT_H
#define UI_SCREEN_LAYOUT_H

#include "ui/term/canvas.h"

struct ui;
struct view;

#define LAYOUT_FOLD_ROWS 14 /* below: one panel at a time */
#define LAYOUT_FOLD_COLS 60
#define LAYOUT_WIDE_COLS 120

/* Places nr panels (2..4) in r; a hidden panel gets no rows.  Zoomed or
 * folded, only the focused one is there.  Two panels share the width when it
 * is large, else the height; of four, a small screen shows the focused one of
 * the first three above the last. */
void layout_panels(const struct view *v, struct rect r, int nr,
		   struct rect *out);

/* Lines one under the other in a panel, from line `top` on; set ui, in and
 * top, then ask for a row a line. */
struct sheet {
	struct ui *ui;
	struct rect in;
	int top, row; /* row: lines so far, seen or not */
};

/* The row of the canvas that the next line goes to, -1: not to be seen. */
int sheet_next_row(struct sheet *s);

#endif
