/*
 * Disks on which the host could not do what the guest asked for: the machine
 * pauses, says why, and does it again when it goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/blk/drive_errors.h"
#include "core/error.h"
#include "core/loop.h"
#include "core/vm_internal.h"
#include "core/world.h"

static void on_trouble(void *arg)
{
	struct vm *vm = arg;

	loop_post(vm->m.main, &vm->disk_work);
}

int vm_disk_error_choices(const struct vm_disk_config *cfg,
			  struct drive_config *dc, struct error *e)
{
	int r = drive_werror_parse(cfg->werror, &dc->on_write_error, e);

	return r ? r : drive_rerror_parse(cfg->rerror, &dc->on_read_error, e);
}

void vm_disk_listen(struct vm *vm, unsigned i)
{
	drive_listen(vm->disks[i].drive, on_trouble, vm);
}

bool vm_disk_trouble(struct vm *vm, unsigned i, char *text, size_t room)
{
	const char *todo = "put that right and resume";
	struct drive_trouble t;

	drive_trouble_copy(vm->disks[i].drive, &t);
	if (!t.kept)
		return false;
	if (t.is_lost)
		todo = "written data may be lost; resume tells the guest";
	else if (t.error == ENOSPC || t.error == EDQUOT)
		todo = "make room and resume";
	snprintf(text, room, "%s: %s failed: %s: %s", vm->disks[i].name,
		 drive_op_name(t.op), strerror(t.error), todo);
	return true;
}

bool vm_any_disk_trouble(struct vm *vm, char *text, size_t room)
{
	for (unsigned i = 0; i < vm->nr_disks; i++)
		if (vm_disk_trouble(vm, i, text, room))
			return true;
	return false;
}

void vm_disks_retry(struct vm *vm)
{
	world_stop(vm->m.world, loop_member(vm->m.main));
	for (unsigned i = 0; i < vm->nr_disks; i++)
		drive_retry(vm->disks[i].drive);
	world_resume(vm->m.world);
}

void vm_disks_give_up(struct vm *vm, bool on)
{
	for (unsigned i = 0; i < vm->nr_disks; i++)
		if (vm->disks[i].drive)
			drive_give_up(vm->disks[i].drive, on);
}

int vm_disks_check_kept(struct vm *vm, struct error *e)
{
	char why[192];

	if (!vm_any_disk_trouble(vm, why, sizeof(why)))
		return 0;
	return error_set(e, -EBUSY,
			 "requests wait on a disk, and would be lost to the "
			 "guest (%s)",
			 why);
}
