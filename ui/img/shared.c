/*
 * What the commands share: sizes, option lists, opening, output.
 */
#include <errno.h>
#include <inttypes.h>
#include <json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/blk/options.h"
#include "ui/img/img.h"

void img_raise_limits(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur == l.rlim_max)
		return;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

/* ---- sizes ---- */

static int suffix_shift(char c)
{
	static const char suffixes[] = "bBkKmMgGtTpPeE";
	const char *p = c ? strchr(suffixes, c) : NULL;

	return p ? (int)(p - suffixes) / 2 * 10 : -1;
}

int img_size_parse(const char *text, uint64_t *out)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	char *end;
	double fraction = 0;
	uint64_t whole;
	int shift = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, hex ? 16 : 10);
	if (errno)
		return -ERANGE;
	if (*end == '.' && !hex)
		fraction = strtod(end, &end);
	if (*end) {
		shift = suffix_shift(*end++);
		if (shift < 0 || *end)
			return -EINVAL;
	}
	if (whole >> (63 - shift) >> 1)
		return -ERANGE;
	if (fraction != 0 && shift == 0)
		return -EINVAL;
	*out = (whole << shift) +
	       (uint64_t)(fraction * (double)(1ull << shift) + 0.5);
	return 0;
}

const char *img_size_text(uint64_t len, char *text)
{
	static const char *const units[] = {"",	  "Ki", "Mi", "Gi",
					    "Ti", "Pi", "Ei"};
	int exponent, i;

	/* Rounded so that 1023.9 KiB becomes 1 MiB. */
	frexp(len / (1000.0 / 1024.0), &exponent);
	i = len ? (exponent - 1) / 10 : 0;
	snprintf(text, 32, "%0.3g %sB", (double)len / (1ull << i * 10),
		 units[i]);
	return text;
}

int img_image_size(struct img_tool *t, const char *text, uint64_t *out)
{
	int ret = img_size_parse(text, out);

	if (!ret && *out > INT64_MAX)
		ret = -ERANGE;
	if (ret == -ERANGE)
		img_error(t, "Image size must be less than 8 EiB!");
	else if (ret) {
		img_error(t, "Invalid image size specified. You may use k, M, "
			     "G, T, P or E suffixes for");
		img_error(t, "kilobytes, megabytes, gigabytes, terabytes, "
			     "petabytes and exabytes.");
	}
	return ret;
}

/* ---- option lists ---- */

static int add_pair(struct img_opts *o, char *pair)
{
	char *eq = strchr(pair, '=');
	void *list = realloc(o->list, (o->nr + 1) * sizeof(*o->list));

	if (!list)
		return -ENOMEM;
	o->list = list;
	if (!eq && (!strcmp(pair, "help") || !strcmp(pair, "?"))) {
		o->help = true;
		return 0;
	}
	if (eq)
		*eq = 0;
	o->list[o->nr++] = (struct blk_opt){pair, eq ? eq + 1 : "on"};
	return 0;
}

int img_opts_take(struct img_tool *t, struct img_opts *o, const char *text)
{
	size_t len = strlen(text);

	if (!len || *text == ',' || text[len - 1] == ',')
		return img_error(t, "Invalid option list: %s", text);
	return img_opts_add(o, text) ? img_error(t, "out of memory") : 0;
}

int img_opts_add(struct img_opts *o, const char *text)
{
	void *texts = realloc(o->texts, (o->nr_texts + 1) * sizeof(char *));
	char *copy = strdup(text), *start = copy, *to = copy;
	int ret = 0;

	if (texts)
		o->texts = texts;
	if (!texts || !copy) {
		free(copy);
		return -ENOMEM;
	}
	o->texts[o->nr_texts++] = copy;
	for (const char *p = copy; !ret; p++) {
		bool end = !*p;

		if (*p == ',' && p[1] == ',')
			*to++ = *p++;
		else if (*p == ',' || end) {
			*to++ = 0;
			if (*start)
				ret = add_pair(o, start);
			start = to;
		} else
			*to++ = *p;
		if (end)
			break;
	}
	return ret;
}

const char *img_opts_find(const struct img_opts *o, const char *key)
{
	for (unsigned i = o->nr; i-- > 0;)
		if (!strcmp(o->list[i].key, key))
			return o->list[i].value;
	return NULL;
}

void img_opts_fini(struct img_opts *o)
{
	for (unsigned i = 0; i < o->nr_texts; i++)
		free(o->texts[i]);
	free(o->texts);
	free(o->list);
	*o = (struct img_opts){0};
}

