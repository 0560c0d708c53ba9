/*
 * nbd: the disk server, `binnacle nbd` and `binnacle-nbd`.
 *
 * Options and messages are those of Debian 12's tool of the same kind, without
 * what needs the kernel's NBD client.
 *
 * Thread rule: on the program's first thread.
 */
#ifndef UI_NBD_NBD_H
#define UI_NBD_NBD_H

#include "ui/img/img.h"

struct nbd_address;

/* The exit status; argv[0] is the program. */
int nbd_main(const char *program, int argc, char **argv);

/* Prints what the server at a offers; the exit status. */
int nbd_print_list(struct img_tool *t, const struct nbd_address *a);

#endif
