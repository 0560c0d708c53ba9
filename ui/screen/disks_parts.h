/*
 * disks_parts: what the files of the Disks screen share.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_SCREEN_DISKS_PARTS_H
#define UI_SCREEN_DISKS_PARTS_H

#include "core/vm_disks.h"
#include "ui/screen/layout.h"
#include "ui/screen/ui.h"

enum { DISKS_LIST, DISKS_STATE, DISKS_RATES, DISKS_MAP, DISKS_NR_PANELS };

#define DISKS_HISTORY 120

/* Requests of one kind: the counters at the last sample, and what they grew by
 * a second, newest last. */
struct disks_history {
	uint64_t last_ops, last_bytes;
	uint64_t ops[DISKS_HISTORY], bytes[DISKS_HISTORY];
};

/* Where the map is: of which disk, from where on, how close. */
struct disks_look {
	int disk;
	uint64_t off, cell;	 /* cell: bytes, a power of 2; 0: all of it */
	int cursor;		 /* a cell */
	struct vm_disk_map map;	 /* as it came; perhaps still another range */
	struct rect strips;	 /* where cells are on the canvas */
	struct vm_disk_range at; /* what the strips show */
	uint64_t shown_cell;	 /* bytes */
};

struct disks_view {
	struct vm *vm;
	struct vm_disk_row rows[VM_MAX_DISKS];
	struct vm_disk_facts facts[VM_MAX_DISKS];
	int nr;
	int shown[VM_MAX_DISKS], nr_shown; /* by the filter */
	int lower;			   /* the panel under the list */
	bool is_folded;			   /* not all panels are to be seen */
	struct disks_history history[VM_MAX_DISKS][VM_DISK_NR_KINDS];
	int nr_history;
	uint64_t sampled_ns;
	struct disks_look look;
};

/* The chosen disk's row in dv->rows, NULL when none is shown; index (may be
 * NULL): its number.  disks_chosen also looks at a machine that was not drawn
 * yet. */
const struct vm_disk_row *disks_shown(const struct ui *ui, int *index);
const struct vm_disk_row *disks_chosen(struct ui *ui, int *index);

/* Opens a panel's frame with the disk's name and tells, where the others are
 * hidden, which there are; returns the room for text inside. */
struct rect disks_panel(struct ui *ui, struct view *v, int panel,
			struct rect r);

/* Keeps a panel of nr lines, with room for those of in, on a line that it has:
 * the panel has no chosen row, moving scrolls. */
void disks_scroll(struct list *l, struct rect in, int nr);

/* Draw one panel in r (no rows: hidden). */
void disks_draw_state(struct ui *ui, struct view *v, struct rect r);
void disks_draw_rates(struct ui *ui, struct view *v, struct rect r);
void disks_draw_map(struct ui *ui, struct view *v, struct rect r);

/* Keys and mouse that mean something else while the map is focused. */
unsigned disks_map_key(struct ui *ui, struct view *v, const struct key *k);
/* Moves the map's cursor by cells; past an edge the map follows. */
void disks_map_move(struct disks_view *dv, int by);
/* Four times as close (in) or as far, around the cursor. */
void disks_map_zoom(struct disks_view *dv, bool in);

#define NR_DISKS_ACTIONS 21
extern const struct action disks_actions[NR_DISKS_ACTIONS];

/* What is on the screen, in words: one line a thing, for the `explain` layer
 * and the page share/doc/disks.md (a test compares the two). */
struct disks_term {
	const char *name, *meaning;
};
extern const struct disks_term disks_terms[];
extern const int nr_disks_terms;
/* Shows them over the screen. */
extern const struct layer layer_explain;

#endif
