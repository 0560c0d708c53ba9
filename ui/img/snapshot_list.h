/*
 * snapshot_list: an image's internal snapshots, as `info` and `snapshot -l`
 * show them.
 * Thread rule: [co].
 */
#ifndef UI_IMG_SNAPSHOT_LIST_H
#define UI_IMG_SNAPSHOT_LIST_H

struct blk;
struct json_object;

/* Adds "snapshots" to o when there are any. */
void img_snapshots_add(struct json_object *o, struct blk *b);
/* Prints title and a table when there are any. */
void img_snapshots_print(struct blk *b, const char *title);

#endif
