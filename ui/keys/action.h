/*
 * action: what a key does, under a name that the palette and scripts use too.
 *
 * Tables of actions are const; a key is bound once among the global table and
 * the current screen's (a test keeps it so).  A handler changes view state or
 * posts a wish and returns what must follow.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_KEYS_ACTION_H
#define UI_KEYS_ACTION_H

#include <stdbool.h>
#include <stddef.h>

struct key;
struct screen;
struct ui;

enum effect {
	EFFECT_NONE = 0,
	EFFECT_DRAW = 1,    /* the frame has changed */
	EFFECT_DETACH = 2,  /* give the terminal back */
	EFFECT_QUIT = 4,    /* end the session */
	EFFECT_REDRAW = 8,  /* the terminal may show rubbish: all anew */
	EFFECT_PASS = 16,   /* not mine: let others see the key */
	EFFECT_FAILED = 32, /* the message says why nothing was done */
	EFFECT_MOUSE = 64,  /* the mouse was turned on or off */
};

enum action_arg {
	ARG_NONE,
	ARG_MACHINE, /* optional: the chosen one */
	ARG_THEME,
	ARG_FILE,
	ARG_TEXT
};

struct action_prompt {
	char label[128], answer[256];
};

struct action {
	const char *name;
	const char *keys; /* "j Down"; NULL: by name only */
	const char *help;
	const char *hint; /* its word on the bottom line, or NULL */
	/* Whether it has something to do now; NULL: as its screen says. */
	bool (*here)(const struct ui *ui);
	/* arg: NULL or the rest of the palette line. */
	unsigned (*run)(struct ui *ui, const char *arg);
	/* Destructive actions: the question, naming the thing; false (and a
	 * message) when there is nothing to do it to. */
	bool (*ask)(struct ui *ui, const char *arg, char *question, size_t len);
	/* Actions that a key can't tell enough: what to ask for, and a first
	 * answer; false (and a message) when there is nothing to do it to. */
	bool (*prompt)(struct ui *ui, struct action_prompt *out);
	enum action_arg arg;
};

/* Everywhere: moving about, and what is done to the chosen machine. */
extern const struct action global_actions[], machine_actions[];
extern const int nr_global_actions, nr_machine_actions;

/* The action bound to k on the current screen or everywhere, NULL when none
 * is.  What the settings bind wins over the tables. */
const struct action *action_by_key(const struct ui *ui, const struct key *k);
/* The keys of an action: the settings' or its own; NULL: by name only. */
const char *action_keys(const struct ui *ui, const struct action *a);
/* By name among screen s's and the global ones, then those of all screens. */
const struct action *action_by_name(const struct screen *s, const char *name);
/* Action i of those that work on screen s (its own first), NULL past the
 * last. */
const struct action *action_at(const struct screen *s, int i);
/* Whether a, of those that action_at gives, has something to do now. */
bool action_is_here(const struct ui *ui, const struct action *a);
/* Runs it, asking first for an argument that it needs (arg: NULL), and when it
 * is destructive. */
unsigned action_invoke(struct ui *ui, const struct action *a, const char *arg);

#endif
