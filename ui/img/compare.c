/*
 * img compare: do two images hold the same disk?  0: yes, 1: no, above: error.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/copy.h"
#include "ui/img/copying.h"

#define CHUNK	(2u * 1024 * 1024)
#define SECTOR	512
#define FAILURE 2

struct side {
	struct blk *b;
	uint8_t *buf;
	/* What is known of [.., known_end). */
	uint64_t known_end;
	int status;
};

struct compare {
	struct img_tool *t;
	struct img_source source[2];
	struct side side[2];
	struct img_copy_progress progress;
	bool strict, quiet;
};

/* 0 or the exit status. */
static int query(struct compare *c, struct side *s, uint64_t off)
{
	uint64_t n;

	if (off < s->known_end)
		return 0;
	s->status = blk_status_above(s->b, NULL, off, blk_len(s->b) - off, &n,
				     NULL, NULL, NULL);
	if (s->status < 0) {
		img_error(c->t, "Sector allocation test failed for %s",
			  blk_name(s->b));
		return 3;
	}
	s->known_end = off + n;
	return 0;
}

static int read_side(struct compare *c, struct side *s, uint64_t off,
		     uint64_t len)
{
	int ret = blk_read(s->b, off, s->buf, len);

	if (!ret)
		return 0;
	img_error(c->t, "Error while reading offset %" PRIu64 " of %s: %s", off,
		  blk_name(s->b), strerror(-ret));
	return 4;
}

static int mismatch(struct compare *c, uint64_t off)
{
	if (!c->quiet)
		printf("Content mismatch at offset %" PRIu64 "!\n", off);
	return 1;
}

/* The first sector in which the buffers differ, or len. */
static uint64_t first_difference(const uint8_t *a, const uint8_t *b,
				 uint64_t len)
{
	uint64_t at = 0;

	while (at < len) {
		uint64_t n = len - at < SECTOR ? len - at : SECTOR;

		if (memcmp(a + at, b + at, n))
			break;
		at += n;
	}
	return at;
}

static int expect_zeroes(struct compare *c, struct side *s, uint64_t off,
			 uint64_t len)
{
	int status = read_side(c, s, off, len);

	if (status)
		return status;
	for (uint64_t at = 0; at < len; at += SECTOR)
		if (!blk_is_zero(s->buf + at,
				 len - at < SECTOR ? len - at : SECTOR))
			return mismatch(c, off + at);
	return 0;
}

static int compare_data(struct compare *c, uint64_t off, uint64_t len)
{
	struct side *a = &c->side[0], *b = &c->side[1];
	int status = read_side(c, a, off, len);
	uint64_t at;

	if (!status)
		status = read_side(c, b, off, len);
	if (status)
		return status;
	if (!memcmp(a->buf, b->buf, len))
		return 0;
	at = first_difference(a->buf, b->buf, len);
	return mismatch(c, off + at);
}

/* Both read alike but are not stored alike: a difference when strict. */
static bool is_strict_difference(const struct compare *c)
{
	int mask = BLK_STATUS_DATA | BLK_STATUS_ZERO | BLK_STATUS_ALLOCATED |
		   BLK_STATUS_OFFSET_VALID;

	return c->strict && ((c->side[0].status ^ c->side[1].status) & mask);
}

static int compare_common(struct compare *c, uint64_t end)
{
	struct side *a = &c->side[0], *b = &c->side[1];

	for (uint64_t off = 0, n; off < end; off += n) {
		int status = query(c, a, off);
		bool za, zb;

		if (!status)
			status = query(c, b, off);
		if (status)
			return status;
		n = a->known_end < b->known_end ? a->known_end : b->known_end;
		n = (n < end ? n : end) - off;
		if (is_strict_difference(c)) {
			if (!c->quiet)
				printf("Strict mode: Offset %" PRIu64
				       " block status mismatch!\n",
				       off);
			return 1;
		}
		za = a->status & BLK_STATUS_ZERO;
		zb = b->status & BLK_STATUS_ZERO;
		if (!za || !zb)
			n = n < CHUNK ? n : CHUNK;
		if (!za && !zb)
			status = compare_data(c, off, n);
		else if (!za || !zb)
			status = expect_zeroes(c, za ? b : a, off, n);
		if (status)
			return status;
		img_copy_progress(&c->progress, off + n);
	}
	return 0;
}

