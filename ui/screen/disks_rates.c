/*
 * Disks, activity: how much a second, and how long requests take.
 *
 * Latencies fall into buckets that double (vm_disks.h).  Of a hundred requests
 * ninety-nine took at most what the end of a bucket says, not exactly that.
 */
#include <stdio.h>
#include <string.h>

#include "ui/screen/disks_parts.h"
#include "ui/screen/screens.h"

static const char *const names[VM_DISK_NR_KINDS] = {
	[VM_DISK_READ] = "Reads",    [VM_DISK_WRITE] = "Writes",
	[VM_DISK_FLUSH] = "Flushes", [VM_DISK_DISCARD] = "Discards",
	[VM_DISK_ZERO] = "Zeroing",
};

/* ---- a second ---- */

enum {
	COL_OPS = 9,
	COL_BYTES = 17,
	COL_ALL = 28,
	COL_ALL_BYTES = 36,
	COL_BUSY = 47,
	COL_FAILED = 53,
	COL_GRAPH = 61
};

static void put(struct sheet *s, int row, int col, int width, enum role role,
		uint64_t n, void (*format)(uint64_t n, char *buf, size_t len))
{
	char text[32];

	format(n, text, sizeof(text));
	canvas_right(&s->ui->canvas, row, s->in.col + col, width, role, text);
}

static void draw_graph(struct sheet *s, const struct disks_history *h, int n,
		       int row)
{
	int width = s->in.cols - COL_GRAPH;
	uint64_t max = 1;

	width = width > DISKS_HISTORY ? DISKS_HISTORY : width;
	for (int i = n > width ? n - width : 0; i < n; i++)
		max = h->ops[i] > max ? h->ops[i] : max;
	canvas_spark(&s->ui->canvas, row, s->in.col + COL_GRAPH, width,
		     ROLE_GRAPH, h->ops, n, max);
}

static void draw_flow(struct sheet *s, const struct vm_disk_flow *f,
		      const struct disks_history *h, int n, const char *name)
{
	int row = sheet_next_row(s);

	if (row < 0)
		return;
	canvas_text(&s->ui->canvas, row, s->in.col, COL_OPS, ROLE_HEAD, name);
	/* Nothing where nothing happens. */
	if (n && h->ops[n - 1]) {
		put(s, row, COL_OPS, 7, ROLE_STRONG, h->ops[n - 1], text_count);
		put(s, row, COL_BYTES, 10, ROLE_STRONG, h->bytes[n - 1],
		    text_size);
	}
	draw_graph(s, h, n, row);
	put(s, row, COL_ALL, 7, ROLE_TEXT, f->ops, text_count);
	put(s, row, COL_ALL_BYTES, 10, ROLE_TEXT, f->bytes, text_size);
	put(s, row, COL_BUSY, 5, ROLE_TEXT, f->in_flight, text_count);
	put(s, row, COL_FAILED, 6, f->failed ? ROLE_BAD : ROLE_TEXT, f->failed,
	    text_count);
}

static void draw_flows(struct sheet *s, const struct disks_view *dv, int disk)
{
	static const struct {
		int col, width;
		const char *text;
	} heads[] = {
		{COL_OPS, 18, "a second"},
		{COL_ALL, 18, "in all"},
		{COL_BUSY, 5, "busy"},
		{COL_FAILED, 6, "failed"},
	};
	int row = sheet_next_row(s);

	for (size_t i = 0; row >= 0 && i < sizeof(heads) / sizeof(*heads); i++)
		canvas_right(&s->ui->canvas, row, s->in.col + heads[i].col,
			     heads[i].width, ROLE_HEAD, heads[i].text);
	for (int k = 0; k < VM_DISK_NR_KINDS; k++)
		draw_flow(s, &dv->facts[disk].flow[k], &dv->history[disk][k],
			  dv->nr_history, names[k]);
}

static void draw_flushes(struct sheet *s, const struct vm_disk_facts *f)
{
	int row = sheet_next_row(s);

	if (row >= 0)
		canvas_printf(&s->ui->canvas, row, s->in.col, s->in.cols,
			      ROLE_DIM,
			      "Flushes of the host's: %llu; not needed: %llu; "
			      "not asked for by the guest: %llu",
			      (unsigned long long)f->host_flushes,
			      (unsigned long long)f->merged_flushes,
			      (unsigned long long)f->own_flushes);
}

/* ---- latency ---- */

enum { HIST_COL = 9, TALLEST = 5 };

/* The end of the bucket in which the request lies that `part` of a hundred
 * were no slower than. */
static uint64_t percentile(const struct vm_disk_flow *f, unsigned part)
{
	uint64_t all = 0, seen = 0;
	int i;

	for (i = 0; i < VM_DISK_BUCKETS; i++)
		all += f->latency[i];
	for (i = 0; i < VM_DISK_BUCKETS - 1; i++) {
		seen += f->latency[i];
		if (seen * 100 >= all * part)
			break;
	}
	return (uint64_t)1000 << i;
}

