#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/vm_config.h"
#include "core/error.h"
#include "core/vm.h"

static int parse(const char *json, struct vm_config *cfg, struct error *e)
{
	memset(e, 0, sizeof(*e));
	vm_config_init(cfg);
	return vm_config_parse(cfg, json, "/vms", e);
}

static void all_keys_are_read(void **state)
{
	struct vm_config c;
	struct error e;

	(void)state;
	setenv("BINNACLE_SHARE", "/share/of/it", 1);
	assert_int_equal(
		parse("{\"name\":\"a b\",\"description\":\"d\","
		      "\"memory\":\"2G\",\"cpus\":16,\"kernel\":\"bz\","
		      "\"initrd\":\"/i\",\"append\":\"q=1\","
		      "\"firmware\":\"${SHARE}/f.bin\","
		      "\"option_rom\":\"r\",\"boot_order\":\"dc\","
		      "\"vga\":false,\"tablet\":false,\"rng\":false,"
		      "\"debug_exit\":true,\"vnc\":\"127.0.0.1:1\","
		      "\"vnc_password_file\":\"p\",\"disks\":["
		      "{\"path\":\"a.img\",\"format\":\"raw\","
		      "\"cache\":\"none\",\"readonly\":true,"
		      "\"cache_size\":\"4M\",\"max_unflushed_age\":30,"
		      "\"werror\":\"stop\",\"rerror\":\"ignore\"},"
		      "{\"cdrom\":true},"
		      "{\"path\":\"b.img\",\"bus\":\"ahci\"}]}",
		      &c, &e),
		0);
	assert_string_equal(c.name, "a b");
	assert_true(c.mem == 2ull << 30);
	assert_int_equal(c.cpus, 16);
	assert_string_equal(c.kernel, "/vms/bz");
	assert_string_equal(c.initrd, "/i");
	assert_string_equal(c.append, "q=1");
	assert_string_equal(c.firmware, "/share/of/it/f.bin");
	assert_string_equal(c.boot_order, "dc");
	assert_false(c.vga || c.tablet || c.rng);
	assert_true(c.debug_exit);
	assert_int_equal(c.nr_disks, 3);
	assert_string_equal(c.disks[0].path, "/vms/a.img");
	assert_string_equal(c.disks[0].bus, "virtio");
	assert_true(c.disks[0].readonly);
	assert_int_equal(c.disks[0].cache_len, 4 << 20);
	assert_int_equal(c.disks[0].max_unflushed_s, 30);
	assert_string_equal(c.disks[0].werror, "stop");
	assert_string_equal(c.disks[0].rerror, "ignore");
	assert_string_equal(c.disks[1].bus, "ahci");
	assert_string_equal(c.disks[1].path, "");
	assert_string_equal(c.disks[2].bus, "ahci");
	unsetenv("BINNACLE_SHARE");
}

static void an_empty_object_is_the_default(void **state)
{
	struct vm_config c;
	struct error e;

	(void)state;
	assert_int_equal(parse("{}", &c, &e), 0);
	assert_true(c.mem == 512ull << 20);
	assert_int_equal(c.cpus, 1);
	assert_true(c.vga && c.tablet && c.rng && !c.debug_exit);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *json, *says;
	} cases[] = {
		{"{\"cpu\":1}", "key 'cpu' is not known; known: name, "},
		{"{\"cpus\":0}", "key 'cpus' must be a number from 1 to 16"},
		{"{\"cpus\":17}", "key 'cpus' must be a number from 1 to 16"},
		{"{\"cpus\":\"2\"}", "key 'cpus' must be a number"},
		{"{\"cpus\":99999999999999999999}", "key 'cpus' must be"},
		{"{\"memory\":true}", "key 'memory' must be a number of bytes"},
		{"{\"memory\":-1}", "key 'memory' must be a size above zero"},
		{"{\"memory\":\"12x\"}", "key 'memory': '12x' is not a size"},
		{"{\"memory\":\"1K\"}", "memory of 1024 bytes; allowed: 1M"},
		{"{\"memory\":1048577}", "in steps of 4K"},
		{"{\"vga\":1}", "key 'vga' must be true or false"},
		{"{\"name\":7}", "key 'name' must be a text in quotes"},
		{"{\"name\":\"\"}", "no name"},
		{"{\"name\":\"a/b\"}", "slash"},
		{"{\"name\":\"a\\u0000b\"}", "without NUL"},
		{"{\"kernel\":\"${HOME}/k\"}", "only ${...} is ${SHARE}"},
		{"{\"append\":\"x\"}", "needs a kernel"},
		{"{\"boot_order\":\"x\"}", "boot order 'x' is not known"},
		{"{\"boot_order\":\"cc\"}", "boot order 'cc' is not known"},
		{"{\"disks\":{}}", "key 'disks' must be a list"},
		{"{\"disks\":[1]}", "key 'disks' must be a list of objects"},
		{"{\"disks\":[{}]}", "disk 0: no path"},
		{"{\"disks\":[{\"path\":\"a\"},{\"bus\":\"floppy\"}]}",
		 "disk 1: there is no bus '"},
		{"{\"disks\":[{\"size\":1}]}", "key 'disks[0].size' is not"},
		{"{\"disks\":[{\"path\":\"a\",\"format\":\"qed\"}]}",
		 "format 'qed' is not known; allowed: raw"},
		{"{\"disks\":[{\"path\":\"a\",\"cache\":\"wb\"}]}", "disk 0: "},
		{"{\"serial\":\"tcp:1\"}", "serial 'tcp:1' is not known"},
		{"{\"disks\":[{\"cdrom\":true,\"scratch\":true}]}",
		 "nothing is written to a CD-ROM"},
		{"{\"disks\":[{\"cdrom\":true,\"bus\":\"virtio\"}]}",
		 "for a CD-ROM drive; allowed: "},
		{"[]", "a machine is an object"},
		{"", "not JSON"},
		{"{\n\"cpus\": 1,\n}", "line 3: not JSON"},
		{"{} {}", "not JSON"},
		{"{\"name\":[[[[[[[[[[[1]]]]]]]]]]]}", "not JSON"},
	};
	struct vm_config c;
	struct error e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(parse(cases[i].json, &c, &e) < 0);
		if (!strstr(e.msg, cases[i].says))
			fail_msg("%s: '%s' lacks '%s'", cases[i].json, e.msg,
				 cases[i].says);
	}
}

