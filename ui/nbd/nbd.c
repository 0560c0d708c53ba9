/*
 * The command line, and the life of the server.
 */
#include "ui/nbd/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/blk/co.h"
#include "core/blk/nbd/address.h"
#include "core/blk/nbd/server.h"
#include "core/blk/options.h"
#include "core/blk/scratch.h"
#include "core/log.h"
#include "core/loop.h"

struct nbd_tool {
	struct img_tool tool;
	struct img_source source;
	struct nbd_address at; /* strings of the command line */
	struct nbd_export_config export;
	struct nbd_server *server;
	unsigned max_clients;
	const char *folders, *pid_path;
	bool scratch; /* clients write to an overlay that goes with us */
	bool persistent, list, fork, has_cache, unmap, verbose;
	int ready_fd;	/* the parent waits there; -1: none */
	int idle_fd;	/* written when the last client has left */
	int signals_fd; /* what ends the server */
};

/* ---- serving ---- */

static void on_client_gone(void *arg, bool negotiated, unsigned left)
{
	struct nbd_tool *n = arg;
	uint64_t one = 1;

	if (negotiated && !left && !n->persistent &&
	    write(n->idle_fd, &one, sizeof(one)) < 0)
		return;
}

static void warn_probed(struct nbd_tool *n, struct blk *b)
{
	if (!n->source.write || n->scratch || n->source.format ||
	    n->source.image_opts || strcmp(blk_format(b), "raw") ||
	    !strncmp(n->source.path, "json:", 5))
		return;
	fprintf(stderr,
		"WARNING: Image format was not specified for '%s' and probing "
		"guessed raw.\n"
		"         Automatically detecting the format is dangerous for "
		"raw images, write operations on block 0 will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the "
		"restrictions.\n",
		n->source.path);
}

static struct blk *open_image(struct nbd_tool *n, struct error *e)
{
	struct img_source s = n->source;
	struct blk *b;

	if (n->scratch)
		s.write = false;
	b = img_try_open(&n->tool, &s, e);
	if (b && n->scratch && n->source.write)
		b = blk_scratch_over(b, e);
	return b;
}

static int open_server(void *arg)
{
	struct nbd_tool *n = arg;
	struct nbd_server_config cfg = {.max_clients = n->max_clients,
					.client_gone = on_client_gone,
					.arg = n};
	struct error e = {0};
	struct blk *b = open_image(n, &e);
	int ret;

	if (!b)
		return img_error(&n->tool, "Failed to blk_new_open '%s': %s",
				 n->source.path, e.msg);
	warn_probed(n, b);
	n->server = nbd_server_create(n->tool.ctx, &cfg, &e);
	n->export.blk = b;
	n->export.write = blk_writable(b);
	ret = n->server ? 0 : -ENOMEM;
	if (!ret && n->export.off > blk_len(b))
		ret = error_set(&e, -EINVAL,
				"Offset (%llu) has to be smaller than the "
				"image size (%llu)",
				(unsigned long long)n->export.off,
				(unsigned long long)blk_len(b));
	if (!ret)
		ret = nbd_server_add_export(n->server, &n->export, &e);
	blk_unref(b);
	if (!ret)
		ret = nbd_server_listen(n->server, &n->at, &e);
	if (!ret)
		return 0;
	nbd_server_destroy(n->server);
	return img_error(&n->tool, "%s", e.msg);
}

static int close_server(void *arg)
{
	nbd_server_destroy(((struct nbd_tool *)arg)->server);
	return 0;
}

static void print_place(struct nbd_tool *n)
{
	struct nbd_address at = n->at;
	char *uri;

	at.export = (char *)n->export.name;
	uri = nbd_address_uri(&at);
	fprintf(stderr, "%s: serving '%s' at %s\n", n->tool.program,
		n->source.path, uri ? uri : "");
	free(uri);
}

/* The process goes to the background; who started it may go on. */
static int tell_ready(struct nbd_tool *n)
{
	FILE *f;
	int null;

	if (n->pid_path) {
		f = fopen(n->pid_path, "w");
		if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
			return img_error(&n->tool,
					 "Cannot create PID file '%s': %s",
					 n->pid_path, strerror(errno));
	}
	if (n->verbose)
		print_place(n);
	if (n->ready_fd < 0)
		return 0;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (write(n->ready_fd, "", 1) != 1)
		return 1;
	close(n->ready_fd);
	return 0;
}

static void wait_for_end(struct nbd_tool *n)
{
	struct pollfd p[] = {{.fd = n->idle_fd, .events = POLLIN},
			     {.fd = n->signals_fd, .events = POLLIN}};

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
}

static void destroy_ctx(void *ctx)
{
	blk_ctx_destroy(ctx);
}

