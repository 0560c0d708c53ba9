/*
 * Devices: the machine's processors, buses, devices and disks, what they
 * decode, and how busy they are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ui/screen/layout.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

enum { PANEL_LIST, PANEL_DETAIL, NR_PANELS };

#define MAX_DEVICES 128
#define MAX_ITEMS   (MAX_DEVICES + VM_MAX_VCPUS + VM_MAX_DISKS)
#define HISTORY	    32

enum item_kind { ITEM_VCPU, ITEM_DEVICE, ITEM_DISK };

/* What is known of the machine at one moment. */
struct sample {
	uint64_t ns;
	struct vm_vcpu_row vcpus[VM_MAX_VCPUS];
	struct vm_device_row devices[MAX_DEVICES];
	struct vm_disk_row disks[VM_MAX_DISKS];
	size_t nr_vcpus, nr_devices, nr_disks;
};

struct item {
	enum item_kind kind;
	int index;
};

struct devices_view {
	struct vm *vm;
	struct sample now, before; /* a second apart */
	struct item items[MAX_ITEMS];
	int nr_items;
	/* Activity a second of each row of `now`, newest last. */
	uint64_t rates[MAX_ITEMS][HISTORY];
	int nr_rates;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- sampling ---- */

static void take(struct vm *vm, struct sample *s)
{
	s->ns = now_ns();
	s->nr_vcpus = vm_vcpus_copy(vm, s->vcpus, VM_MAX_VCPUS);
	s->nr_devices = vm_devices_copy(vm, s->devices, MAX_DEVICES);
	s->nr_disks = vm_disks_copy(vm, s->disks, VM_MAX_DISKS);
	if (s->nr_vcpus > VM_MAX_VCPUS)
		s->nr_vcpus = VM_MAX_VCPUS;
	if (s->nr_devices > MAX_DEVICES)
		s->nr_devices = MAX_DEVICES;
	if (s->nr_disks > VM_MAX_DISKS)
		s->nr_disks = VM_MAX_DISKS;
}

static uint64_t device_activity(const struct vm_device_row *d)
{
	uint64_t n = d->interrupts;

	for (int i = 0; i < 7; i++)
		n += d->bars[i].reads + d->bars[i].writes;
	for (unsigned i = 0; i < d->nr_counters && i < VM_ROW_COUNTERS; i++)
		n += d->counters[i].value;
	return n;
}

static uint64_t activity(const struct sample *s, const struct item *it)
{
	switch (it->kind) {
	case ITEM_VCPU:
		return s->vcpus[it->index].exits;
	case ITEM_DISK:
		return s->disks[it->index].reads + s->disks[it->index].writes +
		       s->disks[it->index].flushes;
	default:
		return device_activity(&s->devices[it->index]);
	}
}

/* All rows in order: every one has the same place in both samples as long as
 * the machine has the same shape. */
static int list_all(const struct sample *s, struct item *items)
{
	int n = 0;

	for (size_t i = 0; i < s->nr_vcpus; i++)
		items[n++] = (struct item){ITEM_VCPU, (int)i};
	for (size_t i = 0; i < s->nr_devices; i++)
		items[n++] = (struct item){ITEM_DEVICE, (int)i};
	for (size_t i = 0; i < s->nr_disks; i++)
		items[n++] = (struct item){ITEM_DISK, (int)i};
	return n;
}

static uint64_t per_second(uint64_t now, uint64_t before, uint64_t ns)
{
	if (!ns || now < before)
		return 0;
	return (uint64_t)((double)(now - before) * 1e9 / (double)ns + 0.5);
}

static bool same_shape(const struct sample *a, const struct sample *b)
{
	return a->nr_vcpus == b->nr_vcpus && a->nr_devices == b->nr_devices &&
	       a->nr_disks == b->nr_disks && b->ns;
}

static void push_rates(struct devices_view *dv)
{
	struct item items[MAX_ITEMS];
	int n = list_all(&dv->now, items);
	uint64_t ns = dv->now.ns - dv->before.ns;

	if (dv->nr_rates == HISTORY) {
		for (int i = 0; i < MAX_ITEMS; i++)
			memmove(dv->rates[i], dv->rates[i] + 1,
				(HISTORY - 1) * sizeof(dv->rates[i][0]));
		dv->nr_rates--;
	}
	for (int i = 0; i < n; i++)
		dv->rates[i][dv->nr_rates] =
			per_second(activity(&dv->now, &items[i]),
				   activity(&dv->before, &items[i]), ns);
	dv->nr_rates++;
}

static void sample(struct ui *ui, struct devices_view *dv)
{
	struct vm *vm = ui_vm(ui);

	if (dv->vm != vm) {
		dv->vm = vm;
		dv->nr_rates = 0;
		memset(&dv->now, 0, sizeof(dv->now));
	}
	if (!vm || now_ns() - dv->now.ns < 900000000)
		return;
	dv->before = dv->now;
	take(vm, &dv->now);
	if (same_shape(&dv->now, &dv->before))
		push_rates(dv);
	else
		dv->nr_rates = 0;
}

/* ---- the list ---- */

/* Row of an item in dv->rates. */
static int rate_row(const struct devices_view *dv, const struct item *it)
{
	switch (it->kind) {
	case ITEM_VCPU:
		return it->index;
	case ITEM_DEVICE:
		return (int)dv->now.nr_vcpus + it->index;
	default:
		return (int)(dv->now.nr_vcpus + dv->now.nr_devices) + it->index;
	}
}

static bool item_matches(const struct devices_view *dv, const struct item *it,
			 const char *filter)
{
	const struct vm_device_row *d;
	char name[32];

	switch (it->kind) {
	case ITEM_VCPU:
		snprintf(name, sizeof(name), "vcpu%u",
			 dv->now.vcpus[it->index].index);
		return text_has(name, filter);
	case ITEM_DISK:
		return text_has(dv->now.disks[it->index].name, filter) ||
		       text_has(dv->now.disks[it->index].path, filter);
	default:
		d = &dv->now.devices[it->index];
		return text_has(d->name, filter) || text_has(d->cls, filter) ||
		       text_has(d->place, filter) ||
		       text_has(d->summary, filter);
	}
}

static void select_items(struct devices_view *dv, const char *filter)
{
	struct item all[MAX_ITEMS];
	int n = list_all(&dv->now, all);

	dv->nr_items = 0;
	for (int i = 0; i < n; i++)
		if (item_matches(dv, &all[i], filter))
			dv->items[dv->nr_items++] = all[i];
}

enum {
	COL_PLACE = 0,
	COL_NAME = 9,
	COL_ID = 29,
	COL_IRQ = 39,
	COL_RATE = 49,
	COL_GRAPH = 58,
	COL_WHAT = 76
};

static void draw_device(struct ui *ui, const struct vm_device_row *d, int row,
			struct rect in)
{
	struct canvas *c = &ui->canvas;
	int indent = d->depth > 0 && d->depth < 8 ? d->depth * 2 : 0;
	int col = in.col + COL_NAME;
	char text[48];

