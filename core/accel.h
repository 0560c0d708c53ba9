/*
 * accel: the engine under a vCPU.
 *
 * A const table; KVM (core/kvm.h) is the first engine.  Nothing above it may
 * assume KVM.  Interrupts are pulled: an engine without an in-kernel irqchip
 * asks the irq_source when the guest can take one.  An engine that offers
 * struct accel_fast delivers lines, messages and eventfds itself.
 *
 * Thread rule: vm_* by the thread that builds the machine; slot_set with the
 * world stopped (a change of log_dirty alone: any time), slot_set and
 * slot_dirty under the memory module's lock; vcpu calls by the
 * vCPU's thread, except kick [any] and state with the vCPU stopped.
 */
#ifndef CORE_ACCEL_H
#define CORE_ACCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct accel_vm;
struct accel_vcpu;
struct buffer;
struct error;

/* One stretch of guest memory backed by host memory. */
struct accel_slot {
	uint32_t id;
	uint64_t gpa, len; /* bytes, page aligned; len 0 removes the slot */
	void *host;
	bool readonly, log_dirty;
};

/* Where run() sends what it can't do alone.  Called on the vCPU's thread
 * while inside the world.  len is 1, 2, 4 or 8. */
struct accel_bus {
	void *opaque;
	void (*pio)(void *opaque, uint16_t port, void *data, unsigned len,
		    unsigned count, bool write);
	void (*mmio)(void *opaque, uint64_t gpa, void *data, unsigned len,
		     bool write);
};

enum accel_exit {
	ACCEL_EXIT_KICK,     /* kicked, or a signal: look around, run again */
	ACCEL_EXIT_HLT,	     /* only without an in-kernel irqchip */
	ACCEL_EXIT_WAITING,  /* an AP before its SIPI: run again when kicked */
	ACCEL_EXIT_SHUTDOWN, /* triple fault */
	ACCEL_EXIT_DEBUG,
	ACCEL_EXIT_ERROR, /* internal error or failed entry: text says */
};

enum accel_dir { ACCEL_GET, ACCEL_SET };

/* Guest-visible state of one vCPU: see core/vcpu_state.h. */
struct vcpu_state;

struct accel_ops {
	const char *name;
	/* NULL with the reason (what is missing, what to do) in e. */
	struct accel_vm *(*vm_create)(unsigned nr_vcpus, struct error *e);
	void (*vm_destroy)(struct accel_vm *vm);
	/* 0 or -errno. */
	int (*slot_set)(struct accel_vm *vm, const struct accel_slot *slot);
	/* Gives and clears the slot's dirty bits: one bit a 4 KiB page, LSB
	 * first, (len / 4096 + 63) / 64 words.  0 or -errno. */
	int (*slot_dirty)(struct accel_vm *vm, uint32_t id, uint64_t *bitmap);
	struct accel_vcpu *(*vcpu_create)(struct accel_vm *vm, unsigned index,
					  struct error *e);
	void (*vcpu_destroy)(struct accel_vcpu *vcpu);
	/* text is filled for SHUTDOWN and ERROR: reason, instruction bytes. */
	enum accel_exit (*run)(struct accel_vcpu *vcpu,
			       const struct accel_bus *bus, char *text,
			       size_t text_len);
	/* [any] Makes run() return; a kick before run() starts isn't lost. */
	void (*kick)(struct accel_vcpu *vcpu);
	/* Address of the next instruction of a stopped vCPU; [its thread] too
	 * right after run(). */
	uint64_t (*rip)(struct accel_vcpu *vcpu);
	/* All guest-visible state of a stopped vCPU. 0 or -errno.  Parts that
	 * this host can't restore and a guest can live without are named in
	 * e->msg with 0 returned. */
	int (*vcpu_state)(struct accel_vcpu *vcpu, enum accel_dir dir,
			  struct vcpu_state *state, struct error *e);
	/* Optional: what the engine does faster than user space. */
	const struct accel_fast *fast;
};

/* PIC, IOAPIC and PIT inside the engine, with the clock. */
struct chipset_state;

/* Every call is [any] unless it says otherwise; 0 or -errno. */
struct accel_fast {
	int (*irq_line)(struct accel_vm *vm, unsigned gsi, bool level);
	int (*msi)(struct accel_vm *vm, uint64_t addr, uint32_t data);
	/* fd < 0 removes.  Routes gsi (>= 24) to the message. */
	int (*irqfd)(struct accel_vm *vm, unsigned gsi, int fd, uint64_t addr,
		     uint32_t data);
	/* Signals fd when the guest writes len bytes (0: any) at addr. */
	int (*ioeventfd)(struct accel_vm *vm, uint64_t addr, unsigned len,
			 bool is_port, int fd, bool add);
	/* With the vCPUs stopped. */
	int (*chipset_state)(struct accel_vm *vm, enum accel_dir dir,
			     struct chipset_state *state, struct error *e);
};

#endif
