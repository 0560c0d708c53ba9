/*
 * A ring under one mutex.  Echoing to stderr happens outside of it: a slow
 * terminal must not hold up a vCPU that wants to say something.
 */
#include "core/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_ROOM	1024
#define LOG_GUEST_BURST 8

struct log {
	pthread_mutex_t lock;
	uint64_t seq; /* of the newest; atomic for log_seq */
	int echo_level;
	struct log_entry ring[LOG_ROOM];
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct log *log_create(int echo_level)
{
	struct log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	pthread_mutex_init(&log->lock, NULL);
	log->echo_level = echo_level;
	return log;
}

void log_destroy(struct log *log)
{
	if (!log)
		return;
	pthread_mutex_destroy(&log->lock);
	free(log);
}

static void echo(const struct log_entry *e)
{
	static const char *const names[] = {"debug", "info", "warning",
					    "error"};

	fprintf(stderr, "%s: %s: %s\n", names[e->level], e->source, e->text);
}

/* What a guest chose may reach a terminal: control bytes become dots. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '.';
}

static void append(struct log *log, enum log_level level, const char *source,
		   const char *fmt, va_list ap)
{
	struct log_entry e = {.level = level};

	e.time_ns = now_ns(CLOCK_REALTIME);
	snprintf(e.source, sizeof(e.source), "%s", source);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	make_printable(e.text);
	pthread_mutex_lock(&log->lock);
	e.seq = log->seq + 1;
	log->ring[e.seq % LOG_ROOM] = e;
	__atomic_store_n(&log->seq, e.seq, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&log->lock);
	if ((int)level >= log->echo_level)
		echo(&e);
}

void log_write(struct log *log, enum log_level level, const char *source,
	       const char *fmt, ...)
{
	va_list ap;

	if (!log)
		return;
	va_start(ap, fmt);
	append(log, level, source, fmt, ap);
	va_end(ap);
}

void log_guest(struct log *log, struct log_limit *limit, const char *source,
	       const char *fmt, ...)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC);
	va_list ap;

	if (!limit->window_start_ns ||
	    now - limit->window_start_ns >= 1000000000u) {
		if (limit->suppressed)
			log_write(log, LOG_LEVEL_WARN, source,
				  "%u more complaints about the guest left out",
				  limit->suppressed);
		limit->window_start_ns = now;
		limit->count = 0;
		limit->suppressed = 0;
	}
	if (limit->count >= LOG_GUEST_BURST) {
		limit->suppressed++;
		return;
	}
	limit->count++;
	if (!log)
		return;
	va_start(ap, fmt);
	append(log, LOG_LEVEL_WARN, source, fmt, ap);
	va_end(ap);
}

size_t log_copy(struct log *log, uint64_t since, struct log_entry *out,
		size_t max)
{
	uint64_t first, last;
	size_t n = 0;

	if (!log)
		return 0;
	pthread_mutex_lock(&log->lock);
	last = log->seq;
	first = last > LOG_ROOM ? last - LOG_ROOM + 1 : 1;
	if (since >= first)
		first = since + 1;
	for (; first <= last && n < max; first++)
		out[n++] = log->ring[first % LOG_ROOM];
	pthread_mutex_unlock(&log->lock);
	return n;
}

uint64_t log_seq(struct log *log)
{
	return log ? __atomic_load_n(&log->seq, __ATOMIC_ACQUIRE) : 0;
}
