#include "ui/cli/cli.h"

#include <errno.h>
#include <stdio.h>

static int run(int argc, char **argv)
{
	struct run_options o;
	struct error e = {0};

	if (run_options_parse(argc, argv, &o, &e))
		return cli_fail(&e);
	if (o.help) {
		cli_help(&command_run);
		printf("\nOptions:\n%s", run_options_help);
		return 0;
	}
	if (o.headless)
		return headless_run(&o.config);
	error_set(&e, -ENOTTY, "this build has no screens: add --headless");
	return cli_fail(&e);
}

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
