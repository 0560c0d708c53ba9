#include "core/blk/options.h"

#include <errno.h>
#include <json.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/filter/filter.h"
#include "core/blk/nbd/address.h"
#include "core/error.h"

#define KEY_MAX	  64
#define DEPTH_MAX 8
#define PAIRS_MAX 128

/* What the text says, as keys with dots. */
struct pairs {
	struct blk_opt list[PAIRS_MAX];
	unsigned nr;
};

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
	{"node-name", IGNORED, 0, false},
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

int blk_aio_parse(const char *name, enum blk_aio *out)
{
	static const char *const names[BLK_NR_AIO] = {
		[BLK_AIO_THREADS] = "threads",
		[BLK_AIO_NATIVE] = "native",
		[BLK_AIO_IO_URING] = "io_uring",
	};

	for (unsigned i = 0; i < BLK_NR_AIO; i++)
		if (!strcmp(names[i], name)) {
			*out = (enum blk_aio)i;
			return 0;
		}
	return -EINVAL;
}

static int set_key(struct blk_options *o, const char *name, const char *value,
		   struct error *e)
{
	if (!strcmp(name, "file.aio") || !strcmp(name, "aio"))
		return blk_aio_parse(value, &o->aio)
			       ? bad_value(e, "aio", value)
			       : 0;
	if (!strcmp(name, "discard")) {
		o->discard_unmap =
			!strcmp(value, "unmap") || !strcmp(value, "on");
		return 0;
	}
	if (!strcmp(name, "detect-zeroes")) {
		o->zeroes_unmap = !strcmp(value, "unmap");
		o->detect_zeroes = o->zeroes_unmap || !strcmp(value, "on");
		return o->detect_zeroes || !strcmp(value, "off")
			       ? 0
			       : bad_value(e, name, value);
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

static int add_pair(struct pairs *p, const char *key, const char *value,
		    struct error *e)
{
	char *k, *v;

	if (p->nr == PAIRS_MAX)
		return error_set(e, -EINVAL, "there are too many options");
	k = strdup(key);
	v = strdup(value);
	if (!k || !v) {
		free(k);
		free(v);
		return error_set(e, -ENOMEM, "no memory for options");
	}
	p->list[p->nr++] = (struct blk_opt){k, v};
	return 0;
}

static void free_opt(struct blk_opt *opt)
{
	free((char *)opt->key);
	free((char *)opt->value);
}

/* Nested objects become keys with dots. */
static int add_object(struct pairs *p, struct json_object *from,
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
			ret = add_object(p, value, key, depth + 1, e);
		else if (value)
			ret = add_pair(p, key, json_object_get_string(value),
				       e);
		if (ret)
			return ret;
	}
	return 0;
}

static int parse_json(const char *text, struct pairs *p, struct error *e)
{
	struct json_object *object = json_tokener_parse(text);
	int ret;

	if (!json_object_is_type(object, json_type_object))
		ret = error_set(e, -EINVAL, "Could not parse the JSON options");
	else
		ret = add_object(p, object, "", 0, e);
	json_object_put(object);
	return ret;
}

/* One key=value up to a comma; doubled commas stand for one. */
static int parse_pair(const char **text, struct pairs *p, struct error *e)
{
	char *pair = malloc(strlen(*text) + 1), *to = pair, *eq;
	const char *from = *text;
	int ret;

	if (!pair)
		return error_set(e, -ENOMEM, "no memory for options");
	for (; *from && (*from != ',' || from[1] == ','); from++) {
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*to = 0;
	*text = *from ? from + 1 : from;
	eq = strchr(pair, '=');
	if (eq)
		*eq = 0;
	ret = add_pair(p, pair, eq ? eq + 1 : "on", e);
	free(pair);
	return ret;
}

/* ---- filters ---- */

/* Keys that hold for the whole graph, wherever they stand. */
static bool is_general(const char *key)
{
	static const char *const general[] = {"read-only",   "auto-read-only",
					      "force-share", "discard",
					      "node-name",   "detect-zeroes"};

	for (size_t i = 0; i < sizeof(general) / sizeof(general[0]); i++)
		if (!strcmp(general[i], key))
			return true;
	return !strncmp(key, "cache.", 6);
}

static const char *find_pair(const struct pairs *p, const char *key)
{
	for (unsigned i = 0; i < p->nr; i++)
		if (!strcmp(p->list[i].key, key))
			return p->list[i].value;
	return NULL;
}

static void drop_pair(struct pairs *p, unsigned i)
{
	p->list[i] = p->list[--p->nr];
}

/* Takes the filter's own keys out, which begin with prefix, and moves those
 * under its file child up to its place. */
static int take_filter(struct pairs *p, const char *prefix,
		       struct blk_filter_spec *f)
{
	size_t skip = strlen(prefix);

	f->opts = calloc(p->nr, sizeof(*f->opts));
	if (!f->opts)
		return -ENOMEM;
	for (unsigned i = 0; i < p->nr;) {
		char *key = (char *)p->list[i].key, *own = key + skip;

		if (strncmp(key, prefix, skip) || (!skip && is_general(own))) {
			i++;
		} else if (!strncmp(own, "file.", 5)) {
			memmove(own, own + 5, strlen(own + 5) + 1);
			i++;
		} else if (!strcmp(own, "driver") || is_general(own)) {
			free_opt(&p->list[i]);
			drop_pair(p, i);
		} else {
			memmove(key, own, strlen(own) + 1);
			f->opts[f->nr_opts++] = p->list[i];
			drop_pair(p, i);
		}
	}
	return 0;
}

/* Filters above the format, then those between it and its file. */
static int take_filters(struct pairs *p, struct blk_options *o, struct error *e)
{
	struct blk_filter_spec **end = (struct blk_filter_spec **)&o->filters;
	bool above = true;

	for (;;) {
		const char *name =
			find_pair(p, above ? "driver" : "file.driver");
		const struct blk_driver *drv =
			name ? blk_driver_find(name) : NULL;
		struct blk_filter_spec *f;

		if (!drv || !drv->is_filter) {
			if (!above)
				return 0;
			above = false;
			continue;
		}
		f = calloc(1, sizeof(*f));
		if (!f)
			return error_set(e, -ENOMEM, "no memory for options");
		f->drv = drv;
		f->above = above;
		*end = f;
		end = &f->next;
		if (take_filter(p, above ? "" : "file.", f))
			return error_set(e, -ENOMEM, "no memory for options");
	}
}

/* ---- servers ---- */

/* Of a server; file. and server. may stand before them. */
#define PART(field) offsetof(struct nbd_address, field)
static const struct nbd_key {
	const char *name;
	size_t at;
} nbd_keys[] = {
	{"host", PART(host)},
	{"port", PART(port)},
	{"path", PART(socket)},
	{"export", PART(export)},
};

/* Where the value of key belongs; NULL: it is none of a server's. */
static char **find_part(struct nbd_address *a, const char *key)
{
	if (!strncmp(key, "file.", 5))
		key += 5;
	if (!strncmp(key, "server.", 7))
		key += 7;
	for (size_t i = 0; i < sizeof(nbd_keys) / sizeof(nbd_keys[0]); i++)
		if (!strcmp(nbd_keys[i].name, key))
			return (char **)((char *)a + nbd_keys[i].at);
	return NULL;
}

static bool is_server_type(const char *key, const char *value)
{
	if (!strncmp(key, "file.", 5))
		key += 5;
	return !strcmp(key, "server.type") &&
	       (!strcmp(value, "inet") || !strcmp(value, "unix"));
}

/* The parts of an address become a path. */
static int join_address(struct nbd_address *a, struct blk_options *o,
			struct error *e)
{
	if (!a->socket && !a->host && !a->port && !a->export)
		return 0;
	if (a->socket && a->host)
		return error_set(e, -EINVAL,
				 "path and host may not be used at the same "
				 "time");
	if (!a->socket && !a->host)
		return error_set(e, -EINVAL,
				 "one of path and host must be specified");
	if (!a->socket && !a->port) {
		a->port = strdup(NBD_PORT);
		if (!a->port)
			return error_set(e, -ENOMEM, "no memory for options");
	}
	o->path = nbd_address_uri(a);
	return o->path ? 0 : error_set(e, -ENOMEM, "no memory for options");
}

/* Takes out what names a server and its export. */
static int take_server(struct pairs *p, struct blk_options *o, struct error *e)
{
	const char *top = find_pair(p, "driver"),
		   *file = find_pair(p, "file.driver");
	bool alone = top && !strcmp(top, "nbd");
	struct nbd_address a = {0};
	int ret;

	if (!alone && (!file || strcmp(file, "nbd")))
		return 0;
	for (unsigned i = 0; i < p->nr;) {
		struct blk_opt *opt = &p->list[i];
		char **part = find_part(&a, opt->key);

		if (part) {
			free(*part);
			*part = (char *)opt->value;
			opt->value = NULL;
		} else if (!is_server_type(opt->key, opt->value) &&
			   !(alone && !strcmp(opt->key, "driver"))) {
			i++;
			continue;
		}
		free_opt(opt);
		drop_pair(p, i);
	}
	ret = join_address(&a, o, e);
	nbd_address_fini(&a);
	if (!ret && alone) {
		/* By itself it is the disk without a format. */
		o->format = strdup("file");
		if (!o->format)
			ret = error_set(e, -ENOMEM, "no memory for options");
	}
	return ret;
}

static int set_pairs(struct pairs *p, struct blk_options *o, struct error *e)
{
	int ret = take_filters(p, o, e);

	if (!ret)
		ret = take_server(p, o, e);
	for (unsigned i = 0; i < p->nr && !ret; i++)
		ret = set_key(o, p->list[i].key, p->list[i].value, e);
	return ret;
}

int blk_options_parse(const char *text, bool image_opts,
		      struct blk_options *out, struct error *e)
{
	struct pairs *p;
	int ret = 0;

	*out = (struct blk_options){0};
	if (!image_opts && strncmp(text, "json:", 5)) {
		out->path = strdup(strncmp(text, "file:", 5) ? text : text + 5);
		return out->path ? 0 : error_set(e, -ENOMEM, "no memory");
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(e, -ENOMEM, "no memory for options");
	if (image_opts)
		while (*text && !ret)
			ret = parse_pair(&text, p, e);
	else
		ret = parse_json(text + 5, p, e);
	if (!ret)
		ret = set_pairs(p, out, e);
	while (p->nr)
		free_opt(&p->list[--p->nr]);
	free(p);
	if (!ret && !out->path)
		ret = error_set(
			e, -EINVAL,
			"A block device must be specified for \"file\"");
	return ret;
}

void blk_options_fini(struct blk_options *o)
{
	struct blk_filter_spec *f = (struct blk_filter_spec *)o->filters;

	free((char *)o->path);
	free((char *)o->format);
	while (f) {
		struct blk_filter_spec *next = f->next;

		while (f->nr_opts)
			free_opt(&f->opts[--f->nr_opts]);
		free(f->opts);
		free(f);
		f = next;
	}
	*o = (struct blk_options){0};
}
