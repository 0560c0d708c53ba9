/*
 * Disks, state: what was asked for beside what is so, marked where they
 * differ; what no flush covers; what survives which accident.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/vm_power.h"
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
		canvas_text(c, row, s->in.col - 1, 1, ROLE_BAD, "!");
	canvas_text(c, row, s->in.col, COL_ASKED - 1, ROLE_HEAD, name);
	canvas_text(c, row, s->in.col + COL_ASKED, COL_SO - COL_ASKED - 1,
		    ROLE_TEXT, asked);
	canvas_text(c, row, s->in.col + COL_SO, s->in.cols - COL_SO, role, so);
}

/* A sentence, over several rows when it must be. */
static void line(struct sheet *s, enum role role, const char *name,
		 const char *text)
{
	struct canvas *c = &s->ui->canvas;
	int width = s->in.cols - COL_ASKED;
	bool is_first = true;

	do {
		size_t n = text_wrap(text, width);
		int row = sheet_next_row(s);

		if (row >= 0) {
			if (role == ROLE_BAD && is_first)
				canvas_text(c, row, s->in.col - 1, 1, ROLE_BAD,
					    "!");
			canvas_text(c, row, s->in.col, COL_ASKED - 1, ROLE_HEAD,
				    is_first ? name : "");
			canvas_printf(c, row, s->in.col + COL_ASKED, width,
				      role, "%.*s", (int)n, text);
		}
		text += n + strspn(text + n, " ");
		is_first = false;
	} while (*text);
}

/* ---- the table ---- */

static const char *on_off(bool is_on)
{
	return is_on ? "on" : "off";
}

/* As fcntl tells: "O_RDWR O_DIRECT". */
static void name_flags(int flags, char *buf, size_t len)
{
	static const struct {
		int mask;
		const char *name;
	} extra[] = {
		{O_DIRECT, " O_DIRECT"},
		{O_SYNC, " O_SYNC"},
		{O_DSYNC, " O_DSYNC"},
		{O_APPEND, " O_APPEND"},
	};
	int access = flags & O_ACCMODE;
	size_t used = (size_t)snprintf(buf, len, "%s",
				       access == O_RDONLY ? "O_RDONLY"
				       : access == O_RDWR ? "O_RDWR"
							  : "O_WRONLY");

	for (size_t i = 0; i < sizeof(extra) / sizeof(*extra); i++) {
		if ((flags & extra[i].mask) != extra[i].mask || used >= len)
			continue;
		used += (size_t)snprintf(buf + used, len - used, "%s",
					 extra[i].name);
		flags &= ~extra[i].mask;
	}
}

static void opened(struct sheet *s, const struct vm_disk_facts *f)
{
	char asked[64], so[64] = "not looked at yet";

	name_flags((f->readonly ? O_RDONLY : O_RDWR) |
			   (f->wanted.direct ? O_DIRECT : 0),
		   asked, sizeof(asked));
	if (!f->nr_files) {
		line(s, ROLE_DIM, "Opened", f->has_medium ? so : "no medium");
		return;
	}
	if (f->files[0].flags < 0) {
		line(s, ROLE_TEXT, "Opened", "elsewhere: it is no host file");
		return;
	}
	/* Where the program itself looks: the flag of the open file. */
	name_flags(f->files[0].flags, so, sizeof(so));
	pair(s, "Opened", asked, so);
}

static void table(struct sheet *s, const struct vm_disk_facts *f)
{
	struct canvas *c = &s->ui->canvas;
	int row = sheet_next_row(s);

	if (row >= 0) {
		canvas_text(c, row, s->in.col + COL_ASKED, 24, ROLE_HEAD,
			    "Asked for");
		canvas_text(c, row, s->in.col + COL_SO, 24, ROLE_HEAD,
			    "In effect");
	}
	pair(s, "Cache", f->wanted.cache,
	     f->now.cache[0] ? f->now.cache : "none of the presets");
	pair(s, "Host cache", on_off(!f->wanted.direct),
	     on_off(!f->now.direct));
	if (!f->readonly)
		pair(s, "Write cache", on_off(f->wanted.wce),
		     f->wce_forced_off ? "off, by a person"
				       : on_off(f->now.wce));
	pair(s, "AIO", f->wanted.aio, f->now.aio);
	opened(s, f);
	for (unsigned i = 0; i < f->nr_differs; i++)
		line(s, ROLE_BAD, "", f->differs[i]);
}

/* ---- what may be lost ---- */

static void survival(struct sheet *s, const struct vm_disk_facts *f)
{
	char text[160];

	for (int i = 0; i < 4 && !f->readonly && f->after[i].event; i++) {
		snprintf(text, sizeof(text), "%s: %s", f->after[i].event,
			 f->after[i].text);
		line(s, f->after[i].bad ? ROLE_BAD : ROLE_TEXT,
		     i ? "" : "After a", text);
	}
}

