/* Actions that work on every screen: moving about, layers, the session. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "ui/keys/action.h"
#include "ui/keys/layer.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

static unsigned show(struct ui *ui, int screen)
{
	ui_switch(ui, screen);
	return EFFECT_DRAW;
}

static unsigned run_machines(struct ui *ui, const char *arg)
{
	(void)arg;
	return show(ui, SCREEN_MACHINES);
}

static unsigned run_console(struct ui *ui, const char *arg)
{
	(void)arg;
	show(ui, SCREEN_CONSOLE);
	if (ui->machine && machine_is_running(ui->machine))
		console_grab(ui, true);
	return EFFECT_DRAW;
}

static unsigned run_devices(struct ui *ui, const char *arg)
{
	(void)arg;
	return show(ui, SCREEN_DEVICES);
}

static unsigned run_disks(struct ui *ui, const char *arg)
{
	(void)arg;
	return show(ui, SCREEN_DISKS);
}

static unsigned run_memory(struct ui *ui, const char *arg)
{
	(void)arg;
	return show(ui, SCREEN_MEMORY);
}

static unsigned run_log(struct ui *ui, const char *arg)
{
	(void)arg;
	return show(ui, SCREEN_LOG);
}

static unsigned run_next_screen(struct ui *ui, const char *arg)
{
	(void)arg;
	return show(ui, (ui->current + 1) % UI_NR_SCREENS);
}

static unsigned run_previous_screen(struct ui *ui, const char *arg)
{
	(void)arg;
	return show(ui, (ui->current + UI_NR_SCREENS - 1) % UI_NR_SCREENS);
}

static unsigned choose_by(struct ui *ui, int by)
{
	int nr = (int)fleet_count(ui->fleet);
	int i = fleet_index(ui->fleet, ui->machine);

	if (nr)
		ui_choose(ui,
			  fleet_at(ui->fleet, (unsigned)((i + by + nr) % nr)));
	return EFFECT_DRAW;
}

static unsigned run_next_machine(struct ui *ui, const char *arg)
{
	(void)arg;
	return choose_by(ui, 1);
}

static unsigned run_previous_machine(struct ui *ui, const char *arg)
{
	(void)arg;
	return choose_by(ui, -1);
}

static unsigned run_choose(struct ui *ui, const char *arg)
{
	struct machine *m = arg ? fleet_find(ui->fleet, arg) : NULL;

	if (!m) {
		ui_say(ui, true, "there is no machine '%s'", arg ? arg : "");
		return EFFECT_FAILED;
	}
	ui_choose(ui, m);
	return EFFECT_DRAW;
}

/* ---- lists and panels ---- */

static unsigned move(struct ui *ui, int by)
{
	struct view *v = ui_view(ui);

	if (v->focus < v->nr_panels)
		list_move(&v->panels[v->focus], by);
	if (ui_current(ui)->moved)
		ui_current(ui)->moved(ui, v);
	return EFFECT_DRAW;
}

static int page(struct ui *ui)
{
	struct view *v = ui_view(ui);
	int rows = v->focus < v->nr_panels ? v->panels[v->focus].rows : 0;

	return rows > 1 ? rows - 1 : 1;
}

static unsigned run_down(struct ui *ui, const char *arg)
{
	(void)arg;
	return move(ui, 1);
}

static unsigned run_up(struct ui *ui, const char *arg)
{
	(void)arg;
	return move(ui, -1);
}

static unsigned run_page_down(struct ui *ui, const char *arg)
{
	(void)arg;
	return move(ui, page(ui));
}

static unsigned run_page_up(struct ui *ui, const char *arg)
{
	(void)arg;
	return move(ui, -page(ui));
}

static unsigned run_top(struct ui *ui, const char *arg)
{
	(void)arg;
	return move(ui, -1000000);
}

static unsigned run_bottom(struct ui *ui, const char *arg)
{
	(void)arg;
	return move(ui, 1000000);
}

static unsigned focus_by(struct ui *ui, int by)
{
	struct view *v = ui_view(ui);

	if (v->nr_panels > 1)
		v->focus = (v->focus + by + v->nr_panels) % v->nr_panels;
	return EFFECT_DRAW;
}

static unsigned run_next_panel(struct ui *ui, const char *arg)
{
	(void)arg;
	return focus_by(ui, 1);
}

