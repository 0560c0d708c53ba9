/*
 * server_int: the session's insides, shared by its loop (server.c) and what
 * clients may ask of it (server_requests.c).
 *
 * Thread rule: the process's first thread.
 */
#ifndef UI_SESSION_SERVER_INT_H
#define UI_SESSION_SERVER_INT_H

#include <stdint.h>

#include "core/error.h"
#include "ui/session/server.h"
#include "ui/session/socket.h"
#include "ui/term/term.h"

struct log;
struct script;
struct ui;

#define SERVER_MAX_CLIENTS 8

struct client {
	struct channel channel; /* fd -1: free */
	bool attached;		/* its terminal is shown on */
};

struct server {
	struct ui *ui;
	struct log *log;
	struct term *term; /* NULL: nobody lends one */
	struct script *script;
	const char *share, *folder;
	int listen_fd, signals, own_tty;
	struct client clients[SERVER_MAX_CLIENTS];
	bool quit;
	bool was_attached; /* somebody has seen this session */
	bool draw;	   /* the frame is stale */
	bool urgent; /* because of a key: now, not at the next frame's time */
	bool grab_when_running;
	uint64_t drawn_ns, next_tick_ns, script_ns, seen_log;
	/* The screen waits for facts: draw then (0: it does not). */
	uint64_t again_ns, again_step;
};

/* Shows the session on a terminal. 0 or -errno. */
int server_lend(struct server *s, const struct term_options *o,
		struct error *e);
/* Gives the terminal back, telling its client why. */
void server_detach(struct server *s, const char *why);
/* Does what a key or a command asked for. */
void server_effects(struct server *s, unsigned effects);

/* Takes a new connection. */
void server_admit(struct server *s);
/* Reads and answers what a client says. */
void server_hear(struct server *s, struct client *c);
/* Tells the client that its terminal is its own again, and lets it go. */
void client_farewell(struct client *c, const char *why);

#endif
