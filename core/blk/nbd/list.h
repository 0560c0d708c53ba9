/*
 * list: what a server has to offer.
 *
 * Thread rule: sleeps; in a tool or on a worker, never on a loop.
 */
#ifndef CORE_BLK_NBD_LIST_H
#define CORE_BLK_NBD_LIST_H

#include <stdint.h>

struct error;
struct nbd_address;

struct nbd_listed {
	char *name, *description; /* description may be NULL */
	uint64_t len;
	uint32_t flags; /* as in the protocol, proto.h */
	uint32_t min_block, opt_block, max_block; /* 0: the server didn't say */
	char **contexts;
	unsigned nr_contexts;
};

/* Asks the server at a; *out is malloced, end it with nbd_list_free.  Returns
 * how many there are, or -errno with the reason in e.  At most 4096 exports
 * with 64 contexts each are looked at. */
int nbd_list(const struct nbd_address *a, struct nbd_listed **out,
	     struct error *e);
void nbd_list_free(struct nbd_listed *list, int nr);

#endif
