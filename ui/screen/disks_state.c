/*
 * Disks, state: what was asked for beside what is so, marked where they
 * differ; what survives which accident; the job at work.
 */
#include <stdio.h>
#include <string.h>

#include "ui/screen/disks_parts.h"
#include "ui/screen/screens.h"

enum { COL_ASKED = 13, COL_SO = 38 };

/* A row of the table; so: what is in effect. */
static void pair(struct sheet *s, const char *name, const char *asked,
		 const char *so)
{
	struct canvas *c = &s->ui->canvas;
	bool differs = strcmp(asked, so) != 0;
	enum role role = differs ? ROLE_BAD : ROLE_TEXT;
	int row = sheet_next_row(s);

	if (row < 0)
		return;
	/* Not by colour alone. */
	if (differs)
		canvas_text(c, row, s->in.col - 2, 1, ROLE_BAD, "!");
	canvas_text(c, row, s->in.col, COL_ASKED - 1, ROLE_HEAD, name);
	canvas_text(c, row, s->in.col + COL_ASKED, COL_SO - COL_ASKED - 1,
		    ROLE_TEXT, asked);
	canvas_text(c, row, s->in.col + COL_SO, s->in.cols - COL_SO, role, so);
}

static void line(struct sheet *s, enum role role, const char *name,
		 const char *text)
{
	struct canvas *c = &s->ui->canvas;
	int row = sheet_next_row(s);

	if (row < 0)
		return;
	if (role == ROLE_BAD)
		canvas_text(c, row, s->in.col - 2, 1, ROLE_BAD, "!");
	canvas_text(c, row, s->in.col, COL_ASKED - 1, ROLE_HEAD, name);
	canvas_text(c, row, s->in.col + COL_ASKED, s->in.cols - COL_ASKED, role,
		    text);
}

static void table(struct sheet *s, const struct vm_disk_row *d)
{
	struct canvas *c = &s->ui->canvas;
	int row = sheet_next_row(s);

	if (row >= 0) {
		canvas_text(c, row, s->in.col + COL_ASKED, 24, ROLE_HEAD,
			    "Asked for");
		canvas_text(c, row, s->in.col + COL_SO, 24, ROLE_HEAD,
			    "In effect");
	}
	pair(s, "Cache", d->cache, d->cache);
	pair(s, "AIO", d->aio, d->aio);
}

static void survival(struct sheet *s, const struct vm_disk_row *d)
{
	char text[160];

	for (int i = 0; i < 4 && !d->readonly && d->after[i].event; i++) {
		snprintf(text, sizeof(text), "%s: %s", d->after[i].event,
			 d->after[i].text);
		line(s, d->after[i].bad ? ROLE_BAD : ROLE_TEXT,
		     i ? "" : "After a", text);
	}
}

static void job(struct sheet *s, const struct vm_disk_row *d)
{
	char text[160], done[32], total[32], rate[32];

	if (!*d->job)
		return;
	text_size(d->job_done, done, sizeof(done));
	text_size(d->job_total, total, sizeof(total));
	text_size(d->job_rate, rate, sizeof(rate));
	snprintf(text, sizeof(text), "%s, %s: %s of %s, %s a second", d->job,
		 d->job_state, done, total, rate);
	line(s, strcmp(d->job_state, "failed") ? ROLE_TEXT : ROLE_BAD, "Job",
	     text);
	if (*d->job_text)
		line(s, ROLE_TEXT, "", d->job_text);
}

static void facts(struct sheet *s, const struct vm_disk_row *d)
{
	char text[VM_PATH_LEN + 64], size[32];

	table(s, d);
	survival(s, d);
	job(s, d);
	text_size(d->len, size, sizeof(size));
	snprintf(text, sizeof(text), "%s, %s%s", d->path, size,
		 d->readonly ? ", read-only" : "");
	line(s, ROLE_TEXT, "Image", d->has_medium ? text : "no medium");
}

void disks_draw_state(struct ui *ui, struct view *v, struct rect r)
{
	const struct vm_disk_row *d = disks_chosen(ui, NULL);
	struct list *l = &v->panels[DISKS_STATE];
	struct sheet s = {.ui = ui, .top = l->top};

	if (!r.rows)
		return;
	s.in = disks_panel(ui, v, DISKS_STATE, r);
	if (d)
		facts(&s, d);
	/* The panel has no chosen row: moving scrolls. */
	l->top = l->sel;
	l->at = s.in;
	list_fit(l, s.row > s.in.rows ? s.row - s.in.rows + 1 : 1, 1);
}
