/*
 * socket: the session's door: one Unix socket a person, JSON lines, and a
 * terminal passed along.
 *
 * The folder is the person's own (0700) and the peer's uid is checked, so
 * what comes in is the person's wish; it is still parsed as if it were not.
 *
 * Thread rule: every call works on what it is given; [any] thread.
 */
#ifndef UI_SESSION_SOCKET_H
#define UI_SESSION_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

struct error;
struct json_object;

/* The longest line either side takes. */
#define SOCKET_LINE_MAX 65536

/* A connection and what has arrived of its next line. */
struct channel {
	int fd;
	char *buf; /* SOCKET_LINE_MAX bytes */
	size_t len;
	int passed; /* a descriptor that came along, -1: none */
};

/* The session's folder, made if needed; checked to be a folder of this
 * person's that nobody else can enter. 0 or -errno. */
int socket_folder(char *buf, size_t len, struct error *e);

/* Listens. With an old socket that nobody serves in the way, replaces it;
 * -EADDRINUSE when a session serves it. The fd or -errno. */
int socket_listen(const char *folder, struct error *e);
/* Connects to the session: the fd, or -ENOENT when there is none. */
int socket_connect(const char *folder, struct error *e);
/* Takes a connection whose peer is this person: the fd or -errno. */
int socket_accept(int listen_fd);
/* Unlinks the socket. */
void socket_remove(const char *folder);

/* 0 or -ENOMEM. */
int channel_init(struct channel *c, int fd);
/* Closes and frees. */
void channel_fini(struct channel *c);
/* Reads what is there; 0, or -errno (-EPIPE: the peer has gone, -EMSGSIZE: a
 * line is too long). */
int channel_read(struct channel *c);
/* The next whole line as an object the caller puts; NULL when there is none
 * yet. *bad is set when the line was no JSON object. */
struct json_object *channel_next(struct channel *c, bool *bad);
/* Sends an object as a line, with a descriptor (or -1), and puts it. 0 or
 * -errno. */
int channel_send(struct channel *c, struct json_object *o, int pass);

#endif
