/*
 * layers: what each image of a disk's chain holds, in cells of equal size, and
 * what of its tables is in memory; for people to look at.
 *
 * Thread rule: [co] on the disk's loop.
 */
#ifndef CORE_BLK_LAYERS_H
#define CORE_BLK_LAYERS_H

#include <stdint.h>

#include "core/blk/blk.h"

#define LAYERS_MAX   8
#define LAYERS_CELLS 180

/* What to look at. */
struct layers_range {
	uint64_t off, len; /* of the disk, bytes; len 0: up to its end */
	unsigned nr_cells; /* 1..LAYERS_CELLS pieces of equal size */
	unsigned first;	   /* layers of the top to leave out */
};

/* What a cell has of, in this layer alone. */
enum {
	LAYER_DATA = 1,
	LAYER_ZERO = 2,
	LAYER_HOLE = 4,	 /* unallocated: the layer below shows */
	LAYER_PAST = 8,	 /* past the layer's end */
	LAYER_END = 16,	 /* the layer's end lies here (EOF) */
	LAYER_MORE = 32, /* too many pieces: the rest was not looked at */
};

struct layers {
	struct layers_range range; /* as it was asked for */
	uint64_t cell;	/* bytes a cell: whole sectors; the last may be cut */
	unsigned nr;	/* filled in */
	unsigned total; /* in the chain */
	struct layer {
		char name[80], format[16];
		char filters[40]; /* over it and under its format */
		uint64_t len;
		uint8_t cells[LAYERS_CELLS]; /* 0: past the disk's end */
	} layer[LAYERS_MAX];		     /* the top first */
	struct blk_cache_stats tables; /* of the top; budget 0: it keeps none */
};

/* Bounded work whatever the images hold; others change them meanwhile. */
void layers_look(struct blk *disk, const struct layers_range *range,
		 struct layers *out);

#endif
