/*
 * Machine files: JSON in, struct vm_config out.
 *
 * One table row a key.  What is not in the tables is refused by name, because
 * a misspelt key that is silently ignored costs an evening.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/vm_config.h"
#include "core/error.h"
#include "core/vm.h"

#define FILE_MAX_LEN (1024 * 1024)

enum key_type { KEY_TEXT, KEY_PATH, KEY_SIZE, KEY_COUNT, KEY_BOOL, KEY_CALL };

struct parser {
	const char *dir; /* of relative paths */
	struct error *e;
	const char *where; /* "" or "disks[2]." */
};

struct key {
	const char *name;
	enum key_type type;
	size_t offset, room; /* in the struct that the table describes */
	unsigned max;	     /* KEY_COUNT: 1..max */
	int (*call)(struct parser *p, struct json_object *v, void *obj);
};

#define KEY(s, key_name, key_kind, member)                                     \
	{                                                                      \
		.name = key_name, .type = key_kind,                            \
		.offset = offsetof(struct s, member),                          \
		.room = sizeof(((struct s *)0)->member)                        \
	}

static int wrong(struct parser *p, const char *key, const char *allowed)
{
	return error_set(p->e, -EINVAL, "key '%s%s' must be %s", p->where, key,
			 allowed);
}

/* ---- values ---- */

static int get_text(struct parser *p, const struct key *k,
		    struct json_object *v, char *out)
{
	const char *text;
	size_t len;

	if (!json_object_is_type(v, json_type_string))
		return wrong(p, k->name, "a text in quotes");
	text = json_object_get_string(v);
	len = (size_t)json_object_get_string_len(v);
	if (strlen(text) != len)
		return wrong(p, k->name, "a text without NUL characters");
	if (len >= k->room)
		return error_set(p->e, -EINVAL,
				 "key '%s%s' is %zu bytes long; allowed: up "
				 "to %zu",
				 p->where, k->name, len, k->room - 1);
	strcpy(out, text);
	return 0;
}

/* Puts the share folder in place of ${SHARE}; any other ${...} is refused. */
static int expand(struct parser *p, const struct key *k, const char *in,
		  char *out, size_t room)
{
	static const char var[] = "${SHARE}";
	size_t len = 0;

	while (*in) {
		const char *piece = in;
		size_t n = 1;

		if (!strncmp(in, var, sizeof(var) - 1)) {
			piece = vm_share_dir();
			n = strlen(piece);
			in += sizeof(var) - 1;
		} else if (!strncmp(in, "${", 2)) {
			return wrong(p, k->name,
				     "a path whose only ${...} is ${SHARE}");
		} else {
			in++;
		}
		if (len + n >= room)
			return wrong(p, k->name, "a shorter path");
		memcpy(out + len, piece, n);
		len += n;
	}
	out[len] = '\0';
	return 0;
}

static int get_path(struct parser *p, const struct key *k,
		    struct json_object *v, char *out)
{
	char text[VM_PATH_LEN], path[VM_PATH_LEN];
	int r = get_text(p, k, v, text);

	if (!r)
		r = expand(p, k, text, path, sizeof(path));
	if (r)
		return r;
	if (!*path || *path == '/' || !*p->dir) {
		strcpy(out, path);
		return 0;
	}
	if (snprintf(out, k->room, "%s/%s", p->dir, path) >= (int)k->room)
		return wrong(p, k->name, "a shorter path");
	return 0;
}

static int get_size(struct parser *p, const struct key *k,
		    struct json_object *v, uint64_t *out)
{
	struct error why = {0};

	if (json_object_is_type(v, json_type_int)) {
		int64_t n = json_object_get_int64(v);

		if (n <= 0 || n == INT64_MAX)
			return wrong(p, k->name, "a size above zero");
		*out = (uint64_t)n;
		return 0;
	}
	if (!json_object_is_type(v, json_type_string))
		return wrong(p, k->name,
			     "a number of bytes or a text like \"512M\"");
	if (vm_parse_size(json_object_get_string(v), out, &why))
		return error_set(p->e, why.code, "key '%s%s': %s", p->where,
				 k->name, why.msg);
	return 0;
}

static int get_count(struct parser *p, const struct key *k,
		     struct json_object *v, unsigned *out)
{
	int64_t n = json_object_get_int64(v);

	if (!json_object_is_type(v, json_type_int) || n < 1 || n > k->max)
		return error_set(p->e, -EINVAL,
				 "key '%s%s' must be a number from 1 to %u",
				 p->where, k->name, k->max);
	*out = (unsigned)n;
	return 0;
}

static int get_value(struct parser *p, const struct key *k,
		     struct json_object *v, void *obj)
{
	void *out = (char *)obj + k->offset;

