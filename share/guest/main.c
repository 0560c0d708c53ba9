/* Puts the parts together and runs the loop on CPU 0. */
#include "guest.h"

uint64_t beat_count;
static uint64_t beat_period, beat_next;

static void beat(void)
{
	beat_count++;
	print("beat %lu ms=%lu ticks=%lu", beat_count, timer_ms(),
	      timer_ticks());
}

static void init(void)
{
	interrupt_init();
	timer_init();
	smp_init();
	serial_listen();
	irq_disable();
	beat_period = option_number("heartbeat", 1000);
	if (beat_period < 20)
		beat_period = 20;
	print("demo guest start options=\"%s\"", option_line());
	print("machine cpus=%u ram=%lu ioapic=%lx pm1a=%x s5=%u", acpi.nr_cpus,
	      memory_low_end() / MIB, acpi.ioapic, acpi.pm1a_control,
	      acpi.s5_type);
}

void guest_main(void)
{
	init();
	for (;;) {
		int c;

		irq_wait();
		while ((c = serial_read()) >= 0) {
			if (c == 'o')
				power_off();
			if (c == 'e')
				power_exit(0);
			if (c == 'r')
				power_reset();
			if (c == 'p')
				power_triple_fault();
		}
		if (timer_ms() >= beat_next) {
			beat_next = timer_ms() + beat_period;
			beat();
		}
	}
}
