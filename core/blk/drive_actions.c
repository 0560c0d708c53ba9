#include "core/blk/drive_actions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/blk/disk.h"
#include "core/blk/drive_parts.h"
#include "core/blk/driver.h"
#include "core/blk/filter/throttle.h"
#include "core/error.h"

static int check_writable(const struct drive *d, struct error *e)
{
	if (!d->blk)
		return error_set(e, -ENOMEDIUM, "the drive holds no medium");
	if (d->cfg.readonly)
		return error_set(e, -EROFS, "'%s' is read-only", d->path);
	return 0;
}

static int check_flushes(const struct drive *d, struct error *e)
{
	if (cache_modes[d->cfg.preset].ignore_flush)
		return error_set(e, -EINVAL,
				 "cache %s ignores flushes: nothing of this "
				 "disk is made stable",
				 cache_modes[d->cfg.preset].name);
	return 0;
}

/* ---- flush and write cache ---- */

int drive_flush_now(struct drive *d, struct error *e)
{
	int ret = check_writable(d, e);

	if (!ret)
		ret = check_flushes(d, e);
	if (ret)
		return ret;
	d->is_flush_asked = true;
	drive_flush_soon(d);
	return 0;
}

int drive_force_wce_off(struct drive *d, bool force, struct error *e)
{
	bool was = drive_wce_now(d);
	int ret = force ? check_flushes(d, e) : 0;

	if (ret)
		return ret;
	__atomic_store_n(&d->wce_forced_off, force, __ATOMIC_RELAXED);
	if (was && force)
		drive_flush_soon(d);
	return 0;
}

/* ---- length ---- */

struct grow_call {
	uint64_t len;
	struct error *e;
};

static int grow(struct blk *disk, void *arg)
{
	struct grow_call *c = arg;

	return blk_truncate(disk, c->len, BLK_PREALLOC_OFF, false, c->e);
}

int drive_grow(struct drive *d, uint64_t len, struct error *e)
{
	struct grow_call c = {
		(len + DRIVE_SECTOR - 1) & ~(uint64_t)(DRIVE_SECTOR - 1), e};
	int ret = check_writable(d, e);

	if (ret)
		return ret;
	if (len > INT64_MAX)
		return error_set(e, -EFBIG, "no image can be that long");
	if (c.len <= drive_len(d))
		return error_set(e, -EINVAL,
				 "'%s' has %llu bytes: a disk in use can only "
				 "grow",
				 d->path, (unsigned long long)drive_len(d));
	ret = drive_run(d, grow, &c, e);
	drive_publish_len(d);
	return ret;
}

/* ---- snapshots ---- */

struct snapshot_call {
	enum blk_snapshot_op op;
	const char *name;
	struct error *e;
};

/* The disk and its filters are as long as the image became. */
static void follow_len(struct blk *disk, const struct blk *image)
{
	for (struct blk *b = disk; b != image; b = b->file)
		b->len = image->len;
}

static int change_snapshots(struct blk *disk, void *arg)
{
	struct snapshot_call *c = arg;
	struct blk *image = blk_disk_image(disk);
	const struct blk_format *f = blk_format_find(blk_format(image));
	int ret;

	if (!f || !f->snapshot)
		return error_set(c->e, -ENOTSUP,
				 "a %s image keeps no internal snapshots: put "
				 "an overlay on it",
				 blk_format(image));
	if (blk_disk_job(disk))
		return error_set(c->e, -EBUSY,
				 "a job is at work on '%s': wait for its end, "
				 "or cancel it",
				 blk_name(image));
	blk_disk_drain_begin(disk);
	ret = f->snapshot(image, c->op, c->name, c->e);
	if (!ret)
		ret = blk_flush(image);
	follow_len(disk, image);
	disk->write_gen++;
	blk_disk_drain_end(disk);
	return ret;
}

int drive_snapshot(struct drive *d, enum blk_snapshot_op op, const char *name,
		   struct error *e)
{
	struct snapshot_call c = {op, name, e};
	int ret = check_writable(d, e);

