#include "core/blk/options.h"

#include <errno.h>
#include <json.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define KEY_MAX	  64
#define DEPTH_MAX 8

/* The keys, and where their values go. */
enum place { TEXT, FLAG, SIZE, IGNORED };

#define AT(field) offsetof(struct blk_options, field)
static const struct key {
	const char *name;
	enum place place;
	size_t at;
	bool inverted;
} keys[] = {
	{"driver", TEXT, AT(format), false},
	{"filename", TEXT, AT(path), false},
	{"file.filename", TEXT, AT(path), false},
	{"file.driver", IGNORED, 0, false},
	{"file.aio", IGNORED, 0, false},
	{"read-only", IGNORED, 0, false},
	{"auto-read-only", IGNORED, 0, false},
	{"cache.direct", FLAG, AT(direct), false},
	{"cache.no-flush", FLAG, AT(no_flush), false},
	{"file.cache.direct", FLAG, AT(direct), false},
	{"file.cache.no-flush", FLAG, AT(no_flush), false},
	{"file.locking", FLAG, AT(no_lock), true},
	{"force-share", FLAG, AT(no_lock), false},
	{"cache-size", SIZE, AT(cache_len), false},
	{"l2-cache-size", SIZE, AT(cache_len), false},
};

static int bad_value(struct error *e, const char *key, const char *value)
{
	return error_set(e, -EINVAL,
			 "Parameter '%s' does not accept value '%s'", key,
			 value);
}

static int set_flag(bool *flag, bool inverted, const char *key,
		    const char *value, struct error *e)
{
	bool on = !strcmp(value, "on") || !strcmp(value, "true");

	if (!on && strcmp(value, "off") && strcmp(value, "false"))
		return bad_value(e, key, value);
	*flag = on != inverted;
	return 0;
}

static int set_size(uint64_t *size, const char *key, const char *value,
		    struct error *e)
{
	char *end;

	errno = 0;
	*size = strtoull(value, &end, 10);
	if (*end == 'k' || *end == 'K')
		*size <<= 10, end++;
	else if (*end == 'M')
		*size <<= 20, end++;
	if (errno || end == value || *end || *size > 1u << 30)
		return bad_value(e, key, value);
	return 0;
}

static int set_aio(struct blk_options *o, const char *value, struct error *e)
{
	static const char *const names[] = {"threads", "native", "io_uring"};

	for (int i = 0; i < BLK_NR_AIO; i++)
		if (!strcmp(names[i], value)) {
			o->aio = i;
			return 0;
		}
	return bad_value(e, "aio", value);
}

static int set_key(struct blk_options *o, const char *name, const char *value,
		   struct error *e)
{
	if (!strcmp(name, "file.aio") || !strcmp(name, "aio"))
		return set_aio(o, value, e);
	if (!strcmp(name, "discard")) {
		o->discard_unmap =
			!strcmp(value, "unmap") || !strcmp(value, "on");
		return 0;
	}
	if (!strcmp(name, "detect-zeroes")) {
		o->detect_zeroes = strcmp(value, "off") != 0;
		return 0;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		void *field = (char *)o + keys[i].at;

		if (strcmp(keys[i].name, name))
			continue;
		switch (keys[i].place) {
		case TEXT:
			free(*(char **)field);
			*(char **)field = strdup(value);
			return *(char **)field ? 0 : -ENOMEM;
		case FLAG:
			return set_flag(field, keys[i].inverted, name, value,
					e);
		case SIZE:
			return set_size(field, name, value, e);
		case IGNORED:
			return 0;
		}
	}
	return error_set(e, -EINVAL, "Invalid parameter '%s'", name);
}

/* Nested objects become keys with dots. */
static int set_object(struct blk_options *o, struct json_object *from,
		      const char *prefix, int depth, struct error *e)
{
	int ret = 0;

	if (depth > DEPTH_MAX)
		return error_set(e, -EINVAL, "too many levels of options");
	json_object_object_foreach(from, name, value)
	{
		char key[KEY_MAX];

		if (snprintf(key, sizeof(key), "%s%s%s", prefix,
			     *prefix ? "." : "", name) >= KEY_MAX)
			return error_set(e, -EINVAL, "Invalid parameter '%s'",
					 name);
		if (json_object_is_type(value, json_type_object))
			ret = set_object(o, value, key, depth + 1, e);
		else if (value)
			ret = set_key(o, key, json_object_get_string(value), e);
		if (ret)
			return ret;
	}
	return 0;
}

static int parse_json(const char *text, struct blk_options *o, struct error *e)
{
	struct json_object *object = json_tokener_parse(text);
	int ret;

	if (!json_object_is_type(object, json_type_object))
		ret = error_set(e, -EINVAL, "Could not parse the JSON options");
	else
		ret = set_object(o, object, "", 0, e);
	json_object_put(object);
	return ret;
}

/* One key=value up to a comma; doubled commas stand for one. */
static int parse_pair(const char **text, struct blk_options *o, struct error *e)
{
	char *pair = malloc(strlen(*text) + 1), *to = pair, *eq;
	const char *p = *text;
	int ret;

	if (!pair)
		return error_set(e, -ENOMEM, "no memory for options");
	for (; *p && (*p != ',' || p[1] == ','); p++) {
		if (*p == ',')
			p++;
		*to++ = *p;
	}
	*to = 0;
	*text = *p ? p + 1 : p;
	eq = strchr(pair, '=');
	if (eq) {
		*eq = 0;
		ret = set_key(o, pair, eq + 1, e);
	} else {
		ret = set_key(o, pair, "on", e);
	}
	free(pair);
	return ret;
}

int blk_options_parse(const char *text, bool image_opts,
		      struct blk_options *out, struct error *e)
{
	int ret = 0;

	*out = (struct blk_options){0};
	if (!image_opts && strncmp(text, "json:", 5)) {
		out->path = strdup(text);
		return out->path ? 0 : error_set(e, -ENOMEM, "no memory");
	}
	if (image_opts)
		while (*text && !ret)
			ret = parse_pair(&text, out, e);
	else
		ret = parse_json(text + 5, out, e);
	if (!ret && !out->path)
		ret = error_set(
			e, -EINVAL,
			"A block device must be specified for \"file\"");
	return ret;
}

void blk_options_fini(struct blk_options *o)
{
	free((char *)o->path);
	free((char *)o->format);
	*o = (struct blk_options){0};
}
