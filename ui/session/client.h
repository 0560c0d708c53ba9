/*
 * client: the thin process in the person's terminal: it lends the terminal to
 * the session, forwards changes of its size, and waits.
 *
 * Thread rule: the process's only thread.
 */
#ifndef UI_SESSION_CLIENT_H
#define UI_SESSION_CLIENT_H

struct channel;
struct error;

/* Lends the terminal on stdin until the session gives it back, and says why
 * it did. 0 or -errno. */
int client_attach(struct channel *c, struct error *e);

#endif
