#include "core/vm_disks.h"

#include <assert.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/blk/cache_mode.h"
#include "core/blk/drive_errors.h"
#include "core/blk/drive_look.h"
#include "core/blk/drive_stats.h"
#include "core/vm_internal.h"

/* ---- files, page cache, snapshots ---- */

/* How old what is shown of them may be. */
#define LOOK_AGE_NS 1000000000u

static void copy_file(struct vm_disk_facts *f, const struct file_facts *in,
		      struct vm_disk_file *out)
{
	memcpy(out->path, in->path, sizeof(out->path));
	out->layer = in->layer;
	out->flags = in->flags;
	out->direct = in->flags >= 0 && in->flags & O_DIRECT;
	out->writable = in->flags >= 0 && (in->flags & O_ACCMODE) != O_RDONLY;
	out->is_device = in->is_device;
	out->len = in->len;
	out->cache_known =
		in->source != PAGE_CACHE_UNKNOWN && in->looked >= in->len;
	out->dirty_known =
		out->cache_known && in->source == PAGE_CACHE_CACHESTAT;
	out->cached = in->cache.cached;
	out->dirty = in->cache.dirty;
	f->cached += out->cached;
	f->dirty += out->dirty;
	/* Another host's files have no pages here. */
	if (in->flags < 0)
		return;
	f->cache_known = f->cache_known && out->cache_known;
	f->dirty_known = f->dirty_known && out->dirty_known;
	if (in->source != PAGE_CACHE_UNKNOWN)
		snprintf(f->cache_source, sizeof(f->cache_source), "%s",
			 page_cache_source_name(in->source));
}

static void copy_snapshots(struct vm_disk_facts *f,
			   const struct drive_look *look)
{
	f->can_snapshot = look->can_snapshot;
	f->all_snapshots = look->all_snapshots;
	f->nr_snapshots = look->nr_snapshots;
	for (unsigned i = 0; i < look->nr_snapshots; i++) {
		const struct drive_look_snapshot *in = &look->snapshots[i];
		struct vm_disk_snapshot *out = &f->snapshots[i];

		memcpy(out->id, in->id, sizeof(out->id));
		memcpy(out->name, in->name, sizeof(out->name));
		out->date_sec = in->date_sec;
		out->vm_state_len = in->vm_state_len;
		out->disk_len = in->disk_len;
	}
}

static void copy_look(struct vm_disk_facts *f, const struct drive_look *look)
{
	static_assert(VM_DISK_FILES == FILES_MAX, "as many files");
	static_assert(VM_DISK_SNAPSHOTS == DRIVE_LOOK_SNAPSHOTS,
		      "as many snapshots");
	uint64_t now = loop_now_ns();

	if (!look->taken_ns)
		return;
	f->looked_age_ns = now > look->taken_ns ? now - look->taken_ns : 1;
	f->all_files = look->files.total;
	f->nr_files = look->files.nr;
	f->cache_known = f->dirty_known = f->nr_files == f->all_files;
	for (unsigned i = 0; i < f->nr_files; i++)
		copy_file(f, &look->files.file[i], &f->files[i]);
	copy_snapshots(f, look);
	memcpy(f->throttle, look->throttle, sizeof(f->throttle));
	f->throttled = look->throttled;
}

/* ---- what people chose, and what is so ---- */

static void copy_wanted(struct vm_disk_facts *f, const struct vm_disk_config *c,
			struct drive *drive)
{
	const struct cache_mode *mode;
	enum drive_preset preset;

	if (drive_preset_parse(c->cache, &preset, NULL))
		return;
	/* What is usual where there is no write cache. */
	if (!*c->cache && !drive_may_cache(drive))
		preset = DRIVE_WRITETHROUGH;
	mode = &cache_modes[preset];
	snprintf(f->wanted.cache, sizeof(f->wanted.cache), "%s", mode->name);
	snprintf(f->wanted.aio, sizeof(f->wanted.aio), "%s",
		 *c->aio ? c->aio : "threads");
	f->wanted.direct = mode->direct;
	f->wanted.no_flush = mode->ignore_flush;
	f->wanted.wce = mode->wce;
}

/* As the file says into which the guest writes. */
static void copy_now(struct vm_disk_facts *f, struct drive *drive,
		     const struct drive_look *look)
{
	const struct file_facts *top = &look->files.file[0];

	f->now = f->wanted;
	f->now.wce = drive_wce_now(drive);
	f->wce_forced_off = drive_wce(drive) && !f->now.wce;
	if (look->taken_ns && look->files.nr && top->flags >= 0) {
		f->now.direct = top->flags & O_DIRECT;
		f->now.no_flush = top->no_flush;
		snprintf(f->now.aio, sizeof(f->now.aio), "%s", top->aio);
	}
	*f->now.cache = '\0';
	for (unsigned i = 0; i < DRIVE_NR_PRESETS; i++) {
		const struct cache_mode *m = &cache_modes[i];

		if (m->direct == f->now.direct && m->wce == f->now.wce &&
		    m->ignore_flush == f->now.no_flush)
			snprintf(f->now.cache, sizeof(f->now.cache), "%s",
				 m->name);
	}
}

static void say(struct vm_disk_facts *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct vm_disk_facts *f, const char *fmt, ...)
{
	va_list ap;

	if (f->nr_differs == VM_DISK_DIFFERS)
		return;
	va_start(ap, fmt);
	vsnprintf(f->differs[f->nr_differs++], sizeof(f->differs[0]), fmt, ap);
	va_end(ap);
}

