/*
 * Disks, activity: how much a second, and how long requests take.
 */
#include <stdio.h>
#include <string.h>

#include "ui/screen/disks_parts.h"
#include "ui/screen/screens.h"

enum { COL_NOW = 10, COL_PEAK = 20, COL_ALL = 30, COL_GRAPH = 41 };

static const struct flow {
	const char *name;
	enum disks_rate rate;
	bool is_bytes;
} flows[NR_RATES] = {
	{"Reads", RATE_READS, false},	     {"Writes", RATE_WRITES, false},
	{"Flushes", RATE_FLUSHES, false},    {"Read", RATE_READ_BYTES, true},
	{"Written", RATE_WRITE_BYTES, true},
};

static void number(struct sheet *s, int row, int col, const struct flow *f,
		   uint64_t n, enum role role)
{
	char text[32];

	if (f->is_bytes)
		text_size(n, text, sizeof(text));
	else
		text_count(n, text, sizeof(text));
	canvas_right(&s->ui->canvas, row, s->in.col + col, 10, role, text);
}

static void draw_flow(struct sheet *s, const struct flow *f,
		      const struct disks_history *h, int n)
{
	struct canvas *c = &s->ui->canvas;
	const uint64_t *rates = h->rates[f->rate];
	int row = sheet_next_row(s), width = s->in.cols - COL_GRAPH;
	uint64_t max = 0;

	if (row < 0)
		return;
	width = width > DISKS_HISTORY ? DISKS_HISTORY : width;
	canvas_text(c, row, s->in.col, COL_NOW, ROLE_HEAD, f->name);
	for (int i = n > width ? n - width : 0; i < n; i++)
		max = rates[i] > max ? rates[i] : max;
	if (n) {
		number(s, row, COL_NOW, f, rates[n - 1], ROLE_STRONG);
		number(s, row, COL_PEAK, f, max, ROLE_DIM);
		canvas_spark(c, row, s->in.col + COL_GRAPH, width, ROLE_GRAPH,
			     rates, n, max ? max : 1);
	}
	number(s, row, COL_ALL, f, h->last[f->rate], ROLE_TEXT);
}

static void draw_flows(struct sheet *s, const struct disks_view *dv, int disk)
{
	struct canvas *c = &s->ui->canvas;
	int row = sheet_next_row(s);

	if (row >= 0) {
		canvas_right(c, row, s->in.col + COL_NOW, 10, ROLE_HEAD,
			     "a second");
		canvas_right(c, row, s->in.col + COL_PEAK, 10, ROLE_HEAD,
			     "at most");
		canvas_right(c, row, s->in.col + COL_ALL, 10, ROLE_HEAD,
			     "in all");
	}
	for (int i = 0; i < NR_RATES; i++)
		draw_flow(s, &flows[i], &dv->history[disk], dv->nr_history);
}

static void draw_counts(struct sheet *s, const struct vm_disk_row *d)
{
	struct canvas *c = &s->ui->canvas;
	int row = sheet_next_row(s);

	if (row >= 0)
		canvas_printf(c, row, s->in.col, s->in.cols,
			      d->errors ? ROLE_BAD : ROLE_TEXT,
			      "%u in flight, %llu failed", d->in_flight,
			      (unsigned long long)d->errors);
}

void disks_draw_rates(struct ui *ui, struct view *v, struct rect r)
{
	struct disks_view *dv = v->data;
	struct list *l = &v->panels[DISKS_RATES];
	struct sheet s = {.ui = ui, .top = l->top};
	int disk;

	if (!r.rows || !disks_chosen(ui, &disk))
		return;
	s.in = disks_panel(ui, v, DISKS_RATES, r);
	draw_flows(&s, dv, disk);
	draw_counts(&s, &dv->rows[disk]);
	l->top = l->sel;
	l->at = s.in;
	list_fit(l, s.row > s.in.rows ? s.row - s.in.rows + 1 : 1, 1);
}
