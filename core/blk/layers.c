#include "core/blk/layers.h"

#include <stdio.h>
#include <string.h>

#include "core/blk/driver.h"

#define LOOKS 16 /* status queries a cell */

static uint8_t look_at_cell(struct blk *b, uint64_t off, uint64_t end)
{
	uint8_t cell = 0;
	uint64_t n;

	for (int i = 0; off < end; i++, off += n) {
		int status;

		if (off >= b->len)
			return cell | LAYER_PAST;
		if (i == LOOKS)
			return cell | LAYER_MORE;
		status = blk_status(b, off, end - off, &n, NULL, NULL);
		if (status < 0 || !n)
			return cell | LAYER_MORE;
		if (status & BLK_STATUS_ZERO)
			cell |= LAYER_ZERO;
		else if (status & BLK_STATUS_DATA)
			cell |= LAYER_DATA;
		else
			cell |= LAYER_HOLE;
		if (status & BLK_STATUS_EOF)
			cell |= LAYER_END;
	}
	return cell;
}

static void look_at_layer(struct blk *b, uint64_t disk_len, struct layer *out)
{
	const char *slash = strrchr(b->name, '/');
	uint64_t cell = disk_len / LAYERS_CELLS + 1;

	cell = (cell + 511) & ~511ull;
	snprintf(out->name, sizeof(out->name), "%s",
		 slash ? slash + 1 : b->name);
	out->len = b->len;
	for (unsigned i = 0; i < LAYERS_CELLS; i++) {
		uint64_t off = i * cell, end = off + cell;

		if (end > disk_len)
			end = disk_len;
		out->cells[i] = off < end ? look_at_cell(b, off, end) : 0;
	}
}

void layers_look(struct blk *disk, struct layers *out)
{
	struct blk *b = blk_ref(blk_skip_filters(disk));

	memset(out, 0, sizeof(*out));
	blk_cache_stats(b, &out->tables);
	while (b) {
		struct blk *next;

		if (out->nr < LAYERS_MAX)
			look_at_layer(b, disk->len, &out->layer[out->nr++]);
		out->total++;
		next = b->backing ? blk_skip_filters(b->backing) : NULL;
		if (next)
			blk_ref(next);
		blk_unref(b);
		b = next;
	}
}
