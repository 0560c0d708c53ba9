/*
 * screens: every screen, one file each.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_SCREEN_SCREENS_H
#define UI_SCREEN_SCREENS_H

struct screen;

/* Positions in the table of ui.c. */
enum {
	SCREEN_MACHINES,
	SCREEN_CONSOLE,
	SCREEN_DEVICES,
	SCREEN_DISKS,
	SCREEN_MEMORY,
	SCREEN_LOG,
};

extern const struct screen screen_machines, screen_console, screen_devices,
	screen_disks, screen_memory, screen_log;

#endif
