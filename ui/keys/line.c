/* A line of text being edited, and opening and closing layers. */
#include <string.h>

#include "ui/keys/layer.h"
#include "ui/screen/ui.h"

void layer_open(struct ui *ui, const struct layer *layer)
{
	struct layer_state *s = &ui->layer;

	s->open = layer;
	s->sel = s->top = 0;
	s->candidates[0] = '\0';
	s->recall = s->nr_history;
	line_set(&s->line, "");
}

void layer_close(struct ui *ui)
{
	ui->layer.open = NULL;
}

void line_set(struct line *line, const char *text)
{
	size_t len = strlen(text);

	if (len > sizeof(line->text) - 1)
		len = sizeof(line->text) - 1;
	memcpy(line->text, text, len);
	line->text[len] = '\0';
	line->len = line->at = len;
}

static size_t left_of(const struct line *line, size_t at)
{
	if (at)
		at--;
	while (at && (line->text[at] & 0xc0) == 0x80)
		at--;
	return at;
}

static size_t right_of(const struct line *line, size_t at)
{
	if (at < line->len)
		at++;
	while (at < line->len && (line->text[at] & 0xc0) == 0x80)
		at++;
	return at;
}

static void cut(struct line *line, size_t from, size_t to)
{
	memmove(line->text + from, line->text + to, line->len - to + 1);
	line->len -= to - from;
	line->at = from;
}

static void insert(struct line *line, uint32_t ch)
{
	char utf8[8];
	size_t n = (size_t)text_encode(ch, utf8);

	if (line->len + n >= sizeof(line->text))
		return;
	memmove(line->text + line->at + n, line->text + line->at,
		line->len - line->at + 1);
	memcpy(line->text + line->at, utf8, n);
	line->len += n;
	line->at += n;
}

static size_t word_start(const struct line *line)
{
	size_t at = line->at;

	while (at && line->text[at - 1] == ' ')
		at--;
	while (at && line->text[at - 1] != ' ')
		at--;
	return at;
}

static bool control_key(struct line *line, uint32_t code)
{
	switch (code) {
	case 'a':
		line->at = 0;
		return true;
	case 'e':
		line->at = line->len;
		return true;
	case 'u':
		cut(line, 0, line->at);
		return true;
	case 'w':
		cut(line, word_start(line), line->at);
		return true;
	default:
		return false;
	}
}

bool line_key(struct line *line, const struct key *k)
{
	if (key_is_text(k)) {
		insert(line, k->code);
		return true;
	}
	if (k->mods & MOD_CTRL)
		return control_key(line, k->code);
	switch (k->code) {
	case K_BACKSPACE:
		cut(line, left_of(line, line->at), line->at);
		return true;
	case K_DELETE:
		cut(line, line->at, right_of(line, line->at));
		return true;
	case K_LEFT:
		line->at = left_of(line, line->at);
		return true;
	case K_RIGHT:
		line->at = right_of(line, line->at);
		return true;
	case K_HOME:
		line->at = 0;
		return true;
	case K_END:
		line->at = line->len;
		return true;
	default:
		return false;
	}
}

void line_draw(struct ui *ui, const char *prompt, const struct line *line)
{
	struct canvas *c = &ui->canvas;
	const char *text = line->text;
	int row = c->rows - 2, col, at;
	char before[256];

	canvas_fill(c, (struct rect){row, 0, 1, c->cols}, ROLE_TEXT);
	col = 1 + canvas_text(c, row, 1, c->cols * 2 / 3, ROLE_KEY, prompt);
	memcpy(before, line->text, line->at);
	before[line->at] = '\0';
	at = text_width(before);
	/* What is left of the cursor gives way. */
	for (; at > c->cols - col - 2; at--)
		text_next(&text);
	canvas_text(c, row, col, c->cols - col - 1, ROLE_STRONG, text);
	c->cursor_row = row;
	c->cursor_col = col + at;
}
