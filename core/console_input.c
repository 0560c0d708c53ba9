#include "core/console.h"

#include <stddef.h>

#include "core/console_impl.h"

/* ---- sinks ---- */

void console_input_add(struct console *c, struct console_input *in)
{
	struct console_input **p;

	pthread_mutex_lock(&c->lock);
	for (p = &c->inputs; *p && (*p)->priority >= in->priority;
	     p = &(*p)->next)
		;
	in->next = *p;
	*p = in;
	pthread_mutex_unlock(&c->lock);
}

void console_input_remove(struct console *c, struct console_input *in)
{
	struct console_input **p;

	pthread_mutex_lock(&c->lock);
	for (p = &c->inputs; *p && *p != in; p = &(*p)->next)
		;
	if (*p)
		*p = in->next;
	in->next = NULL;
	while (c->inputs_busy)
		pthread_cond_wait(&c->inputs_idle, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void console_input_enable(struct console *c, struct console_input *in,
			  bool enabled)
{
	pthread_mutex_lock(&c->lock);
	in->enabled = enabled;
	pthread_mutex_unlock(&c->lock);
}

enum want { WANT_KEY, WANT_ABS, WANT_REL };

static bool has_op(const struct console_input_ops *ops, enum want want)
{
	switch (want) {
	case WANT_KEY:
		return ops->key != NULL;
	case WANT_ABS:
		return ops->pointer_abs != NULL;
	case WANT_REL:
		return ops->pointer_rel != NULL;
	}
	return false;
}

static struct console_input *find_locked(struct console *c, enum want want)
{
	struct console_input *in;

	/* The list is in order of priority. */
	for (in = c->inputs; in; in = in->next)
		if (in->enabled && has_op(in->ops, want))
			return in;
	return NULL;
}

/* The sink stays alive until sink_put: removal waits for it. */
static struct console_input *sink_get(struct console *c, enum want want)
{
	struct console_input *in;

	pthread_mutex_lock(&c->lock);
	in = find_locked(c, want);
	if (in)
		c->inputs_busy++;
	pthread_mutex_unlock(&c->lock);
	return in;
}

static void sink_put(struct console *c)
{
	pthread_mutex_lock(&c->lock);
	if (--c->inputs_busy == 0)
		pthread_cond_broadcast(&c->inputs_idle);
	pthread_mutex_unlock(&c->lock);
}

void console_key(struct console *c, uint16_t scancode, bool down)
{
	struct console_input *in = sink_get(c, WANT_KEY);

	if (!in)
		return;
	in->ops->key(in->opaque, scancode, down);
	sink_put(c);
}

static int clamp(int v, int lo, int hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

void console_pointer(struct console *c, int x, int y, unsigned buttons)
{
	struct console_input *in = sink_get(c, WANT_ABS);

	if (!in)
		return;
	in->ops->pointer_abs(in->opaque, clamp(x, 0, 32767), clamp(y, 0, 32767),
			     buttons);
	sink_put(c);
}

void console_pointer_rel(struct console *c, int dx, int dy, int dz,
			 unsigned buttons)
{
	struct console_input *in = sink_get(c, WANT_REL);

	if (!in)
		return;
	in->ops->pointer_rel(in->opaque, dx, dy, dz, buttons);
	sink_put(c);
}

bool console_has_absolute(struct console *c)
{
	bool has;

	pthread_mutex_lock(&c->lock);
	has = find_locked(c, WANT_ABS) != NULL;
	pthread_mutex_unlock(&c->lock);
	return has;
}

/* ---- typing ---- */

#define SCAN_LSHIFT 0x2a

struct us_row {
	uint8_t first; /* make code of the first character */
	const char *plain, *shifted;
};

/* Rows of adjacent make codes of a US keyboard. */
static const struct us_row us_rows[] = {
	{0x02, "1234567890-=", "!@#$%^&*()_+"},
	{0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
	{0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
	{0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
	{0x39, " ", " "},
};

struct us_control {
	uint32_t codepoint;
	uint16_t scancode;
};

static const struct us_control us_controls[] = {
	{'\b', 0x0e}, {'\t', 0x0f}, {'\n', 0x1c},
	{'\r', 0x1c}, {0x1b, 0x01}, {0x7f, 0x0e},
};

bool console_us_key(uint32_t codepoint, uint16_t *scancode, bool *shift)
{
	size_t i, k;

	*shift = false;
	for (i = 0; i < sizeof(us_controls) / sizeof(us_controls[0]); i++) {
		if (us_controls[i].codepoint == codepoint) {
			*scancode = us_controls[i].scancode;
			return true;
		}
	}
	if (codepoint < ' ' || codepoint > '~')
		return false;
	for (i = 0; i < sizeof(us_rows) / sizeof(us_rows[0]); i++) {
		for (k = 0; us_rows[i].plain[k]; k++) {
			*scancode = (uint16_t)(us_rows[i].first + k);
			if ((uint32_t)us_rows[i].plain[k] == codepoint)
				return true;
			*shift = (uint32_t)us_rows[i].shifted[k] == codepoint;
			if (*shift)
				return true;
		}
	}
	return false;
}

bool console_type(struct console *c, uint32_t codepoint)
{
	uint16_t scancode;
	bool shift;

	if (!console_us_key(codepoint, &scancode, &shift))
		return false;
	if (shift)
		console_key(c, SCAN_LSHIFT, true);
	console_key(c, scancode, true);
	console_key(c, scancode, false);
	if (shift)
		console_key(c, SCAN_LSHIFT, false);
	return true;
}
