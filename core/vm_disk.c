/*
 * What can be asked of a running machine's disks.
 *
 * Each call stops the world for the moment that it takes to begin, so that the
 * drive, which belongs to its own loop, may be touched from the main loop.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/blk/blk.h"
#include "core/blk/drive.h"
#include "core/blk/job.h"
#include "core/error.h"
#include "core/loop.h"
#include "core/vm_internal.h"
#include "core/world.h"

int vm_disk_change_medium(struct vm *vm, unsigned index, const char *path,
			  struct error *e)
{
	struct vm_disk *disk;
	int r;

	if (index >= vm->nr_disks || !vm->cfg.disks[index].cdrom)
		return error_set(e, -EINVAL,
				 "disk %u is not a CD-ROM drive: its medium "
				 "can't be changed",
				 index);
	disk = &vm->disks[index];
	/* The drive belongs to its loop, which is outside now. */
	world_stop(vm->m.world, loop_member(vm->m.main));
	r = drive_change_medium(disk->drive, *path ? path : NULL, e);
	world_resume(vm->m.world);
	if (r)
		return r;
	pthread_mutex_lock(&vm->lock);
	snprintf(disk->path, sizeof(disk->path), "%s", path);
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

const char *vm_cache_mode_help(unsigned i, char *text)
{
	return cache_mode_help(i, text);
}

/* ---- jobs ---- */

static int start(struct vm *vm, struct drive *drive, struct blk_job_config *cfg,
		 struct error *e)
{
	int r;

	world_stop(vm->m.world, loop_member(vm->m.main));
	r = drive_job_start(drive, cfg, e);
	world_resume(vm->m.world);
	return r;
}

static int commit(struct vm *vm, struct drive *drive, const char *arg,
		  struct error *e)
{
	struct blk_job_config cfg = {.kind = BLK_JOB_COMMIT};

	(void)arg;
	return start(vm, drive, &cfg, e);
}

static int stream(struct vm *vm, struct drive *drive, const char *arg,
		  struct error *e)
{
	struct blk_job_config cfg = {.kind = BLK_JOB_STREAM};

	(void)arg;
	return start(vm, drive, &cfg, e);
}

static int mirror(struct vm *vm, struct drive *drive, const char *arg,
		  struct error *e)
{
	struct blk_job_config cfg = {.kind = BLK_JOB_MIRROR, .path = arg};

	if (!*arg)
		return error_set(e, -EINVAL, "mirror PATH: name a new file");
	return start(vm, drive, &cfg, e);
}

enum order { ORDER_PAUSE, ORDER_RESUME, ORDER_CANCEL, ORDER_FINISH };

static int give_order(struct drive *drive, enum order order, struct error *e)
{
	struct blk_job *job = drive_job(drive);
	struct blk_job_status s;

	if (!job)
		return error_set(e, -ENOENT, "no job works on this disk");
	blk_job_status(job, &s);
	if (s.state >= BLK_JOB_DONE) {
		blk_job_put(job);
		return error_set(e, -ENOENT, "no job works on this disk: %s %s",
				 blk_job_kind_name(s.kind),
				 blk_job_state_name(s.state));
	}
	if (order == ORDER_PAUSE)
		blk_job_pause(job);
	else if (order == ORDER_RESUME)
		blk_job_resume(job);
	else if (order == ORDER_CANCEL)
		blk_job_cancel(job);
	else
		blk_job_complete(job, false);
	blk_job_put(job);
	return 0;
}

static int pause_job(struct vm *vm, struct drive *drive, const char *arg,
		     struct error *e)
{
	(void)vm;
	(void)arg;
	return give_order(drive, ORDER_PAUSE, e);
}

static int resume_job(struct vm *vm, struct drive *drive, const char *arg,
		      struct error *e)
{
	(void)vm;
	(void)arg;
	return give_order(drive, ORDER_RESUME, e);
}

static int cancel_job(struct vm *vm, struct drive *drive, const char *arg,
		      struct error *e)
{
	(void)vm;
	(void)arg;
	return give_order(drive, ORDER_CANCEL, e);
}

static int finish_job(struct vm *vm, struct drive *drive, const char *arg,
		      struct error *e)
{
	(void)vm;
	(void)arg;
	return give_order(drive, ORDER_FINISH, e);
}

/* ---- exports ---- */

static int export(struct vm *vm, struct drive *drive, const char *arg,
		  struct error *e)
{
	int r;

	world_stop(vm->m.world, loop_member(vm->m.main));
	r = drive_export(drive, arg, e);
	world_resume(vm->m.world);
	return r;
}

static int start_export(struct vm *vm, struct drive *drive, const char *arg,
			struct error *e)
{
	if (!*arg)
		return error_set(e, -EINVAL,
				 "export ADDRESS: as in "
				 "nbd+unix:///?socket=/run/disk.sock");
	return export(vm, drive, arg, e);
}

static int end_export(struct vm *vm, struct drive *drive, const char *arg,
		      struct error *e)
{
	(void)arg;
	return export(vm, drive, NULL, e);
}

/* ---- the list ---- */

static const struct verb {
	const char *name;
	int (*run)(struct vm *vm, struct drive *drive, const char *arg,
		   struct error *e);
} verbs[] = {
	{"commit", commit},	    {"stream", stream},
	{"mirror", mirror},	    {"pause", pause_job},
	{"resume", resume_job},	    {"cancel", cancel_job},
	{"finish", finish_job},	    {"export", start_export},
	{"end-export", end_export},
};
#define NR_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void list_verb(char *list, size_t room, const char *name)
{
	size_t n = strlen(list);

	snprintf(list + n, room - n, "%s%s", n ? ", " : "", name);
}

static bool is_verb(const char *name, const char *text, size_t len)
{
	return strlen(name) == len && !strncmp(name, text, len);
}

static int no_such_verb(struct error *e)
{
	char list[256] = "";

	for (unsigned i = 0; i < NR_VERBS; i++)
		list_verb(list, sizeof(list), verbs[i].name);
	for (const struct vm_disk_verb *v = vm_disk_actions; v->name; v++)
		list_verb(list, sizeof(list), v->name);
	return error_set(e, -EINVAL, "a disk can: %s", list);
}

int vm_disk_do(struct vm *vm, unsigned index, const char *text, struct error *e)
{
	size_t len = strcspn(text, " ");
	const char *arg = text + len + strspn(text + len, " ");

	if (index >= vm->nr_disks)
		return error_set(e, -EINVAL, "there is no disk %u", index);
	for (unsigned i = 0; i < NR_VERBS; i++) {
		if (!is_verb(verbs[i].name, text, len))
			continue;
		/* The image below is to stay as it is. */
		if (verbs[i].run == commit && vm->cfg.disks[index].scratch)
			return error_set(e, -EPERM,
					 "disk %u is a scratch disk: what is "
					 "written to it ends with the machine",
					 index);
		return verbs[i].run(vm, vm->disks[index].drive, arg, e);
	}
	for (const struct vm_disk_verb *v = vm_disk_actions; v->name; v++)
		if (is_verb(v->name, text, len))
			return v->run(vm, index, arg, e);
	return no_such_verb(e);
}
