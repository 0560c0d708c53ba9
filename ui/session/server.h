/*
 * server: the session's loop: one thread that serves the door, the terminal
 * that is lent, the script, and the screens.
 *
 * Thread rule: the process's first thread; machines have their own.
 */
#ifndef UI_SESSION_SERVER_H
#define UI_SESSION_SERVER_H

#include <stdbool.h>

struct error;
struct server;
struct vm_config;

struct server_options {
	const char *share;
	const char *folder; /* of the socket; NULL: no door */
	int listen_fd;	    /* with a folder */
	const char *script; /* NULL: none */
	int tty;	    /* shown at once, -1: none */
};

/* NULL with the reason in e. */
struct server *server_create(const struct server_options *o, struct error *e);
/* Powers everything off and frees. */
void server_destroy(struct server *s);
/* Adds, starts and shows a machine. 0 or -errno. */
int server_run_machine(struct server *s, const struct vm_config *cfg,
		       struct error *e);
/* Serves until the session ends. 0, or -EPROTO when the script failed. */
int server_loop(struct server *s, struct error *e);

#endif
