/*
 * A machine that only pretends: it implements core/vm.h with canned facts, so
 * that screens can be compared with text character by character, without KVM.
 *
 * Its text screen shows what the keyboard said; its serial line echoes.  A
 * machine whose name begins with "crash" crashes when it starts, one whose name
 * begins with "absent" can't be made.  At an NMI its disk finds no space on the
 * host.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/console.h"
#include "core/error.h"
#include "core/log.h"
#include "core/vm.h"
#include "core/vm_disks.h"
#include "core/vm_power.h"

#define MAX_EVENTS 64
#define NO_SPACE                                                               \
	"disk0: write failed: No space left on device: make room and resume"

struct vm {
	struct vm_config config;
	struct log *log;
	struct console *console;
	struct serial_line *serial;
	struct console_input input;
	struct console_text text;
	int wake;
	pthread_mutex_t lock; /* protects: */
	enum vm_state state;
	char message[512];
	const char *reason; /* why it paused by itself, or NULL */
	struct vm_event events[MAX_EVENTS];
	size_t nr_events;
	uint64_t commands;
	unsigned resets, cuts;
};

/* ---- the pretended guest ---- */

static void put_text(struct vm *vm, int row, const char *text, uint8_t attr)
{
	for (int i = 0; text[i] && i < 80; i++)
		vm->text.cells[row][i] =
			(struct console_cell){(uint8_t)text[i], attr};
}

static void show(struct vm *vm)
{
	console_set_text(vm->console, &vm->text);
	console_changed(vm->console, (struct console_rect){0, 0, 640, 400});
}

/* Keys appear as make codes, so that a test sees exactly what arrived. */
static void on_key(void *opaque, uint16_t scancode, bool down)
{
	struct vm *vm = opaque;
	char text[16];

	if (!down)
		return;
	snprintf(text, sizeof(text), "%03x ", scancode);
	if (vm->text.cursor_col > 72) {
		vm->text.cursor_col = 0;
		vm->text.cursor_row++;
	}
	for (int i = 0; i < 4; i++)
		vm->text.cells[vm->text.cursor_row][vm->text.cursor_col++] =
			(struct console_cell){(uint8_t)text[i], 0x0a};
	show(vm);
}

static const struct console_input_ops input_ops = {.key = on_key};

/* The line's lock is held: only remember, like a device that posts. */
static void on_serial(void *arg)
{
	struct vm *vm = arg;
	uint64_t one = 1;

	if (write(vm->wake, &one, sizeof(one)) < 0)
		abort();
}

static void echo(struct vm *vm)
{
	char buf[256];
	size_t n = serial_line_input(vm->serial, buf, sizeof(buf));

	if (n)
		serial_line_output(vm->serial, buf, n);
}

static void draw_first_screen(struct vm *vm)
{
	vm->text.cols = 80;
	vm->text.rows = 25;
	for (int row = 0; row < 25; row++)
		for (int col = 0; col < 80; col++)
			vm->text.cells[row][col] =
				(struct console_cell){' ', 0x07};
	put_text(vm, 0, "The pretended guest \xc9\xcd\xcd\xbb \xe3", 0x1f);
	put_text(vm, 1, "with \x1b[31mhostile\x07 text and \xdb blocks", 0x07);
	put_text(vm, 3, " chosen entry ", 0x70);
	vm->text.cursor_row = 5;
	vm->text.cursor_col = 0;
	show(vm);
}

/* ---- life ---- */

static void tell(struct vm *vm, enum vm_event_kind kind, const char *text)
{
	uint64_t one = 1;
	struct vm_event *ev;

	if (vm->nr_events == MAX_EVENTS) {
		memmove(vm->events, vm->events + 1,
			(MAX_EVENTS - 1) * sizeof(vm->events[0]));
		vm->nr_events--;
	}
	ev = &vm->events[vm->nr_events];
	*ev = (struct vm_event){.kind = kind, .state = vm->state};
	ev->seq = vm->nr_events ? ev[-1].seq + 1 : 1;
	ev->command = vm->commands;
	snprintf(ev->text, sizeof(ev->text), "%s", text);
	vm->nr_events++;
	if (write(vm->wake, &one, sizeof(one)) < 0)
		abort();
}

struct vm *vm_create(const struct vm_config *cfg, struct log *log,
		     struct error *e)
{
	static const char greeting[] =
		"pretended serial line\r\n\x1b[32mgreen\x1b[0m $ ";
	struct vm *vm;

