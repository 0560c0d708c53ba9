/*
 * The frame of the tool: the list of commands, messages, the loop.
 */
#include "ui/img/img.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/co.h"
#include "core/log.h"
#include "core/loop.h"

static const struct img_command *const commands[] = {
	&img_amend,   &img_bench,   &img_bitmap, &img_check,  &img_commit,
	&img_compare, &img_convert, &img_create, &img_dd,     &img_info,
	&img_map,     &img_measure, &img_rebase, &img_resize, &img_snapshot,
};
#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void vmessage(struct img_tool *t, const char *fmt, va_list ap)
{
	fflush(stdout);
	fprintf(stderr, "%s: ", t->program);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int img_error(struct img_tool *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vmessage(t, fmt, ap);
	va_end(ap);
	return 1;
}

int img_usage_error(struct img_tool *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vmessage(t, fmt, ap);
	va_end(ap);
	fprintf(stderr, "Try '%s --help' for more information\n", t->program);
	return 1;
}

int img_bad_option(struct img_tool *t, int c, char **argv)
{
	const char *what = argv[optind - 1];

	if (c == ':')
		return img_usage_error(t, "missing argument for option '%s'",
				       what);
	return img_usage_error(t, "unrecognized option '%s'", what);
}

int img_source_option(struct img_tool *t, struct img_source *s, int c,
		      char **argv)
{
	switch (c) {
	case 'f':
		s->format = optarg;
		return 0;
	case 'U':
		s->share = true;
		return 0;
	case IMG_OPT_IMAGE_OPTS:
		s->image_opts = true;
		return 0;
	case IMG_OPT_OBJECT:
		return img_error(t, "objects are not supported");
	}
	return img_bad_option(t, c, argv);
}

static void print_help(struct img_tool *t)
{
	printf("usage: %s [standard options] command [command options]\n"
	       "Binnacle disk image utility\n\n"
	       "    '-h', '--help'       display this help and exit\n"
	       "    '-V', '--version'    output version information and exit\n"
	       "    '--backing-folders'  FOLDER[:FOLDER...] where backing and "
	       "data files that\n"
	       "                         images name may lie, besides the "
	       "image's own folder\n"
	       "                         (also: BINNACLE_BACKING_FOLDERS; "
	       "\"/\" is everywhere)\n\n"
	       "Command syntax:\n",
	       t->program);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		printf("  %s %s\n", commands[i]->name, commands[i]->usage);
	printf("\nSupported formats:");
	for (const struct blk_format *f = NULL; (f = blk_format_next(f));)
		printf(" %s", f->name);
	printf("\nSee binnacle-img(1).\n");
}

static const struct img_command *find_command(const char *name)
{
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

struct call {
	struct img_tool *t;
	const struct img_command *command;
	int argc;
	char **argv;
};

static int run_command(void *arg)
{
	struct call *c = arg;

	return c->command->run(c->t, c->argc, c->argv);
}

static void destroy_ctx(void *ctx)
{
	blk_ctx_destroy(ctx);
}

static int with_loop(struct call *c, const char *folders)
{
	struct img_tool *t = c->t;
	struct blk_ctx_config cfg = {.backing_folders = folders};
	struct log *log = log_create(LOG_LEVEL_WARN);
	struct error e;
	int status = 1;

	img_raise_limits();
	t->loop = loop_create("img", NULL, &e);
	if (!t->loop || loop_start(t->loop, &e)) {
		status = img_error(t, "%s", e.msg);
		goto out;
	}
	cfg.loop = t->loop;
	cfg.log = log;
	t->ctx = blk_ctx_create(&cfg, &e);
	if (!t->ctx) {
		status = img_error(t, "%s", e.msg);
		goto out;
	}
	status = blk_run(t->ctx, run_command, c);
	loop_call(t->loop, destroy_ctx, t->ctx);
out:
	loop_destroy(t->loop);
	log_destroy(log);
	return status;
}

int img_main(const char *program, int argc, char **argv)
{
	enum { OPT_FOLDERS = 256 };
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{"trace", required_argument, NULL, 'T'},
		{"backing-folders", required_argument, NULL, OPT_FOLDERS},
		{0}};
	const char *folders = getenv("BINNACLE_BACKING_FOLDERS");
	struct img_tool t = {.program = program};
	struct call call = {.t = &t};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:hVT:", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			print_help(&t);
			return 0;
		case 'V':
			printf("%s version %s\n", program, BINNACLE_VERSION);
			return 0;
		case 'T':
			return img_error(&t, "tracing is not supported");
		case OPT_FOLDERS:
			folders = optarg;
			break;
		default:
			return img_bad_option(&t, c, argv);
		}
	}
	if (optind >= argc)
		return img_usage_error(&t, "Not enough arguments");
	call.command = find_command(argv[optind]);
	if (!call.command)
		return img_usage_error(&t, "Command not found: %s",
				       argv[optind]);
	call.argc = argc - optind;
	call.argv = argv + optind;
	for (int i = 1; i < call.argc; i++)
		if (!strcmp(call.argv[i], "-h") ||
		    !strcmp(call.argv[i], "--help")) {
			print_help(&t);
			return 0;
		}
	optind = 0; /* getopt starts afresh */
	c = with_loop(&call, folders);
	if (fflush(stdout) || ferror(stdout))
		return img_error(&t, "standard output: %s", strerror(errno));
	return c;
}
