/*
 * A flag, a bit per member, one mutex and three condition variables.
 *
 * A member writes its bit, then reads the flag; a stopper writes the flag,
 * then reads the bits: all four accesses are sequentially consistent, so at
 * least one of the two sees the other.  Everything slow is under the mutex.
 */
#include "core/world.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct world {
	pthread_mutex_t lock;
	pthread_cond_t left;   /* a member went out */
	pthread_cond_t turn;   /* the holder resumed, another stopper waits */
	pthread_cond_t resume; /* no stopper is left */
	struct world_member *members;
	unsigned wanted; /* atomic: stoppers that hold or wait */
	bool held;
	pthread_t holder;
	struct world_member *holder_member; /* to bring back inside */
	unsigned depth;
};

struct world *world_create(void)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->left, NULL);
	pthread_cond_init(&w->turn, NULL);
	pthread_cond_init(&w->resume, NULL);
	return w;
}

void world_destroy(struct world *w)
{
	if (!w)
		return;
	pthread_cond_destroy(&w->resume);
	pthread_cond_destroy(&w->turn);
	pthread_cond_destroy(&w->left);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static bool is_inside(const struct world_member *m)
{
	return __atomic_load_n(&m->inside, __ATOMIC_SEQ_CST);
}

static void set_inside(struct world_member *m, int inside)
{
	__atomic_store_n(&m->inside, inside, __ATOMIC_SEQ_CST);
}

void world_add(struct world *w, struct world_member *m)
{
	pthread_mutex_lock(&w->lock);
	set_inside(m, 0);
	m->next = w->members;
	w->members = m;
	pthread_mutex_unlock(&w->lock);
}

void world_remove(struct world *w, struct world_member *m)
{
	struct world_member **link;

	pthread_mutex_lock(&w->lock);
	for (link = &w->members; *link; link = &(*link)->next) {
		if (*link == m) {
			*link = m->next;
			break;
		}
	}
	pthread_mutex_unlock(&w->lock);
}

bool world_wanted(const struct world *w)
{
	return __atomic_load_n(&w->wanted, __ATOMIC_SEQ_CST) != 0;
}

void world_enter(struct world *w, struct world_member *m)
{
	__atomic_store_n(&m->owner, (unsigned long)pthread_self(),
			 __ATOMIC_RELAXED);
	for (;;) {
		set_inside(m, 1);
		if (!world_wanted(w))
			return;
		world_leave(w, m);
		pthread_mutex_lock(&w->lock);
		while (w->wanted)
			pthread_cond_wait(&w->resume, &w->lock);
		pthread_mutex_unlock(&w->lock);
	}
}

void world_leave(struct world *w, struct world_member *m)
{
	set_inside(m, 0);
	if (!world_wanted(w))
		return;
	pthread_mutex_lock(&w->lock);
	pthread_cond_broadcast(&w->left);
	pthread_mutex_unlock(&w->lock);
}

static bool is_held_by_me(const struct world *w)
{
	return w->held && pthread_equal(w->holder, pthread_self());
}

static struct world_member *find_self_locked(struct world *w)
{
	unsigned long me = (unsigned long)pthread_self();
	struct world_member *m;

	if (is_held_by_me(w))
		return w->holder_member;
	for (m = w->members; m; m = m->next) {
		if (is_inside(m) &&
		    __atomic_load_n(&m->owner, __ATOMIC_RELAXED) == me)
			return m;
	}
	return NULL;
}

struct world_member *world_self(struct world *w)
{
	struct world_member *m;

	pthread_mutex_lock(&w->lock);
	m = find_self_locked(w);
	pthread_mutex_unlock(&w->lock);
	return m;
}

static bool anyone_inside_locked(const struct world *w)
{
	const struct world_member *m;

	for (m = w->members; m; m = m->next) {
		if (is_inside(m))
			return true;
	}
	return false;
}

static void set_wanted_locked(struct world *w, unsigned wanted)
{
	__atomic_store_n(&w->wanted, wanted, __ATOMIC_SEQ_CST);
}

void world_stop(struct world *w, struct world_member *self)
{
	struct world_member *m;

	pthread_mutex_lock(&w->lock);
	if (is_held_by_me(w)) {
		w->depth++;
		pthread_mutex_unlock(&w->lock);
		return;
	}
	if (!self)
		self = find_self_locked(w);
	else if (!is_inside(self))
		self = NULL;
	set_wanted_locked(w, w->wanted + 1);
	/* From here on self counts as outside: another holder may be waiting
	 * for it. */
	if (self) {
		set_inside(self, 0);
		pthread_cond_broadcast(&w->left);
	}
	while (w->held)
		pthread_cond_wait(&w->turn, &w->lock);
	w->held = true;
	w->holder = pthread_self();
	w->holder_member = self;
	w->depth = 1;
	for (m = w->members; m; m = m->next) {
		if (m->kick && is_inside(m))
			m->kick(m);
	}
	while (anyone_inside_locked(w))
		pthread_cond_wait(&w->left, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void world_resume(struct world *w)
{
	pthread_mutex_lock(&w->lock);
	assert(is_held_by_me(w));
	if (--w->depth == 0) {
		if (w->holder_member)
			set_inside(w->holder_member, 1);
		w->holder_member = NULL;
		w->held = false;
		set_wanted_locked(w, w->wanted - 1);
		if (w->wanted)
			pthread_cond_signal(&w->turn);
		else
			pthread_cond_broadcast(&w->resume);
	}
	pthread_mutex_unlock(&w->lock);
}

void world_assert_stopped(const struct world *w)
{
	(void)w;
	assert(is_held_by_me(w));
}