/* What the longer image has past the end of the other one must be zero. */
static int compare_tail(struct compare *c, struct side *s, uint64_t off)
{
	uint64_t end = blk_len(s->b), n;

	if (off < end && !c->quiet)
		printf("Warning: Image size mismatch!\n");
	for (; off < end; off += n) {
		int status = query(c, s, off);

		if (status)
			return status;
		n = s->known_end - off;
		if (s->status & BLK_STATUS_ZERO)
			continue;
		n = n < CHUNK ? n : CHUNK;
		status = expect_zeroes(c, s, off, n);
		if (status)
			return status;
		img_copy_progress(&c->progress, off + n);
	}
	return 0;
}

static int compare(struct compare *c)
{
	uint64_t a = blk_len(c->side[0].b), b = blk_len(c->side[1].b);
	uint64_t common = a < b ? a : b;
	int status;

	c->progress.total = a > b ? a : b;
	img_progress_set(&c->progress.bar, 0, 1);
	if (c->strict && a != b) {
		if (!c->quiet)
			printf("Strict mode: Image size mismatch!\n");
		return 1;
	}
	status = compare_common(c, common);
	if (!status)
		status = compare_tail(c, &c->side[a < b], common);
	if (!status && c->progress.bar.enabled)
		img_progress_set(&c->progress.bar, 1, 1);
	if (!status && !c->quiet)
		printf("Images are identical.\n");
	return status;
}

static int open_and_compare(struct compare *c, char **names)
{
	int status = 0;

	for (int i = 0; i < 2 && !status; i++) {
		struct side *s = &c->side[i];

		c->source[i].path = names[i];
		s->b = img_open(c->t, &c->source[i]);
		if (!s->b)
			status = FAILURE;
		else if (posix_memalign((void **)&s->buf, 4096, CHUNK)) {
			s->buf = NULL;
			img_error(c->t, "out of memory");
			status = FAILURE;
		}
	}
	if (!status)
		status = compare(c);
	for (int i = 0; i < 2; i++) {
		blk_unref(c->side[i].b);
		free(c->side[i].buf);
	}
	img_progress_end(&c->progress.bar);
	return status;
}

static int run(struct img_tool *t, int argc, char **argv)
{
	enum { OPT_OBJECT = 256, OPT_IMAGE_OPTS };
	static const struct option options[] = {
		{"object", required_argument, NULL, OPT_OBJECT},
		{"image-opts", no_argument, NULL, OPT_IMAGE_OPTS},
		{"force-share", no_argument, NULL, 'U'},
		{0}};
	struct compare c = {.t = t, .progress.t = t};
	const char *cache = "writeback";
	int ch;

	while ((ch = getopt_long(argc, argv, ":hf:F:T:pqsU", options, NULL)) !=
	       -1) {
		switch (ch) {
		case 'f':
			c.source[0].format = optarg;
			break;
		case 'F':
			c.source[1].format = optarg;
			break;
		case 'T':
			cache = optarg;
			break;
		case 'p':
			c.progress.bar.enabled = true;
			break;
		case 'q':
			c.quiet = true;
			break;
		case 's':
			c.strict = true;
			break;
		case 'U':
			c.source[0].share = c.source[1].share = true;
			break;
		case OPT_IMAGE_OPTS:
			c.source[0].image_opts = c.source[1].image_opts = true;
			break;
		case OPT_OBJECT:
			img_error(t, "objects are not supported");
			return FAILURE;
		default:
			return img_bad_option(t, ch, argv);
		}
	}
	if (c.quiet)
		c.progress.bar.enabled = false;
	if (optind != argc - 2)
		return img_usage_error(t, "Expecting two image file names");
	if (!img_cache_arg(t, "source cache", cache))
		return FAILURE;
	c.source[0].cache = c.source[1].cache = cache;
	return open_and_compare(&c, argv + optind);
}

const struct img_command img_compare = {
	.name = "compare",
	.usage = "[--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] "
		 "[-s] [-U] filename1 filename2",
	.run = run,
};