	if (ret)
		return ret;
	if (op == BLK_SNAPSHOT_APPLY && d->ledger)
		return error_set(e, -EBUSY,
				 "what this disk promised is watched, for "
				 "power cuts: it can't go back");
	ret = drive_run(d, change_snapshots, &c, e);
	drive_publish_len(d);
	drive_look_again(d);
	return ret;
}

struct overlay_call {
	const char *path;
	struct error *e;
};

static int put_overlay(struct blk *disk, void *arg)
{
	struct overlay_call *c = arg;

	return blk_disk_snapshot(disk, c->path, c->e);
}

int drive_overlay(struct drive *d, const char *path, struct error *e)
{
	struct overlay_call c = {path, e};
	int ret = check_writable(d, e);

	if (ret)
		return ret;
	if (d->cfg.scratch)
		return error_set(e, -EPERM,
				 "a scratch disk is an overlay that ends with "
				 "the machine: nothing can stand on it");
	if (strlen(path) >= sizeof(d->path))
		return error_set(e, -ENAMETOOLONG, "the path is too long");
	ret = drive_run(d, put_overlay, &c, e);
	if (ret)
		return ret;
	snprintf(d->path, sizeof(d->path), "%s", path);
	drive_look_again(d);
	return 0;
}

/* ---- throttle ---- */

#define MAX_WORDS 20

struct throttle_call {
	struct drive *d;
	char words[sizeof(((struct drive *)0)->look.throttle)];
	struct blk_opt opts[MAX_WORDS];
	unsigned nr;
	struct error *e;
};

/* Cuts the words apart, in their place. */
static int split(struct throttle_call *c)
{
	char *save = NULL, *word = strtok_r(c->words, " ", &save);

	for (; word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');

		if (!value || c->nr == MAX_WORDS)
			return error_set(c->e, -EINVAL,
					 "throttle '%s': say it as in "
					 "iops-total=100 bps-read=1M",
					 word);
		*value = '\0';
		c->opts[c->nr++] = (struct blk_opt){word, value + 1};
	}
	return 0;
}

static int put_throttle(struct blk *disk, void *arg)
{
	struct throttle_call *c = arg;
	struct drive *d = c->d;
	int ret = blk_disk_swap_filter(disk, &d->throttle,
				       c->nr ? &blk_throttle_driver : NULL,
				       c->opts, c->nr, c->e);

	if (d->throttle)
		blk_throttle_lift(d->throttle, d->throttle_lifts != 0);
	return ret;
}

static int prepare(struct throttle_call *c, const char *words)
{
	if (strlen(words) >= sizeof(c->words))
		return error_set(c->e, -E2BIG, "these are too many limits");
	snprintf(c->words, sizeof(c->words), "%s", words);
	return split(c);
}

int drive_throttle(struct drive *d, const char *words, struct error *e)
{
	struct error ignored = {0};
	struct throttle_call c = {.d = d, .e = e ? e : &ignored};
	int ret = prepare(&c, words ? words : "");

	if (!ret)
		ret = drive_run(d, put_throttle, &c, c.e);
	if (ret)
		return ret;
	snprintf(d->throttle_words, sizeof(d->throttle_words), "%s",
		 words ? words : "");
	drive_look_again(d);
	return 0;
}

int drive_throttle_renew(struct drive *d, struct error *e)
{
	struct throttle_call c = {.d = d, .e = e};

	d->throttle = NULL;
	if (!d->blk || !*d->throttle_words)
		return 0;
	prepare(&c, d->throttle_words);
	return put_throttle(d->blk, &c);
}

void drive_throttle_lift(struct drive *d)
{
	if (!d->throttle_lifts++ && d->throttle)
		blk_throttle_lift(d->throttle, true);
}

void drive_throttle_lower(struct drive *d)
{
	if (!--d->throttle_lifts && d->throttle)
		blk_throttle_lift(d->throttle, false);
}
