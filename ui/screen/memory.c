/*
 * Memory: RAM blocks, the regions that map them, the KVM slots that follow,
 * and when slots were made, changed and destroyed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/screen/layout.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

enum { PANEL_BLOCKS, PANEL_SLOTS, PANEL_REGIONS, PANEL_EVENTS, NR_PANELS };

#define MAX_ROWS   512
#define MAX_EVENTS 2048

struct memory_view {
	struct vm *vm;
	struct vm_mem_row rows[3][MAX_ROWS]; /* by panel */
	int nr_rows[3];
	struct vm_mem_event events[MAX_EVENTS]; /* a ring */
	int first, nr_events;
	uint64_t seq, total;
	int shown[MAX_EVENTS];
	bool away; /* the timeline is not at its end */
};

/* ---- facts ---- */

static void take_events(struct memory_view *mv)
{
	struct vm_mem_event batch[64];
	size_t n;

	do {
		n = vm_memory_events(mv->vm, mv->seq, batch, 64);
		for (size_t i = 0; i < n; i++) {
			if (mv->nr_events == MAX_EVENTS)
				mv->first = (mv->first + 1) % MAX_EVENTS;
			else
				mv->nr_events++;
			mv->events[(mv->first + mv->nr_events - 1) %
				   MAX_EVENTS] = batch[i];
			mv->seq = batch[i].seq;
			mv->total++;
		}
	} while (n == 64);
}

static const struct vm_mem_event *event_at(const struct memory_view *mv, int i)
{
	return &mv->events[(mv->first + i) % MAX_EVENTS];
}

static void look(struct ui *ui, struct memory_view *mv)
{
	static const enum vm_mem_kind kinds[] = {
		[PANEL_BLOCKS] = VM_MEM_BLOCK,
		[PANEL_SLOTS] = VM_MEM_SLOT,
		[PANEL_REGIONS] = VM_MEM_REGION,
	};
	struct vm *vm = ui_vm(ui);
	size_t n;

	if (mv->vm != vm) {
		mv->vm = vm;
		mv->first = mv->nr_events = 0;
		mv->seq = mv->total = 0;
		mv->away = false;
	}
	if (!vm)
		return;
	for (int i = 0; i < 3; i++) {
		n = vm_memory_copy(vm, kinds[i], mv->rows[i], MAX_ROWS);
		mv->nr_rows[i] = n > MAX_ROWS ? MAX_ROWS : (int)n;
	}
	take_events(mv);
}

/* ---- rows ---- */

static void put_range(struct canvas *c, int row, int col, uint64_t gpa,
		      uint64_t len)
{
	canvas_printf(c, row, col, 22, ROLE_TEXT, "%09llx-%09llx",
		      (unsigned long long)gpa,
		      (unsigned long long)(gpa + len - (len ? 1 : 0)));
}

static void put_size(struct canvas *c, int row, int col, uint64_t len)
{
	char text[32];

	text_size(len, text, sizeof(text));
	canvas_right(c, row, col, 9, ROLE_TEXT, text);
}

static void put_pages(struct canvas *c, int row, int col, uint64_t pages)
{
	char text[32];

	if (!pages)
		return;
	text_count(pages, text, sizeof(text));
	canvas_right(c, row, col, 7, ROLE_WARN, text);
}

static void draw_block(struct ui *ui, const struct vm_mem_row *m, int row,
		       struct rect in)
{
	struct canvas *c = &ui->canvas;

	canvas_text(c, row, in.col, 18, ROLE_STRONG, m->name);
	put_size(c, row, in.col + 19, m->len);
	put_pages(c, row, in.col + 30, m->dirty_pages);
	canvas_text(c, row, in.col + 40, in.cols - 40, ROLE_DIM,
		    m->readonly ? "read-only" : m->type);
}

static void draw_slot(struct ui *ui, const struct vm_mem_row *m, int row,
		      struct rect in)
{
	struct canvas *c = &ui->canvas;
	char text[16];

