/*
 * A chunk is read from the disk until the guest is about to change it; then it
 * is copied, and read from the copy.  Readers of what is not copied yet lock it
 * against the guest for the time of the read.
 */
#include "core/blk/view.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/blk/disk.h"
#include "core/blk/driver.h"
#include "core/blk/iov.h"
#include "core/blk/jobs/bits.h"
#include "core/blk/scratch.h"
#include "core/error.h"

#define CHUNK (64u * 1024)

/* Chunks that are on their way to the copy. */
struct move {
	uint64_t first, end;
	struct move *next;
	struct co_queue waiters;
};

struct view {
	struct blk *disk; /* b->file is the copy */
	struct blk_watch watch;
	struct job_bits copied;
	struct move *moves;
	int error; /* the copy failed: nothing more is known */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- copying ---- */

static int copy_chunk(struct blk *b, void *buf, uint64_t chunk)
{
	struct view *v = b->priv;
	uint64_t off = chunk * CHUNK, len = min_u64(CHUNK, b->len - off);
	int ret = blk_read(v->disk->file, off, buf, len);

	if (!ret)
		ret = blk_write(b->file, off, buf, len, 0);
	return ret;
}

static struct move *find_move(struct view *v, uint64_t first, uint64_t end)
{
	struct move *m = v->moves;

	while (m && (m->end <= first || m->first >= end))
		m = m->next;
	return m;
}

static void end_move(struct view *v, struct move *m)
{
	struct move **p = &v->moves;

	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	co_wake_all(&m->waiters);
}

static void copy_range(struct blk *b, uint64_t first, uint64_t end)
{
	struct view *v = b->priv;
	struct move m = {.first = first, .end = end}, *other;
	void *buf = NULL;
	int ret = 0;

	while ((other = find_move(v, first, end)))
		co_wait(&other->waiters, NULL);
	m.next = v->moves;
	v->moves = &m;
	for (uint64_t i = first; i < end && !ret && !v->error; i++) {
		if (job_bits_test(&v->copied, i))
			continue;
		if (!buf && posix_memalign(&buf, 4096, CHUNK))
			buf = NULL;
		ret = buf ? copy_chunk(b, buf, i) : -ENOMEM;
		if (!ret)
			job_bits_set(&v->copied, i, 1);
	}
	if (ret)
		v->error = ret;
	free(buf);
	end_move(v, &m);
}

static bool is_copied(const struct view *v, uint64_t first, uint64_t end)
{
	while (first < end && job_bits_test(&v->copied, first))
		first++;
	return first == end;
}

static void guest_changes(void *arg, uint64_t off, uint64_t len)
{
	struct blk *b = arg;
	struct view *v = b->priv;
	uint64_t first = off / CHUNK, end;

	if (!len || off >= b->len || v->error)
		return;
	end = (min_u64(off + len, b->len) + CHUNK - 1) / CHUNK;
	if (!is_copied(v, first, end))
		copy_range(b, first, end);
}

/* ---- reading ---- */

/* Bytes from off that are all copied, or all not. */
static uint64_t run_of(const struct blk *b, uint64_t off, uint64_t len,
		       bool *copied)
{
	const struct view *v = b->priv;
	uint64_t i = off / CHUNK;

	*copied = job_bits_test(&v->copied, i);
	do
		i++;
	while (i * CHUNK < off + len &&
	       job_bits_test(&v->copied, i) == *copied);
	return min_u64(len, i * CHUNK - off);
}

/* Calls fn for runs; what is not copied stays as it is during the call. */
struct part {
	uint64_t off, len;
	bool copied;
};

static int view_part(struct blk *b, uint64_t off, uint64_t len,
		     struct part *part, struct blk_range *lock)
{
	struct view *v = b->priv;

	if (v->error)
		return -EIO;
	part->off = off;
	part->len = run_of(b, off, len, &part->copied);
	if (part->copied)
		return 0;
	blk_disk_lock(v->disk, lock, off, part->len);
	/* The guest may have been faster, and the copy have failed. */
	if (v->error)
		return -EIO;
	part->len = run_of(b, off, part->len, &part->copied);
	return 0;
}

static void end_part(struct blk *b, struct blk_range *lock)
{
	struct view *v = b->priv;

	if (lock->exclusive)
		blk_disk_unlock(v->disk, lock);
}

static int view_readv(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr)
{
	struct view *v = b->priv;
	struct iovec *slice = calloc(nr, sizeof(*slice));
	uint64_t done = 0;
	int ret = slice ? 0 : -ENOMEM;

	while (!ret && done < len) {
		struct blk_range lock = {0};
		struct part part;

		ret = view_part(b, off + done, len - done, &part, &lock);
		if (!ret) {
			int n = iov_slice(iov, nr, done, part.len, slice);
			struct blk *from =
				part.copied ? b->file : v->disk->file;

			ret = blk_readv(from, part.off, part.len, slice, n);
		}
		end_part(b, &lock);
		done += part.len;
	}
	free(slice);
	return ret;
}

static int view_status(struct blk *b, uint64_t off, uint64_t len,
		       uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct view *v = b->priv;
	struct blk_range lock = {0};
	struct part part;
	struct blk *from;
	int ret = view_part(b, off, len, &part, &lock);

	(void)map;
	*file = NULL;
	if (!ret) {
		from = part.copied ? b->file : blk_skip_filters(v->disk->file);
		ret = blk_status_above(from, NULL, off, part.len, pnum, NULL,
				       NULL, NULL);
	}
	end_part(b, &lock);
	return ret < 0 ? ret
		       : ret & (BLK_STATUS_DATA | BLK_STATUS_ZERO |
				BLK_STATUS_ALLOCATED);
}

/* ---- life ---- */

static int view_open(struct blk *b, const struct blk_options *o,
		     struct error *e)
{
	struct view *v = b->priv;

	(void)o;
	if (job_bits_init(&v->copied, b->len / CHUNK + 1))
		return error_set(e, -ENOMEM, "no memory for a view of a disk");
	return 0;
}

static void view_close(struct blk *b)
{
	struct view *v = b->priv;

	if (v->disk)
		blk_disk_unwatch(v->disk, &v->watch);
	job_bits_fini(&v->copied);
}

static const struct blk_driver view_driver = {
	.name = "view",
	.priv_len = sizeof(struct view),
	.open = view_open,
	.close = view_close,
	.readv = view_readv,
	.status = view_status,
};

static struct blk *open_copy(struct blk *disk, struct error *e)
{
	char path[BLK_SCRATCH_PATH];
	int fd = blk_scratch_create(disk->ctx, disk->len, path, e);
	struct blk_options o = {.path = path,
				.format = "qcow2",
				.write = true,
				.no_flush = true,
				.no_lock = true};
	struct blk *copy;

	if (fd < 0)
		return NULL;
	copy = blk_open(disk->ctx, &o, e);
	close(fd);
	return copy;
}

struct blk *blk_view_create(struct blk *disk, struct error *e)
{
	struct blk *copy = open_copy(disk, e), *b;
	struct view *v;

	b = copy ? blk_filter_open(copy, &view_driver, e) : NULL;
	if (!b)
		return NULL;
	v = b->priv;
	b->len = disk->len;
	b->is_filter = b->write = false;
	v->disk = disk;
	v->watch = (struct blk_watch){.before = guest_changes, .arg = b};
	blk_disk_watch(disk, &v->watch);
	return b;
}

uint64_t blk_view_copied(const struct blk *view)
{
	const struct view *v = view->priv;

	return v->copied.count * CHUNK;
}