	canvas_text(c, row, in.col + COL_PLACE, 8, ROLE_DIM, d->place);
	if (indent) {
		canvas_put(c, row, col + indent - 2, 0x2514,
			   ui->theme.roles[ROLE_FRAME]);
		canvas_put(c, row, col + indent - 1, 0x2500,
			   ui->theme.roles[ROLE_FRAME]);
	}
	canvas_text(c, row, col + indent, COL_ID - COL_NAME - indent - 1,
		    d->failed ? ROLE_BAD : ROLE_STRONG, d->name);
	if (d->is_pci) {
		snprintf(text, sizeof(text), "%04x:%04x", d->vendor, d->device);
		canvas_text(c, row, in.col + COL_ID, 9, ROLE_DIM, text);
	}
	text[0] = '\0';
	if (d->msix_enabled)
		snprintf(text, sizeof(text), "MSI-X %u", d->msix_vectors);
	else if (d->gsi >= 0)
		snprintf(text, sizeof(text), "IRQ %d", d->gsi);
	canvas_text(c, row, in.col + COL_IRQ, 9, ROLE_TEXT, text);
	canvas_text(c, row, in.col + COL_WHAT, in.cols - COL_WHAT,
		    d->failed ? ROLE_BAD : ROLE_DIM,
		    d->failed ? d->why : d->summary);
}

static void draw_vcpu(struct ui *ui, const struct vm_vcpu_row *v, int row,
		      struct rect in)
{
	struct canvas *c = &ui->canvas;

