/* Ways to end: off, out with a code, reset, triple fault, panic. */
#include "share/guest/guest.h"

#define DEBUG_EXIT   0x501
#define GRACE_MS     2000
#define SLEEP_ENABLE (1u << 13)

/* The machine may need a moment before it ends. */
static void stop(const char *what)
{
	uint64_t end = timer_ms() + GRACE_MS;

	while (timer_ms() < end)
		relax();
	print("power %s ignored", what);
	for (;;)
		__asm__ volatile("hlt");
}

void power_off(void)
{
	irq_disable();
	print("power off");
	if (acpi.pm1a_control) {
		uint32_t value = inw(acpi.pm1a_control) & ~0x3c00u;

		value |= (uint32_t)acpi.s5_type << 10 | SLEEP_ENABLE;
		outw(acpi.pm1a_control, (uint16_t)value);
	}
	stop("off");
	__builtin_unreachable();
}

void power_exit(uint8_t code)
{
	irq_disable();
	print("power exit code=%u", code);
	outb(DEBUG_EXIT, code);
	stop("exit");
	__builtin_unreachable();
}

void power_reset(void)
{
	irq_disable();
	print("power reset");
	if (acpi.reset_space == 1 && acpi.reset_address)
		outb((uint16_t)acpi.reset_address, acpi.reset_value);
	outb(0xcf9, 0x06);
	outb(0x64, 0xfe);
	stop("reset");
	__builtin_unreachable();
}

/* No descriptor table, then an undefined instruction: `int n` is not needed. */
void power_triple_fault(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	irq_disable();
	print("power triple-fault");
	__asm__ volatile("lidt %0; ud2" : : "m"(none));
	__builtin_unreachable();
}

void power_panic(const struct frame *frame)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	print("panic vector=%lu error=%lx rip=%lx rsp=%lx cr2=%lx cpu=%u",
	      frame->vector, frame->error, frame->rip, frame->rsp, cr2,
	      lapic_id());
	power_exit(2);
}
