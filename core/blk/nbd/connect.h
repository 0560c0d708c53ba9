/*
 * connect: sockets of NBD, both ends.
 *
 * Thread rule: nbd_socket_connect sleeps: on a worker or in a tool; the rest [any].
 */
#ifndef CORE_BLK_NBD_CONNECT_H
#define CORE_BLK_NBD_CONNECT_H

#include <sys/un.h>

struct error;
struct nbd_address;

/* A connected socket (non-blocking, closed on exec), or -errno. */
int nbd_socket_connect(const struct nbd_address *a, struct error *e);
/* 0, or -ENAMETOOLONG. */
int nbd_socket_unix(const char *path, struct sockaddr_un *out, struct error *e);
/* What both ends want of a connected TCP socket: no delays, and an error when
 * the other host is gone.  Does nothing to a Unix socket. */
void nbd_socket_tune(int fd);

#endif
