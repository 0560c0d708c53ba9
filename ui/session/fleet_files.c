/* The folder of machine files, and the examples that fill it at first. */
#include "ui/session/fleet_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ui/session/fleet.h"

#define MACHINE_FILE_MAX (1 << 20)

static int is_machine_file(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > 5 && d->d_name[0] != '.' &&
	       !strcmp(d->d_name + len - 5, ".json");
}

void fleet_scan(struct fleet *f, const char *dir)
{
	char path[1024], name[256];
	struct dirent **list;
	int n = scandir(dir, &list, is_machine_file, alphasort);

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		snprintf(name, sizeof(name), "%.*s",
			 (int)strlen(list[i]->d_name) - 5, list[i]->d_name);
		fleet_add_file(f, path, name);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	fleet_drop_missing(f);
}

static int make_folders(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0777) && errno != EEXIST) {
			*p = '/';
			return -errno;
		}
		*p = '/';
	}
	if (mkdir(path, 0777) && errno != EEXIST)
		return -errno;
	return 0;
}

static int copy_file(const char *from, const char *to)
{
	char *buf;
	size_t len;
	FILE *in, *out;
	int ret = -EIO;

	in = fopen(from, "re");
	if (!in)
		return -errno;
	buf = malloc(MACHINE_FILE_MAX);
	out = buf ? fopen(to, "wxe") : NULL;
	if (out) {
		len = fread(buf, 1, MACHINE_FILE_MAX, in);
		if (fwrite(buf, 1, len, out) == len)
			ret = 0;
		if (fclose(out))
			ret = -EIO;
	}
	free(buf);
	fclose(in);
	return ret;
}

static void copy_examples(const char *share, const char *dir)
{
	char from[2048], to[2048];
	struct dirent **list;
	int n;

	snprintf(from, sizeof(from), "%s/machines", share);
	n = scandir(from, &list, is_machine_file, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(from, sizeof(from), "%s/machines/%s", share,
			 list[i]->d_name);
		snprintf(to, sizeof(to), "%s/%s", dir, list[i]->d_name);
		copy_file(from, to);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

int fleet_folder(char *buf, size_t len, const char *share, struct error *e)
{
	const char *config = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	struct stat st;
	int n, ret;

	if (config && *config == '/')
		n = snprintf(buf, len, "%s/binnacle/machines", config);
	else if (home && *home == '/')
		n = snprintf(buf, len, "%s/.config/binnacle/machines", home);
	else
		return error_set(e, -ENOENT,
				 "neither XDG_CONFIG_HOME nor HOME names a "
				 "folder for machine files");
	if (n < 0 || (size_t)n >= len)
		return error_set(e, -ENAMETOOLONG,
				 "the path of the config folder is too long");
	if (!stat(buf, &st))
		return 0;
	ret = make_folders(buf);
	if (ret)
		return error_errno(e, -ret, "making '%s'", buf);
	if (share)
		copy_examples(share, buf);
	return 0;
}
