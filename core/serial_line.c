#include "core/console.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define OUTPUT_LEN  (256u * 1024)
#define INPUT_LEN   (64u * 1024)
#define MAX_READERS 16

struct reader {
	int fd; /* -1: free */
	/* The eventfd was written and nobody has read the line since: one
	 * write is enough for a burst of single bytes. */
	bool signalled;
};

struct serial_line {
	char name[32];
	pthread_mutex_t lock; /* a leaf; protects everything below */
	/* Positions count all bytes ever; the ring index is the remainder. */
	uint64_t out_end;
	uint64_t in_begin, in_end;
	struct reader readers[MAX_READERS];
	void (*notify)(void *arg);
	void *notify_arg;
	uint8_t output[OUTPUT_LEN], input[INPUT_LEN];
};

struct serial_line *serial_line_create(const char *name)
{
	struct serial_line *l = calloc(1, sizeof(*l));
	int i;

	if (!l)
		return NULL;
	snprintf(l->name, sizeof(l->name), "%s", name);
	pthread_mutex_init(&l->lock, NULL);
	for (i = 0; i < MAX_READERS; i++)
		l->readers[i].fd = -1;
	return l;
}

void serial_line_destroy(struct serial_line *l)
{
	int i;

	if (!l)
		return;
	for (i = 0; i < MAX_READERS; i++)
		if (l->readers[i].fd >= 0)
			close(l->readers[i].fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

const char *serial_line_name(const struct serial_line *l)
{
	return l->name;
}

/* Copies between a ring of size len and flat memory at position pos. */
static void ring_put(uint8_t *ring, size_t size, uint64_t pos, const void *buf,
		     size_t len)
{
	size_t at = pos % size, first = size - at;

	if (first > len)
		first = len;
	memcpy(ring + at, buf, first);
	memcpy(ring, (const uint8_t *)buf + first, len - first);
}

static void ring_get(const uint8_t *ring, size_t size, uint64_t pos, void *buf,
		     size_t len)
{
	size_t at = pos % size, first = size - at;

	if (first > len)
		first = len;
	memcpy(buf, ring + at, first);
	memcpy((uint8_t *)buf + first, ring, len - first);
}

static void readers_wake_locked(struct serial_line *l)
{
	uint64_t one = 1;
	int i;

	for (i = 0; i < MAX_READERS; i++) {
		struct reader *r = &l->readers[i];
		ssize_t n;

		if (r->fd < 0 || r->signalled)
			continue;
		n = write(r->fd, &one, sizeof(one));
		r->signalled = n == sizeof(one);
	}
}

void serial_line_output(struct serial_line *l, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	if (!len)
		return;
	pthread_mutex_lock(&l->lock);
	if (len > OUTPUT_LEN) {
		l->out_end += len - OUTPUT_LEN;
		p += len - OUTPUT_LEN;
		len = OUTPUT_LEN;
	}
	ring_put(l->output, OUTPUT_LEN, l->out_end, p, len);
	l->out_end += len;
	readers_wake_locked(l);
	pthread_mutex_unlock(&l->lock);
}

size_t serial_line_input(struct serial_line *l, void *buf, size_t len)
{
	pthread_mutex_lock(&l->lock);
	if (len > l->in_end - l->in_begin)
		len = (size_t)(l->in_end - l->in_begin);
	ring_get(l->input, INPUT_LEN, l->in_begin, buf, len);
	l->in_begin += len;
	pthread_mutex_unlock(&l->lock);
	return len;
}

void serial_line_set_notify(struct serial_line *l, void (*fn)(void *),
			    void *arg)
{
	pthread_mutex_lock(&l->lock);
	l->notify = fn;
	l->notify_arg = arg;
	pthread_mutex_unlock(&l->lock);
}

size_t serial_line_send(struct serial_line *l, const void *buf, size_t len)
{
	size_t room;

	pthread_mutex_lock(&l->lock);
	room = INPUT_LEN - (size_t)(l->in_end - l->in_begin);
	if (len > room)
		len = room;
	ring_put(l->input, INPUT_LEN, l->in_end, buf, len);
	l->in_end += len;
	if (len && l->notify)
		l->notify(l->notify_arg);
	pthread_mutex_unlock(&l->lock);
	return len;
}

size_t serial_line_read(struct serial_line *l, uint64_t *pos, void *buf,
			size_t len)
{
	uint64_t oldest;
	int i;

	pthread_mutex_lock(&l->lock);
	oldest = l->out_end > OUTPUT_LEN ? l->out_end - OUTPUT_LEN : 0;
	if (*pos < oldest || *pos > l->out_end)
		*pos = oldest;
	if (len > l->out_end - *pos)
		len = (size_t)(l->out_end - *pos);
	ring_get(l->output, OUTPUT_LEN, *pos, buf, len);
	*pos += len;
	for (i = 0; i < MAX_READERS; i++)
		l->readers[i].signalled = false;
	pthread_mutex_unlock(&l->lock);
	return len;
}

int serial_line_reader_add(struct serial_line *l)
{
	int i, fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -1;
	pthread_mutex_lock(&l->lock);
	for (i = 0; i < MAX_READERS && l->readers[i].fd >= 0; i++)
		;
	if (i < MAX_READERS) {
		l->readers[i] = (struct reader){.fd = fd};
		if (l->out_end)
			readers_wake_locked(l);
	}
	pthread_mutex_unlock(&l->lock);
	if (i < MAX_READERS)
		return fd;
	close(fd);
	return -1;
}

void serial_line_reader_remove(struct serial_line *l, int fd)
{
	int i;

	if (fd < 0)
		return;
	pthread_mutex_lock(&l->lock);
	for (i = 0; i < MAX_READERS; i++) {
		if (l->readers[i].fd == fd) {
			l->readers[i].fd = -1;
			close(fd);
		}
	}
	pthread_mutex_unlock(&l->lock);
}
