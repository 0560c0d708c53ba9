/*
 * What people do to a disk of a machine, beside jobs and exports (vm_disk.c).
 * Each stops the world, as those do; what it achieved is a note in e, whose
 * code is 0 then.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/blk/drive_actions.h"
#include "core/loop.h"
#include "core/vm_internal.h"
#include "core/world.h"

static struct drive *stop(struct vm *vm, unsigned index)
{
	world_stop(vm->m.world, loop_member(vm->m.main));
	return vm->disks[index].drive;
}

static int resume(struct vm *vm, int ret)
{
	world_resume(vm->m.world);
	return ret;
}

static struct device *device_of(struct vm *vm, unsigned index)
{
	return device_find(&vm->m, vm->disks[index].name);
}

static int need(const char *arg, const char *usage, struct error *e)
{
	return *arg ? 0 : error_set(e, -EINVAL, "%s", usage);
}

/* ---- flush and write cache ---- */

static int flush(struct vm *vm, unsigned index, const char *arg,
		 struct error *e)
{
	int ret = resume(vm, drive_flush_now(stop(vm, index), e));

	(void)arg;
	return ret ? ret : error_set(e, 0, "what was written is stable");
}

/* True when the guest's driver hears of it. */
static bool tell_wce(struct vm *vm, unsigned index, bool on, struct error *e)
{
	struct device *dev = device_of(vm, index);

	if (dev && dev->cls->disk_set_wce)
		return !dev->cls->disk_set_wce(dev, on, e);
	error_set(e, -EOPNOTSUPP, "a %s can't tell its driver",
		  dev ? dev->cls->name : "disk");
	return false;
}

static int wce_off(struct vm *vm, unsigned index, struct drive *drive,
		   struct error *e)
{
	struct error ignored = {0};
	bool was = drive_wce(drive);
	int ret = drive_force_wce_off(drive, true, e);

	if (ret)
		return ret;
	if (was && tell_wce(vm, index, false, &ignored))
		return error_set(e, 0,
				 "each write is made stable from now "
				 "on, and the guest knows");
	return error_set(e, 0, "each write is made stable from now on");
}

static int wce_on(struct vm *vm, unsigned index, struct drive *drive,
		  struct error *e)
{
	if (drive_force_wce_off(drive, false, e))
		return e->code;
	if (drive_wce(drive))
		return error_set(e, 0,
				 "the guest's own setting counts again: "
				 "on");
	/* It counts on stable writes: only with its knowledge. */
	if (!tell_wce(vm, index, true, e))
		return error_prefix(e, -EOPNOTSUPP,
				    "the write cache stays off, as the guest "
				    "has it");
	return error_set(e, 0, "the guest has a write cache now");
}

static int wce(struct vm *vm, unsigned index, const char *arg, struct error *e)
{
	bool on = !strcmp(arg, "on");
	struct drive *drive;

	if (!on && strcmp(arg, "off") != 0)
		return error_set(e, -EINVAL, "wce on, or wce off");
	drive = stop(vm, index);
	return resume(vm, on ? wce_on(vm, index, drive, e)
			     : wce_off(vm, index, drive, e));
}

/* ---- length ---- */

static int grow(struct vm *vm, unsigned index, uint64_t len, struct error *e)
{
	struct device *dev = device_of(vm, index);
	int ret = drive_grow(stop(vm, index), len, e);

	if (ret)
		return resume(vm, ret);
	if (dev && dev->cls->disk_resized && dev->cls->disk_resized(dev))
		return resume(vm, error_set(e, 0,
					    "the guest is told of the "
					    "new length"));
	return resume(vm, error_set(e, 0,
				    "the guest sees the new length when "
				    "it looks again"));
}

static int resize(struct vm *vm, unsigned index, const char *arg,
		  struct error *e)
{
	bool is_more = *arg == '+';
	uint64_t len;
	int ret = need(arg, "resize SIZE: as in 20G or +1G", e);

