/*
 * Disks: where each write is right now, how busy each disk is, and what its
 * images hold.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ui/screen/disks_parts.h"
#include "ui/screen/screens.h"

/* ---- facts ---- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void push(uint64_t *rates, int nr, int seconds, uint64_t rate)
{
	int keep = nr + seconds > DISKS_HISTORY ? DISKS_HISTORY - seconds : nr;

	memmove(rates, rates + nr - keep, (size_t)keep * sizeof(*rates));
	for (int i = 0; i < seconds; i++)
		rates[keep + i] = rate;
}

static uint64_t a_second(uint64_t now, uint64_t before, uint64_t ns)
{
	return now < before
		       ? 0
		       : (uint64_t)((double)(now - before) * 1e9 / (double)ns +
				    0.5);
}

static void sample_flow(struct disks_history *h, const struct vm_disk_flow *f,
			int nr, int seconds, uint64_t ns)
{
	if (seconds) {
		push(h->ops, nr, seconds, a_second(f->ops, h->last_ops, ns));
		push(h->bytes, nr, seconds,
		     a_second(f->bytes, h->last_bytes, ns));
	}
	h->last_ops = f->ops;
	h->last_bytes = f->bytes;
}

/* A time in which nobody looked counts with its mean. */
static void sample(struct disks_view *dv)
{
	uint64_t now = now_ns(), passed = now - dv->sampled_ns;
	int seconds = 0;

	if (dv->sampled_ns) {
		seconds = (double)passed / 1e9 < DISKS_HISTORY
				  ? (int)((double)passed / 1e9 + 0.1)
				  : DISKS_HISTORY;
		if (!seconds)
			return;
	}
	dv->sampled_ns = now;
	for (int i = 0; i < dv->nr; i++)
		for (int k = 0; k < VM_DISK_NR_KINDS; k++)
			sample_flow(&dv->history[i][k], &dv->facts[i].flow[k],
				    dv->nr_history, seconds, passed);
	dv->nr_history += seconds;
	if (dv->nr_history > DISKS_HISTORY)
		dv->nr_history = DISKS_HISTORY;
}

static bool matches(const struct vm_disk_row *d, const char *filter)
{
	return text_has(d->name, filter) || text_has(d->path, filter) ||
	       text_has(d->bus, filter) || text_has(d->cache, filter);
}

static void look(struct ui *ui, struct view *v)
{
	struct disks_view *dv = v->data;
	struct vm *vm = ui_vm(ui);

	if (dv->vm != vm) {
		dv->vm = vm;
		dv->nr_history = 0;
		dv->sampled_ns = 0;
		dv->look = (struct disks_look){0};
	}
	dv->nr_shown = 0;
	if (!vm)
		return;
	dv->nr = (int)vm_disks_copy(vm, dv->rows, VM_MAX_DISKS);
	for (int i = 0; i < dv->nr; i++)
		vm_disk_facts_copy(vm, (unsigned)i, &dv->facts[i]);
	sample(dv);
	for (int i = 0; i < dv->nr; i++)
		if (matches(&dv->rows[i], v->filter))
			dv->shown[dv->nr_shown++] = i;
}

const struct vm_disk_row *disks_shown(const struct ui *ui, int *index)
{
	const struct view *v = &ui->views[SCREEN_DISKS];
	const struct disks_view *dv = v->data;
	int sel = v->panels[DISKS_LIST].sel;

	if (!dv->vm || dv->vm != ui_vm(ui) || !dv->nr_shown)
		return NULL;
	if (sel >= dv->nr_shown)
		sel = dv->nr_shown - 1;
	if (index)
		*index = dv->shown[sel];
	return &dv->rows[dv->shown[sel]];
}

const struct vm_disk_row *disks_chosen(struct ui *ui, int *index)
{
	struct view *v = &ui->views[SCREEN_DISKS];
	const struct disks_view *dv = v->data;

	/* An action may come before the first drawing. */
	if (dv->vm != ui_vm(ui))
		look(ui, v);
	return disks_shown(ui, index);
}

/* ---- the list ---- */

enum {
	COL_NAME = 0,
	COL_BUS = 11,
	COL_CACHE = 19,
	COL_WCE = 32,
	COL_BUSY = 35,
	COL_WAITS = 40,
	COL_BYTES = 51,
	COL_GRAPH = 62,
	COL_PATH = 77
};

