/*
 * server: gives nodes to other programs over the NBD protocol, on Unix sockets
 * and TCP.
 *
 * Each connection is a coroutine on the context's loop, each request of it
 * another one; any node may be exported, that of a running disk too.  Clients
 * are not trusted: what one does wrong ends its own connection at worst, and
 * what one can make the server hold in memory is bounded.
 *
 * The protocol is the document doc/proto.md of the NBD project: fixed newstyle
 * negotiation, simple and structured replies, block status by base:allocation.
 *
 * Thread rule: on the context's loop; [co]: inside a coroutine of it.
 */
#ifndef CORE_BLK_NBD_SERVER_H
#define CORE_BLK_NBD_SERVER_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct blk_ctx;
struct error;
struct nbd_address;
struct nbd_server;

struct nbd_server_config {
	unsigned max_clients; /* at a time, others wait; 0: no limit */
	/* Optional: a connection has ended; negotiated: it had come as far as
	 * an export; left: how many there still are. */
	void (*client_gone)(void *arg, bool negotiated, unsigned left);
	void *arg;
};

struct nbd_export_config {
	const char *name;	 /* at most 4096 bytes; "" is the default one */
	const char *description; /* or NULL */
	struct blk *blk;	 /* the server takes a reference of its own */
	uint64_t off, len;	 /* what part of blk; len 0: to its end */
	bool write;		 /* else clients may only read */
	bool write_through; /* a write is on stable storage when answered */
};

/* NULL with the reason in e. */
struct nbd_server *nbd_server_create(struct blk_ctx *ctx,
				     const struct nbd_server_config *cfg,
				     struct error *e);

/* 0 or -errno with the reason in e; -EEXIST: the name is taken. */
int nbd_server_add_export(struct nbd_server *s,
			  const struct nbd_export_config *cfg, struct error *e);

/* Accepts clients at a's socket (a file that is there must be a socket that
 * nobody serves; it is replaced), or at its host and port.  Repeatable.
 * a->export is not looked at.  0 or -errno with the reason in e. */
int nbd_server_listen(struct nbd_server *s, const struct nbd_address *a,
		      struct error *e);

/* [co] Takes no more clients, ends the connections, waits for their requests,
 * gives the nodes back and frees.  NULL is fine. */
void nbd_server_destroy(struct nbd_server *s);

#endif