static int check_value(const struct blk_opt_desc *d, const char *value,
		       struct error *e)
{
	static const char *const bools[] = {"on",  "yes", "true",  "y",
					    "off", "no",  "false", "n"};
	uint64_t n;
	char *end;

	if (!strncmp(d->type, "bool", 4)) {
		for (size_t i = 0; i < sizeof(bools) / sizeof(*bools); i++)
			if (!strcmp(value, bools[i]))
				return 0;
		return error_set(e, -EINVAL,
				 "Parameter '%s' expects 'on' or 'off'",
				 d->name);
	}
	if (!strcmp(d->type, "size") && img_size_parse(value, &n))
		return error_set(e, -EINVAL,
				 "Parameter '%s' expects a non-negative number "
				 "below 2^64\nOptional suffix k, M, G, T, P or "
				 "E means kilo-, mega-, giga-, tera-, peta-\n"
				 "and exabytes, respectively.",
				 d->name);
	if (!strcmp(d->type, "num")) {
		errno = 0;
		strtoull(value, &end, 0);
		if (errno || end == value || *end)
			return error_set(e, -EINVAL,
					 "Parameter '%s' expects a number",
					 d->name);
	}
	return 0;
}

int img_opts_check(const struct img_opts *o, const struct blk_format *f,
		   struct error *e)
{
	int ret =
		o->help ? error_set(e, -EINVAL, "Invalid parameter 'help'") : 0;

	for (unsigned i = 0; i < o->nr && !ret; i++) {
		const struct blk_opt_desc *d = f->opts;

		while (d && d->name && strcmp(d->name, o->list[i].key))
			d++;
		if (!d || !d->name)
			return error_set(e, -EINVAL, "Invalid parameter '%s'",
					 o->list[i].key);
		ret = check_value(d, o->list[i].value, e);
	}
	return ret;
}

static int by_name(const void *a, const void *b)
{
	const struct blk_opt_desc *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

void img_opts_help(const struct blk_format *f)
{
	printf("Supported %s options:\n", f->name);
	img_opts_list(f->opts);
}

void img_opts_list(const struct blk_opt_desc *d)
{
	const struct blk_opt_desc *sorted[32];
	size_t nr = 0;

	while (d && d->name && nr < 32)
		sorted[nr++] = d++;
	qsort(sorted, nr, sizeof(*sorted), by_name);
	for (size_t i = 0; i < nr; i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s=<%s>", sorted[i]->name,
			 sorted[i]->type);
		printf("  %-22s - %s\n", left, sorted[i]->help);
	}
}

/* ---- images ---- */

bool img_cache_mode(const char *name, struct blk_options *o)
{
	static const struct mode {
		const char *name;
		bool direct, no_flush;
	} modes[] = {
		{"writeback", false, false}, {"writethrough", false, false},
		{"none", true, false},	     {"off", true, false},
		{"directsync", true, false}, {"unsafe", false, true},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(modes[i].name, name)) {
			o->direct = modes[i].direct;
			o->no_flush = modes[i].no_flush;
			return true;
		}
	return false;
}

struct blk *img_try_open(struct img_tool *t, const struct img_source *s,
			 struct error *e)
{
	struct blk_options parsed, o;
	struct blk *b = NULL;

	if (blk_options_parse(s->path, s->image_opts, &parsed, e))
		goto out;
	if (s->share && s->write) {
		error_set(e, -EINVAL,
			  "force-share=on can only be used with read-only "
			  "images");
		goto out;
	}
	o = parsed;
	if (s->format)
		o.format = s->format;
	/* What the image's own options ask for stays. */
	if (s->cache && !(o.direct || o.no_flush) &&
	    !img_cache_mode(s->cache, &o)) {
		error_set(e, -EINVAL, "Invalid cache option: %s", s->cache);
		goto out;
	}
	o.write = s->write;
	o.no_lock = o.no_lock || s->share;
	o.no_backing = o.no_backing || s->no_backing;
	o.check = s->check;
	if (s->aio)
		o.aio = s->aio;
	o.discard_unmap = o.discard_unmap || s->discard;
	if (s->snapshot)
		o.snapshot = s->snapshot;
	b = blk_open(t->ctx, &o, e);
out:
	blk_options_fini(&parsed);
	return b;
}

