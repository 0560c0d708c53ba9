/* Viewers, surface, cells, input sinks and typing of core/console.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/console.h"

struct display {
	struct console *c;
	int width, height;
	uint32_t colour;
	struct console_rect rect;
	unsigned refreshes, fulls;
};

static void display_refresh(void *opaque, bool full)
{
	struct display *d = opaque;
	uint32_t *p = console_surface(d->c, d->width, d->height);
	int x, y;

	d->refreshes++;
	d->fulls += full;
	if (!p)
		return;
	for (y = d->rect.y; y < d->rect.y + d->rect.h; y++)
		for (x = d->rect.x; x < d->rect.x + d->rect.w; x++)
			p[y * d->width + x] = d->colour;
	console_changed(d->c, d->rect);
}

static const struct console_display_ops display_ops = {
	.refresh = display_refresh,
};

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_viewer_sees_changes(void **state)
{
	struct console *c = console_create();
	struct display d = {.c = c, .width = 64, .height = 32, .colour = 0xff};
	struct console_viewer *a = console_viewer_create(c, 30);
	struct console_viewer *b = console_viewer_create(c, 10);
	struct console_rect r;
	struct console_info info;
	uint32_t px[64 * 32];

	(void)state;
	console_display_set(c, &display_ops, &d);
	assert_int_equal(console_wanted_hz(c), 30);
	d.rect = (struct console_rect){0, 0, 64, 32};
	console_refresh(c);
	assert_int_equal(d.fulls, 1);
	assert_true(readable(console_viewer_fd(a)));
	assert_true(console_viewer_take(a, &r));
	assert_int_equal(r.w, 64);
	assert_false(readable(console_viewer_fd(a)));
	assert_false(console_viewer_take(a, &r));

	d.rect = (struct console_rect){3, 4, 5, 6};
	d.colour = 0x123456;
	console_refresh(c);
	assert_int_equal(d.fulls, 1);
	assert_true(console_viewer_take(a, &r));
	assert_memory_equal(&r, &d.rect, sizeof(r));
	/* The other viewer did not look in between: it owes all of it. */
	assert_true(console_viewer_take(b, &r));
	assert_int_equal(r.h, 32);

	console_info(c, &info);
	assert_true(console_copy_pixels(c, info.generation, d.rect, px, 64));
	assert_int_equal(px[0], 0x123456);
	assert_int_equal(px[5 * 64 + 4], 0x123456);
	r = (struct console_rect){60, 30, 1000, 1000};
	assert_true(console_copy_pixels(c, info.generation, r, px, 64));
	assert_int_equal(px[0], 0xff);

	d.width = 128;
	console_refresh(c);
	assert_false(console_copy_pixels(c, info.generation, r, px, 64));
	assert_true(console_viewer_take(a, &r));
	assert_int_equal(r.w, 128);
	console_viewer_destroy(a);
	console_viewer_destroy(b);
	console_destroy(c);
}

static void test_wanted_follows_viewers(void **state)
{
	struct console *c = console_create();
	struct display d = {.c = c, .width = 8, .height = 8};
	struct console_viewer *v;

	(void)state;
	console_display_set(c, &display_ops, &d);
	assert_int_equal(console_wanted_hz(c), 0);
	assert_false(readable(console_wanted_fd(c)));
	v = console_viewer_create(c, 25);
	assert_true(readable(console_wanted_fd(c)));
	assert_int_equal(console_wanted_hz(c), 25);
	assert_false(readable(console_wanted_fd(c)));
	console_refresh(c);
	console_viewer_set_hz(v, 0);
	assert_true(readable(console_wanted_fd(c)));
	assert_int_equal(console_wanted_hz(c), 0);
	console_viewer_set_hz(v, 5);
	console_refresh(c);
	assert_int_equal(d.fulls, 2);
	console_viewer_destroy(v);
	assert_int_equal(console_wanted_hz(c), 0);
	console_destroy(c);
}

static void test_hostile_sizes(void **state)
{
	struct console *c = console_create();
	struct console_viewer *v = console_viewer_create(c, 1);
	struct console_rect r;
	struct console_rect wild = {-2147483647, -5, 2147483647, 2147483647};

	(void)state;
	assert_null(console_surface(c, 0, 10));
	assert_null(console_surface(c, CONSOLE_MAX_WIDTH + 1, 10));
	assert_null(console_surface(c, 10, CONSOLE_MAX_HEIGHT + 1));
	assert_null(console_surface(c, -1, -1));
	assert_non_null(console_surface(c, 16, 16));
	console_viewer_take(v, &r);
	console_changed(c, wild);
	assert_false(console_viewer_take(v, &r));
	wild = (struct console_rect){15, 15, 2147483647, 2147483647};
	console_changed(c, wild);
	assert_true(console_viewer_take(v, &r));
	assert_int_equal(r.w, 1);
	assert_int_equal(r.h, 1);
	console_destroy(c); /* takes the viewer with it */
}

static void test_text_cells(void **state)
{
	static struct console_text text, got;
	struct console *c = console_create();
	struct console_info info, before;

	(void)state;
	assert_false(console_copy_text(c, &got));
	console_info(c, &before);
	text.cols = 80;
	text.rows = 25;
	text.cells[3][7].ch = 'B';
	text.cells[3][7].attr = 0x1f;
	console_set_text(c, &text);
	console_info(c, &info);
	assert_true(info.is_text);
	assert_int_equal(info.cols, 80);
	assert_true(info.generation > before.generation);
	assert_true(console_copy_text(c, &got));
	assert_int_equal(got.cells[3][7].ch, 'B');
	assert_int_equal(got.cells[3][7].attr, 0x1f);

	before = info;
	console_set_text(c, &text);
	console_info(c, &info);
	assert_int_equal(info.generation, before.generation);
	text.cols = 100000;
	text.rows = -3;
	console_set_text(c, &text);
	console_info(c, &info);
	assert_int_equal(info.cols, CONSOLE_MAX_COLS);
	assert_int_equal(info.rows, 1);
	console_set_graphics(c);
	assert_false(console_copy_text(c, &got));
	console_destroy(c);
}

