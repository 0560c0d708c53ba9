/*
 * The fleet.  A job is one helper thread that makes one machine; it hands the
 * result over through the fleet's list of finished jobs and its eventfd.
 */
#include "ui/session/fleet.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/console.h"
#include "core/log.h"
#include "ui/session/fleet_files.h"
#include "ui/session/recorder.h"
#include "ui/vnc/vnc.h"

#define FLEET_MAX 256

struct job {
	struct fleet *fleet;
	struct machine *machine; /* to make its vm; NULL: to end vm */
	pthread_t thread;
	struct vm *vm;
	struct error error;
	struct job *next;
};

struct fleet {
	struct log *log;
	fleet_say_fn *say;
	void *arg;
	struct machine *machines[FLEET_MAX];
	unsigned nr;
	unsigned jobs; /* running helpers */
	int wake;
	pthread_mutex_t lock;
	struct job *done; /* protected by lock */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct fleet *fleet_create(struct log *log, fleet_say_fn *say, void *arg)
{
	struct fleet *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->log = log;
	f->say = say;
	f->arg = arg;
	f->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (f->wake < 0) {
		free(f);
		return NULL;
	}
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

static void say(struct fleet *f, struct machine *m, bool bad, const char *text)
{
	snprintf(m->note, sizeof(m->note), "%.319s", text);
	m->note_is_bad = bad;
	f->say(f->arg, m, bad, text);
}

/* ---- making machines ---- */

static void *job_run(void *arg)
{
	struct job *job = arg;
	struct fleet *f = job->fleet;
	uint64_t one = 1;

	if (job->machine)
		job->vm = vm_create(&job->machine->config, f->log, &job->error);
	else
		vm_destroy(job->vm);
	pthread_mutex_lock(&f->lock);
	job->next = f->done;
	f->done = job;
	pthread_mutex_unlock(&f->lock);
	if (write(f->wake, &one, sizeof(one)) < 0)
		return NULL; /* the counter is full: it wakes all the same */
	return NULL;
}

static int job_start(struct fleet *f, struct machine *m, struct vm *vm)
{
	struct job *job = calloc(1, sizeof(*job));
	int ret;

	if (!job)
		return -ENOMEM;
	job->fleet = f;
	job->machine = m;
	job->vm = vm;
	ret = pthread_create(&job->thread, NULL, job_run, job);
	if (ret) {
		free(job);
		return -ret;
	}
	f->jobs++;
	return 0;
}

static int start_making(struct fleet *f, struct machine *m, struct error *e)
{
	int ret = job_start(f, m, NULL);

	if (ret)
		return error_errno(e, -ret, "starting '%s'", m->id);
	m->life = MACHINE_STARTING;
	m->note[0] = '\0';
	return 0;
}

/* What the configuration asks of the front end. */
static void start_extras(struct fleet *f, struct machine *m)
{
	struct serial_line *line = vm_serial(m->vm, 0);
	struct error e = {0};

	if (vnc_start_vm(m->vm, &m->vnc, &e))
		say(f, m, true, e.msg);
	if (!strncmp(m->config.serial, "file:", 5) && line) {
		m->recorder = recorder_start(line, m->config.serial + 5, &e);
		if (!m->recorder)
			say(f, m, true, e.msg);
	}
}

static void stop_extras(struct machine *m)
{
	recorder_stop(m->recorder);
	vnc_stop(m->vnc);
	m->recorder = NULL;
	m->vnc = NULL;
}

static void job_finish(struct fleet *f, struct job *job)
{
	struct machine *m = job->machine;
	struct vm_command go = {.kind = VM_CMD_RESUME};

	pthread_join(job->thread, NULL);
	f->jobs--;
	if (!m)
		return;
	m->vm = job->vm;
	m->life = m->vm ? MACHINE_LIVE : MACHINE_IDLE;
	if (!m->vm) {
		say(f, m, true, job->error.msg);
		log_write(f->log, LOG_LEVEL_ERROR, m->id, "%s", job->error.msg);
		return;
	}
	m->last_event = 0;
	m->sampled_ns = 0;
	start_extras(f, m);
	vm_command(m->vm, &go);
	vm_status_copy(m->vm, &m->status);
}

static bool finish_jobs(struct fleet *f)
{
	struct job *job, *next;
	uint64_t count;

	if (read(f->wake, &count, sizeof(count)) < 0)
		return false;
	pthread_mutex_lock(&f->lock);
	job = f->done;
	f->done = NULL;
	pthread_mutex_unlock(&f->lock);
	for (; job; job = next) {
		next = job->next;
		job_finish(f, job);
		free(job);
	}
	return true;
}

static void machine_free(struct machine *m)
{
	stop_extras(m);
	vm_destroy(m->vm);
	free(m);
}

void fleet_destroy(struct fleet *f)
{
	if (!f)
		return;
	while (f->jobs) {
		if (!finish_jobs(f))
			usleep(1000);
	}
	for (unsigned i = 0; i < f->nr; i++)
		machine_free(f->machines[i]);
	close(f->wake);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* ---- the list ---- */

unsigned fleet_count(const struct fleet *f)
{
	return f->nr;
}

struct machine *fleet_at(const struct fleet *f, unsigned i)
{
	return i < f->nr ? f->machines[i] : NULL;
}

struct machine *fleet_find(const struct fleet *f, const char *id)
{
	for (unsigned i = 0; i < f->nr; i++)
		if (!strcmp(f->machines[i]->id, id))
			return f->machines[i];
	return NULL;
}

int fleet_index(const struct fleet *f, const struct machine *m)
{
	for (unsigned i = 0; i < f->nr; i++)
		if (f->machines[i] == m)
			return (int)i;
	return -1;
}

bool machine_is_running(const struct machine *m)
{
	return m->life == MACHINE_LIVE && m->status.state == VM_RUNNING;
}

bool machine_is_paused(const struct machine *m)
{
	return m->life == MACHINE_LIVE && m->status.state == VM_PAUSED;
}

static bool is_active(const struct machine *m)
{
	if (m->life == MACHINE_IDLE)
		return false;
	return m->life == MACHINE_STARTING || m->status.state == VM_RUNNING ||
	       m->status.state == VM_PAUSED;
}

unsigned fleet_active(const struct fleet *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->nr; i++)
		n += is_active(f->machines[i]);
	return n;
}

const char *machine_state_text(const struct machine *m)
{
	static const char *const states[] = {
		[VM_PAUSED] = "paused",
		[VM_RUNNING] = "running",
		[VM_CRASHED] = "crashed",
		[VM_OFF] = "off",
	};

	if (m->broken.code)
		return "broken";
	if (m->life == MACHINE_IDLE)
		return "off";
	if (m->life == MACHINE_STARTING)
		return "starting";
	return states[m->status.state];
}

const char *machine_reason(const struct machine *m)
{
	return m->life == MACHINE_LIVE ? m->status.reason : "";
}

/* Letters, digits and -_. of the name, numbered when it is taken. */
static void choose_id(const struct fleet *f, const char *name, char *id,
		      size_t len)
{
	char base[48];
	size_t n = 0;

	for (; *name && n < sizeof(base) - 1; name++) {
		bool plain = (*name >= 'a' && *name <= 'z') ||
			     (*name >= 'A' && *name <= 'Z') ||
			     (*name >= '0' && *name <= '9') ||
			     strchr("-_.", *name);
		base[n++] = plain ? *name : '-';
	}
	base[n] = '\0';
	snprintf(id, len, "%s", n ? base : "machine");
	for (int i = 2; fleet_find(f, id); i++)
		snprintf(id, len, "%s-%d", n ? base : "machine", i);
}

static struct machine *insert(struct fleet *f, const char *name)
{
	struct machine *m;

