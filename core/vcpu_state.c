/*
 * The vCPU's and the interrupt chips' state as declared fields: the names are
 * the wire's and never change; padding and reserved bytes don't travel.
 */
#include "core/vcpu_state.h"

#include <errno.h>

#include "core/error.h"
#include "core/migration/state.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
/* A field whose C type isn't one of the fixed-width ones. */
#define FIELD_AS(strct, member, wire, n)                                       \
	{                                                                      \
		.name = #member, .type = (wire),                               \
		.offset = offsetof(strct, member), .count = (n), .since = 1    \
	}
#define U64(strct, member) FIELD_AS(strct, member, STATE_U64, 1)
#define DESC(title, table)                                                     \
	{                                                                      \
		.name = (title), .version = 1, .oldest = 1, .fields = (table), \
		.nr_fields = COUNT(table)                                      \
	}

static const struct state_field regs_fields[] = {
	U64(struct kvm_regs, rax), U64(struct kvm_regs, rbx),
	U64(struct kvm_regs, rcx), U64(struct kvm_regs, rdx),
	U64(struct kvm_regs, rsi), U64(struct kvm_regs, rdi),
	U64(struct kvm_regs, rsp), U64(struct kvm_regs, rbp),
	U64(struct kvm_regs, r8),  U64(struct kvm_regs, r9),
	U64(struct kvm_regs, r10), U64(struct kvm_regs, r11),
	U64(struct kvm_regs, r12), U64(struct kvm_regs, r13),
	U64(struct kvm_regs, r14), U64(struct kvm_regs, r15),
	U64(struct kvm_regs, rip), U64(struct kvm_regs, rflags),
};
static const struct state_desc regs_desc = DESC("regs", regs_fields);

static const struct state_field segment_fields[] = {
	U64(struct kvm_segment, base),
	STATE_FIELD(struct kvm_segment, limit),
	STATE_FIELD(struct kvm_segment, selector),
	STATE_FIELD(struct kvm_segment, type),
	STATE_FIELD(struct kvm_segment, present),
	STATE_FIELD(struct kvm_segment, dpl),
	STATE_FIELD(struct kvm_segment, db),
	STATE_FIELD(struct kvm_segment, s),
	STATE_FIELD(struct kvm_segment, l),
	STATE_FIELD(struct kvm_segment, g),
	STATE_FIELD(struct kvm_segment, avl),
	STATE_FIELD(struct kvm_segment, unusable),
};
static const struct state_desc segment_desc = DESC("segment", segment_fields);

static const struct state_field table_fields[] = {
	U64(struct kvm_dtable, base),
	STATE_FIELD(struct kvm_dtable, limit),
};
static const struct state_desc table_desc = DESC("table", table_fields);

#define SEGMENT(member)                                                        \
	STATE_STRUCTS(struct kvm_sregs, member, 1, &segment_desc)

static const struct state_field sregs_fields[] = {
	SEGMENT(cs),
	SEGMENT(ds),
	SEGMENT(es),
	SEGMENT(fs),
	SEGMENT(gs),
	SEGMENT(ss),
	SEGMENT(tr),
	SEGMENT(ldt),
	STATE_STRUCTS(struct kvm_sregs, gdt, 1, &table_desc),
	STATE_STRUCTS(struct kvm_sregs, idt, 1, &table_desc),
	U64(struct kvm_sregs, cr0),
	U64(struct kvm_sregs, cr2),
	U64(struct kvm_sregs, cr3),
	U64(struct kvm_sregs, cr4),
	U64(struct kvm_sregs, cr8),
	U64(struct kvm_sregs, efer),
	U64(struct kvm_sregs, apic_base),
	FIELD_AS(struct kvm_sregs, interrupt_bitmap, STATE_U64, 4),
};
static const struct state_desc sregs_desc = DESC("sregs", sregs_fields);

static const struct state_field xcr_fields[] = {
	STATE_FIELD(struct kvm_xcr, xcr),
	U64(struct kvm_xcr, value),
};
static const struct state_desc xcr_desc = DESC("xcr", xcr_fields);

static const struct state_field xcrs_fields[] = {
	STATE_FIELD(struct kvm_xcrs, nr_xcrs),
	STATE_FIELD(struct kvm_xcrs, flags),
	STATE_STRUCTS(struct kvm_xcrs, xcrs, KVM_MAX_XCRS, &xcr_desc),
};
static const struct state_desc xcrs_desc = DESC("xcrs", xcrs_fields);

#define EVENT(member) STATE_FIELD(struct kvm_vcpu_events, member)

static const struct state_field events_fields[] = {
	EVENT(exception.injected),
	EVENT(exception.nr),
	EVENT(exception.has_error_code),
	EVENT(exception.pending),
	EVENT(exception.error_code),
	EVENT(interrupt.injected),
	EVENT(interrupt.nr),
	EVENT(interrupt.soft),
	EVENT(interrupt.shadow),
	EVENT(nmi.injected),
	EVENT(nmi.pending),
	EVENT(nmi.masked),
	EVENT(sipi_vector),
	EVENT(flags),
	EVENT(smi.smm),
	EVENT(smi.pending),
	EVENT(smi.smm_inside_nmi),
	EVENT(smi.latched_init),
	EVENT(triple_fault.pending),
	EVENT(exception_has_payload),
	U64(struct kvm_vcpu_events, exception_payload),
};
static const struct state_desc events_desc = DESC("events", events_fields);

static const struct state_field debugregs_fields[] = {
	FIELD_AS(struct kvm_debugregs, db, STATE_U64, 4),
	U64(struct kvm_debugregs, dr6),
	U64(struct kvm_debugregs, dr7),
	U64(struct kvm_debugregs, flags),
};
static const struct state_desc debugregs_desc =
	DESC("debugregs", debugregs_fields);