	switch (k->type) {
	case KEY_TEXT:
		return get_text(p, k, v, out);
	case KEY_PATH:
		return get_path(p, k, v, out);
	case KEY_SIZE:
		return get_size(p, k, v, out);
	case KEY_COUNT:
		return get_count(p, k, v, out);
	case KEY_BOOL:
		if (!json_object_is_type(v, json_type_boolean))
			return wrong(p, k->name, "true or false");
		*(bool *)out = json_object_get_boolean(v);
		return 0;
	case KEY_CALL:
		return k->call(p, v, obj);
	}
	return -EINVAL;
}

static int unknown_key(struct parser *p, const struct key *keys, unsigned nr,
		       const char *name)
{
	char known[240];
	size_t len = 0;

	known[0] = '\0';
	for (unsigned i = 0; i < nr && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len,
					"%s%s", i ? ", " : "", keys[i].name);
	return error_set(p->e, -EINVAL, "key '%s%.24s' is not known; known: %s",
			 p->where, name, known);
}

static int get_object(struct parser *p, const struct key *keys, unsigned nr,
		      struct json_object *obj, void *out)
{
	json_object_object_foreach(obj, name, v)
	{
		const struct key *k = keys;
		int r;

		while (k < keys + nr && strcmp(k->name, name))
			k++;
		if (k == keys + nr)
			return unknown_key(p, keys, nr, name);
		r = get_value(p, k, v, out);
		if (r)
			return r;
	}
	return 0;
}

/* ---- disks ---- */

static const struct key disk_keys[] = {
	KEY(vm_disk_config, "path", KEY_PATH, path),
	KEY(vm_disk_config, "format", KEY_TEXT, format),
	KEY(vm_disk_config, "cache", KEY_TEXT, cache),
	KEY(vm_disk_config, "aio", KEY_TEXT, aio),
	KEY(vm_disk_config, "cache_size", KEY_SIZE, cache_len),
	{.name = "max_unflushed_age",
	 .type = KEY_COUNT,
	 .offset = offsetof(struct vm_disk_config, max_unflushed_s),
	 .max = VM_MAX_UNFLUSHED},
	KEY(vm_disk_config, "werror", KEY_TEXT, werror),
	KEY(vm_disk_config, "rerror", KEY_TEXT, rerror),
	KEY(vm_disk_config, "bus", KEY_TEXT, bus),
	KEY(vm_disk_config, "cdrom", KEY_BOOL, cdrom),
	KEY(vm_disk_config, "readonly", KEY_BOOL, readonly),
	KEY(vm_disk_config, "scratch", KEY_BOOL, scratch),
	KEY(vm_disk_config, "volatile", KEY_BOOL, is_volatile),
};

#define NR(a) (sizeof(a) / sizeof((a)[0]))

static int get_disks(struct parser *p, struct json_object *v, void *obj)
{
	struct vm_config *cfg = obj;
	size_t n;

	if (!json_object_is_type(v, json_type_array))
		return wrong(p, "disks", "a list of disks: [{...}, ...]");
	n = json_object_array_length(v);
	if (n > VM_MAX_DISKS)
		return error_set(p->e, -EINVAL,
				 "key 'disks' has %zu entries; allowed: up to "
				 "%d",
				 n, VM_MAX_DISKS);
	cfg->nr_disks = 0;
	for (size_t i = 0; i < n; i++) {
		struct json_object *d = json_object_array_get_idx(v, i);
		struct vm_disk_config *disk = &cfg->disks[i];
		char where[24];
		struct parser sub = {p->dir, p->e, where};
		int r;

		snprintf(where, sizeof(where), "disks[%zu].", i);
		if (!json_object_is_type(d, json_type_object))
			return wrong(p, "disks", "a list of objects {...}");
		memset(disk, 0, sizeof(*disk));
		r = get_object(&sub, disk_keys, NR(disk_keys), d, disk);
		if (r)
			return r;
		if (!*disk->bus)
			strcpy(disk->bus, vm_disk_usual_bus(disk->cdrom));
		cfg->nr_disks = i + 1;
	}
	return 0;
}

/* ---- the machine ---- */

