/* Canvas, characters, keys' names, themes: what a frame is made from. */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/error.h"
#include "ui/term/canvas.h"
#include "ui/term/key.h"

static struct theme theme;

static struct canvas make_canvas(int rows, int cols, bool ascii)
{
	struct canvas c = {.ascii = ascii, .theme = &theme};

	assert_int_equal(theme_load(&theme, "binnacle", NULL, NULL), 0);
	assert_int_equal(canvas_resize(&c, rows, cols), 0);
	return c;
}

static const char *row_of(const struct canvas *c, int row)
{
	static char buf[4096];

	canvas_row_text(c, row, buf, sizeof(buf));
	return buf;
}

static void text_is_cut_at_its_width(void **state)
{
	struct canvas c = make_canvas(2, 20, false);

	(void)state;
	assert_int_equal(canvas_text(&c, 0, 0, 5, ROLE_TEXT, "abcdefgh"), 5);
	assert_string_equal(row_of(&c, 0), "abcde");
	canvas_text(&c, 1, 17, 100, ROLE_TEXT, "xyzuvw");
	assert_string_equal(row_of(&c, 1), "                 xyz");
	/* Outside nothing happens. */
	canvas_text(&c, -1, 0, 5, ROLE_TEXT, "no");
	canvas_text(&c, 5, 0, 5, ROLE_TEXT, "no");
	canvas_text(&c, 0, -3, 5, ROLE_TEXT, "12345");
	assert_string_equal(row_of(&c, 0), "45cde");
	canvas_fini(&c);
}

static void hostile_text_is_made_harmless(void **state)
{
	struct canvas c = make_canvas(1, 40, false);

	(void)state;
	canvas_text(&c, 0, 0, 40, ROLE_TEXT,
		    "a\x1b[2J\x07\r\n\x7f z\xff\xc0\xaf");
	for (int i = 0; i < 40; i++)
		assert_false(c.cells[i].ch < 0x20 || c.cells[i].ch == 0x7f);
	canvas_clear(&c);
	/* Overlong, surrogate, beyond Unicode: all replaced, none skipped. */
	canvas_text(&c, 0, 0, 40, ROLE_TEXT,
		    "\xe0\x80\xaf|\xed\xa0\x80|\xf4\x90\x80\x80|\xf0\x9f");
	for (int i = 0; i < 40; i++)
		assert_true(c.cells[i].ch == ' ' || c.cells[i].ch == '|' ||
			    c.cells[i].ch == 0xfffd);
	canvas_fini(&c);
}

static void wide_characters_take_two_cells(void **state)
{
	struct canvas c = make_canvas(1, 10, false);

	(void)state;
	assert_int_equal(canvas_text(&c, 0, 0, 10, ROLE_TEXT, "a\xe6\xbc\xa2z"),
			 4);
	assert_int_equal(c.cells[1].ch, 0x6f22);
	assert_int_equal(c.cells[2].ch, 0);
	/* One half overwritten: the other becomes blank. */
	canvas_put(&c, 0, 2, 'x', theme.roles[ROLE_TEXT]);
	assert_int_equal(c.cells[1].ch, ' ');
	/* No room for the second half. */
	canvas_clear(&c);
	canvas_text(&c, 0, 9, 1, ROLE_TEXT, "\xe6\xbc\xa2");
	assert_int_equal(c.cells[9].ch, ' ');
	canvas_fini(&c);
}

