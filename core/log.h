/*
 * log: a bounded ring of sentences about a session or a machine.
 *
 * Writers on any thread append; readers copy out entries newer than the last
 * sequence number they saw.  The ring forgets its oldest entries.
 * Thread rule: everything here is [any]; the lock is a leaf.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR
};

struct log_entry {
	uint64_t seq;	  /* 1 for the first entry ever written */
	uint64_t time_ns; /* CLOCK_REALTIME */
	enum log_level level;
	char source[32]; /* device or module name */
	char text[224];
};

/* Lets at most `burst` guest-caused messages through a second. */
struct log_limit {
	uint64_t window_start_ns;
	unsigned count, suppressed;
};

struct log;

/* NULL when memory is short.  Entries at or above echo_level also go to
 * stderr as lines; pass LOG_LEVEL_ERROR + 1 for none (under a screen). */
struct log *log_create(int echo_level);
void log_destroy(struct log *log); /* NULL is fine */

/* Appends; a NULL log is fine and drops the message. */
void log_write(struct log *log, enum log_level level, const char *source,
	       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* A warning caused by what a guest did: rate-limited by limit, which the
 * caller keeps beside the device and protects with the device's lock. */
void log_guest(struct log *log, struct log_limit *limit, const char *source,
	       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Copies up to max entries with seq > since, oldest first; returns how many.
 * A gap in seq means that entries were forgotten in between. */
size_t log_copy(struct log *log, uint64_t since, struct log_entry *out,
		size_t max);

/* Sequence number of the newest entry, 0 when empty: a cheap "has changed". */
uint64_t log_seq(struct log *log);

#endif