static const struct key machine_keys[] = {
	KEY(vm_config, "name", KEY_TEXT, name),
	KEY(vm_config, "description", KEY_TEXT, description),
	KEY(vm_config, "memory", KEY_SIZE, mem),
	{.name = "cpus",
	 .type = KEY_COUNT,
	 .offset = offsetof(struct vm_config, cpus),
	 .max = VM_MAX_VCPUS},
	KEY(vm_config, "kernel", KEY_PATH, kernel),
	KEY(vm_config, "initrd", KEY_PATH, initrd),
	KEY(vm_config, "append", KEY_TEXT, append),
	KEY(vm_config, "firmware", KEY_PATH, firmware),
	{.name = "disks", .type = KEY_CALL, .call = get_disks},
	KEY(vm_config, "option_rom", KEY_PATH, option_rom),
	KEY(vm_config, "boot_order", KEY_TEXT, boot_order),
	KEY(vm_config, "vga", KEY_BOOL, vga),
	KEY(vm_config, "tablet", KEY_BOOL, tablet),
	KEY(vm_config, "rng", KEY_BOOL, rng),
	KEY(vm_config, "debug_exit", KEY_BOOL, debug_exit),
	KEY(vm_config, "serial", KEY_TEXT, serial),
	KEY(vm_config, "vnc", KEY_TEXT, vnc),
	KEY(vm_config, "vnc_password_file", KEY_PATH, vnc_password_file),
};

static unsigned line_of(const char *text, size_t off)
{
	unsigned line = 1;

	for (size_t i = 0; i < off && text[i]; i++)
		line += text[i] == '\n';
	return line;
}

static struct json_object *parse_text(const char *text, struct error *e)
{
	struct json_tokener *tok = json_tokener_new_ex(8);
	struct json_object *root = NULL;
	enum json_tokener_error err;
	size_t len = strlen(text);

	if (!tok) {
		error_set(e, -ENOMEM, "no memory to read JSON");
		return NULL;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	/* With its NUL: the parser then knows that no more will come. */
	if (len < INT_MAX)
		root = json_tokener_parse_ex(tok, text, (int)len + 1);
	err = json_tokener_get_error(tok);
	if (err != json_tokener_success || !root) {
		error_set(e, -EINVAL, "line %u: not JSON: %s",
			  line_of(text, json_tokener_get_parse_end(tok)),
			  err == json_tokener_success
				  ? "no object"
				  : json_tokener_error_desc(err));
		json_object_put(root);
		root = NULL;
	}
	json_tokener_free(tok);
	return root;
}

int vm_config_parse(struct vm_config *cfg, const char *json, const char *dir,
		    struct error *e)
{
	struct error why = {0};
	struct parser p = {dir ? dir : "", &why, ""};
	struct json_object *root = parse_text(json, &why);
	int r = why.code;

	if (root && !json_object_is_type(root, json_type_object))
		r = error_set(&why, -EINVAL,
			      "a machine is an object: {\"name\": ...}");
	else if (root)
		r = get_object(&p, machine_keys, NR(machine_keys), root, cfg);
	json_object_put(root);
	if (!r)
		r = config_check(cfg, &why);
	if (r && e)
		*e = why;
	return r;
}

/* ---- files ---- */

static char *read_text(const char *path, struct error *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text = NULL;
	ssize_t n;

	if (fd < 0) {
		error_errno(e, errno, "opening machine file '%s'", path);
		return NULL;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    st.st_size > FILE_MAX_LEN) {
		error_set(e, -EINVAL,
			  "machine file '%s' is not a regular file of at most "
			  "1 MiB",
			  path);
		goto out;
	}
	text = calloc(1, (size_t)st.st_size + 1);
	n = text ? read(fd, text, (size_t)st.st_size) : -1;
	if (n < 0) {
		error_errno(e, errno, "reading machine file '%s'", path);
		free(text);
		text = NULL;
	}
out:
	close(fd);
	return text;
}

/* "/a/b/debian.json" names the machine "debian". */
static void name_from_path(struct vm_config *cfg, const char *path)
{
	const char *base = strrchr(path, '/');
	size_t len;

	base = base ? base + 1 : path;
	len = strcspn(base, ".");
	if (len && len < sizeof(cfg->name))
		snprintf(cfg->name, sizeof(cfg->name), "%.*s", (int)len, base);
}

int vm_config_load(struct vm_config *cfg, const char *path, struct error *e)
{
	const char *slash = strrchr(path, '/');
	char dir[VM_PATH_LEN];
	char *text;
	int r;

	if (strlen(path) >= sizeof(dir))
		return error_set(e, -ENAMETOOLONG,
				 "machine file '%.60s...': path too long",
				 path);
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1,
		 slash ? path : ".");
	if (slash == path)
		strcpy(dir, "/");
	text = read_text(path, e);
	if (!text)
		return e ? e->code : -EINVAL;
	vm_config_init(cfg);
	name_from_path(cfg, path);
	r = vm_config_parse(cfg, text, dir, e);
	free(text);
	return r ? error_prefix(e, r, "machine file '%s'", path) : 0;
}
