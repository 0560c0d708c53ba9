/*
 * The front end: the frame around the screens, and who gets a key.
 *
 * Order for a key: the open layer, the screen, the screen's actions, the
 * actions that work everywhere.
 */
#include "ui/screen/ui.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "ui/screen/screens.h"

#define MESSAGE_ROWS 8

static const struct screen *const screens[UI_NR_SCREENS] = {
	&screen_machines, &screen_console, &screen_devices,
	&screen_disks,	  &screen_memory,  &screen_log,
};

const struct screen *ui_screen(int i)
{
	return i >= 0 && i < UI_NR_SCREENS ? screens[i] : NULL;
}

struct view *ui_view(struct ui *ui)
{
	return &ui->views[ui->current];
}

const struct screen *ui_current(const struct ui *ui)
{
	return screens[ui->current];
}

struct vm *ui_vm(const struct ui *ui)
{
	return ui->machine && ui->machine->life == MACHINE_LIVE
		       ? ui->machine->vm
		       : NULL;
}

/* ---- life ---- */

static void machine_says(void *arg, struct machine *m, bool bad,
			 const char *text)
{
	struct ui *ui = arg;

	ui_say(ui, bad, "%s: %s", m->id, text);
}

static void check_bindings(struct ui *ui)
{
	for (int i = 0; i < ui->settings.nr_bindings; i++)
		if (!action_by_name(screens[0],
				    ui->settings.bindings[i].action))
			ui_say(ui, true,
			       "config.json: there is no action '%s' to bind",
			       ui->settings.bindings[i].action);
}

static void load_preferences(struct ui *ui)
{
	struct error e = {0};

	settings_init(&ui->settings);
	if (settings_load(&ui->settings, &e))
		ui_say(ui, true, "%s", e.msg);
	check_bindings(ui);
	ui->mouse = ui->settings.mouse;
	if (theme_load(&ui->theme, ui->settings.theme, ui->share, &e)) {
		ui_say(ui, true, "%s", e.msg);
		theme_load(&ui->theme, "binnacle", NULL, NULL);
	}
	ui->canvas.theme = &ui->theme;
}

struct ui *ui_create(const char *share, struct log *log, struct error *e)
{
	struct ui *ui = calloc(1, sizeof(*ui));
	int ret = 0;

	if (!ui) {
		error_set(e, -ENOMEM, "no memory for the screens");
		return NULL;
	}
	ui->log = log;
	snprintf(ui->share, sizeof(ui->share), "%s", share ? share : "");
	load_preferences(ui);
	ui->fleet = fleet_create(log, machine_says, ui);
	if (!ui->fleet || canvas_resize(&ui->canvas, 24, 80))
		ret = -ENOMEM;
	for (int i = 0; i < UI_NR_SCREENS && !ret; i++)
		if (screens[i]->create)
			ret = screens[i]->create(ui, &ui->views[i]);
	if (ret) {
		error_set(e, ret, "no memory for the screens");
		ui_destroy(ui);
		return NULL;
	}
	return ui;
}

void ui_destroy(struct ui *ui)
{
	if (!ui)
		return;
	ui_show(ui, false, false, false);
	for (int i = 0; i < UI_NR_SCREENS; i++)
		if (screens[i]->destroy)
			screens[i]->destroy(ui, &ui->views[i]);
	fleet_destroy(ui->fleet);
	canvas_fini(&ui->canvas);
	free(ui);
}

void ui_show(struct ui *ui, bool visible, bool mono, bool ascii)
{
	const struct screen *s = ui_current(ui);
	const char *theme = mono ? "mono" : ui->settings.theme;

	if (visible && theme_load(&ui->theme, theme, ui->share, NULL))
		theme_load(&ui->theme, "binnacle", NULL, NULL);
	ui->canvas.mono = mono;
	ui->canvas.ascii = ascii;
	if (visible != ui->visible && s->show)
		s->show(ui, ui_view(ui), visible);
	ui->visible = visible;
}

