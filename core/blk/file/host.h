/*
 * host: opening and locking a file of the host.
 * Thread rule: [any]; the calls sleep.
 */
#ifndef CORE_BLK_FILE_HOST_H
#define CORE_BLK_FILE_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct error;

struct host_file {
	int fd, lock_fd; /* lock_fd -1: not locked */
	bool direct, is_device;
	uint64_t len; /* bytes */
	uint64_t dev, ino;
	unsigned align; /* of requests and memory, 1 without O_DIRECT */
};

/* 0, or -errno with a sentence that names the path and what would work. */
int host_file_open(struct host_file *f, const char *path, bool write,
		   bool direct, bool lock, struct error *e);
void host_file_close(struct host_file *f);
/* Opens it again for writing (or reading only), with the locks of that. */
int host_file_reopen(struct host_file *f, const char *path, bool write,
		     struct error *e);

/* file_node.c, on the loop: the file of a file node and the name of its AIO
 * backend; NULL when b is another node. */
const struct host_file *blk_host_file(const struct blk *b);
const char *blk_host_aio(const struct blk *b);

#endif