	if (!strncmp(cfg->name, "absent", 6)) {
		error_set(e, -ENOENT, "disk '%s' is not there",
			  cfg->disks[0].path);
		return NULL;
	}
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return NULL;
	vm->config = *cfg;
	vm->log = log;
	vm->console = console_create();
	vm->serial = serial_line_create("serial0");
	vm->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&vm->lock, NULL);
	vm->input = (struct console_input){.ops = &input_ops, .opaque = vm};
	console_input_add(vm->console, &vm->input);
	console_input_enable(vm->console, &vm->input, true);
	serial_line_set_notify(vm->serial, on_serial, vm);
	serial_line_output(vm->serial, greeting, sizeof(greeting) - 1);
	draw_first_screen(vm);
	log_write(log, LOG_LEVEL_INFO, cfg->name, "pretends to exist");
	return vm;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	console_input_remove(vm->console, &vm->input);
	console_destroy(vm->console);
	serial_line_destroy(vm->serial);
	close(vm->wake);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

static void enter(struct vm *vm, enum vm_state state, const char *text)
{
	vm->state = state;
	tell(vm, VM_EVENT_STATE, text);
}

static void obey(struct vm *vm, const struct vm_command *cmd)
{
	switch (cmd->kind) {
	case VM_CMD_RESUME:
		if (!strncmp(vm->config.name, "crash", 5)) {
			snprintf(vm->message, sizeof(vm->message),
				 "triple fault on vcpu0\n"
				 "rip 0x7c00  rsp 0x7bfe\n"
				 "code 0f 0b \x1b[2J f4");
			enter(vm, VM_CRASHED, "triple fault on vcpu0");
			return;
		}
		vm->reason = NULL;
		enter(vm, VM_RUNNING, "running");
		return;
	case VM_CMD_PAUSE:
		enter(vm, VM_PAUSED, "paused");
		return;
	case VM_CMD_RESET:
		vm->resets++;
		tell(vm, VM_EVENT_GUEST_RESET, "reset");
		return;
	case VM_CMD_POWERDOWN:
	case VM_CMD_POWEROFF:
		enter(vm, VM_OFF, "powered off");
		return;
	case VM_CMD_NMI:
		vm->reason = NO_SPACE;
		enter(vm, VM_PAUSED, NO_SPACE);
		vm->events[vm->nr_events - 1].code = -EIO;
		return;
	case VM_CMD_CUT_POWER:
		vm->cuts++;
		tell(vm, VM_EVENT_POWER_CUT, "power cut");
		return;
	case VM_CMD_DISK:
		log_write(vm->log, LOG_LEVEL_INFO, vm->config.name,
			  "disk %u is told: %s", cmd->index, cmd->text);
		return;
	case VM_CMD_CHANGE_MEDIUM:
		tell(vm, VM_EVENT_COMMAND_FAILED, "the tray is locked");
		return;
	}
}

uint64_t vm_command(struct vm *vm, const struct vm_command *cmd)
{
	uint64_t id;

	pthread_mutex_lock(&vm->lock);
	id = ++vm->commands;
	obey(vm, cmd);
	pthread_mutex_unlock(&vm->lock);
	return id;
}

int vm_command_sync(struct vm *vm, const struct vm_command *cmd,
		    struct error *e)
{
	(void)e;
	vm_command(vm, cmd);
	return 0;
}

size_t vm_events(struct vm *vm, uint64_t since, struct vm_event *out,
		 size_t max)
{
	size_t n = 0;

	echo(vm);
	pthread_mutex_lock(&vm->lock);
	for (size_t i = 0; i < vm->nr_events && n < max; i++)
		if (vm->events[i].seq > since)
			out[n++] = vm->events[i];
	pthread_mutex_unlock(&vm->lock);
	return n;
}

int vm_event_fd(struct vm *vm)
{
	return vm->wake;
}

/* ---- facts ---- */

void vm_status_copy(struct vm *vm, struct vm_status *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&vm->lock);
	snprintf(out->name, sizeof(out->name), "%s", vm->config.name);
	snprintf(out->message, sizeof(out->message), "%s", vm->message);
	snprintf(out->reason, sizeof(out->reason), "%s",
		 vm->reason ? vm->reason : "");
	out->state = vm->state;
	out->uptime_ns = 3723000000000ull;
	out->mem = vm->config.mem;
	out->cpus = vm->config.cpus;
	out->resets = vm->resets;
	out->exit_code = -1;
	pthread_mutex_unlock(&vm->lock);
}

