/*
 * iov: pieces of scattered memory.
 *
 * Thread rule: pure functions, [any].
 */
#ifndef CORE_BLK_IOV_H
#define CORE_BLK_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Bytes in all. */
size_t iov_len(const struct iovec *iov, int nr);
/* Writes the pieces that make [skip, skip + len) of iov to out, which has room
 * for nr; returns how many. */
int iov_slice(const struct iovec *iov, int nr, size_t skip, size_t len,
	      struct iovec *out);
/* The same for what is behind skip, as many pieces as out has room for. */
int iov_first(const struct iovec *iov, int nr, size_t skip, struct iovec *out,
	      int room);
void iov_to_buf(const struct iovec *iov, int nr, size_t skip, void *buf,
		size_t len);
void iov_from_buf(const struct iovec *iov, int nr, size_t skip, const void *buf,
		  size_t len);
void iov_zero(const struct iovec *iov, int nr, size_t skip, size_t len);

#endif
