/* A machine's life as front ends see it: create, command, events, destroy. */
#include "core/vm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/vm_config.h"
#include "core/vm_internal.h"

/* ---- events ---- */

void vm_event_add(struct vm *vm, enum vm_event_kind kind, uint64_t command,
		  int code, const char *fmt, ...)
{
	struct vm_event *ev;
	uint64_t one = 1;
	va_list ap;

	pthread_mutex_lock(&vm->lock);
	ev = &vm->events[++vm->last_event % VM_MAX_EVENTS];
	*ev = (struct vm_event){
		.seq = vm->last_event,
		.kind = kind,
		.state = vm->state,
		.command = command,
		.code = code,
	};
	va_start(ap, fmt);
	vsnprintf(ev->text, sizeof(ev->text), fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&vm->lock);
	/* A full eventfd is readable already. */
	if (write(vm->event_fd, &one, sizeof(one)) < 0)
		return;
}

size_t vm_events(struct vm *vm, uint64_t since, struct vm_event *out,
		 size_t max)
{
	uint64_t first, last;
	size_t n = 0;

	pthread_mutex_lock(&vm->lock);
	last = vm->last_event;
	first = last > VM_MAX_EVENTS ? last - VM_MAX_EVENTS + 1 : 1;
	if (since >= first)
		first = since + 1;
	for (; first <= last && n < max; first++)
		out[n++] = vm->events[first % VM_MAX_EVENTS];
	pthread_mutex_unlock(&vm->lock);
	return n;
}

int vm_event_fd(struct vm *vm)
{
	return vm->event_fd;
}

/* ---- commands ---- */

static struct vm_job *take_job(struct vm *vm)
{
	struct vm_job *job;

	pthread_mutex_lock(&vm->lock);
	job = vm->jobs;
	if (job)
		vm->jobs = job->next;
	pthread_mutex_unlock(&vm->lock);
	return job;
}

static void finish_job(struct vm *vm, struct vm_job *job, int r)
{
	bool waited = job->waited;

	vm_event_add(vm, r ? VM_EVENT_COMMAND_FAILED : VM_EVENT_COMMAND_DONE,
		     job->id, r, "%s", r || !job->e.code ? job->e.msg : "");
	if (!waited) {
		free(job);
		return;
	}
	pthread_mutex_lock(&vm->lock);
	job->e.code = r;
	job->done = true;
	pthread_cond_broadcast(&vm->done);
	pthread_mutex_unlock(&vm->lock);
}

static void on_commands(void *arg)
{
	struct vm *vm = arg;
	struct vm_job *job;

	while ((job = take_job(vm)))
		finish_job(vm, job, vm_do(vm, &job->cmd, &job->e));
}

static uint64_t post_job(struct vm *vm, struct vm_job *job,
			 const struct vm_command *cmd)
{
	struct vm_job **p;
	uint64_t id;

	job->cmd = *cmd;
	job->cmd.text[sizeof(job->cmd.text) - 1] = '\0';
	pthread_mutex_lock(&vm->lock);
	id = job->id = ++vm->last_job;
	for (p = &vm->jobs; *p; p = &(*p)->next)
		;
	*p = job;
	pthread_mutex_unlock(&vm->lock);
	loop_post(vm->m.main, &vm->command_work);
	return id;
}

uint64_t vm_command(struct vm *vm, const struct vm_command *cmd)
{
	struct vm_job *job = calloc(1, sizeof(*job));
	uint64_t id;

	if (job)
		return post_job(vm, job, cmd);
	pthread_mutex_lock(&vm->lock);
	id = ++vm->last_job;
	pthread_mutex_unlock(&vm->lock);
	vm_event_add(vm, VM_EVENT_COMMAND_FAILED, id, -ENOMEM, "out of memory");
	return id;
}

int vm_command_sync(struct vm *vm, const struct vm_command *cmd,
		    struct error *e)
{
	struct vm_job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return error_set(e, -ENOMEM, "out of memory");
	job->waited = true;
	post_job(vm, job, cmd);
	pthread_mutex_lock(&vm->lock);
	while (!job->done)
		pthread_cond_wait(&vm->done, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
	r = job->e.code;
	if (r && e)
		*e = job->e;
	free(job);
	return r;
}

/* ---- life ---- */

static int init_common(struct vm *vm, const struct vm_config *cfg,
		       struct log *log, struct error *e)
{
	vm->cfg = *cfg;
	vm->created_ns = loop_now_ns();
	vm->exit_code = -1;
	vm->command_work = (struct loop_work){.fn = on_commands, .arg = vm};
	vm->request_work = (struct loop_work){.fn = vm_on_requests, .arg = vm};
	vm->crash_work = (struct loop_work){.fn = vm_on_crash, .arg = vm};
	vm->disk_work = (struct loop_work){.fn = vm_on_disk_trouble, .arg = vm};
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->done, NULL);
	vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->event_fd < 0)
		return error_errno(e, errno, "opening the event descriptor");
	if (!log)
		log = vm->own_log = log_create(LOG_LEVEL_ERROR + 1);
	if (!log)
		return error_set(e, -ENOMEM, "no memory for the log");
	vm->log = log;
	return config_check(cfg, e);
}

struct vm *vm_create(const struct vm_config *cfg, struct log *log,
		     struct error *e)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm) {
		error_set(e, -ENOMEM, "no memory for a machine");
		return NULL;
	}
	r = init_common(vm, cfg, log, e);
	if (!r)
		r = vm_build(vm, e);
	if (r) {
		error_prefix(e, r, "machine '%s'", cfg->name);
		vm_destroy(vm);
		return NULL;
	}
	log_write(vm->log, LOG_LEVEL_INFO, cfg->name,
		  "made with %llu MiB and %u CPU%s",
		  (unsigned long long)(cfg->mem >> 20), cfg->cpus,
		  cfg->cpus == 1 ? "" : "s");
	return vm;
}

void vm_destroy(struct vm *vm)
{
	struct vm_job *job;

	if (!vm)
		return;
	vm_unbuild(vm);
	/* Nobody waits any more: the owner destroys alone. */
	while ((job = take_job(vm)))
		free(job);
	if (vm->event_fd >= 0)
		close(vm->event_fd);
	log_destroy(vm->own_log);
	pthread_cond_destroy(&vm->done);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

struct console *vm_console(struct vm *vm)
{
	return vm->m.console;
}

struct serial_line *vm_serial(struct vm *vm, unsigned n)
{
	return n ? NULL : vm->com1;
}

const struct vm_config *vm_config(const struct vm *vm)
{
	return &vm->cfg;
}

struct log *vm_log(struct vm *vm)
{
	return vm->log;
}
