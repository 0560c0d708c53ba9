/* The commands that meet the session: attach, list, command. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/cli/cli.h"
#include "ui/session/session.h"

struct session_options cli_session_options(void)
{
	const char *script = getenv("BINNACLE_SCRIPT");

	return (struct session_options){
		.share = vm_share_dir(),
		.script = script && *script ? script : NULL,
	};
}

static bool wants_help(int argc, char **argv)
{
	return argc == 2 &&
	       (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
}

static int bad_argument(const char *command, const char *arg)
{
	struct error e = {0};

	error_set(&e, -EINVAL,
		  "%s does not know '%.80s'; see 'binnacle %s --help'", command,
		  arg, command);
	return cli_fail(&e);
}

static int attach(int argc, char **argv)
{
	struct session_options o = cli_session_options();
	struct error e = {0};

	if (wants_help(argc, argv))
		return cli_help(&command_attach);
	if (argc > 1)
		return bad_argument(argv[0], argv[1]);
	return session_attach(&o, &e) ? cli_fail(&e) : 0;
}

static int list(int argc, char **argv)
{
	bool json = argc == 2 && !strcmp(argv[1], "--json");
	struct error e = {0};

	if (wants_help(argc, argv))
		return cli_help(&command_list);
	if (argc > 1 && !json)
		return bad_argument(argv[0], argv[1]);
	return session_list(stdout, json, &e) ? cli_fail(&e) : 0;
}

static int command(int argc, char **argv)
{
	char line[1024] = "";
	struct error e = {0};
	size_t used = 0;

	if (argc < 2 || wants_help(argc, argv))
		return cli_help(&command_command);
	for (int i = 1; i < argc && used < sizeof(line); i++)
		used += (size_t)snprintf(line + used, sizeof(line) - used,
					 "%s%s", i > 1 ? " " : "", argv[i]);
	return session_command(line, stdout, &e) ? cli_fail(&e) : 0;
}

const struct command command_attach = {
	.name = "attach",
	.args = "",
	.summary = "bring the running session to this terminal",
	.help = "",
	.run = attach,
};

const struct command command_list = {
	.name = "list",
	.args = "[--json]",
	.summary = "print the machines of the running session",
	.help = "Examples:\n"
		"  binnacle list\n"
		"  binnacle list --json | jq -r '.machines[].id'\n",
	.run = list,
};

const struct command command_command = {
	.name = "command",
	.args = "NAME [ARGUMENT]",
	.summary = "run a command of the screens in the running session",
	.help = "Every action of the help screen has a name; destructive ones "
		"are not asked\nabout again.\n\n"
		"Examples:\n"
		"  binnacle command start demo\n"
		"  binnacle command power-off demo\n"
		"  binnacle command quit-session\n",
	.run = command,
};
