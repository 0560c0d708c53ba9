/*
 * error: what went wrong, in one sentence for a person.
 *
 * A function that can fail returns 0 or a negative errno (or a pointer or
 * NULL) and fills the caller's struct error: what was asked, what stood in
 * the way, what to do.  Detection never prints; the top level does.
 * Thread rule: a struct error belongs to the caller's stack; [any] thread.
 */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

struct error {
	int code;      /* negative errno, 0 when nothing failed */
	char msg[320]; /* one line, no full stop, no newline */
};

/* Fills e (NULL is fine) and returns code, so that callers can
 * `return error_set(e, -EINVAL, "...")`. */
int error_set(struct error *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Like error_set, with ": <text of errno>" appended; err is positive. */
int error_errno(struct error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "<prefix>: " before the message already in e; returns e->code, or
 * code when e is NULL. */
int error_prefix(struct error *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