size_t vm_vcpus_copy(struct vm *vm, struct vm_vcpu_row *out, size_t max)
{
	size_t n = vm->config.cpus < max ? vm->config.cpus : max;

	for (size_t i = 0; i < n; i++)
		out[i] =
			(struct vm_vcpu_row){.index = (unsigned)i,
					     .state = i ? "waiting" : "running",
					     .exits = 1000,
					     .pio = 600,
					     .mmio = 400,
					     .rip = 0xfff0};
	return n;
}

size_t vm_devices_copy(struct vm *vm, struct vm_device_row *out, size_t max)
{
	struct vm_device_row rows[] = {
		{.name = "mch",
		 .cls = "pci",
		 .place = "00:00.0",
		 .summary = "host bridge",
		 .vendor = 0x8086,
		 .device = 0x29c0,
		 .is_pci = true,
		 .gsi = -1},
		{.name = "disk0",
		 .cls = "virtio-blk",
		 .place = "00:02.0",
		 .summary = "virtio disk",
		 .vendor = 0x1af4,
		 .device = 0x1042,
		 .class_code = 0x010000,
		 .is_pci = true,
		 .gsi = 22,
		 .msix_vectors = 2,
		 .msix_enabled = true,
		 .interrupts = 42,
		 .features = {{"F_FLUSH", 9, true, true},
			      {"F_MQ", 12, true, false}},
		 .nr_features = 2},
		{.name = "evil\x1b[2J",
		 .cls = "bad",
		 .place = "00:03.0",
		 .depth = 1,
		 .failed = true,
		 .why = "ring at 0x10 is outside RAM",
		 .gsi = -1},
	};
	size_t n = sizeof(rows) / sizeof(rows[0]);

	(void)vm;
	strcpy(rows[1].bars[4].kind, "mem64");
	rows[1].bars[4].addr = 0xfe000000;
	rows[1].bars[4].len = 16384;
	rows[1].bars[4].mapped = true;
	rows[1].bars[4].reads = 17;
	rows[1].bars[4].writes = 4711;
	rows[1].nr_counters = 1;
	strcpy(rows[1].counters[0].name, "queue kicks");
	rows[1].counters[0].value = 123456;
	n = n < max ? n : max;
	memcpy(out, rows, n * sizeof(rows[0]));
	return n;
}

size_t vm_memory_copy(struct vm *vm, enum vm_mem_kind kind,
		      struct vm_mem_row *out, size_t max)
{
	static const struct vm_mem_row rows[] = {
		{.kind = VM_MEM_BLOCK,
		 .name = "pc.ram",
		 .block = "pc.ram",
		 .type = "ram",
		 .len = 64 << 20,
		 .dirty_pages = 12},
		{.kind = VM_MEM_BLOCK,
		 .name = "pc.rom",
		 .block = "pc.rom",
		 .type = "rom",
		 .len = 256 << 10,
		 .readonly = true},
		{.kind = VM_MEM_REGION,
		 .name = "ram-low",
		 .block = "pc.ram",
		 .type = "ram",
		 .len = 64 << 20,
		 .enabled = true},
		{.kind = VM_MEM_REGION,
		 .name = "pam-c0000",
		 .block = "pc.ram",
		 .type = "ram",
		 .gpa = 0xc0000,
		 .len = 0x4000,
		 .priority = 2},
		{.kind = VM_MEM_SLOT,
		 .block = "pc.ram",
		 .slot = 1,
		 .len = 0xa0000,
		 .enabled = true},
		{.kind = VM_MEM_SLOT,
		 .block = "pc.ram",
		 .slot = 3,
		 .gpa = 0xc0000,
		 .len = 0x20000,
		 .readonly = true,
		 .logged = true,
		 .enabled = true,
		 .dirty_pages = 3},
		{.kind = VM_MEM_SLOT,
		 .block = "pc.ram",
		 .slot = 4,
		 .gpa = 0xe0000,
		 .len = 0x20000,
		 .enabled = true},
	};
	size_t n = 0;

	(void)vm;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && n < max; i++)
		if (rows[i].kind == kind)
			out[n++] = rows[i];
	return n;
}

size_t vm_memory_events(struct vm *vm, uint64_t since, struct vm_mem_event *out,
			size_t max)
{
	static const struct vm_mem_event events[] = {
		{1, 10000000, "created", 1, 0, 0xa0000, 0, "pc.ram", false,
		 false},
		{2, 12000000, "created", 2, 0xc0000, 0x40000, 0, "pc.ram",
		 false, false},
		{3, 1500000000, "destroyed", 2, 0xc0000, 0x40000, 9, "pc.ram",
		 false, false},
		{4, 1500100000, "created", 3, 0xc0000, 0x20000, 0, "pc.ram",
		 true, true},
		{5, 1500200000, "created", 4, 0xe0000, 0x20000, 0, "pc.ram",
		 false, false},
	};
	size_t n = 0;

	(void)vm;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]) && n < max;
	     i++)
		if (events[i].seq > since)
			out[n++] = events[i];
	return n;
}

