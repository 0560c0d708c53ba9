/*
 * ich9_pm: ACPI power management of the ICH9: PM1 events, the timer, GPE0,
 * SMI_EN.  Specifications: ICH9 datasheet 13.8.3, ACPI 6.3 chapter 4.8.
 *
 * Thread rule: every call under the lock of the device that owns it; the
 * timer's callback takes that lock itself.
 */
#ifndef CORE_HW_CHIPSET_ICH9_PM_H
#define CORE_HW_CHIPSET_ICH9_PM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/irq.h"
#include "core/loop.h"

struct device;
struct state_desc;

#define ICH9_PM_LEN 128 /* ports */

struct ich9_pm {
	struct device *dev;
	struct bus_ports ports;
	struct irq sci;
	struct loop_timer timer; /* for the overflow of the PM timer */
	uint64_t timer_base_ns;	 /* when the PM timer was 0 */
	uint64_t timer_ticks;	 /* only while state is saved or loaded */
	uint64_t overflow_seen;	 /* half periods already reported */
	uint16_t pm1_sts, pm1_en, pm1_cnt;
	uint8_t gpe0_sts[8], gpe0_en[8];
	uint32_t smi_en;
};

extern const struct state_desc ich9_pm_state;

void ich9_pm_init(struct ich9_pm *pm, struct device *dev);
void ich9_pm_fini(struct ich9_pm *pm);
void ich9_pm_reset(struct ich9_pm *pm);
void ich9_pm_loaded(struct ich9_pm *pm);
void ich9_pm_place(struct ich9_pm *pm, uint16_t port, bool enabled);
/* SCI_EN, as the firmware's SMI handler would set it. */
void ich9_pm_acpi_enable(struct ich9_pm *pm, bool on);
void ich9_pm_power_button(struct ich9_pm *pm);

#endif
