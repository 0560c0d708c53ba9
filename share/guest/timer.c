/*
 * The local APIC and its periodic tick; time by the TSC.  Both are measured
 * once against the PIT's channel 0.  With timer=pit the tick is the PIT's own
 * interrupt, and secondary CPUs, which it does not reach, still use their
 * local APIC.
 */
#include "share/guest/guest.h"

#define LAPIC	  0xfee00000ul
#define PIT_HZ	  1193182ul
#define PIT_COUNT 0x40
#define PIT_MODE  0x43
#define SPAN	  (PIT_HZ / 200) /* of one measurement, 5 ms */

enum {
	LAPIC_ID = 0x20,
	LAPIC_SPURIOUS = 0xf0,
	LAPIC_TIMER = 0x320,
	LAPIC_INITIAL = 0x380,
	LAPIC_CURRENT = 0x390,
	LAPIC_DIVIDE = 0x3e0
};
enum { TIMER_PERIODIC = 1 << 17, TIMER_MASKED = 1 << 16, DIVIDE_BY_16 = 3 };

static uint64_t tsc_start, tsc_khz;
static uint64_t lapic_hz;
static unsigned hz;

uint32_t lapic_read(unsigned reg)
{
	return *(volatile uint32_t *)(LAPIC + reg);
}

void lapic_write(unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)(LAPIC + reg) = value;
}

unsigned lapic_id(void)
{
	return lapic_read(LAPIC_ID) >> 24;
}

static uint16_t pit_read(void)
{
	uint8_t low;

	outb(PIT_MODE, 0);
	low = inb(PIT_COUNT);
	return (uint16_t)(low | inb(PIT_COUNT) << 8);
}

/*
 * One measurement.  A CPU that is kept waiting in the middle stretches
 * all three clocks alike, unless the PIT wraps (55 ms), which makes the others
 * look fast: so the least of several measurements is the right one.
 */
static void measure(uint64_t *least_lapic, uint64_t *least_tsc)
{
	uint16_t start = pit_read(), passed;
	uint64_t tsc = rdtsc(), apic = lapic_read(LAPIC_CURRENT);

	do {
		relax();
		passed = (uint16_t)(start - pit_read());
	} while (passed < SPAN);
	tsc = (rdtsc() - tsc) * PIT_HZ / passed;
	apic = (apic - lapic_read(LAPIC_CURRENT)) * PIT_HZ / passed;
	if (tsc < *least_tsc)
		*least_tsc = tsc;
	if (apic < *least_lapic)
		*least_lapic = apic;
}

static void calibrate(void)
{
	uint64_t tsc_hz = UINT64_MAX;

	outb(PIT_MODE, 0x34); /* channel 0, rate generator */
	outb(PIT_COUNT, 0);
	outb(PIT_COUNT, 0);
	lapic_write(LAPIC_TIMER, TIMER_MASKED);
	lapic_write(LAPIC_INITIAL, UINT32_MAX);
	lapic_hz = UINT64_MAX;
	for (unsigned i = 0; i < 3; i++)
		measure(&lapic_hz, &tsc_hz);
	tsc_khz = tsc_hz / 1000;
	if (!tsc_khz)
		tsc_khz = 1;
}

static void on_tick(void)
{
	cpus[smp_index()].ticks++;
}

static void start_lapic_tick(void)
{
	lapic_write(LAPIC_TIMER, TIMER_PERIODIC | VECTOR_TIMER);
	lapic_write(LAPIC_INITIAL, (uint32_t)(lapic_hz / hz));
}

void lapic_enable(void)
{
	lapic_write(LAPIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	lapic_write(LAPIC_DIVIDE, DIVIDE_BY_16);
}

static void start_pit_tick(void)
{
	unsigned divisor = (unsigned)(PIT_HZ / hz);

	outb(PIT_MODE, 0x34);
	outb(PIT_COUNT, (uint8_t)divisor);
	outb(PIT_COUNT, (uint8_t)(divisor >> 8));
	interrupt_route_isa(0, on_tick);
}

void timer_init(void)
{
	hz = (unsigned)option_number("hz", 50);
	if (hz < 20 || hz > 1000)
		hz = 50;
	calibrate();
	tsc_start = rdtsc();
	interrupt_set_handler(VECTOR_TIMER, on_tick);
	if (option_has("timer", "pit")) {
		start_pit_tick();
		return;
	}
	start_lapic_tick();
}

void timer_init_cpu(void)
{
	lapic_enable();
	start_lapic_tick();
}

uint64_t timer_ms(void)
{
	return (rdtsc() - tsc_start) / tsc_khz;
}

unsigned timer_hz(void)
{
	return hz;
}

uint64_t timer_ticks(void)
{
	return cpus[0].ticks;
}