static void draw_numbers(struct sheet *s, const struct vm_disk_flow *f, int row,
			 int col)
{
	put(s, row, col, 9, ROLE_TEXT, percentile(f, 50), text_span);
	put(s, row, col + 9, 9, ROLE_TEXT, percentile(f, 99), text_span);
	put(s, row, col + 18, 9, ROLE_TEXT, f->max_ns, text_span);
}

/* Line `line` of `height`, the uppermost is 0, of the bars. */
static void draw_bars(struct sheet *s, const struct vm_disk_flow *f, int row,
		      int line, int height, int wide)
{
	struct canvas *c = &s->ui->canvas;
	uint64_t max = 1, full = (uint64_t)height * 8;

	for (int i = 0; i < VM_DISK_BUCKETS; i++)
		max = f->latency[i] > max ? f->latency[i] : max;
	for (int i = 0; i < VM_DISK_BUCKETS * wide; i++) {
		uint64_t n = f->latency[i / wide];
		uint64_t level =
			(uint64_t)((double)n / (double)max * (double)full);
		uint64_t below = (uint64_t)(height - 1 - line) * 8;

		if (n && !level)
			level = 1;
		if (level <= below)
			continue;
		level -= below;
		canvas_put(c, row, s->in.col + HIST_COL + i,
			   0x2580 + (uint32_t)(level > 8 ? 8 : level),
			   s->ui->theme.roles[ROLE_GRAPH]);
	}
}

static void draw_histogram(struct sheet *s, const struct vm_disk_flow *f,
			   const char *name, int height, int wide)
{
	for (int line = 0; line < height; line++) {
		int row = sheet_next_row(s);
		bool is_last = line == height - 1;

		if (row < 0)
			continue;
		if (is_last)
			canvas_text(&s->ui->canvas, row, s->in.col, HIST_COL,
				    ROLE_HEAD, name);
		if (!f->ops)
			continue;
		draw_bars(s, f, row, line, height, wide);
		if (is_last)
			draw_numbers(s, f, row,
				     HIST_COL + VM_DISK_BUCKETS * wide);
	}
}

static void draw_axis(struct sheet *s, int wide)
{
	static const struct {
		int bucket;
		const char *text;
	} marks[] = {{1, "1us"}, {11, "1ms"}, {21, "1s"}};
	static const char *const heads[] = {"half <", "99% <", "longest"};
	struct canvas *c = &s->ui->canvas;
	int row = sheet_next_row(s);

	if (row < 0)
		return;
	canvas_text(c, row, s->in.col, HIST_COL, ROLE_HEAD, "Latency");
	for (int i = 0; i < 3; i++) {
		canvas_text(c, row,
			    s->in.col + HIST_COL + marks[i].bucket * wide, 4,
			    ROLE_DIM, marks[i].text);
		canvas_right(c, row,
			     s->in.col + HIST_COL + VM_DISK_BUCKETS * wide +
				     9 * i,
			     9, ROLE_HEAD, heads[i]);
	}
}

/* The kinds that few guests use are there once they are. */
static int nr_histograms(const struct vm_disk_facts *f)
{
	int nr = VM_DISK_DISCARD;

	for (int k = VM_DISK_DISCARD; k < VM_DISK_NR_KINDS; k++)
		nr += f->flow[k].ops != 0;
	return nr;
}

/* Bars as high and wide as there is room. */
static void draw_latencies(struct sheet *s, const struct vm_disk_facts *f)
{
	int wide = s->in.cols >= HIST_COL + 2 * VM_DISK_BUCKETS + 27 ? 2 : 1;
	int height = (s->in.rows - s->row - 1) / nr_histograms(f);

	height = height < 1 ? 1 : height > TALLEST ? TALLEST : height;
	draw_axis(s, wide);
	for (int k = 0; k < VM_DISK_NR_KINDS; k++)
		if (k < VM_DISK_DISCARD || f->flow[k].ops)
			draw_histogram(s, &f->flow[k], names[k], height, wide);
}

void disks_draw_rates(struct ui *ui, struct view *v, struct rect r)
{
	struct disks_view *dv = v->data;
	struct list *l = &v->panels[DISKS_RATES];
	const struct vm_disk_facts *f;
	struct sheet s = {.ui = ui};
	int disk;

	if (!r.rows || !disks_chosen(ui, &disk))
		return;
	f = &dv->facts[disk];
	s.in = disks_panel(ui, v, DISKS_RATES, r);
	/* Two lines of heads, one of flushes, and a row a kind at least. */
	disks_scroll(l, s.in, 3 + VM_DISK_NR_KINDS + nr_histograms(f));
	s.top = l->top;
	draw_flows(&s, dv, disk);
	draw_flushes(&s, f);
	draw_latencies(&s, f);
}