int ui_resize(struct ui *ui, int rows, int cols)
{
	return canvas_resize(&ui->canvas, rows, cols);
}

void ui_say(struct ui *ui, bool bad, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ui->message, sizeof(ui->message), fmt, ap);
	va_end(ap);
	ui->message_is_bad = bad;
	ui->message_age = 0;
}

void ui_switch(struct ui *ui, int i)
{
	const struct screen *from = ui_current(ui), *to = ui_screen(i);

	if (!to || from == to)
		return;
	if (ui->visible && from->show)
		from->show(ui, ui_view(ui), false);
	console_grab(ui, false);
	ui->current = i;
	if (ui->visible && to->show)
		to->show(ui, ui_view(ui), true);
}

void ui_choose(struct ui *ui, struct machine *m)
{
	const struct screen *s = ui_current(ui);

	if (ui->machine == m)
		return;
	if (ui->visible && s->show)
		s->show(ui, ui_view(ui), false);
	console_grab(ui, false);
	ui->machine = m;
	if (ui->visible && s->show)
		s->show(ui, ui_view(ui), true);
}

/* ---- lists ---- */

void list_fit(struct list *l, int nr, int rows)
{
	l->nr = nr;
	l->rows = rows;
	if (l->sel >= nr)
		l->sel = nr - 1;
	if (l->sel < 0)
		l->sel = 0;
	if (l->sel < l->top)
		l->top = l->sel;
	if (rows > 0 && l->sel >= l->top + rows)
		l->top = l->sel - rows + 1;
	if (l->top > nr - rows)
		l->top = nr - rows;
	if (l->top < 0)
		l->top = 0;
}

void list_place(struct list *l, int nr, struct rect r)
{
	l->at = r;
	list_fit(l, nr, r.rows);
}

void list_move(struct list *l, int by)
{
	l->sel += by;
	list_fit(l, l->nr, l->rows);
}

/* ---- drawing ---- */

static bool too_small(const struct ui *ui)
{
	return ui->canvas.rows < UI_MIN_ROWS || ui->canvas.cols < UI_MIN_COLS;
}

void ui_empty(struct ui *ui, struct rect r, const char *text)
{
	int width = text_width(text), row = r.row + r.rows / 2;
	int col = r.col + (r.cols > width ? (r.cols - width) / 2 : 0);

	canvas_text(&ui->canvas, row, col, r.col + r.cols - col, ROLE_DIM,
		    text);
}

static enum role state_role(const struct machine *m)
{
	const char *state = machine_state_text(m);

	if (!strcmp(state, "running"))
		return ROLE_GOOD;
	if (!strcmp(state, "crashed") || !strcmp(state, "broken") ||
	    *machine_reason(m))
		return ROLE_BAD;
	return !strcmp(state, "off") ? ROLE_DIM : ROLE_WARN;
}

static void draw_machine_name(struct ui *ui, int from)
{
	struct canvas *c = &ui->canvas;
	const struct machine *m = ui->machine;
	char text[160], label[40] = "";
	enum role role;
	int width, col;

	if (!m)
		return;
	if (ui->current == SCREEN_CONSOLE)
		console_label(ui, label, sizeof(label));
	snprintf(text, sizeof(text), "%s %s %s", m->id, machine_state_text(m),
		 label);
	if (!label[0] || from + text_width(text) + 2 > c->cols) {
		label[0] = '\0';
		snprintf(text, sizeof(text), "%s %s", m->id,
			 machine_state_text(m));
	}
	width = text_width(text);
	col = c->cols - width - 1;
	if (col <= from)
		return;
	col += canvas_text(c, 0, col, width, ROLE_TAB, m->id) + 1;
	role = state_role(m);
	canvas_text_style(c, 0, col, width,
			  (struct style){ui->theme.roles[role].fg,
					 ui->theme.roles[ROLE_TAB].bg,
					 ui->theme.roles[role].attr},
			  machine_state_text(m));
	canvas_right(c, 0, c->cols - text_width(label) - 1, text_width(label),
		     ROLE_TAB, label);
}

