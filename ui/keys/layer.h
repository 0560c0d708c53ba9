/*
 * layer: what lies over a screen and takes its keys: help, palette, filter,
 * prompt, confirmation.  At most one is open; Esc closes it.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_KEYS_LAYER_H
#define UI_KEYS_LAYER_H

#include <stdbool.h>
#include <stddef.h>

struct action;
struct key;
struct ui;

/* A line of text being edited. */
struct line {
	char text[256]; /* UTF-8 */
	size_t len, at; /* bytes; at: the cursor, on a character's start */
};

#define LAYER_HISTORY 16

struct layer_state {
	const struct layer *open; /* NULL: none */
	struct line line;
	int sel, top;		     /* help: the chosen row */
	const struct action *action; /* confirm, prompt: what it is about */
	char arg[256];
	bool has_arg, yes;
	char question[256];
	char candidates[256]; /* palette: what Tab has to offer */
	char history[LAYER_HISTORY][256];
	int nr_history, recall;
};

struct layer {
	const char *name;
	const char *hints; /* "Enter run  Esc close": key word, two blanks */
	void (*draw)(struct ui *ui);
	unsigned (*key)(struct ui *ui, const struct key *k);
};

extern const struct layer layer_help, layer_palette, layer_filter, layer_prompt,
	layer_confirm;

/* Opens a layer with an empty line. */
void layer_open(struct ui *ui, const struct layer *layer);
/* Closes it; nothing when none is open. */
void layer_close(struct ui *ui);

/* Applies an editing key; false when it isn't one. */
bool line_key(struct line *line, const struct key *k);
/* Replaces the text. */
void line_set(struct line *line, const char *text);
/* Draws prompt and line on the message row, with the cursor. */
void line_draw(struct ui *ui, const char *prompt, const struct line *line);

/* Completes the last word of a palette line in place: to the longest common
 * start of what fits; candidates gets the choices when there are several. */
void palette_complete(struct ui *ui, struct line *line, char *candidates,
		      size_t len);
/* Asks for the action's argument; answer: what the line holds at first. */
void prompt_open(struct ui *ui, const struct action *a, const char *label,
		 const char *answer);
/* Asks question before running the action with arg (NULL: none). */
void confirm_open(struct ui *ui, const struct action *a, const char *arg,
		  const char *question);

#endif
