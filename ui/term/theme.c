/* Themes: two built in as text, the rest from JSON files; one parser. */
#include "ui/term/theme.h"

#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define NR_COLORS 16

static const char *const color_names[NR_COLORS] = {
	"black",	"red",
	"green",	"yellow",
	"blue",		"magenta",
	"cyan",		"white",
	"grey",		"bright-red",
	"bright-green", "bright-yellow",
	"bright-blue",	"bright-magenta",
	"bright-cyan",	"bright-white",
};

static const char *const role_names[ROLE_COUNT] = {
	[ROLE_TEXT] = "text",
	[ROLE_DIM] = "dim",
	[ROLE_STRONG] = "strong",
	[ROLE_FRAME] = "frame",
	[ROLE_FRAME_FOCUS] = "frame-focus",
	[ROLE_TITLE] = "title",
	[ROLE_HEAD] = "head",
	[ROLE_SELECT] = "select",
	[ROLE_BAR] = "bar",
	[ROLE_TAB] = "tab",
	[ROLE_TAB_ON] = "tab-on",
	[ROLE_KEY] = "key",
	[ROLE_HINT] = "hint",
	[ROLE_GOOD] = "good",
	[ROLE_WARN] = "warn",
	[ROLE_BAD] = "bad",
	[ROLE_ACCENT] = "accent",
	[ROLE_GRAPH] = "graph",
};

struct builtin {
	const char *name;
	const char *roles[ROLE_COUNT];
};

static const struct builtin builtins[] = {
	{
		.name = "binnacle",
		.roles =
			{
				[ROLE_TEXT] = "default",
				[ROLE_DIM] = "244",
				[ROLE_STRONG] = "default bold",
				[ROLE_FRAME] = "240",
				[ROLE_FRAME_FOCUS] = "73",
				[ROLE_TITLE] = "default bold",
				[ROLE_HEAD] = "109",
				[ROLE_SELECT] = "231 on 24",
				[ROLE_BAR] = "252 on 236",
				[ROLE_TAB] = "250 on 236",
				[ROLE_TAB_ON] = "231 on 24 bold",
				[ROLE_KEY] = "179 bold",
				[ROLE_HINT] = "246",
				[ROLE_GOOD] = "108",
				[ROLE_WARN] = "179",
				[ROLE_BAD] = "167 bold",
				[ROLE_ACCENT] = "73",
				[ROLE_GRAPH] = "73",
			},
	},
	{
		.name = "mono",
		.roles =
			{
				[ROLE_TEXT] = "default",
				[ROLE_DIM] = "default",
				[ROLE_STRONG] = "default bold",
				[ROLE_FRAME] = "default",
				[ROLE_FRAME_FOCUS] = "default bold",
				[ROLE_TITLE] = "default bold",
				[ROLE_HEAD] = "default underline",
				[ROLE_SELECT] = "default reverse",
				[ROLE_BAR] = "default",
				[ROLE_TAB] = "default",
				[ROLE_TAB_ON] = "default reverse",
				[ROLE_KEY] = "default bold",
				[ROLE_HINT] = "default",
				[ROLE_GOOD] = "default",
				[ROLE_WARN] = "default bold",
				[ROLE_BAD] = "default bold",
				[ROLE_ACCENT] = "default bold",
				[ROLE_GRAPH] = "default",
			},
	},
};

#define NR_BUILTINS (sizeof(builtins) / sizeof(builtins[0]))

static int parse_color(const char *word, int32_t *out)
{
	char *end;
	long n;

	if (!strcmp(word, "default")) {
		*out = -1;
		return 0;
	}
	for (int i = 0; i < NR_COLORS; i++) {
		if (!strcmp(word, color_names[i])) {
			*out = i;
			return 0;
		}
	}
	n = strtol(word, &end, 10);
	if (end == word || *end || n < 0 || n > 255)
		return -EINVAL;
	*out = (int32_t)n;
	return 0;
}

static int parse_word(const char *word, bool *paper, struct style *s)
{
	static const struct {
		const char *name;
		uint32_t attr;
	} attrs[] = {
		{"bold", ATTR_BOLD},
		{"dim", ATTR_DIM},
		{"reverse", ATTR_REVERSE},
		{"underline", ATTR_UNDERLINE},
	};

	if (!strcmp(word, "on")) {
		*paper = true;
		return 0;
	}
	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		if (!strcmp(word, attrs[i].name)) {
			s->attr |= attrs[i].attr;
			return 0;
		}
	}
	if (*paper) {
		*paper = false;
		return parse_color(word, &s->bg);
	}
	return parse_color(word, &s->fg);
}

int theme_parse_style(const char *text, struct style *s)
{
	struct style style = {-1, -1, 0};
	char word[32];
	bool paper = false;
	int used;

	while (sscanf(text, " %31[^ ]%n", word, &used) == 1) {
		if (parse_word(word, &paper, &style))
			return -EINVAL;
		text += used;
	}
	if (paper)
		return -EINVAL;
	*s = style;
	return 0;
}

static void from_builtin(struct theme *t, const struct builtin *b)
{
	snprintf(t->name, sizeof(t->name), "%s", b->name);
	for (int i = 0; i < ROLE_COUNT; i++)
		theme_parse_style(b->roles[i], &t->roles[i]);
}

/* Roles that the file does not name keep the first theme's style. */
static int from_json(struct theme *t, const char *name,
		     struct json_object *root, struct error *e)
{
	struct json_object *value;
	struct theme next;

	from_builtin(&next, &builtins[0]);
	snprintf(next.name, sizeof(next.name), "%s", name);
	for (int i = 0; i < ROLE_COUNT; i++) {
		if (!json_object_object_get_ex(root, role_names[i], &value))
			continue;
		if (theme_parse_style(json_object_get_string(value),
				      &next.roles[i]))
			return error_set(e, -EINVAL,
					 "theme '%s': '%s' is not a style for "
					 "%s; write for example \"214 on black "
					 "bold\"",
					 name, json_object_get_string(value),
					 role_names[i]);
	}
	*t = next;
	return 0;
}

int theme_load(struct theme *t, const char *name, const char *share,
	       struct error *e)
{
	struct json_object *root;
	char path[1200];
	int ret;

	for (size_t i = 0; i < NR_BUILTINS; i++) {
		if (!strcmp(name, builtins[i].name)) {
			from_builtin(t, &builtins[i]);
			return 0;
		}
	}
	if (strchr(name, '/') || !share)
		return error_set(e, -ENOENT, "there is no theme '%s'", name);
	snprintf(path, sizeof(path), "%s/themes/%s.json", share, name);
	root = json_object_from_file(path);
	if (!root)
		return error_set(
			e, -ENOENT,
			"there is no theme '%.31s' (looked for %.200s)", name,
			path);
	ret = from_json(t, name, root, e);
	json_object_put(root);
	return ret;
}

void theme_each(const char *share, void (*each)(const char *name, void *arg),
		void *arg)
{
	char path[1200], name[256];
	struct dirent **list;
	char *dot;
	int n;

	for (size_t i = 0; i < NR_BUILTINS; i++)
		each(builtins[i].name, arg);
	snprintf(path, sizeof(path), "%s/themes", share ? share : "");
	n = share ? scandir(path, &list, NULL, alphasort) : -1;
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s", list[i]->d_name);
		dot = strrchr(name, '.');
		if (dot && !strcmp(dot, ".json")) {
			*dot = '\0';
			each(name, arg);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}