struct blk *img_open(struct img_tool *t, const struct img_source *s)
{
	struct error e = {0};
	struct blk *b;

	if (s->format && !s->image_opts && !blk_format_find(s->format)) {
		img_error(t, "Could not open '%s': Unknown driver '%s'",
			  s->path, s->format);
		return NULL;
	}
	b = img_try_open(t, s, &e);
	if (b && s->write && !s->format && !s->image_opts &&
	    !strcmp(blk_format(b), "raw") && strncmp(s->path, "json:", 5))
		fprintf(stderr,
			"WARNING: Image format was not specified for '%s' and "
			"probing guessed raw.\n"
			"         Automatically detecting the format is "
			"dangerous for raw images, write operations on block 0 "
			"will be restricted.\n"
			"         Specify the 'raw' format explicitly to "
			"remove the restrictions.\n",
			s->path);
	if (!b)
		img_error(t, "Could not open '%s': %s", s->path, e.msg);
	return b;
}

const struct blk_format *img_format(struct img_tool *t, const char *path,
				    const char *name)
{
	const struct blk_format *f = blk_format_find(name);

	if (!f)
		img_error(t, "%s: Unknown file format '%s'", path, name);
	return f;
}

/* ---- output ---- */

static void print_value(struct json_object *o, int level);

static void indent(int level)
{
	printf("%*s", level * 4, "");
}

static void print_object(struct json_object *o, int level)
{
	bool first = true;

	printf("{");
	json_object_object_foreach(o, key, value)
	{
		printf(first ? "\n" : ",\n");
		indent(level + 1);
		printf("\"%s\": ", key);
		print_value(value, level + 1);
		first = false;
	}
	if (!first) {
		printf("\n");
		indent(level);
	}
	printf("}");
}

static void print_array(struct json_object *o, int level)
{
	size_t nr = json_object_array_length(o);

	printf("[");
	for (size_t i = 0; i < nr; i++) {
		printf(i ? ",\n" : "\n");
		indent(level + 1);
		print_value(json_object_array_get_idx(o, i), level + 1);
	}
	printf("\n");
	indent(level);
	printf("]");
}

static void print_value(struct json_object *o, int level)
{
	switch (json_object_get_type(o)) {
	case json_type_object:
		print_object(o, level);
		break;
	case json_type_array:
		print_array(o, level);
		break;
	default:
		printf("%s", json_object_to_json_string_ext(
				     o, JSON_C_TO_STRING_NOSLASHESCAPE));
	}
}

void img_json_print(struct json_object *o)
{
	print_value(o, 0);
	printf("\n");
}

/* ---- for people ---- */

static void human_value(struct json_object *v, int level);

void img_json_print_human(struct json_object *o, int level)
{
	json_object_object_foreach(o, key, v)
	{
		bool nested = json_object_is_type(v, json_type_object) ||
			      json_object_is_type(v, json_type_array);

		printf("%*s", level * 4, "");
		for (const char *p = key; *p; p++)
			putchar(*p == '-' ? ' ' : *p);
		printf(":%c", nested ? '\n' : ' ');
		human_value(v, level + 1);
	}
}

static void human_value(struct json_object *v, int level)
{
	switch (json_object_get_type(v)) {
	case json_type_object:
		img_json_print_human(v, level);
		break;
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(v); i++) {
			struct json_object *x = json_object_array_get_idx(v, i);

			if (json_object_is_type(x, json_type_object)) {
				printf("%*s[%zu]:\n", level * 4, "", i);
				human_value(x, level + 1);
			} else {
				printf("%*s[%zu]: ", level * 4, "", i);
				human_value(x, level);
			}
		}
		break;
	default:
		printf("%s\n", json_object_get_string(v));
	}
}

bool img_output_parse(struct img_tool *t, const char *text, bool *json)
{
	*json = !strcmp(text, "json");
	if (*json || !strcmp(text, "human"))
		return true;
	img_error(t, "--output must be used with human or json as argument.");
	return false;
}

void img_progress_set(struct img_progress *p, uint64_t done, uint64_t total)
{
	int now = total ? (int)(done * 10000.0 / total) : 10000;

	if (!p->enabled || now + 1 == p->last)
		return;
	p->last = now + 1;
	printf("    (%3.2f/100%%)\r", now / 100.0);
	fflush(stdout);
}

void img_progress_end(struct img_progress *p)
{
	if (!p->enabled)
		return;
	img_progress_set(p, 1, 1);
	printf("\n");
}
