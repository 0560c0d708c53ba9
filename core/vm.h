/*
 * vm: one virtual machine, as front ends see it.
 *
 * Facts leave as snapshots: plain structs, copied out.  Wishes enter as
 * commands, posted to the machine's main loop; their outcomes come back as
 * events.  Nothing here hands out a pointer into the machine except its
 * console, serial lines and log, which are made for several threads.
 *
 * Thread rule: every call is [any] unless it says otherwise; vm_create and
 * vm_destroy by the thread that owns the machine (one at a time).
 */
#ifndef CORE_VM_H
#define CORE_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/device_feature.h"

struct console;
struct error;
struct log;
struct serial_line;
struct vm;

/* ---- what a machine is made from ---- */

#define VM_MAX_DISKS 16
#define VM_MAX_VCPUS 16
#define VM_PATH_LEN  1024

struct vm_disk_config {
	char path[VM_PATH_LEN]; /* empty: a CD-ROM drive without medium */
	char format[16];	/* "raw", "qcow2"; empty: raw (drive.h) */
	char cache[16];		/* a preset's name; empty: writeback */
	char aio[16];		/* "threads", "native", "io_uring" */
	uint64_t cache_len;	/* for an image's tables; 0: the default */
	char bus[16];		/* "virtio", "ahci" ...; empty: the usual one */
	unsigned max_unflushed_s;    /* older writes are flushed; 0: never */
	char werror[16], rerror[16]; /* as drive_errors.h parses them */
	bool cdrom, readonly;
	bool scratch; /* writes go to an overlay that ends with the machine */
	/* What is not flushed is held in a model of a volatile cache; needs
	 * scratch (VM_CMD_CUT_POWER). */
	bool is_volatile;
};

/* [any] The bus of a disk or CD-ROM drive that asks for none; constant. */
const char *vm_disk_usual_bus(bool cdrom);

/* [any] "30": seconds after which a write that the guest does not flush is
 * flushed for it, from 1 to VM_MAX_UNFLUSHED. */
#define VM_MAX_UNFLUSHED 86400
int vm_parse_unflushed_age(const char *text, unsigned *out, struct error *e);

struct vm_config {
	char name[64];
	char description[160];
	uint64_t mem;  /* bytes */
	unsigned cpus; /* 1..16 */
	char kernel[VM_PATH_LEN], initrd[VM_PATH_LEN], append[2048];
	char firmware[VM_PATH_LEN]; /* empty: Debian's SeaBIOS */
	struct vm_disk_config disks[VM_MAX_DISKS];
	unsigned nr_disks;
	char option_rom[VM_PATH_LEN]; /* of an extra PCI function, or empty */
	char boot_order[8];	      /* "c" disk, "d" CD-ROM; empty: "cd" */
	bool vga, tablet, rng;	      /* default: all on */
	bool debug_exit;	      /* isa-debug-exit at port 0x501 */
	/* VNC, carried for the front end: "127.0.0.1:1", empty: none. */
	char vnc[128], vnc_password_file[VM_PATH_LEN];
	/* COM1, carried for the front end: "" the front end's choice, "stdio",
	 * "none" or "file:PATH". */
	char serial[VM_PATH_LEN];
};

/* Defaults: 512 MiB, 1 vCPU, VGA, tablet, rng. */
void vm_config_init(struct vm_config *cfg);
/* From a JSON file or text; relative paths are relative to the file's folder,
 * ${SHARE} is the installed share folder.  Unknown keys, wrong types and values
 * out of range are errors that name file, key and what is allowed.  Loading
 * starts from the defaults; parsing changes only what the text names. */
int vm_config_load(struct vm_config *cfg, const char *path, struct error *e);
int vm_config_parse(struct vm_config *cfg, const char *json, const char *dir,
		    struct error *e);
/* The installed share folder; the environment's BINNACLE_SHARE wins. */
const char *vm_share_dir(void);
/* "512M", "2G", "1048576": bytes. */
int vm_parse_size(const char *text, uint64_t *out, struct error *e);

/* ---- life ---- */

enum vm_state {
	VM_PAUSED, /* not started yet, or by a person, or as reason says */
	VM_RUNNING,
	VM_CRASHED, /* internal error or triple fault: message says */
	VM_OFF,	    /* powered off: resume starts it again */
};

/* Builds the machine, paused.  NULL with the reason in e.  The log is the
 * session's or NULL. */
struct vm *vm_create(const struct vm_config *cfg, struct log *log,
		     struct error *e);
