/* Console: the chosen guest's picture or serial line, and its keyboard. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/screen/console_parts.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

struct console_view {
	struct vm *vm;		    /* whose picture and line are open */
	const struct machine *seen; /* whose preference show_serial is */
	struct picture *picture;
	struct serial_view *serial;
	bool show_serial, grabbed;
	int scroll, page;
};

static struct console_view *view_of(const struct ui *ui)
{
	return ui->views[SCREEN_CONSOLE].data;
}

static void let_go(struct console_view *cv)
{
	picture_close(cv->picture);
	serial_view_close(cv->serial);
	cv->picture = NULL;
	cv->serial = NULL;
	cv->vm = NULL;
	cv->scroll = 0;
}

/* A guest without a picture, or told to talk there, shows its line first. */
static bool prefers_serial(const struct vm_config *cfg)
{
	return !cfg->vga || strstr(cfg->append, "console=ttyS0");
}

/* The size of the serial terminal: what guests expect, or more. */
static void serial_size(const struct ui *ui, int *rows, int *cols)
{
	*rows = ui->canvas.rows - 2 > 24 ? ui->canvas.rows - 2 : 24;
	*cols = ui->canvas.cols > 80 ? ui->canvas.cols : 80;
}

static void look(struct ui *ui, struct console_view *cv)
{
	struct vm *vm = ui_vm(ui);
	struct serial_line *line;
	int rows, cols;

	if (cv->vm == vm)
		return;
	let_go(cv);
	if (!vm)
		return;
	cv->vm = vm;
	if (cv->seen != ui->machine)
		cv->show_serial = prefers_serial(&ui->machine->config);
	cv->seen = ui->machine;
	line = vm_serial(vm, 0);
	serial_size(ui, &rows, &cols);
	cv->picture = picture_open(vm_console(vm));
	cv->serial = line ? serial_view_open(line, rows, cols) : NULL;
	if (!line)
		cv->show_serial = false;
}

void console_grab(struct ui *ui, bool grab)
{
	view_of(ui)->grabbed = grab;
	view_of(ui)->scroll = 0;
}

bool console_is_grabbed(const struct ui *ui)
{
	return ui->current == SCREEN_CONSOLE && view_of(ui)->grabbed;
}

void console_type_text(struct ui *ui, const char *text)
{
	struct console_view *cv = view_of(ui);
	struct vm *vm = ui_vm(ui);
	struct serial_line *line = vm ? vm_serial(vm, 0) : NULL;

	if (!vm)
		return;
	if (cv->vm == vm && cv->show_serial && cv->serial)
		serial_view_type(cv->serial, text);
	else if (!cv->vm && prefers_serial(&ui->machine->config) && line)
		serial_line_send(line, text, strlen(text));
	else
		keyboard_type(vm_console(vm), text);
}

void console_ctrl_alt_del(struct ui *ui)
{
	struct key k = {.code = K_DELETE, .mods = MOD_CTRL | MOD_ALT};
	struct vm *vm = ui_vm(ui);

	if (vm)
		keyboard_press(vm_console(vm), &k);
}

void console_label(const struct ui *ui, char *buf, size_t len)
{
	const struct console_view *cv = view_of(ui);

	if (cv->show_serial && cv->serial)
		snprintf(buf, len, cv->scroll ? "serial -%d" : "serial",
			 cv->scroll);
	else if (cv->picture)
		picture_label(cv->picture, buf, len);
}

/* ---- drawing ---- */

/* Draws the lines of text, wrapped, into r (not when dry); returns how many
 * rows they take. */
static int draw_wrapped(struct ui *ui, struct rect r, const char *text,
			bool dry)
{
	char piece[512];
	int row = 0;
	size_t n;

	while (*text) {
		n = text_wrap(text, r.cols);
		snprintf(piece, sizeof(piece), "%.*s", (int)n, text);
		if (!dry && row < r.rows)
			canvas_text(&ui->canvas, r.row + row, r.col, r.cols,
				    ROLE_TEXT, piece);
		row++;
		text += n;
		text += *text == ' ' || *text == '\n';
	}
	return row;
}

