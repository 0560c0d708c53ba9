/*
 * session: the process that holds the machines and the screens, and the thin
 * clients that lend it their terminal.
 *
 * There is one session for a person.  A call that needs it finds it through a
 * socket in $XDG_RUNTIME_DIR/binnacle (or /tmp/binnacle-UID), or starts it in
 * the background.  The session outlives the terminal: `q`, a closed window or
 * a lost connection detach.  A session in which no machine runs ends when its
 * terminal leaves.
 *
 * Thread rule: the process's first thread, before any other exists; a call
 * that starts a session forks.
 */
#ifndef UI_SESSION_SESSION_H
#define UI_SESSION_SESSION_H

#include <stdbool.h>
#include <stdio.h>

struct error;
struct vm_config;

struct session_options {
	const char *share;  /* the installed share folder; NULL: the default */
	const char *script; /* BINNACLE_SCRIPT: keys and commands, or NULL */
};

/* Every call returns 0, or -errno with a sentence in e.  With a script the
 * session runs inside this process, on the terminal if there is one, and ends
 * with the script: -EPROTO when an expectation was not met. */

/* Opens the list of machines, in the running session or in a new one. */
int session_open(const struct session_options *o, struct error *e);
/* Adds a machine to the session, starts it and shows its console. */
int session_run_machine(const struct session_options *o,
			const struct vm_config *cfg, struct error *e);
/* Brings the running session to this terminal; -ENOENT without one. */
int session_attach(const struct session_options *o, struct error *e);
/* Prints the machines of the running session: a table, or JSON. */
int session_list(FILE *out, bool json, struct error *e);
/* Runs one palette command ("power-off demo") in the running session and
 * prints what it said. */
int session_command(const char *line, FILE *out, struct error *e);

#endif
