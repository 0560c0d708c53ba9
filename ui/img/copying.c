#include "ui/img/copying.h"

#include <errno.h>
#include <json.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/driver.h"
#include "core/blk/iov.h"

#define SECTOR 512

struct concat {
	struct blk **images;
	unsigned nr;
};

static uint64_t whole_sectors(const struct blk *b)
{
	return (blk_len(b) + SECTOR - 1) / SECTOR * SECTOR;
}

/* The image that holds *off, which becomes an offset in it. */
static struct blk *find_image(const struct concat *c, uint64_t *off)
{
	unsigned i = 0;

	while (i + 1 < c->nr && *off >= whole_sectors(c->images[i]))
		*off -= whole_sectors(c->images[i++]);
	return c->images[i];
}

static int read_part(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr, size_t skip)
{
	uint64_t inside = off < blk_len(b) ? blk_len(b) - off : 0;
	struct iovec *part;
	int ret = 0;

	if (inside > len)
		inside = len;
	if (inside) {
		part = malloc(nr * sizeof(*part));
		if (!part)
			return -ENOMEM;
		ret = blk_readv(b, off, inside, part,
				iov_slice(iov, nr, skip, inside, part));
		free(part);
	}
	if (!ret && inside < len)
		iov_zero(iov, nr, skip + inside, len - inside);
	return ret;
}

static int concat_readv(struct blk *b, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr)
{
	struct concat *c = b->priv;
	uint64_t done = 0;
	int ret = 0;

	while (done < len && !ret) {
		uint64_t at = off + done, n;
		struct blk *image = find_image(c, &at);

		n = whole_sectors(image) - at;
		if (n > len - done)
			n = len - done;
		ret = read_part(image, at, n, iov, nr, done);
		done += n;
	}
	return ret;
}

static int concat_status(struct blk *b, uint64_t off, uint64_t len,
			 uint64_t *pnum, uint64_t *map, struct blk **file)
{
	struct blk *image = find_image(b->priv, &off);
	uint64_t left = whole_sectors(image) - off;
	int ret;

	if (len > left)
		len = left;
	if (off >= blk_len(image)) {
		*pnum = len;
		return BLK_STATUS_ZERO;
	}
	ret = blk_status_above(image, NULL, off, len, pnum, map, file, NULL);
	if (ret < 0)
		return ret;
	ret &= ~(BLK_STATUS_EOF | BLK_STATUS_OFFSET_VALID);
	return ret & (BLK_STATUS_DATA | BLK_STATUS_ZERO)
		       ? ret
		       : ret | BLK_STATUS_DATA;
}

static void concat_close(struct blk *b)
{
	struct concat *c = b->priv;

	for (unsigned i = 0; i < c->nr; i++)
		blk_unref(c->images[i]);
	free(c->images);
}

static const struct blk_driver concat_driver = {
	.name = "concat",
	.close = concat_close,
	.readv = concat_readv,
	.status = concat_status,
};

struct blk *img_concat(struct blk **images, unsigned nr)
{
	struct blk *b = calloc(1, sizeof(*b));
	struct concat *c = calloc(1, sizeof(*c));
	char *name = strdup(blk_name(images[0]));

	if (c)
		c->images = calloc(nr, sizeof(*c->images));
	if (!b || !c || !c->images || !name) {
		for (unsigned i = 0; i < nr; i++)
			blk_unref(images[i]);
		free(b);
		free(c);
		free(name);
		return NULL;
	}
	memcpy(c->images, images, nr * sizeof(*images));
	c->nr = nr;
	*b = (struct blk){.drv = &concat_driver,
			  .ctx = blk_ctx_of(images[0]),
			  .name = name,
			  .priv = c,
			  .align = 1,
			  .refs = 1};
	for (unsigned i = 0; i < nr; i++)
		b->len += whole_sectors(images[i]);
	return b;
}

/* "snapshot.id=7" and "snapshot.name=x" say which of both is meant. */
int img_snapshot_arg(struct img_tool *t, const char *text, struct img_source *s)
{
	static const char *const keys[] = {"snapshot.id=", "snapshot.name="};

	s->snapshot = text;
	if (strncmp(text, "snapshot.", 9))
		return 0;
	for (size_t i = 0; i < 2; i++)
		if (!strncmp(text, keys[i], strlen(keys[i]))) {
			s->snapshot = text + strlen(keys[i]);
			return 0;
		}
	img_error(t, "Invalid parameter '%.*s'", (int)strcspn(text, "="), text);
	return img_error(t, "Failed in parsing snapshot param '%s'", text);
}

static bool has_snapshot(struct blk *b, const char *name)
{
	const struct blk_format *f = blk_format_find(blk_format(b));
	bool found;
	int nr = f && f->snapshots ? f->snapshots(b, NULL, 0) : 0, i = 0;
	struct blk_snapshot_info *list =
		nr > 0 ? calloc(nr, sizeof(*list)) : NULL;

	if (list)
		nr = f->snapshots(b, list, nr);
	while (list && i < nr && strcmp(list[i].id, name) &&
	       strcmp(list[i].name, name))
		i++;
	found = list && i < nr;
	free(list);
	return found;
}

/* Without the snapshot in it there is nothing to read. */
struct blk *img_open_snapshot(struct img_tool *t, const struct img_source *s)
{
	struct img_source plain = *s;
	struct blk *b;
	bool found;

	if (!s->snapshot)
		return img_open(t, s);
	plain.snapshot = NULL;
	b = img_open(t, &plain);
	if (!b)
		return NULL;
	found = has_snapshot(b, s->snapshot);
	blk_unref(b);
	if (found)
		return img_open(t, s);
	img_error(t, "Failed to load snapshot: Can't find snapshot");
	return NULL;
}

uint64_t img_cluster_size(struct blk *b)
{
	const struct blk_format *f = blk_format_find(blk_format(b));
	struct json_object *info = f && f->info ? f->info(b) : NULL, *size;
	uint64_t n = 0;

	if (info && json_object_object_get_ex(info, "cluster-size", &size))
		n = json_object_get_int64(size);
	json_object_put(info);
	return n;
}

bool img_size_arg(struct img_tool *t, const char *what, const char *text,
		  uint64_t *out)
{
	int ret = img_size_parse(text, out);

	if (!ret && *out <= INT64_MAX)
		return true;
	if (ret != -EINVAL) {
		img_error(t,
			  "Invalid %s specified. Must be between 0 and %lld.",
			  what, (long long)INT64_MAX);
		return false;
	}
	img_error(t,
		  "Invalid %s specified. You may use k, M, G, T, P or E "
		  "suffixes for",
		  what);
	img_error(t, "kilobytes, megabytes, gigabytes, terabytes, petabytes "
		     "and exabytes.");
	return false;
}

bool img_cache_arg(struct img_tool *t, const char *what, const char *mode)
{
	struct blk_options o;

	if (img_cache_mode(mode, &o))
		return true;
	img_error(t, "Invalid %s option: %s", what, mode);
	return false;
}

int img_copy_progress(void *arg, uint64_t done)
{
	struct img_copy_progress *p = arg;

	if (done - p->shown < p->total / 100)
		return 0;
	p->shown = done;
	img_progress_set(&p->bar, done, p->total);
	return 0;
}

struct blk *img_open_over(struct img_tool *t, const struct img_source *s,
			  const struct img_source *backing)
{
	struct img_source alone = *s;
	struct blk *b;

	alone.no_backing = true;
	b = img_open(t, &alone);
	if (!b)
		return NULL;
	b->backing = img_open(t, backing);
	if (b->backing)
		return b;
	blk_unref(b);
	return NULL;
}
