/*
 * term: a terminal that someone lends, driven through ncurses.
 *
 * ncurses writes into memory and this module carries the bytes to the tty
 * without ever waiting for it, so a stalled line or a vanished terminal can't
 * stop the front end.  Without a tty the frames go nowhere: screens work the
 * same for a script.
 *
 * Thread rule: the front end's thread; at most one term at a time (ncurses).
 */
#ifndef UI_TERM_TERM_H
#define UI_TERM_TERM_H

#include "ui/term/canvas.h"
#include "ui/term/key.h"

struct error;
struct term;

struct term_options {
	int tty;	  /* read and written; -1: none.  Stays the caller's */
	const char *type; /* as in $TERM; NULL: xterm-256color */
	int rows, cols;	  /* 0: what the tty says, or 24x80 */
	bool ascii, no_color, mouse;
};

/* Takes the terminal over (raw mode, alternate screen). NULL with the reason
 * in e. */
struct term *term_open(const struct term_options *o, struct error *e);
/* Gives the terminal back as it was.  NULL is fine. */
void term_close(struct term *t);

/* The tty to poll for input, -1: none. */
int term_fd(const struct term *t);
/* True while bytes wait for the tty: poll it for output too. */
bool term_is_busy(const struct term *t);
/* Writes what the tty takes now.  0, or -errno when the terminal is gone. */
int term_flush(struct term *t);

/* The next key that has arrived; false when there is none. */
bool term_read_key(struct term *t, struct key *k);
/* Shows a frame; a busy terminal skips it (false: show again later). */
bool term_show(struct term *t, const struct canvas *c);
/* Draws everything anew at the next frame. */
void term_redraw(struct term *t);

/* The size now; asks the tty. */
void term_size(struct term *t, int *rows, int *cols);
/* Mouse reports on or off. */
void term_set_mouse(struct term *t, bool on);

bool term_is_mono(const struct term *t);  /* no colour reaches an eye */
bool term_is_ascii(const struct term *t); /* frames must be ASCII */

#endif
