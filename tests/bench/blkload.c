/*
 * blkload DEVICE PATTERN LEN DEPTH SECONDS - keeps DEPTH requests of LEN bytes
 * in flight on a block device, past its host's caches, and prints how many were
 * completed a second.  Runs in a Linux guest, so it is linked statically.
 *
 * PATTERN: randread, randwrite, read, write (from the start, round and round),
 * or flush: a write of LEN bytes at a random place and then a flush, one after
 * the other.  Content and places are always the same.
 */
#include <fcntl.h>
#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define DEPTH_MAX 256

struct load {
	int fd;
	bool random, write, flush;
	uint64_t len, nr_places, place, seed;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t next_off(struct load *l)
{
	l->seed = l->seed * 6364136223846793005ull + 1442695040888963407ull;
	if (l->random)
		l->place = (l->seed >> 33) % l->nr_places;
	else
		l->place = (l->place + 1) % l->nr_places;
	return l->place * l->len;
}

static int send(struct load *l, io_context_t ctx, struct iocb *cb, void *buf)
{
	if (l->write)
		io_prep_pwrite(cb, l->fd, buf, l->len, next_off(l));
	else
		io_prep_pread(cb, l->fd, buf, l->len, next_off(l));
	return io_submit(ctx, 1, &cb) == 1 ? 0 : -1;
}

/* Completed requests until `end`, or -1. */
static long run_deep(struct load *l, unsigned depth, uint64_t end)
{
	static struct iocb cbs[DEPTH_MAX];
	static struct io_event events[DEPTH_MAX];
	io_context_t ctx = NULL;
	unsigned in_flight = 0;
	long done = 0;

	if (io_setup(depth, &ctx))
		return -1;
	for (; in_flight < depth; in_flight++) {
		void *buf;

		if (posix_memalign(&buf, 4096, l->len))
			return -1;
		memset(buf, 0x5a, l->len);
		if (send(l, ctx, &cbs[in_flight], buf))
			return -1;
	}
	while (in_flight) {
		int n = io_getevents(ctx, 1, depth, events, NULL);

		for (int i = 0; i < n; i++) {
			struct iocb *cb = events[i].obj;

			if (events[i].res != l->len)
				return -1;
			done++;
			in_flight--;
			if (now_ns() < end) {
				if (send(l, ctx, cb, cb->u.c.buf))
					return -1;
				in_flight++;
			}
		}
		if (n < 0)
			return -1;
	}
	return done;
}

static long run_flushes(struct load *l, uint64_t end)
{
	long done = 0;
	void *buf;

	if (posix_memalign(&buf, 4096, l->len))
		return -1;
	memset(buf, 0xa5, l->len);
	while (now_ns() < end) {
		if (pwrite(l->fd, buf, l->len, next_off(l)) !=
			    (ssize_t)l->len ||
		    fsync(l->fd))
			return -1;
		done++;
	}
	return done;
}

int main(int argc, char **argv)
{
	struct load l = {.seed = 1};
	uint64_t begun, dev_len;
	unsigned depth;
	long done;

	if (argc != 6) {
		fprintf(stderr, "usage: blkload DEVICE PATTERN LEN DEPTH "
				"SECONDS\n");
		return 2;
	}
	l.random = !strncmp(argv[2], "rand", 4) || !strcmp(argv[2], "flush");
	l.flush = !strcmp(argv[2], "flush");
	l.write = strstr(argv[2], "write") || l.flush;
	l.len = strtoull(argv[3], NULL, 10);
	depth = atoi(argv[4]);
	l.fd = open(argv[1], O_RDWR | O_DIRECT);
	if (l.fd < 0 || ioctl(l.fd, BLKGETSIZE64, &dev_len) || !l.len ||
	    !depth || depth > DEPTH_MAX || !(l.nr_places = dev_len / l.len)) {
		perror(argv[1]);
		return 1;
	}
	begun = now_ns();
	done = l.flush ? run_flushes(&l, begun + atoi(argv[5]) * 1000000000ull)
		       : run_deep(&l, depth,
				  begun + atoi(argv[5]) * 1000000000ull);
	if (done < 0) {
		perror("blkload");
		return 1;
	}
	printf("%ld requests in %llu us\n", done,
	       (unsigned long long)(now_ns() - begun) / 1000);
	return 0;
}
