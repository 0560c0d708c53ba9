/*
 * img bench: how long a number of equal requests takes.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/blk/co.h"
#include "core/blk/options.h"
#include "ui/img/copying.h"

#define DEPTH_MAX 65536

struct bench {
	struct img_tool *t;
	const char *path, *format;
	struct blk_options open;
	struct blk *b;
	unsigned long count, depth, flush_interval, pattern;
	uint64_t off, len, step;
	bool write, no_drain, image_opts, share;
	/* While it runs. */
	uint8_t *buf;
	unsigned long issued, in_flight, running;
	bool flushing;
	struct co_queue idle; /* for requests, flushes and the end */
	int ret;
};

/* Without no_drain a flush has the image for itself. */
static int flush(struct bench *n)
{
	int ret;

	if (n->no_drain)
		return blk_flush(n->b);
	n->flushing = true;
	while (n->in_flight)
		co_wait(&n->idle, NULL);
	ret = blk_flush(n->b);
	n->flushing = false;
	co_wake_all(&n->idle);
	return ret;
}

static int request(struct bench *n)
{
	uint64_t off = n->off, size = blk_len(n->b);
	int ret;

	n->off = size ? (n->off + n->step) % size : 0;
	if (off > size || n->len > size - off)
		return -EIO;
	n->in_flight++;
	ret = n->write ? blk_write(n->b, off, n->buf, n->len, 0)
		       : blk_read(n->b, off, n->buf, n->len);
	if (!--n->in_flight && n->flushing)
		co_wake_all(&n->idle);
	return ret;
}

