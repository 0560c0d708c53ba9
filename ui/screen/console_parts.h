/*
 * console_parts: what the console screen is put together from: the guest's
 * picture, its serial line in a terminal emulator, and its keyboard.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_SCREEN_CONSOLE_PARTS_H
#define UI_SCREEN_CONSOLE_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/console.h"
#include "ui/term/canvas.h"
#include "ui/term/key.h"

/* ---- the picture ---- */

struct picture;

/* Looks at a console; NULL when memory is short. */
struct picture *picture_open(struct console *c);
/* Looks away.  NULL is fine. */
void picture_close(struct picture *p);
/* Readable when the picture changed. */
int picture_fd(const struct picture *p);
/* Draws text modes as text and graphics as half-blocks into r; scroll moves a
 * text mode that is taller than r up by so many rows.  The cursor is shown
 * when cursor is true. */
void picture_draw(struct picture *p, struct canvas *c, struct rect r,
		  int scroll, bool cursor);
/* "VGA 80x25" or "VGA 640x480". */
void picture_label(const struct picture *p, char *buf, size_t len);
/* The guest's position (0..32767) under a cell of the last drawing; false
 * when the cell is beside the picture. */
bool picture_position(const struct picture *p, int row, int col, int *x,
		      int *y);

/* How a VGA attribute looks; mono keeps paper apart from ink by reversing. */
struct style picture_style(unsigned attr, bool mono);

/* ---- the serial line ---- */

struct serial_view;

/* Emulates a terminal on a line, and shows what was said before. NULL when
 * memory is short. */
struct serial_view *serial_view_open(struct serial_line *line, int rows,
				     int cols);
/* NULL is fine. */
void serial_view_close(struct serial_view *s);
/* Readable when output arrived. */
int serial_view_fd(const struct serial_view *s);
/* Feeds the emulator; true when something came. */
bool serial_view_read(struct serial_view *s);
/* Draws into r, scroll rows back into the past (clamped, and returned). */
int serial_view_draw(struct serial_view *s, struct canvas *c, struct rect r,
		     int scroll, bool cursor);
/* Sends a key as a terminal would. */
void serial_view_key(struct serial_view *s, const struct key *k);
/* Sends text. */
void serial_view_type(struct serial_view *s, const char *text);

/* ---- the keyboard ---- */

/* Presses and releases a key on the guest's keyboard; false when it has no
 * place there. */
bool keyboard_press(struct console *c, const struct key *k);
/* Types UTF-8 text; \n is Enter. */
void keyboard_type(struct console *c, const char *text);

#endif
