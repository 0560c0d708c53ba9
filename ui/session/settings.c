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
	return error_set(e, -EINVAL,
			 "%s: \"%.40s\" is not known; there are \"escape\", "
			 "\"mouse\" and \"theme\"",
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
