/*
 * export: a running disk as it was at one moment (view.h), served for reading
 * over NBD, for backups and looks from outside.
 *
 * Thread rule: [co] on the disk's loop.
 */
#ifndef CORE_BLK_EXPORT_H
#define CORE_BLK_EXPORT_H

struct blk;
struct blk_export;
struct error;

/* Serves at address (nbd/address.h; its export name counts too) until stopped;
 * the disk outlives it.  NULL with the reason in e. */
struct blk_export *blk_export_start(struct blk *disk, const char *address,
				    struct error *e);
/* Ends the connections. NULL is fine. */
void blk_export_stop(struct blk_export *x);

#endif