static unsigned run_previous_panel(struct ui *ui, const char *arg)
{
	(void)arg;
	return focus_by(ui, -1);
}

static unsigned run_zoom(struct ui *ui, const char *arg)
{
	(void)arg;
	ui_view(ui)->zoom = !ui_view(ui)->zoom;
	return EFFECT_DRAW;
}

/* The message went with the key itself. */
static unsigned run_clear(struct ui *ui, const char *arg)
{
	struct view *v = ui_view(ui);

	(void)arg;
	if (v->filter[0])
		v->filter[0] = '\0';
	else
		v->zoom = false;
	return EFFECT_DRAW;
}

/* ---- layers ---- */

static unsigned run_help(struct ui *ui, const char *arg)
{
	(void)arg;
	layer_open(ui, &layer_help);
	return EFFECT_DRAW;
}

static bool has_rows(const struct ui *ui)
{
	const struct view *v = &ui->views[ui->current];

	return v->nr_panels && (!ui_current(ui)->needs_vm || ui_vm(ui));
}

static unsigned run_palette(struct ui *ui, const char *arg)
{
	(void)arg;
	layer_open(ui, &layer_palette);
	return EFFECT_DRAW;
}

static unsigned run_filter(struct ui *ui, const char *arg)
{
	struct view *v = ui_view(ui);

	if (arg) {
		snprintf(v->filter, sizeof(v->filter), "%s", arg);
		return EFFECT_DRAW;
	}
	if (!has_rows(ui)) {
		ui_say(ui, false, "there is nothing to filter here");
		return EFFECT_FAILED;
	}
	layer_open(ui, &layer_filter);
	line_set(&ui->layer.line, v->filter);
	return EFFECT_DRAW;
}

/* ---- looks ---- */

struct theme_walk {
	const char *now;
	char first[32], next[32];
	bool found;
};

static void theme_step(const char *name, void *arg)
{
	struct theme_walk *w = arg;

	if (!w->first[0])
		snprintf(w->first, sizeof(w->first), "%s", name);
	if (w->found && !w->next[0])
		snprintf(w->next, sizeof(w->next), "%s", name);
	if (!strcmp(name, w->now))
		w->found = true;
}

static unsigned run_theme(struct ui *ui, const char *arg)
{
	struct theme_walk w = {.now = ui->theme.name};
	struct error e = {0};

	if (!arg) {
		theme_each(ui->share, theme_step, &w);
		arg = w.next[0] ? w.next : w.first;
	}
	if (theme_load(&ui->theme, arg, ui->share, &e)) {
		ui_say(ui, true, "%s", e.msg);
		return EFFECT_FAILED;
	}
	snprintf(ui->settings.theme, sizeof(ui->settings.theme), "%s", arg);
	ui_say(ui, false, "theme %s", ui->theme.name);
	return EFFECT_DRAW;
}

static unsigned run_mouse(struct ui *ui, const char *arg)
{
	(void)arg;
	ui->mouse = !ui->mouse;
	ui_say(ui, false,
	       ui->mouse ? "mouse on"
			 : "mouse off: the terminal "
			   "selects text again");
	return EFFECT_DRAW | EFFECT_MOUSE;
}

static unsigned run_redraw(struct ui *ui, const char *arg)
{
	(void)ui;
	(void)arg;
	return EFFECT_DRAW | EFFECT_REDRAW;
}

static unsigned run_save_screen(struct ui *ui, const char *arg)
{
	FILE *out;

	if (!arg) {
		ui_say(ui, true, "save-screen FILE: name the file");
		return EFFECT_FAILED;
	}
	out = fopen(arg, "we");
	if (!out) {
		ui_say(ui, true, "'%s': %m", arg);
		return EFFECT_FAILED;
	}
	ui_draw(ui);
	canvas_write(&ui->canvas, out);
	fclose(out);
	ui_say(ui, false, "saved to %s", arg);
	return EFFECT_DRAW;
}

/* ---- the session ---- */

static unsigned run_detach(struct ui *ui, const char *arg)
{
	(void)ui;
	(void)arg;
	return EFFECT_DETACH;
}

static bool ask_quit(struct ui *ui, const char *arg, char *question, size_t len)
{
	unsigned n = fleet_active(ui->fleet);

	(void)arg;
	if (n)
		snprintf(question, len,
			 "End the session and power off %u running machine%s?",
			 n, n == 1 ? "" : "s");
	else
		snprintf(question, len, "End the session?");
	return true;
}