static void draw_head(struct ui *ui, struct rect in)
{
	static const struct {
		int col;
		const char *text;
	} heads[] = {
		{COL_NAME, "Name"},	  {COL_BUS, "Bus"},
		{COL_CACHE, "Cache"},	  {COL_WCE, "WCE"},
		{COL_BUSY, " Busy"},	  {COL_WAITS, " Unflushed"},
		{COL_BYTES, "  Bytes/s"}, {COL_PATH, "Image"},
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		canvas_text(&ui->canvas, in.row, in.col + heads[i].col,
			    in.cols - heads[i].col, ROLE_HEAD, heads[i].text);
}

static void draw_rate(struct ui *ui, const struct disks_view *dv, int disk,
		      int row, struct rect in)
{
	uint64_t bytes[DISKS_HISTORY] = {0}, max = 1;
	int n = dv->nr_history;
	char text[32];

	if (!n)
		return;
	for (int i = 0; i < n; i++) {
		for (int k = 0; k < VM_DISK_NR_KINDS; k++)
			bytes[i] += dv->history[disk][k].bytes[i];
		max = bytes[i] > max ? bytes[i] : max;
	}
	if (bytes[n - 1]) {
		text_size(bytes[n - 1], text, sizeof(text));
		canvas_right(&ui->canvas, row, in.col + COL_BYTES, 10,
			     ROLE_TEXT, text);
	}
	canvas_spark(&ui->canvas, row, in.col + COL_GRAPH, 14, ROLE_GRAPH,
		     bytes, n, max);
}

static unsigned in_flight(const struct vm_disk_facts *f)
{
	unsigned n = 0;

	for (int k = 0; k < VM_DISK_NR_KINDS; k++)
		n += f->flow[k].in_flight;
	return n;
}

/* Something that a person should know of. */
static bool is_odd(const struct vm_disk_facts *f)
{
	return f->nr_differs || f->never_flushes || f->sync_failed || f->kept ||
	       f->ignored;
}

static void draw_disk(struct ui *ui, const struct vm_disk_row *d,
		      const struct vm_disk_facts *f, int row, struct rect in)
{
	struct canvas *c = &ui->canvas;
	char text[32];

	if (is_odd(f))
		canvas_text(c, row, in.col - 1, 1, ROLE_BAD, "!");
	canvas_text(c, row, in.col + COL_NAME, 10,
		    is_odd(f) ? ROLE_BAD : ROLE_STRONG, d->name);
	canvas_text(c, row, in.col + COL_BUS, 7, ROLE_TEXT, d->bus);
	canvas_text(c, row, in.col + COL_CACHE, 12,
		    f->readonly	      ? ROLE_DIM
		    : f->now.no_flush ? ROLE_BAD
				      : ROLE_TEXT,
		    f->now.cache[0] ? f->now.cache : "(mixed)");
	if (!f->readonly)
		canvas_text(c, row, in.col + COL_WCE, 3, ROLE_TEXT,
			    f->now.wce ? "on" : "off");
	if (in_flight(f)) {
		snprintf(text, sizeof(text), "%u", in_flight(f));
		canvas_right(c, row, in.col + COL_BUSY, 5, ROLE_TEXT, text);
	}
	if (f->unflushed_writes) {
		text_size(f->unflushed_bytes, text, sizeof(text));
		canvas_right(c, row, in.col + COL_WAITS, 10,
			     f->never_flushes ? ROLE_BAD : ROLE_WARN, text);
	}
	canvas_text(c, row, in.col + COL_PATH, in.cols - COL_PATH, ROLE_DIM,
		    d->has_medium ? d->path : "no medium");
}

static void draw_list(struct ui *ui, struct view *v, struct rect r)
{
	struct disks_view *dv = v->data;
	struct list *l = &v->panels[DISKS_LIST];
	struct rect in;

	if (!r.rows) {
		list_fit(l, dv->nr_shown, l->rows);
		return;
	}
	in = canvas_frame(&ui->canvas, r, "Disks", v->focus == DISKS_LIST);
	in.col++;
	in.cols -= 2;
	draw_head(ui, in);
	list_place(l, dv->nr_shown,
		   (struct rect){in.row + 1, in.col, in.rows - 1, in.cols});
	for (int i = 0; i < in.rows - 1 && l->top + i < dv->nr_shown; i++) {
		int disk = dv->shown[l->top + i], row = in.row + 1 + i;

		draw_disk(ui, &dv->rows[disk], &dv->facts[disk], row, in);
		draw_rate(ui, dv, disk, row, in);
		if (l->top + i == l->sel)
			canvas_tint(&ui->canvas, row, in.col - 1, in.cols + 2,
				    ROLE_SELECT);
	}
}

/* ---- the frame of the lower panels ---- */

static const char *const panel_names[DISKS_NR_PANELS] = {
	[DISKS_STATE] = "state",
	[DISKS_RATES] = "activity",
	[DISKS_MAP] = "images",
};

struct rect disks_panel(struct ui *ui, struct view *v, int panel, struct rect r)
{
	const struct vm_disk_row *d = disks_chosen(ui, NULL);
	struct canvas *c = &ui->canvas;
	struct rect in;
	char title[64];
	int col;

	snprintf(title, sizeof(title), "%s: %s", d ? d->name : "",
		 panel_names[panel]);
	in = canvas_frame(c, r, title, v->focus == panel);
	/* Room for a mark before each line. */
	in.cols -= 2;
	in.col++;
	if (!((struct disks_view *)v->data)->is_folded ||
	    r.cols < LAYOUT_FOLD_COLS)
		return in;
	col = r.col + r.cols - 28;
	c->clip.rows = 0;
	for (int i = DISKS_STATE; i < DISKS_NR_PANELS; i++) {
		char name[16];

		snprintf(name, sizeof(name), i == panel ? "[%s]" : " %s ",
			 panel_names[i]);
		col += canvas_text(c, r.row, col, 12,
				   i == panel ? ROLE_STRONG : ROLE_DIM, name);
	}
	canvas_clip(
		c, (struct rect){r.row + 1, r.col + 1, r.rows - 2, r.cols - 2});
	return in;
}

void disks_scroll(struct list *l, struct rect in, int nr)
{
	l->at = in;
	list_fit(l, nr > in.rows ? nr - in.rows + 1 : 1, 1);
	l->top = l->sel;
}

/* ---- layout ---- */

/* Rows that a panel wants with its frame. */
enum { STATE_ROWS = 18, RATES_ROWS = 16, MAP_ROWS = 8 };
/* Two beside each other are both to be read. */
#define PAIR_COLS 150

static struct rect take_rows(struct rect *r, int rows)
{
	struct rect top = {r->row, r->col, rows, r->cols};

	r->row += rows;
	r->rows -= rows;
	return top;
}

static void halves(struct rect r, struct rect *a, struct rect *b)
{
	*a = (struct rect){r.row, r.col, r.rows, r.cols / 2};
	*b = (struct rect){r.row, r.col + r.cols / 2, r.rows,
			   r.cols - r.cols / 2};
}

static void place(struct view *v, struct rect r, struct rect *out)
{
	struct disks_view *dv = v->data;
	int list =
		dv->nr_shown + 3 < r.rows / 4 ? dv->nr_shown + 3 : r.rows / 4;
	struct rect top;

	for (int i = 0; i < DISKS_NR_PANELS; i++)
		out[i] = (struct rect){r.row, r.col, 0, 0};
	if (v->zoom || r.rows < LAYOUT_FOLD_ROWS || r.cols < LAYOUT_FOLD_COLS) {
		out[v->focus] = r;
		return;
	}
	out[DISKS_LIST] = take_rows(&r, list < 4 ? 4 : list);
	if (r.cols >= PAIR_COLS && r.rows >= STATE_ROWS + MAP_ROWS) {
		top = take_rows(&r, r.rows / 2 > STATE_ROWS ? r.rows / 2
							    : STATE_ROWS);
		halves(top, &out[DISKS_STATE], &out[DISKS_RATES]);
		out[DISKS_MAP] = r;
	} else if (r.cols >= PAIR_COLS) {
		halves(r, &out[DISKS_STATE],
		       &out[dv->lower == DISKS_MAP ? DISKS_MAP : DISKS_RATES]);
	} else if (r.rows >= STATE_ROWS + RATES_ROWS + MAP_ROWS) {
		out[DISKS_STATE] = take_rows(
			&r, (r.rows - RATES_ROWS - MAP_ROWS + STATE_ROWS) / 2);
		out[DISKS_RATES] = take_rows(&r, RATES_ROWS);
		out[DISKS_MAP] = r;
	} else {
		out[dv->lower] = r;
	}
}

static void draw(struct ui *ui, struct view *v, struct rect r)
{
	struct disks_view *dv = v->data;
	struct rect panels[DISKS_NR_PANELS];

	look(ui, v);
	if (!dv->vm || !dv->nr) {
		ui_empty(ui, r,
			 dv->vm	       ? "this machine has no disks"
			 : ui->machine ? "the machine is off: s starts it"
				       : "there is no machine to show");
		return;
	}
	if (v->focus != DISKS_LIST)
		dv->lower = v->focus;
	place(v, r, panels);
	dv->is_folded = false;
	for (int i = 0; i < DISKS_NR_PANELS; i++)
		dv->is_folded |= !panels[i].rows;
	draw_list(ui, v, panels[DISKS_LIST]);
	disks_draw_state(ui, v, panels[DISKS_STATE]);
	disks_draw_rates(ui, v, panels[DISKS_RATES]);
	disks_draw_map(ui, v, panels[DISKS_MAP]);
}

static int create(struct ui *ui, struct view *v)
{
	struct disks_view *dv = calloc(1, sizeof(*dv));

	(void)ui;
	if (!dv)
		return -ENOMEM;
	dv->lower = DISKS_STATE;
	v->nr_panels = DISKS_NR_PANELS;
	v->data = dv;
	return 0;
}

static void destroy(struct ui *ui, struct view *v)
{
	(void)ui;
	free(v->data);
	v->data = NULL;
}

const struct screen screen_disks = {
	.name = "disks",
	.title = "Disks",
	.actions = disks_actions,
	.nr_actions = NR_DISKS_ACTIONS,
	.needs_vm = true,
	.create = create,
	.destroy = destroy,
	.draw = draw,
	.key = disks_map_key,
};
