/*
 * console: the guest's screen, keyboard, pointer and serial lines, between
 * the devices that make them and the front ends that show them.
 *
 * Devices draw a 32-bit surface and, in text modes, a grid of cells; viewers
 * (the terminal, VNC) copy out what changed since they last looked.  Input
 * goes the other way through the same object.  A serial line is a pair of
 * byte queues.
 *
 * Thread rule: viewer, input and serial front-end calls are [any], except that
 * one viewer belongs to one thread.  Device calls are by the device's thread.
 * Order of locks: the refresh (held while a display draws and while pixels are
 * copied), device, console; so refresh may take its device's lock, and a
 * register handler never calls what says "within refresh".
 */
#ifndef CORE_CONSOLE_H
#define CORE_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct console;

struct console_rect {
	int x, y, w, h; /* pixels; w 0 means empty */
};

#define CONSOLE_MAX_COLS   160
#define CONSOLE_MAX_ROWS   64
#define CONSOLE_MAX_WIDTH  4096
#define CONSOLE_MAX_HEIGHT 2160

struct console_cell {
	uint16_t ch;  /* byte of the guest's code page 437 */
	uint8_t attr; /* VGA attribute: bits 0-3 ink, 4-6 paper, 7 blink */
};

/* The whole of a text mode, copied out. */
struct console_text {
	int cols, rows;
	int cursor_col, cursor_row; /* -1: hidden */
	struct console_cell cells[CONSOLE_MAX_ROWS][CONSOLE_MAX_COLS];
};

struct console_info {
	int width, height; /* pixels of the surface */
	bool is_text;
	int cols, rows;
	uint64_t generation; /* grows with each change of mode */
};

struct console *console_create(void); /* NULL when memory is short */
void console_destroy(struct console *c);

/* ---- viewers ---- */

struct console_viewer;

/* A viewer has an eventfd that becomes readable when something changed, and
 * makes the display device refresh at most hz times a second. */
struct console_viewer *console_viewer_create(struct console *c, int hz);
void console_viewer_destroy(struct console_viewer *v);
int console_viewer_fd(const struct console_viewer *v);
/* 0 Hz: looks away; the device stops refreshing when nobody looks. */
void console_viewer_set_hz(struct console_viewer *v, int hz);
/* Takes (and clears) this viewer's changed area and the eventfd's readiness;
 * false when nothing changed.  A change of mode changes the whole surface. */
bool console_viewer_take(struct console_viewer *v, struct console_rect *out);

void console_info(struct console *c, struct console_info *out);
/* Copies a rectangle as 0x00RRGGBB, clamped to the surface; dst has stride
 * pixels a row. false when the surface changed size (look at info again). */
bool console_copy_pixels(struct console *c, uint64_t generation,
			 struct console_rect r, uint32_t *dst, int stride);
/* false outside text modes. */
bool console_copy_text(struct console *c, struct console_text *out);

/* ---- input, from front ends ---- */

/* A key by its set 1 make code (bit 8 set: with the e0 prefix), as QEMU's
 * extended key event and the PS/2 controller's translated codes have it. */
void console_key(struct console *c, uint16_t scancode, bool down);
/* Absolute position in 0..32767 and buttons: bit 0 left, 1 middle, 2 right,
 * 3 wheel up, 4 wheel down. */
void console_pointer(struct console *c, int x, int y, unsigned buttons);
/* Relative movement, for a PS/2 mouse. */
void console_pointer_rel(struct console *c, int dx, int dy, int dz,
			 unsigned buttons);
/* Make and break codes that type a Unicode character on a US keyboard; false
 * when it can't be typed. */
bool console_type(struct console *c, uint32_t codepoint);
/* Which key of a US keyboard carries a character, and whether with shift. */
bool console_us_key(uint32_t codepoint, uint16_t *scancode, bool *shift);
/* True when an absolute pointer device is driven by the guest. */
bool console_has_absolute(struct console *c);

/* ---- input, to devices ---- */

struct console_input_ops {
	void (*key)(void *opaque, uint16_t scancode, bool down);
	void (*pointer_abs)(void *opaque, int x, int y, unsigned buttons);
	void (*pointer_rel)(void *opaque, int dx, int dy, int dz,
			    unsigned buttons);
};

/* A sink of input.  Among the enabled sinks that have the needed op the one
 * with the highest priority gets the event; ops run on the posting thread
 * with no console lock held (they take their device's lock). */
struct console_input {
	const struct console_input_ops *ops;
	void *opaque;
	int priority;
	bool enabled; /* set through console_input_enable */
	struct console_input *next;
};
/* Adds, removes, or switches a sink; [any], also from its device's handler. */
void console_input_add(struct console *c, struct console_input *in);
/* Waits for ops that run: call it without the device's lock. */
void console_input_remove(struct console *c, struct console_input *in);
/* May be called under the device's lock. */
void console_input_enable(struct console *c, struct console_input *in,
			  bool enabled);

/* ---- display device ---- */

struct console_display_ops {
	/* On the main loop: bring surface and cells up to date, and call
	 * console_changed.  full: everything, not only what is dirty (nobody
	 * looked for a while). */
	void (*refresh)(void *opaque, bool full);
};
/* NULL ops: the display goes away.  Without the device's lock. */
void console_display_set(struct console *c,
			 const struct console_display_ops *ops, void *opaque);
/* Main loop: the rate all viewers together want (0: nobody looks), and an
 * eventfd that becomes readable when it changes. */
int console_wanted_hz(struct console *c);
int console_wanted_fd(struct console *c);
/* Main loop, at that rate: runs refresh. */
void console_refresh(struct console *c);

/* Within refresh: the surface (resized and black if the size is new; NULL: too
 * large or no memory), width pixels a row. */
uint32_t *console_surface(struct console *c, int width, int height);
/* Within refresh: cells of a text mode / no text mode any more.  Tell what
 * looks different with console_changed, in pixels. */
void console_set_text(struct console *c, const struct console_text *text);
void console_set_graphics(struct console *c);
void console_changed(struct console *c, struct console_rect r);

/* ---- serial lines ---- */

struct serial_line;

/* NULL when memory is short. */
struct serial_line *serial_line_create(const char *name);
void serial_line_destroy(struct serial_line *l);
const char *serial_line_name(const struct serial_line *l);

/* Device side: bytes from the guest; never blocks, the oldest unread bytes
 * are forgotten when a reader is slower than the ring is long (256 KiB). */
void serial_line_output(struct serial_line *l, const void *buf, size_t len);
/* Device side: takes up to len bytes typed by people. */
size_t serial_line_input(struct serial_line *l, void *buf, size_t len);
/* Device side: called [any] when input arrives, with the line locked: only
 * post to your loop.  NULL fn: none; after the return it runs no more. */
void serial_line_set_notify(struct serial_line *l, void (*fn)(void *),
			    void *arg);

/* Front end: queues bytes for the guest; returns how many fit (64 KiB). */
size_t serial_line_send(struct serial_line *l, const void *buf, size_t len);
/* Front end: copies output from *pos on (0: all that is kept), advances *pos;
 * returns the bytes copied. */
size_t serial_line_read(struct serial_line *l, uint64_t *pos, void *buf,
			size_t len);
/* Front end: an eventfd per reader, readable when output arrived (drain it,
 * then serial_line_read until 0).  -1: none left.  Remove closes it. */
int serial_line_reader_add(struct serial_line *l);
void serial_line_reader_remove(struct serial_line *l, int fd);

#endif