	snprintf(text, sizeof(text), "%u", m->slot);
	canvas_right(c, row, in.col, 4, ROLE_STRONG, text);
	put_range(c, row, in.col + 6, m->gpa, m->len);
	put_size(c, row, in.col + 26, m->len);
	canvas_text(c, row, in.col + 37, 12, ROLE_TEXT, m->block);
	canvas_text(c, row, in.col + 50, 2, m->readonly ? ROLE_WARN : ROLE_DIM,
		    m->readonly ? "ro" : "rw");
	canvas_text(c, row, in.col + 53, 3, ROLE_ACCENT,
		    m->logged ? "log" : "");
	put_pages(c, row, in.col + 58, m->dirty_pages);
}

static void draw_region(struct ui *ui, const struct vm_mem_row *m, int row,
			struct rect in)
{
	struct canvas *c = &ui->canvas;
	enum role role = m->enabled ? ROLE_TEXT : ROLE_DIM;

	canvas_text(c, row, in.col, 19, m->enabled ? ROLE_STRONG : ROLE_DIM,
		    m->name);
	put_range(c, row, in.col + 20, m->gpa, m->len);
	put_size(c, row, in.col + 40, m->len);
	canvas_text(c, row, in.col + 51, 8, role, m->type);
	canvas_printf(c, row, in.col + 59, 5, role, "%d", m->priority);
	canvas_text(c, row, in.col + 64, in.cols - 64, ROLE_DIM,
		    m->enabled ? m->block : "off");
}

static void draw_event(struct ui *ui, const struct vm_mem_event *ev, int row,
		       struct rect in)
{
	struct canvas *c = &ui->canvas;
	enum role role = !strcmp(ev->what, "created")	  ? ROLE_GOOD
			 : !strcmp(ev->what, "destroyed") ? ROLE_BAD
							  : ROLE_WARN;
	char text[32];

	snprintf(text, sizeof(text), "%.3f s", (double)ev->time_ns / 1e9);
	canvas_right(c, row, in.col, 10, ROLE_DIM, text);
	canvas_text(c, row, in.col + 11, 9, role, ev->what);
	snprintf(text, sizeof(text), "%u", ev->slot);
	canvas_right(c, row, in.col + 20, 4, ROLE_STRONG, text);
	put_range(c, row, in.col + 26, ev->gpa, ev->len);
	canvas_text(c, row, in.col + 46, 10, ROLE_TEXT, ev->block);
	canvas_text(c, row, in.col + 57, 2, ev->readonly ? ROLE_WARN : ROLE_DIM,
		    ev->readonly ? "ro" : "rw");
	canvas_text(c, row, in.col + 60, 3, ROLE_ACCENT,
		    ev->logged ? "log" : "");
	if (ev->dirty_carried)
		canvas_printf(c, row, in.col + 64, in.cols - 64, ROLE_WARN,
			      "%llu dirty",
			      (unsigned long long)ev->dirty_carried);
}

/* ---- panels ---- */

struct panel {
	const char *title;
	const char *head;
	void (*row)(struct ui *ui, const struct vm_mem_row *m, int row,
		    struct rect in);
};

static const struct panel panels[3] = {
	[PANEL_BLOCKS] = {"RAM blocks",
			  "Block                   Size   Dirty   Kind",
			  draw_block},
	[PANEL_SLOTS] = {"KVM slots",
			 "Slot  Guest address            Size  Block        "
			 "Mode   Dirty",
			 draw_slot},
	[PANEL_REGIONS] = {"Regions",
			   "Region              Guest address            Size  "
			   "Kind   Prio Block",
			   draw_region},
};

static bool matches(const struct vm_mem_row *m, const char *filter)
{
	return text_has(m->name, filter) || text_has(m->block, filter) ||
	       text_has(m->type, filter);
}

/* The legacy area, where firmware shadows its ROMs: what each piece is. */
static void draw_strip(struct ui *ui, const struct memory_view *mv,
		       struct rect in)
{
	const uint64_t from = 0xa0000, to = 0x100000;
	struct canvas *c = &ui->canvas;
	int width = in.cols - 14;

