/*
 * settings: what a person prefers, from $XDG_CONFIG_HOME/binnacle/config.json.
 *
 * Keys: "escape" (the key that takes the keyboard back from the guest),
 * "theme", "mouse", and "keys": an object that gives actions other keys, in the
 * form of share/keymap/default.json.  A missing file means the defaults.
 *
 * Thread rule: filled once, then read by the front end's thread.
 */
#ifndef UI_SESSION_SETTINGS_H
#define UI_SESSION_SETTINGS_H

#include <stdbool.h>

#include "ui/term/key.h"

struct error;

#define SETTINGS_MAX_BINDINGS 96

/* Other keys for an action: "" none. */
struct binding {
	char action[24];
	char keys[48]; /* "j Down" */
};

struct settings {
	struct key escape;
	char theme[32];
	bool mouse;
	struct binding bindings[SETTINGS_MAX_BINDINGS];
	int nr_bindings;
};

/* Ctrl-O (a plain letter with Ctrl: there on every keyboard layout), theme
 * "binnacle", mouse on. */
void settings_init(struct settings *s);
/* Reads the file; what it does not name stays. 0 or -EINVAL with the reason;
 * a missing file is fine. */
int settings_load(struct settings *s, struct error *e);
/* The keys that the settings give to an action, NULL when they are silent. */
const char *settings_keys(const struct settings *s, const char *action);
/* Parses the file's text; name is for messages. 0 or -EINVAL. */
int settings_parse(struct settings *s, const char *json, const char *name,
		   struct error *e);

#endif
