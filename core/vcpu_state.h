/*
 * vcpu_state: everything of a vCPU and of the interrupt chips that a guest
 * can observe, as plain data that travels.
 *
 * The shapes are KVM's x86 ABI structs (stable, documented in the kernel's
 * Documentation/virt/kvm/api.rst); an engine without KVM fills the same.
 * Thread rule: data only.
 */
#ifndef CORE_VCPU_STATE_H
#define CORE_VCPU_STATE_H

#include <linux/kvm.h>
#include <stdint.h>

#define VCPU_MAX_MSRS  256
#define VCPU_XSAVE_LEN 16384

struct vcpu_msr {
	uint32_t index;
	uint64_t value;
};

struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events
		events; /* shadow, pending exceptions, NMI, SMI */
	struct kvm_debugregs debugregs;
	struct kvm_mp_state mp_state;
	struct kvm_lapic_state lapic;
	uint32_t nr_msrs;
	struct vcpu_msr msrs[VCPU_MAX_MSRS];
	uint32_t xsave_len;
	uint8_t xsave[VCPU_XSAVE_LEN];
	uint64_t tsc_khz;
};

struct chipset_state {
	struct kvm_irqchip pic_master, pic_slave, ioapic;
	struct kvm_pit_state2 pit;
	uint64_t clock_ns; /* kvmclock */
};

struct state_desc;
/* How the two travel (core/migration/state.h). */
extern const struct state_desc vcpu_state_desc, chipset_state_desc;

#endif