	canvas_text(c, row, in.col + COL_PLACE, 8, ROLE_DIM, "cpu");
	canvas_printf(c, row, in.col + COL_NAME, 19, ROLE_STRONG, "vcpu%u",
		      v->index);
	canvas_text(c, row, in.col + COL_ID, 19, ROLE_TEXT,
		    v->state ? v->state : "");
	canvas_printf(c, row, in.col + COL_WHAT, in.cols - COL_WHAT, ROLE_DIM,
		      "last stopped at 0x%llx", (unsigned long long)v->rip);
}

static void draw_disk(struct ui *ui, const struct vm_disk_row *d, int row,
		      struct rect in)
{
	struct canvas *c = &ui->canvas;

	canvas_text(c, row, in.col + COL_PLACE, 8, ROLE_DIM,
		    d->cdrom ? "cdrom" : "disk");
	canvas_text(c, row, in.col + COL_NAME, 19, ROLE_STRONG, d->name);
	canvas_text(c, row, in.col + COL_ID, 9, ROLE_DIM, d->bus);
	canvas_text(c, row, in.col + COL_IRQ, 9,
		    strcmp(d->cache, "unsafe") ? ROLE_TEXT : ROLE_BAD,
		    d->cache);
	canvas_text(c, row, in.col + COL_WHAT, in.cols - COL_WHAT, ROLE_DIM,
		    d->has_medium ? d->path : "no medium");
}

static void draw_rate(struct ui *ui, const struct devices_view *dv,
		      const struct item *it, int row, struct rect in)
{
	const uint64_t *rates = dv->rates[rate_row(dv, it)];
	uint64_t max = 1;
	char text[32];

	if (!dv->nr_rates)
		return;
	for (int i = 0; i < dv->nr_rates; i++)
		max = rates[i] > max ? rates[i] : max;
	if (rates[dv->nr_rates - 1]) {
		text_count(rates[dv->nr_rates - 1], text, sizeof(text));
		canvas_right(&ui->canvas, row, in.col + COL_RATE, 7, ROLE_TEXT,
			     text);
	}
	if (in.cols >= COL_GRAPH + 16)
		canvas_spark(&ui->canvas, row, in.col + COL_GRAPH, 16,
			     ROLE_GRAPH, rates, dv->nr_rates, max);
}

static void draw_head(struct ui *ui, struct rect in)
{
	static const struct {
		int col;
		const char *text;
	} heads[] = {
		{COL_PLACE, "Place"},	 {COL_NAME, "Name"},
		{COL_ID, "Id"},		 {COL_IRQ, "Interrupt"},
		{COL_RATE, " Events/s"}, {COL_WHAT, "What"},
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		canvas_text(&ui->canvas, in.row, in.col + heads[i].col,
			    in.cols - heads[i].col, ROLE_HEAD, heads[i].text);
}

static void draw_list(struct ui *ui, struct view *v, struct rect r)
{
	struct devices_view *dv = v->data;
	struct list *l = &v->panels[PANEL_LIST];
	const struct item *it;
	struct rect in;
	int row;

	if (!r.rows) {
		list_fit(l, dv->nr_items, l->rows);
		return;
	}
	in = canvas_frame(&ui->canvas, r, "Devices", v->focus == PANEL_LIST);
	in.col++;
	in.cols -= 2;
	list_place(l, dv->nr_items,
		   (struct rect){in.row + 1, in.col, in.rows - 1, in.cols});
	draw_head(ui, in);
	for (int i = 0; i < in.rows - 1 && l->top + i < dv->nr_items; i++) {
		it = &dv->items[l->top + i];
		row = in.row + 1 + i;
		if (it->kind == ITEM_VCPU)
			draw_vcpu(ui, &dv->now.vcpus[it->index], row, in);
		else if (it->kind == ITEM_DISK)
			draw_disk(ui, &dv->now.disks[it->index], row, in);
		else
			draw_device(ui, &dv->now.devices[it->index], row, in);
		draw_rate(ui, dv, it, row, in);
		if (l->top + i == l->sel)
			canvas_tint(&ui->canvas, row, in.col - 1, in.cols + 2,
				    ROLE_SELECT);
	}
}

/* ---- the chosen row in detail ---- */

static void line(struct sheet *s, enum role role, const char *name,
		 const char *text)
{
	int row = sheet_next_row(s);

	if (row < 0)
		return;
	canvas_text(&s->ui->canvas, row, s->in.col, 12, ROLE_HEAD, name);
	canvas_text(&s->ui->canvas, row, s->in.col + 13, s->in.cols - 13, role,
		    text);
}

/* A counter: its total, and what it grew by in the last second. */
static void counter(struct sheet *s, const char *name, uint64_t now,
		    uint64_t before, bool has_before)
{
	struct canvas *c = &s->ui->canvas;
	const struct devices_view *dv = s->ui->views[SCREEN_DEVICES].data;
	uint64_t ns = dv->now.ns - dv->before.ns;
	uint64_t rate = has_before ? per_second(now, before, ns) : 0;
	char text[32];
	int row = sheet_next_row(s);

	if (row < 0)
		return;
	canvas_text(c, row, s->in.col, 24, ROLE_TEXT, name);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)now);
	canvas_right(c, row, s->in.col + 24, 16, ROLE_STRONG, text);
	if (!rate)
		return;
	text_count(rate, text, sizeof(text));
	canvas_right(c, row, s->in.col + 42, 7, ROLE_GRAPH, text);
	canvas_text(c, row, s->in.col + 49, s->in.cols - 49, ROLE_DIM, "/s");
}

