#include "ui/session/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/console.h"
#include "core/error.h"

struct recorder {
	struct serial_line *line;
	uint64_t pos;
	int file, reader, stop;
	pthread_t thread;
};

/* A full disk loses text, not the guest. */
static void copy(struct recorder *r)
{
	char buf[4096];
	size_t n;

	while ((n = serial_line_read(r->line, &r->pos, buf, sizeof(buf))) > 0)
		for (size_t done = 0; done < n;) {
			ssize_t w = write(r->file, buf + done, n - done);

			if (w < 0 && errno != EINTR)
				break;
			done += w > 0 ? (size_t)w : 0;
		}
}

static void *run(void *arg)
{
	struct recorder *r = arg;
	struct pollfd p[] = {{r->reader, POLLIN, 0}, {r->stop, POLLIN, 0}};
	uint64_t count;

	while (!p[1].revents) {
		poll(p, 2, -1);
		if (p[0].revents &&
		    read(r->reader, &count, sizeof(count)) < 0 &&
		    errno != EAGAIN)
			break;
		copy(r);
	}
	copy(r);
	return NULL;
}

static void release(struct recorder *r)
{
	if (r->reader >= 0)
		serial_line_reader_remove(r->line, r->reader);
	if (r->file >= 0)
		close(r->file);
	if (r->stop >= 0)
		close(r->stop);
	free(r);
}

struct recorder *recorder_start(struct serial_line *line, const char *path,
				struct error *e)
{
	struct recorder *r = calloc(1, sizeof(*r));
	int ret;

	if (!r) {
		error_set(e, -ENOMEM, "no memory to record the serial line");
		return NULL;
	}
	r->line = line;
	r->reader = serial_line_reader_add(line);
	r->stop = eventfd(0, EFD_CLOEXEC);
	r->file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (r->file < 0)
		error_errno(e, errno, "recording the serial line in '%s'",
			    path);
	else if (r->reader < 0 || r->stop < 0)
		error_set(e, -EMFILE, "too many readers of the serial line");
	else {
		ret = pthread_create(&r->thread, NULL, run, r);
		if (!ret)
			return r;
		error_errno(e, ret, "recording the serial line");
	}
	release(r);
	return NULL;
}

void recorder_stop(struct recorder *r)
{
	uint64_t one = 1;

	if (!r)
		return;
	if (write(r->stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(r->thread, NULL);
	release(r);
}