static int with_loop(struct nbd_tool *n)
{
	struct img_tool *t = &n->tool;
	struct blk_ctx_config cfg = {.backing_folders = n->folders};
	struct log *log = log_create(LOG_LEVEL_WARN);
	struct error e = {0};
	int status = 1;

	img_raise_limits();
	t->loop = loop_create("nbd", NULL, &e);
	if (t->loop && !loop_start(t->loop, &e)) {
		cfg.loop = t->loop;
		cfg.log = log;
		t->ctx = blk_ctx_create(&cfg, &e);
	}
	if (!t->ctx) {
		img_error(t, "%s", e.msg);
	} else if (!blk_run(t->ctx, open_server, n)) {
		status = tell_ready(n);
		if (!status)
			wait_for_end(n);
		blk_run(t->ctx, close_server, n);
	}
	if (t->ctx)
		loop_call(t->loop, destroy_ctx, t->ctx);
	loop_destroy(t->loop);
	log_destroy(log);
	return status;
}

static int serve(struct nbd_tool *n)
{
	sigset_t set;
	int status = 1;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	n->signals_fd = signalfd(-1, &set, SFD_CLOEXEC);
	n->idle_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->signals_fd < 0 || n->idle_fd < 0)
		img_error(&n->tool, "descriptors: %s", strerror(errno));
	else
		status = with_loop(n);
	close(n->signals_fd);
	close(n->idle_fd);
	return status;
}

/* Before any thread is there. */
static int fork_and_serve(struct nbd_tool *n)
{
	int fds[2];
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return img_error(&n->tool, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return img_error(&n->tool, "Failed to fork: %s",
				 strerror(errno));
	if (pid) {
		close(fds[1]);
		return read(fds[0], &byte, 1) == 1 ? 0 : 1;
	}
	close(fds[0]);
	setsid();
	n->ready_fd = fds[1];
	return serve(n);
}

/* ---- the command line ---- */

static void print_help(const char *program)
{
	printf("Usage: %s [OPTIONS] FILE\n"
	       "  or:  %s -L [OPTIONS]\n"
	       "Binnacle disk network block device server\n\n"
	       "  -h, --help                display this help and exit\n"
	       "  -V, --version             output version information and "
	       "exit\n\n"
	       "Connection properties:\n"
	       "  -p, --port=PORT           port to listen on (default "
	       "`10809')\n"
	       "  -b, --bind=IFACE          interface to bind to (default "
	       "`localhost')\n"
	       "  -k, --socket=PATH         path to the unix socket\n"
	       "  -e, --shared=NUM          device can be shared by NUM "
	       "clients (default '1')\n"
	       "  -t, --persistent          don't exit on the last "
	       "connection\n"
	       "  -v, --verbose             display extra debugging "
	       "information\n"
	       "  -x, --export-name=NAME    expose export by name (default is "
	       "empty string)\n"
	       "  -D, --description=TEXT    export a human-readable "
	       "description\n\n"
	       "Exposing part of the image:\n"
	       "  -o, --offset=OFFSET       offset into the image\n\n"
	       "General purpose options:\n"
	       "  -L, --list                list exports available from "
	       "another NBD server\n"
	       "  --fork                    fork off the server process and "
	       "exit the parent\n"
	       "                            once the server is running\n"
	       "  --pid-file=PATH           store the server's process ID in "
	       "the given file\n"
	       "  --backing-folders FOLDER[:FOLDER...]\n"
	       "                            where files that images name may "
	       "lie\n\n"
	       "Block device options:\n"
	       "  -f, --format=FORMAT       set image format (raw, qcow2)\n"
	       "  -r, --read-only           export read-only\n"
	       "  -s, --snapshot            use FILE as an external snapshot: "
	       "what clients write\n"
	       "                            goes to a temporary file\n"
	       "  -l, --load-snapshot=SNAPSHOT_PARAM\n"
	       "                            load an internal snapshot inside "
	       "FILE and export it\n"
	       "                            as an read-only device, "
	       "SNAPSHOT_PARAM format is\n"
	       "                            'snapshot.id=[ID],snapshot.name="
	       "[NAME]', or\n"
	       "                            '[ID_OR_NAME]'\n"
	       "  -n, --nocache             disable host cache\n"
	       "      --cache=MODE          set cache mode used to access the "
	       "disk image, the\n"
	       "                            valid options are: 'none', "
	       "'writeback' (default),\n"
	       "                            'writethrough', 'directsync' and "
	       "'unsafe'\n"
	       "      --aio=MODE            set AIO mode (native, io_uring or "
	       "threads)\n"
	       "      --discard=MODE        set discard mode (ignore, unmap)\n"
	       "      --image-opts          treat FILE as a full set of image "
	       "options\n",
	       program, program);
}

enum {
	OPT_CACHE = 256,
	OPT_AIO,
	OPT_DISCARD,
	OPT_DETECT_ZEROES,
	OPT_FORK,
	OPT_PID,
	OPT_IMAGE_OPTS,
	OPT_FOLDERS,
	OPT_TLS
};

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"bind", required_argument, NULL, 'b'},
	{"port", required_argument, NULL, 'p'},
	{"socket", required_argument, NULL, 'k'},
	{"offset", required_argument, NULL, 'o'},
	{"read-only", no_argument, NULL, 'r'},
	{"allocation-depth", no_argument, NULL, 'A'},
	{"bitmap", required_argument, NULL, 'B'},
	{"connect", required_argument, NULL, 'c'},
	{"disconnect", no_argument, NULL, 'd'},
	{"list", no_argument, NULL, 'L'},
	{"snapshot", no_argument, NULL, 's'},
	{"load-snapshot", required_argument, NULL, 'l'},
	{"nocache", no_argument, NULL, 'n'},
	{"cache", required_argument, NULL, OPT_CACHE},
	{"aio", required_argument, NULL, OPT_AIO},
	{"discard", required_argument, NULL, OPT_DISCARD},
	{"detect-zeroes", required_argument, NULL, OPT_DETECT_ZEROES},
	{"shared", required_argument, NULL, 'e'},
	{"format", required_argument, NULL, 'f'},
	{"persistent", no_argument, NULL, 't'},
	{"verbose", no_argument, NULL, 'v'},
	{"export-name", required_argument, NULL, 'x'},
	{"description", required_argument, NULL, 'D'},
	{"tls-creds", required_argument, NULL, OPT_TLS},
	{"tls-hostname", required_argument, NULL, OPT_TLS},
	{"tls-authz", required_argument, NULL, OPT_TLS},
	{"object", required_argument, NULL, OPT_TLS},
	{"trace", required_argument, NULL, 'T'},
	{"fork", no_argument, NULL, OPT_FORK},
	{"pid-file", required_argument, NULL, OPT_PID},
	{"image-opts", no_argument, NULL, OPT_IMAGE_OPTS},
	{"backing-folders", required_argument, NULL, OPT_FOLDERS},
	{0}};