static void bars(struct sheet *s, const struct vm_device_row *d)
{
	struct canvas *c = &s->ui->canvas;
	char size[32];
	int row;

	for (int i = 0; i < 7; i++) {
		if (!d->bars[i].kind[0])
			continue;
		row = sheet_next_row(s);
		if (row < 0)
			continue;
		text_size(d->bars[i].len, size, sizeof(size));
		canvas_printf(c, row, s->in.col, 12, ROLE_HEAD, "BAR %d %s", i,
			      d->bars[i].kind);
		canvas_printf(c, row, s->in.col + 13, 18,
			      d->bars[i].mapped ? ROLE_TEXT : ROLE_DIM,
			      d->bars[i].mapped ? "0x%llx" : "not mapped",
			      (unsigned long long)d->bars[i].addr);
		canvas_right(c, row, s->in.col + 28, 10, ROLE_TEXT, size);
		canvas_printf(c, row, s->in.col + 41, s->in.cols - 41, ROLE_DIM,
			      "%llu reads, %llu writes",
			      (unsigned long long)d->bars[i].reads,
			      (unsigned long long)d->bars[i].writes);
	}
}

static void features(struct sheet *s, const struct vm_device_row *d)
{
	const struct device_feature *f = d->features;
	char text[96];

	for (; f < d->features + d->nr_features; f++) {
		snprintf(text, sizeof(text), "bit %2u  %-20s %s", f->bit,
			 f->name,
			 !f->offered   ? "taken, but not offered"
			 : f->accepted ? "accepted"
				       : "offered");
		line(s,
		     !f->offered   ? ROLE_BAD
		     : f->accepted ? ROLE_TEXT
				   : ROLE_DIM,
		     f == d->features ? "Features" : "", text);
	}
}

static void detail_device(struct sheet *s, const struct vm_device_row *d,
			  const struct vm_device_row *before)
{
	char text[192];

	if (d->failed)
		line(s, ROLE_BAD, "Failed", d->why);
	if (d->summary[0])
		line(s, ROLE_TEXT, "What", d->summary);
	if (d->is_pci) {
		snprintf(text, sizeof(text), "%s  %04x:%04x  class %06x",
			 d->place, d->vendor, d->device, d->class_code);
		line(s, ROLE_TEXT, "PCI", text);
	}
	if (d->msix_vectors) {
		snprintf(text, sizeof(text), "MSI-X with %u vectors, %s",
			 d->msix_vectors, d->msix_enabled ? "on" : "off");
		line(s, ROLE_TEXT, "Interrupt", text);
	} else if (d->gsi >= 0) {
		snprintf(text, sizeof(text), "line %d", d->gsi);
		line(s, ROLE_TEXT, "Interrupt", text);
	}
	bars(s, d);
	if (d->gsi >= 0 || d->msix_vectors)
		counter(s, "interrupts", d->interrupts,
			before ? before->interrupts : 0, before);
	for (unsigned i = 0; i < d->nr_counters && i < VM_ROW_COUNTERS; i++)
		counter(s, d->counters[i].name, d->counters[i].value,
			before ? before->counters[i].value : 0, before);
	features(s, d);
}

static void detail_vcpu(struct sheet *s, const struct vm_vcpu_row *v,
			const struct vm_vcpu_row *before)
{
	char text[64];

	line(s, ROLE_TEXT, "State", v->state ? v->state : "");
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)v->rip);
	line(s, ROLE_TEXT, "Last stop", text);
	counter(s, "exits", v->exits, before ? before->exits : 0, before);
	counter(s, "port accesses", v->pio, before ? before->pio : 0, before);
	counter(s, "MMIO accesses", v->mmio, before ? before->mmio : 0, before);
	counter(s, "kicks", v->kicks, before ? before->kicks : 0, before);
	counter(s, "CPU time, us", v->cpu_ns / 1000,
		before ? before->cpu_ns / 1000 : 0, before);
}