/* Why the guest stopped, over what it last showed. */
static void draw_crash(struct ui *ui, struct rect r, const char *text)
{
	int cols = r.cols > 80 ? 80 : r.cols, rows;
	struct rect box, in = {.cols = cols - 4};

	r.rows--; /* the message line's */
	rows = draw_wrapped(ui, in, text, true) + 4;
	rows = rows > r.rows ? r.rows : rows;
	box = (struct rect){r.row + (r.rows - rows) / 2,
			    r.col + (r.cols - cols) / 2, rows, cols};
	canvas_fill(&ui->canvas, box, ROLE_TEXT);
	in = canvas_frame(&ui->canvas, box, "The guest stopped", true);
	in.col++;
	in.cols -= 2;
	in.rows--;
	draw_wrapped(ui, in, text, false);
	canvas_fill(&ui->canvas,
		    (struct rect){in.row + in.rows, in.col, 1, in.cols},
		    ROLE_TEXT);
	canvas_text(&ui->canvas, in.row + in.rows, in.col, in.cols, ROLE_HINT,
		    "R resets it, O powers it off. Everything else runs on.");
}

static void draw_stopped(struct ui *ui, struct rect r)
{
	const struct machine *m = ui->machine;
	struct canvas *c = &ui->canvas;
	char text[160];
	int width;

	snprintf(text, sizeof(text), " %s is %s: s starts it ", m->id,
		 machine_state_text(m));
	width = text_width(text);
	canvas_text(c, r.row + r.rows / 2,
		    r.col + (r.cols > width ? (r.cols - width) / 2 : 0), width,
		    ROLE_SELECT, text);
}

static void draw_nothing(struct ui *ui, struct rect r)
{
	const struct machine *m = ui->machine;
	char text[400];

	if (!m)
		snprintf(text, sizeof(text), "there is no machine to show");
	else if (m->broken.code)
		snprintf(text, sizeof(text), "%s", m->broken.msg);
	else if (m->life == MACHINE_STARTING)
		snprintf(text, sizeof(text), "%s is starting", m->id);
	else if (m->note[0] && m->note_is_bad)
		snprintf(text, sizeof(text), "%s", m->note);
	else
		snprintf(text, sizeof(text), "%s is off: s starts it", m->id);
	ui_empty(ui, r, text);
}

static void draw_guest(struct ui *ui, struct console_view *cv, struct rect r)
{
	struct canvas *c = &ui->canvas;

	if (cv->show_serial && cv->serial) {
		serial_view_read(cv->serial);
		cv->scroll = serial_view_draw(cv->serial, c, r, cv->scroll,
					      cv->grabbed);
	} else if (cv->picture) {
		picture_draw(cv->picture, c, r, cv->scroll, cv->grabbed);
	}
}

static void draw(struct ui *ui, struct view *v, struct rect r)
{
	struct console_view *cv = v->data;
	const struct vm_status *s;

	v->nr_panels = 0;
	cv->page = r.rows / 2;
	look(ui, cv);
	if (!cv->vm) {
		draw_nothing(ui, r);
		return;
	}
	draw_guest(ui, cv, r);
	s = &ui->machine->status;
	if (s->state == VM_CRASHED)
		draw_crash(ui, r, s->message);
	else if (s->state != VM_RUNNING)
		draw_stopped(ui, r);
}

/* ---- keys ---- */

/* A terminal tells of a wheel's notch once: the guest sees it pressed and
 * let go. */
static void point(struct console_view *cv, int x, int y, unsigned buttons)
{
	struct console *c = vm_console(cv->vm);

	console_pointer(c, x, y, buttons);
	if (buttons & (8 | 16))
		console_pointer(c, x, y, buttons & ~(8U | 16U));
}

static unsigned mouse(struct ui *ui, struct console_view *cv,
		      const struct key *k)
{
	bool serial = cv->show_serial && cv->serial;
	int x, y;

	if (k->row == 0 && !ui_view(ui)->zoom)
		return EFFECT_PASS;
	if (cv->grabbed) {
		if (!serial && cv->picture &&
		    picture_position(cv->picture, k->row, k->col, &x, &y))
			point(cv, x, y, k->buttons);
		return EFFECT_NONE;
	}
	if (k->buttons & (8 | 16)) {
		cv->scroll += k->buttons & 8 ? 3 : -3;
		cv->scroll = cv->scroll < 0 ? 0 : cv->scroll;
	} else if (k->buttons & 1) {
		console_grab(ui, true);
	}
	return EFFECT_DRAW;
}

static unsigned to_guest(struct ui *ui, struct console_view *cv,
			 const struct key *k)
{
	char name[32];

	if (cv->show_serial && cv->serial) {
		serial_view_key(cv->serial, k);
	} else if (!keyboard_press(vm_console(cv->vm), k)) {
		key_to_text(k, name, sizeof(name));
		ui_say(ui, true, "the guest's US keyboard can't type %s", name);
		return EFFECT_DRAW;
	}
	return EFFECT_NONE;
}

