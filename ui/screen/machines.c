/* Machines: what there is, in which state, and what the chosen one is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/screen/layout.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

enum { PANEL_LIST, PANEL_ABOUT, NR_PANELS };

static bool matches(const struct view *v, const struct machine *m)
{
	return text_has(m->id, v->filter) ||
	       text_has(m->config.description, v->filter) ||
	       text_has(machine_state_text(m), v->filter);
}

/* Machine in row `row` of the filtered list, NULL past the last. */
static struct machine *row_at(struct ui *ui, struct view *v, int row)
{
	struct machine *m;

	for (unsigned i = 0; (m = fleet_at(ui->fleet, i)) != NULL; i++)
		if (matches(v, m) && row-- == 0)
			return m;
	return NULL;
}

static void moved(struct ui *ui, struct view *v)
{
	struct machine *m = row_at(ui, v, v->panels[PANEL_LIST].sel);

	if (m && v->focus == PANEL_LIST)
		ui_choose(ui, m);
}

/* The chosen machine may have changed elsewhere. */
static int sync_list(struct ui *ui, struct view *v, struct rect rows)
{
	struct list *l = &v->panels[PANEL_LIST];
	int nr = 0;

	for (struct machine *m; (m = row_at(ui, v, nr)) != NULL; nr++)
		if (m == ui->machine)
			l->sel = nr;
	list_place(l, nr, rows);
	return nr;
}

struct mark {
	uint32_t ch;
	enum role role;
};

static struct mark mark_of(const struct machine *m)
{
	if (m->broken.code)
		return (struct mark){0x2717, ROLE_BAD};
	if (m->life == MACHINE_IDLE)
		return (struct mark){0x25cb, ROLE_DIM};
	if (m->life == MACHINE_STARTING)
		return (struct mark){0x25cf, ROLE_WARN};
	switch (m->status.state) {
	case VM_RUNNING:
		return (struct mark){0x25cf, ROLE_GOOD};
	case VM_CRASHED:
		return (struct mark){0x2717, ROLE_BAD};
	case VM_PAUSED:
		return (struct mark){0x25cf,
				     *machine_reason(m) ? ROLE_BAD : ROLE_WARN};
	default:
		return (struct mark){0x25cb, ROLE_DIM};
	}
}

/* Columns of the list, from the left; wide lists add the description. */
enum {
	COL_NAME = 2,
	COL_STATE = 21,
	COL_CPUS = 31,
	COL_MEM = 36,
	COL_LOAD = 47,
	COL_GRAPH = 53,
	COL_UP = 66,
	COL_WHAT = 78
};

