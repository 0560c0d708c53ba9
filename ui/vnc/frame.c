/*
 * The frame that libvncserver sends.
 *
 * The console says roughly where something changed; the copy is compared with
 * the frame, so that clients get only what is different.  A guest's new mode
 * is a new frame.
 */
#include "ui/vnc/vnc_impl.h"

#include <errno.h>
#include <stdlib.h>

#define BAND 16 /* rows that are marked together */

/* libvncserver's own pixel order: red in the lowest byte. */
static uint32_t frame_pixel(uint32_t p)
{
	return (p >> 16 & 0xff) | (p & 0xff00) | (p & 0xff) << 16;
}

/* The library's scaled copies don't survive a change of size. */
static void drop_scaled_clients(struct vnc *v)
{
	rfbClientPtr cl;
	bool any;

	do {
		any = false;
		for (cl = v->screen->clientHead; cl; cl = cl->next) {
			if (cl->scaledScreen == v->screen)
				continue;
			if (cl->sock != RFB_INVALID_SOCKET)
				rfbCloseClient(cl);
			any = true;
		}
		if (any)
			vnc_serve(v);
	} while (any);
}

int vnc_frame_resize(struct vnc *v, int width, int height)
{
	uint32_t *old_frame = v->frame, *frame, *copy;

	frame = calloc((size_t)width * height, sizeof(*frame));
	copy = calloc((size_t)width * height, sizeof(*copy));
	if (!frame || !copy) {
		free(frame);
		free(copy);
		return -ENOMEM;
	}
	free(v->copy);
	v->copy = copy;
	v->frame = frame;
	v->width = width;
	v->height = height;
	if (v->screen) {
		drop_scaled_clients(v);
		rfbNewFramebuffer(v->screen, (char *)frame, width, height, 8, 3,
				  4);
	}
	free(old_frame);
	return 0;
}

/* Takes over a row; widens [*from, *to) by what differs. */
static void merge_row(struct vnc *v, struct console_rect r, int y, int *from,
		      int *to)
{
	const uint32_t *src = v->copy + (size_t)y * r.w;
	uint32_t *dst = v->frame + (size_t)(r.y + y) * v->width + r.x;
	int x;

	for (x = 0; x < r.w; x++) {
		uint32_t p = frame_pixel(src[x]);

		if (dst[x] == p)
			continue;
		dst[x] = p;
		if (r.x + x < *from)
			*from = r.x + x;
		if (r.x + x >= *to)
			*to = r.x + x + 1;
	}
}

static void merge(struct vnc *v, struct console_rect r)
{
	int y, band, from, to;

	for (y = 0; y < r.h; y += BAND) {
		from = v->width;
		to = 0;
		for (band = y; band < y + BAND && band < r.h; band++)
			merge_row(v, r, band, &from, &to);
		if (from < to)
			rfbMarkRectAsModified(v->screen, from, r.y + y, to,
					      r.y + band);
	}
}

static struct console_rect clamp(struct console_rect r, int width, int height)
{
	if (r.x + r.w > width)
		r.w = width - r.x;
	if (r.y + r.h > height)
		r.h = height - r.y;
	if (r.x < 0 || r.y < 0 || r.w < 0 || r.h < 0)
		return (struct console_rect){0, 0, width, height};
	return r;
}

void vnc_frame_update(struct vnc *v)
{
	struct console_info info;
	struct console_rect r;

	if (!console_viewer_take(v->viewer, &r))
		return;
	console_info(v->console, &info);
	if (info.width < 1 || info.height < 1)
		return;
	if (info.width != v->width || info.height != v->height) {
		if (vnc_frame_resize(v, info.width, info.height))
			return;
		r = (struct console_rect){0, 0, v->width, v->height};
	}
	r = clamp(r, v->width, v->height);
	/* False: the mode changes right now, and the viewer hears of it. */
	if (console_copy_pixels(v->console, info.generation, r, v->copy, r.w))
		merge(v, r);
}