	if (f->nr == FLEET_MAX)
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	choose_id(f, name, m->id, sizeof(m->id));
	f->machines[f->nr++] = m;
	return m;
}

/* Ends the vm of a machine that is off; the helper frees it. */
static void let_vm_go(struct fleet *f, struct machine *m)
{
	stop_extras(m);
	if (job_start(f, NULL, m->vm))
		vm_destroy(m->vm); /* it takes as long as it takes */
	m->vm = NULL;
	m->life = MACHINE_IDLE;
	m->nr_history = 0;
	memset(&m->status, 0, sizeof(m->status));
}

static void take_out(struct fleet *f, unsigned i)
{
	struct machine *m = f->machines[i];

	memmove(&f->machines[i], &f->machines[i + 1],
		(f->nr - i - 1) * sizeof(f->machines[0]));
	f->nr--;
	if (m->vm)
		let_vm_go(f, m);
	free(m);
}

struct machine *fleet_add(struct fleet *f, const struct vm_config *cfg)
{
	struct machine *m;

	m = insert(f, cfg->name[0] ? cfg->name : "machine");
	if (!m)
		return NULL;
	m->config = *cfg;
	snprintf(m->config.name, sizeof(m->config.name), "%s", m->id);
	return m;
}

struct machine *fleet_same(const struct fleet *f, const struct vm_config *cfg)
{
	for (unsigned i = 0; i < f->nr; i++) {
		struct machine *m = f->machines[i];

		if (m->path[0] && !m->broken.code &&
		    !memcmp(&m->config, cfg, sizeof(*cfg)))
			return m;
	}
	return NULL;
}

int fleet_delete(struct fleet *f, struct machine *m, struct error *e)
{
	int i = fleet_index(f, m);

	if (i < 0 || is_active(m))
		return error_set(e, -EBUSY,
				 "'%s' is %s: power it off before deleting it",
				 m->id, machine_state_text(m));
	if (m->path[0] && unlink(m->path) && errno != ENOENT)
		return error_errno(e, errno, "deleting '%s'", m->path);
	take_out(f, (unsigned)i);
	return 0;
}

/* ---- files (fleet_scan calls these through fleet_files.c) ---- */

struct machine *fleet_add_file(struct fleet *f, const char *path,
			       const char *name)
{
	struct machine *m = NULL;

	for (unsigned i = 0; i < f->nr; i++)
		if (!strcmp(f->machines[i]->path, path))
			m = f->machines[i];
	if (!m)
		m = insert(f, name);
	if (!m || m->life != MACHINE_IDLE)
		return m;
	snprintf(m->path, sizeof(m->path), "%s", path);
	m->broken = (struct error){0};
	vm_config_init(&m->config);
	if (vm_config_load(&m->config, path, &m->broken) && !m->broken.code)
		m->broken.code = -EINVAL;
	return m;
}

void fleet_drop_missing(struct fleet *f)
{
	for (unsigned i = f->nr; i-- > 0;) {
		struct machine *m = f->machines[i];

		if (m->path[0] && m->life == MACHINE_IDLE &&
		    access(m->path, F_OK))
			take_out(f, i);
	}
}

/* ---- commands and news ---- */

int fleet_command(struct fleet *f, struct machine *m, enum vm_command_kind kind,
		  unsigned index, const char *text, struct error *e)
{
	struct vm_command cmd = {.kind = kind, .index = index};

	(void)f;
	if (m->life != MACHINE_LIVE)
		return error_set(e, -ESRCH, "'%s' is not running", m->id);
	snprintf(cmd.text, sizeof(cmd.text), "%s", text ? text : "");
	vm_command(m->vm, &cmd);
	return 0;
}

/* A person may have changed the file since. */
static void read_again(struct fleet *f, struct machine *m)
{
	struct vm_config cfg;
	struct error e = {0};

	vm_config_init(&cfg);
	if (!m->path[0] || vm_config_load(&cfg, m->path, &e))
		return;
	if (m->life == MACHINE_LIVE && memcmp(&cfg, &m->config, sizeof(cfg)))
		let_vm_go(f, m);
	if (m->life == MACHINE_IDLE) {
		m->config = cfg;
		m->broken.code = 0;
	}
}

bool machine_is_stopped(const struct machine *m)
{
	return m->life == MACHINE_IDLE ||
	       (m->life == MACHINE_LIVE && m->status.state == VM_OFF);
}

int fleet_start(struct fleet *f, struct machine *m, struct error *e)
{
	if (machine_is_stopped(m))
		read_again(f, m);
	if (m->broken.code)
		return error_set(e, m->broken.code, "%s", m->broken.msg);
	if (m->life == MACHINE_STARTING)
		return 0;
	if (m->life == MACHINE_IDLE)
		return start_making(f, m, e);
	return fleet_command(f, m, VM_CMD_RESUME, 0, NULL, e);
}

static void tell_event(struct fleet *f, struct machine *m,
		       const struct vm_event *ev)
{
	char text[400];

	switch (ev->kind) {
	case VM_EVENT_COMMAND_FAILED:
		say(f, m, true, ev->text);
		break;
	case VM_EVENT_STATE:
		snprintf(text, sizeof(text), "%s", ev->text);
		if (!text[0])
			return;
		say(f, m, ev->state == VM_CRASHED || ev->code, text);
		break;
	case VM_EVENT_GUEST_RESET:
		say(f, m, false, ev->text[0] ? ev->text : "the guest reset");
		break;
	case VM_EVENT_EXIT_CODE:
		snprintf(text, sizeof(text), "the guest ended with code %d",
			 ev->code);
		say(f, m, false, text);
		break;
	case VM_EVENT_POWER_CUT:
		say(f, m, ev->code != 0, ev->text);
		break;
	case VM_EVENT_COMMAND_DONE:
		if (*ev->text)
			say(f, m, false, ev->text);
		break;
	}
}

static bool refresh_machine(struct fleet *f, struct machine *m)
{
	enum vm_state before = m->status.state;
	struct vm_event events[16];
	uint64_t count;
	size_t n;

	if (read(vm_event_fd(m->vm), &count, sizeof(count)) < 0)
		count = 0;
	n = vm_events(m->vm, m->last_event, events, 16);
	for (size_t i = 0; i < n; i++) {
		m->last_event = events[i].seq;
		tell_event(f, m, &events[i]);
	}
	vm_status_copy(m->vm, &m->status);
	return n > 0 || m->status.state != before;
}

bool fleet_refresh(struct fleet *f)
{
	bool changed = finish_jobs(f);

	for (unsigned i = 0; i < f->nr; i++)
		if (f->machines[i]->life == MACHINE_LIVE)
			changed |= refresh_machine(f, f->machines[i]);
	return changed;
}

static void push(struct machine *m, uint64_t cpu, uint64_t exits)
{
	if (m->nr_history == FLEET_HISTORY) {
		memmove(m->cpu_permille, m->cpu_permille + 1,
			sizeof(m->cpu_permille) - sizeof(m->cpu_permille[0]));
		memmove(m->exits, m->exits + 1,
			sizeof(m->exits) - sizeof(m->exits[0]));
		m->nr_history--;
	}
	m->cpu_permille[m->nr_history] = cpu;
	m->exits[m->nr_history++] = exits;
}

void fleet_sample(struct fleet *f)
{
	uint64_t now = now_ns(), past;

	for (unsigned i = 0; i < f->nr; i++) {
		struct machine *m = f->machines[i];
		const struct vm_status *s = &m->status;

		if (m->life != MACHINE_LIVE)
			continue;
		past = now - m->sampled_ns;
		if (m->sampled_ns && past && s->cpu_ns >= m->sampled_cpu_ns &&
		    s->exits >= m->sampled_exits)
			push(m, (s->cpu_ns - m->sampled_cpu_ns) * 1000 / past,
			     (uint64_t)((double)(s->exits - m->sampled_exits) *
					1e9 / (double)past));
		m->sampled_ns = now;
		m->sampled_cpu_ns = s->cpu_ns;
		m->sampled_exits = s->exits;
	}
}

int fleet_fds(struct fleet *f, int *fds, int max)
{
	int n = 0;

	if (n < max)
		fds[n++] = f->wake;
	for (unsigned i = 0; i < f->nr && n < max; i++)
		if (f->machines[i]->life == MACHINE_LIVE)
			fds[n++] = vm_event_fd(f->machines[i]->vm);
	return n;
}
