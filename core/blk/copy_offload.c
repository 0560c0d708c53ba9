#include "core/blk/copy_offload.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/blk/blk.h"
#include "core/blk/co.h"
#include "core/blk/driver.h"

#define MAX_INPUTS 16 /* of a backing chain; others are read and written */

struct copy_offload {
	struct blk *source, *dest;
	int out_fd;
	/* The source's files, open until the end: a worker may be reading any
	 * of them while another range needs the next. */
	struct input {
		struct blk *file;
		int fd;
	} inputs[MAX_INPUTS];
	int nr_inputs;
};

struct call {
	int in_fd, out_fd;
	uint64_t off, to, len;
};

static bool is_plain(struct blk *b)
{
	return !strcmp(blk_format(b), "file");
}

/* What passes a filter must be seen by it. */
static bool has_filter(const struct blk *b)
{
	for (; b; b = b->backing)
		for (const struct blk *p = b; p; p = p->file)
			if (p->is_filter)
				return true;
	return false;
}

struct copy_offload *copy_offload_open(struct blk *source, struct blk *dest)
{
	struct blk *out = is_plain(dest) ? dest : blk_file(dest);
	struct copy_offload *o;

	if (!out || !is_plain(out) || has_filter(source) ||
	    (dest != out && strcmp(blk_format(dest), "raw")))
		return NULL;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->source = source;
	o->dest = dest;
	o->out_fd = open(blk_name(out), O_WRONLY | O_CLOEXEC);
	if (o->out_fd >= 0)
		return o;
	free(o);
	return NULL;
}

void copy_offload_close(struct copy_offload *o)
{
	if (!o)
		return;
	for (int i = 0; i < o->nr_inputs; i++)
		close(o->inputs[i].fd);
	close(o->out_fd);
	free(o);
}

static int copy_call(void *arg)
{
	struct call *c = arg;
	struct file_clone_range clone = {.src_fd = c->in_fd,
					 .src_offset = c->off,
					 .src_length = c->len,
					 .dest_offset = c->to};

	if (!ioctl(c->out_fd, FICLONERANGE, &clone))
		return 0;
	while (c->len) {
		off_t from = c->off, to = c->to;
		ssize_t n = copy_file_range(c->in_fd, &from, c->out_fd, &to,
					    c->len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		c->off += n;
		c->to += n;
		c->len -= n;
	}
	return 0;
}

/* A descriptor of the file that holds the bytes, or -errno. */
static int fd_of(struct copy_offload *o, struct blk *file)
{
	int fd;

	for (int i = 0; i < o->nr_inputs; i++)
		if (o->inputs[i].file == file)
			return o->inputs[i].fd;
	if (o->nr_inputs == MAX_INPUTS)
		return -ENOTSUP;
	fd = open(blk_name(file), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	o->inputs[o->nr_inputs++] = (struct input){file, fd};
	return fd;
}

int copy_offload_range(struct copy_offload *o, uint64_t off, uint64_t to,
		       uint64_t len)
{
	while (len) {
		uint64_t n, map;
		struct blk *file = NULL;
		struct call c;
		int ret = blk_status_above(o->source, NULL, off, len, &n, &map,
					   &file, NULL);

		if (ret < 0)
			return ret;
		if (!n || !(ret & BLK_STATUS_OFFSET_VALID) ||
		    (ret & BLK_STATUS_COMPRESSED) || !file || !is_plain(file))
			return -ENOTSUP;
		ret = fd_of(o, file);
		if (ret < 0)
			return ret;
		c = (struct call){ret, o->out_fd, map, to, n};
		ret = co_worker(blk_ctx_of(o->dest), copy_call, &c);
		if (ret)
			return ret;
		off += n;
		to += n;
		len -= n;
	}
	return 0;
}
