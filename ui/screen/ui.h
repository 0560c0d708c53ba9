/*
 * ui: the front end, apart from any terminal.
 *
 * It turns keys into actions, actions into effects, and what it knows into a
 * frame of text.  A screen is one file that exports one const struct screen
 * (the list is in ui.c); an action is a row of a const table.  Nothing here
 * waits: wishes are posted to machines and facts are copied from them.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_SCREEN_UI_H
#define UI_SCREEN_UI_H

#include "ui/keys/action.h"
#include "ui/keys/layer.h"
#include "ui/session/fleet.h"
#include "ui/session/settings.h"
#include "ui/term/canvas.h"
#include "ui/term/key.h"

struct log;

#define UI_MAX_PANELS  4
#define UI_NR_SCREENS  6
#define UI_MIN_ROWS    12
#define UI_MIN_COLS    40
#define UI_MESSAGE_LEN 320

/* A panel's list: screens say how long it is, keys move in it. */
struct list {
	int sel, top;	/* the chosen row and the first one shown */
	int nr, rows;	/* as of the last drawing */
	struct rect at; /* where its rows are; no rows: hidden */
};

/* What every screen has, kept for as long as the session lives. */
struct view {
	struct list panels[UI_MAX_PANELS];
	int nr_panels, focus;
	bool zoom;
	char filter[64];
	void *data; /* the screen's own */
};

struct ui;

struct screen {
	const char *name;  /* as commands call it */
	const char *title; /* as the bar shows it */
	const struct action *actions;
	int nr_actions;
	bool needs_vm; /* shows nothing of a machine that was never started */
	/* Allocates v->data; NULL: none needed. 0 or -ENOMEM. */
	int (*create)(struct ui *ui, struct view *v);
	void (*destroy)(struct ui *ui, struct view *v);
	void (*draw)(struct ui *ui, struct view *v, struct rect r);
	/* A key before any action sees it; EFFECT_PASS leaves it to them. */
	unsigned (*key)(struct ui *ui, struct view *v, const struct key *k);
	/* fds whose input makes the screen stale; returns how many of max. */
	int (*fds)(struct ui *ui, struct view *v, int *fds, int max);
	/* The chosen row has moved. */
	void (*moved)(struct ui *ui, struct view *v);
	/* Becomes visible to a person, or stops to be. */
	void (*show)(struct ui *ui, struct view *v, bool visible);
};

struct ui {
	struct canvas canvas;
	struct theme theme;
	struct settings settings;
	struct fleet *fleet;
	struct log *log;
	char share[1024], folder[1024]; /* folder: of machine files */
	struct view views[UI_NR_SCREENS];
	int current;
	struct machine *machine; /* the chosen one, NULL when there is none */
	struct layer_state layer;
	char message[UI_MESSAGE_LEN];
	bool message_is_bad;
	int message_age; /* seconds */
	bool visible;	 /* somebody looks at frames */
	bool waits;	 /* the last frame lacks facts that come in a moment */
	bool mouse;
	struct rect tabs[UI_NR_SCREENS]; /* where the bar shows them */
};

/* Loads settings and theme, makes the fleet and the screens. NULL with the
 * reason in e. */
struct ui *ui_create(const char *share, struct log *log, struct error *e);
/* Powers every machine off and frees. */
void ui_destroy(struct ui *ui);

/* Somebody looks (or nobody does any more); mono and ascii tell what the
 * terminal can show. */
void ui_show(struct ui *ui, bool visible, bool mono, bool ascii);
/* 0 or -ENOMEM. */
int ui_resize(struct ui *ui, int rows, int cols);
/* Draws the frame into ui->canvas. */
void ui_draw(struct ui *ui);
/* Acts on a key; returns effects. */
unsigned ui_key(struct ui *ui, const struct key *k);
/* Runs a palette line, "NAME [ARGUMENT]"; destructive actions are not asked
 * about again.  What is to be said is in ui->message afterwards. */
unsigned ui_command(struct ui *ui, const char *line);
/* Reads what the machines have to tell; true: draw again. */
bool ui_refresh(struct ui *ui);
/* Once a second; true: something on the screen moves with time. */
bool ui_tick(struct ui *ui);
/* fds to poll for input; returns how many of max.  Those of the screen stay
 * readable until it is drawn: leave them out while a frame is due anyway. */
int ui_fds(struct ui *ui, bool screen, int *fds, int max);

/* ---- for actions and screens ---- */

/* Puts a sentence on the message line. */
void ui_say(struct ui *ui, bool bad, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Screen i of the table in ui.c, NULL past the last. */
const struct screen *ui_screen(int i);
/* Shows screen i. */
void ui_switch(struct ui *ui, int i);
/* Makes m the machine that screens show. */
void ui_choose(struct ui *ui, struct machine *m);
/* The view and the screen that are shown. */
struct view *ui_view(struct ui *ui);
const struct screen *ui_current(const struct ui *ui);
/* Draws a centred sentence where there is nothing to show. */
void ui_empty(struct ui *ui, struct rect r, const char *text);
/* The machine's live VM, NULL when there is none. */
struct vm *ui_vm(const struct ui *ui);

/* Gives the console's keyboard to the guest or takes it back. */
void console_grab(struct ui *ui, bool grab);
/* True while keys go to the guest. */
bool console_is_grabbed(const struct ui *ui);
/* Types text into the guest, as if on its keyboard or serial line. */
void console_type_text(struct ui *ui, const char *text);
/* "VGA 80x25", "serial": what the console shows now; "" when nothing. */
void console_label(const struct ui *ui, char *buf, size_t len);
/* Presses and releases Ctrl+Alt+Del in the guest. */
void console_ctrl_alt_del(struct ui *ui);

/* Keeps sel and top of a list of nr rows inside, with room for rows. */
void list_fit(struct list *l, int nr, int rows);
/* Like list_fit, with the rows drawn in r. */
void list_place(struct list *l, int nr, struct rect r);
/* Moves the chosen row. */
void list_move(struct list *l, int by);

#endif
