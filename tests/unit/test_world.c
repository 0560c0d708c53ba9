#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "core/world.h"

#define THREADS 4
#define ROUNDS	300

/* What members read without a lock and stoppers change in two steps. */
struct shared {
	struct world *world;
	uint64_t left, right; /* equal except while the world is stopped */
	unsigned torn;	      /* atomic */
	unsigned quit;	      /* atomic */
	uint64_t seen;	      /* atomic */
};

struct runner {
	struct world_member member; /* first */
	struct shared *shared;
	unsigned kicked; /* atomic */
	pthread_t thread;
};

static void on_kick(struct world_member *m)
{
	struct runner *r = (struct runner *)m;

	__atomic_fetch_add(&r->kicked, 1, __ATOMIC_RELAXED);
}

static void *reader(void *arg)
{
	struct runner *r = arg;
	struct shared *s = r->shared;

	while (!__atomic_load_n(&s->quit, __ATOMIC_RELAXED)) {
		world_enter(s->world, &r->member);
		while (!world_wanted(s->world) &&
		       !__atomic_load_n(&s->quit, __ATOMIC_RELAXED)) {
			if (s->left != s->right)
				__atomic_fetch_add(&s->torn, 1,
						   __ATOMIC_RELAXED);
			__atomic_fetch_add(&s->seen, 1, __ATOMIC_RELAXED);
			sched_yield();
		}
		world_leave(s->world, &r->member);
	}
	return NULL;
}

static void change(struct shared *s)
{
	s->left++;
	sched_yield();
	s->right++;
}

/* A member that stops the world from inside, as a vCPU's handler does. */
static void *changer(void *arg)
{
	struct runner *r = arg;
	struct shared *s = r->shared;
	unsigned i;

	for (i = 0; i < ROUNDS; i++) {
		world_enter(s->world, &r->member);
		if (s->left != s->right)
			__atomic_fetch_add(&s->torn, 1, __ATOMIC_RELAXED);
		world_stop(s->world, i % 2 ? &r->member : NULL);
		change(s);
		world_stop(s->world, &r->member);
		change(s);
		world_resume(s->world);
		change(s);
		world_resume(s->world);
		world_leave(s->world, &r->member);
	}
	return NULL;
}

static void start(struct runner *r, struct shared *s, void *(*fn)(void *))
{
	*r = (struct runner){.shared = s, .member.kick = on_kick};
	world_add(s->world, &r->member);
	assert_int_equal(pthread_create(&r->thread, NULL, fn, r), 0);
}

static void end(struct runner *r)
{
	pthread_join(r->thread, NULL);
	world_remove(r->shared->world, &r->member);
}

static void test_nobody_sees_a_change(void **state)
{
	struct shared s = {.world = world_create()};
	struct runner readers[THREADS], changers[2];
	unsigned i;

	(void)state;
	for (i = 0; i < THREADS; i++)
		start(&readers[i], &s, reader);
	for (i = 0; i < 2; i++)
		start(&changers[i], &s, changer);
	for (i = 0; i < ROUNDS; i++) {
		world_stop(s.world, NULL);
		change(&s);
		world_resume(s.world);
		sched_yield();
	}
	for (i = 0; i < 2; i++)
		end(&changers[i]);
	__atomic_store_n(&s.quit, 1, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++)
		end(&readers[i]);
	assert_int_equal(s.torn, 0);
	assert_int_equal(s.left, 7 * ROUNDS);
	assert_int_equal(s.right, s.left);
	assert_true(s.seen > 0);
	world_destroy(s.world);
}

/* A member that leaves only when it is kicked. */
static void *stubborn(void *arg)
{
	struct runner *r = arg;

	world_enter(r->shared->world, &r->member);
	__atomic_store_n(&r->shared->seen, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&r->kicked, __ATOMIC_ACQUIRE))
		sched_yield();
	r->shared->left = 1;
	world_leave(r->shared->world, &r->member);
	return NULL;
}

static void test_stop_kicks_and_waits(void **state)
{
	struct shared s = {.world = world_create()};
	struct runner r;

	(void)state;
	start(&r, &s, stubborn);
	while (!__atomic_load_n(&s.seen, __ATOMIC_ACQUIRE))
		sched_yield();
	world_stop(s.world, NULL);
	assert_int_equal(s.left, 1);
	world_resume(s.world);
	end(&r);
	world_destroy(s.world);
}

static void test_self(void **state)
{
	struct world *w = world_create();
	struct world_member m = {0}, other = {0};

	(void)state;
	world_add(w, &other);
	world_add(w, &m);
	assert_null(world_self(w));
	world_enter(w, &m);
	assert_ptr_equal(world_self(w), &m);
	world_stop(w, NULL);
	world_assert_stopped(w);
	assert_ptr_equal(world_self(w), &m);
	world_resume(w);
	assert_ptr_equal(world_self(w), &m);
	assert_false(world_wanted(w));
	world_leave(w, &m);
	assert_null(world_self(w));
	world_remove(w, &m);
	world_remove(w, &other);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_sees_a_change),
		cmocka_unit_test(test_stop_kicks_and_waits),
		cmocka_unit_test(test_self),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
