/*
 * recorder: writes what a guest says on a serial line into a file.
 *
 * Files can be slow, so each recorder has a thread of its own.
 *
 * Thread rule: start and stop by the thread that owns the machine.
 */
#ifndef UI_SESSION_RECORDER_H
#define UI_SESSION_RECORDER_H

struct error;
struct recorder;
struct serial_line;

/* Records line into path, which is made or emptied. NULL with the reason in
 * e. */
struct recorder *recorder_start(struct serial_line *line, const char *path,
				struct error *e);
/* Writes what is left and ends; before the line goes.  NULL is fine. */
void recorder_stop(struct recorder *r);

#endif
