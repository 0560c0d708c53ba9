/*
 * canvas: a frame as a grid of cells, before any terminal has seen it.
 *
 * Screens draw text, frames and graphs here; the terminal shows the grid and
 * a test or `save-screen` reads it as text.  Everything that enters is made
 * harmless on the way in: control characters and broken UTF-8 become a
 * replacement, and on an ASCII canvas every glyph falls back to ASCII.
 *
 * Thread rule: a canvas belongs to one thread (the front end's).
 */
#ifndef UI_TERM_CANVAS_H
#define UI_TERM_CANVAS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ui/term/theme.h"

/* A cell's ink or paper: -1 the terminal's default, 0..255 the xterm
 * palette, or this bit with 0xRRGGBB. */
#define COLOR_RGB_BIT 0x1000000

struct cell {
	uint32_t ch; /* code point; 0: the right half of a wide character */
	int32_t fg, bg;
	uint32_t attr;
};

struct rect {
	int row, col, rows, cols;
};

struct canvas {
	int rows, cols;
	struct cell *cells;
	int cursor_row, cursor_col; /* -1: hidden */
	bool ascii;		    /* nothing outside ASCII gets in */
	bool mono;		    /* colours will not be seen */
	struct rect clip;	    /* nothing is drawn outside; no rows: off */
	const struct theme *theme;
};

/* Resizes to rows x cols and blanks.  0 or -ENOMEM (the old grid stays). */
int canvas_resize(struct canvas *c, int rows, int cols);
/* Frees the grid; an all-zero canvas is fine. */
void canvas_fini(struct canvas *c);
/* Blanks every cell and hides the cursor. */
void canvas_clear(struct canvas *c);

/* Puts one character; outside the grid nothing happens. */
void canvas_put(struct canvas *c, int row, int col, uint32_t ch,
		struct style style);
/* Puts UTF-8 text into at most width columns; returns the columns used. */
int canvas_text(struct canvas *c, int row, int col, int width, enum role role,
		const char *text);
/* Like canvas_text, with a style instead of a role. */
int canvas_text_style(struct canvas *c, int row, int col, int width,
		      struct style style, const char *text);
/* Like canvas_text, formatted (at most 1023 bytes). */
int canvas_printf(struct canvas *c, int row, int col, int width, enum role role,
		  const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* Right-aligned text in width columns, cut at the right when too long. */
void canvas_right(struct canvas *c, int row, int col, int width, enum role role,
		  const char *text);
/* Fills a rectangle with blanks of the role. */
void canvas_fill(struct canvas *c, struct rect r, enum role role);
/* Gives the cells of one row in [col, col + width) the role's paper and
 * attributes: a selection bar over text that is already there. */
void canvas_tint(struct canvas *c, int row, int col, int width, enum role role);
/* Keeps what follows inside r, until the next frame or canvas_clear. */
void canvas_clip(struct canvas *c, struct rect r);
/* Draws a frame with a title; returns the rectangle inside, to which what
 * follows is clipped. */
struct rect canvas_frame(struct canvas *c, struct rect r, const char *title,
			 bool focused);
/* Draws values (0..max) as a graph of one row, newest at the right. */
void canvas_spark(struct canvas *c, int row, int col, int width, enum role role,
		  const uint64_t *values, int nr, uint64_t max);
/* Draws part/whole as a bar of width columns. */
void canvas_bar(struct canvas *c, int row, int col, int width, enum role role,
		uint64_t part, uint64_t whole);

/* Copies row `row` as UTF-8 without trailing blanks; returns the length. */
size_t canvas_row_text(const struct canvas *c, int row, char *buf, size_t len);
/* Writes the whole grid as text lines. */
void canvas_write(const struct canvas *c, FILE *out);

/* Bytes of text that fill a line of width columns, up to a line break or, in
 * the line's second half, a blank. */
size_t text_wrap(const char *text, int width);
/* Columns that text takes when drawn. */
int text_width(const char *text);
/* Decodes one UTF-8 character at *s and advances; U+FFFD when broken, 0 at
 * the end. */
uint32_t text_next(const char **s);
/* Encodes ch into buf (at least 5 bytes, NUL-terminated); returns length. */
int text_encode(uint32_t ch, char *buf);
/* The ASCII character that stands for ch: + - | for frames, '#' for blocks,
 * '?' where nothing resembles it. */
char text_ascii(uint32_t ch);
/* The Unicode character that looks like byte b of code page 437. */
uint32_t text_cp437(uint8_t b);
/* True when needle occurs in text, ignoring ASCII case; "" is everywhere. */
bool text_has(const char *text, const char *needle);
/* "512 MiB", "3.2 GiB", "12 KiB", "100 B": at most 10 columns. */
void text_size(uint64_t bytes, char *buf, size_t len);
/* "1234", "12.3k", "4.5M": a count in at most 6 columns. */
void text_count(uint64_t n, char *buf, size_t len);
/* "850 ns", "3.4 ms", "12 s", "5 min", "2 h": at most 9 columns. */
void text_span(uint64_t ns, char *buf, size_t len);
/* "00:01:12" or "3d 04:05" from nanoseconds. */
void text_uptime(uint64_t ns, char *buf, size_t len);

#endif
