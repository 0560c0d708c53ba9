/*
 * The nodes are asked at once; the questions to the host, which take a while,
 * go to copies of their descriptors: jobs may close the files meanwhile.
 */
#include "core/blk/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/ctx.h"
#include "core/blk/driver.h"
#include "core/blk/file/host.h"
#include "core/blk/scratch.h"

/* Bytes a step: where nothing is cached both take next to no time. */
#define CACHESTAT_STEP (16ull << 30)
#define MINCORE_STEP   (1ull << 30)
#define MAX_STEPS      512

struct look {
	struct files *out;
	int fds[FILES_MAX];
};

/* ---- the nodes ---- */

static void note(struct look *l, struct blk *b, unsigned layer)
{
	const struct host_file *host = blk_host_file(b);
	struct file_facts *f = &l->out->file[l->out->nr];
	const char *name = blk_scratch_shown(b->name);
	size_t len = strlen(name);

	l->out->total++;
	if (l->out->nr == FILES_MAX)
		return;
	*f = (struct file_facts){
		.layer = layer,
		.flags = -1,
		.no_flush = b->options.no_flush,
		.len = b->len,
	};
	snprintf(
		f->path, sizeof(f->path), "%s",
		name + (len < sizeof(f->path) ? 0 : len - sizeof(f->path) + 1));
	l->fds[l->out->nr++] = host ? fcntl(host->fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (!host)
		return;
	f->flags = fcntl(host->fd, F_GETFL);
	f->is_device = host->is_device;
	f->aio = blk_host_aio(b);
}

static void note_image(struct look *l, struct blk *image, unsigned layer)
{
	struct blk *file = image;

	while (file && !(file->is_protocol && !file->is_filter))
		file = file->file;
	if (file)
		note(l, file, layer);
	if (image->data_file)
		note_image(l, image->data_file, layer);
}

static void note_chain(struct look *l, struct blk *disk)
{
	struct blk *b = blk_skip_filters(disk);

	for (unsigned layer = 0; b; layer++) {
		note_image(l, b, layer);
		b = b->backing ? blk_skip_filters(b->backing) : NULL;
	}
}

/* ---- the host ---- */

struct step {
	enum page_cache_source how;
	int fd;
	uint64_t off, len;
	struct page_cache *cache;
};

static int take_step(void *arg)
{
	struct step *s = arg;

	return page_cache_look(s->how, s->fd, s->off, s->len, s->cache);
}

/* False when the host doesn't tell. */
static bool look_at_file(struct blk_ctx *ctx, struct file_facts *f, int fd,
			 enum page_cache_source how, const bool *stop)
{
	uint64_t max =
		how == PAGE_CACHE_CACHESTAT ? CACHESTAT_STEP : MINCORE_STEP;
	struct step s = {.how = how, .fd = fd, .cache = &f->cache};

	f->cache = (struct page_cache){0};
	for (unsigned i = 0; s.off < f->len && i < MAX_STEPS && !*stop; i++) {
		s.len = f->len - s.off < max ? f->len - s.off : max;
		if (co_worker(ctx, take_step, &s))
			return false;
		s.off += s.len;
	}
	f->looked = s.off;
	f->source = how;
	return true;
}

void files_look(struct blk *disk, const bool *stop, struct files *out)
{
	struct blk_ctx *ctx = disk->ctx;
	struct look l = {.out = out};

	memset(out, 0, sizeof(*out));
	note_chain(&l, disk);
	for (unsigned i = 0; i < out->nr; i++) {
		struct file_facts *f = &out->file[i];

		if (l.fds[i] < 0)
			continue;
		if (!look_at_file(ctx, f, l.fds[i], PAGE_CACHE_CACHESTAT, stop))
			look_at_file(ctx, f, l.fds[i], PAGE_CACHE_MINCORE,
				     stop);
		close(l.fds[i]);
	}
}