static const struct state_field msr_fields[] = {
	STATE_FIELD(struct vcpu_msr, index),
	STATE_FIELD(struct vcpu_msr, value),
};
static const struct state_desc msr_desc = DESC("msr", msr_fields);

static int check_vcpu(void *obj, int version, struct error *e)
{
	const struct vcpu_state *s = obj;

	(void)version;
	if (s->nr_msrs > VCPU_MAX_MSRS)
		return error_set(e, -EINVAL, "%u MSRs, at most %d are possible",
				 s->nr_msrs, VCPU_MAX_MSRS);
	if (s->xsave_len > VCPU_XSAVE_LEN)
		return error_set(e, -EINVAL,
				 "%u bytes of vector state, at most %d are "
				 "possible",
				 s->xsave_len, VCPU_XSAVE_LEN);
	if (s->xcrs.nr_xcrs > KVM_MAX_XCRS)
		return error_set(e, -EINVAL,
				 "%u extended control registers, at most %d "
				 "are possible",
				 s->xcrs.nr_xcrs, KVM_MAX_XCRS);
	if (s->mp_state.mp_state > KVM_MP_STATE_SIPI_RECEIVED)
		return error_set(e, -EINVAL, "MP state %u doesn't exist on x86",
				 s->mp_state.mp_state);
	return 0;
}

static const struct state_field vcpu_fields[] = {
	STATE_STRUCTS(struct vcpu_state, regs, 1, &regs_desc),
	STATE_STRUCTS(struct vcpu_state, sregs, 1, &sregs_desc),
	STATE_STRUCTS(struct vcpu_state, xcrs, 1, &xcrs_desc),
	STATE_STRUCTS(struct vcpu_state, events, 1, &events_desc),
	STATE_STRUCTS(struct vcpu_state, debugregs, 1, &debugregs_desc),
	STATE_FIELD(struct vcpu_state, mp_state.mp_state),
	FIELD_AS(struct vcpu_state, lapic.regs, STATE_U8, KVM_APIC_REG_SIZE),
	STATE_FIELD(struct vcpu_state, nr_msrs),
	STATE_STRUCTS(struct vcpu_state, msrs, VCPU_MAX_MSRS, &msr_desc),
	STATE_FIELD(struct vcpu_state, xsave_len),
	STATE_ARRAY(struct vcpu_state, xsave),
	STATE_FIELD(struct vcpu_state, tsc_khz),
};

const struct state_desc vcpu_state_desc = {
	.name = "vcpu",
	.version = 1,
	.oldest = 1,
	.fields = vcpu_fields,
	.nr_fields = COUNT(vcpu_fields),
	.check = check_vcpu,
};

/* ---- interrupt chips ---- */

#define PIC(member) STATE_FIELD(struct kvm_irqchip, chip.pic.member)

static const struct state_field pic_fields[] = {
	PIC(last_irr),
	PIC(irr),
	PIC(imr),
	PIC(isr),
	PIC(priority_add),
	PIC(irq_base),
	PIC(read_reg_select),
	PIC(poll),
	PIC(special_mask),
	PIC(init_state),
	PIC(auto_eoi),
	PIC(rotate_on_auto_eoi),
	PIC(special_fully_nested_mode),
	PIC(init4),
	PIC(elcr),
	PIC(elcr_mask),
};
static const struct state_desc pic_desc = DESC("pic", pic_fields);

static const struct state_field ioapic_fields[] = {
	U64(struct kvm_irqchip, chip.ioapic.base_address),
	STATE_FIELD(struct kvm_irqchip, chip.ioapic.ioregsel),
	STATE_FIELD(struct kvm_irqchip, chip.ioapic.id),
	STATE_FIELD(struct kvm_irqchip, chip.ioapic.irr),
	FIELD_AS(struct kvm_irqchip, chip.ioapic.redirtbl, STATE_U64,
		 KVM_IOAPIC_NUM_PINS),
};
static const struct state_desc ioapic_desc = DESC("ioapic", ioapic_fields);

#define PIT(member) STATE_FIELD(struct kvm_pit_channel_state, member)

static const struct state_field pit_channel_fields[] = {
	PIT(count),	     PIT(latched_count), PIT(count_latched),
	PIT(status_latched), PIT(status),	 PIT(read_state),
	PIT(write_state),    PIT(write_latch),	 PIT(rw_mode),
	PIT(mode),	     PIT(bcd),		 PIT(gate),
};
static const struct state_desc pit_channel_desc =
	DESC("pit-channel", pit_channel_fields);

static const struct state_field pit_fields[] = {
	STATE_STRUCTS(struct kvm_pit_state2, channels, 3, &pit_channel_desc),
	STATE_FIELD(struct kvm_pit_state2, flags),
};
static const struct state_desc pit_desc = DESC("pit", pit_fields);

static const struct state_field chipset_fields[] = {
	STATE_STRUCTS(struct chipset_state, pic_master, 1, &pic_desc),
	STATE_STRUCTS(struct chipset_state, pic_slave, 1, &pic_desc),
	STATE_STRUCTS(struct chipset_state, ioapic, 1, &ioapic_desc),
	STATE_STRUCTS(struct chipset_state, pit, 1, &pit_desc),
	STATE_FIELD(struct chipset_state, clock_ns),
};

const struct state_desc chipset_state_desc = {
	.name = "chipset",
	.version = 1,
	.oldest = 1,
	.fields = chipset_fields,
	.nr_fields = COUNT(chipset_fields),
};