static int set_cache(struct nbd_tool *n, const char *mode)
{
	struct blk_options probe = {0};

	if (n->has_cache)
		return img_error(&n->tool,
				 "-n and --cache can only be specified once");
	if (!img_cache_mode(mode, &probe))
		return img_error(&n->tool, "Invalid cache mode `%s'", mode);
	n->has_cache = true;
	n->source.cache = mode;
	n->export.write_through =
		!strcmp(mode, "writethrough") || !strcmp(mode, "directsync");
	return 0;
}

/* snapshot.id=ID,snapshot.name=NAME, or either by itself. */
static int set_snapshot(struct nbd_tool *n, char *text)
{
	const char *id = NULL, *name = NULL;

	n->source.write = false;
	n->source.snapshot = text;
	if (strncmp(text, "snapshot.", 9))
		return 0;
	for (char *p = strtok(text, ","); p; p = strtok(NULL, ",")) {
		if (!strncmp(p, "snapshot.id=", 12))
			id = p + 12;
		else if (!strncmp(p, "snapshot.name=", 14))
			name = p + 14;
		else
			return img_error(&n->tool, "Invalid parameter '%s'", p);
	}
	n->source.snapshot = id ? id : name;
	return 0;
}

static int set_number(struct nbd_tool *n, const char *what, uint64_t max,
		      uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(optarg, &end, 0);
	if (errno || end == optarg || *end || *optarg == '-' || *out > max)
		return img_error(&n->tool, "Invalid %s '%s'", what, optarg);
	return 0;
}

static int set_mode(struct nbd_tool *n, int c)
{
	struct img_tool *t = &n->tool;

	if (c == OPT_AIO)
		return blk_aio_parse(optarg, &n->source.aio)
			       ? img_error(t, "Invalid aio mode '%s'", optarg)
			       : 0;
	if (c == OPT_DETECT_ZEROES)
		return strcmp(optarg, "off")
			       ? img_error(t,
					   "detecting zeroes is not supported; "
					   "leave --detect-zeroes out")
			       : 0;
	n->source.discard = !strcmp(optarg, "unmap") || !strcmp(optarg, "on");
	if (!n->source.discard && strcmp(optarg, "ignore") &&
	    strcmp(optarg, "off"))
		return img_error(t, "Invalid discard mode `%s'", optarg);
	return 0;
}

