/*
 * vm_internal: what the files that put a machine together share.
 *
 *   vm.c           life: create, destroy, commands, events
 *   vm_build*.c    from a description to parts, and back to nothing
 *   vm_disk_errors.c  disks on which the host failed
 *   vm_power.c     cutting the power
 *   vm_run.c       start, pause, reset, power, crash
 *   vm_snapshot.c  copies for front ends
 *   vm_state.c     save, load, RAM copy
 *   vm_config*.c   the description
 *
 * Thread rule: everything here on the main loop, or before it started, unless
 * marked [any]; what several threads see is under vm->lock, a leaf.
 */
#ifndef CORE_VM_INTERNAL_H
#define CORE_VM_INTERNAL_H

#include <pthread.h>

#include "core/device.h"
#include "core/error.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/vcpu_state.h"
#include "core/vm.h"
#include "core/vm_power.h"

#define VM_MAX_EVENTS 256

struct drive_config;
struct vcpu_set;

struct vm_disk {
	char name[32];
	char path[VM_PATH_LEN]; /* of the medium; under vm->lock */
	struct drive *drive;
	char boot_path[64]; /* as firmware names it */
};

/* A command on its way; freed when done unless someone waits for it. */
struct vm_job {
	struct vm_job *next;
	uint64_t id;
	struct vm_command cmd;
	bool waited, done;
	struct error e;
};

/* Bits of vm->requests. */
enum {
	VM_REQUEST_RESET = 1 << MACHINE_RESET,
	VM_REQUEST_POWEROFF = 1 << MACHINE_POWEROFF,
	VM_REQUEST_SLEEP = 1 << MACHINE_SLEEP,
	VM_REQUEST_EXIT = 1 << MACHINE_EXIT
};

struct vm {
	struct vm_config cfg; /* immutable */
	struct log *log, *own_log;
	struct machine m;
	uint64_t created_ns;

	/* Parts. */
	struct vcpu_set *vcpus;
	struct serial_line *com1;
	struct ram_block *ram, *rom;
	struct region low, high, flash;
	struct vm_disk disks[VM_MAX_DISKS];
	unsigned nr_disks;
	/* A disk's own, or of the controller that it sits on. */
	struct loop *disk_loops[VM_MAX_DISKS];
	unsigned nr_disk_loops;
	struct chipset_state power_on; /* of the engine's chips */

	/* The main loop's own. */
	struct loop_work command_work, request_work, crash_work, disk_work;
	struct loop_fd wanted_watch;
	struct loop_timer refresh_timer;
	int refresh_hz;
	bool needs_cold_start;

	unsigned requests; /* atomic: what the guest asked for */
	int exit_value;	   /* atomic */

	pthread_mutex_t lock; /* protects all that follows */
	pthread_cond_t done;
	struct vm_job *jobs; /* oldest first */
	uint64_t last_job;
	struct vm_event events[VM_MAX_EVENTS];
	uint64_t last_event;
	int event_fd;
	enum vm_state state; /* written by the main loop only */
	char message[2048];
	bool crashed; /* message waits for the main loop */
	uint64_t started_ns, ran_ns;
	unsigned resets;
	int exit_code;
	struct vm_power_cut cut; /* the last one */
};

/* ---- vm.c ---- */

/* [any] Appends an event in the machine's present state. */
void vm_event_add(struct vm *vm, enum vm_event_kind kind, uint64_t command,
		  int code, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* ---- vm_disk.c ---- */

/* VM_CMD_CHANGE_MEDIUM and VM_CMD_DISK; main loop. */
int vm_disk_change_medium(struct vm *vm, unsigned index, const char *path,
			  struct error *e);
int vm_disk_do(struct vm *vm, unsigned index, const char *text,
	       struct error *e);

/* ---- vm_disk_errors.c ---- */

/* Fills in what becomes of failed requests; 0 or -errno with the reason. */
int vm_disk_error_choices(const struct vm_disk_config *cfg,
			  struct drive_config *dc, struct error *e);
/* From now on a disk may pause the machine. */
void vm_disk_listen(struct vm *vm, unsigned index);
/* [any] False when no request is kept on the disk; else why, for people. */
bool vm_disk_trouble(struct vm *vm, unsigned index, char *text, size_t room);
/* [any] The same for the first disk that has any. */
bool vm_any_disk_trouble(struct vm *vm, char *text, size_t room);
/* Kept requests are done again. */
void vm_disks_retry(struct vm *vm);
/* World stopped; on: kept requests end unheard, as do those that fail until it
 * is off again: the guest that made them is going. */
void vm_disks_give_up(struct vm *vm, bool on);
/* 0, or -EBUSY with a sentence where requests are kept. */
int vm_disks_check_kept(struct vm *vm, struct error *e);

/* ---- vm_power.c ---- */

/* VM_CMD_CUT_POWER; main loop. */
int vm_cut_power(struct vm *vm, const char *text, struct error *e);

/* ---- vm_disk_actions.c ---- */

/* "verb argument", as VM_CMD_DISK has it.  On success e may hold a note for
 * people, with code 0. */
struct vm_disk_verb {
	const char *name;
	int (*run)(struct vm *vm, unsigned index, const char *arg,
		   struct error *e);
};
extern const struct vm_disk_verb vm_disk_actions[]; /* a NULL name ends it */

/* ---- vm_build.c ---- */

/* 0, or -errno with the reason; vm_unbuild takes back what was made. */
int vm_build(struct vm *vm, struct error *e);
/* Stops, drains and frees all parts; the calling thread is none of ours. */
void vm_unbuild(struct vm *vm);
/* Makes a device of the class; args: NULL for one that needs none. */
struct device *vm_add_device(struct vm *vm, const char *cls, const char *name,
			     struct device_args *args, struct error *e);

/* ---- vm_build_disks.c ---- */

/* What vm->cfg says of disks; 0 or -errno with the reason. */
int vm_build_disks(struct vm *vm, struct error *e);
/* Tells the firmware which disk comes first: as in vm->cfg.boot_order, those of
 * a kind as they are in vm->cfg. */
int vm_add_boot_order(struct vm *vm, const char *order, struct error *e);

/* ---- vm_run.c ---- */

/* Power-on state of everything, with the vCPUs paused. */
int vm_reset_parts(struct vm *vm, struct error *e);
/* Nothing of the guest runs any more, without an end to what it did: then fn,
 * with the world stopped, and a cold start. */
int vm_power_cycle(struct vm *vm, int (*fn)(void *arg, struct error *e),
		   void *arg, struct error *e);
/* What a command asks for; 0 or -errno with the reason. */
int vm_do(struct vm *vm, const struct vm_command *cmd, struct error *e);
/* Callbacks of works and of the vCPUs. */
void vm_on_requests(void *arg);
void vm_on_crash(void *arg);
void vm_on_disk_trouble(void *arg);
void vm_vcpu_crashed(void *arg, unsigned index, bool triple_fault,
		     const char *text);
void vm_machine_request(struct machine *m, enum machine_request what,
			int value);
/* Starts to refresh the display at the rate that viewers want. */
int vm_refresh_start(struct vm *vm, struct error *e);
void vm_refresh_stop(struct vm *vm);

static inline struct vm *vm_of(struct machine *m)
{
	return (struct vm *)((char *)m - offsetof(struct vm, m));
}

#endif