/* Draws a screen's title, with its number; returns the columns used. */
static int draw_tab(struct ui *ui, int i, int col, bool wide)
{
	struct canvas *c = &ui->canvas;
	bool on = i == ui->current;
	enum role role = on ? ROLE_TAB_ON : ROLE_TAB;

	if (wide || on)
		return canvas_printf(c, 0, col, c->cols - col, role, " %d %s ",
				     i + 1, screens[i]->title);
	return canvas_printf(c, 0, col, c->cols - col, role, " %d ", i + 1);
}

/* Narrow terminals show the current screen's title only; on most, titles share
 * a blank. */
static void draw_bar(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	int col = 0, shared = c->cols < 100, width;
	bool wide = c->cols >= 60;

	canvas_fill(c, (struct rect){0, 0, 1, c->cols}, ROLE_BAR);
	if (c->cols >= 100)
		col = canvas_text(c, 0, 0, c->cols, ROLE_BAR, " Binnacle ");
	for (int i = 0; i < UI_NR_SCREENS; i++) {
		width = draw_tab(ui, i, col, wide);
		ui->tabs[i] = (struct rect){0, col, 1, width};
		col += width - shared;
	}
	draw_tab(ui, ui->current, ui->tabs[ui->current].col, wide);
	draw_machine_name(ui, col);
}

/* One "key word" pair of the bottom line; 0 when it does not fit. */
static int draw_hint(struct ui *ui, int col, int end, const char *key,
		     const char *word)
{
	struct canvas *c = &ui->canvas;
	int row = c->rows - 1, need = text_width(key) + 1 + text_width(word);

	if (col + need > end)
		return 0;
	col += canvas_text(c, row, col, end - col, ROLE_KEY, key);
	canvas_text(c, row, col + 1, end - col - 1, ROLE_HINT, word);
	return need + 2;
}

static void draw_layer_hints(struct ui *ui, const char *hints)
{
	char pair[64], *space;
	const char *end;
	int col = 1;

	while (*hints) {
		end = strstr(hints, "  ");
		if (!end)
			end = hints + strlen(hints);
		snprintf(pair, sizeof(pair), "%.*s", (int)(end - hints), hints);
		space = strchr(pair, ' ');
		if (space) {
			*space = '\0';
			col += draw_hint(ui, col, ui->canvas.cols, pair,
					 space + 1);
		}
		hints = *end ? end + 2 : end;
	}
}

static void first_key(const struct ui *ui, const struct action *a, char *buf,
		      size_t len)
{
	const char *keys = action_keys(ui, a);

	snprintf(buf, len, "%.*s", keys ? (int)strcspn(keys, " ") : 0,
		 keys ? keys : "");
}

/* The way to help and out keeps its place at the right end. */
static int draw_standing_hints(struct ui *ui, int end)
{
	static const char *const names[] = {"detach", "help"};
	const struct action *a;
	char key[32], text[64];
	int from = end;

	for (int i = 0; i < 2; i++) {
		a = action_by_name(ui_current(ui), names[i]);
		first_key(ui, a, key, sizeof(key));
		snprintf(text, sizeof(text), "%s %s", key, names[i]);
		end -= text_width(text) + (i ? 2 : 1);
		draw_hint(ui, end, from, key, names[i]);
	}
	return from - end + 2;
}

