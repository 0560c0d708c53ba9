/*
 * vm_disks: where a guest's write is right now: what is known of one disk of a
 * machine, as the Disks screen shows it.
 *
 * Thread rule: [any].  A copy, some parts of which (page cache, files,
 * snapshots) are at most about a second old and only kept up to date while
 * someone asks.
 */
#ifndef CORE_VM_DISKS_H
#define CORE_VM_DISKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/disk_driver.h"

struct vm;

enum vm_disk_kind {
	VM_DISK_READ,
	VM_DISK_WRITE,
	VM_DISK_FLUSH,
	VM_DISK_DISCARD,
	VM_DISK_ZERO, /* write zeroes */
	VM_DISK_NR_KINDS
};

/* Bucket 0: below 1 us; i: from 2^(i-1) us to below 2^i us; the last one all
 * that took longer. */
#define VM_DISK_BUCKETS 26

/* Requests of one kind.  All but in_flight only grow. */
struct vm_disk_flow {
	unsigned in_flight;
	uint64_t ops, bytes, failed; /* completed; failed is part of ops */
	uint64_t total_ns;	     /* of all ops, from submission on */
	uint64_t max_ns;
	uint64_t latency[VM_DISK_BUCKETS]; /* their sum is ops */
};

/* What people chose, and what is so. */
struct vm_disk_mode {
	char cache[16]; /* the preset; "" when the two switches match none */
	char aio[16];
	bool direct;   /* past the host's page cache: O_DIRECT */
	bool no_flush; /* flushes are ignored */
	bool wce;      /* a write may complete before it is stable */
};

/* A host file that is open for the disk. */
struct vm_disk_file {
	char path[256];	       /* its end, when longer */
	unsigned layer;	       /* 0: of the image that the guest writes to */
	int flags;	       /* fcntl(F_GETFL); -1: not a host file (NBD) */
	bool direct, writable; /* as flags say */
	bool is_device;
	uint64_t len; /* bytes */
	/* The host's page cache, bytes.  Dirty (with what is being written back)
	 * is not known where only mincore tells. */
	bool cache_known, dirty_known;
	uint64_t cached, dirty;
};
#define VM_DISK_FILES 8

struct vm_disk_snapshot {
	char id[32], name[64];
	uint64_t date_sec, vm_state_len, disk_len;
};
#define VM_DISK_SNAPSHOTS 16

#define VM_DISK_DIFFERS 4

struct vm_disk_facts {
	struct vm_disk_mode wanted, now;
	/* A sentence for each way in which the two differ. */
	char differs[VM_DISK_DIFFERS][160];
	unsigned nr_differs;
	bool is_cdrom, readonly, has_medium, scratch;
	uint64_t len;

	/* What the guest's driver accepted (disk_driver.h); known is false when its
	 * device doesn't tell. */
	bool driver_known;
	struct disk_driver driver;
	char device[32]; /* class: "virtio-blk-pci" */
	/* By a person: each write is made stable, whatever the guest chose. */
	bool wce_forced_off;

	/* After each event, with what is so now; bad: data of which the guest
	 * was told that it is stable may be missing. */
	struct {
		const char *event, *text;
		bool bad;
	} after[4];

	struct vm_disk_flow flow[VM_DISK_NR_KINDS];
	uint64_t host_flushes;	 /* fdatasync and the like that the host did */
	uint64_t merged_flushes; /* that another one, or nothing to do, made
				    needless */
	/* By the background flush of max-unflushed-age, or a person. */
	uint64_t own_flushes;

	/* Written and completed, but not yet made stable by a flush.  Where
	 * flushes are ignored that is all since the disk was opened. */
	uint64_t unflushed_writes, unflushed_bytes;
	uint64_t unflushed_age_ns;     /* of the oldest; 0: there is none */
	uint64_t max_unflushed_age_ns; /* 0: no background flush */
	uint64_t last_flush_age_ns; /* of the guest's last; 0: there was none */
	/* The guest wrote for longer than this and never flushed. */
	bool never_flushes;
	uint64_t never_flush_after_ns;
	bool sync_failed; /* the host could not; every flush fails since */

	/* What becomes of requests that the host can't do: "enospc", "report",
	 * "stop" or "ignore". */
	char werror[16], rerror[16];
	unsigned kept;	    /* requests that wait until the machine goes on */
	char kept_why[160]; /* what failed, and what to do; "" nothing waits */
	uint64_t ignored;   /* failed, and the guest was told otherwise */

	struct vm_disk_file files[VM_DISK_FILES];
	unsigned nr_files, all_files;
	uint64_t cached, dirty; /* sums over files */
	bool cache_known, dirty_known;
	char cache_source[12];	/* "cachestat", "mincore"; "" not yet known */
	uint64_t looked_age_ns; /* how old files and snapshots are; 0: never */

	struct vm_disk_snapshot snapshots[VM_DISK_SNAPSHOTS];
	unsigned nr_snapshots, all_snapshots;
	bool can_snapshot; /* its format keeps internal ones */

	char throttle[160]; /* "iops-total=100 bps-read=1048576"; "" none */
	unsigned throttled; /* requests that it makes wait now */
};

/* False when there is no such disk. */
bool vm_disk_facts_copy(struct vm *vm, unsigned index,
			struct vm_disk_facts *out);

/*
 * What VM_CMD_DISK can do beside what vm.h lists:
 *
 *	flush			make what was written stable, beside the guest
 *	wce on|off		off: also where the guest can't be told; on: only
 *				with its knowledge
 *	snapshot NAME		internal, of a qcow2 image
 *	delete-snapshot NAME
 *	apply-snapshot NAME	while the machine is off
 *	overlay PATH		external: a new image on top
 *	resize SIZE		grow
 *	medium PATH, eject	CD-ROMs
 *	throttle WORDS | off	as in "iops-total=100 bps-read=1M"
 */

#endif
