#include "ui/session/config_json.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/vm.h"

static void add_text(struct json_object *o, const char *key, const char *text)
{
	if (*text)
		json_object_object_add(o, key, json_object_new_string(text));
}

/* The session may sit in another folder.  prefix stays in front. */
static void add_path(struct json_object *o, const char *key, const char *prefix,
		     const char *path)
{
	char cwd[VM_PATH_LEN] = "", full[2 * VM_PATH_LEN + 16];

	if (!*path)
		return;
	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		cwd[0] = '\0';
	snprintf(full, sizeof(full), "%s%s%s%s", prefix, cwd, *cwd ? "/" : "",
		 path);
	add_text(o, key, full);
}

static void add_serial(struct json_object *o, const char *serial)
{
	if (!strncmp(serial, "file:", 5))
		add_path(o, "serial", "file:", serial + 5);
	else
		add_text(o, "serial", serial);
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

static struct json_object *disk_to_json(const struct vm_disk_config *d)
{
	struct json_object *o = json_object_new_object();

	add_path(o, "path", "", d->path);
	add_text(o, "format", d->format);
	add_text(o, "cache", d->cache);
	add_text(o, "aio", d->aio);
	if (d->cache_len)
		json_object_object_add(o, "cache_size",
				       json_object_new_uint64(d->cache_len));
	if (d->max_unflushed_s)
		json_object_object_add(
			o, "max_unflushed_age",
			json_object_new_uint64(d->max_unflushed_s));
	add_text(o, "werror", d->werror);
	add_text(o, "rerror", d->rerror);
	add_text(o, "bus", d->bus);
	add_bool(o, "cdrom", d->cdrom);
	add_bool(o, "readonly", d->readonly);
	add_bool(o, "scratch", d->scratch);
	add_bool(o, "volatile", d->is_volatile);
	return o;
}

struct json_object *config_to_json(const struct vm_config *cfg)
{
	struct json_object *o = json_object_new_object();
	struct json_object *disks = json_object_new_array();

	add_text(o, "name", cfg->name);
	add_text(o, "description", cfg->description);
	json_object_object_add(o, "memory",
			       json_object_new_int64((int64_t)cfg->mem));
	json_object_object_add(o, "cpus",
			       json_object_new_int((int32_t)cfg->cpus));
	add_path(o, "kernel", "", cfg->kernel);
	add_path(o, "initrd", "", cfg->initrd);
	add_text(o, "append", cfg->append);
	add_path(o, "firmware", "", cfg->firmware);
	for (unsigned i = 0; i < cfg->nr_disks && i < VM_MAX_DISKS; i++)
		json_object_array_add(disks, disk_to_json(&cfg->disks[i]));
	json_object_object_add(o, "disks", disks);
	add_path(o, "option_rom", "", cfg->option_rom);
	add_text(o, "boot_order", cfg->boot_order);
	add_bool(o, "vga", cfg->vga);
	add_bool(o, "tablet", cfg->tablet);
	add_bool(o, "rng", cfg->rng);
	add_bool(o, "debug_exit", cfg->debug_exit);
	add_serial(o, cfg->serial);
	add_text(o, "vnc", cfg->vnc);
	add_path(o, "vnc_password_file", "", cfg->vnc_password_file);
	return o;
}