static void compare_wce(struct vm_disk_facts *f)
{
	if (f->wanted.wce == f->now.wce || f->readonly)
		return;
	if (f->now.wce)
		say(f, "the guest turned its write cache on");
	else if (f->wce_forced_off)
		say(f, "the write cache is off, as it was asked for");
	else if (f->driver_known && f->driver.started && !f->driver.flush)
		say(f, "the guest's driver can't flush: each write is made "
		       "stable");
	else
		say(f, "the write cache is off: each write is made stable");
}

static void compare(struct vm_disk_facts *f)
{
	compare_wce(f);
	if (strcmp(f->wanted.aio, f->now.aio) != 0)
		say(f, "AIO goes by %s", f->now.aio);
	for (unsigned i = 0; i < f->nr_files; i++) {
		const struct vm_disk_file *file = &f->files[i];
		const char *slash = strrchr(file->path, '/');

		if (file->flags >= 0 && file->direct != f->wanted.direct)
			say(f, "'%.80s' is open %s O_DIRECT",
			    slash ? slash + 1 : file->path,
			    file->direct ? "with" : "without");
	}
}

static void copy_fates(struct vm_disk_facts *f, const struct vm_disk_config *c)
{
	bool is_raw = !c->scratch && strcmp(c->format, "qcow2") != 0;
	struct cache_mode mode = {
		.direct = f->now.direct,
		.ignore_flush = f->now.no_flush,
	};

	for (int i = 0; i < CACHE_NR_EVENTS; i++) {
		enum cache_fate fate = cache_fate(&mode, f->now.wce, is_raw, i);

		f->after[i].event = cache_event_name(i);
		f->after[i].text = cache_fate_text(fate);
		f->after[i].bad = fate == CACHE_NOTHING;
	}
}

/* ---- what the driver accepted ---- */

static void copy_driver(struct vm_disk_facts *f, struct vm *vm,
			const char *name)
{
	struct device *dev = device_find(&vm->m, name);

	if (!dev)
		return;
	snprintf(f->device, sizeof(f->device), "%s", dev->cls->name);
	f->driver_known = dev->cls->disk_driver != NULL;
	if (f->driver_known)
		dev->cls->disk_driver(dev, &f->driver);
}

/* ---- requests ---- */

static void copy_flow(const struct drive_flow *in, struct vm_disk_flow *out)
{
	static_assert(VM_DISK_BUCKETS == DRIVE_BUCKETS, "the same buckets");
	out->in_flight = (unsigned)in->in_flight;
	out->ops = in->ops;
	out->bytes = in->bytes;
	out->failed = in->failed;
	out->total_ns = in->total_ns;
	out->max_ns = in->max_ns;
	memcpy(out->latency, in->latency, sizeof(out->latency));
}

static void copy_requests(struct vm_disk_facts *f, struct drive *drive)
{
	static const enum vm_disk_kind kinds[DRIVE_NR_OPS] = {
		[DRIVE_READ] = VM_DISK_READ,
		[DRIVE_WRITE] = VM_DISK_WRITE,
		[DRIVE_FLUSH] = VM_DISK_FLUSH,
		[DRIVE_DISCARD] = VM_DISK_DISCARD,
		[DRIVE_WRITE_ZEROES] = VM_DISK_ZERO,
	};
	struct drive_facts d;

	drive_facts_copy(drive, &d);
	for (unsigned i = 0; i < DRIVE_NR_OPS; i++)
		copy_flow(&d.flow[i], &f->flow[kinds[i]]);
	f->host_flushes = d.host_flushes;
	f->merged_flushes = d.merged_flushes;
	f->own_flushes = d.own_flushes;
	f->unflushed_writes = d.unflushed_writes;
	f->unflushed_bytes = d.unflushed_bytes;
	f->unflushed_age_ns = d.unflushed_age_ns;
	f->max_unflushed_age_ns = d.max_unflushed_ns;
	f->last_flush_age_ns = d.last_flush_age_ns;
	f->never_flushes = d.never_flushes;
	f->never_flush_after_ns = d.never_flush_ns;
	f->sync_failed = d.sync_failed;
}

static void copy_errors(struct vm_disk_facts *f, struct vm *vm, unsigned index)
{
	const struct vm_disk_config *c = &vm->cfg.disks[index];
	struct drive_trouble t;

	drive_trouble_copy(vm->disks[index].drive, &t);
	f->kept = t.kept;
	f->ignored = t.ignored;
	vm_disk_trouble(vm, index, f->kept_why, sizeof(f->kept_why));
	snprintf(f->werror, sizeof(f->werror), "%s",
		 *c->werror ? c->werror : "enospc");
	snprintf(f->rerror, sizeof(f->rerror), "%s",
		 *c->rerror ? c->rerror : "report");
}

bool vm_disk_facts_copy(struct vm *vm, unsigned index,
			struct vm_disk_facts *out)
{
	const struct vm_disk_config *c;
	struct drive_look look;
	struct drive *drive;

	memset(out, 0, sizeof(*out));
	if (index >= vm->nr_disks)
		return false;
	c = &vm->cfg.disks[index];
	drive = vm->disks[index].drive;
	out->is_cdrom = c->cdrom;
	out->scratch = c->scratch;
	out->readonly = drive_readonly(drive);
	out->has_medium = drive_has_medium(drive);
	out->len = drive_len(drive);
	drive_look_copy(drive, LOOK_AGE_NS, &look);
	copy_look(out, &look);
	copy_driver(out, vm, vm->disks[index].name);
	copy_requests(out, drive);
	copy_errors(out, vm, index);
	copy_wanted(out, c, drive);
	copy_now(out, drive, &look);
	compare(out);
	copy_fates(out, c);
	return true;
}
