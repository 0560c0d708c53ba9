/* Finding and invoking actions; the tables are in their own files. */
#include "ui/keys/action.h"

#include <string.h>

#include "ui/screen/ui.h"

/* Whether k is in a blank-separated list of key names (NULL: no). */
static bool keys_have(const char *keys, const struct key *k)
{
	struct key bound;
	char name[32];
	size_t n;

	while (keys && *keys) {
		n = strcspn(keys, " ");
		if (n < sizeof(name)) {
			memcpy(name, keys, n);
			name[n] = '\0';
			if (!key_parse(name, &bound) && key_equal(&bound, k))
				return true;
		}
		keys += n + strspn(keys + n, " ");
	}
	return false;
}

const struct action *action_at(const struct screen *s, int i)
{
	if (i < s->nr_actions)
		return &s->actions[i];
	i -= s->nr_actions;
	if (i < nr_machine_actions)
		return &machine_actions[i];
	i -= nr_machine_actions;
	return i < nr_global_actions ? &global_actions[i] : NULL;
}

const char *action_keys(const struct ui *ui, const struct action *a)
{
	const char *keys = settings_keys(&ui->settings, a->name);

	if (!keys)
		return a->keys;
	return *keys ? keys : NULL;
}

const struct action *action_by_key(const struct ui *ui, const struct key *k)
{
	const struct screen *s = ui_current(ui);
	const struct action *a;

	for (int i = 0; (a = action_at(s, i)) != NULL; i++)
		if (keys_have(settings_keys(&ui->settings, a->name), k))
			return a;
	for (int i = 0; (a = action_at(s, i)) != NULL; i++)
		if (!settings_keys(&ui->settings, a->name) &&
		    keys_have(a->keys, k))
			return a;
	return NULL;
}

const struct action *action_by_name(const struct screen *s, const char *name)
{
	const struct action *a;

	for (int i = 0; (a = action_at(s, i)) != NULL; i++)
		if (!strcmp(a->name, name))
			return a;
	for (int n = 0; (s = ui_screen(n)) != NULL; n++)
		for (int i = 0; i < s->nr_actions; i++)
			if (!strcmp(s->actions[i].name, name))
				return &s->actions[i];
	return NULL;
}

bool action_is_here(const struct ui *ui, const struct action *a)
{
	const struct screen *s = ui_current(ui);
	bool own = a >= s->actions && a < s->actions + s->nr_actions;

	if (a->here)
		return a->here(ui);
	return !own || !s->needs_vm || ui_vm(ui);
}

unsigned action_invoke(struct ui *ui, const struct action *a, const char *arg)
{
	struct action_prompt prompt = {0};
	char question[256];

	if (a->prompt && !arg) {
		if (!a->prompt(ui, &prompt))
			return EFFECT_DRAW | EFFECT_FAILED;
		prompt_open(ui, a, prompt.label, prompt.answer);
		return EFFECT_DRAW;
	}
	if (!a->ask)
		return a->run(ui, arg);
	if (!a->ask(ui, arg, question, sizeof(question)))
		return EFFECT_DRAW | EFFECT_FAILED;
	confirm_open(ui, a, arg, question);
	return EFFECT_DRAW;
}