static void ascii_canvas_holds_only_ascii(void **state)
{
	struct canvas c = make_canvas(5, 30, true);
	uint64_t values[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

	(void)state;
	canvas_frame(&c, (struct rect){0, 0, 3, 30}, "T\xc3\xaftle", true);
	canvas_clip(&c, (struct rect){0, 0, 5, 30});
	canvas_spark(&c, 3, 0, 9, ROLE_GRAPH, values, 9, 8);
	canvas_bar(&c, 4, 0, 10, ROLE_GRAPH, 1, 2);
	for (uint32_t ch = 0x2500; ch < 0x2600; ch++)
		canvas_put(&c, 1, 1 + (int)(ch % 28), ch,
			   theme.roles[ROLE_TEXT]);
	for (int i = 0; i < 150; i++)
		assert_in_range(c.cells[i].ch, 0x20, 0x7e);
	assert_string_equal(row_of(&c, 0), "+- T?tle --------------------+");
	canvas_fini(&c);
}

static void frame_clips_what_follows(void **state)
{
	struct canvas c = make_canvas(4, 10, true);
	struct rect in;

	(void)state;
	in = canvas_frame(&c, (struct rect){0, 0, 4, 10}, "", false);
	canvas_text(&c, 1, in.col, 100, ROLE_TEXT, "0123456789abcdef");
	canvas_text(&c, 3, 1, 5, ROLE_TEXT, "below");
	assert_string_equal(row_of(&c, 1), "|01234567|");
	assert_string_equal(row_of(&c, 3), "+--------+");
	canvas_fini(&c);
}

static void spark_is_as_wide_as_told(void **state)
{
	struct canvas c = make_canvas(1, 12, true);
	uint64_t values[] = {100, 0, 1, 50, 200};

	(void)state;
	canvas_spark(&c, 0, 0, 4, ROLE_GRAPH, values, 5, 100);
	assert_int_equal(c.cells[0].ch, ' ');
	assert_int_equal(c.cells[1].ch, '.');
	/* Above the maximum is the maximum. */
	assert_int_equal(c.cells[3].ch, '#');
	assert_int_equal(c.cells[4].ch, ' ');
	canvas_fini(&c);
}

static void code_page_437_maps_to_unicode(void **state)
{
	(void)state;
	assert_int_equal(text_cp437('A'), 'A');
	assert_int_equal(text_cp437(0xc9), 0x2554);
	assert_int_equal(text_cp437(0xdb), 0x2588);
	assert_int_equal(text_cp437(0xe3), 0x3c0);
	assert_int_equal(text_cp437(0x81), 0xfc);
	assert_int_equal(text_cp437(0xff), 0xa0);
	assert_int_equal(text_cp437(0x18), 0x2191);
	for (int b = 0; b < 256; b++) {
		assert_true(text_cp437((uint8_t)b) >= 0x20);
		assert_in_range(text_ascii(text_cp437((uint8_t)b)), 0x20, 0x7e);
	}
}

static void numbers_are_for_people(void **state)
{
	char buf[32];

	(void)state;
	text_size(0, buf, sizeof(buf));
	assert_string_equal(buf, "0 B");
	text_size(64ull << 20, buf, sizeof(buf));
	assert_string_equal(buf, "64 MiB");
	text_size((3ull << 30) + (512ull << 20), buf, sizeof(buf));
	assert_string_equal(buf, "3.5 GiB");
	text_size(UINT64_MAX, buf, sizeof(buf));
	assert_true(strlen(buf) <= 10);
	text_count(99999, buf, sizeof(buf));
	assert_string_equal(buf, "99999");
	text_count(123456, buf, sizeof(buf));
	assert_string_equal(buf, "123k");
	text_count(UINT64_MAX, buf, sizeof(buf));
	assert_true(strlen(buf) <= 6);
	text_uptime(3723000000000ull, buf, sizeof(buf));
	assert_string_equal(buf, "01:02:03");
	text_uptime(90000ull * 1000000000, buf, sizeof(buf));
	assert_string_equal(buf, "1d 01:00");
}

static void times_are_for_people(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} rows[] = {
		{0, "0 ns"},
		{999, "999 ns"},
		{1000, "1.0 us"},
		{128000, "128 us"},
		{3400000, "3.4 ms"},
		{90ull * 1000000000, "90 s"},
		{150ull * 1000000000, "2 min"},
		{7199ull * 1000000000, "119 min"},
		{7200ull * 1000000000, "2 h"},
	};
	char buf[32];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		text_span(rows[i].ns, buf, sizeof(buf));
		assert_string_equal(buf, rows[i].text);
	}
	text_span(UINT64_MAX, buf, sizeof(buf));
	assert_true(strlen(buf) <= 9);
}

static void keys_have_names(void **state)
{
	static const char *const names[] = {
		"a",	     "F1",	     "F12",   "Ctrl-O",	 "Alt-x",
		"Shift-Tab", "Enter",	     "Space", "Esc",	 "Up",
		"PgDn",	     "Ctrl-Alt-Del", "-",     "Ctrl-\\", "\xc3\xa4",
	};
	struct key k, again;
	char name[64];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(key_parse(names[i], &k), 0);
		key_to_text(&k, name, sizeof(name));
		assert_string_equal(name, names[i]);
		assert_int_equal(key_parse(name, &again), 0);
		assert_true(key_equal(&k, &again));
	}
	assert_int_equal(key_parse("F13", &k), -EINVAL);
	assert_int_equal(key_parse("", &k), -EINVAL);
	assert_int_equal(key_parse("Hyper-x", &k), -EINVAL);
	key_parse("Ctrl-o", &k);
	key_parse("Ctrl-O", &again);
	assert_true(key_equal(&k, &again));
}

static void styles_are_parsed(void **state)
{
	struct style s;

	(void)state;
	assert_int_equal(theme_parse_style("214 on black bold", &s), 0);
	assert_int_equal(s.fg, 214);
	assert_int_equal(s.bg, 0);
	assert_int_equal(s.attr, ATTR_BOLD);
	assert_int_equal(theme_parse_style("default", &s), 0);
	assert_int_equal(s.fg, -1);
	assert_int_equal(theme_parse_style("mauve", &s), -EINVAL);
	assert_int_equal(theme_parse_style("256", &s), -EINVAL);
	assert_int_equal(theme_parse_style("red on", &s), -EINVAL);
}

static void check_theme(const char *name, void *arg)
{
	struct error e = {0};
	struct theme t;
	int *count = arg;

	if (theme_load(&t, name, SHARE_DIR, &e))
		fail_msg("%s", e.msg);
	assert_string_equal(t.name, name);
	(*count)++;
}

static void every_theme_loads(void **state)
{
	struct theme t;
	int count = 0;

	(void)state;
	theme_each(SHARE_DIR, check_theme, &count);
	assert_true(count >= 4);
	assert_int_equal(theme_load(&t, "mono", NULL, NULL), 0);
	for (int i = 0; i < ROLE_COUNT; i++) {
		assert_int_equal(t.roles[i].fg, -1);
		assert_int_equal(t.roles[i].bg, -1);
	}
	assert_int_equal(theme_load(&t, "../passwd", SHARE_DIR, NULL), -ENOENT);
	assert_int_equal(theme_load(&t, "none", SHARE_DIR, NULL), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_cut_at_its_width),
		cmocka_unit_test(hostile_text_is_made_harmless),
		cmocka_unit_test(wide_characters_take_two_cells),
		cmocka_unit_test(ascii_canvas_holds_only_ascii),
		cmocka_unit_test(frame_clips_what_follows),
		cmocka_unit_test(spark_is_as_wide_as_told),
		cmocka_unit_test(code_page_437_maps_to_unicode),
		cmocka_unit_test(numbers_are_for_people),
		cmocka_unit_test(times_are_for_people),
		cmocka_unit_test(keys_have_names),
		cmocka_unit_test(styles_are_parsed),
		cmocka_unit_test(every_theme_loads),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
