#include "ui/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ui/session/session.h"

static void print_run_help(void)
{
	const char *line;
	char text[128];

	cli_help(&command_run);
	printf("\nOptions:\n%s\nBuses:\n", run_options_help);
	for (unsigned i = 0; (line = vm_disk_bus_help(i, text)); i++)
		printf("  %s\n", line);
	puts("\nCache modes:");
	for (unsigned i = 0; (line = vm_cache_mode_help(i, text)); i++)
		printf("  %s\n", line);
}

static int run(int argc, char **argv)
{
	struct session_options session;
	struct run_options o;
	struct error e = {0};

	if (run_options_parse(argc, argv, &o, &e))
		return cli_fail(&e);
	if (o.help) {
		print_run_help();
		return 0;
	}
	if (o.headless)
		return headless_run(&o.config);
	session = cli_session_options();
	if (session_run_machine(&session, &o.config, &e))
		return cli_fail(&e);
	return 0;
}

/* The demo machine's file comes first: options may change it. */
static int run_demo(int argc, char **argv)
{
	char path[VM_PATH_LEN];
	char *args[64] = {argv[0], path};
	struct error e = {0};

	if (argc > 62)
		return cli_fail(
			(error_set(&e, -E2BIG, "too many arguments"), &e));
	snprintf(path, sizeof(path), "%s/machines/demo.json", vm_share_dir());
	memcpy(args + 2, argv + 1, (size_t)(argc - 1) * sizeof(*argv));
	return run(argc + 1, args);
}

const struct command command_demo = {
	.name = "demo",
	.args = "[OPTION...]",
	.summary = "start the demo machine",
	.help = "Examples:\n"
		"  binnacle demo\n"
		"  binnacle demo --cpus 2 --vnc 127.0.0.1:1\n",
	.run = run_demo,
};

const struct command command_run = {
	.name = "run",
	.args = "[FILE.json] [OPTION...]",
	.summary = "start a machine from a file or from options",
	.help = "Examples:\n"
		"  binnacle run ~/.config/binnacle/machines/debian.json\n"
		"  binnacle run --cdrom grub-rescue.iso --mem 256M\n"
		"  binnacle run --kernel vmlinuz --initrd initrd.img \\\n"
		"      --append 'console=ttyS0' --cpus 2 --headless\n"
		"  binnacle run --disk disk.img,cache=none --vnc 127.0.0.1:1\n",
	.run = run,
};
