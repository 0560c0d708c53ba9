#include "ui/session/settings.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

void settings_init(struct settings *s)
{
	*s = (struct settings){.mouse = true};
	key_parse("Ctrl-O", &s->escape);
	strcpy(s->theme, "binnacle");
}

const char *settings_keys(const struct settings *s, const char *action)
{
	for (int i = 0; i < s->nr_bindings; i++)
		if (!strcmp(s->bindings[i].action, action))
			return s->bindings[i].keys;
	return NULL;
}

static bool are_keys(const char *keys)
{
	char name[32];
	struct key k;
	int used;

	while (sscanf(keys, " %31s%n", name, &used) == 1) {
		if (key_parse(name, &k))
			return false;
		keys += used;
	}
	return true;
}

static int bind(struct settings *s, const char *action, const char *keys,
		const char *name, struct error *e)
{
	struct binding *b;

	if (!keys)
		keys = "";
	if (strlen(keys) >= sizeof(b->keys) || !are_keys(keys))
		return error_set(
			e, -EINVAL,
			"%s: \"keys\": '%.60s' for %.30s is not a list "
			"of keys; write for example \"j Down\"",
			name, keys, action);
	if (s->nr_bindings == SETTINGS_MAX_BINDINGS)
		return error_set(e, -EINVAL, "%s: \"keys\": too many", name);
	b = &s->bindings[s->nr_bindings++];
	snprintf(b->action, sizeof(b->action), "%s", action);
	strcpy(b->keys, keys);
	return 0;
}

static int bind_all(struct settings *s, struct json_object *value,
		    const char *name, struct error *e)
{
	int ret;

	if (!json_object_is_type(value, json_type_object))
		return error_set(e, -EINVAL,
				 "%s: \"keys\" is an object like {\"detach\": "
				 "\"q\"}",
				 name);
	s->nr_bindings = 0;
	json_object_object_foreach(value, action, keys)
	{
		ret = bind(s, action, json_object_get_string(keys), name, e);
		if (ret)
			return ret;
	}
	return 0;
}

static int apply(struct settings *s, const char *key, struct json_object *value,
		 const char *name, struct error *e)
{
	const char *text = json_object_get_string(value);

	if (!text)
		text = "null";
	if (!strcmp(key, "escape")) {
		if (key_parse(text, &s->escape))
			return error_set(e, -EINVAL,
					 "%s: \"escape\": '%.40s' is not a key;"
					 " write for example \"Ctrl-O\" or "
					 "\"F12\"",
					 name, text);
		return 0;
	}
	if (!strcmp(key, "theme")) {
		snprintf(s->theme, sizeof(s->theme), "%s", text);
		return 0;
	}
	if (!strcmp(key, "mouse")) {
		if (!json_object_is_type(value, json_type_boolean))
			return error_set(e, -EINVAL,
					 "%s: \"mouse\" is true or false",
					 name);
		s->mouse = json_object_get_boolean(value);
		return 0;
	}
	if (!strcmp(key, "keys"))
		return bind_all(s, value, name, e);
	return error_set(e, -EINVAL,
			 "%s: \"%.40s\" is not known; there are \"escape\", "
			 "\"keys\", \"mouse\" and \"theme\"",
			 name, key);
}

static int apply_all(struct settings *s, struct json_object *root,
		     const char *name, struct error *e)
{
	struct settings next = *s;
	int ret;

	if (!json_object_is_type(root, json_type_object))
		return error_set(e, -EINVAL, "%s: not a JSON object", name);
	json_object_object_foreach(root, key, value)
	{
		ret = apply(&next, key, value, name, e);
		if (ret)
			return ret;
	}
	*s = next;
	return 0;
}

int settings_parse(struct settings *s, const char *json, const char *name,
		   struct error *e)
{
	struct json_object *root = json_tokener_parse(json);
	int ret = apply_all(s, root, name, e);

	json_object_put(root);
	return ret;
}

int settings_load(struct settings *s, struct error *e)
{
	const char *config = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	char path[1024], text[16384];
	size_t len;
	FILE *in;

	if (config && *config == '/')
		snprintf(path, sizeof(path), "%s/binnacle/config.json", config);
	else
		snprintf(path, sizeof(path), "%s/.config/binnacle/config.json",
			 home ? home : "");
	in = fopen(path, "re");
	if (!in)
		return errno == ENOENT ? 0
				       : error_errno(e, errno, "'%s'", path);
	len = fread(text, 1, sizeof(text) - 1, in);
	text[len] = '\0';
	fclose(in);
	return settings_parse(s, text, path, e);
}
