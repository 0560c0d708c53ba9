/*
 * world: stopping everything that looks things up without a lock.
 *
 * A participant (a vCPU thread, an I/O loop, the main loop) is inside the
 * world while it may hold pointers into the memory map or the bus; it is
 * outside while it sleeps.  With the world stopped nobody but the stopper is
 * inside, and the map may change: running code therefore reads it lock-free.
 *
 * Thread rule: enter and leave by the participant's own thread; stop and
 * resume by any participant (it counts as stopped itself) or by a thread that
 * takes no part.  Two stoppers take turns; the second one counts as outside
 * while it waits.  Never stop the world while holding a device lock: a
 * participant that waits for that lock can't leave.
 */
#ifndef CORE_WORLD_H
#define CORE_WORLD_H

#include <stdbool.h>

struct world;

struct world_member {
	struct world_member *next;
	/* Makes the member leave soon, from another thread; NULL when the
	 * member always leaves by itself within microseconds. */
	void (*kick)(struct world_member *m);
	int inside;	     /* atomic */
	unsigned long owner; /* atomic: the thread that entered last */
};

struct world *world_create(void); /* NULL when memory is short */
void world_destroy(struct world *w);

/* Joins or parts for good; the member is outside at both times. */
void world_add(struct world *w, struct world_member *m);
void world_remove(struct world *w, struct world_member *m);

/* Returns once the member is inside; sleeps while the world is stopped. */
void world_enter(struct world *w, struct world_member *m);
void world_leave(struct world *w, struct world_member *m);

/* The member that the calling thread is inside as; NULL: it takes no part. */
struct world_member *world_self(struct world *w);

/* True when a stopper waits: a member inside should leave and enter again. */
bool world_wanted(const struct world *w);

/* Returns when every member except self (NULL: whatever world_self says) is
 * outside and stays so until world_resume.  Nests for the same stopper thread.
 */
void world_stop(struct world *w, struct world_member *self);
void world_resume(struct world *w);

/* Debug builds: aborts unless the calling thread has the world stopped. */
void world_assert_stopped(const struct world *w);

#endif
