#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ui/cli/cli.h"

#define PARSE(o, e, ...) parse(o, e, (char *[]){"run", ##__VA_ARGS__, NULL})

static int parse(struct run_options *o, struct error *e, char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	memset(e, 0, sizeof(*e));
	return run_options_parse(argc, argv, o, e);
}

static void defaults_are_a_small_pc(void **state)
{
	struct run_options o;
	struct error e;

	(void)state;
	assert_int_equal(PARSE(&o, &e), 0);
	assert_int_equal(o.config.cpus, 1);
	assert_int_equal(o.config.mem, 512ull << 20);
	assert_true(o.config.vga);
	assert_false(o.headless);
}

static void every_option_reaches_the_config(void **state)
{
	struct run_options o;
	struct error e;

	(void)state;
	assert_int_equal(PARSE(&o, &e, "--kernel", "k", "--initrd", "i",
			       "--append", "a b", "--mem", "2G", "--cpus", "4",
			       "--disk",
			       "d.img,cache=none,bus=ahci,readonly,"
			       "cache-size=2M,max-unflushed-age=30,"
			       "werror=report,rerror=stop",
			       "--cdrom", "c.iso", "--vnc", "127.0.0.1:1",
			       "--serial", "none", "--headless"),
			 0);
	assert_string_equal(o.config.kernel, "k");
	assert_string_equal(o.config.append, "a b");
	assert_int_equal(o.config.mem, 2ull << 30);
	assert_int_equal(o.config.cpus, 4);
	assert_int_equal(o.config.nr_disks, 2);
	assert_string_equal(o.config.disks[0].path, "d.img");
	assert_string_equal(o.config.disks[0].cache, "none");
	assert_int_equal(o.config.disks[0].cache_len, 2 << 20);
	assert_int_equal(o.config.disks[0].max_unflushed_s, 30);
	assert_string_equal(o.config.disks[0].werror, "report");
	assert_string_equal(o.config.disks[0].rerror, "stop");
	assert_string_equal(o.config.disks[0].bus, "ahci");
	assert_true(o.config.disks[0].readonly);
	assert_true(o.config.disks[1].cdrom);
	assert_string_equal(o.config.vnc, "127.0.0.1:1");
	assert_true(o.headless);
}

static void mistakes_are_named(void **state)
{
	struct run_options o;
	struct error e;

	(void)state;
	assert_int_equal(PARSE(&o, &e, "--cpus", "17"), -EINVAL);
	assert_non_null(strstr(e.msg, "1 to 16"));
	assert_int_equal(PARSE(&o, &e, "--mem", "much"), -EINVAL);
	assert_non_null(strstr(e.msg, "--mem"));
	assert_int_equal(PARSE(&o, &e, "--frobnicate"), -EINVAL);
	assert_non_null(strstr(e.msg, "--frobnicate"));
	assert_int_equal(PARSE(&o, &e, "--kernel"), -EINVAL);
	assert_non_null(strstr(e.msg, "needs a value"));
	assert_int_equal(PARSE(&o, &e, "--disk", "a,speed=high"), -EINVAL);
	assert_non_null(strstr(e.msg, "speed=high"));
	assert_int_equal(PARSE(&o, &e, "--disk", "a,max-unflushed-age=0"),
			 -EINVAL);
	assert_non_null(strstr(e.msg, "from 1 to 86400"));
	assert_int_equal(PARSE(&o, &e, "--headless", "x.json"), -EINVAL);
	assert_non_null(strstr(e.msg, "x.json"));
}

static void too_many_disks_are_refused(void **state)
{
	char *argv[2 * (VM_MAX_DISKS + 1) + 2] = {"run"};
	struct run_options o;
	struct error e;
	int i;

	(void)state;
	for (i = 0; i <= VM_MAX_DISKS; i++) {
		argv[1 + 2 * i] = "--disk";
		argv[2 + 2 * i] = "d.img";
	}
	assert_int_equal(parse(&o, &e, argv), -EINVAL);
	assert_non_null(strstr(e.msg, "disks"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_a_small_pc),
		cmocka_unit_test(every_option_reaches_the_config),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(too_many_disks_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