	canvas_text(c, in.row, in.col, 6, ROLE_DIM, "a0000");
	canvas_text(c, in.row, in.col + 6 + width + 1, 7, ROLE_DIM, "100000");
	for (int i = 0; i < width; i++) {
		uint64_t at =
			from + (to - from) * (uint64_t)i / (uint64_t)width;
		uint32_t ch = 0xb7;
		enum role role = ROLE_DIM;

		for (int s = 0; s < mv->nr_rows[PANEL_SLOTS]; s++) {
			const struct vm_mem_row *m = &mv->rows[PANEL_SLOTS][s];

			if (at < m->gpa || at - m->gpa >= m->len)
				continue;
			ch = m->readonly ? 0x2593 : 0x2588;
			role = m->readonly ? ROLE_WARN
			       : s & 1	   ? ROLE_GRAPH
					   : ROLE_GOOD;
		}
		canvas_put(c, in.row, in.col + 6 + i, ch,
			   ui->theme.roles[role]);
	}
}

static struct rect open_panel(struct ui *ui, struct view *v, int which,
			      struct rect r, const char *title)
{
	struct rect in = canvas_frame(&ui->canvas, r, title, v->focus == which);

	in.col++;
	in.cols -= 2;
	return in;
}

static void draw_rows(struct ui *ui, struct view *v, int which, struct rect r)
{
	struct memory_view *mv = v->data;
	const struct vm_mem_row *rows = mv->rows[which];
	struct list *l = &v->panels[which];
	int shown[MAX_ROWS], nr = 0;
	char title[64];
	struct rect in;

	if (!r.rows)
		return;
	for (int i = 0; i < mv->nr_rows[which]; i++)
		if (matches(&rows[i], v->filter))
			shown[nr++] = i;
	snprintf(title, sizeof(title), "%s: %d", panels[which].title, nr);
	in = open_panel(ui, v, which, r, title);
	if (which == PANEL_SLOTS && in.rows > 4 && in.cols > 40) {
		draw_strip(ui, mv, in);
		in.row++;
		in.rows--;
	}
	canvas_text(&ui->canvas, in.row, in.col, in.cols, ROLE_HEAD,
		    panels[which].head);
	list_place(l, nr,
		   (struct rect){in.row + 1, in.col, in.rows - 1, in.cols});
	for (int i = 0; i < in.rows - 1 && l->top + i < nr; i++) {
		panels[which].row(ui, &rows[shown[l->top + i]], in.row + 1 + i,
				  in);
		if (l->top + i == l->sel && v->focus == which)
			canvas_tint(&ui->canvas, in.row + 1 + i, in.col - 1,
				    in.cols + 2, ROLE_SELECT);
	}
}

#define BUCKETS 200

/* Events over the machine's life, from its start to now. */
static void draw_timeline(struct ui *ui, const struct memory_view *mv,
			  struct rect in)
{
	uint64_t buckets[BUCKETS] = {0}, max = 1, end;
	int width = in.cols - 22;

	if (!mv->nr_events || width < 8)
		return;
	width = width > BUCKETS ? BUCKETS : width;
	end = event_at(mv, mv->nr_events - 1)->time_ns + 1;
	for (int i = 0; i < mv->nr_events; i++) {
		uint64_t at = (uint64_t)((double)event_at(mv, i)->time_ns /
					 (double)end * width);

		if (at < (uint64_t)width)
			buckets[at]++;
	}
	for (int i = 0; i < width; i++)
		max = buckets[i] > max ? buckets[i] : max;
	canvas_text(&ui->canvas, in.row, in.col, 9, ROLE_DIM, "0 s");
	canvas_spark(&ui->canvas, in.row, in.col + 10, width, ROLE_GRAPH,
		     buckets, width, max);
	canvas_printf(&ui->canvas, in.row, in.col + 11 + width, 11, ROLE_DIM,
		      "%.1f s", (double)end / 1e9);
}

static bool event_matches(const struct vm_mem_event *ev, const char *filter)
{
	char slot[16];

	snprintf(slot, sizeof(slot), "%u", ev->slot);
	return text_has(ev->what, filter) || text_has(ev->block, filter) ||
	       !strcmp(slot, filter);
}

