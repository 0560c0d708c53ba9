/*
 * A vCPU thread alternates between a gate and the world.
 *
 * At the gate it sleeps while the set is paused or it has crashed; "parked"
 * is true exactly then, under the set's lock.  Past the gate it is inside the
 * world until a stopper, a pause or an end calls it out.  Who wants it out
 * first sets the flag and then kicks; the thread reads the flags after every
 * return of the engine, and the engine loses no kick.
 */
#include "core/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/bus.h"
#include "core/error.h"
#include "core/vcpu_dump.h"
#include "core/vcpu_state.h"
#include "core/world.h"

#define VCPU_MAX   16
#define MSR_TSC	   0x10
#define CRASH_TEXT 2048
#define RESET_RIP  0xfff0
#define FORGOTTEN                                                              \
	"this CPU forgets its registers in a triple fault; these are those "   \
	"of a reset:\n"

struct vcpu {
	struct world_member member; /* first: kick casts back */
	struct vcpu_set *set;
	unsigned index;
	struct accel_vcpu *engine;
	struct vcpu_state *initial; /* as created: the power-on state */
	pthread_t thread;
	bool started;
	clockid_t clock;
	bool parked, crashed;		  /* under set->lock */
	bool waiting;			  /* atomic: an AP before its SIPI */
	uint64_t exits, pio, mmio, kicks; /* relaxed atomics */
	uint64_t rip;			  /* relaxed atomic */
};

