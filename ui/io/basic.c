/*
 * Everything but requests: the image, what is allocated, help, signals.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/co.h"
#include "ui/io/io.h"

static int flush_f(struct io *io, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return blk_flush(io->b);
}

static int length_f(struct io *io, int argc, char **argv)
{
	char text[64];

	(void)argc;
	(void)argv;
	printf("%s\n", io_size_text(blk_len(io->b), text));
	return 0;
}

static int truncate_f(struct io *io, int argc, char **argv)
{
	static const char *const modes[] = {"off", "metadata", "falloc",
					    "full"};
	enum blk_prealloc mode = BLK_PREALLOC_OFF;
	struct error e = {0};
	uint64_t len;
	int c, i, ret;

	while ((c = getopt(argc, argv, "m:")) != -1) {
		for (i = 0; c == 'm' && i < 4; i++)
			if (!strcmp(modes[i], optarg))
				break;
		if (c != 'm') {
			io_print_usage(io_find(argv[0]));
			return -EINVAL;
		}
		if (i == 4) {
			img_error(&io->tool, "Invalid preallocation mode '%s'",
				  optarg);
			return -EINVAL;
		}
		mode = i;
	}
	if (optind >= argc || !io_number(argv[optind], &len))
		return -EINVAL;
	if (!blk_writable(io->b)) {
		img_error(&io->tool, "Block node is read-only");
		return -EPERM;
	}
	ret = blk_truncate(io->b, len, mode, true, &e);
	if (ret)
		img_error(&io->tool, "%s", e.msg);
	return ret;
}

/* Allocated in this layer? *n bytes share the answer. */
static int is_allocated(struct io *io, uint64_t off, uint64_t len, uint64_t *n)
{
	int ret = blk_status(io->b, off, len, n, NULL, NULL);

	if (ret < 0)
		return ret;
	if (!*n)
		*n = len;
	return !!(ret & BLK_STATUS_ALLOCATED);
}

static int alloc_f(struct io *io, int argc, char **argv)
{
	uint64_t off, len = 512, at, n, sum = 0;
	char text[64];

	if (!io_number(argv[1], &off) ||
	    (argc > 2 && !io_number(argv[2], &len)))
		return -EINVAL;
	if (off >= blk_len(io->b))
		len = 0;
	else if (len > blk_len(io->b) - off)
		len = blk_len(io->b) - off;
	for (at = off; at < off + len; at += n) {
		int ret = is_allocated(io, at, off + len - at, &n);

		if (ret < 0) {
			printf("is_allocated failed: %s\n", strerror(-ret));
			return ret;
		}
		sum += ret ? n : 0;
	}
	printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum,
	       len, io_size_text(off, text));
	return 0;
}

static int map_f(struct io *io, int argc, char **argv)
{
	uint64_t end = blk_len(io->b), off = 0, n, more;
	char len_text[64], off_text[64];

	(void)argc;
	(void)argv;
	while (off < end) {
		int ret = is_allocated(io, off, end - off, &n);

		while (ret >= 0 && off + n < end) {
			int next =
				is_allocated(io, off + n, end - off - n, &more);

			if (next != ret)
				break;
			n += more;
		}
		if (ret < 0) {
			img_error(&io->tool, "Failed to get allocation status");
			return ret;
		}
		printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s "
		       "(0x%" PRIx64 ")\n",
		       io_size_text(n, len_text), n, ret ? "   " : "not",
		       io_size_text(off, off_text), off);
		off += n;
	}
	return 0;
}

static void print_specific(struct io *io, struct json_object *info)
{
	struct json_object *v;
	uint64_t cluster, span, per_entry = 8;
	char text[64];

	if (!json_object_object_get_ex(info, "cluster-size", &v)) {
		printf("cluster size: 0 bytes\nvm state offset: 0 bytes\n");
		return;
	}
	cluster = json_object_get_int64(v);
	if (json_object_object_get_ex(info, "data", &v)) {
		struct json_object *extended;

		if (json_object_object_get_ex(v, "extended-l2", &extended) &&
		    json_object_get_boolean(extended))
			per_entry = 16;
	}
	/* The state of a machine would begin with an L2 table of its own. */
	span = cluster * (cluster / per_entry);
	printf("cluster size: %s\n", io_size_text(cluster, text));
	printf("vm state offset: %s\n",
	       io_size_text((blk_len(io->b) + span - 1) / span * span, text));
	if (v) {
		printf("Format specific information:\n");
		img_json_print_human(v, 1);
	}
}

static int info_f(struct io *io, int argc, char **argv)
{
	const struct blk_format *f = blk_format_find(blk_format(io->b));
	struct json_object *info = f && f->info ? f->info(io->b) : NULL;

	(void)argc;
	(void)argv;
	printf("format name: %s\n", blk_format(io->b));
	print_specific(io, info);
	json_object_put(info);
	return 0;
}

