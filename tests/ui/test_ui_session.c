/* Settings, configurations that travel, and the session's door. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/error.h"
#include "core/vm.h"
#include "ui/session/config_json.h"
#include "ui/session/fleet.h"
#include "ui/session/settings.h"
#include "ui/session/socket.h"

static void settings_are_checked(void **state)
{
	struct settings s;
	struct error e = {0};
	struct key k;

	(void)state;
	settings_init(&s);
	key_parse("Ctrl-O", &k);
	assert_true(key_equal(&s.escape, &k));
	assert_int_equal(settings_parse(&s,
					"{\"escape\": \"F12\", "
					"\"mouse\": false, "
					"\"theme\": \"night\"}",
					"config.json", &e),
			 0);
	key_parse("F12", &k);
	assert_true(key_equal(&s.escape, &k));
	assert_false(s.mouse);
	assert_string_equal(s.theme, "night");
	assert_int_equal(
		settings_parse(&s, "{\"escape\": \"Hyper-x\"}", "c", &e),
		-EINVAL);
	assert_non_null(strstr(e.msg, "Hyper-x"));
	assert_int_equal(settings_parse(&s, "{\"them\": \"x\"}", "c", &e),
			 -EINVAL);
	assert_non_null(strstr(e.msg, "them"));
	assert_int_equal(settings_parse(&s, "[", "c", &e), -EINVAL);
	assert_int_equal(settings_parse(&s, "{\"mouse\": 3}", "c", &e),
			 -EINVAL);
	/* Nothing of a bad file is taken. */
	settings_parse(&s, "{\"theme\": \"paper\", \"bad\": 1}", "c", &e);
	assert_string_equal(s.theme, "night");
}

static void configuration_travels(void **state)
{
	struct vm_config a, b;
	struct json_object *o;
	struct error e = {0};

	(void)state;
	vm_config_init(&a);
	strcpy(a.name, "traveller");
	strcpy(a.description, "quotes \" and \\ and \xc3\xa4");
	a.mem = 768ull << 20;
	a.cpus = 3;
	strcpy(a.kernel, "/boot/vmlinuz");
	strcpy(a.append, "console=ttyS0 quiet");
	a.nr_disks = 2;
	strcpy(a.disks[0].path, "/a.img");
	strcpy(a.disks[0].bus, "virtio");
	strcpy(a.disks[0].cache, "none");
	a.disks[0].scratch = true;
	a.disks[0].max_unflushed_s = 7;
	strcpy(a.disks[0].werror, "stop");
	strcpy(a.disks[0].rerror, "ignore");
	a.disks[1].cdrom = a.disks[1].readonly = true;
	strcpy(a.disks[1].bus, "ahci");
	strcpy(a.boot_order, "dc");
	a.tablet = false;
	a.debug_exit = true;
	strcpy(a.vnc, "127.0.0.1:7");
	o = config_to_json(&a);
	vm_config_init(&b);
	if (vm_config_parse(&b, json_object_to_json_string(o), "/", &e))
		fail_msg("%s", e.msg);
	json_object_put(o);
	assert_memory_equal(&a, &b, sizeof(a));
}

/* ---- the door ---- */

struct door {
	char folder[64];
	int fd;
};

static int open_door(void **state)
{
	struct door *d = calloc(1, sizeof(*d));
	struct error e = {0};
	char folder[200];

	strcpy(d->folder, "/tmp/binnacle-test-XXXXXX");
	assert_non_null(mkdtemp(d->folder));
	setenv("XDG_RUNTIME_DIR", d->folder, 1);
	if (socket_folder(folder, sizeof(folder), &e))
		fail_msg("%s", e.msg);
	strcat(d->folder, "/binnacle");
	assert_string_equal(folder, d->folder);
	d->fd = socket_listen(d->folder, &e);
	if (d->fd < 0)
		fail_msg("%s", e.msg);
	*state = d;
	return 0;
}

static int close_door(void **state)
{
	struct door *d = *state;

	close(d->fd);
	socket_remove(d->folder);
	rmdir(d->folder);
	*strrchr(d->folder, '/') = '\0';
	rmdir(d->folder);
	free(d);
	return 0;
}