static void draw_events(struct ui *ui, struct view *v, struct rect r)
{
	struct memory_view *mv = v->data;
	struct list *l = &v->panels[PANEL_EVENTS];
	char title[64];
	struct rect in;
	int nr = 0;

	if (!r.rows)
		return;
	for (int i = 0; i < mv->nr_events; i++)
		if (event_matches(event_at(mv, i), v->filter))
			mv->shown[nr++] = i;
	snprintf(title, sizeof(title), "Slot events: %llu",
		 (unsigned long long)mv->total);
	in = open_panel(ui, v, PANEL_EVENTS, r, title);
	if (in.rows > 3) {
		draw_timeline(ui, mv, in);
		in.row++;
		in.rows--;
	}
	if (!mv->away)
		l->sel = nr - 1;
	list_place(l, nr, in);
	for (int i = 0; i < in.rows && l->top + i < nr; i++) {
		draw_event(ui, event_at(mv, mv->shown[l->top + i]), in.row + i,
			   in);
		if (mv->away && l->top + i == l->sel)
			canvas_tint(&ui->canvas, in.row + i, in.col - 1,
				    in.cols + 2, ROLE_SELECT);
	}
}

static void draw(struct ui *ui, struct view *v, struct rect r)
{
	struct memory_view *mv = v->data;
	struct rect where[NR_PANELS];

	look(ui, mv);
	if (!mv->vm) {
		ui_empty(ui, r,
			 ui->machine ? "the machine is off: s starts it"
				     : "there is no machine to show");
		return;
	}
	layout_panels(v, r, NR_PANELS, where);
	for (int i = 0; i < 3; i++)
		draw_rows(ui, v, i, where[i]);
	draw_events(ui, v, where[PANEL_EVENTS]);
}

static void moved(struct ui *ui, struct view *v)
{
	struct memory_view *mv = v->data;
	const struct list *l = &v->panels[PANEL_EVENTS];

	(void)ui;
	if (v->focus == PANEL_EVENTS)
		mv->away = l->sel < l->nr - 1;
}

static unsigned focus(struct ui *ui, int which)
{
	ui_switch(ui, SCREEN_MEMORY);
	ui->views[SCREEN_MEMORY].focus = which;
	return EFFECT_DRAW;
}

static unsigned run_blocks(struct ui *ui, const char *arg)
{
	(void)arg;
	return focus(ui, PANEL_BLOCKS);
}

static unsigned run_slots(struct ui *ui, const char *arg)
{
	(void)arg;
	return focus(ui, PANEL_SLOTS);
}

static unsigned run_regions(struct ui *ui, const char *arg)
{
	(void)arg;
	return focus(ui, PANEL_REGIONS);
}

static unsigned run_events(struct ui *ui, const char *arg)
{
	(void)arg;
	return focus(ui, PANEL_EVENTS);
}

static const struct action actions[] = {
	{.name = "blocks",
	 .keys = "b",
	 .hint = "blocks",
	 .help = "the list of RAM blocks",
	 .run = run_blocks},
	{.name = "slots",
	 .keys = "m",
	 .hint = "slots",
	 .help = "the list of KVM memory slots",
	 .run = run_slots},
	{.name = "regions",
	 .keys = "r",
	 .hint = "regions",
	 .help = "the list of regions of guest memory",
	 .run = run_regions},
	{.name = "slot-events",
	 .keys = "v",
	 .hint = "events",
	 .help = "slots made, changed and destroyed",
	 .run = run_events},
};

static int create(struct ui *ui, struct view *v)
{
	(void)ui;
	v->nr_panels = NR_PANELS;
	v->focus = PANEL_SLOTS;
	v->data = calloc(1, sizeof(struct memory_view));
	return v->data ? 0 : -ENOMEM;
}

static void destroy(struct ui *ui, struct view *v)
{
	(void)ui;
	free(v->data);
	v->data = NULL;
}

const struct screen screen_memory = {
	.name = "memory",
	.title = "Memory",
	.actions = actions,
	.nr_actions = sizeof(actions) / sizeof(actions[0]),
	.needs_vm = true,
	.create = create,
	.destroy = destroy,
	.draw = draw,
	.moved = moved,
};
