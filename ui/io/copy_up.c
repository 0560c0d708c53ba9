/*
 * Copy on read: what a read finds below the image is written into it.
 *
 * A command copies before it reads, with nothing in the background, so that no
 * write can be overtaken by older data.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/blk/copy.h"
#include "ui/img/copying.h"
#include "ui/io/io.h"

#define PIECE (1u << 20)

static int copy_piece(struct blk *b, uint64_t off, uint64_t len, void *buf)
{
	int ret = blk_read(b, off, buf, len);

	if (ret)
		return ret;
	return blk_is_zero(buf, len) ? blk_write_zeroes(b, off, len, 0)
				     : blk_write(b, off, buf, len, 0);
}

static int copy_range(struct blk *b, uint64_t off, uint64_t end)
{
	void *buf = malloc(PIECE);
	uint64_t n;
	int ret = buf ? 0 : -ENOMEM;

	for (; off < end && !ret; off += n) {
		int st = blk_status(b, off, end - off, &n, NULL, NULL);

		if (st < 0 || !n) {
			ret = st < 0 ? st : -EIO;
		} else if (!(st & BLK_STATUS_ALLOCATED)) {
			n = n < PIECE ? n : PIECE;
			ret = copy_piece(b, off, n, buf);
		}
	}
	free(buf);
	return ret;
}

int io_copy_up(struct io *io, uint64_t off, uint64_t len)
{
	uint64_t unit, end = off + len, max = blk_len(io->b);

	if (!io->copy_on_read || !len || off >= max || len > max - off)
		return 0;
	io_wait_aio(io);
	unit = img_cluster_size(io->b);
	if (unit) {
		off = off / unit * unit;
		end = (end + unit - 1) / unit * unit;
	}
	return copy_range(io->b, off, end < max ? end : max);
}
