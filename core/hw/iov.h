/*
 * iov: moving bytes in and out of scattered pieces of memory, and cutting
 * pieces off at the ends.
 *
 * Thread rule: [any]; the caller owns the pieces.
 */
#ifndef CORE_HW_IOV_H
#define CORE_HW_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Copies len bytes out of the first nr pieces from byte off on; false when
 * they are shorter. */
bool iov_read(const struct iovec *iov, int nr, uint64_t off, void *buf,
	      size_t len);
/* The same in the other direction. */
bool iov_write(const struct iovec *iov, int nr, uint64_t off, const void *buf,
	       size_t len);
/* Drops len bytes from the front: advances *iov, shortens *nr. */
void iov_drop_front(struct iovec **iov, int *nr, uint64_t len);
/* Drops len bytes from the end. */
void iov_drop_back(struct iovec *iov, int *nr, uint64_t len);

#endif