static void detail_disk(struct sheet *s, const struct vm_disk_row *d)
{
	char text[96], size[32];

	line(s, ROLE_TEXT, "File", d->has_medium ? d->path : "no medium");
	text_size(d->len, size, sizeof(size));
	snprintf(text, sizeof(text), "%s, %s%s", size, d->bus,
		 d->readonly ? ", read-only" : "");
	line(s, ROLE_TEXT, "Size", text);
	line(s, ROLE_ACCENT, "More",
	     "on Disks: where its writes are, what it does, its images");
}

static void detail(struct sheet *s, const struct devices_view *dv,
		   const struct item *it)
{
	bool same = same_shape(&dv->now, &dv->before);

	if (it->kind == ITEM_VCPU)
		detail_vcpu(s, &dv->now.vcpus[it->index],
			    same ? &dv->before.vcpus[it->index] : NULL);
	else if (it->kind == ITEM_DISK)
		detail_disk(s, &dv->now.disks[it->index]);
	else
		detail_device(s, &dv->now.devices[it->index],
			      same ? &dv->before.devices[it->index] : NULL);
}

static void item_title(const struct devices_view *dv, const struct item *it,
		       char *buf, size_t len)
{
	if (it->kind == ITEM_VCPU)
		snprintf(buf, len, "vcpu%u", dv->now.vcpus[it->index].index);
	else if (it->kind == ITEM_DISK)
		snprintf(buf, len, "%s", dv->now.disks[it->index].name);
	else
		snprintf(buf, len, "%s (%s)", dv->now.devices[it->index].name,
			 dv->now.devices[it->index].cls);
}

static void draw_detail(struct ui *ui, struct view *v, struct rect r)
{
	struct devices_view *dv = v->data;
	struct list *l = &v->panels[PANEL_DETAIL];
	int sel = v->panels[PANEL_LIST].sel;
	struct sheet s = {.ui = ui, .top = l->top};
	char title[80] = "";

	if (!r.rows)
		return;
	if (sel < dv->nr_items)
		item_title(dv, &dv->items[sel], title, sizeof(title));
	s.in = canvas_frame(&ui->canvas, r, title, v->focus == PANEL_DETAIL);
	s.in.col++;
	s.in.cols -= 2;
	if (sel < dv->nr_items)
		detail(&s, dv, &dv->items[sel]);
	/* The panel has no chosen row: moving scrolls. */
	l->top = l->sel;
	l->at = s.in;
	list_fit(l, s.row > s.in.rows ? s.row - s.in.rows + 1 : 1, 1);
}

static void draw(struct ui *ui, struct view *v, struct rect r)
{
	struct devices_view *dv = v->data;
	struct rect panels[NR_PANELS];

	sample(ui, dv);
	if (!dv->vm) {
		ui_empty(ui, r,
			 ui->machine ? "the machine is off: s starts it"
				     : "there is no machine to show");
		return;
	}
	select_items(dv, v->filter);
	layout_panels(v, r, NR_PANELS, panels);
	draw_list(ui, v, panels[PANEL_LIST]);
	draw_detail(ui, v, panels[PANEL_DETAIL]);
}

static unsigned run_detail(struct ui *ui, const char *arg)
{
	struct view *v = &ui->views[SCREEN_DEVICES];

	(void)arg;
	v->focus = v->focus == PANEL_LIST ? PANEL_DETAIL : PANEL_LIST;
	return EFFECT_DRAW;
}

static const struct action actions[] = {
	{.name = "detail",
	 .keys = "Enter",
	 .hint = "detail",
	 .help = "into the chosen row's details and back",
	 .run = run_detail},
};

static int create(struct ui *ui, struct view *v)
{
	(void)ui;
	v->nr_panels = NR_PANELS;
	v->data = calloc(1, sizeof(struct devices_view));
	return v->data ? 0 : -ENOMEM;
}

static void destroy(struct ui *ui, struct view *v)
{
	(void)ui;
	free(v->data);
	v->data = NULL;
}

const struct screen screen_devices = {
	.name = "devices",
	.title = "Devices",
	.actions = actions,
	.nr_actions = sizeof(actions) / sizeof(actions[0]),
	.needs_vm = true,
	.create = create,
	.destroy = destroy,
	.draw = draw,
};
