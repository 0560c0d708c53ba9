/* Cutting the power of a machine whose disks can bear it. */
#include "core/vm_power.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/power/cut.h"
#include "core/vm_disk_bus.h"
#include "core/vm_internal.h"

struct cut {
	struct vm *vm;
	enum blk_cut mode;
	struct vm_power_cut facts;
};

static bool is_written(const struct vm_disk_config *cfg)
{
	return !cfg->readonly && !cfg->cdrom;
}

/* ---- who may ---- */

static int check_disk(struct vm *vm, unsigned i, struct error *e)
{
	const struct vm_disk_config *cfg = &vm->cfg.disks[i];

	if (!is_written(cfg))
		return 0;
	if (!cfg->scratch)
		return error_set(e, -EPERM,
				 "%s, '%s', is not a scratch disk: a power cut "
				 "would harm its image; give it scratch and "
				 "volatile",
				 vm->disks[i].name, cfg->path);
	if (!cfg->is_volatile)
		return error_set(
			e, -EPERM,
			"%s, '%s', has no model of a volatile cache to "
			"lose; give it volatile beside scratch",
			vm->disks[i].name, cfg->path);
	return drive_cut_check(vm->disks[i].drive, e);
}

static int check(struct vm *vm, struct error *e)
{
	bool any = false;
	int r = 0;

	if (vm->state == VM_OFF)
		return error_set(
			e, -EINVAL,
			"the machine is off: there is no power to cut");
	for (unsigned i = 0; i < vm->nr_disks && !r; i++) {
		any |= is_written(&vm->cfg.disks[i]);
		r = check_disk(vm, i, e);
	}
	if (!r && !any)
		return error_set(e, -EINVAL,
				 "the machine has no disk that it writes to");
	return r;
}

/* MODE [SEED] */
static int parse(struct cut *c, const char *text, struct error *e)
{
	size_t len = strcspn(text, " ");
	const char *seed = text + len + strspn(text + len, " ");
	char mode[16], *end;
	int r;

	snprintf(mode, sizeof(mode), "%.*s", (int)len, text);
	r = blk_cut_parse(mode, &c->mode, e);
	if (r)
		return r;
	c->facts.seed = (unsigned)(loop_now_ns() / 1000) % 1000000;
	if (*seed) {
		c->facts.seed = (unsigned)strtoul(seed, &end, 0);
		if (*end || *seed == '-')
			return error_set(e, -EINVAL,
					 "'%.40s' is no seed: give a number",
					 seed);
	}
	snprintf(c->facts.mode, sizeof(c->facts.mode), "%s",
		 blk_cut_name(c->mode));
	return 0;
}

/* ---- the cut ---- */

static int cut_disk(struct cut *c, unsigned i, struct error *e)
{
	struct vm_cut_row *row = &c->facts.disks[c->facts.nr_disks++];
	const struct vm_disk_config *cfg = &c->vm->cfg.disks[i];
	struct drive_cut cut = {0};
	int r = drive_cut_power(c->vm->disks[i].drive, c->mode,
				c->facts.seed + i, &cut, e);

	*row = (struct vm_cut_row){
		.promised = cut.facts.promised,
		.found = cut.facts.kept,
		.answered = cut.facts.answered,
		.lost = cut.facts.lost,
		.torn = cut.facts.torn,
		.unanswered = cut.facts.unanswered,
		.held = cut.held_bytes,
		.is_partial = cut.facts.is_partial,
		.no_promise = cut.promise == CACHE_NOTHING,
		.is_broken = r || drive_cut_is_broken(&cut),
	};
	snprintf(row->name, sizeof(row->name), "%s", c->vm->disks[i].name);
	snprintf(row->bus, sizeof(row->bus), "%s",
		 vm_disk_bus_of(cfg, NULL)->name);
	snprintf(row->cache, sizeof(row->cache), "%s",
		 *cfg->cache ? cfg->cache : "writeback");
	if (r)
		snprintf(row->verdict, sizeof(row->verdict), "BROKEN: %.150s",
			 e->msg);
	else
		drive_cut_verdict(&cut, row->verdict);
	return r;
}

static int cut_disks(void *arg, struct error *e)
{
	struct cut *c = arg;
	int ret = 0;

	for (unsigned i = 0; i < c->vm->nr_disks; i++) {
		struct error one = {0};
		int r = is_written(&c->vm->cfg.disks[i]) ? cut_disk(c, i, &one)
							 : 0;

		if (!r || ret)
			continue;
		ret = r;
		*e = one;
		error_prefix(e, r, "%s", c->vm->disks[i].name);
	}
	return ret;
}

static void tell(struct vm *vm, const struct vm_power_cut *cut)
{
	unsigned broken = 0;
	char text[256];
	const char *line;

	for (unsigned i = 0; i < cut->nr_disks; i++)
		broken += cut->disks[i].is_broken;
	for (unsigned i = 0; (line = vm_power_cut_line(cut, i, text)); i++)
		log_write(vm->log, broken ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
			  vm->cfg.name, "%s", line);
	vm_event_add(vm, VM_EVENT_POWER_CUT, 0, (int)broken,
		     "power cut (%s, seed %u): %s: %s", cut->mode, cut->seed,
		     cut->disks[0].name, cut->disks[0].verdict);
}

int vm_cut_power(struct vm *vm, const char *text, struct error *e)
{
	struct cut *c = calloc(1, sizeof(*c));
	int r = c ? parse(c, text, e) : error_set(e, -ENOMEM, "out of memory");

	if (!r)
		r = check(vm, e);
	if (r) {
		free(c);
		return r;
	}
	c->vm = vm;
	c->facts.nr = vm->cut.nr + 1;
	c->facts.time_ns = loop_now_ns() - vm->created_ns;
	r = vm_power_cycle(vm, cut_disks, c, e);
	pthread_mutex_lock(&vm->lock);
	vm->cut = c->facts;
	pthread_mutex_unlock(&vm->lock);
	tell(vm, &c->facts);
	free(c);
	return r;
}

/* ---- the table ---- */

void vm_power_cut_copy(struct vm *vm, struct vm_power_cut *out)
{
	pthread_mutex_lock(&vm->lock);
	*out = vm->cut;
	pthread_mutex_unlock(&vm->lock);
}

static void size_text(uint64_t bytes, char *text, size_t room)
{
	if (bytes >= 10 << 20)
		snprintf(text, room, "%" PRIu64 " MiB", bytes >> 20);
	else if (bytes >= 10 << 10)
		snprintf(text, room, "%" PRIu64 " KiB", bytes >> 10);
	else
		snprintf(text, room, "%" PRIu64, bytes);
}

static const char *row_line(const struct vm_cut_row *r, char *text)
{
	char promised[24], found[24];

	size_text(r->promised, promised, sizeof(promised));
	size_text(r->found, found, sizeof(found));
	snprintf(text, 256,
		 "%-8s %-11s %-12s %9s %9s %6" PRIu64 " %6" PRIu64 "  %s",
		 r->name, r->bus, r->cache, promised, found, r->lost, r->torn,
		 r->verdict);
	return text;
}

const char *vm_power_cut_line(const struct vm_power_cut *cut, unsigned i,
			      char *text)
{
	if (!cut->nr || i > cut->nr_disks + 1)
		return NULL;
	if (i > 1)
		return row_line(&cut->disks[i - 2], text);
	if (i)
		return "disk     bus         cache         promised     there  "
		       " "
		       "lost   torn  verdict";
	snprintf(text, 256,
		 "power cut %u: of what was not flushed arrived: %s (seed %u)",
		 cut->nr, cut->mode, cut->seed);
	return text;
}