static int cache_f(struct io *io, int argc, char **argv)
{
	struct blk_cache_stats s;
	char budget[32], used[32];

	(void)argc;
	(void)argv;
	if (!blk_cache_stats(io->b, &s)) {
		printf("no metadata is cached\n");
		return 0;
	}
	printf("metadata cache: %s used of %s; %" PRIu64 " hits, %" PRIu64
	       " misses\n",
	       io_size_text(s.used, used), io_size_text(s.budget, budget),
	       s.hits, s.misses);
	return 0;
}

/* Options and a path as one list, in which the path's commas are doubled. */
static char *join_options(const char *options, const char *path)
{
	static const char key[] = ",file.filename=";
	char *text = malloc(strlen(options) + sizeof(key) + 2 * strlen(path));
	char *to;

	if (!text)
		return NULL;
	to = text + sprintf(text, "%s%s", options, key);
	for (; *path; path++) {
		if (*path == ',')
			*to++ = ',';
		*to++ = *path;
	}
	*to = 0;
	return text;
}

static int open_f(struct io *io, int argc, char **argv)
{
	struct img_source s = {.write = true, .discard = true};
	const char *cache = NULL;
	char *text = NULL;
	int c, ret;

	if (io->b) {
		img_error(&io->tool, "file open already, try 'help close'");
		return -EBUSY;
	}
	io->temporary = io->copy_on_read = false;
	while ((c = getopt(argc, argv, "snCro:kt:d:U")) != -1) {
		switch (c) {
		case 'n':
			cache = "none";
			break;
		case 'r':
			s.write = false;
			break;
		case 's':
			io->temporary = true;
			break;
		case 'C':
			io->copy_on_read = true;
			break;
		case 'k':
			s.aio = BLK_AIO_NATIVE;
			break;
		case 't':
			cache = optarg;
			break;
		case 'd':
			s.discard = !strcmp(optarg, "unmap") ||
				    !strcmp(optarg, "on");
			break;
		case 'o':
			s.image_opts = true;
			s.path = optarg;
			break;
		case 'U':
			s.share = true;
			break;
		default:
			io_print_usage(io_find("open"));
			return -EINVAL;
		}
	}
	if (optind == argc - 1 && s.path)
		s.path = text = join_options(s.path, argv[optind]);
	else if (optind == argc - 1)
		s.path = argv[optind];
	if (!s.path) {
		io_print_usage(io_find("open"));
		return -EINVAL;
	}
	io->source = s;
	io->writethrough = true;
	if (cache)
		io_set_cache(io, cache);
	ret = io_open(io);
	/* These words are the command line's. */
	io->source.path = io->source.cache = NULL;
	free(text);
	return ret;
}

static int close_f(struct io *io, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return io_close(io);
}

static int reopen_f(struct io *io, int argc, char **argv)
{
	bool write = blk_writable(io->b);
	struct error e = {0};
	int c, ret;

	while ((c = getopt(argc, argv, "c:o:rw")) != -1) {
		if (c == 'r')
			write = false;
		else if (c == 'w')
			write = true;
		else {
			img_error(&io->tool, "option -%c is not supported", c);
			return -EINVAL;
		}
	}
	io_wait_aio(io);
	ret = blk_set_write(io->b, write, &e);
	if (ret)
		img_error(&io->tool, "%s", e.msg);
	return ret;
}

static int sigraise_f(struct io *io, int argc, char **argv)
{
	uint64_t signal;

	(void)io;
	(void)argc;
	if (!io_number(argv[1], &signal))
		return -EINVAL;
	if (signal > 64) {
		printf("signal argument '%s' is too large to be a valid "
		       "signal\n",
		       argv[1]);
		return -EINVAL;
	}
	/* What was printed so far must not be lost. */
	fflush(stdout);
	return raise(signal) ? -EINVAL : 0;
}

static int sleep_f(struct io *io, int argc, char **argv)
{
	char *end;
	unsigned long ms = strtoul(argv[1], &end, 0);

	(void)argc;
	if (*end || ms > 1000000000) {
		printf("%s is not a valid number\n", argv[1]);
		return -EINVAL;
	}
	fflush(stdout);
	co_sleep_ns(io->tool.ctx, ms * 1000000ull);
	return 0;
}

static int abort_f(struct io *io, int argc, char **argv)
{
	(void)io;
	(void)argc;
	(void)argv;
	fflush(stdout);
	abort();
}

static int no_breaks(struct io *io, int argc, char **argv)
{
	(void)argc;
	img_error(&io->tool, "%s: this image has no breakpoints", argv[0]);
	return -ENOTSUP;
}

