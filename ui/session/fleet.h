/*
 * fleet: the machines of a session, running or only described by a file.
 *
 * Making and destroying a machine can take long (memory, disks to drain), so
 * a helper thread does it and the fleet hears of the result through its wake
 * fd.  Everything else is copies and posted commands.
 *
 * Thread rule: the front end's thread.
 */
#ifndef UI_SESSION_FLEET_H
#define UI_SESSION_FLEET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/vm.h"

struct log;
struct recorder;
struct vnc;

#define FLEET_HISTORY 64

enum machine_life {
	MACHINE_IDLE,	  /* only a description */
	MACHINE_STARTING, /* being made by a helper thread */
	MACHINE_LIVE,	  /* vm is there */
};

struct machine {
	char id[64];	 /* unique in the fleet; what people type */
	char path[1024]; /* its file; empty when it came from options */
	struct vm_config config;
	struct error broken; /* code != 0: the file can't be used, and why */
	enum machine_life life;
	struct vm *vm;		   /* MACHINE_LIVE */
	struct vm_status status;   /* as of the last fleet_refresh */
	struct recorder *recorder; /* of the serial line, NULL: none */
	struct vnc *vnc;	   /* NULL: none */
	uint64_t last_event;
	char note[320]; /* why it didn't start, what its last event said */
	bool note_is_bad;
	/* Per second, newest last. */
	uint64_t cpu_permille[FLEET_HISTORY], exits[FLEET_HISTORY];
	int nr_history;
	uint64_t sampled_ns, sampled_cpu_ns, sampled_exits;
};

struct fleet;

/* What the fleet tells its owner: a sentence about a machine. */
typedef void fleet_say_fn(void *arg, struct machine *m, bool bad,
			  const char *text);

/* NULL when memory is short.  log may be NULL. */
struct fleet *fleet_create(struct log *log, fleet_say_fn *say, void *arg);
/* Powers everything off, waits for it, frees. */
void fleet_destroy(struct fleet *f);

/* Reads every *.json in dir; files that vanished go when they are idle, new
 * ones come, sorted by name. */
void fleet_scan(struct fleet *f, const char *dir);
/* The folder of machine files: $XDG_CONFIG_HOME/binnacle/machines; made and
 * filled with share/machines/ *.json when it isn't there. */
int fleet_folder(char *buf, size_t len, const char *share, struct error *e);
/* Adds a machine from options; the id is made unique. */
struct machine *fleet_add(struct fleet *f, const struct vm_config *cfg);
/* The machine whose file says the same as cfg, NULL when there is none. */
struct machine *fleet_same(const struct fleet *f, const struct vm_config *cfg);
/* Removes an idle or powered-off machine, and its file. 0 or -errno. */
int fleet_delete(struct fleet *f, struct machine *m, struct error *e);

unsigned fleet_count(const struct fleet *f);
struct machine *fleet_at(const struct fleet *f, unsigned i);
struct machine *fleet_find(const struct fleet *f, const char *id);
/* Position of m, -1 when it is not there. */
int fleet_index(const struct fleet *f, const struct machine *m);
/* Machines that are starting, running or paused. */
unsigned fleet_active(const struct fleet *f);

/* Makes the machine if needed and lets it run; the outcome is said. 0 or
 * -errno when it can't even begin.  A stopped machine's file is read anew, and
 * its vm may be replaced: nobody may hold on to it. */
int fleet_start(struct fleet *f, struct machine *m, struct error *e);
/* Posts a command to a live machine. 0 or -ESRCH. */
int fleet_command(struct fleet *f, struct machine *m, enum vm_command_kind kind,
		  unsigned index, const char *text, struct error *e);

/* Reads new events of all machines and results of helpers, says what they
 * say, and copies status.  True when anything a screen shows has changed. */
bool fleet_refresh(struct fleet *f);
/* Once a second: extends the histories. */
void fleet_sample(struct fleet *f);
/* fds to poll for input before fleet_refresh; returns how many of max. */
int fleet_fds(struct fleet *f, int *fds, int max);

/* "running", "off", "not started", ...: static text. */
const char *machine_state_text(const struct machine *m);
/* Why it paused by itself, and what to do; "" where it did not. */
const char *machine_reason(const struct machine *m);
/* True when it is off or was never made. */
bool machine_is_stopped(const struct machine *m);
/* True when its time stands still until it is let go on. */
bool machine_is_paused(const struct machine *m);
/* True when the guest executes instructions. */
bool machine_is_running(const struct machine *m);

#endif