static void folder_is_private(void **state)
{
	struct door *d = *state;
	struct error e = {0};
	char folder[200];
	struct stat st;

	assert_int_equal(stat(d->folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	/* A folder that others can enter is refused. */
	chmod(d->folder, 0755);
	assert_int_equal(socket_folder(folder, sizeof(folder), &e), -EPERM);
	assert_non_null(strstr(e.msg, "chmod 700"));
	chmod(d->folder, 0700);
}

static void second_session_is_refused(void **state)
{
	struct door *d = *state;
	int fd;

	assert_int_equal(socket_listen(d->folder, NULL), -EADDRINUSE);
	/* A door without a session behind it is replaced. */
	close(d->fd);
	assert_int_equal(socket_connect(d->folder, NULL), -ENOENT);
	d->fd = socket_listen(d->folder, NULL);
	assert_true(d->fd >= 0);
	fd = socket_connect(d->folder, NULL);
	assert_true(fd >= 0);
	close(fd);
}

static void lines_and_descriptors_pass(void **state)
{
	struct channel a, b;
	struct json_object *o, *v;
	int pair[2], pipes[2];
	bool bad;

	(void)state;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(channel_init(&a, pair[0]), 0);
	assert_int_equal(channel_init(&b, pair[1]), 0);
	o = json_object_new_object();
	json_object_object_add(o, "x", json_object_new_int(7));
	assert_int_equal(channel_send(&a, o, pipes[1]), 0);
	assert_int_equal(channel_read(&b), 0);
	o = channel_next(&b, &bad);
	assert_non_null(o);
	assert_true(json_object_object_get_ex(o, "x", &v));
	assert_int_equal(json_object_get_int(v), 7);
	json_object_put(o);
	assert_null(channel_next(&b, &bad));
	assert_true(b.passed >= 0);
	assert_int_equal(write(b.passed, "!", 1), 1);
	/* Two lines at once, and a half. */
	assert_int_equal(write(pair[0], "{\"a\":1}\n{\"b\":2}\n{\"c\"", 21),
			 21);
	channel_read(&b);
	for (int i = 0; i < 2; i++) {
		o = channel_next(&b, &bad);
		assert_non_null(o);
		json_object_put(o);
	}
	assert_null(channel_next(&b, &bad));
	assert_false(bad);
	assert_int_equal(write(pair[0], "]\n", 2), 2);
	channel_read(&b);
	assert_null(channel_next(&b, &bad));
	assert_true(bad);
	channel_fini(&a);
	assert_int_equal(channel_read(&b), -EPIPE);
	channel_fini(&b);
	close(pipes[0]);
	close(pipes[1]);
}

static void endless_line_is_refused(void **state)
{
	struct channel b;
	char junk[4096];
	int pair[2], ret = 0;

	(void)state;
	memset(junk, 'x', sizeof(junk));
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(channel_init(&b, pair[1]), 0);
	for (int i = 0; i < 100 && !ret; i++) {
		if (write(pair[0], junk, sizeof(junk)) < 0)
			assert_int_equal(errno, EAGAIN);
		ret = channel_read(&b);
	}
	assert_int_equal(ret, -EMSGSIZE);
	channel_fini(&b);
	close(pair[0]);
}

/* ---- machine files ---- */

static void first_start_copies_examples(void **state)
{
	char home[] = "/tmp/binnacle-test-XXXXXX", dir[1024], path[2048];
	struct error e = {0};

	(void)state;
	assert_non_null(mkdtemp(home));
	snprintf(path, sizeof(path), "%s/deep/er", home);
	setenv("XDG_CONFIG_HOME", path, 1);
	if (fleet_folder(dir, sizeof(dir), SHARE_DIR, &e))
		fail_msg("%s", e.msg);
	snprintf(path, sizeof(path), "%s/demo.json", dir);
	assert_int_equal(access(path, R_OK), 0);
	/* What a person deleted does not come back. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(fleet_folder(dir, sizeof(dir), SHARE_DIR, &e), 0);
	assert_int_equal(access(path, R_OK), -1);
	snprintf(path, sizeof(path), "rm -rf '%s'", home);
	assert_int_equal(system(path), 0);
}

int main(void)
{
#define DOOR_TEST(f) cmocka_unit_test_setup_teardown(f, open_door, close_door)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_are_checked),
		cmocka_unit_test(configuration_travels),
		DOOR_TEST(folder_is_private),
		DOOR_TEST(second_session_is_refused),
		cmocka_unit_test(lines_and_descriptors_pass),
		cmocka_unit_test(endless_line_is_refused),
		cmocka_unit_test(first_start_copies_examples),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
