/* Copies of what front ends show.  Everything here is [any]. */
#include <stdio.h>
#include <string.h>

#include "core/blk/drive.h"
#include "core/blk/job.h"
#include "core/hw/pci.h"
#include "core/vcpu.h"
#include "core/vm_disk_bus.h"
#include "core/vm_internal.h"

/* ---- the machine ---- */

void vm_status_copy(struct vm *vm, struct vm_status *out)
{
	struct vcpu_status v;

	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", vm->cfg.name);
	out->mem = vm->cfg.mem;
	out->cpus = vm->cfg.cpus;
	for (unsigned i = 0; i < vm->cfg.cpus; i++) {
		vcpu_status_copy(vm->vcpus, i, &v);
		out->exits += v.exits;
		out->cpu_ns += v.cpu_ns;
	}
	/* Once it is paused: before, nothing is to be done. */
	vm_any_disk_trouble(vm, out->reason, sizeof(out->reason));
	pthread_mutex_lock(&vm->lock);
	out->state = vm->state;
	if (vm->state != VM_PAUSED)
		out->reason[0] = '\0';
	if (vm->state == VM_CRASHED)
		memcpy(out->message, vm->message, sizeof(out->message));
	out->uptime_ns = vm->ran_ns;
	if (vm->state == VM_RUNNING)
		out->uptime_ns += loop_now_ns() - vm->started_ns;
	out->resets = vm->resets;
	out->exit_code = vm->exit_code;
	pthread_mutex_unlock(&vm->lock);
}

size_t vm_vcpus_copy(struct vm *vm, struct vm_vcpu_row *out, size_t max)
{
	static const char *const states[] = {
		[VCPU_PAUSED] = "paused",
		[VCPU_RUNNING] = "running",
		[VCPU_WAITING_SIPI] = "waits for start",
		[VCPU_CRASHED] = "crashed",
	};
	size_t n = 0;

	for (; n < vm->cfg.cpus && n < max; n++) {
		struct vcpu_status v;

		vcpu_status_copy(vm->vcpus, (unsigned)n, &v);
		out[n] = (struct vm_vcpu_row){
			.index = (unsigned)n,
			.state = states[v.state],
			.exits = v.exits,
			.pio = v.pio,
			.mmio = v.mmio,
			.kicks = v.kicks,
			.cpu_ns = v.cpu_ns,
			.rip = v.rip,
		};
	}
	return n;
}

/* ---- devices ---- */

