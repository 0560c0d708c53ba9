#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/error.h"
#include "core/loop.h"
#include "core/world.h"

static struct loop *started_loop(struct world *world)
{
	struct error e = {0};
	struct loop *loop = loop_create("test", world, &e);

	assert_non_null(loop);
	assert_int_equal(loop_start(loop, &e), 0);
	return loop;
}

static void count(void *arg)
{
	__atomic_fetch_add((unsigned *)arg, 1, __ATOMIC_RELAXED);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* ---- posting ---- */

#define NR_THREADS 8
#define NR_WORKS   200
#define NR_ROUNDS  20

struct poster {
	struct loop *loop;
	struct loop_work works[NR_WORKS];
	unsigned ran;
};

static void *poster_thread(void *arg)
{
	struct poster *p = arg;

	for (int round = 0; round < NR_ROUNDS; round++) {
		for (int i = 0; i < NR_WORKS; i++)
			loop_post(p->loop, &p->works[i]);
		loop_call(p->loop, nothing, NULL);
	}
	return NULL;
}

static void work_of_many_threads_runs_once_each(void **state)
{
	static struct poster p[NR_THREADS];
	struct loop *loop = started_loop(NULL);
	pthread_t t[NR_THREADS];

	(void)state;
	for (int i = 0; i < NR_THREADS; i++) {
		p[i].loop = loop;
		for (int k = 0; k < NR_WORKS; k++)
			p[i].works[k] = (struct loop_work){.fn = count,
							   .arg = &p[i].ran};
		pthread_create(&t[i], NULL, poster_thread, &p[i]);
	}
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(t[i], NULL);
	/* loop_call ran after what the same thread posted before. */
	for (int i = 0; i < NR_THREADS; i++)
		assert_int_equal(p[i].ran, NR_WORKS * NR_ROUNDS);
	loop_destroy(loop);
}

struct order {
	int next;
	int failed;
	struct loop_work works[50];
	struct {
		struct order *o;
		int n;
	} args[50];
};

static void check_order(void *arg)
{
	struct {
		struct order *o;
		int n;
	} *a = arg;

	if (a->o->next++ != a->n)
		a->o->failed = 1;
}

static void work_runs_in_order_even_at_the_end(void **state)
{
	struct order o = {0};
	struct loop *loop = started_loop(NULL);

	(void)state;
	for (int i = 0; i < 50; i++) {
		o.args[i].o = &o;
		o.args[i].n = i;
		o.works[i].fn = check_order;
		o.works[i].arg = &o.args[i];
		loop_post(loop, &o.works[i]);
	}
	loop_destroy(loop);
	assert_int_equal(o.next, 50);
	assert_int_equal(o.failed, 0);
}

static void posting_queued_work_does_nothing(void **state)
{
	struct error e;
	struct loop *loop = loop_create("test", NULL, &e);
	unsigned ran = 0;
	struct loop_work w = {.fn = count, .arg = &ran};

	(void)state;
	loop_post(loop, &w);
	loop_post(loop, &w);
	assert_true(loop_is_current(loop));
	assert_int_equal(loop_start(loop, &e), 0);
	assert_false(loop_is_current(loop));
	loop_call(loop, nothing, NULL);
	assert_int_equal(ran, 1);
	loop_post(loop, &w);
	loop_destroy(loop);
	assert_int_equal(ran, 2);
}

/* ---- descriptors ---- */

struct watched {
	struct loop *loop;
	struct loop_fd w;
	struct watched *other;
	unsigned ran;
};

static void on_readable(void *arg, uint32_t events)
{
	struct watched *w = arg;
	uint64_t n;

	(void)events;
	assert_int_equal(read(w->w.fd, &n, sizeof(n)), sizeof(n));
	count(&w->ran);
	/* The other one's event may be in the same batch: it must not run. */
	if (w->other)
		loop_fd_remove(w->loop, &w->other->w);
}

static void a_removed_watch_never_runs(void **state)
{
	struct error e;
	struct loop *loop = loop_create("test", NULL, &e);
	struct watched a = {.loop = loop}, b = {.loop = loop};

	(void)state;
	a.other = &b;
	b.other = &a;
	a.w = (struct loop_fd){.fd = eventfd(1, 0),
			       .events = EPOLLIN,
			       .fn = on_readable,
			       .arg = &a};
	b.w = (struct loop_fd){.fd = eventfd(1, 0),
			       .events = EPOLLIN,
			       .fn = on_readable,
			       .arg = &b};
	assert_int_equal(loop_fd_add(loop, &a.w), 0);
	assert_int_equal(loop_fd_add(loop, &b.w), 0);
	assert_int_equal(loop_start(loop, &e), 0);
	while (!__atomic_load_n(&a.ran, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&b.ran, __ATOMIC_RELAXED))
		usleep(1000);
	loop_call(loop, nothing, NULL);
	loop_destroy(loop);
	assert_int_equal(a.ran + b.ran, 1);
	close(a.w.fd);
	close(b.w.fd);
}

/* ---- timers ---- */

struct ticker {
	struct loop_timer t;
	unsigned ran;
	uint64_t at;
};

static void tick(void *arg)
{
	struct ticker *t = arg;

	t->at = loop_now_ns();
	__atomic_fetch_add(&t->ran, 1, __ATOMIC_RELEASE);
}

static void wait_for(unsigned *what, unsigned value)
{
	for (int i = 0; i < 30000; i++) {
		if (__atomic_load_n(what, __ATOMIC_ACQUIRE) >= value)
			return;
		usleep(1000);
	}
	fail_msg("waited 30 s in vain");
}

struct tickers {
	struct ticker a, b, c;
	uint64_t now;
};

/* On the loop: none can fire before all are set. */
static void set_tickers(void *arg)
{
	struct tickers *t = arg;

	t->now = loop_now_ns();
	loop_timer_set(&t->b.t, t->now + 60000000);
	loop_timer_set(&t->a.t, t->now + 3600000000000);
	loop_timer_set(&t->c.t, t->now + 90000000);
	loop_timer_set(&t->a.t, t->now + 30000000); /* moved to the front */
}

static void timers_fire_in_order_and_not_early(void **state)
{
	struct loop *loop = started_loop(NULL);
	struct tickers t = {0};

	(void)state;
	loop_timer_init(&t.a.t, loop, tick, &t.a);
	loop_timer_init(&t.b.t, loop, tick, &t.b);
	loop_timer_init(&t.c.t, loop, tick, &t.c);
	loop_call(loop, set_tickers, &t);
	wait_for(&t.c.ran, 1);
	assert_int_equal(t.a.ran, 1);
	assert_int_equal(t.b.ran, 1);
	assert_true(t.a.at >= t.now + 30000000 && t.a.at <= t.b.at);
	assert_true(t.b.at >= t.now + 60000000 && t.b.at <= t.c.at);
	loop_destroy(loop);
}

static void a_stopped_timer_stays_silent(void **state)
{
	struct loop *loop = started_loop(NULL);
	struct ticker a = {0}, b = {0};

	(void)state;
	loop_timer_init(&a.t, loop, tick, &a);
	loop_timer_init(&b.t, loop, tick, &b);
	loop_timer_set(&a.t, loop_now_ns() + 3600000000000);
	loop_timer_stop(&a.t);
	loop_timer_stop(&a.t);
	loop_timer_set(&b.t, 0); /* long past: at once */
	wait_for(&b.ran, 1);
	assert_int_equal(a.ran, 0);
	loop_destroy(loop);
}

/* ---- thread ---- */

static void read_signals(void *arg)
{
	pthread_sigmask(SIG_BLOCK, NULL, arg);
}

static void signals_are_blocked_in_the_thread(void **state)
{
	struct loop *loop = started_loop(NULL);
	sigset_t set;

	(void)state;
	sigemptyset(&set);
	loop_call(loop, read_signals, &set);
	assert_true(sigismember(&set, SIGTERM));
	assert_true(sigismember(&set, SIGWINCH));
	loop_destroy(loop);
}

struct member_check {
	struct loop *loop;
	int inside;
};

static void look_inside(void *arg)
{
	struct member_check *c = arg;

	c->inside = loop_member(c->loop)->inside;
}

static void a_loop_is_in_its_world_while_it_works(void **state)
{
	struct world *world = world_create();
	struct loop *loop = started_loop(world);
	struct member_check c = {.loop = loop};
	unsigned ran = 0;
	struct loop_work w = {.fn = count, .arg = &ran};

	(void)state;
	loop_call(loop, look_inside, &c);
	assert_true(c.inside);
	world_stop(world, NULL);
	loop_post(loop, &w);
	usleep(50000);
	assert_int_equal(__atomic_load_n(&ran, __ATOMIC_RELAXED), 0);
	world_resume(world);
	wait_for(&ran, 1);
	loop_destroy(loop);
	world_destroy(world);
}

/* ---- a loop inside another ---- */

struct inner_test {
	struct loop *outer, *inner;
	struct loop_work from_outer, from_inside;
	struct loop_timer timer;
	unsigned ran;
};

static void post_again(void *arg)
{
	struct inner_test *t = arg;

	count(&t->ran);
	loop_post(t->inner, &t->from_inside);
}

static void create_inner(void *arg)
{
	struct inner_test *t = arg;
	struct error e = {0};

	t->inner = loop_create_inside(t->outer, &e);
	assert_non_null(t->inner);
	t->from_outer = (struct loop_work){.fn = post_again, .arg = t};
	t->from_inside = (struct loop_work){.fn = count, .arg = &t->ran};
	loop_timer_init(&t->timer, t->inner, count, &t->ran);
}

static void post_to_inner(void *arg)
{
	struct inner_test *t = arg;

	loop_post(t->inner, &t->from_outer);
}

static void destroy_inner(void *arg)
{
	struct inner_test *t = arg;

	/* Its bell hangs in the outer loop, and outlives it. */
	loop_post(t->inner, &t->from_inside);
	loop_destroy(t->inner);
}

static void an_inner_loop_runs_in_the_outer_one(void **state)
{
	struct inner_test t = {.outer = started_loop(NULL)};
	struct loop_work foreign = {.fn = count, .arg = &t.ran};

	(void)state;
	loop_call(t.outer, create_inner, &t);
	loop_call(t.outer, post_to_inner, &t);
	wait_for(&t.ran, 2);
	loop_post(t.inner, &foreign);
	wait_for(&t.ran, 3);
	loop_timer_set(&t.timer, loop_now_ns() + 1000000);
	wait_for(&t.ran, 4);
	loop_call(t.outer, destroy_inner, &t);
	assert_int_equal(__atomic_load_n(&t.ran, __ATOMIC_RELAXED), 5);
	loop_destroy(t.outer);
}

static void *post_later(void *arg)
{
	struct inner_test *t = arg;

	usleep(20000);
	loop_post(t->inner, &t->from_inside);
	return NULL;
}

static void who_stops_the_world_polls_an_inner_loop(void **state)
{
	struct world *world = world_create();
	struct inner_test t = {.outer = started_loop(world)};
	pthread_t thread;

	(void)state;
	loop_call(t.outer, create_inner, &t);
	world_stop(world, NULL);
	loop_post(t.inner, &t.from_outer);
	usleep(20000);
	assert_int_equal(__atomic_load_n(&t.ran, __ATOMIC_RELAXED), 0);
	loop_poll(t.inner, true);
	assert_int_equal(__atomic_load_n(&t.ran, __ATOMIC_RELAXED), 2);
	assert_int_equal(pthread_create(&thread, NULL, post_later, &t), 0);
	while (__atomic_load_n(&t.ran, __ATOMIC_RELAXED) < 3)
		loop_poll(t.inner, true);
	pthread_join(thread, NULL);
	world_resume(world);
	loop_call(t.outer, destroy_inner, &t);
	loop_destroy(t.outer);
	world_destroy(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_of_many_threads_runs_once_each),
		cmocka_unit_test(work_runs_in_order_even_at_the_end),
		cmocka_unit_test(posting_queued_work_does_nothing),
		cmocka_unit_test(a_removed_watch_never_runs),
		cmocka_unit_test(timers_fire_in_order_and_not_early),
		cmocka_unit_test(a_stopped_timer_stays_silent),
		cmocka_unit_test(signals_are_blocked_in_the_thread),
		cmocka_unit_test(a_loop_is_in_its_world_while_it_works),
		cmocka_unit_test(an_inner_loop_runs_in_the_outer_one),
		cmocka_unit_test(who_stops_the_world_polls_an_inner_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
