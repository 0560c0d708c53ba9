#include "core/hw/iov.h"

#include <string.h>

static bool iov_copy(const struct iovec *iov, int nr, uint64_t off,
		     uint8_t *buf, size_t len, bool to_iov)
{
	for (int i = 0; i < nr && len; i++) {
		uint64_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = iov[i].iov_len - off;
		if (part > len)
			part = len;
		if (to_iov)
			memcpy((uint8_t *)iov[i].iov_base + off, buf, part);
		else
			memcpy(buf, (uint8_t *)iov[i].iov_base + off, part);
		buf += part;
		len -= part;
		off = 0;
	}
	return !len;
}

bool iov_read(const struct iovec *iov, int nr, uint64_t off, void *buf,
	      size_t len)
{
	return iov_copy(iov, nr, off, buf, len, false);
}

bool iov_write(const struct iovec *iov, int nr, uint64_t off, const void *buf,
	       size_t len)
{
	/* iov_copy only reads buf in this direction. */
	return iov_copy(iov, nr, off, (uint8_t *)(uintptr_t)buf, len, true);
}

void iov_drop_front(struct iovec **iov, int *nr, uint64_t len)
{
	while (*nr && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		(*nr)--;
	}
	if (*nr && len) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}

void iov_drop_back(struct iovec *iov, int *nr, uint64_t len)
{
	while (*nr && len >= iov[*nr - 1].iov_len) {
		len -= iov[*nr - 1].iov_len;
		(*nr)--;
	}
	if (*nr)
		iov[*nr - 1].iov_len -= len;
}
