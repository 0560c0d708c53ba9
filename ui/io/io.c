/*
 * The frame: options, the command line, reports.
 */
#include "ui/io/io.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/co.h"
#include "core/blk/options.h"
#include "core/blk/scratch.h"
#include "core/log.h"
#include "core/loop.h"

#define ARGS_MAX 64

static const struct io_command *const tables[] = {
	io_basic_commands, io_rw_commands, io_aio_commands};
#define NR_TABLES (sizeof(tables) / sizeof(tables[0]))

const struct io_command *io_find(const char *name)
{
	for (size_t i = 0; i < NR_TABLES; i++)
		for (const struct io_command *c = tables[i]; c->name; c++)
			if (!strcmp(c->name, name))
				return c;
	return NULL;
}

void io_print_usage(const struct io_command *c)
{
	printf("%s %s-- %s\n", c->name, c->args, c->summary);
}

/* ---- numbers and texts ---- */

const char *io_size_text(double n, char *text)
{
	static const char *const units[] = {" EiB", " PiB", " TiB",
					    " GiB", " MiB", " KiB"};
	double unit = 1ull << 60;
	char *end;
	int i = 0;

	while (i < 6 && n < unit) {
		unit /= 1024;
		i++;
	}
	if (i < 6)
		n /= unit;
	snprintf(text, 64, "%.3f", n);
	end = strchr(text, '.');
	/* A fraction that does not show is not written. */
	if (!strcmp(end, ".000"))
		*end = 0;
	strcat(text, i < 6 ? units[i] : " bytes");
	return text;
}

bool io_number(const char *text, uint64_t *out)
{
	int ret = img_size_parse(text, out);

	if (!ret && *out > INT64_MAX)
		ret = -ERANGE;
	if (ret == -ERANGE)
		printf("Parsing error: argument too large -- %s\n", text);
	else if (ret)
		printf("Parsing error: non-numeric argument, or "
		       "extraneous/unrecognized suffix -- %s\n",
		       text);
	return !ret;
}

bool io_pattern(const char *text, int *out)
{
	char *end;
	long n = strtol(text, &end, 0);

	if (*end || end == text || n < 0 || n > 0xff) {
		printf("%s is not a valid pattern byte\n", text);
		return false;
	}
	*out = n;
	return true;
}

void io_print_report(const struct io_report *r)
{
	double t = (loop_now_ns() - r->start_ns) / 1e9;
	char total[64], speed[64];
	unsigned hundredths = t * 100;

	if (t < 1e-6)
		t = 1e-6;
	if (r->terse) {
		printf("%" PRIu64 ",1,%u:%02u:%02u.%02u,%.3f,%.3f\n", r->len,
		       hundredths / 360000, hundredths / 6000 % 60,
		       hundredths / 100 % 60, hundredths % 100, r->len / t,
		       1 / t);
		return;
	}
	printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n",
	       r->verb, r->len, r->len, r->off);
	printf("%s, 1 ops; ", io_size_text(r->len, total));
	if (hundredths >= 100)
		printf("%u:%02u:%02u.%02u", hundredths / 360000,
		       hundredths / 6000 % 60, hundredths / 100 % 60,
		       hundredths % 100);
	else
		printf("00.%02u sec", hundredths);
	printf(" (%s/sec and %.4f ops/sec)\n", io_size_text(r->len / t, speed),
	       1 / t);
}

bool io_verify(const void *buf, size_t len, int pattern, uint64_t off)
{
	const uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern) {
			printf("Pattern verification failed at offset %" PRIu64
			       ", %zu bytes\n",
			       off, len);
			return false;
		}
	return true;
}

void io_dump(const void *buf, size_t len, uint64_t off)
{
	const uint8_t *p = buf;

	for (size_t i = 0; i < len; i += 16) {
		size_t n = len - i < 16 ? len - i : 16;

		printf("%08" PRIx64 ":  ", off + i);
		for (size_t k = 0; k < n; k++)
			printf("%02x ", p[i + k]);
		putchar(' ');
		for (size_t k = 0; k < n; k++)
			putchar(isalnum(p[i + k]) ? p[i + k] : '.');
		putchar('\n');
	}
}

/* ---- the image ---- */

void io_set_cache(struct io *io, const char *mode)
{
	io->source.cache = mode;
	io->writethrough =
		!strcmp(mode, "writethrough") || !strcmp(mode, "directsync");
}

int io_open(struct io *io)
{
	struct error e = {0};

	if (io->copy_on_read && !io->source.write) {
		error_set(&e, -EINVAL,
			  "Can't use copy-on-read on read-only device");
	} else {
		struct img_source s = io->source;

		s.write = s.write && !io->temporary;
		io->b = img_try_open(&io->tool, &s, &e);
		if (io->b && io->temporary && io->source.write)
			io->b = blk_scratch_over(io->b, &e);
	}
	if (io->b)
		return 0;
	img_error(&io->tool, "can't open%s %s: %s",
		  io->source.path ? " device" : "",
		  io->source.path ? io->source.path : "", e.msg);
	return -EIO;
}

