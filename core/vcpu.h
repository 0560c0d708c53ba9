/*
 * vcpu: the threads that run guest code.
 *
 * Each vCPU is a thread that enters the world, lets the engine run, serves
 * its port and memory accesses through the bus, and leaves when kicked.
 *
 * Thread rule: create and destroy by the thread that builds the machine;
 * pause, resume and state from the main loop; status [any].
 */
#ifndef CORE_VCPU_H
#define CORE_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/accel.h"

struct bus;
struct error;
struct vcpu;
struct vcpu_set;
struct world;

enum vcpu_run_state {
	VCPU_PAUSED,
	VCPU_RUNNING,
	VCPU_WAITING_SIPI,
	VCPU_CRASHED
};

struct vcpu_status {
	enum vcpu_run_state state;
	uint64_t exits, pio, mmio, kicks; /* so far */
	uint64_t cpu_ns;		  /* of the thread */
	uint64_t rip;			  /* when last stopped */
};

/* A vCPU met its end: text explains (registers, instruction bytes); runs on
 * the vCPU's thread, outside the world, which then sleeps until reset.
 * is_reset: a triple fault, which a PC answers with a reset. */
typedef void vcpu_crash_fn(void *arg, unsigned index, bool triple_fault,
			   const char *text);

/* nr (1..16) paused vCPUs; NULL with the reason in e. */
struct vcpu_set *vcpu_set_create(const struct accel_ops *accel,
				 struct accel_vm *vm, struct world *world,
				 struct bus *bus, unsigned nr,
				 vcpu_crash_fn *crash, void *arg,
				 struct error *e);
void vcpu_set_destroy(struct vcpu_set *set); /* stops them; NULL is fine */
unsigned vcpu_set_count(const struct vcpu_set *set);

/* Returns when no vCPU runs guest code or a handler / lets them go.  The
 * caller may be inside the world (it counts as outside while it waits: the
 * memory map may change), but must not have it stopped. */
void vcpu_set_pause(struct vcpu_set *set);
void vcpu_set_resume(struct vcpu_set *set);
/* Paused: power-on state (the boot CPU at the reset vector, others waiting
 * for a SIPI). */
int vcpu_set_reset(struct vcpu_set *set, struct error *e);
/* Paused: all guest-visible state of one vCPU. */
int vcpu_state_copy(struct vcpu_set *set, unsigned index, enum accel_dir dir,
		    struct vcpu_state *state, struct error *e);
void vcpu_status_copy(struct vcpu_set *set, unsigned index,
		      struct vcpu_status *out);

#endif
