#include <errno.h>
#include <signal.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ui/cli/cli.h"
#include "ui/session/session.h"

static const struct command *const commands[] = {
	&command_run,	  &command_demo, &command_attach, &command_list,
	&command_command, &command_img,	 &command_io,	  &command_nbd,
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int print_help(void)
{
	size_t i;

	printf("usage: binnacle [COMMAND] [ARGUMENT...]\n\n"
	       "A virtualization workstation in a terminal.\n\nCommands:\n");
	for (i = 0; i < NR_COMMANDS; i++)
		printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
	printf("\nbinnacle COMMAND --help tells more; --version prints the "
	       "version.\n"
	       "Without a command the list of machines opens.\n"
	       "\nExamples:\n"
	       "  binnacle\n"
	       "  binnacle demo\n"
	       "  binnacle run --cdrom grub-rescue.iso\n"
	       "  binnacle run --kernel vmlinuz --headless\n");
	return 0;
}

/* A program that was built but not installed finds its share folder beside
 * it: build/ui/binnacle, build/share. */
static void find_share(void)
{
	char exe[PATH_MAX], beside[PATH_MAX + 32], share[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (len < 0 || getenv("BINNACLE_SHARE"))
		return;
	exe[len] = '\0';
	*strrchr(exe, '/') = '\0';
	snprintf(beside, sizeof(beside), "%s/../share/guest/demo.elf", exe);
	if (access(beside, R_OK))
		return;
	snprintf(beside, sizeof(beside), "%s/../share", exe);
	if (realpath(beside, share))
		setenv("BINNACLE_SHARE", share, 1);
}

static int open_machines(void)
{
	struct session_options o = cli_session_options();
	struct error e = {0};

	return session_open(&o, &e) ? cli_fail(&e) : 0;
}

int main(int argc, char **argv)
{
	const struct command *cmd;
	struct error e = {0};

	/* An image that may not grow is an error to tell, not an end. */
	signal(SIGXFSZ, SIG_IGN);
	find_share();
	if (argc < 2)
		return open_machines();
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return print_help();
	if (!strcmp(argv[1], "--version")) {
		printf("binnacle %s\n", BINNACLE_VERSION);
		return 0;
	}
	cmd = find_command(argv[1]);
	if (!cmd) {
		error_set(&e, -EINVAL,
			  "'%s' is not a command; see 'binnacle --help'",
			  argv[1]);
		return cli_fail(&e);
	}
	return cmd->run(argc - 1, argv + 1);
}