static void unflushed_text(const struct vm_disk_facts *f, char *buf, size_t len)
{
	char size[32], age[32], last[32];

	text_size(f->unflushed_bytes, size, sizeof(size));
	text_span(f->unflushed_age_ns, age, sizeof(age));
	text_span(f->last_flush_age_ns, last, sizeof(last));
	if (f->never_flushes)
		snprintf(buf, len,
			 "the guest never flushes; %s in %llu writes, over %s",
			 size, (unsigned long long)f->unflushed_writes, age);
	else if (f->unflushed_writes)
		snprintf(buf, len, "%s in %llu writes, the oldest %s ago", size,
			 (unsigned long long)f->unflushed_writes, age);
	else
		snprintf(buf, len, "nothing%s%s%s",
			 f->last_flush_age_ns ? "; the guest flushed " : "",
			 f->last_flush_age_ns ? last : "",
			 f->last_flush_age_ns ? " ago" : "");
}

/* How near the oldest write is to being flushed without the guest, or its
 * guest to being named. */
static void gauge(struct sheet *s, const struct vm_disk_facts *f)
{
	uint64_t limit = f->max_unflushed_age_ns ? f->max_unflushed_age_ns
						 : f->never_flush_after_ns;
	uint64_t age =
		f->unflushed_age_ns < limit ? f->unflushed_age_ns : limit;
	struct canvas *c = &s->ui->canvas;
	char span[32];
	int row;

	if (!limit || !f->unflushed_writes)
		return;
	row = sheet_next_row(s);
	if (row < 0)
		return;
	text_span(limit, span, sizeof(span));
	canvas_bar(c, row, s->in.col + COL_ASKED, 24,
		   age == limit ? ROLE_BAD : ROLE_WARN, age, limit);
	canvas_printf(c, row, s->in.col + COL_SO, s->in.cols - COL_SO, ROLE_DIM,
		      f->max_unflushed_age_ns ? "flushed by itself after %s"
					      : "of %s, then it is named",
		      span);
}

static void stability(struct sheet *s, const struct vm_disk_facts *f)
{
	char text[160];

	if (f->readonly)
		return;
	unflushed_text(f, text, sizeof(text));
	line(s,
	     f->never_flushes	   ? ROLE_BAD
	     : f->unflushed_writes ? ROLE_WARN
				   : ROLE_TEXT,
	     "Unflushed", text);
	gauge(s, f);
	if (f->sync_failed)
		line(s, ROLE_BAD, "Failed",
		     "the host could not make data stable: every flush fails "
		     "from now on");
}

/* ---- when the host fails ---- */

static void waiting(struct sheet *s, const struct vm_disk_facts *f)
{
	char text[224];

	if (!f->kept)
		return;
	snprintf(text, sizeof(text), "%u request%s; %s", f->kept,
		 f->kept == 1 ? "" : "s", f->kept_why);
	line(s, ROLE_BAD, "Waits", text);
}

static void on_error(struct sheet *s, const struct vm_disk_facts *f)
{
	bool ignores = !strcmp(f->rerror, "ignore");
	char text[160];

	if (!f->readonly)
		ignores |= !strcmp(f->werror, "ignore");
	if (f->readonly)
		snprintf(text, sizeof(text), "reads: %s", f->rerror);
	else
		snprintf(text, sizeof(text), "writes: %s, reads: %s", f->werror,
			 f->rerror);
	line(s, ignores ? ROLE_BAD : ROLE_TEXT, "On an error", text);
	if (f->ignored) {
		snprintf(text, sizeof(text),
			 "%llu failed and the guest does not know: data is "
			 "lost",
			 (unsigned long long)f->ignored);
		line(s, ROLE_BAD, "", text);
	}
}

static void page_cache(struct sheet *s, const struct vm_disk_facts *f)
{
	char text[160], held[32],
		dirty[48] = "how much of it is dirty is not "
			    "known";

	text_size(f->cached, held, sizeof(held));
	if (f->dirty_known) {
		char size[32];

		text_size(f->dirty, size, sizeof(size));
		snprintf(dirty, sizeof(dirty), "%s of it dirty", size);
	}
	if (f->cache_known)
		snprintf(text, sizeof(text), "%s held, %s (%s)", held, dirty,
			 f->cache_source);
	else
		snprintf(text, sizeof(text), "not known");
	line(s, ROLE_TEXT, "Page cache", text);
}

/* ---- the driver, and the rest ---- */