static int quit_f(struct io *io, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	io->quit = true;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct io_command *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void help_all(void)
{
	const struct io_command *all[64];
	const struct io_command *const tables[] = {
		io_basic_commands, io_rw_commands, io_aio_commands};
	size_t nr = 0;

	for (size_t i = 0; i < 3; i++)
		for (const struct io_command *c = tables[i]; c->name && nr < 64;
		     c++)
			if (strcmp(c->name, "q"))
				all[nr++] = c;
	qsort(all, nr, sizeof(*all), by_name);
	for (size_t i = 0; i < nr; i++)
		io_print_usage(all[i]);
	printf("\nUse 'help commandname' for extended help.\n");
}

static int help_f(struct io *io, int argc, char **argv)
{
	const struct io_command *c;

	(void)io;
	if (argc == 1) {
		help_all();
		return 0;
	}
	c = io_find(argv[1]);
	if (!c) {
		printf("command %s not found\n", argv[1]);
		return -EINVAL;
	}
	io_print_usage(c);
	if (c->help)
		printf("\n%s\n", c->help);
	return 0;
}

const struct io_command io_basic_commands[] = {
	{.name = "abort",
	 .args = "",
	 .summary = "simulate a program crash using abort(3)",
	 .run = abort_f},
	{.name = "alloc",
	 .args = "offset [count] ",
	 .summary = "checks if offset is allocated in the file",
	 .min_args = 1,
	 .max_args = 2,
	 .needs_file = true,
	 .run = alloc_f},
	{.name = "break",
	 .args = "event tag ",
	 .summary = "sets a breakpoint on event and tags the stopped request "
		    "as tag",
	 .min_args = 2,
	 .max_args = 2,
	 .needs_file = true,
	 .run = no_breaks},
	{.name = "cache",
	 .args = "",
	 .summary = "prints what is cached of the file's metadata",
	 .needs_file = true,
	 .run = cache_f},
	{.name = "close",
	 .args = "",
	 .summary = "close the current open file",
	 .needs_file = true,
	 .run = close_f},
	{.name = "flush",
	 .args = "",
	 .summary = "flush all in-core file state to disk",
	 .needs_file = true,
	 .run = flush_f},
	{.name = "help",
	 .args = "[command] ",
	 .summary = "help for one or all commands",
	 .max_args = 1,
	 .run = help_f},
	{.name = "info",
	 .args = "",
	 .summary = "prints information about the current file",
	 .needs_file = true,
	 .run = info_f},
	{.name = "length",
	 .args = "",
	 .summary = "gets the length of the current file",
	 .needs_file = true,
	 .run = length_f},
	{.name = "map",
	 .args = " ",
	 .summary = "prints the allocated areas of a file",
	 .needs_file = true,
	 .run = map_f},
	{.name = "open",
	 .args = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path] ",
	 .summary = "open the file specified by path",
	 .min_args = 1,
	 .max_args = -1,
	 .run = open_f},
	{.name = "q", .args = "", .summary = "exit the program", .run = quit_f},
	{.name = "quit",
	 .args = "",
	 .summary = "exit the program",
	 .run = quit_f},
	{.name = "remove_break",
	 .args = "tag ",
	 .summary = "remove a breakpoint by tag",
	 .min_args = 1,
	 .max_args = 1,
	 .needs_file = true,
	 .run = no_breaks},
	{.name = "reopen",
	 .args = "[(-r|-w)] [-c cache] [-o options] ",
	 .summary = "reopens an image with new options",
	 .max_args = -1,
	 .needs_file = true,
	 .run = reopen_f},
	{.name = "resume",
	 .args = "tag ",
	 .summary = "resumes the request tagged as tag",
	 .min_args = 1,
	 .max_args = 1,
	 .needs_file = true,
	 .run = no_breaks},
	{.name = "sigraise",
	 .args = "signal ",
	 .summary = "raises a signal",
	 .min_args = 1,
	 .max_args = 1,
	 .run = sigraise_f},
	{.name = "sleep",
	 .args = "",
	 .summary = "waits for the given value in milliseconds",
	 .min_args = 1,
	 .max_args = 1,
	 .run = sleep_f},
	{.name = "truncate",
	 .args = "[-m prealloc_mode] off ",
	 .summary = "truncates the current file at the given offset",
	 .min_args = 1,
	 .max_args = 3,
	 .needs_file = true,
	 .run = truncate_f},
	{.name = "wait_break",
	 .args = "tag ",
	 .summary = "waits for the suspension of a request",
	 .min_args = 1,
	 .max_args = 1,
	 .needs_file = true,
	 .run = no_breaks},
	{.name = NULL},
};