struct sink {
	char keys[256];
	int x, y, dx, dy, dz;
	unsigned buttons, calls;
};

static void sink_key(void *opaque, uint16_t scancode, bool down)
{
	struct sink *s = opaque;
	size_t len = strlen(s->keys);

	snprintf(s->keys + len, sizeof(s->keys) - len, "%c%x ",
		 down ? '+' : '-', scancode);
}

static void sink_abs(void *opaque, int x, int y, unsigned buttons)
{
	struct sink *s = opaque;

	s->x = x;
	s->y = y;
	s->buttons = buttons;
	s->calls++;
}

static void sink_rel(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
	struct sink *s = opaque;

	s->dx = dx;
	s->dy = dy;
	s->dz = dz;
	s->buttons = buttons;
	s->calls++;
}

static void test_input_goes_to_the_best_sink(void **state)
{
	static const struct console_input_ops ps2_ops = {
		.key = sink_key, .pointer_rel = sink_rel};
	static const struct console_input_ops tablet_ops = {
		.key = sink_key, .pointer_abs = sink_abs};
	struct console *c = console_create();
	struct sink ps2 = {0}, tablet = {0};
	struct console_input low = {
		.ops = &ps2_ops, .opaque = &ps2, .enabled = true};
	struct console_input high = {
		.ops = &tablet_ops, .opaque = &tablet, .priority = 10};

	(void)state;
	console_key(c, 0x1e, true); /* nobody listens */
	console_input_add(c, &low);
	console_input_add(c, &high);
	assert_false(console_has_absolute(c));
	console_pointer(c, 1, 2, 3);
	assert_int_equal(tablet.calls, 0);
	console_key(c, 0x1e, true);
	assert_string_equal(ps2.keys, "+1e ");
	console_input_enable(c, &high, true);
	assert_true(console_has_absolute(c));
	console_key(c, 0x11c, false);
	assert_string_equal(tablet.keys, "-11c ");
	console_pointer(c, 99999, -7, 5);
	assert_int_equal(tablet.x, 32767);
	assert_int_equal(tablet.y, 0);
	assert_int_equal(tablet.buttons, 5);
	console_pointer_rel(c, -3, 4, 1, 2);
	assert_int_equal(ps2.dx, -3);
	console_input_remove(c, &high);
	console_key(c, 0x1e, false);
	assert_string_equal(ps2.keys, "+1e -1e ");
	console_destroy(c);
}

static void test_typing(void **state)
{
	static const struct console_input_ops ops = {.key = sink_key};
	struct console *c = console_create();
	struct sink s = {0};
	struct console_input in = {.ops = &ops, .opaque = &s, .enabled = true};
	uint32_t ch;
	uint16_t code, other;
	bool shift, other_shift;

	(void)state;
	console_input_add(c, &in);
	assert_true(console_type(c, 'a'));
	assert_string_equal(s.keys, "+1e -1e ");
	s.keys[0] = 0;
	assert_true(console_type(c, '?'));
	assert_string_equal(s.keys, "+2a +35 -35 -2a ");
	s.keys[0] = 0;
	assert_true(console_type(c, '\n'));
	assert_string_equal(s.keys, "+1c -1c ");
	assert_false(console_type(c, 0xe9));
	assert_false(console_type(c, 0));
	for (ch = ' '; ch <= '~'; ch++) {
		uint32_t k;

		assert_true(console_us_key(ch, &code, &shift));
		for (k = ' '; k < ch; k++) {
			assert_true(console_us_key(k, &other, &other_shift));
			assert_false(code == other && shift == other_shift);
		}
	}
	console_destroy(c);
}

static void *draw_thread(void *arg)
{
	struct display *d = arg;
	int i;

	for (i = 0; i < 2000; i++) {
		d->width = 32 + i % 64;
		d->height = 16 + i % 32;
		d->rect = (struct console_rect){0, 0, d->width, d->height};
		d->colour = (uint32_t)i;
		console_refresh(d->c);
	}
	return NULL;
}

static void test_copy_while_the_mode_changes(void **state)
{
	static uint32_t px[128 * 64];
	struct console *c = console_create();
	struct display d = {.c = c, .width = 32, .height = 16};
	struct console_viewer *v = console_viewer_create(c, 60);
	struct console_info info;
	struct console_rect r;
	pthread_t t;
	int i, copies = 0;

	(void)state;
	console_display_set(c, &display_ops, &d);
	assert_int_equal(pthread_create(&t, NULL, draw_thread, &d), 0);
	for (i = 0; i < 2000; i++) {
		int k;

		console_info(c, &info);
		console_viewer_take(v, &r);
		r = (struct console_rect){0, 0, info.width, info.height};
		if (!console_copy_pixels(c, info.generation, r, px, 128))
			continue;
		copies++;
		/* One frame, never a mixture of two. */
		for (k = 1; k < info.width; k++)
			assert_int_equal(px[k], px[0]);
	}
	pthread_join(t, NULL);
	assert_true(copies > 0);
	console_viewer_destroy(v);
	console_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_viewer_sees_changes),
		cmocka_unit_test(test_wanted_follows_viewers),
		cmocka_unit_test(test_hostile_sizes),
		cmocka_unit_test(test_text_cells),
		cmocka_unit_test(test_input_goes_to_the_best_sink),
		cmocka_unit_test(test_typing),
		cmocka_unit_test(test_copy_while_the_mode_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
