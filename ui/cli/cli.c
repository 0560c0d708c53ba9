#include "ui/cli/cli.h"

#include <stdio.h>

int cli_fail(const struct error *e)
{
	fprintf(stderr, "binnacle: %s\n", e->msg);
	return 1;
}

int cli_help(const struct command *cmd)
{
	printf("usage: binnacle %s %s\n\n%s\n", cmd->name, cmd->args,
	       cmd->summary);
	if (cmd->help[0])
		printf("\n%s", cmd->help);
	return 0;
}
