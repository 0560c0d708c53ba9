/* The prompt: an action's argument, with a first answer to change. */
#include <stdio.h>
#include <string.h>

#include "ui/keys/layer.h"
#include "ui/screen/ui.h"

void prompt_open(struct ui *ui, const struct action *a, const char *label,
		 const char *answer)
{
	struct layer_state *s = &ui->layer;

	layer_open(ui, &layer_prompt);
	s->action = a;
	snprintf(s->question, sizeof(s->question), "%s", label);
	line_set(&s->line, answer);
}

static void draw(struct ui *ui)
{
	char label[sizeof(ui->layer.question) + 2];

	snprintf(label, sizeof(label), "%s ", ui->layer.question);
	line_draw(ui, label, &ui->layer.line);
}

static unsigned key(struct ui *ui, const struct key *k)
{
	const struct action *a = ui->layer.action;
	char arg[sizeof(ui->layer.line.text)];

	switch (k->code) {
	case K_ESC:
		layer_close(ui);
		ui_say(ui, false, "nothing was done");
		return EFFECT_DRAW;
	case K_ENTER:
		memcpy(arg, ui->layer.line.text, sizeof(arg));
		layer_close(ui);
		return action_invoke(ui, a, arg);
	default:
		line_key(&ui->layer.line, k);
		return EFFECT_DRAW;
	}
}

const struct layer layer_prompt = {
	.name = "prompt",
	.hints = "Enter do it  Ctrl-U empty  Esc leave it",
	.draw = draw,
	.key = key,
};
