/*
 * The descriptor table, the two PICs (remapped; used with irq=pic) and the
 * IOAPIC.  Every vector has at most one handler.
 */
#include "share/guest/guest.h"

#define VECTORS	   64
#define PIC_MASTER 0x20
#define PIC_SLAVE  0xa0
#define PIC_EOI	   0x20

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

extern char vector_stubs[];
static struct gate idt[VECTORS] __attribute__((aligned(16)));
static void (*handlers[VECTORS])(void);
static bool use_pic;
static uint16_t pic_mask = 0xfffb; /* the cascade stays open */

enum { LAPIC_EOI = 0xb0, LAPIC_LINT0 = 0x350 };
enum { LINT_EXTINT = 0x700, LINT_MASKED = 0x10000 };

static void set_pic_mask(void)
{
	outb(PIC_MASTER + 1, (uint8_t)pic_mask);
	outb(PIC_SLAVE + 1, (uint8_t)(pic_mask >> 8));
}

static void init_pic(void)
{
	outb(PIC_MASTER, 0x11);
	outb(PIC_SLAVE, 0x11);
	outb(PIC_MASTER + 1, VECTOR_ISA);
	outb(PIC_SLAVE + 1, VECTOR_ISA + 8);
	outb(PIC_MASTER + 1, 4);
	outb(PIC_SLAVE + 1, 2);
	outb(PIC_MASTER + 1, 1);
	outb(PIC_SLAVE + 1, 1);
	set_pic_mask();
}

static void ioapic_write(unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)acpi.ioapic = reg;
	*(volatile uint32_t *)(acpi.ioapic + 0x10) = value;
}

void interrupt_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

void interrupt_init(void)
{
	for (unsigned i = 0; i < VECTORS; i++) {
		uint64_t stub = (uint64_t)vector_stubs + i * 16;

		idt[i].offset_low = (uint16_t)stub;
		idt[i].selector = 0x08;
		idt[i].type = 0x8e;
		idt[i].offset_middle = (uint16_t)(stub >> 16);
		idt[i].offset_high = (uint32_t)(stub >> 32);
	}
	interrupt_load();
	use_pic = option_has("irq", "pic");
	init_pic();
	/* A local APIC that is off keeps every entry masked. */
	lapic_enable();
	lapic_write(LAPIC_LINT0, use_pic ? LINT_EXTINT : LINT_MASKED);
}

void interrupt_set_handler(unsigned vector, void (*handler)(void))
{
	handlers[vector] = handler;
}

void interrupt_route_isa(unsigned irq, void (*handler)(void))
{
	uint32_t low = VECTOR_ISA + irq;

	handlers[VECTOR_ISA + irq] = handler;
	if (use_pic) {
		pic_mask &= (uint16_t) ~(1u << irq);
		set_pic_mask();
		return;
	}
	if ((acpi.isa_flags[irq] & 3) == 3)
		low |= 1 << 13; /* active low */
	if ((acpi.isa_flags[irq] >> 2 & 3) == 3)
		low |= 1 << 15; /* level */
	ioapic_write(0x11 + 2 * acpi.isa_gsi[irq], lapic_id() << 24);
	ioapic_write(0x10 + 2 * acpi.isa_gsi[irq], low);
}

void interrupt_wait(void)
{
	struct cpu *self = &cpus[smp_index()];

	irq_disable();
	if (!self->woken)
		__asm__ volatile("sti; hlt" : : : "memory");
	self->woken = false;
	irq_enable();
}

void interrupt_dispatch(struct frame *frame)
{
	unsigned vector = (unsigned)frame->vector;

	if (vector < VECTOR_ISA)
		power_panic(frame);
	cpus[smp_index()].woken = true;
	if (handlers[vector])
		handlers[vector]();
	if (use_pic && vector >= VECTOR_ISA && vector < VECTOR_ISA + 16) {
		if (vector >= VECTOR_ISA + 8)
			outb(PIC_SLAVE, PIC_EOI);
		outb(PIC_MASTER, PIC_EOI);
	} else if (vector != VECTOR_SPURIOUS) {
		lapic_write(LAPIC_EOI, 0);
	}
}
