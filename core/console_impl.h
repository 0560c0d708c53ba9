/*
 * console_impl: what the console's own source files share.
 *
 * Lock order inside: draw, then lock.  `draw` is held for the length of a
 * refresh (the device may take its own lock inside) and of a copy of pixels;
 * `lock` is a leaf.  Thread rule: as console.h.
 */
#ifndef CORE_CONSOLE_IMPL_H
#define CORE_CONSOLE_IMPL_H

#include <pthread.h>

#include "core/console.h"

struct console_viewer {
	struct console *c;
	struct console_viewer *next;
	int fd;
	int hz;
	struct console_rect dirty;
};

struct console {
	pthread_mutex_t draw; /* protects what pixels points to */
	uint32_t *pixels;
	size_t room; /* of pixels, in pixels */

	pthread_mutex_t lock; /* protects everything below */
	int width, height;
	uint64_t generation;
	bool is_text, want_full;
	struct console_text text;
	struct console_viewer *viewers;
	int wanted_fd, wanted_hz;
	const struct console_display_ops *display;
	void *display_opaque;
	struct console_input *inputs;
	unsigned inputs_busy; /* ops that run right now */
	pthread_cond_t inputs_idle;
};

#endif
