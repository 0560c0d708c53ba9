/*
 * copy_offload: lets the file system copy ranges between the plain files under
 * two nodes (FICLONERANGE, copy_file_range).
 *
 * It asks the source where its bytes lie and only serves a destination whose
 * bytes are those of its file.  Thread rule: [co].
 */
#ifndef CORE_BLK_COPY_OFFLOAD_H
#define CORE_BLK_COPY_OFFLOAD_H

#include <stdint.h>

struct blk;
struct copy_offload;

/* NULL when these two nodes can't be served. */
struct copy_offload *copy_offload_open(struct blk *source, struct blk *dest);
void copy_offload_close(struct copy_offload *o); /* NULL is fine */
/* 0, or -errno when the range has to be read and written instead; part of it
 * may have been copied. */
int copy_offload_range(struct copy_offload *o, uint64_t off, uint64_t to,
		       uint64_t len);

#endif
