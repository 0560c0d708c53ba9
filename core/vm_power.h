/*
 * vm_power: what the last power cut of a machine left of its disks, beside what
 * its guest had been promised.
 *
 * VM_CMD_CUT_POWER is for machines whose writable disks are all scratch disks
 * with the model of a volatile cache.  The guest's requests on their way are
 * answered by nobody, its memory is gone, and each disk's cache keeps what the
 * command says of what was not flushed: none; all; a random subset of the
 * requests; or torn, where of some only some sectors of 512 bytes arrive.  Then
 * the images are opened as after a real power cut and the machine starts anew.
 *
 * Thread rule: [any].
 */
#ifndef CORE_VM_POWER_H
#define CORE_VM_POWER_H

#include <stdbool.h>
#include <stdint.h>

struct vm;

#define VM_CUT_DISKS 16

struct vm_cut_row {
	char name[32], bus[16], cache[16]; /* "disk0", "virtio", "unsafe" */
	/* Bytes of which the guest was told that they are stable, and how many
	 * of them are there; in whole sectors of 512. */
	uint64_t promised, found;
	/* Writes that were answered, but not promised to be stable: how many,
	 * how many of them are not there, and of how many only a part is. */
	uint64_t answered, lost, torn;
	uint64_t unanswered; /* writes on their way */
	uint64_t held;	     /* bytes, tables included, that no flush covered */
	bool is_partial;     /* the guest wrote more than is watched */
	bool no_promise;     /* cache mode unsafe */
	bool is_broken;	     /* a promise was */
	char verdict[160];   /* a sentence */
};

struct vm_power_cut {
	unsigned nr; /* cuts so far; 0: the rest is empty */
	char mode[8];
	unsigned seed;
	uint64_t time_ns; /* since the machine was created */
	struct vm_cut_row disks[VM_CUT_DISKS];
	unsigned nr_disks;
};

/* The last cut, whole; nr 0 when there was none. */
void vm_power_cut_copy(struct vm *vm, struct vm_power_cut *out);

/* The i-th line of a table of it for people; NULL past the last.  text has room
 * for 256 bytes. */
const char *vm_power_cut_line(const struct vm_power_cut *cut, unsigned i,
			      char *text);

#endif
