/* Log: what the session and its machines had to say, newest last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <time.h>

#include "core/log.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

#define LOG_KEEP 4096

struct log_view {
	struct log_entry entries[LOG_KEEP]; /* a ring */
	size_t first, nr;
	uint64_t seq;
	enum log_level least;
	int *shown; /* positions of rows that match */
	bool away;  /* not at the end: new entries do not scroll */
};

static void take_new(struct ui *ui, struct log_view *lv)
{
	struct log_entry batch[32];
	size_t n;

	do {
		n = log_copy(ui->log, lv->seq, batch, 32);
		for (size_t i = 0; i < n; i++) {
			if (lv->nr == LOG_KEEP)
				lv->first = (lv->first + 1) % LOG_KEEP;
			else
				lv->nr++;
			lv->entries[(lv->first + lv->nr - 1) % LOG_KEEP] =
				batch[i];
			lv->seq = batch[i].seq;
		}
	} while (n == 32);
}

static const struct log_entry *entry(const struct log_view *lv, int i)
{
	return &lv->entries[(lv->first + (size_t)i) % LOG_KEEP];
}

static int select_rows(const struct view *v, struct log_view *lv)
{
	const struct log_entry *en;
	int nr = 0;

	for (int i = 0; i < (int)lv->nr; i++) {
		en = entry(lv, i);
		if (en->level >= lv->least && (text_has(en->text, v->filter) ||
					       text_has(en->source, v->filter)))
			lv->shown[nr++] = i;
	}
	return nr;
}

static void draw_row(struct ui *ui, const struct log_entry *en, int row,
		     struct rect in)
{
	static const struct {
		const char *name;
		enum role role;
	} levels[] = {
		[LOG_LEVEL_DEBUG] = {"debug", ROLE_DIM},
		[LOG_LEVEL_INFO] = {"info", ROLE_GOOD},
		[LOG_LEVEL_WARN] = {"warn", ROLE_WARN},
		[LOG_LEVEL_ERROR] = {"error", ROLE_BAD},
	};
	struct canvas *c = &ui->canvas;
	time_t when = (time_t)(en->time_ns / 1000000000);
	int level = en->level, col = in.col;
	struct tm tm;
	char text[32];

	localtime_r(&when, &tm);
	strftime(text, sizeof(text), "%H:%M:%S", &tm);
	canvas_text(c, row, col, 8, ROLE_DIM, text);
	col += 9;
	canvas_text(c, row, col, 5, levels[level].role, levels[level].name);
	col += 6;
	canvas_text(c, row, col, 13, ROLE_HEAD, en->source);
	col += 14;
	canvas_text(c, row, col, in.col + in.cols - col,
		    level >= LOG_LEVEL_WARN ? levels[level].role : ROLE_TEXT,
		    en->text);
}

/* The chosen entry, or the newest, in full. */
static void draw_entry(struct ui *ui, const struct log_entry *en, struct rect r)
{
	const char *text = en->text;
	char piece[sizeof(en->text)];
	struct rect in = canvas_frame(&ui->canvas, r, en->source, false);
	size_t n;

	for (int row = 0; row < in.rows && *text; row++) {
		n = text_wrap(text, in.cols - 2);
		snprintf(piece, sizeof(piece), "%.*s", (int)n, text);
		canvas_text(&ui->canvas, in.row + row, in.col + 1, in.cols - 2,
			    ROLE_TEXT, piece);
		text += n;
		text += *text == ' ';
	}
}

static void draw_list(struct ui *ui, struct view *v, struct rect r, int nr)
{
	static const char *const titles[] = {"Log: everything", "Log",
					     "Log: warnings and errors",
					     "Log: errors"};
	struct log_view *lv = v->data;
	struct list *l = &v->panels[0];
	struct rect in;

	in = canvas_frame(&ui->canvas, r, titles[lv->least], true);
	in.col++;
	in.cols -= 2;
	if (!lv->away)
		l->sel = nr - 1;
	list_place(l, nr, in);
	if (!nr)
		ui_empty(ui, in, "nothing to tell yet");
	for (int i = 0; i < in.rows && l->top + i < nr; i++) {
		draw_row(ui, entry(lv, lv->shown[l->top + i]), in.row + i, in);
		if (lv->away && l->top + i == l->sel)
			canvas_tint(&ui->canvas, in.row + i, in.col - 1,
				    in.cols + 2, ROLE_SELECT);
	}
}

static void draw(struct ui *ui, struct view *v, struct rect r)
{
	struct log_view *lv = v->data;
	struct rect below = {r.row + r.rows - 5, r.col, 5, r.cols};
	int nr;

	take_new(ui, lv);
	nr = select_rows(v, lv);
	if (v->zoom || r.rows < 14) {
		draw_list(ui, v, r, nr);
		return;
	}
	r.rows -= below.rows;
	draw_list(ui, v, r, nr);
	if (nr)
		draw_entry(ui, entry(lv, lv->shown[v->panels[0].sel]), below);
}

static void moved(struct ui *ui, struct view *v)
{
	struct log_view *lv = v->data;

	(void)ui;
	lv->away = v->panels[0].sel < v->panels[0].nr - 1;
}

static unsigned run_level(struct ui *ui, const char *arg)
{
	struct log_view *lv = ui->views[SCREEN_LOG].data;

	(void)arg;
	lv->least =
		lv->least == LOG_LEVEL_ERROR ? LOG_LEVEL_DEBUG : lv->least + 1;
	return EFFECT_DRAW;
}

static unsigned run_follow(struct ui *ui, const char *arg)
{
	struct log_view *lv = ui->views[SCREEN_LOG].data;

	(void)arg;
	lv->away = !lv->away;
	return EFFECT_DRAW;
}

static const struct action actions[] = {
	{.name = "follow",
	 .keys = "f",
	 .hint = "follow",
	 .help = "stay at the newest entry, or stop there",
	 .run = run_follow},
	{.name = "level",
	 .keys = "w",
	 .hint = "level",
	 .help = "from which level on entries are shown",
	 .run = run_level},
};

static int create(struct ui *ui, struct view *v)
{
	struct log_view *lv = calloc(1, sizeof(*lv));

	(void)ui;
	if (!lv)
		return -ENOMEM;
	v->data = lv;
	v->nr_panels = 1;
	lv->least = LOG_LEVEL_INFO;
	lv->shown = calloc(LOG_KEEP, sizeof(*lv->shown));
	return lv->shown ? 0 : -ENOMEM;
}

static void destroy(struct ui *ui, struct view *v)
{
	struct log_view *lv = v->data;

	(void)ui;
	if (lv)
		free(lv->shown);
	free(lv);
	v->data = NULL;
}

const struct screen screen_log = {
	.name = "log",
	.title = "Log",
	.actions = actions,
	.nr_actions = sizeof(actions) / sizeof(actions[0]),
	.create = create,
	.destroy = destroy,
	.draw = draw,
	.moved = moved,
};
