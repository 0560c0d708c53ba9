/*
 * cli: the command line; one file a subcommand, each exporting one const
 * struct command.  The list is in ui/main.c.
 *
 * Thread rule: the process's first thread, before any other exists.
 */
#ifndef UI_CLI_CLI_H
#define UI_CLI_CLI_H

#include <stdbool.h>

#include "core/error.h"
#include "core/vm.h"

struct command {
	const char *name;
	const char *args;    /* as shown after the name */
	const char *summary; /* one line */
	const char *help;    /* options and examples, whole lines */
	/* argv[0] is the command's name; returns the exit status. */
	int (*run)(int argc, char **argv);
};

extern const struct command command_run, command_demo, command_attach,
	command_list, command_command, command_img, command_io, command_nbd;

/* binnacle nbd --machine: serves a running machine's disk as it is now. */
int cli_export(int argc, char **argv);

/* What `run` was asked for. */
struct run_options {
	struct vm_config config;
	bool headless;
	bool help;
};

/* Parses the options of `run` (and of a machine's other openers) on top of
 * the defaults, or of the machine file named on the line.  0 or -EINVAL with
 * a sentence that says what to do. */
int run_options_parse(int argc, char **argv, struct run_options *out,
		      struct error *e);

/* Help text of the options that run_options_parse knows. */
extern const char run_options_help[];

/* Runs the machine without a screen, its first serial line on stdio, until it
 * powers off or the process is asked to end.  Returns the exit status: 0 after
 * a power-off, the guest's own code after isa-debug-exit, 1 after a crash. */
int headless_run(const struct vm_config *cfg);

struct session_options;
/* The share folder, and the script that the environment names. */
struct session_options cli_session_options(void);

/* Prints "binnacle: <message>" to stderr and returns 1. */
int cli_fail(const struct error *e);

/* Prints usage, summary and help of a command to stdout; returns 0. */
int cli_help(const struct command *cmd);

#endif
