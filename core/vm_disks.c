#include "core/vm_disks.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/blk/cache_mode.h"
#include "core/blk/drive_stats.h"
#include "core/vm_internal.h"

const char *vm_disk_kind_name(enum vm_disk_kind kind)
{
	static const char *const names[VM_DISK_NR_KINDS] = {
		[VM_DISK_READ] = "read",	 [VM_DISK_WRITE] = "write",
		[VM_DISK_FLUSH] = "flush",	 [VM_DISK_DISCARD] = "discard",
		[VM_DISK_ZERO] = "write zeroes",
	};

	return names[kind];
}

/* ---- what people chose, and what is so ---- */

static void copy_modes(struct vm_disk_facts *f, const struct vm_disk_config *c,
		       struct drive *drive)
{
	const struct cache_mode *mode;
	enum drive_preset preset;

	if (drive_preset_parse(c->cache, &preset, NULL))
		return;
	mode = &cache_modes[preset];
	snprintf(f->wanted.cache, sizeof(f->wanted.cache), "%s", mode->name);
	snprintf(f->wanted.aio, sizeof(f->wanted.aio), "%s",
		 *c->aio ? c->aio : "threads");
	f->wanted.direct = mode->direct;
	f->wanted.no_flush = mode->ignore_flush;
	f->wanted.wce = mode->wce;
	f->now = f->wanted;
	f->now.wce = drive_wce(drive);
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

bool vm_disk_facts_copy(struct vm *vm, unsigned index,
			struct vm_disk_facts *out)
{
	const struct vm_disk_config *c;
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
	copy_modes(out, c, drive);
	copy_fates(out, c);
	copy_driver(out, vm, vm->disks[index].name);
	copy_requests(out, drive);
	return true;
}
