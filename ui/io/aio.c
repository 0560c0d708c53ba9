/*
 * aio_read, aio_write, aio_flush: requests in the background.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/co.h"
#include "core/loop.h"
#include "ui/io/io.h"

#define LEN_MAX 0x7ffffe00u

struct background {
	struct io *io;
	struct io_report report;
	int pattern;
	bool write, zeroes, quiet, verbose;
	unsigned flags;
	uint8_t *buf;
};

static int move(struct background *r)
{
	struct blk *b = r->io->b;

	if (r->report.off > blk_len(b) ||
	    r->report.len > blk_len(b) - r->report.off)
		return -EIO;
	if (!r->write)
		return blk_read(b, r->report.off, r->buf, r->report.len);
	if (r->zeroes)
		return blk_write_zeroes(b, r->report.off, r->report.len,
					r->flags);
	return blk_write(b, r->report.off, r->buf, r->report.len, r->flags);
}

static void run(void *arg)
{
	struct background *r = arg;
	struct io *io = r->io;
	int ret = move(r);

	if (ret)
		printf("%s failed: %s\n", r->write ? "aio_write" : "readv",
		       strerror(-ret));
	if (!ret && !r->write && r->pattern >= 0)
		io_verify(r->buf, r->report.len, r->pattern, r->report.off);
	if (!ret && !r->quiet && r->verbose)
		io_dump(r->buf, r->report.len, r->report.off);
	if (!ret && !r->quiet)
		io_print_report(&r->report);
	fflush(stdout);
	free(r->buf);
	free(r);
	if (!--io->nr_aio && io->waiter)
		co_wake(io->waiter);
}

static int parse(struct background *r, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, r->write ? "CfiP:quz" : "CiP:qv")) !=
	       -1) {
		switch (c) {
		case 'C':
			r->report.terse = true;
			break;
		case 'f':
			r->flags |= BLK_FUA;
			break;
		case 'i':
			break;
		case 'P':
			if (!io_pattern(optarg, &r->pattern))
				return -EINVAL;
			break;
		case 'q':
			r->quiet = true;
			break;
		case 'u':
			r->flags |= BLK_MAY_UNMAP;
			break;
		case 'v':
			r->verbose = true;
			break;
		case 'z':
			r->zeroes = true;
			break;
		default:
			io_print_usage(io_find(argv[0]));
			return -EINVAL;
		}
	}
	if (argc - optind < 2) {
		printf("an offset and a length are needed\n");
		return -EINVAL;
	}
	if (r->zeroes && r->pattern >= 0) {
		printf("-z and -P cannot be specified at the same time\n");
		return -EINVAL;
	}
	if ((r->flags & BLK_MAY_UNMAP) && !r->zeroes) {
		printf("-u requires -z to be specified\n");
		return -EINVAL;
	}
	if (!io_number(argv[optind++], &r->report.off))
		return -EINVAL;
	for (; optind < argc; optind++) {
		uint64_t part;

		if (!io_number(argv[optind], &part))
			return -EINVAL;
		r->report.len += part;
		if (r->report.len > LEN_MAX && !r->zeroes) {
			printf("length cannot exceed %u, given %s\n", LEN_MAX,
			       argv[optind]);
			return -EINVAL;
		}
	}
	return 0;
}

static int start(struct io *io, bool write, int argc, char **argv)
{
	struct background *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->io = io;
	r->write = write;
	r->flags = write && io->writethrough ? BLK_FUA : 0;
	r->pattern = -1;
	r->report.verb = write ? "wrote" : "read";
	ret = parse(r, argc, argv);
	if (!ret && write && !blk_writable(io->b)) {
		img_error(&io->tool, "Block node is read-only");
		ret = -EPERM;
	}
	if (!ret && !r->zeroes) {
		r->buf = malloc(r->report.len + 1);
		if (r->buf)
			memset(r->buf, r->pattern >= 0 ? r->pattern : 0xcd,
			       r->report.len);
		ret = r->buf ? 0 : -ENOMEM;
	}
	if (!ret && !write)
		ret = io_copy_up(io, r->report.off, r->report.len);
	r->report.start_ns = loop_now_ns();
	io->nr_aio++;
	if (!ret)
		ret = co_start(io->tool.ctx, run, r);
	if (ret) {
		io->nr_aio--;
		free(r->buf);
		free(r);
	}
	return ret;
}

static int aio_read_f(struct io *io, int argc, char **argv)
{
	return start(io, false, argc, argv);
}

static int aio_write_f(struct io *io, int argc, char **argv)
{
	return start(io, true, argc, argv);
}

static int aio_flush_f(struct io *io, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	io_wait_aio(io);
	return 0;
}

const struct io_command io_aio_commands[] = {
	{.name = "aio_flush",
	 .args = "",
	 .summary = "completes all outstanding aio requests",
	 .needs_file = true,
	 .run = aio_flush_f},
	{.name = "aio_read",
	 .args = "[-Ciqv] [-P pattern] off len [len..] ",
	 .summary = "asynchronously reads a number of bytes",
	 .min_args = 2,
	 .max_args = -1,
	 .needs_file = true,
	 .run = aio_read_f},
	{.name = "aio_write",
	 .args = "[-Cfiquz] [-P pattern] off len [len..] ",
	 .summary = "asynchronously writes a number of bytes",
	 .min_args = 2,
	 .max_args = -1,
	 .needs_file = true,
	 .run = aio_write_f},
	{.name = NULL},
};
