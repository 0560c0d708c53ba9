/*
 * Looks at a drive's images for people, in coroutines beside the guest, and
 * only when someone asked.  Two kinds, each at most once at a time: of the
 * layers' contents, and of the host's files with all that is told of an image.
 */
#include "core/blk/drive_look.h"

#include <stdio.h>
#include <string.h>

#include "core/blk/disk.h"
#include "core/blk/drive_parts.h"
#include "core/blk/filter/throttle.h"
#include "core/blk/format.h"

enum { LOOK_LAYERS = 1, LOOK_IMAGE = 2 };

/* ---- layers ---- */

static void ended(struct drive *d, unsigned what)
{
	d->looking &= ~what;
	co_wake_all(&d->looked);
}

static void look_at_layers(void *arg)
{
	struct drive *d = arg;
	struct layers_range range;
	struct layers now;

	pthread_mutex_lock(&d->job_lock);
	range = d->look_at;
	pthread_mutex_unlock(&d->job_lock);
	layers_look(d->blk, &range, &now);
	pthread_mutex_lock(&d->job_lock);
	d->layers = now;
	d->layers_ns = loop_now_ns();
	pthread_mutex_unlock(&d->job_lock);
	ended(d, LOOK_LAYERS);
}

/* ---- files and snapshots ---- */

static void look_at_snapshots(struct blk *disk, struct drive_look *out)
{
	struct blk *image = blk_disk_image(disk);
	const struct blk_format *format = blk_format_find(blk_format(image));
	struct blk_snapshot_info info[DRIVE_LOOK_SNAPSHOTS];
	unsigned nr;

	out->can_snapshot = format && format->snapshot && blk_writable(image);
	if (!format || !format->snapshots)
		return;
	nr = (unsigned)format->snapshots(image, info, DRIVE_LOOK_SNAPSHOTS);
	out->all_snapshots = nr;
	out->nr_snapshots =
		nr < DRIVE_LOOK_SNAPSHOTS ? nr : DRIVE_LOOK_SNAPSHOTS;
	for (unsigned i = 0; i < out->nr_snapshots; i++) {
		struct drive_look_snapshot *s = &out->snapshots[i];

		snprintf(s->id, sizeof(s->id), "%.*s", (int)sizeof(s->id) - 1,
			 info[i].id);
		snprintf(s->name, sizeof(s->name), "%.*s",
			 (int)sizeof(s->name) - 1, info[i].name);
		s->date_sec = info[i].date_sec;
		s->vm_state_len = info[i].vm_state_len;
		s->disk_len = info[i].disk_len;
	}
}

static void look_at_image(void *arg)
{
	struct drive *d = arg;
	struct drive_look now = {0};
	unsigned changes = d->look_changes;

	look_at_snapshots(d->blk, &now);
	memcpy(now.throttle, d->throttle_words, sizeof(now.throttle));
	if (d->throttle)
		now.throttled = blk_throttle_waiting(d->throttle);
	files_look(d->blk, &d->stop_looking, &now.files);
	now.taken_ns = loop_now_ns();
	/* What changed meanwhile is seen by the next one. */
	if (changes == d->look_changes) {
		pthread_mutex_lock(&d->job_lock);
		d->look = now;
		d->is_look_old = false;
		pthread_mutex_unlock(&d->job_lock);
	}
	ended(d, LOOK_IMAGE);
}

/* ---- when ---- */

static void begin(struct drive *d, unsigned what, co_fn *fn)
{
	if (d->looking & what || !d->blk || d->stop_looking)
		return;
	d->looking |= what;
	if (co_start(d->ctx, fn, d))
		ended(d, what);
}

void drive_look_if_wanted(struct drive *d)
{
	unsigned wanted;

	/* Relaxed: nothing but the wish itself. */
	if (!__atomic_load_n(&d->look_wanted, __ATOMIC_RELAXED))
		return;
	wanted = __atomic_exchange_n(&d->look_wanted, 0, __ATOMIC_RELAXED);
	if (wanted & LOOK_LAYERS)
		begin(d, LOOK_LAYERS, look_at_layers);
	if (wanted & LOOK_IMAGE)
		begin(d, LOOK_IMAGE, look_at_image);
}

void drive_look_stop(struct drive *d)
{
	d->stop_looking = true;
	while (d->looking)
		co_wait(&d->looked, NULL);
	d->stop_looking = false;
}

void drive_look_again(struct drive *d)
{
	d->look_changes++;
	pthread_mutex_lock(&d->job_lock);
	d->is_look_old = true;
	pthread_mutex_unlock(&d->job_lock);
}

void drive_look_forget(struct drive *d)
{
	drive_look_again(d);
	pthread_mutex_lock(&d->job_lock);
	d->look.taken_ns = d->layers_ns = 0;
	pthread_mutex_unlock(&d->job_lock);
}

static void want(struct drive *d, unsigned what)
{
	if (!(__atomic_fetch_or(&d->look_wanted, what, __ATOMIC_RELAXED) &
	      what))
		loop_post(d->loop, &d->bell->work);
}

static bool same_range(const struct layers_range *a,
		       const struct layers_range *b)
{
	return a->off == b->off && a->len == b->len &&
	       a->nr_cells == b->nr_cells && a->first == b->first;
}

void drive_layers_copy(struct drive *d, const struct layers_range *range,
		       uint64_t max_age_ns, struct layers *out)
{
	bool is_old;

	pthread_mutex_lock(&d->job_lock);
	*out = d->layers;
	d->look_at = *range;
	is_old = loop_now_ns() - d->layers_ns > max_age_ns ||
		 !same_range(range, &out->range);
	pthread_mutex_unlock(&d->job_lock);
	if (is_old)
		want(d, LOOK_LAYERS);
}

void drive_look_copy(struct drive *d, uint64_t max_age_ns,
		     struct drive_look *out)
{
	bool is_old;

	pthread_mutex_lock(&d->job_lock);
	*out = d->look;
	is_old =
		d->is_look_old || loop_now_ns() - d->look.taken_ns > max_age_ns;
	pthread_mutex_unlock(&d->job_lock);
	if (is_old)
		want(d, LOOK_IMAGE);
}
