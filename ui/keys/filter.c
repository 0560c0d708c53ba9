/* The filter: rows of the shown lists that hold a text, as it is typed. */
#include <stdio.h>

#include "ui/keys/layer.h"
#include "ui/screen/ui.h"

static void draw(struct ui *ui)
{
	line_draw(ui, "/", &ui->layer.line);
}

static unsigned key(struct ui *ui, const struct key *k)
{
	struct view *v = ui_view(ui);

	if (k->code == K_ESC) {
		v->filter[0] = '\0';
		layer_close(ui);
		return EFFECT_DRAW;
	}
	if (k->code == K_ENTER) {
		layer_close(ui);
		return EFFECT_DRAW;
	}
	if (line_key(&ui->layer.line, k))
		snprintf(v->filter, sizeof(v->filter), "%.63s",
			 ui->layer.line.text);
	return EFFECT_DRAW;
}

const struct layer layer_filter = {
	.name = "filter",
	.hints = "type to narrow  Enter keep  Esc show all",
	.draw = draw,
	.key = key,
};
