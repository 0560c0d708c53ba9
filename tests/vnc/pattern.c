/*
 * A VNC server with a screen but no guest, for viewers to look at:
 *   pattern ADDRESS [PASSWORD-FILE]
 * Four quarters: red, green, blue, white.  The key r changes the size.  Says
 * on stdout where it listens and which keys and clicks arrive; ends at the end
 * of its stdin.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "core/console.h"
#include "core/error.h"
#include "ui/vnc/vnc.h"

#define SCAN_R 0x13

struct screen {
	struct console *console;
	int width, height;
};

static void refresh(void *opaque, bool full)
{
	static const uint32_t colours[4] = {0xff0000, 0x00ff00, 0x0000ff,
					    0xffffff};
	struct screen *s = opaque;
	uint32_t *p = console_surface(s->console, s->width, s->height);
	int x, y;

	(void)full;
	if (!p)
		return;
	for (y = 0; y < s->height; y++)
		for (x = 0; x < s->width; x++)
			*p++ = colours[(y >= s->height / 2) * 2 +
				       (x >= s->width / 2)];
	console_changed(s->console,
			(struct console_rect){0, 0, s->width, s->height});
}

static void on_key(void *opaque, uint16_t scancode, bool down)
{
	struct screen *s = opaque;

	printf("key %c%x\n", down ? '+' : '-', scancode);
	if (scancode == SCAN_R && down) {
		s->width = 640;
		s->height = 480;
	}
}

static void on_pointer(void *opaque, int x, int y, unsigned buttons)
{
	(void)opaque;
	if (buttons)
		printf("click %d %d %u\n", x, y, buttons);
}

int main(int argc, char **argv)
{
	static const struct console_display_ops display = {.refresh = refresh};
	static const struct console_input_ops ops = {.key = on_key,
						     .pointer_abs = on_pointer};
	struct screen s = {console_create(), 400, 300};
	struct console_input in = {.ops = &ops, .opaque = &s, .enabled = true};
	struct vnc_config cfg = {.console = s.console,
				 .name = "pattern",
				 .listen = argc > 1 ? argv[1] : "",
				 .password_file = argc > 2 ? argv[2] : NULL};
	struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};
	struct vnc_status st;
	struct error e = {0};
	struct vnc *v;

	setvbuf(stdout, NULL, _IOLBF, 0);
	console_input_add(s.console, &in);
	console_display_set(s.console, &display, &s);
	v = vnc_start(&cfg, &e);
	if (!v) {
		fprintf(stderr, "pattern: %s\n", e.msg);
		return 1;
	}
	vnc_status_copy(v, &st);
	printf("port %u\n", st.port);
	while (poll(&end, 1, 50) == 0)
		if (console_wanted_hz(s.console))
			console_refresh(s.console);
	vnc_stop(v);
	console_input_remove(s.console, &in);
	console_destroy(s.console);
	return 0;
}
