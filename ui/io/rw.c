/*
 * read, write, readv, writev, discard: requests that are waited for.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/loop.h"
#include "ui/io/io.h"

#define LEN_MAX	     0x7ffffe00u
#define MISALIGNMENT 16u

struct request {
	struct io_report report;
	int pattern;		  /* -1: none */
	uint64_t skip, check_len; /* of the part that is verified */
	bool has_check_len, quiet, verbose;
	bool write, zeroes, unmap, packed, fua, no_fallback, vm_state;
	const char *source_file;
	uint8_t *base, *buf; /* what was allocated; where data lie in it */
};

static int refuse(const char *text)
{
	printf("%s\n", text);
	return -EINVAL;
}

/* The options that the command has, by their letters as for getopt. */
static int parse_options(struct request *r, int argc, char **argv,
			 const char *letters)
{
	int c;

	while ((c = getopt(argc, argv, letters)) != -1) {
		switch (c) {
		case 'b':
			r->vm_state = true;
			break;
		case 'c':
			r->packed = true;
			break;
		case 'C':
			r->report.terse = true;
			break;
		case 'f':
			r->fua = true;
			break;
		case 'l':
			if (!io_number(optarg, &r->check_len))
				return -EINVAL;
			r->has_check_len = true;
			break;
		case 'n':
			r->no_fallback = true;
			break;
		case 'p':
			break;
		case 'P':
			if (!io_pattern(optarg, &r->pattern))
				return -EINVAL;
			break;
		case 'q':
			r->quiet = true;
			break;
		case 's':
			if (r->write)
				r->source_file = optarg;
			else if (!io_number(optarg, &r->skip))
				return -EINVAL;
			break;
		case 'u':
			r->unmap = true;
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
	return 0;
}

/* What a write may not be told at once. */
static int check_write(const struct request *r)
{
	if (r->no_fallback && !r->zeroes)
		return refuse("-n requires -z to be specified");
	if (r->unmap && !r->zeroes)
		return refuse("-u requires -z to be specified");
	if (r->zeroes + (r->pattern >= 0) + !!r->source_file > 1)
		return refuse("Only one of -z, -P, and -s can be specified at "
			      "the same time");
	if (r->fua && (r->packed || r->vm_state))
		return refuse("-f and -b or -c cannot be specified at the same "
			      "time");
	if (r->vm_state && r->zeroes)
		return refuse("-b and -z cannot be specified at the same time");
	if (r->vm_state)
		return refuse(
			"-b: the state of a machine is not kept in images");
	return 0;
}

static int refuse_length(const struct request *r, const char *given, bool many)
{
	if (many)
		printf("Argument '%s' exceeds maximum size %u\n", given,
		       LEN_MAX);
	else
		printf("length cannot exceed %u%s, given %s\n", LEN_MAX,
		       r->write ? " without -n" : "", given);
	return -EINVAL;
}

/* off and the lengths (their sum) from what follows the options. */
static int parse_range(struct request *r, int argc, char **argv, bool many)
{
	uint64_t part;

	if (argc - optind < 2 || (!many && argc - optind > 2))
		return refuse("an offset and a length are needed");
	if (!io_number(argv[optind++], &r->report.off))
		return -EINVAL;
	for (; optind < argc; optind++) {
		if (!io_number(argv[optind], &part))
			return -EINVAL;
		r->report.len += part;
		if (r->report.len > LEN_MAX && !r->no_fallback)
			return refuse_length(r, argv[optind], many);
	}
	return 0;
}

static int check_sectors(const struct request *r)
{
	if (r->report.off % 512)
		printf("%" PRIu64
		       " is not a sector-aligned value for 'offset'\n",
		       r->report.off);
	else if (r->report.len % 512)
		printf("%" PRIu64
		       " is not a sector-aligned value for 'count'\n",
		       r->report.len);
	else
		return 0;
	return -EINVAL;
}

static int get_buffer(struct io *io, struct request *r, int fill)
{
	void *p;

	if (posix_memalign(&p, 4096, r->report.len + MISALIGNMENT))
		return -ENOMEM;
	r->base = p;
	r->buf = r->base + (io->misalign ? MISALIGNMENT : 0);
	memset(r->buf, fill, r->report.len);
	return 0;
}

/* The file's bytes, again and again. */
static int fill_from_file(struct request *r)
{
	FILE *f = fopen(r->source_file, "rb");
	size_t n = 0;

	if (!f) {
		fflush(stdout);
		fprintf(stderr, "%s: %s\n", r->source_file, strerror(errno));
		return -errno;
	}
	n = fread(r->buf, 1, r->report.len, f);
	fclose(f);
	if (!n && r->report.len) {
		printf("%s: file is empty\n", r->source_file);
		return -EINVAL;
	}
	for (size_t at = n; at < r->report.len; at++)
		r->buf[at] = r->buf[at - n];
	return 0;
}

static bool is_inside(struct io *io, const struct request *r)
{
	return r->report.off <= blk_len(io->b) &&
	       r->report.len <= blk_len(io->b) - r->report.off;
}

static int finish(struct request *r, const char *what, int ret)
{
	if (ret < 0)
		printf("%s failed: %s\n", what, strerror(-ret));
	else if (!r->quiet)
		io_print_report(&r->report);
	free(r->base);
	return ret;
}

static int run_read(struct io *io, struct request *r)
{
	int ret;

	if (r->pattern < 0 && (r->has_check_len || r->skip))
		return refuse("-s and -l need -P");
	if (!r->has_check_len)
		r->check_len =
			r->report.len -
			(r->skip < r->report.len ? r->skip : r->report.len);
	if (r->skip > r->report.len || r->check_len > r->report.len - r->skip)
		return refuse("pattern verification range exceeds end of read "
			      "data");
	if (get_buffer(io, r, 0xab))
		return refuse("out of memory");
	r->report.verb = "read";
	r->report.start_ns = loop_now_ns();
	ret = is_inside(io, r) ? io_copy_up(io, r->report.off, r->report.len)
			       : -EIO;
	if (!ret)
		ret = blk_read(io->b, r->report.off, r->buf, r->report.len);
	if (!ret && r->pattern >= 0 &&
	    !io_verify(r->buf + r->skip, r->check_len, r->pattern,
		       r->report.off + r->skip)) {
		if (!r->quiet)
			io_print_report(&r->report);
		free(r->base);
		return -EINVAL;
	}
	if (!ret && !r->quiet && r->verbose)
		io_dump(r->buf, r->report.len, r->report.off);
	return finish(r, "read", ret);
}

static unsigned flags_of(const struct io *io, const struct request *r)
{
	return (r->fua || io->writethrough ? BLK_FUA : 0) |
	       (r->unmap ? BLK_MAY_UNMAP : 0) |
	       (r->no_fallback ? BLK_NO_FALLBACK : 0) |
	       (r->packed ? BLK_COMPRESSED : 0);
}

static int run_write(struct io *io, struct request *r)
{
	int ret = 0;

	if (!blk_writable(io->b))
		return img_error(&io->tool, "Block node is read-only"), -EPERM;
	if (r->packed && check_sectors(r))
		return -EINVAL;
	if (!r->zeroes) {
		if (get_buffer(io, r, r->pattern >= 0 ? r->pattern : 0xcd))
			return refuse("out of memory");
		if (r->source_file)
			ret = fill_from_file(r);
		if (ret) {
			free(r->base);
			return ret;
		}
	}
	r->report.verb = "wrote";
	r->report.start_ns = loop_now_ns();
	if (!is_inside(io, r))
		ret = -EIO;
	else if (r->zeroes)
		ret = blk_write_zeroes(io->b, r->report.off, r->report.len,
				       flags_of(io, r));
	else
		ret = blk_write(io->b, r->report.off, r->buf, r->report.len,
				flags_of(io, r));
	return finish(r, "write", ret);
}

static int read_parts(struct io *io, int argc, char **argv, bool many)
{
	struct request r = {.pattern = -1};
	int ret = parse_options(&r, argc, argv, "bCl:pP:qs:v");

	if (!ret)
		ret = parse_range(&r, argc, argv, many);
	return ret ? ret : run_read(io, &r);
}

static int read_f(struct io *io, int argc, char **argv)
{
	return read_parts(io, argc, argv, false);
}

static int readv_f(struct io *io, int argc, char **argv)
{
	return read_parts(io, argc, argv, true);
}

static int write_parts(struct io *io, int argc, char **argv, bool many)
{
	struct request r = {.pattern = -1, .write = true};
	int ret = parse_options(&r, argc, argv, "bcCfnpP:qs:uz");

	if (!ret)
		ret = check_write(&r);
	if (!ret)
		ret = parse_range(&r, argc, argv, many);
	return ret ? ret : run_write(io, &r);
}

static int write_f(struct io *io, int argc, char **argv)
{
	return write_parts(io, argc, argv, false);
}

static int writev_f(struct io *io, int argc, char **argv)
{
	return write_parts(io, argc, argv, true);
}

static int discard_f(struct io *io, int argc, char **argv)
{
	struct request r = {.report.verb = "discard"};
	int ret = parse_options(&r, argc, argv, "Cq");

	if (!ret)
		ret = parse_range(&r, argc, argv, false);
	if (ret)
		return ret;
	if (!blk_writable(io->b))
		return img_error(&io->tool, "Block node is read-only"), -EPERM;
	r.report.start_ns = loop_now_ns();
	ret = is_inside(io, &r) ? blk_discard(io->b, r.report.off, r.report.len)
				: -EIO;
	return finish(&r, "discard", ret);
}

const struct io_command io_rw_commands[] = {
	{.name = "read",
	 .args = "[-abCqv] [-P pattern [-s off] [-l len]] off len ",
	 .summary = "reads a number of bytes at a specified offset",
	 .min_args = 2,
	 .max_args = -1,
	 .needs_file = true,
	 .run = read_f,
	 .help = " -C  statistics for machines\n -P  verify against a pattern "
		 "byte\n -s, -l  the part that is verified\n -q  print "
		 "nothing\n -v  dump what was read\n"},
	{.name = "readv",
	 .args = "[-Cqv] [-P pattern] off len [len..] ",
	 .summary = "reads a number of bytes at a specified offset",
	 .min_args = 2,
	 .max_args = -1,
	 .needs_file = true,
	 .run = readv_f},
	{.name = "write",
	 .args = "[-bcCfnquz] [-P pattern | -s source_file] off len ",
	 .summary = "writes a number of bytes at a specified offset",
	 .min_args = 2,
	 .max_args = -1,
	 .needs_file = true,
	 .run = write_f,
	 .help = " -c  compressed\n -f  stable before it completes\n -n  with "
		 "-z: never as data\n -P  a pattern byte\n -s  bytes of a "
		 "file\n -u  with -z: may give space back\n -z  zeroes\n"},
	{.name = "writev",
	 .args = "[-Cfq] [-P pattern] off len [len..] ",
	 .summary = "writes a number of bytes at a specified offset",
	 .min_args = 2,
	 .max_args = -1,
	 .needs_file = true,
	 .run = writev_f},
	{.name = "discard",
	 .args = "[-Cq] off len ",
	 .summary = "discards a number of bytes at a specified offset",
	 .min_args = 2,
	 .max_args = -1,
	 .needs_file = true,
	 .run = discard_f},
	{.name = NULL},
};
