#include "core/vm_disks.h"

#include <stdio.h>
#include <string.h>

#include "core/blk/cache_mode.h"
#include "core/blk/drive.h"
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

static void copy_flow(struct vm_disk_facts *f, struct drive *drive)
{
	struct drive_stats s;

	drive_stats_copy(drive, &s);
	f->flow[VM_DISK_READ].ops = s.reads;
	f->flow[VM_DISK_READ].bytes = s.read_bytes;
	f->flow[VM_DISK_WRITE].ops = s.writes;
	f->flow[VM_DISK_WRITE].bytes = s.write_bytes;
	f->flow[VM_DISK_FLUSH].ops = s.flushes;
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
	copy_flow(out, drive);
	return true;
}
