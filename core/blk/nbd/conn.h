/*
 * conn: one client of the server (server.h): its socket, what was agreed with
 * it, its requests.
 *
 * Thread rule: [co] on the server's loop.
 */
#ifndef CORE_BLK_NBD_CONN_H
#define CORE_BLK_NBD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/blk/co.h"
#include "core/loop.h"

#define CONN_BUFFER 65536

struct nbd_export {
	struct nbd_export *next;
	char *name, *description;
	struct blk *blk;
	uint64_t off, len;
	bool write, write_through;
};

/* For the data of a request; kept for the next one. */
struct nbd_buffer {
	struct nbd_buffer *next;
	size_t room;
	uint8_t *data; /* aligned as disks like it */
};

struct nbd_conn {
	struct nbd_server *server;
	struct nbd_conn *next;
	struct loop_fd watch;	    /* events 0: not watched */
	struct loop_timer deadline; /* of the negotiation */
	bool broken;
	struct co *reader, *writer; /* asleep until the socket is ready */
	struct co_mutex sending;    /* a reply goes out in one piece */
	uint8_t *in;		    /* CONN_BUFFER bytes read in advance */
	size_t in_at, in_len;

	/* What was agreed. */
	bool fixed, no_zeroes, structured;
	struct nbd_export *export;	   /* NULL: none yet */
	struct nbd_export *context_export; /* base:allocation goes with it */

	/* Requests under way. */
	unsigned nr_requests;
	uint64_t held; /* bytes of their data */
	struct co_queue room;
	struct nbd_buffer *spare;
	size_t spare_len; /* bytes in all of them */
};

/* Receives exactly len bytes, or sends all; 0 or -errno. */
int nbd_conn_recv(struct nbd_conn *c, void *buf, size_t len);
/* Receives and forgets. */
int nbd_conn_skip(struct nbd_conn *c, uint64_t len);
/* Changes iov; others wait meanwhile. */
int nbd_conn_send(struct nbd_conn *c, struct iovec *iov, int nr);

/* NULL when there is none of that name. */
struct nbd_export *nbd_server_find(struct nbd_server *s, const char *name);
/* The next after x; NULL begins and ends the list. */
struct nbd_export *nbd_server_next(struct nbd_server *s, struct nbd_export *x);
/* Flags of the export for this client. */
uint16_t nbd_conn_flags(struct nbd_conn *c, const struct nbd_export *x);
struct blk_ctx *nbd_server_ctx(struct nbd_server *s);

/* negotiate.c: true when the client has chosen c->export. */
bool nbd_conn_negotiate(struct nbd_conn *c);
/* serve.c: until the client leaves and its last request is done. */
void nbd_conn_serve(struct nbd_conn *c);

#endif
