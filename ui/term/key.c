/* Names of keys. */
#include "ui/term/key.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ui/term/canvas.h"

static const struct {
	const char *name;
	uint32_t code;
} names[] = {
	{"Up", K_UP},
	{"Down", K_DOWN},
	{"Left", K_LEFT},
	{"Right", K_RIGHT},
	{"Home", K_HOME},
	{"End", K_END},
	{"PgUp", K_PAGE_UP},
	{"PgDn", K_PAGE_DOWN},
	{"Ins", K_INSERT},
	{"Del", K_DELETE},
	{"Backspace", K_BACKSPACE},
	{"Enter", K_ENTER},
	{"Tab", K_TAB},
	{"Esc", K_ESC},
	{"Mouse", K_MOUSE},
	{"Space", ' '},
};

#define NR_NAMES (sizeof(names) / sizeof(names[0]))

static const struct {
	const char *prefix;
	unsigned mod;
} mods[] = {
	{"Ctrl-", MOD_CTRL},
	{"Alt-", MOD_ALT},
	{"Shift-", MOD_SHIFT},
};

#define NR_MODS (sizeof(mods) / sizeof(mods[0]))

static const char *take_mods(const char *name, unsigned *out)
{
	size_t len;

	for (size_t i = 0; i < NR_MODS; i++) {
		len = strlen(mods[i].prefix);
		if (!strncasecmp(name, mods[i].prefix, len) && name[len]) {
			*out |= mods[i].mod;
			name += len;
			i = (size_t)-1;
		}
	}
	return name;
}

int key_parse(const char *name, struct key *k)
{
	struct key key = {.code = K_NONE};
	const char *rest;
	char *end;
	long n;

	name = take_mods(name, &key.mods);
	for (size_t i = 0; i < NR_NAMES; i++)
		if (!strcasecmp(name, names[i].name))
			key.code = names[i].code;
	if (key.code == K_NONE && (*name == 'F' || *name == 'f') && name[1]) {
		n = strtol(name + 1, &end, 10);
		if (!*end && n >= 1 && n <= 12)
			key.code = K_F1 + (uint32_t)n - 1;
	}
	if (key.code == K_NONE) {
		rest = name;
		key.code = text_next(&rest);
		if (!key.code || *rest)
			return -EINVAL;
	}
	if (key.mods & MOD_CTRL && key.code >= 'A' && key.code <= 'Z')
		key.code += 'a' - 'A';
	*k = key;
	return 0;
}

void key_to_text(const struct key *k, char *buf, size_t len)
{
	char base[16] = "";
	uint32_t code = k->code;

	if (code >= K_F1 && code <= K_F12)
		snprintf(base, sizeof(base), "F%d", (int)(code - K_F1) + 1);
	for (size_t i = 0; i < NR_NAMES; i++)
		if (code == names[i].code)
			snprintf(base, sizeof(base), "%s", names[i].name);
	if (!*base && code < K_NONE) {
		if (k->mods & MOD_CTRL && code >= 'a' && code <= 'z')
			code -= 'a' - 'A';
		text_encode(code, base);
	}
	snprintf(buf, len, "%s%s%s%s", k->mods & MOD_CTRL ? "Ctrl-" : "",
		 k->mods & MOD_ALT ? "Alt-" : "",
		 k->mods & MOD_SHIFT ? "Shift-" : "", base);
}

bool key_equal(const struct key *a, const struct key *b)
{
	return a->code == b->code && a->mods == b->mods;
}

bool key_is_text(const struct key *k)
{
	return k->code >= 0x20 && k->code < K_NONE && k->code != 0x7f &&
	       !(k->mods & (MOD_CTRL | MOD_ALT));
}
