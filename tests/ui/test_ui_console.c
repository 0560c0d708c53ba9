/* The console's parts: picture, serial line, keyboard. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/console.h"
#include "ui/screen/console_parts.h"

static struct canvas make_canvas(const struct theme *theme, int rows, int cols)
{
	struct canvas c = {.theme = theme};

	assert_int_equal(canvas_resize(&c, rows, cols), 0);
	return c;
}

static bool shows(const struct canvas *c, const char *text)
{
	char row[4096];

	for (int i = 0; i < c->rows; i++) {
		canvas_row_text(c, i, row, sizeof(row));
		if (strstr(row, text))
			return true;
	}
	return false;
}

/* ---- the picture ---- */

static void put_line(struct console_text *t, int row, const char *text)
{
	for (int i = 0; text[i]; i++)
		t->cells[row][i] =
			(struct console_cell){(uint8_t)text[i], 0x07};
}

static void set_text(struct console *c, struct console_text *t)
{
	console_set_text(c, t);
	console_changed(c, (struct console_rect){0, 0, 720, 400});
}

static struct console_text *make_text(void)
{
	struct console_text *t = calloc(1, sizeof(*t));

	t->cols = 80;
	t->rows = 25;
	t->cursor_row = t->cursor_col = -1;
	return t;
}

static void tall_text_shows_where_something_is(void **state)
{
	struct console *console = console_create();
	struct console_text *t = make_text();
	struct picture *p = picture_open(console);
	struct theme theme = {0};
	struct canvas c = make_canvas(&theme, 22, 80);
	struct rect all = {0, 0, 22, 80};

	(void)state;
	put_line(t, 0, "first row");
	set_text(console, t);
	picture_draw(p, &c, all, 0, false);
	assert_true(shows(&c, "first row"));
	/* Something at the bottom: the top goes. */
	put_line(t, 24, "last row");
	set_text(console, t);
	canvas_clear(&c);
	picture_draw(p, &c, all, 0, false);
	assert_true(shows(&c, "last row"));
	assert_false(shows(&c, "first row"));
	/* Scrolled back. */
	canvas_clear(&c);
	picture_draw(p, &c, all, 5, false);
	assert_true(shows(&c, "first row"));
	/* The cursor is always inside. */
	t->cursor_row = 1;
	t->cursor_col = 3;
	set_text(console, t);
	canvas_clear(&c);
	picture_draw(p, &c, all, 0, true);
	assert_in_range(c.cursor_row, 0, 21);
	assert_int_equal(c.cursor_col, 3);
	canvas_fini(&c);
	picture_close(p);
	console_destroy(console);
	free(t);
}

static void attributes_become_colours(void **state)
{
	struct style s = picture_style(0x1e, false);

	(void)state;
	assert_int_equal(s.fg, 11); /* yellow */
	assert_int_equal(s.bg, 4);  /* blue */
	s = picture_style(0x87, false);
	assert_int_equal(s.attr, ATTR_BLINK);
	/* Without colour a bar stays a bar. */
	s = picture_style(0x70, true);
	assert_int_equal(s.fg, -1);
	assert_int_equal(s.bg, -1);
	assert_int_equal(s.attr, ATTR_REVERSE);
	s = picture_style(0x07, true);
	assert_int_equal(s.attr, 0);
}

static void fill(struct console *console, int w, int h, uint32_t upper,
		 uint32_t lower)
{
	uint32_t *px = console_surface(console, w, h);

	assert_non_null(px);
	for (int y = 0; y < h; y++)
		for (int x = 0; x < w; x++)
			px[y * w + x] = y < h / 2 ? upper : lower;
	console_set_graphics(console);
	console_changed(console, (struct console_rect){0, 0, w, h});
}