void io_wait_aio(struct io *io)
{
	while (io->nr_aio) {
		io->waiter = co_self();
		co_yield ();
	}
	io->waiter = NULL;
}

int io_close(struct io *io)
{
	int ret;

	io_wait_aio(io);
	ret = blk_unref(io->b);
	io->b = NULL;
	return ret;
}

/* ---- commands ---- */

static int split(char *line, char **argv)
{
	int argc = 0;

	for (char *p = strtok(line, " \t\n"); p && argc < ARGS_MAX - 1;
	     p = strtok(NULL, " \t\n"))
		argv[argc++] = p;
	argv[argc] = NULL;
	return argc;
}

static bool check_count(const struct io_command *c, int nr)
{
	if (nr >= c->min_args && (c->max_args < 0 || nr <= c->max_args))
		return true;
	if (c->max_args < 0)
		fprintf(stderr,
			"bad argument count %d to %s, expected at least %d "
			"arguments\n",
			nr, c->name, c->min_args);
	else if (c->min_args == c->max_args)
		fprintf(stderr,
			"bad argument count %d to %s, expected %d arguments\n",
			nr, c->name, c->min_args);
	else
		fprintf(stderr,
			"bad argument count %d to %s, expected between %d and "
			"%d arguments\n",
			nr, c->name, c->min_args, c->max_args);
	return false;
}

/* 0 or -errno: whether the exit status is to be 1. */
static int run_line(struct io *io, char *line)
{
	const struct io_command *c;
	char *argv[ARGS_MAX];
	int argc = split(line, argv), ret;

	if (!argc)
		return 0;
	c = io_find(argv[0]);
	if (!c) {
		fflush(stdout);
		fprintf(stderr, "command \"%s\" not found\n", argv[0]);
		return -EINVAL;
	}
	if (c->needs_file && !io->b) {
		fflush(stdout);
		fprintf(stderr, "no file open, try 'help open'\n");
		return -EINVAL;
	}
	fflush(stdout);
	if (!check_count(c, argc - 1))
		return -EINVAL;
	optind = 0;
	opterr = 1;
	ret = c->run(io, argc, argv);
	fflush(stdout);
	return ret < 0 ? ret : 0;
}

struct line {
	char *text;
	size_t room;
	ssize_t len;
};

static int read_line(void *arg)
{
	struct line *l = arg;

	l->len = getline(&l->text, &l->room, stdin);
	return 0;
}

static int interactive(struct io *io)
{
	struct line l = {0};
	int status = 0;

	while (!io->quit) {
		printf("%s> ", io->tool.program);
		fflush(stdout);
		/* Background requests go on while a person thinks. */
		co_worker(io->tool.ctx, read_line, &l);
		if (l.len < 0) {
			printf("\n");
			break;
		}
		if (run_line(io, l.text))
			status = 1;
	}
	free(l.text);
	return status;
}

struct session {
	struct io *io;
	char **commands;
	int nr_commands;
	const char *folders;
};

static int session_run(void *arg)
{
	struct session *s = arg;
	struct io *io = s->io;
	int status = 0;

	if (io->source.path && io_open(io))
		return 1;
	for (int i = 0; i < s->nr_commands && !io->quit; i++)
		if (run_line(io, s->commands[i]))
			status = 1;
	if (!s->nr_commands)
		status = interactive(io);
	io_wait_aio(io);
	if (io->b && io_close(io))
		status = 1;
	return status;
}

static void destroy_ctx(void *ctx)
{
	blk_ctx_destroy(ctx);
}

static int with_loop(struct session *s)
{
	struct img_tool *t = &s->io->tool;
	struct blk_ctx_config cfg = {.backing_folders = s->folders};
	struct log *log = log_create(LOG_LEVEL_WARN);
	struct error e = {0};
	int status = 1;

	img_raise_limits();
	t->loop = loop_create("io", NULL, &e);
	if (t->loop && !loop_start(t->loop, &e)) {
		cfg.loop = t->loop;
		cfg.log = log;
		t->ctx = blk_ctx_create(&cfg, &e);
	}
	if (t->ctx) {
		status = blk_run(t->ctx, session_run, s);
		loop_call(t->loop, destroy_ctx, t->ctx);
	} else {
		img_error(t, "%s", e.msg);
	}
	loop_destroy(t->loop);
	log_destroy(log);
	return status;
}

/* ---- the command line ---- */