static unsigned run_quit(struct ui *ui, const char *arg)
{
	(void)ui;
	(void)arg;
	return EFFECT_QUIT;
}

const struct action global_actions[] = {
	{.name = "filter",
	 .keys = "/",
	 .hint = "filter",
	 .here = has_rows,
	 .arg = ARG_TEXT,
	 .help = "show only rows with a text",
	 .run = run_filter},
	{.name = "palette",
	 .keys = ":",
	 .hint = "command",
	 .help = "run any action by its name",
	 .run = run_palette},
	{.name = "help",
	 .keys = "? F1",
	 .help = "search and run actions",
	 .run = run_help},
	{.name = "zoom",
	 .keys = "z",
	 .hint = "zoom",
	 .help = "one panel over the whole screen, and back",
	 .run = run_zoom},
	{.name = "detach",
	 .keys = "q",
	 .help = "give the terminal back; machines run on",
	 .run = run_detach},
	{.name = "machines",
	 .keys = "1",
	 .help = "the list of machines",
	 .run = run_machines},
	{.name = "console",
	 .keys = "2",
	 .help = "the guest's screen and serial line",
	 .run = run_console},
	{.name = "devices",
	 .keys = "3",
	 .help = "PCI tree, interrupts and counters",
	 .run = run_devices},
	{.name = "disks",
	 .keys = "4",
	 .help = "where writes are, activity, images",
	 .run = run_disks},
	{.name = "memory",
	 .keys = "5",
	 .help = "RAM blocks, regions and KVM slots",
	 .run = run_memory},
	{.name = "log", .keys = "6", .help = "what happened", .run = run_log},
	{.name = "next-screen",
	 .keys = "Tab",
	 .help = "the next screen",
	 .run = run_next_screen},
	{.name = "previous-screen",
	 .keys = "Shift-Tab",
	 .help = "the previous screen",
	 .run = run_previous_screen},
	{.name = "next-machine",
	 .keys = ".",
	 .help = "show the next machine",
	 .run = run_next_machine},
	{.name = "previous-machine",
	 .keys = ",",
	 .help = "show the previous machine",
	 .run = run_previous_machine},
	{.name = "choose",
	 .arg = ARG_MACHINE,
	 .help = "show a machine by name",
	 .run = run_choose},
	{.name = "down",
	 .keys = "Down j",
	 .help = "move down",
	 .run = run_down},
	{.name = "up", .keys = "Up k", .help = "move up", .run = run_up},
	{.name = "page-down",
	 .keys = "PgDn Ctrl-F",
	 .help = "move a page down",
	 .run = run_page_down},
	{.name = "page-up",
	 .keys = "PgUp Ctrl-B",
	 .help = "move a page up",
	 .run = run_page_up},
	{.name = "top",
	 .keys = "Home g",
	 .help = "move to the first row",
	 .run = run_top},
	{.name = "bottom",
	 .keys = "End e",
	 .help = "move to the last row",
	 .run = run_bottom},
	{.name = "next-panel",
	 .keys = "Right l",
	 .help = "the next panel",
	 .run = run_next_panel},
	{.name = "previous-panel",
	 .keys = "Left h",
	 .help = "the previous panel",
	 .run = run_previous_panel},
	{.name = "clear",
	 .keys = "Esc",
	 .help = "close one layer: list, filter, zoom",
	 .run = run_clear},
	{.name = "theme",
	 .keys = "t",
	 .arg = ARG_THEME,
	 .help = "another colour theme",
	 .run = run_theme},
	{.name = "mouse",
	 .keys = "%",
	 .help = "mouse on or off",
	 .run = run_mouse},
	{.name = "redraw",
	 .keys = "Ctrl-L",
	 .help = "draw everything anew",
	 .run = run_redraw},
	{.name = "save-screen",
	 .arg = ARG_FILE,
	 .help = "write the screen to a file as text",
	 .run = run_save_screen},
	{.name = "quit-session",
	 .keys = "Q",
	 .help = "power everything off, end the session",
	 .run = run_quit,
	 .ask = ask_quit},
};
const int nr_global_actions = sizeof(global_actions) / sizeof(*global_actions);