static void driver(struct sheet *s, const struct vm_disk_facts *f)
{
	const struct disk_driver *d = &f->driver;
	char text[256];

	snprintf(text, sizeof(text), "%s: %s",
		 f->device[0] ? f->device : "unknown device",
		 !f->driver_known ? "does not tell"
		 : !d->started	  ? "no driver in the guest yet"
		 : d->text[0]	  ? d->text
		 : !d->flush	  ? "the driver can't flush"
		 : d->wce_control ? "the driver flushes, and may change WCE"
				  : "the driver flushes");
	line(s, ROLE_TEXT, "Driver", text);
	if (!f->driver_known)
		return;
	if (d->started)
		line(s, ROLE_TEXT, "Accepted",
		     d->accepted[0] ? d->accepted : "nothing");
	if (d->offered[0])
		line(s, ROLE_DIM, "Offered", d->offered);
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

/* What the last power cut took from this disk. */
static void last_cut(struct sheet *s, const struct vm_disk_row *d)
{
	struct vm_power_cut cut;
	char text[224];

	vm_power_cut_copy(ui_vm(s->ui), &cut);
	for (unsigned i = 0; cut.nr && i < cut.nr_disks; i++) {
		const struct vm_cut_row *it = &cut.disks[i];

		if (strcmp(it->name, d->name) != 0)
			continue;
		snprintf(text, sizeof(text), "number %u, %s: %s", cut.nr,
			 cut.mode, it->verdict);
		line(s, it->is_broken ? ROLE_BAD : ROLE_TEXT, "Power cut",
		     text);
	}
}

static void throttle(struct sheet *s, const struct vm_disk_facts *f)
{
	char text[224];

	if (!f->throttle[0])
		return;
	snprintf(text, sizeof(text), "%s; %u requests wait", f->throttle,
		 f->throttled);
	line(s, ROLE_TEXT, "Throttle", text);
}

static void snapshots(struct sheet *s, const struct vm_disk_facts *f)
{
	char text[160];

	for (unsigned i = 0; i < f->nr_snapshots; i++) {
		const struct vm_disk_snapshot *it = &f->snapshots[i];

		snprintf(text, sizeof(text), "%s (%s)", it->name, it->id);
		line(s, ROLE_TEXT, i ? "" : "Snapshots", text);
	}
	if (f->all_snapshots > f->nr_snapshots) {
		snprintf(text, sizeof(text), "and %u more",
			 f->all_snapshots - f->nr_snapshots);
		line(s, ROLE_DIM, "", text);
	}
}

static void files(struct sheet *s, const struct vm_disk_row *d,
		  const struct vm_disk_facts *f)
{
	char text[VM_PATH_LEN + 96], size[32], flags[64];

	text_size(f->len, size, sizeof(size));
	snprintf(text, sizeof(text), "%s, %s%s%s", d->path, size,
		 f->readonly ? ", read-only" : "",
		 f->scratch ? ", scratch: ends with the machine" : "");
	line(s, ROLE_TEXT, "Image", d->has_medium ? text : "no medium");
	for (unsigned i = 0; i < f->nr_files; i++) {
		if (f->files[i].flags < 0)
			snprintf(flags, sizeof(flags), "no host file");
		else
			name_flags(f->files[i].flags, flags, sizeof(flags));
		text_size(f->files[i].cached, size, sizeof(size));
		snprintf(text, sizeof(text), "%s: %s, %s in the page cache",
			 f->files[i].path, flags,
			 f->files[i].cache_known ? size : "?");
		line(s, ROLE_DIM, i ? "" : "Files", text);
	}
	if (f->all_files > f->nr_files) {
		snprintf(text, sizeof(text), "and %u more",
			 f->all_files - f->nr_files);
		line(s, ROLE_DIM, "", text);
	}
}

static void all(struct sheet *s, const struct vm_disk_row *d,
		const struct vm_disk_facts *f)
{
	waiting(s, f);
	table(s, f);
	stability(s, f);
	page_cache(s, f);
	survival(s, f);
	on_error(s, f);
	last_cut(s, d);
	driver(s, f);
	job(s, d);
	throttle(s, f);
	snapshots(s, f);
	files(s, d, f);
}

void disks_draw_state(struct ui *ui, struct view *v, struct rect r)
{
	struct disks_view *dv = v->data;
	struct list *l = &v->panels[DISKS_STATE];
	struct sheet s = {.ui = ui};
	struct rect in;
	int disk;

	if (!r.rows || !disks_chosen(ui, &disk))
		return;
	in = disks_panel(ui, v, DISKS_STATE, r);
	/* Without rows: only to count. */
	s.in = (struct rect){in.row, in.col, 0, in.cols};
	all(&s, &dv->rows[disk], &dv->facts[disk]);
	disks_scroll(l, in, s.row);
	s = (struct sheet){.ui = ui, .in = in, .top = l->top};
	all(&s, &dv->rows[disk], &dv->facts[disk]);
}
