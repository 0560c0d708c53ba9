/* What the CPUs do with memory on each tick. */
#include "guest.h"

void dirty_work(unsigned cpu)
{
	cpus[cpu].parked = false;
}