static void draw_head(struct ui *ui, struct rect in)
{
	static const struct {
		int col;
		const char *text;
	} heads[] = {
		{COL_NAME, "Machine"},	    {COL_STATE, "State"},
		{COL_CPUS, "CPUs"},	    {COL_MEM, "   Memory"},
		{COL_LOAD, " CPU%"},	    {COL_UP, "     Up"},
		{COL_WHAT, "Description "},
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		if (in.cols - heads[i].col >= (int)strlen(heads[i].text))
			canvas_text(&ui->canvas, in.row, in.col + heads[i].col,
				    in.cols - heads[i].col, ROLE_HEAD,
				    heads[i].text);
}

static void draw_load(struct ui *ui, const struct machine *m, int row,
		      struct rect in)
{
	struct canvas *c = &ui->canvas;
	uint64_t now = m->nr_history ? m->cpu_permille[m->nr_history - 1] : 0;
	char text[32];

	if (m->life != MACHINE_LIVE || m->status.state == VM_OFF)
		return;
	snprintf(text, sizeof(text), "%llu",
		 (unsigned long long)(now + 5) / 10);
	canvas_right(c, row, in.col + COL_LOAD, 5, ROLE_TEXT, text);
	if (in.cols >= COL_GRAPH + 12)
		canvas_spark(c, row, in.col + COL_GRAPH, 12, ROLE_GRAPH,
			     m->cpu_permille, m->nr_history,
			     1000ULL * (m->status.cpus ? m->status.cpus : 1));
	text_uptime(m->status.uptime_ns, text, sizeof(text));
	if (in.cols >= COL_UP + 9)
		canvas_right(c, row, in.col + COL_UP, 9, ROLE_DIM, text);
}

static void draw_row(struct ui *ui, const struct machine *m, int row,
		     struct rect in)
{
	struct canvas *c = &ui->canvas;
	struct mark mark = mark_of(m);
	char text[32];

	canvas_put(c, row, in.col, mark.ch, ui->theme.roles[mark.role]);
	canvas_text(c, row, in.col + COL_NAME, COL_STATE - COL_NAME - 1,
		    ROLE_STRONG, m->id);
	canvas_text(c, row, in.col + COL_STATE, 9, mark.role,
		    machine_state_text(m));
	if (!m->broken.code) {
		snprintf(text, sizeof(text), "%u", m->config.cpus);
		canvas_right(c, row, in.col + COL_CPUS, 4, ROLE_TEXT, text);
		text_size(m->config.mem, text, sizeof(text));
		canvas_right(c, row, in.col + COL_MEM, 9, ROLE_TEXT, text);
	}
	draw_load(ui, m, row, in);
	if (in.cols - COL_WHAT >= 12)
		canvas_text(c, row, in.col + COL_WHAT, in.cols - COL_WHAT,
			    ROLE_DIM, m->config.description);
}

static void draw_list(struct ui *ui, struct view *v, struct rect r)
{
	struct list *l = &v->panels[PANEL_LIST];
	struct rect in;
	int nr, row;

	if (!r.rows)
		return;
	in = canvas_frame(&ui->canvas, r, "Machines", v->focus == PANEL_LIST);
	in.col++;
	in.cols -= 2;
	nr = sync_list(ui, v,
		       (struct rect){in.row + 1, in.col, in.rows - 1, in.cols});
	if (!nr) {
		ui_empty(ui, in,
			 v->filter[0] ? "no machine matches"
				      : "no machines: put a JSON file "
					"into the folder, then r");
		return;
	}
	draw_head(ui, in);
	for (int i = 0; i < in.rows - 1 && l->top + i < nr; i++) {
		row = in.row + 1 + i;
		draw_row(ui, row_at(ui, v, l->top + i), row, in);
		if (l->top + i == l->sel)
			canvas_tint(&ui->canvas, row, in.col - 1, in.cols + 2,
				    ROLE_SELECT);
	}
}

/* ---- about the chosen one ---- */

static void field_line(struct sheet *s, enum role role, const char *name,
		       const char *text)
{
	struct canvas *c = &s->ui->canvas;
	int row = sheet_next_row(s);

	if (row < 0)
		return;
	canvas_text(c, row, s->in.col, 10, ROLE_HEAD, name);
	canvas_text(c, row, s->in.col + 10, s->in.cols - 10, role, text);
}

/* A name and its text, on as many lines as it takes. */
static void field(struct sheet *s, enum role role, const char *name,
		  const char *text)
{
	char piece[1024];
	size_t n;

	if (s->in.cols < 20)
		return;
	do {
		n = text_wrap(text, s->in.cols - 10);
		snprintf(piece, sizeof(piece), "%.*s", (int)n, text);
		field_line(s, role, name, piece);
		name = "";
		text += n;
		text += *text == ' ' || *text == '\n';
	} while (*text);
}

static void about_disks(struct sheet *s, const struct vm_config *cfg)
{
	char text[VM_PATH_LEN + 64];

	for (unsigned i = 0; i < cfg->nr_disks && i < VM_MAX_DISKS; i++) {
		const struct vm_disk_config *d = &cfg->disks[i];

		bool is_unsafe = !strcmp(d->cache, "unsafe");
		bool ignores = !strcmp(d->werror, "ignore") ||
			       !strcmp(d->rerror, "ignore");

		snprintf(text, sizeof(text), "%s %s, %s%s%s%s", d->bus,
			 d->path[0] ? d->path : "(no medium)",
			 d->cache[0] ? d->cache : "writeback",
			 d->readonly ? ", read-only" : "",
			 d->scratch ? ", scratch" : "",
			 ignores ? ", ERRORS IGNORED" : "");
		field(s, is_unsafe || ignores ? ROLE_BAD : ROLE_TEXT,
		      d->cdrom ? "CD-ROM" : "Disk", text);
	}
}

static void about_activity(struct sheet *s, const struct machine *m)
{
	char text[96], count[16];
	uint64_t max = 1;
	int row = s->in.row + s->row - s->top;

	for (int i = 0; i < m->nr_history; i++)
		max = m->exits[i] > max ? m->exits[i] : max;
	text_count(m->nr_history && machine_is_running(m)
			   ? m->exits[m->nr_history - 1]
			   : 0,
		   count, sizeof(count));
	snprintf(text, sizeof(text), "%6s a second", count);
	if (s->row >= s->top && s->row < s->top + s->in.rows)
		canvas_spark(&s->ui->canvas, row, s->in.col + 30,
			     s->in.cols - 30 > 40 ? 40 : s->in.cols - 30,
			     ROLE_GRAPH, m->exits, m->nr_history, max);
	field(s, ROLE_TEXT, "Exits", text);
}

static void about(struct sheet *s, const struct machine *m)
{
	const struct vm_config *cfg = &m->config;
	char text[VM_PATH_LEN + 256], mem[32];

	if (m->broken.code) {
		field(s, ROLE_BAD, "Broken", m->broken.msg);
		field(s, ROLE_DIM, "File", m->path);
		return;
	}
	if (*machine_reason(m))
		field(s, ROLE_BAD, "Paused", machine_reason(m));
	if (cfg->description[0])
		field(s, ROLE_TEXT, "What", cfg->description);
	text_size(cfg->mem, mem, sizeof(mem));
	snprintf(text, sizeof(text), "%u CPU%s, %s", cfg->cpus,
		 cfg->cpus == 1 ? "" : "s", mem);
	field(s, ROLE_TEXT, "Size", text);
	if (cfg->kernel[0])
		field(s, ROLE_TEXT, "Kernel", cfg->kernel);
	else
		field(s, ROLE_TEXT, "Firmware",
		      cfg->firmware[0] ? cfg->firmware : "SeaBIOS");
	if (cfg->append[0])
		field(s, ROLE_TEXT, "Append", cfg->append);
	about_disks(s, cfg);
	if (cfg->vnc[0])
		field(s, ROLE_TEXT, "VNC", cfg->vnc);
	if (m->life == MACHINE_LIVE)
		about_activity(s, m);
	if (m->note[0])
		field(s, m->note_is_bad ? ROLE_BAD : ROLE_ACCENT, "Last",
		      m->note);
	if (m->path[0])
		field(s, ROLE_DIM, "File", m->path);
}

static void draw_about(struct ui *ui, struct view *v, struct rect r)
{
	struct list *l = &v->panels[PANEL_ABOUT];
	struct sheet s = {.ui = ui};

	if (!r.rows)
		return;
	s.in = canvas_frame(&ui->canvas, r,
			    ui->machine ? ui->machine->id : "About",
			    v->focus == PANEL_ABOUT);
	s.in.col++;
	s.in.cols -= 2;
	if (!ui->machine)
		return;
	s.top = l->top;
	about(&s, ui->machine);
	list_place(l, s.row, s.in);
}

static void draw(struct ui *ui, struct view *v, struct rect r)
{
	struct rect panels[NR_PANELS];

	v->nr_panels = NR_PANELS;
	layout_panels(v, r, NR_PANELS, panels);
	draw_list(ui, v, panels[PANEL_LIST]);
	draw_about(ui, v, panels[PANEL_ABOUT]);
}

/* ---- actions ---- */

static unsigned run_open(struct ui *ui, const char *arg)
{
	(void)arg;
	if (!ui->machine)
		return EFFECT_DRAW;
	ui_switch(ui, SCREEN_CONSOLE);
	if (machine_is_running(ui->machine))
		console_grab(ui, true);
	return EFFECT_DRAW;
}

static unsigned run_rescan(struct ui *ui, const char *arg)
{
	(void)arg;
	ui_choose(ui, NULL);
	fleet_scan(ui->fleet, ui->folder);
	ui_refresh(ui);
	ui_say(ui, false, "%u machines; files are in %s",
	       fleet_count(ui->fleet), ui->folder);
	return EFFECT_DRAW;
}

static const struct action actions[] = {
	{.name = "open",
	 .keys = "Enter",
	 .hint = "console",
	 .help = "show the console and type into it",
	 .run = run_open},
	{.name = "rescan",
	 .keys = "r",
	 .help = "read the folder of machine files again",
	 .run = run_rescan},
};

static int create(struct ui *ui, struct view *v)
{
	(void)ui;
	v->nr_panels = NR_PANELS;
	return 0;
}

const struct screen screen_machines = {
	.name = "machines",
	.title = "Machines",
	.actions = actions,
	.nr_actions = sizeof(actions) / sizeof(actions[0]),
	.create = create,
	.draw = draw,
	.moved = moved,
};
