/*
 * script: plays keys and commands from a file into the front end.
 *
 * One step a line; '#' starts a comment:
 *
 *   key NAME...          keys by name: key 2, key Down Down Enter, key Ctrl-O
 *   type TEXT            TEXT as keys; \n Enter, \t Tab, \e Esc, \\ itself
 *   :COMMAND             a palette command; destructive ones don't ask; one
 *                        that fails ends the script
 *   wait-text RE [SECS]  until a row of the screen matches the extended
 *                        regular expression ("..." to have blanks in it); 60
 *                        seconds unless told
 *   expect TEXT          TEXT is on the screen now (within 30 seconds)
 *   expect-not TEXT      TEXT is not on the screen
 *   sleep-ms N           lets time pass
 *   resize COLSxROWS     another size, where there is no terminal
 *   save-screen FILE     the screen as text into FILE
 *   print-screen [TITLE] the screen as text to standard output
 *   echo TEXT            TEXT to standard output
 *
 * The first step that fails ends the script; file, line, what was wanted and
 * the screen go to standard error.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_SCRIPT_SCRIPT_H
#define UI_SCRIPT_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct script;
struct ui;

/* Reads a script. NULL with the reason in e. */
struct script *script_open(const char *path, struct error *e);
/* NULL is fine. */
void script_close(struct script *s);

/* Takes the next step against the frame that was drawn last.  now_ns is
 * CLOCK_MONOTONIC; *effects gets what the step asks of the caller.  Returns
 * the milliseconds until the next call is due (0: after the next frame), or
 * -1 when the script is over. */
int script_step(struct script *s, struct ui *ui, uint64_t now_ns,
		unsigned *effects);
/* Whether a step failed; the reason in e. */
bool script_failed(const struct script *s, struct error *e);

#endif