static void graphics_become_half_blocks(void **state)
{
	struct console *console = console_create();
	struct picture *p;
	struct theme theme = {0};
	struct canvas c = make_canvas(&theme, 22, 80);
	int x, y, red = 0, blue = 0;

	(void)state;
	fill(console, 640, 480, 0xff0000, 0x0000ff);
	p = picture_open(console);
	picture_draw(p, &c, (struct rect){0, 0, 22, 80}, 0, false);
	for (int i = 0; i < 22 * 80; i++) {
		red += c.cells[i].bg == (COLOR_RGB_BIT | 0xff0000);
		blue += c.cells[i].bg == (COLOR_RGB_BIT | 0x0000ff);
	}
	/* 4:3 in 80x44 pixels: 58 columns wide, half of them each. */
	assert_in_range(red, 550, 700);
	assert_in_range(blue, 550, 700);
	/* Cells lead back to positions. */
	assert_true(picture_position(p, 0, 40, &x, &y));
	assert_in_range(x, 15000, 18000);
	assert_in_range(y, 0, 1500);
	assert_false(picture_position(p, 0, 0, &x, &y));
	/* The mode changes under a viewer, to odd sizes. */
	fill(console, 1, 1, 1, 1);
	picture_draw(p, &c, (struct rect){0, 0, 22, 80}, 0, false);
	fill(console, 3, 1999, 1, 1);
	picture_draw(p, &c, (struct rect){0, 0, 22, 80}, 0, false);
	fill(console, 3999, 2, 1, 1);
	picture_draw(p, &c, (struct rect){0, 0, 1, 1}, 0, false);
	/* Without colour: characters by brightness. */
	c.mono = true;
	fill(console, 64, 48, 0xffffff, 0x000000);
	canvas_clear(&c);
	picture_draw(p, &c, (struct rect){0, 0, 22, 80}, 0, false);
	assert_true(shows(&c, "@@@@"));
	canvas_fini(&c);
	picture_close(p);
	console_destroy(console);
}

/* ---- serial ---- */

static void say(struct serial_line *l, const char *text)
{
	serial_line_output(l, text, strlen(text));
}

static void serial_line_is_a_terminal(void **state)
{
	struct serial_line *l = serial_line_create("serial0");
	struct theme theme = {0};
	struct canvas c = make_canvas(&theme, 24, 80);
	struct rect all = {0, 0, 24, 80};
	struct serial_view *s;
	char line[64];

	(void)state;
	say(l, "before\r\n");
	s = serial_view_open(l, 24, 80);
	serial_view_draw(s, &c, all, 0, true);
	assert_true(shows(&c, "before"));
	assert_int_equal(c.cursor_row, 1);
	say(l, "\x1b[5;10Hplaced\x1b[31mred\x1b]0;title\x07\x1b[?25l");
	assert_true(serial_view_read(s));
	canvas_clear(&c);
	serial_view_draw(s, &c, all, 0, true);
	assert_true(shows(&c, "         placedred"));
	assert_int_equal(c.cursor_row, -1);
	/* What scrolled away can be looked at. */
	say(l, "\x1b[2J\x1b[H\x1b[?25h");
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "line %d\r\n", i);
		say(l, line);
	}
	serial_view_read(s);
	canvas_clear(&c);
	assert_int_equal(serial_view_draw(s, &c, all, 0, true), 0);
	assert_true(shows(&c, "line 99"));
	canvas_clear(&c);
	assert_int_equal(serial_view_draw(s, &c, all, 50, true), 50);
	assert_true(shows(&c, "line 40"));
	assert_false(shows(&c, "line 99"));
	assert_true(serial_view_draw(s, &c, all, 1000000, true) < 200);
	canvas_fini(&c);
	serial_view_close(s);
	serial_line_destroy(l);
}

static size_t typed(struct serial_line *l, char *buf, size_t len)
{
	size_t n = serial_line_input(l, buf, len - 1);

	buf[n] = '\0';
	return n;
}

