/*
 * layout: where the panels of a screen go.
 *
 * Thread rule: pure functions over values; [any] thread.
 */
#ifndef UI_SCREEN_LAYOUT_H
#define UI_SCREEN_LAYOUT_H

#include "ui/term/canvas.h"

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

#endif
