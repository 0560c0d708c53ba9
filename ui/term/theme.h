/*
 * theme: which colours and attributes each role on a screen has.
 *
 * Screens name roles, never colours.  Two themes are built in; more come from
 * the share folder's themes/NAME.json, which maps roles to
 * "ink [on paper] [bold] [dim] [reverse] [underline]".
 *
 * Thread rule: a theme is filled once and then only read; [any] thread.
 */
#ifndef UI_TERM_THEME_H
#define UI_TERM_THEME_H

#include <stdbool.h>
#include <stdint.h>

struct error;

enum role {
	ROLE_TEXT,
	ROLE_DIM,
	ROLE_STRONG,
	ROLE_FRAME,
	ROLE_FRAME_FOCUS,
	ROLE_TITLE,
	ROLE_HEAD,
	ROLE_SELECT,
	ROLE_BAR,
	ROLE_TAB,
	ROLE_TAB_ON,
	ROLE_KEY,
	ROLE_HINT,
	ROLE_GOOD,
	ROLE_WARN,
	ROLE_BAD,
	ROLE_ACCENT,
	ROLE_GRAPH,
	ROLE_COUNT
};

enum {
	ATTR_BOLD = 1,
	ATTR_DIM = 2,
	ATTR_REVERSE = 4,
	ATTR_UNDERLINE = 8,
	ATTR_BLINK = 16,
};

struct style {
	int32_t fg, bg; /* see struct cell */
	uint32_t attr;
};

struct theme {
	char name[32];
	struct style roles[ROLE_COUNT];
};

/* Fills t with the named theme: built in ("binnacle", "mono") or from
 * share/themes.  0, or -errno with the reason in e (t unchanged). */
int theme_load(struct theme *t, const char *name, const char *share,
	       struct error *e);
/* Parses "214 on 17 bold" into s. 0 or -EINVAL. */
int theme_parse_style(const char *text, struct style *s);
/* Calls each(name, arg) for every theme that can be loaded. */
void theme_each(const char *share, void (*each)(const char *name, void *arg),
		void *arg);

#endif