static unsigned key(struct ui *ui, struct view *v, const struct key *k)
{
	struct console_view *cv = v->data;
	bool escape = key_equal(k, &ui->settings.escape);

	if (!cv->vm || (!cv->grabbed && !machine_is_running(ui->machine)))
		return EFFECT_PASS;
	if (k->code == K_MOUSE)
		return mouse(ui, cv, k);
	if (cv->grabbed && !escape)
		return to_guest(ui, cv, k);
	if (cv->grabbed) {
		console_grab(ui, false);
		ui_say(ui, false,
		       "the keyboard is yours; Enter gives it back to %s",
		       ui->machine->id);
		return EFFECT_DRAW;
	}
	if (!escape)
		return EFFECT_PASS;
	/* Twice: the guest gets the key itself. */
	console_grab(ui, true);
	return to_guest(ui, cv, k);
}

static unsigned run_keyboard(struct ui *ui, const char *arg)
{
	(void)arg;
	if (!ui->machine || !machine_is_running(ui->machine)) {
		ui_say(ui, true, "%s is not running",
		       ui->machine ? ui->machine->id : "the machine");
		return EFFECT_FAILED;
	}
	ui_switch(ui, SCREEN_CONSOLE);
	console_grab(ui, true);
	return EFFECT_DRAW;
}

static unsigned run_toggle(struct ui *ui, const char *arg)
{
	struct console_view *cv = view_of(ui);

	(void)arg;
	if (!cv->serial) {
		ui_say(ui, true, "there is no serial line to show");
		return EFFECT_FAILED;
	}
	cv->show_serial = !cv->show_serial;
	cv->scroll = 0;
	return EFFECT_DRAW;
}

static unsigned scroll_by(struct ui *ui, int rows)
{
	struct console_view *cv = view_of(ui);

	cv->scroll += rows;
	if (cv->scroll < 0)
		cv->scroll = 0;
	return EFFECT_DRAW;
}

static unsigned run_back(struct ui *ui, const char *arg)
{
	(void)arg;
	return scroll_by(ui, view_of(ui)->page);
}

static unsigned run_forth(struct ui *ui, const char *arg)
{
	(void)arg;
	return scroll_by(ui, -view_of(ui)->page);
}

static bool can_type(const struct ui *ui)
{
	return ui->machine && machine_is_running(ui->machine);
}

static bool has_serial(const struct ui *ui)
{
	return view_of(ui)->serial;
}

static bool is_scrolled(const struct ui *ui)
{
	return view_of(ui)->scroll;
}

static const struct action actions[] = {
	{.name = "keyboard",
	 .keys = "Enter i",
	 .hint = "type",
	 .here = can_type,
	 .help = "give the keyboard to the guest",
	 .run = run_keyboard},
	{.name = "serial",
	 .keys = "v",
	 .hint = "screen/serial",
	 .here = has_serial,
	 .help = "the guest's screen or its serial line",
	 .run = run_toggle},
	{.name = "scroll-back",
	 .keys = "b",
	 .hint = "older",
	 .help = "look at what has scrolled away",
	 .run = run_back},
	{.name = "scroll-forward",
	 .keys = "f",
	 .hint = "newer",
	 .here = is_scrolled,
	 .help = "back to the newest line",
	 .run = run_forth},
};

static int fds(struct ui *ui, struct view *v, int *out, int max)
{
	struct console_view *cv = v->data;
	int n = 0;

	(void)ui;
	if (cv->show_serial && cv->serial && n < max &&
	    serial_view_fd(cv->serial) >= 0)
		out[n++] = serial_view_fd(cv->serial);
	else if (cv->picture && n < max)
		out[n++] = picture_fd(cv->picture);
	return n;
}

static void show(struct ui *ui, struct view *v, bool visible)
{
	struct console_view *cv = v->data;

	(void)ui;
	if (!visible)
		let_go(cv);
}

static int create(struct ui *ui, struct view *v)
{
	(void)ui;
	v->data = calloc(1, sizeof(struct console_view));
	return v->data ? 0 : -ENOMEM;
}

static void destroy(struct ui *ui, struct view *v)
{
	(void)ui;
	if (v->data)
		let_go(v->data);
	free(v->data);
	v->data = NULL;
}

const struct screen screen_console = {
	.name = "console",
	.title = "Console",
	.actions = actions,
	.nr_actions = sizeof(actions) / sizeof(actions[0]),
	.needs_vm = true,
	.create = create,
	.destroy = destroy,
	.draw = draw,
	.key = key,
	.fds = fds,
	.show = show,
};