static void draw_hints(struct ui *ui)
{
	int col = 1, end = ui->canvas.cols;
	const struct action *a;
	char key[32];

	if (ui->layer.open) {
		draw_layer_hints(ui, ui->layer.open->hints);
		return;
	}
	if (console_is_grabbed(ui)) {
		key_to_text(&ui->settings.escape, key, sizeof(key));
		col += draw_hint(ui, col, end, key, "takes the keyboard back");
		draw_hint(ui, col, end, "everything else", "goes to the guest");
		return;
	}
	end -= draw_standing_hints(ui, end);
	for (int i = 0; (a = action_at(ui_current(ui), i)) != NULL; i++) {
		if (!a->hint || !action_keys(ui, a) || !action_is_here(ui, a))
			continue;
		first_key(ui, a, key, sizeof(key));
		col += draw_hint(ui, col, end, key, a->hint);
	}
}

/* All of the message: a long one covers rows above its own. */
static void draw_whole_message(struct ui *ui, enum role role, const char *text)
{
	const char *starts[MESSAGE_ROWS];
	struct canvas *c = &ui->canvas;
	char piece[UI_MESSAGE_LEN];
	size_t lens[MESSAGE_ROWS];
	int nr = 0;

	while (*text && nr < MESSAGE_ROWS) {
		starts[nr] = text;
		lens[nr] = text_wrap(text, c->cols - 2);
		text += lens[nr++];
		text += strspn(text, " \n");
	}
	canvas_fill(c, (struct rect){c->rows - 1 - nr, 0, nr, c->cols},
		    ROLE_TEXT);
	for (int i = 0; i < nr; i++) {
		snprintf(piece, sizeof(piece), "%.*s", (int)lens[i], starts[i]);
		canvas_text(c, c->rows - 1 - nr + i, 1, c->cols - 2, role,
			    piece);
	}
}

static void draw_message(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	struct view *v = ui_view(ui);
	int row = c->rows - 2;

	if (ui->message[0]) {
		draw_whole_message(ui,
				   ui->message_is_bad ? ROLE_BAD : ROLE_ACCENT,
				   ui->message);
	} else if (ui->machine && *machine_reason(ui->machine)) {
		draw_whole_message(ui, ROLE_BAD, machine_reason(ui->machine));
	} else if (v->filter[0]) {
		canvas_printf(c, row, 1, c->cols - 2, ROLE_WARN,
			      "showing only rows with \"%s\"   Esc shows all",
			      v->filter);
	}
}

static void draw_size_notice(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	char text[80];

	snprintf(text, sizeof(text), "%dx%d is too small", c->cols, c->rows);
	ui_empty(ui, (struct rect){0, 0, c->rows, c->cols}, text);
	snprintf(text, sizeof(text), "Binnacle needs %dx%d", UI_MIN_COLS,
		 UI_MIN_ROWS);
	if (c->rows > 2)
		ui_empty(ui, (struct rect){1, 0, c->rows, c->cols}, text);
}

void ui_draw(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	struct rect body = {1, 0, c->rows - 3, c->cols};

	canvas_clear(c);
	ui->waits = false;
	for (int i = 0; i < UI_MAX_PANELS; i++)
		ui_view(ui)->panels[i].at.rows = 0;
	if (ui->current == SCREEN_CONSOLE)
		body.rows++; /* a message covers its last row */
	if (too_small(ui)) {
		draw_size_notice(ui);
		return;
	}
	if (ui->current == SCREEN_CONSOLE && ui_view(ui)->zoom) {
		body = (struct rect){0, 0, c->rows - 1, c->cols};
		ui_current(ui)->draw(ui, ui_view(ui), body);
	} else {
		draw_bar(ui);
		ui_current(ui)->draw(ui, ui_view(ui), body);
	}
	c->clip.rows = 0;
	draw_message(ui);
	draw_hints(ui);
	if (ui->layer.open) {
		c->cursor_row = c->cursor_col = -1;
		ui->layer.open->draw(ui);
	}
}

/* ---- keys ---- */

/* The panel under a cell becomes the focused one; -1: there is none. */
static int panel_under(const struct view *v, int row, int col)
{
	for (int i = 0; i < v->nr_panels; i++) {
		struct rect r = v->panels[i].at;

		if (row >= r.row && row < r.row + r.rows && col >= r.col &&
		    col < r.col + r.cols)
			return i;
	}
	return -1;
}