	if (!ret)
		ret = vm_parse_size(arg + is_more, &len, e);
	if (ret)
		return ret;
	if (is_more && __builtin_add_overflow(
			       len, drive_len(vm->disks[index].drive), &len))
		return error_set(e, -EFBIG, "no image can be that long");
	return grow(vm, index, len, e);
}

/* ---- snapshots ---- */

static int on_snapshot(struct vm *vm, unsigned index, enum blk_snapshot_op op,
		       const char *name, const char *now, struct error *e)
{
	int ret = resume(vm, drive_snapshot(stop(vm, index), op, name, e));

	return ret ? ret : error_set(e, 0, "the snapshot '%s' %s", name, now);
}

static int snapshot(struct vm *vm, unsigned index, const char *name,
		    struct error *e)
{
	int ret = need(name, "snapshot NAME", e);

	return ret ? ret
		   : on_snapshot(vm, index, BLK_SNAPSHOT_CREATE, name,
				 "is in the image", e);
}

static int delete_snapshot(struct vm *vm, unsigned index, const char *name,
			   struct error *e)
{
	int ret = need(name, "delete-snapshot NAME", e);

	return ret ? ret
		   : on_snapshot(vm, index, BLK_SNAPSHOT_DELETE, name,
				 "is gone", e);
}

/* A guest keeps in memory what it read from its disk. */
static bool no_guest_runs(struct vm *vm)
{
	bool ret;

	pthread_mutex_lock(&vm->lock);
	ret = vm->state == VM_OFF || (!vm->started_ns && !vm->ran_ns);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

static int apply_snapshot(struct vm *vm, unsigned index, const char *name,
			  struct error *e)
{
	int ret = need(name, "apply-snapshot NAME", e);

	if (ret)
		return ret;
	if (!no_guest_runs(vm))
		return error_set(e, -EBUSY,
				 "the guest would not know that its disk is "
				 "another one: power it off first");
	return on_snapshot(vm, index, BLK_SNAPSHOT_APPLY, name,
			   "is what the disk holds now", e);
}

static void set_path(struct vm *vm, unsigned index, const char *path)
{
	struct vm_disk *disk = &vm->disks[index];

	pthread_mutex_lock(&vm->lock);
	snprintf(disk->path, sizeof(disk->path), "%s", path);
	pthread_mutex_unlock(&vm->lock);
}

static int overlay(struct vm *vm, unsigned index, const char *path,
		   struct error *e)
{
	int ret = need(path, "overlay PATH: name a new file", e);

	if (!ret)
		ret = resume(vm, drive_overlay(stop(vm, index), path, e));
	if (ret)
		return ret;
	set_path(vm, index, path);
	return error_set(e, 0, "what the guest writes goes to '%s' now", path);
}

/* ---- media, limits ---- */

static int medium(struct vm *vm, unsigned index, const char *path,
		  struct error *e)
{
	int ret = need(path, "medium PATH", e);

	return ret ? ret : vm_disk_change_medium(vm, index, path, e);
}

static int eject(struct vm *vm, unsigned index, const char *arg,
		 struct error *e)
{
	(void)arg;
	return vm_disk_change_medium(vm, index, "", e);
}

static int throttle(struct vm *vm, unsigned index, const char *words,
		    struct error *e)
{
	int ret = need(words,
		       "throttle off, or limits as in iops-total=100 "
		       "bps-read=1M",
		       e);

	if (ret)
		return ret;
	if (!strcmp(words, "off"))
		words = NULL;
	return resume(vm, drive_throttle(stop(vm, index), words, e));
}

const struct vm_disk_verb vm_disk_actions[] = {
	{"flush", flush},
	{"wce", wce},
	{"resize", resize},
	{"snapshot", snapshot},
	{"delete-snapshot", delete_snapshot},
	{"apply-snapshot", apply_snapshot},
	{"overlay", overlay},
	{"medium", medium},
	{"eject", eject},
	{"throttle", throttle},
	{0},
};