static int unsupported(struct nbd_tool *n, int c)
{
	struct img_tool *t = &n->tool;

	switch (c) {
	case 'c':
	case 'd':
		return img_error(t, "the kernel's NBD client is not supported; "
				    "nbd-client can connect to this server");
	case 'B':
		return img_error(t, "bitmaps can't be exported");
	case 'A':
		return img_error(t, "the allocation depth can't be exported");
	case 'T':
		return img_error(t, "tracing is not supported");
	default:
		return img_error(t, "TLS and objects are not supported");
	}
}

/* Options that only keep their value. */
static bool keep(struct nbd_tool *n, int c)
{
	switch (c) {
	case 'b':
		n->at.host = optarg;
		return true;
	case 'p':
		n->at.port = optarg;
		return true;
	case 'k':
		n->at.socket = optarg;
		return true;
	case 'f':
		n->source.format = optarg;
		return true;
	case 'r':
		n->source.write = false;
		return true;
	case 's':
		n->scratch = true;
		return true;
	case 't':
		n->persistent = true;
		return true;
	case 'v':
		n->verbose = true;
		return true;
	case 'x':
		n->export.name = optarg;
		return true;
	case 'D':
		n->export.description = optarg;
		return true;
	case 'L':
		n->list = true;
		return true;
	case OPT_FORK:
		n->fork = true;
		return true;
	case OPT_PID:
		n->pid_path = optarg;
		return true;
	case OPT_IMAGE_OPTS:
		n->source.image_opts = true;
		return true;
	case OPT_FOLDERS:
		n->folders = optarg;
		return true;
	}
	return false;
}

/* 0, or the exit status of a refusal. */
static int take_option(struct nbd_tool *n, int c)
{
	uint64_t number;
	int ret;

	switch (c) {
	case 'o':
		return set_number(n, "offset", INT64_MAX, &n->export.off);
	case 'e':
		ret = set_number(n, "shared device number", INT32_MAX, &number);
		n->max_clients = number;
		return ret;
	case 'n':
		return set_cache(n, "none");
	case OPT_CACHE:
		return set_cache(n, optarg);
	case 'l':
		return set_snapshot(n, optarg);
	case OPT_AIO:
	case OPT_DISCARD:
	case OPT_DETECT_ZEROES:
		return set_mode(n, c);
	case '?':
		fprintf(stderr, "%s: Try `%s --help' for more information.\n",
			n->tool.program, n->tool.program);
		return 1;
	default:
		return unsupported(n, c);
	}
}

static int check_address(struct nbd_tool *n)
{
	const char *port = n->at.port;

	if (n->at.socket && *n->at.socket != '/')
		return img_error(&n->tool, "socket path must be absolute");
	if (strspn(port, "0123456789") == strlen(port) &&
	    (strlen(port) > 5 || atoi(port) > 65535))
		return img_error(&n->tool, "Invalid port '%s'", port);
	return 0;
}

static int list(struct nbd_tool *n, int nr_args)
{
	struct img_tool *t = &n->tool;

	if (nr_args)
		return img_error(t, "List mode is incompatible with a file "
				    "name");
	if (n->export.off || *n->export.name || n->export.description ||
	    n->source.snapshot || n->max_clients != 1)
		return img_error(t, "List mode is incompatible with per-device "
				    "settings");
	if (n->fork)
		return img_error(t, "List mode is incompatible with forking");
	return nbd_print_list(t, &n->at);
}

static int run(struct nbd_tool *n, int nr_args, char **args)
{
	struct img_tool *t = &n->tool;

	if (check_address(n))
		return 1;
	if (n->list)
		return list(n, nr_args);
	if (nr_args != 1) {
		img_error(t, "Invalid number of arguments");
		fprintf(stderr, "Try `%s --help' for more information.\n",
			t->program);
		return 1;
	}
	if (n->source.image_opts && n->source.format)
		return img_error(t, "--image-opts and -f are mutually "
				    "exclusive");
	n->source.path = args[0];
	return n->fork ? fork_and_serve(n) : serve(n);
}

int nbd_main(const char *program, int argc, char **argv)
{
	struct nbd_tool n = {
		.tool.program = program,
		.source.write = true,
		.at = {.host = "localhost", .port = NBD_PORT},
		.export.name = "",
		.max_clients = 1,
		.ready_fd = -1,
		.folders = getenv("BINNACLE_BACKING_FOLDERS"),
	};
	int c;

	while ((c = getopt_long(argc, argv,
				"hVb:o:p:rsnc:dvk:e:f:tl:x:T:D:AB:L",
				long_options, NULL)) != -1) {
		if (c == 'h') {
			print_help(program);
			return 0;
		}
		if (c == 'V') {
			printf("%s %s\n", program, BINNACLE_VERSION);
			return 0;
		}
		if (!keep(&n, c) && take_option(&n, c))
			return 1;
	}
	return run(&n, argc - optind, argv + optind);
}