struct vcpu_set {
	const struct accel_ops *accel;
	struct world *world;
	struct bus *bus;
	vcpu_crash_fn *crash;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t parked, go;
	bool paused, quit; /* atomic; changed under lock */
	unsigned nr;
	struct vcpu vcpus[VCPU_MAX];
};

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static bool flag(const bool *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void set_flag(bool *p, bool value)
{
	__atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}

/* ---- the thread ---- */

static void kick_vcpu(struct vcpu *v)
{
	count(&v->kicks);
	v->set->accel->kick(v->engine);
}

static void kick_member(struct world_member *m)
{
	kick_vcpu((struct vcpu *)m);
}

static void on_pio(void *opaque, uint16_t port, void *data, unsigned len,
		   unsigned n, bool write)
{
	struct vcpu *v = opaque;

	count(&v->pio);
	count(&v->exits);
	set_flag(&v->waiting, false);
	bus_pio(v->set->bus, &v->member, port, data, len, n, write);
}

static void on_mmio(void *opaque, uint64_t gpa, void *data, unsigned len,
		    bool write)
{
	struct vcpu *v = opaque;

	count(&v->mmio);
	count(&v->exits);
	set_flag(&v->waiting, false);
	bus_mmio(v->set->bus, &v->member, gpa, data, len, write);
}

/* AMD's CPUs leave the registers undefined, so KVM resets them. */
static bool is_forgotten(struct vcpu *v, enum accel_exit why)
{
	return why == ACCEL_EXIT_SHUTDOWN &&
	       v->set->accel->rip(v->engine) == RESET_RIP;
}

/* Its registers and the bytes at its instruction, as lines of text. */
static void describe(struct vcpu *v, char *text, size_t len)
{
	struct vcpu_state *s = malloc(sizeof(*s));

	text[0] = 0;
	if (s && !v->set->accel->vcpu_state(v->engine, ACCEL_GET, s, NULL))
		vcpu_dump(s, bus_mem(v->set->bus), text, len);
	free(s);
}

static void crash(struct vcpu *v, enum accel_exit why, const char *text)
{
	struct vcpu_set *set = v->set;
	char *whole = malloc(CRASH_TEXT);
	int n;

	if (whole) {
		n = snprintf(whole, CRASH_TEXT, "%s\n%s", text,
			     is_forgotten(v, why) ? FORGOTTEN : "");
		if (n > 0 && n < CRASH_TEXT)
			describe(v, whole + n, (size_t)(CRASH_TEXT - n));
	}
	world_leave(set->world, &v->member);
	pthread_mutex_lock(&set->lock);
	v->crashed = true;
	pthread_mutex_unlock(&set->lock);
	set->crash(set->arg, v->index, why == ACCEL_EXIT_SHUTDOWN,
		   whole ? whole : text);
	free(whole);
	world_enter(set->world, &v->member);
}

static bool is_called_out(const struct vcpu *v)
{
	return world_wanted(v->set->world) || flag(&v->set->paused) ||
	       flag(&v->set->quit);
}

/* Runs guest code, inside the world, until called out or dead. */
static void run_guest(struct vcpu *v)
{
	struct accel_bus bus = {.opaque = v, .pio = on_pio, .mmio = on_mmio};
	char text[512];

	while (!is_called_out(v)) {
		enum accel_exit why;

		text[0] = 0;
		why = v->set->accel->run(v->engine, &bus, text, sizeof(text));
		count(&v->exits);
		switch (why) {
		case ACCEL_EXIT_KICK:
			break;
		case ACCEL_EXIT_WAITING:
			set_flag(&v->waiting, false);
			break;
		case ACCEL_EXIT_HLT:
			crash(v, why, "halted with no interrupt to wake it");
			return;
		case ACCEL_EXIT_DEBUG:
			crash(v, why, "stopped at a breakpoint nobody set");
			return;
		case ACCEL_EXIT_SHUTDOWN:
		case ACCEL_EXIT_ERROR:
			crash(v, why, text);
			return;
		}
	}
}

/* Sleeps while the vCPU may not run; false when it is to end. */
static bool pass_gate(struct vcpu *v)
{
	struct vcpu_set *set = v->set;
	bool go;

	pthread_mutex_lock(&set->lock);
	if (set->paused || v->crashed)
		__atomic_store_n(&v->rip, set->accel->rip(v->engine),
				 __ATOMIC_RELAXED);
	while (!set->quit && (set->paused || v->crashed)) {
		v->parked = true;
		pthread_cond_broadcast(&set->parked);
		pthread_cond_wait(&set->go, &set->lock);
	}
	go = !set->quit;
	v->parked = !go;
	pthread_mutex_unlock(&set->lock);
	return go;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;

	while (pass_gate(v)) {
		world_enter(v->set->world, &v->member);
		run_guest(v);
		world_leave(v->set->world, &v->member);
	}
	return NULL;
}

/* ---- life ---- */

static int start_thread(struct vcpu *v, struct error *e)
{
	sigset_t all, old;
	char name[16];
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&v->thread, NULL, vcpu_thread, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return error_errno(e, err, "starting vCPU %u", v->index);
	v->started = true;
	pthread_getcpuclockid(v->thread, &v->clock);
	snprintf(name, sizeof(name), "vcpu%u", v->index);
	pthread_setname_np(v->thread, name);
	return 0;
}

static int vcpu_init(struct vcpu_set *set, struct accel_vm *vm, unsigned index,
		     struct error *e)
{
	struct vcpu *v = &set->vcpus[index];

	v->set = set;
	v->index = index;
	v->member.kick = kick_member;
	v->waiting = index != 0;
	v->initial = calloc(1, sizeof(*v->initial));
	if (!v->initial)
		return error_set(e, -ENOMEM, "no memory for vCPU %u", index);
	v->engine = set->accel->vcpu_create(vm, index, e);
	if (!v->engine)
		return -EIO;
	world_add(set->world, &v->member);
	set->nr = index + 1;
	return set->accel->vcpu_state(v->engine, ACCEL_GET, v->initial, e);
}

struct vcpu_set *vcpu_set_create(const struct accel_ops *accel,
				 struct accel_vm *vm, struct world *world,
				 struct bus *bus, unsigned nr,
				 vcpu_crash_fn *on_crash, void *arg,
				 struct error *e)
{
	struct vcpu_set *set;
	unsigned i;

	if (!nr || nr > VCPU_MAX) {
		error_set(e, -EINVAL, "%u vCPUs: 1 to %d are possible", nr,
			  VCPU_MAX);
		return NULL;
	}
	set = calloc(1, sizeof(*set));
	if (!set) {
		error_set(e, -ENOMEM, "no memory for vCPUs");
		return NULL;
	}
	set->accel = accel;
	set->world = world;
	set->bus = bus;
	set->crash = on_crash;
	set->arg = arg;
	set->paused = true;
	pthread_mutex_init(&set->lock, NULL);
	pthread_cond_init(&set->parked, NULL);
	pthread_cond_init(&set->go, NULL);
	for (i = 0; i < nr; i++) {
		if (vcpu_init(set, vm, i, e))
			goto fail;
	}
	for (i = 0; i < nr; i++) {
		if (start_thread(&set->vcpus[i], e))
			goto fail;
	}
	vcpu_set_pause(set);
	return set;
fail:
	vcpu_set_destroy(set);
	return NULL;
}

void vcpu_set_destroy(struct vcpu_set *set)
{
	unsigned i;

	if (!set)
		return;
	vcpu_set_pause(set);
	pthread_mutex_lock(&set->lock);
	set_flag(&set->quit, true);
	pthread_cond_broadcast(&set->go);
	pthread_mutex_unlock(&set->lock);
	for (i = 0; i < VCPU_MAX; i++) {
		struct vcpu *v = &set->vcpus[i];

		if (v->started)
			pthread_join(v->thread, NULL);
		if (v->engine) {
			world_remove(set->world, &v->member);
			set->accel->vcpu_destroy(v->engine);
		}
		free(v->initial);
	}
	pthread_cond_destroy(&set->go);
	pthread_cond_destroy(&set->parked);
	pthread_mutex_destroy(&set->lock);
	free(set);
}

unsigned vcpu_set_count(const struct vcpu_set *set)
{
	return set->nr;
}

/* ---- pause and resume ---- */

static bool all_parked_locked(const struct vcpu_set *set)
{
	unsigned i;

	for (i = 0; i < set->nr; i++) {
		if (set->vcpus[i].started && !set->vcpus[i].parked)
			return false;
	}
	return true;
}

void vcpu_set_pause(struct vcpu_set *set)
{
	struct world_member *self;
	unsigned i;

	pthread_mutex_lock(&set->lock);
	set_flag(&set->paused, true);
	pthread_mutex_unlock(&set->lock);
	for (i = 0; i < set->nr; i++)
		kick_vcpu(&set->vcpus[i]);
	/* A vCPU that changes the memory map waits for everyone to be
	 * outside, so we must not wait for it inside. */
	self = world_self(set->world);
	if (self)
		world_leave(set->world, self);
	pthread_mutex_lock(&set->lock);
	while (!all_parked_locked(set))
		pthread_cond_wait(&set->parked, &set->lock);
	pthread_mutex_unlock(&set->lock);
	if (self)
		world_enter(set->world, self);
}

void vcpu_set_resume(struct vcpu_set *set)
{
	pthread_mutex_lock(&set->lock);
	set_flag(&set->paused, false);
	pthread_cond_broadcast(&set->go);
	pthread_mutex_unlock(&set->lock);
}

/* ---- state ---- */

static int reset_one(struct vcpu *v, struct error *e)
{
	struct vcpu_state *s = v->initial;
	uint32_t i;

	for (i = 0; i < s->nr_msrs; i++) {
		if (s->msrs[i].index == MSR_TSC)
			s->msrs[i].value = 0;
	}
	return v->set->accel->vcpu_state(v->engine, ACCEL_SET, s, e);
}

int vcpu_set_reset(struct vcpu_set *set, struct error *e)
{
	unsigned i;
	int err;

	for (i = 0; i < set->nr; i++) {
		struct vcpu *v = &set->vcpus[i];

		err = reset_one(v, e);
		if (err)
			return err;
		pthread_mutex_lock(&set->lock);
		v->crashed = false;
		pthread_mutex_unlock(&set->lock);
		set_flag(&v->waiting, i != 0);
		__atomic_store_n(&v->rip, v->initial->regs.rip,
				 __ATOMIC_RELAXED);
	}
	return 0;
}

int vcpu_state_copy(struct vcpu_set *set, unsigned index, enum accel_dir dir,
		    struct vcpu_state *state, struct error *e)
{
	struct vcpu *v;
	int err;

	if (index >= set->nr)
		return error_set(e, -EINVAL, "there is no vCPU %u", index);
	v = &set->vcpus[index];
	err = set->accel->vcpu_state(v->engine, dir, state, e);
	if (err)
		return err;
	__atomic_store_n(&v->rip, state->regs.rip, __ATOMIC_RELAXED);
	set_flag(&v->waiting,
		 state->mp_state.mp_state == KVM_MP_STATE_UNINITIALIZED);
	return 0;
}

static enum vcpu_run_state run_state(struct vcpu *v)
{
	enum vcpu_run_state state = VCPU_RUNNING;

	pthread_mutex_lock(&v->set->lock);
	if (v->crashed)
		state = VCPU_CRASHED;
	else if (v->set->paused)
		state = VCPU_PAUSED;
	else if (flag(&v->waiting))
		state = VCPU_WAITING_SIPI;
	pthread_mutex_unlock(&v->set->lock);
	return state;
}

void vcpu_status_copy(struct vcpu_set *set, unsigned index,
		      struct vcpu_status *out)
{
	struct vcpu *v = &set->vcpus[index];
	struct timespec ts = {0};

	memset(out, 0, sizeof(*out));
	if (index >= set->nr)
		return;
	out->state = run_state(v);
	out->exits = __atomic_load_n(&v->exits, __ATOMIC_RELAXED);
	out->pio = __atomic_load_n(&v->pio, __ATOMIC_RELAXED);
	out->mmio = __atomic_load_n(&v->mmio, __ATOMIC_RELAXED);
	out->kicks = __atomic_load_n(&v->kicks, __ATOMIC_RELAXED);
	out->rip = __atomic_load_n(&v->rip, __ATOMIC_RELAXED);
	clock_gettime(v->clock, &ts);
	out->cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