/* Stops the vCPUs, drains the disks, frees.  NULL is fine. */
void vm_destroy(struct vm *vm);

enum vm_command_kind {
	VM_CMD_RESUME, /* also: first start; after OFF: cold start */
	VM_CMD_PAUSE,
	VM_CMD_RESET,	  /* like the button */
	VM_CMD_POWERDOWN, /* ACPI power button */
	VM_CMD_POWEROFF,  /* pulls the plug, after draining writes */
	VM_CMD_NMI,
	VM_CMD_CHANGE_MEDIUM, /* index: disk; text: path, empty ejects */
	/* index: disk; text: commit, stream, mirror PATH (starts a job); pause,
	 * resume, cancel, finish (a mirror: let it go as a copy); export ADDRESS
	 * (over NBD, as it is now) and end-export; and what vm_disks.h lists */
	VM_CMD_DISK,
	/* The power goes and comes back at once (vm_power.h); text: what of
	 * the data that was not flushed arrives (none, all, subset, torn), and
	 * optionally a number that the choice depends on. */
	VM_CMD_CUT_POWER,
};

struct vm_command {
	enum vm_command_kind kind;
	unsigned index;
	char text[VM_PATH_LEN];
};

/* Posts; returns the command's id, which its event carries. */
uint64_t vm_command(struct vm *vm, const struct vm_command *cmd);
/* Posts and waits for the outcome: tests and scripts only. */
int vm_command_sync(struct vm *vm, const struct vm_command *cmd,
		    struct error *e);

enum vm_event_kind {
	VM_EVENT_STATE, /* code: not 0: it paused by itself, text says why */
	VM_EVENT_COMMAND_DONE,
	VM_EVENT_COMMAND_FAILED,
	VM_EVENT_GUEST_RESET,
	VM_EVENT_EXIT_CODE,
	VM_EVENT_POWER_CUT /* code: disks on which a promise was broken */
};

struct vm_event {
	uint64_t seq;
	enum vm_event_kind kind;
	enum vm_state state;
	uint64_t command;
	int code; /* EXIT_CODE: what the guest wrote, as (value << 1) | 1 */
	char text[320]; /* COMMAND_DONE: what is to be said of it, or empty */
};

/* Copies events with seq > since, oldest first; the eventfd becomes readable
 * when there are new ones (one reader drains it). */
size_t vm_events(struct vm *vm, uint64_t since, struct vm_event *out,
		 size_t max);
int vm_event_fd(struct vm *vm);

/* ---- snapshots ---- */

struct vm_status {
	char name[64];
	enum vm_state state;
	char message[2048]; /* why it crashed: registers, instruction bytes */
	char reason
		[192]; /* why it paused by itself, and what to do; or empty */
	uint64_t uptime_ns; /* running time since the last start */
	uint64_t mem;
	unsigned cpus;
	uint64_t exits, cpu_ns; /* of all vCPUs */
	unsigned resets;
	int exit_code; /* -1: none */
};
void vm_status_copy(struct vm *vm, struct vm_status *out);

struct vm_vcpu_row {
	unsigned index;
	const char *state; /* static text */
	uint64_t exits, pio, mmio, kicks, cpu_ns, rip;
};
/* All row snapshots copy at most max rows and return how many. */
size_t vm_vcpus_copy(struct vm *vm, struct vm_vcpu_row *out, size_t max);

#define VM_ROW_COUNTERS 8
#define VM_ROW_FEATURES 32

/* One device, or one BAR / interrupt / counter under it. */
struct vm_device_row {
	char name[32], cls[32], place[16]; /* place: "00:02.0", "isa", ... */
	char summary[96];
	int depth; /* 0: a device on the root, 1: a child ... */
	uint16_t vendor, device;
	uint32_t class_code;
	bool is_pci, failed;
	char why[120];
	struct {
		char kind[12]; /* "mem64", "io", "rom" ...; empty: none */
		uint64_t addr, len;
		bool mapped;
		uint64_t reads, writes;
	} bars[7];
	int gsi; /* of INTx, or the ISA line; -1: none */
	unsigned msix_vectors;
	bool msix_enabled;
	uint64_t interrupts;
	struct {
		char name[24];
		uint64_t value;
	} counters[VM_ROW_COUNTERS];
	unsigned nr_counters;
	/* What device and driver agreed on; none for most classes. */
	struct device_feature features[VM_ROW_FEATURES];
	unsigned nr_features;
};
size_t vm_devices_copy(struct vm *vm, struct vm_device_row *out, size_t max);

