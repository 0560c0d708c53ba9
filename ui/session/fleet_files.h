/*
 * fleet_files: what reading a folder of machine files does to a fleet.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_SESSION_FLEET_FILES_H
#define UI_SESSION_FLEET_FILES_H

struct fleet;
struct machine;

/* Adds the machine of a file, or reads it anew while the machine is idle. */
struct machine *fleet_add_file(struct fleet *f, const char *path,
			       const char *name);
/* Takes out idle machines whose files are gone. */
void fleet_drop_missing(struct fleet *f);

#endif
