/*
 * How devices reach guest memory: checked, and marked dirty after the store.
 */
#include <errno.h>
#include <string.h>

#include "core/memory_int.h"

typedef int piece_fn(void *arg, const struct mem_flat *f, uint8_t *host,
		     size_t len);

/* Calls fn for each stretch of RAM or ROM in [gpa, gpa + len). */
static int for_each_piece(struct mem *mem, gpa_t gpa, uint64_t len,
			  piece_fn *fn, void *arg)
{
	const struct mem_view *view = mem->view;
	long i;
	int err;

	if (!len)
		return 0;
	if (gpa + (len - 1) < gpa)
		return -EFAULT;
	i = mem_view_index(view, gpa);
	while (len) {
		const struct mem_flat *f;
		uint64_t skip, n;

		if (i < 0 || (size_t)i >= view->nr)
			return -EFAULT;
		f = &view->flats[i++];
		if (!f->host || gpa < f->gpa)
			return -EFAULT;
		skip = gpa - f->gpa;
		n = f->len - skip < len ? f->len - skip : len;
		err = fn(arg, f, f->host + skip, n);
		if (err)
			return err;
		gpa += n;
		len -= n;
	}
	return 0;
}

static int read_piece(void *arg, const struct mem_flat *f, uint8_t *host,
		      size_t len)
{
	uint8_t **to = arg;

	(void)f;
	memcpy(*to, host, len);
	*to += len;
	return 0;
}

int dma_read(struct mem *mem, gpa_t gpa, void *buf, size_t len)
{
	uint8_t *to = buf;

	return for_each_piece(mem, gpa, len, read_piece, &to);
}

static int write_piece(void *arg, const struct mem_flat *f, uint8_t *host,
		       size_t len)
{
	const uint8_t **from = arg;
	struct ram_block *b = f->region->block;

	if (f->kind == REGION_RAM) {
		memcpy(host, *from, len);
		mem_block_mark(b, (uint64_t)(host - b->host), len);
	}
	*from += len;
	return 0;
}

int dma_write(struct mem *mem, gpa_t gpa, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	return for_each_piece(mem, gpa, len, write_piece, &from);
}

struct map_state {
	struct iovec *iov;
	int nr, max;
	bool write;
};

static int map_piece(void *arg, const struct mem_flat *f, uint8_t *host,
		     size_t len)
{
	struct map_state *s = arg;

	if (s->write && f->kind != REGION_RAM)
		return -EFAULT;
	if (s->nr == s->max)
		return -E2BIG;
	s->iov[s->nr].iov_base = host;
	s->iov[s->nr].iov_len = len;
	s->nr++;
	return 0;
}

int dma_map(struct mem *mem, gpa_t gpa, uint64_t len, bool write,
	    struct iovec *iov, int max)
{
	struct map_state s = {.iov = iov, .max = max, .write = write};
	int err = for_each_piece(mem, gpa, len, map_piece, &s);

	return err ? err : s.nr;
}

void *dma_map_one(struct mem *mem, gpa_t gpa, uint64_t len, bool write)
{
	struct iovec iov[8];
	int nr = dma_map(mem, gpa, len, write, iov, 8);

	for (int i = 1; i < nr; i++)
		if ((uint8_t *)iov[i - 1].iov_base + iov[i - 1].iov_len !=
		    (uint8_t *)iov[i].iov_base)
			return NULL;
	return nr > 0 ? iov[0].iov_base : NULL;
}

static struct ram_block *block_of(struct mem *mem, const uint8_t *host)
{
	struct ram_block *b = NULL;

	while ((b = mem_block_next(mem, b))) {
		if (host >= b->host && host < b->host + b->len)
			return b;
	}
	return NULL;
}

void dma_mark_iov(struct mem *mem, const struct iovec *iov, int nr,
		  uint64_t len)
{
	int i;

	for (i = 0; i < nr && len; i++) {
		const uint8_t *host = iov[i].iov_base;
		uint64_t n = iov[i].iov_len < len ? iov[i].iov_len : len;
		struct ram_block *b = block_of(mem, host);

		if (b)
			mem_block_mark(b, (uint64_t)(host - b->host), n);
		len -= n;
	}
}