static void long_values_are_refused(void **state)
{
	static const char *const keys[] = {"name",   "description", "append",
					   "kernel", "boot_order",  "vnc"};
	char json[8192], value[4096];
	struct vm_config c;
	struct error e;

	(void)state;
	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		snprintf(json, sizeof(json), "{\"%s\":\"%s\"}", keys[i], value);
		assert_int_equal(parse(json, &c, &e), -EINVAL);
		assert_non_null(strstr(e.msg, keys[i]));
	}
	snprintf(json, sizeof(json), "{\"%s\":1}", value);
	assert_int_equal(parse(json, &c, &e), -EINVAL);
	/* Just short enough alone, too long behind the folder. */
	value[VM_PATH_LEN - 2] = '\0';
	snprintf(json, sizeof(json), "{\"kernel\":\"%s\"}", value);
	assert_int_equal(parse(json, &c, &e), -EINVAL);
}

static void sizes_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t v;
	} good[] = {{"1", 1},
		    {"4k", 4096},
		    {"512M", 512ull << 20},
		    {"512MiB", 512ull << 20},
		    {"2G", 2ull << 30},
		    {"1T", 1ull << 40}};
	static const char *const bad[] = {"",
					  "M",
					  "-1",
					  "1.5G",
					  "0x10",
					  " 1",
					  "1Q",
					  "1MM",
					  "1 M",
					  "99999999999999999999",
					  "18446744073709551615K"};
	struct error e;
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(vm_parse_size(good[i].text, &v, &e), 0);
		assert_true(v == good[i].v);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vm_parse_size(bad[i], &v, &e), -EINVAL);
}

static void files_are_loaded(void **state)
{
	char path[] = "/tmp/binnacle-config-XXXXXX.json";
	int fd = mkstemps(path, 5);
	struct vm_config c;
	struct error e = {0};
	const char *text = "{\"kernel\":\"vmlinux\"}";

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(vm_config_load(&c, path, &e), 0);
	assert_string_equal(c.kernel, "/tmp/vmlinux");
	assert_int_equal(strncmp(c.name, "binnacle-config-", 16), 0);
	assert_int_equal(ftruncate(fd, 5), 0);
	assert_int_equal(vm_config_load(&c, path, &e), -EINVAL);
	assert_non_null(strstr(e.msg, path));
	unlink(path);
	close(fd);
	assert_int_equal(vm_config_load(&c, path, &e), -ENOENT);
	assert_int_equal(vm_config_load(&c, "/tmp", &e), -EINVAL);
	assert_int_equal(vm_config_load(&c, path, NULL) < 0, 1);
}

static void altered_files_never_harm(void **state)
{
	static const char sample[] =
		"{\"name\":\"n\",\"memory\":\"64M\",\"cpus\":2,\"vga\":true,"
		"\"disks\":[{\"path\":\"a\",\"cache\":\"none\"}]}";
	struct vm_config c;
	struct error e;
	unsigned seed = 3;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char *text = malloc(sizeof(sample));
		int n = 1 + rand_r(&seed) % 4;

		memcpy(text, sample, sizeof(sample));
		while (n--)
			text[(unsigned)rand_r(&seed) % (sizeof(sample) - 1)] =
				(char)rand_r(&seed);
		if (parse(text, &c, &e))
			assert_true(e.msg[0] != '\0');
		else
			assert_int_equal(config_check(&c, &e), 0);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_keys_are_read),
		cmocka_unit_test(an_empty_object_is_the_default),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(long_values_are_refused),
		cmocka_unit_test(sizes_are_read),
		cmocka_unit_test(files_are_loaded),
		cmocka_unit_test(altered_files_never_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
