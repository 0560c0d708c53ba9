/*
 * address: where an NBD server is and which export is meant, in all the ways
 * in which people write it:
 *
 *	nbd://HOST[:PORT]/EXPORT	nbd+unix:///EXPORT?socket=PATH
 *	nbd:HOST:PORT[:exportname=EXPORT]
 *	nbd:unix:PATH[:exportname=EXPORT]
 *
 * nbd+tcp: is another word for nbd:.
 * The URI forms are those of the NBD project's doc/uri.md.
 * Thread rule: pure functions, [any].
 */
#ifndef CORE_BLK_NBD_ADDRESS_H
#define CORE_BLK_NBD_ADDRESS_H

#include <stdbool.h>

struct error;

#define NBD_PORT       "10809"
#define NBD_STRING_MAX 4096 /* of export names, the protocol's limit */

/* Either socket, or host and port; export is "" for the default one. */
struct nbd_address {
	char *socket, *host, *port, *export;
};

/* Does a name of an image mean a server?  TLS included, to be refused. */
bool nbd_is_address(const char *text);
/* 0 or -errno with the reason in e; end it with nbd_address_fini in both
 * cases. */
int nbd_address_parse(const char *text, struct nbd_address *out,
		      struct error *e);
void nbd_address_fini(struct nbd_address *a);

/* As a URI; malloced, NULL without memory. */
char *nbd_address_uri(const struct nbd_address *a);

#endif
