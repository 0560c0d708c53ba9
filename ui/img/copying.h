/*
 * copying: what the commands share that move data: sources put together,
 * numbers on the command line, progress.
 * Thread rule: [co].
 */
#ifndef UI_IMG_COPYING_H
#define UI_IMG_COPYING_H

#include "ui/img/img.h"

/* A node that reads as the nr images one after the other, each rounded up to
 * whole sectors; takes their references.  NULL without memory: they are
 * dropped. */
struct blk *img_concat(struct blk **images, unsigned nr);

/* The argument of -l: ID_OR_NAME, or "snapshot.id=7", "snapshot.name=x" as
 * options; 0 or the exit status. */
int img_snapshot_arg(struct img_tool *t, const char *text,
		     struct img_source *s);
/* As img_open, with the words for a snapshot that isn't there. */
struct blk *img_open_snapshot(struct img_tool *t, const struct img_source *s);

/* For `convert --bitmaps`, each 0 or the exit status: are the bitmaps of source
 * fit to be copied, can dest keep some, the copying of those that are fit. */
int img_check_bitmaps(struct img_tool *t, struct blk *source, bool skip_broken);
int img_takes_bitmaps(struct img_tool *t, struct blk *dest);
int img_copy_bitmaps(struct img_tool *t, struct blk *source, struct blk *dest);

/* Cluster size of an image in bytes; 0 when its format has none. */
uint64_t img_cluster_size(struct blk *b);

/* Parses the size given for what; false after printing the usual lines. */
bool img_size_arg(struct img_tool *t, const char *what, const char *text,
		  uint64_t *out);

/* A cache mode; false after printing "Invalid WHAT option: MODE". */
bool img_cache_arg(struct img_tool *t, const char *what, const char *mode);

/* For struct blk_copy.progress: arg is a struct img_copy_progress. */
struct img_copy_progress {
	struct img_tool *t;
	struct img_progress bar;
	uint64_t total, shown;
	bool quiet;
};
int img_copy_progress(void *arg, uint64_t done);

/* Opens an image to write, over the backing file named on the command line
 * instead of where the image says it lies; NULL after printing why. */
struct blk *img_open_over(struct img_tool *t, const struct img_source *s,
			  const struct img_source *backing);

#endif
