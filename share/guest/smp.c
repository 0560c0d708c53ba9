/*
 * The secondary CPUs: started one after the other by INIT and start-up IPI,
 * each with its own stack and local APIC tick.  They dirty their part of the
 * memory, or wait parked while CPU 0 needs it still.
 */
#include "share/guest/guest.h"

#define TRAMPOLINE_AT 0x8000ul
#define STACK	      16384
#define MSR_GS_BASE   0xc0000101
#define START_MS      2000 /* for one CPU to report; a loaded host is slow */

enum { LAPIC_COMMAND = 0x300, LAPIC_TARGET = 0x310 };
enum { IPI_INIT = 0x4500, IPI_STARTUP = 0x4600, IPI_PENDING = 1 << 12 };

struct cpu cpus[CPU_MAX];
unsigned nr_cpus = 1;

extern const char trampoline[], trampoline_end[];
extern uint64_t smp_boot_stack;
uint64_t smp_boot_stack;
static volatile unsigned starting;
static volatile bool park_wanted;
static char stacks[CPU_MAX][STACK] SCRATCH(16);

unsigned smp_index(void)
{
	unsigned index;

	__asm__ volatile("movl %%gs:0, %0" : "=r"(index));
	return index;
}

static void set_index(unsigned index)
{
	cpus[index].index = index;
	wrmsr(MSR_GS_BASE, (uint64_t)&cpus[index]);
}

static void send_ipi(unsigned apic_id, uint32_t command)
{
	lapic_write(LAPIC_TARGET, apic_id << 24);
	lapic_write(LAPIC_COMMAND, command);
	while (lapic_read(LAPIC_COMMAND) & IPI_PENDING)
		relax();
}

static bool wait_online(unsigned index, uint64_t ms)
{
	uint64_t end = timer_ms() + ms;

	while (!cpus[index].online && timer_ms() < end)
		relax();
	return cpus[index].online;
}

static bool start_cpu(unsigned index, unsigned apic_id)
{
	cpus[index].apic_id = (uint8_t)apic_id;
	smp_boot_stack = (uint64_t)stacks[index] + STACK;
	starting = index;
	send_ipi(apic_id, IPI_INIT);
	wait_online(index, 10);
	send_ipi(apic_id, IPI_STARTUP | TRAMPOLINE_AT / PAGE);
	if (wait_online(index, 200))
		return true;
	send_ipi(apic_id, IPI_STARTUP | TRAMPOLINE_AT / PAGE);
	return wait_online(index, START_MS);
}

void smp_init(void)
{
	unsigned wanted = (unsigned)option_number("cpus", 1);
	unsigned self = lapic_id();

	set_index(0);
	cpus[0].apic_id = (uint8_t)self;
	cpus[0].online = true;
	memcpy((void *)TRAMPOLINE_AT, trampoline,
	       (size_t)(trampoline_end - trampoline));
	for (unsigned i = 0; i < acpi.nr_cpus && nr_cpus < wanted; i++) {
		if (acpi.cpu_apic[i] == self)
			continue;
		if (start_cpu(nr_cpus, acpi.cpu_apic[i]))
			nr_cpus++;
		else
			print("cpu apic=%u does not start", acpi.cpu_apic[i]);
	}
}

void smp_park(bool park)
{
	park_wanted = park;
	for (unsigned i = 1; i < nr_cpus; i++) {
		while (cpus[i].parked != park)
			relax();
	}
}

void smp_cpu_main(void)
{
	unsigned index = starting;

	set_index(index);
	interrupt_load();
	timer_init_cpu();
	cpus[index].online = true;
	for (;;) {
		interrupt_wait();
		cpus[index].parked = park_wanted;
		if (!park_wanted)
			dirty_work(index);
	}
}
