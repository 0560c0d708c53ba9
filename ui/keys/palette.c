/* The palette: actions by name, with completion and a short memory. */
#include <stdio.h>
#include <string.h>

#include "ui/keys/layer.h"
#include "ui/screen/ui.h"

/* What could follow so far, and the longest start they share. */
struct gather {
	const char *start;
	size_t start_len;
	char common[128];
	char *candidates;
	size_t room;
	int count;
};

static void offer(const char *word, void *arg)
{
	struct gather *g = arg;
	size_t used = strlen(g->candidates), n = 0;

	if (strncmp(word, g->start, g->start_len) != 0)
		return;
	if (g->count++ == 0) {
		snprintf(g->common, sizeof(g->common), "%s", word);
	} else {
		while (g->common[n] && g->common[n] == word[n])
			n++;
		g->common[n] = '\0';
	}
	if (used + strlen(word) + 3 < g->room)
		sprintf(g->candidates + used, "%s%s", used ? "  " : "", word);
}

static void offer_names(struct ui *ui, struct gather *g)
{
	const struct screen *s = ui_current(ui);
	const struct action *a;

	for (int i = 0; (a = action_at(s, i)) != NULL; i++)
		offer(a->name, g);
	for (int n = 0; (s = ui_screen(n)) != NULL; n++)
		for (int i = 0; s != ui_current(ui) && i < s->nr_actions; i++)
			if (!strstr(g->candidates, s->actions[i].name))
				offer(s->actions[i].name, g);
}

static void offer_args(struct ui *ui, const char *name, struct gather *g)
{
	const struct action *a = action_by_name(ui_current(ui), name);
	struct machine *m;

	if (a && a->arg == ARG_THEME)
		theme_each(ui->share, offer, g);
	for (unsigned i = 0; a && a->arg == ARG_MACHINE; i++) {
		m = fleet_at(ui->fleet, i);
		if (!m)
			break;
		offer(m->id, g);
	}
}

void palette_complete(struct ui *ui, struct line *line, char *candidates,
		      size_t len)
{
	struct gather g = {.candidates = candidates, .room = len};
	char *space = strchr(line->text, ' ');
	char name[64], text[256];

	candidates[0] = '\0';
	g.start = space ? space + 1 : line->text;
	g.start_len = strlen(g.start);
	snprintf(name, sizeof(name), "%.*s",
		 (int)(space ? space - line->text : 0), line->text);
	if (space)
		offer_args(ui, name, &g);
	else
		offer_names(ui, &g);
	if (!g.count)
		return;
	snprintf(text, sizeof(text), "%s%s%.127s%s", name, space ? " " : "",
		 g.common, g.count == 1 && !space ? " " : "");
	line_set(line, text);
	if (g.count == 1)
		candidates[0] = '\0';
}

static void remember(struct layer_state *s)
{
	if (s->nr_history &&
	    !strcmp(s->history[s->nr_history - 1], s->line.text))
		return;
	if (s->nr_history == LAYER_HISTORY) {
		memmove(s->history[0], s->history[1],
			sizeof(s->history) - sizeof(s->history[0]));
		s->nr_history--;
	}
	strcpy(s->history[s->nr_history++], s->line.text);
}

/* Like ui_command, but a person at the keys is asked. */
static unsigned run(struct ui *ui)
{
	char line[256], *arg;
	const struct action *a;

	snprintf(line, sizeof(line), "%s", ui->layer.line.text);
	layer_close(ui);
	for (size_t n = strlen(line); n && line[n - 1] == ' '; n--)
		line[n - 1] = '\0';
	if (!line[0])
		return EFFECT_DRAW;
	remember(&ui->layer);
	arg = strchr(line, ' ');
	if (arg)
		*arg++ = '\0';
	a = action_by_name(ui_current(ui), line);
	if (a && (a->ask || a->prompt))
		return action_invoke(ui, a, arg);
	return ui_command(ui, ui->layer.line.text);
}

static void recall(struct layer_state *s, int by)
{
	int i = s->recall + by;

	if (i < 0 || i > s->nr_history)
		return;
	s->recall = i;
	line_set(&s->line, i < s->nr_history ? s->history[i] : "");
}

static void draw(struct ui *ui)
{
	struct canvas *c = &ui->canvas;
	struct layer_state *s = &ui->layer;
	const struct action *a;
	char name[64];
	int row = c->rows - 3;

	line_draw(ui, ":", &s->line);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(s->line.text, " "),
		 s->line.text);
	a = action_by_name(ui_current(ui), name);
	if (!s->candidates[0] && !a)
		return;
	canvas_fill(c, (struct rect){row, 0, 1, c->cols}, ROLE_BAR);
	canvas_text(c, row, 1, c->cols - 2, ROLE_BAR,
		    s->candidates[0] ? s->candidates : a->help);
}

static unsigned key(struct ui *ui, const struct key *k)
{
	struct layer_state *s = &ui->layer;

	switch (k->code) {
	case K_ESC:
		layer_close(ui);
		return EFFECT_DRAW;
	case K_ENTER:
		return run(ui);
	case K_TAB:
		palette_complete(ui, &s->line, s->candidates,
				 sizeof(s->candidates));
		return EFFECT_DRAW;
	case K_UP:
		recall(s, -1);
		return EFFECT_DRAW;
	case K_DOWN:
		recall(s, 1);
		return EFFECT_DRAW;
	case K_BACKSPACE:
		if (!s->line.len)
			layer_close(ui);
		break;
	}
	s->candidates[0] = '\0';
	line_key(&s->line, k);
	return EFFECT_DRAW;
}

const struct layer layer_palette = {
	.name = "palette",
	.hints = "Tab complete  Enter run  Up earlier  Esc close",
	.draw = draw,
	.key = key,
};
