#include "core/blk/layers.h"

#include <stdio.h>
#include <string.h>

#include "core/blk/disk.h"
#include "core/blk/driver.h"
#include "core/blk/scratch.h"

#define LOOKS  16 /* status queries a cell */
#define SECTOR 512ull

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

static void look_at_layer(struct blk *b, const struct layers *look,
			  uint64_t disk_len, struct layer *out)
{
	const char *name = blk_scratch_shown(b->name);
	const char *slash = strrchr(name, '/');

	snprintf(out->name, sizeof(out->name), "%s", slash ? slash + 1 : name);
	snprintf(out->format, sizeof(out->format), "%s",
		 b->is_protocol ? "raw" : b->drv->name);
	out->len = b->len;
	for (unsigned i = 0; i < look->range.nr_cells; i++) {
		uint64_t off = look->range.off + i * look->cell;
		uint64_t end = off + look->cell;

		if (end > disk_len)
			end = disk_len;
		out->cells[i] = off < end ? look_at_cell(b, off, end) : 0;
	}
}

static void name_filter(const struct blk *b, char *names, size_t len)
{
	size_t used = strlen(names);

	if (!blk_is_disk(b))
		snprintf(names + used, len - used, "%s%s", used ? ", " : "",
			 b->drv->name);
}

/* The image under b; names: of the filters above it and under its format. */
static struct blk *under_filters(struct blk *b, char *names, size_t len)
{
	struct blk *image;

	for (*names = '\0'; b->is_filter; b = b->file)
		name_filter(b, names, len);
	image = blk_ref(b);
	for (b = b->file; b && b->is_filter; b = b->file)
		name_filter(b, names, len);
	return image;
}

/* Cells of whole sectors that cover the range, as far as the disk has it. */
static uint64_t cell_len(struct layers_range *r, uint64_t disk_len)
{
	uint64_t len;

	if (!r->nr_cells || r->nr_cells > LAYERS_CELLS)
		r->nr_cells = LAYERS_CELLS;
	len = r->off < disk_len ? disk_len - r->off : 0;
	if (r->len && r->len < len)
		len = r->len;
	return ((len ? len - 1 : 0) / r->nr_cells + SECTOR) & ~(SECTOR - 1);
}

void layers_look(struct blk *disk, const struct layers_range *range,
		 struct layers *out)
{
	char filters[sizeof(out->layer[0].filters)];
	struct blk *b = under_filters(disk, filters, sizeof(filters));
	uint64_t len = disk->len;

	memset(out, 0, sizeof(*out));
	out->range = *range;
	out->cell = cell_len(&out->range, len);
	blk_cache_stats(b, &out->tables);
	while (b) {
		struct blk *next = b->backing;

		if (out->total >= range->first && out->nr < LAYERS_MAX) {
			struct layer *l = &out->layer[out->nr++];

			memcpy(l->filters, filters, sizeof(filters));
			look_at_layer(b, out, len, l);
		}
		out->total++;
		if (next)
			next = under_filters(next, filters, sizeof(filters));
		blk_unref(b);
		b = next;
	}
}