static uint64_t peek(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void copy_bar(const struct pci_dev *d, unsigned i,
		     struct vm_device_row *row)
{
	static const char *const kinds[] = {
		[PCI_BAR_NONE] = "",
		[PCI_BAR_IO] = "io",
		[PCI_BAR_MEM32] = "mem32",
		[PCI_BAR_MEM64] = "mem64",
		[PCI_BAR_MEM64_PREFETCH] = "mem64p",
	};
	const struct pci_bar *bar = &d->bars[i];
	const char *kind = kinds[bar->kind];

	if (bar->kind == PCI_BAR_NONE)
		return;
	if (i == PCI_BAR_ROM)
		kind = "rom";
	snprintf(row->bars[i].kind, sizeof(row->bars[i].kind), "%s", kind);
	row->bars[i].addr = pci_bar_addr(d, i);
	row->bars[i].mapped = row->bars[i].addr != UINT64_MAX;
	row->bars[i].len = bar->len;
	row->bars[i].reads = peek(&bar->reads);
	row->bars[i].writes = peek(&bar->writes);
}

static void copy_pci(const struct pci_dev *d, struct vm_device_row *row)
{
	const uint8_t *c = d->config;

	row->is_pci = true;
	snprintf(row->place, sizeof(row->place), "%02x:%02x.%x", d->bus,
		 d->devfn >> 3, d->devfn & 7);
	row->vendor = (uint16_t)(c[0] | c[1] << 8);
	row->device = (uint16_t)(c[2] | c[3] << 8);
	row->class_code = (uint32_t)(c[9] | c[10] << 8 | c[11] << 16);
	for (unsigned i = 0; i < PCI_NR_BARS; i++)
		copy_bar(d, i, row);
	if (c[0x3d]) {
		row->gsi = (int)d->intx.gsi;
		row->interrupts = peek(&d->intx.raised);
	}
	row->msix_vectors = d->msix.nr;
	row->msix_enabled = d->msix.nr && pci_msix_enabled(d);
	for (unsigned i = 0; i < d->msix.nr; i++)
		row->interrupts += peek(&d->msix.msi[i].raised);
}

static void copy_device(struct device *dev, struct vm_device_row *row)
{
	static const char *const places[] = {
		[DEVICE_ON_BOARD] = "board",
		[DEVICE_ON_ISA] = "isa",
		[DEVICE_ON_PCI] = "pci",
		[DEVICE_ON_CONTROLLER] = "port",
	};
	const struct device *up;

	memset(row, 0, sizeof(*row));
	snprintf(row->name, sizeof(row->name), "%s", dev->name);
	snprintf(row->cls, sizeof(row->cls), "%s", dev->cls->name);
	snprintf(row->summary, sizeof(row->summary), "%s", dev->cls->summary);
	snprintf(row->place, sizeof(row->place), "%s", places[dev->cls->bus]);
	for (up = dev->parent; up; up = up->parent)
		row->depth++;
	row->gsi = -1;
	pthread_mutex_lock(&dev->lock);
	row->failed = dev->failed;
	memcpy(row->why, dev->why, sizeof(row->why));
	if (dev->cls->bus == DEVICE_ON_PCI)
		copy_pci((struct pci_dev *)dev, row);
	if (dev->line) {
		row->gsi = (int)dev->line->gsi;
		row->interrupts = peek(&dev->line->raised);
	}
	if (dev->cls->features)
		row->nr_features =
			dev->cls->features(dev, row->features, VM_ROW_FEATURES);
	pthread_mutex_unlock(&dev->lock);
	row->nr_counters = dev->nr_counters;
	for (unsigned i = 0; i < dev->nr_counters; i++) {
		snprintf(row->counters[i].name, sizeof(row->counters[i].name),
			 "%s", dev->counters[i].name);
		row->counters[i].value = peek(&dev->counters[i].value);
	}
}

/* The list of devices stays as it is while the machine lives. */
size_t vm_devices_copy(struct vm *vm, struct vm_device_row *out, size_t max)
{
	size_t n = 0;

	for (struct device *d = vm->m.devices; d && n < max; d = d->next)
		copy_device(d, &out[n++]);
	return n;
}

/* ---- memory ---- */

static const char *type_name(enum vm_mem_kind kind, const struct mem_row *row)
{
	static const char *const regions[] = {
		[REGION_RAM] = "ram",
		[REGION_ROM] = "rom",
		[REGION_IO] = "io",
		[REGION_RESERVED] = "reserved",
	};

	if (kind == VM_MEM_BLOCK)
		return "block";
	if (kind == VM_MEM_SLOT)
		return row->kind == REGION_ROM ? "rom" : "ram";
	return regions[row->kind];
}

static void copy_mem_row(enum vm_mem_kind kind, const struct mem_row *in,
			 struct vm_mem_row *out)
{
	*out = (struct vm_mem_row){
		.kind = kind,
		.gpa = in->gpa,
		.len = in->len,
		.priority = in->priority,
		.slot = in->slot,
		.enabled = in->enabled,
		.logged = in->logged,
		.readonly = in->kind == REGION_ROM,
		.dirty_pages = in->dirty_pages,
	};
	memcpy(out->name, in->name, sizeof(out->name));
	memcpy(out->block, in->block, sizeof(out->block));
	snprintf(out->type, sizeof(out->type), "%s", type_name(kind, in));
}

#define MAX_ROWS 128

size_t vm_memory_copy(struct vm *vm, enum vm_mem_kind kind,
		      struct vm_mem_row *out, size_t max)
{
	struct mem_row rows[MAX_ROWS];
	size_t n = 0;

	if (max > MAX_ROWS)
		max = MAX_ROWS;
	switch (kind) {
	case VM_MEM_BLOCK:
		n = mem_copy_blocks(vm->m.mem, rows, max);
		break;
	case VM_MEM_REGION:
		n = mem_copy_regions(vm->m.mem, rows, max);
		break;
	case VM_MEM_SLOT:
		n = mem_copy_slots(vm->m.mem, rows, max);
		break;
	}
	for (size_t i = 0; i < n; i++)
		copy_mem_row(kind, &rows[i], &out[i]);
	return n;
}

size_t vm_memory_events(struct vm *vm, uint64_t since, struct vm_mem_event *out,
			size_t max)
{
	static const char *const names[] = {
		[MEM_SLOT_CREATED] = "created",
		[MEM_SLOT_DESTROYED] = "destroyed",
		[MEM_SLOT_FLAGS] = "flags",
	};
	struct mem_event rows[MAX_ROWS];
	size_t n;

	if (max > MAX_ROWS)
		max = MAX_ROWS;
	n = mem_copy_events(vm->m.mem, since, rows, max);
	for (size_t i = 0; i < n; i++) {
		const struct mem_event *in = &rows[i];

		out[i] = (struct vm_mem_event){
			.seq = in->seq,
			.time_ns = in->time_ns - vm->created_ns,
			.slot = in->slot,
			.gpa = in->gpa,
			.len = in->len,
			.dirty_carried = in->dirty_carried,
			.readonly = in->readonly,
			.logged = in->logged,
		};
		snprintf(out[i].what, sizeof(out[i].what), "%s",
			 names[in->kind]);
		memcpy(out[i].block, in->block, sizeof(out[i].block));
	}
	return n;
}

/* ---- disks ---- */

static void copy_fates(struct vm_disk_row *row,
		       const struct vm_disk_config *cfg)
{
	bool is_raw = !cfg->scratch && strcmp(cfg->format, "qcow2") != 0;
	enum drive_preset preset;

	if (drive_preset_parse(cfg->cache, &preset, NULL))
		return;
	for (int i = 0; i < CACHE_NR_EVENTS; i++) {
		enum cache_fate fate =
			cache_fate(&cache_modes[preset], row->wce, is_raw, i);

		row->after[i].event = cache_event_name(i);
		row->after[i].text = cache_fate_text(fate);
		row->after[i].bad = fate == CACHE_NOTHING;
	}
}

static void copy_job(struct vm_disk_row *row, struct drive *drive)
{
	struct blk_job *job = drive_job(drive);
	struct blk_job_status s;

	if (!job)
		return;
	blk_job_status(job, &s);
	blk_job_put(job);
	snprintf(row->job, sizeof(row->job), "%s", blk_job_kind_name(s.kind));
	snprintf(row->job_state, sizeof(row->job_state), "%s",
		 blk_job_state_name(s.state));
	memcpy(row->job_text, s.text, sizeof(row->job_text));
	row->job_done = s.done;
	row->job_total = s.total;
	row->job_rate = s.rate;
}

size_t vm_disks_copy(struct vm *vm, struct vm_disk_row *out, size_t max)
{
	size_t n = 0;

	for (; n < vm->nr_disks && n < max; n++) {
		const struct vm_disk_config *cfg = &vm->cfg.disks[n];
		struct vm_disk *disk = &vm->disks[n];
		struct vm_disk_row *row = &out[n];
		struct drive_stats stats;

		drive_stats_copy(disk->drive, &stats);
		*row = (struct vm_disk_row){
			.len = drive_len(disk->drive),
			.readonly = drive_readonly(disk->drive),
			.cdrom = cfg->cdrom,
			.has_medium = drive_has_medium(disk->drive),
			.wce = drive_wce_now(disk->drive),
			.reads = stats.reads,
			.writes = stats.writes,
			.flushes = stats.flushes,
			.read_bytes = stats.read_bytes,
			.write_bytes = stats.write_bytes,
			.errors = stats.errors,
			.in_flight = drive_in_flight(disk->drive),
		};
		memcpy(row->name, disk->name, sizeof(row->name));
		snprintf(row->bus, sizeof(row->bus), "%s",
			 vm_disk_bus_of(cfg, NULL)->name);
		snprintf(row->cache, sizeof(row->cache), "%s",
			 *cfg->cache			? cfg->cache
			 : drive_may_cache(disk->drive) ? "writeback"
							: "writethrough");
		snprintf(row->aio, sizeof(row->aio), "%s",
			 *cfg->aio ? cfg->aio : "threads");
		copy_fates(row, cfg);
		copy_job(row, disk->drive);
		pthread_mutex_lock(&vm->lock);
		memcpy(row->path, disk->path, sizeof(row->path));
		pthread_mutex_unlock(&vm->lock);
	}
	return n;
}
