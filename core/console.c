#include "core/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/console_impl.h"

static void event_signal(int fd)
{
	uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	/* Only a counter at its limit refuses, and that is readable too. */
	(void)n;
}

static void event_drain(int fd)
{
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	(void)n; /* EAGAIN: there was nothing */
}

struct console *console_create(void)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->wanted_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wanted_fd < 0) {
		free(c);
		return NULL;
	}
	pthread_mutex_init(&c->draw, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->inputs_idle, NULL);
	c->generation = 1;
	c->want_full = true;
	return c;
}

void console_destroy(struct console *c)
{
	if (!c)
		return;
	while (c->viewers)
		console_viewer_destroy(c->viewers);
	close(c->wanted_fd);
	pthread_cond_destroy(&c->inputs_idle);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->draw);
	free(c->pixels);
	free(c);
}

/* ---- rectangles ---- */

static struct console_rect rect_clamp(struct console_rect r, int width,
				      int height)
{
	int64_t x1 = (int64_t)r.x + r.w, y1 = (int64_t)r.y + r.h;

	if (r.x < 0)
		r.x = 0;
	if (r.y < 0)
		r.y = 0;
	if (x1 > width)
		x1 = width;
	if (y1 > height)
		y1 = height;
	if (x1 <= r.x || y1 <= r.y)
		return (struct console_rect){0};
	r.w = (int)(x1 - r.x);
	r.h = (int)(y1 - r.y);
	return r;
}

static struct console_rect rect_union(struct console_rect a,
				      struct console_rect b)
{
	struct console_rect u;
	int ax1 = a.x + a.w, ay1 = a.y + a.h;
	int bx1 = b.x + b.w, by1 = b.y + b.h;

	if (!a.w)
		return b;
	if (!b.w)
		return a;
	u.x = a.x < b.x ? a.x : b.x;
	u.y = a.y < b.y ? a.y : b.y;
	u.w = (ax1 > bx1 ? ax1 : bx1) - u.x;
	u.h = (ay1 > by1 ? ay1 : by1) - u.y;
	return u;
}

static void changed_locked(struct console *c, struct console_rect r)
{
	struct console_viewer *v;

	r = rect_clamp(r, c->width, c->height);
	if (!r.w)
		return;
	for (v = c->viewers; v; v = v->next) {
		v->dirty = rect_union(v->dirty, r);
		event_signal(v->fd);
	}
}

/* The mode changed: everybody looks again, even at an empty surface. */
static void mode_changed_locked(struct console *c)
{
	struct console_viewer *v;

	c->generation++;
	for (v = c->viewers; v; v = v->next) {
		v->dirty = (struct console_rect){0, 0, c->width, c->height};
		event_signal(v->fd);
	}
}

/* ---- viewers ---- */

static void wanted_update_locked(struct console *c)
{
	struct console_viewer *v;
	int hz = 0;

	for (v = c->viewers; v; v = v->next)
		if (v->hz > hz)
			hz = v->hz;
	if (hz == c->wanted_hz)
		return;
	if (!c->wanted_hz)
		c->want_full = true;
	c->wanted_hz = hz;
	event_signal(c->wanted_fd);
}

struct console_viewer *console_viewer_create(struct console *c, int hz)
{
	struct console_viewer *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->c = c;
	v->hz = hz > 0 ? hz : 0;
	v->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->fd < 0) {
		free(v);
		return NULL;
	}
	pthread_mutex_lock(&c->lock);
	v->dirty = (struct console_rect){0, 0, c->width, c->height};
	v->next = c->viewers;
	c->viewers = v;
	wanted_update_locked(c);
	pthread_mutex_unlock(&c->lock);
	return v;
}

void console_viewer_destroy(struct console_viewer *v)
{
	struct console_viewer **p;
	struct console *c;

	if (!v)
		return;
	c = v->c;
	pthread_mutex_lock(&c->lock);
	for (p = &c->viewers; *p && *p != v; p = &(*p)->next)
		;
	if (*p)
		*p = v->next;
	wanted_update_locked(c);
	pthread_mutex_unlock(&c->lock);
	close(v->fd);
	free(v);
}

int console_viewer_fd(const struct console_viewer *v)
{
	return v->fd;
}

void console_viewer_set_hz(struct console_viewer *v, int hz)
{
	pthread_mutex_lock(&v->c->lock);
	v->hz = hz > 0 ? hz : 0;
	wanted_update_locked(v->c);
	pthread_mutex_unlock(&v->c->lock);
}

bool console_viewer_take(struct console_viewer *v, struct console_rect *out)
{
	pthread_mutex_lock(&v->c->lock);
	event_drain(v->fd);
	*out = v->dirty;
	v->dirty = (struct console_rect){0};
	pthread_mutex_unlock(&v->c->lock);
	return out->w != 0;
}

