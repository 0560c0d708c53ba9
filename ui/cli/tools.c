/* The commands that need no machine: they hand over to the disk tools. */
#include <string.h>

#include "ui/cli/cli.h"
#include "ui/img/img.h"
#include "ui/io/io.h"
#include "ui/nbd/nbd.h"

static int run_img(int argc, char **argv)
{
	return img_main("binnacle img", argc, argv);
}

const struct command command_img = {
	.name = "img",
	.args = "COMMAND [OPTION...]",
	.summary = "make, convert, check and describe disk images",
	.run = run_img,
	.help = "",
};

static int run_io(int argc, char **argv)
{
	return io_main("binnacle io", argc, argv);
}

const struct command command_io = {
	.name = "io",
	.args = "[OPTION...] [-c COMMAND]... [FILE]",
	.summary = "read, write and examine a disk image by commands",
	.run = run_io,
	.help = "",
};

static int run_nbd(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], "--machine", 9))
			return cli_export(argc, argv);
	return nbd_main("binnacle nbd", argc, argv);
}

const struct command command_nbd = {
	.name = "nbd",
	.args = "[OPTION...] FILE | --machine NAME[:DISK] [-k SOCKET]",
	.summary = "serve a disk image, or a running disk, to other programs "
		   "over NBD",
	.run = run_nbd,
	.help = "",
};