static unsigned mouse_on_list(struct ui *ui, const struct key *k)
{
	struct view *v = ui_view(ui);
	int panel = panel_under(v, k->row, k->col);
	struct list *l;

	if (panel < 0 || !k->buttons)
		return EFFECT_NONE;
	l = &v->panels[panel];
	v->focus = panel;
	if (k->buttons & 8)
		list_move(l, -3);
	else if (k->buttons & 16)
		list_move(l, 3);
	else
		list_move(l, l->top + k->row - l->at.row - l->sel);
	if (ui_current(ui)->moved)
		ui_current(ui)->moved(ui, v);
	return EFFECT_DRAW;
}

static unsigned mouse(struct ui *ui, const struct key *k)
{
	if (k->row == 0 && k->buttons & 1) {
		for (int i = 0; i < UI_NR_SCREENS; i++) {
			struct rect r = ui->tabs[i];

			if (k->col >= r.col && k->col < r.col + r.cols) {
				ui_switch(ui, i);
				return EFFECT_DRAW;
			}
		}
	}
	return mouse_on_list(ui, k);
}

unsigned ui_key(struct ui *ui, const struct key *k)
{
	const struct screen *s = ui_current(ui);
	const struct action *a;
	unsigned effects;

	if (too_small(ui))
		return EFFECT_NONE;
	if (k->code != K_MOUSE)
		ui->message[0] = '\0';
	if (ui->layer.open)
		return ui->layer.open->key(ui, k) | EFFECT_DRAW;
	if (s->key) {
		effects = s->key(ui, ui_view(ui), k);
		if (!(effects & EFFECT_PASS))
			return effects | EFFECT_DRAW;
	}
	if (k->code == K_MOUSE)
		return mouse(ui, k);
	a = action_by_key(ui, k);
	if (!a)
		return EFFECT_DRAW;
	return action_invoke(ui, a, NULL) | EFFECT_DRAW;
}

unsigned ui_command(struct ui *ui, const char *line)
{
	const struct action *a;
	char name[64];
	const char *arg;
	size_t n;

	line += strspn(line, " :");
	n = strcspn(line, " ");
	snprintf(name, sizeof(name), "%.*s", (int)n, line);
	arg = line + n + strspn(line + n, " ");
	a = action_by_name(ui_current(ui), name);
	if (!a) {
		ui_say(ui, true, "'%s' is not a command; ? lists them all",
		       name);
		return EFFECT_DRAW | EFFECT_FAILED;
	}
	return a->run(ui, *arg ? arg : NULL) | EFFECT_DRAW;
}

/* ---- time and news ---- */

bool ui_refresh(struct ui *ui)
{
	bool changed = fleet_refresh(ui->fleet);

	if (!ui->machine && fleet_count(ui->fleet)) {
		ui_choose(ui, fleet_at(ui->fleet, 0));
		changed = true;
	}
	if (console_is_grabbed(ui) && !machine_is_running(ui->machine) &&
	    ui->machine->status.state != VM_PAUSED) {
		console_grab(ui, false);
		changed = true;
	}
	return changed;
}

bool ui_tick(struct ui *ui)
{
	/* It may cover the last row of a guest's screen. */
	if (++ui->message_age > (ui->message_is_bad ? 20 : 6))
		ui->message[0] = '\0';
	fleet_sample(ui->fleet);
	return fleet_active(ui->fleet) > 0;
}

int ui_fds(struct ui *ui, bool screen, int *fds, int max)
{
	int n = 0;

	if (screen && ui->visible && !too_small(ui) && ui_current(ui)->fds)
		n = ui_current(ui)->fds(ui, ui_view(ui), fds, max);
	return n + fleet_fds(ui->fleet, fds + n, max - n);
}
