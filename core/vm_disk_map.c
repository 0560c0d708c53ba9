/*
 * What the images of a disk hold, for front ends.  Everything here is [any].
 */
#include <string.h>

#include "core/blk/drive.h"
#include "core/blk/layers.h"
#include "core/vm_internal.h"

_Static_assert(VM_MAP_CELLS == LAYERS_CELLS && VM_MAP_LAYERS == LAYERS_MAX,
	       "a map has room for what was looked at");

/* How old what is shown of a disk's images may be. */
#define LAYERS_AGE_NS 2000000000u

static char letter_of(unsigned cell)
{
	unsigned kinds = cell & (LAYER_DATA | LAYER_ZERO | LAYER_HOLE);

	if (cell & LAYER_END)
		return 'e';
	if (!kinds)
		return cell & LAYER_MORE ? '?' : ' ';
	if (kinds & (kinds - 1))
		return 'm';
	return kinds == LAYER_DATA ? 'd' : kinds == LAYER_ZERO ? 'z' : '.';
}

size_t vm_disk_map_copy(struct vm *vm, unsigned disk,
			const struct vm_disk_range *want,
			struct vm_disk_map *out)
{
	struct layers_range range = {want->off, want->len, want->nr_cells,
				     want->first};
	struct layers now;

	memset(out, 0, sizeof(*out));
	if (disk >= vm->nr_disks || !drive_has_medium(vm->disks[disk].drive))
		return 0;
	if (!range.nr_cells || range.nr_cells > LAYERS_CELLS)
		range.nr_cells = LAYERS_CELLS;
	drive_layers_copy(vm->disks[disk].drive, &range, LAYERS_AGE_NS, &now);
	out->range =
		(struct vm_disk_range){now.range.off, now.range.len,
				       now.range.nr_cells, now.range.first};
	out->cell = now.cell;
	out->nr_layers = now.nr;
	out->all_layers = now.total;
	out->tables_budget = now.tables.budget;
	out->tables_used = now.tables.used;
	out->table_hits = now.tables.hits;
	out->table_misses = now.tables.misses;
	for (unsigned i = 0; i < now.nr; i++) {
		struct vm_disk_layer *to = &out->layers[i];
		const struct layer *l = &now.layer[i];

		memcpy(to->name, l->name, sizeof(to->name));
		memcpy(to->format, l->format, sizeof(to->format));
		memcpy(to->filters, l->filters, sizeof(to->filters));
		to->len = l->len;
		for (unsigned k = 0; k < now.range.nr_cells; k++)
			to->cells[k] = letter_of(l->cells[k]);
	}
	return now.nr;
}