static void lane(void *arg)
{
	struct bench *n = arg;
	int ret = 0;

	while (!ret && !n->ret) {
		while (n->flushing)
			co_wait(&n->idle, NULL);
		if (n->issued >= n->count)
			break;
		n->issued++;
		if (n->flush_interval && n->issued > 1 &&
		    (n->issued - 1) % n->flush_interval == 0)
			ret = flush(n);
		if (!ret)
			ret = request(n);
	}
	if (ret && !n->ret)
		n->ret = ret;
	if (!--n->running)
		co_wake_all(&n->idle);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int measure(struct bench *n)
{
	double start = seconds();

	printf("Sending %lu %s requests, %" PRIu64 " bytes each, %lu in "
	       "parallel (starting at offset %" PRIu64 ", step size %" PRIu64
	       ")\n",
	       n->count, n->write ? "write" : "read", n->len, n->depth, n->off,
	       n->step);
	if (n->flush_interval)
		printf("Sending flush every %lu requests\n", n->flush_interval);
	for (unsigned long i = 0; i < n->depth && i < n->count; i++) {
		n->running++;
		if (co_start(n->t->ctx, lane, n)) {
			n->running--;
			n->ret = -ENOMEM;
			break;
		}
	}
	while (n->running)
		co_wait(&n->idle, NULL);
	if (n->ret)
		return img_error(n->t, "Failed request: %s", strerror(-n->ret));
	printf("Run completed in %3.3f seconds.\n", seconds() - start);
	return 0;
}

static struct blk *open_image(struct bench *n)
{
	struct blk_options parsed, o;
	struct blk *b = NULL;
	struct error e = {0};

	if (blk_options_parse(n->path, n->image_opts, &parsed, &e))
		goto out;
	o = parsed;
	if (n->format)
		o.format = n->format;
	o.aio = n->open.aio;
	o.direct = n->open.direct;
	o.no_flush = n->open.no_flush;
	o.write = n->write;
	o.no_lock |= n->share;
	b = blk_open(n->t->ctx, &o, &e);
out:
	if (!b)
		img_error(n->t, "Could not open '%s': %s", n->path, e.msg);
	blk_options_fini(&parsed);
	return b;
}

static int finish(struct bench *n, int argc, char **argv)
{
	int status;

	if (optind != argc - 1)
		return img_usage_error(n->t, "Expecting one image file name");
	n->path = argv[optind];
	if (!n->write && n->flush_interval)
		return img_error(n->t, "--flush-interval is only available in "
				       "write tests");
	if (n->flush_interval && n->flush_interval < n->depth)
		return img_error(n->t,
				 "Flush interval can't be smaller than depth");
	if (!n->step)
		n->step = n->len;
	n->b = open_image(n);
	if (!n->b)
		return 1;
	if (posix_memalign((void **)&n->buf, 4096, n->len ? n->len : 1)) {
		n->buf = NULL;
		status = img_error(n->t, "out of memory");
	} else {
		memset(n->buf, n->pattern, n->len);
		status = measure(n);
	}
	free(n->buf);
	blk_unref(n->b);
	return status;
}

/* A plain number up to max; false after saying that it is no WHAT. */
static bool take_number(struct bench *n, const char *what, unsigned long min,
			unsigned long max, unsigned long *out)
{
	char *end;

	errno = 0;
	*out = strtoul(optarg, &end, 0);
	if (end != optarg && !*end && !errno && *out >= min && *out <= max &&
	    *optarg != '-')
		return true;
	img_error(n->t, "Invalid %s specified", what);
	return false;
}

static bool take_aio(struct bench *n)
{
	static const char *const names[BLK_NR_AIO] = {
		[BLK_AIO_THREADS] = "threads",
		[BLK_AIO_NATIVE] = "native",
		[BLK_AIO_IO_URING] = "io_uring",
	};

	for (int i = 0; i < BLK_NR_AIO; i++)
		if (!strcmp(optarg, names[i])) {
			n->open.aio = i;
			return true;
		}
	img_error(n->t, "Invalid aio option: %s", optarg);
	return false;
}

static bool take_size(struct bench *n, const char *what, uint64_t max,
		      uint64_t *out)
{
	if (!img_size_arg(n->t, what, optarg, out))
		return false;
	if (*out <= max)
		return true;
	img_error(n->t,
		  "Invalid %s specified. Must be between 0 and %" PRIu64 ".",
		  what, max);
	return false;
}

enum { OPT_IMAGE_OPTS = 256, OPT_OBJECT, OPT_PATTERN, OPT_FLUSH, OPT_NO_DRAIN };

/* 0 or the exit status. */
static int take_option(struct bench *n, int c, char **argv)
{
	bool ok = true;

	switch (c) {
	case 'c':
		ok = take_number(n, "request count", 1, INT_MAX, &n->count);
		break;
	case 'd':
		ok = take_number(n, "queue depth", 1, DEPTH_MAX, &n->depth);
		break;
	case 'f':
		n->format = optarg;
		break;
	case 'i':
		ok = take_aio(n);
		break;
	case 'n':
		n->open.aio = BLK_AIO_NATIVE;
		break;
	case 'o':
		ok = take_size(n, "offset", INT64_MAX, &n->off);
		break;
	case 'q':
		break;
	case 's':
		ok = take_size(n, "buffer size", INT_MAX, &n->len);
		break;
	case 'S':
		ok = take_size(n, "step_size", INT_MAX, &n->step);
		break;
	case 't':
		ok = img_cache_mode(optarg, &n->open);
		if (!ok)
			img_error(n->t, "Invalid cache mode");
		break;
	case 'w':
		n->write = true;
		break;
	case 'U':
		n->share = true;
		break;
	case OPT_PATTERN:
		ok = take_number(n, "pattern byte", 0, 255, &n->pattern);
		break;
	case OPT_FLUSH:
		ok = take_number(n, "flush interval", 0, INT_MAX,
				 &n->flush_interval);
		break;
	case OPT_NO_DRAIN:
		n->no_drain = true;
		break;
	case OPT_IMAGE_OPTS:
		n->image_opts = true;
		break;
	case OPT_OBJECT:
		return img_error(n->t, "objects are not supported");
	default:
		return img_bad_option(n->t, c, argv);
	}
	return !ok;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"flush-interval", required_argument, NULL, OPT_FLUSH},
		{"pattern", required_argument, NULL, OPT_PATTERN},
		{"no-drain", no_argument, NULL, OPT_NO_DRAIN},
		{"image-opts", no_argument, NULL, OPT_IMAGE_OPTS},
		{"object", required_argument, NULL, OPT_OBJECT},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct bench n = {.t = t, .count = 75000, .depth = 64, .len = 4096};
	int c, status = 0;

	while (!status && (c = getopt_long(argc, argv, ":hc:d:f:ni:o:qs:S:t:wU",
					   options, NULL)) != -1)
		status = take_option(&n, c, argv);
	return status ? status : finish(&n, argc, argv);
}

const struct img_command img_bench = {
	.name = "bench",
	.usage = "[-c count] [-d depth] [-f fmt] [--flush-interval=n] "
		 "[-i aio] [-n] [--no-drain] [-o offset] [--pattern=byte] "
		 "[-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] "
		 "filename",
	.run = run,
};
