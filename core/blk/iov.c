#include "core/blk/iov.h"

#include <string.h>

size_t iov_len(const struct iovec *iov, int nr)
{
	size_t len = 0;

	for (int i = 0; i < nr; i++)
		len += iov[i].iov_len;
	return len;
}

int iov_slice(const struct iovec *iov, int nr, size_t skip, size_t len,
	      struct iovec *out)
{
	int n = 0;

	for (int i = 0; i < nr && len; i++) {
		size_t part = iov[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		if (part > len)
			part = len;
		out[n++] = (struct iovec){(char *)iov[i].iov_base + skip, part};
		len -= part;
		skip = 0;
	}
	return n;
}

int iov_first(const struct iovec *iov, int nr, size_t skip, struct iovec *out,
	      int room)
{
	int n = 0;

	for (int i = 0; i < nr && n < room; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		out[n++] = (struct iovec){(char *)iov[i].iov_base + skip,
					  iov[i].iov_len - skip};
		skip = 0;
	}
	return n;
}

/* Calls fn for each contiguous piece of [skip, skip + len). */
static void walk(const struct iovec *iov, int nr, size_t skip, size_t len,
		 void (*fn)(void *piece, size_t len, size_t at, void *arg),
		 void *arg)
{
	size_t at = 0;

	for (int i = 0; i < nr && at < len; i++) {
		size_t part = iov[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		if (part > len - at)
			part = len - at;
		fn((char *)iov[i].iov_base + skip, part, at, arg);
		at += part;
		skip = 0;
	}
}

static void to_buf(void *piece, size_t len, size_t at, void *arg)
{
	memcpy((char *)arg + at, piece, len);
}

void iov_to_buf(const struct iovec *iov, int nr, size_t skip, void *buf,
		size_t len)
{
	walk(iov, nr, skip, len, to_buf, buf);
}

static void from_buf(void *piece, size_t len, size_t at, void *arg)
{
	memcpy(piece, (const char *)arg + at, len);
}

void iov_from_buf(const struct iovec *iov, int nr, size_t skip, const void *buf,
		  size_t len)
{
	walk(iov, nr, skip, len, from_buf, (void *)buf);
}

static void zero(void *piece, size_t len, size_t at, void *arg)
{
	(void)at;
	(void)arg;
	memset(piece, 0, len);
}

void iov_zero(const struct iovec *iov, int nr, size_t skip, size_t len)
{
	walk(iov, nr, skip, len, zero, NULL);
}