static void serial_keys_are_a_terminals(void **state)
{
	struct serial_line *l = serial_line_create("serial0");
	struct serial_view *s;
	struct key k;
	char buf[64];

	(void)state;
	/* A question from long ago is not answered. */
	say(l, "\x1b[6n");
	s = serial_view_open(l, 24, 80);
	assert_int_equal(typed(l, buf, sizeof(buf)), 0);
	say(l, "\x1b[6n");
	serial_view_read(s);
	assert_true(typed(l, buf, sizeof(buf)) > 0);
	assert_string_equal(buf, "\x1b[1;1R");
	key_parse("Up", &k);
	serial_view_key(s, &k);
	key_parse("Ctrl-C", &k);
	serial_view_key(s, &k);
	serial_view_type(s, "a\xc3\xa4\n");
	typed(l, buf, sizeof(buf));
	assert_string_equal(buf, "\x1b[A\x03"
				 "a\xc3\xa4\r");
	serial_view_close(s);
	serial_line_destroy(l);
}

/* Random bytes neither crash the emulator nor reach the canvas unprintable. */
static void hostile_serial_bytes_are_harmless(void **state)
{
	struct serial_line *l = serial_line_create("serial0");
	struct serial_view *s = serial_view_open(l, 24, 80);
	struct theme theme = {0};
	struct canvas c = make_canvas(&theme, 24, 80);
	char buf[512];
	unsigned x = 12345;

	(void)state;
	for (int round = 0; round < 400; round++) {
		for (size_t i = 0; i < sizeof(buf); i++) {
			x = x * 1103515245 + 12345;
			buf[i] = (char)(x >> 16);
			if (x >> 28 == 0)
				buf[i] = '\x1b';
			else if (x >> 28 == 1)
				buf[i] = '[';
		}
		serial_line_output(l, buf, sizeof(buf));
		serial_view_read(s);
		serial_view_draw(s, &c, (struct rect){0, 0, 24, 80}, round,
				 true);
	}
	for (int i = 0; i < 24 * 80; i++)
		assert_true(!c.cells[i].ch || c.cells[i].ch >= 0x20);
	canvas_fini(&c);
	serial_view_close(s);
	serial_line_destroy(l);
}

/* ---- the keyboard ---- */

struct pressed {
	char text[512];
};

static void on_key(void *opaque, uint16_t scancode, bool down)
{
	struct pressed *p = opaque;
	size_t used = strlen(p->text);

	snprintf(p->text + used, sizeof(p->text) - used, "%s%x ",
		 down ? "" : "-", scancode);
}

static const struct console_input_ops key_ops = {.key = on_key};

static void keys_become_scan_codes(void **state)
{
	struct console *console = console_create();
	struct pressed p = {""};
	struct console_input in = {.ops = &key_ops, .opaque = &p};
	struct key k;

	(void)state;
	console_input_add(console, &in);
	console_input_enable(console, &in, true);
	key_parse("Ctrl-Alt-Del", &k);
	assert_true(keyboard_press(console, &k));
	assert_string_equal(p.text, "1d 38 153 -153 -38 -1d ");
	p.text[0] = '\0';
	keyboard_type(console, "aA\n");
	assert_string_equal(p.text, "1e -1e 2a 1e -1e -2a 1c -1c ");
	p.text[0] = '\0';
	key_parse("F11", &k);
	keyboard_press(console, &k);
	assert_string_equal(p.text, "57 -57 ");
	/* No key for it: nothing is pressed halfway. */
	p.text[0] = '\0';
	key_parse("\xe6\xbc\xa2", &k);
	assert_false(keyboard_press(console, &k));
	assert_string_equal(p.text, "");
	console_input_remove(console, &in);
	console_destroy(console);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tall_text_shows_where_something_is),
		cmocka_unit_test(attributes_become_colours),
		cmocka_unit_test(graphics_become_half_blocks),
		cmocka_unit_test(serial_line_is_a_terminal),
		cmocka_unit_test(serial_keys_are_a_terminals),
		cmocka_unit_test(hostile_serial_bytes_are_harmless),
		cmocka_unit_test(keys_become_scan_codes),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
