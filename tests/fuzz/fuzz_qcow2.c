/*
 * A qcow2 image of arbitrary bytes: it is opened, asked, read, checked, mended
 * and written.  Nothing may crash, hang or eat memory; every call may fail.
 *
 * Built with -DFUZZ_ALONE it takes files as arguments instead of a fuzzer.
 */
#include <fcntl.h>
#include <json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/blk/blk.h"
#include "core/blk/co.h"
#include "core/blk/format.h"
#include "core/error.h"
#include "core/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz {
	struct loop *loop;
	struct blk_ctx *ctx;
	char path[64];
	int fd;
	uint8_t buf[65536];
};

static void read_some(struct fuzz *f, struct blk *b)
{
	uint64_t len = blk_len(b), n;

	for (uint64_t off = 0, i = 0; off < len && i < 64; i++) {
		if (blk_status_above(b, NULL, off, len - off, &n, NULL, NULL,
				     NULL) < 0)
			n = 65536;
		if (blk_read(b, off, f->buf,
			     len - off < sizeof(f->buf) ? len - off
							: sizeof(f->buf)))
			n = n ? n : 1;
		off += n ? n : 65536;
	}
}

static int run_read(void *arg)
{
	struct fuzz *f = arg;
	struct blk_options o = {.path = f->path, .format = "qcow2"};
	struct blk_check found = {0};
	struct error e;
	struct blk *b = blk_open(f->ctx, &o, &e);

	if (!b)
		return 0;
	read_some(f, b);
	json_object_put(blk_qcow2_format.info(b));
	blk_qcow2_format.measure(&(struct blk_create){0}, b,
				 &(struct blk_measure){0}, &e);
	blk_qcow2_format.check(b, 0, &found, &e);
	return blk_unref(b);
}

static int run_write(void *arg)
{
	struct fuzz *f = arg;
	struct blk_options o = {
		.path = f->path, .format = "qcow2", .write = true};
	struct error e;
	struct blk *b = blk_open(f->ctx, &o, &e);

	if (!b)
		return 0;
	if (blk_len(b) >= 4096) {
		blk_write(b, 1024, f->buf, 3000, 0);
		blk_write_zeroes(b, 0, 4096, BLK_MAY_UNMAP);
		blk_write(b, blk_len(b) - 512, f->buf, 512, 0);
	}
	blk_flush(b);
	blk_qcow2_format.snapshot(b, BLK_SNAPSHOT_CREATE, "fuzz", &e);
	blk_qcow2_format.snapshot(b, BLK_SNAPSHOT_DELETE, "1", &e);
	return blk_unref(b);
}

/* Every verb on whatever bitmaps there are, and a disk of other lengths. */
static int run_bitmaps(void *arg)
{
	struct fuzz *f = arg;
	struct blk_options o = {
		.path = f->path, .format = "qcow2", .write = true};
	const struct blk_format *q = &blk_qcow2_format;
	struct blk_bitmap_info info;
	struct blk_bitmap_op op = {.source_name = "b"};
	struct blk *b = blk_open(f->ctx, &o, NULL);

	if (!b)
		return 0;
	op.source = b;
	for (unsigned i = 0; i < 8 && !q->bitmap_info(b, i, &info); i++) {
		op.name = info.name;
		for (op.verb = BLK_BITMAP_CLEAR; op.verb <= BLK_BITMAP_MERGE;
		     op.verb++)
			q->bitmap(b, &op, NULL);
	}
	op.name = "new";
	op.verb = BLK_BITMAP_ADD;
	q->bitmap(b, &op, NULL);
	op.verb = BLK_BITMAP_MERGE;
	q->bitmap(b, &op, NULL);
	if (blk_len(b) >= 4096)
		blk_write_zeroes(b, blk_len(b) - 4096, 4096, 0);
	if (blk_len(b) < 1 << 30) {
		blk_truncate(b, blk_len(b) + 65536, BLK_PREALLOC_OFF, false,
			     NULL);
		blk_truncate(b, 4096, BLK_PREALLOC_OFF, true, NULL);
	}
	op.name = "b";
	op.verb = BLK_BITMAP_REMOVE;
	q->bitmap(b, &op, NULL);
	return blk_unref(b);
}

static int run_amend(void *arg)
{
	static const struct blk_opt opts[] = {
		{"compat", "1.1"},
		{"refcount_bits", "64"},
		{"refcount_bits", "16"},
		{"compat", "0.10"},
	};
	struct fuzz *f = arg;
	struct blk_options o = {
		.path = f->path, .format = "qcow2", .write = true};
	struct blk *b = blk_open(f->ctx, &o, NULL);

	if (!b)
		return 0;
	for (unsigned i = 0; i < 4; i++) {
		struct blk_amend a = {.opts = opts + i, .nr_opts = 1};

		blk_qcow2_format.amend(b, &a, NULL);
	}
	return blk_unref(b);
}

static int run_repair(void *arg)
{
	struct fuzz *f = arg;
	struct blk_options o = {.path = f->path,
				.format = "qcow2",
				.write = true,
				.check = true};
	struct blk_check found = {0};
	struct error e;
	struct blk *b = blk_open(f->ctx, &o, &e);

	if (!b)
		return 0;
	blk_qcow2_format.check(b, BLK_REPAIR_LEAKS | BLK_REPAIR_ERRORS, &found,
			       &e);
	return blk_unref(b);
}

static struct fuzz *begin(void)
{
	struct fuzz *f = calloc(1, sizeof(*f));
	struct blk_ctx_config cfg = {0};

	f->loop = loop_create("fuzz", NULL, NULL);
	if (!f->loop || loop_start(f->loop, NULL))
		abort();
	cfg.loop = f->loop;
	f->ctx = blk_ctx_create(&cfg, NULL);
	f->fd = memfd_create("fuzz", MFD_CLOEXEC);
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
	return f;
}

static void put(struct fuzz *f, const uint8_t *data, size_t len)
{
	if (ftruncate(f->fd, 0) || pwrite(f->fd, data, len, 0) != (ssize_t)len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fuzz *f;

	if (!f)
		f = begin();
	put(f, data, len);
	blk_run(f->ctx, run_read, f);
	put(f, data, len);
	blk_run(f->ctx, run_write, f);
	put(f, data, len);
	blk_run(f->ctx, run_repair, f);
	put(f, data, len);
	blk_run(f->ctx, run_bitmaps, f);
	put(f, data, len);
	blk_run(f->ctx, run_amend, f);
	return 0;
}

#ifdef FUZZ_ALONE
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		uint8_t *data = malloc(8u << 20);
		size_t len = f ? fread(data, 1, 8u << 20, f) : 0;

		if (f)
			fclose(f);
		LLVMFuzzerTestOneInput(data, len);
		free(data);
	}
	return 0;
}
#endif