static void print_help(const char *program)
{
	printf("Usage: %s [OPTIONS]... [-c STRING]... [file]\n"
	       "Binnacle disk exerciser\n\n"
	       "  --image-opts         treat file as option string\n"
	       "  -c, --cmd STRING     execute command with its arguments\n"
	       "                       from the given string\n"
	       "  -f, --format FMT     specifies the block driver to use\n"
	       "  -r, --read-only      export read-only\n"
	       "  -s, --snapshot       keep the image as it is; what is "
	       "written is forgotten\n"
	       "  -n, --nocache        disable host cache, short for -t none\n"
	       "  -C, --copy-on-read   write what is read into the image\n"
	       "  -m, --misalign       misalign allocations for O_DIRECT\n"
	       "  -k, --native-aio     use kernel AIO implementation\n"
	       "  -i, --aio=MODE       use AIO mode (threads, native or "
	       "io_uring)\n"
	       "  -t, --cache=MODE     use the given cache mode for the image\n"
	       "  -d, --discard=MODE   use the given discard mode for the "
	       "image\n"
	       "  -U, --force-share    force shared permissions\n"
	       "      --backing-folders FOLDER[:FOLDER...]\n"
	       "                       where files that images name may lie\n"
	       "  -h, --help           display this help and exit\n"
	       "  -V, --version        output version information and exit\n\n"
	       "See '%s -c help' for information on available commands.\n",
	       program, program);
}

enum { OPT_FOLDERS = 256, OPT_OBJECT, OPT_IMAGE_OPTS };

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"cmd", required_argument, NULL, 'c'},
	{"format", required_argument, NULL, 'f'},
	{"read-only", no_argument, NULL, 'r'},
	{"snapshot", no_argument, NULL, 's'},
	{"nocache", no_argument, NULL, 'n'},
	{"copy-on-read", no_argument, NULL, 'C'},
	{"misalign", no_argument, NULL, 'm'},
	{"native-aio", no_argument, NULL, 'k'},
	{"aio", required_argument, NULL, 'i'},
	{"discard", required_argument, NULL, 'd'},
	{"cache", required_argument, NULL, 't'},
	{"trace", required_argument, NULL, 'T'},
	{"force-share", no_argument, NULL, 'U'},
	{"object", required_argument, NULL, OPT_OBJECT},
	{"image-opts", no_argument, NULL, OPT_IMAGE_OPTS},
	{"backing-folders", required_argument, NULL, OPT_FOLDERS},
	{0}};

static bool set_aio(struct io *io, const char *name)
{
	if (!blk_aio_parse(name, &io->source.aio))
		return true;
	img_error(&io->tool, "Invalid aio option: %s", name);
	return false;
}

/* False: *status is the exit status. */
static bool take_option(struct session *s, int c, int *status)
{
	struct blk_options unused = {0};
	struct io *io = s->io;

	*status = 0;
	switch (c) {
	case 'c':
		s->commands[s->nr_commands++] = optarg;
		return true;
	case 'f':
		io->source.format = optarg;
		return true;
	case 'r':
		io->source.write = false;
		return true;
	case 'n':
		io_set_cache(io, "none");
		return true;
	case 't':
		io_set_cache(io, optarg);
		*status = 1;
		if (img_cache_mode(optarg, &unused))
			return true;
		img_error(&io->tool, "Invalid cache option: %s", optarg);
		return false;
	case 'm':
		io->misalign = true;
		return true;
	case 'k':
		return set_aio(io, "native");
	case 'i':
		*status = 1;
		return set_aio(io, optarg);
	case 'd':
		io->source.discard =
			!strcmp(optarg, "unmap") || !strcmp(optarg, "on");
		return true;
	case 'U':
		io->source.share = true;
		return true;
	case OPT_IMAGE_OPTS:
		io->source.image_opts = true;
		return true;
	case OPT_FOLDERS:
		s->folders = optarg;
		return true;
	case 'h':
		print_help(io->tool.program);
		return false;
	case 'V':
		printf("%s version %s\n", io->tool.program, BINNACLE_VERSION);
		return false;
	case 's':
		io->temporary = true;
		return true;
	case 'C':
		io->copy_on_read = true;
		return true;
	case 'T':
	case OPT_OBJECT:
		*status = img_error(&io->tool, "option -%c is not supported",
				    c < 256 ? c : 'o');
		return false;
	default:
		print_help(io->tool.program);
		*status = 1;
		return false;
	}
}

int io_main(const char *program, int argc, char **argv)
{
	struct io io = {.tool.program = program,
			.source = {.write = true, .discard = true},
			.writethrough = true};
	struct session s = {.io = &io,
			    .folders = getenv("BINNACLE_BACKING_FOLDERS")};
	int c, status = 0;

	s.commands = calloc(argc + 1, sizeof(*s.commands));
	if (!s.commands)
		return img_error(&io.tool, "out of memory");
	opterr = 1;
	while ((c = getopt_long(argc, argv, "hVc:d:f:rsnCmki:t:T:U",
				long_options, NULL)) != -1)
		if (!take_option(&s, c, &status))
			goto out;
	if (argc - optind > 1) {
		print_help(program);
		status = 1;
		goto out;
	}
	if (optind < argc)
		io.source.path = argv[optind];
	status = with_loop(&s);
out:
	free(s.commands);
	return status;
}