size_t vm_disks_copy(struct vm *vm, struct vm_disk_row *out, size_t max)
{
	(void)vm;
	for (size_t i = 0; i < 2 && i < max; i++) {
		memset(&out[i], 0, sizeof(*out));
		snprintf(out[i].name, sizeof(out->name), "disk%zu", i);
		snprintf(out[i].path, sizeof(out->path), "/disks/%s.img",
			 i ? "unsafe" : "pretended");
		snprintf(out[i].bus, sizeof(out->bus), i ? "nvme" : "virtio");
		snprintf(out[i].cache, sizeof(out->cache), "unsafe");
		snprintf(out[i].aio, sizeof(out->aio), "io_uring");
		out[i].len = 16 << 20;
		out[i].has_medium = out[i].wce = true;
		out[i].reads = 10;
		out[i].writes = 20;
	}
	return max < 2 ? max : 2;
}

/* A disk on which much is not as it was asked for. */
static void pretend_modes(struct vm_disk_facts *f)
{
	static const struct {
		const char *event, *text;
		bool bad;
	} after[] = {
		{"guest crash", "every write that completed is there", false},
		{"crash of binnacle", "what the guest flushed is there", false},
		{"host crash", "what the guest flushed is there", false},
		{"power loss", "nothing is certain to be there", true},
	};

	strcpy(f->wanted.cache, "none");
	strcpy(f->now.cache, "writeback");
	strcpy(f->wanted.aio, "io_uring");
	strcpy(f->now.aio, "threads");
	f->wanted.direct = true;
	f->wanted.wce = f->now.wce = true;
	strcpy(f->differs[0], "the host's file system refuses O_DIRECT");
	f->nr_differs = 1;
	for (int i = 0; i < 4; i++) {
		f->after[i].event = after[i].event;
		f->after[i].text = after[i].text;
		f->after[i].bad = after[i].bad;
	}
	f->driver_known = f->driver.started = f->driver.flush = true;
	f->driver.wce_control = true;
	strcpy(f->device, "virtio-blk-pci");
	strcpy(f->driver.offered, "F_FLUSH F_CONFIG_WCE F_DISCARD F_MQ");
	strcpy(f->driver.accepted, "F_FLUSH F_CONFIG_WCE");
}

static void pretend_flow(struct vm_disk_flow *f, uint64_t ops, int bucket)
{
	f->ops = ops;
	f->bytes = ops * 4096;
	f->in_flight = 3;
	f->max_ns = (uint64_t)3000 << bucket;
	f->latency[bucket] = ops - ops / 4 - ops / 8 - 1;
	f->latency[bucket + 1] = ops / 4;
	f->latency[bucket - 2] = ops / 8;
	f->latency[bucket + 2] = 1;
}

static void pretend_files(struct vm_disk_facts *f)
{
	strcpy(f->files[0].path, "/disks/pretended.qcow2");
	f->files[0].flags = O_RDWR;
	f->files[0].cache_known = true;
	f->files[0].cached = 5 << 20;
	strcpy(f->files[1].path, "/disks/a-base-with-a-long-name.img");
	f->files[1].layer = 1;
	f->files[1].flags = O_RDONLY | O_DIRECT;
	f->files[1].cache_known = true;
	f->nr_files = f->all_files = 2;
	f->cached = 5 << 20;
	f->dirty = 1200 << 10;
	f->cache_known = f->dirty_known = true;
	strcpy(f->cache_source, "cachestat");
	strcpy(f->snapshots[0].id, "1");
	strcpy(f->snapshots[0].name, "fresh");
	f->nr_snapshots = f->all_snapshots = 1;
	f->can_snapshot = true;
}