enum vm_mem_kind { VM_MEM_BLOCK, VM_MEM_REGION, VM_MEM_SLOT };

struct vm_mem_row {
	enum vm_mem_kind kind;
	char name[32], block[24], type[12]; /* type: "ram", "rom", "io" ... */
	uint64_t gpa, len;
	int priority;
	unsigned slot;
	bool enabled, logged, readonly;
	uint64_t dirty_pages;
};
size_t vm_memory_copy(struct vm *vm, enum vm_mem_kind kind,
		      struct vm_mem_row *out, size_t max);

struct vm_mem_event {
	uint64_t seq, time_ns; /* since the machine was created */
	char what[12];	       /* "created", "destroyed", "flags" */
	unsigned slot;
	uint64_t gpa, len, dirty_carried;
	char block[24];
	bool readonly, logged;
};
size_t vm_memory_events(struct vm *vm, uint64_t since, struct vm_mem_event *out,
			size_t max);

struct vm_disk_row {
	char name[32], path[VM_PATH_LEN], bus[16], cache[16], aio[16];
	uint64_t len;
	bool readonly, cdrom, has_medium, wce;
	uint64_t reads, writes, flushes, read_bytes, write_bytes, errors;
	unsigned in_flight;
	/* What is there after an event ("power loss"), in words; bad: data of
	 * which the guest was told that it is stable may be missing. */
	struct {
		const char *event, *text;
		bool bad;
	} after[4];
	/* The job (commit, stream, mirror) that was started last; empty: none.
	 * Bytes; what the guest writes adds to the total. */
	char job[12], job_state[12], job_text[320];
	uint64_t job_done, job_total, job_rate;
};

/* [any] The i-th line of a table of cache modes, and what each means for the
 * data; NULL past the last.  text has room for 128 bytes. */
const char *vm_cache_mode_help(unsigned i, char *text);
/* [any] The same for the buses that a disk can sit on. */
const char *vm_disk_bus_help(unsigned i, char *text);
/* One row a drive, CD-ROMs included. */
size_t vm_disks_copy(struct vm *vm, struct vm_disk_row *out, size_t max);

#define VM_MAP_CELLS  180
#define VM_MAP_LAYERS 8

/* A part of a disk to look at; bytes. */
struct vm_disk_range {
	uint64_t off, len; /* len 0: up to the disk's end */
	unsigned nr_cells; /* 1..VM_MAP_CELLS equal pieces */
	unsigned first;	   /* images of the top to leave out */
};

struct vm_disk_map {
	struct vm_disk_range range; /* nr_cells 0: nothing is known yet */
	uint64_t cell;		    /* bytes a cell, whole sectors */
	unsigned nr_layers, all_layers;
	/* The top first.  A letter a cell: d data, z zeroes, . unallocated, m a
	 * mixture, e the image ends here, blank: past its end.  ? is not known. */
	struct vm_disk_layer {
		char name[80], format[16], filters[40];
		uint64_t len;
		char cells[VM_MAP_CELLS + 1];
	} layers[VM_MAP_LAYERS];
	/* The top's tables in memory, bytes; budget 0: it has none. */
	uint64_t tables_budget, tables_used, table_hits, table_misses;
};

/* What the disk's images hold, as it was a moment ago; has it looked at anew
 * beside the guest when that is old or another range than `want`.  Returns
 * out->nr_layers. */
size_t vm_disk_map_copy(struct vm *vm, unsigned disk,
			const struct vm_disk_range *want,
			struct vm_disk_map *out);

/* The guest's screen and input; lives as long as the machine. */
struct console *vm_console(struct vm *vm);
/* Serial line n (0: COM1), NULL past the last. */
struct serial_line *vm_serial(struct vm *vm, unsigned n);
const struct vm_config *vm_config(const struct vm *vm); /* immutable */
struct log *vm_log(struct vm *vm);

/* ---- state, for moving a guest between machines ---- */

struct state_buf;

/* Paused machines only: all vCPU, device and chipset state (not RAM).  Both
 * machines were made from the same config. 0 or -errno. */
int vm_state_save(struct vm *vm, struct state_buf *out, struct error *e);
int vm_state_load(struct vm *vm, struct state_buf *in, struct error *e);
/* Copies every RAM block; both paused. */
int vm_ram_copy(struct vm *to, struct vm *from, struct error *e);

#endif
