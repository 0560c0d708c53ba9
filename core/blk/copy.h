/*
 * copy: moves a range of bytes from one node to another with many requests in
 * flight; convert, commit, rebase, stream and mirror stand on it.
 *
 * What reads as zeroes is never read, and nothing is asked or read past the
 * end of the source (B15).  Writes start in the order of their offsets unless
 * out_of_order is set; they may end in any order.
 *
 * Thread rule: [co] for blk_copy; [any] for the zero tests.
 */
#ifndef CORE_BLK_COPY_H
#define CORE_BLK_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blk;
struct error;

#define BLK_COPY_REQUESTS     8
#define BLK_COPY_REQUESTS_MAX 16
#define BLK_COPY_CHUNK	      (2u * 1024 * 1024)
#define BLK_COPY_SPARSE	      4096

struct blk_copy {
	struct blk *source, *dest;
	/* Copies only what the layers of source above base hold (base NULL with
	 * above: all layers); the rest of dest stays as it is. */
	bool above;
	struct blk *base;
	uint64_t off, len; /* in source, bytes; len is cut at its end */
	uint64_t dest_off; /* where off lands in dest */
	/* dest reads as zeroes from this offset on: zeroes there need no write;
	 * UINT64_MAX: nowhere, 0: all of it. */
	uint64_t zero_from;
	unsigned nr_requests; /* 0: BLK_COPY_REQUESTS */
	uint32_t chunk;	      /* largest request, bytes; 0: BLK_COPY_CHUNK */
	/* Runs of at least so many zero bytes in data become zeroes in dest;
	 * 0: data is written as it is, zeroes are allocated. */
	uint32_t sparse;
	/* Writes BLK_COMPRESSED in whole clusters of this many bytes; 0: not
	 * compressed. */
	uint32_t compress_cluster;
	bool out_of_order;
	/* Lets the file system copy or share the blocks of plain files; falls
	 * back to reading and writing. */
	bool offload;
	/* A read that fails is repeated by sectors; those that fail again are
	 * reported and become zeroes. */
	bool salvage;
	void (*salvaged)(void *arg, uint64_t off, int error);
	uint64_t speed; /* bytes a second, 0: no limit */
	/* [co] After each piece: bytes of len dealt with so far.  May wait, to
	 * pause the copy; a negative result ends it with that.  Optional. */
	int (*progress)(void *arg, uint64_t done);
	void *arg; /* of the callbacks */
};

/*
 * [co] 0 when all is written (not yet flushed), or -errno with a sentence in e:
 * the errno of the read, the status query or the write that failed first, or
 * what progress returned.  No request is in flight afterwards.
 */
int blk_copy(const struct blk_copy *c, struct error *e);

/* Are the len bytes at buf all zero?  Any alignment; true for len 0. */
bool blk_is_zero(const void *buf, size_t len);

/*
 * Length of the run at the start of buf that is all zero (*zero) or that holds
 * no zero run worth leaving out; blocks are counted from offset off.  min as
 * struct blk_copy.sparse, > 0.
 */
size_t blk_zero_run(const void *buf, size_t len, uint64_t off, uint32_t min,
		    bool *zero);

#endif