void console_info(struct console *c, struct console_info *out)
{
	pthread_mutex_lock(&c->lock);
	*out = (struct console_info){
		.width = c->width,
		.height = c->height,
		.is_text = c->is_text,
		.cols = c->is_text ? c->text.cols : 0,
		.rows = c->is_text ? c->text.rows : 0,
		.generation = c->generation,
	};
	pthread_mutex_unlock(&c->lock);
}

bool console_copy_pixels(struct console *c, uint64_t generation,
			 struct console_rect r, uint32_t *dst, int stride)
{
	struct console_info info;
	int y;

	pthread_mutex_lock(&c->draw);
	console_info(c, &info);
	if (info.generation != generation) {
		pthread_mutex_unlock(&c->draw);
		return false;
	}
	r = rect_clamp(r, info.width, info.height);
	for (y = 0; y < r.h; y++)
		memcpy(dst + (size_t)y * stride,
		       c->pixels + (size_t)(r.y + y) * info.width + r.x,
		       (size_t)r.w * sizeof(*dst));
	pthread_mutex_unlock(&c->draw);
	return true;
}

bool console_copy_text(struct console *c, struct console_text *out)
{
	bool is_text;

	pthread_mutex_lock(&c->lock);
	is_text = c->is_text;
	if (is_text)
		*out = c->text;
	pthread_mutex_unlock(&c->lock);
	return is_text;
}

/* ---- the display device ---- */

void console_display_set(struct console *c,
			 const struct console_display_ops *ops, void *opaque)
{
	pthread_mutex_lock(&c->draw); /* no refresh runs any more */
	pthread_mutex_lock(&c->lock);
	c->display = ops;
	c->display_opaque = opaque;
	c->want_full = true;
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->draw);
}

int console_wanted_hz(struct console *c)
{
	int hz;

	pthread_mutex_lock(&c->lock);
	event_drain(c->wanted_fd);
	hz = c->wanted_hz;
	pthread_mutex_unlock(&c->lock);
	return hz;
}

int console_wanted_fd(struct console *c)
{
	return c->wanted_fd;
}

void console_refresh(struct console *c)
{
	const struct console_display_ops *ops;
	void *opaque;
	bool full;

	pthread_mutex_lock(&c->draw);
	pthread_mutex_lock(&c->lock);
	ops = c->display;
	opaque = c->display_opaque;
	full = c->want_full;
	if (ops)
		c->want_full = false;
	pthread_mutex_unlock(&c->lock);
	if (ops)
		ops->refresh(opaque, full);
	pthread_mutex_unlock(&c->draw);
}

uint32_t *console_surface(struct console *c, int width, int height)
{
	size_t need = (size_t)width * height;
	uint32_t *pixels;

	if (width < 1 || height < 1 || width > CONSOLE_MAX_WIDTH ||
	    height > CONSOLE_MAX_HEIGHT)
		return NULL;
	if (width == c->width && height == c->height)
		return c->pixels;
	if (need > c->room) {
		pixels = realloc(c->pixels, need * sizeof(*pixels));
		if (!pixels)
			return NULL;
		c->pixels = pixels;
		c->room = need;
	}
	memset(c->pixels, 0, need * sizeof(*c->pixels));
	pthread_mutex_lock(&c->lock);
	c->width = width;
	c->height = height;
	mode_changed_locked(c);
	pthread_mutex_unlock(&c->lock);
	return c->pixels;
}

void console_set_text(struct console *c, const struct console_text *text)
{
	struct console_text t = *text;
	bool changed;

	t.cols = t.cols < 1 ? 1 : t.cols;
	t.rows = t.rows < 1 ? 1 : t.rows;
	if (t.cols > CONSOLE_MAX_COLS)
		t.cols = CONSOLE_MAX_COLS;
	if (t.rows > CONSOLE_MAX_ROWS)
		t.rows = CONSOLE_MAX_ROWS;
	pthread_mutex_lock(&c->lock);
	changed =
		!c->is_text || c->text.cols != t.cols || c->text.rows != t.rows;
	c->text = t;
	c->is_text = true;
	if (changed)
		mode_changed_locked(c);
	pthread_mutex_unlock(&c->lock);
}

void console_set_graphics(struct console *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->is_text) {
		c->is_text = false;
		mode_changed_locked(c);
	}
	pthread_mutex_unlock(&c->lock);
}

void console_changed(struct console *c, struct console_rect r)
{
	pthread_mutex_lock(&c->lock);
	changed_locked(c, r);
	pthread_mutex_unlock(&c->lock);
}