/* A disk as it was asked for, under a guest that knows of no flush. */
static void pretend_unsafe(struct vm_disk_facts *f)
{
	strcpy(f->wanted.cache, "unsafe");
	strcpy(f->wanted.aio, "io_uring");
	f->wanted.no_flush = f->wanted.wce = true;
	f->now = f->wanted;
	f->files[0].flags = O_RDWR;
	f->nr_files = f->all_files = 1;
	f->driver_known = f->driver.started = true;
	strcpy(f->device, "nvme");
	pretend_flow(&f->flow[VM_DISK_WRITE], 5000, 12);
	f->flow[VM_DISK_WRITE].failed = 2;
	f->unflushed_writes = 5000;
	f->unflushed_bytes = 5000 * 4096;
	f->unflushed_age_ns = 2000000000000;
	f->never_flush_after_ns = 300000000000;
	f->never_flushes = true;
	f->sync_failed = true;
	strcpy(f->throttle, "iops-total=100");
	f->throttled = 7;
	f->len = 16 << 20;
	f->has_medium = true;
}

bool vm_disk_facts_copy(struct vm *vm, unsigned index,
			struct vm_disk_facts *out)
{
	memset(out, 0, sizeof(*out));
	strcpy(out->werror, index ? "ignore" : "enospc");
	strcpy(out->rerror, "report");
	if (vm->reason && !index) {
		out->kept = 2;
		strcpy(out->kept_why, vm->reason);
	}
	if (index) {
		pretend_unsafe(out);
		return index == 1;
	}
	out->len = 16 << 20;
	out->has_medium = out->scratch = true;
	pretend_modes(out);
	pretend_files(out);
	pretend_flow(&out->flow[VM_DISK_READ], 12345, 7);
	pretend_flow(&out->flow[VM_DISK_WRITE], 310, 10);
	out->host_flushes = 2;
	out->unflushed_writes = 310;
	out->unflushed_bytes = 310 * 4096;
	out->unflushed_age_ns = 200000000000;
	out->never_flush_after_ns = 300000000000;
	return true;
}

void vm_power_cut_copy(struct vm *vm, struct vm_power_cut *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&vm->lock);
	out->nr = vm->cuts;
	pthread_mutex_unlock(&vm->lock);
	if (!out->nr)
		return;
	strcpy(out->mode, "torn");
	out->nr_disks = 1;
	strcpy(out->disks[0].name, "disk0");
	strcpy(out->disks[0].verdict, "all that was promised is there");
}

/* What a layer of the pretended disk has at a cluster of 64 KiB. */
static char pretended(unsigned layer, uint64_t cluster)
{
	if (layer == 0)
		return cluster < 16	  ? 'd'
		       : cluster < 20	  ? 'z'
		       : cluster % 7 == 3 ? 'd'
					  : '.';
	return cluster < 100   ? 'd'
	       : cluster < 180 ? 'z'
	       : cluster < 200 ? 'd'
			       : ' ';
}

static char cell_of(unsigned layer, uint64_t from, uint64_t to)
{
	char letter = pretended(layer, from >> 16);

	for (uint64_t i = from >> 16; i << 16 < to; i++)
		if (pretended(layer, i) != letter)
			return layer && i == 200 ? 'e' : 'm';
	return letter;
}

size_t vm_disk_map_copy(struct vm *vm, unsigned disk,
			const struct vm_disk_range *want,
			struct vm_disk_map *out)
{
	uint64_t disk_len = 16 << 20, len = want->len ? want->len : disk_len;

	(void)vm;
	(void)disk;
	memset(out, 0, sizeof(*out));
	out->range = *want;
	out->cell = ((len - 1) / want->nr_cells + 512) & ~511ull;
	out->nr_layers = out->all_layers = 2;
	strcpy(out->layers[0].name, "top.qcow2");
	strcpy(out->layers[0].format, "qcow2");
	strcpy(out->layers[0].filters, "throttle");
	out->layers[0].len = disk_len;
	strcpy(out->layers[1].name, "a-base-with-a-long-name.img");
	strcpy(out->layers[1].format, "raw");
	out->layers[1].len = 200 << 16;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < want->nr_cells; k++) {
			uint64_t off = want->off + k * out->cell;

			out->layers[i].cells[k] =
				cell_of(i, off, off + out->cell);
		}
	out->tables_budget = 1 << 20;
	out->tables_used = 192 << 10;
	out->table_hits = 1234;
	out->table_misses = 3;
	return 2;
}

struct console *vm_console(struct vm *vm)
{
	return vm->console;
}

struct serial_line *vm_serial(struct vm *vm, unsigned n)
{
	return n ? NULL : vm->serial;
}

const struct vm_config *vm_config(const struct vm *vm)
{
	return &vm->config;
}

struct log *vm_log(struct vm *vm)
{
	return vm->log;
}

const char *vm_cache_mode_help(unsigned i, char *text)
{
	(void)i;
	(void)text;
	return NULL;
}
