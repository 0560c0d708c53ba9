/*
 * options: what an image's name may say besides a path: json:{...} and
 * key=value lists (--image-opts).
 * Thread rule: [any].
 */
#ifndef CORE_BLK_OPTIONS_H
#define CORE_BLK_OPTIONS_H

#include "core/blk/blk.h"

/* Fills out from text: a path, "json:{...}", or with image_opts a list like
 * driver=qcow2,file.filename=PATH.  Filters stand above the format
 * (driver=throttle,bps-total=1M,file.driver=qcow2,file.file.filename=PATH) or
 * below it (driver=qcow2,file.driver=log,file.file.filename=PATH).  0 or -errno with the reason; end it with
 * blk_options_fini in both cases.  Strings in out belong to it. */
int blk_options_parse(const char *text, bool image_opts,
		      struct blk_options *out, struct error *e);
void blk_options_fini(struct blk_options *o);

/* "threads", "native" or "io_uring"; 0 or -EINVAL. */
int blk_aio_parse(const char *name, enum blk_aio *out);

#endif
