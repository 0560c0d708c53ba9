/*
 * Compressed clusters (section "Compressed clusters"): raw deflate in a window
 * of 4 KiB, or zstd.  Both run on worker threads.
 */
#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "core/blk/qcow2/qcow2.h"

#define DEFLATE_WINDOW (-12) /* negative: no zlib header */
#define DEFLATE_MEMORY 9

struct job {
	enum qcow2_compression how;
	const void *from;
	size_t from_len;
	void *to;
	size_t to_len;
};

/* Smaller than what it packs, or not worth it. */
static int deflate_job(const struct job *j)
{
	z_stream z = {0};
	int ret;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, DEFLATE_WINDOW,
			 DEFLATE_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	z.next_in = (Bytef *)j->from;
	z.avail_in = j->from_len;
	z.next_out = j->to;
	z.avail_out = j->to_len;
	ret = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return ret == Z_STREAM_END ? (int)(j->to_len - z.avail_out) : -E2BIG;
}

static int inflate_job(const struct job *j)
{
	z_stream z = {0};
	int ret;

	z.next_in = (Bytef *)j->from;
	z.avail_in = j->from_len;
	z.next_out = j->to;
	z.avail_out = j->to_len;
	if (inflateInit2(&z, DEFLATE_WINDOW) != Z_OK)
		return -ENOMEM;
	/* The stream's end mark may lie behind the last byte that fits. */
	ret = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	if ((ret == Z_STREAM_END || ret == Z_BUF_ERROR) && !z.avail_out)
		return 0;
	return -EIO;
}

static int pack_job(void *arg)
{
	const struct job *j = arg;
	size_t n;

	if (j->how == QCOW2_ZLIB)
		return deflate_job(j);
	n = ZSTD_compress(j->to, j->to_len, j->from, j->from_len,
			  ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(n) ? -E2BIG : (int)n;
}

/* The packed bytes are followed by whatever fills their last sector. */
static int unzstd(const struct job *j)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();
	ZSTD_inBuffer in = {j->from, j->from_len, 0};
	ZSTD_outBuffer out = {j->to, j->to_len, 0};
	int ret = -EIO;

	if (!d)
		return -ENOMEM;
	while (out.pos < out.size) {
		size_t before = in.pos + out.pos;
		size_t n = ZSTD_decompressStream(d, &out, &in);

		if (ZSTD_isError(n) || in.pos + out.pos == before)
			break;
	}
	if (out.pos == out.size)
		ret = 0;
	ZSTD_freeDCtx(d);
	return ret;
}

static int unpack_job(void *arg)
{
	const struct job *j = arg;

	return j->how == QCOW2_ZLIB ? inflate_job(j) : unzstd(j);
}

int qcow2_pack(struct qcow2 *s, const void *from, size_t len, void *to)
{
	struct job j = {s->h.compression, from, len, to, len - 1};

	return co_worker(s->b->ctx, pack_job, &j);
}

int qcow2_unpack(struct qcow2 *s, const void *from, size_t from_len, void *to,
		 size_t to_len)
{
	struct job j = {s->h.compression, from, from_len, to, to_len};

	return co_worker(s->b->ctx, unpack_job, &j);
}
